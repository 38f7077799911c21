//! The superblock: the layout of the file system, and where its group descriptors are. Pure.

use super::{
    checksum::{SEED, crc32c},
    fields::{Fields, join_halves},
};
use crate::error::{Fault, FaultReason};

/// Its position on the disk.
pub const OFFSET: u64 = 1024;
/// Its size.
pub const BYTES: usize = 1024;

const MAGIC: u16 = 0xef53;
/// The checksum is the last field.
const CHECKSUM_OFFSET: usize = 0x3fc;
/// Largest block: 1 KiB << 6.
const MAX_LOG_BLOCK_BYTES: u32 = 6;
const MIN_INODE_BYTES: u16 = 128;
const MIN_GROUP_BYTES: u16 = 32;
const GROUP_BYTES_64BIT: u16 = 64;
const MAX_GROUP_BYTES: u16 = 1024;

const COMPAT_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;

const INCOMPAT_FILE_TYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_CHECKSUM_SEED: u32 = 0x2000;
/// Features that are supported. Those without a name do not change how files are found, or are
/// refused for each file: extents, multiple mount protection, flexible groups, values in inodes,
/// large directories, inline data, encryption, case folding.
const INCOMPAT_KNOWN: u32 = INCOMPAT_FILE_TYPE
    | INCOMPAT_RECOVER
    | INCOMPAT_META_BG
    | INCOMPAT_64BIT
    | INCOMPAT_CHECKSUM_SEED
    | 0x40
    | 0x100
    | 0x200
    | 0x400
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;

const RO_SPARSE_SUPER: u32 = 0x1;
const RO_METADATA_CHECKSUMS: u32 = 0x400;

/// The fields of a valid superblock that reading needs.
#[derive(Clone, Debug)]
pub struct Superblock {
    pub block_bytes: u32,
    /// Blocks of the file system.
    pub blocks: u64,
    /// Inodes of the file system.
    pub inodes: u32,
    pub inodes_per_group: u32,
    pub inode_bytes: u16,
    /// Size of a group descriptor.
    pub group_bytes: u16,
    pub has_64bit: bool,
    /// Whether directory entries contain types.
    pub has_file_types: bool,
    /// Seed of the metadata checksums; `None` if the file system has none.
    pub checksum_seed: Option<u32>,
    /// The journal's inode, if the journal must be replayed.
    pub journal: Option<u32>,
    first_data_block: u32,
    blocks_per_group: u32,
    /// From this block of descriptors on, each lies in the first of the groups that it describes
    /// (META_BG).
    first_meta_block: Option<u32>,
    backups: BackupGroups,
}

/// Which groups start with a backup of the superblock.
#[derive(Clone, Copy, Debug)]
enum BackupGroups {
    All,
    PowersOf357,
    Listed([u32; 2]),
}

impl Superblock {
    /// Decodes and validates a superblock for a disk of `device_bytes`.
    pub fn decode(bytes: &[u8], device_bytes: u64) -> Result<Self, Fault> {
        let fields = Fields(bytes);
        if fields.u16(0x38) != MAGIC {
            let is_blank = bytes.iter().all(|byte| *byte == 0);
            return Err(Fault::NotAHome(if is_blank { FaultReason::Blank } else { FaultReason::NotExt4 }));
        }
        let (compat, incompat, read_only) = (fields.u32(0x5c), fields.u32(0x60), fields.u32(0x64));
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(Fault::Unsupported(FaultReason::Feature));
        }
        let has_64bit = incompat & INCOMPAT_64BIT != 0;
        let has_checksums = read_only & RO_METADATA_CHECKSUMS != 0;
        if has_checksums
            && crc32c(SEED, &bytes[..CHECKSUM_OFFSET.min(bytes.len())]) != fields.u32(CHECKSUM_OFFSET)
        {
            return Err(Fault::Damaged(FaultReason::Superblock));
        }
        let superblock = Self {
            block_bytes: 1024 << fields.u32(0x18).min(MAX_LOG_BLOCK_BYTES + 1),
            blocks: join_halves(fields.u32(0x4), if has_64bit { fields.u32(0x150) } else { 0 }),
            inodes: fields.u32(0x0),
            inodes_per_group: fields.u32(0x28),
            // In the first revision the size is fixed.
            inode_bytes: if fields.u32(0x4c) == 0 { MIN_INODE_BYTES } else { fields.u16(0x58) },
            group_bytes: if has_64bit { fields.u16(0xfe) } else { MIN_GROUP_BYTES },
            has_64bit,
            has_file_types: incompat & INCOMPAT_FILE_TYPE != 0,
            checksum_seed: has_checksums.then(|| read_checksum_seed(&fields, incompat)),
            journal: journal_to_replay(&fields, compat, incompat)?,
            first_data_block: fields.u32(0x14),
            blocks_per_group: fields.u32(0x20),
            first_meta_block: (incompat & INCOMPAT_META_BG != 0).then(|| fields.u32(0x104)),
            backups: backup_groups(&fields, compat, read_only),
        };
        if superblock.is_consistent(device_bytes) {
            Ok(superblock)
        } else {
            Err(Fault::Damaged(FaultReason::Superblock))
        }
    }

    fn is_consistent(&self, device_bytes: u64) -> bool {
        let min_group_bytes = if self.has_64bit { GROUP_BYTES_64BIT } else { MIN_GROUP_BYTES };
        self.block_bytes <= 1024 << MAX_LOG_BLOCK_BYTES
            && self.blocks.checked_mul(u64::from(self.block_bytes)).is_some_and(|bytes| bytes <= device_bytes)
            && u64::from(self.first_data_block) < self.blocks
            && self.blocks_per_group > 0
            && self.inodes_per_group > 0
            && self.inode_bytes.is_power_of_two()
            && self.inode_bytes >= MIN_INODE_BYTES
            && u32::from(self.inode_bytes) <= self.block_bytes
            && self.group_bytes.is_power_of_two()
            && (min_group_bytes..=MAX_GROUP_BYTES).contains(&self.group_bytes)
    }

    /// The block that contains a group's descriptor, and the offset in it.
    pub fn locate_group(&self, group: u32) -> (u64, usize) {
        let per_block = self.block_bytes / u32::from(self.group_bytes);
        let (index, offset) = (group / per_block, group % per_block * u32::from(self.group_bytes));
        // The descriptors follow the superblock's own block. With blocks of 1 KiB that is block 1.
        let first_block = OFFSET / u64::from(self.block_bytes) + 1;
        let block = match self.first_meta_block {
            Some(from) if index >= from && index > 0 => {
                let first_group = index * per_block;
                let start = u64::from(first_group) * u64::from(self.blocks_per_group);
                u64::from(self.first_data_block) + start + u64::from(self.backups.contain(first_group))
            }
            _ => first_block + u64::from(index),
        };
        (block, offset as usize)
    }
}

