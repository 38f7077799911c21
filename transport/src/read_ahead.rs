//! Large reads for a reader that asks for small pieces.
//!
//! The HTTP/2 library reads at most a frame at a time. That is right for keys and their echoes; a stream
//! with much output makes a system call for each frame of it. A [`ReadAhead`] notices that a read has
//! filled all of the reader's room, reads more than was asked for, and hands it out in pieces. It stops as
//! soon as there is little to read, and then holds no memory.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Most bytes that are read ahead.
pub const READ_AHEAD_BYTES: usize = 64 * 1024;

/// A read that returns less than this ends the reading ahead.
const MIN_READ_BYTES: usize = READ_AHEAD_BYTES / 8;

/// What was read and not asked for yet.
#[derive(Debug, Default)]
pub struct ReadAhead {
    /// Empty while nothing is read ahead.
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not handed out.
    start: usize,
    end: usize,
    /// Whether the last read has filled all the room there was.
    is_behind: bool,
}

impl ReadAhead {
    /// Reads from `stream`, as its `poll_read` does.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start == self.end {
            if !self.is_behind {
                let before = room.filled().len();
                ready!(Pin::new(stream).poll_read(context, room))?;
                self.is_behind = room.filled().len() > before && room.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(stream, context) {
                Poll::Ready(Ok(())) => {}
                other => {
                    *self = Self::default();
                    return other;
                }
            }
        }
        let count = room.remaining().min(self.end - self.start);
        room.put_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        if self.start == self.end && !self.is_behind {
            *self = Self::default();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.buffer.resize(READ_AHEAD_BYTES, 0);
        let mut all = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(stream).poll_read(context, &mut all))?;
        (self.start, self.end) = (0, all.filled().len());
        self.is_behind = self.end >= MIN_READ_BYTES;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    /// Counts reads.
    struct CountedReads<S>(S, usize);

    impl<S: AsyncRead + Unpin> AsyncRead for CountedReads<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(context, room)
        }
    }

    async fn read_piece<S: AsyncRead + Unpin>(
        ahead: &mut ReadAhead,
        stream: &mut S,
        bytes: usize,
    ) -> Vec<u8> {
        let mut piece = vec![0; bytes];
        let count = poll_fn(|context| {
            let mut room = ReadBuf::new(&mut piece);
            ready!(ahead.poll_read(stream, context, &mut room))?;
            Poll::Ready(Ok::<_, io::Error>(room.filled().len()))
        });
        let count = count.await.expect("open");
        piece.truncate(count);
        piece
    }

    #[tokio::test]
    async fn much_output_is_few_reads() {
        let (near, mut far) = duplex(1 << 20);
        let sent: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
        far.write_all(&sent).await.expect("room");
        drop(far);
        let (mut ahead, mut stream) = (ReadAhead::default(), CountedReads(near, 0));
        let mut received = Vec::new();
        loop {
            let piece = read_piece(&mut ahead, &mut stream, 4096).await;
            if piece.is_empty() {
                break;
            }
            received.extend(piece);
        }
        assert!(received == sent);
        assert!(stream.1 <= sent.len() / READ_AHEAD_BYTES + 4, "{} reads", stream.1);
        assert_eq!(ahead.buffer.capacity(), 0, "it holds nothing at the end");
    }

    #[tokio::test]
    async fn small_messages_are_not_read_ahead() {
        let (near, mut far) = duplex(1 << 20);
        let (mut ahead, mut stream) = (ReadAhead::default(), CountedReads(near, 0));
        for number in 0..100_u8 {
            far.write_all(&[number; 10]).await.expect("room");
            assert_eq!(read_piece(&mut ahead, &mut stream, 4096).await, [number; 10]);
            assert_eq!(ahead.buffer.capacity(), 0);
        }
        // A frame that just fits is followed by little.
        far.write_all(&[7; 4100]).await.expect("room");
        assert_eq!(read_piece(&mut ahead, &mut stream, 4096).await.len(), 4096);
        assert_eq!(read_piece(&mut ahead, &mut stream, 4096).await.len(), 4);
        assert_eq!(ahead.buffer.capacity(), 0);
    }
}
