//! One program per socket, with separate streams. The program does not outlive the socket.

use std::{process::Stdio, time::Duration};

use axum::body::Bytes;
use protocol::{
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest, MAX_CHUNK_BYTES, MAX_REQUEST_BYTES},
    files::HomePath,
    terminal::ExitStatus,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::{
    children::{self, ChildGuard},
    socket::{
        CLOSE_INVALID_MESSAGE, CLOSE_NORMAL, CloseReason, Disconnected, Incoming, Socket, SocketReceiver,
        SocketSender,
    },
    user::GuestUser,
};

/// How long the program may take to end after its client has disconnected. Then it is killed.
const HANG_UP_GRACE: Duration = Duration::from_secs(5);
/// Processes that the program started may hold its output open. Once the program has ended and no
/// output arrives for this long, the output counts as complete.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Most output messages between the program and the socket: enough that neither waits for the other
/// at every message.
const MAX_QUEUED_OUTPUT: usize = 4;

/// The status if the system does not report how a program ended.
const UNKNOWN_EXIT: ExitStatus = ExitStatus { code: Some(255), signal: None };
/// Exit statuses of a shell for a program that cannot be started.
const STATUS_NOT_EXECUTABLE: i32 = 126;
const STATUS_NOT_FOUND: i32 = 127;

/// Reads the request from the socket, runs the program, and sends how it ended.
pub async fn serve(user: GuestUser, mut socket: Socket) {
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
    let end = match start(&user, &request) {
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
}

fn start(user: &GuestUser, request: &ExecRequest) -> Result<RunningProgram, ExecEnd> {
    let not_executable = |message: String| ExecEnd::NotStarted { status: STATUS_NOT_EXECUTABLE, message };
    let directory = HomePath::parse(request.directory.as_deref().unwrap_or_default())
        .map_err(|error| not_executable(format!("Cannot use the working directory: {error}")))?;
    let program = user.program(&request.argv, &directory, &request.environment);
    let [name, arguments @ ..] = program.argv.as_slice() else {
        return Err(not_executable("Cannot start a program: argv is empty".to_owned()));
    };
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .envs(program.environment)
        .current_dir(program.directory)
        .stdin(if request.stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let spawned = children::spawn_owned(|| command.spawn(), Child::id);
    let (child, guard) = spawned.map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let status = if is_missing { STATUS_NOT_FOUND } else { STATUS_NOT_EXECUTABLE };
        ExecEnd::NotStarted { status, message: format!("{}: {error}", request.argv[0]) }
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    Ok(RunningProgram { child, guard, group })
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
        let mut input = std::pin::pin!(copy_input(receiver, self.child.stdin.take(), self.group));
        let mut ended = None;
        loop {
            // After the program has ended, silence means that all output has arrived.
            let drained = async {
                match ended {
                    Some(_) => tokio::time::sleep(DRAIN_TIMEOUT).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return self.finish(ended, input).await };
                    tokio::select! {
                        sent = sender.send_binary(message) => {
                            if sent.is_err() {
                                return self.hang_up().await;
                            }
                        }
                        Disconnected = &mut input => return self.hang_up().await,
                    }
                }
                exit = wait(&mut self.child), if ended.is_none() => ended = Some(exit),
                () = drained, if ended.is_some() => {
                    return Ok(ExecEnd::Exited(ended.unwrap_or(UNKNOWN_EXIT)));
                }
                Disconnected = &mut input => return self.hang_up().await,
            }
        }
    }

    /// All output was sent: waits for the program, unless it has ended already.
    async fn finish(
        mut self,
        ended: Option<ExitStatus>,
        input: impl Future<Output = Disconnected>,
    ) -> Result<ExecEnd, Disconnected> {
        if let Some(exit) = ended {
            return Ok(ExecEnd::Exited(exit));
        }
        tokio::select! {
            exit = wait(&mut self.child) => Ok(ExecEnd::Exited(exit)),
            Disconnected = input => self.hang_up().await,
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

/// Copies the client's messages to the program until the client disconnects.
///
/// Signals are part of the same stream: while the program does not read its standard input, signals
/// wait too.
async fn copy_input(
    mut receiver: SocketReceiver,
    mut stdin: Option<ChildStdin>,
    group: Option<Pid>,
) -> Disconnected {
    while let Some(Incoming::Binary(message)) = receiver.receive().await {
        match ExecInput::decode(&message) {
            Ok(ExecInput::Stdin(bytes)) => write_stdin(&mut stdin, message.slice_ref(bytes)).await,
            Ok(ExecInput::Eof) => stdin = None,
            Ok(ExecInput::Signal(number)) => {
                if let Some(signal) = Signal::from_named_raw(i32::from(number)) {
                    send_signal(group, signal);
                }
            }
            Err(_) => return Disconnected,
        }
    }
    Disconnected
}

async fn write_stdin(stdin: &mut Option<ChildStdin>, bytes: Bytes) {
    if let Some(pipe) = stdin
        && pipe.write_all(&bytes).await.is_err()
    {
        *stdin = None; // the program has closed it
    }
}
