//! The client for the controller's Unix socket: forwards the public API, requests grants, and asks
//! about revoked streams.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    body::{Body as _, Incoming},
    rt::ReadBufCursor,
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use protocol::{
    Code, Problem, RequestId, WorkspaceId,
    agent::Route,
    api::internal::{
        GRANT_KEY_PATH, GRANTS_PATH, GrantReply, GrantRequest, LiveStream, PREVIEW_GRANTS_PATH,
        PREVIEW_TICKETS_PATH, PreviewCookie, PreviewGrantRequest, PreviewTicketRequest, SESSIONS_CHECK_PATH,
        SessionsCheck, SessionsVerdict,
    },
    grant::{GrantRefusal, VerifyingKey},
    problem::REQUEST_ID_HEADER,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, sync::Mutex, time::timeout};
use transport::body::{Body, empty, full};

use crate::{
    buffer_budget::CONTROLLER_BUFFER_BYTES,
    refusal::{Refusal, Result},
};

/// The authority of request URIs. It has no meaning, because the socket is the address.
const AUTHORITY: &str = "controller";

/// Longest wait for the head of a response. It may wait for the database, or for password hashes of
/// other requests.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest wait for a scrub, which reads a whole home before its response begins, and for a gc,
/// which lists all objects of a tenant. Slightly longer than the controller's own timeout.
const MAINTENANCE_TIMEOUT: Duration = Duration::from_mins(61);

/// Ends of the paths that get [`MAINTENANCE_TIMEOUT`].
const MAINTENANCE_ROUTES: [&str; 2] = ["/scrub", "/gc"];

/// Longest time for one of the gateway's own requests. The controller runs one query for it.
const INTERNAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Size of a response to one of the gateway's own requests. The largest lists all revoked streams.
const MAX_INTERNAL_BYTES: usize = 8 * 1024 * 1024;

/// Idle connections in the pool.
const MAX_IDLE_CONNECTIONS: usize = 32;

/// How long a connection stays idle in the pool before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A pooled HTTP client for the controller.
#[derive(Debug)]
pub struct ControllerClient {
    /// Keeps connections.
    http: Client<UnixConnector, Body>,
    /// Opens a connection for each request. For requests with a body: the controller may refuse one
    /// before it has read the body, and closes the connection then. The next request on a kept
    /// connection would be lost with it.
    unpooled: Client<UnixConnector, Body>,
    /// The controller's public key for grants. Fetched on first use, and again when a signature
    /// does not match.
    key: Mutex<Option<VerifyingKey>>,
}

impl ControllerClient {
    /// `socket` is the path of the controller's Unix socket. Nothing is connected yet.
    pub fn new(socket: &Path) -> Self {
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .http1_max_buf_size(CONTROLLER_BUFFER_BYTES)
            .build(UnixConnector(socket.to_owned()));
        let unpooled = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(CONTROLLER_BUFFER_BYTES)
            .build(UnixConnector(socket.to_owned()));
        Self { http, unpooled, key: Mutex::default() }
    }

    /// Forwards a request of a client and returns once the head of the response has arrived. An
    /// error may be caused by the client's body.
    pub async fn forward(
        &self,
        request: Request<Body>,
    ) -> std::result::Result<Response<Incoming>, ForwardError> {
        let client = if request.body().is_end_stream() { &self.http } else { &self.unpooled };
        send(client, request).await
    }

    /// Requests a grant for `route` with the credential in `request`, and verifies it.
    pub async fn request_grant(
        &self,
        id: RequestId,
        request: &GrantRequest,
        route: &Route,
    ) -> Result<GrantReply> {
        let reply: GrantReply = self.post_json(id, GRANTS_PATH, request).await?;
        self.verify_grant(id, &reply, request.workspace, route).await?;
        Ok(reply)
    }

    /// Requests a grant for connections to the port of a preview, and verifies it.
    pub async fn request_preview_grant(
        &self,
        id: RequestId,
        request: &PreviewGrantRequest,
    ) -> Result<GrantReply> {
        let path = Route::preview_path(request.target.port);
        let route = Route::of_preview(Method::CONNECT.as_str(), &path).ok_or_else(Refusal::not_found)?;
        let reply: GrantReply = self.post_json(id, PREVIEW_GRANTS_PATH, request).await?;
        self.verify_grant(id, &reply, request.target.workspace, &route).await?;
        Ok(reply)
    }

    /// Exchanges the ticket of a preview for its cookie.
    pub async fn redeem_preview_ticket(
        &self,
        id: RequestId,
        request: &PreviewTicketRequest,
    ) -> Result<PreviewCookie> {
        self.post_json(id, PREVIEW_TICKETS_PATH, request).await
    }

    /// Returns those of `streams` that must end, because their session was revoked or their
    /// workspace is placed elsewhere.
    pub async fn find_revoked(&self, streams: Vec<LiveStream>) -> Result<Vec<LiveStream>> {
        let check = SessionsCheck { streams };
        let verdict: SessionsVerdict =
            self.post_json(RequestId::random(), SESSIONS_CHECK_PATH, &check).await?;
        Ok(verdict.revoked)
    }

