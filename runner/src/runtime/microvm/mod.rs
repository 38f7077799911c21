//! The microVM: QEMU with a kernel of its own, in a jail, its disks and sockets handed over open.
//!
//! Whatever the guest makes of the VMM, it has the descriptors that it was given: a read-only image, a scratch file without a
//! name, one connection to its own home, a tap in its own network namespace.

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
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use protocol::{agent::HOME_DISK_BYTES, runner::RunnerSpec, workspace::Step};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    accelerator::Accelerator,
    arguments::{Disks, Plan},
    jail::Jail,
};
use super::{Ended, Making, RuntimeError, console::Console, in_run_dir, io};
use crate::{agent::Agent, export, images, network::Network};

pub mod accelerator;
mod arguments;
mod clock;
mod jail;
mod qmp;

/// A VMM that was told to quit writes what it holds and goes.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a VMM that is gone had printed is in the pipe.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);
/// Some hundred kilobytes of metadata.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

pub struct Microvm {
    child: Child,
    agent: Arc<Agent>,
    accelerator: Accelerator,
    console: Console,
    complaints: Console,
    qmp: std::path::PathBuf,
    export: Export,
    nameservers: Option<Vec<IpAddr>>,
}

/// The home's export, which ends when this is dropped.
struct Export {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Microvm {
    pub async fn start(making: &Making<'_>) -> Result<Self, RuntimeError> {
        let spec = making.spec;
        let verdict = accelerator::verdict(&spec.image_dir, &spec.initramfs).await?;
        let (network, scratch) = tokio::try_join!(network(making), scratch(spec))?;
        making.reporter.step(Step::Machine, None);
        let mut jail = jail_for(making, verdict.accelerator);
        let nameservers = network.as_ref().map(|network| network.nameservers.clone());
        let (namespace, tap) = network.map(|network| (network.namespace, network.tap)).unzip();
        jail.namespace = namespace;
        let (export, connection) = serve_home(making)?;
        let agent = in_run_dir(spec, "agent.sock");
        let qmp = in_run_dir(spec, "qmp.sock");
        let plan = Plan {
            accelerator: verdict.accelerator,
            tsc_khz: match verdict.accelerator {
                Accelerator::Kvm => None,
                Accelerator::Tcg => clock::tsc_khz(),
            },
            vcpus: spec.resources.vcpus,
            memory_mib: spec.resources.memory_mib,
            kernel: jail.hand_over(open(&spec.image_dir.join(images::KERNEL))?),
            initramfs: jail.hand_over(open(&spec.initramfs)?),
            disks: Some(Disks {
                root: jail.hand_over(open(&spec.image_dir.join(images::ROOTFS))?),
                scratch: jail.hand_over(scratch),
                home: jail.hand_over(connection),
            }),
            agent: jail.hand_over(listen(&agent)?),
            qmp: jail.hand_over(listen(&qmp)?),
            tap: tap.map(|tap| jail.hand_over(tap)),
            verbose: false,
        };
        let mut child = jail.spawn(&plan.arguments()).map_err(io("the VMM cannot be started"))?;
        tracing::info!(pid = child.id(), accelerator = verdict.accelerator.as_str(), "the VMM runs");
        Ok(Self {
            console: Console::read(child.stdout.take().expect("piped")),
            complaints: Console::read(child.stderr.take().expect("piped")),
            child,
            agent: Arc::new(Agent::at(agent)),
            accelerator: verdict.accelerator,
            qmp,
            export,
            nameservers,
        })
    }

    pub fn agent(&self) -> Arc<Agent> {
        self.agent.clone()
    }

    pub fn accelerator(&self) -> &'static str {
        self.accelerator.as_str()
    }

    pub fn nameservers(&self) -> Option<&[IpAddr]> {
        self.nameservers.as_deref()
    }

    pub async fn ended(&mut self) -> Ended {
        let ended = Ended::of("the virtual machine", self.child.wait().await);
        // The VMM leaves a kernel that panics as it leaves one that powers off.
        let _ = timeout(LAST_LINES_TIMEOUT, self.console.ended()).await;
        if ended.orderly && self.console.has_panicked() {
            return Ended { how: "the machine's kernel panicked".to_owned(), orderly: false };
        }
        ended
    }

    /// What the VMM complained about comes last: it is why there is nothing else.
    pub fn log(&self) -> Vec<String> {
        let mut log = self.console.last();
        log.extend(self.complaints.last());
        log
    }

    /// Ends the VMM in order, then the export: all that the guest wrote is in the volume.
    pub async fn end(mut self) {
        if let Err(error) = timeout(QUIT_TIMEOUT, qmp::quit(&self.qmp)).await.unwrap_or(Err(qmp::late())) {
            tracing::debug!(%error, "the VMM was not told to quit");
        }
        if timeout(QUIT_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("the VMM did not quit");
        }
        self.kill().await;
    }

    /// Ends it at once.
    pub async fn kill(mut self) {
        if timeout(QUIT_TIMEOUT, self.child.kill()).await.is_err() {
            tracing::error!("the VMM does not die");
        }
        drop(self.export.stop);
        let _ = self.export.task.await;
    }
}

/// Without root there is no network; with root there is one or no machine.
async fn network(making: &Making<'_>) -> Result<Option<Network>, RuntimeError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    making.reporter.step(Step::Network, None);
    Ok(Some(Network::raise(making.slot.number()).await?))
}

fn jail_for(making: &Making<'_>, accelerator: Accelerator) -> Jail {
    let root = rustix::process::geteuid().is_root();
    let groups = match accelerator {
        Accelerator::Kvm => accelerator::device_group().into_iter().collect(),
        Accelerator::Tcg => Vec::new(),
    };
    Jail { uid: root.then(|| making.slot.uid()), groups, namespace: None, descriptors: Vec::new() }
}

/// The export, and the VMM's connection to it.
fn serve_home(making: &Making<'_>) -> Result<(Export, UnixStream), RuntimeError> {
    let path = in_run_dir(making.spec, "home.sock");
    let listener = tokio::net::UnixListener::bind(&path).map_err(io("the home cannot be exported"))?;
    let connection = UnixStream::connect(&path).map_err(io("the home cannot be connected"))?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(export::serve(listener, making.volume.clone(), HOME_DISK_BYTES, stop.clone()));
    Ok((Export { task, stop: stop.drop_guard() }, connection))
}

fn open(path: &Path) -> Result<File, RuntimeError> {
    File::open(path).map_err(io("the image cannot be opened"))
}

fn listen(path: &Path) -> Result<UnixListener, RuntimeError> {
    UnixListener::bind(path).map_err(io("a socket of the machine cannot be made"))
}

/// The layer above the root: sparse and without a name, so that it dies with the machine.
async fn scratch(spec: &RunnerSpec) -> Result<File, RuntimeError> {
    let make = || {
        let directory = spec.cache_dir.as_path();
        let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
        let file =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(directory)?;
        file.set_len(u64::from(spec.resources.scratch_mib) * MIB)?;
        Ok(file)
    };
    let file = make().map_err(io("the scratch disk cannot be made"))?;
    format(&file).await;
    Ok(file)
}

/// Spares the guest the work, which takes it ten times as long when it is emulated. A guest that finds the disk blank formats it.
async fn format(scratch: &File) {
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
        Ok(Ok(status)) => tracing::debug!(%status, "the guest formats its scratch disk itself"),
        Ok(Err(error)) => tracing::debug!(%error, "the guest formats its scratch disk itself"),
        Err(_) => tracing::warn!("mkfs.ext4 did not end"),
    }
}
