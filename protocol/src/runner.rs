//! The messages between controller and runner.
//!
//! The controller writes a [`RunnerSpec`] to the runner's standard input, once. (A command line is
//! visible to other processes and must not contain secrets.) After that only the runner makes
//! requests, over the channel that it inherits as [`CONTROLLER_CHANNEL`]. No other process has an end of it,
//! so what arrives there is this runner's, and its objects are those of its tenant ([`OBJECTS_PATH`]).
//! `POST /internal/runners/report` with a [`ReportRequest`] is heartbeat, report and long
//! poll in one. Reports are facts that may arrive twice. The answer contains the
//! [`DesiredRunnerState`] and not a list of events, so a lost answer loses nothing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    Epoch, ManifestId, Redacted, TenantId, VolumeId, WorkspaceId,
    api::{
        scrub::Repair,
        snapshot::{Consistency, SnapshotKind},
    },
    idle::AwakeReason,
    network::{EffectivePolicy, NetworkBounds, PolicyKey, PolicySeal, RefusedName},
    workspace::{Failure, HomeNotice, ProgramName, Resources, StepProgress, Tier},
};

/// Path of the report route.
pub const REPORT_PATH: &str = "/internal/runners/report";

/// Path of the objects of the runner's tenant; the name follows, without the tenant. `PUT` creates one
/// unless it exists: 201 or 200. `GET` returns one of at most `max_bytes` (a parameter of the query), or the
/// `Range` of it.
pub const OBJECTS_PATH: &str = "/internal/objects/";

/// The descriptor that a runner inherits: one end of a Unix socket, over which it passes connections to the
/// controller.
pub const CONTROLLER_CHANNEL: i32 = 3;

/// Name of the front's Unix socket in the directory of its runner.
pub const FRONT_SOCKET: &str = "front.sock";

/// Longest time that a report may wait for a change of the desired state, in milliseconds.
pub const MAX_WAIT_MS: u64 = 10_000;

/// The kind of sandbox that a runner starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// A QEMU microVM with its own kernel. The default, and the only one that isolates hostile code.
    Microvm,
    /// Namespaces of the host's kernel, and gVisor's kernel between it and the programs.
    Gvisor,
    /// Namespaces of the host's kernel. For trusted use: it does not isolate hostile code.
    Container,
    /// The agent as a plain process on the host. For tests and simulation only: it isolates nothing.
    Fake,
}

