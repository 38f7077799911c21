//! Bodies of relayed requests and responses: bounded in size and idle time. A response body ends
//! with an error when its stream is revoked.

use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use protocol::Code;
use tokio::time::timeout;
use tower_http::timeout::{TimeoutBody, TimeoutError};

use crate::{
    refusal::{Refusal, Result},
    streams::StreamGuard,
};

/// Why a response ended early. It goes to the log; the client sees the connection break.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
    /// The controller revoked the session that the response belongs to.
    #[error("the session was revoked")]
    Revoked,
    /// The sender was silent for this long.
    #[error("no bytes for {} seconds", .0.as_secs())]
    Idle(Duration),
    /// The sender broke off.
    #[error("the connection broke: {0}")]
    Connection(#[from] hyper::Error),
}

/// The first fault in the body of a client's request, shared with the task that reads the body.
///
/// A faulty body fails the request to the upstream with an error that looks like any broken
/// connection. This says that the client was at fault, so that it gets a 4xx response.
#[derive(Clone, Debug, Default)]
pub struct BodyFault(Arc<OnceLock<Code>>);

impl BodyFault {
    /// The refusal for the fault, if there was one. `max_bytes` is the limit of [`request_body`].
    pub fn refusal(&self, max_bytes: u64) -> Option<Refusal> {
        self.0.get().map(|code| match code {
            Code::TooLarge => Refusal::too_large(max_bytes),
            code => Refusal::new(*code, "The body of the request did not arrive completely and in time."),
        })
    }
}

/// Wraps the body of a client's request: at most `max_bytes` long, never silent for longer than
/// `idle_timeout`.
pub fn request_body(body: Incoming, max_bytes: u64, idle_timeout: Duration) -> (transport::Body, BodyFault) {
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let fault = BodyFault::default();
    let first_fault = fault.clone();
    let body = TimeoutBody::new(idle_timeout, Limited::new(body, max_bytes)).map_err(move |error| {
        let code = if error.is::<LengthLimitError>() {
            Code::TooLarge
        } else if error.is::<TimeoutError>() {
            Code::Timeout
        } else {
            Code::BadRequest
        };
        // Only the first fault counts: setting a `OnceLock` again fails.
        let _ = first_fault.0.set(code);
        error
    });
    (body.boxed_unsync(), fault)
}

/// Wraps the body of a response to a client: never silent for longer than `idle_timeout`, ended
/// when `guard` is revoked.
pub fn response_body<B>(body: B, idle_timeout: Duration, guard: Option<StreamGuard>) -> Body
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'static,
{
    let state = Some((body.into_data_stream(), guard));
    Body::from_stream(stream::unfold(state, move |state| async move {
        let (mut data, guard) = state?;
        let piece = tokio::select! {
            biased;
            () = revoked(guard.as_ref()) => Err(ResponseBodyError::Revoked),
            piece = timeout(idle_timeout, data.next()) => match piece {
                Err(_) => Err(ResponseBodyError::Idle(idle_timeout)),
                Ok(piece) => Ok(piece?.map_err(ResponseBodyError::Connection)),
            },
        };
        match piece.and_then(|piece| piece) {
            Ok(piece) => Some((Ok(piece), Some((data, guard)))),
            Err(error) => {
                tracing::warn!(%error, "a response was cut");
                Some((Err(error), None))
            }
        }
    }))
}

async fn revoked(guard: Option<&StreamGuard>) {
    match guard {
        Some(guard) => guard.revoked().await,
        None => pending().await,
    }
}

/// Refuses a body whose declared length is too large, before a byte of it is read.
pub fn check_content_length(headers: &HeaderMap, max_bytes: u64) -> Result<()> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
    let length = length.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length <= max_bytes => Ok(()),
        Some(_) => Err(Refusal::too_large(max_bytes)),
        None => Err(Refusal::new(Code::BadRequest, "Invalid Content-Length header.")),
    }
}
