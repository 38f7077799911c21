//! Workspaces. `{id}` in a path is the workspace's id; clients find the id of a name in the list.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    Access, ClassId, Epoch, UserId, WorkspaceId,
    idle::AwakeReason,
    workspace::{Failure, HomeNotice, Phase, ProgramName, Resources, StepProgress},
};

/// The deleted workspaces that the caller can undelete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedList {
    /// The last deleted first.
    pub workspaces: Vec<DeletedWorkspace>,
}

/// A deleted workspace whose home is still kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedWorkspace {
    /// Identifies the workspace.
    pub id: WorkspaceId,
    /// Its name when it was deleted.
    pub name: String,
    /// Its owner.
    pub owner: UserId,
    /// The owner's name.
    pub owner_name: String,
    /// When it was deleted.
    #[serde(with = "time::serde::rfc3339")]
    pub deleted_at: OffsetDateTime,
    /// Afterwards it can no longer be undeleted.
    #[serde(with = "time::serde::rfc3339")]
    pub kept_until: OffsetDateTime,
    /// The home will have the state of this time. Absent if it was never saved.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub safe_at: Option<OffsetDateTime>,
    /// Bytes that the home takes in the object store.
    #[serde(default)]
    pub stored_bytes: Option<u64>,
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182", "name": "api",
    "owner": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9011",
    "owner_name": "Anna Lind", "template": "base", "resources": {"vcpus": 2, "memory_mib": 1024,
    "home_mib": 10_240,
    "scratch_mib": 8192, "pids": 4096}, "class": null, "phase": "running", "access": "write",
    "revision": 41, "epoch": 3,
    "steps": [{"step": "ready", "since": "2026-03-02T09:14:07Z"}], "accelerator": "kvm",
    "safe_at": "2026-03-02T09:20:31Z", "unreplicated_seconds": 2, "stored_bytes": 73_400_320,
    "created_at": "2026-02-20T08:00:00Z"}))]
pub struct Workspace {
    /// Identifies the workspace.
    pub id: WorkspaceId,
    /// Unique per owner: 1 to 63 of `[a-z0-9-]`, starting and ending with a letter or digit.
    pub name: String,
    /// The user who owns it.
    pub owner: UserId,
    /// The owner's name.
    pub owner_name: String,
    /// The template it was created from.
    pub template: String,
    /// Its size.
    pub resources: Resources,
    /// The class it was created for, if any.
    #[serde(default)]
    pub class: Option<ClassId>,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the caller may do with its terminals, files and documents.
    pub access: Access,
    /// Grows with every change of this record: of two copies the higher is newer.
    pub revision: u64,
    /// Number of the current or last placement.
    pub epoch: Epoch,
    /// Place in the queue while queued; 1 is next.
    #[serde(default)]
    pub queue_position: Option<u32>,
    /// While queued: when its turn probably comes. Absent if that is not known.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub estimated_start_at: Option<OffsetDateTime>,
    /// While queued: whether it has no place in the queue, because a budget or the size of the host holds it
    /// back. It continues once other workspaces of its owner, class or organisation have stopped.
    #[serde(default)]
    #[schema(required)]
    pub is_held: bool,
    /// Steps of the current start or stop in order; the last is under way.
    pub steps: Vec<StepProgress>,
    /// Why the last start or stop failed. Cleared by the next start.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// `kvm`, `tcg` (emulation) or `none`, while running.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// Everything written before this time survives the loss of the workspace and its host.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub safe_at: Option<OffsetDateTime>,
    /// While running: age of the oldest write that no snapshot holds, at the last report. 0 means
    /// that all is safe.
    #[serde(default)]
    pub unreplicated_seconds: Option<u32>,
    /// Bytes in the local cache that no snapshot holds yet.
    #[serde(default)]
    pub dirty_bytes: Option<u64>,
    /// Bytes that the home's files take, at the last report.
    #[serde(default)]
    pub home_used_bytes: Option<u64>,
    /// A condition of the home that its owner should know about.
    #[serde(default)]
    pub home_notice: Option<HomeNotice>,
    /// With the notice `out_of_memory`: the program that the kernel has ended.
    #[serde(default)]
    pub killed_program: Option<ProgramName>,
    /// While running: what keeps it awake, and when it stops. Absent if the runner has not told yet.
    #[serde(default)]
    pub idle: Option<WorkspaceIdle>,
    /// Where its home came from, if it is a fork.
    #[serde(default)]
    pub forked_from: Option<super::snapshot::Origin>,
    /// Whether it is being deleted. Its name is free, and it disappears when its sandbox has stopped.
    #[serde(default)]
    #[schema(required)]
    pub is_deleting: bool,
    /// Bytes that the home takes in the object store.
    #[serde(default)]
    pub stored_bytes: Option<u64>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last started or connected to.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_used_at: Option<OffsetDateTime>,
}

/// What keeps a running workspace awake, and when it stops if that ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"stops_at": null, "awake": [{"kind": "job", "program": "pytest"}],
    "held_until": "2026-03-02T18:00:00Z"}))]
pub struct WorkspaceIdle {
    /// When it is stopped if nobody uses it until then. Absent while a job runs, and if it is never stopped.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub stops_at: Option<OffsetDateTime>,
    /// What keeps it awake at the moment.
    pub awake: Vec<AwakeReason>,
    /// It is not stopped before this time, even if nobody uses it.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub held_until: Option<OffsetDateTime>,
}

/// For how long to hold a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"seconds": 7200}))]
pub struct HoldWorkspace {
    /// From now on. 0 releases it. Absent: as long as it would run if it was used now.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// The workspaces that the caller may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceList {
    /// Oldest first.
    pub workspaces: Vec<Workspace>,
}

/// A workspace to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "api", "template": "base", "start": true}))]
pub struct NewWorkspace {
    /// Unique among your workspaces: 1 to 63 of `[a-z0-9-]`.
    pub name: String,
    /// `base` if absent.
    #[serde(default)]
    pub template: Option<String>,
    /// Whether to start it at once. `true` if absent.
    #[serde(default)]
    pub start: Option<bool>,
}

/// Changes to a workspace. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"home_mib": 20_480}))]
pub struct EditWorkspace {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// The new size of the home in MiB. It can only grow, also while the workspace runs.
    #[serde(default)]
    pub home_mib: Option<u32>,
}
