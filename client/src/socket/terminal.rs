//! A terminal that outlives its connections: output is asked for from the byte after the last one taken, and input that the
//! agent has not confirmed is sent again, to be typed once.
//!
//! A task holds the connection; the handle and the task share one small state. Output waits in a short queue and is
//! acknowledged when its reader asks for more, so that a flood stays in the guest.

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
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use super::{SILENCE_TIMEOUT, Socket, exec::malformed, open};
use crate::{api::Api, error::ApiError};

/// Input that waits for its confirmation. As much as the agent takes at once; a paste waits for it piece by piece.
const INPUT_QUEUE_BYTES: usize = MAX_INPUT_BYTES;
/// Output drawn is acknowledged by so much at a time: a word for every key's echo would take the way that the next echo wants.
const ACKNOWLEDGE_BYTES: u64 = OUTPUT_WINDOW_BYTES / 8;
/// Events that wait for their reader. The window of acknowledgements bounds their bytes.
const EVENTS: usize = 16;
/// Pauses between attempts, and how long a connection that is gone is tried for.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);
const RETRY_FOR: Duration = Duration::from_mins(10);

/// What happens in a terminal.
#[derive(Debug, PartialEq, Eq)]
pub enum TerminalEvent {
    Output(Bytes),
    /// Reset the screen, then draw this: output in between is no longer to be had.
    Redraw(Bytes),
    /// Its size, which another viewer may have chosen.
    Resized(TerminalSize),
    /// The connection is gone and being made again; typed keys are kept.
    Lost,
    Restored,
    /// The last.
    Exited(ExitStatus),
}

/// The keys typed so far wait for a terminal that does not take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the terminal takes no more input at the moment")]
pub struct InputFull;

/// An attached terminal. Dropping it detaches.
#[derive(Debug)]
pub struct Terminal {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Queued>,
    /// Output taken with the last event, and drawn by the time the next is asked for.
    taken: Option<u64>,
    task: JoinHandle<()>,
}

/// Keys and sizes for an attached terminal.
#[derive(Clone, Debug)]
pub struct TerminalInput(Arc<Shared>);

type Queued = Result<(TerminalEvent, Option<u64>), ApiError>;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to send.
    changed: Notify,
    /// There is more room for input.
    room: Notify,
}

#[derive(Debug)]
struct State {
    /// Typed and not confirmed, from the offset `confirmed` on.
    pending: VecDeque<u8>,
    confirmed: u64,
    /// Input sent over this connection.
    sent: u64,
    /// Output drawn, and what the agent was told of it over this connection.
    drawn: u64,
    told: u64,
    size: TerminalSize,
    size_told: TerminalSize,
    /// Whether this connection has begun with its first word.
    begun: bool,
}

impl Terminal {
    pub(crate) async fn attach(
        api: Api,
        workspace: WorkspaceId,
        terminal: TerminalId,
        size: TerminalSize,
    ) -> Result<Self, ApiError> {
        let size = size.clamped();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(size)),
            changed: Notify::new(),
            room: Notify::new(),
        });
        let (sender, events) = mpsc::channel(EVENTS);
        let mut attachment = Attachment {
            api,
            workspace,
            terminal,
            client: uuid::Uuid::new_v4().to_string(),
            shared: shared.clone(),
            events: sender,
            received: None,
        };
        let socket = attachment.open().await?;
        let task = tokio::spawn(async move { attachment.run(socket).await });
        Ok(Self { shared, events, taken: None, task })
    }

    /// The next happening. May be cancelled without loss. Asking says that the last one has been drawn.
    pub async fn next(&mut self) -> Result<TerminalEvent, ApiError> {
        if let Some(offset) = self.taken.take() {
            let mut state = self.shared.lock();
            state.drawn = state.drawn.max(offset);
            self.shared.changed.notify_one();
        }
        let queued = self.events.recv().await;
        let (event, offset) = queued.unwrap_or_else(|| Err(ApiError::broken(Error::AlreadyClosed)))?;
        self.taken = offset;
        Ok(event)
    }

    /// The way in, for whoever types while another waits for [`Self::next`].
    pub fn input(&self) -> TerminalInput {
        TerminalInput(self.shared.clone())
    }
}

