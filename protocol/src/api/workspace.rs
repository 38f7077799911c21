//! Workspaces.
//!
//! `GET/POST /api/v1/workspaces`, `GET/PATCH/DELETE /api/v1/workspaces/{id}`, `POST …/{id}/start`, `POST …/{id}/stop`,
//! `GET /api/v1/workspaces/deleted` and `POST …/{id}/undelete`,
//! `GET /api/v1/workspaces/events` and `GET …/{id}/events` (server-sent events: `event: workspace`,
//! data a [`Workspace`]; `event: deleted`, data `{"id": …}`; the present state comes first).
//! `{id}` is the identifier; clients resolve names by the list. The home's past is [`super::snapshot`]'s.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    ClassId, Epoch, UserId, WorkspaceId,
    grant::Access,
    runner::Resources,
    workspace::{Failure, Phase, StepProgress},
};

/// `GET /api/v1/workspaces/deleted`: those that the asker may bring back, the last deleted first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedList {
    pub workspaces: Vec<DeletedWorkspace>,
}

/// A workspace that was deleted and whose home is still kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedWorkspace {
    pub id: WorkspaceId,
    pub name: String,
    pub owner: UserId,
    pub owner_name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub deleted_at: OffsetDateTime,
    /// From then on nothing brings it back.
    #[serde(with = "time::serde::rfc3339")]
    pub kept_until: OffsetDateTime,
    /// What its home will be: the state of then. Absent: it was never saved.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub safe_at: Option<OffsetDateTime>,
    #[serde(default)]
    pub stored_bytes: Option<u64>,
}

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
    /// What was written before this instant survives the loss of the machine and its host.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub safe_at: Option<OffsetDateTime>,
    /// While running: the age of the oldest write that no snapshot holds yet, when the machine last told. 0: all is safe.
    #[serde(default)]
    pub unreplicated_seconds: Option<u32>,
    /// Bytes in the local cache that no snapshot holds yet.
    #[serde(default)]
    pub dirty_bytes: Option<u64>,
    /// Bytes that the home's files take, when the machine last told.
    #[serde(default)]
    pub home_used_bytes: Option<u64>,
    /// What the person should know about the home.
    #[serde(default)]
    pub home_notice: Option<HomeNotice>,
    /// Where its home came from, if it is a fork.
    #[serde(default)]
    pub forked_from: Option<super::snapshot::Origin>,
    /// Bytes the home takes in the object store.
    #[serde(default)]
    pub stored_bytes: Option<u64>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_used_at: Option<OffsetDateTime>,
}

/// Something about a home that its owner should know while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HomeNotice {
    /// The store does not take what is written: it stays on the host until it does.
    StoreUnavailable,
    /// More is written than the store takes: writing is slowed down.
    Throttled,
    /// The host's disk is nearly full: writing waits.
    HostDiskFull,
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
    /// The home's new size; it grows only, also while the machine runs.
    #[serde(default)]
    pub home_mib: Option<u32>,
}
