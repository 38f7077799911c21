//! A WebSocket with manners: bounded messages, a deadline on every send, pings, and an orderly close.

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

/// A reader that takes nothing for so long is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Proxies cut connections that are silent for a minute; some for half of one.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long the peer may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The library's default holds 128 KiB per socket for reads; these streams are mostly keys and small updates.
const READ_BUFFER: usize = 4 * 1024;

/// The peer is gone, or has not read for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

pub struct Socket {
    inner: WebSocket,
    ping: Interval,
}

/// What a peer says.
#[derive(Debug)]
pub enum Incoming {
    Text(String),
    Binary(Bytes),
}

/// Accepts the upgrade and runs `serve` on the socket.
pub fn accept<F, S>(upgrade: WebSocketUpgrade, serve: S) -> Response
where
    S: FnOnce(Socket) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(move |inner| {
            let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
            ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
            serve(Socket { inner, ping })
        })
}

impl Socket {
    pub async fn send_binary(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        self.send(Message::Binary(message.into())).await
    }

    pub async fn send_json(&mut self, value: &impl serde::Serialize) -> Result<(), Gone> {
        let text = serde_json::to_string(value).map_err(|_| Gone)?;
        self.send(Message::Text(text.into())).await
    }

    /// Both halves, for whoever must hear while it speaks. Sending waits as long as the link lives: a reader that pauses is a
    /// pipe that is full, not a fault.
    pub fn split(self) -> (Speaker, Listener) {
        let (speaker, listener) = self.inner.split();
        (Speaker(speaker), Listener(listener))
    }

    /// The next message; none once the peer is gone. May be cancelled without loss.
    pub async fn receive(&mut self) -> Option<Incoming> {
        loop {
            let message = tokio::select! {
                message = self.inner.recv() => message?.ok()?,
                _ = self.ping.tick() => {
                    self.send(Message::Ping(Bytes::new())).await.ok()?;
                    continue;
                }
            };
            match message {
                Message::Text(text) => return Some(Incoming::Text(text.as_str().to_owned())),
                Message::Binary(bytes) => return Some(Incoming::Binary(bytes)),
                // After a close the library answers by itself, but only while it is polled.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
            }
        }
    }

    /// Closes with a code and a word, and waits for the peer's own.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        if self.send(Message::Close(Some(frame))).await.is_ok() {
            let rest = async { while let Some(Ok(_)) = self.inner.recv().await {} };
            let _ = timeout(CLOSE_TIMEOUT, rest).await;
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(SEND_TIMEOUT, self.inner.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// The sending half of a socket.
pub struct Speaker(SplitSink<WebSocket, Message>);

/// The receiving half of a socket.
pub struct Listener(SplitStream<WebSocket>);

impl Speaker {
    pub async fn send_binary(&mut self, message: Vec<u8>) -> Result<(), Gone> {
        self.0.send(Message::Binary(message.into())).await.map_err(|_| Gone)
    }

    pub async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = timeout(CLOSE_TIMEOUT, self.0.send(Message::Close(Some(frame)))).await;
    }
}

impl Listener {
    /// The next message; none once the peer is gone. May be cancelled without loss.
    pub async fn receive(&mut self) -> Option<Incoming> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(Incoming::Text(text.as_str().to_owned())),
                Message::Binary(bytes) => return Some(Incoming::Binary(bytes)),
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
            }
        }
    }
}