/// Everything that a runner needs, and nothing about any other workspace. It is JSON on standard
/// input. The input stays open: its end means that the parent process died, and the runner then
/// stops.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunnerSpec {
    /// The tenant that owns the workspace.
    pub tenant: TenantId,
    /// The workspace to run.
    pub workspace: WorkspaceId,
    /// The workspace's name, which is the guest's hostname.
    pub name: String,
    /// The placement. Every report contains it.
    pub epoch: Epoch,
    /// The kind of sandbox.
    pub runtime: RuntimeKind,
    /// The size of the sandbox.
    pub resources: Resources,
    /// The volume that stores the home.
    pub volume: VolumeId,
    /// The committed snapshot that the home continues from. `None` for a new home.
    pub head: Option<ManifestId>,
    /// The volume that made `head`, if it is another one: the home is a fork without a snapshot of its own.
    #[serde(default)]
    pub head_of: Option<VolumeId>,
    /// How often the home was restored as a whole. Older content of the local cache does not count.
    #[serde(default)]
    pub lineage: u64,
    /// The operator's own `runsc`, which starts sandboxes of gVisor. Without it, that of `PATH`.
    #[serde(default)]
    pub runsc: Option<PathBuf>,
    /// The tier whose sandboxes have written the home so far. `None` for a new home.
    #[serde(default = "most_restricted")]
    pub written_by: Option<Tier>,
    /// The key that encrypts the home's objects, as 64 hexadecimal digits.
    pub data_key: Redacted<String>,
    /// Directory for the runner's sockets and other temporary files. The runner creates it. Only its own user
    /// can list it.
    pub run_dir: PathBuf,
    /// The group that may connect to the front: the gateway's, if it runs as another user.
    #[serde(default)]
    pub gateway_group: Option<u32>,
    /// Directory of the volume's local cache. It outlives the runner.
    pub cache_dir: PathBuf,
    /// Directory of an image that `image build` made (`root.erofs`, `vmlinux`, `scratch.ext4`, …).
    /// The fake runtime ignores it.
    pub image_dir: PathBuf,
    /// The initramfs with the agent. The fake runtime ignores it.
    pub initramfs: PathBuf,
    /// The agent's executable on the host, for containers and the fake runtime.
    pub agent: PathBuf,
    /// A number that no other runner on this host has. It selects the network addresses and the
    /// VMM's uid. 0 ..= [`MAX_SLOT`].
    pub slot: u16,
    /// Authenticates this runner of this epoch to the controller. It permits nothing else.
    pub token: Redacted<String>,
    /// The controller's public key for grants: an Ed25519 key as hexadecimal digits.
    pub grant_key: String,
    /// Without an answer for this long, the runner must assume that it was replaced, and stop serving.
    /// `None`: no other runner can replace it while its input is open.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// Highest snapshot request of earlier placements. This runner answers later ones only.
    #[serde(default)]
    pub snapshot_requested: u64,
    /// Highest repair request of earlier placements. This runner answers later ones only.
    #[serde(default)]
    pub repair_requested: u64,
    /// How often a running home is uploaded. 0 uploads only on stop and on request.
    #[serde(default)]
    pub stream_seconds: u32,
    /// How much automatic snapshots of the home may store in an hour, in MiB. 0: no bound.
    #[serde(default)]
    pub upload_mib_per_hour: u32,
    /// How much of the allowance for automatic snapshots earlier placements have used up, in bytes. It falls
    /// with time.
    #[serde(default)]
    pub upload_allowance_used: u64,
    /// Whether the guest may be copied from one that has booted, instead of booting.
    #[serde(default)]
    pub use_prototypes: bool,
    /// After how many idle seconds the controller stops the workspace. 0: never.
    #[serde(default)]
    pub idle_stop_seconds: u64,
    /// Where the workspace may connect.
    #[serde(default)]
    pub network: NetworkSpec,
    /// Seals later policies. For the supervisor only, which does not pass it on; without it, no other policy
    /// is enforced.
    #[serde(default)]
    pub policy_key: Option<PolicyKey>,
    /// What holds for the sandbox's network whatever the policy says.
    #[serde(default)]
    pub network_bounds: NetworkBounds,
    /// What the sandbox, and the runner for it, may ask of each disk of the host.
    #[serde(default)]
    pub disk_limits: DiskLimits,
}

/// What a sandbox may ask of a disk of the host, and as much the runner for its home. None: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLimits {
    /// Reads in a second, and as many writes.
    pub iops: Option<u32>,
    /// MiB that are read in a second, and as many that are written.
    pub mib_per_second: Option<u32>,
}

/// Builds and databases do not meet this for long; a guest that does nothing but load the disk does.
impl Default for DiskLimits {
    fn default() -> Self {
        Self { iops: Some(DEFAULT_DISK_IOPS), mib_per_second: Some(DEFAULT_DISK_MIB_PER_SECOND) }
    }
}

/// See [`DiskLimits`].
pub const DEFAULT_DISK_IOPS: u32 = 10_000;
/// See [`DiskLimits`].
pub const DEFAULT_DISK_MIB_PER_SECOND: u32 = 400;

/// How much of the disk of its host a home may use for what the object store does not have yet. The newest
/// one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskShare {
    /// Most bytes that the store may lack: writes are slowed above [`Self::slow_above`], and wait at this
    /// limit until the store has taken some. None: no limit.
    #[serde(default)]
    pub max_unsaved_bytes: Option<u64>,
    /// Whether the host is short of space, so that the cache should drop what the store has.
    #[serde(default)]
    pub must_shrink: bool,
}

impl DiskShare {
    /// Writes are slowed while the store lacks more bytes than this: half of the limit.
    pub fn slow_above(max_unsaved_bytes: u64) -> u64 {
        max_unsaved_bytes / 2
    }
}

/// The network policy of a runner, numbered. A change has a higher number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Grows with every change of one of the policies that the effective one is made of.
    pub revision: u64,
    /// The policy. One that cannot be read is `none`.
    #[serde(deserialize_with = "EffectivePolicy::deserialize_or_none")]
    pub policy: EffectivePolicy,
    /// The controller's seal. The policy of a specification needs none.
    #[serde(default)]
    pub seal: Option<PolicySeal>,
}

