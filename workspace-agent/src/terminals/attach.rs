//! One client attached to a terminal: output within a window of acknowledgements, and input with
//! numbers of its own.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use protocol::terminal::{AttachQuery, ClientMessage, OUTPUT_WINDOW_BYTES, ServerMessage, TerminalSize};
use tokio::time::{Instant, sleep, sleep_until};

use super::terminal::{NextOutput, Terminal, ViewerGuard};
use crate::socket::{CLOSE_INVALID_MESSAGE, CLOSE_NORMAL, CloseReason, Disconnected, Incoming, Socket};

/// Keys are confirmed after this time. By then their echo is usually sent; an earlier confirmation
/// would delay the echo.
const CONFIRM_DELAY: Duration = Duration::from_millis(50);
/// More unconfirmed input than this is a paste, whose next part waits for the confirmation. It is
/// confirmed at once.
const CONFIRM_BYTES: u64 = 256;

/// How often a client gets a sign of life while its input is not read.
const PONG_INTERVAL: Duration = Duration::from_secs(4);

/// Serves one client until it disconnects or has received the last output of a program that has
/// ended.
pub async fn serve(terminal: Arc<Terminal>, query: AttachQuery, socket: Socket) {
    if let (Some(cols), Some(rows)) = (query.cols, query.rows) {
        terminal.resize(TerminalSize { cols, rows });
    }
    let mut session = AttachSession {
        terminal: &terminal,
        viewer: terminal.add_viewer(),
        client: &query.client,
        socket,
        sent: query.from,
        needs_screen_only: false,
        acknowledged: 0,
        sizes: 0,
        typed: 0,
        confirmed: 0,
        owes_pong: false,
        confirm_at: None,
    };
    if let Ok(reason) = session.run().await {
        session.socket.close(reason).await;
    }
}

struct AttachSession<'a> {
    terminal: &'a Arc<Terminal>,
    viewer: ViewerGuard,
    client: &'a str,
    socket: Socket,
    /// Offset after the output that was sent. `None`: send a drawing of the screen first.
    sent: Option<u64>,
    /// The next drawing need not have the lines above the screen.
    needs_screen_only: bool,
    /// Offset after the output that the client has acknowledged.
    acknowledged: u64,
    /// Number of the terminal's sizes that the client has seen.
    sizes: u64,
    /// Bytes of this client's input that were typed.
    typed: u64,
    /// How much of `typed` was confirmed to the client.
    confirmed: u64,
    /// Whether a ping was not answered yet.
    owes_pong: bool,
    /// When the rest of `typed` is to be confirmed.
    confirm_at: Option<Instant>,
}

/// Input that waits until the program has read what came before.
struct PendingInput {
    offset: u64,
    bytes: Bytes,
}

