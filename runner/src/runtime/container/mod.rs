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
//! prepares what it consists of. What needs root is in [`host`], which runs in the runner's supervisor; the
//! rest runs in its session. All of this is the same in both tiers where nothing else is said:
//!
//! - Its programs run as one user without privileges; there is no root in it.
//! - Its home is a file system that the host's kernel mounts from the volume. A home that a guest has
//!   written as a disk is refused: a file system that was prepared for that purpose attacks the kernel that
//!   mounts it.
//! - The agent ends when its standard input does, and the container with it. So nothing outlives a runner
//!   that is killed: the kernel removes the mounts and the network with the last process.
//! - The agent has one end of a channel ([`transport::channel`]), through which the runner connects to it.
//!   It needs no path that both of them see, and gVisor passes no listening socket of the host on.

use std::{fs, net::IpAddr, sync::Arc};

use protocol::{
    agent::HOME_DISK_BYTES,
    runner::RunnerSpec,
    workspace::{Step, Tier},
};
use tokio::net::unix::pipe;

pub use self::host::ContainerHost;
use self::{home::MountedHome, oci_runtime::OciRuntime};
use super::{
    RuntimeError, SandboxExit, StartContext, cannot, console::Console, process::SandboxProcess, start_egress,
};
use crate::{
    agent::Agent,
    cgroup,
    network::{self, Egress},
    supervisor::{StartedContainer, Supervisor},
};

mod bundle;
pub mod gvisor;
mod home;
mod host;
mod idmap;
mod mounts;
mod namespace;
mod oci_runtime;
mod seccomp;
#[cfg(test)]
mod tests;
mod volume_file;

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

/// A running container, and its agent. The supervisor has what it consists of.
pub struct Container {
    process: SandboxProcess,
    console: Console,
    agent: Arc<Agent>,
    supervisor: Supervisor,
    nameservers: Vec<IpAddr>,
    egress: Arc<Egress>,
}

impl Container {
    /// Serves the home, has it mounted, and starts the agent in a container.
    pub async fn start(context: &StartContext<'_>, supervisor: &Supervisor) -> Result<Self, RuntimeError> {
        // The supervisor refuses it too. Here its owner is told what to do.
        check_writer(context.spec)?;
        let started = Self::create(context, supervisor).await;
        if started.is_err()
            // What was written to the home must be in its volume before the volume is closed.
            && let Err(error) = supervisor.remove().await
        {
            tracing::warn!(%error, "cannot remove the container");
        }
        started
    }

    async fn create(context: &StartContext<'_>, supervisor: &Supervisor) -> Result<Self, RuntimeError> {
        context.reporter.report_step(Step::Network, None);
        let (prepared, sockets) = supervisor.prepare().await?;
        let network = prepared.nameservers.zip(sockets);
        let (nameservers, sockets) = network.ok_or(RuntimeError::WrongProcess(context.spec.runtime))?;
        let egress = start_egress(context, supervisor, sockets)?;
        context.reporter.report_step(Step::Sandbox, None);
        let device = supervisor.mount_parts().await?;
        volume_file::serve(context.volume, HOME_DISK_BYTES, device)?;
        let content = home::read_content(context.volume).await?;
        let StartedContainer { errors, exit, channel } = supervisor.start_container(content).await?;
        let follow = || {
            let console = Console::follow(pipe::Receiver::from_owned_fd(errors)?);
            std::io::Result::Ok((SandboxProcess::follow(supervisor.clone(), exit)?, console))
        };
        let (process, console) = follow().map_err(cannot("follow the container"))?;
        let agent = Arc::new(Agent::in_container(channel, Arc::new(MountedHome(supervisor.clone()))));
        let (supervisor, egress) = (supervisor.clone(), Arc::new(egress));
        Ok(Self { process, console, agent, supervisor, nameservers, egress })
    }

    /// See [`super::Sandbox::agent`].
    pub fn agent(&self) -> Arc<Agent> {
        self.agent.clone()
    }

    /// The name servers that the container may use.
    pub fn nameservers(&self) -> &[IpAddr] {
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
        let exit = SandboxExit::new("the container", self.process.wait().await);
        SandboxExit { is_orderly: false, ..exit }
    }

    /// Ends the agent, and with it all programs, and has the home unmounted.
    pub async fn shut_down(self) -> Result<(), RuntimeError> {
        self.supervisor.end_container().await?;
        Ok(self.supervisor.remove().await?)
    }

    /// Kills all programs, and has the home unmounted.
    pub async fn kill(self) {
        if let Err(error) = self.supervisor.remove().await {
            tracing::error!(%error, "cannot end the container");
        }
    }
}

/// Refuses a home that a virtual machine has written.
fn check_writer(spec: &RunnerSpec) -> Result<(), ContainerError> {
    if spec.written_by == Some(Tier::Microvm) { Err(ContainerError::ForeignHome) } else { Ok(()) }
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
