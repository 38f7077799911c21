//! Relays a workspace's streams and files between the client and the runner's front, without parsing them.
//!
//! The path of one request:
//!
//! 1. Find its [`Route`]. An unknown route is 404, so a client never reaches the agent's internal routes.
//! 2. Ask the controller for a grant with the caller's credential, and verify it.
//! 3. Register the stream ([`StreamGuard`]), so that it ends when the session is revoked.
//! 4. Get the link to the placement's front and send the request on it, with the grant in place of
//!    the credential.
//! 5. A WebSocket: accept the client's upgrade and splice both streams in a task. Any other route:
//!    send the response back.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use protocol::{
    Code, RequestId, WorkspaceId,
    agent::{Route, RouteKind},
    api::internal::{GrantReply, GrantRequest, LiveStream},
};
use tokio::time::timeout;
use transport::{
    Link, LinkError, ResponseBody, Upgraded, WebSocketError,
    body::{self, empty},
    log_cut,
    splice::{SpliceEnd, splice},
};

use crate::{
    body::{BodyFault, check_content_length, request_body, response_body},
    buffer_budget::BufferShare,
    credential::Credential,
    headers,
    links::Placement,
    refusal::{Refusal, Result},
    router::Router,
    streams::StreamGuard,
    websocket::{self, UpgradeRequest},
    write_timeout::WriteTimeoutHandle,
};

/// Longest time for the largest upload over a slow line. Silence inside it has its own timeout.
const UPLOAD_TIMEOUT: Duration = Duration::from_hours(2);

/// Longest wait for the head of a front's response. The agent answers at once or after a disk access.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Size of a front's response that refuses a WebSocket: a problem, a few lines.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// Longest time between our response and the client's upgraded stream.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that has a grant and a place among the live streams.
struct AdmittedRequest {
    id: RequestId,
    placement: Placement,
    grant: GrantReply,
    guard: StreamGuard,
    /// Path and query for the front: `/v1/…`.
    path_and_query: String,
}

impl Router {
    /// Relays a request to the agent of `workspace`. `rest` is the path below `agent/`.
    pub async fn relay(
        &self,
        mut request: Request<Incoming>,
        id: RequestId,
        peer: IpAddr,
        (workspace, rest): (WorkspaceId, &str),
    ) -> Result<Response> {
        let route = Route::of(request.method().as_str(), rest).ok_or_else(Refusal::not_found)?;
        if !route.is_websocket && websocket::is_upgrade(&request) {
            return Err(Refusal::new(Code::BadRequest, "There is no WebSocket at this address."));
        }
        let upgrade = if route.is_websocket { Some(UpgradeRequest::parse(&mut request)?) } else { None };
        check_content_length(request.headers(), route.max_body_bytes)?;
        let credential = Credential::from_headers(request.headers()).ok_or_else(Refusal::unauthenticated)?;
        let client = self.proxies.find_client(peer, request.headers());
        let grant_request = GrantRequest {
            credential: credential.into_secret(),
            workspace,
            needs: route.access,
            kind: route.kind,
            address: client.to_canonical().to_string(),
        };
        let grant = self.controller.request_grant(id, &grant_request, &route).await?;
        let admitted = self.admit(id, workspace, grant, rest, request.uri().query())?;
        match upgrade {
            Some(upgrade) => self.relay_websocket(upgrade, &request, route.kind, admitted).await,
            None => self.relay_request(request, &route, admitted).await,
        }
    }

    fn admit(
        &self,
        id: RequestId,
        workspace: WorkspaceId,
        grant: GrantReply,
        rest: &str,
        query: Option<&str>,
    ) -> Result<AdmittedRequest> {
        let guard = self.streams.register(LiveStream {
            session: grant.session,
            workspace,
            epoch: grant.epoch,
            access: grant.access,
            preview_port: None,
        })?;
        let placement = Placement { workspace, epoch: grant.epoch, front: grant.front.clone() };
        let path_and_query =
            query.map_or_else(|| format!("/v1/{rest}"), |query| format!("/v1/{rest}?{query}"));
        Ok(AdmittedRequest { id, placement, grant, guard, path_and_query })
    }

