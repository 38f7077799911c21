//! One program without a terminal. Its streams are messages of one WebSocket and end with it.

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use protocol::{
    WorkspaceId,
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest, INPUT_WINDOW_BYTES, MAX_CHUNK_BYTES},
    terminal::MalformedMessage,
};
use tokio::{sync::watch, time::timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{IDLE_TIMEOUT, Socket, broken, open, silent};
use crate::{api::Api, error::ApiError};

/// A program that was requested. Dropping both halves ends its connection.
pub struct Exec {
    sender: ExecSender,
    receiver: ExecReceiver,
}

/// Sends to the program.
///
/// Standard input has a window: call [`Self::wait_for_room`] before [`Self::send_stdin`]. Signals and
/// pings need no room, so they never wait for a program that does not read its input.
pub struct ExecSender {
    sink: SplitSink<Socket, Message>,
    /// Bytes of standard input that were sent.
    sent: u64,
    /// Bytes of standard input that the program has taken.
    accepted: watch::Receiver<u64>,
}

/// Receives from the program. The program waits while nobody calls [`ExecReceiver::next`].
pub struct ExecReceiver {
    stream: SplitStream<Socket>,
    url: String,
    accepted: watch::Sender<u64>,
}

/// What a program sends.
#[derive(Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// Bytes of its standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// Its end. Nothing follows.
    End(ExecEnd),
}

impl Exec {
    pub(crate) async fn start(
        api: &Api,
        workspace: WorkspaceId,
        request: &ExecRequest,
    ) -> Result<Self, ApiError> {
        let (sink, stream) = open(api, workspace, "exec").await?.split();
        let (accepted, taken) = watch::channel(0);
        let mut sender = ExecSender { sink, sent: 0, accepted: taken };
        let request =
            serde_json::to_string(request).map_err(|error| ApiError::Setup { source: error.into() })?;
        sender.send(Message::text(request)).await?;
        Ok(Self { sender, receiver: ExecReceiver { stream, url: api.url().to_owned(), accepted } })
    }

    /// Splits the two directions, to serve them concurrently.
    pub fn split(self) -> (ExecSender, ExecReceiver) {
        (self.sender, self.receiver)
    }
}

impl ExecSender {
    /// Waits until standard input has room, and returns how many bytes. Needs a caller of
    /// [`ExecReceiver::next`], which learns of the room. Cancel-safe.
    pub async fn wait_for_room(&mut self) -> usize {
        let sent = self.sent;
        let room = |accepted: u64| INPUT_WINDOW_BYTES.saturating_sub(sent.saturating_sub(accepted));
        match self.accepted.wait_for(|accepted| room(*accepted) > 0).await {
            Ok(accepted) => usize::try_from(room(*accepted)).unwrap_or(usize::MAX),
            // The receiver is gone, and with it the connection's end.
            Err(_) => std::future::pending().await,
        }
    }

    /// Sends bytes to standard input, at most as many as there is room for.
    pub async fn send_stdin(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        self.sent += bytes.len() as u64;
        for piece in bytes.chunks(MAX_CHUNK_BYTES) {
            self.send(Message::binary(ExecInput::Stdin(piece).encode())).await?;
        }
        Ok(())
    }

    /// Closes standard input.
    pub async fn close_stdin(&mut self) -> Result<(), ApiError> {
        self.send(Message::binary(ExecInput::Eof.encode())).await
    }

    /// Sends a signal to the program.
    pub async fn send_signal(&mut self, number: u8) -> Result<(), ApiError> {
        self.send(Message::binary(ExecInput::Signal(number).encode())).await
    }

    /// Sends a ping. Call it regularly, so that the connection of a silent program is not cut and a
    /// dead one is noticed.
    pub async fn send_ping(&mut self) -> Result<(), ApiError> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ApiError> {
        self.sink.send(message).await.map_err(broken)
    }
}

impl ExecReceiver {
    /// Returns the next event. Cancel-safe.
    pub async fn next(&mut self) -> Result<ExecEvent, ApiError> {
        loop {
            let message = match timeout(IDLE_TIMEOUT, self.stream.next()).await {
                Ok(Some(message)) => message.map_err(broken)?,
                Ok(None) => return Err(broken(Error::ConnectionClosed)),
                Err(_) => return Err(silent()),
            };
            match message {
                Message::Binary(message) => {
                    if let Some(event) = self.decode(&message)? {
                        return Ok(event);
                    }
                }
                Message::Close(_) => return Err(broken(Error::ConnectionClosed)),
                _ => {}
            }
        }
    }

    /// The event of a message. Room for input is recorded, and no event.
    fn decode(&self, message: &Bytes) -> Result<Option<ExecEvent>, ApiError> {
        match ExecOutput::decode(message) {
            Ok(ExecOutput::Stdout(bytes)) => Ok(Some(ExecEvent::Stdout(message.slice_ref(bytes)))),
            Ok(ExecOutput::Stderr(bytes)) => Ok(Some(ExecEvent::Stderr(message.slice_ref(bytes)))),
            Ok(ExecOutput::End(end)) => Ok(Some(ExecEvent::End(end))),
            Ok(ExecOutput::InputAccepted(bytes)) => {
                self.accepted.send_replace(bytes);
                Ok(None)
            }
            Err(error) => Err(malformed(&self.url, error)),
        }
    }
}

pub(super) fn malformed(url: &str, error: MalformedMessage) -> ApiError {
    ApiError::Malformed { url: url.to_owned(), request_id: None, source: error.into() }
}
