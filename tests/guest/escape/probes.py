"""Tries to leave a sandbox. Runs in it, as its user or as root, and prints a line for each probe: its
outcome and its name.

    refused   the kernel, the firewall or the VMM refused it
    absent    what it would use does not exist
    done      it worked

Arguments: the host's listening port, then the host's addresses.
"""

import concurrent.futures
import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import time

TIMEOUT = 2
REFUSED, ABSENT, DONE = "refused", "absent", "done"
MISSING = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

port, hosts = int(sys.argv[1]), sys.argv[2:]
probes = {}
separated = set()


def probe(name):
    def add(action):
        assert name not in probes, name
        probes[name] = action
        return action

    return add


def separate(name):
    """A probe that runs in a process of its own."""
    separated.add(name)
    return probe(name)


def run(action):
    try:
        result = action()
    except OSError as error:
        return ABSENT if error.errno in MISSING else REFUSED
    except ValueError:
        # Python's error for a limit that may not be raised.
        return REFUSED
    return result if isinstance(result, str) else DONE


def run_separately(action):
    outcomes = [REFUSED, ABSENT, DONE]
    pid = os.fork()
    if pid == 0:
        # Some wait for what never happens.
        signal.alarm(TIMEOUT)
        os._exit(outcomes.index(run(action)))
    status = os.waitpid(pid, 0)[1]
    # What a signal has ended was not done.
    return outcomes[os.WEXITSTATUS(status)] if os.WIFEXITED(status) else REFUSED


def run_all():
    # Before there are threads.
    results = {name: run_separately(probes[name]) for name in separated}
    together = [name for name in probes if name not in separated]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        results.update(zip(together, pool.map(lambda name: run(probes[name]), together)))
    for name in probes:
        print(f"{results[name]:8} {name}")


def call(number, *arguments):
    converted = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_long(one) for one in arguments]
    result = libc.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


# The network: connections to what is not public.

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fe80::a9fe:a9fe%eth0",
    "::ffff:169.254.169.254",
]
SPELLINGS = ["2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518", "169.16689662"]
PRIVATE = [
    "0.0.0.1",
    "10.0.0.1",
    "10.111.0.1",
    "10.255.255.254",
    "100.64.0.1",
    "100.64.0.2",
    "100.127.255.254",
    "172.16.0.1",
    "172.17.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.168.0.1",
    "192.168.1.1",
    "192.168.122.1",
    "198.18.0.1",
    "198.19.255.254",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "fd00::1",
    "fc00::1",
    "fe80::1%eth0",
    "ff02::1%eth0",
    "2001:db8::1",
    "64:ff9b::a9fe:a9fe",
]


