//! An attached terminal that reconnects.
//!
//! Terminal output and input are byte streams numbered from 0, which makes a reconnect simple: the
//! client asks for output from the first byte that it has not received, and sends input again from
//! the first byte that the agent has not confirmed. No output is lost or shown twice, and no key is
//! typed twice.
//!
//! Keys that were typed into a connection that was dead for a while are not sent later: by then they may do
//! something else than intended. They are dropped, and the caller is told how many there were.
//!
//! A task holds the connection. The [`Terminal`] handle and the task share the [`Outbox`] (what is
//! to be sent). Received output waits in a short queue and is acknowledged only when the caller
//! asks for the next event, so a flood of output stays in the guest.
//!
//! A life: `attach` connects and returns the handle. The task sends keys and sizes and receives
//! output. The connection breaks: the caller gets [`TerminalEvent::Disconnected`], the task retries
//! for up to ten minutes, the caller gets [`TerminalEvent::Reconnected`] and only the output that
//! it missed. The program exits: [`TerminalEvent::Exited`] is the last event.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use protocol::{
    TerminalId, WorkspaceId,
    terminal::{
        AttachInfo, ClientMessage, ExitStatus, MAX_INPUT_BYTES, OUTPUT_WINDOW_BYTES, ServerMessage,
        TerminalSize,
    },
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use super::{
    HEARTBEAT_INTERVAL, IDLE_TIMEOUT, Socket, broken, discard_unsent, exec::malformed, open, silent,
};
use crate::{api::Api, error::ApiError};

/// Unconfirmed input, in bytes: as much as the agent accepts at once. A longer paste waits piece by piece.
const MAX_UNCONFIRMED_BYTES: usize = MAX_INPUT_BYTES;
/// Bytes that are typed within this time count as typed at once.
const TYPED_RESOLUTION: Duration = Duration::from_millis(50);
/// Output is acknowledged in steps of this many bytes. An acknowledgement for the echo of every key
/// would delay the next echo.
const ACKNOWLEDGE_BYTES: u64 = OUTPUT_WINDOW_BYTES / 8;
/// Events in the queue. The acknowledgement window bounds their bytes.
const MAX_QUEUED_EVENTS: usize = 16;
/// A break of this length is one that a user notices. What was typed in it is dropped.
const STALE_INPUT_AGE: Duration = Duration::from_secs(3);
/// First pause before a reconnect. Each further one is twice as long, …
const RECONNECT_MIN_DELAY: Duration = Duration::from_millis(100);

/// … up to this.
const RECONNECT_MAX_DELAY: Duration = Duration::from_secs(5);

/// How long reconnects are attempted.
const RECONNECT_TIMEOUT: Duration = Duration::from_mins(10);

/// What a terminal reports.
#[derive(Debug, PartialEq, Eq)]
pub enum TerminalEvent {
    /// Output to draw.
    Output(Bytes),
    /// Reset the screen, then draw this. The agent no longer has the output in between.
    Redraw(Bytes),
    /// The terminal's size, which another viewer may have chosen.
    Resized(TerminalSize),
    /// The connection broke. The client reconnects.
    Disconnected,
    /// The client is connected again.
    Reconnected,
    /// This many bytes were typed while the connection was lost, and were dropped.
    InputDropped(usize),
    /// The program exited. Nothing follows.
    Exited(ExitStatus),
}

/// The agent has not confirmed enough input to accept more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the terminal accepts no more input at the moment")]
pub struct InputFull;

/// An attached terminal. Dropping it detaches.
#[derive(Debug)]
pub struct Terminal {
    outbox: Arc<SharedOutbox>,
    events: mpsc::Receiver<QueuedEvent>,
    /// Output offset after the last event. The caller has drawn it when it asks for the next event.
    last_offset: Option<u64>,
    task: JoinHandle<()>,
}

/// Sends keys and sizes to an attached terminal.
#[derive(Clone, Debug)]
pub struct TerminalInput(Arc<SharedOutbox>);

