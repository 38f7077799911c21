//! One TCP connection to a port of a workspace. It ends with its WebSocket.

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use protocol::WorkspaceId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{MissedTickBehavior, interval},
};
use tokio_tungstenite::tungstenite::Message;

use super::{HEARTBEAT_INTERVAL, Socket, broken, open};
use crate::{api::Api, error::ApiError};

/// Most bytes of one message.
const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// A connection to a port. Dropping it closes it.
pub struct PortConnection {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
}

impl Api {
    /// Connects to a port on a workspace's loopback interface.
    pub async fn connect_port(&self, workspace: WorkspaceId, port: u16) -> Result<PortConnection, ApiError> {
        let (sink, stream) = open(self, workspace, &format!("ports/{port}/connect")).await?.split();
        Ok(PortConnection { sink, stream })
    }
}

impl PortConnection {
    /// Copies a local connection in both directions, until both have ended or one is cut.
    pub async fn copy(self, local: TcpStream) -> Result<(), ApiError> {
        let (from_local, to_local) = local.into_split();
        tokio::select! {
            sent = send(from_local, self.sink) => sent,
            received = receive(self.stream, to_local) => received,
        }
    }
}

/// Sends what the local end sends, and then pings: the other direction decides about the end.
async fn send(mut from: OwnedReadHalf, mut sink: SplitSink<Socket, Message>) -> Result<(), ApiError> {
    let mut pings = interval(HEARTBEAT_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut chunk = vec![0; MAX_CHUNK_BYTES];
    let mut has_ended = false;
    loop {
        let message = tokio::select! {
            _ = pings.tick() => Message::Ping(Bytes::new()),
            length = from.read(&mut chunk), if !has_ended => {
                // A local connection that breaks has ended, too. An empty message says so.
                let length = length.unwrap_or(0);
                has_ended = length == 0;
                Message::binary(chunk[..length].to_vec())
            }
        };
        sink.send(message).await.map_err(broken)?;
    }
}

/// Passes on what the workspace sends, until it closes the WebSocket or the local end takes nothing more.
async fn receive(mut stream: SplitStream<Socket>, mut to: OwnedWriteHalf) -> Result<(), ApiError> {
    while let Some(message) = stream.next().await {
        let written = match message.map_err(broken)? {
            Message::Binary(bytes) if bytes.is_empty() => to.shutdown().await,
            Message::Binary(bytes) => to.write_all(&bytes).await,
            Message::Close(_) => return Ok(()),
            _ => Ok(()),
        };
        if written.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
