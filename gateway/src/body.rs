//! Bodies on their way through: bounded in size and in silence, cut when the stream that they are is revoked.

use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use protocol::Code;
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;

use crate::{
    refusal::{Outcome, Refusal},
    sessions::Live,
};

/// Why an answer was not sent to its end; it reaches the log only, the client sees the connection break.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the session has ended")]
    Revoked,
    #[error("nothing came for {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("the sender broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// What was wrong with a client's body, known once it has been. What the sender reports about it is not told apart from a
/// peer that hung up meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<OnceLock<Code>>);

impl Fault {
    /// The refusal that the body deserves, if it does.
    pub fn refusal(&self, most: u64) -> Option<Refusal> {
        self.0.get().map(|code| match code {
            Code::TooLarge => Refusal::too_large(most),
            code => Refusal::new(*code, "The body of the request did not come whole and in time."),
        })
    }
}

/// A client's body as it goes on: at most `most` bytes, never silent for longer than `silence`.
pub fn upward(body: Incoming, most: u64, silence: Duration) -> (transport::Body, Fault) {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let fault = Fault::default();
    let noted = fault.clone();
    let body = TimeoutBody::new(silence, Limited::new(body, most)).map_err(move |error| {
        let code = if error.is::<LengthLimitError>() {
            Code::TooLarge
        } else if error.is::<tower_http::timeout::TimeoutError>() {
            Code::Timeout
        } else {
            Code::BadRequest
        };
        // Only the first fault counts.
        let _ = noted.0.set(code);
        error
    });
    (body.boxed_unsync(), fault)
}

/// An answer's body as it goes back. It ends early when `live` is revoked.
pub fn downward(body: Incoming, silence: Duration, live: Option<Live>) -> Body {
    let state = Some((body.into_data_stream(), live));
    Body::from_stream(stream::unfold(state, move |state| async move {
        let (mut data, live) = state?;
        let piece = tokio::select! {
            biased;
            () = revoked(live.as_ref()) => Err(Cut::Revoked),
            piece = timeout(silence, data.next()) => match piece {
                Err(_) => Err(Cut::Silent(silence)),
                Ok(piece) => Ok(piece?.map_err(Cut::Broken)),
            },
        };
        match piece.and_then(|piece| piece) {
            Ok(piece) => Some((Ok(piece), Some((data, live)))),
            Err(cut) => Some((Err(cut), None)),
        }
    }))
}

async fn revoked(live: Option<&Live>) {
    match live {
        Some(live) => live.revoked().await,
        None => pending().await,
    }
}

/// Refuses a body that says itself that it is too large, before a byte of it is read.
pub fn check_length(headers: &HeaderMap, most: u64) -> Outcome<()> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
    let length = length.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length <= most => Ok(()),
        Some(_) => Err(Refusal::too_large(most)),
        None => Err(Refusal::new(Code::BadRequest, "The length of the body is no number.")),
    }
}
