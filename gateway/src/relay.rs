//! A workspace's streams and files: from the client to the runner's front, unread.

use std::time::Duration;

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
    Link, LinkError, Upgraded, WebSocketError,
    body::{self, empty},
    splice::{SpliceEnd, splice},
};

use crate::{
    body::{Fault, check_length, downward, upward},
    credential::Credential,
    edge::Edge,
    headers,
    links::Place,
    refusal::{Outcome, Refusal},
    sessions::Live,
    stall::Lift,
    websocket::{self, Wish},
};

/// Sending the largest upload over a slow line; silence inside it has a bound of its own.
const UPLOAD_TIMEOUT: Duration = Duration::from_hours(2);
/// A front answers at once or after a look at the guest's disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A refusal is a problem, a few lines.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// From our answer to the client's stream being ours.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// An admitted request's way.
struct Admitted {
    id: RequestId,
    place: Place,
    grant: GrantReply,
    live: Live,
    /// As the front is asked: `/v1/…` with the query.
    address: String,
}

impl Edge {
    /// Relays to `rest` (below `agent/`) of `workspace`.
    pub async fn relay(
        &self,
        mut request: Request<Incoming>,
        id: RequestId,
        workspace: WorkspaceId,
        rest: &str,
    ) -> Outcome<Response> {
        let route = Route::of(request.method().as_str(), rest).ok_or_else(Refusal::not_found)?;
        if !route.is_websocket && websocket::is_wanted(&request) {
            return Err(Refusal::new(Code::BadRequest, "There is no WebSocket at this address."));
        }
        let wish = if route.is_websocket { Some(Wish::of(&mut request)?) } else { None };
        check_length(request.headers(), route.max_body_bytes)?;
        let credential = Credential::of(request.headers()).ok_or_else(Refusal::unauthenticated)?;
        let asked = GrantRequest { credential: credential.into_secret(), workspace, needs: route.access };
        let grant = self.controller.grant(id, &asked, &route).await?;
        let admitted = self.admit(id, workspace, grant, rest, request.uri().query())?;
        match wish {
            Some(wish) => self.open_socket(wish, &request, route.kind, admitted).await,
            None => self.forward(request, &route, admitted).await,
        }
    }

    fn admit(
        &self,
        id: RequestId,
        workspace: WorkspaceId,
        grant: GrantReply,
        rest: &str,
        query: Option<&str>,
    ) -> Outcome<Admitted> {
        let live = self.sessions.admit(LiveStream {
            session: grant.session,
            workspace,
            epoch: grant.epoch,
            access: grant.access,
        })?;
        let place = Place { workspace, epoch: grant.epoch, front: grant.front.clone() };
        let address = query.map_or_else(|| format!("/v1/{rest}"), |query| format!("/v1/{rest}?{query}"));
        Ok(Admitted { id, place, grant, live, address })
    }

    async fn open_socket(
        &self,
        wish: Wish,
        request: &Request<Incoming>,
        kind: RouteKind,
        admitted: Admitted,
    ) -> Outcome<Response> {
        let headers = headers::to_front(request.headers(), admitted.grant.grant.expose(), admitted.id);
        let link = self.link(&admitted.place).await?;
        let opened = match link.open_websocket(&admitted.address, headers.clone()).await {
            Err(WebSocketError::Link(_)) if link.is_closed() => {
                self.link(&admitted.place).await?.open_websocket(&admitted.address, headers).await
            }
            opened => opened,
        };
        let upstream = match opened {
            Ok(upstream) => upstream,
            Err(WebSocketError::Refused(answer)) => {
                tell_refusal(&admitted, answer.status());
                return refused_answer(*answer).await;
            }
            Err(WebSocketError::Link(error)) => return Err(unavailable(&error)),
        };
        // A program waits for whoever reads its output, and its writer for it, for hours if need be.
        let stall = (kind != RouteKind::Exec).then_some(self.limits.write_stall);
        if stall.is_none()
            && wish.owns_connection()
            && let Some(lift) = request.extensions().get::<Lift>()
        {
            lift.lift();
        }
        let (response, on_upgrade) = wish.grant();
        let Admitted { id, live, .. } = admitted;
        self.tasks.spawn("splice", carry(id, on_upgrade, upstream, link, live, stall));
        Ok(response)
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        route: &Route,
        admitted: Admitted,
    ) -> Outcome<Response> {
        let (parts, body) = request.into_parts();
        let headers = headers::to_front(&parts.headers, admitted.grant.grant.expose(), admitted.id);
        let link = self.link(&admitted.place).await?;
        let most = route.max_body_bytes;
        let mut fault = Fault::default();
        let answer = if most == 0 {
            let first =
                send(&link, &parts.method, &admitted.address, &headers, empty(), ANSWER_TIMEOUT).await;
            match first {
                // The link had died unnoticed. What only reads may be asked again.
                Err(_) if link.is_closed() && parts.method.is_safe() => {
                    let link = self.link(&admitted.place).await?;
                    send(&link, &parts.method, &admitted.address, &headers, empty(), ANSWER_TIMEOUT).await
                }
                answer => answer,
            }
        } else {
            let (body, noted) = upward(body, most, self.limits.body_silence);
            fault = noted;
            send(&link, &parts.method, &admitted.address, &headers, body, UPLOAD_TIMEOUT).await
        };
        let answer = answer.map_err(|error| fault.refusal(most).unwrap_or_else(|| unavailable(&error)))?;
        tell_refusal(&admitted, answer.status());
        answered(answer, self.limits.body_silence, admitted.live)
    }

