//! A byte stream whose writes must make progress: a client that accepts no byte for a while is dropped.
//!
//! Some streams may pause for longer, such as a program's output in a pipe.
//! [`WriteTimeoutHandle::disable`] turns the timeout off for them; TCP keepalive then finds a
//! client that is gone.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Wraps a stream. A write, flush or shutdown that makes no progress for the timeout fails with `TimedOut`.
#[derive(Debug)]
pub struct WriteTimeoutStream<S> {
    stream: S,
    write_timeout: Duration,
    /// Runs while a write is pending.
    timer: Option<Pin<Box<Sleep>>>,
    handle: WriteTimeoutHandle,
}

/// Turns the timeout of one stream off, from anywhere.
#[derive(Clone, Debug, Default)]
pub struct WriteTimeoutHandle {
    is_disabled: Arc<AtomicBool>,
}

impl WriteTimeoutHandle {
    /// Disables the timeout for the rest of the stream's life.
    pub fn disable(&self) {
        self.is_disabled.store(true, Ordering::Relaxed);
    }
}

impl<S> WriteTimeoutStream<S> {
    /// Wraps `stream` with an enabled timeout.
    pub fn new(stream: S, write_timeout: Duration) -> Self {
        Self { stream, write_timeout, timer: None, handle: WriteTimeoutHandle::default() }
    }

    /// Returns the wrapped stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the handle that disables the timeout.
    pub fn handle(&self) -> WriteTimeoutHandle {
        self.handle.clone()
    }

    /// Returns `poll`, or the timeout's error if `poll` has been pending for too long.
    fn check_progress<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() || self.handle.is_disabled.load(Ordering::Relaxed) {
            self.timer = None;
            return poll;
        }
        let write_timeout = self.write_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_progress(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check_progress(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.check_progress(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check_progress(context, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn stalled_write_fails() {
        let (near, _far) = tokio::io::duplex(1024);
        let mut writer = WriteTimeoutStream::new(near, WRITE_TIMEOUT);
        let error = writer.write_all(&[0; 4096]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn disabled_timeout_waits() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut writer = WriteTimeoutStream::new(near, WRITE_TIMEOUT);
        writer.handle().disable();
        let reader = async {
            tokio::time::sleep(WRITE_TIMEOUT * 100).await;
            far.read_exact(&mut vec![0; 4096]).await.expect("open");
        };
        let (written, ()) = tokio::join!(writer.write_all(&[0; 4096]), reader);
        written.expect("it waited");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_is_not_dropped() {
        let (near, mut far) = tokio::io::duplex(1024);
        let reader = async {
            for _ in 0..4 {
                tokio::time::sleep(WRITE_TIMEOUT / 2).await;
                far.read_exact(&mut [0; 1024]).await.expect("open");
            }
        };
        let mut writer = WriteTimeoutStream::new(near, WRITE_TIMEOUT);
        let (written, ()) = tokio::join!(writer.write_all(&[0; 4096]), reader);
        written.expect("every piece was read in time");
    }
}
