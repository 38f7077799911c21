//! The API client: the HTTP API of a server, its event streams, terminals that reconnect, and
//! transfers of homes.
//!
//! [`Api`] holds a server's address and a token. Its methods are one per route. Three of them return
//! streams with a life of their own: [`Events`] and [`socket::Terminal`] reconnect by themselves,
//! [`socket::Exec`] and [`socket::PortConnection`] end with their connection.
//!
//! Knows the protocol and the network. Must not know terminals of the local machine, the web app or the
//! database.

pub mod api;
mod audit;
mod budgets;
pub mod content;
pub mod error;
pub mod events;
mod network;
mod ports;
mod scrub;
mod snapshots;
pub mod socket;
pub mod tls;
mod transfer;
mod usage;

pub use api::Api;
pub use content::Content;
pub use error::ApiError;
pub use events::{Event, Events, RestoreEvents};
pub use tls::TrustedAuthorities;
