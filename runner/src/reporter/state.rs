//! What the controller desires of this runner, and what this runner has acknowledged of it. Pure:
//! no clock, no I/O.
//!
//! The two structs have the same five parts: the command, the last requested snapshot, the last
//! requested repair, the home's size and the network policy. Requests are numbered and only grow, so
//! each message may arrive twice, late or never: the runner compares numbers, does the newest task and
//! acknowledges its number, which answers all earlier requests too.

use protocol::{
    ManifestId,
    runner::{Command, DiskShare, NetworkSpec, RepairRequest, ReportReply, RunnerSpec},
};
use time::OffsetDateTime;

/// Why this runner must stop serving and may report nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseLoss {
    /// The controller answered 409 `fenced`: a runner with a later epoch has taken over.
    Fenced,
    /// The controller has not answered for the whole lease: a later runner may have taken over.
    Expired,
}

/// The newest desired state, merged from all replies.
#[derive(Clone, Debug)]
pub struct DesiredState {
    pub command: Command,
    /// Number of the last requested snapshot.
    pub snapshot_request: u64,
    /// The last requested repair.
    pub repair: RepairRequest,
    /// Size of the home, in MiB.
    pub home_mib: u32,
    /// The network policy. None until a reply names one: the specification's is enforced then.
    pub network: Option<NetworkSpec>,
    /// Until when a user holds the workspace. Of the last reply: it only decides about warnings.
    pub held_until: Option<OffsetDateTime>,
    /// The home's share of the host's disk.
    pub disk: DiskShare,
}

/// What this runner has done, or is doing, of the desired state.
#[derive(Clone, Copy, Debug)]
pub struct AcknowledgedState {
    /// The command that the runner is executing.
    pub command: Command,
    /// Number of the last requested snapshot that is committed.
    pub snapshot_request: u64,
    /// Number of the last requested repair that succeeded or failed.
    pub repair_request: u64,
    /// Size of the home, in MiB.
    pub home_mib: u32,
    /// Revision of the network policy that is enforced.
    pub network_revision: u64,
}

/// All that this runner knows from the controller.
#[derive(Clone, Debug)]
pub struct ControllerState {
    pub desired: DesiredState,
    /// The last snapshot that the controller reported as committed.
    pub committed: Option<ManifestId>,
    /// Set once, when the runner loses its lease. Final.
    pub lease_loss: Option<LeaseLoss>,
}

/// Something that the controller desires of a running home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeTask {
    /// Grow the home to this size, in MiB.
    Grow(u32),
    /// Take the snapshot with this request number.
    Snapshot(u64),
    /// Store damaged objects again.
    Repair(RepairRequest),
}

impl AcknowledgedState {
    /// The state of a new runner: requests up to those in its specification were answered by
    /// earlier placements.
    pub fn from_spec(spec: &RunnerSpec) -> Self {
        Self {
            command: Command::Run,
            snapshot_request: spec.snapshot_requested,
            repair_request: spec.repair_requested,
            home_mib: spec.resources.home_mib,
            network_revision: spec.network.revision,
        }
    }
}

impl DesiredState {
    /// The desired state in which nothing is left to do.
    pub fn fulfilled_by(acknowledged: &AcknowledgedState) -> Self {
        Self {
            command: acknowledged.command,
            snapshot_request: acknowledged.snapshot_request,
            repair: RepairRequest { number: acknowledged.repair_request, objects: Vec::new() },
            home_mib: acknowledged.home_mib,
            network: None,
            held_until: None,
            disk: DiskShare::default(),
        }
    }

    /// The newest network policy, unless it is acknowledged.
    pub fn next_network(&self, acknowledged: &AcknowledgedState) -> Option<&NetworkSpec> {
        self.network.as_ref().filter(|network| network.revision > acknowledged.network_revision)
    }

