//! One program per socket, with separate streams. The program does not outlive the socket.

mod input;

use std::{ffi::OsString, path::PathBuf, process::Stdio, time::Duration};

use protocol::{
    exec::{
        DEFAULT_OUTPUT_TIMEOUT_MS, ExecEnd, ExecOutput, ExecRequest, MAX_CHUNK_BYTES, MAX_OUTPUT_TIMEOUT_MS,
        MAX_REQUEST_BYTES,
    },
    terminal::ExitStatus,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    children::{self, ChildGuard},
    login_path::LoginPath,
    socket::{
        CLOSE_INVALID_MESSAGE, CLOSE_NORMAL, CloseReason, Disconnected, Incoming, Socket, SocketReceiver,
        SocketSender,
    },
    user::{GuestUser, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND},
};

/// How long the program may take to end after its client has disconnected. Then it is killed.
const HANG_UP_GRACE: Duration = Duration::from_secs(5);
/// The program's own output needs a moment from its pipes to the socket, whatever the request says.
const MIN_OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// Most output messages between the program and the socket: enough that neither waits for the other
/// at every message.
const MAX_QUEUED_OUTPUT: usize = 4;

/// The status if the system does not report how a program ended.
const UNKNOWN_EXIT: ExitStatus = ExitStatus { code: Some(255), signal: None };

/// Reads the request from the socket, runs the program, and sends how it ended.
pub async fn serve(user: &GuestUser, login_path: &LoginPath, mut socket: Socket) {
    let request = match socket.receive().await {
        Some(Incoming::Text(text)) if text.len() <= MAX_REQUEST_BYTES => {
            serde_json::from_str::<ExecRequest>(&text).ok()
        }
        Some(_) => None,
        None => return,
    };
    let Some(request) = request.filter(|request| !request.argv.is_empty()) else {
        let reason = "the first message must be an exec request";
        return socket.close(CloseReason { code: CLOSE_INVALID_MESSAGE, reason }).await;
    };
    let (mut sender, receiver) = socket.split();
    let end = match start(user, login_path, request).await {
        Ok(program) => program.serve(&mut sender, receiver).await,
        Err(end) => Ok(end),
    };
    if let Ok(end) = end
        && sender.send_binary(ExecOutput::End(end).encode()).await.is_ok()
    {
        sender.close(CloseReason { code: CLOSE_NORMAL, reason: "the program has ended" }).await;
    }
}

/// A started program. Its process id is also the id of its process group.
struct RunningProgram {
    child: Child,
    /// Keeps PID 1's reaper away until the child was waited for.
    guard: ChildGuard,
    group: Option<Pid>,
    /// Processes that the program started may hold its output open. Once the program has ended and
    /// no output arrives for this long, the rest of the output is cut.
    output_timeout: Duration,
}

async fn start(
    user: &GuestUser,
    login_path: &LoginPath,
    request: ExecRequest,
) -> Result<RunningProgram, ExecEnd> {
    let not_executable = |message: String| ExecEnd::NotStarted { status: STATUS_NOT_EXECUTABLE, message };
    let directory = find_directory(user, request.directory.clone()).await.map_err(not_executable)?;
    let mut program = user.program(&request.argv, directory, &request.environment);
    let names_path = request.environment.iter().any(|(name, _)| name == "PATH");
    if !names_path && let Some(path) = login_path.get(user).await {
        program.environment.push((OsString::from("PATH"), path));
    }
    let Some(mut command) = program.command() else {
        return Err(not_executable("Cannot start a program: argv is empty".to_owned()));
    };
    command
        .stdin(if request.stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let spawned = children::spawn_owned(|| command.spawn(), Child::id);
    let (child, guard) = spawned.map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let status = if is_missing { STATUS_NOT_FOUND } else { STATUS_NOT_EXECUTABLE };
        ExecEnd::NotStarted { status, message: format!("{}: {error}", request.argv[0]) }
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    let timeout_ms = request.output_timeout_ms.unwrap_or(DEFAULT_OUTPUT_TIMEOUT_MS);
    let output_timeout = Duration::from_millis(timeout_ms.min(MAX_OUTPUT_TIMEOUT_MS)).max(MIN_OUTPUT_TIMEOUT);
    Ok(RunningProgram { child, guard, group, output_timeout })
}

async fn find_directory(user: &GuestUser, name: Option<String>) -> Result<PathBuf, String> {
    let user = user.clone();
    match tokio::task::spawn_blocking(move || user.find_directory(name.as_deref())).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("Cannot use the working directory: an internal error".to_owned()),
    }
}

