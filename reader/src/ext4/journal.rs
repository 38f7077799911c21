//! The journal's recovery: which blocks of the file system it has newer, as a mount would write them back. Pure: its blocks come
//! from a function, and nothing is written.
//!
//! The log is a ring. A transaction counts once its commit block is there, with the number that comes next and a checksum that
//! holds; the first that does not ends the log. A block that was revoked in a transaction is taken from no transaction up to that
//! one: it may have become a file's content since, which never goes through the log.

use std::collections::HashMap;

use super::{
    checksum::{SEED, crc32c, crc32c_without},
    fields::{Fields, halves},
};
use crate::error::{Fault, FaultReason};

/// Begins each block of the log that is not a copy.
pub const MAGIC: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();

/// 4 GiB in blocks of 4 KiB; mkfs makes at most a quarter.
pub const MAX_BLOCKS: u32 = 1 << 20;

const HEADER_BYTES: usize = 12;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const HEAD_V1: u32 = 3;
const HEAD_V2: u32 = 4;
const REVOKE: u32 = 5;

/// Known to every reader of revocations; the record is there whether or not the feature is said.
const FEATURE_REVOKE: u32 = 0x1;
const FEATURE_64BIT: u32 = 0x2;
const FEATURE_CHECKSUM_V2: u32 = 0x8;
const FEATURE_CHECKSUM_V3: u32 = 0x10;
const FEATURES_KNOWN: u32 = FEATURE_REVOKE | FEATURE_64BIT | FEATURE_CHECKSUM_V2 | FEATURE_CHECKSUM_V3;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
const UUID_BYTES: usize = 16;

const COMMIT_CHECKSUM_AT: usize = 0x10;

/// A block's newer content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalCopy {
    /// The block of the journal that holds it.
    pub at: u32,
    /// Its first bytes were taken out, because they are the ones that begin a block of the log.
    pub is_escaped: bool,
}

/// What the journal has newer, by the file system's block.
pub type JournaledBlocks = HashMap<u64, JournalCopy>;

/// `read` gives a block of the journal, the first being 0.
pub fn recover(
    block_bytes: u32,
    mut read: impl FnMut(u32) -> Result<Vec<u8>, Fault>,
) -> Result<JournaledBlocks, Fault> {
    let head = JournalSuperblock::decode(&read(0)?, block_bytes)?;
    let mut ring = head.ring();
    let mut sequence = head.sequence;
    let (mut whole, mut current) = (Vec::new(), Transaction::default());
    while let Some(at) = ring.next() {
        let block = read(at)?;
        let Some(kind) = kind_of(&block, sequence) else { break };
        let goes_on = match kind {
            DESCRIPTOR => head.tail_holds(&block) && current.describe(&head, &block, &mut ring),
            REVOKE => head.tail_holds(&block) && current.revoke(&head, &block),
            COMMIT => head.commit_holds(&block),
            _ => false,
        };
        if !goes_on {
            break;
        }
        if kind == COMMIT {
            whole.push(std::mem::take(&mut current));
            sequence = sequence.wrapping_add(1);
        }
    }
    Ok(replay(&whole))
}

/// The log's places in their order.
struct LogRing {
    position: u32,
    /// The log is at most the whole ring.
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
    /// Takes the copies that follow the block. False: the log ends here.
    fn describe(&mut self, head: &JournalSuperblock, block: &[u8], ring: &mut LogRing) -> bool {
        let mut rest = head.body(block);
        while let Some((tag, behind)) = head.tag(rest) {
            let Some(at) = ring.next() else { return false };
            self.copies.push((tag.block, JournalCopy { at, is_escaped: tag.flags & TAG_ESCAPED != 0 }));
            if tag.flags & TAG_LAST != 0 {
                break;
            }
            rest = behind;
        }
        true
    }

    fn revoke(&mut self, head: &JournalSuperblock, block: &[u8]) -> bool {
        let used = Fields(block).u32_be(HEADER_BYTES) as usize;
        let Some(records) =
            block.get(HEADER_BYTES + 4..used).filter(|_| used <= block.len() - head.tail_bytes())
        else {
            return false;
        };
        let width = if head.has(FEATURE_64BIT) { 8 } else { 4 };
        self.revoked.extend(records.chunks_exact(width).map(|record| {
            let fields = Fields(record);
            if width == 8 { halves(fields.u32_be(4), fields.u32_be(0)) } else { u64::from(fields.u32_be(0)) }
        }));
        true
    }
}

