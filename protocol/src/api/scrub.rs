//! Verification of a home's objects in the store, and their repair.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::SnapshotId;

/// Most runs of lost bytes that are listed.
pub const MAX_LOST: usize = 100;
/// Most damaged snapshots that are listed.
pub const MAX_DAMAGED_SNAPSHOTS: usize = 100;

/// What to verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"all": false, "repair": true}))]
pub struct ScrubRequest {
    /// Verify all snapshots, not only the newest.
    #[serde(default)]
    pub all: bool,
    /// Store damaged objects of the newest snapshot again where the running workspace's cache has a
    /// copy, then verify again.
    #[serde(default)]
    pub repair: bool,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubReport {
    /// Snapshots that were verified.
    pub snapshots: u32,
    /// Objects that were read, counted once for each snapshot that needs them.
    pub objects: u64,
    /// Bytes of the home that they hold.
    pub bytes: u64,
    /// Objects that are damaged; after a repair, those that still are.
    pub damaged: Vec<Damage>,
    /// Snapshots that need a damaged object, newest first, at most 100. After a repair also those
    /// that need an object that was damaged before it.
    #[serde(default)]
    pub damaged_snapshots: Vec<DamagedSnapshot>,
    /// Whether the newest snapshot can now be read completely.
    #[serde(default)]
    pub newest_is_whole: bool,
    /// What was repaired. Absent if no repair was requested or needed.
    #[serde(default)]
    pub repair: Option<Repair>,
}

/// An object that is missing or does not match its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Damage {
    /// The object's name in the store.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
}

/// A snapshot that cannot be read completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamagedSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// The instant that it holds.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Its name, if it has one.
    pub name: Option<String>,
}

/// The result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repair {
    /// Bytes of the home that were stored again.
    pub rewritten_bytes: u64,
    /// Bytes of the home of which there is no copy.
    pub lost_bytes: u64,
    /// Where the lost bytes are on the volume, at most 100 runs.
    pub lost: Vec<ByteRange>,
}

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

impl Repair {
    /// Adds another part of the same repair.
    pub fn add(&mut self, other: Self) {
        self.rewritten_bytes += other.rewritten_bytes;
        self.lost_bytes += other.lost_bytes;
        let room = MAX_LOST.saturating_sub(self.lost.len());
        self.lost.extend(other.lost.into_iter().take(room));
    }
}
