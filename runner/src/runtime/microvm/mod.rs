//! The microVM runtime: QEMU with its own kernel, in a jail, with its disks and sockets passed open. What
//! needs root is in [`host`], which runs in the runner's supervisor; the rest runs in its session.
//!
//! A guest that takes over its VMM has the descriptors that the VMM was given and nothing else: a
//! read-only image, a scratch file without a name, one connection to its own home, and a tap in its
//! own network namespace.

use std::{
    net::IpAddr,
    os::{fd::RawFd, unix::net::UnixStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use protocol::{agent::HOME_DISK_BYTES, workspace::Step};
use tokio::{net::unix::pipe, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::qmp::Control;
pub use self::{
    command_line::Accelerator, host::MicrovmHost, jail::JailError,
    prototype::remove_unfinished as remove_unfinished_prototypes,
};
use super::{
    RuntimeError, SandboxExit, StartContext, cannot, console::Console, in_run_dir, process::SandboxProcess,
    start_egress,
};
use crate::{
    agent::Agent,
    export,
    network::Egress,
    supervisor::{
        LaunchedVmm, Supervisor,
        messages::{LaunchKind, PrototypeState},
    },
};

pub mod accelerator;
mod command_line;
mod host;
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
    supervisor: Supervisor,
    agent: Arc<Agent>,
    accelerator: Accelerator,
    export: HomeExport,
    nameservers: Option<Vec<IpAddr>>,
    egress: Option<Arc<Egress>>,
}

/// A VMM that was started.
struct Vmm {
    process: SandboxProcess,
    /// What the guest's kernel prints.
    console: Console,
    /// What the VMM itself prints.
    errors: Console,
    /// Path of the socket of QEMU's control protocol.
    control: PathBuf,
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
    pub async fn start(context: &StartContext<'_>, supervisor: &Supervisor) -> Result<Self, RuntimeError> {
        context.reporter.report_step(Step::Network, None);
        let (prepared, sockets) = supervisor.prepare().await?;
        let egress = sockets.map(|sockets| start_egress(context, supervisor, sockets)).transpose()?;
        let export = HomeExport::start(context)?;
        let accelerator = prepared.accelerator.ok_or(RuntimeError::WrongProcess(context.spec.runtime))?;
        let start = Start { context, supervisor, export: &export };
        let (vmm, agent) = match start.restore_from_prototype().await? {
            Some(restored) => restored,
            None => start.boot().await?,
        };
        Ok(Self {
            vmm,
            supervisor: supervisor.clone(),
            agent: Arc::new(agent),
            accelerator,
            export,
            nameservers: prepared.nameservers,
            egress: egress.map(Arc::new),
        })
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
        let exit = SandboxExit::new("the virtual machine", self.vmm.process.wait().await);
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
        if timeout(QUIT_TIMEOUT, self.vmm.process.wait()).await.is_err() {
            tracing::warn!("the VMM did not quit in time");
        }
        self.kill().await;
    }

    /// Ends the VMM at once, then the export.
    pub async fn kill(self) {
        if let Err(error) = self.supervisor.remove().await {
            tracing::error!(%error, "cannot remove the sandbox");
        }
        self.export.end().await;
    }
}

/// The start of a VMM.
struct Start<'a> {
    context: &'a StartContext<'a>,
    supervisor: &'a Supervisor,
    export: &'a HomeExport,
}

impl Start<'_> {
    /// Restores the guest from a prototype; `None` if that does not work here, or not this time.
    async fn restore_from_prototype(&self) -> Result<Option<(Vmm, Agent)>, RuntimeError> {
        if !self.context.spec.use_prototypes {
            return Ok(None);
        }
        let report = |detail: &str| self.context.reporter.report_step(Step::Sandbox, Some(detail.to_owned()));
        let mut found = self.supervisor.find_prototype().await?;
        if found == PrototypeState::Missing {
            report("Booting a prototype for this and later starts");
            found = self.supervisor.make_prototype().await?;
        }
        if found != PrototypeState::Ready {
            return Ok(None);
        }
        report("Copying the prototype");
        match self.restore().await {
            Ok(restored) => Ok(Some(restored)),
            Err(error) => {
                tracing::warn!(%error, "the prototype does not work: booting instead");
                if let Err(error) = self.supervisor.remove_prototype().await {
                    tracing::warn!(%error, "cannot remove the prototype");
                }
                Ok(None)
            }
        }
    }

    async fn restore(&self) -> Result<(Vmm, Agent), RuntimeError> {
        let (mut vmm, agent, state) = self.launch(LaunchKind::Prototype).await?;
        let state = state.ok_or_else(|| cannot("restore the guest")(std::io::ErrorKind::NotFound.into()))?;
        warm_start::restore(&mut vmm, &agent, state).await.map_err(cannot("restore the guest"))?;
        Ok((vmm, agent))
    }

    /// Boots the guest.
    async fn boot(&self) -> Result<(Vmm, Agent), RuntimeError> {
        self.context.reporter.report_step(Step::Sandbox, None);
        let (vmm, agent, _) = self.launch(LaunchKind::Boot).await?;
        Ok((vmm, agent))
    }

    /// Starts a VMM instead of one that was started before.
    async fn launch(&self, kind: LaunchKind) -> Result<(Vmm, Agent, Option<RawFd>), RuntimeError> {
        let LaunchedVmm { state, descriptors: [output, errors, exit] } =
            self.supervisor.launch(kind, self.export.connect()?.into()).await?;
        let console = |output| pipe::Receiver::from_owned_fd(output).map(Console::follow);
        let spec = self.context.spec;
        let follow = || {
            Ok(Vmm {
                process: SandboxProcess::follow(self.supervisor.clone(), exit)?,
                console: console(output)?,
                errors: console(errors)?,
                control: in_run_dir(spec, vmm::CONTROL_SOCKET),
            })
        };
        let vmm = follow().map_err(cannot("follow the VMM"))?;
        Ok((vmm, Agent::new(in_run_dir(spec, vmm::AGENT_SOCKET)), state))
    }
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
