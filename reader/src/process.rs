//! The parent's side of one reader process: starts it, serves the blocks that it asks for, and
//! kills it. Replies are decoded and bounded here; whether they answer the request is checked in
//! [`crate::snapshot_files`].

use std::{ffi::OsString, io, os::fd::OwnedFd, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    error::{Fault, ReaderError},
    read_at::ReadAt,
    wire::{MAX_FRAME_BYTES, Reply, Request},
};

/// Bytes of the disk that opening may read: the largest journal.
const MAX_OPENING_BYTES: u64 = 1 << 30;
/// Bytes of the disk that another request may read: a large directory, and a piece of the disk for
/// each inode of a page.
const MAX_REQUEST_BYTES: u64 = 256 << 20;
/// How often one request may ask for blocks.
const MAX_BLOCK_READS: u32 = 1 << 15;

/// A killed process exits at once. This bounds the wait on a busy host.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of the reader's standard error is logged.
const MAX_STDERR_BYTES: u64 = 2048;

/// How a reader process is started.
#[derive(Clone, Debug)]
pub struct ReaderCommand {
    /// A program that calls [`crate::child::main`], such as `burrow` itself.
    pub program: PathBuf,
    /// Arguments that make it do so, such as `ext4-reader`.
    pub args: Vec<OsString>,
}

/// A running reader and the disk that it reads. Dropping it kills the reader.
pub struct ReaderProcess {
    child: Child,
    socket: UnixStream,
    disk: Arc<dyn ReadAt>,
}

impl ReaderProcess {
    /// Starts a reader. It has no environment, and its only socket is its standard input.
    pub fn spawn(command: &ReaderCommand, disk: Arc<dyn ReadAt>) -> io::Result<Self> {
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

    /// The process id; `None` after the exit.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Receives the next reply.
    pub async fn receive(&mut self) -> Result<Reply, ReaderError> {
        let exited = |_| ReaderError::Broken("it exited");
        let length = self.socket.read_u32_le().await.map_err(exited)? as usize;
        if length > MAX_FRAME_BYTES {
            return Err(ReaderError::Broken("its reply is too long"));
        }
        let mut frame = vec![0; length];
        self.socket.read_exact(&mut frame).await.map_err(exited)?;
        Reply::decode(&frame).map_err(|_| ReaderError::Broken("its reply is malformed"))
    }

    /// Performs one request: sends it, serves blocks, and returns the final reply.
    pub async fn perform(&mut self, request: &Request) -> Result<Reply, ReaderError> {
        self.send(request).await?;
        let max_bytes = max_disk_bytes(request);
        let (mut bytes, mut reads) = (0, 0);
        let mut disk_error = None;
        loop {
            match self.receive().await? {
                Reply::Need { offset, length } => {
                    (bytes, reads) = (bytes + u64::from(length), reads + 1);
                    if bytes > max_bytes || reads > MAX_BLOCK_READS {
                        return Err(ReaderError::Broken("it reads too much of the disk"));
                    }
                    disk_error = self.serve_blocks(offset, u64::from(length)).await?.or(disk_error);
                }
                Reply::Failed(Fault::Disk) => return Err(disk_error.map_or(OUT_OF_RANGE, ReaderError::Disk)),
                Reply::Failed(fault) => return Err(to_error(fault)),
                reply => return Ok(reply),
            }
        }
    }

    /// Sends a part of the disk. If the disk fails, the reader is notified and fails the request;
    /// the disk's error is returned.
    async fn serve_blocks(&mut self, offset: u64, length: u64) -> Result<Option<io::Error>, ReaderError> {
        if offset.checked_add(length).is_none_or(|end| end > self.disk.size_bytes()) {
            return Err(OUT_OF_RANGE);
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
        self.socket.write_all(&request.encode()).await.map_err(|_| ReaderError::Broken("it exited"))
    }

    /// Kills the reader and reaps it. Its standard error is logged: foreign text, bounded and escaped.
    pub async fn kill(mut self) {
        let _ = self.child.start_kill();
        match timeout(KILL_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => {
                let stderr = self.read_stderr().await;
                tracing::debug!(%status, stderr, "the reader exited");
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot wait for the reader"),
            Err(_) => tracing::warn!("the reader survived SIGKILL"),
        }
    }

    async fn read_stderr(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = timeout(KILL_TIMEOUT, stderr.take(MAX_STDERR_BYTES).read_to_end(&mut bytes)).await;
        }
        String::from_utf8_lossy(&bytes).escape_debug().collect()
    }
}

const OUT_OF_RANGE: ReaderError = ReaderError::Broken("it reads beyond the disk");

fn max_disk_bytes(request: &Request) -> u64 {
    match request {
        Request::Open { .. } => MAX_OPENING_BYTES,
        _ => MAX_REQUEST_BYTES,
    }
}

fn to_error(fault: Fault) -> ReaderError {
    match fault {
        Fault::NotFound => ReaderError::NotFound,
        Fault::NotADirectory => ReaderError::NotADirectory,
        Fault::IsADirectory => ReaderError::IsADirectory,
        Fault::NotAFile => ReaderError::NotAFile,
        Fault::NotAHome(reason) => ReaderError::NotAHome(reason),
        Fault::Unsupported(reason) => ReaderError::Unsupported(reason),
        Fault::Damaged(reason) => ReaderError::Damaged(reason),
        Fault::Disk => OUT_OF_RANGE,
    }
}
