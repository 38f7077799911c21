//! What a virtual machine needs of the host, for the session of its runner: network, cgroup, prototype and
//! the VMM's process. The part of the microVM runtime that runs in the supervisor. It parses nothing that a
//! guest of a tenant sends.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::runner::RunnerSpec;
use rustix::fs::FileType;

use super::{
    accelerator, prototype, scratch,
    vmm::{Beginning, Launch, Launcher},
    warm_start,
};
use crate::{
    cgroup::{Disks, Limits, SandboxCgroup},
    network::{AllowedNetwork, NamespaceControl, Network},
    runtime::{cannot, supervised::SupervisedProcess},
    slot::{Slot, SlotError},
    supervisor::{
        HostError, Performed,
        messages::{Answer, LaunchKind, Operation, Prepared, PrototypeState},
        perform_on_network,
    },
};

/// How long it takes at most to find out that a prototype does not work: see [`warm_start::restore`].
const TRIAL_TIMEOUT: Duration = Duration::from_secs(90);

/// What exists on the host for one sandbox.
pub struct MicrovmHost {
    spec: Arc<RunnerSpec>,
    /// Held as long as anything of the sandbox exists.
    slot: Option<Result<Slot, SlotError>>,
    /// The user of the session, to whom the VMM's sockets belong.
    session: Option<u32>,
    prepared: Option<PreparedHost>,
    vmm: Option<SupervisedProcess>,
    trial: PrototypeTrial,
}

/// What a session has done with the prototype, from which guests of all tenants start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PrototypeTrial {
    Untried,
    /// When a VMM was started from it.
    Tried(Instant),
    /// It did not work. It was removed, and this guest boots.
    Removed,
}

impl PrototypeTrial {
    /// Whether a session may have it removed: soon after it was tried, and once.
    fn has_just_begun(self) -> bool {
        matches!(self, Self::Tried(at) if at.elapsed() <= TRIAL_TIMEOUT)
    }
}

struct PreparedHost {
    _slot: Slot,
    launcher: Launcher,
    network: Option<NamespaceControl>,
}

impl MicrovmHost {
    /// Nothing exists yet.
    pub fn new(spec: Arc<RunnerSpec>, slot: Result<Slot, SlotError>, session: Option<u32>) -> Self {
        Self { spec, slot: Some(slot), session, prepared: None, vmm: None, trial: PrototypeTrial::Untried }
    }