impl TerminalInput {
    /// Types; the bytes are sent as soon as there is a connection. All of them are taken, or none.
    pub fn type_in(&self, bytes: &[u8]) -> Result<(), InputFull> {
        let mut state = self.0.lock();
        if state.pending.len() + bytes.len() > INPUT_QUEUE_BYTES {
            return Err(InputFull);
        }
        state.pending.extend(bytes);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Waits until [`Self::type_in`] takes as many bytes. For one waiter at a time; may be cancelled.
    pub async fn has_room(&self, bytes: usize) {
        let bytes = bytes.min(INPUT_QUEUE_BYTES);
        while INPUT_QUEUE_BYTES - self.0.lock().pending.len() < bytes {
            self.0.room.notified().await;
        }
    }

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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(size: TerminalSize) -> Self {
        Self {
            pending: VecDeque::new(),
            confirmed: 0,
            sent: 0,
            drawn: 0,
            told: 0,
            size,
            size_told: size,
            begun: false,
        }
    }

    /// A new connection: `size` was told with it.
    fn reconnect(&mut self) -> TerminalSize {
        self.begun = false;
        self.told = 0;
        self.size_told = self.size;
        self.size
    }

    /// The agent has typed everything before `offset`.
    fn confirm(&mut self, offset: u64) {
        let done = usize::try_from(offset.saturating_sub(self.confirmed)).unwrap_or(usize::MAX);
        self.pending.drain(..done.min(self.pending.len()));
        self.confirmed = self.confirmed.max(offset);
        self.sent = self.sent.max(self.confirmed);
    }

    fn begin(&mut self, info: &AttachInfo) {
        self.confirm(info.input);
        if !self.begun {
            self.begun = true;
            self.sent = self.confirmed;
            self.told = info.start;
        }
    }

    /// What is to be said next.
    fn message(&mut self) -> Option<Vec<u8>> {
        if !self.begun {
            return None;
        }
        if self.size != self.size_told {
            self.size_told = self.size;
            return Some(ClientMessage::Resize(self.size).encode());
        }
        if self.drawn >= self.told.saturating_add(ACKNOWLEDGE_BYTES) {
            self.told = self.drawn;
            return Some(ClientMessage::Acknowledge(self.drawn).encode());
        }
        let from = usize::try_from(self.sent - self.confirmed).unwrap_or(usize::MAX);
        if from >= self.pending.len() {
            return None;
        }
        let bytes: Vec<u8> = self.pending.range(from..).copied().take(MAX_INPUT_BYTES).collect();
        let offset = self.sent;
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        Some(ClientMessage::Input { offset, bytes: &bytes }.encode())
    }
}

/// The task's side.
struct Attachment {
    api: Api,
    workspace: WorkspaceId,
    terminal: TerminalId,
    client: String,
    shared: Arc<Shared>,
    events: mpsc::Sender<Queued>,
    /// Output received: where the next connection goes on.
    received: Option<u64>,
}

/// Why a connection ended.
enum End {
    /// All is said.
    Finished,
    Lost(ApiError),
    Refused(ApiError),
    /// Nobody listens any longer.
    Detached,
}

impl Attachment {
    async fn run(&mut self, mut socket: Socket) {
        loop {
            let error = match self.serve(socket).await {
                End::Finished | End::Detached => return,
                End::Refused(error) => return self.fail(error).await,
                End::Lost(error) => error,
            };
            tracing::debug!(%error, "a terminal's connection was lost");
            if self.tell(TerminalEvent::Lost, None).await.is_err() {
                return;
            }
            socket = match self.reopen().await {
                Ok(socket) => socket,
                Err(error) => return self.fail(error).await,
            };
            if self.tell(TerminalEvent::Restored, None).await.is_err() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<Socket, ApiError> {
        let size = self.shared.lock().reconnect();
        let from = self.received.map(|offset| format!("&from={offset}")).unwrap_or_default();
        let rest = format!(
            "terminals/{}/attach?client={}&cols={}&rows={}{from}",
            self.terminal, self.client, size.cols, size.rows
        );
        open(&self.api, self.workspace, &rest).await
    }

    /// Tries again, less and less often.
    async fn reopen(&self) -> Result<Socket, ApiError> {
        let (deadline, mut pause) = (Instant::now() + RETRY_FOR, RETRY_FIRST);
        loop {
            sleep(pause).await;
            match self.open().await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    pause = (pause * 2).min(RETRY_MOST);
                }
                opened => return opened,
            }
        }
    }

