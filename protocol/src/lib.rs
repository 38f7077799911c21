//! The words that all of Burrow's processes share.
//!
//! Types, their wire forms and the checks that every receiver makes. No I/O, no async runtime, no clock: where time
//! matters it is an argument. Everything that decodes bytes of a guest or a browser is bounded and total: it returns an
//! error, never panics, and allocates no more than a small multiple of the input's own size.

pub mod agent;
pub mod api;
pub mod document;
pub mod epoch;
pub mod exec;
pub mod files;
pub mod grant;
pub mod ids;
pub mod openapi;
pub mod problem;
pub mod redacted;
pub mod runner;
pub mod terminal;
pub mod workspace;

pub use epoch::Epoch;
pub use ids::*;
pub use problem::{Code, Problem};
pub use redacted::Redacted;
