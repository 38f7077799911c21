//! One program: its streams are messages of one socket, and end with it.

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

use super::{SILENCE_TIMEOUT, Socket, open};
use crate::{api::Api, error::ApiError};

/// A program that has been asked for.
pub struct Exec {
    sender: ExecSender,
    receiver: ExecReceiver,
}

/// What goes to the program. Waits for as long as the program does not read.
pub struct ExecSender(SplitSink<Socket, Message>);

/// What comes from it. Whoever does not ask for more makes the program wait.
pub struct ExecReceiver {
    stream: SplitStream<Socket>,
    url: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ExecEvent {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last.
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

    /// Both directions, for whoever serves them at once.
    pub fn split(self) -> (ExecSender, ExecReceiver) {
        (self.sender, self.receiver)
    }
}

impl ExecSender {
    pub async fn stdin(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        for piece in bytes.chunks(MAX_CHUNK_BYTES) {
            self.send(Message::binary(ExecInput::Stdin(piece).encode())).await?;
        }
        Ok(())
    }

    /// The end of standard input.
    pub async fn end_of_stdin(&mut self) -> Result<(), ApiError> {
        self.send(Message::binary(ExecInput::Eof.encode())).await
    }

    pub async fn signal(&mut self, number: u8) -> Result<(), ApiError> {
        self.send(Message::binary(ExecInput::Signal(number).encode())).await
    }

    /// To be called now and then, so that a silent program's connection is neither cut nor dead unnoticed.
    pub async fn ping(&mut self) -> Result<(), ApiError> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ApiError> {
        self.0.send(message).await.map_err(ApiError::broken)
    }
}

impl ExecReceiver {
    /// The next piece. May be cancelled without loss.
    pub async fn next(&mut self) -> Result<ExecEvent, ApiError> {
        loop {
            let message = timeout(SILENCE_TIMEOUT, self.stream.next())
                .await
                .map_err(ApiError::broken)?
                .ok_or_else(|| ApiError::broken(Error::ConnectionClosed))?
                .map_err(ApiError::broken)?;
            match message {
                Message::Binary(message) => return self.understand(&message),
                Message::Close(_) => return Err(ApiError::broken(Error::ConnectionClosed)),
                _ => {}
            }
        }
    }

    fn understand(&self, message: &Bytes) -> Result<ExecEvent, ApiError> {
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
