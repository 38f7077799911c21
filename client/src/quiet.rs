//! A Unix socket that wakes its owner when there is something to read, and to write only after it was full.
//!
//! The kernel wakes whoever watches a Unix socket for room each time its peer has read. With the usual interest in both, each
//! message costs its sender a second waking, just while the peer works on it.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// A connected Unix socket.
#[derive(Debug)]
pub struct Quiet {
    stream: AsyncFd<UnixStream>,
    /// Waits for room. There is none while nobody has to wait.
    full: Option<AsyncFd<UnixStream>>,
}

impl Quiet {
    /// Fails where the runtime can watch no more descriptors.
    pub fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { stream: watch(stream.into_std()?, Interest::READABLE)?, full: None })
    }

    fn poll_writing(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Some(full) = &self.full else {
                match write(&mut self.stream.get_ref()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let watched = self.stream.get_ref().try_clone()?;
                        self.full = Some(watch(watched, Interest::WRITABLE)?);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    written => return Poll::Ready(written),
                }
                continue;
            };
            let mut room = ready!(full.poll_write_ready(context))?;
            match room.try_io(|stream| write(&mut stream.get_ref())) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => {
                    self.full = None;
                    return Poll::Ready(written);
                }
                Err(_would_block) => {}
            }
        }
    }
}

fn watch(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: the descriptor is owned by what is registered, and is never closed or replaced before.
    #[allow(unsafe_code)]
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}

impl AsyncRead for Quiet {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut some = ready!(self.stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            match some.try_io(|stream| stream.get_ref().read(room)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => return Poll::Ready(read.map(|count| buffer.advance(count))),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Quiet {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_writing(context, |stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_writing(context, |stream| stream.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::*;

    #[tokio::test]
    async fn more_than_the_kernel_holds_arrives_whole_and_then_the_end() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let (mut here, mut there) = (Quiet::new(here).expect("watched"), Quiet::new(there).expect("watched"));
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            here.write_all(&sent).await.expect("taken");
            here.shutdown().await.expect("open");
            let mut answer = Vec::new();
            here.read_to_end(&mut answer).await.expect("open");
            answer
        });
        let mut received = Vec::new();
        there.read_to_end(&mut received).await.expect("open");
        assert!(received == expected);
        there.write_all(b"thanks").await.expect("taken");
        drop(there);
        assert_eq!(sending.await.expect("no panic"), b"thanks");
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let mut here = Quiet::new(here).expect("watched");
        drop(there);
        assert_eq!(here.write(b"x").await.expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(here.read(&mut [0]).await.expect("the end"), 0);
    }
}
