//! One program per socket, with its three streams apart. Nothing survives the socket.

use std::{process::Stdio, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{State, WebSocketUpgrade},
    response::Response,
};
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
    time::timeout,
};

use crate::{
    app::App,
    children::{self, Owned},
    problem::Answer,
    socket::{self, Gone, Incoming, Listener, Socket, Speaker},
};

/// How long the program may take to end by itself once its client has gone.
const HANG_UP_GRACE: Duration = Duration::from_secs(5);
/// Processes that the program left behind may hold its output open; once it has ended and they are silent for so long, that
/// was all.
const DRAIN: Duration = Duration::from_millis(500);
/// Chunks between the program and the socket: enough that neither waits for the other at every one.
const QUEUE: usize = 4;

const CLOSE_NORMAL: u16 = 1000;
const CLOSE_BAD_MESSAGE: u16 = 1007;

pub async fn open(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Answer<Response> {
    app.require_ready()?;
    Ok(socket::accept(upgrade, move |socket| serve(app, socket)))
}

async fn serve(app: Arc<App>, mut socket: Socket) {
    let request = match socket.receive().await {
        Some(Incoming::Text(text)) if text.len() <= MAX_REQUEST_BYTES => {
            serde_json::from_str::<ExecRequest>(&text).ok()
        }
        Some(_) => None,
        None => return,
    };
    let Some(request) = request.filter(|request| !request.argv.is_empty()) else {
        return socket.close(CLOSE_BAD_MESSAGE, "the first message must be a request").await;
    };
    let (mut speaker, listener) = socket.split();
    let end = match start(&app, &request) {
        Ok(running) => running.serve(&mut speaker, listener).await,
        Err(end) => Ok(end),
    };
    if let Ok(end) = end
        && speaker.send_binary(ExecOutput::End(end).encode()).await.is_ok()
    {
        speaker.close(CLOSE_NORMAL, "the program has ended").await;
    }
}

struct Running {
    child: Child,
    /// Keeps PID 1's reaper away until the child has been waited for.
    owned: Owned,
    group: Option<Pid>,
}

fn start(app: &App, request: &ExecRequest) -> Result<Running, ExecEnd> {
    let directory = HomePath::parse(request.directory.as_deref().unwrap_or_default());
    let directory = directory
        .map_err(|error| ExecEnd::NotStarted { status: 126, message: format!("directory: {error}") })?;
    let program = app.person.program(&request.argv, &directory, &request.environment);
    let [name, arguments @ ..] = program.argv.as_slice() else {
        return Err(ExecEnd::NotStarted { status: 126, message: "no program was named".to_owned() });
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
    let spawned = children::own(|| command.spawn(), Child::id);
    let (child, owned) = spawned.map_err(|error| {
        let status = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        ExecEnd::NotStarted { status, message: format!("{}: {error}", request.argv[0]) }
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    Ok(Running { child, owned, group })
}

impl Running {
    /// Carries the streams until the program has ended, or its client has gone.
    async fn serve(mut self, speaker: &mut Speaker, listener: Listener) -> Result<ExecEnd, Gone> {
        let (output, mut chunks) = mpsc::channel(QUEUE);
        tokio::spawn(read(self.child.stdout.take(), output.clone(), 1));
        tokio::spawn(read(self.child.stderr.take(), output, 2));
        let mut hearing = std::pin::pin!(hear(listener, self.child.stdin.take(), self.group));
        let mut ended = None;
        loop {
            // With the program gone, silence means that all has been said.
            let drain = async {
                match ended {
                    Some(_) => tokio::time::sleep(DRAIN).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = chunks.recv() => {
                    let Some(chunk) = chunk else { return self.ended(ended, hearing).await };
                    tokio::select! {
                        sent = speaker.send_binary(chunk) => if sent.is_err() { return self.hang_up().await },
                        Gone = &mut hearing => return self.hang_up().await,
                    }
                }
                exit = wait(&mut self.child), if ended.is_none() => ended = Some(exit),
                () = drain, if ended.is_some() => {
                    return Ok(ExecEnd::Exited(ended.unwrap_or(ExitStatus { code: Some(255), signal: None })));
                }
                Gone = &mut hearing => return self.hang_up().await,
            }
        }
    }

    /// All has been said: how did it end?
    async fn ended(
        mut self,
        known: Option<ExitStatus>,
        hearing: impl Future<Output = Gone>,
    ) -> Result<ExecEnd, Gone> {
        if let Some(exit) = known {
            return Ok(ExecEnd::Exited(exit));
        }
        tokio::select! {
            exit = wait(&mut self.child) => Ok(ExecEnd::Exited(exit)),
            Gone = hearing => self.hang_up().await,
        }
    }

    /// The client has gone: so must the program.
    async fn hang_up<T>(mut self) -> Result<T, Gone> {
        signal(self.group, Signal::HUP);
        signal(self.group, Signal::CONT);
        if timeout(HANG_UP_GRACE, self.child.wait()).await.is_err() {
            signal(self.group, Signal::KILL);
            let _ = timeout(HANG_UP_GRACE, self.child.wait()).await;
        }
        drop(self.owned);
        Err(Gone)
    }
}

async fn wait(child: &mut Child) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    match child.wait().await {
        Ok(status) => ExitStatus { code: status.code(), signal: status.signal() },
        Err(_) => ExitStatus { code: Some(255), signal: None },
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // Gone already: as it should be.
        let _ = kill_process_group(group, signal);
    }
}

/// Reads a stream of the program into messages of kind `tag`.
async fn read(stream: Option<impl AsyncRead + Unpin>, output: mpsc::Sender<Vec<u8>>, tag: u8) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let message = if tag == 1 { ExecOutput::Stdout(bytes) } else { ExecOutput::Stderr(bytes) };
        if output.send(message.encode()).await.is_err() {
            return;
        }
    }
}

/// Takes what the client says, until it goes. While the program does not read its input, nothing more is taken but signals
/// wait too: they are in the same stream.
async fn hear(mut listener: Listener, mut stdin: Option<ChildStdin>, group: Option<Pid>) -> Gone {
    while let Some(Incoming::Binary(message)) = listener.receive().await {
        match ExecInput::decode(&message) {
            Ok(ExecInput::Stdin(bytes)) => feed(&mut stdin, Bytes::copy_from_slice(bytes)).await,
            Ok(ExecInput::Eof) => stdin = None,
            Ok(ExecInput::Signal(number)) => {
                if let Some(known) = Signal::from_named_raw(i32::from(number)) {
                    signal(group, known);
                }
            }
            Err(_) => return Gone,
        }
    }
    Gone
}

async fn feed(stdin: &mut Option<ChildStdin>, bytes: Bytes) {
    if let Some(pipe) = stdin
        && pipe.write_all(&bytes).await.is_err()
    {
        *stdin = None; // the program has closed it
    }
}
