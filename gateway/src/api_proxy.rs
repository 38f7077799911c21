//! The public API: requests below `/api/v1/` are forwarded to the controller, which authenticates
//! them itself.

use std::{iter::successors, net::IpAddr};

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use protocol::{Code, RequestId};

use crate::{
    body::{check_content_length, request_body, response_body},
    buffer_budget::MAX_API_BODY_BYTES,
    controller::ForwardError,
    headers,
    refusal::{Refusal, Result},
    router::Router,
    websocket,
};

impl Router {
    /// Forwards a request to the controller and its response to the client.
    pub async fn proxy_to_controller(
        &self,
        request: Request<Incoming>,
        id: RequestId,
        peer: IpAddr,
    ) -> Result<Response> {
        if websocket::is_upgrade(&request) {
            return Err(Refusal::new(Code::BadRequest, "There is no WebSocket at this address."));
        }
        check_content_length(request.headers(), MAX_API_BODY_BYTES)?;
        let is_secure = self.is_secure(&request, peer);
        let (parts, body) = request.into_parts();
        let client = self.proxies.find_client(peer, &parts.headers);
        let (body, fault) = request_body(body, MAX_API_BODY_BYTES, self.limits.body_idle_timeout);
        let mut forwarded = Request::new(body);
        *forwarded.headers_mut() = headers::client_to_controller(&parts, client, id, is_secure);
        *forwarded.method_mut() = parts.method;
        *forwarded.uri_mut() = parts.uri;
        let response = self.controller.forward(forwarded).await.map_err(|error| {
            fault
                .refusal(MAX_API_BODY_BYTES)
                .unwrap_or_else(|| forward_refusal(&error))
                .because(error_chain(&error))
        })?;
        let (parts, body) = response.into_parts();
        if parts.status.is_informational() {
            return Err(Refusal::controller_unavailable().because(parts.status));
        }
        let mut response = Response::new(response_body(body, self.limits.response_idle_timeout, None));
        *response.status_mut() = parts.status;
        *response.headers_mut() = headers::controller_to_client(parts.headers);
        Ok(response)
    }
}

fn forward_refusal(error: &ForwardError) -> Refusal {
    match error {
        ForwardError::Timeout => {
            Refusal::new(Code::Timeout, "The controller did not answer in time. Try again.")
        }
        ForwardError::InvalidUri | ForwardError::Http(_) => Refusal::controller_unavailable(),
    }
}

/// The error and its causes as one text, for the log.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
