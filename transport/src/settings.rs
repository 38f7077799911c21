//! The HTTP/2 settings of every link, for both of its ends.
//!
//! The peer of a link may be hostile (a guest), so header lists and streams are bounded here, and
//! the library bounds resets.

use std::time::Duration;

/// Flow-control window of one stream, in bytes. Large enough to keep a local pipe full, small
/// enough that a stalled stream holds little memory.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Flow-control window of a whole connection, in bytes. One stalled stream cannot use it up.
pub const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Concurrent streams on one link: the terminals, documents and requests of all viewers of a workspace.
pub const MAX_STREAMS: u32 = 1024;

/// Size of a header list, in bytes. Our processes send a few lines; a longer list is an attack.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Silence after which the client of a link pings. It pings only while a stream is open.
pub const CLIENT_PING_INTERVAL: Duration = Duration::from_secs(15);

/// Silence after which a server pings ([`KeepAlive::Ping`](crate::KeepAlive)). Longer than the
/// client's interval, so that on a link with open streams one end pings and not both.
pub const SERVER_PING_INTERVAL: Duration = Duration::from_secs(20);

/// A peer that does not answer a ping for this long is dead.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
