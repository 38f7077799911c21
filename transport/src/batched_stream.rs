//! One write per turn of the event loop.
//!
//! The HTTP/2 library hands most frames to its connection one by one, and flushes after each. On a link
//! that carries many streams, that is a system call per frame, and most of the time goes to the kernel. A
//! [`BatchedStream`] only collects. Its [`Flusher`] is a task that the first flush wakes, so it runs after
//! everything that was ready in the same turn, and writes all of it in one call.
//!
//! ```text
//! frames of all streams ── poll_write, poll_flush ──> batch ── Flusher, one write ──> socket
//! ```
//!
//! The bytes are copied once more. For a frame of at most 16 KiB, that takes less than another call. While
//! the socket accepts nothing, the batch grows to [`MAX_BATCH_BYTES`]; then the library waits, as it does
//! for a socket.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::read_ahead::ReadAhead;

/// Most bytes that wait for the socket: four of the largest frames. They go before a frame that comes
/// later, whichever stream it is of.
pub const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Capacity of an empty batch that is kept for the next turn.
const KEPT_BYTES: usize = 4 * 1024;

/// A stream whose writes are collected, and which reads ahead ([`ReadAhead`]). One task uses it.
#[derive(Debug)]
pub struct BatchedStream<S>(Arc<Mutex<Shared<S>>>);

/// Writes what a [`BatchedStream`] has collected. Resolves once that was shut down or dropped, or a write
/// has failed.
#[derive(Debug)]
pub struct Flusher<S>(Arc<Mutex<Shared<S>>>);

/// Collects the writes to `stream`. The caller runs the [`Flusher`] as long as the stream is in use.
pub fn batch_writes<S>(stream: S) -> (BatchedStream<S>, Flusher<S>) {
    let shared = Arc::new(Mutex::new(Shared {
        stream,
        ahead: ReadAhead::default(),
        batch: Batch::default(),
        phase: Phase::Open,
        owner: None,
        is_owner_waiting: false,
        flusher: None,
        is_blocked: false,
    }));
    (BatchedStream(shared.clone()), Flusher(shared))
}

#[derive(Debug)]
struct Shared<S> {
    stream: S,
    ahead: ReadAhead,
    batch: Batch,
    phase: Phase,
    /// The task that uses the [`BatchedStream`].
    owner: Option<Waker>,
    /// Whether it waits for room, or for the shutdown.
    is_owner_waiting: bool,
    flusher: Option<Waker>,
    /// Whether the flusher waits for the socket, which wakes it.
    is_blocked: bool,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// The owner waits until everything is written and the stream is shut down.
    ShuttingDown,
    ShutDown,
    Failed(io::Error),
    /// The owner is gone.
    Dropped,
}

/// Bytes that wait for the socket.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// How many of them were written.
    sent: usize,
}

impl Batch {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn room(&self) -> usize {
        MAX_BATCH_BYTES - self.waiting().len()
    }

    /// Adds what there is room for. Returns how many bytes that were.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let accepted = &bytes[..bytes.len().min(self.room())];
        self.bytes.extend_from_slice(accepted);
        accepted.len()
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.waiting().is_empty() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        } else if self.sent >= MAX_BATCH_BYTES / 2 {
            self.bytes.drain(..std::mem::take(&mut self.sent));
        }
    }
}

impl<S> Shared<S> {
    /// Fails if a write has failed. Remembers the task that asks.
    fn check(&mut self, context: &Context<'_>) -> io::Result<()> {
        remember(&mut self.owner, context);
        match &self.phase {
            Phase::Failed(error) => Err(io::Error::new(error.kind(), error.to_string())),
            _ => Ok(()),
        }
    }

    /// Waits until there is room in the batch.
    fn poll_room(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        if !matches!(self.phase, Phase::Open) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.batch.room() > 0 {
            return Poll::Ready(Ok(()));
        }
        self.is_owner_waiting = true;
        self.request_flush();
        Poll::Pending
    }

    fn request_flush(&self) {
        if !self.is_blocked {
            self.wake_flusher();
        }
    }

    fn wake_flusher(&self) {
        if let Some(flusher) = &self.flusher {
            flusher.wake_by_ref();
        }
    }

