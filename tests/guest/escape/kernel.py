# Probes of a kernel that a sandbox does not have for itself. Follows probes.py, whose functions it uses.
# Each runs in a process of its own, because some change what their process may do.


def reaches(number, *arguments):
    """A system call that changes nothing, because its arguments are wrong."""
    return permitted(lambda: call(number, *arguments))


def overwrites(path, content):
    def action():
        file = os.open(path, os.O_WRONLY)
        try:
            os.write(file, content)
        finally:
            os.close(file)

    return action


def creates(path):
    def action():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        os.unlink(path)

    return action


def opens_socket(family, kind, protocol):
    return lambda: socket.socket(family, kind, protocol).close()


# Namespaces: their creator has all privileges in them, and so reaches parts of the kernel that only root
# reaches elsewhere.

NAMESPACES = {
    "time": 0x80,
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
for name, flag in NAMESPACES.items():
    separate(f"unshare {name}")(lambda flag=flag: call(272, flag))
    separate(f"unshare user and {name}")(lambda flag=flag: call(272, 0x10000000 | flag))


def clones(flags):
    def action():
        if call(56, flags | 17, 0, 0, 0, 0) == 0:
            os._exit(0)
        os.wait()

    return action


separate("clone user")(clones(0x10000000))
separate("clone user and net")(clones(0x50000000))
separate("clone3 user")(reaches(435, struct.pack("11Q", 0x10000000, *[0] * 10), 1))
separate("setns of init")(lambda: call(308, os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
separate("enter root of init")(lambda: os.chroot("/proc/1/root"))

# System calls that administer a kernel, or attack it.

NOWHERE = b"/nowhere"
for name, number, *arguments in (
    ("mount", 165, b"none", NOWHERE, b"tmpfs", 0, 0),
    ("umount2", 166, NOWHERE, 0),
    ("pivot_root", 155, NOWHERE, NOWHERE),
    ("chroot", 161, NOWHERE),
    ("open_tree", 428, -100, b"/", 1),
    ("move_mount", 429, -1, b"", -1, b"", 0),
    ("fsopen", 430, b"ext4", 0),
    ("fsmount", 432, -1, 0, 0),
    ("fspick", 433, -100, b"/", 0),
    ("mount_setattr", 442, -100, NOWHERE, 0, 0, 0),
    ("process_vm_readv", 310, 1, 0, 0, 0, 0, 0),
    ("process_vm_writev", 311, 1, 0, 0, 0, 0, 0),
    ("pidfd_getfd", 438, -1, 0, 0),
    ("kcmp", 312, 1, 1, 0, 0, 0),
    ("process_madvise", 440, -1, 0, 0, 0, 0),
    ("bpf", 321, 0, 0, 0),
    ("perf_event_open", 298, 0, 0, -1, -1, 0),
    ("userfaultfd", 323, 1),
    ("io_uring_setup", 425, 0, 0),
    ("io_uring_register", 427, -1, 0, 0, 0),
    ("io_setup", 206, 0, 0),
    ("keyctl", 250, 99, 0, 0, 0, 0),
    ("add_key", 248, b"user", b"x", b"x", 1, -3),
    ("request_key", 249, b"user", b"x", 0, 0),
    ("init_module", 175, 0, 0, 0),
    ("finit_module", 313, -1, b"", 0),
    ("delete_module", 176, b"none", 0x800),
    ("kexec_load", 246, 0, 0, 0, 0x10),
    ("kexec_file_load", 320, -1, -1, 0, 0, 0x10),
    ("reboot", 169, 0, 0, 0, 0),
    ("sethostname", 170, b"x", 1),
    ("setdomainname", 171, b"x", 1),
    ("swapon", 167, NOWHERE, 0),
    ("swapoff", 168, NOWHERE),
    ("iopl", 172, 3),
    ("ioperm", 173, 0x80, 1, 1),
    ("acct", 163, NOWHERE),
    ("settimeofday", 164, 1, 0),
    ("clock_settime", 227, 99, 0),
    ("clock_adjtime", 305, 0, 0),
    ("adjtimex", 159, 0),
    ("quotactl", 179, 0x80000700, NOWHERE, 0, 0),
    ("open_by_handle_at", 304, -1, 0, 0),
    ("fanotify_init", 300, 0, 0),
    ("syslog", 103, 3, 0, 0),
    ("vhangup", 153),
    ("modify_ldt", 154, 99, 0, 0),
    ("personality read-implies-exec", 135, 0x400000),
    ("move_pages", 279, 1, 0, 0, 0, 0, 0),
    ("mbind", 237, 0, 0, 99, 0, 0, 0),
    ("migrate_pages", 256, 1, 0, 0, 0),
    ("set_mempolicy", 238, 99, 0, 0),
    ("lookup_dcookie", 212, 0, 0, 0),
    ("memfd_secret", 447, -1),
    ("uselib", 134, NOWHERE),
    ("nfsservctl", 180, 0, 0, 0),
    ("sysfs", 139, 3),
    ("ustat", 136, 0, 0),
    ("capset", 126, 0, 0),
    ("sched_setscheduler fifo", 144, 0, 1, struct.pack("i", 1)),
    ("ioprio_set realtime", 251, 1, 0, 0x2000),
    ("setpriority", 141, 0, 0, -20),
    ("number that does not exist", 9999),
):
    separate(f"call {name}")(reaches(number, *arguments))
for name, number in (("getpid of x32", 39), ("mount of x32", 165), ("ptrace of x32", 521), ("bpf of x32", 321)):
    separate(f"call {name}")(reaches(0x40000000 | number, 0, 0, 0, 0, 0))


@separate("call getpid of 32 bits")
def _():
    import mmap

    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    result = function()
    if result < 0:
        raise OSError(-result, "refused")


# Sockets of other families and protocols. The kernel loads modules for them when anybody asks.

for name, family, kind, protocol in (
    ("ax25", 3, 5, 0),
    ("ipx", 4, 2, 0),
    ("appletalk", 5, 2, 0),
    ("x25", 9, 5, 0),
    ("key", 15, 3, 2),
    ("packet", 17, 3, 0),
    ("packet without headers", 17, 2, 0),
    ("rds", 21, 5, 0),
    ("pppox", 24, 1, 0),
    ("llc", 26, 2, 0),
    ("infiniband", 27, 3, 0),
    ("can", 29, 3, 1),
    ("tipc", 30, 5, 0),
    ("bluetooth", 31, 3, 1),
    ("rxrpc", 33, 2, 2),
    ("phonet", 35, 2, 0),
    ("ieee802154", 36, 3, 0),
    ("caif", 37, 5, 0),
    ("alg", 38, 5, 0),
    ("nfc", 39, 5, 0),
    ("kcm", 41, 5, 0),
    ("qipcrtr", 42, 2, 0),
    ("smc", 43, 1, 0),
    ("xdp", 44, 3, 0),
    ("mctp", 45, 2, 0),
    ("raw icmp", 2, 3, 1),
    ("raw of version 6", 10, 3, 58),
    ("raw with headers", 2, 3, 255),
    ("ping", 2, 2, 1),
    ("ping of version 6", 10, 2, 58),
    ("sctp", 2, 1, 132),
    ("sctp of messages", 2, 5, 132),
    ("dccp", 2, 6, 33),
    ("udplite", 2, 2, 136),
    ("l2tp", 2, 2, 115),
    ("mptcp", 2, 1, 262),
    ("smc of version 4", 2, 1, 256),
):
    separate(f"socket {name}")(opens_socket(family, kind, protocol))
for name, protocol in (
    ("usersock", 2),
    ("sock_diag", 4),
    ("xfrm", 6),
    ("selinux", 7),
    ("iscsi", 8),
    ("audit", 9),
    ("fib_lookup", 10),
    ("connector", 11),
    ("netfilter", 12),
    ("uevent", 15),
    ("generic", 16),
    ("scsi transport", 18),
    ("rdma", 20),
    ("crypto", 21),
):
    separate(f"socket netlink {name}")(opens_socket(16, 3, protocol))


def sets_option(level, option, value):
    def action():
        listener = socket.create_server(("127.0.0.1", 0))
        with listener, socket.create_connection(listener.getsockname()) as connection:
            connection.setsockopt(level, option, value)

    return action


separate("socket option tls in the kernel")(sets_option(6, 31, b"tls"))
separate("socket option of netfilter")(sets_option(0, 64, b"\0" * 84))
separate("socket option priority")(sets_option(1, 12, 7))
separate("socket option mark")(sets_option(1, 36, 0x42))
separate("socket option receive buffer by force")(sets_option(1, 33, 1 << 28))
separate("socket option transparent proxy")(sets_option(0, 19, 1))


@separate("create a network link")
def _():
    with socket.socket(16, 3, 0) as route:
        kind = struct.pack("HH5s3x", 9, 1, b"dummy")
        body = struct.pack("BxHiII", 0, 0, 0, 0, 0) + struct.pack("HH", 4 + len(kind), 18) + kind
        route.send(struct.pack("IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        kind, error = struct.unpack_from("4xH10xi", route.recv(4096))
        if kind == 2 and error:
            raise OSError(-error, "refused")


@separate("take down a network link")
def _():
    with socket.socket(2, 2) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH", b"lo", 0).ljust(40, b"\0"))


# Terminals: typing into one, its line disciplines (modules that anybody may have loaded), the console.


def controls_terminal(number, argument):
    def action():
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, number, argument)

    return action


separate("terminal input of others")(controls_terminal(0x5412, b"x"))
separate("terminal console selection")(controls_terminal(0x541C, b"\2"))
separate("terminal console output")(controls_terminal(0x541D, 0))
for name, number in (("ppp", 3), ("hdlc", 13), ("gsm0710", 21), ("can", 17), ("slip", 1), ("6pack", 7)):
    separate(f"terminal line discipline {name}")(controls_terminal(0x5423, struct.pack("i", number)))

# Files of /proc and /sys that show or change more than the sandbox.

for path in (
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/interrupts",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/pagetypeinfo",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/scsi/scsi",
    "/proc/acpi/wakeup",
    "/proc/bus/pci/devices",
    "/proc/fs/ext4",
    "/proc/sys/fs/binfmt_misc/status",
    "/proc/1/maps",
    "/proc/1/stack",
    "/proc/1/syscall",
    "/proc/self/stack",
    "/sys/kernel/debug/tracing/trace",
    "/sys/kernel/tracing/trace",
    "/sys/kernel/security/lockdown",
    "/sys/kernel/notes",
    "/sys/class/dmi/id/product_uuid",
    "/sys/fs/bpf",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/devices/system/cpu/vulnerabilities/meltdown",
):
    separate(f"read {path}")(reads(path))
for path, content in (
    ("/proc/sys/kernel/core_pattern", b"core"),
    ("/proc/sys/kernel/modprobe", b"/sbin/modprobe"),
    ("/proc/sys/kernel/hostname", b"x"),
    ("/proc/sys/kernel/domainname", b"x"),
    ("/proc/sys/kernel/shmmax", b"1"),
    ("/proc/sys/kernel/yama/ptrace_scope", b"0"),
    ("/proc/sys/kernel/unprivileged_bpf_disabled", b"0"),
    ("/proc/sys/kernel/perf_event_paranoid", b"-1"),
    ("/proc/sys/kernel/panic", b"0"),
    ("/proc/sys/kernel/ns_last_pid", b"1"),
    ("/proc/sys/vm/overcommit_memory", b"0"),
    ("/proc/sys/vm/drop_caches", b"1"),
    ("/proc/sys/fs/file-max", b"1000000"),
    ("/proc/sys/fs/protected_symlinks", b"1"),
    ("/proc/sys/fs/binfmt_misc/register", b""),
    ("/proc/sys/net/ipv4/ip_forward", b"1"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", b"0"),
    ("/proc/sys/user/max_user_namespaces", b"100000"),
    ("/proc/irq/default_smp_affinity", b"1"),
    ("/proc/1/oom_score_adj", b"-1000"),
    ("/proc/self/oom_score_adj", b"-1000"),
    ("/proc/self/uid_map", b"0 0 1"),
    ("/proc/self/setgroups", b"allow"),
    ("/proc/self/attr/current", b"unconfined"),
    ("/sys/fs/cgroup/cgroup.procs", b"0"),
    ("/sys/fs/cgroup/release_agent", b"/x"),
    ("/sys/kernel/uevent_helper", b"/x"),
    ("/sys/module/kernel/parameters/panic", b"0"),
    ("/sys/power/state", b""),
):
    separate(f"write {path}")(overwrites(path, content))
for path in ("/x", "/usr/bin/x", "/etc/x", "/lib/x", "/run/x", "/dev/x", "/proc/x", "/sys/x", "/root/x"):
    separate(f"create {path}")(creates(path))
for path in ("/etc/passwd", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/workspace-agent", "/bin/sh"):
    separate(f"change {path}")(opens(path, os.O_WRONLY))


# Devices, privileges and other processes.

for name, kind, device in (
    ("memory", 0o020000, (1, 1)),
    ("disk", 0o060000, (7, 0)),
    ("kernel log", 0o020000, (1, 11)),
    ("fuse", 0o020000, (10, 229)),
    ("tun", 0o020000, (10, 200)),
    ("kvm", 0o020000, (10, 232)),
):

    @separate(f"create device {name}")
    def _(kind=kind, device=device):
        path = f"/tmp/device-{os.getpid()}"
        os.mknod(path, kind | 0o600, os.makedev(*device))
        os.unlink(path)


for path in ("/dev/fuse", "/dev/net/tun", "/dev/ppp", "/dev/userfaultfd", "/dev/loop-control", "/dev/kmsg",
             "/dev/console", "/dev/tty0", "/dev/mapper/control", "/dev/uinput", "/dev/rfkill", "/dev/cuse"):
    separate(f"open {path}")(opens(path))

separate("become root")(lambda: os.setuid(0))
separate("become another user")(lambda: os.setuid(1))
separate("become another group")(lambda: os.setgid(1))
separate("change the groups")(lambda: os.setgroups([0]))
separate("give a file away")(lambda: (open("/tmp/given", "w").close(), os.chown("/tmp/given", 0, 0)))
separate("set a file capability")(
    lambda: (open("/tmp/able", "w").close(),
             os.setxattr("/tmp/able", "security.capability", struct.pack("<5I", 0x2000001, 1 << 21, 0, 0, 0)))
)
separate("set a trusted attribute")(
    lambda: (open("/tmp/trusted", "w").close(), os.setxattr("/tmp/trusted", "trusted.overlay.opaque", b"y"))
)
separate("keep a capability")(lambda: call(157, 47, 2, 21, 0, 0))
separate("change the memory map of a process")(reaches(157, 35, 1, 0, 0, 0))


@separate("gain privileges from programs")
def _():
    # Whether no_new_privs is set.
    if call(157, 39, 0, 0, 0, 0):
        raise OSError(errno.EPERM, "set")


def runs(*command):
    def action():
        import subprocess

        null = subprocess.DEVNULL
        status = subprocess.run(command, stdin=null, stdout=null, stderr=null).returncode
        if status:
            raise OSError(errno.EPERM, f"status {status}")

    return action


separate("run sudo")(runs("sudo", "-n", "true"))
separate("run su")(runs("su", "-c", "true"))
separate("run mount")(runs("mount", "-t", "tmpfs", "none", "/mnt"))
separate("run dmesg")(runs("dmesg"))


@separate("raise the limit of open files")
def _():
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))


@separate("raise the limit of locked memory")
def _():
    import resource

    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 40, 1 << 40))


@separate("see processes of the host")
def _():
    def command(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read()
        except OSError:
            return b""

    def name(pid):
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()

    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]
    if not any(name(pid) == "kthreadd" or b"burrow\0up" in command(pid) for pid in pids):
        raise OSError(errno.ENOENT, "none")


@separate("signal a process of the host")
def _():
    own = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    for pid in range(1, 4096):
        if pid not in own:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue
            # A process that began after the list was made is one of the sandbox.
            if not os.path.exists(f"/proc/{pid}"):
                return
    raise OSError(errno.ENOENT, "none")


@separate("see network links of the host")
def _():
    if {name for _, name in socket.if_nameindex()} <= {"lo", "eth0"}:
        raise OSError(errno.ENOENT, "none")


@separate("see paths of the host")
def _():
    with open("/proc/self/mountinfo") as file:
        # The part of a file system that is mounted. Those that were made for the sandbox are near the top.
        roots = {line.split()[3] for line in file}
    if not any(root.count("/") > 1 for root in roots):
        raise OSError(errno.ENOENT, "none")


@separate("see shared memory of the host")
def _():
    with open("/proc/sysvipc/shm") as file:
        if len(file.readlines()) < 2:
            raise OSError(errno.ENOENT, "none")


@separate("read keys of the session")
def _():
    with open("/proc/key-users") as file:
        if not file.read():
            raise OSError(errno.ENOENT, "none")
