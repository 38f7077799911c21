//! The parent's end of one reading process: it starts it, gives it the blocks that it asks for, and ends it. What the child says
//! is decoded and bounded here; what an answer means is [`crate::home`]'s.

use std::{io, os::fd::OwnedFd, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    disk::ReadAt,
    error::{Fault, ReaderError},
    home::ChildCommand,
    wire::{MAX_FRAME_BYTES, Reply, Request},
};

/// What opening may have of the disk: the largest journal.
const MAX_OPENING_BYTES: u64 = 1 << 30;
/// What one question may: a large directory, and a piece of the disk for each inode of a page.
const MAX_QUESTION_BYTES: u64 = 256 << 20;
/// And how often either may ask.
const MAX_NEEDS: u32 = 1 << 15;

/// A killed process is gone at once; this bounds the wait for a kernel that is busy.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a child's last words, which are only logged.
const MAX_WORDS_BYTES: u64 = 2048;

pub struct Link {
    child: Child,
    socket: UnixStream,
    disk: Arc<dyn ReadAt>,
}

impl Link {
    /// The child is killed when the link is dropped.
    pub fn spawn(command: &ChildCommand, disk: Arc<dyn ReadAt>) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, socket: UnixStream::from_std(ours)?, disk })
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What the child says next.
    pub async fn receive(&mut self) -> Result<Reply, ReaderError> {
        let ended = |_| ReaderError::Broken("it ended");
        let length = self.socket.read_u32_le().await.map_err(ended)? as usize;
        if length > MAX_FRAME_BYTES {
            return Err(ReaderError::Broken("its message is too long"));
        }
        let mut frame = vec![0; length];
        self.socket.read_exact(&mut frame).await.map_err(ended)?;
        Reply::decode(&frame).map_err(|_| ReaderError::Broken("its message is malformed"))
    }

    /// One operation: asks, hands out blocks, and gives the answer.
    pub async fn perform(&mut self, request: &Request) -> Result<Reply, ReaderError> {
        self.send(request).await?;
        let bytes_max = bytes_max(request);
        let (mut bytes, mut needs) = (0, 0);
        let mut failed = None;
        loop {
            match self.receive().await? {
                Reply::Need { offset, length } => {
                    (bytes, needs) = (bytes + u64::from(length), needs + 1);
                    if bytes > bytes_max || needs > MAX_NEEDS {
                        return Err(ReaderError::Broken("it wants too much of the disk"));
                    }
                    failed = self.give(offset, u64::from(length)).await?.or(failed);
                }
                Reply::Failed(Fault::Disk) => return Err(failed.map_or(OUTSIDE, ReaderError::Disk)),
                Reply::Failed(fault) => return Err(meaning(fault)),
                reply => return Ok(reply),
            }
        }
    }

    /// Gives a part of the disk. A disk that fails is told to the child, whose answer ends the operation in order.
    async fn give(&mut self, offset: u64, length: u64) -> Result<Option<io::Error>, ReaderError> {
        if offset.checked_add(length).is_none_or(|end| end > self.disk.size_bytes()) {
            return Err(OUTSIDE);
        }
        match self.disk.read_at(offset, length).await {
            Ok(bytes) if bytes.len() as u64 == length => {
                self.send(&Request::Blocks(bytes.into())).await?;
                Ok(None)
            }
            Ok(_) => self.send(&Request::NoBlocks).await.map(|()| Some(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => self.send(&Request::NoBlocks).await.map(|()| Some(error)),
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(), ReaderError> {
        self.socket.write_all(&request.encode()).await.map_err(|_| ReaderError::Broken("it ended"))
    }

    /// Ends the child and reaps it. Its last words are logged: they are foreign text, and few.
    pub async fn end(mut self) {
        let _ = self.child.start_kill();
        match timeout(END_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => {
                let words = self.last_words().await;
                tracing::debug!(%status, words, "reading process ended");
            }
            Ok(Err(error)) => tracing::warn!(%error, "reading process cannot be awaited"),
            Err(_) => tracing::warn!("reading process does not end"),
        }
    }

    async fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = timeout(END_TIMEOUT, stderr.take(MAX_WORDS_BYTES).read_to_end(&mut words)).await;
        }
        String::from_utf8_lossy(&words).escape_debug().collect()
    }
}

const OUTSIDE: ReaderError = ReaderError::Broken("it wants what is not on the disk");

fn bytes_max(request: &Request) -> u64 {
    match request {
        Request::Open { .. } => MAX_OPENING_BYTES,
        _ => MAX_QUESTION_BYTES,
    }
}

fn meaning(fault: Fault) -> ReaderError {
    match fault {
        Fault::NotFound => ReaderError::NotFound,
        Fault::NotADirectory => ReaderError::NotADirectory,
        Fault::IsADirectory => ReaderError::IsADirectory,
        Fault::NotAFile => ReaderError::NotAFile,
        Fault::NotAHome(reason) => ReaderError::NotAHome(reason),
        Fault::Unsupported(reason) => ReaderError::Unsupported(reason),
        Fault::Damaged(reason) => ReaderError::Damaged(reason),
        Fault::Disk => OUTSIDE,
    }
}
