//! The reader's sandbox: before it parses the first byte that a guest wrote, the process gives up
//! everything that it can.
//!
//! What remains: descriptors 0 (the socket) and 2 (standard error); a user that runs nothing else;
//! an empty root directory without a path to it; the few system calls that memory and the socket
//! need. A part that this host does not permit (without root, inside a container) is skipped and
//! reported in [`SandboxReport`]; the other parts still apply.

use std::{env::consts::ARCH, fs, path::PathBuf};

use daemon::isolation::become_user;
use nix::sched::CloneFlags;
use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, chroot, geteuid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
    },
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The reader's own uid and gid. They own no file and no other process.
pub const READER_UID: u32 = 619_999;

/// Memory for data: cached pieces of the disk, one directory's entries, one message.
const MAX_DATA_BYTES: u64 = 512 << 20;
/// Address space, which includes the whole mapped program.
const MAX_ADDRESS_BYTES: u64 = 1 << 30;
/// Processor time of the reader's whole life, which is one API request or one page.
const MAX_CPU_SECONDS: u64 = 120;
/// Descriptors 0 to 2: the socket, nothing, and standard error.
const MAX_DESCRIPTORS: u64 = 3;

const STDIN: u64 = 0;
const STDERR: u64 = 2;

/// Which parts of the sandbox are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxReport {
    /// Inherited descriptors are closed.
    pub descriptors: bool,
    /// Own network, mount, IPC and UTS namespaces; the network has no interface.
    pub network: bool,
    /// An empty root directory.
    pub root: bool,
    /// Its own user.
    pub user: bool,
    /// No capabilities, and no way to gain any.
    pub privileges: bool,
    /// Limits on memory, processor time, files and processes.
    pub limits: bool,
    /// Only listed system calls. Any other kills the process.
    pub system_calls: bool,
}

impl SandboxReport {
    /// Whether all parts are in force.
    pub fn is_complete(self) -> bool {
        self.parts().into_iter().all(|part| part)
    }

    fn parts(self) -> [bool; 7] {
        [
            self.descriptors,
            self.network,
            self.root,
            self.user,
            self.privileges,
            self.limits,
            self.system_calls,
        ]
    }

    pub(crate) fn bits(self) -> u8 {
        self.parts().into_iter().rev().fold(0, |bits, part| bits << 1 | u8::from(part))
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        let part = |index: u8| bits >> index & 1 == 1;
        (bits < 1 << 7).then(|| Self {
            descriptors: part(0),
            network: part(1),
            root: part(2),
            user: part(3),
            privileges: part(4),
            limits: part(5),
            system_calls: part(6),
        })
    }
}

/// Enters the whole sandbox. The process must have one thread.
pub fn enter() -> SandboxReport {
    let report = enter_without_filter();
    // Last, because it forbids what the other parts need.
    SandboxReport { system_calls: filter_system_calls(), ..report }
}

/// Enters the sandbox except for the system call filter. The order matters: namespaces and the root
/// directory need privileges that are dropped after them, and changing the user resets the death
/// signal.
pub fn enter_without_filter() -> SandboxReport {
    let descriptors = close_descriptors();
    // It ends before the server when the host has no memory left. Without /proc it keeps the server's score.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    let in_empty_directory = enter_empty_directory();
    let network = leave_namespaces();
    let root = in_empty_directory && chroot(".").is_ok() && std::env::set_current_dir("/").is_ok();
    let limits = set_limits();
    let user = change_user();
    let privileges = drop_privileges();
    SandboxReport { descriptors, network, root, user, privileges, limits, system_calls: false }
}

/// From now on, any system call that is not listed kills the process.
pub fn filter_system_calls() -> bool {
    build_filter().is_some_and(|filter| apply_filter(&filter).is_ok())
}

/// Closes all descriptors except 0 and 2.
fn close_descriptors() -> bool {
    [(1, 1), (3, libc::c_uint::MAX)].into_iter().all(|(first, last)| {
        // SAFETY: nothing in this process owns these descriptors: it has just started and uses only
        // 0 and 2.
        #[allow(unsafe_code)]
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        closed == 0
    })
}

/// Enters a directory and removes it: it is empty, and nothing can be created in it.
fn enter_empty_directory() -> bool {
    ["/tmp", "/run", "/dev/shm"].into_iter().any(|parent| {
        let path = PathBuf::from(parent).join(format!("burrow-reader-{}", std::process::id()));
        // Fails if another process has created it.
        let is_created = fs::create_dir(&path).is_ok();
        let is_entered = is_created && std::env::set_current_dir(&path).is_ok();
        let is_removed = is_created && fs::remove_dir(&path).is_ok();
        is_entered && is_removed
    })
}

/// Moves to new namespaces. Without root this takes a user namespace, where permitted; it maps no user.
fn leave_namespaces() -> bool {
    let namespaces = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    nix::sched::unshare(namespaces)
        .or_else(|_| nix::sched::unshare(namespaces | CloneFlags::CLONE_NEWUSER))
        .is_ok()
}

fn set_limits() -> bool {
    let limits = [
        (Resource::Data, MAX_DATA_BYTES),
        (Resource::As, MAX_ADDRESS_BYTES),
        (Resource::Cpu, MAX_CPU_SECONDS),
        (Resource::Nofile, MAX_DESCRIPTORS),
        (Resource::Nproc, 0),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    limits.into_iter().fold(true, |all, (resource, max)| {
        let limit = Rlimit { current: Some(max), maximum: Some(max) };
        setrlimit(resource, limit).is_ok() && all
    })
}

/// Changes to [`READER_UID`]. False if this process may not.
fn change_user() -> bool {
    geteuid().is_root() && become_user(READER_UID, None).is_ok()
}

fn drop_privileges() -> bool {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // No process of the same user may inspect this one, and it dies with the thread that started it.
    let _ = clear_ambient_capability_set();
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    set_capabilities(None, sets).is_ok() && set_no_new_privs(true).is_ok()
}

/// Allows memory that is not executable, the socket, standard error, and exiting.
fn build_filter() -> Option<BpfProgram> {
    let equals = |index: u8, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).ok()
    };
    let on_descriptor = |descriptor| SeccompRule::new(vec![equals(0, descriptor)?]).ok();
    let not_executable = || {
        let executable = libc::PROT_EXEC as u64;
        let operator = SeccompCmpOp::MaskedEq(executable);
        SeccompRule::new(vec![SeccompCondition::new(2, SeccompCmpArgLen::Dword, operator, 0).ok()?]).ok()
    };
    let unconditional = [
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let rules = unconditional.into_iter().map(|call| (call, vec![])).chain([
        (libc::SYS_read, vec![on_descriptor(STDIN)?]),
        (libc::SYS_write, vec![on_descriptor(STDIN)?, on_descriptor(STDERR)?]),
        (libc::SYS_mmap, vec![not_executable()?]),
        (libc::SYS_mprotect, vec![not_executable()?]),
    ]);
    let (kill, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules.collect(), kill, allow, ARCH.try_into().ok()?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_round_trips() {
        for bits in 0..1 << 7 {
            assert_eq!(SandboxReport::from_bits(bits).map(SandboxReport::bits), Some(bits));
        }
        assert_eq!(SandboxReport::from_bits(1 << 7), None);
        assert!(SandboxReport::from_bits(0x7f).is_some_and(SandboxReport::is_complete));
        assert!(!SandboxReport::default().is_complete());
    }

    #[test]
    fn filter_builds_for_this_architecture() {
        assert!(build_filter().is_some_and(|program| !program.is_empty()));
    }
}
