//! Answers requests about one file system, one after the other. Knows no socket: blocks come from a [`Device`].

use crate::{
    error::Fault,
    ext4::{Device, Entry, FileSystem, Inode},
    node::Node,
    wire::{MAX_PAGE_BYTES, Page, Place, Reply, Request},
};

/// What a node takes in a page beside its name and target.
const NODE_BYTES: usize = 64;

pub struct Service<D> {
    file_system: FileSystem<D>,
    /// The directory that was listed last: its pages are asked for one after the other.
    listed: Option<Listed>,
    /// The file that was found last: it is read piece by piece.
    found: Option<(Vec<u8>, Inode)>,
}

struct Listed {
    inode: u32,
    entries: Vec<Entry>,
    overflows: bool,
}

impl<D: Device> Service<D> {
    pub fn open(device: D) -> Result<Self, Fault> {
        Ok(Self { file_system: FileSystem::open(device)?, listed: None, found: None })
    }

    /// None for what is no question.
    pub fn answer(&mut self, request: Request) -> Option<Reply> {
        let answer = match request {
            Request::List { place, after, entries_max } => {
                self.page(&place, &after, entries_max as usize).map(Reply::Page)
            }
            Request::Stat { path } => self.stat(&path).map(Reply::Node),
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

    fn read(&mut self, path: Vec<u8>, offset: u64, length: usize) -> Result<Reply, Fault> {
        let inode = match self.found.take() {
            Some((found, inode)) if found == path => inode,
            _ => self.file_system.find(&path)?,
        };
        let bytes = self.file_system.content(&inode, offset, length)?;
        let size = inode.size;
        self.found = Some((path, inode));
        Ok(Reply::Content { size, bytes })
    }

    fn page(&mut self, place: &Place, after: &[u8], entries_max: usize) -> Result<Page, Fault> {
        let listed = self.listed_at(place)?;
        let start = listed.entries.partition_point(|entry| entry.name.as_slice() <= after);
        let mut page = Page { overflows: listed.overflows, ..Page::default() };
        let (mut bytes, mut taken) = (0, 0);
        for entry in &listed.entries[start..] {
            if taken == entries_max || bytes >= MAX_PAGE_BYTES {
                break;
            }
            let node = node(&mut self.file_system, entry)?;
            bytes += NODE_BYTES + node.name.len() + node.target.as_ref().map_or(0, Vec::len);
            taken += 1;
            page.nodes.push(node);
        }
        page.more = start + taken < listed.entries.len();
        self.listed = Some(listed);
        Ok(page)
    }

    /// Taken out, so that it is dropped where reading on fails.
    fn listed_at(&mut self, place: &Place) -> Result<Listed, Fault> {
        let inode = match place {
            Place::Path(path) => self.file_system.find(path)?,
            Place::Inode(number) => self.file_system.inode(*number)?,
        };
        match self.listed.take() {
            Some(listed) if listed.inode == inode.number => Ok(listed),
            _ => {
                let (entries, overflows) = self.file_system.entries(&inode)?;
                Ok(Listed { inode: inode.number, entries, overflows })
            }
        }
    }
}

/// One that is damaged does not hide its siblings.
fn node<D: Device>(file_system: &mut FileSystem<D>, entry: &Entry) -> Result<Node, Fault> {
    let described =
        file_system.inode(entry.inode).and_then(|inode| file_system.node(&inode, entry.name.clone()));
    match described {
        Err(Fault::Disk) => Err(Fault::Disk),
        Err(_) => Ok(Node::unreadable(entry.name.clone(), entry.inode, entry.kind())),
        Ok(node) => Ok(node),
    }
}
