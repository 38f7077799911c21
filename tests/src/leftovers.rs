//! What a program leaves on the host when it ends: processes and mounts that use its directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::wait_until;

/// Waits until no process uses the directory, and nothing is mounted below it.
pub async fn wait_for_cleanup(directory: &Path) {
    // The kernel ends the children of a killed process, which takes a moment.
    let is_clean = || processes_with(directory).is_empty() && mounts_below(directory).is_empty();
    wait_until("all processes and mounts are gone", is_clean).await;
}

/// Removes the caches of homes of a server that runs, while none of its workspaces does.
///
/// A workspace is stopped when its home is saved; its runner closes the cache a moment later. Then the
/// server's janitor looks at the cache, and locks it with a file that it creates in it.
pub async fn remove_caches(data: &Path) {
    let caches = data.join("cache");
    wait_until("no process uses the caches", || processes_with(&caches).is_empty()).await;
    wait_until("the caches are removed", || fs::remove_dir_all(&caches).is_ok()).await;
}

/// The mounts of the host below a directory.
pub fn mounts_below(directory: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    mounts.lines().filter(|line| line.contains(&*directory.to_string_lossy())).map(str::to_owned).collect()
}

/// A process that uses a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its arguments, separated by spaces.
    pub arguments: String,
    /// Its root directory, as this process sees it.
    pub root: PathBuf,
}

/// The other processes that use a directory: as an argument, an open file, a working or root directory,
/// or with something mounted below it in a namespace of their own.
pub fn processes_with(directory: &Path) -> Vec<Process> {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    others.filter(|pid| uses(*pid, &directory)).map(describe).collect()
}

/// A process that has ended uses nothing.
fn uses(pid: u32, directory: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|file| file.path());
    let mut links = files.chain([process.join("cwd"), process.join("root")]);
    let is_named_in = |file: &str| {
        let text = fs::read(process.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(&*directory.to_string_lossy())
    };
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let is_elsewhere = || namespace(&process) != namespace(Path::new("/proc/self"));
    is_named_in("cmdline")
        || (is_elsewhere() && is_named_in("mountinfo"))
        || links.any(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(directory)))
}

fn describe(pid: u32) -> Process {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&line).replace('\0', " ");
    Process { pid, arguments, root: fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default() }
}
