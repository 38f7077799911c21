//! The root file system: a read-only image below a writable layer that is deleted with the sandbox,
//! with the kernel's own file systems mounted in it.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use protocol::{
    agent::{ROOT_SERIAL, SCRATCH_SERIAL},
    home_disk::DiskContent,
};
use rustix::mount::{MountFlags, mount, mount_move};

use super::{IN_ROOT, block_device, cgroups, tool};

/// Creating the layer's file system writes only a few blocks, but a busy host may be slow.
const MKFS_TIMEOUT: Duration = Duration::from_mins(1);

/// Flags for file systems that contain neither programs nor devices.
const DATA_ONLY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts what the initramfs needs to find disks.
pub fn mount_kernel_file_systems() -> anyhow::Result<()> {
    mount_file_system("proc", "/proc", "proc", DATA_ONLY, "")?;
    mount_file_system("sysfs", "/sys", "sysfs", DATA_ONLY, "")?;
    mount_file_system("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755")
}

/// Mounts the image and the layer, and makes them the root of this process and its children.
pub fn enter() -> anyhow::Result<()> {
    let image = block_device::wait_for_disk(ROOT_SERIAL)?;
    let scratch = block_device::wait_for_disk(SCRATCH_SERIAL)?;
    mount_file_system(path_text(&image)?, "/image", "erofs", MountFlags::RDONLY, "")?;
    // Some hosts create the layer's file system themselves, which takes a tenth of the time.
    let content = block_device::read_content(&scratch).context("cannot read the scratch disk")?;
    if !matches!(content, DiskContent::Ext4(_)) {
        create_layer(path_text(&scratch)?)?;
    }
    mount_file_system(path_text(&scratch)?, "/scratch", "ext4", MountFlags::NOATIME, "")?;
    for directory in ["/scratch/upper", "/scratch/work"] {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot create {directory}"))?;
    }
    mount_file_system(
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
    mount_file_system(
        "devpts",
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        "gid=5,mode=620,ptmxmode=666",
    )?;
    mount_file_system(
        "tmpfs",
        "/dev/shm",
        "tmpfs",
        MountFlags::NOSUID.union(MountFlags::NODEV),
        "mode=1777",
    )?;
    mount_file_system("tmpfs", "/run", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=0755")?;
    std::fs::create_dir_all("/run/lock").context("cannot create /run/lock")?;
    create_stream_links()
}

/// Creates the names by which programs open their own streams. The kernel does not create them.
fn create_stream_links() -> anyhow::Result<()> {
    let links = [("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")];
    for (target, name) in links {
        match std::os::unix::fs::symlink(target, Path::new("/dev").join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create /dev/{name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Creates the layer's file system, with the tool from the mounted image.
fn create_layer(scratch: &str) -> anyhow::Result<()> {
    mount_file_system("devtmpfs", "/image/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755")?;
    let options =
        ["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-O", "^has_journal", scratch];
    let arguments: Vec<&str> =
        [IN_ROOT, "/image", "/usr/sbin/mkfs.ext4"].into_iter().chain(options).collect();
    tool::run("/proc/self/exe", &arguments, MKFS_TIMEOUT)?.require_status(0)?;
    rustix::mount::unmount("/image/dev", rustix::mount::UnmountFlags::DETACH)
        .context("cannot unmount /image/dev")
}

/// Mounts the kernel's cgroups.
pub fn mount_cgroups() -> anyhow::Result<()> {
    mount_file_system("cgroup2", cgroups::ROOT, "cgroup2", DATA_ONLY, "")
}

/// Mounts a file system. Creates the mount point if possible.
pub fn mount_file_system(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> anyhow::Result<()> {
    // On a read-only root the mount point exists already. If not, the mount reports the error.
    let _ = std::fs::create_dir_all(target);
    let options = std::ffi::CString::new(options)?;
    mount(source, target, kind, flags, options.as_c_str())
        .with_context(|| format!("cannot mount {source} on {target}"))
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a device's name is not UTF-8")
}
