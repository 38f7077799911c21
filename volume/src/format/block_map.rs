//! Where each block of a volume lies in the store: extents in order. A block that no extent covers
//! is a hole and reads as zeros. Pure.
//!
//! The extents lie in leaves of some hundreds. Clones share a leaf until one of them changes it. So
//! the map of a snapshot costs what the snapshot changed, whatever the size of the volume. 100 GiB
//! in full frames take 32 MiB.

use std::{ops::Range, sync::Arc};

use super::key::hex;

/// Extents in one leaf. Inserting into such a leaf takes a few hundred nanoseconds, and copying it
/// 10 KiB.
const MAX_LEAF_EXTENTS: usize = 512;

/// Most blocks in one frame. 64 KiB compress well, and are little to fetch for one block.
pub const MAX_FRAME_BLOCKS: u8 = 16;

/// The id of a pack. It is random, so that the key that is derived from it is used for this pack
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(pub [u8; 16]);

impl PackId {
    /// Parses 32 hexadecimal digits, as `Display` writes them.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let digits: Vec<u8> = text.bytes().map(digit).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (digits.len() == 32).then(|| bytes.try_into().ok().map(Self))?
    }
}

impl std::fmt::Display for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The place of a frame within a pack. `offset` and `length` are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Index in the map's table of packs.
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
}

/// A run of consecutive blocks that lie one after another in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first block.
    pub start: u32,
    pub blocks: u8,
    pub frame: Frame,
    /// Blocks of the frame before this run.
    pub skip: u8,
}

impl Extent {
    /// The block after the last.
    pub fn end(&self) -> u32 {
        self.start + u32::from(self.blocks)
    }

    pub fn range(&self) -> Range<u32> {
        self.start..self.end()
    }

    /// The part of the extent within `range`, if any.
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

/// A pack, as manifests list it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    pub id: PackId,
    /// Size of its object.
    pub bytes: u32,
    /// Blocks that were stored in it.
    pub blocks: u32,
}

/// A pack, and how many of its blocks the map still uses (`live`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackUse {
    pub pack: Pack,
    pub live: u32,
}

/// The place of every block of a volume.
#[derive(Clone, Debug, Default)]
pub struct BlockMap {
    /// The table of packs, which frames refer to by index.
    packs: Arc<Vec<PackUse>>,
    /// Entries of the table whose pack no extent uses any more.
    free: Arc<Vec<u32>>,
    /// In order; none is empty.
    leaves: Vec<Arc<Vec<Extent>>>,
    extents: usize,
}

/// The position in front of an extent: its leaf, and its index there. The end is in front of a leaf
/// that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    leaf: usize,
    index: usize,
}

impl BlockMap {
    /// Builds a map from checked parts: the extents are in order, do not overlap, and refer to
    /// packs in the table.
    pub fn from_checked(packs: Vec<Pack>, extents: &[Extent]) -> Self {
        let mut packs: Vec<PackUse> = packs.into_iter().map(|pack| PackUse { pack, live: 0 }).collect();
        for extent in extents {
            packs[extent.frame.pack as usize].live += u32::from(extent.blocks);
        }
        let unused = (0..).zip(&packs).filter(|(_, used)| used.live == 0).map(|(index, _)| index);
        Self {
            free: Arc::new(unused.collect()),
            packs: packs.into(),
            leaves: leaves_of(extents).collect(),
            extents: extents.len(),
        }
    }

    /// The pack of a frame.
    pub fn pack(&self, frame: Frame) -> Pack {
        self.packs[frame.pack as usize].pack
    }

    /// The packs that the map uses, with their indexes.
    pub fn packs(&self) -> impl Iterator<Item = (u32, PackUse)> {
        (0..).zip(self.packs.iter().copied()).filter(|(_, used)| used.live > 0)
    }

