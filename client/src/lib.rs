//! Talking to Burrow's parts: the HTTP/2 link that relays use, the typed HTTP API, and sockets that reconnect.
//!
//! Knows the protocol and the network; knows no terminal, no page and no database.

pub mod link;

pub use link::{Link, LinkError};
