//! The host's cgroup of each sandbox: what its processes, the VMM's included, may take of the host's CPU
//! time, memory, processes and disks.
//!
//! ```text
//! burrow/               shares of all sandboxes and runners together
//!   sandbox-<slot>/     limits of one sandbox
//!   runner-<process>/   limits of one runner and its helpers
//! ```
//!
//! This exists once for each hierarchy: once with version 2, once for each controller with version 1.
//! [`hierarchy`] finds them and [`limits`] decides which files get which values; only this file changes
//! anything. A host that allows no cgroups runs sandboxes without these limits.
//!
//! A cgroup is named for its slot, which is locked while its runner lives. One whose slot is free is
//! left over from a runner that was killed: the slot's next sandbox, or the next server, removes it with
//! all processes in it. A runner's is named for its process, and left over when that is not in it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use self::hierarchy::{Controller, Hierarchy, Version, find_hierarchies};
pub use self::{
    disks::Disks,
    limits::{Limits, MICROVM_OVERHEAD_MIB},
    runner::{RunnerCgroup, spawn_outside},
};
use crate::slot::Slot;

mod disks;
mod hierarchy;
mod limits;
mod runner;
#[cfg(test)]
mod tests;

/// The cgroup of all sandboxes.
const SHARED: &str = "burrow";
/// A sandbox's cgroup; the slot follows.
const PREFIX: &str = "sandbox-";
/// How long killed processes may take to leave their cgroup.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);
const REMOVE_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How often a cgroup is created. The end of another sandbox may remove the shared one in between.
const MAX_CREATE_ATTEMPTS: u32 = 5;

/// The cgroups of one sandbox. Dropping it kills their processes; [`Self::remove`] also waits for that.
#[derive(Debug)]
pub struct SandboxCgroup {
    slot: u16,
    /// Whether all controllers are in one hierarchy.
    is_unified: bool,
    /// Its directory in each hierarchy that limits it; none if the host allows no cgroups.
    directories: Vec<PathBuf>,
    /// Where an OCI runtime may have added directories.
    others: Vec<PathBuf>,
}

impl SandboxCgroup {
    /// Creates the cgroup of `slot`. What the host does not allow is logged and left out.
    pub async fn create(slot: &Slot, limits: &Limits) -> Self {
        let cgroup = Self::create_in(host_hierarchies(), slot.number(), limits).await;
        if cgroup.directories.is_empty() {
            tracing::warn!("the sandbox has no limits on the host: it allows no cgroups");
        }
        cgroup
    }

    async fn create_in(hierarchies: &[Hierarchy], slot: u16, limits: &Limits) -> Self {
        let (mut directories, mut others) = (Vec::new(), Vec::new());
        for hierarchy in hierarchies {
            let directory = hierarchy.parent.join(SHARED).join(format!("{PREFIX}{slot}"));
            // The slot is ours, so this is left over.
            remove_directories(std::slice::from_ref(&directory)).await;
            if hierarchy.controllers.is_empty() {
                others.push(directory);
                continue;
            }
            let settings = |controller| limits.settings(hierarchy.version, controller);
            match create_directory(hierarchy, &directory, settings) {
                Ok(()) => directories.push(directory),
                Err(error) => {
                    let _ = fs::remove_dir(&directory);
                    tracing::warn!(%error, directory = %directory.display(), "cannot create a cgroup");
                }
            }
        }
        let is_unified = !hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
        Self { slot, is_unified, directories, others }
    }

    /// The cgroup as OCI runtimes take it: relative to their own cgroup, or from the top.
    pub fn oci_path(&self) -> String {
        let top = if self.is_unified { "/" } else { "" };
        format!("{top}{SHARED}/{PREFIX}{}", self.slot)
    }

    /// Kills all processes in it.
    pub fn kill(&self) {
        for directory in &self.directories {
            kill_processes(directory);
        }
    }

    /// Opens the files through which a process joins: it writes `0` to each.
    pub fn open_entries(&self) -> io::Result<Vec<File>> {
        let open = |directory: &PathBuf| OpenOptions::new().write(true).open(directory.join("cgroup.procs"));
        self.directories.iter().map(open).collect()
    }

    /// Kills the processes that are left and removes the cgroups. Call it again if it was interrupted.
    pub async fn remove(&mut self) {
        remove_directories(&self.directories).await;
        self.directories.clear();
        remove_directories(&self.others).await;
        self.others.clear();
    }
}

impl Drop for SandboxCgroup {
    fn drop(&mut self) {
        self.kill();
        for directory in self.directories.iter().chain(&self.others) {
            // A cgroup whose processes are still ending is removed by the slot's next sandbox.
            let _ = fs::remove_dir(directory);
            remove_shared(directory);
        }
    }
}

