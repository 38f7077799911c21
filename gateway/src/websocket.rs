//! The server's half of a WebSocket handshake: HTTP/1.1 upgrade (RFC 6455) or HTTP/2 extended
//! CONNECT (RFC 8441).

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::{ext::Protocol, upgrade::OnUpgrade};
use protocol::Code;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::refusal::{Refusal, Result};

/// A valid request for a WebSocket that has not been answered yet.
///
/// The relay parses it first, opens the stream to the workspace, and accepts it only then, so that a refused
/// stream is an ordinary HTTP response.
pub struct UpgradeRequest {
    /// `sec-websocket-accept` of the response. HTTP/2 has none.
    accept_key: Option<HeaderValue>,
    on_upgrade: OnUpgrade,
}

/// Whether the request asks for an upgrade of any kind.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE)
}

impl UpgradeRequest {
    /// Refuses every request that does not ask for a WebSocket of version 13.
    pub fn parse<B>(request: &mut Request<B>) -> Result<Self> {
        let accept_key = if request.method() == Method::CONNECT {
            let protocol = request.extensions().get::<Protocol>();
            if protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
                return Err(not_a_websocket());
            }
            None
        } else {
            Some(accept_key(request)?)
        };
        Ok(Self { accept_key, on_upgrade: hyper::upgrade::on(request) })
    }

    /// Whether the WebSocket takes over the whole connection (HTTP/1.1).
    pub fn owns_connection(&self) -> bool {
        self.accept_key.is_some()
    }

    /// Returns the response that accepts the WebSocket, and the stream that exists once it was
    /// sent. There is no subprotocol.
    pub fn accept(self) -> (Response, OnUpgrade) {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        if let Some(accept_key) = self.accept_key {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept_key);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        (response, self.on_upgrade)
    }
}

fn accept_key<B>(request: &Request<B>) -> Result<HeaderValue> {
    let headers = request.headers();
    let is_valid = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_valid && key.len() == 24);
    let key = key.ok_or_else(not_a_websocket)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| not_a_websocket())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn not_a_websocket() -> Refusal {
    Refusal::new(Code::BadRequest, "This address accepts only WebSockets (version 13).")
}
