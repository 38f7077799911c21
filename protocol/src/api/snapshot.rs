//! Snapshots of a home: list, browse, compare, restore, fork, and the policy that keeps them.
//!
//! `{snapshot}` in a path is a snapshot's id or `latest`. No operation here starts the workspace.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Epoch, SnapshotId, WorkspaceId, files::EntryKind};

/// Longest name of a snapshot.
pub const MAX_NAME_BYTES: usize = 100;
/// Most snapshots in one page.
pub const MAX_SNAPSHOTS: u32 = 1000;
/// Most changed paths in one answer; `truncated` says that there are more.
pub const MAX_CHANGES: usize = 10_000;
/// Largest file that is compared line by line.
pub const MAX_DIFF_BYTES: u64 = 4 << 20;

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Taken automatically while the workspace ran. Pruned by the retention policy.
    Stream,
    /// Taken when the workspace stopped.
    Stop,
    /// Requested by a user. Kept until it is deleted.
    Requested,
}

/// What state of the file system a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The state after a power cut: everything that was flushed, and a prefix of the rest. The
    /// journal repairs it.
    Crash,
    /// The file system was frozen for the snapshot.
    Clean,
}

/// The content of a home at an instant, complete in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182",
    "name": "before the upgrade", "kind": "stream",
    "consistency": "crash", "epoch": 3, "changed_bytes": 1_048_576, "uploaded_bytes": 340_112,
    "stored_bytes": 73_400_320, "created_at": "2026-03-02T09:14:07Z"}))]
pub struct Snapshot {
    /// Identifies the snapshot.
    pub id: SnapshotId,
    /// A snapshot with a name is never pruned.
    #[serde(default)]
    pub name: Option<String>,
    /// Why it was taken.
    pub kind: SnapshotKind,
    /// What state of the file system it holds.
    pub consistency: Consistency,
    /// The placement that took it.
    pub epoch: Epoch,
    /// Bytes that had changed since the snapshot before.
    pub changed_bytes: u64,
    /// Bytes that were uploaded for it.
    pub uploaded_bytes: u64,
    /// Bytes that the whole home takes in the object store.
    pub stored_bytes: u64,
    /// The instant whose content it holds.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A page of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// Newest first.
    pub snapshots: Vec<Snapshot>,
    /// There are older ones: request them with `before` set to the last `created_at`.
    #[serde(default)]
    pub more: bool,
}

/// A snapshot to take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "before the upgrade"}))]
pub struct NewSnapshot {
    /// 1 to 100 bytes without control characters. Keeps the snapshot until it is deleted.
    #[serde(default)]
    pub name: Option<String>,
}

/// A name for a snapshot, which keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "before the upgrade"}))]
pub struct EditSnapshot {
    /// 1 to 100 bytes without control characters.
    pub name: String,
}

/// The snapshot to restore a whole home to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"snapshot": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182"}))]
pub struct Restore {
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// A workspace to create from another's home. Copies no data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "api-experiment", "start": true}))]
pub struct Fork {
    /// Name of the new workspace.
    pub name: String,
    /// The state to start from. If absent: the current one; a running workspace takes a snapshot for it.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// The template of the new workspace, which gives its size, image and tier. If absent: as the origin. The
    /// home does not become smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Whether to start it at once. `true` if absent.
    #[serde(default)]
    pub start: Option<bool>,
}

/// Where the home of a fork came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// The workspace that was forked.
    pub workspace: WorkspaceId,
    /// The instant up to which the two homes are the same.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A directory of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Directory {
    /// Its path below the home; empty for the home itself.
    pub path: String,
    /// Sorted by name.
    pub entries: Vec<SnapshotEntry>,
    /// Whether it has more entries than are listed.
    pub truncated: bool,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotEntry {
    /// With replacement characters where it is not UTF-8.
    pub name: String,
    /// Whether `name` is exact; where it is not, the entry can be seen but not addressed.
    pub utf8: bool,
    /// Whether it is a file, a directory, a symbolic link or something else.
    pub kind: EntryKind,
    /// Length of a file in bytes. Of other kinds, what the file system records.
    pub size: u64,
    /// Unix milliseconds.
    pub modified_ms: i64,
    /// Permission bits.
    pub mode: u32,
    /// Where a symbolic link points, as text.
    #[serde(default)]
    pub target: Option<String>,
}

/// How a path differs between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the later snapshot has it.
    Added,
    /// Only the earlier snapshot has it.
    Removed,
    /// Both have it, with different content or attributes.
    Changed,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"path": "notes.md", "kind": "changed", "entry": "file",
    "size_before": 120, "size_after": 164}))]
pub struct Change {
    /// Below the home.
    pub path: String,
    /// How it differs.
    pub kind: ChangeKind,
    /// Kind of the entry in the later snapshot, or in the earlier one if it was removed.
    pub entry: EntryKind,
    /// Size in the earlier snapshot.
    #[serde(default)]
    pub size_before: Option<u64>,
    /// Size in the later snapshot.
    #[serde(default)]
    pub size_after: Option<u64>,
}

/// What changed below a path between two snapshots. An added or removed directory stands for
/// everything in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// Sorted by path.
    pub changes: Vec<Change>,
    /// Whether there are more changes than are listed.
    pub truncated: bool,
}

/// The difference of one file between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Diff {
    /// The contents are equal.
    Same,
    /// Two texts.
    Text {
        /// The changed lines with their context, in the unified format of `diff -u`.
        unified: String,
    },
    /// A file that is not text, or too large to compare line by line.
    Binary {
        /// Bytes of the file in the earlier snapshot.
        size_before: u64,
        /// Bytes of the file in the later snapshot.
        size_after: u64,
    },
}

/// Which automatic snapshots are kept: the newest of each period, for so many hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"all_hours": 1, "minutely_hours": 24, "hourly_hours": 720, "daily_hours": 8760}))]
pub struct Retention {
    /// Every snapshot.
    pub all_hours: u32,
    /// One per minute.
    pub minutely_hours: u32,
    /// One per hour.
    pub hourly_hours: u32,
    /// One per day.
    pub daily_hours: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { all_hours: 1, minutely_hours: 24, hourly_hours: 30 * 24, daily_hours: 365 * 24 }
    }
}
