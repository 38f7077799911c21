//! The messages between parent and reader over their socket. Pure.
//!
//! A frame is a `u32` length and that many bytes; the first byte is the kind. Numbers are
//! little-endian. Decoders accept any bytes and allocate no more than the frame's length, because
//! the reader may have been taken over by a guest.

use protocol::{
    files::{EntryKind, MAX_PATH_BYTES},
    restore::{MAX_ATTRIBUTE_NAME_BYTES, MAX_ATTRIBUTES_BYTES},
};

use crate::{
    error::{Fault, FaultReason},
    node::{FileDetails, FileTime, MAX_NAME_BYTES, MAX_SEGMENTS, MAX_TARGET_BYTES, Node, Segment, is_name},
    sandbox::SandboxReport,
};

/// Bytes of a file, or of the disk, in one message.
pub const MAX_PIECE_BYTES: u64 = 1 << 20;
/// Approximate size of a page of entries. The last entry may exceed it.
pub const MAX_PAGE_BYTES: usize = 256 << 10;
/// Entries in one page.
pub const MAX_PAGE_ENTRIES: u32 = 1000;
/// Longest frame in either direction: a piece and its header.
pub const MAX_FRAME_BYTES: usize = MAX_PIECE_BYTES as usize + 64;

/// A frame that is not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

/// Identifies a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryRef {
    Path(Vec<u8>),
    Inode(u32),
}

/// Parent to reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Opens the file system. The first request.
    Open { size_bytes: u64 },
    /// Lists the directory's entries whose names follow `after`.
    List { directory: DirectoryRef, after: Vec<u8>, max_entries: u32 },
    /// Describes one path.
    Stat { path: Vec<u8> },
    /// Returns the attributes and segments of one path.
    Describe { path: Vec<u8> },
    /// Reads a part of a file.
    Read { path: Vec<u8>, offset: u64, length: u32 },
    /// Answers [`Reply::Need`] with the blocks.
    Blocks(Vec<u8>),
    /// Answers [`Reply::Need`] with a failure.
    NoBlocks,
}

/// Reader to parent: for each request any number of `Need`, then one other reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Sent once, before any request: the reader is in its sandbox.
    Ready(SandboxReport),
    /// Asks for a part of the disk.
    Need {
        offset: u64,
        length: u32,
    },
    /// The file system is open.
    Opened,
    Page(Page),
    Node(Node),
    Details(FileDetails),
    /// A part of a file, and the size of the whole file.
    Content {
        size: u64,
        bytes: Vec<u8>,
    },
    Failed(Fault),
}

/// A part of a directory, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub nodes: Vec<Node>,
    /// Whether more entries follow.
    pub more: bool,
    /// Whether the directory has more entries than are ever read.
    pub overflows: bool,
}

const OPEN: u8 = 1;
const LIST: u8 = 2;
const STAT: u8 = 3;
const READ: u8 = 4;
const BLOCKS: u8 = 5;
const NO_BLOCKS: u8 = 6;
const DESCRIBE: u8 = 7;

const READY: u8 = 1;
const NEED: u8 = 2;
const OPENED: u8 = 3;
const PAGE: u8 = 4;
const NODE: u8 = 5;
const CONTENT: u8 = 6;
const FAILED: u8 = 7;
const DETAILS: u8 = 8;

const KINDS: [EntryKind; 4] = [EntryKind::File, EntryKind::Directory, EntryKind::Symlink, EntryKind::Other];

