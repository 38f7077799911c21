//! `burrow attach`: connects the user's terminal to one in the workspace, the same one that the
//! browser shows.
//!
//! One loop owns everything: it waits for the next event, then applies it. However it ends (exit of
//! the shell, `~.`, a signal, a panic), the guard of [`crate::terminal::guard`] restores the user's
//! terminal.

use std::io::{self, IsTerminal};

use clap::Args;
use client::socket::{Terminal, TerminalEvent, TerminalInput};
use protocol::{
    TerminalId, WorkspaceId,
    api::workspace::Workspace,
    terminal::{ExitStatus as RemoteExit, NewTerminal, TerminalInfo, TerminalSize},
    workspace::Phase,
};
use tokio::{
    io::{AsyncWriteExt, Stdout},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{CommandError, ErrorKind, ExitStatus},
    server::Server,
    terminal::{
        escape::{EscapeParser, HELP, Keys},
        guard::{RawError, RawTerminal},
        keyboard,
    },
};

/// Used when the size of the user's terminal is not known.
const DEFAULT_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };
/// Bytes of one read of the keyboard. A paste arrives in several reads.
const MAX_KEYS_BYTES: usize = 4096;

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;
/// Leaves the alternate screen, resets modes and colors, and clears the screen. A redraw follows.
const RESET: &[u8] = b"\x1b[?1049l\x1b[!p\x1b[0m\x1b[2J\x1b[H";

/// Attach to a terminal of a workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow attach demo
  burrow attach demo --new
  burrow attach demo --terminal 0199f0aa

Attaches to the most recent terminal, which the browser shows too, or opens a new one. At the
beginning of a line, ~. detaches and ~? lists the other escapes. The shell keeps running.")]
pub struct Attach {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Identifier of the terminal, or its beginning (see `burrow terminals`)
    #[arg(long, env = "BURROW_TERMINAL", value_name = "ID", conflicts_with = "new")]
    pub terminal: Option<String>,
    /// Open a new terminal
    #[arg(long, env = "BURROW_NEW")]
    pub new: bool,
    /// Fail if the workspace is stopped, instead of starting it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
}

impl Attach {
    /// Attaches until the shell exits or the user detaches. Returns the exit status of the shell.
    pub async fn run(self, context: &Context) -> Result<ExitStatus, CommandError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let what = "Cannot attach: standard input and output must be a terminal";
            return Err(CommandError::new(ErrorKind::Usage, what)
                .hint("for scripts: burrow exec WORKSPACE -- PROGRAM"));
        }
        let server = context.server().map_err(connection_error)?;
        let (workspace, info, terminal) =
            open_terminal(context, &server, &self).await.map_err(connection_error)?;
        context.output.say(&format!("Attached to {} (~? for help)", workspace.name));
        let end = Session::begin(terminal).map_err(connection_error)?.run().await;
        let again = format!("burrow attach {} --terminal {}", workspace.name, info.id);
        match end {
            SessionEnd::Exited(status) => Ok(ExitStatus(status)),
            SessionEnd::Detached => {
                context.output.say(&format!("Detached. The shell keeps running. To return: {again}"));
                Ok(ExitStatus(0))
            }
            SessionEnd::Signalled(number) => Ok(ExitStatus(128 + number)),
            SessionEnd::Failed(error) => {
                let hint = advise_after_failure(&server, &workspace, again).await;
                Err(connection_error(error).hint(hint))
            }
        }
    }
}

/// How to continue after a lost connection. A terminal ends with its workspace, so after a stop its
/// identifier is of no use.
async fn advise_after_failure(server: &Server, workspace: &Workspace, again: String) -> String {
    match server.workspace(workspace.id).await {
        Ok(now) if now.phase == Phase::Running && now.epoch == workspace.epoch => again,
        Ok(now) => format!(
            "{}: its terminals have ended. To start a new one: burrow attach {}",
            workspace::state(&now),
            workspace.name
        ),
        Err(_) => again,
    }
}

