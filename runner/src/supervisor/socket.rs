//! Messages with descriptors on a Unix socket: a length, and that many bytes of JSON. Descriptors are
//! attached to the length. Blocks.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};

/// An allow-list with all addresses of its names takes a quarter.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The sockets of a network, or what a VMM has.
const MAX_DESCRIPTORS: usize = 3;
const LENGTH_BYTES: usize = 4;

/// Sends a message.
pub fn send(mut socket: &UnixStream, message: &impl Serialize, descriptors: &[OwnedFd]) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MAX_MESSAGE_BYTES || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let length = u32::try_from(body.len()).expect("it is bounded").to_le_bytes();
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(OwnedFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        assert!(attached.push(SendAncillaryMessage::ScmRights(&borrowed)), "there is space for them");
    }
    let sent = sendmsg(socket, &[IoSlice::new(&length)], &mut attached, SendFlags::NOSIGNAL)?;
    socket.write_all(&length[sent..])?;
    socket.write_all(&body)
}

/// Receives a message; `None` if the other end has closed the socket. The peer may be hostile: what does not
/// fit is an error, and descriptors beyond those that fit are closed.
pub fn receive<T: DeserializeOwned>(mut socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; LENGTH_BYTES];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut length)], &mut attached, flags) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let descriptors = attached.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    socket.read_exact(&mut length[received..])?;
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
    }
    let mut body = vec![0; bytes];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::messages::Operation;

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        send(&here, &Operation::OpenSocket, &[reader.into()]).expect("sent");
        send(&here, &Operation::Kill, &[]).expect("sent");
        let (first, mut descriptors) = receive::<Operation>(&there).expect("received").expect("one");
        assert!(matches!(first, Operation::OpenSocket) && descriptors.len() == 1);
        writer.write_all(b"x").expect("open");
        let mut byte = [0];
        std::fs::File::from(descriptors.remove(0)).read_exact(&mut byte).expect("the pipe");
        let (second, none) = receive::<Operation>(&there).expect("received").expect("another");
        assert!(matches!(second, Operation::Kill) && none.is_empty());
        drop(here);
        assert!(receive::<Operation>(&there).expect("closed").is_none());
    }

    #[test]
    fn hostile_messages_are_refused() {
        let foreign = r#"{"Launch":{"program":"/bin/sh"}}"#;
        for (length, body) in [(u32::MAX, ""), (2, "{}"), (7, "garbage"), (foreign.len() as u32, foreign)] {
            let (mut here, there) = UnixStream::pair().expect("a pair");
            here.write_all(&length.to_le_bytes()).expect("sent");
            here.write_all(body.as_bytes()).expect("sent");
            drop(here);
            assert!(receive::<Operation>(&there).is_err(), "{body}");
        }
    }
}
