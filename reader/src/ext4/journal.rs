//! Replays the journal: finds the blocks of the file system that a mount would write back. Pure: a
//! function reads the journal's blocks, and nothing is written.
//!
//! The log is a ring of blocks. A transaction counts if its commit block has the next sequence
//! number and a valid checksum; the first transaction without one ends the log. If a transaction
//! revokes a block, copies of that block in this and in earlier transactions do not count: the
//! block may have become a file's content since, and contents are not journaled.

use std::collections::HashMap;

use super::{
    checksum::{SEED, crc32c, crc32c_without},
    fields::{Fields, join_halves},
};
use crate::error::{Fault, FaultReason};

/// The first bytes of each block of the log that is not a copy.
pub const MAGIC: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();

/// Largest journal: 4 GiB in blocks of 4 KiB. mkfs makes at most a quarter of that.
pub const MAX_BLOCKS: u32 = 1 << 20;

const HEADER_BYTES: usize = 12;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPERBLOCK_V1: u32 = 3;
const SUPERBLOCK_V2: u32 = 4;
const REVOKE: u32 = 5;

/// Revocation records are read whether or not this feature is set.
const FEATURE_REVOKE: u32 = 0x1;
const FEATURE_64BIT: u32 = 0x2;
const FEATURE_CHECKSUM_V2: u32 = 0x8;
const FEATURE_CHECKSUM_V3: u32 = 0x10;
const FEATURES_KNOWN: u32 = FEATURE_REVOKE | FEATURE_64BIT | FEATURE_CHECKSUM_V2 | FEATURE_CHECKSUM_V3;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
const UUID_BYTES: usize = 16;

const COMMIT_CHECKSUM_OFFSET: usize = 0x10;

/// A newer copy of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalCopy {
    /// The block of the journal that contains it.
    pub at: u32,
    /// Whether the copy's first bytes were replaced by zeros, because they equal [`MAGIC`].
    pub is_escaped: bool,
}

/// The newest copies, by block of the file system.
pub type JournaledBlocks = HashMap<u64, JournalCopy>;

/// Replays the journal. `read` reads one of its blocks, numbered from 0.
pub fn recover(
    block_bytes: u32,
    mut read: impl FnMut(u32) -> Result<Vec<u8>, Fault>,
) -> Result<JournaledBlocks, Fault> {
    let superblock = JournalSuperblock::decode(&read(0)?, block_bytes)?;
    let mut ring = superblock.log_blocks();
    let mut sequence = superblock.sequence;
    let (mut committed, mut current) = (Vec::new(), Transaction::default());
    while let Some(at) = ring.next() {
        let block = read(at)?;
        let Some(kind) = read_kind(&block, sequence) else { break };
        let is_valid = match kind {
            DESCRIPTOR => {
                superblock.is_tail_valid(&block) && current.add_copies(&superblock, &block, &mut ring)
            }
            REVOKE => superblock.is_tail_valid(&block) && current.add_revocations(&superblock, &block),
            COMMIT => superblock.is_commit_valid(&block),
            _ => false,
        };
        if !is_valid {
            break;
        }
        if kind == COMMIT {
            committed.push(std::mem::take(&mut current));
            sequence = sequence.wrapping_add(1);
        }
    }
    Ok(latest_copies(&committed))
}

/// Iterates over the blocks of the log, in order.
struct LogRing {
    position: u32,
    /// How many blocks remain: at most the whole ring.
    left: u32,
    first: u32,
    end: u32,
}

impl LogRing {
    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let at = self.position;
        self.position = if at + 1 >= self.end { self.first } else { at + 1 };
        Some(at)
    }
}

#[derive(Default)]
struct Transaction {
    copies: Vec<(u64, JournalCopy)>,
    revoked: Vec<u64>,
}

impl Transaction {
    /// Adds the copies that follow a descriptor block. False if the log ends before them.
    fn add_copies(&mut self, superblock: &JournalSuperblock, block: &[u8], ring: &mut LogRing) -> bool {
        let mut rest = superblock.body(block);
        while let Some((tag, remaining)) = superblock.read_tag(rest) {
            let Some(at) = ring.next() else { return false };
            self.copies.push((tag.block, JournalCopy { at, is_escaped: tag.flags & TAG_ESCAPED != 0 }));
            if tag.flags & TAG_LAST != 0 {
                break;
            }
            rest = remaining;
        }
        true
    }

