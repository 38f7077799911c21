//! Processes of Postgres: waiting for one, and stopping those that an earlier `up` left behind.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{POLL_INTERVAL, PostgresError, STOP_STAGES, failed};

/// What the server has written about itself to `postmaster.pid`.
pub(super) struct Postmaster {
    pub(super) pid: u32,
    pub(super) socket_directory: PathBuf,
    pub(super) is_ready: bool,
}

/// Reads `postmaster.pid`: the process id is on the first line, the directory of the socket on the fifth, the
/// state on the eighth.
pub(super) fn postmaster(data: &Path) -> Option<Postmaster> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let socket_directory = lines.nth(3).unwrap_or_default().into();
    let is_ready = lines.nth(2).is_some_and(|state| state.trim() == "ready");
    Some(Postmaster { pid, socket_directory, is_ready })
}

/// Stops processes that are still running in `data`: a server whose `up` was killed, or sessions
/// whose server was.
pub(super) fn stop_orphans(data: &Path) -> Result<(), PostgresError> {
    let Ok(data) = data.canonicalize() else { return Ok(()) };
    let main = postmaster(&data).map(|found| found.pid);
    for (signal, timeout) in STOP_STAGES {
        let orphans = processes_in(&data);
        let Some((&first, _)) = orphans.split_first() else { break };
        tracing::warn!(pid = first, ?signal, "stopping a postgres that an earlier `up` left behind");
        for pid in orphans.iter().filter(|pid| signal != Signal::INT || main == Some(**pid)) {
            if let Ok(process) = open_process(*pid) {
                let _ = pidfd_send_signal(&process, signal);
            }
        }
        let deadline =
            Instant::now() + if main.is_none() && signal == Signal::INT { POLL_INTERVAL } else { timeout };
        while !processes_in(&data).is_empty() && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
    }
    if let Some(&remaining) = processes_in(&data).first() {
        return Err(PostgresError::OrphanRemains(remaining));
    }
    // Another process may have the number in it by now, which would keep the server from starting.
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("cannot remove a stale postmaster.pid")(error))
        }
        _ => Ok(()),
    }
}

/// The Postgres processes whose working directory is `data`.
fn processes_in(data: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_ascii().starts_with(b"postgres"))
        })
        .collect()
}

/// A descriptor of the process, which stays valid when its number is reused.
pub(super) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)
}

/// Whether the process exits within `timeout`.
pub(super) fn wait_process(process: &OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(remaining).expect("timeouts here are short");
        let mut descriptors = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}
