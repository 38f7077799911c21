//! What a client sends to its program: standard input and signals.
//!
//! Both are messages of one socket. Input that the program does not read yet is held here, up to the
//! window of the protocol, so that the signal behind it is read at once.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Bytes;
use protocol::exec::{ExecInput, INPUT_WINDOW_BYTES};
use rustix::process::{Pid, Signal};
use tokio::{io::AsyncWrite, process::ChildStdin, sync::watch};

use super::send_signal;
use crate::socket::{Disconnected, Incoming, SocketReceiver};

/// Copies the client's messages to the program until the client disconnects. `accepted` counts the
/// bytes that the program has taken.
///
/// A client that sends more than the window is not read until the program has taken some.
pub async fn copy_input(
    mut receiver: SocketReceiver,
    stdin: Option<ChildStdin>,
    group: Option<Pid>,
    accepted: watch::Sender<u64>,
) -> Disconnected {
    let mut queue = InputQueue { stdin, waiting: VecDeque::new(), bytes: 0, is_ended: false };
    loop {
        tokio::select! {
            message = receiver.receive(), if queue.has_room() => {
                let Some(Incoming::Binary(message)) = message else { return Disconnected };
                match ExecInput::decode(&message) {
                    Ok(ExecInput::Stdin(bytes)) => queue.push(message.slice_ref(bytes)),
                    Ok(ExecInput::Eof) => queue.is_ended = true,
                    Ok(ExecInput::Signal(number)) => {
                        if let Some(signal) = Signal::from_named_raw(i32::from(number)) {
                            send_signal(group, signal);
                        }
                    }
                    Err(_) => return Disconnected,
                }
            }
            taken = queue.write(), if !queue.waiting.is_empty() => {
                accepted.send_modify(|accepted| *accepted += taken as u64);
            }
        }
        queue.close_if_complete();
    }
}

/// Input that the program has not taken yet.
struct InputQueue<W = ChildStdin> {
    /// `None` after its end, and after the program has closed it.
    stdin: Option<W>,
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Whether the client has sent all of its input.
    is_ended: bool,
}

impl<W: AsyncWrite + Unpin> InputQueue<W> {
    fn has_room(&self) -> bool {
        self.bytes as u64 <= INPUT_WINDOW_BYTES
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !self.is_ended {
            self.bytes += bytes.len();
            self.waiting.push_back(bytes);
        }
    }

    /// Writes some of the waiting input. Returns how many bytes need not wait any more. Cancel safe.
    async fn write(&mut self) -> usize {
        let written = std::future::poll_fn(|context| self.poll_write(context)).await;
        let Ok(count @ 1..) = written else {
            // The program has closed its input, so that nothing of it can arrive.
            self.stdin = None;
            self.waiting.clear();
            return std::mem::take(&mut self.bytes);
        };
        if let Some(first) = self.waiting.front_mut() {
            let _ = first.split_to(count);
            if first.is_empty() {
                self.waiting.pop_front();
            }
        }
        self.bytes -= count;
        count
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (Some(stdin), Some(first)) = (&mut self.stdin, self.waiting.front()) else {
            return Poll::Ready(Ok(0));
        };
        Pin::new(stdin).poll_write(context, first)
    }

    fn close_if_complete(&mut self) {
        if self.is_ended && self.waiting.is_empty() {
            self.stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn input_waits_until_it_is_read() {
        let (writer, mut reader) = tokio::io::duplex(4);
        let mut queue =
            InputQueue { stdin: Some(writer), waiting: VecDeque::new(), bytes: 0, is_ended: false };
        queue.push(Bytes::from_static(b"abcdef"));
        assert_eq!((queue.write().await, queue.bytes), (4, 2));
        queue.is_ended = true;
        queue.push(Bytes::from_static(b"after the end"));
        queue.close_if_complete();
        let mut text = [0; 4];
        reader.read_exact(&mut text).await.expect("4 bytes");
        assert_eq!((queue.write().await, queue.bytes), (2, 0));
        queue.close_if_complete();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.expect("the end");
        assert_eq!((&text, rest.as_slice()), (b"abcd", b"ef".as_slice()));
    }

    #[tokio::test]
    async fn closed_input_takes_everything() {
        let (writer, reader) = tokio::io::duplex(4);
        drop(reader);
        let mut queue =
            InputQueue { stdin: Some(writer), waiting: VecDeque::new(), bytes: 0, is_ended: false };
        queue.push(Bytes::from_static(b"abcdef"));
        assert_eq!((queue.write().await, queue.bytes), (6, 0));
    }
}
