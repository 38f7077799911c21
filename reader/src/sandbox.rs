//! Gives up everything that a process can have, before the first byte of a guest's is looked at. What this system does not permit
//! (not root, inside a container) is left out and reported: the rest still holds.
//!
//! Of a descriptor, it keeps 0 (the socket) and 2 (its last words); of a user, one that nothing else runs as; of a root
//! directory, one that is empty and that no path leads to; of the kernel, the few calls that memory and the socket need.

use std::{env::consts::ARCH, fs, path::PathBuf};

use nix::sched::CloneFlags;
use rustix::{
    process::{
        DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid, chroot, geteuid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The reading process's own user and group: no file and no other process is theirs.
pub const USER: u32 = 619_999;

/// What it may take: pieces of the disk, one directory's entries, one message.
const MAX_DATA_BYTES: u64 = 512 << 20;
/// With the program itself, which is mapped whole.
const MAX_ADDRESS_BYTES: u64 = 1 << 30;
/// Of a whole life, which is one request's or one page's.
const MAX_CPU_SECONDS: u64 = 120;
/// The socket, nothing, and its last words.
const MAX_DESCRIPTORS: u64 = 3;

const STDIN: u64 = 0;
const STDERR: u64 = 2;

/// What holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Inherited descriptors are closed.
    pub descriptors: bool,
    /// A network namespace of its own, without an interface; no IPC and no names in common with anyone either.
    pub network: bool,
    /// An empty root directory.
    pub root: bool,
    /// A user of its own.
    pub user: bool,
    /// No capability, and no way to get one.
    pub privileges: bool,
    /// Memory, processor time, files, processes.
    pub limits: bool,
    /// Only listed system calls; any other ends the process.
    pub calls: bool,
}

impl Sandbox {
    /// Whether nothing had to be left out.
    pub fn is_whole(self) -> bool {
        self.parts().into_iter().all(|part| part)
    }

    fn parts(self) -> [bool; 7] {
        [self.descriptors, self.network, self.root, self.user, self.privileges, self.limits, self.calls]
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
            calls: part(6),
        })
    }
}

/// All of it. The process must have one thread.
pub fn enter() -> Sandbox {
    let holds = give_up();
    // Last: it forbids what the rest needs.
    Sandbox { calls: confine_calls(), ..holds }
}

/// All but the calls. The order matters: namespaces, root and user need what is given up behind them, and changing the user forgets
/// the death signal.
pub fn give_up() -> Sandbox {
    let descriptors = close_descriptors();
    let in_empty_directory = enter_empty_directory();
    let network = leave_namespaces();
    let root = in_empty_directory && chroot(".").is_ok() && std::env::set_current_dir("/").is_ok();
    let limits = limit();
    let user = change_user();
    let privileges = drop_privileges();
    Sandbox { descriptors, network, root, user, privileges, limits, calls: false }
}

/// From now on, any call but the listed ones ends the process.
pub fn confine_calls() -> bool {
    filter().is_some_and(|filter| apply_filter(&filter).is_ok())
}

/// All but 0 and 2.
fn close_descriptors() -> bool {
    [(1, 1), (3, libc::c_uint::MAX)].into_iter().all(|(first, last)| {
        // SAFETY: nothing of this process owns these descriptors: it has just begun, and the caller keeps to 0 and 2.
        #[allow(unsafe_code)]
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        closed == 0
    })
}

/// A directory that is removed while it is entered: nothing is in it and nothing can be made in it.
fn enter_empty_directory() -> bool {
    ["/tmp", "/run", "/dev/shm"].into_iter().any(|parent| {
        let path = PathBuf::from(parent).join(format!("burrow-reader-{}", std::process::id()));
        // Fails where somebody else has made it.
        let made = fs::create_dir(&path).is_ok();
        let entered = made && std::env::set_current_dir(&path).is_ok();
        let removed = made && fs::remove_dir(&path).is_ok();
        entered && removed
    })
}

/// Who is not root becomes so in a user namespace of its own, where that is permitted; it maps nobody.
fn leave_namespaces() -> bool {
    let apart = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    nix::sched::unshare(apart).or_else(|_| nix::sched::unshare(apart | CloneFlags::CLONE_NEWUSER)).is_ok()
}

fn limit() -> bool {
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
    limits.into_iter().fold(true, |all, (resource, most)| {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).is_ok() && all
    })
}

/// False where this process may not: then it stays who it is.
fn change_user() -> bool {
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    if !geteuid().is_root() {
        return false;
    }
    // Before the user goes, which takes the right to do so.
    for capability in CapabilitySet::all() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    set_thread_groups(&[]).is_ok()
        && set_thread_res_gid(group, group, group).is_ok()
        && set_thread_res_uid(user, user, user).is_ok()
}

fn drop_privileges() -> bool {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // No other process of the same user may look into it; it dies with the thread that started it.
    let _ = clear_ambient_capability_set();
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    set_capabilities(None, sets).is_ok() && set_no_new_privs(true).is_ok()
}

/// Memory that is not executable, the socket, and the end.
fn filter() -> Option<BpfProgram> {
    let equals = |index: u8, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).ok()
    };
    let on = |descriptor| SeccompRule::new(vec![equals(0, descriptor)?]).ok();
    let not_executable = || {
        let executable = libc::PROT_EXEC as u64;
        let operator = SeccompCmpOp::MaskedEq(executable);
        SeccompRule::new(vec![SeccompCondition::new(2, SeccompCmpArgLen::Dword, operator, 0).ok()?]).ok()
    };
    let plain = [
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
    let rules = plain.into_iter().map(|call| (call, vec![])).chain([
        (libc::SYS_read, vec![on(STDIN)?]),
        (libc::SYS_write, vec![on(STDIN)?, on(STDERR)?]),
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
    fn what_holds_goes_over_the_wire() {
        for bits in 0..1 << 7 {
            assert_eq!(Sandbox::from_bits(bits).map(Sandbox::bits), Some(bits));
        }
        assert_eq!(Sandbox::from_bits(1 << 7), None);
        assert!(Sandbox::from_bits(0x7f).is_some_and(Sandbox::is_whole));
        assert!(!Sandbox::default().is_whole());
    }

    #[test]
    fn the_filter_is_one_for_this_machine() {
        assert!(filter().is_some_and(|program| !program.is_empty()));
    }
}
