//! Splicing: copying bytes between two streams in both directions, without parsing them.
//!
//! Each direction has one buffer and no queue. A side that does not read therefore makes the other
//! side wait, which is the backpressure of every terminal: the flood stays in the guest.
//!
//! While a write waits, the direction continues to read until its buffer is full, and then writes
//! what it has in one piece. So a burst of small messages becomes a few frames. A direction also sends
//! few small frames while nobody reads them ([`PacedStream`]).

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::io::poll_read_buf;

use crate::paced_stream::PacedStream;

/// Bytes of one direction's buffer at rest. A keystroke and its echo fit in. Every splice has two, so
/// ten thousand WebSockets cost 80 MB.
const BUFFER_BYTES: usize = 4096;

/// Most bytes of one direction's buffer, while its receiver is slow.
pub const MAX_BUFFER_BYTES: usize = 32 * 1024;

/// How long one side may still send after the other has ended.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How a splice ended.
#[derive(Debug)]
pub enum SpliceEnd {
    /// Both sides ended in order, or one did and the other's grace is over.
    Closed,
    /// The caller's `revoked` resolved.
    Revoked,
    /// One side accepted no byte for the caller's `stall_timeout`.
    Stalled,
    /// A side failed.
    Failed(io::Error),
}

/// Copies bytes between `a` and `b` until both have ended, one fails, one accepts no byte for
/// `stall_timeout` (`None`: any pause is fine), or `revoked` resolves.
pub async fn splice<A, B>(
    a: A,
    b: B,
    revoked: impl Future<Output = ()>,
    stall_timeout: Option<Duration>,
) -> SpliceEnd
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let a_to_b = copy_direction(a_read, PacedStream::new(b_write), stall_timeout);
    let b_to_a = copy_direction(b_read, PacedStream::new(a_write), stall_timeout);
    let both = async {
        tokio::pin!(a_to_b, b_to_a);
        let (first, a_ended) = tokio::select! {
            end = &mut a_to_b => (end, true),
            end = &mut b_to_a => (end, false),
        };
        first?;
        let last = if a_ended {
            timeout(HALF_CLOSE_GRACE, b_to_a).await
        } else {
            timeout(HALF_CLOSE_GRACE, a_to_b).await
        };
        last.unwrap_or(Ok(()))
    };
    let end = tokio::select! {
        biased;
        () = revoked => return SpliceEnd::Revoked,
        end = both => end,
    };
    match end {
        Ok(()) => SpliceEnd::Closed,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => SpliceEnd::Stalled,
        Err(error) => SpliceEnd::Failed(error),
    }
}

/// Copies one direction until its end, then shuts the receiver down. A stall is an error of kind `TimedOut`.
async fn copy_direction<R, W>(mut from: R, mut to: W, stall_timeout: Option<Duration>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut direction = Direction::new(stall_timeout);
    poll_fn(|context| direction.poll_copy(context, &mut from, &mut to)).await
}

/// The state of one direction.
struct Direction {
    buffer: BytesMut,
    /// What ended the source: its end, or an error that is returned once the buffer is delivered.
    source_end: Option<io::Result<()>>,
    needs_flush: bool,
    stall: Option<Stall>,
}

/// When a receiver that accepts nothing counts as stalled.
struct Stall {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer runs: something waits for the receiver.
    is_running: bool,
}

impl Direction {
    fn new(stall_timeout: Option<Duration>) -> Self {
        let stall =
            stall_timeout.map(|limit| Stall { limit, timer: Box::pin(sleep(limit)), is_running: false });
        Self { buffer: BytesMut::with_capacity(BUFFER_BYTES), source_end: None, needs_flush: false, stall }
    }

