//! Previews: each port of each workspace at an origin of its own, `PORT--WORKSPACE.<preview host>`.
//!
//! The path of one request to such an origin:
//!
//! 1. Find the visitor's cookie ([`visit`]). It does not count if a page of another workspace or site made
//!    the request.
//! 2. Get a grant for this port from the controller, or one of the last seconds ([`grants`]). Without a
//!    grant, a browser's navigation is sent to the app, which returns it with a ticket; anything else is
//!    refused.
//! 3. Register the stream, so that it ends when the session or the visibility does.
//! 4. Open a stream to the port through the runner's front, and speak HTTP/1.1 on it ([`proxy`]). The server
//!    in the guest believes that it is visited at `localhost` ([`rewrite`]).
//!
//! Nothing of the app is served at these origins, and nothing of a guest anywhere else. The paths below
//! `/.burrow/` are ours.

use std::net::IpAddr;

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use protocol::{
    Code, Redacted, RequestId,
    api::internal::{GrantReply, PreviewGrantRequest, PreviewTicketRequest},
    ports::{
        HostKind, PREVIEW_PATH_PREFIX, PREVIEW_READY_PATH, PREVIEW_TICKET_PATH, PreviewHost, PreviewTarget,
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    headers as gateway_headers,
    origin::is_loopback,
    refusal::{Refusal, Result},
    router::Router,
};

pub mod grants;
mod page;
mod proxy;
mod rewrite;
mod visit;

use page::Page;
use visit::Visit;

/// Where previews are, and where the app is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewConfig {
    /// The host whose subdomains are previews.
    pub host: PreviewHost,
    /// The origin of the app that visitors without a cookie are sent to.
    pub app_origin: String,
}

impl PreviewConfig {
    /// Whether browsers keep secure cookies of previews.
    fn is_secure(&self) -> bool {
        self.host.scheme == "https" || is_loopback(&self.host.name)
    }

    /// The page of the app that creates a ticket and returns to `path` of the preview.
    fn sign_in_url(&self, target: PreviewTarget, path: &str) -> String {
        let PreviewTarget { port, workspace } = target;
        let to = utf8_percent_encode(path, NON_ALPHANUMERIC);
        format!("{}/preview?workspace={workspace}&port={port}&to={to}", self.app_origin)
    }
}

/// Why a preview is not shown.
enum Failure {
    /// The visitor is not signed in, or has no valid cookie of this preview.
    SignIn,
    /// The visitor may not see the port.
    Forbidden,
    /// The workspace is not running.
    Stopped,
    /// Nothing listens on the port.
    NotListening,
    Other(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal)
    }
}

impl Router {
    /// What a request's host stands for. A host of the app is never a preview's.
    pub fn classify_host<B>(&self, request: &Request<B>) -> HostKind {
        let host = gateway_headers::host(request.uri(), request.headers());
        let Some(preview) = &self.preview else { return HostKind::Other };
        match preview.host.classify(host) {
            HostKind::Unknown if self.origins.has_host(host) => HostKind::Other,
            kind => kind,
        }
    }

