//! Turns signals into one cancellation.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status of a process that was interrupted twice: 128 + SIGINT, as in shells.
const INTERRUPTED_STATUS: i32 = 130;

/// Returns a token that SIGINT or SIGTERM cancels. A second SIGINT ends the process immediately: a
/// user who presses Ctrl-C again does not want to wait for an orderly shutdown.
///
/// Call it once per process, inside the async runtime.
pub fn shutdown_on_signals() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // This task lives as long as the process: it must see the second signal during the shutdown.
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
        loop {
            tokio::select! {
                _ = interrupt.recv() => {
                    tracing::warn!("interrupted again: exiting immediately");
                    std::process::exit(INTERRUPTED_STATUS);
                }
                _ = terminate.recv() => {} // supervisors may repeat it during the shutdown
            }
        }
    });
    Ok(token)
}
