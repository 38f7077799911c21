//! What controller and runner say to each other.
//!
//! The controller gives a [`RunnerSpec`] once, on the runner's standard input (secrets never stand on a command line). From
//! then on the runner speaks and the controller answers: `POST /internal/runners/report` with a [`ReportRequest`], which is
//! heartbeat, report and long poll in one. Reports are facts that may come twice; the command is the wanted state, not an
//! event, so losing an answer loses nothing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    Epoch, ManifestId, Redacted, TenantId, VolumeId, WorkspaceId,
    api::{
        check::Repair,
        snapshot::{Consistency, SnapshotKind},
        workspace::HomeNotice,
    },
    workspace::{Failure, StepProgress},
};

/// Where the report goes.
pub const REPORT_PATH: &str = "/internal/runners/report";

/// How long a report may wait for news, in milliseconds.
pub const MAX_WAIT_MS: u64 = 10_000;

/// Which sandbox a runner makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// A QEMU microvm with its own kernel. The default and the only boundary against hostile code.
    Microvm,
    /// The agent as a plain process on the host: for tests and for simulation, never for strangers' code.
    Fake,
}

/// Size of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Resources {
    pub vcpus: u8,
    pub memory_mib: u32,
    /// The home volume's size; a home grows, it never shrinks.
    pub home_mib: u32,
    /// The scratch disk behind the root's overlay; dies with the machine.
    pub scratch_mib: u32,
    /// Most processes and threads of the guest's user.
    pub pids: u32,
}

/// Everything a runner needs, and nothing of any other workspace. JSON on standard input; the input stays open as a
/// lifeline: its end means that the parent died.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunnerSpec {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    /// The workspace's name: the guest's hostname.
    pub name: String,
    pub epoch: Epoch,
    pub runtime: RuntimeKind,
    pub resources: Resources,
    pub volume: VolumeId,
    /// The committed snapshot to go on from; none for a new home.
    pub head: Option<ManifestId>,
    /// The volume that made `head`, where it is another: the home is a fork that has no snapshot of its own yet.
    #[serde(default)]
    pub head_of: Option<VolumeId>,
    /// How often the home was put back to an earlier snapshot: what a local cache holds from before does not count.
    #[serde(default)]
    pub lineage: u64,
    /// The home's data key: 64 hexadecimal digits.
    pub data_key: Redacted<String>,
    /// The object store: `file:///…` or `s3://…`.
    pub store: String,
    /// This runner's own directory for sockets and other things that die with it; made by the runner, mode 0700.
    pub run_dir: PathBuf,
    /// The volume's local cache directory; outlives the runner.
    pub cache_dir: PathBuf,
    /// An image as `image build` left it (`root.erofs`, `vmlinux`, `scratch.ext4`, …). Unused by the fake runtime.
    pub image_dir: PathBuf,
    /// The initramfs that holds the agent. Unused by the fake runtime.
    pub initramfs: PathBuf,
    /// The agent's executable on the host; used by the fake runtime only.
    pub agent: PathBuf,
    /// A small number no other running runner on this host has: picks addresses and the VMM's uid. 0 ..= [`MAX_SLOT`].
    pub slot: u16,
    /// The controller: a path of a Unix socket (`/…`) or an `http(s)://` address.
    pub controller: String,
    /// Says to the controller that this is the runner of this epoch, and nothing else.
    pub token: Redacted<String>,
    /// The controller's public key for grants: hexadecimal Ed25519.
    pub grant_key: String,
    /// Without an answer for so long the runner must assume that it has been replaced, and stop serving.
    pub lease_ms: u64,
    /// Requests for a snapshot up to this one were of another placement: not this runner's to answer.
    #[serde(default)]
    pub snapshot_wanted: u64,
    /// The same of repairs.
    #[serde(default)]
    pub repair_wanted: u64,
    /// While it runs, the home goes to the store so often. 0: at stops and when asked only.
    #[serde(default)]
    pub stream_seconds: u32,
}

/// Highest slot: 100.64.0.0/10 gives 2^20 networks of four addresses; uids 620000+slot stay in 16 bits of room.
pub const MAX_SLOT: u16 = 16_383;

