//! One request to the server in the guest: HTTP/1.1 on a stream of its own. WebSockets are spliced, and
//! bodies are passed on as they arrive, in both directions.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, uri::PathAndQuery};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use protocol::{Code, RequestId, agent::Route, api::internal::GrantReply, ports::PreviewTarget};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use transport::{
    Upgraded, WebSocketError,
    body::{Body, empty},
    splice::splice,
};

use super::{Failure, PreviewConfig, grants::live_stream, rewrite, visit::Visit};
use crate::{
    body::{request_body, response_body},
    buffer_budget::{BufferShare, PREVIEW_BUFFER_BYTES},
    headers,
    links::Placement,
    refusal::Refusal,
    relay::link_refusal,
    router::Router,
    streams::StreamGuard,
    websocket::{self, UpgradeRequest},
};

/// Longest wait for the head of a response: long polls and slow builds wait for minutes.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest silence inside a response: event streams may have nothing to say.
const RESPONSE_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// Longest silence inside an upload.
const REQUEST_IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest time between our response and the client's upgraded stream.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

const NO_ANSWER: &str = "The program on this port has closed the connection without an answer. It may speak \
    another protocol than HTTP.";
const NO_HTTP: &str = "The program on this port has answered with another protocol than HTTP.";

/// Headers of a WebSocket's handshake that its two ends negotiate.
const NEGOTIATED: [HeaderName; 2] = [header::SEC_WEBSOCKET_PROTOCOL, header::SEC_WEBSOCKET_EXTENSIONS];

type Result<T> = std::result::Result<T, Failure>;

impl Router {
    /// Sends a request to the server in the guest.
    pub(super) async fn proxy_preview(
        &self,
        config: &PreviewConfig,
        visit: &Visit,
        mut request: Request<Incoming>,
        (id, peer): (RequestId, IpAddr),
    ) -> Result<Response> {
        let target = visit.target;
        let upgrade = if is_websocket(&request) { Some(UpgradeRequest::parse(&mut request)?) } else { None };
        let grant = self.preview_grant(visit, id).await?;
        let guard = self.streams.register(live_stream(target, &grant))?;
        let stream = self.connect_preview(&grant, target, id).await?;
        let sender = self.handshake(stream).await?;
        let client = self.proxies.find_client(peer, request.headers());
        let guest_headers = rewrite::to_guest(request.headers(), &config.host, target, client);
        let mut response = match upgrade {
            Some(upgrade) => {
                let share = request.extensions().get::<Arc<BufferShare>>().cloned();
                let asked = websocket_request(request.uri(), guest_headers)?;
                self.proxy_websocket(sender, asked, upgrade, (guard, share), id).await?
            }
            None => self.proxy_request(sender, request, guest_headers, guard).await?,
        };
        let origins = self.origins.list();
        *response.headers_mut() = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            std::mem::take(response.headers_mut())
        } else {
            rewrite::to_visitor(response.headers(), &config.host, target, origins)
        };
        Ok(response)
    }

    /// Opens a stream to the port.
    pub(super) async fn connect_preview(
        &self,
        grant: &GrantReply,
        target: PreviewTarget,
        id: RequestId,
    ) -> Result<Upgraded> {
        let PreviewTarget { port, workspace } = target;
        let placement = Placement { workspace, epoch: grant.epoch, front: grant.front.clone() };
        let path = format!("/v1/{}", Route::preview_path(port));
        let headers = headers::client_to_front(&HeaderMap::new(), grant.grant.expose(), id);
        self.open_stream(&placement, &path, headers).await.map_err(|error| match error {
            WebSocketError::Refused(response) if response.status() == StatusCode::NOT_FOUND => {
                Failure::NotListening
            }
            WebSocketError::Refused(response) => {
                self.preview_grants.remove(target);
                Refusal::workspace_unavailable().because(response.status()).into()
            }
            WebSocketError::Link(error) => {
                self.preview_grants.remove(target);
                link_refusal(&error).into()
            }
        })
    }

    async fn handshake(&self, stream: Upgraded) -> Result<SendRequest<Body>> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(PREVIEW_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Refusal::workspace_unavailable().because(error))?;
        // It ends with the response, whose body or stream is dropped when it is revoked.
        self.tasks.spawn("preview", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a port was cut");
            }
        });
        Ok(sender)
    }

    async fn proxy_request(
        &self,
        mut sender: SendRequest<Body>,
        request: Request<Incoming>,
        headers: HeaderMap,
        guard: StreamGuard,
    ) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let body =
            if body.is_end_stream() { empty() } else { request_body(body, u64::MAX, REQUEST_IDLE_TIMEOUT).0 };
        let request = guest_request(parts.method, &parts.uri, headers, body)?;
        let response = tokio::select! {
            () = guard.revoked() => return Err(Failure::SignIn),
            response = timeout(RESPONSE_TIMEOUT, sender.send_request(request)) => received(response)?,
        };
        // Nothing was asked that could be switched to.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refusal::new(Code::Unavailable, NO_HTTP).into());
        }
        let (parts, body) = response.into_parts();
        let mut response = Response::new(response_body(body, RESPONSE_IDLE_TIMEOUT, Some(guard)));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }

    async fn proxy_websocket(
        &self,
        mut sender: SendRequest<Body>,
        request: Request<Body>,
        upgrade: UpgradeRequest,
        (guard, share): (StreamGuard, Option<Arc<BufferShare>>),
        id: RequestId,
    ) -> Result<Response> {
        let response = received(timeout(RESPONSE_TIMEOUT, sender.send_request(request)).await)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = response.into_parts();
            let mut refused = Response::new(response_body(body, RESPONSE_IDLE_TIMEOUT, Some(guard)));
            *refused.status_mut() = parts.status;
            *refused.headers_mut() = parts.headers;
            return Ok(refused);
        }
        let negotiated =
            NEGOTIATED.map(|name| response.headers().get(&name).cloned().map(|value| (name, value)));
        let upstream = hyper::upgrade::on(response);
        let (mut accepted, on_upgrade) = upgrade.accept();
        accepted.headers_mut().extend(negotiated.into_iter().flatten());
        let stall_timeout = self.limits.write_timeout;
        self.tasks.spawn("splice", async move {
            splice_websocket(id, on_upgrade, upstream, guard, stall_timeout).await;
            drop((sender, share));
        });
        Ok(accepted)
    }
}

