//! Events become lines on standard error: for people where it is a terminal, JSON elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The variable that says which events are wanted, as `tracing` filters are written: `burrow=debug,warn`.
pub const FILTER_VARIABLE: &str = "BURROW_LOG";

/// Starts the log. `default` holds where the variable is unset. A second call changes nothing.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = std::io::stderr().is_terminal();
    let started = if terminal {
        registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false).compact()).try_init()
    } else {
        registry.with(fmt::layer().with_writer(std::io::stderr).json().flatten_event(true)).try_init()
    };
    // The only failure is that a log runs already, which is what was wanted.
    drop(started);
}
