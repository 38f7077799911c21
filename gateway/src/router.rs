//! The gateway's shared state, and the path of every request through it: target, origin check, the
//! part that serves it, then the headers that every response has.

use std::{net::IpAddr, path::Path, sync::Arc};

use axum::response::Response;
use http::{HeaderValue, Request, Version, header};
use hyper::body::{Body as _, Incoming};
use protocol::{Code, RequestId, ports::HostKind};

use crate::{
    Limits, assets,
    buffer_budget::{BufferBudget, BufferShare, Traffic},
    controller::ControllerClient,
    credential, headers,
    links::LinkPool,
    origin::{LocalAddress, Origins},
    preview::{PreviewConfig, grants::PreviewGrants},
    proxies::TrustedProxies,
    refusal::{Refusal, Result},
    streams::StreamRegistry,
    target::Target,
    tls::{Tls, redirect},
    websocket,
};

/// When to try again if the buffers are full: a moment after the stalled responses are cut.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// How much of a path is logged, in characters.
const MAX_LOGGED_PATH: usize = 1024;

/// Everything that serving a request needs. One per gateway, shared by all connections.
///
/// A request to the host of a preview goes to [`Self::serve_preview`], and no other does. All others go to
/// one of three parts: `/api/v1/workspaces/{id}/agent/…` to the workspace's
/// runner ([`Self::relay`]), the rest of `/api/v1/` to the controller
/// ([`Self::proxy_to_controller`]), any other path to the web app ([`assets`]).
#[derive(Debug)]
pub struct Router {
    pub controller: ControllerClient,
    pub links: LinkPool,
    pub buffers: BufferBudget,
    pub streams: Arc<StreamRegistry>,
    pub origins: Origins,
    pub proxies: TrustedProxies,
    pub preview: Option<PreviewConfig>,
    pub preview_grants: PreviewGrants,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub tasks: daemon::Tasks,
}

impl Router {
    /// `controller` is the controller's Unix socket.
    pub fn new(controller: &Path, origins: Vec<String>, limits: Limits, tasks: daemon::Tasks) -> Self {
        Self {
            controller: ControllerClient::new(controller),
            links: LinkPool::default(),
            buffers: BufferBudget::new(limits.max_buffered_bytes),
            streams: StreamRegistry::new(limits.max_streams_per_session),
            origins: Origins::new(origins),
            proxies: TrustedProxies::default(),
            preview: None,
            preview_grants: PreviewGrants::default(),
            tls: None,
            limits,
            tasks,
        }
    }

    /// Answers a request. Every failure becomes a response with the id of the request.
    pub async fn handle(&self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let id = RequestId::random();
        let is_tls = is_tls(&request);
        let host = is_tls.then(|| headers::host(request.uri(), request.headers()).to_owned());
        let mut response = match (self.classify_host(&request), &self.preview) {
            (HostKind::Preview(target), Some(config)) => {
                self.serve_preview(config, request, (id, peer), target).await
            }
            (HostKind::Other, _) => {
                let summary = summarize(&request);
                respond(self.route(request, id, peer).await, id, &summary)
            }
            _ => respond(Err(Refusal::not_found()), id, &summarize(&request)),
        };
        if let (Some(tls), Some(host)) = (&self.tls, host) {
            tls.add_hsts(response.headers_mut(), &host);
        }
        response
    }

    /// Answers a request by plain http to a gateway with TLS.
    pub fn redirect_to_https(&self, request: &Request<Incoming>, local: LocalAddress) -> Response {
        let (method, uri, id) = (request.method(), request.uri(), RequestId::random());
        let result = match Target::parse(uri.path()) {
            Target::CaCertificate => self.ca_certificate(),
            _ => redirect::to_https(method, uri, request.headers(), local),
        };
        respond(result, id, &format!("{method} {} by plain http", uri.path()))
    }

    /// Answers a request to a listener that only sends clients to this origin. It is the operator's: a Host
    /// header could send the client anywhere.
    pub fn redirect_to_origin(request: &Request<Incoming>, origin: &str) -> Response {
        let (method, uri, id) = (request.method(), request.uri(), RequestId::random());
        respond(redirect::to_origin(origin, uri), id, &format!("{method} {}", uri.path()))
    }

