//! The cgroups of real processes, where the host allows cgroups.

use std::process::{Command, Stdio};

use protocol::workspace::Resources;

use super::*;

/// Slots that no runner proposes, and that no other test uses.
const SLOT: u16 = 16_301;
const STALE_SLOT: u16 = 16_302;

fn limits() -> Limits {
    let resources = Resources { vcpus: 1, memory_mib: 16, home_mib: 1, scratch_mib: 1, pids: 1 };
    Limits { memory_bytes: 32 << 20, pids: 7, ..Limits::of_microvm(&resources, Disks::default()) }
}

fn is_available() -> bool {
    let checked = check_available();
    if let Err(reason) = &checked {
        eprintln!("skipped: {reason}");
    }
    checked.is_ok()
}

fn sleeper(cgroup: &SandboxCgroup) -> std::process::Child {
    let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("started");
    for directory in &cgroup.directories {
        write(directory, "cgroup.procs", &child.id().to_string()).expect("joined");
    }
    child
}

#[tokio::test]
async fn sandbox_is_limited_and_removed() {
    if !is_available() {
        return;
    }
    let _slot = Slot::acquire_exactly(SLOT).expect("free");
    let mut cgroup = SandboxCgroup::create_in(host_hierarchies(), SLOT, &limits()).await;
    let read = |file: &str| {
        cgroup.directories.iter().find_map(|directory| fs::read_to_string(directory.join(file)).ok())
    };
    assert_eq!(read("pids.max").expect("limited").trim(), "7");
    let memory = read("memory.max").or_else(|| read("memory.limit_in_bytes")).expect("limited");
    assert_eq!(memory.trim(), (32 << 20).to_string());
    let mut child = sleeper(&cgroup);
    let directories = cgroup.directories.clone();
    // The child becomes a zombie, as long as the test does not wait for it. That is no obstacle.
    cgroup.remove().await;
    assert!(directories.iter().all(|directory| !directory.exists()));
    assert!(!child.wait().expect("waited for").success(), "it was killed");
}

#[tokio::test]
async fn memory_beyond_limit_ends_process() {
    if !is_available() {
        return;
    }
    let _slot = Slot::acquire_exactly(SLOT + 2).expect("free");
    let mut cgroup = SandboxCgroup::create_in(host_hierarchies(), SLOT + 2, &limits()).await;
    let entries = cgroup.open_entries().expect("opened");
    let join = entries.iter().map(|entry| format!("echo 0 > /proc/{}/fd/{}", std::process::id(), fd(entry)));
    let script =
        join.collect::<Vec<_>>().join("; ") + "; exec perl -e '$x = \"x\" x (256 << 20); print length $x'";
    let output = Command::new("sh").args(["-c", &script]).output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{output:?}");
    assert!(!output.status.success());
    cgroup.remove().await;
}

#[tokio::test]
async fn cgroup_of_killed_runner_is_removed() {
    if !is_available() {
        return;
    }
    let slot = Slot::acquire_exactly(STALE_SLOT).expect("free");
    let cgroup = SandboxCgroup::create_in(host_hierarchies(), STALE_SLOT, &limits()).await;
    let mut child = sleeper(&cgroup);
    let directories = cgroup.directories.clone();
    std::mem::forget(cgroup);
    remove_stale().await;
    assert!(directories.iter().all(|directory| directory.exists()), "its runner lives");
    drop(slot);
    remove_stale_until_gone(&directories).await;
    assert!(!child.wait().expect("waited for").success(), "it was killed");
}

/// Another test, or a server on this host, may remove them at the same time.
async fn remove_stale_until_gone(directories: &[PathBuf]) {
    let removed = async {
        while directories.iter().any(|directory| directory.exists()) {
            remove_stale().await;
        }
    };
    tokio::time::timeout(2 * REMOVE_TIMEOUT, removed).await.expect("removed with all processes in them");
}

fn fd(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

/// What a runner starts is limited with it. The test's own process stays where it is.
#[tokio::test]
async fn helpers_of_runner_are_limited_with_it() {
    if !is_available() {
        return;
    }
    let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("started");
    let cgroup = RunnerCgroup::create_for(child.id(), &Disks::default()).expect("created");
    for directory in cgroup.directories() {
        write(directory, "cgroup.procs", &child.id().to_string()).expect("joined");
    }
    let read = |file: &str| cgroup.directories().iter().find_map(|it| fs::read_to_string(it.join(file)).ok());
    let memory = read("memory.max").or_else(|| read("memory.limit_in_bytes")).expect("limited");
    assert_eq!(memory.trim(), (limits::RUNNER_MEMORY_BYTES).to_string());
    assert_eq!(read("pids.max").expect("limited").trim(), limits::RUNNER_PIDS.to_string());
    let directories = cgroup.directories().to_vec();
    std::mem::forget(cgroup);
    remove_stale().await;
    assert!(directories.iter().all(|directory| directory.exists()), "its runner lives");
    let mut helper = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("started");
    for directory in &directories {
        write(directory, "cgroup.procs", &helper.id().to_string()).expect("joined");
    }
    child.kill().expect("killed");
    child.wait().expect("waited for");
    remove_stale_until_gone(&directories).await;
    assert!(!helper.wait().expect("waited for").success(), "it was killed");
}
