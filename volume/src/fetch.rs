//! Bringing blocks from the store into the cache: which ranges of which packs, and what was in them.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::{
    blocks::BLOCK_BYTES,
    cache::Source,
    error::VolumeError,
    map::{BlockMap, Extent, FRAME_BLOCKS_MAX, Frame},
    pack::{open_frame, pack_cipher, pack_name, part},
    seal::FrameError,
    store::retrying,
    volume::{Shared, blocking, io_of},
};

/// Ranges in flight, for all readers of a volume: with the bound below at most 8 MiB in memory.
pub const FETCHES_MAX: usize = 8;
/// Largest range; at 20 ms a request and 400 Mbit/s half of the time is transfer.
const FETCH_BYTES_MAX: u32 = 1 << 20;
/// Bytes between two wanted frames that are cheaper to fetch than a second request.
const GAP_BYTES_MAX: u32 = 128 << 10;
/// What arrives altered is asked for again, then it is damaged in the store.
const OPEN_ATTEMPTS: usize = 3;

/// Reading ahead begins with so many blocks and doubles while reads follow one another.
const AHEAD_BLOCKS_MIN: u32 = 32;
const AHEAD_BLOCKS_MAX: u32 = 1024;

/// Notices readers that go straight on.
#[derive(Debug, Default)]
pub struct ReadAhead {
    next: u32,
    blocks: u32,
}

impl ReadAhead {
    /// How much of what follows is worth fetching too.
    fn extend(&mut self, range: &Range<u32>, volume_blocks: u32) -> Range<u32> {
        // Whole frames arrive, so a reader may get some blocks further than was asked for.
        let reach = self.next.saturating_add(u32::from(FRAME_BLOCKS_MAX));
        let goes_on = (self.next.saturating_sub(self.blocks)..=reach).contains(&range.start);
        self.blocks = if goes_on { (self.blocks * 2).clamp(AHEAD_BLOCKS_MIN, AHEAD_BLOCKS_MAX) } else { 0 };
        self.next = range.end.saturating_add(self.blocks).min(volume_blocks);
        range.start..self.next.max(range.end)
    }
}

/// One range of one pack and the frames in it that are wanted, each with the places its blocks have in the volume.
struct Fetch {
    pack: u32,
    range: Range<u32>,
    frames: Vec<(Frame, Vec<Extent>)>,
}

/// Fetches what of the range is in the store only. Afterwards it is in the cache, or has been overwritten.
pub async fn fill(shared: &Arc<Shared>, range: Range<u32>) -> Result<(), VolumeError> {
    let volume_blocks = (shared.size_bytes / BLOCK_BYTES) as u32;
    let plan = shared.on_cache(move |shared, cache| {
        let cache = cache()?;
        let needed =
            |range| cache.sources(range).into_iter().any(|source| matches!(source, Source::Store(_)));
        if !needed(range.clone()) {
            return Ok(None);
        }
        let mut read_ahead = shared.read_ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let wanted = read_ahead.extend(&range, volume_blocks);
        let map = cache.map();
        let runs = cache.sources(wanted).into_iter().filter_map(|source| match source {
            Source::Store(run) => Some(run),
            _ => None,
        });
        let fetches = plan(&map, runs);
        Ok(Some((map, fetches)))
    });
    let Some((map, fetches)) = plan.await? else { return Ok(()) };
    futures_util::stream::iter(fetches)
        .map(|one| fetch(shared, &map, one))
        .buffer_unordered(FETCHES_MAX)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// The fewest ranges that bring these blocks, and with them the rest of their frames.
fn plan(map: &BlockMap, runs: impl Iterator<Item = Range<u32>>) -> Vec<Fetch> {
    let mut frames: BTreeMap<Frame, Vec<Extent>> = BTreeMap::new();
    for extent in runs.flat_map(|run| map.within(run).collect::<Vec<_>>()) {
        frames.entry(extent.frame).or_insert_with(|| map.of_frame(extent.frame, extent.start + 1));
    }
    let mut fetches: Vec<Fetch> = Vec::new();
    for (frame, extents) in frames {
        let end = frame.offset + frame.length;
        match fetches.last_mut() {
            Some(last)
                if last.pack == frame.pack
                    && frame.offset.saturating_sub(last.range.end) <= GAP_BYTES_MAX
                    && end - last.range.start <= FETCH_BYTES_MAX =>
            {
                last.range.end = last.range.end.max(end);
                last.frames.push((frame, extents));
            }
            _ => fetches.push(Fetch {
                pack: frame.pack,
                range: frame.offset..end,
                frames: vec![(frame, extents)],
            }),
        }
    }
    fetches
}

async fn fetch(shared: &Arc<Shared>, map: &Arc<BlockMap>, fetch: Fetch) -> Result<(), VolumeError> {
    let _permit = shared.fetches.acquire().await.map_err(|_| VolumeError::Closed)?;
    let id = map.packs()[fetch.pack as usize].id;
    let name = pack_name(shared.tenant, id);
    let range = u64::from(fetch.range.start)..u64::from(fetch.range.end);
    let fetch = Arc::new(fetch);
    let mut reason = FrameError::Malformed;
    for _ in 0..OPEN_ATTEMPTS {
        let bytes = retrying(|| shared.store.get_range(&name, range.clone())).await?;
        let (opener, one) = (shared.clone(), fetch.clone());
        match blocking(move || Ok(open(&opener, id, &one, &bytes))).await? {
            Ok(parts) => return take_in(shared, map.clone(), parts).await,
            Err(error) => reason = error,
        }
        tracing::warn!(object = name, ?range, "a range of a pack does not open, asking again");
    }
    Err(VolumeError::Damaged { object: name, reason: reason.to_string() })
}

/// Opens the frames of a range; each extent with its blocks.
fn open(
    shared: &Shared,
    id: crate::map::PackId,
    fetch: &Fetch,
    bytes: &Bytes,
) -> Result<Vec<(Extent, Vec<u8>)>, FrameError> {
    let cipher = pack_cipher(&shared.key, shared.tenant, id);
    let mut parts = Vec::new();
    for (frame, extents) in &fetch.frames {
        let start = (frame.offset - fetch.range.start) as usize;
        let sealed = bytes.get(start..start + frame.length as usize).ok_or(FrameError::Malformed)?;
        let content = open_frame(&cipher, *frame, sealed)?;
        for extent in extents {
            parts.push((*extent, part(extent, &content)?.to_vec()));
        }
    }
    Ok(parts)
}

async fn take_in(
    shared: &Arc<Shared>,
    map: Arc<BlockMap>,
    parts: Vec<(Extent, Vec<u8>)>,
) -> Result<(), VolumeError> {
    shared
        .on_cache(move |_, cache| {
            for (extent, content) in parts {
                cache()?.fill(extent, &content, &map).map_err(io_of("fill the data"))?;
            }
            Ok(())
        })
        .await
}