impl BackupGroups {
    fn contain(self, group: u32) -> bool {
        match self {
            Self::All => true,
            Self::PowersOf357 => group <= 1 || [3, 5, 7].into_iter().any(|base| is_power_of(base, group)),
            Self::Listed(groups) => group == 0 || groups.contains(&group),
        }
    }
}

fn is_power_of(base: u32, number: u32) -> bool {
    std::iter::successors(Some(base), |power| power.checked_mul(base)).any(|power| power == number)
}

fn backup_groups(fields: &Fields<'_>, compat: u32, read_only: u32) -> BackupGroups {
    if compat & COMPAT_SPARSE_SUPER2 != 0 {
        BackupGroups::Listed([fields.u32(0x24c), fields.u32(0x250)])
    } else if read_only & RO_SPARSE_SUPER != 0 {
        BackupGroups::PowersOf357
    } else {
        BackupGroups::All
    }
}

fn read_checksum_seed(fields: &Fields<'_>, incompat: u32) -> u32 {
    if incompat & INCOMPAT_CHECKSUM_SEED != 0 {
        fields.u32(0x270)
    } else {
        crc32c(SEED, fields.0.get(0x68..0x78).unwrap_or_default())
    }
}

fn journal_to_replay(fields: &Fields<'_>, compat: u32, incompat: u32) -> Result<Option<u32>, Fault> {
    // A clean journal has nothing to replay.
    if compat & COMPAT_JOURNAL == 0 || incompat & INCOMPAT_RECOVER == 0 {
        return Ok(None);
    }
    match fields.u32(0xe0) {
        0 => Err(Fault::Unsupported(FaultReason::JournalElsewhere)),
        inode => Ok(Some(inode)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_in_powers_of_3_5_7() {
        let with_backups: Vec<u32> =
            (0..130).filter(|group| BackupGroups::PowersOf357.contain(*group)).collect();
        assert_eq!(with_backups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn invalid_superblocks_have_distinct_faults() {
        let mut bytes = vec![0; BYTES];
        assert_eq!(Superblock::decode(&bytes, 1 << 20).err(), Some(Fault::NotAHome(FaultReason::Blank)));
        bytes[7] = 1;
        assert_eq!(Superblock::decode(&bytes, 1 << 20).err(), Some(Fault::NotAHome(FaultReason::NotExt4)));
        assert_eq!(Superblock::decode(&[], 0).err(), Some(Fault::NotAHome(FaultReason::Blank)));
        bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        assert_eq!(Superblock::decode(&bytes, 1 << 20).err(), Some(Fault::Damaged(FaultReason::Superblock)));
        bytes[0x60] = 1;
        assert_eq!(Superblock::decode(&bytes, 1 << 20).err(), Some(Fault::Unsupported(FaultReason::Feature)));
    }
}
