//! The file system on a disk: inodes, directories, contents and links, all as after recovery.

use std::collections::HashMap;

use protocol::files::EntryKind;

use super::{
    Device,
    attributes::{Attribute, AttributeList},
    checksum::{crc32c, crc32c_without},
    directory::{self, DirectoryEntry, MAX_ENTRIES_READ},
    fields::{Fields, join_halves},
    inode::{Inode, ROOT},
    journal,
    map::{self, BlockRun},
    superblock::{self, Superblock},
};
use crate::{
    error::{Fault, FaultReason},
    node::{MAX_SEGMENTS, MAX_TARGET_BYTES, Node, Segment},
};

/// Offset of the checksum in a group descriptor.
const GROUP_CHECKSUM_OFFSET: usize = 0x1e;

/// Runs of blocks that [`FileSystem::segments`] looks at. It bounds the time for a file whose blocks
/// are scattered over the disk.
const MAX_RUNS_VISITED: u32 = 65_536;

/// An open file system.
pub struct FileSystem<D> {
    device: D,
    superblock: Superblock,
    /// Blocks of which the journal has a newer copy.
    journaled: HashMap<u64, JournaledBlock>,
}

/// The newer copy of a block, in the journal.
#[derive(Clone, Copy)]
struct JournaledBlock {
    /// Offset of the copy on the disk.
    disk_offset: u64,
    /// Whether the journal replaced the first bytes of the copy, see [`journal::JournalCopy`].
    is_escaped: bool,
}

impl<D: Device> FileSystem<D> {
    /// Reads the superblock and, if needed, the journal.
    pub fn open(mut device: D) -> Result<Self, Fault> {
        let size = device.size_bytes();
        if size < superblock::OFFSET + superblock::BYTES as u64 {
            return Err(Fault::NotAHome(FaultReason::NotExt4));
        }
        let mut bytes = vec![0; superblock::BYTES];
        device.read(superblock::OFFSET, &mut bytes)?;
        let superblock = Superblock::decode(&bytes, size)?;
        let mut file_system = Self { device, superblock, journaled: HashMap::new() };
        file_system.recover()?;
        Ok(file_system)
    }

    /// Finds the blocks of which the journal has a newer copy. The superblock may be one of them.
    fn recover(&mut self) -> Result<(), Fault> {
        let Some(number) = self.superblock.journal else { return Ok(()) };
        let journal = self.inode(number)?;
        // Located before anything is replayed: the journal is not read through itself.
        let offsets = self.locate_journal(&journal)?;
        let block_bytes = self.superblock.block_bytes;
        let disk_offset =
            |at: u32| offsets.get(at as usize).copied().ok_or(Fault::Damaged(FaultReason::Journal));
        let replay = journal::recover(block_bytes, |at| {
            let mut block = vec![0; block_bytes as usize];
            self.device.read(disk_offset(at)?, &mut block).map(|()| block)
        })?;
        self.journaled = replay
            .into_iter()
            .map(|(block, copy)| {
                let disk_offset = disk_offset(copy.at)?;
                Ok((block, JournaledBlock { disk_offset, is_escaped: copy.is_escaped }))
            })
            .collect::<Result<_, Fault>>()?;
        self.reread_superblock()
    }

