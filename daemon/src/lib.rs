//! What every long-running role does alike: signals become a shutdown, events become log lines, and no task ends unseen.
//!
//! Knows nothing of Burrow's own parts.

pub mod shutdown;
pub mod tasks;
pub mod telemetry;

pub use shutdown::shutdown_on_signals;
pub use tasks::Tasks;
