//! Starting programs as PID 1: our own children are waited for by whoever started them, all others by the reaper.
//!
//! The two must not steal from each other. A child is registered under the same lock that the reaper takes, so there
//! is no moment in which a child of ours exists and is not known.

use std::{collections::BTreeMap, io, sync::Mutex};

static OURS: Mutex<BTreeMap<u32, usize>> = Mutex::new(BTreeMap::new());

/// Marks a child as waited for by its owner until dropped. Drop it after the wait.
#[derive(Debug)]
pub struct Owned(u32);

impl Drop for Owned {
    fn drop(&mut self) {
        let mut ours = OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Counted: between the wait and this, the number may have become another child's.
        if let Some(count) = ours.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                ours.remove(&self.0);
            }
        }
    }
}

/// Runs `spawn` and registers the process that it made.
pub fn own<T, E>(
    spawn: impl FnOnce() -> Result<T, E>,
    id: impl FnOnce(&T) -> Option<u32>,
) -> Result<(T, Owned), E> {
    let mut ours = OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let child = spawn()?;
    let id = id(&child).unwrap_or(0);
    *ours.entry(id).or_insert(0) += 1;
    Ok((child, Owned(id)))
}

/// Waits for every ended child that nobody owns. Called on SIGCHLD, by PID 1 only.
pub fn reap() -> io::Result<()> {
    let ours = OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for task in std::fs::read_dir("/proc/self/task")? {
        // A thread may end while we look.
        let Ok(children) = std::fs::read_to_string(task?.path().join("children")) else { continue };
        let orphans = children.split_whitespace().filter_map(|id| id.parse::<u32>().ok());
        for id in orphans.filter(|id| !ours.contains_key(id)) {
            let Some(pid) = rustix::process::Pid::from_raw(id as i32) else { continue };
            // Alive still, or gone: nothing to do.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        }
    }
    Ok(())
}