impl AttachSession<'_> {
    async fn run(&mut self) -> Result<CloseReason, Disconnected> {
        let mut changes = self.terminal.watch();
        self.begin().await?;
        let mut pending: Option<PendingInput> = None;
        loop {
            changes.mark_unchanged();
            if std::mem::take(&mut self.owes_pong) {
                self.send(&ServerMessage::Pong).await?;
            }
            if let Some(reason) = self.send_output().await? {
                return Ok(reason);
            }
            let terminal = self.terminal;
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Disconnected)?,
                // While the program does not read its input, the socket is not read either.
                permit = terminal.reserve_input(), if pending.is_some() => {
                    let (Some(permit), Some(input)) = (permit, pending.take()) else {
                        return Err(Disconnected);
                    };
                    let expected = input.offset.saturating_add(input.bytes.len() as u64);
                    let typed = terminal.type_input(permit, self.client, input.offset, &input.bytes);
                    self.record_typed(typed, expected).await?;
                }
                // Meets the client's next ping, which the socket does not read.
                () = sleep(PONG_INTERVAL), if pending.is_some() => self.owes_pong = true,
                () = sleep_until_some(self.confirm_at) => self.confirm_input().await?,
                message = self.socket.receive(), if pending.is_none() => {
                    match self.apply_message(message.ok_or(Disconnected)?).await {
                        Ok(input) => pending = input,
                        Err(reason) => return Ok(reason),
                    }
                }
            }
        }
    }

    /// Applies a message, except for input, which is returned.
    async fn apply_message(&mut self, message: Incoming) -> Result<Option<PendingInput>, CloseReason> {
        let invalid = CloseReason { code: CLOSE_INVALID_MESSAGE, reason: "not a terminal message" };
        let Incoming::Binary(message) = message else { return Err(invalid) };
        match ClientMessage::decode(&message) {
            Ok(ClientMessage::Input { offset, bytes }) => {
                let bytes = message.slice_ref(bytes);
                return Ok(Some(PendingInput { offset, bytes }));
            }
            Ok(ClientMessage::Resize(size)) => self.terminal.resize(size),
            Ok(ClientMessage::Acknowledge(offset)) => {
                // Never beyond what was sent, and never backwards.
                self.acknowledged = offset.min(self.sent.unwrap_or_default()).max(self.acknowledged);
                self.viewer.record_drawn(self.acknowledged);
            }
            // The next output is a drawing of the screen. The client has drawn over nothing else.
            Ok(ClientMessage::Redraw) => (self.sent, self.needs_screen_only) = (None, true),
            Ok(ClientMessage::Ping) => self.owes_pong = true,
            Ok(ClientMessage::Colors(colors)) => self.terminal.set_colors(colors).await,
            Err(_) => return Err(invalid),
        }
        Ok(None)
    }

    /// Confirms input at once if the client expects another offset, or if it is more than a few
    /// keys.
    async fn record_typed(&mut self, typed: u64, expected: u64) -> Result<(), Disconnected> {
        self.typed = typed;
        if typed != expected || typed.saturating_sub(self.confirmed) > CONFIRM_BYTES {
            return self.confirm_input().await;
        }
        self.confirm_at.get_or_insert_with(|| Instant::now() + CONFIRM_DELAY);
        Ok(())
    }

    async fn confirm_input(&mut self) -> Result<(), Disconnected> {
        (self.confirmed, self.confirm_at) = (self.typed, None);
        self.send(&ServerMessage::InputAccepted(self.typed)).await
    }

    /// Sends where output begins: at the client's offset if the ring still has it, otherwise after
    /// a drawing of the screen.
    async fn begin(&mut self) -> Result<(), Disconnected> {
        let kept = self.sent.and_then(|offset| Some((offset, self.terminal.size_at(offset)?)));
        match kept {
            Some((offset, (size, sizes))) => self.start_at(offset, size, sizes).await,
            None => self.send_snapshot().await,
        }
    }

    /// Lets output begin at an offset, up to which the client has the output or gets a drawing.
    async fn start_at(&mut self, offset: u64, size: TerminalSize, sizes: u64) -> Result<(), Disconnected> {
        (self.sent, self.sizes, self.acknowledged) = (Some(offset), sizes, offset);
        self.viewer.record_drawn(offset);
        self.send_info(size, offset).await
    }

    /// Sends output as far as the window allows, and sizes where they begin.
    async fn send_output(&mut self) -> Result<Option<CloseReason>, Disconnected> {
        loop {
            let in_flight = self.sent.unwrap_or_default().saturating_sub(self.acknowledged);
            let room = OUTPUT_WINDOW_BYTES.saturating_sub(in_flight) as usize;
            match self.terminal.next_output(self.sent, self.sizes, room) {
                NextOutput::Nothing => return Ok(None),
                NextOutput::End(exit) => {
                    self.send(&ServerMessage::Exited(exit)).await?;
                    let reason = CloseReason { code: CLOSE_NORMAL, reason: "the program has ended" };
                    return Ok(Some(reason));
                }
                NextOutput::Output { offset, bytes } => {
                    self.sent = Some(offset + bytes.len() as u64);
                    self.send(&ServerMessage::Output { offset, bytes: &bytes }).await?;
                }
                NextOutput::Resized { size, sizes } => {
                    self.sizes = sizes;
                    self.send_info(size, self.sent.unwrap_or_default()).await?;
                }
                NextOutput::Lost => self.send_snapshot().await?,
            }
        }
    }

    /// Sends a drawing of the screen, after the size on which it is drawn.
    async fn send_snapshot(&mut self) -> Result<(), Disconnected> {
        let with_lines_above = !std::mem::take(&mut self.needs_screen_only);
        let snapshot = self.terminal.snapshot(with_lines_above).await.map_err(|_| Disconnected)?;
        let offset = snapshot.offset;
        self.start_at(offset, snapshot.size, snapshot.sizes).await?;
        self.send(&ServerMessage::Snapshot { offset, screen: &snapshot.screen }).await
    }

    async fn send_info(&mut self, size: TerminalSize, start: u64) -> Result<(), Disconnected> {
        let info = self.terminal.attach_info(self.client, size, start);
        self.typed = self.typed.max(info.input);
        self.confirmed = info.input;
        self.send(&ServerMessage::Info(info)).await
    }

    async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Disconnected> {
        self.socket.send_binary(message.encode()).await
    }
}

/// Sleeps until `instant`, or forever without one.
async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
