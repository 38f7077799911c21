//! `burrow exec`: runs a program in a workspace as if it ran here. Streams, signals and the exit
//! status are passed through, with back-pressure like a pipe.

use std::{convert::Infallible, io};

use clap::Args;
use client::{
    ApiError,
    socket::{ExecEvent, ExecReceiver, ExecSender, HEARTBEAT_INTERVAL},
};
use protocol::exec::{DEFAULT_OUTPUT_TIMEOUT_MS, ExecEnd, ExecRequest, MAX_OUTPUT_TIMEOUT_MS};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    attach::exit_status,
    workspace::{self, WorkspaceArgument},
};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, ExitStatus, progress},
    terminal::keyboard,
};

/// Bytes of one read of standard input.
const MAX_READ_BYTES: usize = 32 * 1024;
/// What to know after a lost connection.
const LOST_HINT: &str = "the program may have ended or may still run; look before you run it again";
/// Signals that wait to be sent.
const SIGNAL_QUEUE: usize = 4;
/// The exit status that shells report when the reader of a pipe has gone (SIGPIPE).
const BROKEN_PIPE_STATUS: u8 = 128 + 13;
const SIGINT: u8 = 2;
/// Longest `--output-timeout`, in seconds: a day, as on the server.
const MAX_OUTPUT_TIMEOUT: u64 = MAX_OUTPUT_TIMEOUT_MS / 1000;
const CUT_WARNING: &str = "warning: The output was cut: the program has ended, but a process that it left \
running held its output open. To wait longer, use --output-timeout SECONDS.";

/// Run a program in a workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow exec demo -- make test
  tar c src | burrow exec -i demo -- tar x
  burrow exec -w project -e CI=1 demo -- ./run.sh

Standard output, standard error, signals and the exit status are passed through. PATH is that of
your login shell. The first Ctrl-C goes to the program, the second ends the command at once.

Processes that the program leaves running may hold its output open. The command then ends when they
close it, or when they have written nothing for --output-timeout seconds; it warns if output was cut.

Exit status: that of the program; 126 if it cannot be started or its working directory cannot be
entered, 127 if it does not exist, 255 if the connection failed.")]
pub struct Exec {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Pass standard input to the program
    #[arg(short = 'i', long, env = "BURROW_INTERACTIVE")]
    pub interactive: bool,
    /// Set an environment variable of the program; may be repeated
    #[arg(short, long, env = "BURROW_ENV", value_name = "KEY=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// Working directory: absolute, or relative to the home
    #[arg(short, long, env = "BURROW_WORKDIR", value_name = "DIR")]
    pub workdir: Option<String>,
    /// How long to wait for silent processes that hold the output of the ended program
    #[arg(
        long,
        env = "BURROW_OUTPUT_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = DEFAULT_OUTPUT_TIMEOUT_MS / 1000,
        value_parser = clap::value_parser!(u64).range(..=MAX_OUTPUT_TIMEOUT),
    )]
    pub output_timeout: u64,
    /// Fail if the workspace is stopped, instead of starting it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
    /// Program and its arguments
    #[arg(last = true, required = true, num_args = 1..)]
    pub command: Vec<String>,
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

impl Exec {
    /// Runs the program to its end. Returns its exit status.
    pub async fn run(self, context: &Context) -> Result<ExitStatus, CommandError> {
        let status = run(context, self).await;
        status.map(ExitStatus).map_err(|error| error.with_kind(ErrorKind::Connection))
    }
}

async fn run(context: &Context, exec: Exec) -> Result<u8, CommandError> {
    let signals = Signals::listen()
        .map_err(|error| CommandError::error("Cannot listen for signals").because(&error))?;
    let server = context.server()?;
    let workspace =
        workspace::ensure_running(context, &server, &exec.target.workspace, !exec.no_start).await?;
    let request = ExecRequest {
        argv: exec.command,
        directory: exec.workdir,
        environment: exec.env,
        stdin: exec.interactive,
        output_timeout_ms: Some(exec.output_timeout * 1000),
    };
    let (sender, receiver) = server.exec(workspace.id, &request).await?.split();
    let stdin = exec.interactive.then(|| keyboard::read_stdin(MAX_READ_BYTES));
    let (signal_sender, forwarded) = mpsc::channel(SIGNAL_QUEUE);
    tokio::select! {
        status = copy_output(receiver) => status,
        never = copy_input(sender, stdin, forwarded) => match never {},
        number = signals.forward(signal_sender) => Ok(128 + number),
    }
}

/// Sends input, signals and pings to the program. A signal does not wait for input that the program
/// does not read.
///
/// It never returns. When nothing can be sent any more, the program may have ended with its last
/// output still on the way, so [`copy_output`] decides when the command ends.
async fn copy_input(
    mut sender: ExecSender,
    mut stdin: Option<mpsc::Receiver<Vec<u8>>>,
    mut signals: mpsc::Receiver<u8>,
) -> Infallible {
    let mut pings = interval(HEARTBEAT_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        let sent: Result<(), ApiError> = tokio::select! {
            Some(number) = signals.recv() => sender.send_signal(number).await,
            bytes = next_input(&mut stdin), if waiting.is_empty() => if let Some(bytes) = bytes {
                waiting = bytes;
                Ok(())
            } else {
                stdin = None;
                sender.close_stdin().await
            },
            room = sender.wait_for_room(), if !waiting.is_empty() => {
                let piece: Vec<u8> = waiting.drain(..room.min(waiting.len())).collect();
                sender.send_stdin(&piece).await
            }
            _ = pings.tick() => sender.send_ping().await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "cannot send to the program any more");
            return std::future::pending().await;
        }
    }
}

/// The next bytes of standard input; None at its end. Without standard input, it waits forever.
async fn next_input(stdin: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes the program's output until it ends. Returns its exit status.
async fn copy_output(mut receiver: ExecReceiver) -> Result<u8, CommandError> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let event = receiver.next().await.map_err(|error| {
            let is_lost = matches!(error, ApiError::Broken { .. });
            let error = CommandError::from(error);
            if is_lost { error.hint(LOST_HINT) } else { error }
        });
        let written = match event? {
            ExecEvent::Stdout(bytes) => write(&mut stdout, &bytes).await,
            ExecEvent::Stderr(bytes) => write(&mut stderr, &bytes).await,
            ExecEvent::End(ExecEnd::Exited { status, output_cut }) => {
                if output_cut {
                    progress::write_line(CUT_WARNING);
                }
                return Ok(exit_status(status));
            }
            ExecEvent::End(ExecEnd::NotStarted { status, message }) => {
                progress::write_line(&format!("error: {}", output::printable(&message)));
                return Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX));
            }
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(BROKEN_PIPE_STATUS),
            Err(error) => return Err(CommandError::error("Cannot write the output").because(&error)),
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// The signals that are forwarded to the program.
struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Forwards signals to the program. Returns on the second Ctrl-C, which ends this command
    /// without waiting.
    async fn forward(mut self, to: mpsc::Sender<u8>) -> u8 {
        let mut interrupted = false;
        loop {
            let number = tokio::select! {
                _ = self.interrupt.recv() => SIGINT,
                _ = self.quit.recv() => 3,
                _ = self.terminate.recv() => 15,
                _ = self.hangup.recv() => 1,
            };
            if number == SIGINT && interrupted {
                return number;
            }
            interrupted |= number == SIGINT;
            // When this many signals are waiting already, one more makes no difference.
            if to.try_send(number).is_err() {
                tracing::debug!(number, "dropped a signal: too many are waiting");
            }
        }
    }
}