impl Request {
    /// Encodes the whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = FrameEncoder::new();
        match self {
            Self::Open { size_bytes } => frame.u8(OPEN).u64(*size_bytes),
            Self::List { directory, after, max_entries } => {
                match directory {
                    DirectoryRef::Path(path) => frame.u8(LIST).u8(0).prefixed(path),
                    DirectoryRef::Inode(inode) => frame.u8(LIST).u8(1).u32(*inode),
                };
                frame.prefixed(after).u32(*max_entries)
            }
            Self::Stat { path } => frame.u8(STAT).prefixed(path),
            Self::Describe { path } => frame.u8(DESCRIBE).prefixed(path),
            Self::Read { path, offset, length } => frame.u8(READ).prefixed(path).u64(*offset).u32(*length),
            Self::Blocks(bytes) => frame.u8(BLOCKS).rest(bytes),
            Self::NoBlocks => frame.u8(NO_BLOCKS),
        };
        frame.finish()
    }

    /// Decodes a frame without its length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut frame = FrameDecoder(bytes);
        let request = match frame.u8()? {
            OPEN => Self::Open { size_bytes: frame.u64()? },
            LIST => Self::List {
                directory: frame.directory()?,
                after: frame.prefixed(MAX_NAME_BYTES)?,
                max_entries: at_most(frame.u32()?, MAX_PAGE_ENTRIES)?,
            },
            STAT => Self::Stat { path: frame.prefixed(MAX_PATH_BYTES)? },
            DESCRIBE => Self::Describe { path: frame.prefixed(MAX_PATH_BYTES)? },
            READ => Self::Read {
                path: frame.prefixed(MAX_PATH_BYTES)?,
                offset: frame.u64()?,
                length: at_most(frame.u32()?, MAX_PIECE_BYTES as u32)?,
            },
            BLOCKS => Self::Blocks(frame.rest()),
            NO_BLOCKS => Self::NoBlocks,
            _ => return Err(Malformed),
        };
        frame.end(request)
    }
}

impl Reply {
    /// Encodes the whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = FrameEncoder::new();
        match self {
            Self::Ready(sandbox) => frame.u8(READY).u8(sandbox.bits()),
            Self::Need { offset, length } => frame.u8(NEED).u64(*offset).u32(*length),
            Self::Opened => frame.u8(OPENED),
            Self::Page(page) => {
                frame.u8(PAGE).u8(u8::from(page.more)).u8(u8::from(page.overflows));
                frame.u32(page.nodes.len() as u32);
                page.nodes.iter().fold(&mut frame, |frame, node| frame.node(node))
            }
            Self::Node(node) => frame.u8(NODE).node(node),
            Self::Details(details) => frame.u8(DETAILS).details(details),
            Self::Content { size, bytes } => frame.u8(CONTENT).u64(*size).rest(bytes),
            Self::Failed(fault) => {
                let (kind, reason) = fault_to_numbers(*fault);
                frame.u8(FAILED).u8(kind).u8(reason)
            }
        };
        frame.finish()
    }

    /// Decodes a frame without its length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut frame = FrameDecoder(bytes);
        let reply = match frame.u8()? {
            READY => Self::Ready(SandboxReport::from_bits(frame.u8()?).ok_or(Malformed)?),
            NEED => {
                Self::Need { offset: frame.u64()?, length: at_most(frame.u32()?, MAX_PIECE_BYTES as u32)? }
            }
            OPENED => Self::Opened,
            PAGE => Self::Page(frame.page()?),
            NODE => Self::Node(frame.node()?),
            DETAILS => Self::Details(frame.details()?),
            CONTENT => Self::Content { size: frame.u64()?, bytes: frame.rest() },
            FAILED => Self::Failed(fault_from_numbers(frame.u8()?, frame.u8()?).ok_or(Malformed)?),
            _ => return Err(Malformed),
        };
        frame.end(reply)
    }
}

fn fault_to_numbers(fault: Fault) -> (u8, u8) {
    match fault {
        Fault::NotFound => (0, 0),
        Fault::NotADirectory => (1, 0),
        Fault::IsADirectory => (2, 0),
        Fault::NotAFile => (3, 0),
        Fault::Disk => (4, 0),
        Fault::NotAHome(reason) => (5, reason as u8),
        Fault::Unsupported(reason) => (6, reason as u8),
        Fault::Damaged(reason) => (7, reason as u8),
    }
}

fn fault_from_numbers(kind: u8, reason: u8) -> Option<Fault> {
    let reason = *FaultReason::ALL.get(usize::from(reason))?;
    Some(match kind {
        0 => Fault::NotFound,
        1 => Fault::NotADirectory,
        2 => Fault::IsADirectory,
        3 => Fault::NotAFile,
        4 => Fault::Disk,
        5 => Fault::NotAHome(reason),
        6 => Fault::Unsupported(reason),
        7 => Fault::Damaged(reason),
        _ => return None,
    })
}

fn at_most<T: PartialOrd>(value: T, max: T) -> Result<T, Malformed> {
    if value <= max { Ok(value) } else { Err(Malformed) }
}

/// Builds a frame.
struct FrameEncoder(Vec<u8>);

