//! Chooses KVM where it works, and TCG elsewhere. A `/dev/kvm` that opens proves nothing (nested
//! hosts often break later), so the choice is made by booting a kernel, and remembered.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::MetadataExt as _, fs::OpenOptionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    command_line::{Accelerator, CommandLine},
    jail::{Jail, JailError},
};
use crate::runtime::console::Console;

/// The device of KVM.
const DEVICE: &str = "/dev/kvm";
/// Under KVM a kernel boots in a second or two.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// What the kernel prints when it starts the first process.
const BOOTED_MARK: &str = "as init process";
/// Lies beside the image, because the choice holds for this host and this kernel.
const CHOICE_FILE: &str = "accelerator.json";

/// The chosen accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorChoice {
    /// The accelerator to use.
    pub accelerator: Accelerator,
    /// Why, as a clause for users.
    pub reason: String,
    /// The host's boot id. After a reboot the choice is made again, because other modules may be
    /// loaded.
    boot: String,
}

/// Why no accelerator can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum AcceleratorError {
    /// The sockets of the VMM cannot be created.
    #[error("Cannot create the sockets of QEMU: {0}")]
    Sockets(io::Error),
    /// QEMU cannot be started.
    #[error(transparent)]
    Jail(#[from] JailError),
}

/// The accelerator for this host. If KVM may work, the image's kernel is booted under it, once per
/// boot of the host.
pub async fn choose(image_dir: &Path, initramfs: &Path) -> Result<AcceleratorChoice, AcceleratorError> {
    if let Err(reason) = check_kvm() {
        return Ok(AcceleratorChoice::new(Accelerator::Tcg, reason));
    }
    let file = image_dir.join(CHOICE_FILE);
    if let Some(choice) = read_choice(&file) {
        return Ok(choice);
    }
    let choice = match probe_kvm(&image_dir.join(crate::images::KERNEL), initramfs).await? {
        Ok(()) => AcceleratorChoice::new(Accelerator::Kvm, "a kernel booted under it".to_owned()),
        Err(reason) => AcceleratorChoice::new(Accelerator::Tcg, format!("{DEVICE} exists, but {reason}")),
    };
    if let Err(error) = write_choice(&file, &choice) {
        tracing::warn!(%error, "cannot remember the accelerator; the next start probes it again");
    }
    Ok(choice)
}

/// Checks without booting whether KVM may work. An error says why it cannot, as a clause for users.
pub fn check_kvm() -> Result<(), String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        return Err("the processor offers no virtualization (no vmx or svm flag)".to_owned());
    }
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot open {DEVICE}: {error}")),
    }
}

/// Lets a VMM use KVM.
pub(super) fn allow_kvm(jail: &mut Jail) {
    jail.allow_device(Path::new(DEVICE), device_group());
}

/// The group that may use `/dev/kvm`, if the VMM's user needs to be in it.
fn device_group() -> Option<u32> {
    fs::metadata(DEVICE).ok().filter(|device| device.mode() & 0o006 != 0o006).map(|device| device.gid())
}

impl AcceleratorChoice {
    fn new(accelerator: Accelerator, reason: String) -> Self {
        Self { accelerator, reason, boot: boot_id() }
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn read_choice(file: &Path) -> Option<AcceleratorChoice> {
    let choice: AcceleratorChoice = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (choice.boot == boot_id()).then_some(choice)
}

fn write_choice(file: &Path, choice: &AcceleratorChoice) -> io::Result<()> {
    let new: PathBuf = file.with_extension(format!("{}.new", std::process::id()));
    let mut writing = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    writing.write_all(&serde_json::to_vec(choice)?)?;
    fs::rename(new, file)
}

/// Boots the kernel under KVM to its first process, without disks. The inner error says why it did
/// not boot; the outer one, why the probe could not run.
async fn probe_kvm(kernel: &Path, initramfs: &Path) -> Result<Result<(), String>, AcceleratorError> {
    let directory = ProbeDirectory::new().map_err(AcceleratorError::Sockets)?;
    let listen = |name: &str| UnixListener::bind(directory.0.join(name)).map_err(AcceleratorError::Sockets);
    let mut jail = Jail::new(None)?;
    allow_kvm(&mut jail);
    let command_line = CommandLine {
        accelerator: Accelerator::Kvm,
        tsc_khz: None,
        vcpus: 1,
        memory_mib: 512,
        memory: None,
        kernel: jail.show(kernel, "kernel")?,
        initramfs: jail.show(initramfs, "initramfs")?,
        disks: None,
        agent: jail.pass(listen("agent.sock")?),
        qmp: jail.pass(listen("qmp.sock")?),
        tap: None,
        is_verbose: true,
    };
    let mut vmm = jail.spawn(command_line.to_arguments()).await?;
    let child = &mut vmm.child;
    let console = Console::follow(child.stdout.take().expect("piped"));
    let errors = Console::follow(child.stderr.take().expect("piped"));
    let booted = tokio::select! {
        () = console.wait_for_line(BOOTED_MARK) => Ok(()),
        status = child.wait() => {
            let message = errors.last_lines().pop().or_else(|| status.ok().map(|status| status.to_string()));
            Err(format!("QEMU exited: {}", message.unwrap_or_default()))
        }
        () = tokio::time::sleep(PROBE_TIMEOUT) => {
            Err(format!("no kernel booted under it within {} seconds", PROBE_TIMEOUT.as_secs()))
        }
    };
    let _ = timeout(PROBE_TIMEOUT, child.kill()).await;
    Ok(booted)
}

/// A temporary directory for the two sockets that the VMM needs and nobody connects to.
struct ProbeDirectory(PathBuf);

impl ProbeDirectory {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("burrow-probe-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for ProbeDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
