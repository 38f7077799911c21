//! Bringing blocks from the store into the cache: what is lacking, and what will be wanted next.

use std::{ops::Range, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::{
    cache::Source,
    error::VolumeError,
    map::{BlockMap, MAX_FRAME_BLOCKS},
    objects::{self, Fetch, MAX_FETCHES, Opened},
    store::StoreError,
    volume::{Shared, io_of},
};

/// Reading ahead begins with so many blocks and doubles while reads follow one another.
const MIN_AHEAD_BLOCKS: u32 = 32;
const MAX_AHEAD_BLOCKS: u32 = 1024;

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
        let reach = self.next.saturating_add(u32::from(MAX_FRAME_BLOCKS));
        let goes_on = (self.next.saturating_sub(self.blocks)..=reach).contains(&range.start);
        self.blocks = if goes_on { (self.blocks * 2).clamp(MIN_AHEAD_BLOCKS, MAX_AHEAD_BLOCKS) } else { 0 };
        self.next = range.end.saturating_add(self.blocks).min(volume_blocks);
        range.start..self.next.max(range.end)
    }
}

/// Fetches what of the range is in the store only. Afterwards it is in the cache, or has been overwritten.
pub async fn fill(shared: &Arc<Shared>, range: Range<u32>) -> Result<(), VolumeError> {
    let _waiting = shared.readers.enter();
    let plan = shared.on_cache(move |shared, cache| {
        let cache = cache()?;
        let needed =
            |range| cache.sources(range).into_iter().any(|source| matches!(source, Source::Store(_)));
        if !needed(range.clone()) {
            return Ok(None);
        }
        let mut read_ahead = shared.read_ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let wanted = read_ahead.extend(&range, shared.blocks());
        Ok(Some(lacking(&cache, [wanted])))
    });
    let Some((map, fetches)) = plan.await? else { return Ok(()) };
    take_in(shared, map, fetches, MAX_FETCHES).await
}

/// What the store has to bring of these runs.
pub fn lacking(
    cache: &crate::cache::Cache,
    runs: impl IntoIterator<Item = Range<u32>>,
) -> (Arc<BlockMap>, Vec<Fetch>) {
    let map = cache.map();
    let away = runs.into_iter().flat_map(|run| cache.sources(run)).filter_map(|source| match source {
        Source::Store(run) => Some(run),
        _ => None,
    });
    let fetches = objects::plan(&map, away);
    (map, fetches)
}

/// Fetches, so many ranges at once, and puts what comes into the cache.
pub async fn take_in(
    shared: &Arc<Shared>,
    map: Arc<BlockMap>,
    fetches: Vec<Fetch>,
    at_once: usize,
) -> Result<(), VolumeError> {
    futures_util::stream::iter(fetches)
        .map(|one| async {
            let opened = shared.objects.fetch(&map, one).await?;
            put(shared, map.clone(), opened).await
        })
        .buffer_unordered(at_once)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// As [`take_in`], past what is missing or altered in the store: that stays away.
pub async fn take_in_what_opens(
    shared: &Arc<Shared>,
    map: Arc<BlockMap>,
    fetches: Vec<Fetch>,
    at_once: usize,
) -> Result<(), VolumeError> {
    futures_util::stream::iter(fetches)
        .map(|one| take_in_or_pass_over(shared, &map, one))
        .buffer_unordered(at_once)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn take_in_or_pass_over(
    shared: &Arc<Shared>,
    map: &Arc<BlockMap>,
    fetch: Fetch,
) -> Result<(), VolumeError> {
    match shared.objects.fetch(map, fetch.clone()).await {
        Ok(opened) => return put(shared, map.clone(), opened).await,
        Err(VolumeError::Store(StoreError::NotFound(_))) => return Ok(()),
        Err(error) if error.damaged_object().is_none() => return Err(error),
        Err(_) => {}
    }
    for frame in fetch.frame_by_frame() {
        match shared.objects.fetch(map, frame).await {
            Ok(opened) => put(shared, map.clone(), opened).await?,
            Err(error) if error.damaged_object().is_none() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

async fn put(shared: &Arc<Shared>, map: Arc<BlockMap>, opened: Vec<Opened>) -> Result<(), VolumeError> {
    shared
        .on_cache(move |_, cache| {
            for frame in opened {
                for extent in &frame.extents {
                    let content = frame.part(extent).expect("checked when it was opened");
                    cache()?.fill(*extent, content, &map).map_err(io_of("fill the data"))?;
                }
            }
            Ok(())
        })
        .await
}
