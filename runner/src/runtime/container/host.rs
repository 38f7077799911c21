//! What a container needs of the host, for the session of its runner: network, cgroup, mounts and the OCI
//! runtime. The part of the container runtime that runs in the supervisor. It parses nothing that programs of
//! the container send.
//!
//! The session serves the home's volume as a file, and the host's kernel mounts it. A session that was taken
//! over can serve anything there, or never answer: only processes wait for that ([`super::namespace`]), and
//! they get an error when the session is killed.

use std::{
    fs::File,
    io::{self, PipeReader},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use protocol::{agent::HOME_DISK_BYTES, runner::RunnerSpec};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::{
    process::{Child, ChildStdin, Command},
    task::JoinSet,
};

use super::{
    ContainerError, Kernel, MIB,
    bundle::{AGENT_SOCKET, Bundle},
    check_host, check_writer, idmap,
    mounts::{Mounts, Names},
    oci_runtime::OciRuntime,
};
use crate::{
    cgroup::{self, Disks, Limits, SandboxCgroup},
    network::{AllowedNetwork, ContainerNetwork},
    runtime::{RuntimeError, cannot, microvm::scratch, supervised::SupervisedProcess},
    slot::{Slot, SlotError},
    supervisor::{
        HostError, Performed,
        messages::{Answer, HomeContent, Operation, Prepared},
        perform_on_network, write_outcome,
    },
};

/// How long the agent may take to exit after its input has ended. Then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a killed container may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Added to a slot: the host's user of a container's root. Above the users of VMMs.
const ROOT_BASE: u32 = 640_000;
/// Files that a process of a container may have open, as in a guest.
const MAX_OPEN_FILES: u64 = 65_536;
/// Work on a home at the same time. A session waits for the end of each, but at a stop it begins another.
const MAX_WORK: usize = 4;

/// What exists on the host for one container.
pub struct ContainerHost {
    spec: Arc<RunnerSpec>,
    kernel: Kernel,
    /// Held as long as anything of the sandbox exists.
    slot: Option<Result<Slot, SlotError>>,
    prepared: Option<PreparedHost>,
}

struct PreparedHost {
    slot: Slot,
    runtime: OciRuntime,
    network: ContainerNetwork,
    cgroup: SandboxCgroup,
    mounts: Option<MountedParts>,
    container: Option<RunningContainer>,
    /// Work on the mounted home, such as writing all of it to the session.
    work: JoinSet<()>,
}

/// What the container consists of.
struct MountedParts {
    mounts: Mounts,
    users: Arc<OwnedFd>,
    /// It has no name. What it takes of the disk is found by the descriptors of processes.
    scratch: File,
}

/// A container that was started.
struct RunningContainer {
    /// The OCI runtime, which exits with the container, and removes what it has created for it.
    process: SupervisedProcess,
    /// The agent exits when this is closed.
    input: Option<ChildStdin>,
}

impl ContainerHost {
    /// Nothing exists yet.
    pub fn new(spec: Arc<RunnerSpec>, slot: Result<Slot, SlotError>, kernel: Kernel) -> Self {
        Self { spec, kernel, slot: Some(slot), prepared: None }
    }

    /// Performs one operation of the session.
    pub async fn perform(&mut self, operation: Operation) -> Result<Performed, HostError> {
        let done = (Answer::Done, Vec::new());
        Ok(match operation {
            Operation::Prepare => self.prepare().await?,
            Operation::MountParts => (Answer::Done, vec![self.mount_parts().await?]),
            Operation::StartContainer(content) => self.start(content).await?,
            Operation::SyncHome => self.begin_work(|mounts| async move { mounts.sync_home().await })?,
            Operation::GrowHome { home_bytes } if home_bytes <= HOME_DISK_BYTES => {
                self.begin_work(move |mounts| async move { mounts.grow_home(home_bytes).await })?
            }
            Operation::GrowHome { .. } => return Err(HostError::Order("no home is that large")),
            Operation::EndContainer => {
                self.prepared()?.end_container().await;
                done
            }
            Operation::Kill => {
                self.prepared()?.kill().await;
                done
            }
            Operation::Remove => {
                self.remove().await?;
                done
            }
            operation => perform_on_network(&self.prepared()?.network.control, operation).await?,
        })
    }

    /// Ends the container, and removes what exists of the sandbox. When this has succeeded, everything that
    /// was written to the home has been written to the session. Call it again if it was interrupted.
    pub async fn remove(&mut self) -> Result<(), HostError> {
        let Some(prepared) = &mut self.prepared else { return Ok(()) };
        prepared.kill().await;
        prepared.cgroup.remove().await;
        while prepared.work.join_next().await.is_some() {}
        if let Some(MountedParts { mounts, .. }) = &prepared.mounts {
            mounts.unmount_home().await?;
        }
        self.prepared = None;
        Ok(())
    }

    fn prepared(&mut self) -> Result<&mut PreparedHost, HostError> {
        self.prepared.as_mut().ok_or(HostError::Order("the sandbox is not prepared"))
    }

    async fn prepare(&mut self) -> Result<Performed, HostError> {
        let spec = &self.spec;
        check_writer(spec).map_err(RuntimeError::from)?;
        let slot = self.slot.take().ok_or(HostError::Order("the sandbox is prepared already"))??;
        check_host().map_err(|reason| RuntimeError::from(ContainerError::Unavailable(reason)))?;
        let runtime = OciRuntime::find(self.kernel, spec.runsc.as_deref()).map_err(RuntimeError::from)?;
        let (network, sockets) = ContainerNetwork::create(slot.number(), &AllowedNetwork::of(spec)).await?;
        let disks = Disks::of(spec);
        let limits = match self.kernel {
            Kernel::Host => Limits::of_container(&spec.resources, disks),
            Kernel::Gvisor => Limits::of_gvisor(&spec.resources, disks),
        };
        let cgroup = SandboxCgroup::create(&slot, &limits).await;
        let prepared = Prepared { accelerator: None, nameservers: Some(network.nameservers.clone()) };
        let (mounts, container, work) = (None, None, JoinSet::new());
        self.prepared = Some(PreparedHost { slot, runtime, network, cgroup, mounts, container, work });
        Ok((Answer::Prepared(prepared), sockets.into_descriptors().into()))
    }

    /// Mounts everything that the container consists of, but its home. Returns the device on which the home's
    /// volume is to be served.
    async fn mount_parts(&mut self) -> Result<OwnedFd, HostError> {
        let spec = self.spec.clone();
        let prepared = self.prepared()?;
        if prepared.mounts.is_some() {
            return Err(HostError::Order("the parts are mounted already"));
        }
        let scratch = scratch::create(&spec)?;
        scratch::format(&scratch).await;
        let users = idmap::create_user_namespace(prepared.slot.uid(), root_user(&prepared.slot))?;
        let names = Names { host: spec.name.clone(), nameservers: prepared.network.nameservers.clone() };
        let parts = MountedParts { mounts: Mounts::create().await?, users: Arc::new(users), scratch };
        let MountedParts { mounts, users, scratch } = prepared.mounts.insert(parts);
        mounts.mount_root(&spec.image_dir.join(crate::images::ROOTFS), users.clone()).await?;
        mounts.mount_scratch(scratch).await?;
        mounts.mount_agent(spec.agent.clone()).await?;
        mounts.write_names(&names).await?;
        Ok(mounts.mount_volume().await?.into())
    }

    /// Mounts the home, and starts the container.
    async fn start(&mut self, content: HomeContent) -> Result<Performed, HostError> {
        let (spec, kernel) = (self.spec.clone(), self.kernel);
        let prepared = self.prepared()?;
        let Some(MountedParts { mounts, users, .. }) = &prepared.mounts else {
            return Err(HostError::Order("the parts are not mounted"));
        };
        if prepared.container.is_some() {
            return Err(HostError::Order("the container was started"));
        }
        let home_bytes = u64::from(spec.resources.home_mib) * MIB;
        mounts.mount_home(content, home_bytes, users.clone()).await?;
        let PreparedHost { slot, runtime, network, cgroup, .. } = &*prepared;
        let launch = Launch { spec: &spec, kernel, slot, runtime, cgroup, network: &network.namespace };
        let (mut child, channel) = launch.spawn(mounts).await?;
        tracing::info!(pid = child.id(), "started the container");
        let input = child.stdin.take();
        let follow = |child: &mut Child| -> io::Result<_> {
            Ok((child.stderr.take().expect("piped").into_owned_fd()?, io::pipe()?))
        };
        let (errors, (exit, exit_writer)): (_, (PipeReader, _)) =
            follow(&mut child).map_err(cannot("follow the container"))?;
        let process = SupervisedProcess::start(child, |child| child, exit_writer);
        prepared.container = Some(RunningContainer { process, input });
        Ok((Answer::Started, vec![errors, exit.into(), channel.into()]))
    }

    /// Begins work on the mounted home. The answer has a pipe with its outcome.
    fn begin_work<F>(&mut self, work: impl FnOnce(Mounts) -> F) -> Result<Performed, HostError>
    where
        F: Future<Output = Result<(), RuntimeError>> + Send + 'static,
    {
        let prepared = self.prepared()?;
        let (Some(MountedParts { mounts, .. }), Some(_)) = (&prepared.mounts, &prepared.container) else {
            return Err(HostError::Order("the home is not mounted"));
        };
        while prepared.work.try_join_next().is_some() {}
        if prepared.work.len() >= MAX_WORK {
            return Err(HostError::Order("there is too much work on the home"));
        }
        let (outcome, writer) = io::pipe().map_err(cannot("create a pipe"))?;
        let work = work(mounts.clone());
        prepared.work.spawn(async move {
            write_outcome(writer, work.await.map_err(|error| error.to_string()));
        });
        Ok((Answer::Done, vec![outcome.into()]))
    }
}

impl PreparedHost {
    /// Ends the agent, and with it all programs.
    async fn end_container(&mut self) {
        let Some(container) = &mut self.container else { return };
        container.input = None;
        if !container.process.ends_within(EXIT_TIMEOUT).await {
            tracing::warn!("the container did not end in time");
        }
    }

    /// Kills all programs.
    async fn kill(&mut self) {
        self.cgroup.kill();
        let Some(container) = &mut self.container else { return };
        if !container.process.ends_within(KILL_TIMEOUT).await {
            container.process.kill().await;
        }
    }
}

/// A container cannot have a higher limit than the runner, because it has no privileges on the host.
fn max_open_files() -> u64 {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    own.map_or(MAX_OPEN_FILES, |own| own.min(MAX_OPEN_FILES))
}

fn root_user(slot: &Slot) -> u32 {
    ROOT_BASE + u32::from(slot.number())
}

fn path_of(descriptor: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd())
}

