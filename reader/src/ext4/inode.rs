//! Decodes inodes. Pure.

use protocol::files::EntryKind;

use super::{
    checksum::{crc32c, crc32c_without},
    fields::{Fields, join_halves},
    superblock::Superblock,
};
use crate::{
    error::{Fault, FaultReason},
    node::FileTime,
};

/// The inode number of the root directory, which is the home.
pub const ROOT: u32 = 2;

/// Size of the inode's block map root, or of a short link's target.
pub const MAP_BYTES: usize = 60;

const MODE_KIND: u16 = 0o170_000;
const MODE_DIRECTORY: u16 = 0o040_000;
const MODE_FILE: u16 = 0o100_000;
const MODE_SYMLINK: u16 = 0o120_000;
const MODE_OTHERS: [u16; 4] = [0o010_000, 0o020_000, 0o060_000, 0o140_000];
const MODE_PERMISSIONS: u16 = 0o7777;

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;

/// Offset of the fields that only inodes larger than 128 bytes have.
const EXTRA_OFFSET: usize = 0x80;
const CHECKSUM_LOW_OFFSET: usize = 0x7c;
const CHECKSUM_HIGH_OFFSET: usize = 0x82;

/// A valid inode.
#[derive(Clone, Debug)]
pub struct Inode {
    pub number: u32,
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
    /// Names that the inode has in directories.
    pub links: u16,
    pub size: u64,
    /// mtime.
    pub modified: FileTime,
    /// ctime.
    pub changed: FileTime,
    /// The root of the block map, or a short link's target.
    pub map: [u8; MAP_BYTES],
    /// Whether the block map is a tree of extents.
    pub has_extents: bool,
    /// Seed of the checksums of its directory blocks and extent nodes.
    pub checksum_seed: Option<u32>,
    /// The rest of the inode behind its fields, which may contain extended attributes.
    pub attribute_area: Vec<u8>,
    /// The block with more extended attributes. 0: there is none.
    pub attribute_block: u64,
    flags: u32,
}

impl Inode {
    /// Decodes and validates the inode with this number.
    pub fn decode(superblock: &Superblock, number: u32, bytes: &[u8]) -> Result<Self, Fault> {
        let fields = Fields(bytes);
        let checksum_seed = superblock.checksum_seed.map(|seed| {
            let sum = crc32c(seed, &number.to_le_bytes());
            crc32c(sum, &fields.u32(0x64).to_le_bytes())
        });
        let (mode, links) = (fields.u16(0x0), fields.u16(0x1a));
        let (Some(kind), Some(map)) =
            (decode_kind(mode), bytes.get(0x28..).and_then(|map| map.first_chunk()))
        else {
            return Err(Fault::Damaged(FaultReason::Inode));
        };
        if links == 0 || checksum_seed.is_some_and(|seed| !is_checksum_valid(seed, bytes)) {
            return Err(Fault::Damaged(FaultReason::Inode));
        }
        Ok(Self {
            number,
            kind,
            mode: mode & MODE_PERMISSIONS,
            links,
            size: join_halves(fields.u32(0x4), fields.u32(0x6c)),
            modified: read_timestamp(&fields, 0x10, 0x88),
            changed: read_timestamp(&fields, 0xc, 0x84),
            map: *map,
            has_extents: fields.u32(0x20) & FLAG_EXTENTS != 0,
            checksum_seed,
            attribute_area: attribute_area(bytes).to_vec(),
            attribute_block: join_halves(fields.u32(0x68), u32::from(fields.u16(0x76))),
            flags: fields.u32(0x20),
        })
    }

    /// Fails if the content is stored in a way that is not supported.
    pub fn check_readable(&self) -> Result<(), Fault> {
        match self.flags {
            flags if flags & FLAG_ENCRYPTED != 0 => Err(Fault::Unsupported(FaultReason::Encrypted)),
            flags if flags & FLAG_INLINE_DATA != 0 => Err(Fault::Unsupported(FaultReason::InlineData)),
            _ => Ok(()),
        }
    }

    /// The target of a short link, which is stored in place of the block map.
    pub fn short_target(&self) -> Option<&[u8]> {
        let length = usize::try_from(self.size).ok().filter(|length| *length < MAP_BYTES)?;
        if self.has_extents { None } else { self.map.get(..length) }
    }
}

fn decode_kind(mode: u16) -> Option<EntryKind> {
    match mode & MODE_KIND {
        MODE_DIRECTORY => Some(EntryKind::Directory),
        MODE_FILE => Some(EntryKind::File),
        MODE_SYMLINK => Some(EntryKind::Symlink),
        other => MODE_OTHERS.contains(&other).then_some(EntryKind::Other),
    }
}

/// The bytes behind the inode's fields.
fn attribute_area(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= EXTRA_OFFSET {
        return &[];
    }
    bytes.get(EXTRA_OFFSET + usize::from(Fields(bytes).u16(EXTRA_OFFSET))..).unwrap_or_default()
}

/// Whether the inode has the extra field of `length` bytes at `at`.
fn has_extra(fields: &Fields<'_>, at: usize, length: usize) -> bool {
    let end = at + length;
    end <= fields.0.len() && end <= EXTRA_OFFSET + usize::from(fields.u16(EXTRA_OFFSET))
}

/// Reads signed seconds. The extra field adds two high bits and the nanoseconds.
fn read_timestamp(fields: &Fields<'_>, at: usize, extra_at: usize) -> FileTime {
    let seconds = i64::from(fields.u32(at) as i32);
    if !has_extra(fields, extra_at, 4) {
        return FileTime { seconds, nanoseconds: 0 };
    }
    let extra = fields.u32(extra_at);
    FileTime { seconds: seconds + (i64::from(extra & 3) << 32), nanoseconds: extra >> 2 }
}

fn is_checksum_valid(seed: u32, bytes: &[u8]) -> bool {
    let fields = Fields(bytes);
    let (head, rest) = bytes.split_at(CHECKSUM_HIGH_OFFSET.min(bytes.len()));
    let sum = crc32c_without(seed, head, CHECKSUM_LOW_OFFSET, 2);
    if has_extra(&fields, CHECKSUM_HIGH_OFFSET, 2) {
        let sum = crc32c_without(sum, rest, 0, 2);
        sum == u32::from(fields.u16(CHECKSUM_HIGH_OFFSET)) << 16 | u32::from(fields.u16(CHECKSUM_LOW_OFFSET))
    } else {
        crc32c(sum, rest) as u16 == fields.u16(CHECKSUM_LOW_OFFSET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_cover_1960_to_2040() {
        let at = |seconds: u32, extra: u32| {
            let mut bytes = vec![0; 256];
            bytes[0x10..0x14].copy_from_slice(&seconds.to_le_bytes());
            bytes[0x80] = 32;
            bytes[0x88..0x8c].copy_from_slice(&extra.to_le_bytes());
            read_timestamp(&Fields(&bytes), 0x10, 0x88).seconds
        };
        assert_eq!(at(1, 0), 1);
        assert_eq!(at(-315_619_200_i32 as u32, 0), -315_619_200, "1960");
        assert_eq!(at(2_208_988_800, 1), 2_208_988_800, "2040");
    }
}
