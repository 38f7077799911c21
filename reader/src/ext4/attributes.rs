//! Decodes extended attributes: those in the inode, and those in a block of their own. Only the
//! user's attributes (`user.*`) are returned. Pure.

use protocol::restore::MAX_ATTRIBUTES_BYTES;

use super::{
    checksum::{crc32c, crc32c_without},
    fields::Fields,
};
use crate::error::{Fault, FaultReason};

const MAGIC: u32 = 0xea02_0000;
/// Length of the magic in front of an inode's attributes.
const INODE_HEADER_BYTES: usize = 4;
/// Length of the header of a block of attributes.
const BLOCK_HEADER_BYTES: usize = 32;
const BLOCK_CHECKSUM_OFFSET: usize = 16;
/// Length of an entry without its name.
const ENTRY_BYTES: usize = 16;
/// Entries begin at multiples of this.
const ENTRY_ALIGNMENT: usize = 4;
/// The index of the prefix `user.`.
const USER_INDEX: u8 = 1;

const INVALID: Fault = Fault::Damaged(FaultReason::Inode);

/// An extended attribute of the user. The name is without the prefix `user.`.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// The attributes of one file, and how many bytes they take.
#[derive(Default)]
pub struct AttributeList {
    attributes: Vec<Attribute>,
    bytes: usize,
}

impl AttributeList {
    /// Adds the attributes in an inode. `area` is the inode's rest behind its fields.
    pub fn add_inode_area(&mut self, area: &[u8]) -> Result<(), Fault> {
        if Fields(area).u32(0) != MAGIC {
            return Ok(());
        }
        let values = area.get(INODE_HEADER_BYTES..).unwrap_or_default();
        self.add_entries(values, values)
    }

    /// Adds the attributes in a block. `seed` is the seed of the file system's checksums.
    pub fn add_block(&mut self, number: u64, block: &[u8], seed: Option<u32>) -> Result<(), Fault> {
        let fields = Fields(block);
        let is_valid = seed.is_none_or(|seed| {
            let sum = crc32c(seed, &number.to_le_bytes());
            crc32c_without(sum, block, BLOCK_CHECKSUM_OFFSET, 4) == fields.u32(BLOCK_CHECKSUM_OFFSET)
        });
        if fields.u32(0) != MAGIC || !is_valid {
            return Err(INVALID);
        }
        self.add_entries(block.get(BLOCK_HEADER_BYTES..).unwrap_or_default(), block)
    }

    /// The attributes, sorted by name.
    pub fn finish(mut self) -> Vec<Attribute> {
        self.attributes.sort_unstable();
        self.attributes.dedup_by(|later, first| later.0 == first.0);
        self.attributes
    }

    /// Adds entries until the empty one that ends them. Their values are at offsets in `values`.
    fn add_entries(&mut self, entries: &[u8], values: &[u8]) -> Result<(), Fault> {
        let mut rest = entries;
        while rest.len() >= ENTRY_BYTES && Fields(rest).u32(0) != 0 {
            let fields = Fields(rest);
            let name_bytes = usize::from(fields.u8(0));
            let name = rest.get(ENTRY_BYTES..ENTRY_BYTES + name_bytes).ok_or(INVALID)?;
            // A value may be in an inode of its own. Homes are formatted without this feature.
            let is_inline = fields.u32(4) == 0;
            if fields.u8(1) == USER_INDEX && is_inline && name_bytes > 0 {
                let start = usize::from(fields.u16(2));
                let length = usize::try_from(fields.u32(8)).map_err(|_| INVALID)?;
                let end = start.checked_add(length).ok_or(INVALID)?;
                let value = values.get(start..end).ok_or(INVALID)?;
                self.bytes += name.len() + value.len();
                // Entries may share a value, so the size of the block is no bound.
                if self.bytes > MAX_ATTRIBUTES_BYTES || name.contains(&0) {
                    return Err(INVALID);
                }
                self.attributes.push((name.to_vec(), value.to_vec()));
            }
            let length = (ENTRY_BYTES + name_bytes).next_multiple_of(ENTRY_ALIGNMENT);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &[u8], offset: u16, size: u32) -> Vec<u8> {
        let mut bytes = vec![name.len() as u8, USER_INDEX];
        bytes.extend(offset.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(ENTRY_ALIGNMENT), 0);
        bytes
    }

    #[test]
    fn shared_values_are_bounded() {
        let mut area = MAGIC.to_le_bytes().to_vec();
        for name in 0..200_u8 {
            area.extend(entry(&[b'a', name + 1], 0, 4000));
        }
        area.resize(8000, 0);
        assert_eq!(AttributeList::default().add_inode_area(&area), Err(INVALID));
    }

    #[test]
    fn values_beyond_area_are_refused() {
        let mut area = MAGIC.to_le_bytes().to_vec();
        area.extend(entry(b"a", 60, 100));
        area.resize(128, 0);
        assert_eq!(AttributeList::default().add_inode_area(&area), Err(INVALID));
    }

    proptest! {
        #[test]
        fn decoder_accepts_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut area = MAGIC.to_le_bytes().to_vec();
            area.extend(&bytes);
            let mut list = AttributeList::default();
            let _ = list.add_inode_area(&area);
            let _ = list.add_block(7, &area, None);
            prop_assert!(list.bytes <= MAX_ATTRIBUTES_BYTES + area.len() + 255);
        }
    }
}