    /// Verifies a grant before anything is opened with it. The front verifies it again.
    async fn verify_grant(
        &self,
        id: RequestId,
        reply: &GrantReply,
        workspace: WorkspaceId,
        route: &Route,
    ) -> Result<()> {
        let mut key = self.key.lock().await;
        let known = if let Some(key) = &*key { key.clone() } else { self.fetch_key(id).await? };
        let checked = match verify(&known, reply, workspace, route) {
            // The controller may have a new key.
            Err(GrantRefusal::Forged) => {
                let fresh = self.fetch_key(id).await?;
                let checked = verify(&fresh, reply, workspace, route);
                *key = Some(fresh);
                checked
            }
            checked => {
                *key = Some(known);
                checked
            }
        };
        checked.map_err(|refusal| match refusal {
            GrantRefusal::ReadOnly => {
                Refusal::new(Code::Forbidden, "You have read-only access to this workspace.")
            }
            other => Refusal::new(Code::Internal, "The grant for this workspace is not valid. Try again.")
                .because(other),
        })
    }

    async fn fetch_key(&self, id: RequestId) -> Result<VerifyingKey> {
        let text: String = self.request_json(id, Method::GET, GRANT_KEY_PATH, empty()).await?;
        VerifyingKey::from_hex(&text).map_err(|error| Refusal::controller_unavailable().because(error))
    }

    async fn post_json<Q: Serialize, A: DeserializeOwned>(
        &self,
        id: RequestId,
        path: &str,
        request: &Q,
    ) -> Result<A> {
        let json =
            serde_json::to_vec(request).map_err(|error| Refusal::controller_unavailable().because(error))?;
        self.request_json(id, Method::POST, path, full(json)).await
    }

    async fn request_json<A: DeserializeOwned>(
        &self,
        id: RequestId,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<A> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(REQUEST_ID_HEADER, id.to_string())
            .body(body)
            .map_err(|error| Refusal::controller_unavailable().because(error))?;
        let exchange = async {
            // The controller always reads these bodies.
            let response = send(&self.http, request)
                .await
                .map_err(|error| Refusal::controller_unavailable().because(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_INTERNAL_BYTES)
                .collect()
                .await
                .map_err(|error| Refusal::controller_unavailable().because(error))?;
            parse_response(status, &body.to_bytes())
        };
        timeout(INTERNAL_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(Refusal::controller_unavailable().because("no answer in time")))
    }
}

async fn send(
    client: &Client<UnixConnector, Body>,
    mut request: Request<Body>,
) -> std::result::Result<Response<Incoming>, ForwardError> {
    let is_maintenance = MAINTENANCE_ROUTES.iter().any(|route| request.uri().path().ends_with(route));
    let limit = if is_maintenance { MAINTENANCE_TIMEOUT } else { RESPONSE_TIMEOUT };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::builder()
        .scheme("http")
        .authority(AUTHORITY)
        .path_and_query(path)
        .build()
        .map_err(|_| ForwardError::InvalidUri)?;
    *request.version_mut() = http::Version::HTTP_11;
    let response = timeout(limit, client.request(request));
    Ok(response.await.map_err(|_| ForwardError::Timeout)??)
}

/// Why a request could not be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The path of the request is not valid in a URI.
    #[error("the path is not valid")]
    InvalidUri,
    /// The controller did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection failed, or the body of the request did.
    #[error(transparent)]
    Http(#[from] hyper_util::client::legacy::Error),
}

fn verify(
    key: &VerifyingKey,
    reply: &GrantReply,
    workspace: WorkspaceId,
    route: &Route,
) -> std::result::Result<(), GrantRefusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let grant = key.verify(reply.grant.expose(), now.cast_signed())?;
    grant.admits(workspace, reply.epoch, route)
}

fn parse_response<A: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<A> {
    if status.is_success() {
        return serde_json::from_slice(body)
            .map_err(|error| Refusal::controller_unavailable().because(error));
    }
    match serde_json::from_slice::<Problem>(body) {
        // The status is set from the code again, so that the two cannot differ.
        Ok(problem) => Err(Problem { status: problem.code.status(), ..problem }.into()),
        Err(_) => Err(Refusal::controller_unavailable().because(status)),
    }
}

/// Connects to the Unix socket, whatever the URI of the request is.
#[derive(Clone, Debug)]
struct UnixConnector(PathBuf);

impl tower::Service<Uri> for UnixConnector {
    type Response = UnixConnection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<UnixConnection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(
            async move { UnixStream::connect(path).await.map(|stream| UnixConnection(TokioIo::new(stream))) },
        )
    }
}

struct UnixConnection(TokioIo<UnixStream>);

impl Connection for UnixConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for UnixConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for UnixConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    use super::*;

    /// Answers the first request of each connection before it reads the body, and closes the
    /// connection when more arrives, as HTTP servers do.
    async fn serve_early_answers(listener: UnixListener, connections: Arc<AtomicUsize>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let answer = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut head).await;
            });
        }
    }

    #[tokio::test]
    async fn request_with_body_survives_early_answers() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("controller.sock");
        let connections = Arc::new(AtomicUsize::new(0));
        let listener = UnixListener::bind(&socket).expect("bound");
        let server = tokio::spawn(serve_early_answers(listener, connections.clone()));
        let client = ControllerClient::new(&socket);
        for _ in 0..20 {
            let request = Request::delete("/api/v1/imports").body(full(Bytes::from_static(b"{}")));
            let response = client.forward(request.expect("valid")).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        }
        assert_eq!(connections.load(Ordering::Relaxed), 20);
        server.abort();
    }
}
