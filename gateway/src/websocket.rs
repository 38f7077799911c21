//! The client's half of opening a WebSocket: HTTP/1.1 upgrade (RFC 6455) or HTTP/2 extended CONNECT (RFC 8441).

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::{ext::Protocol, upgrade::OnUpgrade};
use protocol::Code;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::refusal::{Outcome, Refusal};

/// A valid wish for a WebSocket.
pub struct Wish {
    /// The answer to an HTTP/1.1 key; HTTP/2 has none.
    accept: Option<HeaderValue>,
    on_upgrade: OnUpgrade,
}

/// Whether anything but an ordinary answer is wanted.
pub fn is_wanted<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE)
}

impl Wish {
    /// Reads the wish; refuses anything that is not exactly a WebSocket's.
    pub fn of<B>(request: &mut Request<B>) -> Outcome<Self> {
        let accept = if request.method() == Method::CONNECT {
            let protocol = request.extensions().get::<Protocol>();
            if protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
                return Err(no_websocket());
            }
            None
        } else {
            Some(accept_of(request)?)
        };
        Ok(Self { accept, on_upgrade: hyper::upgrade::on(request) })
    }

    /// Whether the whole connection becomes this one stream.
    pub fn owns_connection(&self) -> bool {
        self.accept.is_some()
    }

    /// The answer that opens it (without a subprotocol: the streams have none), and what becomes the stream once that is sent.
    pub fn grant(self) -> (Response, OnUpgrade) {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        if let Some(accept) = self.accept {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        (response, self.on_upgrade)
    }
}

fn accept_of<B>(request: &Request<B>) -> Outcome<HeaderValue> {
    let headers = request.headers();
    let fits = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| fits && key.len() == 24);
    let key = key.ok_or_else(no_websocket)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| no_websocket())
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

fn no_websocket() -> Refusal {
    Refusal::new(Code::BadRequest, "This address takes WebSockets (version 13) only.")
}
