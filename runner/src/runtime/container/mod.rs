//! The container runtime: the agent and the user's programs in namespaces of the host's kernel, started by
//! an OCI runtime in a fraction of a second. Two tiers use it, which differ in the [`Kernel`] that answers
//! the programs:
//!
//! - `container`: the host's. It is for trusted, educational use: programs that attack the kernel attack
//!   the host.
//! - `gvisor`: a process of the container's own, which makes few calls to the host's kernel. [`gvisor`]
//!   checks whether it works.
//!
//! [`bundle`] decides what the container may do, [`oci_runtime`] which program starts it, [`mounts`]
//! prepares what it consists of. All of this is the same in both tiers where nothing else is said:
//!
//! - Its programs run as one user without privileges; there is no root in it.
//! - Its home is a file system that the host's kernel mounts from the volume. A home that a guest has
//!   written as a disk is refused: a file system that was prepared for that purpose attacks the kernel that
//!   mounts it.
//! - The agent ends when its standard input does, and the container with it. So nothing outlives a runner
//!   that is killed: the kernel removes the mounts and the network with the last process.
//! - The agent has one end of a channel ([`transport::channel`]), through which the runner connects to it.
//!   It needs no path that both of them see, and gVisor passes no listening socket of the host on.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::net::UnixStream,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use protocol::{
    agent::HOME_DISK_BYTES,
    runner::RunnerSpec,
    workspace::{Step, Tier},
};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::{
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use self::{
    bundle::{AGENT_SOCKET, Bundle},
    mounts::{Mounts, Names},
    oci_runtime::OciRuntime,
};
use super::{
    RuntimeError, SandboxExit, StartContext, cannot, console::Console, in_run_dir, microvm::scratch,
};
use crate::{
    agent::Agent,
    cgroup::{self, Disks, Limits, SandboxCgroup},
    network::{self, AllowedNetwork, ContainerNetwork, Egress},
    slot::Slot,
};

mod bundle;
pub mod gvisor;
mod home;
mod idmap;
mod mounts;
mod namespace;
mod oci_runtime;
mod seccomp;
#[cfg(test)]
mod tests;
mod volume_file;

/// How long the agent may take to exit after its input has ended. Then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a killed container may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Added to a slot: the host's user of a container's root. Above the users of VMMs.
const ROOT_BASE: u32 = 640_000;
/// Files that a process of a container may have open, as in a guest.
const MAX_OPEN_FILES: u64 = 65_536;
const MIB: u64 = 1024 * 1024;

/// Which kernel answers the system calls of a container's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The host's: the tier `container`.
    Host,
    /// gVisor's, a process of each container: the tier `gvisor`.
    Gvisor,
}

/// Why this host cannot run containers, or a home cannot be used in one.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The text says what is missing, and how to add it.
    #[error("Cannot start a container: {0}")]
    Unavailable(String),
    /// A guest had the volume as a disk.
    #[error(
        "Cannot start a container: this home was written by a virtual machine, and the host does not mount \
         what a virtual machine has written. Use a template of the tier `microvm`"
    )]
    ForeignHome,
}

impl ContainerError {
    /// The part that says why.
    fn into_reason(self) -> String {
        match self {
            Self::Unavailable(reason) => reason,
            Self::ForeignHome => self.to_string(),
        }
    }
}

/// A running container, its home and its network.
pub struct Container {
    child: Child,
    /// The agent exits when this is closed.
    input: ChildStdin,
    console: Console,
    agent: Arc<Agent>,
    mounts: Mounts,
    cgroup: SandboxCgroup,
    nameservers: Vec<std::net::IpAddr>,
    egress: Arc<Egress>,
    /// The OCI runtime opens it by its path in this process.
    _network: OwnedFd,
}

impl Container {
    /// Mounts the home and starts the agent in a container.
    pub async fn start(
        context: &StartContext<'_>,
        slot: &Slot,
        kernel: Kernel,
    ) -> Result<Self, RuntimeError> {
        let spec = context.spec;
        if spec.written_by == Some(Tier::Microvm) {
            return Err(ContainerError::ForeignHome.into());
        }
        check_host().map_err(ContainerError::Unavailable)?;
        let runtime = OciRuntime::find(kernel, spec.runsc.as_deref())?;
        context.reporter.report_step(Step::Network, None);
        let network = ContainerNetwork::create(slot.number(), AllowedNetwork::of(spec)).await?;
        context.reporter.report_step(Step::Sandbox, None);
        let scratch = scratch::create(spec)?;
        scratch::format(&scratch).await;
        let users = idmap::create_user_namespace(slot.uid(), root_user(slot))?;
        let disks = Disks::of(spec);
        let limits = match kernel {
            Kernel::Host => Limits::of_container(&spec.resources, disks),
            Kernel::Gvisor => Limits::of_gvisor(&spec.resources, disks),
        };
        let cgroup = SandboxCgroup::create(slot, &limits).await;
        let names = Names { host: spec.name.clone(), nameservers: network.nameservers.clone() };
        let mounts = Mounts::create().await?;
        let launch = Launch { spec, slot, runtime, cgroup: &cgroup, network: &network };
        let started = async {
            prepare(&mounts, context, users, scratch, &names).await?;
            launch.spawn(&mounts).await
        };
        let (mut child, channel) = match started.await {
            Ok(started) => started,
            Err(error) => {
                // What was written to the home must be in its volume before the volume is closed.
                mounts.unmount_home().await?;
                return Err(error);
            }
        };
        tracing::info!(pid = child.id(), "started the container");
        let input = child.stdin.take().expect("piped");
        let console = Console::follow(child.stderr.take().expect("piped"));
        let agent = Arc::new(Agent::in_container(channel, Arc::new(mounts.clone())));
        let ContainerNetwork { namespace, nameservers, egress } = network;
        let egress = Arc::new(egress);
        Ok(Self { child, input, console, agent, mounts, cgroup, nameservers, egress, _network: namespace })
    }

