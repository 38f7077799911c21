//! The `PATH` that the user's login shell sets, for programs that run without a shell.
//!
//! Start files add directories such as `~/.local/bin` to it. They are the user's: they may print,
//! hang or exit early. The shell therefore has a time limit, and its result is only a replacement
//! for a built-in `PATH`.

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{children, user::GuestUser};

/// Start files that need longer are not waited for.
const SHELL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a result is used while no start file changes. Start files may depend on anything.
const MAX_AGE: Duration = Duration::from_mins(1);
/// Most bytes that the shell may print.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// Stands before and after the `PATH` in the shell's output.
const MARK: &[u8] = b"\x1eburrow-path\x1e";
const SCRIPT: &str = r#"printf '\036burrow-path\036%s\036burrow-path\036' "$PATH""#;

/// What a login shell's `PATH` usually depends on, in the home and outside.
const START_FILES: [&str; 8] = [
    "/etc/profile",
    "/etc/profile.d",
    ".bash_profile",
    ".bash_login",
    ".profile",
    ".bashrc",
    ".local/bin",
    "bin",
];

/// The last `PATH` that was read. Concurrent callers wait for one shell.
#[derive(Debug, Default)]
pub struct LoginPath(Mutex<Option<Reading>>);

#[derive(Debug)]
struct Reading {
    at: Instant,
    stamps: Stamps,
    path: Option<OsString>,
}

/// Inode and time of change of each start file that exists.
type Stamps = [Option<(u64, i64, i64)>; START_FILES.len()];

impl LoginPath {
    /// The `PATH` of a login shell; `None` if it sets none in time.
    pub async fn get(&self, user: &GuestUser) -> Option<OsString> {
        let mut last = self.0.lock().await;
        let home = user.home.clone();
        let stamps = tokio::task::spawn_blocking(move || read_stamps(&home)).await.ok()?;
        if let Some(reading) = &*last
            && reading.stamps == stamps
            && reading.at.elapsed() < MAX_AGE
        {
            return reading.path.clone();
        }
        let path = read_path(user).await;
        if path.is_none() {
            tracing::warn!("the login shell sets no PATH in time; programs get the built-in one");
        }
        *last = Some(Reading { at: Instant::now(), stamps, path: path.clone() });
        path
    }
}

fn read_stamps(home: &Path) -> Stamps {
    START_FILES.map(|file| {
        let metadata = std::fs::metadata(home.join(file)).ok()?;
        Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
    })
}

async fn read_path(user: &GuestUser) -> Option<OsString> {
    let shell = [user.shell(), vec!["-c".to_owned(), SCRIPT.to_owned()]].concat();
    let mut command = user.program(&shell, user.home.clone(), &[]).command()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (mut child, _guard) = children::spawn_owned(|| command.spawn(), Child::id).ok()?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    let output = child.stdout.take()?;
    let path = timeout(SHELL_TIMEOUT, read_marked(output)).await.ok().flatten();
    if let Some(group) = group {
        // The shell has done its work, or never will. Fails if it has ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
    path
}

/// Reads until the second mark. Processes of the start files may hold the output open for longer.
async fn read_marked(mut output: impl AsyncRead + Unpin) -> Option<OsString> {
    let mut text = Vec::new();
    loop {
        if let Some(path) = marked(&text) {
            return Some(OsString::from_vec(path.to_vec())).filter(|path| !path.is_empty());
        }
        if text.len() >= MAX_OUTPUT_BYTES || output.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
}

/// The bytes between the first two marks.
fn marked(text: &[u8]) -> Option<&[u8]> {
    let find = |text: &[u8]| text.windows(MARK.len()).position(|window| window == MARK);
    let rest = &text[find(text)? + MARK.len()..];
    Some(&rest[..find(rest)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn path_follows_start_files() {
        let home = tempfile::tempdir().expect("a home");
        let user = GuestUser::on_host(home.path().to_owned());
        let path = LoginPath::default();
        let profile = |text: &str| std::fs::write(home.path().join(".profile"), text).expect("written");
        profile("echo Welcome; PATH=$HOME/.local/bin:$PATH");
        let text = path.get(&user).await.expect("a path").into_string().expect("text");
        assert!(text.starts_with(&format!("{}/.local/bin:", home.path().display())), "{text}");
        profile("sleep 1000 & PATH=/changed");
        assert_eq!(path.get(&user).await.expect("a path"), "/changed");
        for broken in ["exit 0", "exec cat /dev/zero"] {
            profile(broken);
            assert_eq!(path.get(&user).await, None, "{broken}");
        }
    }
}