/// An event with the output offset after it, if it has one.
type QueuedEvent = Result<(TerminalEvent, Option<u64>), ApiError>;

/// The outbox, shared by the handles and the task.
#[derive(Debug)]
struct SharedOutbox {
    outbox: Mutex<Outbox>,
    /// Wakes the task: there may be something to send.
    changed: Notify,
    /// Wakes [`TerminalInput::wait_for_room`].
    room: Notify,
}

/// What is to be sent to the agent. Pure: decides the next message, sends nothing.
#[derive(Debug)]
struct Outbox {
    /// Typed bytes that the agent has not confirmed. The first one has the offset `confirmed`.
    unconfirmed: VecDeque<u8>,
    confirmed: u64,
    /// When parts of the unconfirmed bytes were typed: their ends, oldest first.
    typed: VecDeque<(u64, Instant)>,
    /// When the agent was last heard.
    heard_at: Option<Instant>,
    /// Offset of the first input byte that was not sent over this connection.
    sent: u64,
    /// Output offset that the caller has drawn.
    drawn: u64,
    /// Output offset that was acknowledged over this connection.
    acknowledged: u64,
    size: TerminalSize,
    /// The size that the agent knows from this connection.
    reported_size: TerminalSize,
    /// Whether the caller has asked for a redraw that was not sent yet.
    wants_redraw: bool,
    /// Whether this connection's first message, the attach info, has arrived. Nothing is sent before it.
    has_info: bool,
}

impl Terminal {
    pub(crate) async fn attach(
        api: Api,
        workspace: WorkspaceId,
        terminal: TerminalId,
        size: TerminalSize,
    ) -> Result<Self, ApiError> {
        let size = size.clamped();
        let outbox = Arc::new(SharedOutbox {
            outbox: Mutex::new(Outbox::new(size)),
            changed: Notify::new(),
            room: Notify::new(),
        });
        let (sender, events) = mpsc::channel(MAX_QUEUED_EVENTS);
        let mut attachment = Attachment {
            api,
            workspace,
            terminal,
            client: uuid::Uuid::new_v4().to_string(),
            outbox: outbox.clone(),
            events: sender,
            received: None,
        };
        let socket = attachment.open().await?;
        let task = tokio::spawn(async move { attachment.run(socket).await });
        Ok(Self { outbox, events, last_offset: None, task })
    }

    /// Returns the next event. Cancel-safe. The call means that the caller has drawn the last event.
    pub async fn next(&mut self) -> Result<TerminalEvent, ApiError> {
        if let Some(offset) = self.last_offset.take() {
            let mut outbox = self.outbox.lock();
            outbox.drawn = outbox.drawn.max(offset);
            self.outbox.changed.notify_one();
        }
        let queued = self.events.recv().await;
        let (event, offset) = queued.unwrap_or_else(|| Err(broken(Error::AlreadyClosed)))?;
        self.last_offset = offset;
        Ok(event)
    }

    /// Returns a handle for input, to use while another task waits in [`Self::next`].
    pub fn input(&self) -> TerminalInput {
        TerminalInput(self.outbox.clone())
    }
}

impl TerminalInput {
    /// Queues input; it is sent once there is a connection. Accepts all bytes or none.
    pub fn send_input(&self, bytes: &[u8]) -> Result<(), InputFull> {
        let mut outbox = self.0.lock();
        if outbox.unconfirmed.len() + bytes.len() > MAX_UNCONFIRMED_BYTES {
            return Err(InputFull);
        }
        outbox.push_input(bytes, Instant::now());
        self.0.changed.notify_one();
        Ok(())
    }

    /// Waits until [`Self::send_input`] accepts this many bytes. For one waiter at a time. Cancel-safe.
    pub async fn wait_for_room(&self, bytes: usize) {
        let bytes = bytes.min(MAX_UNCONFIRMED_BYTES);
        while MAX_UNCONFIRMED_BYTES - self.0.lock().unconfirmed.len() < bytes {
            self.0.room.notified().await;
        }
    }