async fn splice_websocket(
    id: RequestId,
    downstream: OnUpgrade,
    upstream: OnUpgrade,
    guard: StreamGuard,
    stall_timeout: Duration,
) {
    let upgraded = timeout(UPGRADE_TIMEOUT, async { tokio::try_join!(downstream, upstream) }).await;
    let (downstream, upstream) = match upgraded {
        Ok(Ok((downstream, upstream))) => (TokioIo::new(downstream), TokioIo::new(upstream)),
        Ok(Err(error)) => {
            return tracing::debug!(request_id = %id, %error, "one side left during the upgrade");
        }
        Err(_) => return tracing::info!(request_id = %id, "the client did not finish the upgrade"),
    };
    let end = splice(downstream, upstream, guard.revoked(), Some(stall_timeout)).await;
    tracing::debug!(request_id = %id, ?end, "a WebSocket of a preview has ended");
}

/// Whether a request asks for a WebSocket. Other upgrades are not passed on: the request is answered as if it
/// had asked for none.
fn is_websocket<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    websocket::is_upgrade(request)
        && upgrade.is_none_or(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn received(
    response: std::result::Result<hyper::Result<http::Response<Incoming>>, tokio::time::error::Elapsed>,
) -> Result<http::Response<Incoming>> {
    match response {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(Refusal::new(Code::Unavailable, NO_ANSWER).because(error).into()),
        Err(_) => Err(Refusal::new(Code::Timeout, "The program on this port did not answer in time.").into()),
    }
}

/// The request of a WebSocket: in HTTP/1.1, whatever the client speaks.
fn websocket_request(uri: &Uri, mut headers: HeaderMap) -> Result<Request<Body>> {
    let key = HeaderValue::from_str(&generate_key()).map_err(|_| Refusal::not_found())?;
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    guest_request(Method::GET, uri, headers, empty())
}

/// A request to the server, with only the path of the URI, as servers expect it.
fn guest_request(method: Method, uri: &Uri, headers: HeaderMap, body: Body) -> Result<Request<Body>> {
    if method == Method::CONNECT {
        return Err(Refusal::new(Code::MethodNotAllowed, "Previews are no proxies.").into());
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut request =
        Request::builder().method(method).uri(path).body(body).map_err(|_| Refusal::not_found())?;
    *request.headers_mut() = headers;
    Ok(request)
}
