//! Child processes of PID 1: the part of the agent that starts a child waits for it, and the reaper
//! waits for all others.
//!
//! As PID 1 the agent inherits every orphan in the guest and has to reap it. The reaper must not
//! take the exit status of a child that another part of the agent waits for. A child is therefore
//! registered under the lock that the reaper holds: at no moment does a child of ours exist
//! unregistered.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// The children that their starter waits for, and how often each process id is registered.
static OWNED_CHILDREN: Mutex<BTreeMap<u32, usize>> = Mutex::new(BTreeMap::new());

/// Keeps the reaper away from a child while it exists. Drop it after the child was waited for.
#[derive(Debug)]
pub struct ChildGuard(u32);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let mut owned = owned_children();
        // Counted, because the process id may have been reused between the wait and this drop.
        if let Some(count) = owned.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                owned.remove(&self.0);
            }
        }
    }
}

/// Kills the processes of a group when it is dropped.
#[derive(Debug)]
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group of a child that was started as the leader of one.
    pub fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id as i32)))
    }

    /// Sends a signal to all processes of the group.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Fails if all have ended, which needs no action.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Leaves the processes that are left alone.
    pub fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs `spawn` and registers the process that it started.
pub fn spawn_owned<T, E>(
    spawn: impl FnOnce() -> Result<T, E>,
    id: impl FnOnce(&T) -> Option<u32>,
) -> Result<(T, ChildGuard), E> {
    let mut owned = owned_children();
    let child = spawn()?;
    let id = id(&child).unwrap_or(0);
    *owned.entry(id).or_insert(0) += 1;
    Ok((child, ChildGuard(id)))
}

/// Waits for every ended child that is not registered. PID 1 calls this on SIGCHLD.
pub fn reap_orphans() -> io::Result<()> {
    let owned = owned_children();
    for task in std::fs::read_dir("/proc/self/task")? {
        // A thread may end during the iteration.
        let Ok(children) = std::fs::read_to_string(task?.path().join("children")) else { continue };
        let orphans = children.split_whitespace().filter_map(|id| id.parse::<u32>().ok());
        for id in orphans.filter(|id| !owned.contains_key(id)) {
            let Some(pid) = rustix::process::Pid::from_raw(id as i32) else { continue };
            // Fails for a child that another thread has reaped, which needs no action.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        }
    }
    Ok(())
}

fn owned_children() -> MutexGuard<'static, BTreeMap<u32, usize>> {
    OWNED_CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}
