//! The system calls that a session may not make: those that start programs or processes, and parts of the
//! kernel that it has no use for. A list of what it may make would be long and change with its libraries;
//! its user has no privileges anyway.

use std::{collections::BTreeMap, env::consts::ARCH, io};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Calls that are refused with any arguments.
const REFUSED: &[i64] = &[
    // Programs and processes. A session leaves no process behind that could outlive it.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fork,
    libc::SYS_vfork,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Namespaces, mounts and files without a path.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Large parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_modify_ldt,
];

/// Bit of the numbers of x32, with which the kernel of some hosts makes the same calls.
const X32: i64 = 0x4000_0000;
/// Calls of [`REFUSED`] that have other numbers with x32: `execve`, `ptrace`, `process_vm_readv`,
/// `process_vm_writev` and `execveat`.
const REFUSED_X32: [i64; 5] = [520, 521, 539, 540, 545];
const IOCTL_X32: i64 = 514;

/// Refuses the calls to this thread and those that it starts. It needs `no_new_privs`.
pub fn refuse_system_calls() -> io::Result<()> {
    let filters = build_filters().map_err(io::Error::other)?;
    filters.iter().try_for_each(|filter| apply_filter(filter)).map_err(io::Error::other)
}

/// The arguments of `clone3` cannot be seen. As if the kernel did not have it, the C library uses `clone`.
fn build_filters() -> Result<[BpfProgram; 2], seccompiler::Error> {
    let native = [
        (libc::SYS_clone, vec![new_process()?]),
        (libc::SYS_prctl, refused_options()?),
        (libc::SYS_socket, vec![foreign_sockets()?]),
        (libc::SYS_ioctl, vec![terminal_input()?]),
    ];
    let native = REFUSED.iter().map(|call| (*call, vec![])).chain(native);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        native.flat_map(|(call, rules)| [(call, rules.clone()), (call | X32, rules)]).collect();
    rules.extend(REFUSED_X32.map(|call| (call | X32, vec![])));
    rules.insert(IOCTL_X32 | X32, vec![terminal_input()?]);
    let clone3 = [libc::SYS_clone3, libc::SYS_clone3 | X32].map(|call| (call, vec![])).into();
    Ok([build_filter(clone3, libc::ENOSYS)?, build_filter(rules, libc::EPERM)?])
}

/// A filter that answers these calls with an error.
fn build_filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
) -> Result<BpfProgram, seccompiler::Error> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, ARCH.try_into()?)?.try_into()?)
}

/// `clone` for anything but a thread of this process.
fn new_process() -> Result<SeccompRule, BackendError> {
    rule([condition(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?])
}

/// To live on without the supervisor, and to be inspected.
fn refused_options() -> Result<Vec<SeccompRule>, BackendError> {
    let refused = |option: i32| rule([condition(0, SeccompCmpOp::Eq, option.unsigned_abs().into())?]);
    [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE].into_iter().map(refused).collect()
}

/// Sockets that are neither Unix nor IP sockets: netlink, packets and rare protocols.
fn foreign_sockets() -> Result<SeccompRule, BackendError> {
    let is_not = |family: i32| condition(0, SeccompCmpOp::Ne, family.unsigned_abs().into());
    rule([is_not(libc::AF_UNIX)?, is_not(libc::AF_INET)?, is_not(libc::AF_INET6)?])
}

/// To type into the terminal that the server was started from.
fn terminal_input() -> Result<SeccompRule, BackendError> {
    rule([condition(1, SeccompCmpOp::Eq, libc::TIOCSTI)?])
}

fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

/// Compares an argument, of which the kernel looks at 32 bits.
fn condition(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, process::Command, thread};

    use nix::{
        sched::{CloneFlags, unshare},
        sys::socket::{AddressFamily, SockFlag, SockType, socket},
    };
    use rustix::{
        process::{Signal, set_parent_process_death_signal},
        thread::set_no_new_privs,
    };

    use super::*;

    /// A filter holds for its thread, and those that it starts.
    #[test]
    fn session_starts_threads_and_no_programs() {
        let filtered = thread::spawn(|| {
            set_no_new_privs(true).expect("set");
            refuse_system_calls().expect("applied");
            assert_eq!(thread::spawn(|| 1).join().expect("a thread"), 1);
            UdpSocket::bind("127.0.0.1:0").expect("an IP socket");
            let refused = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            refused(Command::new("/bin/true").spawn().expect_err("a program"));
            let family = AddressFamily::Netlink;
            let netlink = socket(family, SockType::Raw, SockFlag::empty(), None);
            refused(netlink.expect_err("a netlink socket").into());
            refused(set_parent_process_death_signal(Some(Signal::TERM)).expect_err("a signal").into());
            refused(unshare(CloneFlags::CLONE_NEWUSER).expect_err("a namespace").into());
        });
        filtered.join().expect("as expected");
    }
}