    /// Answers a request to the origin of a preview.
    pub async fn serve_preview(
        &self,
        config: &PreviewConfig,
        request: Request<Incoming>,
        (id, peer): (RequestId, IpAddr),
        target: PreviewTarget,
    ) -> Response {
        let visit = Visit::new(&config.host, target, &request, config.is_secure());
        if let Some(response) = visit.answer_preflight(request.headers()) {
            return response;
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let outcome = match uri.path() {
            PREVIEW_TICKET_PATH => self.redeem_ticket(config, &visit, (&method, &uri), id).await,
            PREVIEW_READY_PATH => self.check_ready(&visit, id).await.map(|()| no_content()),
            path if path.starts_with(PREVIEW_PATH_PREFIX) => Err(Refusal::not_found().into()),
            _ => self.proxy_preview(config, &visit, request, (id, peer)).await,
        };
        let mut response = match outcome {
            Ok(response) => response,
            Err(failure) => self.explain(config, &visit, (&method, &uri), failure, id),
        };
        visit.allow_sibling(response.headers_mut());
        response
    }

    /// Exchanges a ticket for the preview's cookie, and sends the browser to the page that it asked for.
    async fn redeem_ticket(
        &self,
        config: &PreviewConfig,
        visit: &Visit,
        (method, uri): (&Method, &Uri),
        id: RequestId,
    ) -> std::result::Result<Response, Failure> {
        if method != Method::GET {
            return Err(Refusal::new(Code::MethodNotAllowed, "Open this address in a browser.").into());
        }
        let query = uri.query().unwrap_or_default();
        let ticket = query_value(query, "ticket").unwrap_or_default();
        let asked = PreviewTicketRequest { ticket: Redacted::new(ticket), target: visit.target };
        let cookie = self.controller.redeem_preview_ticket(id, &asked).await?;
        let to = query_value(query, "to").filter(|to| is_local_path(to)).unwrap_or_else(|| "/".to_owned());
        let mut response = redirect(StatusCode::SEE_OTHER, &to)?;
        let cookie = visit.cookie(&cookie, config.is_secure());
        response.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(response)
    }

    /// Succeeds if the visitor may see the preview and something listens on its port.
    async fn check_ready(&self, visit: &Visit, id: RequestId) -> std::result::Result<(), Failure> {
        let grant = self.preview_grant(visit, id).await?;
        self.connect_preview(&grant, visit.target, id).await.map(drop)
    }

    /// A grant for the visitor, which may be some seconds old.
    async fn preview_grant(&self, visit: &Visit, id: RequestId) -> std::result::Result<GrantReply, Failure> {
        let key = (visit.target, visit.credential.as_ref().map(|secret| secret.expose().clone()));
        if let Some(grant) = self.preview_grants.find(&key) {
            return Ok(grant);
        }
        let asked = PreviewGrantRequest { credential: visit.credential.clone(), target: visit.target };
        let granted = self.controller.request_preview_grant(id, &asked).await;
        let grant = granted.map_err(|refusal| match refusal.code() {
            Code::Unauthenticated => Failure::SignIn,
            Code::NotFound | Code::Forbidden => Failure::Forbidden,
            Code::NotRunning => Failure::Stopped,
            _ => refusal.into(),
        })?;
        self.preview_grants.insert(key, grant.clone());
        Ok(grant)
    }

    /// Turns a failure into a page for a browser that shows it, and into a problem for anything else.
    fn explain(
        &self,
        config: &PreviewConfig,
        visit: &Visit,
        (method, uri): (&Method, &Uri),
        failure: Failure,
        id: RequestId,
    ) -> Response {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with(PREVIEW_PATH_PREFIX) { "/" } else { path };
        let sign_in = config.sign_in_url(visit.target, path);
        if matches!(failure, Failure::SignIn) && visit.is_page && !visit.is_framed {
            return redirect(StatusCode::FOUND, &sign_in)
                .unwrap_or_else(|refusal| refusal.into_response(id, "preview"));
        }
        let port = visit.target.port;
        let (refusal, page) = match failure {
            Failure::SignIn => (Refusal::unauthenticated(), Page::sign_in(port, &sign_in)),
            Failure::Forbidden => (
                Refusal::new(
                    Code::Forbidden,
                    "You may not see this preview. Ask the owner of the workspace.",
                ),
                Page::forbidden(port, &sign_in),
            ),
            Failure::Stopped => {
                let app = format!("{}/workspaces/{}", config.app_origin, visit.target.workspace);
                let detail = "The workspace is not running. Start it first.";
                (Refusal::new(Code::NotRunning, detail), Page::stopped(port, &app))
            }
            Failure::NotListening => {
                let detail = format!("Nothing listens on port {port} of the workspace.");
                (Refusal::new(Code::Unavailable, &detail), Page::not_listening(port))
            }
            Failure::Other(refusal) => {
                let page = match refusal.code() {
                    Code::Expired => Page::expired(port, &sign_in),
                    _ => Page::refused(port, refusal.detail()),
                };
                (refusal, page)
            }
        };
        let status = refusal.status();
        // The query may hold secrets of the guest's application.
        let problem = refusal.into_response(id, &format!("{method} {port}{}: preview", uri.path()));
        let mut response = if visit.is_page { page.into_response(status, visit.is_framed) } else { problem };
        let policy = frame_policy(&self.origins, response.headers().get(header::CONTENT_SECURITY_POLICY));
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        gateway_headers::mark_request(response.headers_mut(), id);
        response
    }
}

/// The policy of a page of ours, which the app may show in a frame.
fn frame_policy(origins: &crate::origin::Origins, policy: Option<&HeaderValue>) -> HeaderValue {
    let policy = policy.and_then(|policy| policy.to_str().ok()).unwrap_or("default-src 'none'");
    let combined = format!("{policy}; {}", rewrite::frame_ancestors(origins.list()));
    HeaderValue::from_str(&combined).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn redirect(status: StatusCode, location: &str) -> Result<Response> {
    let location = HeaderValue::from_str(location).map_err(|_| Refusal::not_found())?;
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, location);
    forbid_storing(response.headers_mut());
    Ok(response)
}

fn no_content() -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    forbid_storing(response.headers_mut());
    response
}

/// Keeps a ticket out of caches and out of the Referer of what follows.
fn forbid_storing(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// Whether a path stays at the origin: browsers read `//host` and `/\host` as another one.
fn is_local_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.starts_with("/\\")
        && !path.starts_with(PREVIEW_PATH_PREFIX)
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The decoded value of a parameter.
fn query_value(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_returns_to_the_same_origin() {
        for path in ["/", "/a/b?c=d#e", "/a//b"] {
            assert!(is_local_path(path), "{path}");
        }
        for path in
            ["", "a", "//evil.example", "/\\evil.example", "https://evil.example", "/.burrow/x", "/a\nb"]
        {
            assert!(!is_local_path(path), "{path:?}");
        }
        assert_eq!(query_value("ticket=a&to=%2Fx%3Fy", "to").as_deref(), Some("/x?y"));
        assert_eq!(query_value("xticket=a", "ticket"), None);
    }
}