    /// Asks for a [`TerminalEvent::Redraw`], because the caller has drawn over the screen.
    pub fn redraw(&self) {
        self.0.lock().wants_redraw = true;
        self.0.changed.notify_one();
    }

    /// Sets the size of the caller's window.
    pub fn resize(&self, size: TerminalSize) {
        self.0.lock().size = size.clamped();
        self.0.changed.notify_one();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SharedOutbox {
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    fn new(size: TerminalSize) -> Self {
        Self {
            unconfirmed: VecDeque::new(),
            confirmed: 0,
            typed: VecDeque::new(),
            heard_at: None,
            sent: 0,
            drawn: 0,
            acknowledged: 0,
            size,
            reported_size: size,
            wants_redraw: false,
            has_info: false,
        }
    }

    /// Prepares for a new connection. Returns the size, which the request for the connection contains.
    fn reset_connection(&mut self) -> TerminalSize {
        self.has_info = false;
        self.acknowledged = 0;
        self.reported_size = self.size;
        self.size
    }

    fn push_input(&mut self, bytes: &[u8], now: Instant) {
        self.unconfirmed.extend(bytes);
        let end = self.confirmed + self.unconfirmed.len() as u64;
        match self.typed.back_mut() {
            Some((last, at)) if now - *at < TYPED_RESOLUTION => *last = end,
            _ => self.typed.push_back((end, now)),
        }
    }

    /// Drops what was typed since the agent was last heard, if that is long ago. Returns the number of
    /// bytes.
    fn drop_stale_input(&mut self, now: Instant) -> usize {
        let Some(heard_at) = self.heard_at.filter(|heard_at| now - *heard_at >= STALE_INPUT_AGE) else {
            return 0;
        };
        self.typed.retain(|(_, at)| *at <= heard_at);
        let kept = self.typed.back().map_or(0, |(end, _)| end.saturating_sub(self.confirmed));
        let dropped = self.unconfirmed.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
        self.unconfirmed.truncate(self.unconfirmed.len() - dropped);
        dropped
    }

    /// Drops input that the agent has typed: everything before `offset`.
    fn confirm_input(&mut self, offset: u64) {
        let done = usize::try_from(offset.saturating_sub(self.confirmed)).unwrap_or(usize::MAX);
        self.unconfirmed.drain(..done.min(self.unconfirmed.len()));
        self.confirmed = self.confirmed.max(offset);
        self.typed.retain(|(end, _)| *end > offset);
        self.sent = self.sent.max(self.confirmed);
    }

    /// Applies an attach info. The first one of a connection says where input and output continue.
    /// Returns the number of typed bytes that were dropped.
    fn apply_info(&mut self, info: &AttachInfo, now: Instant) -> usize {
        self.confirm_input(info.input);
        if self.has_info {
            return 0;
        }
        self.has_info = true;
        self.sent = self.confirmed;
        self.acknowledged = info.start;
        self.drop_stale_input(now)
    }

    /// Returns the next message to send, if there is one, and assumes that it will be sent.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        if !self.has_info {
            return None;
        }
        if std::mem::take(&mut self.wants_redraw) {
            return Some(ClientMessage::Redraw.encode());
        }
        if self.size != self.reported_size {
            self.reported_size = self.size;
            return Some(ClientMessage::Resize(self.size).encode());
        }
        if self.drawn >= self.acknowledged.saturating_add(ACKNOWLEDGE_BYTES) {
            self.acknowledged = self.drawn;
            return Some(ClientMessage::Acknowledge(self.drawn).encode());
        }
        let from = usize::try_from(self.sent - self.confirmed).unwrap_or(usize::MAX);
        if from >= self.unconfirmed.len() {
            return None;
        }
        let bytes: Vec<u8> = self.unconfirmed.range(from..).copied().take(MAX_INPUT_BYTES).collect();
        let offset = self.sent;
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        Some(ClientMessage::Input { offset, bytes: &bytes }.encode())
    }
}

