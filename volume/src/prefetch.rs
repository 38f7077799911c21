//! Filling the cache in the background: first what starts have been seen to read, then the rest. Steps aside for the guest.

use std::{ops::Range, sync::Arc};

use crate::{
    error::VolumeError,
    fetch::{lacking, take_in},
    volume::{Shared, Volume},
};

/// Ranges in flight for what a start is about to ask for.
const SOON_AT_ONCE: usize = 6;
/// And for what is merely not here yet: it must not fill the way that the guest's own reads take.
const LATER_AT_ONCE: usize = 2;
/// Blocks of one step.
const STEP_BLOCKS: u32 = 1024;
/// Runs of an order that are asked for together.
const STEP_RUNS: usize = 64;

impl Volume {
    /// Fetches what is not here. Ends when all is, or with an error that the guest's own reads would meet too.
    pub async fn prefetch(&self) -> Result<(), VolumeError> {
        let shared = &self.shared;
        for runs in shared.recorder.known().chunks(STEP_RUNS) {
            step(shared, runs.to_vec(), SOON_AT_ONCE).await?;
        }
        let mut start = 0;
        while start < shared.blocks() {
            if shared.pace.is_full() {
                return Ok(());
            }
            shared.readers.gone().await;
            let end = shared.blocks().min(start.saturating_add(STEP_BLOCKS));
            step(shared, std::iter::once(start..end).collect(), LATER_AT_ONCE).await?;
            start = end;
        }
        Ok(())
    }
}

async fn step(shared: &Arc<Shared>, runs: Vec<Range<u32>>, at_once: usize) -> Result<(), VolumeError> {
    let (map, fetches) = shared
        .on_cache(move |shared, cache| {
            let cache = cache()?;
            let within = |run: Range<u32>| run.start..run.end.min(shared.blocks());
            Ok(lacking(&cache, runs.into_iter().map(within).filter(|run| !run.is_empty())))
        })
        .await?;
    take_in(shared, map, fetches, at_once).await
}
