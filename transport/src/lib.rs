//! How Burrow's processes carry bytes to each other: HTTP/2 links, spliced streams, problem responses.
//!
//! A *link* is one HTTP/2 connection between two of our processes. There are two kinds, and both
//! use this crate at both ends:
//!
//! ```text
//! gateway ── link (Unix socket) ──> runner's front ── link (virtio-serial port) ──> agent in the guest
//! ```
//!
//! One keystroke of a browser therefore takes this path: the gateway accepts a WebSocket, opens a
//! WebSocket on its link to the front ([`Link::open_websocket`]), and copies bytes between the two
//! ([`splice::splice`]). The front does the same on its link to the agent. Neither parses a frame.
//!
//! Each link writes once per turn of the event loop (`batched_stream`), and reads ahead of the library while
//! there is much to read (`read_ahead`).
//!
//! This crate knows HTTP and byte streams. It must not know grants, sessions, routes or the
//! controller: who may open what is decided by its callers. It is part of the guest's agent, so it
//! must not add heavy dependencies.

mod batched_stream;
pub mod body;
pub mod channel;
mod cut;
pub mod link;
pub mod paced_stream;
pub mod preamble;
pub mod problem;
mod read_ahead;
pub mod read_wake;
pub mod server;
pub mod settings;
mod slots;
pub mod splice;
mod stream;
mod tasks;

pub use body::Body;
pub use cut::log_cut;
pub use link::{Link, LinkError, WebSocketError};
pub use paced_stream::PacedStream;
pub use read_wake::ReadWakeStream;
pub use server::{KeepAlive, serve_link};
pub use slots::StreamLimit;
pub use stream::{ResponseBody, Upgraded};
