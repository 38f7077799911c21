//! Fetches blocks from the store into the cache.

use std::{ops::Range, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::{
    cache::{BlockSource, Cache},
    error::VolumeError,
    format::block_map::BlockMap,
    objects::{
        MAX_FETCHES, OpenedFrame,
        fetch_plan::{Fetch, plan_fetches},
    },
    open::OpenVolume,
    store::StoreError,
};

/// Fetches those blocks of the range that only the store has, and reads ahead. Afterwards each
/// block is in the cache or was overwritten.
pub async fn fetch_range(volume: &Arc<OpenVolume>, range: Range<u32>) -> Result<(), VolumeError> {
    let _waiting = volume.foreground.begin();
    let plan = volume.with_cache(move |volume, cache| {
        let cache = cache.lock()?;
        let is_missing =
            |range| cache.sources(range).into_iter().any(|source| matches!(source, BlockSource::Store(_)));
        if !is_missing(range.clone()) {
            return Ok(None);
        }
        let mut read_ahead = volume.read_ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let extended = read_ahead.extend(&range, volume.blocks());
        Ok(Some(plan_missing(&cache, [extended])))
    });
    let Some((map, fetches)) = plan.await? else { return Ok(()) };
    fetch_all(volume, map, fetches, MAX_FETCHES).await
}

/// Plans the fetches for those blocks of the runs that only the store has. Returns the map that
/// they refer to.
pub fn plan_missing(
    cache: &Cache,
    runs: impl IntoIterator<Item = Range<u32>>,
) -> (Arc<BlockMap>, Vec<Fetch>) {
    let map = cache.map();
    let missing = runs.into_iter().flat_map(|run| cache.sources(run)).filter_map(|source| match source {
        BlockSource::Store(run) => Some(run),
        _ => None,
    });
    let fetches = plan_fetches(&map, missing);
    (map, fetches)
}

/// Fetches, `concurrency` ranges at once, and puts the blocks into the cache. Ends with the first
/// error.
pub async fn fetch_all(
    volume: &Arc<OpenVolume>,
    map: Arc<BlockMap>,
    fetches: Vec<Fetch>,
    concurrency: usize,
) -> Result<(), VolumeError> {
    futures_util::stream::iter(fetches)
        .map(|fetch| async {
            let frames = volume.objects.fetch(&map, fetch).await?;
            fill_cache(volume, map.clone(), frames).await
        })
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// Like [`fetch_all`], but skips what is missing or damaged in the store.
pub async fn fetch_undamaged(
    volume: &Arc<OpenVolume>,
    map: Arc<BlockMap>,
    fetches: Vec<Fetch>,
    concurrency: usize,
) -> Result<(), VolumeError> {
    futures_util::stream::iter(fetches)
        .map(|fetch| fetch_or_skip(volume, &map, fetch))
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// Fetches a range. If it is damaged, fetches each of its frames alone, so that one damaged frame
/// costs only itself.
async fn fetch_or_skip(
    volume: &Arc<OpenVolume>,
    map: &Arc<BlockMap>,
    fetch: Fetch,
) -> Result<(), VolumeError> {
    match volume.objects.fetch(map, fetch.clone()).await {
        Ok(frames) => return fill_cache(volume, map.clone(), frames).await,
        Err(VolumeError::Store(StoreError::NotFound(_))) => return Ok(()),
        Err(error) if error.damaged_object().is_none() => return Err(error),
        Err(_) => {}
    }
    for frame in fetch.into_frames() {
        match volume.objects.fetch(map, frame).await {
            Ok(frames) => fill_cache(volume, map.clone(), frames).await?,
            Err(error) if error.damaged_object().is_none() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

async fn fill_cache(
    volume: &Arc<OpenVolume>,
    map: Arc<BlockMap>,
    frames: Vec<OpenedFrame>,
) -> Result<(), VolumeError> {
    volume
        .with_cache(move |_, cache| {
            for frame in frames {
                for extent in &frame.extents {
                    let content = frame.blocks_of(extent).expect("checked when the frame was opened");
                    let filled = cache.lock()?.fill(*extent, content, &map);
                    filled.map_err(VolumeError::cache_io("write fetched blocks to the cache"))?;
                }
            }
            Ok(())
        })
        .await
}
