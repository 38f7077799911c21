//! Repair: stores the content of damaged objects again, as far as there is a copy of it. A copy may
//! be in the cache, or, if only a part of an object is damaged, in the rest of it. The caller
//! decides which objects are damaged.

use std::{collections::HashSet, ops::Range, sync::Arc};

use super::mark::{WINDOW_BLOCKS, mark_window, windows};
use crate::{
    blocks::byte_offset,
    error::VolumeError,
    format::pack::parse_pack_name,
    objects::{MAX_FETCHES, fetch_plan::plan_fetches},
    read::fetch::fetch_undamaged,
    volume::Volume,
};

/// Runs of lost blocks that a report lists. Further ones are counted only.
pub const MAX_LOST_RUNS: usize = 100;

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Bytes that the next snapshot stores again.
    pub rewritten_bytes: u64,
    /// Bytes of which there is no copy. They stay damaged.
    pub lost_bytes: u64,
    /// Where the lost bytes lie in the volume, in order; at most [`MAX_LOST_RUNS`] runs.
    pub lost: Vec<Range<u64>>,
}

impl Volume {
    /// Marks the content of these objects as dirty, and makes the next snapshot write a whole
    /// manifest. Names that are not packs of this volume are ignored: a damaged manifest needs
    /// nothing but a new one. Repeating a repair does no more.
    pub async fn repair(&self, objects: &[String]) -> Result<RepairReport, VolumeError> {
        let volume = &self.inner;
        let tenant = volume.objects.tenant();
        let packs: HashSet<_> = objects.iter().filter_map(|name| parse_pack_name(tenant, name)).collect();
        let packs = Arc::new(packs);
        let mut report = RepairReport::default();
        let blocks = if packs.is_empty() { 0 } else { volume.blocks() };
        for window in windows(blocks) {
            let found = mark_window(volume, &packs, window.clone(), WINDOW_BLOCKS).await?;
            report.add_rewritten(found.marked);
            if !found.missing.is_empty() {
                let fetches = plan_fetches(&found.map, found.missing.into_iter());
                fetch_undamaged(volume, found.map, fetches, MAX_FETCHES / 2).await?;
                let found = mark_window(volume, &packs, window, WINDOW_BLOCKS).await?;
                report.add_rewritten(found.marked);
                report.add_lost(found.missing);
            }
        }
        volume
            .with_cache(|_, cache| {
                cache.lock()?.require_whole_manifest();
                Ok(())
            })
            .await?;
        Ok(report)
    }
}

impl RepairReport {
    fn add_rewritten(&mut self, blocks: u32) {
        self.rewritten_bytes += byte_offset(blocks);
    }

    fn add_lost(&mut self, runs: Vec<Range<u32>>) {
        for run in runs {
            let bytes = byte_offset(run.start)..byte_offset(run.end);
            self.lost_bytes += bytes.end - bytes.start;
            let is_full = self.lost.len() == MAX_LOST_RUNS;
            match self.lost.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                _ if is_full => {}
                _ => self.lost.push(bytes),
            }
        }
    }
}
