//! `burrow doctor`: checks whether workspaces can run on this computer, and says what to do if not.
//! It changes nothing.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use clap::Args;
use controller::DiskPaths;
use runner::{Accelerator, accelerator, images};
use serde::Serialize;
use tokio::{process::Command, time::timeout};
use volume::FreeSpace;

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, ExitStatus, Record},
    up::{
        bundle,
        data_directory::{DataDirectory, find_installed_agent},
        postgres::Postgres,
    },
};

/// A program that works prints its version at once.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// gVisor is released each week. An older one than this is worth a note.
const MAX_RUNSC_MONTHS: i64 = 6;
/// Free disk space for the image, a database and some homes.
const MIN_DISK_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Memory for one workspace of the base template, and for the host.
const MIN_MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Check whether this computer can run workspaces
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow doctor
  burrow doctor -o json

The exit status is 1 if something that workspaces need is missing.")]
pub struct Doctor {
    /// Data directory of `burrow up`
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The `runsc` of the tier `gvisor` [default: the one in PATH]
    #[arg(long, env = "BURROW_RUNSC", value_name = "FILE")]
    pub runsc: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, but not as well as it could.
    Note,
    /// Workspaces cannot run.
    Missing,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct CheckResult {
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do. Empty if nothing needs to be done.
    next: String,
}

impl CheckResult {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), next: String::new() }
    }

    fn note(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Note, found: found.into(), next: next.into() }
    }

    fn missing(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Missing, found: found.into(), next: next.into() }
    }
}

impl Record for CheckResult {
    const COLUMNS: &'static [&'static str] = &["check", "verdict", "found", "next"];

    fn cells(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Missing => "MISSING",
        };
        vec![self.check.to_owned(), verdict.to_owned(), self.found.clone(), self.next.clone()]
    }

    fn name(&self) -> String {
        self.check.to_owned()
    }

    fn id(&self) -> String {
        self.name()
    }
}

impl Doctor {
    /// Runs all checks. The exit status is 0 if workspaces can run.
    pub async fn run(self, context: &Context) -> Result<ExitStatus, CommandError> {
        let mut results = vec![user(), vmm().await];
        results.push(accelerator(self.data_dir.as_deref()).await);
        results.push(postgres());
        results.push(network());
        results.push(cgroups());
        results.push(containers());
        results.push(gvisor(self.runsc.as_deref()).await);
        results.push(image_tools());
        results.push(agent());
        results.push(memory());
        results.push(disk(self.data_dir.as_deref()));
        context.output.list(&results)?;
        let is_missing = results.iter().any(|result| result.verdict == Verdict::Missing);
        if context.output.format.is_human() && is_missing {
            output::line("\nWorkspaces cannot run on this computer yet.")?;
        }
        Ok(if is_missing { ErrorKind::Error.status() } else { ExitStatus(0) })
    }
}

fn user() -> CheckResult {
    if rustix::process::geteuid().is_root() {
        return CheckResult::ok("user", "root: each sandbox runs as its own user, in its own network");
    }
    CheckResult::note(
        "user",
        "not root: sandboxes run as you, without a network",
        "run `sudo burrow up` to isolate sandboxes from each other",
    )
}

async fn vmm() -> CheckResult {
    const CHECK: &str = "vmm";
    const NEXT: &str = "apt-get install qemu-system-x86";
    let version =
        Command::new("qemu-system-x86_64").arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    match timeout(VERSION_TIMEOUT, version).await {
        Ok(Ok(answer)) if answer.status.success() => {
            let text = String::from_utf8_lossy(&answer.stdout);
            CheckResult::ok(CHECK, text.lines().next().unwrap_or("qemu").to_owned())
        }
        Ok(Err(error)) => CheckResult::missing(CHECK, format!("qemu-system-x86_64: {error}"), NEXT),
        _ => CheckResult::missing(CHECK, "qemu-system-x86_64 does not print its version", NEXT),
    }
}

/// Whether KVM works. With a built image, it is proved by booting the kernel.
async fn accelerator(data_dir: Option<&Path>) -> CheckResult {
    const CHECK: &str = "accelerator";
    const SLOW: &str = "use a host with virtualization; without it, workspaces are 5 to 7 times slower";
    if let Err(reason) = accelerator::check_kvm() {
        return CheckResult::note(CHECK, format!("tcg: {reason}"), SLOW);
    }
    let Some((image, initramfs)) = built_image(data_dir) else {
        return CheckResult::ok(
            CHECK,
            "kvm seems to work; the first `burrow up` proves it by booting a kernel",
        );
    };
    match accelerator::choose(&image, &initramfs).await {
        Ok(verdict) if verdict.accelerator == Accelerator::Kvm => {
            CheckResult::ok(CHECK, format!("kvm: {}", verdict.reason))
        }
        Ok(verdict) => CheckResult::note(CHECK, format!("tcg: {}", verdict.reason), SLOW),
        Err(error) => CheckResult::note(CHECK, format!("tcg: the probe failed: {error}"), SLOW),
    }
}

fn built_image(data_dir: Option<&Path>) -> Option<(PathBuf, PathBuf)> {
    let data = data_dir.map(Path::to_owned).or_else(|| DataDirectory::default_path().ok())?;
    images::find_cached_image(&data.join("images"))
}

fn postgres() -> CheckResult {
    match Postgres::installed() {
        Some(version) => CheckResult::ok("postgres", format!("version {version}")),
        None => CheckResult::missing(
            "postgres",
            "no Postgres server found",
            "apt-get install postgresql, or use an existing one with --database-url",
        ),
    }
}

