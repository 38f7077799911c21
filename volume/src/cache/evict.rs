//! Which blocks to drop when the disk runs low. Pure.

use std::ops::Range;

use crate::{
    blocks::{BlockSet, push_block},
    format::block_map::BlockMap,
};

/// Blocks to drop.
#[derive(Debug, PartialEq, Eq)]
pub struct Eviction {
    pub runs: Vec<Range<u32>>,
    /// Where to continue next time: 0 after the last block.
    pub next: u32,
}

/// Selects blocks from `from` on, at most `max_blocks`, that are present and clean and that the
/// store has. Going round in this way, a block that was just fetched is dropped last.
pub fn select_blocks(
    present: &BlockSet,
    dirty: &BlockSet,
    map: &BlockMap,
    from: u32,
    max_blocks: u32,
) -> Eviction {
    let (mut runs, mut count, mut block) = (Vec::new(), 0, from);
    while let Some(next) = present.next(block).filter(|_| count < max_blocks) {
        block = next + 1;
        if !dirty.contains(next) && map.at(next).is_some() {
            push_block(&mut runs, next);
            count += 1;
        }
    }
    Eviction { runs, next: if count < max_blocks { 0 } else { block } }
}