    /// All extents, in order.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.leaves.iter().flat_map(|leaf| leaf.iter())
    }

    pub fn extents_len(&self) -> usize {
        self.extents
    }

    /// The parts of extents that lie within the range, in order.
    pub fn within(&self, range: Range<u32>) -> impl Iterator<Item = Extent> {
        let reaching = self.extents_from(self.position_reaching(range.start));
        let end = range.end;
        let inside = reaching.take_while(move |extent| extent.start < end);
        inside.filter_map(move |extent| extent.within(&range))
    }

    /// The extent of one block; none if it is a hole.
    pub fn at(&self, block: u32) -> Option<Extent> {
        self.within(block..block + 1).next()
    }

    /// The extents of a frame, given a block `near` that is in it. Blocks are packed in their
    /// order, so that the extents of a frame are neighbours in the map, however far apart their
    /// block numbers are.
    pub fn extents_of_frame(&self, frame: Frame, near: u32) -> Vec<Extent> {
        let reach = usize::from(MAX_FRAME_BLOCKS);
        let position = self.position_at(near);
        let before = self.extents_before(position).take(reach);
        let around = before.chain(self.extents_from(position).take(reach));
        around.filter(|extent| extent.frame == frame).copied().collect()
    }

    /// Adds a pack to the table and returns its index. It stays there while an extent uses it.
    pub fn add_pack(&mut self, pack: Pack) -> u32 {
        let packs = Arc::make_mut(&mut self.packs);
        let used = PackUse { pack, live: 0 };
        if self.free.is_empty() {
            packs.push(used);
            return packs.len() as u32 - 1;
        }
        let index = Arc::make_mut(&mut self.free).pop().expect("an entry is free");
        packs[index as usize] = used;
        index
    }

    /// Makes the range a hole.
    pub fn remove(&mut self, range: Range<u32>) {
        let (first, end) = (self.position_reaching(range.start), self.position_at(range.end));
        if range.is_empty() || first >= end {
            return;
        }
        let removed: Vec<Extent> =
            self.extents_from(first).take_while(|extent| extent.start < range.end).copied().collect();
        let edges = [(removed.first(), 0..range.start), (removed.last(), range.end..u32::MAX)];
        let kept = edges.into_iter().filter_map(|(extent, outside)| extent?.within(&outside)).collect();
        self.replace(first, end, &removed, kept);
    }

    /// Inserts an extent, in place of what was there.
    pub fn insert(&mut self, extent: Extent) {
        // Keeps the pack in the table while blocks are replaced that may be the last of it.
        *self.live(extent.frame) += u32::from(extent.blocks);
        self.remove(extent.range());
        let position = self.position_at(extent.start);
        // At the end of the previous leaf rather than in front of the next: a map that is written
        // in order grows at its end.
        let position = match position {
            Position { leaf, index: 0 } if leaf > 0 => {
                Position { leaf: leaf - 1, index: self.leaves[leaf - 1].len() }
            }
            position => position,
        };
        self.replace(position, position, &[], vec![extent]);
        *self.live(extent.frame) -= u32::from(extent.blocks);
    }

    /// The number of blocks of the frame's pack that are used.
    fn live(&mut self, frame: Frame) -> &mut u32 {
        &mut Arc::make_mut(&mut self.packs)[frame.pack as usize].live
    }

    /// Bytes of all packs that the map uses.
    pub fn stored_bytes(&self) -> u64 {
        self.packs().map(|(_, used)| u64::from(used.pack.bytes)).sum()
    }

    /// Replaces `removed`, which lies between the two positions, by `kept`.
    fn replace(&mut self, first: Position, end: Position, removed: &[Extent], kept: Vec<Extent>) {
        self.extents = self.extents + kept.len() - removed.len();
        self.count_uses(removed, &kept);
        if self.leaves.is_empty() {
            self.leaves.extend(leaves_of(&kept));
            return;
        }
        // The position after the last extent of a leaf equals the one in front of the next leaf.
        let last = if end.index == 0 && end.leaf > first.leaf { end.leaf - 1 } else { end.leaf };
        let last_end = if last == end.leaf { end.index } else { self.leaves[last].len() };
        if first.leaf == last {
            let leaf = Arc::make_mut(&mut self.leaves[last]);
            leaf.splice(first.index..last_end, kept);
            if (1..=MAX_LEAF_EXTENTS).contains(&leaf.len()) {
                return;
            }
            let extents = std::mem::take(leaf);
            self.leaves.splice(last..=last, leaves_of(&extents));
            return;
        }
        let before = &self.leaves[first.leaf][..first.index];
        let after = &self.leaves[last][last_end..];
        let extents = [before, &kept, after].concat();
        self.leaves.splice(first.leaf..=last, leaves_of(&extents));
    }

    fn count_uses(&mut self, removed: &[Extent], added: &[Extent]) {
        let packs = Arc::make_mut(&mut self.packs);
        for extent in added {
            packs[extent.frame.pack as usize].live += u32::from(extent.blocks);
        }
        for extent in removed {
            let used = &mut packs[extent.frame.pack as usize];
            used.live -= u32::from(extent.blocks);
            if used.live == 0 {
                Arc::make_mut(&mut self.free).push(extent.frame.pack);
            }
        }
    }

    /// The position in front of the first extent that starts at the block or after it.
    fn position_at(&self, block: u32) -> Position {
        let leaf = self.leaves.partition_point(|leaf| leaf[0].start < block).saturating_sub(1);
        let Some(extents) = self.leaves.get(leaf) else { return Position { leaf, index: 0 } };
        let index = extents.partition_point(|extent| extent.start < block);
        if index == extents.len() { Position { leaf: leaf + 1, index: 0 } } else { Position { leaf, index } }
    }

    /// The position in front of the first extent that ends after the block.
    fn position_reaching(&self, block: u32) -> Position {
        let position = self.position_at(block);
        match self.extents_before(position).next() {
            Some(extent) if extent.end() > block && position.index > 0 => {
                Position { index: position.index - 1, ..position }
            }
            Some(extent) if extent.end() > block => {
                Position { leaf: position.leaf - 1, index: self.leaves[position.leaf - 1].len() - 1 }
            }
            _ => position,
        }
    }

    /// The extents from a position on.
    fn extents_from(&self, position: Position) -> impl Iterator<Item = &Extent> {
        let rest = self.leaves.get(position.leaf).map_or(&[][..], |leaf| &leaf[position.index..]);
        rest.iter().chain(self.leaves.iter().skip(position.leaf + 1).flat_map(|leaf| leaf.iter()))
    }

    /// The extents before a position, the nearest first.
    fn extents_before(&self, position: Position) -> impl Iterator<Item = &Extent> {
        let rest = self.leaves.get(position.leaf).map_or(&[][..], |leaf| &leaf[..position.index]);
        let before = self.leaves[..position.leaf.min(self.leaves.len())].iter().rev();
        rest.iter().rev().chain(before.flat_map(|leaf| leaf.iter().rev()))
    }
}

