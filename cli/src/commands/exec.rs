//! `exec`: a program in the workspace as if it ran here. Its streams, signals and status are passed through; like a pipe, it
//! waits for whoever reads it.

use std::{convert::Infallible, io, time::Duration};

use client::{
    ApiError,
    socket::{ExecEvent, ExecReceiver, ExecSender},
};
use protocol::exec::{ExecEnd, ExecRequest};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{Context, attach, workspace};
use crate::{
    arguments::Exec,
    failure::{Failure, Kind},
    output, progress,
    terminal::keyboard,
};

/// One read of standard input.
const PIECE_BYTES: usize = 32 * 1024;
/// Between signs of life, for programs that say nothing for hours.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Signals on their way.
const SIGNALS: usize = 4;
/// What a shell reports of a program whose reader has gone (SIGPIPE).
const BROKEN_PIPE: u8 = 128 + 13;
const SIGINT: u8 = 2;

/// Runs; gives the status to end with.
pub async fn exec(context: &Context, exec: Exec) -> Result<u8, Failure> {
    run(context, exec).await.map_err(|failure| failure.with_kind(Kind::Transport))
}

async fn run(context: &Context, exec: Exec) -> Result<u8, Failure> {
    let signals =
        Signals::listen().map_err(|error| Failure::error("Signals cannot be listened to").because(&error))?;
    let server = context.server()?;
    let found = workspace::ensure_running(context, &server, &exec.target.workspace, !exec.no_start).await?;
    let request = ExecRequest {
        argv: exec.command,
        directory: exec.workdir,
        environment: exec.env,
        stdin: exec.interactive,
    };
    let (sender, receiver) = server.exec(found.id, &request).await?.split();
    let stdin = exec.interactive.then(|| keyboard::pieces(PIECE_BYTES));
    let (signal_sender, forwarded) = mpsc::channel(SIGNALS);
    tokio::select! {
        status = hear(receiver) => status,
        never = feed(sender, stdin, forwarded) => match never {},
        number = signals.forward(signal_sender) => Ok(128 + number),
    }
}

/// Passes on what the program gets. Does not end by itself: when nothing more can be sent, the program may have ended, with its
/// last words on their way, so that hearing decides.
async fn feed(
    mut sender: ExecSender,
    mut stdin: Option<mpsc::Receiver<Vec<u8>>>,
    mut signals: mpsc::Receiver<u8>,
) -> Infallible {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent: Result<(), ApiError> = tokio::select! {
            Some(number) = signals.recv() => sender.signal(number).await,
            piece = next_piece(&mut stdin) => if let Some(piece) = piece {
                sender.stdin(&piece).await
            } else {
                stdin = None;
                sender.end_of_stdin().await
            },
            _ = pings.tick() => sender.ping().await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "nothing more can be sent");
            return std::future::pending().await;
        }
    }
}

/// Standard input's next piece; its end is none. Without standard input there is neither.
async fn next_piece(stdin: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => std::future::pending().await,
    }
}

/// Passes on what the program says, until its end.
async fn hear(mut receiver: ExecReceiver) -> Result<u8, Failure> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let written = match receiver.next().await? {
            ExecEvent::Stdout(bytes) => write(&mut stdout, &bytes).await,
            ExecEvent::Stderr(bytes) => write(&mut stderr, &bytes).await,
            ExecEvent::End(ExecEnd::Exited(exit)) => return Ok(attach::status(exit)),
            ExecEvent::End(ExecEnd::NotStarted { status, message }) => {
                progress::write_line(&format!("error: {}", output::printable(&message)));
                return Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX));
            }
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(BROKEN_PIPE),
            Err(error) => return Err(Failure::error("The output cannot be written").because(&error)),
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

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

    /// Passes signals on to the program. The second Ctrl-C ends us: whoever presses it again does not want to wait.
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
            // With as many on their way already, one more says nothing new.
            if to.try_send(number).is_err() {
                tracing::debug!(number, "a signal was not passed on");
            }
        }
    }
}
