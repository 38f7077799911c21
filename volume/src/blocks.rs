//! Blocks, runs of blocks and sets of blocks. Pure.

use std::ops::Range;

/// Size of a block: the unit in which a volume is cached, compared and stored.
pub const BLOCK_BYTES: u64 = 4096;

/// Largest volume. The number of a block then stays well within 32 bits.
pub const MAX_VOLUME_BYTES: u64 = 4 << 40;

/// The offset at which a block begins, which is also the size of that many blocks.
pub fn byte_offset(block: u32) -> u64 {
    u64::from(block) * BLOCK_BYTES
}

/// The blocks that a range of bytes touches.
pub fn blocks_touched(offset: u64, length: u64) -> Range<u32> {
    let first = offset / BLOCK_BYTES;
    let end = (offset + length).div_ceil(BLOCK_BYTES);
    (first as u32)..(end as u32)
}

/// The blocks that a range of bytes covers completely.
pub fn blocks_covered(offset: u64, length: u64) -> Range<u32> {
    let first = offset.div_ceil(BLOCK_BYTES);
    let end = ((offset + length) / BLOCK_BYTES).max(first);
    (first as u32)..(end as u32)
}

/// Whether the content equals that of a hole.
pub fn is_zero(content: &[u8]) -> bool {
    content.iter().all(|byte| *byte == 0)
}

/// Adds a block to runs that are in order, at their end.
pub fn push_block(runs: &mut Vec<Range<u32>>, block: u32) {
    match runs.last_mut() {
        Some(run) if run.end == block => run.end += 1,
        _ => runs.push(block..block + 1),
    }
}

/// A set of blocks of one volume. One bit per block: 100 GiB take 3.2 MiB, and the set does not
/// grow with use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSet {
    words: Vec<u64>,
    blocks: u32,
    count: u32,
}

impl BlockSet {
    /// An empty set of the blocks below `blocks`.
    pub fn new(blocks: u32) -> Self {
        Self { words: vec![0; (blocks as usize).div_ceil(64)], blocks, count: 0 }
    }

    /// The number of blocks of the volume, members or not.
    pub fn volume_blocks(&self) -> u32 {
        self.blocks
    }

    /// The number of members.
    pub fn len(&self) -> u32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn contains(&self, block: u32) -> bool {
        self.words[block as usize / 64] >> (block % 64) & 1 == 1
    }

    /// Like [`Self::contains`], also for blocks by which the volume has grown since the set was
    /// made.
    pub fn has(&self, block: u32) -> bool {
        block < self.blocks && self.contains(block)
    }

    /// Makes room for the blocks of a larger volume.
    pub fn grow(&mut self, blocks: u32) {
        self.blocks = self.blocks.max(blocks);
        self.words.resize((self.blocks as usize).div_ceil(64), 0);
    }

    /// Adds a block. Returns whether it was new.
    pub fn insert(&mut self, block: u32) -> bool {
        debug_assert!(block < self.blocks, "a block of this volume");
        let word = &mut self.words[block as usize / 64];
        let is_new = *word >> (block % 64) & 1 == 0;
        *word |= 1 << (block % 64);
        self.count += u32::from(is_new);
        is_new
    }

    /// Removes a block. Returns whether it was a member.
    pub fn remove(&mut self, block: u32) -> bool {
        let word = &mut self.words[block as usize / 64];
        let was_member = *word >> (block % 64) & 1 == 1;
        *word &= !(1 << (block % 64));
        self.count -= u32::from(was_member);
        was_member
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

    /// Adds the members of the other set.
    pub fn unite(&mut self, other: &Self) {
        self.combine(other, |mine, other| mine | other);
    }

    /// Keeps the members that both sets have.
    pub fn intersect(&mut self, other: &Self) {
        self.combine(other, |mine, other| mine & other);
    }

    /// Removes the members of the other set.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |mine, other| mine & !other);
    }

    /// The first member at `from` or after it.
    pub fn next(&self, from: u32) -> Option<u32> {
        self.next_where(from, |word| word)
    }

    /// The first block at `from` or after it that is not a member; the number of blocks if all are.
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
        debug_assert!(
            self.blocks >= other.blocks,
            "the other set is of this volume, perhaps from before it grew"
        );
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
    fn byte_ranges_touch_and_cover_blocks() {
        assert_eq!((blocks_touched(0, 1), blocks_covered(0, 1)), (0..1, 0..0));
        assert_eq!((blocks_touched(4095, 2), blocks_covered(4095, 2)), (0..2, 1..1));
        assert_eq!((blocks_touched(4096, 8192), blocks_covered(4096, 8192)), (1..3, 1..3));
        assert_eq!((blocks_touched(1, 8192), blocks_covered(1, 8192)), (0..3, 1..2));
    }

    proptest! {
        #[test]
        fn block_set_matches_a_btree_set(
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
