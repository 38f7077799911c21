//! The front: the runner's socket, where the gateway's streams arrive. It checks the grant of each
//! stream and splices the stream to the agent.
//!
//! The front does not trust the gateway: it checks signature, workspace, epoch, route and access
//! itself. The guest never sees a grant. The front parses messages only in the streams of read-only
//! viewers (`read_only`).
//!
//! The tasks of connections and of spliced streams are awaited before [`Front::serve`] returns.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::future::pending;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, ext::Protocol, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use protocol::{
    Access, Code, Epoch, Problem, WorkspaceId,
    agent::{ACCESS_HEADER, Route, RouteKind},
    grant::{Grant, VerifyingKey},
    problem::REQUEST_ID_HEADER,
};
use time::OffsetDateTime;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use transport::{
    KeepAlive, LinkError, ReadWakeStream, ResponseBody, Upgraded, WebSocketError, log_cut, serve_link,
    splice::{SpliceEnd, splice},
};

use crate::agent::{Agent, AgentError};

mod read_only;

/// Gateways of one cluster, each with one link.
const MAX_CONNECTIONS: usize = 64;
/// Accepting fails for lack of descriptors; retrying at once would spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long a stream may take from our answer to its upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// An agent answers requests without a body at once, or after reading its disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// An upload takes as long as the client sends. The gateway ends uploads that stall.
const UPLOAD_TIMEOUT: Duration = Duration::from_hours(2);

/// When the front stops, its streams are cancelled. This bounds the wait for their tasks.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Headers that are not passed to the guest: credentials, and those that only the front may set.
const DROPPED_HEADERS: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::HOST, HeaderName::from_static(ACCESS_HEADER)];

/// Admits streams with a valid grant for one workspace and epoch, and passes them to its agent.
pub struct Front {
    workspace: WorkspaceId,
    epoch: Epoch,
    /// The controller's key for grants.
    key: VerifyingKey,
    agent: Arc<Agent>,
    /// The tasks of spliced streams. Connections have a set of their own.
    streams: TaskTracker,
}

/// Why a stream was not admitted.
#[derive(Debug)]
struct Refusal(Code, String);

type Outcome<T> = Result<T, Refusal>;

impl Front {
    /// A front for one placement of one workspace. `key` verifies grants.
    pub fn new(workspace: WorkspaceId, epoch: Epoch, key: VerifyingKey, agent: Arc<Agent>) -> Self {
        Self { workspace, epoch, key, agent, streams: TaskTracker::new() }
    }

