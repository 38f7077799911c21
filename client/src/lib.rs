//! Talking to Burrow's parts: the HTTP/2 link that relays use, the typed HTTP API, and sockets that reconnect.
//!
//! Knows the protocol and the network; knows no terminal, no page and no database.

pub mod api;
pub mod content;
pub mod error;
pub mod events;
mod files;
mod moving;
mod past;
pub mod socket;
pub mod upkeep;

pub use api::Api;
pub use content::Content;
pub use error::ApiError;
pub use events::{Event, Events};
