//! The words that all of Burrow's processes share.
//!
//! Types, their wire forms and the checks that every receiver makes. No I/O, no async runtime, no clock: where time
//! matters it is an argument. Everything that decodes bytes of a guest or a browser is bounded and total: it returns an
//! error, never panics, and allocates no more than the input's own size.

pub mod epoch;
pub mod ids;
pub mod redacted;

pub use epoch::Epoch;
pub use ids::*;
pub use redacted::Redacted;
