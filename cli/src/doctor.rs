//! The role `doctor`: what works on this machine, what does not, and what to do about it. Changes nothing.

use std::{path::Path, process::Stdio, time::Duration};

use runner::{
    accelerator::{self, Accelerator},
    images,
};
use serde::Serialize;
use tokio::{process::Command, time::timeout};

use crate::{
    arguments,
    commands::Context,
    failure::{Failure, Kind},
    output::{self, Shown},
    up::{
        place::{self, DataDirectory},
        postgres::Postgres,
    },
};

/// A program that prints its version does so at once.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// The image, a database, some homes.
const SPACE_WANTED: u64 = 4 * 1024 * 1024 * 1024;
/// One machine of the base template beside the host's own.
const MEMORY_WANTED: u64 = 2 * 1024 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, but not as well as it could.
    Note,
    /// Machines cannot run.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do; empty where all is well.
    next: String,
}

impl Finding {
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

impl Shown for Finding {
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

/// Exit status 0 if machines can run here.
pub async fn doctor(context: &Context, arguments: &arguments::Doctor) -> Result<u8, Failure> {
    let mut findings = vec![user(), vmm().await];
    findings.push(kvm(arguments.data_dir.as_deref()).await);
    findings.push(postgres());
    findings.push(network());
    findings.push(image_tools());
    findings.push(agent());
    findings.push(memory());
    findings.push(space(arguments.data_dir.as_deref()));
    context.output.list(&findings)?;
    let missing = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    if context.output.format.is_for_people() && missing {
        output::line("\nMachines cannot run here yet.")?;
    }
    Ok(if missing { Kind::Error.status() } else { 0 })
}

fn user() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::ok("user", "root: machines run as users of their own, in networks of their own");
    }
    Finding::note(
        "user",
        "not root: machines run as you, without a network",
        "sudo burrow up, for machines that are kept apart",
    )
}

async fn vmm() -> Finding {
    const CHECK: &str = "vmm";
    const NEXT: &str = "apt-get install qemu-system-x86";
    let asked =
        Command::new("qemu-system-x86_64").arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    match timeout(VERSION_TIMEOUT, asked).await {
        Ok(Ok(answer)) if answer.status.success() => {
            let text = String::from_utf8_lossy(&answer.stdout);
            Finding::ok(CHECK, text.lines().next().unwrap_or("qemu").to_owned())
        }
        Ok(Err(error)) => Finding::missing(CHECK, format!("qemu-system-x86_64: {error}"), NEXT),
        _ => Finding::missing(CHECK, "qemu-system-x86_64 does not say its version", NEXT),
    }
}

/// With an image at hand the question is asked for real: by booting its kernel.
async fn kvm(data_dir: Option<&Path>) -> Finding {
    const CHECK: &str = "accelerator";
    const SLOW: &str = "nothing, if 5 to 7 times slower machines will do; else a host with virtualization";
    if let Err(reason) = accelerator::check_kvm() {
        return Finding::note(CHECK, format!("tcg: {reason}"), SLOW);
    }
    let Some((image, initramfs)) = built_image(data_dir) else {
        return Finding::ok(CHECK, "kvm may work; the first `burrow up` proves it by booting a kernel");
    };
    match accelerator::choose(&image, &initramfs).await {
        Ok(verdict) if verdict.accelerator == Accelerator::Kvm => {
            Finding::ok(CHECK, format!("kvm: {}", verdict.reason))
        }
        Ok(verdict) => Finding::note(CHECK, format!("tcg: {}", verdict.reason), SLOW),
        Err(error) => Finding::note(CHECK, format!("tcg: the probe failed: {error}"), SLOW),
    }
}

fn built_image(data_dir: Option<&Path>) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let data = data_dir.map(Path::to_owned).or_else(|| DataDirectory::default_path().ok())?;
    images::find_cached_image(&data.join("images"))
}

fn postgres() -> Finding {
    match Postgres::installed() {
        Some(version) => Finding::ok("postgres", format!("version {version}")),
        None => Finding::missing(
            "postgres",
            "no server was found",
            "apt-get install postgresql, or name one with --database-url",
        ),
    }
}

fn network() -> Finding {
    match runner::network::check_available() {
        Ok(()) => Finding::ok("network", "machines get a network of their own"),
        Err(reason) => {
            Finding::note("network", format!("machines have no network: {reason}"), "see the reason")
        }
    }
}

fn image_tools() -> Finding {
    match images::missing_tools() {
        missing if missing.is_empty() => Finding::ok("image tools", "an image can be built here"),
        missing => Finding::note(
            "image tools",
            format!("not here: {}", missing.join(", ")),
            "apt-get install mmdebstrap erofs-utils lz4 cpio zstd kmod, or bring a built image (--image-cache)",
        ),
    }
}

fn agent() -> Finding {
    match place::agent(None) {
        Ok(path) => Finding::ok("agent", path.display().to_string()),
        Err(error) => Finding::missing("agent", error.to_string(), error.next()),
    }
}

fn memory() -> Finding {
    let host = rustix::system::sysinfo();
    let total = host.totalram.saturating_mul(u64::from(host.mem_unit));
    let found = output::size(total);
    if total >= MEMORY_WANTED {
        return Finding::ok("memory", found);
    }
    Finding::note(
        "memory",
        found,
        format!("{} let a machine run beside the rest", output::size(MEMORY_WANTED)),
    )
}

fn space(data_dir: Option<&Path>) -> Finding {
    const CHECK: &str = "disk";
    let path =
        data_dir.map(Path::to_owned).or_else(|| DataDirectory::default_path().ok()).unwrap_or_default();
    // What is not there yet will lie on its parent's disk.
    let there = path.ancestors().find(|parent| parent.is_dir()).unwrap_or(Path::new("/"));
    let Ok(disk) = rustix::fs::statvfs(there) else {
        return Finding::note(CHECK, format!("{} cannot be looked at", there.display()), "");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} free in {}", output::size(free), there.display());
    if free >= SPACE_WANTED {
        return Finding::ok(CHECK, found);
    }
    Finding::note(
        CHECK,
        found,
        format!("{} are wanted: free some, or choose --data-dir", output::size(SPACE_WANTED)),
    )
}