/// Nothing is allowed: what is missing opens nothing.
impl Default for NetworkSpec {
    fn default() -> Self {
        Self { revision: 0, policy: EffectivePolicy::None, seal: None }
    }
}

/// Of a home of unknown origin the worst is assumed.
#[expect(clippy::unnecessary_wraps, reason = "the field's default has the field's type")]
fn most_restricted() -> Option<Tier> {
    Some(Tier::Microvm)
}

/// An unused allowance for automatic snapshots is complete after this time, and grows no more.
const UPLOAD_ALLOWANCE_HOURS: u64 = 8;

/// A complete allowance for automatic snapshots that grows by this many bytes an hour, in bytes.
pub fn complete_upload_allowance(bytes_per_hour: u64) -> u64 {
    bytes_per_hour.saturating_mul(UPLOAD_ALLOWANCE_HOURS)
}

/// The highest slot. [`crate::network::SANDBOX_LINKS`] has 2^14 networks of four addresses, and uids are
/// 620000 plus the slot.
pub const MAX_SLOT: u16 = 16_383;

/// A runner's report. The request has the header `authorization: Bearer <token>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRequest {
    /// The runner's workspace.
    pub workspace: WorkspaceId,
    /// The runner's placement.
    pub epoch: Epoch,
    /// New facts, in the order in which they became true. At most [`MAX_REPORTS`].
    pub reports: Vec<Report>,
    /// What the runner knows already. The answer waits until the desired state is ahead of it, at
    /// most for `wait_ms`.
    pub acknowledged: AcknowledgedState,
    /// Longest time that the answer may wait, 0 ..= [`MAX_WAIT_MS`].
    pub wait_ms: u64,
    /// For how long the runner has run, by its monotonic clock: no change of the time moves it, and it stands
    /// still while the host sleeps.
    #[serde(default)]
    pub ran_ms: u64,
}

/// Number of reports in one request.
pub const MAX_REPORTS: usize = 64;

/// A fact about a runner. Each may arrive twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    /// A step of a start or stop has begun.
    Step(StepProgress),
    /// The agent answers and the home is mounted. The front accepts streams, at [`FRONT_SOCKET`].
    Ready {
        /// `kvm` or `tcg`; `none` for the fake runtime.
        accelerator: String,
    },
    /// The state of the home, sent every few seconds while it runs.
    Home {
        /// Bytes in the local cache that no snapshot contains.
        dirty_bytes: u64,
        /// Time of this state by the runner's clock. A report may arrive late.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Age of the oldest unreplicated write at that time; 0 if there was none.
        #[serde(default)]
        unreplicated_ms: u64,
        /// Bytes that the home's files use, if the agent reported them.
        used_bytes: Option<u64>,
        /// For how long the workspace has been idle, if the agent reported it.
        #[serde(default)]
        idle_seconds: Option<u64>,
        /// What keeps the workspace awake, at most [`crate::idle::MAX_AWAKE_REASONS`] reasons.
        #[serde(default)]
        awake: Vec<AwakeReason>,
        /// What the user should know about the home.
        #[serde(default)]
        notice: Option<HomeNotice>,
        /// With [`HomeNotice::OutOfMemory`]: the program that the kernel has ended.
        #[serde(default)]
        killed_program: Option<ProgramName>,
    },
    /// A snapshot is complete in the object store. It counts once the answer lists it as committed.
    Snapshot {
        /// Name of the snapshot's manifest.
        manifest: ManifestId,
        /// Why the snapshot was taken.
        kind: SnapshotKind,
        /// The state of the file system in it.
        consistency: Consistency,
        /// For [`SnapshotKind::Requested`]: the request that it answers, see
        /// [`DesiredRunnerState::snapshot`].
        #[serde(default)]
        answers: u64,
        /// The instant whose content the snapshot has, by the runner's clock.
        #[serde(with = "time::serde::rfc3339")]
        cut_at: OffsetDateTime,
        /// Bytes of the home that changed since the snapshot before.
        changed_bytes: u64,
        /// Compressed bytes that were uploaded.
        uploaded_bytes: u64,
        /// Objects that were uploaded.
        objects: u64,
        /// Bytes that the whole home uses in the store.
        stored_bytes: u64,
    },
    /// A repair is done and its snapshot is committed, or it failed. A failed repair is not retried
    /// automatically.
    Repaired {
        /// The request that it answers, see [`DesiredRunnerState::repair`].
        answers: u64,
        /// How it ended.
        outcome: RepairOutcome,
    },
    /// What the sandbox's network did, sent when it has changed.
    Network {
        /// What was refused, the last first; at most [`crate::network::MAX_REFUSED`].
        refused: Vec<RefusedName>,
        /// Bytes that the sandbox has sent since its start.
        sent_bytes: u64,
        /// Bytes that the sandbox has received since its start.
        received_bytes: u64,
    },
    /// The sandbox has stopped and everything of it is removed. The last report.
    Stopped,
    /// The sandbox has stopped after a failure. The last report.
    Failed {
        /// The failure, for the user.
        failure: Failure,
        /// Whether everything that the guest had flushed is committed, or at least kept in the local cache.
        home_safe: bool,
    },
}

