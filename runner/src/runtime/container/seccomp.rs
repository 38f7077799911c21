//! The system calls that programs in a container may make, as the OCI configuration has them. All others
//! fail as if the kernel did not have them. Pure.
//!
//! The container shares the host's kernel, so what it cannot call cannot be attacked: no namespaces, no
//! mounts, no packet filters, no virtual-machine sockets, no BPF, no tracing, no kernel keys. Nor can it make
//! the kernel load a module: a protocol, a terminal's line discipline.

use serde_json::{Value, json};

/// Calls that are allowed with any arguments.
#[rustfmt::skip] // One line for each few calls.
const ALLOWED: &[&str] = &[
    // Memory.
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "mincore", "msync", "mlock", "mlock2",
    "munlock", "mlockall", "munlockall", "membarrier", "memfd_create", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "get_mempolicy",
    // Processes, threads and waiting.
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "futex", "futex_waitv",
    "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "gettid", "getpid", "getppid", "getpgid",
    "getpgrp", "setpgid", "getsid", "setsid", "kill", "tkill", "tgkill", "pidfd_open", "pidfd_send_signal",
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getattr", "sched_rr_get_interval",
    "getpriority", "setpriority", "ioprio_get", "arch_prctl", "restart_syscall", "getcpu", "prctl",
    "prlimit64", "getrlimit", "setrlimit", "getrusage", "times", "capget",
    // Waiting for descriptors.
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "signalfd", "signalfd4", "inotify_init",
    "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
    // Signals and time.
    "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigreturn",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "pause", "alarm", "getitimer", "setitimer",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "timer_create",
    "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "getrandom",
    // Descriptors.
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev", "pwritev2",
    "lseek", "close", "close_range", "dup", "dup2", "dup3", "fcntl", "flock", "fsync", "fdatasync", "sync",
    "syncfs", "sync_file_range", "fallocate", "truncate", "ftruncate", "fadvise64", "readahead", "pipe",
    "pipe2", "splice", "tee", "vmsplice", "sendfile", "copy_file_range",
    // Files.
    "open", "openat", "openat2", "creat", "access", "faccessat", "faccessat2", "stat", "lstat", "fstat",
    "newfstatat", "statx", "statfs", "fstatfs", "readlink", "readlinkat", "getdents", "getdents64", "getcwd",
    "chdir", "fchdir", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2",
    "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "fchmodat2",
    "chown", "lchown", "fchown", "fchownat", "umask", "utime", "utimes", "utimensat", "futimesat", "getxattr",
    "lgetxattr", "fgetxattr", "setxattr", "lsetxattr", "fsetxattr", "listxattr", "llistxattr", "flistxattr",
    "removexattr", "lremovexattr", "fremovexattr", "name_to_handle_at",
    // Users and facts.
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setuid", "setgid",
    "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "uname", "sysinfo",
    // Sockets, once they exist.
    "socketpair", "bind", "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "sendto",
    "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg", "shutdown", "getsockopt",
    // Shared memory between processes of the container; it has an IPC namespace of its own.
    "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd",
    "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify",
    "mq_getsetattr",
    // A program may restrict itself further.
    "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
];

/// Every flag of `clone` that creates a namespace.
const NAMESPACE_FLAGS: u64 = 0x7e02_0080;
/// What `personality` may be set to: nothing new, or addresses that are not random, for debuggers.
const PERSONALITIES: [u64; 3] = [0, 0x0004_0000, 0xffff_ffff];
/// `ioctl`s that type into a terminal, TIOCSTI and TIOCLINUX, and TIOCSETD, which loads line disciplines.
const FORBIDDEN_IOCTLS: [u64; 3] = [0x5412, 0x541c, 0x5423];
/// The level of TCP's socket options, and the one that moves TLS and other protocols into the kernel.
const SOL_TCP: u64 = 6;
const TCP_ULP: u64 = 31;
/// The bits that the kernel reads of an argument that is an `int`.
const INT_MASK: u64 = 0xffff_ffff;

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const NETLINK_ROUTE: u64 = 0;
/// The bits of a socket's type without its flags.
const TYPE_MASK: u64 = 0xf;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;
/// A type of internet socket and its only protocol, which 0 stands for as well.
const PROTOCOLS: [(u64, u64); 2] = [(SOCK_STREAM, 6), (SOCK_DGRAM, 17)];

