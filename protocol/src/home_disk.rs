//! What the disk of a home contains, as a few of its bytes tell. The guest's agent and the runner of a
//! container both decide from it whether to create a file system. Neither may ever overwrite one.

/// How much of the beginning of a disk must be zero for it to count as blank.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Offset of the superblock's first backup in a file system with blocks of 4 KiB.
pub const BACKUP_OFFSET: u64 = 32768 * 4096;
/// How much to read at [`BACKUP_OFFSET`].
pub const BACKUP_BYTES: usize = 4096;

/// Offset of ext4's superblock, and its size.
const SUPERBLOCK: usize = 1024;
/// Offset of the magic number in the superblock.
const MAGIC_OFFSET: usize = 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];

/// What a disk contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskContent {
    /// Nothing that was ever written.
    Blank,
    /// An ext4 file system.
    Ext4(FileSystemState),
    /// Something else, which must not be overwritten.
    Unknown,
}

/// What an ext4 file system records about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemState {
    /// Whether it was unmounted properly: no journal to replay, no error recorded.
    pub is_clean: bool,
    /// Size of the file system in bytes.
    pub bytes: u64,
}

impl DiskContent {
    /// Determines it from the first [`HEAD_BYTES`] of the disk, and from [`BACKUP_BYTES`] at
    /// [`BACKUP_OFFSET`], which are empty if the disk is smaller. The latter matter only if the former are
    /// blank, so a caller may read them only then.
    ///
    /// A home whose first blocks were wiped is not blank: it still has the backup of its superblock.
    pub fn parse(head: &[u8], backup: &[u8]) -> Self {
        let superblock = head.get(SUPERBLOCK..2 * SUPERBLOCK).unwrap_or_default();
        if has_magic(superblock) {
            Self::Ext4(FileSystemState::parse(superblock))
        } else if head.iter().all(|byte| *byte == 0) && !has_magic(backup) {
            Self::Blank
        } else {
            Self::Unknown
        }
    }
}

fn has_magic(superblock: &[u8]) -> bool {
    superblock.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len()) == Some(&MAGIC)
}

impl FileSystemState {
    /// Parses a superblock of 1024 bytes. The offsets are those of the kernel's documentation,
    /// "ext4 super block".
    fn parse(superblock: &[u8]) -> Self {
        let read_u16 = |at: usize| u32::from(u16::from_le_bytes([superblock[at], superblock[at + 1]]));
        let read_u32 = |at: usize| read_u16(at) | read_u16(at + 2) << 16;
        let incompatible_features = read_u32(0x60);
        let (is_64bit, needs_replay) = (incompatible_features & 0x80 != 0, incompatible_features & 0x4 != 0);
        let blocks = u64::from(read_u32(0x4)) | if is_64bit { u64::from(read_u32(0x150)) << 32 } else { 0 };
        let block_bytes = 1024_u64.checked_shl(read_u32(0x18)).unwrap_or(0);
        let is_clean = read_u16(0x3a) == 1 && !needs_replay;
        Self { is_clean, bytes: blocks.saturating_mul(block_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC_AT: usize = SUPERBLOCK + MAGIC_OFFSET;

    #[test]
    fn only_zeros_are_blank() {
        let mut head = vec![0; HEAD_BYTES];
        assert_eq!(DiskContent::parse(&head, &[]), DiskContent::Blank);
        assert_eq!(DiskContent::parse(&head, &[0; BACKUP_BYTES]), DiskContent::Blank);
        head[HEAD_BYTES - 1] = 1;
        assert_eq!(DiskContent::parse(&head, &[]), DiskContent::Unknown);
    }

    #[test]
    fn wiped_head_is_not_blank() {
        let mut backup = [0; BACKUP_BYTES];
        backup[MAGIC_OFFSET..MAGIC_OFFSET + 2].copy_from_slice(&MAGIC);
        assert_eq!(DiskContent::parse(&vec![0; HEAD_BYTES], &backup), DiskContent::Unknown);
    }

    #[test]
    fn superblock_has_size_and_state() {
        let mut head = vec![0; HEAD_BYTES];
        head[MAGIC_AT..MAGIC_AT + 2].copy_from_slice(&MAGIC);
        // 5 blocks of 4 KiB.
        (head[SUPERBLOCK + 0x4], head[SUPERBLOCK + 0x18], head[SUPERBLOCK + 0x3a]) = (5, 2, 1);
        let state = FileSystemState { is_clean: true, bytes: 5 * 4096 };
        assert_eq!(DiskContent::parse(&head, &[]), DiskContent::Ext4(state));
        head[SUPERBLOCK + 0x60] = 4;
        let unclean = FileSystemState { is_clean: false, ..state };
        assert_eq!(DiskContent::parse(&head, &[]), DiskContent::Ext4(unclean), "a journal to replay");
    }
}