fn replay(transactions: &[Transaction]) -> JournaledBlocks {
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

/// The kind of a block of the log; none of one that is not, or is of another transaction.
fn kind_of(block: &[u8], sequence: u32) -> Option<u32> {
    let fields = Fields(block);
    (block.starts_with(&MAGIC) && fields.u32_be(8) == sequence).then(|| fields.u32_be(4))
}

/// The journal's own superblock.
struct JournalSuperblock {
    blocks: u32,
    first: u32,
    sequence: u32,
    /// Where the log begins; 0: it is empty.
    start: u32,
    features: u32,
    checksum_seed: u32,
}

struct Tag {
    block: u64,
    flags: u32,
}

impl JournalSuperblock {
    fn decode(bytes: &[u8], block_bytes: u32) -> Result<Self, Fault> {
        let fields = Fields(bytes);
        let kind = fields.u32_be(4);
        let head = Self {
            blocks: fields.u32_be(0x10),
            first: fields.u32_be(0x14),
            sequence: fields.u32_be(0x18),
            start: fields.u32_be(0x1c),
            // The first version had none.
            features: if kind == HEAD_V1 { 0 } else { fields.u32_be(0x28) },
            checksum_seed: crc32c(SEED, bytes.get(0x30..0x40).unwrap_or_default()),
        };
        let holds = bytes.starts_with(&MAGIC)
            && matches!(kind, HEAD_V1 | HEAD_V2)
            && fields.u32_be(0xc) == block_bytes
            && head.blocks <= MAX_BLOCKS
            && (1..head.blocks).contains(&head.first)
            && (head.start == 0 || (head.first..head.blocks).contains(&head.start));
        if !holds {
            return Err(Fault::Damaged(FaultReason::Journal));
        }
        if head.features & !FEATURES_KNOWN != 0 {
            return Err(Fault::Unsupported(FaultReason::JournalFeature));
        }
        Ok(head)
    }

    fn ring(&self) -> LogRing {
        let left = if self.start == 0 { 0 } else { self.blocks };
        LogRing { position: self.start, left, first: self.first, end: self.blocks }
    }

    fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    fn has_checksums(&self) -> bool {
        self.has(FEATURE_CHECKSUM_V2 | FEATURE_CHECKSUM_V3)
    }

    /// What a block's checksum takes at its end.
    fn tail_bytes(&self) -> usize {
        if self.has_checksums() { 4 } else { 0 }
    }

    fn body<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        block.get(HEADER_BYTES..block.len() - self.tail_bytes()).unwrap_or_default()
    }

    /// The tag at the beginning of `bytes`, and what is behind it.
    fn tag<'a>(&self, bytes: &'a [u8]) -> Option<(Tag, &'a [u8])> {
        let fields = Fields(bytes);
        let wide = if self.has(FEATURE_64BIT) { 4 } else { 0 };
        let (length, flags) = if self.has(FEATURE_CHECKSUM_V3) {
            (16, fields.u32_be(4))
        } else {
            let checksum = if self.has(FEATURE_CHECKSUM_V2) { 2 } else { 0 };
            (8 + checksum + wide, u32::from(fields.u16_be(6)))
        };
        let behind = bytes.get(length..)?;
        let high = if wide > 0 { fields.u32_be(8) } else { 0 };
        let uuid = if flags & TAG_SAME_UUID == 0 { UUID_BYTES } else { 0 };
        Some((Tag { block: halves(fields.u32_be(0), high), flags }, behind.get(uuid..).unwrap_or_default()))
    }

    fn tail_holds(&self, block: &[u8]) -> bool {
        let Some(at) = block.len().checked_sub(self.tail_bytes()).filter(|_| self.has_checksums()) else {
            return true;
        };
        crc32c_without(self.checksum_seed, block, at, 4) == Fields(block).u32_be(at)
    }

    fn commit_holds(&self, block: &[u8]) -> bool {
        !self.has_checksums()
            || crc32c_without(self.checksum_seed, block, COMMIT_CHECKSUM_AT, 4)
                == Fields(block).u32_be(COMMIT_CHECKSUM_AT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 1024;
    const V3: u32 = FEATURE_64BIT | FEATURE_CHECKSUM_V3 | FEATURE_REVOKE;

    /// A journal, written by the rules that [`recover`] reads by.
    struct Journal {
        blocks: Vec<Vec<u8>>,
        at: usize,
        sequence: u32,
    }

    fn be(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    impl Journal {
        fn new(blocks: usize, features: u32, start: u32, sequence: u32) -> Self {
            let mut journal = Self { blocks: vec![vec![0; BLOCK]; blocks], at: start as usize, sequence };
            let head = &mut journal.blocks[0];
            head[..4].copy_from_slice(&MAGIC);
            let fields =
                [(4, HEAD_V2), (0xc, BLOCK as u32), (0x10, blocks as u32), (0x14, 1), (0x18, sequence)];
            for (at, value) in fields.into_iter().chain([(0x1c, start), (0x28, features)]) {
                be(head, at, value);
            }
            journal
        }

        fn head(&self) -> JournalSuperblock {
            JournalSuperblock::decode(&self.blocks[0], BLOCK as u32).expect("a journal")
        }

        fn put(&mut self, block: Vec<u8>) {
            self.blocks[self.at] = block;
            self.at = if self.at + 1 == self.blocks.len() { 1 } else { self.at + 1 };
        }

        fn log_block(&self, kind: u32) -> Vec<u8> {
            let mut block = vec![0; BLOCK];
            block[..4].copy_from_slice(&MAGIC);
            be(&mut block, 4, kind);
            be(&mut block, 8, self.sequence);
            block
        }

        fn put_summed(&mut self, mut block: Vec<u8>, at: usize) {
            if self.head().has_checksums() {
                let sum = crc32c_without(self.head().checksum_seed, &block, at, 4);
                be(&mut block, at, sum);
            }
            self.put(block);
        }

        fn write(&mut self, blocks: &[u32]) {
            let head = self.head();
            let mut descriptor = self.log_block(DESCRIPTOR);
            let mut at = HEADER_BYTES;
            for (index, block) in blocks.iter().enumerate() {
                let last = if index + 1 == blocks.len() { TAG_LAST } else { 0 };
                // The first tag of a block names the journal's identity.
                let flags = last | if index == 0 { 0 } else { TAG_SAME_UUID };
                be(&mut descriptor, at, *block);
                let length = if head.has(FEATURE_CHECKSUM_V3) {
                    be(&mut descriptor, at + 4, flags);
                    16
                } else {
                    descriptor[at + 6..at + 8].copy_from_slice(&(flags as u16).to_be_bytes());
                    8 + if head.has(FEATURE_CHECKSUM_V2) { 2 } else { 0 }
                        + if head.has(FEATURE_64BIT) { 4 } else { 0 }
                };
                at += length + if index == 0 { UUID_BYTES } else { 0 };
            }
            self.put_summed(descriptor, BLOCK - 4);
            for block in blocks {
                self.put(vec![*block as u8; BLOCK]);
            }
        }

        fn revoke(&mut self, blocks: &[u32]) {
            let wide = self.head().has(FEATURE_64BIT);
            let mut block = self.log_block(REVOKE);
            let mut at = HEADER_BYTES + 4;
            for revoked in blocks {
                at += if wide { 4 } else { 0 };
                be(&mut block, at, *revoked);
                at += 4;
            }
            be(&mut block, HEADER_BYTES, at as u32);
            self.put_summed(block, BLOCK - 4);
        }

        fn commit(&mut self) {
            let block = self.log_block(COMMIT);
            self.put_summed(block, COMMIT_CHECKSUM_AT);
            self.sequence = self.sequence.wrapping_add(1);
        }

        /// What is replayed: the file system's block and where its copy is.
        fn replayed(&self) -> Vec<(u64, u32)> {
            let read = |at: u32| self.blocks.get(at as usize).cloned().ok_or(Fault::Disk);
            let replay = recover(BLOCK as u32, read).expect("readable");
            let mut replayed: Vec<_> = replay.into_iter().map(|(block, copy)| (block, copy.at)).collect();
            replayed.sort_unstable();
            replayed
        }
    }

    #[test]
    fn what_was_committed_counts_in_every_format() {
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
    fn the_log_goes_round_and_so_does_its_number() {
        let mut journal = Journal::new(12, V3, 9, u32::MAX);
        journal.write(&[100, 101]);
        journal.commit();
        journal.write(&[102]);
        journal.commit();
        assert_eq!(journal.replayed(), [(100, 10), (101, 11), (102, 3)]);
    }

    #[test]
    fn a_revoked_block_is_taken_from_no_earlier_transaction() {
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
    fn a_revocation_that_was_not_committed_is_none() {
        let mut journal = Journal::new(64, V3, 1, 1);
        journal.write(&[100]);
        journal.commit();
        journal.revoke(&[100]);
        assert_eq!(journal.replayed(), [(100, 2)]);
    }

    #[test]
    fn a_block_whose_checksum_does_not_hold_ends_the_log() {
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
    fn an_older_round_is_not_read_again() {
        let mut journal = Journal::new(8, V3, 1, 1);
        // Twice round; the log begins where the third transaction does.
        for block in 100..104 {
            journal.write(&[block]);
            journal.commit();
        }
        let (start, sequence) = (3, 4);
        be(&mut journal.blocks[0], 0x1c, start);
        be(&mut journal.blocks[0], 0x18, sequence);
        assert_eq!(journal.replayed(), [(103, 4)]);
    }

    #[test]
    fn a_journal_that_makes_no_sense_is_refused() {
        let check = |at: usize, value: u32, expected: Fault| {
            let mut journal = Journal::new(8, V3, 1, 1);
            be(&mut journal.blocks[0], at, value);
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
