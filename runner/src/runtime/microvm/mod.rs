//! The microVM runtime: QEMU with its own kernel, in a jail, with its disks and sockets passed open.
//!
//! A guest that takes over its VMM has the descriptors that the VMM was given and nothing else: a
//! read-only image, a scratch file without a name, one connection to its own home, and a tap in its
//! own network namespace.

use std::{net::IpAddr, os::unix::net::UnixStream, path::PathBuf, sync::Arc, time::Duration};

use protocol::{agent::HOME_DISK_BYTES, workspace::Step};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::{command_line::Accelerator, jail::JailError};
use self::{
    qmp::Control,
    vmm::{Beginning, Launch, Launcher, Vmm},
};
use super::{RuntimeError, SandboxExit, StartContext, cannot, in_run_dir};
use crate::{
    agent::Agent,
    cgroup::{Disks, Limits, SandboxCgroup},
    export,
    network::{Egress, Network},
};

pub mod accelerator;
mod command_line;
mod jail;
mod prototype;
mod qmp;
pub mod scratch;
mod tsc;
mod vmm;
mod warm_start;

/// How long the VMM may take to write its caches and exit.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to read the rest of a dead VMM's output, which is already in the pipe.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);
const MIB: u64 = 1024 * 1024;

/// A running VMM, the home that it is connected to, and the agent in its guest.
pub struct Microvm {
    vmm: Vmm,
    agent: Arc<Agent>,
    accelerator: Accelerator,
    export: HomeExport,
    nameservers: Option<Vec<IpAddr>>,
    egress: Option<Arc<Egress>>,
    cgroup: SandboxCgroup,
}

/// The home's NBD export. Its task ends when this is dropped.
struct HomeExport {
    path: PathBuf,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Microvm {
    /// Creates the network and the export, then starts QEMU: from a prototype where that works, else by
    /// booting.
    pub async fn start(context: &StartContext<'_>) -> Result<Self, RuntimeError> {
        let spec = context.spec;
        let choice = accelerator::choose(&spec.image_dir, &spec.initramfs).await?;
        let network = create_network(context).await?;
        let is_root = rustix::process::geteuid().is_root();
        let uid = is_root.then(|| context.slot.uid());
        let cgroup =
            SandboxCgroup::create(context.slot, &Limits::of_microvm(&spec.resources, Disks::of(spec))).await;
        let launcher = Launcher { spec, uid, accelerator: choice.accelerator, network, cgroup };
        let export = HomeExport::start(context)?;
        let (vmm, agent) = match restore_from_prototype(context, &launcher, &export).await? {
            Some(restored) => restored,
            None => boot(context, &launcher, &export).await?,
        };
        let Launcher { accelerator, network, cgroup, .. } = launcher;
        let (nameservers, egress) =
            network.map(|network| (network.nameservers, Arc::new(network.egress))).unzip();
        Ok(Self { vmm, agent: Arc::new(agent), accelerator, export, nameservers, egress, cgroup })
    }

    /// See [`super::Sandbox::agent`].
    pub fn agent(&self) -> Arc<Agent> {
        self.agent.clone()
    }

    /// "kvm" or "tcg".
    pub fn accelerator(&self) -> &'static str {
        self.accelerator.as_str()
    }

    /// See [`super::Sandbox::nameservers`].
    pub fn nameservers(&self) -> Option<&[IpAddr]> {
        self.nameservers.as_deref()
    }

    /// See [`super::Sandbox::egress`].
    pub fn egress(&self) -> Option<Arc<Egress>> {
        self.egress.clone()
    }

    /// Waits for the VMM's exit. A kernel panic is not orderly.
    pub async fn wait(&mut self) -> SandboxExit {
        let exit = SandboxExit::new("the virtual machine", self.vmm.process.child.wait().await);
        // The VMM exits in the same way when the kernel panics and when it powers off; only the
        // console differs.
        let _ = timeout(LAST_LINES_TIMEOUT, self.vmm.console.ended()).await;
        if exit.is_orderly && self.vmm.console.has_panicked() {
            return SandboxExit { description: "the guest's kernel panicked".to_owned(), is_orderly: false };
        }
        exit
    }