    /// Performs one operation of the session. Descriptors that it does not need are closed.
    pub async fn perform(
        &mut self,
        operation: Operation,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Performed, HostError> {
        let done = || (Answer::Done, Vec::new());
        Ok(match operation {
            Operation::Prepare => self.prepare().await?,
            Operation::FindPrototype => (Answer::Prototype(self.find_prototype()?), Vec::new()),
            Operation::MakePrototype => (Answer::Prototype(self.make_prototype().await?), Vec::new()),
            Operation::RemovePrototype => {
                self.remove_prototype()?;
                done()
            }
            Operation::Launch(kind) => self.launch(kind, only_socket(descriptors)?).await?,
            Operation::Kill => {
                self.kill().await;
                done()
            }
            Operation::Remove => {
                self.remove().await;
                done()
            }
            operation => perform_on_network(self.network()?, operation).await?,
        })
    }

    /// Ends the VMM, and removes what exists of the sandbox.
    pub async fn remove(&mut self) {
        self.kill().await;
        if let Some(mut prepared) = self.prepared.take() {
            prepared.launcher.cgroup.remove().await;
        }
    }

    async fn prepare(&mut self) -> Result<Performed, HostError> {
        let slot = self.slot.take().ok_or(HostError::Order("the sandbox is prepared already"))??;
        let spec = &self.spec;
        let choice = accelerator::choose(&spec.image_dir, &spec.initramfs).await?;
        let is_root = rustix::process::geteuid().is_root();
        let network = if is_root {
            Some(Network::create(slot.number(), &AllowedNetwork::of(spec)).await?)
        } else {
            None
        };
        let limits = Limits::of_microvm(&spec.resources, Disks::of(spec));
        let cgroup = SandboxCgroup::create(&slot, &limits).await;
        let nameservers = network.as_ref().map(|network| network.nameservers.clone());
        let (links, control, sockets) = match network {
            Some(Network { links, control, sockets, .. }) => (Some(links), Some(control), Some(sockets)),
            None => (None, None, None),
        };
        let launcher = Launcher {
            spec: spec.clone(),
            uid: is_root.then(|| slot.uid()),
            session: self.session,
            accelerator: choice.accelerator,
            network: links,
            cgroup,
        };
        self.prepared = Some(PreparedHost { _slot: slot, launcher, network: control });
        let prepared = Prepared { accelerator: Some(choice.accelerator), nameservers };
        let sockets = sockets.map(|sockets| Vec::from(sockets.into_descriptors()));
        Ok((Answer::Prepared(prepared), sockets.unwrap_or_default()))
    }

    fn prepared(&self) -> Result<&PreparedHost, HostError> {
        self.prepared.as_ref().ok_or(HostError::Order("the sandbox is not prepared"))
    }

    fn launcher(&self) -> Result<&Launcher, HostError> {
        Ok(&self.prepared()?.launcher)
    }

    fn network(&self) -> Result<&NamespaceControl, HostError> {
        self.prepared()?.network.as_ref().ok_or(HostError::Order("the sandbox has no network"))
    }

    fn find_prototype(&self) -> Result<PrototypeState, HostError> {
        let place = warm_start::find_place(self.launcher()?);
        Ok(place.map_or(PrototypeState::Unavailable, |place| warm_start::find(&place)))
    }

    async fn make_prototype(&self) -> Result<PrototypeState, HostError> {
        let launcher = self.launcher()?;
        if self.trial != PrototypeTrial::Untried {
            return Err(HostError::Order("the prototype was tried"));
        }
        let Some(place) = warm_start::find_place(launcher) else { return Ok(PrototypeState::Unavailable) };
        Ok(warm_start::find_or_make(launcher, &place).await)
    }

    fn remove_prototype(&mut self) -> Result<(), HostError> {
        if !self.trial.has_just_begun() {
            return Err(HostError::Order("the prototype was not tried just now"));
        }
        if let Some(place) = warm_start::find_place(self.launcher()?) {
            place.remove().map_err(cannot("remove the prototype"))?;
        }
        self.trial = PrototypeTrial::Removed;
        Ok(())
    }

    async fn launch(&mut self, kind: LaunchKind, home: OwnedFd) -> Result<Performed, HostError> {
        if kind == LaunchKind::Prototype && self.trial == PrototypeTrial::Removed {
            return Err(HostError::Order("the prototype was removed"));
        }
        self.kill().await;
        let launcher = self.launcher()?;
        let scratch = scratch::create(&self.spec)?;
        let (beginning, tsc_khz) = match kind {
            LaunchKind::Boot => {
                scratch::format(&scratch).await;
                (Beginning::Boot, launcher.measure_tsc())
            }
            LaunchKind::Prototype => {
                let prototype = warm_start::find_place(launcher).and_then(|place| warm_start::open(&place));
                let prototype = prototype.ok_or(HostError::Order("there is no prototype"))?;
                prototype::copy_data(&prototype.scratch, &scratch)
                    .map_err(cannot("copy the scratch disk"))?;
                let state = warm_start::pipe_with(prototype.state);
                let state = state.map_err(cannot("pass the prototype's state"))?;
                (Beginning::Prototype { memory: prototype.memory, state }, prototype.tsc_khz)
            }
        };
        let sockets = &self.spec.run_dir;
        let launch = Launch { beginning, tsc_khz, scratch, home: Some(home), sockets };
        let (mut process, state) = launcher.launch(launch).await?;
        let mut take_output = || {
            let child = &mut process.child;
            let output = child.stdout.take().expect("piped").into_owned_fd()?;
            io::Result::Ok((output, child.stderr.take().expect("piped").into_owned_fd()?, io::pipe()?))
        };
        let (output, errors, (exit, exit_writer)) = take_output().map_err(cannot("follow the VMM"))?;
        self.vmm = Some(SupervisedProcess::start(process, |process| &mut process.child, exit_writer));
        if kind == LaunchKind::Prototype {
            self.trial = PrototypeTrial::Tried(Instant::now());
        }
        Ok((Answer::Launched { state }, vec![output, errors, exit.into()]))
    }

    async fn kill(&mut self) {
        if let Some(mut vmm) = self.vmm.take() {
            vmm.kill().await;
        }
    }
}

/// The one descriptor, which must be a socket: the VMM reads and writes it, and nothing else with it.
fn only_socket(descriptors: Vec<OwnedFd>) -> Result<OwnedFd, HostError> {
    let home = descriptors.into_iter().next().ok_or(HostError::Order("the home is missing"))?;
    let about = rustix::fs::fstat(&home).map_err(|errno| cannot("look at the home")(errno.into()))?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Socket => Ok(home),
        _ => Err(HostError::Order("the home is not a socket")),
    }
}

