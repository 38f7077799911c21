//! A directory's block, decoded: an array of entries. The index that large directories have beside it looks like unused
//! entries and is not needed. Pure.

use protocol::files::EntryKind;

use super::{checksum::crc32c, fields::Fields};
use crate::{
    error::{Fault, FaultReason},
    node::is_name,
};

/// Most entries of one directory that are read: more than anyone looks through, and a bound to what is kept of it.
pub const MAX_ENTRIES_READ: usize = 500_000;

const HEAD_BYTES: usize = 8;
/// At a block's end: an entry without a name that holds the block's checksum.
const TAIL_BYTES: usize = 12;
const TAIL_KIND: u8 = 0xde;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    pub name: Vec<u8>,
    pub inode: u32,
    /// What the directory says that it is; its inode knows better.
    pub hint: u8,
}

impl DirectoryEntry {
    pub fn kind(&self) -> EntryKind {
        match self.hint {
            1 => EntryKind::File,
            2 => EntryKind::Directory,
            7 => EntryKind::Symlink,
            _ => EntryKind::Other,
        }
    }
}

/// Gives each of the block's entries to `take`, but the ones for the directory itself and its parent.
pub fn entries(
    block: &[u8],
    checksum_seed: Option<u32>,
    has_file_types: bool,
    mut take: impl FnMut(DirectoryEntry),
) -> Result<(), Fault> {
    if checksum_seed.is_some_and(|seed| !checksum_holds(seed, block)) {
        return Err(Fault::Damaged(FaultReason::Directory));
    }
    let mut rest = block;
    while !rest.is_empty() {
        let fields = Fields(rest);
        let length = record_bytes(fields.u16(4), block.len());
        if length < HEAD_BYTES || length > rest.len() {
            return Err(Fault::Damaged(FaultReason::Directory));
        }
        let (record, behind) = rest.split_at(length);
        rest = behind;
        let (inode, name_bytes) = (fields.u32(0), usize::from(fields.u8(6)));
        let name =
            record.get(HEAD_BYTES..HEAD_BYTES + name_bytes).ok_or(Fault::Damaged(FaultReason::Directory))?;
        if inode == 0 || matches!(name, b"." | b"..") {
            continue;
        }
        if !is_name(name) {
            return Err(Fault::Damaged(FaultReason::Directory));
        }
        take(DirectoryEntry {
            name: name.to_vec(),
            inode,
            hint: if has_file_types { fields.u8(7) } else { 0 },
        });
    }
    Ok(())
}

/// The largest blocks are longer than the field can say.
fn record_bytes(said: u16, block_bytes: usize) -> usize {
    match said {
        0 | u16::MAX if block_bytes > usize::from(u16::MAX) => block_bytes,
        said => usize::from(said),
    }
}

/// True also of a block of the index, which has its checksum elsewhere and no entry that counts.
fn checksum_holds(seed: u32, block: &[u8]) -> bool {
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
        entries(block, None, true, |entry| names.push(entry.name)).map(|()| names)
    }

    #[test]
    fn entries_are_told_from_what_is_none() {
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
    fn wrong_records_end_it() {
        let wrong = Err(Fault::Damaged(FaultReason::Directory));
        assert_eq!(names(&record(12, 0, b"")[..8]), wrong, "no progress");
        assert_eq!(names(&record(12, 12, b"a")[..8]), wrong, "beyond the end");
        assert_eq!(names(&record(12, 12, b"a/b")), wrong);
        assert_eq!(names(&record(12, 8, b"")), wrong);
        assert_eq!(names(&[1, 2, 3]), wrong);
    }
}
