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
        let mut total = Verification::default();
        let mut next = Some(0);
        while let Some(from) = next {
            let (verified, rest) = self.verify_window(from).await?;
            total.add(verified);
            next = rest;
        }
        Ok(total)
    }

    /// Like [`Self::verify`], a part that begins at block `from`: some seconds of work. Also returns
    /// where the next part begins, if there is one. The first part counts the objects of all.
    pub async fn verify_window(&self, from: u32) -> Result<(Verification, Option<u32>), VolumeError> {
        let objects = if from == 0 { self.map().packs().count() as u64 } else { 0 };
        let mut verification = Verification { objects, ..Verification::default() };
        let end = self.blocks().min(from.saturating_add(WINDOW_BLOCKS));
        let fetches = plan_fetches(self.map(), std::iter::once(from..end));
        let mut outcomes =
            futures_util::stream::iter(fetches).map(|fetch| self.fetch(fetch)).buffer_unordered(MAX_FETCHES);
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
        Ok((verification, (end < self.blocks()).then_some(end)))
    }
}

impl Verification {
    /// Adds what was found in another part of the same snapshot.
    pub fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        for object in &other.damaged {
            self.add_damaged(object);
        }
    }

    fn add_damaged(&mut self, object: &str) {
        if !self.damaged.iter().any(|known| known == object) {
            self.damaged.push(object.to_owned());
        }
    }
}
