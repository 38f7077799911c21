//! The frozen blocks of a running snapshot.
//!
//! A cut takes the dirty blocks as they are at one instant. Nothing is copied then: the content
//! stays in the data file, and the snapshot reads it from there piece by piece. When the guest
//! overwrites a block that was not read yet, its old content is first copied into the *aside file*,
//! at the same offset.

use std::{io, ops::Range, sync::Arc};

use tokio::time::Instant;

use super::file::CacheFile;
use crate::{
    blocks::{BLOCK_BYTES, BlockSet, byte_offset},
    format::{block_map::BlockMap, chain::Chain},
};

/// The cut of a running snapshot, as the cache keeps it.
pub struct CutState {
    number: u32,
    blocks: Arc<BlockSet>,
    oldest_write: Instant,
    is_whole: bool,
    /// Not copied yet, and unchanged in the data file.
    in_data: BlockSet,
    /// Not copied yet, and overwritten since: the aside file has them.
    in_aside: BlockSet,
    aside_file: CacheFile,
}

/// The cut of a running snapshot, as the snapshot gets it.
#[derive(Debug, Clone)]
pub struct CutContent {
    /// Names the cut to the cache, which may have abandoned it.
    pub number: u32,
    /// Blocks that differ from the head. Those that are not copied are zeros.
    pub blocks: Arc<BlockSet>,
    /// The head's map.
    pub map: Arc<BlockMap>,
    /// The head's chain; none before the first snapshot.
    pub chain: Option<Chain>,
    /// Whether the manifest must be whole.
    pub is_whole: bool,
    pub size_bytes: u64,
}

/// Blocks of a cut that hold data, and their content, in order.
pub struct CutBlocks {
    pub blocks: Vec<u32>,
    pub content: Vec<u8>,
}

impl CutState {
    /// `oldest_write` is the time of the oldest write in `blocks`.
    pub fn new(
        number: u32,
        blocks: Arc<BlockSet>,
        present: &BlockSet,
        oldest_write: Instant,
        is_whole: bool,
        aside_file: CacheFile,
    ) -> Self {
        let mut in_data = (*blocks).clone();
        in_data.intersect(present);
        let in_aside = BlockSet::new(blocks.volume_blocks());
        Self { number, blocks, oldest_write, is_whole, in_data, in_aside, aside_file }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// All blocks of the cut, copied or not.
    pub fn blocks(&self) -> &BlockSet {
        &self.blocks
    }

    pub fn oldest_write(&self) -> Instant {
        self.oldest_write
    }

    /// Whether its manifest will be whole.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Makes room for the blocks of a volume that has grown.
    pub fn grow(&mut self, blocks: u32) {
        self.in_data.grow(blocks);
        self.in_aside.grow(blocks);
    }

    /// Copies those blocks of the range aside that are not copied yet. To be called before they
    /// change.
    pub fn preserve(&mut self, data: &CacheFile, range: Range<u32>) -> io::Result<()> {
        let mut block = range.start;
        while let Some(next) = self.in_data.next(block).filter(|next| *next < range.end) {
            let mut content = [0; BLOCK_BYTES as usize];
            data.read(byte_offset(next), &mut content)?;
            self.aside_file.write(byte_offset(next), &content)?;
            self.in_data.remove(next);
            self.in_aside.insert(next);
            block = next + 1;
        }
        Ok(())
    }

    /// The next blocks that hold data, from `from` on, at most `max_blocks`. Empty after the last.
    pub fn copy_blocks(&mut self, data: &CacheFile, from: u32, max_blocks: usize) -> io::Result<CutBlocks> {
        let mut copied = CutBlocks { blocks: Vec::new(), content: Vec::new() };
        let mut next = from;
        while copied.blocks.len() < max_blocks {
            let (in_data, in_aside) = (self.in_data.next(next), self.in_aside.next(next));
            let Some(block) = in_data.into_iter().chain(in_aside).min() else { break };
            let (file, set) = match in_data {
                Some(first) if first == block => (data, &mut self.in_data),
                _ => (&self.aside_file, &mut self.in_aside),
            };
            let room = (max_blocks - copied.blocks.len()) as u32;
            next = set.next_absent(block).min(block + room);
            let start = copied.content.len();
            copied.content.resize(start + byte_offset(next - block) as usize, 0);
            file.read(byte_offset(block), &mut copied.content[start..])?;
            copied.blocks.extend(block..next);
            set.remove_all(block..next);
        }
        Ok(copied)
    }
}
