//! Runs one `git` as the workspace's user, with limits on its time and output. Knows no repository.

use std::{ffi::OsString, io, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
    sync::Semaphore,
    time::timeout,
};

use crate::{
    children::{self, ChildGuard, ProcessGroup},
    user::{GuestUser, STATUS_NOT_FOUND},
};

/// Most processes that read repositories at once. Further ones wait.
const MAX_READERS: usize = 4;
/// A reader that takes longer is killed: a status of 100,000 files takes some seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes of a reader's error output that are kept.
const MAX_ERROR_BYTES: u64 = 16 * 1024;
/// How long a process may take to end after SIGTERM. `git clone` deletes what it has begun.
const TERMINATION_GRACE: Duration = Duration::from_secs(10);

/// Makes a process take paths literally, not as patterns. Not for all: `git stash` uses patterns of its own.
pub const LITERAL_PATHS: &str = "--literal-pathspecs";

/// Configuration for every process. No output is for a terminal.
const COMMON_ARGUMENTS: [&str; 8] = [
    "git",
    "--no-pager",
    "-c",
    "core.quotePath=false",
    "-c",
    "color.ui=false",
    // A monitor would be a further process, that outlives this one.
    "-c",
    "core.fsmonitor=false",
];

/// Environment of every process. Messages are English, because failures are recognized by them.
const COMMON_ENVIRONMENT: [(&str, &str); 4] = [
    ("LC_ALL", "C.UTF-8"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // An editor would wait for a terminal. `:` accepts the proposed message.
    ("GIT_EDITOR", ":"),
    ("GIT_MERGE_AUTOEDIT", "no"),
];

/// Starts processes that read, a few at a time. Clones share the limit.
#[derive(Clone)]
pub struct GitReader {
    user: GuestUser,
    slots: Arc<Semaphore>,
}

/// What a process has printed, and how it ended.
#[derive(Debug, Default)]
pub struct Output {
    /// The exit status. `None` after a signal.
    pub status: Option<i32>,
    /// Standard output, at most as much as was allowed.
    pub stdout: Vec<u8>,
    /// The beginning of the standard error.
    pub stderr: String,
    /// Whether it has printed more than was allowed. Then it was killed.
    pub is_truncated: bool,
}

impl Output {
    /// Whether the process has succeeded, or has printed more than anybody needs.
    pub fn is_success(&self) -> bool {
        self.status == Some(0) || self.is_truncated
    }
}

/// Why a process has no output.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` in the workspace.
    #[error("Git is not installed in the workspace. Install it, for example with `sudo apt install git`.")]
    NotInstalled,
    /// It took too long.
    #[error("Git took too long. Try again, or run it in a terminal.")]
    Timeout,
    /// The kernel refused something.
    #[error("Cannot run Git: {0}.")]
    Io(#[from] io::Error),
}

impl GitReader {
    /// Reads as `user`.
    pub fn new(user: GuestUser) -> Self {
        Self { user, slots: Arc::new(Semaphore::new(MAX_READERS)) }
    }

    /// Runs a process that changes no repository, and returns its output of at most `max_bytes`. It is killed
    /// when the returned future is dropped.
    pub async fn read(
        &self,
        directory: PathBuf,
        arguments: &[OsString],
        input: &[u8],
        max_bytes: u64,
    ) -> Result<Output, GitError> {
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        // Without optional locks, a status never makes the user's own `git` fail.
        let environment = [("GIT_OPTIONAL_LOCKS".into(), "0".into())];
        let process = GitProcess::start(&self.user, directory, arguments, &environment)?;
        timeout(READ_TIMEOUT, process.output(input, max_bytes)).await.map_err(|_| GitError::Timeout)?
    }
}

/// A running process. It is killed, with all that it has started, when this is dropped before it has ended.
pub struct GitProcess {
    /// The process, for its pipes.
    pub child: Child,
    group: ProcessGroup,
    /// Keeps PID 1's reaper away until the child was waited for.
    _guard: ChildGuard,
}

impl GitProcess {
    /// Starts `git` with these arguments. All its standard streams are pipes.
    pub fn start(
        user: &GuestUser,
        directory: PathBuf,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<Self, GitError> {
        let common = COMMON_ARGUMENTS.map(str::to_owned);
        let mut program = user.program(&common, directory, &[]);
        program.argv.extend_from_slice(arguments);
        let common = COMMON_ENVIRONMENT.map(|(name, value)| (name.into(), value.into()));
        program.environment.extend(common);
        program.environment.extend_from_slice(environment);
        let mut command = program.command().ok_or(GitError::NotInstalled)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, guard) = children::spawn_owned(|| command.spawn(), Child::id).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound { GitError::NotInstalled } else { error.into() }
        })?;
        let group = ProcessGroup::of(&child);
        Ok(Self { child, group, _guard: guard })
    }

    /// Asks the process to end, and makes it end if it does not.
    pub async fn terminate(mut self) {
        self.group.signal(Signal::TERM);
        let _ = timeout(TERMINATION_GRACE, self.child.wait()).await;
    }

    /// Waits until the process has ended. Its pipes must have been read, or dropped.
    pub async fn wait(mut self) -> Result<Option<i32>, GitError> {
        let status = self.child.wait().await?.code();
        // The id of the group may be another one's from now on, unless members are left: Git's own
        // maintenance in the background goes on.
        self.group.release();
        if status == Some(STATUS_NOT_FOUND) { Err(GitError::NotInstalled) } else { Ok(status) }
    }

    /// Passes `input` and collects the output.
    async fn output(mut self, input: &[u8], max_bytes: u64) -> Result<Output, GitError> {
        let (stdin, stdout, stderr) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // Fails if the process does not read it all, which its status tells.
                let _ = stdin.write_all(input).await;
            }
        };
        let errors = async {
            let (kept, _) = read_limited(stderr, MAX_ERROR_BYTES, true).await?;
            Ok::<_, io::Error>(kept)
        };
        let read = read_limited(stdout, max_bytes, false);
        let ((), errors, read) = tokio::join!(write, errors, async {
            let read = read.await;
            if matches!(&read, Ok((_, true))) {
                self.group.signal(Signal::KILL);
            }
            read
        });
        let (stdout, is_truncated) = read?;
        let stderr = String::from_utf8_lossy(&errors?).into_owned();
        let status = self.wait().await?;
        Ok(Output { status, stdout, stderr, is_truncated })
    }
}

/// Reads at most `max_bytes`, and whether there are more. With `drains`, the rest is read and dropped.
async fn read_limited(
    stream: Option<impl AsyncRead + Unpin>,
    max_bytes: u64,
    drains: bool,
) -> io::Result<(Vec<u8>, bool)> {
    let Some(mut stream) = stream else { return Ok((Vec::new(), false)) };
    let mut kept = Vec::new();
    (&mut stream).take(max_bytes).read_to_end(&mut kept).await?;
    if drains {
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        return Ok((kept, false));
    }
    let is_truncated = kept.len() as u64 == max_bytes && stream.read(&mut [0]).await? > 0;
    Ok((kept, is_truncated))
}
