//! One program without a terminal. Its streams are messages of one WebSocket and end with it.

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use protocol::{
    WorkspaceId,
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest, MAX_CHUNK_BYTES},
    terminal::MalformedMessage,
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{IDLE_TIMEOUT, Socket, open};
use crate::{api::Api, error::ApiError};

/// A program that was requested. Dropping both halves ends its connection.
pub struct Exec {
    sender: ExecSender,
    receiver: ExecReceiver,
}

/// Sends to the program. Sending waits while the program does not read.
pub struct ExecSender(SplitSink<Socket, Message>);

/// Receives from the program. The program waits while nobody calls [`ExecReceiver::next`].
pub struct ExecReceiver {
    stream: SplitStream<Socket>,
    url: String,
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
        let mut sender = ExecSender(sink);
        let request =
            serde_json::to_string(request).map_err(|error| ApiError::Setup { source: error.into() })?;
        sender.send(Message::text(request)).await?;
        Ok(Self { sender, receiver: ExecReceiver { stream, url: api.url().to_owned() } })
    }

    /// Splits the two directions, to serve them concurrently.
    pub fn split(self) -> (ExecSender, ExecReceiver) {
        (self.sender, self.receiver)
    }
}

impl ExecSender {
    /// Sends bytes to standard input.
    pub async fn send_stdin(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
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
        self.0.send(message).await.map_err(ApiError::broken)
    }
}

impl ExecReceiver {
    /// Returns the next event. Cancel-safe.
    pub async fn next(&mut self) -> Result<ExecEvent, ApiError> {
        loop {
            let message = timeout(IDLE_TIMEOUT, self.stream.next())
                .await
                .map_err(ApiError::broken)?
                .ok_or_else(|| ApiError::broken(Error::ConnectionClosed))?
                .map_err(ApiError::broken)?;
            match message {
                Message::Binary(message) => return self.decode(&message),
                Message::Close(_) => return Err(ApiError::broken(Error::ConnectionClosed)),
                _ => {}
            }
        }
    }

    fn decode(&self, message: &Bytes) -> Result<ExecEvent, ApiError> {
        match ExecOutput::decode(message) {
            Ok(ExecOutput::Stdout(bytes)) => Ok(ExecEvent::Stdout(message.slice_ref(bytes))),
            Ok(ExecOutput::Stderr(bytes)) => Ok(ExecEvent::Stderr(message.slice_ref(bytes))),
            Ok(ExecOutput::End(end)) => Ok(ExecEvent::End(end)),
            Err(error) => Err(malformed(&self.url, error)),
        }
    }
}

pub(super) fn malformed(url: &str, error: MalformedMessage) -> ApiError {
    ApiError::Malformed { url: url.to_owned(), request_id: None, source: error.into() }
}
