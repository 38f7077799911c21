//! The microVM runtime: QEMU with its own kernel, in a jail, with its disks and sockets passed open.
//!
//! A guest that takes over its VMM has the descriptors that the VMM was given and nothing else: a
//! read-only image, a scratch file without a name, one connection to its own home, and a tap in its
//! own network namespace.

use std::{
    fs::{File, OpenOptions},
    net::IpAddr,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::OpenOptionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use protocol::{agent::HOME_DISK_BYTES, runner::RunnerSpec, workspace::Step};
use tokio::{process::Command, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::{command_line::Accelerator, jail::JailError};
use self::{
    command_line::{CommandLine, DiskDescriptors},
    jail::{Jail, JailedProcess},
};
use super::{RuntimeError, SandboxExit, StartContext, cannot, console::Console, in_run_dir};
use crate::{
    agent::Agent,
    cgroup::{Limits, SandboxCgroup},
    export, images,
    network::Network,
};

pub mod accelerator;
mod command_line;
mod jail;
mod qmp;
mod tsc;

/// How long the VMM may take to write its caches and exit.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to read the rest of a dead VMM's output, which is already in the pipe.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);
/// Time to write some hundred kilobytes of metadata.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

/// A running VMM, the home that it is connected to, and the agent in its guest.
pub struct Microvm {
    process: JailedProcess,
    agent: Arc<Agent>,
    accelerator: Accelerator,
    /// What the guest's kernel prints.
    console: Console,
    /// What the VMM itself prints.
    errors: Console,
    /// Path of the socket of QEMU's control protocol.
    qmp: PathBuf,
    export: HomeExport,
    nameservers: Option<Vec<IpAddr>>,
    cgroup: SandboxCgroup,
}

/// The home's NBD export. Its task ends when this is dropped.
struct HomeExport {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Microvm {
    /// Creates the network, the scratch disk and the export, then starts QEMU.
    pub async fn start(context: &StartContext<'_>) -> Result<Self, RuntimeError> {
        let spec = context.spec;
        let choice = accelerator::choose(&spec.image_dir, &spec.initramfs).await?;
        let (network, scratch) = tokio::try_join!(create_network(context), create_scratch_disk(spec))?;
        context.reporter.report_step(Step::Sandbox, None);
        let mut jail = new_jail(context, choice.accelerator)?;
        let cgroup = SandboxCgroup::create(context.slot, &Limits::of_microvm(&spec.resources)).await;
        jail.set_cgroups(cgroup.open_entries().map_err(cannot("open the sandbox's cgroup"))?);
        let nameservers = network.as_ref().map(|network| network.nameservers.clone());
        let (namespace, tap) = network.map(|network| (network.namespace, network.tap)).unzip();
        if let Some(namespace) = namespace {
            jail.set_network(namespace);
        }
        let (export, connection) = export_home(context)?;
        let agent = in_run_dir(spec, "agent.sock");
        let qmp = in_run_dir(spec, "qmp.sock");
        let command_line = CommandLine {
            accelerator: choice.accelerator,
            tsc_khz: match choice.accelerator {
                Accelerator::Kvm => None,
                Accelerator::Tcg => tsc::measure_khz(),
            },
            vcpus: spec.resources.vcpus,
            memory_mib: spec.resources.memory_mib,
            kernel: jail.show(&spec.image_dir.join(images::KERNEL), "kernel")?,
            initramfs: jail.show(&spec.initramfs, "initramfs")?,
            disks: Some(DiskDescriptors {
                root: jail.pass(open(&spec.image_dir.join(images::ROOTFS))?),
                scratch: jail.pass(scratch),
                home: jail.pass(connection),
            }),
            agent: jail.pass(listen(&agent)?),
            qmp: jail.pass(listen(&qmp)?),
            tap: tap.map(|tap| jail.pass(tap)),
            is_verbose: false,
        };
        let arguments = command_line.to_arguments();
        let mut process = jail.spawn(arguments).await?;
        let child = &mut process.child;
        tracing::info!(pid = child.id(), accelerator = choice.accelerator.as_str(), "started the VMM");
        Ok(Self {
            console: Console::follow(child.stdout.take().expect("piped")),
            errors: Console::follow(child.stderr.take().expect("piped")),
            process,
            agent: Arc::new(Agent::new(agent)),
            accelerator: choice.accelerator,
            qmp,
            export,
            nameservers,
            cgroup,
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

    /// Waits for the VMM's exit. A kernel panic is not orderly.
    pub async fn wait(&mut self) -> SandboxExit {
        let exit = SandboxExit::new("the virtual machine", self.process.child.wait().await);
        // The VMM exits in the same way when the kernel panics and when it powers off; only the
        // console differs.
        let _ = timeout(LAST_LINES_TIMEOUT, self.console.ended()).await;
        if exit.is_orderly && self.console.has_panicked() {
            return SandboxExit { description: "the guest's kernel panicked".to_owned(), is_orderly: false };
        }
        exit
    }

    /// The guest's lines, then the VMM's own: if the VMM failed, its last line says why.
    pub fn log(&self) -> Vec<String> {
        let mut log = self.console.last_lines();
        log.extend(self.errors.last_lines());
        log
    }

    /// Ends the VMM in order, then the export. Everything that the guest wrote is then in the volume.
    pub async fn shut_down(mut self) {
        let asked = timeout(QUIT_TIMEOUT, qmp::quit(&self.qmp)).await;
        if let Err(error) = asked.unwrap_or_else(|_| Err(qmp::timed_out())) {
            tracing::debug!(%error, "cannot ask the VMM to quit");
        }
        if timeout(QUIT_TIMEOUT, self.process.child.wait()).await.is_err() {
            tracing::warn!("the VMM did not quit in time");
        }
        self.kill().await;
    }

    /// Ends the VMM at once, then the export.
    pub async fn kill(mut self) {
        if timeout(QUIT_TIMEOUT, self.process.child.kill()).await.is_err() {
            tracing::error!("the VMM survived SIGKILL");
        }
        self.cgroup.remove().await;
        drop(self.export.stop);
        let _ = self.export.task.await;
    }
}

/// Creates the sandbox's network. As root, a failure fails the start; without root the sandbox has
/// no network.
async fn create_network(context: &StartContext<'_>) -> Result<Option<Network>, RuntimeError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    context.reporter.report_step(Step::Network, None);
    Ok(Some(Network::create(context.slot.number()).await?))
}

fn new_jail(context: &StartContext<'_>, accelerator: Accelerator) -> Result<Jail, JailError> {
    let is_root = rustix::process::geteuid().is_root();
    let mut jail = Jail::new(is_root.then(|| context.slot.uid()))?;
    jail.set_max_file_bytes(u64::from(context.spec.resources.scratch_mib) * MIB);
    if accelerator == Accelerator::Kvm {
        accelerator::allow_kvm(&mut jail);
    }
    Ok(jail)
}

/// Starts the home's export, and opens the VMM's connection to it.
fn export_home(context: &StartContext<'_>) -> Result<(HomeExport, UnixStream), RuntimeError> {
    let path = in_run_dir(context.spec, "home.sock");
    let listener = tokio::net::UnixListener::bind(&path).map_err(cannot("export the home"))?;
    let connection = UnixStream::connect(&path).map_err(cannot("connect to the home's export"))?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(export::serve(listener, context.volume.clone(), HOME_DISK_BYTES, stop.clone()));
    Ok((HomeExport { task, stop: stop.drop_guard() }, connection))
}

fn open(path: &Path) -> Result<File, RuntimeError> {
    File::open(path).map_err(cannot("open the image"))
}

fn listen(path: &Path) -> Result<UnixListener, RuntimeError> {
    UnixListener::bind(path).map_err(cannot("create a socket of the sandbox"))
}

/// Creates the scratch disk, the writable layer above the root: a sparse file without a name, which
/// dies with the sandbox.
async fn create_scratch_disk(spec: &RunnerSpec) -> Result<File, RuntimeError> {
    let create = || {
        let directory = spec.cache_dir.as_path();
        let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
        let file =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(directory)?;
        file.set_len(u64::from(spec.resources.scratch_mib) * MIB)?;
        Ok(file)
    };
    let file = create().map_err(cannot("create the scratch disk"))?;
    format_scratch_disk(&file).await;
    Ok(file)
}

/// Formats the scratch disk on the host, which is ten times faster than in an emulated guest. If it
/// fails, the guest finds a blank disk and formats it.
async fn format_scratch_disk(scratch: &File) {
    let path = format!("/proc/{}/fd/{}", std::process::id(), scratch.as_raw_fd());
    let formatting = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-E", "lazy_itable_init=1,nodiscard", "-O", "^has_journal"])
        .arg(path)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match timeout(FORMAT_TIMEOUT, formatting).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::debug!(%status, "cannot format the scratch disk; the guest will"),
        Ok(Err(error)) => tracing::debug!(%error, "cannot format the scratch disk; the guest will"),
        Err(_) => tracing::warn!("mkfs.ext4 did not finish in time"),
    }
}
