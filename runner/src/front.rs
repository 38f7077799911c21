//! The front: where streams come in. It checks each one's grant for itself and passes it on to the agent.
//!
//! The gateway is believed in nothing: signature, workspace, epoch, route and access are looked at here again. The guest never
//! sees a grant. It looks into messages only of viewers who may not write, to drop what they may not send.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::{SinkExt as _, StreamExt as _, future::pending};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, ext::Protocol, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use protocol::{
    Code, Epoch, Problem, WorkspaceId,
    agent::{ACCESS_HEADER, MAX_MESSAGE_BYTES, Route, RouteKind, viewer_may_send},
    grant::{Access, Grant, VerifyingKey},
    problem::REQUEST_ID_HEADER,
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;
use transport::{
    KeepAlive, LinkError, ReadWakeStream, Upgraded, WebSocketError, serve_link,
    splice::{SpliceEnd, splice},
};

use crate::agent::{Agent, AgentError};

/// Gateways of one cluster; each keeps one link.
const MAX_CONNECTIONS: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// From our answer to the stream being ours.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// An agent answers at once or after a look at its disk; an upload takes as long as it takes, its silence is the gateway's to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const UPLOAD_TIMEOUT: Duration = Duration::from_hours(2);

/// What only we may say, and what the guest need not know.
const NOT_PASSED: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::HOST, HeaderName::from_static(ACCESS_HEADER)];

/// Whose streams are let in, and where they go.
pub struct Front {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
    pub key: VerifyingKey,
    pub agent: Arc<Agent>,
}

/// Why a stream was not let in.
#[derive(Debug)]
struct Refusal(Code, String);

type Outcome<T> = Result<T, Refusal>;

impl Front {
    /// Serves whoever connects, until told to stop: then every stream is cut.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let front = self.clone();
            let stop = stop.clone();
            connections.spawn(async move {
                let _place = place;
                front.connection(stream, stop).await;
            });
            while connections.try_join_next().is_some() {}
        }
        connections.shutdown().await;
    }

    async fn connection(self: Arc<Self>, stream: UnixStream, stop: CancellationToken) {
        let service = service_fn(move |request| {
            let (front, stop) = (self.clone(), stop.clone());
            async move { Ok::<_, Infallible>(front.answer(request, stop).await) }
        });
        let Ok(stream) = ReadWakeStream::new(stream) else {
            return tracing::warn!("a gateway's link cannot be watched");
        };
        if let Err(error) = serve_link(stream, service, KeepAlive::Ping).await {
            tracing::debug!(%error, "a gateway's link ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>, stop: CancellationToken) -> Response<Body> {
        let method = request.method().clone();
        let id = request.headers().get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok());
        let id = id.unwrap_or_default().to_owned();
        let outcome = self.relay(request, stop).await;
        outcome.unwrap_or_else(|Refusal(code, detail)| {
            tracing::info!(request_id = id, %method, ?code, detail, "a stream was refused");
            transport::problem::response(Problem { request_id: id, ..Problem::new(code, detail) })
        })
    }

    async fn relay(&self, request: Request<Incoming>, stop: CancellationToken) -> Outcome<Response<Body>> {
        let path = request.uri().path().strip_prefix("/v1/");
        let route = path.and_then(|path| Route::of(request.method().as_str(), path));
        let route = route.ok_or_else(|| Refusal(Code::NotFound, "There is no such route.".to_owned()))?;
        let grant = self.admit(request.headers(), &route)?;
        let headers = to_agent(request.headers(), grant.access);
        let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        if route.is_websocket {
            self.open(request, &address, headers, route.kind, grant.access, stop).await
        } else {
            self.forward(request, &address, headers, &route).await
        }
    }

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

    async fn open(
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
            return Err(Refusal(Code::BadRequest, "This address takes WebSockets only.".to_owned()));
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
        tokio::spawn(async move {
            // The link lives as long as its streams.
            let _link = link;
            tokio::select! {
                () = stop.cancelled() => {}
                () = carry(on_upgrade, upstream, kind, access) => {}
            }
        });
        Ok(Response::new(Body::empty()))
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        address: &str,
        headers: HeaderMap,
        route: &Route,
    ) -> Outcome<Response<Body>> {
        let (parts, body) = request.into_parts();
        let most = usize::try_from(route.max_body_bytes).unwrap_or(usize::MAX);
        let within = if most == 0 { ANSWER_TIMEOUT } else { UPLOAD_TIMEOUT };
        let mut onward = Request::builder()
            .method(parts.method)
            .uri(address)
            .body(Limited::new(body, most).boxed_unsync())
            .map_err(|_| LinkError::InvalidUri)?;
        *onward.headers_mut() = headers;
        let answer = self.agent.link().await?.request_within(onward, within).await?;
        Ok(from_agent(answer))
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("it is never closed");
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept on the front");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Carries an opened WebSocket until its end.
async fn carry(on_upgrade: OnUpgrade, upstream: Upgraded, kind: RouteKind, access: Access) {
    let downstream = match timeout(UPGRADE_TIMEOUT, on_upgrade).await {
        Ok(Ok(downstream)) => TokioIo::new(downstream),
        Ok(Err(error)) => return tracing::debug!(%error, "a stream was given up while it opened"),
        Err(_) => return tracing::debug!("a stream did not open in time"),
    };
    if access == Access::Read {
        return watch(downstream, upstream, kind).await;
    }
    if let SpliceEnd::Failed(error) = splice(downstream, upstream, pending(), None).await {
        tracing::debug!(%error, "a stream broke");
    }
}

/// A viewer's stream: everything comes down, and only what a viewer may send goes up.
async fn watch<A, B>(downstream: A, upstream: B, kind: RouteKind)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let viewer = WebSocketStream::from_raw_socket(downstream, Role::Server, Some(config)).await;
    let agent = WebSocketStream::from_raw_socket(upstream, Role::Client, Some(config)).await;
    let (mut to_viewer, mut from_viewer) = viewer.split();
    let (mut to_agent, mut from_agent) = agent.split();
    let up = async {
        while let Some(Ok(message)) = from_viewer.next().await {
            if passes(kind, &message) {
                to_agent.send(message).await.ok()?;
            }
        }
        to_agent.close().await.ok()
    };
    let down = async {
        while let Some(Ok(message)) = from_agent.next().await {
            if matches!(message, Message::Binary(_) | Message::Text(_) | Message::Close(_)) {
                to_viewer.send(message).await.ok()?;
            }
        }
        to_viewer.close().await.ok()
    };
    // The first end is the end of both: neither has anything to say to half a viewer.
    tokio::select! { _ = up => {}, _ = down => {} }
}

/// Pings are answered at each side by itself and are not passed on.
fn passes(kind: RouteKind, message: &Message) -> bool {
    match message {
        Message::Binary(bytes) => viewer_may_send(kind, true, bytes),
        Message::Text(text) => viewer_may_send(kind, false, text.as_bytes()),
        Message::Close(_) => true,
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => false,
    }
}

fn to_agent(client: &HeaderMap, access: Access) -> HeaderMap {
    let mut headers = client.clone();
    for name in NOT_PASSED {
        headers.remove(name);
    }
    let access = if access == Access::Write { "write" } else { "read" };
    headers.insert(ACCESS_HEADER, HeaderValue::from_static(access));
    headers
}

fn from_agent(answer: Response<Incoming>) -> Response<Body> {
    answer.map(Body::new)
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        tracing::warn!(%error, "the agent cannot be reached");
        Self(Code::Unavailable, "The machine does not answer. Try again in a moment.".to_owned())
    }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        Self::from(AgentError::Link(error))
    }
}
