//! The superblock: what the file system says of itself, and where its groups are described. Pure.

use super::{
    checksum::{SEED, crc32c},
    fields::{Fields, halves},
};
use crate::error::{Fault, FaultReason};

/// Where it lies, and how large it is.
pub const OFFSET: u64 = 1024;
pub const BYTES: usize = 1024;

const MAGIC: u16 = 0xef53;
/// The checksum is the last field.
const CHECKSUM_AT: usize = 0x3fc;
/// 1 KiB << 6.
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
/// What does not change how a file is found, or is refused file by file: extents, multiple mount protection, flexible groups,
/// values in inodes, large directories, inline data, encryption, case folding.
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

#[derive(Clone, Debug)]
pub struct Superblock {
    pub block_bytes: u32,
    pub blocks: u64,
    pub inodes: u32,
    pub inodes_per_group: u32,
    pub inode_bytes: u16,
    pub group_bytes: u16,
    pub has_64bit: bool,
    pub has_file_types: bool,
    /// Of checksums of metadata; none where it has no such.
    pub checksum_seed: Option<u32>,
    /// The journal's inode, where something in it has to be taken into account.
    pub journal: Option<u32>,
    first_data_block: u32,
    blocks_per_group: u32,
    /// Descriptors' blocks from this one on lie within the groups that they describe.
    meta_from: Option<u32>,
    copies: BackupGroups,
}

/// Which groups begin with a copy of the superblock.
#[derive(Clone, Copy, Debug)]
enum BackupGroups {
    All,
    PowersOf357,
    These([u32; 2]),
}

impl Superblock {
    pub fn decode(bytes: &[u8], device_bytes: u64) -> Result<Self, Fault> {
        let fields = Fields(bytes);
        if fields.u16(0x38) != MAGIC {
            let blank = bytes.iter().all(|byte| *byte == 0);
            return Err(Fault::NotAHome(if blank { FaultReason::Blank } else { FaultReason::NotExt4 }));
        }
        let (compat, incompat, read_only) = (fields.u32(0x5c), fields.u32(0x60), fields.u32(0x64));
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(Fault::Unsupported(FaultReason::Feature));
        }
        let has_64bit = incompat & INCOMPAT_64BIT != 0;
        let has_checksums = read_only & RO_METADATA_CHECKSUMS != 0;
        if has_checksums && crc32c(SEED, &bytes[..CHECKSUM_AT.min(bytes.len())]) != fields.u32(CHECKSUM_AT) {
            return Err(Fault::Damaged(FaultReason::Superblock));
        }
        let superblock = Self {
            block_bytes: 1024 << fields.u32(0x18).min(MAX_LOG_BLOCK_BYTES + 1),
            blocks: halves(fields.u32(0x4), if has_64bit { fields.u32(0x150) } else { 0 }),
            inodes: fields.u32(0x0),
            inodes_per_group: fields.u32(0x28),
            // The first revision had no choice.
            inode_bytes: if fields.u32(0x4c) == 0 { MIN_INODE_BYTES } else { fields.u16(0x58) },
            group_bytes: if has_64bit { fields.u16(0xfe) } else { MIN_GROUP_BYTES },
            has_64bit,
            has_file_types: incompat & INCOMPAT_FILE_TYPE != 0,
            checksum_seed: has_checksums.then(|| seed(&fields, incompat)),
            journal: journal(&fields, compat, incompat)?,
            first_data_block: fields.u32(0x14),
            blocks_per_group: fields.u32(0x20),
            meta_from: (incompat & INCOMPAT_META_BG != 0).then(|| fields.u32(0x104)),
            copies: copies(&fields, compat, read_only),
        };
        if superblock.holds_on(device_bytes) {
            Ok(superblock)
        } else {
            Err(Fault::Damaged(FaultReason::Superblock))
        }
    }

    fn holds_on(&self, device_bytes: u64) -> bool {
        let group_bytes_min = if self.has_64bit { GROUP_BYTES_64BIT } else { MIN_GROUP_BYTES };
        self.block_bytes <= 1024 << MAX_LOG_BLOCK_BYTES
            && self.blocks.checked_mul(u64::from(self.block_bytes)).is_some_and(|bytes| bytes <= device_bytes)
            && u64::from(self.first_data_block) < self.blocks
            && self.blocks_per_group > 0
            && self.inodes_per_group > 0
            && self.inode_bytes.is_power_of_two()
            && self.inode_bytes >= MIN_INODE_BYTES
            && u32::from(self.inode_bytes) <= self.block_bytes
            && self.group_bytes.is_power_of_two()
            && (group_bytes_min..=MAX_GROUP_BYTES).contains(&self.group_bytes)
    }

    /// The block of a group's descriptor, and the offset in it.
    pub fn group_place(&self, group: u32) -> (u64, usize) {
        let per_block = self.block_bytes / u32::from(self.group_bytes);
        let (index, offset) = (group / per_block, group % per_block * u32::from(self.group_bytes));
        // The block behind the superblock's own, which with small blocks is not the first.
        let behind = OFFSET / u64::from(self.block_bytes) + 1;
        let block = match self.meta_from {
            Some(from) if index >= from && index > 0 => {
                let leader = index * per_block;
                let start = u64::from(leader) * u64::from(self.blocks_per_group);
                u64::from(self.first_data_block) + start + u64::from(self.copies.has(leader))
            }
            _ => behind + u64::from(index),
        };
        (block, offset as usize)
    }
}

impl BackupGroups {
    fn has(self, group: u32) -> bool {
        match self {
            Self::All => true,
            Self::PowersOf357 => group <= 1 || [3, 5, 7].into_iter().any(|base| is_power_of(base, group)),
            Self::These(groups) => group == 0 || groups.contains(&group),
        }
    }
}

fn is_power_of(base: u32, number: u32) -> bool {
    std::iter::successors(Some(base), |power| power.checked_mul(base)).any(|power| power == number)
}

fn copies(fields: &Fields<'_>, compat: u32, read_only: u32) -> BackupGroups {
    if compat & COMPAT_SPARSE_SUPER2 != 0 {
        BackupGroups::These([fields.u32(0x24c), fields.u32(0x250)])
    } else if read_only & RO_SPARSE_SUPER != 0 {
        BackupGroups::PowersOf357
    } else {
        BackupGroups::All
    }
}

fn seed(fields: &Fields<'_>, incompat: u32) -> u32 {
    if incompat & INCOMPAT_CHECKSUM_SEED != 0 {
        fields.u32(0x270)
    } else {
        crc32c(SEED, fields.0.get(0x68..0x78).unwrap_or_default())
    }
}

fn journal(fields: &Fields<'_>, compat: u32, incompat: u32) -> Result<Option<u32>, Fault> {
    // A journal that was put in order has nothing to say.
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
    fn copies_of_the_superblock_are_in_few_groups() {
        let with_copies: Vec<u32> = (0..130).filter(|group| BackupGroups::PowersOf357.has(*group)).collect();
        assert_eq!(with_copies, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn what_is_no_file_system_is_told_apart() {
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