/// Finds the workspace, starts it if needed, and opens the terminal.
async fn open_terminal(
    context: &Context,
    server: &Server,
    attach: &Attach,
) -> Result<(Workspace, TerminalInfo, Terminal), CommandError> {
    // A terminal of a workspace that is stopped has ended. Starting it would only find that out.
    if let Some(terminal) = &attach.terminal {
        let workspace = workspace::find(server, &attach.target.workspace).await?;
        if workspace.phase != Phase::Running {
            let what = format!(
                "Cannot attach to terminal `{terminal}`: workspace {} is not running, and its \
                terminals have ended",
                workspace.name
            );
            return Err(CommandError::new(ErrorKind::NotFound, what)
                .hint(format!("burrow attach {}", attach.target.workspace)));
        }
    }
    let workspace =
        workspace::ensure_running(context, server, &attach.target.workspace, !attach.no_start).await?;
    let info = choose_terminal(server, workspace.id, attach).await?;
    let terminal = server.attach(workspace.id, info.id, size()).await?;
    Ok((workspace, info, terminal))
}

/// Gives an error of ours the one exit status that remote programs do not use, because theirs is
/// passed through.
fn connection_error(error: CommandError) -> CommandError {
    error.with_kind(ErrorKind::Connection)
}

/// The terminal to attach to: a new one, the one that `--terminal` names, or the most recent that
/// is alive.
async fn choose_terminal(
    server: &Server,
    workspace: WorkspaceId,
    attach: &Attach,
) -> Result<TerminalInfo, CommandError> {
    let new = NewTerminal { size: Some(size()), ..NewTerminal::default() };
    if attach.new {
        return Ok(server.create_terminal(workspace, &new).await?);
    }
    let terminals = server.terminals(workspace).await?.terminals;
    let Some(wanted) = &attach.terminal else {
        let alive = terminals.into_iter().filter(|terminal| terminal.exit.is_none());
        return match alive.max_by_key(|terminal| terminal.created_at) {
            Some(latest) => Ok(latest),
            None => Ok(server.create_terminal(workspace, &new).await?),
        };
    };
    let mut matching = terminals.into_iter().filter(|terminal| is_beginning_of(wanted, terminal.id));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CommandError::new(ErrorKind::NotFound, format!("Cannot find terminal `{wanted}`"))
            .hint(format!("burrow terminals {}", attach.target.workspace))),
        (Some(_), Some(_)) => {
            Err(CommandError::new(ErrorKind::Usage, format!("Several terminals begin with `{wanted}`"))
                .hint(format!("burrow terminals {}", attach.target.workspace)))
        }
    }
}

/// Whether `text` is the beginning of this identifier.
fn is_beginning_of(text: &str, id: TerminalId) -> bool {
    !text.is_empty() && id.to_string().starts_with(&text.to_ascii_lowercase())
}

/// How a session ended.
enum SessionEnd {
    Exited(u8),
    Detached,
    Signalled(u8),
    Failed(CommandError),
}

/// What a session waits for.
enum SessionEvent {
    Typed(Vec<u8>),
    /// Standard input has ended: the user's terminal was closed.
    InputEnded,
    Resized,
    Signal(u8),
    Remote(TerminalEvent),
    Failed(CommandError),
}

/// An attached terminal. It owns the raw mode of the user's terminal.
struct Session {
    remote: Terminal,
    input: TerminalInput,
    raw: RawTerminal,
    stdout: Stdout,
    typed: mpsc::Receiver<Vec<u8>>,
    escapes: EscapeParser,
    resized: Signal,
    signals: Signals,
}