    fn reread_superblock(&mut self) -> Result<(), Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let (block, offset) = (superblock::OFFSET / block_bytes, superblock::OFFSET % block_bytes);
        let mut bytes = vec![0; superblock::BYTES];
        self.read_block(block, offset as usize, &mut bytes)?;
        let superblock = Superblock::decode(&bytes, self.device.size_bytes())?;
        if u64::from(superblock.block_bytes) != block_bytes {
            return Err(Fault::Damaged(FaultReason::Journal));
        }
        self.superblock = superblock;
        Ok(())
    }

    /// The disk offsets of the journal's blocks, in order.
    fn locate_journal(&mut self, journal: &Inode) -> Result<Vec<u64>, Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let blocks = u32::try_from(journal.size / block_bytes)
            .ok()
            .filter(|blocks| *blocks <= journal::MAX_BLOCKS)
            .ok_or(Fault::Damaged(FaultReason::Journal))?;
        let mut offsets = Vec::new();
        while (offsets.len() as u32) < blocks {
            let at = offsets.len() as u32;
            let run = self.find_run(journal, at)?;
            let start = run.start.ok_or(Fault::Damaged(FaultReason::Journal))?;
            let end = start + run.blocks.min(u64::from(blocks - at));
            offsets.extend((start..end).map(|block| block * block_bytes));
        }
        Ok(offsets)
    }

    /// Reads the inode with this number.
    pub fn inode(&mut self, number: u32) -> Result<Inode, Fault> {
        let (index, size) = (number.wrapping_sub(1), self.superblock.inode_bytes);
        if index >= self.superblock.inodes {
            return Err(Fault::Damaged(FaultReason::Inode));
        }
        let table = self.inode_table(index / self.superblock.inodes_per_group)?;
        let within = u64::from(index % self.superblock.inodes_per_group) * u64::from(size);
        let block_bytes = u64::from(self.superblock.block_bytes);
        let mut bytes = vec![0; usize::from(size)];
        let block = table.checked_add(within / block_bytes).ok_or(Fault::Damaged(FaultReason::Group))?;
        self.read_block(block, (within % block_bytes) as usize, &mut bytes)?;
        Inode::decode(&self.superblock, number, &bytes)
    }

    /// The first block of a group's inode table.
    fn inode_table(&mut self, group: u32) -> Result<u64, Fault> {
        let (block, offset) = self.superblock.locate_group(group);
        let mut bytes = vec![0; usize::from(self.superblock.group_bytes)];
        self.read_block(block, offset, &mut bytes)?;
        let fields = Fields(&bytes);
        if let Some(seed) = self.superblock.checksum_seed {
            let sum = crc32c_without(crc32c(seed, &group.to_le_bytes()), &bytes, GROUP_CHECKSUM_OFFSET, 2);
            if sum as u16 != fields.u16(GROUP_CHECKSUM_OFFSET) {
                return Err(Fault::Damaged(FaultReason::Group));
            }
        }
        Ok(join_halves(fields.u32(0x8), if self.superblock.has_64bit { fields.u32(0x28) } else { 0 }))
    }

    /// Finds the inode at `path`. No symbolic link is followed, so one on the way is
    /// [`Fault::NotADirectory`].
    pub fn find(&mut self, path: &[u8]) -> Result<Inode, Fault> {
        let mut inode = self.inode(ROOT)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let number = self.find_entry(&inode, name)?;
            inode = self.inode(number)?;
        }
        Ok(inode)
    }

    fn find_entry(&mut self, directory: &Inode, name: &[u8]) -> Result<u32, Fault> {
        let mut found = None;
        self.visit_entries(directory, |entry| {
            if found.is_none() && entry.name == name {
                found = Some(entry.inode);
            }
            found.is_none()
        })?;
        found.ok_or(Fault::NotFound)
    }

    /// Lists a directory sorted by name, and whether it has more entries than are read.
    pub fn entries(&mut self, directory: &Inode) -> Result<(Vec<DirectoryEntry>, bool), Fault> {
        let (mut entries, mut more) = (Vec::new(), false);
        self.visit_entries(directory, |entry| {
            more |= entries.len() == MAX_ENTRIES_READ;
            if !more {
                entries.push(entry);
            }
            !more
        })?;
        entries.sort_unstable();
        entries.dedup_by(|later, first| later.name == first.name);
        Ok((entries, more))
    }

    /// Calls `on_entry` for each entry. Once it has returned false, the visit ends after the
    /// current block.
    fn visit_entries(
        &mut self,
        directory: &Inode,
        mut on_entry: impl FnMut(DirectoryEntry) -> bool,
    ) -> Result<(), Fault> {
        if directory.kind != EntryKind::Directory {
            return Err(Fault::NotADirectory);
        }
        directory.check_readable()?;
        let block_bytes = self.superblock.block_bytes;
        let blocks = u32::try_from(directory.size / u64::from(block_bytes))
            .map_err(|_| Fault::Damaged(FaultReason::Directory))?;
        let mut is_unfinished = true;
        let mut at = 0;
        while is_unfinished && at < blocks {
            let run = self.find_run(directory, at)?;
            let start = run.start.ok_or(Fault::Damaged(FaultReason::Directory))?;
            for block in start..start + run.blocks.min(u64::from(blocks - at)) {
                let bytes = self.read_whole_block(block)?;
                let (seed, has_types) = (directory.checksum_seed, self.superblock.has_file_types);
                directory::decode_block(&bytes, seed, has_types, |entry| is_unfinished &= on_entry(entry))?;
                at += 1;
                if !is_unfinished {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Describes an inode as the entry `name`.
    pub fn node(&mut self, inode: &Inode, name: Vec<u8>) -> Result<Node, Fault> {
        let target = if inode.kind == EntryKind::Symlink { Some(self.read_target(inode)?) } else { None };
        Ok(Node {
            name,
            inode: inode.number,
            kind: inode.kind,
            size: inode.size,
            modified: inode.modified,
            changed: inode.changed,
            mode: inode.mode,
            links: inode.links,
            target,
        })
    }

    fn read_target(&mut self, link: &Inode) -> Result<Vec<u8>, Fault> {
        link.check_readable()?;
        if let Some(target) = link.short_target() {
            return Ok(target.to_vec());
        }
        if link.size > MAX_TARGET_BYTES as u64 {
            return Err(Fault::Damaged(FaultReason::Link));
        }
        let mut target = vec![0; link.size as usize];
        self.read_content(link, 0, &mut target)?;
        Ok(target)
    }

    /// Reads at most `length` bytes of a file. Fewer bytes mean its end.
    pub fn content(&mut self, file: &Inode, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        match file.kind {
            EntryKind::File => file.check_readable()?,
            EntryKind::Directory => return Err(Fault::IsADirectory),
            _ => return Err(Fault::NotAFile),
        }
        let available = file.size.saturating_sub(offset).min(length as u64);
        let mut bytes = vec![0; available as usize];
        self.read_content(file, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The user's extended attributes of an inode, sorted by name.
    pub fn attributes(&mut self, inode: &Inode) -> Result<Vec<Attribute>, Fault> {
        let mut list = AttributeList::default();
        list.add_inode_area(&inode.attribute_area)?;
        if inode.attribute_block != 0 {
            let block = self.read_whole_block(inode.attribute_block)?;
            list.add_block(inode.attribute_block, &block, self.superblock.checksum_seed)?;
        }
        Ok(list.finish())
    }

    /// The parts of a file that are not holes, in order. After [`MAX_SEGMENTS`] of them, or
    /// [`MAX_RUNS_VISITED`] runs, the rest of the file is one segment.
    pub fn segments(&mut self, file: &Inode) -> Result<Vec<Segment>, Fault> {
        file.check_readable()?;
        let block_bytes = u64::from(self.superblock.block_bytes);
        let blocks =
            u32::try_from(file.size.div_ceil(block_bytes)).map_err(|_| Fault::Damaged(FaultReason::Map))?;
        let mut segments: Vec<Segment> = Vec::new();
        let (mut at, mut runs) = (0, 0);
        while at < blocks {
            let run = self.find_run(file, at)?;
            runs += 1;
            let is_last = runs == MAX_RUNS_VISITED;
            let length = if is_last { blocks - at } else { run.blocks.min(u64::from(blocks - at)) as u32 };
            if run.start.is_some() || is_last {
                let offset = u64::from(at) * block_bytes;
                let end = (offset + u64::from(length) * block_bytes).min(file.size);
                let is_full = segments.len() == MAX_SEGMENTS;
                match segments.last_mut() {
                    Some(last) if last.end() == offset => last.length = end - last.offset,
                    Some(last) if is_full => {
                        last.length = file.size - last.offset;
                        break;
                    }
                    _ => segments.push(Segment { offset, length: end - offset }),
                }
            }
            at += length;
        }
        Ok(segments)
    }

    /// Fills `into` from the inode's blocks.
    fn read_content(&mut self, inode: &Inode, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let (mut offset, mut rest) = (offset, into);
        while !rest.is_empty() {
            let block = u32::try_from(offset / block_bytes).map_err(|_| Fault::Damaged(FaultReason::Map))?;
            let within = offset % block_bytes;
            let run = self.find_run(inode, block)?;
            let length = (run.blocks.saturating_mul(block_bytes) - within).min(rest.len() as u64);
            let (part, remaining) = rest.split_at_mut(length as usize);
            match run.start {
                Some(start) => self.read_run(start, within, part)?,
                None => part.fill(0),
            }
            (offset, rest) = (offset + length, remaining);
        }
        Ok(())
    }

    /// Finds the run that starts with a file's block, and checks that it lies within the file system.
    fn find_run(&mut self, inode: &Inode, block: u32) -> Result<BlockRun, Fault> {
        let run =
            map::find_run(inode, block, self.superblock.block_bytes, |node| self.read_whole_block(node))?;
        let fits = run.start.is_none_or(|start| {
            start > 0 && start.checked_add(run.blocks).is_some_and(|end| end <= self.superblock.blocks)
        });
        if fits { Ok(run) } else { Err(Fault::Damaged(FaultReason::Map)) }
    }

    fn read_whole_block(&mut self, block: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; self.superblock.block_bytes as usize];
        self.read_block(block, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads bytes of consecutive blocks, starting at offset `within` in the first.
    fn read_run(&mut self, start: u64, within: u64, into: &mut [u8]) -> Result<(), Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        if self.journaled.is_empty() {
            return self.device.read(start * block_bytes + within, into);
        }
        let (mut block, mut within, mut rest) = (start, within, into);
        while !rest.is_empty() {
            let length = (block_bytes - within).min(rest.len() as u64) as usize;
            let (part, remaining) = rest.split_at_mut(length);
            self.read_block(block, within as usize, part)?;
            (block, within, rest) = (block + 1, 0, remaining);
        }
        Ok(())
    }

    /// Reads bytes of one block: the journal's copy, if there is one.
    fn read_block(&mut self, block: u64, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let block_bytes = self.superblock.block_bytes as usize;
        if block >= self.superblock.blocks || offset + into.len() > block_bytes {
            return Err(Fault::Damaged(FaultReason::Map));
        }
        match self.journaled.get(&block).copied() {
            Some(copy) => self.read_journaled(copy, offset, into),
            None => self.device.read(block * block_bytes as u64 + offset as u64, into),
        }
    }

    fn read_journaled(&mut self, copy: JournaledBlock, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.device.read(copy.disk_offset + offset as u64, into)?;
        if copy.is_escaped {
            let original = journal::MAGIC.get(offset..).unwrap_or_default();
            into.iter_mut().zip(original).for_each(|(byte, original)| *byte = *original);
        }
        Ok(())
    }
}
