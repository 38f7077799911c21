//! Compaction: stores the blocks of packs again that are mostly unused or tiny, so that gc can
//! delete those packs.

use std::{collections::HashSet, sync::Arc};

use super::mark::{mark_window, windows};
use crate::{
    error::VolumeError,
    format::block_map::{PackId, PackUse},
    objects::{MAX_FETCHES, fetch_plan::plan_fetches},
    read::fetch::fetch_all,
    volume::Volume,
};

/// A pack is sparse if less than one of this many of its blocks is in use: it takes four times the
/// space of its content.
const SPARSE_RATIO: u32 = 4;
/// Smaller packs are not worth a request.
const MIN_SPARSE_BYTES: u32 = 64 << 10;
/// A snapshot of a few seconds makes a pack of some kilobytes. Packs below this size are tiny.
const TINY_PACK_BYTES: u32 = 512 << 10;
/// More tiny packs than this are joined.
const MAX_TINY_PACKS: usize = 256;
/// Blocks that one compaction stores again: 16 MiB.
const MAX_COMPACTED_BLOCKS: u32 = 4096;

impl Volume {
    /// Marks blocks of sparse and tiny packs, so that the next snapshot stores them again. Blocks
    /// that the cache does not have are fetched first. Returns how many blocks were marked.
    pub async fn compact(&self) -> Result<u32, VolumeError> {
        let volume = &self.inner;
        let map = volume.with_cache(|_, cache| Ok(cache.lock()?.map())).await?;
        let packs = Arc::new(select_packs(map.packs().map(|(_, used)| used)));
        if packs.is_empty() {
            return Ok(0);
        }
        let mut marked = 0;
        for window in windows(volume.blocks()) {
            if marked >= MAX_COMPACTED_BLOCKS {
                break;
            }
            // Twice at most: the missing blocks are fetched, and then they are there.
            for _ in 0..2 {
                let found =
                    mark_window(volume, &packs, window.clone(), MAX_COMPACTED_BLOCKS - marked).await?;
                marked += found.marked;
                if found.missing.is_empty() || marked >= MAX_COMPACTED_BLOCKS {
                    break;
                }
                let fetches = plan_fetches(&found.map, found.missing.into_iter());
                fetch_all(volume, found.map, fetches, MAX_FETCHES / 2).await?;
            }
        }
        Ok(marked)
    }
}

/// The packs whose blocks should be stored again.
fn select_packs(packs: impl Iterator<Item = PackUse>) -> HashSet<PackId> {
    let (mut tiny, mut selected) = (Vec::new(), HashSet::new());
    for PackUse { pack, live } in packs {
        if pack.bytes < TINY_PACK_BYTES {
            tiny.push(pack);
        }
        if live.saturating_mul(SPARSE_RATIO) < pack.blocks && pack.bytes >= MIN_SPARSE_BYTES {
            selected.insert(pack.id);
        }
    }
    if tiny.len() > MAX_TINY_PACKS {
        selected.extend(tiny.iter().map(|pack| pack.id));
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::block_map::Pack;

    fn used(id: u16, bytes: u32, blocks: u32, live: u32) -> PackUse {
        let mut name = [0; 16];
        name[..2].copy_from_slice(&id.to_le_bytes());
        PackUse { pack: Pack { id: PackId(name), bytes, blocks }, live }
    }

    #[test]
    fn sparse_packs_are_selected() {
        let packs = [used(1, 8 << 20, 4000, 999), used(2, 8 << 20, 4000, 1000), used(3, 60 << 10, 40, 1)];
        assert_eq!(select_packs(packs.into_iter()), HashSet::from([packs[0].pack.id]));
    }

    #[test]
    fn tiny_packs_are_selected_once_there_are_many() {
        let tiny = |count: u16| (0..count).map(|id| used(id, 1000, 2, 2));
        assert!(select_packs(tiny(256)).is_empty());
        assert_eq!(select_packs(tiny(257)).len(), 257);
    }
}
