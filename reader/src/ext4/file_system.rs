//! The file system over a disk: inodes, directories, contents and links, each as after recovery.

use std::collections::HashMap;

use protocol::files::EntryKind;

use super::{
    Device,
    checksum::{crc32c, crc32c_without},
    directory::{self, DirectoryEntry, MAX_ENTRIES_READ},
    fields::{Fields, halves},
    inode::{Inode, ROOT},
    journal,
    map::{self, BlockRun},
    superblock::{self, Superblock},
};
use crate::{
    error::{Fault, FaultReason},
    node::{MAX_TARGET_BYTES, Node},
};

/// Where a group's descriptor keeps its checksum.
const GROUP_CHECKSUM_AT: usize = 0x1e;

pub struct FileSystem<D> {
    device: D,
    superblock: Superblock,
    /// By the file system's block.
    newer: HashMap<u64, JournaledBlock>,
}

/// A block's newer content, in the journal.
#[derive(Clone, Copy)]
struct JournaledBlock {
    /// On the disk.
    place: u64,
    is_escaped: bool,
}

impl<D: Device> FileSystem<D> {
    pub fn open(mut device: D) -> Result<Self, Fault> {
        let size = device.size_bytes();
        if size < superblock::OFFSET + superblock::BYTES as u64 {
            return Err(Fault::NotAHome(FaultReason::NotExt4));
        }
        let mut bytes = vec![0; superblock::BYTES];
        device.read(superblock::OFFSET, &mut bytes)?;
        let superblock = Superblock::decode(&bytes, size)?;
        let mut file_system = Self { device, superblock, newer: HashMap::new() };
        file_system.recover()?;
        Ok(file_system)
    }