impl FrameEncoder {
    /// Reserves space for the length.
    fn new() -> Self {
        Self(vec![0; 4])
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32 - 4;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }

    fn rest(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.rest(&[value])
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.rest(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.rest(&value.to_le_bytes())
    }

    /// Appends bytes with their length. All such fields are shorter than 64 KiB.
    fn prefixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.rest(&(bytes.len() as u16).to_le_bytes()).rest(bytes)
    }

    fn timestamp(&mut self, timestamp: FileTime) -> &mut Self {
        self.rest(&timestamp.seconds.to_le_bytes()).u32(timestamp.nanoseconds)
    }

    fn node(&mut self, node: &Node) -> &mut Self {
        let kind = KINDS.iter().position(|kind| *kind == node.kind).unwrap_or_default();
        self.prefixed(&node.name).u32(node.inode).u8(kind as u8).u64(node.size).timestamp(node.modified);
        self.timestamp(node.changed).rest(&node.mode.to_le_bytes()).rest(&node.links.to_le_bytes());
        match &node.target {
            None => self.u8(0),
            Some(target) => self.u8(1).prefixed(target),
        }
    }

    fn details(&mut self, details: &FileDetails) -> &mut Self {
        self.u32(details.attributes.len() as u32);
        for (name, value) in &details.attributes {
            self.prefixed(name).u32(value.len() as u32).rest(value);
        }
        self.u32(details.segments.len() as u32);
        details.segments.iter().fold(self, |frame, segment| frame.u64(segment.offset).u64(segment.length))
    }
}

/// Decodes a frame from its front.
struct FrameDecoder<'a>(&'a [u8]);