    /// Serves until `stop` is cancelled. Then it closes every stream, and returns when their tasks
    /// have ended.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &permits) => accepted,
            };
            let Some((stream, permit)) = accepted else { continue };
            let front = self.clone();
            let stop = stop.clone();
            connections.spawn(async move {
                let _permit = permit;
                front.serve_connection(stream, stop).await;
            });
            while connections.try_join_next().is_some() {}
        }
        connections.shutdown().await;
        self.streams.close();
        if timeout(DRAIN_TIMEOUT, self.streams.wait()).await.is_err() {
            tracing::warn!(streams = self.streams.len(), "streams did not end in time");
        }
    }

    async fn serve_connection(self: Arc<Self>, stream: UnixStream, stop: CancellationToken) {
        let service = service_fn(move |request| {
            let (front, stop) = (self.clone(), stop.clone());
            async move { Ok::<_, Infallible>(front.answer(request, stop).await) }
        });
        let Ok(stream) = ReadWakeStream::new(stream) else {
            return tracing::warn!("cannot register a gateway's connection");
        };
        if let Err(error) = serve_link(stream, service, KeepAlive::Ping).await {
            log_cut(&error, "a gateway's link was cut");
        }
    }

    async fn answer(&self, request: Request<Incoming>, stop: CancellationToken) -> Response<Body> {
        let method = request.method().clone();
        let id = request.headers().get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok());
        let id = id.unwrap_or_default().to_owned();
        let outcome = self.relay(request, stop).await;
        outcome.unwrap_or_else(|Refusal(code, detail)| {
            tracing::info!(request_id = id, %method, ?code, detail, "refused a stream");
            transport::problem::response(Problem { request_id: id, ..Problem::new(code, detail) })
        })
    }

    async fn relay(&self, request: Request<Incoming>, stop: CancellationToken) -> Outcome<Response<Body>> {
        let path = request.uri().path().strip_prefix("/v1/");
        let method = request.method().as_str();
        let route = path.and_then(|path| find_route(method, path));
        let route = route.ok_or_else(|| Refusal(Code::NotFound, "There is no such route.".to_owned()))?;
        let grant = self.admit(request.headers(), &route)?;
        let headers = headers_for_agent(request.headers(), grant.access);
        let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        if route.is_websocket {
            self.open_stream(request, &address, headers, route.kind, grant.access, stop).await
        } else {
            self.forward(request, &address, headers, &route).await
        }
    }

    /// Checks the bearer grant for this route.
    fn admit(&self, headers: &HeaderMap, route: &Route) -> Outcome<Grant> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let grant = self
            .key
            .verify(token, now)
            .map_err(|refusal| Refusal(Code::Unauthenticated, format!("{refusal}.")))?;
        grant
            .admits(self.workspace, self.epoch, route)
            .map_err(|refusal| Refusal(Code::Forbidden, format!("{refusal}.")))?;
        Ok(grant)
    }

    /// Opens a WebSocket at the agent and splices the client's to it.
    async fn open_stream(
        &self,
        mut request: Request<Incoming>,
        address: &str,
        headers: HeaderMap,
        kind: RouteKind,
        access: Access,
        stop: CancellationToken,
    ) -> Outcome<Response<Body>> {
        let protocol = request.extensions().get::<Protocol>();
        let is_websocket = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
        if request.method() != Method::CONNECT || !is_websocket {
            return Err(Refusal(Code::BadRequest, "This route accepts WebSockets only.".to_owned()));
        }
        let link = self.agent.link().await?;
        let upstream = match link.open_websocket(address, headers).await {
            Ok(upstream) => upstream,
            Err(WebSocketError::Refused(answer)) if answer.status().is_success() => {
                return Err(Refusal(Code::Unavailable, "The agent did not open the stream.".to_owned()));
            }
            Err(WebSocketError::Refused(answer)) => return Ok(from_agent(*answer)),
            Err(WebSocketError::Link(error)) => return Err(error.into()),
        };
        let on_upgrade = hyper::upgrade::on(&mut request);
        self.streams.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = splice_stream(on_upgrade, upstream, kind, access) => {}
            }
        });
        Ok(Response::new(Body::empty()))
    }

    /// Forwards a request and its answer.
    async fn forward(
        &self,
        request: Request<Incoming>,
        address: &str,
        headers: HeaderMap,
        route: &Route,
    ) -> Outcome<Response<Body>> {
        let (parts, body) = request.into_parts();
        let max_bytes = usize::try_from(route.max_body_bytes).unwrap_or(usize::MAX);
        let timeout = if max_bytes == 0 { ANSWER_TIMEOUT } else { UPLOAD_TIMEOUT };
        let mut forwarded = Request::builder()
            .method(parts.method)
            .uri(address)
            .body(Limited::new(body, max_bytes).boxed_unsync())
            .map_err(|_| LinkError::InvalidUri)?;
        *forwarded.headers_mut() = headers;
        let answer = self.agent.link().await?.request_within(forwarded, timeout).await?;
        Ok(from_agent(answer))
    }
}

/// The routes of clients, of the controller and of previews. The grant decides which of them is open.
fn find_route(method: &str, path: &str) -> Option<Route> {
    Route::of(method, path)
        .or_else(|| Route::of_controller(method, path))
        .or_else(|| Route::of_preview(method, path))
}

async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection on the front");
            sleep(ACCEPT_RETRY_DELAY).await;
            None
        }
    }
}

/// Splices an admitted WebSocket to the agent's until one of them ends.
async fn splice_stream(on_upgrade: OnUpgrade, upstream: Upgraded, kind: RouteKind, access: Access) {
    let downstream = match timeout(UPGRADE_TIMEOUT, on_upgrade).await {
        Ok(Ok(downstream)) => TokioIo::new(downstream),
        Ok(Err(error)) => return tracing::debug!(%error, "the client closed a stream while it opened"),
        Err(_) => return tracing::debug!("a stream did not open in time"),
    };
    if access == Access::Read {
        return read_only::splice_read_only(downstream, upstream, kind).await.log();
    }
    if let SpliceEnd::Failed(error) = splice(downstream, upstream, pending(), None).await {
        log_cut(&error, "a stream was cut");
    }
}

fn headers_for_agent(client: &HeaderMap, access: Access) -> HeaderMap {
    let mut headers = client.clone();
    for name in DROPPED_HEADERS {
        headers.remove(name);
    }
    let access = if access == Access::Write { "write" } else { "read" };
    headers.insert(ACCESS_HEADER, HeaderValue::from_static(access));
    headers
}

fn from_agent(answer: Response<ResponseBody>) -> Response<Body> {
    answer.map(Body::new)
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        tracing::warn!(%error, "cannot reach the agent");
        Self(Code::Unavailable, "The workspace does not answer. Try again in a moment.".to_owned())
    }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Full(limit) => Self(Code::TooManyStreams, limit.advice()),
            error => Self::from(AgentError::Link(error)),
        }
    }
}