/// The runner's half of one exchange. `authorization: Bearer <token>` goes with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRequest {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
    /// In the order in which they became true. At most [`MAX_REPORTS`].
    pub reports: Vec<Report>,
    /// The command the runner is already acting on: the answer waits until another is wanted, or `wait_ms` have passed.
    pub acting_on: Command,
    /// The highest request for a snapshot that the runner has answered or is answering: a higher one ends the wait too.
    #[serde(default)]
    pub answering: u64,
    /// The same of repairs.
    #[serde(default)]
    pub repairing: u64,
    /// The size of the home that the runner has or is making: a larger one ends the wait too. 0: it does not care.
    #[serde(default)]
    pub home_mib: u32,
    /// 0 ..= [`MAX_WAIT_MS`].
    pub wait_ms: u64,
}

/// Most reports in one exchange.
pub const MAX_REPORTS: usize = 64;

/// A fact about the runner. Each may come twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    /// A step of a start or stop has begun.
    Step(StepProgress),
    /// The agent answered and the home is mounted; streams may come to `front`.
    Ready {
        /// Path of the front's Unix socket, or `host:port`.
        front: String,
        /// "kvm" or "tcg"; "none" for the fake runtime.
        accelerator: String,
    },
    /// The home's state, every few seconds while running.
    Home {
        dirty_bytes: u64,
        /// When this was so, by the runner's clock: a report may be late.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Age of the oldest write that no committed snapshot held then; 0 if there was none.
        #[serde(default)]
        unreplicated_ms: u64,
        used_bytes: Option<u64>,
        #[serde(default)]
        notice: Option<HomeNotice>,
    },
    /// A snapshot lies complete in the store. It counts once the answer lists it as committed.
    Snapshot {
        manifest: ManifestId,
        kind: SnapshotKind,
        consistency: Consistency,
        /// For [`SnapshotKind::Asked`]: the request that it answers, see [`ReportReply::snapshot_wanted`].
        #[serde(default)]
        answers: u64,
        /// The instant of the cut, by the runner's clock.
        #[serde(with = "time::serde::rfc3339")]
        cut_at: OffsetDateTime,
        changed_bytes: u64,
        uploaded_bytes: u64,
        objects: u64,
        /// Bytes that the whole home takes in the store.
        stored_bytes: u64,
    },
    /// A repair has been done, and its snapshot is committed; or it failed, and is not tried again by itself.
    Repaired {
        /// The request that it answers, see [`ReportReply::repair`].
        answers: u64,
        outcome: RepairOutcome,
    },
    /// The machine is gone and everything of it is removed. The last report.
    Stopped,
    /// The machine is gone after a failure. `home_safe` says whether all that the guest had flushed is committed or at
    /// least kept in the local cache. The last report.
    Failed { failure: Failure, home_safe: bool },
}

/// What a repair came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairOutcome {
    Done(Repair),
    /// Why nothing, or not all, was stored anew.
    Failed(String),
}

/// Objects of a home that are damaged in the store: what of them lies in the home's cache is to be stored anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairWish {
    /// Numbered from 1, as requests for a snapshot are.
    pub number: u64,
    /// At most [`MAX_REPAIR_OBJECTS`].
    pub objects: Vec<String>,
}

/// Objects of one repair: with 8 MiB each, a snapshot of 1 GiB.
pub const MAX_REPAIR_OBJECTS: usize = 128;

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportReply {
    /// What the runner is to do now.
    pub command: Command,
    /// The manifests of this request that are now committed.
    #[serde(default)]
    pub committed: Vec<ManifestId>,
    /// The lease from now on.
    pub lease_ms: u64,
    /// Requests for a snapshot are numbered from 1. A runner takes one for each number above the last that it answered; the
    /// answer to a later request answers the earlier too.
    #[serde(default)]
    pub snapshot_wanted: u64,
    /// A repair that is still to be done. The answer to a later one answers the earlier too.
    #[serde(default)]
    pub repair: Option<RepairWish>,
    /// The home's size, where it is to grow.
    #[serde(default)]
    pub home_mib: Option<u32>,
}

/// The wanted state of a runner. A runner that is refused with 409 `fenced` has been replaced: it stops at once, keeps its
/// cache and reports nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Run,
    /// Freeze, flush, snapshot, then end.
    Stop,
    /// End without a snapshot: the workspace is being deleted.
    Discard,
}