impl FrameDecoder<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    fn prefixed(&mut self, max: usize) -> Result<Vec<u8>, Malformed> {
        let length = at_most(usize::from(self.u16()?), max)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed) }
    }

    fn directory(&mut self) -> Result<DirectoryRef, Malformed> {
        if self.bool()? {
            self.u32().map(DirectoryRef::Inode)
        } else {
            self.prefixed(MAX_PATH_BYTES).map(DirectoryRef::Path)
        }
    }

    fn timestamp(&mut self) -> Result<FileTime, Malformed> {
        Ok(FileTime { seconds: self.array().map(i64::from_le_bytes)?, nanoseconds: self.u32()? })
    }

    fn node(&mut self) -> Result<Node, Malformed> {
        Ok(Node {
            name: self.prefixed(MAX_NAME_BYTES)?,
            inode: self.u32()?,
            kind: *KINDS.get(usize::from(self.u8()?)).ok_or(Malformed)?,
            size: self.u64()?,
            modified: self.timestamp()?,
            changed: self.timestamp()?,
            mode: at_most(self.u16()?, 0o7777)?,
            links: self.u16()?,
            target: if self.bool()? { Some(self.prefixed(MAX_TARGET_BYTES)?) } else { None },
        })
    }

    /// Attributes are bounded as in the file system. Segments must be in order and must not overlap,
    /// so that a file's content is sent at most once.
    fn details(&mut self) -> Result<FileDetails, Malformed> {
        let mut details = FileDetails::default();
        let mut bytes = 0;
        for _ in 0..self.u32()? {
            let name = self.prefixed(MAX_ATTRIBUTE_NAME_BYTES)?;
            let length = at_most(self.u32()? as usize, MAX_ATTRIBUTES_BYTES)?;
            let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
            self.0 = rest;
            bytes = at_most(bytes + name.len() + length, MAX_ATTRIBUTES_BYTES)?;
            if name.is_empty() || name.contains(&0) {
                return Err(Malformed);
            }
            details.attributes.push((name, value.to_vec()));
        }
        let mut end = 0;
        for _ in 0..at_most(self.u32()? as usize, MAX_SEGMENTS)? {
            let segment = Segment { offset: self.u64()?, length: self.u64()? };
            let next = segment.offset.checked_add(segment.length).ok_or(Malformed)?;
            if segment.offset < end || segment.length == 0 {
                return Err(Malformed);
            }
            end = next;
            details.segments.push(segment);
        }
        Ok(details)
    }

    /// Names must be valid and strictly ascending, so that no listing is endless.
    fn page(&mut self) -> Result<Page, Malformed> {
        let (more, overflows) = (self.bool()?, self.bool()?);
        let count = at_most(self.u32()?, MAX_PAGE_ENTRIES)?;
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..count {
            let node = self.node()?;
            if !is_name(&node.name) || nodes.last().is_some_and(|last| last.name >= node.name) {
                return Err(Malformed);
            }
            nodes.push(node);
        }
        Ok(Page { nodes, more, overflows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &[u8]) -> Node {
        Node {
            name: name.to_vec(),
            inode: 12,
            kind: EntryKind::Symlink,
            size: 5,
            modified: FileTime { seconds: -1, nanoseconds: 7 },
            changed: FileTime { seconds: 1 << 33, nanoseconds: 0 },
            mode: 0o777,
            links: 2,
            target: Some(b"a\xff".to_vec()),
        }
    }

    #[test]
    fn requests_round_trip() {
        let requests = [
            Request::Open { size_bytes: u64::MAX },
            Request::List {
                directory: DirectoryRef::Path(b"a/b".to_vec()),
                after: b"\xff".to_vec(),
                max_entries: 10,
            },
            Request::List {
                directory: DirectoryRef::Inode(2),
                after: Vec::new(),
                max_entries: MAX_PAGE_ENTRIES,
            },
            Request::Stat { path: Vec::new() },
            Request::Describe { path: b"a".to_vec() },
            Request::Read { path: b"a".to_vec(), offset: 1 << 40, length: 1 << 20 },
            Request::Blocks(vec![1; 1000]),
            Request::NoBlocks,
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()[4..]), Ok(request));
        }
    }

    #[test]
    fn replies_round_trip() {
        let page = Page { nodes: vec![node(b"a"), node(b"b")], more: true, overflows: false };
        let faults = FaultReason::ALL
            .into_iter()
            .flat_map(|reason| [Fault::NotAHome(reason), Fault::Unsupported(reason), Fault::Damaged(reason)]);
        let details = FileDetails {
            attributes: vec![(b"a".to_vec(), b"\0\n".to_vec()), (b"b".to_vec(), Vec::new())],
            segments: vec![Segment { offset: 0, length: 1 }, Segment { offset: 4096, length: 1 << 40 }],
        };
        let plain =
            [Fault::NotFound, Fault::NotADirectory, Fault::IsADirectory, Fault::NotAFile, Fault::Disk];
        let replies = [
            Reply::Ready(SandboxReport::default()),
            Reply::Need { offset: 1, length: 1 << 20 },
            Reply::Opened,
            Reply::Page(page),
            Reply::Node(node(b"")),
            Reply::Details(details),
            Reply::Content { size: 3, bytes: b"abc".to_vec() },
        ];
        for reply in replies.into_iter().chain(faults.chain(plain).map(Reply::Failed)) {
            assert_eq!(Reply::decode(&reply.encode()[4..]), Ok(reply));
        }
    }

    #[test]
    fn invalid_pages_are_refused() {
        let check = |names: &[&[u8]]| {
            let nodes = names.iter().map(|name| node(name)).collect();
            let frame = Reply::Page(Page { nodes, ..Page::default() }).encode();
            assert_eq!(Reply::decode(&frame[4..]), Err(Malformed), "{names:?}");
        };
        check(&[b"b", b"a"]);
        check(&[b"a", b"a"]);
        check(&[b"a/b"]);
        check(&[b".."]);
        check(&[b""]);
    }

    #[test]
    fn overlapping_segments_are_refused() {
        for segments in [[(0, 2), (1, 1)], [(5, 1), (0, 1)], [(0, 1), (1, 0)], [(0, 1), (u64::MAX, 2)]] {
            let segments = segments.map(|(offset, length)| Segment { offset, length }).to_vec();
            let frame = Reply::Details(FileDetails { segments, ..FileDetails::default() }).encode();
            assert_eq!(Reply::decode(&frame[4..]), Err(Malformed));
        }
    }

    #[test]
    fn oversized_lengths_are_refused() {
        let need = Reply::Need { offset: 0, length: (1 << 20) + 1 };
        assert_eq!(Reply::decode(&need.encode()[4..]), Err(Malformed));
        let read = Request::Read { path: Vec::new(), offset: 0, length: (1 << 20) + 1 };
        assert_eq!(Request::decode(&read.encode()[4..]), Err(Malformed));
        assert_eq!(Reply::decode(&[]), Err(Malformed));
        assert_eq!(Reply::decode(&[OPENED, 0]), Err(Malformed), "trailing byte");
    }
}