    /// Speaks and hears at once, until the connection ends.
    async fn serve(&mut self, socket: Socket) -> End {
        let (sink, stream) = socket.split();
        let shared = self.shared.clone();
        tokio::select! {
            end = self.hear(stream) => end,
            error = speak(&shared, sink) => End::Lost(error),
        }
    }

    async fn hear(&mut self, mut stream: SplitStream<Socket>) -> End {
        loop {
            let message = match timeout(SILENCE_TIMEOUT, stream.next()).await {
                Err(silent) => return End::Lost(ApiError::broken(silent)),
                Ok(None) => return End::Lost(ApiError::broken(Error::ConnectionClosed)),
                Ok(Some(Err(error))) => return End::Lost(ApiError::broken(error)),
                Ok(Some(Ok(message))) => message,
            };
            let ended = match message {
                Message::Binary(message) => self.take(&message).await,
                Message::Close(Some(frame)) if refuses(frame.code) => {
                    Some(End::Refused(ApiError::broken(frame.reason.to_string())))
                }
                _ => None,
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    async fn take(&mut self, message: &Bytes) -> Option<End> {
        let told = match ServerMessage::decode(message) {
            Err(error) => return Some(End::Refused(malformed(self.api.url(), error))),
            Ok(ServerMessage::Info(info)) => self.informed(&info).await,
            Ok(ServerMessage::Output { offset, bytes }) => match self.fresh(offset, bytes) {
                Err(gap) => return Some(End::Lost(ApiError::broken(gap))),
                Ok([]) => Ok(()),
                Ok(bytes) => {
                    let end = offset.saturating_add((message.len() - OUTPUT_HEAD) as u64);
                    self.received = Some(end);
                    self.tell(TerminalEvent::Output(message.slice_ref(bytes)), Some(end)).await
                }
            },
            Ok(ServerMessage::Snapshot { offset, screen }) => {
                self.received = Some(offset);
                self.tell(TerminalEvent::Redraw(message.slice_ref(screen)), Some(offset)).await
            }
            Ok(ServerMessage::InputAccepted(offset)) => {
                self.shared.lock().confirm(offset);
                self.shared.room.notify_one();
                Ok(())
            }
            Ok(ServerMessage::Exited(exit)) => {
                return Some(match self.tell(TerminalEvent::Exited(exit), None).await {
                    Ok(()) => End::Finished,
                    Err(Detached) => End::Detached,
                });
            }
        };
        told.err().map(|Detached| End::Detached)
    }

    async fn informed(&mut self, info: &AttachInfo) -> Result<(), Detached> {
        self.received.get_or_insert(info.start);
        self.shared.lock().begin(info);
        self.shared.changed.notify_one();
        self.shared.room.notify_one();
        self.tell(TerminalEvent::Resized(info.size), None).await
    }

    /// The part of `bytes` that was not there before.
    fn fresh<'a>(&self, offset: u64, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let received = self.received.unwrap_or(offset);
        if offset > received {
            return Err("output is missing in between");
        }
        let known = usize::try_from(received - offset).unwrap_or(usize::MAX);
        Ok(bytes.get(known..).unwrap_or_default())
    }

    async fn tell(&self, event: TerminalEvent, offset: Option<u64>) -> Result<(), Detached> {
        self.events.send(Ok((event, offset))).await.map_err(|_| Detached)
    }

    async fn fail(&self, error: ApiError) {
        // Nobody listens: then nobody needs to know.
        let _ = self.events.send(Err(error)).await;
    }
}

/// Before the bytes of an output message: the kind and the offset.
const OUTPUT_HEAD: usize = 9;

/// The handle is gone.
struct Detached;

/// Says what is to be said, whenever there is something.
async fn speak(shared: &Shared, mut sink: SplitSink<Socket, Message>) -> ApiError {
    loop {
        let message = shared.lock().message();
        match message {
            None => shared.changed.notified().await,
            Some(message) => {
                if let Err(error) = sink.send(Message::binary(message)).await {
                    return ApiError::broken(error);
                }
            }
        }
    }
}

/// Whether the agent will say the same again.
fn refuses(code: CloseCode) -> bool {
    matches!(code, CloseCode::Unsupported | CloseCode::Invalid | CloseCode::Policy | CloseCode::Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

    fn info(start: u64, input: u64) -> AttachInfo {
        AttachInfo { size: SIZE, start, input }
    }

    fn typed(state: &mut State) -> Option<(u64, Vec<u8>)> {
        let message = state.message()?;
        match ClientMessage::decode(&message) {
            Ok(ClientMessage::Input { offset, bytes }) => Some((offset, bytes.to_vec())),
            other => panic!("input, not {other:?}"),
        }
    }

    #[test]
    fn nothing_is_said_before_the_first_word() {
        let mut state = State::new(SIZE);
        state.pending.extend(b"ls");
        assert_eq!(state.message(), None);
        state.begin(&info(0, 0));
        assert_eq!(typed(&mut state), Some((0, b"ls".to_vec())));
        assert_eq!(state.message(), None);
    }

    #[test]
    fn unconfirmed_input_is_sent_again_from_where_it_was_lost() {
        let mut state = State::new(SIZE);
        state.begin(&info(0, 0));
        state.pending.extend(b"abcdef");
        typed(&mut state);
        state.confirm(2);
        state.reconnect();
        // The agent had typed more than it could confirm.
        state.begin(&info(0, 4));
        assert_eq!(typed(&mut state), Some((4, b"ef".to_vec())));
        state.confirm(6);
        assert!(state.pending.is_empty());
        state.pending.extend(b"g");
        assert_eq!(typed(&mut state), Some((6, b"g".to_vec())));
    }

    #[test]
    fn later_infos_do_not_send_again() {
        let mut state = State::new(SIZE);
        state.begin(&info(0, 0));
        state.pending.extend(b"abc");
        typed(&mut state);
        state.begin(&info(0, 1));
        assert_eq!(state.message(), None);
    }

    #[test]
    fn sizes_and_acknowledgements_are_said_once() {
        let mut state = State::new(SIZE);
        state.begin(&info(10, 0));
        state.size = TerminalSize { cols: 100, rows: 30 };
        state.drawn = 10 + ACKNOWLEDGE_BYTES;
        assert_eq!(state.message(), Some(ClientMessage::Resize(state.size).encode()));
        assert_eq!(state.message(), Some(ClientMessage::Acknowledge(state.drawn).encode()));
        assert_eq!(state.message(), None);
        state.drawn += ACKNOWLEDGE_BYTES - 1;
        assert_eq!(state.message(), None, "an echo is not worth a word");
        state.drawn += 1;
        assert_eq!(state.message(), Some(ClientMessage::Acknowledge(state.drawn).encode()));
        state.reconnect();
        state.begin(&info(state.drawn, 0));
        assert_eq!(state.message(), None);
    }
}