/// The value of `linux.seccomp` in the OCI configuration.
pub fn profile() -> Value {
    let no_such_call = libc::ENOSYS;
    let mut calls = vec![
        json!({ "names": ALLOWED, "action": "SCMP_ACT_ALLOW" }),
        // Its flags are in memory, where no filter sees them. The C library then uses `clone`.
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": no_such_call }),
        allow("clone", &[masked(0, NAMESPACE_FLAGS, 0)]),
        allow("socket", &[equal(0, AF_UNIX)]),
        allow("socket", &[equal(0, AF_NETLINK), equal(2, NETLINK_ROUTE)]),
    ];
    for family in [AF_INET, AF_INET6] {
        for (kind, protocol) in PROTOCOLS.iter().flat_map(|(kind, protocol)| [(*kind, 0), (*kind, *protocol)])
        {
            let conditions = [equal(0, family), masked(1, TYPE_MASK, kind), equal(2, protocol)];
            calls.push(allow("socket", &conditions));
        }
    }
    calls.extend(all_but(1, &FORBIDDEN_IOCTLS).into_iter().map(|number| allow("ioctl", &[number])));
    calls.extend(all_but(1, &[SOL_TCP]).into_iter().map(|level| allow("setsockopt", &[level])));
    let of_tcp = all_but(2, &[TCP_ULP]).into_iter();
    calls.extend(of_tcp.map(|option| allow("setsockopt", &[masked(1, INT_MASK, SOL_TCP), option])));
    calls.extend(PERSONALITIES.map(|value| allow("personality", &[equal(0, value)])));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": no_such_call,
        // No architectures beside the native one: 32-bit calls have other numbers.
        "architectures": [],
        "syscalls": calls,
    })
}

fn allow(name: &str, arguments: &[Value]) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": arguments })
}

fn equal(index: u32, value: u64) -> Value {
    json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" })
}

/// Conditions of which each `int` but the forbidden ones fulfils one: its first bits are such that no
/// forbidden number has them. OCI runtimes have no "not equal" for several values, and a comparison of all
/// 64 bits could be evaded with bits that the kernel does not read.
fn all_but(index: u32, forbidden: &[u64]) -> Vec<Value> {
    let mut conditions = Vec::new();
    // What the first bits of forbidden numbers are.
    let mut beginnings = vec![0];
    for bit in (0..u32::BITS).rev().map(|position| 1 << position) {
        let mask = INT_MASK & !(bit - 1);
        let (common, others): (Vec<u64>, Vec<u64>) = beginnings
            .iter()
            .flat_map(|beginning| [*beginning, beginning | bit])
            .partition(|beginning| forbidden.iter().any(|number| number & mask == *beginning));
        conditions.extend(others.iter().map(|beginning| masked(index, mask, *beginning)));
        beginnings = common;
    }
    conditions
}

/// The bits of `mask` have the value `value`.
fn masked(index: u32, mask: u64, value: u64) -> Value {
    json!({ "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_calls_are_not_allowed() {
        for call in [
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "unshare",
            "setns",
            "clone",
            "clone3",
            "open_tree",
            "move_mount",
            "fsopen",
            "mount_setattr",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_getfd",
            "kcmp",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "keyctl",
            "add_key",
            "request_key",
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "reboot",
            "sethostname",
            "swapon",
            "iopl",
            "ioperm",
            "acct",
            "settimeofday",
            "clock_settime",
            "quotactl",
            "personality",
            "open_by_handle_at",
            "fanotify_init",
            "syslog",
            "vhangup",
            "modify_ldt",
            "socket",
            "setsockopt",
            "ioctl",
            "move_pages",
            "mbind",
            "set_mempolicy",
            "process_madvise",
            "memfd_secret",
        ] {
            assert!(!ALLOWED.contains(&call), "{call}");
        }
    }

    #[test]
    fn each_call_is_listed_once() {
        let mut sorted = ALLOWED.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ALLOWED.len());
    }

    #[test]
    fn every_other_number_is_allowed() {
        for forbidden in [&FORBIDDEN_IOCTLS[..], &[TCP_ULP], &[0, u64::from(u32::MAX)]] {
            let conditions = all_but(1, forbidden);
            let is_allowed = |number: u64| {
                conditions.iter().any(|condition| {
                    let value = |name: &str| condition[name].as_u64().expect("a number");
                    number & value("value") == value("valueTwo")
                })
            };
            for number in forbidden {
                assert!(!is_allowed(*number) && !is_allowed(number | 1 << 32), "{number:x}");
            }
            for number in (0..0x1_0000).chain([0x8004_5412, 0xc020_5413, INT_MASK]) {
                assert_eq!(is_allowed(number), !forbidden.contains(&number), "{number:x}");
            }
        }
    }

    #[test]
    fn sockets_are_of_known_protocols() {
        let profile = profile();
        let calls = profile["syscalls"].as_array().expect("a list").iter();
        let sockets = calls.filter(|call| call["names"][0] == "socket");
        let internet =
            sockets.filter(|call| [AF_INET, AF_INET6].iter().any(|f| call["args"][0]["value"] == *f));
        let protocols: Vec<_> = internet.map(|call| call["args"][2]["value"].as_u64()).collect();
        assert_eq!(protocols, [0, 6, 0, 17, 0, 6, 0, 17].map(Some));
    }

    #[test]
    fn clone_creates_no_namespace() {
        // Mount, cgroup, UTS, IPC, user, process, network and time namespaces.
        let flags =
            [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x80];
        assert_eq!(flags.iter().fold(0, |all, flag| all | flag), NAMESPACE_FLAGS);
    }
}
