//! The link's virtio-serial port as an async stream.
//!
//! Tokio's own pipes do not work here. They take a short read or write as a sign that the kernel
//! has no more, and wait for the next readiness event. This port returns one received buffer per
//! read, even if it has more, and accepts at most 32 KiB per write, so that event would never come.
//! This stream waits only after "would block".

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

/// The open port.
pub struct VirtioPort(AsyncFd<File>);

impl VirtioPort {
    /// Wraps `file`, which must be open for reading and writing in non-blocking mode.
    pub fn new(file: File) -> io::Result<Self> {
        // SAFETY: the file owns its descriptor and keeps it open until after the registration has
        // ended.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register(file) };
        Ok(Self(registered?))
    }
}

impl AsyncRead for VirtioPort {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|port| port.get_ref().read(unfilled)) {
                Ok(read) => return Poll::Ready(read.map(|count| buffer.advance(count))),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for VirtioPort {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|port| port.get_ref().write(bytes)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Does nothing: the other end learns about the end of the link from HTTP/2.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A datagram socket behaves like the port: each read returns one message, even if there are
    /// more.
    #[tokio::test]
    async fn reads_continue_after_a_short_read() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("a socket");
        for message in ["one", "two", "three"] {
            ours.send(message.as_bytes()).expect("room");
        }
        let mut port = VirtioPort::new(File::from(OwnedFd::from(theirs))).expect("a port");
        let mut all = [0; 11];
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), port.read_exact(&mut all));
        read.await.expect("no wait for another event").expect("all bytes");
        assert_eq!(&all, b"onetwothree");
        port.write_all(b"back").await.expect("room");
        let mut back = [0; 16];
        assert_eq!(ours.recv(&mut back).expect("a message"), 4);
    }
}