    fn poll_copy<R, W>(&mut self, context: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            let is_source_blocked = self.poll_fill(context, from).is_pending();
            match self.poll_drain(context, to) {
                Poll::Pending => return self.poll_stall(context),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(is_shut_down)) => {
                    self.stop_timer();
                    if is_shut_down {
                        return Poll::Ready(self.source_end.take().unwrap_or(Ok(())));
                    }
                    if is_source_blocked {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Reads until the buffer is full or the source has ended (ready), or has nothing more for now.
    fn poll_fill<R: AsyncRead + Unpin>(&mut self, context: &mut Context<'_>, from: &mut R) -> Poll<()> {
        while self.source_end.is_none() && self.buffer.len() < MAX_BUFFER_BYTES {
            self.buffer.reserve(1);
            // Without a limit, what was allocated beyond the size would be filled too.
            let room = MAX_BUFFER_BYTES - self.buffer.len();
            match poll_read_buf(Pin::new(from), context, &mut (&mut self.buffer).limit(room)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.source_end = Some(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.source_end = Some(Err(error)),
            }
        }
        Poll::Ready(())
    }

    /// Writes and flushes the buffer. `true` once the source has ended and the receiver is shut down.
    fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<bool>> {
        while !self.buffer.is_empty() {
            match Pin::new(&mut *to).poll_write(context, &self.buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.buffer.advance(count);
                    self.needs_flush = true;
                    self.stop_timer();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if self.needs_flush {
            std::task::ready!(Pin::new(&mut *to).poll_flush(context))?;
            self.needs_flush = false;
            if self.buffer.capacity() > BUFFER_BYTES {
                self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
            }
        }
        match self.source_end {
            None => Poll::Ready(Ok(false)),
            Some(Err(_)) => Poll::Ready(Ok(true)),
            Some(Ok(())) => Pin::new(to).poll_shutdown(context).map_ok(|()| true),
        }
    }

    /// Waits for the receiver, or fails once it has accepted nothing for too long.
    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stall) = &mut self.stall else { return Poll::Pending };
        if !stall.is_running {
            stall.timer.as_mut().reset(Instant::now() + stall.limit);
            stall.is_running = true;
        }
        stall.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn stop_timer(&mut self) {
        if let Some(stall) = &mut self.stall {
            stall.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::paced_stream::{MAX_SMALL_FRAMES, SMALL_FRAME_INTERVAL};

    const STALL_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

    #[tokio::test(start_paused = true)]
    async fn copies_both_directions_until_the_end() {
        let (mut client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let spliced = tokio::spawn(splice(near, far, pending(), STALL_TIMEOUT));
        let sender = async {
            client.write_all(&vec![7; 100_000]).await.expect("open");
            client.shutdown().await.expect("open");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("open");
            answer
        };
        let receiver = async {
            let mut all = Vec::new();
            guest.read_to_end(&mut all).await.expect("open");
            guest.write_all(b"last bytes").await.expect("open");
            drop(guest);
            all.len()
        };
        let (answer, received) = tokio::join!(sender, receiver);
        assert_eq!((answer.as_slice(), received), (&b"last bytes"[..], 100_000));
        assert!(matches!(spliced.await.expect("no panic"), SpliceEnd::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_a_side_stops_reading() {
        let (_client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let flood = tokio::spawn(async move { while guest.write_all(&[0; 512]).await.is_ok() {} });
        assert!(matches!(splice(near, far, pending(), STALL_TIMEOUT).await, SpliceEnd::Stalled));
        flood.await.expect("the guest's side ends with the splice");
    }

    #[tokio::test(start_paused = true)]
    async fn ends_after_grace_when_one_side_closed() {
        let (client, near) = duplex(64);
        let (far, _guest) = duplex(64);
        drop(client);
        assert!(matches!(splice(near, far, pending(), STALL_TIMEOUT).await, SpliceEnd::Closed));
    }

    #[tokio::test]
    async fn buffer_of_direction_is_bounded() {
        let (mut source, mut near) = duplex(4 * MAX_BUFFER_BYTES);
        source.write_all(&vec![0; 4 * MAX_BUFFER_BYTES]).await.expect("open");
        let mut direction = Direction::new(None);
        for _ in 0..4 {
            let filled = poll_fn(|context| direction.poll_fill(context, &mut near));
            filled.await;
            assert_eq!(direction.buffer.len(), MAX_BUFFER_BYTES);
            // A slow receiver takes a part of it.
            direction.buffer.advance(8 * 1024);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_messages_are_gathered_for_slow_reader() {
        let (mut client, near) = duplex(1);
        let (far, mut guest) = duplex(64 * 1024);
        let spliced = tokio::spawn(splice(near, far, pending(), STALL_TIMEOUT));
        for _ in 0..10_000 {
            timeout(Duration::from_secs(1), guest.write_all(b"xyz"))
                .await
                .expect("is read at once")
                .expect("open");
        }
        drop(guest);
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.expect("open");
        drop(client);
        assert_eq!(all.len(), 30_000);
        spliced.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn small_messages_are_paced_after_a_burst() {
        let (mut client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let spliced = tokio::spawn(splice(near, far, pending(), STALL_TIMEOUT));
        let begin = Instant::now();
        for _ in 0..MAX_SMALL_FRAMES {
            guest.write_all(b"x").await.expect("open");
            client.read_exact(&mut [0]).await.expect("open");
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            guest.write_all(b"x").await.expect("open");
            client.read_exact(&mut [0]).await.expect("open");
        }
        assert!(begin.elapsed() >= SMALL_FRAME_INTERVAL * 10, "{:?}", begin.elapsed());
        drop((client, guest));
        assert!(matches!(spliced.await.expect("no panic"), SpliceEnd::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_is_not_stalled() {
        let (mut client, near) = duplex(16);
        let (far, mut guest) = duplex(64);
        let spliced = tokio::spawn(splice(near, far, pending(), STALL_TIMEOUT));
        guest.write_all(&[1; 64]).await.expect("open");
        for _ in 0..4 {
            sleep(Duration::from_secs(20)).await;
            client.read_exact(&mut [0; 16]).await.expect("open");
        }
        drop((client, guest));
        assert!(matches!(spliced.await.expect("no panic"), SpliceEnd::Closed));
    }
}