def connect(address, number):
    def action():
        family, kind, protocol, _, target = socket.getaddrinfo(address, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(target)

    return action


def exchange(address, number, request):
    def action():
        family, kind, protocol, _, target = socket.getaddrinfo(address, number, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(TIMEOUT)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            connection.sendto(request, target)
            connection.recvfrom(512)

    return action


DNS_QUERY = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01"
for address in METADATA + SPELLINGS + PRIVATE:
    probe(f"tcp {address} 80")(connect(address, 80))
for index, address in enumerate(hosts):
    for number in (port, 22, 5432):
        label = "listener" if number == port else number
        probe(f"tcp host-{index} {label}")(connect(address, number))
    probe(f"udp host-{index} listener")(exchange(address, port, b"probe"))
for number in (22, 53, 111, 443, 2049, 2375, 5432, 6443, 8080, 10250):
    probe(f"tcp gateway {number}")(connect("10.111.0.1", number))
for address in ("10.111.0.1", "169.254.169.254", "192.168.1.1", "255.255.255.255", "224.0.0.251"):
    probe(f"udp {address} 53")(exchange(address, 53, DNS_QUERY))
probe("udp ntp 169.254.169.123")(exchange("169.254.169.123", 123, b"\x23" + 47 * b"\0"))
probe("udp ssdp 239.255.255.250")(exchange("239.255.255.250", 1900, b"M-SEARCH * HTTP/1.1\r\n\r\n"))
probe("udp dhcp 255.255.255.255")(exchange("255.255.255.255", 67, b"\1\1\6\0" + 236 * b"\0"))


def echo(address):
    def action():
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.settimeout(TIMEOUT)
            raw.sendto(b"\x08\0\xf7\xff\0\0\0\0", (address, 0))
            while raw.recvfrom(512)[1][0] != address:
                pass

    return action


for address in ["100.64.0.1", "169.254.169.254", "192.168.1.1"] + hosts:
    name = f"host-{hosts.index(address)}" if address in hosts else address
    probe(f"icmp {name}")(echo(address))


# Roads to the host that are not the network.


@probe("vsock host")
def _():
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect((2, 1024))


@probe("vsock hypervisor")
def _():
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect((0, 1))


@probe("vsock neighbour")
def _():
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect((3, 1024))


def opens(path, flags=os.O_RDWR):
    return lambda: os.close(os.open(path, flags))


def reads(path):
    def action():
        with open(path, "rb", buffering=0) as file:
            if not file.read(1):
                raise OSError(errno.ENOENT, "empty")

    return action


for path in (
    "/dev/kvm",
    "/dev/vhost-net",
    "/dev/vhost-vsock",
    "/dev/vsock",
    "/dev/vfio/vfio",
    "/dev/nbd0",
    "/dev/loop0",
    "/dev/hwrng",
    "/dev/tpm0",
    "/dev/sgx_enclave",
    "/dev/sev-guest",
    "/dev/dri/card0",
    "/dev/snd/timer",
    "/dev/bus/usb/001/001",
    "/dev/fb0",
    "/dev/input/event0",
    "/dev/ptp0",
    "/dev/mem",
    "/dev/kmem",
    "/dev/vport0p1",
    "/dev/vport1p1",
    "/dev/vport2p1",
    "/dev/vport3p1",
    "/dev/vport4p1",
):
    probe(f"open {path}")(opens(path))
for path in ("/sys/firmware/qemu_fw_cfg/rev", "/proc/vmcore", "/proc/kcore"):
    probe(f"open {path}")(reads(path))


def lists(path):
    def action():
        if not os.listdir(path):
            raise OSError(errno.ENOENT, "empty")

    return action


for path in (
    "/sys/bus/pci/devices",
    "/sys/bus/usb/devices",
    "/sys/bus/vmbus/devices",
    "/sys/bus/xen/devices",
    "/sys/bus/nd/devices",
    "/sys/class/vfio",
):
    probe(f"list {path}")(lists(path))


def mounts(kind, source):
    def action():
        target = f"/tmp/mount-{kind}"
        os.makedirs(target, exist_ok=True)
        call(165, source.encode(), target.encode(), kind.encode(), 0, b"trans=virtio")
        call(166, target.encode(), 2)

    return action


for kind, source in (("9p", "host"), ("virtiofs", "host"), ("vboxsf", "host"), ("nfs", "10.111.0.1:/")):
    probe(f"mount {kind}")(mounts(kind, source))


def reads_port(number, nothing):
    def action():
        file = os.open("/dev/port", os.O_RDWR)
        try:
            read = os.pread(file, 1, number)
        finally:
            os.close(file)
        return ABSENT if read == nothing else DONE

    return action


for name, number in (("vmware-backdoor", 0x5658), ("debug-exit", 0x501), ("bios-debug", 0x402),
                     ("pci-config", 0xCFC), ("cpu-hotplug", 0xCD8), ("floppy", 0x3F4), ("ide", 0x1F7),
                     ("parallel", 0x378), ("serial-2", 0x2FD)):
    probe(f"port {name}")(reads_port(number, b"\xff"))


def writes(path, at=0):
    def action():
        file = os.open(path, os.O_RDWR)
        try:
            content = os.pread(file, 512, at)
            os.pwrite(file, content, at)
            os.fsync(file)
        finally:
            os.close(file)

    return action


def beyond_end(path):
    def action():
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.lseek(file, 0, os.SEEK_END)
            if not os.pread(file, 512, size + (1 << 20)):
                raise OSError(errno.EINVAL, "nothing there")
        finally:
            os.close(file)

    return action


def controls(path, number, argument):
    def action():
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(file, number, argument)
        finally:
            os.close(file)

    return action


probe("write image")(writes("/dev/vda"))
probe("discard image")(controls("/dev/vda", 0x1277, struct.pack("QQ", 0, 4096)))
for disk in ("vda", "vdb", "vdc"):
    probe(f"read beyond {disk}")(beyond_end(f"/dev/{disk}"))
    probe(f"scsi command {disk}")(controls(f"/dev/{disk}", 0x2285, b"\0" * 88))


@probe("write image that was set read-write")
def _():
    controls("/dev/vda", 0x125D, struct.pack("i", 0))()
    writes("/dev/vda")()


# What the guest's own kernel must keep from its user. Root may do all of this inside the guest.



def permitted(action):
    """Whether the kernel gets as far as the arguments, which are wrong."""

    def check():
        try:
            action()
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
                raise

    return check


probe("read shadow")(opens("/etc/shadow", os.O_RDONLY))
probe("read memory of init")(opens("/proc/1/mem"))
probe("read environment of init")(opens("/proc/1/environ", os.O_RDONLY))
probe("trace init")(lambda: call(101, 0x4206, 1, 0, 0))
probe("read kernel log")(lambda: call(103, 3, b"\0" * 64, 64))
probe("read home disk")(opens("/dev/vdc", os.O_RDONLY))
probe("raise limit of processes")(opens("/sys/fs/cgroup/user/pids.max", os.O_WRONLY))
probe("enter cgroup of agent")(opens("/sys/fs/cgroup/cgroup.procs", os.O_WRONLY))
probe("set clock")(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
probe("raw frames")(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close())
probe("load module")(permitted(lambda: call(175, b"", 0, b"")))
probe("replace kernel")(permitted(lambda: call(246, 0, 0, 0, 0)))
probe("sysrq")(opens("/proc/sysrq-trigger", os.O_WRONLY))
