//! Detects sequential reads and says how much to fetch beyond them. Pure.

use std::ops::Range;

use crate::format::block_map::MAX_FRAME_BLOCKS;

/// The first read-ahead. It doubles with each sequential read.
const MIN_AHEAD_BLOCKS: u32 = 32;
const MAX_AHEAD_BLOCKS: u32 = 1024;

/// Where the last fetch ended, and how far ahead it reached.
#[derive(Debug, Default)]
pub struct ReadAhead {
    next: u32,
    blocks: u32,
}

impl ReadAhead {
    /// Extends a read to what is worth fetching with it. A read that does not continue the last one
    /// is not extended.
    pub fn extend(&mut self, range: &Range<u32>, volume_blocks: u32) -> Range<u32> {
        // Whole frames arrive, so that a sequential read may already be a frame beyond the last
        // fetch.
        let reach = self.next.saturating_add(u32::from(MAX_FRAME_BLOCKS));
        let is_sequential = (self.next.saturating_sub(self.blocks)..=reach).contains(&range.start);
        self.blocks =
            if is_sequential { (self.blocks * 2).clamp(MIN_AHEAD_BLOCKS, MAX_AHEAD_BLOCKS) } else { 0 };
        self.next = range.end.saturating_add(self.blocks).min(volume_blocks);
        range.start..self.next.max(range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_ahead_doubles_while_sequential() {
        let mut ahead = ReadAhead::default();
        assert_eq!(ahead.extend(&(0..1), 10_000), 0..33);
        assert_eq!(ahead.extend(&(33..34), 10_000), 33..98);
        assert_eq!(ahead.extend(&(5000..5001), 10_000), 5000..5001);
        assert_eq!(ahead.extend(&(5001..5002), 5010), 5001..5010);
    }
}