#[cfg(test)]
impl MicrovmHost {
    /// A host without a free slot.
    pub fn without_slot() -> Self {
        let spec = serde_json::from_value(serde_json::json!({
            "tenant": protocol::TenantId::random(), "workspace": protocol::WorkspaceId::random(),
            "name": "box", "epoch": 1, "runtime": "microvm", "volume": protocol::VolumeId::random(),
            "head": null,
            "resources": {
                "vcpus": 1, "memory_mib": 128, "home_mib": 64, "scratch_mib": 64, "pids": 64,
            },
            "data_key": "", "run_dir": "", "cache_dir": "", "image_dir": "", "initramfs": "", "agent": "",
            "slot": 0, "token": "", "grant_key": "",
            "network": { "revision": 0, "policy": protocol::network::EffectivePolicy::Open },
        }));
        Self::new(Arc::new(spec.expect("a specification")), Err(SlotError::Full), None)
    }
}

#[cfg(test)]
mod tests {
    use protocol::runner::NetworkSpec;

    use super::*;
    use crate::network::RulesChange;

    /// Why an operation is refused that a hostile session sends.
    async fn refusal(host: &mut MicrovmHost, operation: Operation, descriptors: Vec<OwnedFd>) -> String {
        match host.perform(operation, descriptors).await {
            Ok(_) => panic!("performed"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn nothing_is_done_before_it_is_prepared() {
        let mut host = MicrovmHost::without_slot();
        let change = || {
            let (network, addresses) = (NetworkSpec::default(), vec![]);
            RulesChange::Policy { network, generation: u32::MAX, addresses }
        };
        for operation in [
            Operation::FindPrototype,
            Operation::MakePrototype,
            Operation::RemovePrototype,
            Operation::ChangeRules(change()),
            Operation::ReadTraffic,
            Operation::OpenSocket,
            Operation::Disconnect,
        ] {
            let described = format!("{operation:?}");
            let refused = refusal(&mut host, operation, vec![]).await;
            assert!(refused.starts_with("Cannot do this now"), "{described}: {refused}");
        }
        // These end what exists: nothing.
        for operation in [Operation::Kill, Operation::Remove] {
            assert!(host.perform(operation, vec![]).await.is_ok());
        }
    }

    #[tokio::test]
    async fn sandbox_is_prepared_once() {
        let mut host = MicrovmHost::without_slot();
        refusal(&mut host, Operation::Prepare, vec![]).await;
        let again = refusal(&mut host, Operation::Prepare, vec![]).await;
        assert_eq!(again, "Cannot do this now: the sandbox is prepared already");
    }

    #[tokio::test]
    async fn home_must_be_a_socket() {
        let mut host = MicrovmHost::without_slot();
        for kind in [LaunchKind::Boot, LaunchKind::Prototype] {
            let missing = refusal(&mut host, Operation::Launch(kind), vec![]).await;
            assert_eq!(missing, "Cannot do this now: the home is missing");
            let file = std::fs::File::open("/").expect("a directory");
            let foreign = refusal(&mut host, Operation::Launch(kind), vec![file.into()]).await;
            assert_eq!(foreign, "Cannot do this now: the home is not a socket");
        }
    }

    #[test]
    fn prototype_is_removed_only_after_a_trial() {
        assert!(!PrototypeTrial::Untried.has_just_begun());
        assert!(!PrototypeTrial::Removed.has_just_begun(), "once");
        assert!(PrototypeTrial::Tried(Instant::now()).has_just_begun());
        let earlier = Instant::now().checked_sub(TRIAL_TIMEOUT + Duration::from_secs(1));
        assert!(!PrototypeTrial::Tried(earlier.expect("the host runs longer")).has_just_begun());
    }
}
