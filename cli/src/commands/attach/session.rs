//! An attached terminal in the user's terminal.
//!
//! One loop owns everything: it waits for the next event, then applies it. However it ends (exit of
//! the shell, `~.`, a signal, a panic), the guard of [`crate::terminal::guard`] restores the user's
//! terminal.

use std::{io, time::Duration};

use client::socket::{Terminal, TerminalEvent, TerminalInput};
use tokio::{
    io::{AsyncWriteExt, Stdout},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{exit_status, size};
use crate::{
    output::CommandError,
    terminal::{
        clipboard::{ClipboardFilter, ClipboardRequests},
        escape::{EscapeParser, HELP, Keys},
        guard::{RawError, RawTerminal},
        keyboard,
        queries::QueryFilter,
    },
};

/// A shell that shows nothing for this long may hang in a start file.
const SILENT_START: Duration = Duration::from_secs(8);
const SILENT_NOTICE: &str = "No output yet. If a start file hangs: Enter ~. and then attach --plain-shell.";
/// How long a notice covers the last line.
const NOTICE_DURATION: Duration = Duration::from_secs(3);
const CLIPBOARD_WRITTEN: &str = "A program in the workspace has copied text to your clipboard.";
const CLIPBOARD_REFUSED: &str = "A program in the workspace asked for your clipboard. Burrow refused.";
/// Bytes of one read of the keyboard. A paste arrives in several reads.
const MAX_KEYS_BYTES: usize = 4096;

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;
/// Leaves the alternate screen, resets modes and colors, and clears the screen. A redraw follows, which sets
/// the modes that the program wants. A soft reset leaves those of the mouse and others as they are.
const RESET: &[u8] = b"\x1b[?1049l\x1b[!p\x1b[?9;45;1000;1002;1003;1004;1005;1006;1015;1016;2004;2026l\
    \x1b[?7h\x1b[0m\x1b[2J\x1b[H";

/// How a session ended.
pub enum SessionEnd {
    /// The shell exited with this status.
    Exited(u8),
    /// The user detached.
    Detached,
    /// This command received a signal.
    Signalled(u8),
    /// The connection or the user's terminal failed.
    Failed(CommandError),
}

/// What a session waits for.
enum SessionEvent {
    Typed(Vec<u8>),
    /// Standard input has ended: the user's terminal was closed.
    InputEnded,
    Resized,
    Signal(u8),
    /// A notice was shown for long enough.
    NoticeEnded,
    /// The terminal has shown nothing for [`SILENT_START`].
    StartSilent,
    Remote(TerminalEvent),
    Failed(CommandError),
}

/// An attached terminal. It owns the raw mode of the user's terminal.
pub struct Session {
    remote: Terminal,
    input: TerminalInput,
    raw: RawTerminal,
    stdout: Stdout,
    typed: mpsc::Receiver<Vec<u8>>,
    escapes: EscapeParser,
    resized: Signal,
    signals: Signals,
    clipboard: ClipboardFilter,
    queries: QueryFilter,
    /// Until when a notice covers the last line.
    notice_end: Option<Instant>,
    /// When a terminal that has shown nothing gets a notice. None after the first output.
    silent_until: Option<Instant>,
}

/// The signals that end the session.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Session {
    /// Puts the user's terminal into raw mode.
    pub fn begin(remote: Terminal, no_clipboard: bool) -> Result<Self, CommandError> {
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
            clipboard: ClipboardFilter::new(no_clipboard),
            queries: QueryFilter::default(),
            notice_end: None,
            silent_until: Some(Instant::now() + SILENT_START),
        })
    }

    /// Serves the terminal until the session ends.
    pub async fn run(mut self) -> SessionEnd {
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
            () = sleep_until_some(self.notice_end) => SessionEvent::NoticeEnded,
            () = sleep_until_some(self.silent_until) => SessionEvent::StartSilent,
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
            SessionEvent::NoticeEnded => {
                self.notice_end = None;
                self.input.redraw();
                None
            }
            SessionEvent::StartSilent => {
                self.silent_until = None;
                self.show_notice(SILENT_NOTICE).await
            }
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
            TerminalEvent::Output(bytes) => {
                self.silent_until = None;
                self.show_remote(&bytes).await
            }
            TerminalEvent::Redraw(screen) => {
                if draws_text(&screen) {
                    self.silent_until = None;
                }
                let bytes = [RESET, &screen].concat();
                self.show_remote(&bytes).await
            }
            // The size of the user's window does not follow other viewers.
            TerminalEvent::Resized(_) => None,
            TerminalEvent::Disconnected => {
                let notice = at_bottom("\x1b[7m Connection lost. Reconnecting… (Enter ~. to detach) \x1b[0m");
                self.show(notice.as_bytes()).await
            }
            TerminalEvent::Reconnected => self.show(at_bottom("").as_bytes()).await,
            TerminalEvent::InputDropped(bytes) => self.show_notice(&dropped_notice(bytes)).await,
            TerminalEvent::Exited(exit) => Some(SessionEnd::Exited(exit_status(exit))),
        }
    }

    /// Shows remote output, without queries and without requests for the clipboard that are refused, and
    /// says what happened to the clipboard.
    async fn show_remote(&mut self, bytes: &[u8]) -> Option<SessionEnd> {
        let bytes = self.clipboard.filter(&self.queries.filter(bytes));
        if let Some(end) = self.show(&bytes).await {
            return Some(end);
        }
        let requests = self.clipboard.take_requests();
        // A program that asks all the time gets one notice at a time.
        if requests == ClipboardRequests::default() || self.notice_end.is_some() {
            return None;
        }
        let text = if requests.refused > 0 { CLIPBOARD_REFUSED } else { CLIPBOARD_WRITTEN };
        self.show_notice(text).await
    }

    /// Covers the last line with a notice for a moment.
    async fn show_notice(&mut self, text: &str) -> Option<SessionEnd> {
        self.notice_end = Some(Instant::now() + NOTICE_DURATION);
        self.show(at_bottom(&format!("\x1b[0;7m {text} \x1b[0m")).as_bytes()).await
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

/// Sleeps until `instant`, or forever without one.
async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
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

fn dropped_notice(bytes: usize) -> String {
    let keys = if bytes == 1 { "1 key that was".to_owned() } else { format!("{bytes} keys that were") };
    format!("Reconnected. {keys} typed while the connection was lost will not be sent.")
}

/// Escape sequences that replace the last line with `text` and leave the cursor where it is.
fn at_bottom(text: &str) -> String {
    format!("\x1b7\x1b[{};1H\x1b[2K{text}\x1b8", size().rows)
}

/// Whether a drawing of a screen has any text or title. That of an empty screen has only sequences.
fn draws_text(screen: &[u8]) -> bool {
    let mut rest = screen;
    while let Some((&byte, after)) = rest.split_first() {
        let skip_to = |is_end: fn(u8) -> bool| {
            after.iter().skip(1).position(|byte| is_end(*byte)).map_or(after.len(), |end| end + 2)
        };
        let length = match (byte, after) {
            (0x1b, [b'[', ..]) => skip_to(|byte| (0x40..=0x7e).contains(&byte)),
            (0x1b, [b']', b'2', b';', ..]) => return true,
            (0x1b, [b']', ..]) => skip_to(|byte| matches!(byte, 0x07 | b'\\')),
            // The designation of a character set.
            (0x1b, [0x20..=0x2f, ..]) => 2,
            (0x1b, _) => 1,
            (0x21.., _) => return true,
            _ => 0,
        };
        rest = &after[length.min(after.len())..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_screen_draws_no_text() {
        assert!(!draws_text(b"\x1b[20l\x1b]104\x1b\\\x1b]110\x1b\\\r\n\x1b(B\x1b[1;1H\x1b[?25h\x1b>"));
        assert!(draws_text(b"\x1b[H\x1b[J\x1b[32m$ "));
        assert!(draws_text(b"\x1b[H\x1b]110\x07\x1b]2;bash\x07"));
    }
}
