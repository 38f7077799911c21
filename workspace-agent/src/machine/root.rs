//! The root: a read-only image under a layer that dies with the machine, and the kernel's own file systems in it.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use protocol::agent::{ROOT_SERIAL, SCRATCH_SERIAL};
use rustix::mount::{MountFlags, mount, mount_move};

use super::{
    IN_ROOT,
    disk::{self, Content},
    tool,
};

const AGENT_CGROUP: &str = "/sys/fs/cgroup/agent";
pub const USER_CGROUP: &str = "/sys/fs/cgroup/user";

/// What programs may not take, so that the agent can still answer: a sixteenth of the memory, 32 MiB at the least.
const RESERVE_SHARE: u64 = 16;
const MIN_RESERVE: u64 = 32 * 1024 * 1024;

/// Making the layer's file system writes a few blocks only; a host under load may still take its time.
const MKFS_TIMEOUT: Duration = Duration::from_mins(1);

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What the initramfs needs to find disks.
pub fn mount_kernel_file_systems() -> anyhow::Result<()> {
    attach("proc", "/proc", "proc", PLAIN, "")?;
    attach("sysfs", "/sys", "sysfs", PLAIN, "")?;
    attach("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755")
}

/// Mounts the image and its layer and makes them the root of this and all later processes.
pub fn enter() -> anyhow::Result<()> {
    let (image, scratch) = (disk::find(ROOT_SERIAL)?, disk::find(SCRATCH_SERIAL)?);
    attach(path(&image)?, "/image", "erofs", MountFlags::RDONLY, "")?;
    // Hosts that can have made it already: there it takes a tenth of the time.
    let content = disk::content(&scratch).context("cannot read the scratch disk")?;
    if !matches!(content, Content::Ext4(_)) {
        make_layer(path(&scratch)?)?;
    }
    attach(path(&scratch)?, "/scratch", "ext4", MountFlags::NOATIME, "")?;
    for directory in ["/scratch/upper", "/scratch/work"] {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {directory}"))?;
    }
    attach(
        "overlay",
        "/root",
        "overlay",
        MountFlags::NOATIME,
        "lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work",
    )?;
    for moved in ["/proc", "/sys", "/dev"] {
        let target = format!("/root{moved}");
        mount_move(moved, target.as_str()).with_context(|| format!("cannot move {moved}"))?;
    }
    std::env::set_current_dir("/root").context("cannot enter the root")?;
    mount_move(".", "/").context("cannot move the root")?;
    std::os::unix::fs::chroot(".").context("cannot enter the root")?;
    std::env::set_current_dir("/").context("cannot enter the root")?;
    attach(
        "devpts",
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        "gid=5,mode=620,ptmxmode=666",
    )?;
    attach("tmpfs", "/dev/shm", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=1777")?;
    attach("tmpfs", "/run", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=0755")?;
    std::fs::create_dir_all("/run/lock").context("cannot make /run/lock")?;
    link_streams()
}

/// The names by which programs reach their own streams; the kernel does not make them.
fn link_streams() -> anyhow::Result<()> {
    let links = [("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")];
    for (target, name) in links {
        match std::os::unix::fs::symlink(target, Path::new("/dev").join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make /dev/{name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The layer is blank in a new machine. Its tool is in the image, which is mounted already.
fn make_layer(scratch: &str) -> anyhow::Result<()> {
    attach("devtmpfs", "/image/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755")?;
    let options =
        ["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-O", "^has_journal", scratch];
    let arguments: Vec<&str> =
        [IN_ROOT, "/image", "/usr/sbin/mkfs.ext4"].into_iter().chain(options).collect();
    tool::run("/proc/self/exe", &arguments, MKFS_TIMEOUT)?.at_most(0)?;
    rustix::mount::unmount("/image/dev", rustix::mount::UnmountFlags::DETACH)
        .context("cannot unmount /image/dev")
}

/// Two groups: programs are limited, the agent is not.
pub fn make_cgroups() -> anyhow::Result<()> {
    attach("cgroup2", "/sys/fs/cgroup", "cgroup2", PLAIN, "")?;
    for group in [AGENT_CGROUP, USER_CGROUP] {
        std::fs::create_dir_all(group).with_context(|| format!("cannot make {group}"))?;
    }
    write(&format!("{AGENT_CGROUP}/cgroup.procs"), "0")?;
    write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids")?;
    let total = memory_bytes()?;
    let most = total - (total / RESERVE_SHARE).max(MIN_RESERVE).min(total / 2);
    write(&format!("{USER_CGROUP}/memory.max"), &most.to_string())?;
    write("/proc/self/oom_score_adj", "-1000")
}

/// Bounds the processes of the person.
pub fn limit_processes(most: u32) -> anyhow::Result<()> {
    write(&format!("{USER_CGROUP}/pids.max"), &most.to_string())
}

fn memory_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.context("/proc/meminfo names no total")? * 1024)
}

/// Mounts, making the mount point if it can be made.
pub fn attach(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> anyhow::Result<()> {
    // On a read-only root the point is there already, or the mount says what is wrong.
    let _ = std::fs::create_dir_all(target);
    let options = std::ffi::CString::new(options)?;
    mount(source, target, kind, flags, options.as_c_str())
        .with_context(|| format!("cannot mount {source} on {target}"))
}

pub fn write(file: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {text} to {file}"))
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a device's name is not UTF-8")
}
