//! Storing anew what lies in damaged objects, as far as there is a copy of it: in the cache, or where only a part of an object is
//! damaged, in the rest of it. What is stored anew is simply counted as dirty: the next snapshot does the rest. Decides nothing
//! about which objects those are.

use std::{collections::HashSet, ops::Range, sync::Arc};

use crate::{
    blocks::BLOCK_BYTES,
    compact::{WINDOW_BLOCKS, renew},
    error::VolumeError,
    fetch::take_in_what_opens,
    objects::{MAX_FETCHES, plan},
    pack::pack_of,
    volume::Volume,
};

/// Runs of lost blocks that are told one by one: what is lost beyond is counted.
pub const MAX_LOST_RUNS: usize = 100;

/// What a repair came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Bytes that the next snapshot stores anew.
    pub renewed_bytes: u64,
    /// Bytes of which there is no copy: they stay as damaged as they were.
    pub lost_bytes: u64,
    /// Where those lie in the volume, in order; at most [`MAX_LOST_RUNS`] runs.
    pub lost: Vec<Range<u64>>,
}

impl Volume {
    /// Counts what lies in these objects as dirty and has the next snapshot rest on no earlier manifest. Names that are no packs
    /// of this volume's are passed over: of a damaged manifest nothing is needed but a new one. Done twice, it does no more.
    pub async fn repair(&self, objects: &[String]) -> Result<Repaired, VolumeError> {
        let shared = &self.shared;
        let tenant = shared.objects.tenant;
        let packs: HashSet<_> = objects.iter().filter_map(|name| pack_of(tenant, name)).collect();
        let packs = Arc::new(packs);
        let (mut repaired, mut start) = (Repaired::default(), 0);
        while start < shared.blocks() && !packs.is_empty() {
            let window = start..shared.blocks().min(start.saturating_add(WINDOW_BLOCKS));
            start = window.end;
            let mut found = renew(shared, &packs, window.clone(), WINDOW_BLOCKS).await?;
            repaired.renew(found.blocks);
            if !found.away.is_empty() {
                let fetches = plan(&found.map, found.away.into_iter());
                take_in_what_opens(shared, found.map, fetches, MAX_FETCHES / 2).await?;
                found = renew(shared, &packs, window, WINDOW_BLOCKS).await?;
                repaired.renew(found.blocks);
                repaired.lose(found.away);
            }
        }
        shared
            .on_cache(|_, cache| {
                cache()?.want_whole();
                Ok(())
            })
            .await?;
        Ok(repaired)
    }
}

impl Repaired {
    fn renew(&mut self, blocks: u32) {
        self.renewed_bytes += u64::from(blocks) * BLOCK_BYTES;
    }

    fn lose(&mut self, runs: Vec<Range<u32>>) {
        for run in runs {
            let bytes = u64::from(run.start) * BLOCK_BYTES..u64::from(run.end) * BLOCK_BYTES;
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
