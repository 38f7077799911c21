//! Whether a home's objects in the store are what they were, and what is done where they are not.
//!
//! `POST /api/v1/workspaces/{id}/scrub` ([`ScrubRequest`]) → [`ScrubReport`]: reads every object that the home's snapshots name.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::SnapshotId;

/// Runs of lost bytes that are told one by one.
pub const MAX_LOST: usize = 100;
/// Damaged snapshots that are told one by one.
pub const MAX_DAMAGED_SNAPSHOTS: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubRequest {
    /// Of all snapshots. Absent: of the newest.
    #[serde(default)]
    pub all: bool,
    /// Store anew what is damaged in the newest, as far as the running machine has a copy of it, and check again.
    #[serde(default)]
    pub repair: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubReport {
    pub snapshots: u32,
    /// Objects that were read, each counted once for each snapshot that rests on it.
    pub objects: u64,
    /// Bytes of the home that they hold.
    pub bytes: u64,
    /// What is damaged; after a repair, still.
    pub damaged: Vec<Damage>,
    /// Snapshots that rest on something damaged, newest first, at most [`MAX_DAMAGED_SNAPSHOTS`]. After a repair also those that
    /// rest on what was damaged before it.
    #[serde(default)]
    pub damaged_snapshots: Vec<DamagedSnapshot>,
    /// Whether the newest snapshot can be read whole, now.
    #[serde(default)]
    pub newest_is_whole: bool,
    /// What was repaired. Absent: nothing was to repair, or it was not asked for.
    #[serde(default)]
    pub repair: Option<Repair>,
}

/// An object that is missing or not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Damage {
    pub object: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamagedSnapshot {
    pub id: SnapshotId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    pub name: Option<String>,
}

/// What a repair came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repair {
    /// Bytes of the home that were stored anew.
    pub renewed_bytes: u64,
    /// Bytes of the home of which there is no copy.
    pub lost_bytes: u64,
    /// Where those lie on the home's disk, at most [`MAX_LOST`] runs.
    pub lost: Vec<ByteRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByteRange {
    pub start: u64,
    /// Behind the last.
    pub end: u64,
}

impl Repair {
    /// Takes in another part of the same repair.
    pub fn add(&mut self, other: Self) {
        self.renewed_bytes += other.renewed_bytes;
        self.lost_bytes += other.lost_bytes;
        let room = MAX_LOST.saturating_sub(self.lost.len());
        self.lost.extend(other.lost.into_iter().take(room));
    }
}
