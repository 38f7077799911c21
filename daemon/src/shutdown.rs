//! Signals become one cancellation.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status of a process that was interrupted twice: 128 + SIGINT, as shells give it.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by SIGINT or SIGTERM. A second SIGINT ends the process at once: whoever presses Ctrl-C again does
/// not want to wait for an orderly end.
///
/// Call once per process, from within the async runtime.
pub fn shutdown_on_signals() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // Lives as long as the process: it must hear the second signal while everything else is being stopped.
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
        loop {
            tokio::select! {
                _ = interrupt.recv() => {
                    tracing::warn!("interrupted again: ending at once");
                    std::process::exit(INTERRUPTED);
                }
                _ = terminate.recv() => {} // supervisors repeat it; the end is on its way
            }
        }
    });
    Ok(token)
}
