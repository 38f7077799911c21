//! Verifies a snapshot: reads everything that it uses from the store again.

use futures_util::StreamExt as _;

use super::SnapshotView;
use crate::{
    error::VolumeError,
    objects::{MAX_FETCHES, fetch_plan::plan_fetches},
};

/// Blocks whose fetches are planned together.
const WINDOW_BLOCKS: u32 = 1 << 16;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Packs that the snapshot uses.
    pub objects: u64,
    /// Bytes that were read and are intact, decompressed.
    pub bytes: u64,
    /// Names of objects that are missing or altered.
    pub damaged: Vec<String>,
}

impl SnapshotView {
    /// Fetches and verifies every frame of the snapshot. Damage is reported; an error means that
    /// the store did not answer.
    pub async fn verify(&self) -> Result<Verification, VolumeError> {
        let objects = self.map().packs().count() as u64;
        let mut verification = Verification { objects, ..Verification::default() };
        let blocks = self.blocks();
        let mut start = 0;
        while start < blocks {
            let end = blocks.min(start.saturating_add(WINDOW_BLOCKS));
            let fetches = plan_fetches(self.map(), std::iter::once(start..end));
            let mut outcomes = futures_util::stream::iter(fetches)
                .map(|fetch| self.fetch(fetch))
                .buffer_unordered(MAX_FETCHES);
            while let Some(outcome) = outcomes.next().await {
                match outcome {
                    Ok(opened) => {
                        let bytes = opened.iter().map(|frame| frame.content.len() as u64);
                        verification.bytes += bytes.sum::<u64>();
                    }
                    Err(error) => match error.damaged_object() {
                        Some(object) => verification.add_damaged(object),
                        None => return Err(error),
                    },
                }
            }
            start = end;
        }
        Ok(verification)
    }
}

impl Verification {
    fn add_damaged(&mut self, object: &str) {
        if !self.damaged.iter().any(|known| known == object) {
            self.damaged.push(object.to_owned());
        }
    }
}
