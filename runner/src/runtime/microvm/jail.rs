//! Starts the VMM with as little as it needs: an own user, no capabilities, no environment, only
//! the descriptors that are passed to it, and the sandbox's network namespace. The kernel kills it
//! when this process dies.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd},
    process::Stdio,
};

use rustix::{
    fs::{Mode, OFlags},
    io::{FdFlags, fcntl_setfd},
    process::{Gid, Pid, Signal, Uid, getpid, getppid, set_parent_process_death_signal},
    thread::{
        LinkNameSpaceType, move_into_link_name_space, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};
use tokio::process::{Child, Command};

/// The VMM's program.
pub const VMM: &str = "qemu-system-x86_64";

/// Added to the VMM's score when the kernel selects what to end: half of the host's memory.
const OOM_SCORE: &[u8] = b"500";
/// Lowers the VMM's share of the CPU to a third of a normal process's, and its disk priority with it.
const NICENESS: i32 = 5;

/// What the VMM may use.
pub struct Jail {
    /// Its user and group; `None` if this process may not change users.
    pub uid: Option<u32>,
    /// At most one supplementary group: the one that may use `/dev/kvm`.
    pub groups: Vec<u32>,
    /// Its network namespace; `None`: ours.
    pub namespace: Option<OwnedFd>,
    /// Descriptors that stay open in the VMM, under the same numbers.
    pub descriptors: Vec<OwnedFd>,
}

impl Jail {
    /// Passes `descriptor` to the VMM and returns its number there.
    pub fn pass(&mut self, descriptor: impl Into<OwnedFd>) -> RawFd {
        use std::os::fd::AsRawFd as _;
        let descriptor = descriptor.into();
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    /// Starts the VMM. Its standard output is the guest's console, its standard error the VMM's own
    /// messages; both are piped.
    pub fn spawn(self, arguments: &[String]) -> io::Result<Child> {
        let parent = getpid();
        let mut command = Command::new(VMM);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // SAFETY: between fork and exec the closure makes system calls only, without allocations or
        // locks. The descriptors belong to `self`, which lives until after the spawn.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || self.enter(parent))
        };
        command.spawn()
    }

    /// Runs in the child before it becomes the VMM. The order matters: entering namespaces and
    /// setting groups needs privileges that changing the user drops, and changing the user resets
    /// the death signal.
    fn enter(&self, parent: Pid) -> io::Result<()> {
        yield_to_host();
        for descriptor in &self.descriptors {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        if let Some(namespace) = &self.namespace {
            enter_network(namespace.as_fd())?;
        }
        if let Some(uid) = self.uid {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            // At most one group, so nothing is allocated.
            match self.groups.first() {
                Some(other) => set_thread_groups(&[Gid::from_raw(*other)])?,
                None => set_thread_groups(&[])?,
            }
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
        }
        set_no_new_privs(true)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was set.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

/// Lets the host's own processes go first: the kernel ends sandboxes before the controller and the
/// database when memory runs out, and gives them less CPU time and disk bandwidth when those are
/// scarce. Allocates nothing. A host that refuses this runs the VMM as it is.
fn yield_to_host() {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        let _ = rustix::io::write(file, OOM_SCORE);
    }
    let _ = rustix::process::nice(NICENESS);
}

fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}