/// The task's state: the connection and where it continues.
struct Attachment {
    api: Api,
    workspace: WorkspaceId,
    terminal: TerminalId,
    client: String,
    outbox: Arc<SharedOutbox>,
    events: mpsc::Sender<QueuedEvent>,
    /// Output offset at which the next connection continues.
    received: Option<u64>,
}

/// Why a connection ended.
enum ConnectionEnd {
    /// The program exited.
    Finished,
    /// The connection broke; a new one may work.
    Lost(ApiError),
    /// A new connection would fail in the same way.
    Refused(ApiError),
    /// The handle was dropped.
    Detached,
}

impl Attachment {
    async fn run(&mut self, mut socket: Socket) {
        loop {
            let error = match self.run_connection(socket).await {
                ConnectionEnd::Finished | ConnectionEnd::Detached => return,
                ConnectionEnd::Refused(error) => return self.send_error(error).await,
                ConnectionEnd::Lost(error) => error,
            };
            tracing::debug!(%error, "a terminal's connection was lost");
            if self.send_event(TerminalEvent::Disconnected, None).await.is_err() {
                return;
            }
            socket = match self.reopen().await {
                Ok(socket) => socket,
                Err(error) => return self.send_error(error).await,
            };
            if self.send_event(TerminalEvent::Reconnected, None).await.is_err() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<Socket, ApiError> {
        let size = self.outbox.lock().reset_connection();
        let from = self.received.map(|offset| format!("&from={offset}")).unwrap_or_default();
        let rest = format!(
            "terminals/{}/attach?client={}&cols={}&rows={}{from}",
            self.terminal, self.client, size.cols, size.rows
        );
        open(&self.api, self.workspace, &rest).await
    }

    /// Opens a new connection, with growing pauses between attempts.
    async fn reopen(&self) -> Result<Socket, ApiError> {
        let (deadline, mut delay) = (Instant::now() + RECONNECT_TIMEOUT, RECONNECT_MIN_DELAY);
        loop {
            sleep(delay).await;
            match self.open().await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    delay = (delay * 2).min(RECONNECT_MAX_DELAY);
                }
                opened => return opened,
            }
        }
    }

    /// Sends and receives concurrently until the connection ends.
    async fn run_connection(&mut self, socket: Socket) -> ConnectionEnd {
        let (mut sink, mut stream) = socket.split();
        let outbox = self.outbox.clone();
        let end = tokio::select! {
            end = self.receive_messages(&mut stream) => end,
            error = send_messages(&outbox, &mut sink) => ConnectionEnd::Lost(error),
        };
        if matches!(end, ConnectionEnd::Lost(_))
            && let Ok(socket) = sink.reunite(stream)
        {
            discard_unsent(&socket);
        }
        end
    }

    async fn receive_messages(&mut self, stream: &mut SplitStream<Socket>) -> ConnectionEnd {
        loop {
            let message = match timeout(IDLE_TIMEOUT, stream.next()).await {
                Err(_) => return ConnectionEnd::Lost(silent()),
                Ok(None) => return ConnectionEnd::Lost(broken(Error::ConnectionClosed)),
                Ok(Some(Err(error))) => return ConnectionEnd::Lost(broken(error)),
                Ok(Some(Ok(message))) => message,
            };
            let ended = match message {
                Message::Binary(message) => self.handle_message(&message).await,
                Message::Close(Some(frame)) if is_permanent(frame.code) => {
                    Some(ConnectionEnd::Refused(ApiError::broken(frame.reason.to_string())))
                }
                _ => None,
            };
            if let Some(end) = ended {
                return end;
            }
            // After the message, because the first one needs to know how long the break was.
            self.outbox.lock().heard_at = Some(Instant::now());
        }
    }