    fn wake_owner(&mut self) {
        self.is_owner_waiting = false;
        if let Some(owner) = &self.owner {
            owner.wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> Shared<S> {
    /// Writes what waits, and shuts the stream down if the owner waits for that.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.batch.waiting().is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, self.batch.waiting()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.batch.advance(written);
            if self.is_owner_waiting && matches!(self.phase, Phase::Open) {
                self.wake_owner();
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if matches!(self.phase, Phase::ShuttingDown) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.phase = Phase::ShutDown;
            self.wake_owner();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Future for Flusher<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = lock(&self.0);
        let sent = shared.poll_send(context);
        shared.is_blocked = sent.is_pending();
        if let Poll::Ready(Err(error)) = sent {
            shared.phase = Phase::Failed(error);
            // The owner may only be reading, from a peer that stays silent.
            shared.wake_owner();
        }
        match shared.phase {
            Phase::Open | Phase::ShuttingDown => {
                remember(&mut shared.flusher, context);
                Poll::Pending
            }
            Phase::ShutDown | Phase::Failed(_) | Phase::Dropped => Poll::Ready(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BatchedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.check(context)?;
        let Shared { ahead, stream, .. } = &mut *shared;
        ahead.poll_read(stream, context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BatchedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_room(context))?;
        Poll::Ready(Ok(shared.batch.push(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_room(context))?;
        Poll::Ready(Ok(parts.iter().map(|part| shared.batch.push(part)).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Asks for a flush at the end of the turn, and does not wait for it.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.check(context)?;
        if !shared.batch.waiting().is_empty() {
            shared.request_flush();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.check(context)?;
        if matches!(shared.phase, Phase::ShutDown) {
            return Poll::Ready(Ok(()));
        }
        shared.phase = Phase::ShuttingDown;
        shared.wake_flusher();
        Poll::Pending
    }
}

impl<S> Drop for BatchedStream<S> {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        if matches!(shared.phase, Phase::Open | Phase::ShuttingDown) {
            shared.phase = Phase::Dropped;
        }
        shared.wake_flusher();
    }
}

fn lock<S>(shared: &Mutex<Shared<S>>) -> MutexGuard<'_, Shared<S>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers the task that is running.
fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(known) => known.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::yield_now,
        time::timeout,
    };

    use super::*;

    /// Counts writes.
    struct CountedStream(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for CountedStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for CountedStream {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn frames_of_one_turn_are_one_write() {
        let (near, mut far) = duplex(MAX_BATCH_BYTES);
        let writes = Arc::new(AtomicUsize::new(0));
        let (mut stream, flusher) = batch_writes(CountedStream(near, writes.clone()));
        let flushing = tokio::spawn(flusher);
        for turn in 1..=3 {
            for _ in 0..100 {
                stream.write_all(&[7; 300]).await.expect("open");
                stream.flush().await.expect("open");
            }
            let mut received = vec![0; 30_000];
            far.read_exact(&mut received).await.expect("open");
            assert_eq!(writes.load(Ordering::Relaxed), turn);
        }
        drop(stream);
        flushing.await.expect("no panic");
    }

    #[tokio::test]
    async fn shutdown_writes_everything() {
        let (near, mut far) = duplex(100);
        let (mut stream, flusher) = batch_writes(near);
        let flushing = tokio::spawn(flusher);
        let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            stream.write_all(&sent).await.expect("open");
            stream.shutdown().await.expect("open");
            assert!(stream.write_all(b"x").await.is_err());
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("open");
        assert!(received == expected);
        sending.await.expect("no panic");
        flushing.await.expect("no panic");
    }

    #[tokio::test]
    async fn bytes_that_wait_are_bounded() {
        let (near, mut far) = duplex(1000);
        let (mut stream, flusher) = batch_writes(near);
        let flushing = tokio::spawn(flusher);
        let mut accepted = 0;
        loop {
            let mut write =
                |context: &mut Context<'_>| Poll::Ready(Pin::new(&mut stream).poll_write(context, &[1; 999]));
            match poll_fn(&mut write).await {
                Poll::Ready(count) => accepted += count.expect("open"),
                // What was written makes room once.
                Poll::Pending if accepted == MAX_BATCH_BYTES => yield_now().await,
                Poll::Pending => break,
            }
        }
        assert_eq!(accepted, MAX_BATCH_BYTES + 1000);
        // The waiting task continues when the peer reads.
        let (written, received) = tokio::join!(stream.write_all(&[2; 5000]), async {
            let mut received = vec![0; accepted];
            far.read_exact(&mut received).await.map(drop)
        });
        written.and(received).expect("open");
        drop(stream);
        flushing.await.expect("no panic");
        drop(far);
    }

    #[tokio::test]
    async fn failed_write_wakes_reader() {
        /// Nothing arrives, and no write succeeds.
        struct BrokenStream;

        impl AsyncRead for BrokenStream {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Poll::Pending
            }
        }

        impl AsyncWrite for BrokenStream {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }

        let (mut stream, flusher) = batch_writes(BrokenStream);
        stream.write_all(b"x").await.expect("collected");
        let flushing = tokio::spawn(flusher);
        let read = timeout(Duration::from_secs(10), stream.read_u8()).await.expect("it is woken");
        assert_eq!(read.expect_err("failed").kind(), io::ErrorKind::TimedOut);
        flushing.await.expect("no panic");
    }

    #[tokio::test]
    async fn dropped_stream_of_stalled_peer_is_closed() {
        let (near, mut far) = duplex(10);
        let (mut stream, flusher) = batch_writes(near);
        let flushing = tokio::spawn(flusher);
        stream.write_all(&[7; 100]).await.expect("collected");
        stream.flush().await.expect("open");
        yield_now().await;
        drop(stream);
        flushing.await.expect("no panic");
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("it ends");
        assert_eq!(rest.len(), 10);
    }
}