    /// The guest's lines, then the VMM's own: if the VMM failed, its last line says why.
    pub fn log(&self) -> Vec<String> {
        let mut log = self.vmm.console.last_lines();
        log.extend(self.vmm.errors.last_lines());
        log
    }

    /// Ends the VMM in order, then the export. Everything that the guest wrote is then in the volume.
    pub async fn shut_down(mut self) {
        let quit = async { Control::connect(&self.vmm.control).await?.quit().await };
        let asked = timeout(QUIT_TIMEOUT, quit).await;
        if let Err(error) = asked.unwrap_or_else(|_| Err(qmp::timed_out())) {
            tracing::debug!(%error, "cannot ask the VMM to quit");
        }
        if timeout(QUIT_TIMEOUT, self.vmm.process.child.wait()).await.is_err() {
            tracing::warn!("the VMM did not quit in time");
        }
        self.kill().await;
    }

    /// Ends the VMM at once, then the export.
    pub async fn kill(mut self) {
        if timeout(QUIT_TIMEOUT, self.vmm.process.child.kill()).await.is_err() {
            tracing::error!("the VMM survived SIGKILL");
        }
        self.cgroup.remove().await;
        self.export.end().await;
    }
}

/// Restores the guest from a prototype; `None` if that does not work here, or not this time.
async fn restore_from_prototype(
    context: &StartContext<'_>,
    launcher: &Launcher<'_>,
    export: &HomeExport,
) -> Result<Option<(Vmm, Agent)>, RuntimeError> {
    if !context.spec.use_prototypes {
        return Ok(None);
    }
    let Some(place) = warm_start::find_place(launcher) else { return Ok(None) };
    let report = |detail: &str| context.reporter.report_step(Step::Sandbox, Some(detail.to_owned()));
    let on_make = || report("Booting a prototype for this and later starts");
    let Some(prototype) = warm_start::find_or_make(launcher, &place, on_make).await else {
        return Ok(None);
    };
    report("Copying the prototype");
    let (scratch, home) = (scratch::create(context.spec)?, export.connect()?);
    match warm_start::restore(launcher, prototype, scratch, home).await {
        Ok(restored) => Ok(Some(restored)),
        Err(error) => {
            tracing::warn!(%error, "the prototype does not work: booting instead");
            if let Err(error) = place.remove() {
                tracing::warn!(%error, "cannot remove the prototype");
            }
            Ok(None)
        }
    }
}

/// Boots the guest.
async fn boot(
    context: &StartContext<'_>,
    launcher: &Launcher<'_>,
    export: &HomeExport,
) -> Result<(Vmm, Agent), RuntimeError> {
    context.reporter.report_step(Step::Sandbox, None);
    let scratch = scratch::create(context.spec)?;
    scratch::format(&scratch).await;
    let (tsc_khz, home) = (launcher.measure_tsc(), Some(export.connect()?));
    let vmm =
        launcher.launch(Launch { beginning: Beginning::Boot, tsc_khz, scratch, home, name: "" }).await?;
    let agent = Agent::new(vmm.agent.clone());
    Ok((vmm, agent))
}

/// Creates the sandbox's network. As root, a failure fails the start; without root the sandbox has
/// no network.
async fn create_network(context: &StartContext<'_>) -> Result<Option<Network>, RuntimeError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    context.reporter.report_step(Step::Network, None);
    let (policy, bounds) = (context.spec.network.policy.clone(), context.spec.network_bounds.clone());
    Ok(Some(Network::create(context.slot.number(), policy, bounds).await?))
}

impl HomeExport {
    /// Starts the export.
    fn start(context: &StartContext<'_>) -> Result<Self, RuntimeError> {
        let path = in_run_dir(context.spec, "home.sock");
        let listener = tokio::net::UnixListener::bind(&path).map_err(cannot("export the home"))?;
        let stop = CancellationToken::new();
        let serving = export::serve(listener, context.volume.clone(), HOME_DISK_BYTES, stop.clone());
        Ok(Self { path, task: tokio::spawn(serving), stop: stop.drop_guard() })
    }

    /// Opens a connection for a VMM.
    fn connect(&self) -> Result<UnixStream, RuntimeError> {
        UnixStream::connect(&self.path).map_err(cannot("connect to the home's export"))
    }

    /// Ends the export. Everything that was written to it is then in the volume.
    async fn end(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}
