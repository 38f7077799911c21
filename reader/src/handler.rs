//! Answers requests about one file system, one at a time. Knows no socket: blocks come from a
//! [`Device`].

use protocol::files::EntryKind;

use crate::{
    error::Fault,
    ext4::{Device, DirectoryEntry, FileSystem, Inode},
    node::{FileDetails, Node},
    wire::{DirectoryRef, MAX_PAGE_BYTES, Page, Reply, Request},
};

/// Size of a node in a page, without its name and target.
const NODE_BYTES: usize = 64;

/// An open file system, and what is cached between requests.
pub struct RequestHandler<D> {
    file_system: FileSystem<D>,
    /// The last listed directory, because its pages are requested one after the other.
    last_directory: Option<ListedDirectory>,
    /// Path and inode of the last file, because it is read piece by piece.
    last_file: Option<(Vec<u8>, Inode)>,
}

struct ListedDirectory {
    inode: u32,
    entries: Vec<DirectoryEntry>,
    overflows: bool,
}

impl<D: Device> RequestHandler<D> {
    /// Opens the file system on a device.
    pub fn open(device: D) -> Result<Self, Fault> {
        Ok(Self { file_system: FileSystem::open(device)?, last_directory: None, last_file: None })
    }

    /// Answers a request; `None` if it is not one that the reader answers.
    pub fn answer(&mut self, request: Request) -> Option<Reply> {
        let answer = match request {
            Request::List { directory, after, max_entries } => {
                self.page(&directory, &after, max_entries as usize).map(Reply::Page)
            }
            Request::Stat { path } => self.stat(&path).map(Reply::Node),
            Request::Describe { path } => self.describe(&path).map(Reply::Details),
            Request::Read { path, offset, length } => self.read(path, offset, length as usize),
            Request::Open { .. } | Request::Blocks(_) | Request::NoBlocks => return None,
        };
        Some(answer.unwrap_or_else(Reply::Failed))
    }

    fn stat(&mut self, path: &[u8]) -> Result<Node, Fault> {
        let inode = self.file_system.find(path)?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        self.file_system.node(&inode, name.to_vec())
    }

    fn describe(&mut self, path: &[u8]) -> Result<FileDetails, Fault> {
        let inode = self.file_system.find(path)?;
        let attributes = self.file_system.attributes(&inode)?;
        let is_file = inode.kind == EntryKind::File;
        let segments = if is_file { self.file_system.segments(&inode)? } else { Vec::new() };
        Ok(FileDetails { attributes, segments })
    }

    fn read(&mut self, path: Vec<u8>, offset: u64, length: usize) -> Result<Reply, Fault> {
        let inode = match self.last_file.take() {
            Some((last, inode)) if last == path => inode,
            _ => self.file_system.find(&path)?,
        };
        let bytes = self.file_system.content(&inode, offset, length)?;
        let size = inode.size;
        self.last_file = Some((path, inode));
        Ok(Reply::Content { size, bytes })
    }

    fn page(&mut self, directory: &DirectoryRef, after: &[u8], max_entries: usize) -> Result<Page, Fault> {
        let listed = self.list_directory(directory)?;
        let start = listed.entries.partition_point(|entry| entry.name.as_slice() <= after);
        let mut page = Page { overflows: listed.overflows, ..Page::default() };
        let (mut bytes, mut taken) = (0, 0);
        for entry in &listed.entries[start..] {
            if taken == max_entries || bytes >= MAX_PAGE_BYTES {
                break;
            }
            let node = describe_entry(&mut self.file_system, entry)?;
            bytes += NODE_BYTES + node.name.len() + node.target.as_ref().map_or(0, Vec::len);
            taken += 1;
            page.nodes.push(node);
        }
        page.more = start + taken < listed.entries.len();
        self.last_directory = Some(listed);
        Ok(page)
    }

    /// Takes the cached listing or reads it. The caller puts it back after success, so that a
    /// failure drops it.
    fn list_directory(&mut self, directory: &DirectoryRef) -> Result<ListedDirectory, Fault> {
        let inode = match directory {
            DirectoryRef::Path(path) => self.file_system.find(path)?,
            DirectoryRef::Inode(number) => self.file_system.inode(*number)?,
        };
        match self.last_directory.take() {
            Some(listed) if listed.inode == inode.number => Ok(listed),
            _ => {
                let (entries, overflows) = self.file_system.entries(&inode)?;
                Ok(ListedDirectory { inode: inode.number, entries, overflows })
            }
        }
    }
}

/// Describes an entry. A damaged inode does not hide its siblings.
fn describe_entry<D: Device>(file_system: &mut FileSystem<D>, entry: &DirectoryEntry) -> Result<Node, Fault> {
    let described =
        file_system.inode(entry.inode).and_then(|inode| file_system.node(&inode, entry.name.clone()));
    match described {
        Err(Fault::Disk) => Err(Fault::Disk),
        Err(_) => Ok(Node::unreadable(entry.name.clone(), entry.inode, entry.kind())),
        Ok(node) => Ok(node),
    }
}
