//! The controller behind its Unix socket: the public API is passed on to it, grants and verdicts are asked of it.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, rt::ReadBufCursor};
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
        GRANT_KEY_PATH, GRANTS_PATH, GrantReply, GrantRequest, LiveStream, SESSIONS_CHECK_PATH,
        SessionsCheck, SessionsVerdict,
    },
    grant::{GrantRefusal, VerifyingKey},
    problem::REQUEST_ID_HEADER,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, sync::Mutex, time::timeout};
use transport::body::{Body, empty, full};

use crate::refusal::{Outcome, Refusal};

/// The name that stands in requests; the socket is the address.
const AUTHORITY: &str = "controller";
/// An answer's head may wait for the database, and for a password's hash behind others.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// A home that is checked is read whole before its answer's head comes, and a collection looks at all of a tenant's: somewhat
/// longer than the controller gives itself.
const UPKEEP_TIMEOUT: Duration = Duration::from_mins(61);
/// What we ask ourselves is one query.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest is a verdict on all streams.
const MAX_ASK_BYTES: usize = 8 * 1024 * 1024;
/// Connections that wait for work.
const IDLE_CONNECTIONS: usize = 32;
const IDLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Controller {
    http: Client<Connector, Body>,
    /// The key by which grants are checked, once it is known.
    key: Mutex<Option<VerifyingKey>>,
}

impl Controller {
    pub fn new(socket: &Path) -> Self {
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(Connector(socket.to_owned()));
        Self { http, key: Mutex::default() }
    }

    /// Passes a request on; resolves with the answer's head. The error may be the body's fault.
    pub async fn pass(&self, mut request: Request<Body>) -> Result<Response<Incoming>, PassError> {
        let is_upkeep = ["/check", "/collect"].iter().any(|end| request.uri().path().ends_with(end));
        let within = if is_upkeep { UPKEEP_TIMEOUT } else { ANSWER_TIMEOUT };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(AUTHORITY)
            .path_and_query(path)
            .build()
            .map_err(|_| PassError::BadAddress)?;
        *request.version_mut() = http::Version::HTTP_11;
        let answer = timeout(within, self.http.request(request));
        Ok(answer.await.map_err(|_| PassError::Deadline)??)
    }

    /// Asks whether `request`'s credential opens `route`, and checks what is given.
    pub async fn grant(&self, id: RequestId, request: &GrantRequest, route: &Route) -> Outcome<GrantReply> {
        let reply: GrantReply = self.ask(id, GRANTS_PATH, request).await?;
        self.check(id, &reply, request.workspace, route).await?;
        Ok(reply)
    }

    /// Which of these streams must end.
    pub async fn verdict(&self, streams: Vec<LiveStream>) -> Outcome<Vec<LiveStream>> {
        let check = SessionsCheck { streams };
        let verdict: SessionsVerdict = self.ask(RequestId::random(), SESSIONS_CHECK_PATH, &check).await?;
        Ok(verdict.revoked)
    }

    /// A grant that does not hold would be refused by the front too; here it is found before anything is opened.
    async fn check(
        &self,
        id: RequestId,
        reply: &GrantReply,
        workspace: WorkspaceId,
        route: &Route,
    ) -> Outcome<()> {
        let mut key = self.key.lock().await;
        let known = if let Some(key) = &*key { key.clone() } else { self.fetch_key(id).await? };
        let checked = match verify(&known, reply, workspace, route) {
            // It may be that the controller has made itself a new key.
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
            GrantRefusal::ReadOnly => Refusal::new(Code::Forbidden, "You may watch this workspace only."),
            other => Refusal::new(Code::Internal, "The grant for this workspace does not hold. Try again.")
                .because(other),
        })
    }

    async fn fetch_key(&self, id: RequestId) -> Outcome<VerifyingKey> {
        let text: String = self.json(id, Method::GET, GRANT_KEY_PATH, empty()).await?;
        VerifyingKey::from_hex(&text).map_err(|error| Refusal::controller_unavailable().because(error))
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        id: RequestId,
        path: &str,
        question: &Q,
    ) -> Outcome<A> {
        let json =
            serde_json::to_vec(question).map_err(|error| Refusal::controller_unavailable().because(error))?;
        self.json(id, Method::POST, path, full(json)).await
    }

    async fn json<A: DeserializeOwned>(
        &self,
        id: RequestId,
        method: Method,
        path: &str,
        body: Body,
    ) -> Outcome<A> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(REQUEST_ID_HEADER, id.to_string())
            .body(body)
            .map_err(|error| Refusal::controller_unavailable().because(error))?;
        let answer = async {
            let response =
                self.pass(request).await.map_err(|error| Refusal::controller_unavailable().because(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ASK_BYTES)
                .collect()
                .await
                .map_err(|error| Refusal::controller_unavailable().because(error))?;
            understand(status, &body.to_bytes())
        };
        timeout(ASK_TIMEOUT, answer)
            .await
            .unwrap_or_else(|_| Err(Refusal::controller_unavailable().because("no answer in time")))
    }
}

/// Why a request could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("the address is not valid")]
    BadAddress,
    #[error("no answer in time")]
    Deadline,
    #[error(transparent)]
    Http(#[from] hyper_util::client::legacy::Error),
}

fn verify(
    key: &VerifyingKey,
    reply: &GrantReply,
    workspace: WorkspaceId,
    route: &Route,
) -> Result<(), GrantRefusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let grant = key.verify(reply.grant.expose(), now.cast_signed())?;
    grant.admits(workspace, reply.epoch, route)
}

fn understand<A: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Outcome<A> {
    if status.is_success() {
        return serde_json::from_slice(body)
            .map_err(|error| Refusal::controller_unavailable().because(error));
    }
    match serde_json::from_slice::<Problem>(body) {
        // The status is written anew from the code: the two cannot differ.
        Ok(problem) => Err(Problem { status: problem.code.status(), ..problem }.into()),
        Err(_) => Err(Refusal::controller_unavailable().because(status)),
    }
}

#[derive(Clone, Debug)]
struct Connector(PathBuf);

impl tower::Service<Uri> for Connector {
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
