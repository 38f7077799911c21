//! What controller and runner say to each other.
//!
//! The controller gives a [`RunnerSpec`] once, on the runner's standard input (secrets never stand on a command line). From
//! then on the runner speaks and the controller answers: `POST /internal/runners/report` with a [`ReportRequest`], which is
//! heartbeat, report and long poll in one. Reports are facts that may come twice. The answer is a [`DesiredRunnerState`], not
//! a list of events, so a lost answer loses nothing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    Epoch, ManifestId, Redacted, TenantId, VolumeId, WorkspaceId,
    api::{
        scrub::Repair,
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
    /// Highest snapshot request of earlier placements. This runner answers later ones only.
    #[serde(default)]
    pub snapshot_requested: u64,
    /// Highest repair request of earlier placements. This runner answers later ones only.
    #[serde(default)]
    pub repair_requested: u64,
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
    /// What the runner knows already. The answer waits until the desired state is ahead of it, or `wait_ms` have passed.
    pub acknowledged: AcknowledgedState,
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
        /// For [`SnapshotKind::Requested`]: the request that it answers, see [`DesiredRunnerState::snapshot`].
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
        /// The request that it answers, see [`DesiredRunnerState::repair`].
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

/// Asks a runner to store damaged objects again, as far as the home's local cache has their content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairRequest {
    /// Counts from 1, like snapshot requests.
    pub number: u64,
    /// Names of the damaged objects, at most [`MAX_REPAIR_OBJECTS`].
    pub objects: Vec<String>,
}

/// Most objects of one repair: with 8 MiB each, a snapshot of 1 GiB.
pub const MAX_REPAIR_OBJECTS: usize = 128;

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportReply {
    /// What the runner should do now.
    pub desired: DesiredRunnerState,
    /// The manifests of this request that are now committed.
    #[serde(default)]
    pub committed: Vec<ManifestId>,
    /// How long the runner may serve from now on without another answer.
    pub lease_ms: u64,
}

/// What a runner should do. Every field is a level, not an event: receiving it twice changes nothing, and a lost answer
/// loses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredRunnerState {
    pub command: Command,
    /// Number of the latest snapshot request, from 1; 0 if there was none. A runner takes one snapshot for each number
    /// above the last that it answered. The answer to a later request answers the earlier ones too.
    #[serde(default)]
    pub snapshot: u64,
    /// The repair that is still to be done. The answer to a later request answers the earlier ones too.
    #[serde(default)]
    pub repair: Option<RepairRequest>,
    /// Size that the home should have. It never shrinks.
    pub home_mib: u32,
}

/// How much of the desired state a runner has received. The controller does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedState {
    /// The command that the runner is acting on.
    pub command: Command,
    /// The latest snapshot request that it has answered or is answering.
    #[serde(default)]
    pub snapshot: u64,
    /// The latest repair request that it has answered or is answering.
    #[serde(default)]
    pub repair: u64,
    /// The size that the home has or is growing to. 0 if the runner no longer follows the size.
    #[serde(default)]
    pub home_mib: u32,
}

impl DesiredRunnerState {
    /// Whether there is more to do than the runner has acknowledged.
    pub fn is_ahead_of(&self, acknowledged: &AcknowledgedState) -> bool {
        self.command != acknowledged.command
            || self.snapshot > acknowledged.snapshot
            || self.repair.as_ref().is_some_and(|repair| repair.number > acknowledged.repair)
            || (acknowledged.home_mib > 0 && self.home_mib > acknowledged.home_mib)
    }
}

/// The part of the desired state that says how a placement ends. A runner that is refused with 409 `fenced` has been
/// replaced: it stops at once, keeps its cache and reports nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Run,
    /// Freeze, flush, snapshot, then end.
    Stop,
    /// End without a snapshot: the workspace is being deleted.
    Discard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn desired_state_is_ahead_until_acknowledged() {
        let desired = DesiredRunnerState {
            command: Command::Run,
            snapshot: 2,
            repair: Some(RepairRequest { number: 3, objects: vec![] }),
            home_mib: 20,
        };
        let acknowledged = AcknowledgedState { command: Command::Run, snapshot: 2, repair: 3, home_mib: 20 };
        assert!(!desired.is_ahead_of(&acknowledged));
        assert!(
            !desired.is_ahead_of(&AcknowledgedState { home_mib: 0, ..acknowledged }),
            "size not followed"
        );
        for behind in [
            AcknowledgedState { command: Command::Stop, ..acknowledged },
            AcknowledgedState { snapshot: 1, ..acknowledged },
            AcknowledgedState { repair: 2, ..acknowledged },
            AcknowledgedState { home_mib: 19, ..acknowledged },
        ] {
            assert!(desired.is_ahead_of(&behind), "{behind:?}");
        }
    }
}
