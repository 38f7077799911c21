//! Layers of every request: the request id, panics that become responses, and authentication.

use std::{any::Any, sync::Arc};

use axum::{
    body::to_bytes,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use protocol::{
    Code, Problem, RequestId,
    api::auth::{COOKIE, COOKIE_PLAIN},
    problem::REQUEST_ID_HEADER,
};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use super::{
    PREFIX,
    error::{ApiError, Refused, Result},
    extract::client_address,
    route_access::RouteAccess,
};
use crate::{
    audit::{
        origin::Origin,
        refusals::{self, Refusal},
    },
    authz::Caller,
    core::App,
    identity::sessions::{self, OpenSession},
};

/// Values of Sec-Fetch-Site for a page of this server, and for an address that the user typed.
const OWN_SITES: [&str; 2] = ["same-origin", "none"];

/// Gives the request an id, or keeps the gateway's, and adds it to the response.
pub async fn request_id(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()?.parse().ok());
    let id = given.unwrap_or_else(RequestId::random);
    request.extensions_mut().insert(id);
    let span = tracing::info_span!("request", %id);
    let origin = Origin::new(id, client_address(request.headers()));
    let mut response = origin.run(next.run(request).instrument(span.clone())).await;
    if let Some(problem) = response.extensions().get::<Problem>() {
        span.in_scope(|| tracing::info!(code = ?problem.code, detail = problem.detail, "request failed"));
        response = transport::problem::add_request_id(response, &id.to_string());
    }
    let text = HeaderValue::from_str(&id.to_string()).expect("an id is plain text");
    response.headers_mut().insert(REQUEST_ID_HEADER, text);
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Turns a panic of a handler into a response.
pub fn catch_panics() -> CatchPanicLayer<fn(Box<dyn Any + Send>) -> Response> {
    CatchPanicLayer::custom(|_| {
        tracing::error!("a handler panicked");
        ApiError::new(
            Code::Internal,
            "Something went wrong in the server. If it keeps failing, report the request id.",
        )
        .into_response()
    })
}

/// Requires the session that the table of routes asks for. What the session's user may not do is recorded in
/// the audit log.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let checked = check_session(&app, &mut request).await;
    let attempt = Attempt::of(&request);
    let response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => {
            // Reads the rest of the body, so that the client gets the response and not a broken
            // connection.
            let _ = to_bytes(request.into_body(), super::MAX_BODY_BYTES).await;
            error.into_response()
        }
    };
    if let Some(attempt) = attempt.filter(|_| response.extensions().get::<Refused>().is_some())
        && let Err(error) = attempt.record(&app).await
    {
        tracing::error!(%error, "cannot record a refused request in the audit log");
    }
    response
}

/// A request with a session, as the audit log mentions it if it is refused.
struct Attempt {
    caller: Caller,
    /// `POST /workspaces/{id}/start`.
    route: String,
    path: String,
}

impl Attempt {
    fn of(request: &Request) -> Option<Self> {
        let session = request.extensions().get::<Arc<OpenSession>>()?;
        let template = request.extensions().get::<MatchedPath>()?.as_str().strip_prefix(PREFIX)?;
        let path = request.uri().path().strip_prefix(PREFIX)?;
        Some(Self {
            caller: session.caller,
            route: format!("{} {template}", request.method()),
            path: path.to_owned(),
        })
    }

    async fn record(self, app: &App) -> std::result::Result<(), sqlx::Error> {
        let refusal = Refusal {
            actor: Some(self.caller.user),
            action: "request.refuse",
            subject: self.path,
            key: format!("{} {}", self.caller.user, self.route),
            detail: serde_json::json!({ "route": self.route }),
        };
        let mut system = app.db.system().await?;
        refusals::record(system.connection(), app.now(), self.caller.tenant, &refusal).await?;
        system.commit().await
    }
}

async fn check_session(app: &App, request: &mut Request) -> Result<()> {
    let bearer = bearer(request.headers());
    if bearer.is_none() && !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_site(request.headers())?;
    }
    let access = find_access(request).ok_or_else(|| {
        tracing::error!(path = request.uri().path(), "a route is missing in the table of route_access");
        ApiError::new(Code::Forbidden, "Nobody may use this address.")
    })?;
    if access == RouteAccess::Open {
        return Ok(());
    }
    let credential = bearer.or_else(|| cookie(request.headers())).ok_or_else(ApiError::unauthenticated)?;
    let mut system = app.db.system().await?;
    let open = sessions::find(system.connection(), app.now(), credential).await?;
    system.commit().await?;
    let open = open.ok_or_else(ApiError::unauthenticated)?;
    let checked = access.check(&open);
    request.extensions_mut().insert(Arc::new(open));
    checked
}

/// The row of the table for a request. This layer is outside of the nested routes, so the path is
/// complete.
fn find_access(request: &Request) -> Option<RouteAccess> {
    let template = request.extensions().get::<MatchedPath>()?.as_str().strip_prefix(PREFIX)?;
    RouteAccess::of(request.method().as_str(), template)
}

/// Refuses requests that a browser sends for another site. The gateway compares the origin too.
fn check_site(headers: &HeaderMap) -> Result<()> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(site) if !OWN_SITES.iter().any(|own| own.as_bytes() == site) => {
            Err(ApiError::new(Code::ForeignOrigin, "Open this server's own page and try again there."))
        }
        _ => Ok(()),
    }
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session cookie of a request.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(header::AUTHORIZATION) {
        // A request with another credential must not fall back to the cookie.
        return None;
    }
    let pairs = || {
        let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
    };
    [COOKIE, COOKIE_PLAIN]
        .into_iter()
        .find_map(|name| pairs().find(|(key, _)| *key == name))
        .map(|(_, value)| value)
}
