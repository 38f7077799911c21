//! Where each block of a volume lies in the store: extents in order. What no extent covers is a hole and reads as zeros. Pure.

use std::{collections::BTreeMap, ops::Range};

use crate::key::hex;

/// Most blocks in one frame: 64 KiB compress well and are little to fetch for one block.
pub const FRAME_BLOCKS_MAX: u8 = 16;

/// A pack's name: random, so that the key derived from it is used for this pack only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(pub [u8; 16]);

impl std::fmt::Display for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A frame within a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Index in the map's table of packs.
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
}

/// A run of blocks that lie one after the other in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: u32,
    pub blocks: u8,
    pub frame: Frame,
    /// Blocks of the frame before the first of this run.
    pub skip: u8,
}

impl Extent {
    pub fn end(&self) -> u32 {
        self.start + u32::from(self.blocks)
    }

    pub fn range(&self) -> Range<u32> {
        self.start..self.end()
    }

    /// The part of it within `range`, if any.
    fn within(self, range: &Range<u32>) -> Option<Self> {
        let (start, end) = (self.start.max(range.start), self.end().min(range.end));
        (start < end).then(|| Self {
            start,
            blocks: (end - start) as u8,
            skip: self.skip + (start - self.start) as u8,
            ..self
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    pub id: PackId,
    pub bytes: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMap {
    packs: Vec<Pack>,
    extents: BTreeMap<u32, Extent>,
}

impl BlockMap {
    /// From parts that have been checked: extents in order, apart, and of packs in the table.
    pub(crate) fn from_checked(packs: Vec<Pack>, extents: impl IntoIterator<Item = Extent>) -> Self {
        Self { packs, extents: extents.into_iter().map(|extent| (extent.start, extent)).collect() }
    }

    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    pub fn pack(&self, frame: Frame) -> Pack {
        self.packs[frame.pack as usize]
    }

    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.extents.values()
    }

    pub fn extents_len(&self) -> usize {
        self.extents.len()
    }

    /// The parts of extents that lie within the range, in order.
    pub fn within(&self, range: Range<u32>) -> impl Iterator<Item = Extent> {
        let first = self.reaching_into(range.start);
        let rest = self.extents.range(range.start..range.end.max(range.start)).map(|(_, extent)| *extent);
        first.into_iter().chain(rest).filter_map(move |extent| extent.within(&range))
    }

    pub fn at(&self, block: u32) -> Option<Extent> {
        self.within(block..block + 1).next()
    }

    /// Where the frame's blocks are still used, near a block that is in it. Blocks are packed in their order, so the
    /// others are neighbours, however far apart their numbers are.
    pub fn of_frame(&self, frame: Frame, near: u32) -> Vec<Extent> {
        let reach = usize::from(FRAME_BLOCKS_MAX);
        let before = self.extents.range(..near).rev().take(reach).map(|(_, extent)| *extent);
        let after = self.extents.range(near..).take(reach).map(|(_, extent)| *extent);
        before.chain(after).filter(|extent| extent.frame == frame).collect()
    }

    /// Adds a pack to the table.
    pub fn add_pack(&mut self, pack: Pack) -> u32 {
        self.packs.push(pack);
        self.packs.len() as u32 - 1
    }

    /// Makes a hole.
    pub fn remove(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let reaching = self.reaching_into(range.start);
        let inside: Vec<Extent> = self.extents.range(range.clone()).map(|(_, extent)| *extent).collect();
        for extent in reaching.into_iter().chain(inside) {
            self.extents.remove(&extent.start);
            for outside in [0..range.start, range.end..u32::MAX] {
                if let Some(kept) = extent.within(&outside) {
                    self.extents.insert(kept.start, kept);
                }
            }
        }
    }

    /// Puts a run in place of whatever was there.
    pub fn insert(&mut self, extent: Extent) {
        self.remove(extent.range());
        self.extents.insert(extent.start, extent);
    }

    /// Forgets packs that no extent names.
    pub fn drop_unused_packs(&mut self) {
        let mut used = vec![false; self.packs.len()];
        self.extents.values().for_each(|extent| used[extent.frame.pack as usize] = true);
        let mut next = 0;
        let renumbered: Vec<u32> = used
            .iter()
            .map(|used| {
                next += u32::from(*used);
                next.saturating_sub(1)
            })
            .collect();
        let mut index = 0;
        self.packs.retain(|_| {
            index += 1;
            used[index - 1]
        });
        self.extents
            .values_mut()
            .for_each(|extent| extent.frame.pack = renumbered[extent.frame.pack as usize]);
    }

    /// Bytes of all packs that it names.
    pub fn stored_bytes(&self) -> u64 {
        self.packs.iter().map(|pack| u64::from(pack.bytes)).sum()
    }

    fn reaching_into(&self, block: u32) -> Option<Extent> {
        let (_, extent) = self.extents.range(..block).next_back()?;
        (extent.end() > block).then_some(*extent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert { start: u32, blocks: u8, skip: u8, offset: u32 },
        Remove(Range<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let insert = (0u32..200, 1u8..=16, 0u32..50).prop_flat_map(|(start, blocks, offset)| {
            (0..=FRAME_BLOCKS_MAX - blocks).prop_map(move |skip| Step::Insert { start, blocks, skip, offset })
        });
        let remove = (0u32..220, 0u32..40).prop_map(|(start, length)| Step::Remove(start..start + length));
        prop_oneof![3 => insert, 1 => remove]
    }

    proptest! {
        #[test]
        fn a_map_is_an_array_of_places(steps in prop::collection::vec(step(), 1..60)) {
            let mut map = BlockMap::default();
            let mut model: Vec<Option<(PackId, u32, u8)>> = vec![None; 300];
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert { start, blocks, skip, offset } => {
                        let id = PackId([number as u8; 16]);
                        let pack = map.add_pack(Pack { id, bytes: 1000 });
                        let frame = Frame { pack, offset, length: 10 };
                        map.insert(Extent { start, blocks, frame, skip });
                        for index in 0..blocks {
                            model[start as usize + usize::from(index)] = Some((id, offset, skip + index));
                        }
                    }
                    Step::Remove(range) => {
                        map.remove(range.clone());
                        model[range.start as usize..range.end as usize].fill(None);
                    }
                }
                if number % 7 == 0 {
                    map.drop_unused_packs();
                }
                let place = |block| map.at(block).map(|extent| {
                    (map.pack(extent.frame).id, extent.frame.offset, extent.skip)
                });
                for block in 0..300 {
                    prop_assert_eq!(place(block), model[block as usize], "block {}", block);
                }
            }
            map.drop_unused_packs();
            let used: std::collections::BTreeSet<_> = model.iter().flatten().map(|(id, ..)| *id).collect();
            prop_assert_eq!(map.packs().len(), used.len());
        }
    }
}