    /// Adds the records of a revocation block. False if it is invalid.
    fn add_revocations(&mut self, superblock: &JournalSuperblock, block: &[u8]) -> bool {
        let used = Fields(block).u32_be(HEADER_BYTES) as usize;
        let Some(records) =
            block.get(HEADER_BYTES + 4..used).filter(|_| used <= block.len() - superblock.tail_bytes())
        else {
            return false;
        };
        let width = if superblock.has(FEATURE_64BIT) { 8 } else { 4 };
        self.revoked.extend(records.chunks_exact(width).map(|record| {
            let fields = Fields(record);
            if width == 8 {
                join_halves(fields.u32_be(4), fields.u32_be(0))
            } else {
                u64::from(fields.u32_be(0))
            }
        }));
        true
    }
}

/// Applies the transactions in order, without revoked copies.
fn latest_copies(transactions: &[Transaction]) -> JournaledBlocks {
    let mut revoked_in = HashMap::new();
    for (index, transaction) in transactions.iter().enumerate() {
        revoked_in.extend(transaction.revoked.iter().map(|block| (*block, index)));
    }
    let mut replay = JournaledBlocks::new();
    for (index, transaction) in transactions.iter().enumerate() {
        let counts = |block: &u64| revoked_in.get(block).is_none_or(|last| *last < index);
        replay.extend(transaction.copies.iter().copied().filter(|(block, _)| counts(block)));
    }
    replay
}

/// The kind of a block of the log; `None` if it is no such block or belongs to another transaction.
fn read_kind(block: &[u8], sequence: u32) -> Option<u32> {
    let fields = Fields(block);
    (block.starts_with(&MAGIC) && fields.u32_be(8) == sequence).then(|| fields.u32_be(4))
}

/// The journal's own superblock.
struct JournalSuperblock {
    blocks: u32,
    first: u32,
    sequence: u32,
    /// The first block of the log; 0: the log is empty.
    start: u32,
    features: u32,
    checksum_seed: u32,
}

/// A descriptor's record about one copy.
struct Tag {
    block: u64,
    flags: u32,
}

impl JournalSuperblock {
    fn decode(bytes: &[u8], block_bytes: u32) -> Result<Self, Fault> {
        let fields = Fields(bytes);
        let kind = fields.u32_be(4);
        let superblock = Self {
            blocks: fields.u32_be(0x10),
            first: fields.u32_be(0x14),
            sequence: fields.u32_be(0x18),
            start: fields.u32_be(0x1c),
            // The first version has no features.
            features: if kind == SUPERBLOCK_V1 { 0 } else { fields.u32_be(0x28) },
            checksum_seed: crc32c(SEED, bytes.get(0x30..0x40).unwrap_or_default()),
        };
        let is_valid = bytes.starts_with(&MAGIC)
            && matches!(kind, SUPERBLOCK_V1 | SUPERBLOCK_V2)
            && fields.u32_be(0xc) == block_bytes
            && superblock.blocks <= MAX_BLOCKS
            && (1..superblock.blocks).contains(&superblock.first)
            && (superblock.start == 0 || (superblock.first..superblock.blocks).contains(&superblock.start));
        if !is_valid {
            return Err(Fault::Damaged(FaultReason::Journal));
        }
        if superblock.features & !FEATURES_KNOWN != 0 {
            return Err(Fault::Unsupported(FaultReason::JournalFeature));
        }
        Ok(superblock)
    }

    fn log_blocks(&self) -> LogRing {
        let left = if self.start == 0 { 0 } else { self.blocks };
        LogRing { position: self.start, left, first: self.first, end: self.blocks }
    }

    fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    fn has_checksums(&self) -> bool {
        self.has(FEATURE_CHECKSUM_V2 | FEATURE_CHECKSUM_V3)
    }

    /// Size of the checksum at the end of a block.
    fn tail_bytes(&self) -> usize {
        if self.has_checksums() { 4 } else { 0 }
    }

