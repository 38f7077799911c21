//! Walks through a snapshot, directory by directory, and encodes its entries as members of a tar
//! archive: for a download, and for a restore into a running home.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use protocol::{
    files::{EntryKind, HomePath},
    restore::{FileTime, Segment, SourceEntry},
};
use reader::{FileDetails, Node};
use restore::archive::{self, Member};

use super::browser::{BrowseError, BrowseSession, PIECE_BYTES};

/// One directory of a snapshot.
pub struct WalkedDirectory {
    pub path: HomePath,
    /// What an archive can hold.
    pub entries: Vec<SourceEntry>,
    /// The rest: the path as far as it is text, and the reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// A walk through a directory and everything below it, each directory before its entries.
pub struct SnapshotWalk {
    session: BrowseSession,
    pending: VecDeque<HomePath>,
    /// The first path of each file with several names, by its inode.
    first_names: HashMap<u32, HomePath>,
    max_entries: usize,
    /// A directory of the home that is not visited.
    excluded: Option<&'static str>,
}

impl SnapshotWalk {
    /// A walk that has nothing to visit yet. At most `max_entries` of one directory are listed.
    pub fn new(session: BrowseSession, max_entries: usize) -> Self {
        Self { session, pending: VecDeque::new(), first_names: HashMap::new(), max_entries, excluded: None }
    }

    /// Leaves out a directory of the home, with everything below it.
    #[must_use]
    pub fn without(self, directory: &'static str) -> Self {
        Self { excluded: Some(directory), ..self }
    }

    /// Visits a directory later.
    pub fn add_directory(&mut self, path: HomePath) {
        self.pending.push_back(path);
    }

    /// Lists the next directory. Those in it are visited later. `None`: the walk is complete.
    pub async fn next_directory(&mut self) -> Result<Option<WalkedDirectory>, BrowseError> {
        let path = loop {
            match self.pending.pop_back() {
                Some(path) if self.is_excluded(&path) => {}
                Some(path) => break path,
                None => return Ok(None),
            }
        };
        let (nodes, truncated) = self.session.nodes(&path, self.max_entries).await?;
        let mut directory = WalkedDirectory { path, entries: Vec::new(), skipped: Vec::new() };
        for node in nodes {
            let shown = String::from_utf8_lossy(&node.name).into_owned();
            // A name must not be a path that leads somewhere else when the archive is unpacked.
            let name = String::from_utf8(node.name.clone()).ok();
            let child = name.and_then(|name| {
                let child = directory.path.child(&name).ok()?;
                (child.name() == Some(&name)).then_some(child)
            });
            let entry = match child {
                Some(child) => self.entry(child, &node),
                None => Err("unsupported name"),
            };
            match entry {
                Ok(entry) if self.is_excluded(&entry.path) => {}
                Ok(entry) => {
                    if entry.kind == EntryKind::Directory {
                        self.pending.push_back(entry.path.clone());
                    }
                    directory.entries.push(entry);
                }
                Err(reason) if directory.path.is_home() => directory.skipped.push((shown, reason)),
                Err(reason) => directory.skipped.push((format!("{}/{shown}", directory.path), reason)),
            }
        }
        if truncated {
            directory.skipped.push((directory.path.to_string(), "more entries than can be listed"));
        }
        Ok(Some(directory))
    }

    fn is_excluded(&self, path: &HomePath) -> bool {
        self.excluded.is_some_and(|excluded| path.as_str().split('/').next() == Some(excluded))
    }

    /// Describes one entry, or says why an archive cannot hold it.
    pub fn entry(&mut self, path: HomePath, node: &Node) -> Result<SourceEntry, &'static str> {
        if node.kind == EntryKind::Other {
            return Err("socket, pipe or device");
        }
        if node.links == 0 {
            return Err("damaged");
        }
        let target = match (&node.target, node.kind) {
            (Some(target), EntryKind::Symlink) => {
                Some(String::from_utf8(target.clone()).map_err(|_| "unsupported target of a link")?)
            }
            _ => None,
        };
        let hard_link = if node.kind == EntryKind::File && node.links > 1 {
            let first = self.first_names.entry(node.inode).or_insert_with(|| path.clone());
            (*first != path).then(|| first.clone())
        } else {
            None
        };
        Ok(SourceEntry {
            path,
            kind: node.kind,
            size: node.size,
            // A guest may have written any number.
            modified: FileTime { nanoseconds: node.modified.nanoseconds.min(999_999_999), ..node.modified },
            mode: u32::from(node.mode),
            target,
            hard_link,
        })
    }
}

/// An entry of a snapshot that is ready to be sent as a member of an archive.
pub struct EncodedMember {
    /// The header, followed by the content of a small file.
    pub head: Bytes,
    /// The rest of the content of a large file.
    segments: VecDeque<Segment>,
    padding: Vec<u8>,
    path: HomePath,
}

impl EncodedMember {
    /// Encodes an entry as the member `name`. `hard_link` is the name of the member that it is
    /// another name of. The content of a small file is read here, so that an error does not break
    /// the archive. `None`: an archive cannot hold the entry.
    pub async fn read(
        session: &BrowseSession,
        entry: &SourceEntry,
        name: &str,
        hard_link: Option<&str>,
    ) -> Result<Option<Self>, BrowseError> {
        let has_content = entry.kind == EntryKind::File && hard_link.is_none();
        let whole = Segment { offset: 0, length: entry.size };
        let mut details = FileDetails::default();
        if has_content || entry.kind == EntryKind::Directory {
            details = match session.details(&entry.path).await {
                Ok(details) => details,
                // Damaged attributes do not prevent reading the content.
                Err(BrowseError::Unreadable(_)) => {
                    FileDetails { segments: vec![whole], ..FileDetails::default() }
                }
                Err(error) => return Err(error),
            };
        }
        let mut segments: Vec<Segment> = if has_content { details.segments } else { Vec::new() };
        segments.retain(|segment| segment.length > 0);
        if segments.last().is_some_and(|last| last.end() > entry.size) {
            return Err(BrowseError::ReaderFailed("a segment is beyond the end of its file".to_owned()));
        }
        let attributes = &details.attributes;
        let member = Member { name, hard_link, entry, attributes, segments: &segments };
        let Some(mut head) = archive::header(&member) else { return Ok(None) };
        let size = segments.iter().map(|segment| segment.length).sum::<u64>();
        let mut encoded = Self {
            head: Bytes::new(),
            segments: segments.into(),
            padding: archive::padding(size),
            path: entry.path.clone(),
        };
        if size <= PIECE_BYTES {
            while let Some(piece) = encoded.next_piece(session).await? {
                head.extend_from_slice(&piece);
            }
        }
        encoded.head = head.into();
        Ok(Some(encoded))
    }

    /// The next piece after the head. `None`: the member is complete.
    pub async fn next_piece(&mut self, session: &BrowseSession) -> Result<Option<Bytes>, BrowseError> {
        let Some(segment) = self.segments.front_mut() else {
            let padding = std::mem::take(&mut self.padding);
            return Ok(if padding.is_empty() { None } else { Some(padding.into()) });
        };
        let (offset, length) = (segment.offset, segment.length.min(PIECE_BYTES));
        (segment.offset, segment.length) = (offset + length, segment.length - length);
        if segment.length == 0 {
            self.segments.pop_front();
        }
        let piece = session.read(&self.path, offset, length).await?;
        if piece.len() as u64 != length {
            return Err(BrowseError::ReaderFailed("the file ended early".to_owned()));
        }
        Ok(Some(piece))
    }
}
