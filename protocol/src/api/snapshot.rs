//! A home's past: its snapshots, what they hold, and what can be made of them.
//!
//! Below `/api/v1/workspaces/{id}`: `GET/POST snapshots`, `PATCH/DELETE snapshots/{snapshot}`,
//! `GET snapshots/{snapshot}/files?path=` → [`Directory`], `GET snapshots/{snapshot}/content?path=` (the file's bytes),
//! `GET snapshots/{snapshot}/changes?with=&path=` → [`Changes`], `GET snapshots/{snapshot}/diff?with=&path=` → [`Diff`],
//! `POST restore` ([`Restore`]) → [`super::workspace::Workspace`], `POST fork` ([`Fork`]) → the new workspace.
//! `{snapshot}` is an identifier or `latest`. None of them starts a machine.
//!
//! `GET/PUT /api/v1/retention` ([`Retention`]): how the tenant's automatic snapshots thin out.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Epoch, SnapshotId, WorkspaceId, files::EntryKind};

/// Longest name of a snapshot.
pub const MAX_NAME_BYTES: usize = 100;
/// Most snapshots in one answer.
pub const MAX_SNAPSHOTS: u32 = 1000;
/// Most changed paths in one answer; more are said by `truncated`.
pub const MAX_CHANGES: usize = 10_000;
/// Largest file whose difference is shown.
pub const MAX_DIFF_BYTES: u64 = 4 << 20;

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// By itself, while the machine ran. Thins out with time.
    Stream,
    /// When the machine stopped.
    Stop,
    /// Somebody asked for it. Stays until it is deleted.
    Requested,
}

/// What a snapshot holds of the instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// As after a power cut: all that was flushed, and a prefix of the rest; the file system's journal mends it.
    Crash,
    /// The file system had been put in order first.
    Clean,
}

/// A home at an instant, whole in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    pub id: SnapshotId,
    /// Given by a person. A named snapshot is never thinned out.
    #[serde(default)]
    pub name: Option<String>,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    pub epoch: Epoch,
    pub changed_bytes: u64,
    pub uploaded_bytes: u64,
    pub stored_bytes: u64,
    /// The instant.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    pub snapshots: Vec<Snapshot>,
    /// There are older ones: ask with `before` the last one's `created_at`.
    #[serde(default)]
    pub more: bool,
}

/// `POST …/snapshots`: takes one now; of a workspace that rests, keeps the newest. The answer waits until it is safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewSnapshot {
    /// 1 ..= [`MAX_NAME_BYTES`] bytes without control characters.
    #[serde(default)]
    pub name: Option<String>,
}

/// `PATCH …/snapshots/{snapshot}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditSnapshot {
    pub name: String,
}

/// `POST …/restore`: the whole home, of a workspace that rests. What it was is kept as a snapshot first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restore {
    pub snapshot: SnapshotId,
}

/// `POST …/fork`: a new workspace of the caller's whose home begins as this one's. Copies no data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fork {
    pub name: String,
    /// Absent: now. A running machine is asked for a snapshot, and goes on.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// Start it at once. Absent: true.
    #[serde(default)]
    pub start: Option<bool>,
}

/// Where a workspace's home comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    pub workspace: WorkspaceId,
    /// The instant at which the two homes were one.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A directory of a snapshot, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Directory {
    pub path: String,
    pub entries: Vec<PastEntry>,
    /// It has more than are here.
    pub truncated: bool,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastEntry {
    /// With replacement characters where it is not UTF-8.
    pub name: String,
    /// Whether `name` is exact; where it is not, the entry can be seen but not addressed.
    pub utf8: bool,
    pub kind: EntryKind,
    pub size: u64,
    /// Unix milliseconds.
    pub modified_ms: i64,
    /// Permission bits.
    pub mode: u32,
    /// Where a symbolic link points, as text.
    #[serde(default)]
    pub target: Option<String>,
}

/// How a path differs from the same path of another snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the later one has it.
    Added,
    /// Only the earlier one has it.
    Removed,
    Changed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub path: String,
    pub kind: ChangeKind,
    /// Of the entry, in the later snapshot unless it was removed.
    pub entry: EntryKind,
    #[serde(default)]
    pub size_before: Option<u64>,
    #[serde(default)]
    pub size_after: Option<u64>,
}

/// What has changed below a path from one snapshot to `with` (a later one; absent: `latest`). A directory that was added or
/// removed stands for all below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    pub changes: Vec<Change>,
    pub truncated: bool,
}

/// One file's difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Diff {
    Same,
    /// In unified form.
    Text {
        unified: String,
    },
    /// It is no text, or too large to compare line by line.
    Binary {
        size_before: u64,
        size_after: u64,
    },
}

/// How automatic snapshots thin out: the newest of each step stays, as long as the step lasts. Hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retention {
    /// Every one.
    pub all_hours: u32,
    /// One a minute.
    pub minutely_hours: u32,
    /// One an hour.
    pub hourly_hours: u32,
    /// One a day.
    pub daily_hours: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { all_hours: 1, minutely_hours: 24, hourly_hours: 30 * 24, daily_hours: 365 * 24 }
    }
}
