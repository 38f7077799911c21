//! Limits that the kernel sets for small machines, raised to what development tools expect.
//!
//! Watchers of large projects (webpack, VS Code, `tsc --watch`) need one inotify watch for each
//! directory or file, databases and build tools thousands of open files. Programs inherit the limits
//! of PID 1, `sudo` included.

use rustix::process::{Resource, Rlimit};

/// Most open files that a program may allow itself.
const MAX_OPEN_FILES: u64 = 65_536;

/// Kernel settings: file below `/proc/sys`, and value.
const SETTINGS: [(&str, u64); 3] = [
    ("fs/inotify/max_user_watches", 524_288),
    ("fs/inotify/max_user_instances", 1024),
    ("fs/inotify/max_queued_events", 65_536),
];

/// Raises all limits. A limit that cannot be raised is logged: a workspace with a lower limit is
/// better than none.
pub fn raise() {
    let files = Rlimit { current: Some(MAX_OPEN_FILES), maximum: Some(MAX_OPEN_FILES) };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, files) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    for (setting, value) in SETTINGS {
        if let Err(error) = std::fs::write(format!("/proc/sys/{setting}"), value.to_string()) {
            tracing::warn!(%error, setting, "cannot raise a kernel limit");
        }
    }
}
