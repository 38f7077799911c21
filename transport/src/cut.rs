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

/// Whether the cause is a connection that the other side has closed.
fn has_left(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof];
    find_causes(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| kinds.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_that_left_is_told_from_error() {
        let left = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(has_left(&left));
        let broken = io::Error::other("too_many_data_frames");
        assert!(!has_left(&broken));
        assert_eq!(describe(&broken), "too_many_data_frames");
    }
}
