//! Workspaces.
//!
//! `GET/POST /api/v1/workspaces`, `GET/PATCH/DELETE /api/v1/workspaces/{id}`, `POST …/{id}/start`, `POST …/{id}/stop`,
//! `GET …/{id}/snapshots`, `GET /api/v1/workspaces/events` and `GET …/{id}/events` (server-sent events: `event: workspace`,
//! data a [`Workspace`]; `event: deleted`, data `{"id": …}`; the present state comes first).
//! `{id}` is the identifier; clients resolve names by the list.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    ClassId, Epoch, SnapshotId, UserId, WorkspaceId,
    grant::Access,
    runner::Resources,
    workspace::{Failure, Phase, StepProgress},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    pub id: WorkspaceId,
    /// Unique among the owner's: 1 ..= 63 of `[a-z0-9-]`, beginning and ending with a letter or digit.
    pub name: String,
    pub owner: UserId,
    pub owner_name: String,
    pub template: String,
    pub resources: Resources,
    #[serde(default)]
    pub class: Option<ClassId>,
    pub phase: Phase,
    /// What the asker may do with its streams.
    pub access: Access,
    /// Grows with every change of this record; a later one is newer.
    pub revision: u64,
    pub epoch: Epoch,
    /// While queued: 1 is next.
    #[serde(default)]
    pub queue_position: Option<u32>,
    /// The steps of the present start or stop, in order; the last is being done.
    pub steps: Vec<StepProgress>,
    /// Why the last start or stop failed; cleared by the next start.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// "kvm", "tcg" or "none", while running.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// When the newest committed snapshot was taken: the home is safe up to here.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub safe_at: Option<OffsetDateTime>,
    /// Bytes in the local cache that no snapshot holds yet.
    #[serde(default)]
    pub dirty_bytes: Option<u64>,
    /// Bytes the home takes in the object store.
    #[serde(default)]
    pub stored_bytes: Option<u64>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_used_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceList {
    pub workspaces: Vec<Workspace>,
}

/// `POST /api/v1/workspaces`. With the header `idempotency-key`, a repeated request gives the first one's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewWorkspace {
    pub name: String,
    /// Absent: `base`.
    #[serde(default)]
    pub template: Option<String>,
    /// Start it at once. Absent: true.
    #[serde(default)]
    pub start: Option<bool>,
}

/// `PATCH /api/v1/workspaces/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditWorkspace {
    #[serde(default)]
    pub name: Option<String>,
}

/// A committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub epoch: Epoch,
    pub changed_bytes: u64,
    pub uploaded_bytes: u64,
    pub stored_bytes: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    pub snapshots: Vec<Snapshot>,
}
