//! A WebSocket with bounded messages, a timeout on every send, pings, and an orderly close. Knows
//! nothing of what the messages mean.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use protocol::agent::MAX_MESSAGE_BYTES;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::tasks::Tasks;

/// A peer that reads nothing for this long counts as disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Many proxies close connections that are silent for a minute, some after 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long the peer may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The library's default is 128 KiB per socket. Most messages here are keys and small updates.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Close code of a session that is complete.
pub const CLOSE_NORMAL: u16 = 1000;
/// Close code for a message that does not belong to the protocol.
pub const CLOSE_INVALID_MESSAGE: u16 = 1007;
/// Close code "try again later": the client should reconnect.
pub const CLOSE_TRY_AGAIN: u16 = 1013;

/// The peer has disconnected, or has not read for [`SEND_TIMEOUT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnected;

/// How a session closes its socket: the WebSocket close code, and a reason for developers of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReason {
    /// One of the `CLOSE_…` constants.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'static str,
}

impl CloseReason {
    fn frame(self) -> Message {
        Message::Close(Some(CloseFrame { code: self.code, reason: self.reason.into() }))
    }
}

/// An accepted WebSocket.
pub struct Socket {
    inner: WebSocket,
    ping: Interval,
}

/// A message from the peer.
#[derive(Debug)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// Accepts the upgrade and runs `serve` on the socket as one of the agent's tasks.
pub fn accept<F, S>(upgrade: WebSocketUpgrade, tasks: &Tasks, serve: S) -> Response
where
    S: FnOnce(Socket) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = tasks.clone();
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .on_upgrade(move |inner| {
            let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
            ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let session = tasks.adopt(serve(Socket { inner, ping }));
            async move { session.await.unwrap_or_default() }
        })
}

impl Socket {
    /// Sends a binary message.
    pub async fn send_binary(&mut self, message: impl Into<Bytes>) -> Result<(), Disconnected> {
        self.send(Message::Binary(message.into())).await
    }

    /// Sends a text message of JSON.
    pub async fn send_json(&mut self, value: &impl serde::Serialize) -> Result<(), Disconnected> {
        let text = serde_json::to_string(value).map_err(|_| Disconnected)?;
        self.send(Message::Text(text.into())).await
    }

    /// Splits the socket, for sessions that receive while they send.
    ///
    /// The sender has no timeout and no pings: a client that stops reading is like a full pipe, not
    /// an error.
    pub fn split(self) -> (SocketSender, SocketReceiver) {
        let (sender, receiver) = self.inner.split();
        (SocketSender(sender), SocketReceiver(receiver))
    }

    /// Receives the next message. Returns `None` once the peer has disconnected. Cancel safe.
    pub async fn receive(&mut self) -> Option<Incoming> {
        loop {
            let message = tokio::select! {
                message = self.inner.recv() => message?.ok()?,
                _ = self.ping.tick() => {
                    self.send(Message::Ping(Bytes::new())).await.ok()?;
                    continue;
                }
            };
            if let Some(incoming) = incoming(message) {
                return Some(incoming);
            }
        }
    }

    /// Sends a close and waits for the peer's answer.
    pub async fn close(mut self, reason: CloseReason) {
        if self.send(reason.frame()).await.is_ok() {
            let rest = async { while let Some(Ok(_)) = self.inner.recv().await {} };
            let _ = timeout(CLOSE_TIMEOUT, rest).await;
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Disconnected> {
        match timeout(SEND_TIMEOUT, self.inner.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Disconnected),
        }
    }
}

/// The sending half of a socket.
pub struct SocketSender(SplitSink<WebSocket, Message>);

/// The receiving half of a socket.
pub struct SocketReceiver(SplitStream<WebSocket>);

impl SocketSender {
    /// Sends a binary message. Waits as long as the peer does not read.
    pub async fn send_binary(&mut self, message: impl Into<Bytes>) -> Result<(), Disconnected> {
        self.0.send(Message::Binary(message.into())).await.map_err(|_| Disconnected)
    }

    /// Sends a close. The receiving half sees the peer's answer.
    pub async fn close(&mut self, reason: CloseReason) {
        let _ = timeout(CLOSE_TIMEOUT, self.0.send(reason.frame())).await;
    }
}

impl SocketReceiver {
    /// Receives the next message. Returns `None` once the peer has disconnected. Cancel safe.
    pub async fn receive(&mut self) -> Option<Incoming> {
        loop {
            if let Some(incoming) = incoming(self.0.next().await?.ok()?) {
                return Some(incoming);
            }
        }
    }
}

/// Drops control messages. The library answers pings and closes by itself, but only while it is
/// polled.
fn incoming(message: Message) -> Option<Incoming> {
    match message {
        Message::Text(text) => Some(Incoming::Text(text.as_str().to_owned())),
        Message::Binary(bytes) => Some(Incoming::Binary(bytes)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}
