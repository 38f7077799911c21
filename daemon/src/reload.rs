//! The signal by which an operator asks a process to load changed files at once.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

/// Returns what SIGHUP notifies. From then on the signal never ends the process, and one that comes
/// before anybody waits is not lost.
///
/// Call it once per process, inside the async runtime.
pub fn notify_on_hangup() -> io::Result<Arc<Notify>> {
    let mut hangups = signal(SignalKind::hangup())?;
    let requested = Arc::new(Notify::new());
    let notify = requested.clone();
    // This task lives as long as the process, because SIGHUP must not end it during the shutdown either.
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            notify.notify_one();
        }
    });
    Ok(requested)
}
