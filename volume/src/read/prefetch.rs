//! Fills the cache in the background: first the blocks that earlier starts have read, then the
//! rest. Gives way to the guest's own reads.

use std::{ops::Range, sync::Arc};

use super::fetch::{fetch_all, plan_missing};
use crate::{error::VolumeError, open::OpenVolume};

/// Concurrent fetches of the boot order, which the guest is about to read.
const BOOT_CONCURRENCY: usize = 6;
/// Concurrent fetches of the rest, which must leave bandwidth to the guest's own reads.
const REST_CONCURRENCY: usize = 2;
/// Blocks of the rest that are fetched in one step.
const STEP_BLOCKS: u32 = 1024;
/// Runs of the boot order that are fetched in one step.
const STEP_RUNS: usize = 64;

/// Fetches all blocks that the cache does not have. Ends when the cache has them all, when the
/// local disk is short of space, or with an error that the guest's own reads would get too.
pub async fn fetch_everything(volume: &Arc<OpenVolume>) -> Result<(), VolumeError> {
    for runs in volume.boot_order.known().chunks(STEP_RUNS) {
        fetch_runs(volume, runs.to_vec(), BOOT_CONCURRENCY).await?;
    }
    let mut start = 0;
    while start < volume.blocks() {
        if volume.throttle.is_full() || volume.throttle.share.must_shrink() {
            return Ok(());
        }
        volume.foreground.wait_until_idle().await;
        let end = volume.blocks().min(start.saturating_add(STEP_BLOCKS));
        fetch_runs(volume, std::iter::once(start..end).collect(), REST_CONCURRENCY).await?;
        start = end;
    }
    Ok(())
}

async fn fetch_runs(
    volume: &Arc<OpenVolume>,
    runs: Vec<Range<u32>>,
    concurrency: usize,
) -> Result<(), VolumeError> {
    let (map, fetches) = volume
        .with_cache(move |volume, cache| {
            let cache = cache.lock()?;
            let clip = |run: Range<u32>| run.start..run.end.min(volume.blocks());
            Ok(plan_missing(&cache, runs.into_iter().map(clip).filter(|run| !run.is_empty())))
        })
        .await?;
    fetch_all(volume, map, fetches, concurrency).await
}
