//! `attach`: the person's terminal becomes a view of one in the workspace, the same as in the browser.
//!
//! One loop owns everything: it takes the next happening, then acts on it. However it ends (exit of the shell, `~.`, a
//! signal, a panic), the guard of [`crate::terminal::guard`] gives the person's terminal back.

use std::io::{self, IsTerminal};

use client::socket::{Terminal, TerminalEvent, TerminalInput};
use protocol::{
    api::workspace::Workspace,
    terminal::{ExitStatus, NewTerminal, TerminalInfo, TerminalSize},
};
use tokio::{
    io::{AsyncWriteExt, Stdout},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{Context, workspace};
use crate::{
    arguments::{Attach, is_beginning_of},
    failure::{Failure, Kind},
    server::Server,
    terminal::{
        escape::{Escapes, HELP, Keys},
        guard::{RawError, RawTerminal},
        keyboard,
    },
};

/// Where the terminal's size is not known.
const SIZE_UNKNOWN: TerminalSize = TerminalSize { cols: 80, rows: 24 };
/// Keys of one read; a paste comes in more.
const KEYS_BYTES: usize = 4096;

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;
/// Leaves the other screen, resets modes and colours, empties the screen: a drawing of it follows.
const RESET: &[u8] = b"\x1b[?1049l\x1b[!p\x1b[0m\x1b[2J\x1b[H";

/// Attaches; gives the status to end with.
pub async fn attach(context: &Context, attach: Attach) -> Result<u8, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(Kind::Usage, "attach needs a terminal as standard input and output")
            .next("for scripts: burrow exec WORKSPACE -- PROGRAM"));
    }
    let server = context.server().map_err(transport)?;
    let (found, chosen, terminal) = find(context, &server, &attach).await.map_err(transport)?;
    context.output.say(&format!("Attached to {} (~? for help)", found.name));
    let end = Session::begin(terminal).map_err(transport)?.run().await;
    let again = || format!("burrow attach {} --terminal {}", found.name, chosen.id);
    match end {
        End::Exited(status) => Ok(status),
        End::Detached => {
            context.output.say(&format!("Detached; the shell goes on running. Back: {}", again()));
            Ok(0)
        }
        End::Signalled(number) => Ok(128 + number),
        End::Failed(failure) => Err(transport(failure).next(again())),
    }
}

/// Finds, starts if need be, and opens what was asked for.
async fn find(
    context: &Context,
    server: &Server,
    attach: &Attach,
) -> Result<(Workspace, TerminalInfo, Terminal), Failure> {
    let found =
        workspace::ensure_running(context, server, &attach.target.workspace, !attach.no_start).await?;
    let chosen = choose(server, found.id, attach).await?;
    let terminal = server.attach(found.id, chosen.id, size()).await?;
    Ok((found, chosen, terminal))
}

/// The remote status is passed on, so that every failure of ours has one status that is none of its.
fn transport(failure: Failure) -> Failure {
    failure.with_kind(Kind::Transport)
}

/// The terminal that was asked for: a new one, the named one, or the most recent that is alive.
async fn choose(
    server: &Server,
    workspace: protocol::WorkspaceId,
    attach: &Attach,
) -> Result<TerminalInfo, Failure> {
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
        (None, _) => Err(Failure::new(Kind::NotFound, format!("There is no terminal `{wanted}`"))
            .next(format!("burrow terminals {}", attach.target.workspace))),
        (Some(_), Some(_)) => {
            Err(Failure::new(Kind::Usage, format!("Several terminals begin with `{wanted}`"))
                .next(format!("burrow terminals {}", attach.target.workspace)))
        }
    }
}

/// How a session ends.
enum End {
    Exited(u8),
    Detached,
    Signalled(u8),
    Failed(Failure),
}

/// What may happen next.
enum Happening {
    Typed(Vec<u8>),
    /// Standard input has ended: the person's terminal is gone.
    InputEnded,
    Resized,
    Signal(u8),
    Remote(TerminalEvent),
    Lost(Failure),
}

struct Session {
    remote: Terminal,
    input: TerminalInput,
    raw: RawTerminal,
    stdout: Stdout,
    typed: mpsc::Receiver<Vec<u8>>,
    escapes: Escapes,
    resized: Signal,
    signals: Signals,
}

