//! Logging why a link or a stream ended before its time.

use std::{error::Error, fmt::Display, io, iter::from_fn};

/// Logs that something was cut, with all causes: hyper's own text does not contain the reason that a
/// peer gave. A peer that is gone is not worth a warning; anything else is.
pub fn log_cut(error: &(dyn Error + 'static), what: impl Display) {
    let reason = describe(error);
    if has_left(error) {
        tracing::info!(reason, "{what}: the peer has left");
    } else {
        tracing::warn!(reason, "{what}");
    }
}

fn describe(error: &(dyn Error + 'static)) -> String {
    find_causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The error itself, its cause, the cause of that, and so on.
fn find_causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Whether the cause is a connection or a stream that the other side has closed.
fn has_left(error: &(dyn Error + 'static)) -> bool {
    find_causes(error).any(|cause| is_closed_connection(cause) || is_closed_stream(cause))
}

fn is_closed_connection(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof];
    error.downcast_ref::<io::Error>().is_some_and(|error| kinds.contains(&error.kind()))
}

/// The other side no longer wants the stream. That is how HTTP/2 says that a client has disconnected.
fn is_closed_stream(error: &(dyn Error + 'static)) -> bool {
    // An I/O error is not the source of the error that it wraps; it is that error.
    let wrapped = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<h2::Error>();
    let reason = error.downcast_ref::<h2::Error>().or_else(wrapped).and_then(h2::Error::reason);
    reason.is_some_and(|reason| [h2::Reason::NO_ERROR, h2::Reason::CANCEL].contains(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_that_left_is_told_from_error() {
        let left = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(has_left(&left));
        for (reason, expected) in
            [(h2::Reason::CANCEL, true), (h2::Reason::NO_ERROR, true), (h2::Reason::ENHANCE_YOUR_CALM, false)]
        {
            let closed = io::Error::other(h2::Error::from(reason));
            assert_eq!(has_left(&closed), expected, "{reason:?}");
        }
        let broken = io::Error::other("too_many_data_frames");
        assert!(!has_left(&broken));
        assert_eq!(describe(&broken), "too_many_data_frames");
    }
}
