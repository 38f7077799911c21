//! The files of one snapshot: directories, attributes and contents. Each request goes to the
//! reader, and each reply is checked against its request. A reader that sends an invalid reply, or
//! none in time, is killed.

use std::{borrow::BorrowMut, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream::try_unfold};
use protocol::{
    api::snapshot::{Directory, SnapshotEntry},
    files::{EntryKind, HomePath, MAX_ENTRIES},
};
use tokio::time::timeout;

use crate::{
    error::ReaderError,
    node::{FileDetails, Node},
    process::{ReaderCommand, ReaderProcess},
    read_at::ReadAt,
    sandbox::SandboxReport,
    wire::{DirectoryRef, MAX_PAGE_ENTRIES, MAX_PIECE_BYTES, Page, Reply, Request},
};

/// Time to start the reader, and to read a large journal from a distant store.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to answer one request: a page of entries, or a piece of a file.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

const ALREADY_ENDED: ReaderError = ReaderError::Broken("it was killed earlier");
const WRONG_REPLY: ReaderError = ReaderError::Broken("its reply is of the wrong kind");

/// The files of a home in one snapshot, read by a reader process of its own.
///
/// Paths are relative to the home, and symbolic links are never followed. Requests run one at a time.
///
/// The reader is killed when this value is closed or dropped, when a reply is invalid or late, and
/// when the future of a request is dropped before it completes (its reply would otherwise be taken
/// for the next one's). After that every request fails with [`ReaderError::Broken`]: open the
/// snapshot again.
pub struct SnapshotFiles {
    /// Taken out while a request runs, so that dropping the request's future drops the process.
    process: Option<ReaderProcess>,
    sandbox_report: SandboxReport,
}

impl SnapshotFiles {
    /// Starts a reader over `disk` and opens the file system. The reader dies with the calling
    /// thread, which must be a worker of the async runtime.
    pub async fn open(command: ReaderCommand, disk: Arc<dyn ReadAt>) -> Result<Self, ReaderError> {
        let size_bytes = disk.size_bytes();
        let mut process = ReaderProcess::spawn(&command, disk).map_err(ReaderError::Spawn)?;
        let opening = async {
            let Reply::Ready(sandbox_report) = process.receive().await? else { return Err(WRONG_REPLY) };
            match process.perform(&Request::Open { size_bytes }).await? {
                Reply::Opened => Ok(sandbox_report),
                _ => Err(WRONG_REPLY),
            }
        };
        match timeout(OPEN_TIMEOUT, opening).await.unwrap_or(Err(ReaderError::Timeout)) {
            Ok(sandbox_report) => Ok(Self { process: Some(process), sandbox_report }),
            Err(error) => {
                process.kill().await;
                Err(error)
            }
        }
    }

    /// Which parts of the sandbox the reader has entered.
    pub fn sandbox_report(&self) -> SandboxReport {
        self.sandbox_report
    }