    async fn link(&self, place: &Place) -> Outcome<Link> {
        self.links.get(place).await.map_err(|error| unavailable(&error))
    }
}

async fn send(
    link: &Link,
    method: &Method,
    address: &str,
    headers: &HeaderMap,
    body: body::Body,
    deadline: Duration,
) -> Result<http::Response<Incoming>, LinkError> {
    let mut request =
        Request::builder().method(method).uri(address).body(body).map_err(|_| LinkError::InvalidUri)?;
    *request.headers_mut() = headers.clone();
    link.request_within(request, deadline).await
}

/// Carries a socket's bytes until its end. The link is held, so that it lives as long as its streams.
async fn carry(
    id: RequestId,
    on_upgrade: OnUpgrade,
    upstream: Upgraded,
    _link: Link,
    live: Live,
    stall: Option<Duration>,
) {
    let downstream = match timeout(UPGRADE_TIMEOUT, on_upgrade).await {
        Ok(Ok(downstream)) => TokioIo::new(downstream),
        Ok(Err(error)) => return tracing::debug!(request_id = %id, %error, "the client left while upgrading"),
        Err(_) => return tracing::info!(request_id = %id, "the client did not finish upgrading"),
    };
    match splice(downstream, upstream, live.revoked(), stall).await {
        SpliceEnd::Closed => tracing::debug!(request_id = %id, "a socket closed"),
        SpliceEnd::Revoked => tracing::info!(request_id = %id, "a socket was cut: its session may no longer"),
        SpliceEnd::Stalled => tracing::info!(request_id = %id, "a socket was cut: one side stopped reading"),
        SpliceEnd::Failed(error) => tracing::debug!(request_id = %id, %error, "a socket broke"),
    }
}

/// What the workspace refuses is found by its request id as our own refusals are. Its words are the guest's: not for our log.
fn tell_refusal(admitted: &Admitted, status: StatusCode) {
    if status.is_client_error() || status.is_server_error() {
        let (id, workspace) = (admitted.id, admitted.place.workspace);
        tracing::info!(request_id = %id, %workspace, status = status.as_u16(), "refused by the workspace");
    }
}

/// The front's answer for the client.
fn answered(answer: http::Response<Incoming>, silence: Duration, live: Live) -> Outcome<Response> {
    let (parts, body) = answer.into_parts();
    let sound = parts.status.is_success()
        || parts.status == StatusCode::NOT_MODIFIED
        || parts.status.is_client_error()
        || parts.status.is_server_error();
    if !sound {
        return Err(Refusal::workspace_unavailable().because(format!("it answered {}", parts.status)));
    }
    let mut response = Response::new(downward(body, silence, Some(live)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::from_front(&parts.headers);
    Ok(response)
}

/// A WebSocket was wanted and something else came: passed on where it is an error, and never as a stream. In one piece: what
/// fails to upgrade reads no more than that.
async fn refused_answer(answer: http::Response<Incoming>) -> Outcome<Response> {
    let (parts, body) = answer.into_parts();
    if !(parts.status.is_client_error() || parts.status.is_server_error()) {
        return Err(Refusal::workspace_unavailable()
            .because(format!("it answered a WebSocket with {}", parts.status)));
    }
    let body = timeout(ANSWER_TIMEOUT, Limited::new(body, MAX_REFUSAL_BYTES).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Refusal::workspace_unavailable().because(error)),
        Err(late) => return Err(Refusal::workspace_unavailable().because(late)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::from_front(&parts.headers);
    Ok(response)
}

fn unavailable(error: &LinkError) -> Refusal {
    match error {
        LinkError::Timeout(_) => {
            Refusal::new(Code::Timeout, "The workspace did not answer in time. Try again.").because(error)
        }
        _ => Refusal::workspace_unavailable().because(error),
    }
}