    /// Finds out what the journal has newer. The superblock itself may be among it.
    fn recover(&mut self) -> Result<(), Fault> {
        let Some(number) = self.superblock.journal else { return Ok(()) };
        let journal = self.inode(number)?;
        // All of it while nothing is replayed yet: the journal is not read through itself.
        let places = self.places(&journal)?;
        let block_bytes = self.superblock.block_bytes;
        let place = |at: u32| places.get(at as usize).copied().ok_or(Fault::Damaged(FaultReason::Journal));
        let replay = journal::recover(block_bytes, |at| {
            let mut block = vec![0; block_bytes as usize];
            self.device.read(place(at)?, &mut block).map(|()| block)
        })?;
        self.newer = replay
            .into_iter()
            .map(|(block, copy)| {
                Ok((block, JournaledBlock { place: place(copy.at)?, is_escaped: copy.is_escaped }))
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

    /// Where the journal's blocks lie on the disk, in their order.
    fn places(&mut self, journal: &Inode) -> Result<Vec<u64>, Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let blocks = u32::try_from(journal.size / block_bytes)
            .ok()
            .filter(|blocks| *blocks <= journal::MAX_BLOCKS)
            .ok_or(Fault::Damaged(FaultReason::Journal))?;
        let mut places = Vec::new();
        while (places.len() as u32) < blocks {
            let at = places.len() as u32;
            let run = self.run_at(journal, at)?;
            let start = run.start.ok_or(Fault::Damaged(FaultReason::Journal))?;
            let end = start + run.blocks.min(u64::from(blocks - at));
            places.extend((start..end).map(|block| block * block_bytes));
        }
        Ok(places)
    }

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

    /// The first block of a group's inodes.
    fn inode_table(&mut self, group: u32) -> Result<u64, Fault> {
        let (block, offset) = self.superblock.group_place(group);
        let mut bytes = vec![0; usize::from(self.superblock.group_bytes)];
        self.read_block(block, offset, &mut bytes)?;
        let fields = Fields(&bytes);
        if let Some(seed) = self.superblock.checksum_seed {
            let sum = crc32c_without(crc32c(seed, &group.to_le_bytes()), &bytes, GROUP_CHECKSUM_AT, 2);
            if sum as u16 != fields.u16(GROUP_CHECKSUM_AT) {
                return Err(Fault::Damaged(FaultReason::Group));
            }
        }
        Ok(halves(fields.u32(0x8), if self.superblock.has_64bit { fields.u32(0x28) } else { 0 }))
    }

    /// What is at `path`, in whose last part no link is followed; one on the way is no directory.
    pub fn find(&mut self, path: &[u8]) -> Result<Inode, Fault> {
        let mut inode = self.inode(ROOT)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let entry = self.entry(&inode, name)?;
            inode = self.inode(entry)?;
        }
        Ok(inode)
    }

    fn entry(&mut self, directory: &Inode, name: &[u8]) -> Result<u32, Fault> {
        let mut found = None;
        self.each_block(directory, |entry| {
            if found.is_none() && entry.name == name {
                found = Some(entry.inode);
            }
            found.is_none()
        })?;
        found.ok_or(Fault::NotFound)
    }

    /// All entries in the order of their names, and whether there are more than are read.
    pub fn entries(&mut self, directory: &Inode) -> Result<(Vec<DirectoryEntry>, bool), Fault> {
        let (mut entries, mut more) = (Vec::new(), false);
        self.each_block(directory, |entry| {
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

    /// Gives entries to `take` as long as it wants more after a block.
    fn each_block(
        &mut self,
        directory: &Inode,
        mut take: impl FnMut(DirectoryEntry) -> bool,
    ) -> Result<(), Fault> {
        if directory.kind != EntryKind::Directory {
            return Err(Fault::NotADirectory);
        }
        directory.check_readable()?;
        let block_bytes = self.superblock.block_bytes;
        let blocks = u32::try_from(directory.size / u64::from(block_bytes))
            .map_err(|_| Fault::Damaged(FaultReason::Directory))?;
        let mut goes_on = true;
        let mut at = 0;
        while goes_on && at < blocks {
            let run = self.run_at(directory, at)?;
            let start = run.start.ok_or(Fault::Damaged(FaultReason::Directory))?;
            for block in start..start + run.blocks.min(u64::from(blocks - at)) {
                let bytes = self.whole_block(block)?;
                let (seed, typed) = (directory.checksum_seed, self.superblock.has_file_types);
                directory::entries(&bytes, seed, typed, |entry| goes_on &= take(entry))?;
                at += 1;
                if !goes_on {
                    break;
                }
            }
        }
        Ok(())
    }

    pub fn node(&mut self, inode: &Inode, name: Vec<u8>) -> Result<Node, Fault> {
        let target = if inode.kind == EntryKind::Symlink { Some(self.target(inode)?) } else { None };
        Ok(Node {
            name,
            inode: inode.number,
            kind: inode.kind,
            size: inode.size,
            modified: inode.modified,
            changed: inode.changed,
            mode: inode.mode,
            target,
        })
    }

    fn target(&mut self, link: &Inode) -> Result<Vec<u8>, Fault> {
        link.check_readable()?;
        if let Some(target) = link.short_target() {
            return Ok(target.to_vec());
        }
        if link.size > MAX_TARGET_BYTES as u64 {
            return Err(Fault::Damaged(FaultReason::Link));
        }
        let mut target = vec![0; link.size as usize];
        self.fill(link, 0, &mut target)?;
        Ok(target)
    }

    /// At most `length` bytes of a file; fewer at its end.
    pub fn content(&mut self, file: &Inode, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        match file.kind {
            EntryKind::File => file.check_readable()?,
            EntryKind::Directory => return Err(Fault::IsADirectory),
            _ => return Err(Fault::NotAFile),
        }
        let there = file.size.saturating_sub(offset).min(length as u64);
        let mut bytes = vec![0; there as usize];
        self.fill(file, offset, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, inode: &Inode, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let (mut offset, mut rest) = (offset, into);
        while !rest.is_empty() {
            let block = u32::try_from(offset / block_bytes).map_err(|_| Fault::Damaged(FaultReason::Map))?;
            let within = offset % block_bytes;
            let run = self.run_at(inode, block)?;
            let there = (run.blocks.saturating_mul(block_bytes) - within).min(rest.len() as u64);
            let (part, behind) = rest.split_at_mut(there as usize);
            match run.start {
                Some(start) => self.read_run(start, within, part)?,
                None => part.fill(0),
            }
            (offset, rest) = (offset + there, behind);
        }
        Ok(())
    }

    /// The run of a file's blocks that begins with `block`; all of it lies on the disk.
    fn run_at(&mut self, inode: &Inode, block: u32) -> Result<BlockRun, Fault> {
        let run = map::run_at(inode, block, self.superblock.block_bytes, |node| self.whole_block(node))?;
        let fits = run.start.is_none_or(|start| {
            start > 0 && start.checked_add(run.blocks).is_some_and(|end| end <= self.superblock.blocks)
        });
        if fits { Ok(run) } else { Err(Fault::Damaged(FaultReason::Map)) }
    }

    fn whole_block(&mut self, block: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; self.superblock.block_bytes as usize];
        self.read_block(block, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of blocks that follow each other, beginning `within` the first.
    fn read_run(&mut self, start: u64, within: u64, into: &mut [u8]) -> Result<(), Fault> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        if self.newer.is_empty() {
            return self.device.read(start * block_bytes + within, into);
        }
        let (mut block, mut within, mut rest) = (start, within, into);
        while !rest.is_empty() {
            let there = (block_bytes - within).min(rest.len() as u64) as usize;
            let (part, behind) = rest.split_at_mut(there);
            self.read_block(block, within as usize, part)?;
            (block, within, rest) = (block + 1, 0, behind);
        }
        Ok(())
    }

    /// Bytes of one block, as the journal has it or as it lies there.
    fn read_block(&mut self, block: u64, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let block_bytes = self.superblock.block_bytes as usize;
        if block >= self.superblock.blocks || offset + into.len() > block_bytes {
            return Err(Fault::Damaged(FaultReason::Map));
        }
        match self.newer.get(&block).copied() {
            Some(newer) => self.read_newer(newer, offset, into),
            None => self.device.read(block * block_bytes as u64 + offset as u64, into),
        }
    }

    fn read_newer(&mut self, newer: JournaledBlock, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.device.read(newer.place + offset as u64, into)?;
        if newer.is_escaped {
            let original = journal::MAGIC.get(offset..).unwrap_or_default();
            into.iter_mut().zip(original).for_each(|(byte, original)| *byte = *original);
        }
        Ok(())
    }
}
