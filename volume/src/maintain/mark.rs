//! Marks the blocks of some packs as dirty, so that the next snapshot stores them again.

use std::{collections::HashSet, ops::Range, sync::Arc};

use crate::{
    error::VolumeError,
    format::block_map::{BlockMap, PackId},
    open::OpenVolume,
};

/// Blocks that are examined under one hold of the lock.
pub const WINDOW_BLOCKS: u32 = 1 << 16;

/// What marking a window has done.
pub struct MarkedWindow {
    /// Blocks that are dirty now.
    pub marked: u32,
    /// Blocks that must be fetched before they can be marked.
    pub missing: Vec<Range<u32>>,
    /// The map that `missing` refers to.
    pub map: Arc<BlockMap>,
}

/// Marks blocks of these packs that the cache has, at most `max_blocks`, in a window of at most
/// [`WINDOW_BLOCKS`].
pub async fn mark_window(
    volume: &Arc<OpenVolume>,
    packs: &Arc<HashSet<PackId>>,
    window: Range<u32>,
    max_blocks: u32,
) -> Result<MarkedWindow, VolumeError> {
    let packs = packs.clone();
    let marking = volume.with_cache(move |_, cache| {
        let mut cache = cache.lock_for_change()?;
        let marked = cache.mark_dirty(&packs, window, max_blocks);
        let marked = marked.map_err(VolumeError::cache_io("mark blocks as dirty in the cache's log"))?;
        Ok(MarkedWindow { marked: marked.marked, missing: marked.missing, map: cache.map() })
    });
    marking.await
}

/// The windows of a volume with this many blocks.
pub fn windows(blocks: u32) -> impl Iterator<Item = Range<u32>> {
    (0..blocks).step_by(WINDOW_BLOCKS as usize).map(move |start| {
        let end = blocks.min(start.saturating_add(WINDOW_BLOCKS));
        start..end
    })
}
