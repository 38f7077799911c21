//! The messages and types that all of Burrow's processes share.
//!
//! - [`api`]: the HTTP API, and the gateway's requests to the controller.
//! - [`agent`], [`terminal`], [`document`], [`files`], [`git`], [`languages`], [`exec`], [`ports`],
//!   [`restore`]: the agent's routes and their messages.
//! - [`runner`]: what controller and runner exchange.
//! - [`network`]: where a workspace may connect.
//! - [`audit`]: the hash chain of the audit log.
//! - [`access`], [`grant`], [`epoch`], [`ids`], [`workspace`], [`problem`]: what appears in all of them.
//!
//! Contains types, their wire formats, and the checks that every receiver must make. Must not
//! contain I/O, an async runtime or a clock: where time matters, it is an argument. Everything that
//! decodes bytes of a guest or a browser is total and bounded: it returns an error instead of
//! panicking, and allocates at most a small multiple of the input's size.

pub mod access;
pub mod agent;
pub mod api;
pub mod audit;
pub mod document;
pub mod epoch;
pub mod exec;
pub mod files;
pub mod git;
pub mod grant;
pub mod home_disk;
pub mod idle;
pub mod ids;
pub mod languages;
pub mod network;
pub mod openapi;
pub mod ports;
pub mod problem;
pub mod redacted;
pub mod restore;
pub mod runner;
pub mod search;
pub mod terminal;
pub mod workspace;

pub use access::Access;
pub use epoch::Epoch;
pub use ids::*;
pub use problem::{Code, Problem};
pub use redacted::Redacted;
