//! What every long-running role needs: shutdown on signals, logging, supervised tasks, and ways to give up
//! what it does not need.
//!
//! Knows nothing about Burrow's other crates.

pub mod descriptors;
pub mod isolation;
pub mod reload;
pub mod shutdown;
pub mod socket;
pub mod tasks;
pub mod telemetry;

pub use reload::notify_on_hangup;
pub use shutdown::shutdown_on_signals;
pub use tasks::{ShutdownOutcome, Tasks};