/// Those that end us.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Session {
    fn begin(remote: Terminal) -> Result<Self, Failure> {
        // Listened to before the terminal is raw: from then on none of them may end us unprepared.
        let unheard = |error: io::Error| Failure::error("Signals cannot be listened to").because(&error);
        let signals = Signals::listen().map_err(unheard)?;
        let resized = signal(SignalKind::window_change()).map_err(unheard)?;
        let raw = RawTerminal::enter()
            .map_err(|error: RawError| Failure::error("The terminal cannot be made raw").because(&error))?;
        Ok(Self {
            input: remote.input(),
            remote,
            raw,
            stdout: tokio::io::stdout(),
            typed: keyboard::pieces(KEYS_BYTES),
            escapes: Escapes::default(),
            resized,
            signals,
        })
    }

    async fn run(mut self) -> End {
        loop {
            let happening = self.next().await;
            if let Some(end) = self.apply(happening).await {
                return end;
            }
        }
    }

    async fn next(&mut self) -> Happening {
        tokio::select! {
            event = self.remote.next() => match event {
                Ok(event) => Happening::Remote(event),
                Err(error) => Happening::Lost(Failure::from(error)),
            },
            // Keys are left where they are until the remote side takes them.
            typed = next_typed(&self.input, &mut self.typed) => typed.map_or(Happening::InputEnded, Happening::Typed),
            _ = self.resized.recv() => Happening::Resized,
            number = ending(&mut self.signals) => Happening::Signal(number),
        }
    }

    async fn apply(&mut self, happening: Happening) -> Option<End> {
        match happening {
            Happening::Typed(bytes) => self.typed(&bytes).await,
            Happening::InputEnded => Some(End::Signalled(SIGHUP)),
            Happening::Resized => {
                self.input.resize(size());
                None
            }
            Happening::Signal(number) => Some(End::Signalled(number)),
            Happening::Lost(failure) => Some(End::Failed(failure)),
            Happening::Remote(event) => self.remote(event).await,
        }
    }

    async fn typed(&mut self, bytes: &[u8]) -> Option<End> {
        for keys in self.escapes.typed(bytes) {
            match keys {
                Keys::Disconnect => return Some(End::Detached),
                Keys::Help => {
                    if let Some(end) = self.show(HELP.as_bytes()).await {
                        return Some(end);
                    }
                }
                Keys::Send(keys) => {
                    // There is room: it was waited for.
                    if let Err(full) = self.input.type_in(&keys) {
                        return Some(End::Failed(Failure::error("Keys were lost").because(&full)));
                    }
                }
            }
        }
        None
    }

    async fn remote(&mut self, event: TerminalEvent) -> Option<End> {
        match event {
            TerminalEvent::Output(bytes) => self.show(&bytes).await,
            TerminalEvent::Redraw(screen) => {
                let bytes = [RESET, &screen].concat();
                self.show(&bytes).await
            }
            // The person's window has the size that it has.
            TerminalEvent::Resized(_) => None,
            TerminalEvent::Lost => {
                let notice = at_bottom("\x1b[7m Connection lost; trying again (Enter ~. to leave) \x1b[0m");
                self.show(notice.as_bytes()).await
            }
            TerminalEvent::Restored => self.show(at_bottom("").as_bytes()).await,
            TerminalEvent::Exited(exit) => Some(End::Exited(status(exit))),
        }
    }

    /// Writes to the person's terminal. One that is held up (Ctrl-S) does not hold up signals.
    async fn show(&mut self, bytes: &[u8]) -> Option<End> {
        self.raw.observe(bytes);
        let stdout = &mut self.stdout;
        let written = async {
            stdout.write_all(bytes).await?;
            stdout.flush().await
        };
        tokio::select! {
            written = written => written
                .err()
                .map(|error| End::Failed(Failure::error("The terminal cannot be written to").because(&error))),
            number = ending(&mut self.signals) => Some(End::Signalled(number)),
        }
    }
}

async fn next_typed(input: &TerminalInput, typed: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    // One more: a `~` that was held back.
    input.has_room(KEYS_BYTES + 1).await;
    typed.recv().await
}

/// A signal that ends us.
async fn ending(signals: &mut Signals) -> u8 {
    tokio::select! {
        _ = signals.interrupt.recv() => SIGINT,
        _ = signals.terminate.recv() => SIGTERM,
        _ = signals.hangup.recv() => SIGHUP,
    }
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The last line, with the cursor left where it is.
fn at_bottom(text: &str) -> String {
    format!("\x1b7\x1b[{};1H\x1b[2K{text}\x1b8", size().rows)
}

fn size() -> TerminalSize {
    match crossterm::terminal::size() {
        Ok((cols, rows)) if cols > 0 && rows > 0 => TerminalSize { cols, rows }.clamped(),
        _ => SIZE_UNKNOWN,
    }
}

/// A guest may name any number; a status has eight bits.
pub fn status(exit: ExitStatus) -> u8 {
    u8::try_from(exit.status() & 0xff).unwrap_or(u8::MAX)
}