    /// The reader's process id; `None` after it was killed.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().and_then(ReaderProcess::id)
    }

    /// Kills the reader and waits for its exit. Dropping kills it too, without waiting.
    pub async fn close(mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Lists a directory, sorted by name. The listing is truncated at [`MAX_ENTRIES`].
    pub async fn list(&mut self, path: &HomePath) -> Result<Directory, ReaderError> {
        let (nodes, truncated) = self.nodes(path, MAX_ENTRIES).await?;
        let entries = nodes.into_iter().map(Node::into_entry).collect();
        Ok(Directory { path: path.to_string(), entries, truncated })
    }

    /// The nodes of a directory, sorted by name, at most `max_entries`, and whether there are more.
    pub async fn nodes(
        &mut self,
        path: &HomePath,
        max_entries: usize,
    ) -> Result<(Vec<Node>, bool), ReaderError> {
        let (mut nodes, mut after) = (Vec::new(), Vec::new());
        loop {
            let page = self.page(DirectoryRef::Path(path.as_str().into()), after).await?;
            after = page.nodes.last().map(|node| node.name.clone()).unwrap_or_default();
            nodes.extend(page.nodes);
            if nodes.len() >= max_entries || !page.more {
                let truncated = page.overflows || page.more || nodes.len() > max_entries;
                nodes.truncate(max_entries);
                return Ok((nodes, truncated));
            }
        }
    }

    /// The extended attributes of a file, directory or link, and the segments of a file.
    pub async fn details(&mut self, path: &HomePath) -> Result<FileDetails, ReaderError> {
        match self.request(&Request::Describe { path: path.as_str().into() }).await? {
            Reply::Details(details) => Ok(details),
            _ => self.kill_reader(WRONG_REPLY).await,
        }
    }

    /// Describes the file, directory or link at `path`.
    pub async fn stat(&mut self, path: &HomePath) -> Result<SnapshotEntry, ReaderError> {
        self.node(path).await.map(Node::into_entry)
    }

    /// Reads at most `length` bytes of a file, and at most [`MAX_PIECE_BYTES`]. Fewer bytes mean
    /// the end of the file.
    pub async fn read(&mut self, path: &HomePath, offset: u64, length: u64) -> Result<Bytes, ReaderError> {
        let length = length.min(MAX_PIECE_BYTES);
        let request = Request::Read { path: path.as_str().into(), offset, length: length as u32 };
        let Reply::Content { size, bytes } = self.request(&request).await? else {
            return self.kill_reader(WRONG_REPLY).await;
        };
        if bytes.len() as u64 != size.saturating_sub(offset).min(length) {
            return self.kill_reader(ReaderError::Broken("its content has the wrong length")).await;
        }
        Ok(bytes.into())
    }

    /// Describes a file, and streams its content in pieces: exactly as many bytes as its size.
    pub async fn content(
        &mut self,
        path: &HomePath,
    ) -> Result<(SnapshotEntry, impl Stream<Item = Result<Bytes, ReaderError>> + Send + '_), ReaderError>
    {
        let entry = self.stat_file(path).await?;
        let pieces = stream_content(self, path.clone(), entry.size);
        Ok((entry, pieces))
    }

    /// Like [`Self::content`], but the stream owns this value.
    pub async fn into_content(
        mut self,
        path: &HomePath,
    ) -> Result<(SnapshotEntry, impl Stream<Item = Result<Bytes, ReaderError>> + Send + use<>), ReaderError>
    {
        let entry = self.stat_file(path).await?;
        let pieces = stream_content(self, path.clone(), entry.size);
        Ok((entry, pieces))
    }

    async fn stat_file(&mut self, path: &HomePath) -> Result<SnapshotEntry, ReaderError> {
        let entry = self.stat(path).await?;
        match entry.kind {
            EntryKind::File => Ok(entry),
            EntryKind::Directory => Err(ReaderError::IsADirectory),
            EntryKind::Symlink | EntryKind::Other => Err(ReaderError::NotAFile),
        }
    }

    /// The node at `path`.
    pub async fn node(&mut self, path: &HomePath) -> Result<Node, ReaderError> {
        match self.request(&Request::Stat { path: path.as_str().into() }).await? {
            Reply::Node(node) => Ok(Node { name: path.name().unwrap_or_default().into(), ..node }),
            _ => self.kill_reader(WRONG_REPLY).await,
        }
    }

    /// The next page of a directory: its entries whose names follow `after`.
    pub(crate) async fn page(
        &mut self,
        directory: DirectoryRef,
        after: Vec<u8>,
    ) -> Result<Page, ReaderError> {
        let request = Request::List { directory, after: after.clone(), max_entries: MAX_PAGE_ENTRIES };
        let Reply::Page(page) = self.request(&request).await? else {
            return self.kill_reader(WRONG_REPLY).await;
        };
        let is_ordered = page.nodes.first().is_none_or(|first| first.name > after);
        if is_ordered && !(page.more && page.nodes.is_empty()) {
            return Ok(page);
        }
        self.kill_reader(ReaderError::Broken("its listing makes no progress")).await
    }

    /// Sends one request. On an error that makes the reader unusable, the reader is killed.
    async fn request(&mut self, request: &Request) -> Result<Reply, ReaderError> {
        let mut process = self.process.take().ok_or(ALREADY_ENDED)?;
        let reply =
            timeout(REPLY_TIMEOUT, process.perform(request)).await.unwrap_or(Err(ReaderError::Timeout));
        match reply {
            Err(error @ (ReaderError::Timeout | ReaderError::Broken(_))) => {
                tracing::warn!(%error, "killing the reader");
                process.kill().await;
                Err(error)
            }
            reply => {
                self.process = Some(process);
                reply
            }
        }
    }

    /// Kills a reader that sent an invalid reply.
    async fn kill_reader<T>(&mut self, error: ReaderError) -> Result<T, ReaderError> {
        tracing::warn!(%error, "killing the reader");
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
        Err(error)
    }
}

/// Reads the file from its beginning to `size`.
fn stream_content<H: BorrowMut<SnapshotFiles> + Send>(
    home: H,
    path: HomePath,
    size: u64,
) -> impl Stream<Item = Result<Bytes, ReaderError>> + Send {
    try_unfold((home, path, 0), move |(mut home, path, offset)| async move {
        if offset == size {
            return Ok(None);
        }
        let length = MAX_PIECE_BYTES.min(size - offset);
        let bytes = home.borrow_mut().read(&path, offset, length).await?;
        if bytes.len() as u64 != length {
            return home.borrow_mut().kill_reader(ReaderError::Broken("a file's content ends early")).await;
        }
        Ok(Some((bytes, (home, path, offset + length))))
    })
}
