//! The HTTP/2 settings of every link, for both of its ends.
//!
//! The peer of a link may be hostile (a guest), so header lists and streams are bounded here, and
//! the library bounds resets.

use std::time::Duration;

/// Flow-control window of one stream, in bytes. Large enough to keep a local pipe full, small
/// enough that a stalled stream holds little memory.
pub const STREAM_WINDOW: u32 = 64 * 1024;

/// Flow-control window of a whole connection, in bytes: the largest that there is, and more than the
/// windows of all streams together. So streams whose receiver has stalled, however many, never stop the
/// others. Half of it is the library's budget for small frames that wait for their readers, of all streams
/// together. A connection that exceeds it ends, so a stream has a share of it
/// ([`PacedStream`](crate::PacedStream)).
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// A frame that is smaller costs the difference to this, in bytes.
pub const SMALL_FRAME_BYTES: usize = 256;

/// Concurrent WebSockets on one link: the terminals, documents and programs of all viewers of a workspace.
pub const MAX_WEBSOCKETS: u32 = 1024;

/// Concurrent requests on one link, uploads and downloads included. They do not share the places of
/// WebSockets, so a workspace full of those still lists its terminals.
pub const MAX_REQUESTS: u32 = 240;

/// Places for requests of the owner of a link itself ([`Link::request_reserved`](crate::Link)): no
/// number of viewers keeps a runner from freezing a home.
const RESERVED_REQUESTS: u32 = 16;

/// Concurrent streams on one link. A client counts its own and refuses more at once; without that,
/// the library would let them wait.
pub const MAX_STREAMS: u32 = MAX_WEBSOCKETS + MAX_REQUESTS + RESERVED_REQUESTS;

/// Size of a header list, in bytes. Our processes send a few lines; a longer list is an attack.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Silence after which the client of a link pings. It pings only while a stream is open.
pub const CLIENT_PING_INTERVAL: Duration = Duration::from_secs(15);

/// Silence after which a server pings ([`KeepAlive::Ping`](crate::KeepAlive)). Longer than the
/// client's interval, so that on a link with open streams one end pings and not both.
pub const SERVER_PING_INTERVAL: Duration = Duration::from_secs(20);

/// A peer that does not answer a ping for this long is dead.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paced_stream::{MAX_SMALL_FRAMES, SMALL_FRAME_INTERVAL};

    /// How long a stalled stream of a terminal or document may stay, at most. Others have no such limit:
    /// hundreds of stalled exec streams can end the link of their own workspace.
    const STALL_SECONDS: u32 = 30;

    #[test]
    fn all_streams_together_keep_the_budgets() {
        assert!(u64::from(MAX_STREAMS) * u64::from(STREAM_WINDOW) <= u64::from(CONNECTION_WINDOW));
        let frames = MAX_SMALL_FRAMES + STALL_SECONDS * 1000 / SMALL_FRAME_INTERVAL.as_millis() as u32;
        let cost = u64::from(frames) * SMALL_FRAME_BYTES as u64;
        assert!(u64::from(MAX_STREAMS) * cost <= u64::from(CONNECTION_WINDOW / 2));
    }
}