/// The signals that end the session.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Session {
    fn begin(remote: Terminal) -> Result<Self, CommandError> {
        // Listen before the terminal is raw: from then on, a signal must not end the process
        // without a restore.
        let failed = |error: io::Error| CommandError::error("Cannot listen for signals").because(&error);
        let signals = Signals::listen().map_err(failed)?;
        let resized = signal(SignalKind::window_change()).map_err(failed)?;
        let raw = RawTerminal::enter().map_err(|error: RawError| {
            CommandError::error("Cannot put the terminal into raw mode").because(&error)
        })?;
        Ok(Self {
            input: remote.input(),
            remote,
            raw,
            stdout: tokio::io::stdout(),
            typed: keyboard::read_stdin(MAX_KEYS_BYTES),
            escapes: EscapeParser::default(),
            resized,
            signals,
        })
    }

    async fn run(mut self) -> SessionEnd {
        loop {
            let event = self.next().await;
            if let Some(end) = self.apply(event).await {
                return end;
            }
        }
    }

    async fn next(&mut self) -> SessionEvent {
        tokio::select! {
            event = self.remote.next() => match event {
                Ok(event) => SessionEvent::Remote(event),
                Err(error) => SessionEvent::Failed(CommandError::from(error)),
            },
            // Keys stay in standard input until the remote side has room for them.
            typed = next_typed(&self.input, &mut self.typed) => {
                typed.map_or(SessionEvent::InputEnded, SessionEvent::Typed)
            }
            _ = self.resized.recv() => SessionEvent::Resized,
            number = self.signals.next() => SessionEvent::Signal(number),
        }
    }

    async fn apply(&mut self, event: SessionEvent) -> Option<SessionEnd> {
        match event {
            SessionEvent::Typed(bytes) => self.send_keys(&bytes).await,
            SessionEvent::InputEnded => Some(SessionEnd::Signalled(SIGHUP)),
            SessionEvent::Resized => {
                self.input.resize(size());
                None
            }
            SessionEvent::Signal(number) => Some(SessionEnd::Signalled(number)),
            SessionEvent::Failed(error) => Some(SessionEnd::Failed(error)),
            SessionEvent::Remote(event) => self.apply_remote(event).await,
        }
    }

    async fn send_keys(&mut self, bytes: &[u8]) -> Option<SessionEnd> {
        for keys in self.escapes.parse(bytes) {
            match keys {
                Keys::Detach => return Some(SessionEnd::Detached),
                Keys::Help => {
                    if let Some(end) = self.show(HELP.as_bytes()).await {
                        return Some(end);
                    }
                }
                Keys::Send(keys) => {
                    // There is room: `next_typed` has waited for it.
                    if let Err(full) = self.input.send_input(&keys) {
                        return Some(SessionEnd::Failed(
                            CommandError::error("Cannot send keys").because(&full),
                        ));
                    }
                }
            }
        }
        None
    }

    async fn apply_remote(&mut self, event: TerminalEvent) -> Option<SessionEnd> {
        match event {
            TerminalEvent::Output(bytes) => self.show(&bytes).await,
            TerminalEvent::Redraw(screen) => {
                let bytes = [RESET, &screen].concat();
                self.show(&bytes).await
            }
            // The size of the user's window does not follow other viewers.
            TerminalEvent::Resized(_) => None,
            TerminalEvent::Disconnected => {
                let notice = at_bottom("\x1b[7m Connection lost. Reconnecting… (Enter ~. to detach) \x1b[0m");
                self.show(notice.as_bytes()).await
            }
            TerminalEvent::Reconnected => self.show(at_bottom("").as_bytes()).await,
            TerminalEvent::Exited(exit) => Some(SessionEnd::Exited(exit_status(exit))),
        }
    }

    /// Writes to the user's terminal. A terminal that is paused (Ctrl-S) does not block signals.
    async fn show(&mut self, bytes: &[u8]) -> Option<SessionEnd> {
        self.raw.observe(bytes);
        let stdout = &mut self.stdout;
        let written = async {
            stdout.write_all(bytes).await?;
            stdout.flush().await
        };
        tokio::select! {
            written = written => written
                .err()
                .map(|error| {
                    let error = CommandError::error("Cannot write to the terminal").because(&error);
                    SessionEnd::Failed(error)
                }),
            number = self.signals.next() => Some(SessionEnd::Signalled(number)),
        }
    }
}

async fn next_typed(input: &TerminalInput, typed: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    // One byte more, for a `~` that was held back.
    input.wait_for_room(MAX_KEYS_BYTES + 1).await;
    typed.recv().await
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal and returns its number.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => SIGINT,
            _ = self.terminate.recv() => SIGTERM,
            _ = self.hangup.recv() => SIGHUP,
        }
    }
}

/// Escape sequences that replace the last line with `text` and leave the cursor where it is.
fn at_bottom(text: &str) -> String {
    format!("\x1b7\x1b[{};1H\x1b[2K{text}\x1b8", size().rows)
}

fn size() -> TerminalSize {
    match crossterm::terminal::size() {
        Ok((cols, rows)) if cols > 0 && rows > 0 => TerminalSize { cols, rows }.clamped(),
        _ => DEFAULT_SIZE,
    }
}

/// The exit status of a remote program. A guest may report any number, but a status has eight bits.
pub fn exit_status(exit: RemoteExit) -> u8 {
    u8::try_from(exit.status() & 0xff).unwrap_or(u8::MAX)
}