/// How a repair ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairOutcome {
    /// The damaged objects were stored again, as far as there was a copy.
    Done(Repair),
    /// Why nothing, or not everything, was stored again.
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

/// Number of objects in one repair: with 8 MiB each, a snapshot of 1 GiB.
pub const MAX_REPAIR_OBJECTS: usize = 128;

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportReply {
    /// What the runner should do now.
    pub desired: DesiredRunnerState,
    /// Manifests of this request that are committed now.
    #[serde(default)]
    pub committed: Vec<ManifestId>,
    /// How long the runner may serve from now on without another answer, as in the specification.
    #[serde(default)]
    pub lease_ms: Option<u64>,
}

/// What a runner should do. Every field is a level, not an event: receiving it twice changes
/// nothing, and a lost answer loses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredRunnerState {
    /// Whether to run or how to stop.
    pub command: Command,
    /// Number of the latest snapshot request, from 1; 0 if there was none. A runner takes one
    /// snapshot for each number above the last that it answered. The answer to a later request
    /// answers the earlier ones too.
    #[serde(default)]
    pub snapshot: u64,
    /// The repair that is still to be done. The answer to a later request answers the earlier ones too.
    #[serde(default)]
    pub repair: Option<RepairRequest>,
    /// Size that the home should have. It never shrinks.
    pub home_mib: u32,
    /// The network policy that should be enforced.
    #[serde(default)]
    pub network: NetworkSpec,
    /// Until when a user holds the workspace: it is not stopped before, even if nobody uses it. The runner
    /// only warns less; the answer to its next report tells it.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub held_until: Option<OffsetDateTime>,
    /// The home's share of the host's disk. It changes all the time, so nothing waits for it: each answer
    /// has the newest one.
    #[serde(default)]
    pub disk: DiskShare,
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
    /// The revision of the network policy that it enforces or is about to.
    #[serde(default)]
    pub network_revision: u64,
}

impl DesiredRunnerState {
    /// Whether there is more to do than the runner has acknowledged.
    pub fn is_ahead_of(&self, acknowledged: &AcknowledgedState) -> bool {
        self.command != acknowledged.command
            || self.snapshot > acknowledged.snapshot
            || self.repair.as_ref().is_some_and(|repair| repair.number > acknowledged.repair)
            || (acknowledged.home_mib > 0 && self.home_mib > acknowledged.home_mib)
            || self.network.revision > acknowledged.network_revision
    }
}

/// The part of the desired state that says how a placement ends. A runner that is refused with 409
/// `fenced` has been replaced: it stops at once, keeps its cache and reports nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Keep running.
    Run,
    /// Freeze, flush, take a snapshot, then end.
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
            network: NetworkSpec { revision: 4, policy: EffectivePolicy::Open, seal: None },
            held_until: None,
            disk: DiskShare::default(),
        };
        let acknowledged = AcknowledgedState {
            command: Command::Run,
            snapshot: 2,
            repair: 3,
            home_mib: 20,
            network_revision: 4,
        };
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
            AcknowledgedState { network_revision: 3, ..acknowledged },
        ] {
            assert!(desired.is_ahead_of(&behind), "{behind:?}");
        }
    }
}