    /// Handles one message. Returns the end of the connection, if the message is one.
    async fn handle_message(&mut self, message: &Bytes) -> Option<ConnectionEnd> {
        let sent = match ServerMessage::decode(message) {
            Err(error) => return Some(ConnectionEnd::Refused(malformed(self.api.url(), error))),
            Ok(ServerMessage::Info(info)) => self.handle_info(&info).await,
            Ok(ServerMessage::Output { offset, bytes }) => match self.skip_received(offset, bytes) {
                Err(gap) => return Some(ConnectionEnd::Lost(ApiError::broken(gap))),
                Ok([]) => Ok(()),
                Ok(bytes) => {
                    let end = offset.saturating_add((message.len() - OUTPUT_HEADER_BYTES) as u64);
                    self.received = Some(end);
                    self.send_event(TerminalEvent::Output(message.slice_ref(bytes)), Some(end)).await
                }
            },
            Ok(ServerMessage::Snapshot { offset, screen }) => {
                self.received = Some(offset);
                self.send_event(TerminalEvent::Redraw(message.slice_ref(screen)), Some(offset)).await
            }
            Ok(ServerMessage::InputAccepted(offset)) => {
                self.outbox.lock().confirm_input(offset);
                self.outbox.room.notify_one();
                Ok(())
            }
            Ok(ServerMessage::Pong) => Ok(()),
            Ok(ServerMessage::Exited(exit)) => {
                return Some(match self.send_event(TerminalEvent::Exited(exit), None).await {
                    Ok(()) => ConnectionEnd::Finished,
                    Err(Detached) => ConnectionEnd::Detached,
                });
            }
        };
        sent.err().map(|Detached| ConnectionEnd::Detached)
    }

    async fn handle_info(&mut self, info: &AttachInfo) -> Result<(), Detached> {
        self.received.get_or_insert(info.start);
        let dropped = self.outbox.lock().apply_info(info, Instant::now());
        self.outbox.changed.notify_one();
        self.outbox.room.notify_one();
        self.send_event(TerminalEvent::Resized(info.size), None).await?;
        if dropped > 0 {
            tracing::debug!(dropped, "input of a lost connection was dropped");
            self.send_event(TerminalEvent::InputDropped(dropped), None).await?;
        }
        Ok(())
    }

    /// Returns the part of `bytes` that was not received before. Fails if bytes are missing in between.
    fn skip_received<'a>(&self, offset: u64, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let received = self.received.unwrap_or(offset);
        if offset > received {
            return Err("output is missing in between");
        }
        let known = usize::try_from(received - offset).unwrap_or(usize::MAX);
        Ok(bytes.get(known..).unwrap_or_default())
    }

    async fn send_event(&self, event: TerminalEvent, offset: Option<u64>) -> Result<(), Detached> {
        self.events.send(Ok((event, offset))).await.map_err(|_| Detached)
    }

    async fn send_error(&self, error: ApiError) {
        // If the handle was dropped, nobody needs the error.
        let _ = self.events.send(Err(error)).await;
    }
}

/// Length of an output message before its bytes: the kind and the offset.
const OUTPUT_HEADER_BYTES: usize = 9;

/// The handle was dropped.
struct Detached;

/// Sends the outbox's messages as they become due, and heartbeats. Returns the error that ends the
/// connection.
async fn send_messages(outbox: &SharedOutbox, sink: &mut SplitSink<Socket, Message>) -> ApiError {
    let mut heartbeats = interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = outbox.lock().next_message();
        let message = if let Some(message) = due {
            message
        } else {
            tokio::select! {
                () = outbox.changed.notified() => continue,
                _ = heartbeats.tick() => ClientMessage::Ping.encode(),
            }
        };
        if let Err(error) = sink.send(Message::binary(message)).await {
            return broken(error);
        }
    }
}

