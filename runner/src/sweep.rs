//! After a server that was killed: its runners end by themselves, since their input has ended. This waits until they have, and
//! removes what they left.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};

/// Held locked in a runner's directory for as long as the runner lives; the kernel lets go of it however that ends.
const ALIVE: &str = "alive";
/// Ending a machine at once takes a moment; what takes longer hangs, and its workspace will say so.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Says that a runner works in this directory.
pub(crate) fn mark_alive(run_dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(run_dir.join(ALIVE))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Waits for the runners of an earlier server below `run_dir`, and removes their directories. The caller holds the lock that makes
/// it the only server here.
pub async fn sweep(run_dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    for directory in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        while is_alive(&directory) && Instant::now() < deadline {
            sleep(POLL).await;
        }
        if is_alive(&directory) {
            tracing::warn!(directory = %directory.display(), "an earlier runner does not end");
        } else if let Err(error) = fs::remove_dir_all(&directory) {
            tracing::warn!(%error, directory = %directory.display(), "an earlier runner's directory stays");
        }
    }
}

fn is_alive(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join(ALIVE)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_still_ends_is_waited_for() {
        let run = tempfile::tempdir().expect("a directory");
        let (ended, ending) = (run.path().join("a"), run.path().join("b"));
        for directory in [&ended, &ending] {
            fs::create_dir(directory).expect("made");
        }
        let alive = mark_alive(&ending).expect("locked");
        let sweeping = sweep(run.path());
        tokio::pin!(sweeping);
        assert!(futures_util::poll!(&mut sweeping).is_pending(), "one is alive");
        drop(alive);
        sweeping.await;
        assert!(!ended.exists() && !ending.exists());
    }
}
