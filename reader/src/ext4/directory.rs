//! Decodes the blocks of a directory: each is an array of entries. The index of large directories
//! looks like unused entries, and is not needed here. Pure.

use protocol::files::EntryKind;

use super::{checksum::crc32c, fields::Fields};
use crate::{
    error::{Fault, FaultReason},
    node::is_name,
};

/// Entries of one directory that are read. Bounds the memory for a listing; users do not look
/// through that many.
pub const MAX_ENTRIES_READ: usize = 500_000;

const HEADER_BYTES: usize = 8;
/// The last entry of a block has no name and contains the block's checksum.
const TAIL_BYTES: usize = 12;
const TAIL_KIND: u8 = 0xde;

/// An entry of a directory, without what its inode says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    pub name: Vec<u8>,
    pub inode: u32,
    /// The type according to the directory. The inode's type is authoritative.
    pub type_hint: u8,
}

impl DirectoryEntry {
    /// The type by the hint; `Other` if the file system has no hints.
    pub fn kind(&self) -> EntryKind {
        match self.type_hint {
            1 => EntryKind::File,
            2 => EntryKind::Directory,
            7 => EntryKind::Symlink,
            _ => EntryKind::Other,
        }
    }
}

/// Calls `on_entry` for each of the block's entries, except `.` and `..`.
pub fn decode_block(
    block: &[u8],
    checksum_seed: Option<u32>,
    has_file_types: bool,
    mut on_entry: impl FnMut(DirectoryEntry),
) -> Result<(), Fault> {
    if checksum_seed.is_some_and(|seed| !is_checksum_valid(seed, block)) {
        return Err(Fault::Damaged(FaultReason::Directory));
    }
    let mut rest = block;
    while !rest.is_empty() {
        let fields = Fields(rest);
        let length = record_bytes(fields.u16(4), block.len());
        if length < HEADER_BYTES || length > rest.len() {
            return Err(Fault::Damaged(FaultReason::Directory));
        }
        let (record, remaining) = rest.split_at(length);
        rest = remaining;
        let (inode, name_bytes) = (fields.u32(0), usize::from(fields.u8(6)));
        let name = record
            .get(HEADER_BYTES..HEADER_BYTES + name_bytes)
            .ok_or(Fault::Damaged(FaultReason::Directory))?;
        if inode == 0 || matches!(name, b"." | b"..") {
            continue;
        }
        if !is_name(name) {
            return Err(Fault::Damaged(FaultReason::Directory));
        }
        on_entry(DirectoryEntry {
            name: name.to_vec(),
            inode,
            type_hint: if has_file_types { fields.u8(7) } else { 0 },
        });
    }
    Ok(())
}

/// The length of a record. The field is too small for a record that fills a block of 64 KiB.
fn record_bytes(length: u16, block_bytes: usize) -> usize {
    match length {
        0 | u16::MAX if block_bytes > usize::from(u16::MAX) => block_bytes,
        length => usize::from(length),
    }
}

/// Also true for a block of the index, which has its checksum elsewhere and no used entry.
fn is_checksum_valid(seed: u32, block: &[u8]) -> bool {
    let Some((covered, tail)) = block.split_last_chunk::<TAIL_BYTES>() else { return false };
    let tail = Fields(tail);
    let is_tail = tail.u32(0) == 0 && usize::from(tail.u16(4)) == TAIL_BYTES && tail.u8(7) == TAIL_KIND;
    !is_tail || crc32c(seed, covered) == tail.u32(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(inode: u32, length: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[name.len() as u8, 1]);
        bytes.extend_from_slice(name);
        bytes.resize(usize::from(length).max(bytes.len()), 0);
        bytes
    }

    fn names(block: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut names = Vec::new();
        decode_block(block, None, true, |entry| names.push(entry.name)).map(|()| names)
    }

    #[test]
    fn unused_entries_are_skipped() {
        let block = [
            record(2, 12, b"."),
            record(2, 12, b".."),
            record(0, 16, b"removed"),
            record(12, 12, b"a"),
            record(13, 12, b"\xff"),
        ]
        .concat();
        assert_eq!(names(&block), Ok(vec![b"a".to_vec(), b"\xff".to_vec()]));
    }

    #[test]
    fn invalid_records_are_refused() {
        let invalid = Err(Fault::Damaged(FaultReason::Directory));
        assert_eq!(names(&record(12, 0, b"")[..8]), invalid, "no progress");
        assert_eq!(names(&record(12, 12, b"a")[..8]), invalid, "beyond the end");
        assert_eq!(names(&record(12, 12, b"a/b")), invalid);
        assert_eq!(names(&record(12, 8, b"")), invalid);
        assert_eq!(names(&[1, 2, 3]), invalid);
    }
}