    fn body<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        block.get(HEADER_BYTES..block.len() - self.tail_bytes()).unwrap_or_default()
    }

    /// Decodes the tag at the start of `bytes`, and returns the rest.
    fn read_tag<'a>(&self, bytes: &'a [u8]) -> Option<(Tag, &'a [u8])> {
        let fields = Fields(bytes);
        let wide = if self.has(FEATURE_64BIT) { 4 } else { 0 };
        let (length, flags) = if self.has(FEATURE_CHECKSUM_V3) {
            (16, fields.u32_be(4))
        } else {
            let checksum = if self.has(FEATURE_CHECKSUM_V2) { 2 } else { 0 };
            (8 + checksum + wide, u32::from(fields.u16_be(6)))
        };
        let remaining = bytes.get(length..)?;
        let high = if wide > 0 { fields.u32_be(8) } else { 0 };
        let uuid = if flags & TAG_SAME_UUID == 0 { UUID_BYTES } else { 0 };
        Some((
            Tag { block: join_halves(fields.u32_be(0), high), flags },
            remaining.get(uuid..).unwrap_or_default(),
        ))
    }

    fn is_tail_valid(&self, block: &[u8]) -> bool {
        let Some(at) = block.len().checked_sub(self.tail_bytes()).filter(|_| self.has_checksums()) else {
            return true;
        };
        crc32c_without(self.checksum_seed, block, at, 4) == Fields(block).u32_be(at)
    }

    fn is_commit_valid(&self, block: &[u8]) -> bool {
        !self.has_checksums()
            || crc32c_without(self.checksum_seed, block, COMMIT_CHECKSUM_OFFSET, 4)
                == Fields(block).u32_be(COMMIT_CHECKSUM_OFFSET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 1024;
    const V3: u32 = FEATURE_64BIT | FEATURE_CHECKSUM_V3 | FEATURE_REVOKE;

    /// A journal that is written by the rules that [`recover`] reads.
    struct Journal {
        blocks: Vec<Vec<u8>>,
        at: usize,
        sequence: u32,
    }

    fn write_be(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    impl Journal {
        fn new(blocks: usize, features: u32, start: u32, sequence: u32) -> Self {
            let mut journal = Self { blocks: vec![vec![0; BLOCK]; blocks], at: start as usize, sequence };
            let superblock = &mut journal.blocks[0];
            superblock[..4].copy_from_slice(&MAGIC);
            let fields =
                [(4, SUPERBLOCK_V2), (0xc, BLOCK as u32), (0x10, blocks as u32), (0x14, 1), (0x18, sequence)];
            for (at, value) in fields.into_iter().chain([(0x1c, start), (0x28, features)]) {
                write_be(superblock, at, value);
            }
            journal
        }

        fn superblock(&self) -> JournalSuperblock {
            JournalSuperblock::decode(&self.blocks[0], BLOCK as u32).expect("a journal")
        }

        fn put(&mut self, block: Vec<u8>) {
            self.blocks[self.at] = block;
            self.at = if self.at + 1 == self.blocks.len() { 1 } else { self.at + 1 };
        }

        fn log_block(&self, kind: u32) -> Vec<u8> {
            let mut block = vec![0; BLOCK];
            block[..4].copy_from_slice(&MAGIC);
            write_be(&mut block, 4, kind);
            write_be(&mut block, 8, self.sequence);
            block
        }

        fn put_with_checksum(&mut self, mut block: Vec<u8>, at: usize) {
            if self.superblock().has_checksums() {
                let sum = crc32c_without(self.superblock().checksum_seed, &block, at, 4);
                write_be(&mut block, at, sum);
            }
            self.put(block);
        }

        fn write(&mut self, blocks: &[u32]) {
            let superblock = self.superblock();
            let mut descriptor = self.log_block(DESCRIPTOR);
            let mut at = HEADER_BYTES;
            for (index, block) in blocks.iter().enumerate() {
                let last = if index + 1 == blocks.len() { TAG_LAST } else { 0 };
                // The first tag of a block has the journal's UUID.
                let flags = last | if index == 0 { 0 } else { TAG_SAME_UUID };
                write_be(&mut descriptor, at, *block);
                let length = if superblock.has(FEATURE_CHECKSUM_V3) {
                    write_be(&mut descriptor, at + 4, flags);
                    16
                } else {
                    descriptor[at + 6..at + 8].copy_from_slice(&(flags as u16).to_be_bytes());
                    8 + if superblock.has(FEATURE_CHECKSUM_V2) { 2 } else { 0 }
                        + if superblock.has(FEATURE_64BIT) { 4 } else { 0 }
                };
                at += length + if index == 0 { UUID_BYTES } else { 0 };
            }
            self.put_with_checksum(descriptor, BLOCK - 4);
            for block in blocks {
                self.put(vec![*block as u8; BLOCK]);
            }
        }

        fn revoke(&mut self, blocks: &[u32]) {
            let wide = self.superblock().has(FEATURE_64BIT);
            let mut block = self.log_block(REVOKE);
            let mut at = HEADER_BYTES + 4;
            for revoked in blocks {
                at += if wide { 4 } else { 0 };
                write_be(&mut block, at, *revoked);
                at += 4;
            }
            write_be(&mut block, HEADER_BYTES, at as u32);
            self.put_with_checksum(block, BLOCK - 4);
        }

        fn commit(&mut self) {
            let block = self.log_block(COMMIT);
            self.put_with_checksum(block, COMMIT_CHECKSUM_OFFSET);
            self.sequence = self.sequence.wrapping_add(1);
        }

        /// The result of a replay: blocks of the file system, and the journal blocks with their copies.
        fn replayed(&self) -> Vec<(u64, u32)> {
            let read = |at: u32| self.blocks.get(at as usize).cloned().ok_or(Fault::Disk);
            let replay = recover(BLOCK as u32, read).expect("readable");
            let mut replayed: Vec<_> = replay.into_iter().map(|(block, copy)| (block, copy.at)).collect();
            replayed.sort_unstable();
            replayed
        }
    }

    #[test]
    fn committed_transactions_are_replayed() {
        let formats = [0, FEATURE_64BIT, FEATURE_CHECKSUM_V2, FEATURE_64BIT | FEATURE_CHECKSUM_V2, V3];
        for features in formats {
            let mut journal = Journal::new(32, features, 1, 7);
            journal.write(&[100, 101, 102]);
            journal.commit();
            journal.write(&[101]);
            journal.commit();
            journal.write(&[103]);
            assert_eq!(journal.replayed(), [(100, 2), (101, 7), (102, 4)], "{features:#x}");
        }
    }

    #[test]
    fn log_and_sequence_wrap_around() {
        let mut journal = Journal::new(12, V3, 9, u32::MAX);
        journal.write(&[100, 101]);
        journal.commit();
        journal.write(&[102]);
        journal.commit();
        assert_eq!(journal.replayed(), [(100, 10), (101, 11), (102, 3)]);
    }

    #[test]
    fn revocation_hides_earlier_copies() {
        let mut journal = Journal::new(64, V3, 1, 1);
        journal.write(&[100, 101]);
        journal.commit();
        journal.write(&[102]);
        journal.revoke(&[100, 101, 102]);
        journal.commit();
        journal.write(&[101]);
        journal.commit();
        assert_eq!(journal.replayed(), [(101, 10)]);
    }

    #[test]
    fn uncommitted_revocation_is_ignored() {
        let mut journal = Journal::new(64, V3, 1, 1);
        journal.write(&[100]);
        journal.commit();
        journal.revoke(&[100]);
        assert_eq!(journal.replayed(), [(100, 2)]);
    }

    #[test]
    fn invalid_checksum_ends_the_log() {
        for broken in [1, 3] {
            let mut journal = Journal::new(64, V3, 1, 1);
            journal.write(&[100]);
            journal.commit();
            journal.write(&[101]);
            journal.commit();
            journal.blocks[broken + 3][20] ^= 1;
            let expected: &[(u64, u32)] = &[(100, 2)];
            assert_eq!(journal.replayed(), expected, "block {}", broken + 3);
        }
    }

    #[test]
    fn older_blocks_of_the_ring_are_ignored() {
        let mut journal = Journal::new(8, V3, 1, 1);
        // Wraps around twice; the log starts with the third transaction.
        for block in 100..104 {
            journal.write(&[block]);
            journal.commit();
        }
        let (start, sequence) = (3, 4);
        write_be(&mut journal.blocks[0], 0x1c, start);
        write_be(&mut journal.blocks[0], 0x18, sequence);
        assert_eq!(journal.replayed(), [(103, 4)]);
    }

    #[test]
    fn invalid_journals_are_refused() {
        let check = |at: usize, value: u32, expected: Fault| {
            let mut journal = Journal::new(8, V3, 1, 1);
            write_be(&mut journal.blocks[0], at, value);
            let read = |at: u32| journal.blocks.get(at as usize).cloned().ok_or(Fault::Disk);
            assert_eq!(recover(BLOCK as u32, read).err(), Some(expected), "{at:#x}");
        };
        check(0x28, 0x20, Fault::Unsupported(FaultReason::JournalFeature));
        check(0x10, u32::MAX, Fault::Damaged(FaultReason::Journal));
        check(0x14, 0, Fault::Damaged(FaultReason::Journal));
        check(0x1c, 8, Fault::Damaged(FaultReason::Journal));
        check(0xc, 4096, Fault::Damaged(FaultReason::Journal));
        check(0, 0, Fault::Damaged(FaultReason::Journal));
    }
}