    /// The most urgent task for the home that is not acknowledged yet.
    pub fn next_home_task(&self, acknowledged: &AcknowledgedState) -> Option<HomeTask> {
        if self.home_mib > acknowledged.home_mib {
            Some(HomeTask::Grow(self.home_mib))
        } else if self.snapshot_request > acknowledged.snapshot_request {
            Some(HomeTask::Snapshot(self.snapshot_request))
        } else if self.repair.number > acknowledged.repair_request {
            Some(HomeTask::Repair(self.repair.clone()))
        } else {
            None
        }
    }
}

impl ControllerState {
    /// Merges a reply. Replies may arrive late, so numbers and the size never go back.
    pub fn apply_reply(&mut self, reply: &ReportReply) {
        let desired = &mut self.desired;
        desired.command = reply.desired.command;
        desired.held_until = reply.desired.held_until;
        desired.snapshot_request = desired.snapshot_request.max(reply.desired.snapshot);
        let repair = reply.desired.repair.as_ref();
        if let Some(repair) = repair.filter(|repair| repair.number > desired.repair.number) {
            desired.repair = repair.clone();
        }
        desired.home_mib = desired.home_mib.max(reply.desired.home_mib);
        let known = desired.network.as_ref().map(|network| network.revision);
        if known.is_none_or(|known| reply.desired.network.revision > known) {
            desired.network = Some(reply.desired.network.clone());
        }
        desired.disk = reply.desired.disk;
        self.committed = reply.committed.last().copied().or(self.committed);
    }
}

#[cfg(test)]
mod tests {
    use protocol::{network::EffectivePolicy, runner::DesiredRunnerState};

    use super::*;

    fn acknowledged() -> AcknowledgedState {
        AcknowledgedState {
            command: Command::Run,
            snapshot_request: 3,
            repair_request: 1,
            home_mib: 100,
            network_revision: 4,
        }
    }

    #[test]
    fn tasks_come_in_order_of_urgency() {
        let mut done = acknowledged();
        let mut desired = DesiredState::fulfilled_by(&done);
        assert_eq!(desired.next_home_task(&done), None);
        let repair = RepairRequest { number: 2, objects: Vec::new() };
        desired = DesiredState { snapshot_request: 5, repair: repair.clone(), home_mib: 200, ..desired };
        assert_eq!(desired.next_home_task(&done), Some(HomeTask::Grow(200)));
        done.home_mib = 200;
        assert_eq!(desired.next_home_task(&done), Some(HomeTask::Snapshot(5)));
        done.snapshot_request = 5;
        assert_eq!(desired.next_home_task(&done), Some(HomeTask::Repair(repair)));
        done.repair_request = 2;
        assert_eq!(desired.next_home_task(&done), None);
    }

    #[test]
    fn late_replies_take_nothing_back() {
        let desired = DesiredState::fulfilled_by(&acknowledged());
        let mut state = ControllerState { desired, committed: None, lease_loss: None };
        let late = ReportReply {
            desired: DesiredRunnerState {
                command: Command::Run,
                snapshot: 2,
                repair: Some(RepairRequest::default()),
                home_mib: 50,
                network: NetworkSpec { revision: 3, policy: EffectivePolicy::Open, seal: None },
                held_until: None,
                disk: DiskShare::default(),
            },
            committed: Vec::new(),
            lease_ms: Some(1),
        };
        state.apply_reply(&late);
        assert_eq!(state.desired.next_home_task(&acknowledged()), None);
        assert_eq!(state.desired.next_network(&acknowledged()), None);
    }

    #[test]
    fn newest_network_policy_is_followed() {
        let desired = DesiredState::fulfilled_by(&acknowledged());
        let mut state = ControllerState { desired, committed: None, lease_loss: None };
        for revision in [4, 6, 5] {
            let network = NetworkSpec { revision, policy: EffectivePolicy::None, seal: None };
            let desired = DesiredRunnerState {
                command: Command::Run,
                snapshot: 3,
                repair: None,
                home_mib: 100,
                network,
                held_until: None,
                disk: DiskShare::default(),
            };
            state.apply_reply(&ReportReply { desired, committed: Vec::new(), lease_ms: None });
        }
        assert_eq!(state.desired.next_network(&acknowledged()).map(|network| network.revision), Some(6));
    }
}
