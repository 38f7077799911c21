//! The stream of a read-only viewer: its messages are parsed, to drop those that it may not send. This
//! happens outside the guest, because the agent is not trusted.

use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};
use protocol::agent::{MAX_MESSAGE_BYTES, RouteKind, viewer_may_send};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{Role, WebSocketConfig},
    },
};
use transport::{PacedStream, log_cut};

/// Most bytes of small messages that are sent together.
const GATHERED_BYTES: usize = 16 * 1024;

/// The source whose messages ended the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Viewer,
    Agent,
}

/// How the stream of a read-only viewer ended.
#[derive(Debug)]
pub struct ReadOnlyEnd {
    from: Side,
    result: Result<(), Error>,
}

/// Splices the stream of a read-only viewer until one side ends: all messages from the agent pass, and
/// only what a viewer may send goes to it. A half-open viewer is of no use.
pub async fn splice_read_only<A, B>(downstream: A, upstream: B, kind: RouteKind) -> ReadOnlyEnd
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .write_buffer_size(GATHERED_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let (downstream, upstream) = (PacedStream::new(downstream), PacedStream::new(upstream));
    let viewer = WebSocketStream::from_raw_socket(downstream, Role::Server, Some(config)).await;
    let agent = WebSocketStream::from_raw_socket(upstream, Role::Client, Some(config)).await;
    let (to_viewer, from_viewer) = viewer.split();
    let (to_agent, from_agent) = agent.split();
    let is_content =
        |message: &Message| matches!(message, Message::Binary(_) | Message::Text(_) | Message::Close(_));
    tokio::select! {
        result = copy_messages(from_viewer, to_agent, |message| viewer_may_send_message(kind, message)) => {
            ReadOnlyEnd { from: Side::Viewer, result }
        }
        result = copy_messages(from_agent, to_viewer, is_content) => {
            ReadOnlyEnd { from: Side::Agent, result }
        }
    }
}

/// Copies the messages that may pass, until the source ends. Those that are there at the same time are
/// sent together, so that a burst becomes few frames of the link.
async fn copy_messages(
    mut from: impl Stream<Item = Result<Message, Error>> + Unpin,
    mut to: impl Sink<Message, Error = Error> + Unpin,
    may_pass: impl Fn(&Message) -> bool,
) -> Result<(), Error> {
    while let Some(first) = from.next().await {
        let mut next = Some(first);
        while let Some(message) = next {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    // What came before the cut still arrives.
                    let _ = to.flush().await;
                    return Err(error);
                }
            };
            if may_pass(&message) {
                to.feed(message).await?;
            }
            next = from.next().now_or_never().flatten();
        }
        to.flush().await?;
    }
    to.close().await
}

impl ReadOnlyEnd {
    /// Logs why the stream ended.
    pub fn log(&self) {
        let from = self.from;
        match &self.result {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                tracing::debug!(?from, "a read-only stream was closed");
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                tracing::info!(?from, "a read-only stream was cut: its other end has left");
            }
            Err(error) => log_cut(error, format_args!("a read-only stream was cut, from {from:?}")),
        }
    }
}

/// Pings are answered on each side and not forwarded.
fn viewer_may_send_message(kind: RouteKind, message: &Message) -> bool {
    match message {
        Message::Binary(bytes) => viewer_may_send(kind, true, bytes),
        Message::Text(text) => viewer_may_send(kind, false, text.as_bytes()),
        Message::Close(_) => true,
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn output_before_the_cut_arrives() {
        let (mut viewer, downstream) = duplex(64);
        let (upstream, mut agent) = duplex(64);
        let frame = [0x82_u8, 2, 7, 9];
        agent.write_all(&frame).await.expect("open");
        agent.shutdown().await.expect("open");
        let end = splice_read_only(downstream, upstream, RouteKind::Terminal).await;
        assert_eq!(end.from, Side::Agent);
        let mut received = [0; 4];
        viewer.read_exact(&mut received).await.expect("it was sent before the end");
        assert_eq!(received, frame);
    }

    #[tokio::test]
    async fn read_only_stream_says_why_it_ended() {
        for (sent, expected) in [
            // An unmasked frame, which no client may send.
            (Some(&[0x82_u8, 1, 0][..]), "Protocol"),
            (None, "ResetWithoutClosingHandshake"),
        ] {
            let (mut viewer, downstream) = duplex(64);
            let (upstream, _agent) = duplex(64);
            match sent {
                Some(frame) => viewer.write_all(frame).await.expect("open"),
                None => viewer.shutdown().await.expect("open"),
            }
            let end = splice_read_only(downstream, upstream, RouteKind::Terminal).await;
            assert_eq!(end.from, Side::Viewer);
            let error = format!("{:?}", end.result.expect_err("cut"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