/// Two maps are equal if every block lies at the same place, whatever index its pack has.
impl PartialEq for BlockMap {
    fn eq(&self, other: &Self) -> bool {
        let place_of = |map: &Self, extent: &Extent| {
            let frame = extent.frame;
            (extent.range(), extent.skip, map.pack(frame), frame.offset, frame.length)
        };
        self.extents == other.extents
            && self
                .extents()
                .zip(other.extents())
                .all(|(one, two)| place_of(self, one) == place_of(other, two))
    }
}

impl Eq for BlockMap {}

/// Cuts extents into leaves that are half full, so that there is room to insert.
fn leaves_of(extents: &[Extent]) -> impl Iterator<Item = Arc<Vec<Extent>>> {
    extents.chunks(MAX_LEAF_EXTENTS / 2).map(|leaf| Arc::new(leaf.to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Insert { start: u32, blocks: u8, skip: u8, offset: u32 },
        Remove(Range<u32>),
    }

    fn change() -> impl Strategy<Value = Change> {
        let insert = (0u32..200, 1u8..=16, 0u32..50).prop_flat_map(|(start, blocks, offset)| {
            (0..=MAX_FRAME_BLOCKS - blocks).prop_map(move |skip| Change::Insert {
                start,
                blocks,
                skip,
                offset,
            })
        });
        let remove = (0u32..220, 0u32..40).prop_map(|(start, length)| Change::Remove(start..start + length));
        prop_oneof![3 => insert, 1 => remove]
    }

    proptest! {
        #[test]
        fn block_map_matches_an_array(changes in prop::collection::vec(change(), 1..60)) {
            let mut map = BlockMap::default();
            let mut earlier = None;
            let mut model: Vec<Option<(PackId, u32, u8)>> = vec![None; 300];
            for (number, change) in changes.into_iter().enumerate() {
                match change {
                    Change::Insert { start, blocks, skip, offset } => {
                        let id = PackId([number as u8; 16]);
                        let pack = map.add_pack(Pack { id, bytes: 1000, blocks: 16 });
                        let frame = Frame { pack, offset, length: 10 };
                        map.insert(Extent { start, blocks, frame, skip });
                        for index in 0..blocks {
                            model[start as usize + usize::from(index)] = Some((id, offset, skip + index));
                        }
                    }
                    Change::Remove(range) => {
                        map.remove(range.clone());
                        model[range.start as usize..range.end as usize].fill(None);
                    }
                }
                if number % 7 == 0 {
                    earlier = Some((map.clone(), map.extents().copied().collect::<Vec<_>>()));
                }
                let place = |block| map.at(block).map(|extent| {
                    (map.pack(extent.frame).id, extent.frame.offset, extent.skip)
                });
                for block in 0..300 {
                    prop_assert_eq!(place(block), model[block as usize], "block {}", block);
                }
            }
            // A clone does not change with the map.
            if let Some((clone, extents)) = earlier {
                prop_assert_eq!(clone.extents().copied().collect::<Vec<_>>(), extents);
            }
            let used: std::collections::BTreeMap<_, u32> =
                model.iter().flatten().fold(std::collections::BTreeMap::new(), |mut used, (id, ..)| {
                    *used.entry(*id).or_default() += 1;
                    used
                });
            let live: std::collections::BTreeMap<_, u32> =
                map.packs().map(|(_, used)| (used.pack.id, used.live)).collect();
            prop_assert_eq!(live, used);
            prop_assert_eq!(map.extents().count(), map.extents_len());
            prop_assert!(map.packs.len() <= 60 && map.leaves.iter().all(|leaf| !leaf.is_empty()));
        }
    }

    #[test]
    fn pack_stays_while_it_replaces_its_own_blocks() {
        let mut map = BlockMap::default();
        let pack = |id| Pack { id: PackId([id; 16]), bytes: 1 << 20, blocks: 4 };
        let one = map.add_pack(pack(1));
        for offset in [0, 100] {
            map.insert(Extent {
                start: 5,
                blocks: 4,
                frame: Frame { pack: one, offset, length: 9 },
                skip: 0,
            });
        }
        let other = map.add_pack(pack(2));
        assert_ne!(one, other);
        map.remove(0..20);
        assert_eq!(map.packs().count(), 0);
    }

    /// Many leaves, changed at their edges and across them.
    #[test]
    fn large_map_matches_an_array() {
        let mut map = BlockMap::default();
        let mut random: u64 = 7;
        let mut model = vec![None; 40_000];
        for number in 0..30_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let start = (random >> 33) as u32 % 39_000;
            if number % 50 == 49 {
                let range = start..start + (random >> 20) as u32 % 900;
                map.remove(range.clone());
                model[range.start as usize..range.end as usize].fill(None);
                continue;
            }
            let pack = map.add_pack(Pack { id: PackId([0; 16]), bytes: 1 << 20, blocks: 1 });
            let blocks = 1 + (random >> 25) as u8 % 16;
            map.insert(Extent { start, blocks, frame: Frame { pack, offset: number, length: 1 }, skip: 0 });
            for index in 0..blocks {
                model[start as usize + usize::from(index)] = Some((number, index));
            }
        }
        for (block, expected) in (0..).zip(&model) {
            assert_eq!(map.at(block).map(|extent| (extent.frame.offset, extent.skip)), *expected, "{block}");
        }
        let whole: Vec<_> = map.extents().copied().collect();
        assert!(whole.windows(2).all(|pair| pair[0].end() <= pair[1].start));
        assert_eq!(map.within(0..40_000).collect::<Vec<_>>(), whole);
        assert!(map.leaves.len() > 10, "{} leaves", map.leaves.len());
    }
}