/// Whether sandboxes can be limited on this host: the names of the controllers, or why there are none
/// and what to do. Creates nothing that stays.
pub fn check_available() -> Result<Vec<&'static str>, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can create cgroups. Run burrow as root".to_owned());
    }
    let hierarchies = host_hierarchies().iter().filter(|hierarchy| !hierarchy.controllers.is_empty());
    let hierarchies: Vec<_> = hierarchies.collect();
    if hierarchies.is_empty() {
        return Err("no cgroups are mounted below /sys/fs/cgroup".to_owned());
    }
    let mut names = Vec::new();
    for hierarchy in hierarchies {
        let directory = hierarchy.parent.join(SHARED).join(format!("check-{}", std::process::id()));
        let created = create_directory(hierarchy, &directory, |_| vec![]).map_err(|error| error.to_string());
        let _ = fs::remove_dir(&directory);
        remove_shared(&directory);
        created?;
        names.extend(hierarchy.controllers.iter().map(|controller| controller.name(Version::V2)));
    }
    Ok(names)
}

/// Removes the cgroups of runners that were killed, with all processes in them.
pub async fn remove_stale() {
    for hierarchy in host_hierarchies() {
        let entries = fs::read_dir(hierarchy.parent.join(SHARED)).into_iter().flatten().flatten();
        for directory in entries.map(|entry| entry.path()) {
            if runner::is_stale(&directory) {
                remove_directories(std::slice::from_ref(&directory)).await;
                continue;
            }
            let number =
                directory.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.parse().ok());
            let Some(Ok(_slot)) = number.map(Slot::acquire_exactly) else { continue };
            remove_directories(std::slice::from_ref(&directory)).await;
        }
    }
}

/// Whether the host has version 1 of cgroups, alone or beside version 2.
pub fn has_version_1() -> bool {
    host_hierarchies().iter().any(|hierarchy| hierarchy.version == Version::V1)
}

/// The host's hierarchies, as this process has found them first: before it has joined a cgroup of ours.
fn host_hierarchies() -> &'static [Hierarchy] {
    static FOUND: LazyLock<Vec<Hierarchy>> = LazyLock::new(|| {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        find_hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), |mount| {
            fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        })
    });
    &FOUND
}

fn create_directory(
    hierarchy: &Hierarchy,
    directory: &Path,
    settings: impl Fn(Controller) -> Vec<limits::Setting>,
) -> io::Result<()> {
    let create = || {
        create_shared(hierarchy, directory)?;
        let mut controllers = hierarchy.controllers.iter();
        controllers.try_for_each(|controller| apply(directory, settings(*controller)))
    };
    let mut result = create();
    for _ in 1..MAX_CREATE_ATTEMPTS {
        if result.is_ok() {
            break;
        }
        result = create();
    }
    result
}

/// Creates `directory` below the shared cgroup, with the hierarchy's controllers.
fn create_shared(hierarchy: &Hierarchy, directory: &Path) -> io::Result<()> {
    let shared = hierarchy.parent.join(SHARED);
    fs::create_dir_all(&shared)?;
    if hierarchy.version == Version::V2 {
        for parent in [&hierarchy.parent, &shared] {
            enable(parent, &hierarchy.controllers)?;
        }
    }
    for controller in &hierarchy.controllers {
        apply(&shared, limits::shared_settings(hierarchy.version, *controller))?;
    }
    fs::create_dir_all(directory)
}

/// Lets the children of a cgroup have limits. Only with version 2.
fn enable(parent: &Path, controllers: &[Controller]) -> io::Result<()> {
    let names = controllers.iter().map(|controller| format!("+{}", controller.name(Version::V2)));
    write(parent, "cgroup.subtree_control", &names.collect::<Vec<_>>().join(" "))
}

fn apply(directory: &Path, settings: Vec<limits::Setting>) -> io::Result<()> {
    for setting in settings {
        if setting.is_optional {
            // A kernel that has no such file, or does not take the value, sets no limit.
            if directory.join(setting.file).exists() {
                let _ = write(directory, setting.file, &setting.value);
            }
        } else {
            write(directory, setting.file, &setting.value)?;
        }
    }
    Ok(())
}

/// Names the file in an error, because "invalid argument" alone explains nothing.
fn write(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = directory.join(file);
    // Files of cgroups exist already; creating one would fail with a misleading error.
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write {value} to {}: {error}", path.display()))
    };
    written.map_err(explain)
}

/// Kills what is in the cgroups until they can be removed. What does not end in time stays.
async fn remove_directories(directories: &[PathBuf]) {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    for directory in directories {
        while let Err(error) = fs::remove_dir(directory) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            if Instant::now() > deadline {
                tracing::warn!(%error, directory = %directory.display(), "cannot remove a cgroup");
                break;
            }
            kill_processes(directory);
            sleep(REMOVE_POLL_INTERVAL).await;
        }
        remove_shared(directory);
    }
}

/// Removes the parent of a sandbox's cgroup, unless other sandboxes have theirs in it.
fn remove_shared(directory: &Path) {
    if let Some(shared) = directory.parent() {
        let _ = fs::remove_dir(shared);
    }
}

fn kill_processes(directory: &Path) {
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process that is not visible from here.
    let visible = processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
    for process in visible {
        // It may have ended in between.
        let _ = kill_process(process, Signal::KILL);
    }
}
