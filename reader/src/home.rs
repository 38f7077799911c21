//! A home at an instant: directories, files and their contents. Each question goes to the reading process, and each answer is held
//! against what was asked. Where that process says what it may not, or nothing in time, it is ended, and the home with it.

use std::{borrow::BorrowMut, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream::try_unfold};
use protocol::{
    api::snapshot::{Directory, PastEntry},
    files::{EntryKind, HomePath, MAX_ENTRIES},
};
use tokio::time::timeout;

use crate::{
    disk::ReadAt,
    error::ReaderError,
    link::Link,
    node::Node,
    sandbox::Sandbox,
    wire::{MAX_PAGE_ENTRIES, MAX_PIECE_BYTES, Page, Place, Reply, Request},
};

/// To start the process and read a large journal from a store that is far away.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// To answer one question: a page of entries, a piece of a file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const GONE: ReaderError = ReaderError::Broken("it was ended before");
const OTHER: ReaderError = ReaderError::Broken("its answer is to another question");

/// How the reading process is started: this program, as `burrow ext4-reader`.
#[derive(Clone, Debug)]
pub struct ChildCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

pub struct Home {
    /// Taken while a question is open: whoever drops the future half-way drops the process too.
    link: Option<Link>,
    sandbox: Sandbox,
}

impl Home {
    /// Starts a reading process over `disk`. It dies with the thread that calls this, which is to be a runtime's worker.
    pub async fn open(child: ChildCommand, disk: Arc<dyn ReadAt>) -> Result<Self, ReaderError> {
        let size_bytes = disk.size_bytes();
        let mut link = Link::spawn(&child, disk).map_err(ReaderError::Spawn)?;
        let opening = async {
            let Reply::Ready(sandbox) = link.receive().await? else { return Err(OTHER) };
            match link.perform(&Request::Open { size_bytes }).await? {
                Reply::Opened => Ok(sandbox),
                _ => Err(OTHER),
            }
        };
        match timeout(OPEN_TIMEOUT, opening).await.unwrap_or(Err(ReaderError::Timeout)) {
            Ok(sandbox) => Ok(Self { link: Some(link), sandbox }),
            Err(error) => {
                link.end().await;
                Err(error)
            }
        }
    }

    /// What holds of the process that reads.
    pub fn sandbox(&self) -> Sandbox {
        self.sandbox
    }

    /// The reading process, as long as there is one.
    pub fn process(&self) -> Option<u32> {
        self.link.as_ref().and_then(Link::id)
    }

    /// Ends the reading process and waits for its end. Dropping ends it too, without waiting.
    pub async fn close(mut self) {
        if let Some(link) = self.link.take() {
            link.end().await;
        }
    }

    /// A directory's entries by name; no link is followed.
    pub async fn list(&mut self, path: &HomePath) -> Result<Directory, ReaderError> {
        let mut directory = Directory { path: path.to_string(), entries: Vec::new(), truncated: false };
        let mut after = Vec::new();
        loop {
            let page = self.page(Place::Path(path.as_str().into()), after).await?;
            after = page.nodes.last().map(|node| node.name.clone()).unwrap_or_default();
            directory.entries.extend(page.nodes.into_iter().map(Node::into_entry));
            let is_full = directory.entries.len() >= MAX_ENTRIES;
            if is_full || !page.more {
                directory.truncated = page.overflows || page.more || directory.entries.len() > MAX_ENTRIES;
                directory.entries.truncate(MAX_ENTRIES);
                return Ok(directory);
            }
        }
    }

    pub async fn stat(&mut self, path: &HomePath) -> Result<PastEntry, ReaderError> {
        self.node(path).await.map(Node::into_entry)
    }

    /// At most `length` bytes of a file, no more than [`MAX_PIECE_BYTES`]; fewer at its end only.
    pub async fn read(&mut self, path: &HomePath, offset: u64, length: u64) -> Result<Bytes, ReaderError> {
        let length = length.min(MAX_PIECE_BYTES);
        let request = Request::Read { path: path.as_str().into(), offset, length: length as u32 };
        let Reply::Content { size, bytes } = self.ask(&request).await? else {
            return self.break_off(OTHER).await;
        };
        if bytes.len() as u64 != size.saturating_sub(offset).min(length) {
            return self.break_off(ReaderError::Broken("its content has another length")).await;
        }
        Ok(bytes.into())
    }

    /// A file, and what it holds, piece by piece: exactly as many bytes as its size says.
    pub async fn content(
        &mut self,
        path: &HomePath,
    ) -> Result<(PastEntry, impl Stream<Item = Result<Bytes, ReaderError>> + Send + '_), ReaderError> {
        let entry = self.file(path).await?;
        let pieces = pieces(self, path.clone(), entry.size);
        Ok((entry, pieces))
    }

    /// As [`Self::content`], for a stream that outlives the caller.
    pub async fn into_content(
        mut self,
        path: &HomePath,
    ) -> Result<(PastEntry, impl Stream<Item = Result<Bytes, ReaderError>> + Send + use<>), ReaderError> {
        let entry = self.file(path).await?;
        let pieces = pieces(self, path.clone(), entry.size);
        Ok((entry, pieces))
    }

    async fn file(&mut self, path: &HomePath) -> Result<PastEntry, ReaderError> {
        let entry = self.stat(path).await?;
        match entry.kind {
            EntryKind::File => Ok(entry),
            EntryKind::Directory => Err(ReaderError::IsADirectory),
            EntryKind::Symlink | EntryKind::Other => Err(ReaderError::NotAFile),
        }
    }

    pub(crate) async fn node(&mut self, path: &HomePath) -> Result<Node, ReaderError> {
        match self.ask(&Request::Stat { path: path.as_str().into() }).await? {
            Reply::Node(node) => Ok(Node { name: path.name().unwrap_or_default().into(), ..node }),
            _ => self.break_off(OTHER).await,
        }
    }

    /// The entries of a directory behind the name `after`.
    pub(crate) async fn page(&mut self, place: Place, after: Vec<u8>) -> Result<Page, ReaderError> {
        let request = Request::List { place, after: after.clone(), entries_max: MAX_PAGE_ENTRIES };
        let Reply::Page(page) = self.ask(&request).await? else { return self.break_off(OTHER).await };
        let goes_on = page.nodes.first().is_none_or(|first| first.name > after);
        if goes_on && !(page.more && page.nodes.is_empty()) {
            return Ok(page);
        }
        self.break_off(ReaderError::Broken("its listing does not go on")).await
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply, ReaderError> {
        let mut link = self.link.take().ok_or(GONE)?;
        let reply = timeout(ANSWER_TIMEOUT, link.perform(request)).await.unwrap_or(Err(ReaderError::Timeout));
        match reply {
            Err(error @ (ReaderError::Timeout | ReaderError::Broken(_))) => {
                tracing::warn!(%error, "reading process is ended");
                link.end().await;
                Err(error)
            }
            reply => {
                self.link = Some(link);
                reply
            }
        }
    }

    /// Ends a process that cannot be believed.
    async fn break_off<T>(&mut self, error: ReaderError) -> Result<T, ReaderError> {
        tracing::warn!(%error, "reading process is ended");
        if let Some(link) = self.link.take() {
            link.end().await;
        }
        Err(error)
    }
}

/// The file from its beginning to the size that was said.
fn pieces<H: BorrowMut<Home> + Send>(
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
            return home.borrow_mut().break_off(ReaderError::Broken("its content ends early")).await;
        }
        Ok(Some((bytes, (home, path, offset + length))))
    })
}
