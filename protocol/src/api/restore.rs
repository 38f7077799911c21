//! Restoring files of a snapshot into a running home: `POST /workspaces/{id}/restores` streams
//! [`RestoreEvent`]s, and `POST /workspaces/{id}/restores/{restore}/undo` undoes it.
//!
//! Nothing that exists is lost: what a restore replaces moves to the directory
//! `.burrow-restores/<restore>` of the home, unless `force` is set.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Problem, RestoreId, SnapshotId, files::EntryKind};

/// The last member of a snapshot's archive, which names what the archive could not hold. It is not
/// below the archive's directory.
pub const SKIPPED_MEMBER: &str = "left-out.txt";
/// Most paths in one request.
pub const MAX_PATHS: usize = 1000;
/// Most entries of the snapshot in one restore. More would be a home that was made to be endless.
pub const MAX_RESTORE_ENTRIES: usize = 200_000;
/// Entries in one event.
pub const MAX_EVENT_ENTRIES: usize = 500;
/// Restores whose record is kept in the home. A new restore deletes the oldest record.
pub const MAX_RECORDS: usize = 10;
/// Paths that the answer to an undo lists.
pub const MAX_KEPT_PATHS: usize = 1000;

/// Files to restore into a running home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"snapshot": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182",
    "paths": ["notes.md", "src"], "dry_run": false}))]
pub struct NewRestore {
    /// The snapshot to restore from.
    pub snapshot: SnapshotId,
    /// Files and directories below the home, at most 1000. Empty: the whole home.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Only report what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Overwrite files that differ, without keeping them. An undo leaves them as they are.
    #[serde(default)]
    pub force: bool,
    /// A restore that ended early. Its record is continued, so that an undo covers all of it.
    #[serde(default)]
    pub resume: Option<RestoreId>,
}

/// What a restore did, or would do, about one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestoreOutcome {
    /// It did not exist.
    Created,
    /// Something else existed.
    Replaced,
    /// It is the same already.
    Same,
    /// It was not restored.
    Failed,
}

/// One entry of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"path": "src/main.rs", "kind": "file", "size": 1204, "outcome": "replaced"}))]
pub struct RestoredEntry {
    /// Below the home.
    pub path: String,
    /// Type of the entry.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// What was done.
    pub outcome: RestoreOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An event of a restore. `planned` comes once, before anything is written. `finished` or `failed`
/// is the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RestoreEvent {
    /// The snapshot is being compared with the home.
    Comparing {
        /// Entries compared so far.
        entries: u64,
    },
    /// The comparison is complete.
    Planned {
        /// Identifies the restore. Absent in a dry run.
        #[serde(default)]
        restore: Option<RestoreId>,
        /// Entries to write.
        entries: u64,
        /// Bytes to write.
        bytes: u64,
        /// Entries in the restored directories that the snapshot does not have. They stay.
        newer: u64,
    },
    /// Entries were written, or would be written, or need not be written.
    Entries {
        /// At most 500.
        entries: Vec<RestoredEntry>,
    },
    /// How far the restore is.
    Progress {
        /// Entries written, of those planned.
        entries: u64,
        /// Bytes written, of those planned.
        bytes: u64,
        /// The entry that is being written.
        path: String,
    },
    /// The restore is complete.
    Finished {
        /// Identifies the restore, to undo it. Absent if nothing was written.
        #[serde(default)]
        restore: Option<RestoreId>,
        /// Entries that did not exist before.
        created: u64,
        /// Entries that replaced something.
        replaced: u64,
        /// Entries that were the same already.
        same: u64,
        /// Entries that could not be restored.
        failed: u64,
    },
    /// The restore ended early. What was written stays; `resume` continues it.
    Failed {
        /// Why.
        problem: Problem,
    },
}

/// A path that an undo left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptPath {
    /// Below the home.
    pub path: String,
    /// Why.
    pub message: String,
}

/// What an undo did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"undone": 3, "kept_count": 1,
    "kept": [{"path": "notes.md", "message": "It was changed after the restore."}]}))]
pub struct UndoneRestore {
    /// Entries that are again as before the restore.
    pub undone: u64,
    /// Entries that were left as they are.
    pub kept_count: u64,
    /// The first 1000 of them.
    pub kept: Vec<KeptPath>,
}
