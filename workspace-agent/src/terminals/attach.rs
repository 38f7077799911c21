//! One viewer of a terminal: output within a window of acknowledgements, input in its own numbering.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use protocol::terminal::{AttachQuery, ClientMessage, OUTPUT_WINDOW_BYTES, ServerMessage, TerminalSize};
use tokio::time::{Instant, sleep_until};

use super::terminal::{Piece, Terminal};
use crate::socket::{Gone, Incoming, Socket};

/// WebSocket close codes: a normal end, and a message that is not of this protocol.
const CLOSE_NORMAL: u16 = 1000;
const CLOSE_BAD_MESSAGE: u16 = 1007;

/// Keys are confirmed after so long, when their echo is on its way: a word of its own before it would make it wait.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(50);
/// More than keys: a paste, whose next piece waits for the word.
const CONFIRM_BYTES: u64 = 256;

/// Serves one viewer until it goes or the program's last output is seen.
pub async fn serve(terminal: Arc<Terminal>, attach: AttachQuery, socket: Socket) {
    let _counted = terminal.enter();
    if let (Some(cols), Some(rows)) = (attach.cols, attach.rows) {
        terminal.resize(TerminalSize { cols, rows });
    }
    let mut viewer = View {
        terminal: &terminal,
        client: &attach.client,
        socket,
        sent: attach.from,
        seen: 0,
        size: terminal.size(),
        typed: 0,
        confirmed: 0,
        confirm_at: None,
    };
    if let Ok(end) = viewer.run().await {
        viewer.socket.close(end.code, end.reason).await;
    }
}

struct View<'a> {
    terminal: &'a Terminal,
    client: &'a str,
    socket: Socket,
    /// Where output goes on; none: draw the screen first.
    sent: Option<u64>,
    /// What the viewer has acknowledged.
    seen: u64,
    /// The size the viewer was last told.
    size: TerminalSize,
    /// Input typed, what the viewer was told of it, and when it is to be told the rest.
    typed: u64,
    confirmed: u64,
    confirm_at: Option<Instant>,
}

struct End {
    code: u16,
    reason: &'static str,
}

impl View<'_> {
    async fn run(&mut self) -> Result<End, Gone> {
        let mut changes = self.terminal.watch();
        self.begin().await?;
        let mut waiting: Option<Bytes> = None;
        loop {
            changes.mark_unchanged();
            if let Some(end) = self.send_output().await? {
                return Ok(end);
            }
            let terminal = self.terminal;
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Err(Gone);
                    }
                }
                // The program does not read: neither do we, until it has made room.
                permit = terminal.room(), if waiting.is_some() => {
                    let (Some(permit), Some(message)) = (permit, waiting.take()) else { return Err(Gone) };
                    if let Ok(ClientMessage::Input { offset, bytes }) = ClientMessage::decode(&message) {
                        let typed = terminal.type_in(permit, self.client, offset, bytes);
                        self.typed_in(typed, offset.saturating_add(bytes.len() as u64)).await?;
                    }
                }
                () = passed(self.confirm_at) => self.confirm().await?,
                message = self.socket.receive(), if waiting.is_none() => {
                    let Some(message) = message else { return Err(Gone) };
                    match self.take(message) {
                        Taken::Done => {}
                        Taken::Input(message) => waiting = Some(message),
                        Taken::Malformed => return Ok(End { code: CLOSE_BAD_MESSAGE, reason: "not a terminal message" }),
                    }
                }
            }
        }
    }

    /// Confirms at once what is not as the viewer expects it, and what is more than keys.
    async fn typed_in(&mut self, typed: u64, expected: u64) -> Result<(), Gone> {
        self.typed = typed;
        if typed != expected || typed.saturating_sub(self.confirmed) > CONFIRM_BYTES {
            return self.confirm().await;
        }
        self.confirm_at.get_or_insert_with(|| Instant::now() + CONFIRM_TIMEOUT);
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), Gone> {
        (self.confirmed, self.confirm_at) = (self.typed, None);
        self.send(&ServerMessage::InputAccepted(self.typed)).await
    }

    /// Tells where output begins: where the viewer says, if that is still here, else after a drawing of the screen.
    async fn begin(&mut self) -> Result<(), Gone> {
        let first = self.terminal.piece(self.sent, OUTPUT_WINDOW_BYTES as usize);
        let start = match (&first, self.sent) {
            (Piece::Output { offset, .. } | Piece::Snapshot { offset, .. }, _) => *offset,
            (_, sent) => sent.unwrap_or_default(),
        };
        self.seen = start;
        let info = self.terminal.attach_info(self.client, start);
        self.size = info.size;
        self.confirmed = info.input;
        self.send(&ServerMessage::Info(info)).await?;
        self.send_piece(first).await.map(drop)
    }

    /// Sends what the window has room for.
    async fn send_output(&mut self) -> Result<Option<End>, Gone> {
        let size = self.terminal.size();
        if size != self.size {
            self.size = size;
            let info = self.terminal.attach_info(self.client, self.sent.unwrap_or_default());
            self.send(&ServerMessage::Info(info)).await?;
        }
        loop {
            let in_flight = self.sent.unwrap_or_default().saturating_sub(self.seen);
            let room = OUTPUT_WINDOW_BYTES.saturating_sub(in_flight) as usize;
            match self.terminal.piece(self.sent, room) {
                Piece::Nothing => return Ok(None),
                Piece::End(exit) => {
                    self.send(&ServerMessage::Exited(exit)).await?;
                    return Ok(Some(End { code: CLOSE_NORMAL, reason: "the program has ended" }));
                }
                piece => self.send_piece(piece).await?,
            }
        }
    }

    async fn send_piece(&mut self, piece: Piece) -> Result<(), Gone> {
        match piece {
            Piece::Output { offset, bytes } => {
                self.sent = Some(offset + bytes.len() as u64);
                self.send(&ServerMessage::Output { offset, bytes: &bytes }).await
            }
            Piece::Snapshot { offset, screen } => {
                self.sent = Some(offset);
                self.seen = offset;
                self.send(&ServerMessage::Snapshot { offset, screen: &screen }).await
            }
            Piece::End(_) | Piece::Nothing => Ok(()),
        }
    }

    fn take(&mut self, message: Incoming) -> Taken {
        let Incoming::Binary(message) = message else { return Taken::Malformed };
        match ClientMessage::decode(&message) {
            Ok(ClientMessage::Input { .. }) => Taken::Input(message),
            Ok(ClientMessage::Resize(size)) => {
                self.terminal.resize(size);
                Taken::Done
            }
            Ok(ClientMessage::Acknowledge(offset)) => {
                // Never more than was sent, never back.
                self.seen = offset.min(self.sent.unwrap_or_default()).max(self.seen);
                Taken::Done
            }
            Err(_) => Taken::Malformed,
        }
    }

    async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Gone> {
        self.socket.send_binary(message.encode()).await
    }
}

/// Never, where there is no such instant.
async fn passed(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

enum Taken {
    Done,
    Input(Bytes),
    Malformed,
}