    /// See [`super::Sandbox::agent`].
    pub fn agent(&self) -> Arc<Agent> {
        self.agent.clone()
    }

    /// The name servers that the container may use.
    pub fn nameservers(&self) -> &[std::net::IpAddr] {
        &self.nameservers
    }

    /// What enforces the network policy.
    pub fn egress(&self) -> Arc<Egress> {
        self.egress.clone()
    }

    /// The last lines of the agent, or of the OCI runtime if it failed.
    pub fn log(&self) -> Vec<String> {
        self.console.last_lines()
    }

    /// Waits for the container's exit. The agent does not exit by itself.
    pub async fn wait(&mut self) -> SandboxExit {
        let exit = SandboxExit::new("the container", self.child.wait().await);
        SandboxExit { is_orderly: false, ..exit }
    }

    /// Ends the agent, and with it all programs, and unmounts the home.
    pub async fn shut_down(mut self) -> Result<(), RuntimeError> {
        drop(self.input);
        if timeout(EXIT_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("the container did not end in time");
        }
        end(self.child, self.cgroup, &self.mounts).await
    }

    /// Kills all programs, and unmounts the home.
    pub async fn kill(self) {
        if let Err(error) = end(self.child, self.cgroup, &self.mounts).await {
            tracing::error!(%error, "cannot end the container");
        }
    }
}

/// Kills what is left, and unmounts the home.
async fn end(mut child: Child, cgroup: SandboxCgroup, mounts: &Mounts) -> Result<(), RuntimeError> {
    cgroup.kill();
    // The OCI runtime exits with the container, and removes what it has created for it.
    if timeout(KILL_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    cgroup.remove().await;
    mounts.unmount_home().await
}

/// Mounts everything that the container consists of.
async fn prepare(
    mounts: &Mounts,
    context: &StartContext<'_>,
    users: OwnedFd,
    scratch: fs::File,
    names: &Names,
) -> Result<(), RuntimeError> {
    let spec = context.spec;
    let users = Arc::new(users);
    mounts.mount_root(&spec.image_dir.join(crate::images::ROOTFS), users.clone()).await?;
    mounts.mount_scratch(scratch).await?;
    mounts.mount_agent(spec.agent.clone()).await?;
    mounts.write_names(names).await?;
    let home_bytes = u64::from(spec.resources.home_mib) * MIB;
    mounts.mount_home(context.volume, HOME_DISK_BYTES, home_bytes, users).await
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
    slot: &'a Slot,
    runtime: OciRuntime,
    cgroup: &'a SandboxCgroup,
    network: &'a ContainerNetwork,
}

impl Launch<'_> {
    /// Starts the container. Returns the child, which lives as long as it, and the channel to its agent.
    async fn spawn(self, mounts: &Mounts) -> Result<(Child, UnixStream), RuntimeError> {
        let Self { spec, slot, .. } = self;
        let kernel = self.runtime.kernel;
        let bundle = Bundle {
            kernel,
            name: &spec.name,
            parts: Mounts::parts(),
            user: slot.uid(),
            root_user: root_user(slot),
            network: &path_of(&self.network.namespace),
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
            .args(self.runtime.run_arguments(&in_run_dir(spec, "oci"), &directory, &name))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if kernel == Kernel::Gvisor {
            mounts.hide_network_settings(self.network.namespace.try_clone()).await?;
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
fn run_kernel_below(command: &mut Command, cgroups: Vec<fs::File>) {
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

/// Checks whether this host can run containers on its own kernel. Returns the OCI runtime, or why not and
/// what to do.
pub fn check_available() -> Result<OciRuntime, String> {
    check_host()?;
    OciRuntime::find(Kernel::Host, None).map_err(ContainerError::into_reason)
}

/// Checks what containers need of the host, whichever kernel they have.
fn check_host() -> Result<(), String> {
    network::check_available()?;
    cgroup::check_available()?;
    for (device, module) in [("/dev/fuse", "fuse"), ("/dev/loop-control", "loop")] {
        if let Err(error) = fs::File::open(device) {
            return Err(format!("{device} cannot be opened ({error}). Run `modprobe {module}`"));
        }
    }
    let namespaces = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if namespaces.trim() == "0" {
        return Err("user namespaces are disabled. Set the sysctl user.max_user_namespaces".to_owned());
    }
    Ok(())
}
