//! Blocks and sets of blocks. Pure.

use std::ops::Range;

/// A volume is read, written, and told apart in these.
pub const BLOCK_BYTES: u64 = 4096;

/// Largest volume: the number of a block stays within 32 bits with room.
pub const MAX_VOLUME_BYTES: u64 = 4 << 40;

/// Blocks that a range of bytes touches.
pub fn touched(offset: u64, length: u64) -> Range<u32> {
    let first = offset / BLOCK_BYTES;
    let end = (offset + length).div_ceil(BLOCK_BYTES);
    (first as u32)..(end as u32)
}

/// Blocks that a range of bytes covers whole.
pub fn covered(offset: u64, length: u64) -> Range<u32> {
    let first = offset.div_ceil(BLOCK_BYTES);
    let end = ((offset + length) / BLOCK_BYTES).max(first);
    (first as u32)..(end as u32)
}

/// Whether it reads as a hole does.
pub fn is_zero(content: &[u8]) -> bool {
    content.iter().all(|byte| *byte == 0)
}

/// A set of the blocks of one volume: a bit each, so that 100 GiB cost 3.2 MiB and nothing grows with use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSet {
    words: Vec<u64>,
    blocks: u32,
    count: u32,
}

impl BlockSet {
    pub fn new(blocks: u32) -> Self {
        Self { words: vec![0; (blocks as usize).div_ceil(64)], blocks, count: 0 }
    }

    pub fn len(&self) -> u32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn contains(&self, block: u32) -> bool {
        self.words[block as usize / 64] >> (block % 64) & 1 == 1
    }

    /// As [`Self::contains`], of blocks that the volume may have got since the set was made too.
    pub fn has(&self, block: u32) -> bool {
        block < self.blocks && self.contains(block)
    }

    /// Makes room for a larger volume's blocks.
    pub fn grow(&mut self, blocks: u32) {
        self.blocks = self.blocks.max(blocks);
        self.words.resize((self.blocks as usize).div_ceil(64), 0);
    }

    /// Whether it was new.
    pub fn insert(&mut self, block: u32) -> bool {
        debug_assert!(block < self.blocks, "a block of this volume");
        let word = &mut self.words[block as usize / 64];
        let is_new = *word >> (block % 64) & 1 == 0;
        *word |= 1 << (block % 64);
        self.count += u32::from(is_new);
        is_new
    }

    /// Whether it was there.
    pub fn remove(&mut self, block: u32) -> bool {
        let word = &mut self.words[block as usize / 64];
        let was_there = *word >> (block % 64) & 1 == 1;
        *word &= !(1 << (block % 64));
        self.count -= u32::from(was_there);
        was_there
    }

    pub fn insert_all(&mut self, range: Range<u32>) {
        for block in range {
            self.insert(block);
        }
    }

    pub fn remove_all(&mut self, range: Range<u32>) {
        for block in range {
            self.remove(block);
        }
    }

    pub fn unite(&mut self, other: &Self) {
        self.combine(other, |mine, other| mine | other);
    }

    pub fn intersect(&mut self, other: &Self) {
        self.combine(other, |mine, other| mine & other);
    }

    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |mine, other| mine & !other);
    }

    /// The first member from `from` on.
    pub fn next(&self, from: u32) -> Option<u32> {
        self.next_where(from, |word| word)
    }

    /// The first block from `from` on that is no member; the volume's end at the latest.
    pub fn next_absent(&self, from: u32) -> u32 {
        self.next_where(from, |word| !word).unwrap_or(self.blocks)
    }

    /// The members as runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from)?;
            from = self.next_absent(start);
            Some(start..from)
        })
    }

    fn next_where(&self, from: u32, view: impl Fn(u64) -> u64) -> Option<u32> {
        if from >= self.blocks {
            return None;
        }
        let mut index = from as usize / 64;
        let mut word = view(self.words[index]) & (u64::MAX << (from % 64));
        while word == 0 {
            index += 1;
            word = view(*self.words.get(index)?);
        }
        let block = index as u32 * 64 + word.trailing_zeros();
        (block < self.blocks).then_some(block)
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        debug_assert!(self.blocks >= other.blocks, "the other is of this volume, or of it before it grew");
        let beyond = std::iter::repeat(&0);
        for (mine, other) in self.words.iter_mut().zip(other.words.iter().chain(beyond)) {
            *mine = with(*mine, *other);
        }
        self.count = self.words.iter().map(|word| word.count_ones()).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_of_bytes_touches_and_covers_blocks() {
        assert_eq!((touched(0, 1), covered(0, 1)), (0..1, 0..0));
        assert_eq!((touched(4095, 2), covered(4095, 2)), (0..2, 1..1));
        assert_eq!((touched(4096, 8192), covered(4096, 8192)), (1..3, 1..3));
        assert_eq!((touched(1, 8192), covered(1, 8192)), (0..3, 1..2));
    }

    proptest! {
        #[test]
        fn a_set_does_what_a_set_does(
            blocks in 1u32..300,
            steps in prop::collection::vec((0u32..300, any::<bool>()), 0..200),
            others in prop::collection::vec(0u32..300, 0..100),
        ) {
            let (mut set, mut model) = (BlockSet::new(blocks), BTreeSet::new());
            for (block, add) in steps.into_iter().filter(|(block, _)| *block < blocks) {
                if add {
                    prop_assert_eq!(set.insert(block), model.insert(block));
                } else {
                    prop_assert_eq!(set.remove(block), model.remove(&block));
                }
            }
            let (mut other, mut other_model) = (BlockSet::new(blocks), BTreeSet::new());
            for block in others.into_iter().filter(|block| *block < blocks) {
                other.insert(block);
                other_model.insert(block);
            }
            let members = |set: &BlockSet| set.runs().flatten().collect::<BTreeSet<_>>();
            prop_assert_eq!(&members(&set), &model);
            prop_assert_eq!(set.len() as usize, model.len());
            let mut united = set.clone();
            united.unite(&other);
            prop_assert_eq!(members(&united), &model | &other_model);
            let mut met = set.clone();
            met.intersect(&other);
            prop_assert_eq!(members(&met), &model & &other_model);
            set.subtract(&other);
            prop_assert_eq!(set.len() as usize, (&model - &other_model).len());
            prop_assert_eq!(members(&set), &model - &other_model);
        }
    }
}
