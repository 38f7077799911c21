//! A running language server: its process, and the messages that it receives and sends. Knows only that
//! messages are JSON.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::frames::{FrameDecoder, FrameError, encode_frame};
use crate::{
    children::{self, ChildGuard, ProcessGroup},
    user::GuestUser,
};

/// Most bytes that wait until the server reads them. A server that lets more wait has stopped reading.
const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;
/// Most messages that wait until the server reads them.
const MAX_QUEUED_MESSAGES: usize = 1024;
/// Most messages of the server that wait to be read. Then the server waits, too.
const MAX_RECEIVED_MESSAGES: usize = 4;
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// What is kept of the standard error: its end.
const MAX_ERROR_BYTES: usize = 2 * 1024;
/// How long a server may take to end after it was asked to.
const EXIT_GRACE: Duration = Duration::from_secs(3);

/// The server has stopped reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not read what it is sent")]
pub struct NotReading;

/// A server that runs. It is killed, with all that it has started, when this is dropped.
pub struct Connection {
    child: Child,
    group: ProcessGroup,
    output: mpsc::Sender<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
    incoming: mpsc::Receiver<Result<Value, FrameError>>,
    errors: Arc<Mutex<Vec<u8>>>,
    /// Read and write the pipes. They end with this.
    _pipes: JoinSet<()>,
    /// Keeps PID 1's reaper away until the child was waited for.
    _guard: ChildGuard,
}

impl Connection {
    /// Starts a program as the user's, with this `PATH`.
    pub fn start(
        user: &GuestUser,
        argv: &[String],
        directory: PathBuf,
        path: Option<OsString>,
    ) -> io::Result<Self> {
        let mut program = user.helper(argv, directory, &[]);
        program.environment.extend(path.map(|path| ("PATH".into(), path)));
        let mut command = program.command().ok_or(io::ErrorKind::InvalidInput)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, guard) = children::spawn_owned(|| command.spawn(), Child::id)?;
        let group = ProcessGroup::of(&child);
        let (output, queue) = mpsc::channel(MAX_QUEUED_MESSAGES);
        let (messages, incoming) = mpsc::channel(MAX_RECEIVED_MESSAGES);
        let (queued_bytes, errors) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut pipes = JoinSet::new();
        pipes.spawn(write_messages(child.stdin.take(), queue, queued_bytes.clone()));
        pipes.spawn(read_messages(child.stdout.take(), messages));
        pipes.spawn(keep_errors(child.stderr.take(), errors.clone()));
        Ok(Self { child, group, output, queued_bytes, incoming, errors, _pipes: pipes, _guard: guard })
    }

    /// Sends a message, without waiting until the server reads it.
    pub fn send(&self, message: &Value) -> Result<(), NotReading> {
        let bytes = encode_frame(message);
        if self.queued_bytes.fetch_add(bytes.len(), Ordering::AcqRel) > MAX_QUEUED_BYTES {
            return Err(NotReading);
        }
        match self.output.try_send(bytes) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotReading),
            // A server that has ended is noticed by the end of its output.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// The next message. `None`: the server has closed its output. Cancel safe.
    pub async fn receive(&mut self) -> Option<Result<Value, FrameError>> {
        self.incoming.recv().await
    }

    /// Waits for the end of a server that was asked to exit or has closed its output, and kills it if it does
    /// not end. Returns how it has ended, for users.
    pub async fn end(mut self) -> String {
        let status = timeout(EXIT_GRACE, self.child.wait()).await;
        let status = match status {
            Ok(Ok(status)) => format!("it has ended with {status}"),
            Ok(Err(error)) => format!("it cannot be waited for: {error}"),
            Err(_) => "it has closed its output".to_owned(),
        };
        self.group.signal(Signal::KILL);
        // Ends at once after the signal, and leaves no zombie.
        let _ = timeout(EXIT_GRACE, self.child.wait()).await;
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = String::from_utf8_lossy(&errors);
        let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.map_or(status.clone(), |last| format!("{status}: {last}"))
    }
}

async fn write_messages(
    stdin: Option<ChildStdin>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    queued: Arc<AtomicUsize>,
) {
    let Some(mut stdin) = stdin else { return };
    while let Some(bytes) = queue.recv().await {
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            return; // it has ended
        }
        queued.fetch_sub(bytes.len(), Ordering::AcqRel);
    }
}

async fn read_messages(
    stdout: Option<impl AsyncRead + Unpin>,
    messages: mpsc::Sender<Result<Value, FrameError>>,
) {
    let Some(mut stdout) = stdout else { return };
    let mut decoder = FrameDecoder::default();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    if messages.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = messages.send(Err(error)).await;
                    return;
                }
            }
        }
        match stdout.read(&mut chunk).await {
            Ok(length) if length > 0 => decoder.push(&chunk[..length]),
            _ => return,
        }
    }
}

/// Reads the standard error, so that the server never waits for it, and keeps the end.
async fn keep_errors(stderr: Option<impl AsyncRead + Unpin>, kept: Arc<Mutex<Vec<u8>>>) {
    let Some(mut stderr) = stderr else { return };
    let mut chunk = vec![0; MAX_ERROR_BYTES];
    while let Ok(length) = stderr.read(&mut chunk).await
        && length > 0
    {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..length]);
        let excess = kept.len().saturating_sub(MAX_ERROR_BYTES);
        kept.drain(..excess);
    }
}