    async fn relay_websocket(
        &self,
        upgrade: UpgradeRequest,
        request: &Request<Incoming>,
        kind: RouteKind,
        admitted: AdmittedRequest,
    ) -> Result<Response> {
        let headers = headers::client_to_front(request.headers(), admitted.grant.grant.expose(), admitted.id);
        let opened = self.open_stream(&admitted.placement, &admitted.path_and_query, headers).await;
        let upstream = match opened {
            Ok(upstream) => upstream,
            Err(WebSocketError::Refused(response)) => {
                log_front_refusal(&admitted, response.status());
                return websocket_refusal(*response).await;
            }
            Err(WebSocketError::Link(error)) => return Err(link_refusal(&error)),
        };
        // A program may wait for hours until someone reads its output, and so may the client of a port, so
        // these streams have no write timeout.
        let may_stall = matches!(kind, RouteKind::Exec | RouteKind::Ports);
        let stall_timeout = (!may_stall).then_some(self.limits.write_timeout);
        if stall_timeout.is_none()
            && upgrade.owns_connection()
            && let Some(write_timeout) = request.extensions().get::<WriteTimeoutHandle>()
        {
            write_timeout.disable();
        }
        let (response, on_upgrade) = upgrade.accept();
        let AdmittedRequest { id, guard, .. } = admitted;
        let share = request.extensions().get::<Arc<BufferShare>>().cloned();
        let splice = splice_websocket(id, on_upgrade, upstream, guard, stall_timeout);
        self.tasks.spawn("splice", async move {
            splice.await;
            drop(share);
        });
        Ok(response)
    }

    async fn relay_request(
        &self,
        request: Request<Incoming>,
        route: &Route,
        admitted: AdmittedRequest,
    ) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let headers = headers::client_to_front(&parts.headers, admitted.grant.grant.expose(), admitted.id);
        let link = self.link(&admitted.placement).await?;
        let path = &admitted.path_and_query;
        let max_bytes = route.max_body_bytes;
        let mut fault = BodyFault::default();
        let response = if max_bytes == 0 {
            let first = send(&link, &parts.method, path, &headers, empty(), RESPONSE_TIMEOUT).await;
            match first {
                // The link had died unnoticed. A request that only reads may be sent twice.
                Err(_) if link.is_closed() && parts.method.is_safe() => {
                    let link = self.link(&admitted.placement).await?;
                    send(&link, &parts.method, path, &headers, empty(), RESPONSE_TIMEOUT).await
                }
                response => response,
            }
        } else {
            let (body, body_fault) = request_body(body, max_bytes, self.limits.body_idle_timeout);
            fault = body_fault;
            send(&link, &parts.method, path, &headers, body, UPLOAD_TIMEOUT).await
        };
        let response =
            response.map_err(|error| fault.refusal(max_bytes).unwrap_or_else(|| link_refusal(&error)))?;
        log_front_refusal(&admitted, response.status());
        client_response(response, self.limits.body_idle_timeout, admitted.guard)
    }

    /// Opens a stream to a workspace.
    pub async fn open_stream(
        &self,
        placement: &Placement,
        path_and_query: &str,
        headers: HeaderMap,
    ) -> std::result::Result<Upgraded, WebSocketError> {
        let link = self.links.get(placement).await?;
        match link.open_websocket(path_and_query, headers.clone()).await {
            // The link had died unnoticed: try once more over a new one.
            Err(WebSocketError::Link(_)) if link.is_closed() => {
                self.links.get(placement).await?.open_websocket(path_and_query, headers).await
            }
            opened => opened,
        }
    }

    async fn link(&self, placement: &Placement) -> Result<Link> {
        self.links.get(placement).await.map_err(|error| link_refusal(&error))
    }
}