impl RunningProgram {
    /// Copies the streams until the program has ended or its client has disconnected.
    async fn serve(
        mut self,
        sender: &mut SocketSender,
        receiver: SocketReceiver,
    ) -> Result<ExecEnd, Disconnected> {
        let (output, mut messages) = mpsc::channel(MAX_QUEUED_OUTPUT);
        // Dropped at the end of this function, which ends both readers.
        let mut readers = JoinSet::new();
        let stdout = |bytes: &[u8]| ExecOutput::Stdout(bytes).encode();
        let stderr = |bytes: &[u8]| ExecOutput::Stderr(bytes).encode();
        readers.spawn(read_output(self.child.stdout.take(), output.clone(), stdout));
        readers.spawn(read_output(self.child.stderr.take(), output, stderr));
        let (accepted, mut taken) = watch::channel(0);
        let input = input::copy_input(receiver, self.child.stdin.take(), self.group, accepted);
        let mut input = std::pin::pin!(input);
        let mut ended = None;
        let mut is_output_complete = false;
        loop {
            if let Some(status) = ended
                && is_output_complete
            {
                return Ok(ExecEnd::Exited { status, output_cut: false });
            }
            let silence = async {
                match ended {
                    Some(status) => {
                        tokio::time::sleep(self.output_timeout).await;
                        status
                    }
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = messages.recv(), if !is_output_complete => {
                    let Some(message) = message else {
                        is_output_complete = true;
                        continue;
                    };
                    message
                }
                Ok(()) = taken.changed() => ExecOutput::InputAccepted(*taken.borrow_and_update()).encode(),
                exit = wait(&mut self.child), if ended.is_none() => {
                    ended = Some(exit);
                    continue;
                }
                status = silence => return Ok(ExecEnd::Exited { status, output_cut: true }),
                Disconnected = &mut input => return self.hang_up().await,
            };
            tokio::select! {
                sent = sender.send_binary(message) => {
                    if sent.is_err() {
                        return self.hang_up().await;
                    }
                }
                Disconnected = &mut input => return self.hang_up().await,
            }
        }
    }

    /// Ends the program after its client has disconnected.
    async fn hang_up<T>(mut self) -> Result<T, Disconnected> {
        send_signal(self.group, Signal::HUP);
        send_signal(self.group, Signal::CONT);
        if timeout(HANG_UP_GRACE, self.child.wait()).await.is_err() {
            send_signal(self.group, Signal::KILL);
            let _ = timeout(HANG_UP_GRACE, self.child.wait()).await;
        }
        drop(self.guard);
        Err(Disconnected)
    }
}

async fn wait(child: &mut Child) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    match child.wait().await {
        Ok(status) => ExitStatus { code: status.code(), signal: status.signal() },
        Err(_) => UNKNOWN_EXIT,
    }
}

fn send_signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // Fails if the program has ended, which needs no action.
        let _ = kill_process_group(group, signal);
    }
}

/// Reads one stream of the program and queues it as messages.
async fn read_output(
    stream: Option<impl AsyncRead + Unpin>,
    output: mpsc::Sender<Vec<u8>>,
    encode: impl Fn(&[u8]) -> Vec<u8>,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if output.send(encode(&buffer[..length])).await.is_err() {
            return;
        }
    }
}
