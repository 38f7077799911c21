//! QEMU's control protocol, as far as we use it. A guest may have taken over the VMM, so nothing in
//! its answers is trusted.

use std::{
    io::{self, IoSlice, PipeReader, PipeWriter, Read as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use qapi::{
    Command as QapiCommand, Execute,
    futures::{QapiStream, QmpStreamTokio},
    qmp,
};
use rustix::{
    cmsg_space,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use tokio::{
    io::{ReadHalf, WriteHalf},
    time::sleep,
};

/// The name of the pipe that receives a saved state.
const PIPE: &str = "state";
/// A saved state has 60 KiB.
const MAX_STATE_BYTES: u64 = 4 * 1024 * 1024;
/// A state is loaded in some milliseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A connection to the VMM's control socket.
pub struct Control(QapiStream<QmpStreamTokio<ReadHalf<Stream>>, QmpStreamTokio<WriteHalf<Stream>>>);

type Stream = tokio::net::UnixStream;

impl Control {
    /// Connects to the socket. The VMM takes one connection at a time.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        Self::negotiate(UnixStream::connect(socket)?).await
    }

    async fn negotiate(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = QmpStreamTokio::open(Stream::from_std(stream)?).await?;
        Ok(Self(stream.negotiate().await?))
    }

    /// Asks the VMM to write its caches and exit.
    pub async fn quit(&mut self) -> io::Result<()> {
        self.execute(qmp::quit {}).await.map(drop)
    }

    /// Pauses the guest and returns the state of its processors and devices. Its memory is left where
    /// it is.
    pub async fn save(socket: &Path) -> io::Result<Vec<u8>> {
        let (reader, writer) = io::pipe()?;
        let stream = UnixStream::connect(socket)?;
        send_descriptor(&stream, writer)?;
        let reading = tokio::task::spawn_blocking(move || read_state(reader));
        let mut control = Self::negotiate(stream).await?;
        control.execute(qmp::stop {}).await?;
        control.leave_memory().await?;
        control.execute(qmp::getfd { fdname: PIPE.to_owned() }).await?;
        let uri = Some(format!("fd:{PIPE}"));
        control.execute(qmp::migrate { channels: None, detach: None, resume: None, uri }).await?;
        control.wait_for_migration().await?;
        control.quit().await?;
        reading.await?
    }

    /// Loads a state from the pipe that is open in the VMM as `pipe`, and lets the guest continue.
    pub async fn restore(&mut self, pipe: RawFd) -> io::Result<()> {
        self.leave_memory().await?;
        let uri = Some(format!("fd:{pipe}"));
        self.execute(qmp::migrate_incoming { channels: None, exit_on_error: None, uri }).await?;
        self.wait_for_migration().await?;
        self.execute(qmp::cont {}).await.map(drop)
    }

    /// States shall not contain the guest's memory.
    async fn leave_memory(&mut self) -> io::Result<()> {
        let capability = qmp::MigrationCapability::x_ignore_shared;
        let capabilities = vec![qmp::MigrationCapabilityStatus { capability, state: true }];
        self.execute(qmp::migrate_set_capabilities { capabilities }).await.map(drop)
    }

    /// Waits until a state is saved or loaded.
    async fn wait_for_migration(&mut self) -> io::Result<()> {
        loop {
            let info = self.execute(qmp::query_migrate {}).await?;
            match info.status {
                Some(qmp::MigrationStatus::completed) => return Ok(()),
                Some(qmp::MigrationStatus::failed | qmp::MigrationStatus::cancelled) => {
                    let reason = info.error_desc.unwrap_or_else(|| "the state does not fit".to_owned());
                    return Err(io::Error::other(reason));
                }
                _ => sleep(POLL_INTERVAL).await,
            }
        }
    }

    async fn execute<C>(&mut self, command: C) -> io::Result<C::Ok>
    where
        C: QapiCommand + qapi::qmp::QmpCommand,
        QmpStreamTokio<WriteHalf<Stream>>: futures_util::Sink<Execute<C, u32>, Error = io::Error> + Unpin,
    {
        self.0.execute(command).await.map_err(io::Error::other)
    }
}

/// Attaches a descriptor to white space, which the protocol ignores. The next `getfd` names it.
fn send_descriptor(stream: &UnixStream, descriptor: PipeWriter) -> io::Result<()> {
    let descriptor = OwnedFd::from(descriptor);
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(stream, &[IoSlice::new(b" ")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads until the VMM has closed the pipe.
fn read_state(pipe: PipeReader) -> io::Result<Vec<u8>> {
    let mut state = Vec::new();
    pipe.take(MAX_STATE_BYTES).read_to_end(&mut state)?;
    Ok(state)
}

/// The error of a VMM that does not answer in time.
pub fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
