//! A runner's own directory for sockets, and the sweep that a server does at its start.
//!
//! A server that was killed leaves runners behind. They end by themselves, because their standard
//! input has ended. The sweep waits until they have, and removes their directories.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, OFlags, flock};
use tokio::time::{Instant, sleep};

/// The lock file in a runner's directory. The kernel releases the lock when the runner dies,
/// however it dies.
const LOCK_FILE: &str = "alive";
/// Ending a sandbox at once takes a moment. A runner that takes longer hangs, and its workspace
/// will fail to start.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(20);
/// The bit of a directory's mode that passes its group on.
const SET_GROUP_ID: u32 = 0o2000;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Creates a runner's directory, empty, and locks it. It belongs to the user of the runner's session, if
/// that is another one. Processes of `gateway_group` can reach what is in it. The runner counts as alive
/// while the lock is held.
pub fn create(path: &Path, session: Option<u32>, gateway_group: Option<u32>) -> io::Result<File> {
    remove(path);
    daemon::socket::create_directory(path, gateway_group)?;
    let lock = lock(path)?;
    if let Some(session) = session {
        chown(path, Some(session), None)?;
        // What the session creates belongs to the directory's group, in which the session is not.
        let mode = fs::metadata(path)?.permissions().mode();
        fs::set_permissions(path, Permissions::from_mode(mode | SET_GROUP_ID))?;
    }
    Ok(lock)
}

/// Removes a runner's directory. A failure is logged: the next sweep tries again.
pub fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, directory = %path.display(), "cannot remove the runner's directory");
        }
        _ => {}
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK_FILE))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Waits for the runners of an earlier server below `run_dir`, and removes their directories. The
/// caller holds the lock that makes it the only server here.
pub async fn sweep(run_dir: &Path) {
    let deadline = Instant::now() + SWEEP_TIMEOUT;
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    for directory in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        while is_alive(&directory) && Instant::now() < deadline {
            sleep(POLL_INTERVAL).await;
        }
        if is_alive(&directory) {
            tracing::warn!(directory = %directory.display(), "a runner of an earlier server does not end");
        } else {
            remove(&directory);
        }
    }
}

fn is_alive(directory: &Path) -> bool {
    // A session that was taken over may have left anything here.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let Ok(file) = options.open(directory.join(LOCK_FILE)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sweep_waits_for_live_runners() {
        let run = tempfile::tempdir().expect("a directory");
        let (ended, ending) = (run.path().join("a"), run.path().join("b"));
        for directory in [&ended, &ending] {
            fs::create_dir(directory).expect("created");
        }
        let alive = lock(&ending).expect("locked");
        let sweeping = sweep(run.path());
        tokio::pin!(sweeping);
        assert!(futures_util::poll!(&mut sweeping).is_pending(), "one is alive");
        drop(alive);
        sweeping.await;
        assert!(!ended.exists() && !ending.exists());
    }
}