/// The start of an OCI runtime.
struct Launch<'a> {
    spec: &'a RunnerSpec,
    kernel: Kernel,
    slot: &'a Slot,
    runtime: &'a OciRuntime,
    cgroup: &'a SandboxCgroup,
    network: &'a OwnedFd,
}

impl Launch<'_> {
    /// Starts the container. Returns the child, which lives as long as it, and the channel to its agent.
    async fn spawn(self, mounts: &Mounts) -> Result<(Child, UnixStream), RuntimeError> {
        let Self { spec, kernel, slot, .. } = self;
        let bundle = Bundle {
            kernel,
            name: &spec.name,
            parts: Mounts::parts(),
            user: slot.uid(),
            root_user: root_user(slot),
            network: &path_of(self.network),
            cgroup: &self.cgroup.oci_path(),
            open_files: max_open_files(),
            pids: spec.resources.pids,
            shared_memory_mib: spec.resources.memory_mib / 2,
        };
        let directory = mounts.write_bundle(bundle.config().to_string()).await?;
        let (channel, agents_end) = UnixStream::pair().map_err(cannot("create a socket of the sandbox"))?;
        let name = format!("workspace-{}", slot.number());
        let mut command = mounts.command(&self.runtime.program);
        command
            .args(self.runtime.run_arguments(&Mounts::runtime_state(), &directory, &name))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if kernel == Kernel::Gvisor {
            mounts.hide_network_settings(self.network.try_clone()).await?;
            let entries = self.cgroup.open_entries().map_err(cannot("open the sandbox's cgroup"))?;
            run_kernel_below(&mut command, entries);
        } else {
            cgroup::spawn_outside(&mut command);
        }
        daemon::descriptors::pass_as(&mut command, agents_end.into(), AGENT_SOCKET);
        let child = command.spawn().map_err(cannot("start the container"))?;
        Ok((child, channel))
    }
}