/// Whether the agent would close a new connection with the same code.
fn is_permanent(code: CloseCode) -> bool {
    matches!(code, CloseCode::Unsupported | CloseCode::Invalid | CloseCode::Policy | CloseCode::Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

    fn info(start: u64, input: u64) -> AttachInfo {
        AttachInfo { size: SIZE, start, input }
    }

    fn typed(outbox: &mut Outbox) -> Option<(u64, Vec<u8>)> {
        let message = outbox.next_message()?;
        match ClientMessage::decode(&message) {
            Ok(ClientMessage::Input { offset, bytes }) => Some((offset, bytes.to_vec())),
            other => panic!("input, not {other:?}"),
        }
    }

    #[test]
    fn nothing_is_sent_before_info() {
        let mut outbox = Outbox::new(SIZE);
        outbox.push_input(b"ls", Instant::now());
        assert_eq!(outbox.next_message(), None);
        outbox.apply_info(&info(0, 0), Instant::now());
        assert_eq!(typed(&mut outbox), Some((0, b"ls".to_vec())));
        assert_eq!(outbox.next_message(), None);
    }

    #[test]
    fn reconnect_resends_unconfirmed_input() {
        let mut outbox = Outbox::new(SIZE);
        outbox.apply_info(&info(0, 0), Instant::now());
        outbox.push_input(b"abcdef", Instant::now());
        typed(&mut outbox);
        outbox.confirm_input(2);
        outbox.reset_connection();
        // The agent had typed more than its last confirmation said.
        outbox.apply_info(&info(0, 4), Instant::now());
        assert_eq!(typed(&mut outbox), Some((4, b"ef".to_vec())));
        outbox.confirm_input(6);
        assert!(outbox.unconfirmed.is_empty());
        outbox.push_input(b"g", Instant::now());
        assert_eq!(typed(&mut outbox), Some((6, b"g".to_vec())));
    }

    #[test]
    fn later_info_resends_nothing() {
        let mut outbox = Outbox::new(SIZE);
        outbox.apply_info(&info(0, 0), Instant::now());
        outbox.push_input(b"abc", Instant::now());
        typed(&mut outbox);
        outbox.apply_info(&info(0, 1), Instant::now());
        assert_eq!(outbox.next_message(), None);
    }

    #[test]
    fn size_and_acknowledgement_are_sent_once() {
        let mut outbox = Outbox::new(SIZE);
        outbox.apply_info(&info(10, 0), Instant::now());
        outbox.size = TerminalSize { cols: 100, rows: 30 };
        outbox.drawn = 10 + ACKNOWLEDGE_BYTES;
        assert_eq!(outbox.next_message(), Some(ClientMessage::Resize(outbox.size).encode()));
        assert_eq!(outbox.next_message(), Some(ClientMessage::Acknowledge(outbox.drawn).encode()));
        assert_eq!(outbox.next_message(), None);
        outbox.drawn += ACKNOWLEDGE_BYTES - 1;
        assert_eq!(outbox.next_message(), None, "an echo is not acknowledged");
        outbox.drawn += 1;
        assert_eq!(outbox.next_message(), Some(ClientMessage::Acknowledge(outbox.drawn).encode()));
        outbox.reset_connection();
        outbox.apply_info(&info(outbox.drawn, 0), Instant::now());
        assert_eq!(outbox.next_message(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_a_long_break_are_dropped() {
        let mut outbox = Outbox::new(SIZE);
        outbox.push_input(b"typed before the first answer", Instant::now());
        sleep(STALE_INPUT_AGE * 2).await;
        assert_eq!(outbox.apply_info(&info(0, 0), Instant::now()), 0, "there was no break yet");
        outbox.confirm_input(29);
        outbox.heard_at = Some(Instant::now());
        outbox.push_input(b"ls", Instant::now());
        sleep(STALE_INPUT_AGE / 2).await;
        outbox.heard_at = Some(Instant::now());
        sleep(STALE_INPUT_AGE / 2).await;
        outbox.push_input(b" -l", Instant::now());
        outbox.reset_connection();
        assert_eq!(outbox.apply_info(&info(0, 29), Instant::now()), 0, "a short break");
        sleep(STALE_INPUT_AGE).await;
        outbox.push_input(b"; rm", Instant::now());
        outbox.reset_connection();
        // The agent has typed one byte of the first part.
        assert_eq!(outbox.apply_info(&info(0, 30), Instant::now()), 7);
        assert_eq!(typed(&mut outbox), Some((30, b"s".to_vec())));
        outbox.push_input(b"x", Instant::now());
        assert_eq!(typed(&mut outbox), Some((31, b"x".to_vec())));
    }
}
