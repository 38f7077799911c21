//! KVM where it works, else TCG. A device that can be opened proves nothing: the verdict is that of a real kernel that came up.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::MetadataExt as _, fs::OpenOptionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{arguments::Plan, jail::Jail};
use crate::runtime::console::Console;

const DEVICE: &str = "/dev/kvm";
/// Under KVM a kernel is there in a second or two.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// What the kernel says when it hands over to the first process.
const CAME_UP: &str = "as init process";
/// Beside the image: the verdict is about this host and this kernel.
const VERDICT: &str = "accelerator.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Which, and why, in a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub accelerator: Accelerator,
    pub reason: String,
    /// The host's boot that it was found in: another may have other modules.
    boot: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AcceleratorError {
    #[error("the kernel or the initramfs cannot be opened: {0}")]
    Open(io::Error),
    #[error("the VMM cannot be started: {0}")]
    Spawn(io::Error),
}

/// The verdict for this host. A host that may have KVM is asked once, by booting `kernel`.
pub async fn verdict(image_dir: &Path, initramfs: &Path) -> Result<Verdict, AcceleratorError> {
    if let Err(reason) = first_signs() {
        return Ok(Verdict::new(Accelerator::Tcg, reason));
    }
    let file = image_dir.join(VERDICT);
    if let Some(known) = remembered(&file) {
        return Ok(known);
    }
    let verdict = match probe(&image_dir.join(crate::images::KERNEL), initramfs).await? {
        Ok(()) => Verdict::new(Accelerator::Kvm, "a kernel came up under it".to_owned()),
        Err(reason) => Verdict::new(Accelerator::Tcg, format!("{DEVICE} is there, but {reason}")),
    };
    if let Err(error) = remember(&file, &verdict) {
        tracing::warn!(%error, "the accelerator will be probed again");
    }
    Ok(verdict)
}

/// What tells without a boot that KVM cannot work. `Ok`: it may.
pub fn first_signs() -> Result<(), String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        return Err("the processor offers no virtualization (no vmx or svm flag)".to_owned());
    }
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{DEVICE} cannot be opened: {error}")),
    }
}

/// The group that may use the device, where the VMM's user needs it.
pub fn device_group() -> Option<u32> {
    fs::metadata(DEVICE).ok().filter(|about| about.mode() & 0o006 != 0o006).map(|about| about.gid())
}

impl Verdict {
    fn new(accelerator: Accelerator, reason: String) -> Self {
        Self { accelerator, reason, boot: boot_id() }
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn remembered(file: &Path) -> Option<Verdict> {
    let verdict: Verdict = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (verdict.boot == boot_id()).then_some(verdict)
}

fn remember(file: &Path, verdict: &Verdict) -> io::Result<()> {
    let new: PathBuf = file.with_extension(format!("{}.new", std::process::id()));
    let mut writing = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    writing.write_all(&serde_json::to_vec(verdict)?)?;
    fs::rename(new, file)
}

/// Boots the kernel under KVM to its first process, without disks. The outer error: no probe was possible.
async fn probe(kernel: &Path, initramfs: &Path) -> Result<Result<(), String>, AcceleratorError> {
    let directory = ProbeDirectory::new().map_err(AcceleratorError::Spawn)?;
    let listen = |name: &str| UnixListener::bind(directory.0.join(name)).map_err(AcceleratorError::Spawn);
    let open = |path: &Path| fs::File::open(path).map_err(AcceleratorError::Open);
    let groups = device_group().into_iter().collect();
    let mut jail = Jail { uid: None, groups, namespace: None, descriptors: Vec::new() };
    let plan = Plan {
        accelerator: Accelerator::Kvm,
        tsc_khz: None,
        vcpus: 1,
        memory_mib: 512,
        kernel: jail.hand_over(open(kernel)?),
        initramfs: jail.hand_over(open(initramfs)?),
        disks: None,
        agent: jail.hand_over(listen("agent.sock")?),
        qmp: jail.hand_over(listen("qmp.sock")?),
        tap: None,
        verbose: true,
    };
    let mut child = jail.spawn(&plan.arguments()).map_err(AcceleratorError::Spawn)?;
    let console = Console::read(child.stdout.take().expect("piped"));
    let complaints = Console::read(child.stderr.take().expect("piped"));
    let came_up = tokio::select! {
        () = console.says(CAME_UP) => Ok(()),
        status = child.wait() => {
            let said = complaints.last().pop().or_else(|| status.ok().map(|status| status.to_string()));
            Err(format!("the VMM ended: {}", said.unwrap_or_default()))
        }
        () = tokio::time::sleep(PROBE_TIMEOUT) => {
            Err(format!("a kernel did not come up under it in {} seconds", PROBE_TIMEOUT.as_secs()))
        }
    };
    let _ = timeout(PROBE_TIMEOUT, child.kill()).await;
    Ok(came_up)
}

/// For two sockets that nobody connects to.
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
