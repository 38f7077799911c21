//! Storing anew what lies in packs that are mostly dead or tiny, so that the collector can have them. What is stored anew is
//! simply counted as dirty: the next snapshot does the rest.

use std::{collections::HashSet, ops::Range, sync::Arc};

use crate::{
    error::VolumeError,
    fetch::take_in,
    map::{BlockMap, PackId, PackUse},
    objects::{MAX_FETCHES, plan},
    volume::{Shared, Volume, io_of},
};

/// A pack of which less than one block in so many is alive is sparse: what it keeps costs four times its room.
const SPARSE: u32 = 4;
/// Smaller ones are not worth a request.
const MIN_SPARSE_BYTES: u32 = 64 << 10;
/// A snapshot of a few seconds makes a pack of some kilobytes: so many of them are kept apart before they are joined.
const TINY_BYTES: u32 = 512 << 10;
const MAX_TINY_PACKS: usize = 256;
/// Blocks that are stored anew at once: 16 MiB.
const MAX_BLOCKS: u32 = 4096;
/// Blocks that are looked at under one hold of the lock.
pub const WINDOW_BLOCKS: u32 = 1 << 16;

impl Volume {
    /// Marks some of what should be stored anew. Returns the number of blocks.
    pub async fn compact(&self) -> Result<u32, VolumeError> {
        let shared = &self.shared;
        let map = shared.on_cache(|_, cache| Ok(cache()?.map())).await?;
        let chosen = Arc::new(choose(map.packs().map(|(_, used)| used)));
        if chosen.is_empty() {
            return Ok(0);
        }
        let (mut renewed, mut start) = (0, 0);
        while start < shared.blocks() && renewed < MAX_BLOCKS {
            let window = start..shared.blocks().min(start.saturating_add(WINDOW_BLOCKS));
            start = window.end;
            // Twice at most: what is away is fetched, and then it is here.
            for _ in 0..2 {
                let found = renew(shared, &chosen, window.clone(), MAX_BLOCKS - renewed).await?;
                renewed += found.blocks;
                if found.away.is_empty() || renewed >= MAX_BLOCKS {
                    break;
                }
                let fetches = plan(&found.map, found.away.into_iter());
                take_in(shared, found.map, fetches, MAX_FETCHES / 2).await?;
            }
        }
        Ok(renewed)
    }
}

/// What of a window was here and is now dirty, and what has to be fetched first.
pub struct Renewed {
    pub blocks: u32,
    pub away: Vec<Range<u32>>,
    pub map: Arc<BlockMap>,
}

/// Marks what the cache has of these packs in a window, which is at most [`WINDOW_BLOCKS`] long.
pub async fn renew(
    shared: &Arc<Shared>,
    packs: &Arc<HashSet<PackId>>,
    window: Range<u32>,
    blocks_max: u32,
) -> Result<Renewed, VolumeError> {
    let packs = packs.clone();
    let renewing = shared.on_cache(move |shared, cache| {
        let mut cache = cache()?;
        let (blocks, away) = cache.renew(&packs, window, blocks_max).map_err(io_of("renew blocks"))?;
        shared.note_dirt(&cache);
        Ok(Renewed { blocks, away, map: cache.map() })
    });
    renewing.await
}

/// Which packs to store anew.
fn choose(packs: impl Iterator<Item = PackUse>) -> HashSet<PackId> {
    let (mut tiny, mut chosen) = (Vec::new(), HashSet::new());
    for PackUse { pack, live } in packs {
        if pack.bytes < TINY_BYTES {
            tiny.push(pack);
        }
        if live.saturating_mul(SPARSE) < pack.blocks && pack.bytes >= MIN_SPARSE_BYTES {
            chosen.insert(pack.id);
        }
    }
    if tiny.len() > MAX_TINY_PACKS {
        chosen.extend(tiny.iter().map(|pack| pack.id));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Pack;

    fn used(id: u16, bytes: u32, blocks: u32, live: u32) -> PackUse {
        let mut name = [0; 16];
        name[..2].copy_from_slice(&id.to_le_bytes());
        PackUse { pack: Pack { id: PackId(name), bytes, blocks }, live }
    }

    #[test]
    fn sparse_packs_are_chosen_and_tiny_ones_once_there_are_many() {
        let packs = [used(1, 8 << 20, 4000, 999), used(2, 8 << 20, 4000, 1000), used(3, 60 << 10, 40, 1)];
        assert_eq!(choose(packs.into_iter()), HashSet::from([packs[0].pack.id]));
        let tiny = |count: u16| (0..count).map(|id| used(id, 1000, 2, 2));
        assert!(choose(tiny(256)).is_empty());
        assert_eq!(choose(tiny(257)).len(), 257);
    }
}