/// Makes the command's processes, gVisor's kernel among them, join cgroups, and end with this process: the
/// agent would also end, but programs of the sandbox could stop it from that.
fn run_kernel_below(command: &mut Command, cgroups: Vec<File>) {
    // SAFETY: between fork and exec there are system calls only. The closure owns the descriptors.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            for cgroup in &cgroups {
                rustix::io::write(cgroup, b"0")?;
            }
            Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::RulesChange;

    /// A host without a free slot.
    fn host(written_by: &str) -> ContainerHost {
        let spec = serde_json::from_value(serde_json::json!({
            "tenant": protocol::TenantId::random(), "workspace": protocol::WorkspaceId::random(),
            "name": "box", "epoch": 1, "runtime": "container", "volume": protocol::VolumeId::random(),
            "head": null,
            "resources": {
                "vcpus": 1, "memory_mib": 128, "home_mib": 64, "scratch_mib": 64, "pids": 64,
            },
            "written_by": written_by, "data_key": "", "run_dir": "", "cache_dir": "", "image_dir": "",
            "initramfs": "", "agent": "", "slot": 0, "token": "", "grant_key": "",
        }));
        ContainerHost::new(Arc::new(spec.expect("a specification")), Err(SlotError::Full), Kernel::Host)
    }

    async fn refusal(host: &mut ContainerHost, operation: Operation) -> String {
        match host.perform(operation).await {
            Ok(_) => panic!("performed"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn nothing_is_done_before_it_is_prepared() {
        let mut host = host("container");
        for operation in [
            Operation::MountParts,
            Operation::StartContainer(HomeContent::Blank),
            Operation::SyncHome,
            Operation::GrowHome { home_bytes: 1 },
            Operation::EndContainer,
            Operation::Kill,
            Operation::FindPrototype,
            Operation::ChangeRules(RulesChange::Addresses(vec![])),
            Operation::OpenSocket,
        ] {
            let described = format!("{operation:?}");
            let refused = refusal(&mut host, operation).await;
            assert!(refused.starts_with("Cannot do this now"), "{described}: {refused}");
        }
        assert!(host.perform(Operation::Remove).await.is_ok(), "nothing exists");
        let too_large = refusal(&mut host, Operation::GrowHome { home_bytes: u64::MAX }).await;
        assert_eq!(too_large, "Cannot do this now: no home is that large");
    }

    #[tokio::test]
    async fn home_of_virtual_machine_is_not_mounted() {
        let refused = refusal(&mut host("microvm"), Operation::Prepare).await;
        assert!(refused.contains("written by a virtual machine"), "{refused}");
        let refused = refusal(&mut host("gvisor"), Operation::Prepare).await;
        assert!(refused.contains("slot"), "the next step: {refused}");
    }
}
