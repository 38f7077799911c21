//! Connections that are passed over a connected socket.
//!
//! A sandbox that can neither be connected to nor listen on a socket of the host gets one end of a Unix
//! socket, the *channel*. For each connection, the other end sends one byte with a new socket attached.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::{io::Interest, net::UnixStream};

/// Connects to the other end of the channel, which need not be listening yet. Never waits: fails if the
/// other end has left many connections waiting.
pub fn pass_connection(channel: &StdUnixStream) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let descriptors = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    assert!(attached.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is space for one");
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(channel, &[IoSlice::new(&[0])], &mut attached, flags)?;
    Ok(ours)
}

/// The end of a channel at which connections arrive.
#[derive(Debug)]
pub struct ChannelListener(UnixStream);

impl ChannelListener {
    /// Takes over the socket.
    pub fn new(channel: StdUnixStream) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(channel)?))
    }

    /// Waits for the next connection. Fails with [`io::ErrorKind::UnexpectedEof`] once the other end has
    /// closed the channel.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let descriptor = loop {
            self.0.readable().await?;
            match self.0.try_io(Interest::READABLE, || receive_descriptor(self.0.as_fd())) {
                Ok(Some(descriptor)) => break descriptor,
                // A byte without a connection.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        let stream = StdUnixStream::from(descriptor);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

fn receive_descriptor(channel: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut attached, flags)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = attached.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.next().and_then(|mut descriptors| descriptors.next()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn connections_arrive_in_order_until_the_end() {
        let (here, there) = StdUnixStream::pair().expect("a pair");
        let mut passed: Vec<_> = (0..3).map(|_| pass_connection(&here).expect("room")).collect();
        for (number, stream) in (0..).zip(&mut passed) {
            stream.write_u8(number).await.expect("open");
        }
        let listener = ChannelListener::new(there).expect("registered");
        for number in 0..3 {
            assert_eq!(listener.accept().await.expect("one").read_u8().await.expect("a byte"), number);
        }
        drop(here);
        let ended = listener.accept().await.expect_err("closed");
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn unaccepted_connections_are_bounded() {
        let (here, _there) = StdUnixStream::pair().expect("a pair");
        let refused = (0..100_000).find_map(|_| pass_connection(&here).err()).expect("a bound");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