async fn send(
    link: &Link,
    method: &Method,
    path_and_query: &str,
    headers: &HeaderMap,
    body: body::Body,
    limit: Duration,
) -> std::result::Result<http::Response<ResponseBody>, LinkError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .body(body)
        .map_err(|_| LinkError::InvalidUri)?;
    *request.headers_mut() = headers.clone();
    link.request_within(request, limit).await
}

/// Copies an accepted WebSocket's bytes until it ends.
async fn splice_websocket(
    id: RequestId,
    on_upgrade: OnUpgrade,
    upstream: Upgraded,
    guard: StreamGuard,
    stall_timeout: Option<Duration>,
) {
    let downstream = match timeout(UPGRADE_TIMEOUT, on_upgrade).await {
        Ok(Ok(downstream)) => TokioIo::new(downstream),
        Ok(Err(error)) => {
            return tracing::debug!(request_id = %id, %error, "the client left during the upgrade");
        }
        Err(_) => return tracing::info!(request_id = %id, "the client did not finish the upgrade"),
    };
    match splice(downstream, upstream, guard.revoked(), stall_timeout).await {
        SpliceEnd::Closed => tracing::debug!(request_id = %id, "a WebSocket closed"),
        SpliceEnd::Revoked => {
            tracing::warn!(request_id = %id, "a WebSocket was cut: its session was revoked");
        }
        SpliceEnd::Stalled => {
            tracing::warn!(request_id = %id, "a WebSocket was cut: one side stopped reading");
        }
        SpliceEnd::Failed(error) => log_cut(&error, format_args!("a WebSocket of request {id} was cut")),
    }
}

/// Logs that the workspace refused a request, so that its id can be found like that of our own
/// refusals. The body may come from the guest and does not belong in our log.
fn log_front_refusal(admitted: &AdmittedRequest, status: StatusCode) {
    if status.is_client_error() || status.is_server_error() {
        let (id, workspace) = (admitted.id, admitted.placement.workspace);
        tracing::info!(request_id = %id, %workspace, status = status.as_u16(), "refused by the workspace");
    }
}

/// Turns the front's response into the client's. Statuses that the agent's routes never use are refused.
fn client_response(
    response: http::Response<ResponseBody>,
    idle_timeout: Duration,
    guard: StreamGuard,
) -> Result<Response> {
    let (parts, body) = response.into_parts();
    let is_expected = parts.status.is_success()
        || parts.status == StatusCode::NOT_MODIFIED
        || parts.status.is_client_error()
        || parts.status.is_server_error();
    if !is_expected {
        return Err(Refusal::workspace_unavailable().because(format!("it answered {}", parts.status)));
    }
    let mut response = Response::new(response_body(body, idle_timeout, Some(guard)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::front_to_client(&parts.headers);
    Ok(response)
}

/// Turns the front's response to a WebSocket request into the client's: an error, never a stream.
/// The body is sent in one piece, because a client whose upgrade fails reads no more than that.
async fn websocket_refusal(response: http::Response<ResponseBody>) -> Result<Response> {
    let (parts, body) = response.into_parts();
    if !(parts.status.is_client_error() || parts.status.is_server_error()) {
        return Err(Refusal::workspace_unavailable()
            .because(format!("it answered a WebSocket with {}", parts.status)));
    }
    let body = timeout(RESPONSE_TIMEOUT, Limited::new(body, MAX_REFUSAL_BYTES).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Refusal::workspace_unavailable().because(error)),
        Err(elapsed) => return Err(Refusal::workspace_unavailable().because(elapsed)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::front_to_client(&parts.headers);
    Ok(response)
}

/// The refusal for a link that cannot carry a request.
pub fn link_refusal(error: &LinkError) -> Refusal {
    match error {
        LinkError::Timeout(_) => {
            Refusal::new(Code::Timeout, "The workspace did not answer in time. Try again.").because(error)
        }
        LinkError::Full(limit) => Refusal::new(Code::TooManyStreams, &limit.advice()).because(error),
        _ => Refusal::workspace_unavailable().because(error),
    }
}
