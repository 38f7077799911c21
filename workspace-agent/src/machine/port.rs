//! The link's virtio-serial port as an async stream.
//!
//! Not one of the runtime's own pipes: those take a short read or write for the sign that the kernel has no more, and wait for
//! the next edge. This port gives one received buffer at a time however many it has, and takes 32 KiB at most: the next edge
//! would never come. Here only "would block" means wait.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

pub struct Port(AsyncFd<File>);

impl Port {
    /// `file` is open for reading and writing and does not block.
    pub fn new(file: File) -> io::Result<Self> {
        // SAFETY: the file owns its descriptor and keeps it until it is dropped, which is after its registration.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register(file) };
        Ok(Self(registered?))
    }
}

impl AsyncRead for Port {
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

impl AsyncWrite for Port {
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

    /// The port stays open: the other end sees the link's end in HTTP/2.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A datagram socket behaves as the port does: one message a read, whatever else is there.
    #[tokio::test]
    async fn short_reads_are_no_end_of_what_is_there() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("a socket");
        for message in ["one", "two", "three"] {
            ours.send(message.as_bytes()).expect("room");
        }
        let mut port = Port::new(File::from(OwnedFd::from(theirs))).expect("a port");
        let mut all = [0; 11];
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), port.read_exact(&mut all));
        read.await.expect("no second edge is waited for").expect("all of it");
        assert_eq!(&all, b"onetwothree");
        port.write_all(b"back").await.expect("room");
        let mut back = [0; 16];
        assert_eq!(ours.recv(&mut back).expect("there"), 4);
    }
}
