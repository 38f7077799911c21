//! The system calls that the VMM may make. All others fail as if the kernel did not have them.
//!
//! QEMU's own filter comes on top. It lists what is forbidden, for any machine that QEMU knows; this
//! one lists what one machine without graphics, sound or hot-plugging needs.

use std::env::consts::ARCH;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Calls that are allowed with any arguments.
const ALLOWED: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    // Threads and waiting.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_restart_syscall,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_pipe2,
    libc::SYS_arch_prctl,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and randomness.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_getrandom,
    // Open descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    // KVM, the tap and the size of disks.
    libc::SYS_ioctl,
    // Sockets that were passed to it. It creates none.
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Files, of which its root holds only the program, libraries and firmware.
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_access,
    libc::SYS_faccessat2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_readlink,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // Facts about itself.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Installs QEMU's own filter, which can only forbid more.
    libc::SYS_seccomp,
    // Becomes the VMM. QEMU's own filter forbids it from then on.
    libc::SYS_execve,
];

/// Builds the filter. It must be applied with `no_new_privs`.
pub fn build_filter() -> Result<BpfProgram, seccompiler::Error> {
    let rules = ALLOWED.iter().map(|call| (*call, vec![])).chain([
        (libc::SYS_clone, vec![new_thread()?]),
        (libc::SYS_prctl, prctl_rules()?),
        (libc::SYS_prlimit64, vec![own_limits()?]),
    ]);
    let deny = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules.collect(), deny, SeccompAction::Allow, ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// A thread of this process: no process, and no namespace. `clone3` is denied, because its
/// arguments cannot be seen; the C library then uses `clone`.
fn new_thread() -> Result<SeccompRule, BackendError> {
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND) as u64;
    first_argument(SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread)
}

/// Names of threads, and what QEMU's own filter needs.
fn prctl_rules() -> Result<Vec<SeccompRule>, BackendError> {
    let options = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_SET_NO_NEW_PRIVS,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_SET_SECCOMP,
        libc::PR_GET_SECCOMP,
        libc::PR_SET_TIMERSLACK,
    ];
    let rule =
        |option: i32| first_argument(SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, option.unsigned_abs().into());
    options.into_iter().map(rule).collect()
}

/// Limits of this process only.
fn own_limits() -> Result<SeccompRule, BackendError> {
    first_argument(SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)
}

fn first_argument(
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, length, operator, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_builds_for_this_architecture() {
        assert!(build_filter().is_ok_and(|program| !program.is_empty()));
    }
}