    /// The certificate of the local CA, if there is one. It is public, and needed before a browser trusts
    /// this server.
    fn ca_certificate(&self) -> Result<Response> {
        let certificate = self.tls.as_ref().and_then(|tls| tls.ca_certificate.clone());
        let mut response = Response::new(certificate.ok_or_else(Refusal::not_found)?.into());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-x509-ca-cert"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }

    /// Answers a request on a connection that has no place.
    pub fn refuse_connection(request: &Request<Incoming>) -> Response {
        let refusal = Refusal::new(
            Code::RateLimited,
            "Your address has too many open connections. Close some of them, then try again.",
        );
        let summary = summarize(request);
        let mut response = respond(Err(refusal), RequestId::random(), &summary);
        if request.version() < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Reserves what may be buffered for a request from `peer`, or returns the refusal.
    pub fn reserve_buffers(
        &self,
        request: &Request<Incoming>,
        peer: IpAddr,
    ) -> std::result::Result<BufferShare, Box<Response>> {
        let is_upgrade = websocket::is_upgrade(request);
        let traffic = match Target::parse(request.uri().path()) {
            _ if self.classify_host(request) != HostKind::Other => {
                if is_upgrade {
                    Traffic::WebSocket
                } else {
                    Traffic::Preview
                }
            }
            Target::Api => Traffic::Controller,
            Target::Agent { .. } if is_upgrade => Traffic::WebSocket,
            Target::Agent { .. } => Traffic::Workspace,
            Target::WebApp | Target::CaCertificate | Target::NotFound => Traffic::Asset,
        };
        let has_body = !request.body().is_end_stream();
        let needed = traffic.needed_bytes(request.version(), request.headers(), has_body);
        let client = self.proxies.find_client(peer, request.headers());
        self.buffers.reserve(client, needed).ok_or_else(|| {
            let detail = "Your address has too many requests at once. Try again in a moment.";
            let refusal = Refusal::new(Code::Unavailable, detail);
            let summary = format!("{}: the buffers are full", summarize(request));
            let mut response = respond(Err(refusal), RequestId::random(), &summary);
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_SECONDS);
            Box::new(response)
        })
    }

    async fn route(&self, mut request: Request<Incoming>, id: RequestId, peer: IpAddr) -> Result<Response> {
        let path = request.uri().path().to_owned();
        let target = Target::parse(&path);
        if let Target::Agent { .. } | Target::Api = target {
            let is_secure = self.is_secure(&request, peer);
            credential::remove_plain_cookie(request.headers_mut(), is_secure);
            let local = request.extensions().get::<LocalAddress>().copied();
            let is_upgrade = websocket::is_upgrade(&request);
            self.origins.check(request.method(), request.headers(), is_upgrade, local)?;
        }
        match target {
            Target::Agent { workspace, rest } => self.relay(request, id, peer, (workspace, rest)).await,
            Target::Api => self.proxy_to_controller(request, id, peer).await,
            Target::WebApp => {
                let frames = self.preview.as_ref().map(|preview| preview.host.csp_source());
                assets::serve(request.method(), &path, request.headers(), frames.as_deref())
            }
            Target::CaCertificate => self.ca_certificate(),
            Target::NotFound => Err(Refusal::not_found()),
        }
    }

    /// Whether the browser keeps cookies marked secure: what a trusted proxy says, else what the
    /// page's origin shows.
    pub fn is_secure<B>(&self, request: &Request<B>, peer: IpAddr) -> bool {
        let headers = request.headers();
        self.proxies.find_is_https(peer, headers).unwrap_or_else(|| {
            self.origins.is_secure(headers, headers::host(request.uri(), headers), is_tls(request))
        })
    }
}

/// The method and path of a request, for the log. The query is left out, because it may hold names of files.
fn summarize<B>(request: &Request<B>) -> String {
    let path: String = request.uri().path().chars().take(MAX_LOGGED_PATH).collect();
    format!("{} {path}", request.method())
}

/// Turns the outcome of a request into its response, with the headers that every response has. `summary`
/// goes to the log with a refusal.
fn respond(result: Result<Response>, id: RequestId, summary: &str) -> Response {
    let mut response = result.unwrap_or_else(|refusal| refusal.into_response(id, summary));
    headers::add_security_headers(response.headers_mut(), id);
    response
}

/// Whether the connection of a request is encrypted.
fn is_tls<B>(request: &Request<B>) -> bool {
    request.extensions().get::<LocalAddress>().is_some_and(|local| local.is_tls)
}