fn network() -> CheckResult {
    let available = runner::network::check_available();
    match available.and_then(|()| runner::network::check_tap_available()) {
        Ok(()) => CheckResult::ok("network", "each sandbox gets its own network"),
        Err(reason) => CheckResult::note(
            "network",
            format!("sandboxes have no network: {reason}"),
            "fix the cause shown",
        ),
    }
}

fn cgroups() -> CheckResult {
    const CHECK: &str = "cgroups";
    match runner::cgroup::check_available() {
        Ok(controllers) => {
            CheckResult::ok(CHECK, format!("sandboxes are limited: {}", controllers.join(", ")))
        }
        Err(reason) => CheckResult::note(
            CHECK,
            format!("sandboxes can use all CPU time and memory of this host: {reason}"),
            "fix the cause shown",
        ),
    }
}

/// The tier `container`. That of virtual machines is what `vmm` and `accelerator` are about.
fn containers() -> CheckResult {
    const CHECK: &str = "containers";
    match runner::check_containers() {
        Ok(runtime) => {
            let found = format!("the tier `container` works, with {}", runtime.program.display());
            CheckResult {
                next: "allow it with `burrow up --allow-tier container`".into(),
                ..CheckResult::ok(CHECK, found)
            }
        }
        Err(reason) => CheckResult::note(
            CHECK,
            format!("the tier `container` does not work: {reason}"),
            "fix the cause shown if you want to use it",
        ),
    }
}

/// The tier `gvisor`, tried with a sandbox.
async fn gvisor(runsc: Option<&Path>) -> CheckResult {
    const CHECK: &str = "gvisor";
    match runner::gvisor::check_available(runsc).await {
        Ok(runsc) if runsc.age_in_months().is_none_or(|months| months > MAX_RUNSC_MONTHS) => {
            CheckResult::note(
                CHECK,
                format!("the tier `gvisor` works, with {runsc}"),
                "newer releases have fixed faults: install one from gvisor.dev, and use `--runsc`",
            )
        }
        Ok(runsc) => CheckResult {
            next: "allow it with `burrow up --allow-tier gvisor`".into(),
            ..CheckResult::ok(CHECK, format!("the tier `gvisor` works, with {runsc}"))
        },
        Err(reason) => CheckResult::note(
            CHECK,
            format!("the tier `gvisor` does not work: {reason}"),
            "fix the cause shown if you want to use it",
        ),
    }
}

fn image_tools() -> CheckResult {
    match images::missing_tools() {
        missing if missing.is_empty() => CheckResult::ok("image tools", "images can be built"),
        missing => CheckResult::note(
            "image tools",
            format!("missing: {}", missing.join(", ")),
            "apt-get install mmdebstrap erofs-utils lz4 cpio zstd kmod, or use a built image (--image-cache)",
        ),
    }
}

fn agent() -> CheckResult {
    if bundle::has_agent() {
        return CheckResult::ok("agent", "inside this program");
    }
    match find_installed_agent(None) {
        Ok(path) => CheckResult::ok("agent", path.display().to_string()),
        Err(error) => CheckResult::missing("agent", error.to_string(), error.hint()),
    }
}

fn memory() -> CheckResult {
    let host = rustix::system::sysinfo();
    let total = host.totalram.saturating_mul(u64::from(host.mem_unit));
    let found = output::size(total);
    if total >= MIN_MEMORY_BYTES {
        return CheckResult::ok("memory", found);
    }
    CheckResult::note(
        "memory",
        found,
        format!("use at least {} to run a workspace", output::size(MIN_MEMORY_BYTES)),
    )
}

fn disk(data_dir: Option<&Path>) -> CheckResult {
    const CHECK: &str = "disk";
    let path =
        data_dir.map(Path::to_owned).or_else(|| DataDirectory::default_path().ok()).unwrap_or_default();
    // A directory that does not exist yet will be on the disk of its parent.
    let existing = path.ancestors().find(|parent| parent.is_dir()).unwrap_or(Path::new("/"));
    let Ok(disk) = rustix::fs::statvfs(existing) else {
        return CheckResult::note(
            CHECK,
            format!("cannot read the file system of {}", existing.display()),
            "",
        );
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let found = format!(
        "{} free in {}; {} are kept for the database{}",
        output::size(free),
        existing.display(),
        output::size(FreeSpace::reserved_bytes(total)),
        describe_usage(&path),
    );
    if free < FreeSpace::low_bytes(total) {
        return CheckResult::note(
            CHECK,
            found,
            format!(
                "nothing new starts below {} free: free up space",
                output::size(FreeSpace::low_bytes(total))
            ),
        );
    }
    if free >= MIN_DISK_BYTES {
        return CheckResult::ok(CHECK, found);
    }
    CheckResult::note(
        CHECK,
        found,
        format!("free up to {}, or use another --data-dir", output::size(MIN_DISK_BYTES)),
    )
}

/// What an existing data directory takes, by kind.
fn describe_usage(data: &Path) -> String {
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let usage = controller::measure_disk_usage(&DiskPaths {
        caches: data.join("cache"),
        store: Some(data.join("objects")),
        database: Some(data.join("postgres")),
        images: vec![data.join("images")],
        log: Some(data.join("burrow.log")),
    });
    let kinds = usage.kinds.iter().filter(|(_, bytes)| **bytes > 0);
    let kinds: Vec<String> =
        kinds.map(|(kind, bytes)| format!("{} {}", kind.name(), output::size(*bytes))).collect();
    if kinds.is_empty() { String::new() } else { format!("; used: {}", kinds.join(", ")) }
}
