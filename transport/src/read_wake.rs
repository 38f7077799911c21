//! A Unix socket that wakes its task only when there is something to read.
//!
//! The kernel wakes everyone who watches a Unix socket for room each time the peer has read from
//! it. Tokio's own `UnixStream` watches for both, so every message costs its sender a second
//! wake-up, just while the peer works on it. [`ReadWakeStream`] watches for readability only. It
//! writes without asking, and watches for room only while the kernel's buffer is full. A read that has not
//! filled its buffer has emptied the socket, so it is not followed by another one that finds nothing.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// A connected Unix socket that is watched for room only while its buffer is full. See the module for why.
#[derive(Debug)]
pub struct ReadWakeStream {
    stream: AsyncFd<UnixStream>,
    /// A second registration that waits for room. `None` unless a write found the buffer full.
    write_wait: Option<AsyncFd<UnixStream>>,
}

impl ReadWakeStream {
    /// Takes over `stream`. Fails when the runtime cannot register another descriptor.
    pub fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { stream: register(stream.into_std()?, Interest::READABLE)?, write_wait: None })
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Some(write_wait) = &self.write_wait else {
                match write(&mut self.stream.get_ref()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let duplicate = self.stream.get_ref().try_clone()?;
                        self.write_wait = Some(register(duplicate, Interest::WRITABLE)?);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    written => return Poll::Ready(written),
                }
                continue;
            };
            let mut room = ready!(write_wait.poll_write_ready(context))?;
            match room.try_io(|stream| write(&mut stream.get_ref())) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => {
                    self.write_wait = None;
                    return Poll::Ready(written);
                }
                Err(_would_block) => {}
            }
        }
    }
}

fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: the returned value owns the descriptor and neither closes nor replaces it before it
    // is deregistered.
    #[allow(unsafe_code)]
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}

impl AsyncRead for ReadWakeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut some = ready!(self.stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let room_bytes = room.len();
            match some.try_io(|stream| stream.get_ref().read(room)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Ok(count)) => {
                    if (1..room_bytes).contains(&count) {
                        // What comes now wakes again.
                        some.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for ReadWakeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(context, |stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(context, |stream| stream.write_vectored(parts))
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
    async fn large_write_arrives_whole_before_the_end() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let mut here = ReadWakeStream::new(here).expect("registered");
        let mut there = ReadWakeStream::new(there).expect("registered");
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            here.write_all(&sent).await.expect("open");
            here.shutdown().await.expect("open");
            let mut answer = Vec::new();
            here.read_to_end(&mut answer).await.expect("open");
            answer
        });
        let mut received = Vec::new();
        there.read_to_end(&mut received).await.expect("open");
        assert!(received == expected);
        there.write_all(b"thanks").await.expect("open");
        drop(there);
        assert_eq!(sending.await.expect("no panic"), b"thanks");
    }

    #[tokio::test]
    async fn write_to_closed_peer_fails() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let mut here = ReadWakeStream::new(here).expect("registered");
        drop(there);
        assert_eq!(here.write(b"x").await.expect_err("closed").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(here.read(&mut [0]).await.expect("the end"), 0);
    }
}
