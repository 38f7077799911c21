//! The cgroup of a runner process: it and its helpers (nft, mkfs, the OCI runtime) are bounded, too, and go
//! before the server if the host has no memory left.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use protocol::runner::RunnerSpec;
use tokio::process::Command;

use super::{
    Disks, SHARED, create_directory,
    hierarchy::{Controller, Hierarchy, Version},
    host_hierarchies, limits, remove_shared, write,
};

/// A runner's cgroup; the process id follows.
const PREFIX: &str = "runner-";
/// The runner goes after sandboxes, which have 500, and before the server and the database, which have less
/// than 0.
const OOM_SCORE: &str = "200";
/// Where this process was before it has joined its own cgroup: the files through which a process joins.
static ORIGIN: OnceLock<Vec<File>> = OnceLock::new();

/// The cgroup of this process. Dropping it returns the process to where it was, and removes the cgroup.
#[derive(Debug)]
pub struct RunnerCgroup(Vec<PathBuf>);

impl RunnerCgroup {
    /// Moves this process into a cgroup of its own. What the host does not allow is logged and left out.
    pub fn enter(spec: &RunnerSpec) -> Option<Self> {
        if let Err(error) = fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
            tracing::debug!(%error, "cannot say that the runner goes before the server");
        }
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        match Self::create_for(std::process::id(), &Disks::of(spec)).and_then(Self::join) {
            Ok(cgroup) => Some(cgroup),
            Err(error) => {
                tracing::warn!(%error, "the runner has no limits on the host");
                None
            }
        }
    }

    /// Creates the cgroup of a process, which joins it later.
    pub(super) fn create_for(process: u32, disks: &Disks) -> io::Result<Self> {
        let mut cgroup = Self(Vec::new());
        for hierarchy in limiting() {
            let directory = hierarchy.parent.join(SHARED).join(format!("{PREFIX}{process}"));
            create_directory(hierarchy, &directory, |controller| {
                limits::runner_settings(hierarchy.version, controller, disks)
            })?;
            cgroup.0.push(directory);
        }
        Ok(cgroup)
    }

    fn join(self) -> io::Result<Self> {
        let origin = origin_directories()?;
        let origin = origin.iter().map(|directory| open_entry(directory)).collect::<io::Result<Vec<_>>>()?;
        for directory in &self.0 {
            write(directory, "cgroup.procs", "0")?;
        }
        let _ = ORIGIN.set(origin);
        Ok(self)
    }

    #[cfg(test)]
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for RunnerCgroup {
    fn drop(&mut self) {
        for mut entry in ORIGIN.get().into_iter().flatten() {
            // A process that stays is removed with its cgroup when it has ended.
            let _ = io::Write::write_all(&mut entry, b"0");
        }
        for directory in &self.0 {
            let _ = fs::remove_dir(directory);
            remove_shared(directory);
        }
    }
}

/// Starts a program where this process was before it has joined its own cgroup, because an OCI runtime
/// takes the path of a container's cgroup of version 1 relative to its own.
pub fn spawn_outside(command: &mut Command) {
    let Some(origin) = ORIGIN.get() else { return };
    // SAFETY: between fork and exec there are system calls only. The files live as long as the process.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            origin.iter().try_for_each(|entry| Ok(rustix::io::write(entry, b"0").map(drop)?))
        });
    }
}

/// Whether a directory is the cgroup of a runner that has ended.
pub(super) fn is_stale(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    let Some(process) = name.and_then(|name| name.strip_prefix(PREFIX)) else { return false };
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let has_joined = processes.lines().any(|line| line == process);
    // A runner that has not joined yet exists.
    !has_joined && !Path::new("/proc").join(process).exists()
}

/// The hierarchies that limit what a runner takes: all that have other controllers than that of CPU time.
fn limiting() -> impl Iterator<Item = &'static Hierarchy> {
    let limits = |controller: &Controller| *controller != Controller::Cpu;
    host_hierarchies().iter().filter(move |hierarchy| hierarchy.controllers.iter().any(limits))
}

/// This process's cgroup in each of [`limiting`].
fn origin_directories() -> io::Result<Vec<PathBuf>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let unified = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let directory = |hierarchy: &Hierarchy| match hierarchy.version {
        Version::V1 => hierarchy.parent.clone(),
        Version::V2 => hierarchy.parent.join(unified.trim_start_matches('/')),
    };
    Ok(limiting().map(directory).collect())
}

fn open_entry(directory: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(directory.join("cgroup.procs"))
}
