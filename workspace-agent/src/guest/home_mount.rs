//! Mounting the home: its file system is created or checked, mounted and enlarged, and a new home
//! gets its first files.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use protocol::{agent::HOME_SERIAL, home_disk::DiskContent};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, Uid},
    mount::MountFlags,
};

use super::{block_device, root::mount_file_system, tool};
use crate::user::{GID, UID};

const MKFS_TIMEOUT: Duration = Duration::from_mins(2);
/// After a crash, a check replays the journal. A full check reads all metadata.
const CHECK_TIMEOUT: Duration = Duration::from_mins(10);
const GROW_TIMEOUT: Duration = Duration::from_mins(2);
/// Exit status of `e2fsck` if it has corrected errors.
const E2FSCK_CORRECTED: i32 = 1;

/// Mounts the home on `target` with at least `home_bytes` (0: the whole disk). Creates a file
/// system on a blank disk. Does nothing if the home is mounted.
pub fn mount(target: &Path, home_bytes: u64) -> anyhow::Result<()> {
    if !is_mounted(target)? {
        mount_home(target, home_bytes)?;
    }
    initialize_home(target)
}

/// Enlarges the file system of the mounted home to `home_bytes`.
pub fn grow(home_bytes: u64) -> anyhow::Result<()> {
    let disk = block_device::wait_for_disk(HOME_SERIAL)?;
    let name = disk.to_str().context("a device's name is not UTF-8")?;
    resize_file_system(name, home_bytes)
}

fn resize_file_system(disk: &str, home_bytes: u64) -> anyhow::Result<()> {
    let size = format!("{}K", home_bytes / 1024);
    tool::run("/usr/sbin/resize2fs", &[disk, &size], GROW_TIMEOUT)?.require_status(0)
}

fn mount_home(target: &Path, home_bytes: u64) -> anyhow::Result<()> {
    let disk = block_device::wait_for_disk(HOME_SERIAL)?;
    let name = disk.to_str().context("a device's name is not UTF-8")?;
    block_device::forget_content(&disk).context("cannot read the home's disk")?;
    let disk_bytes = block_device::disk_size(&disk).context("cannot read the home's disk")?;
    let home_bytes = if home_bytes == 0 { disk_bytes } else { home_bytes.min(disk_bytes) };
    let mut must_grow = false;
    match block_device::read_content(&disk).context("cannot read the home's disk")? {
        DiskContent::Blank => create_file_system(name, home_bytes)?,
        DiskContent::Ext4(superblock) => {
            // A file system that was unmounted properly needs no check, which would delay the
            // start.
            if !superblock.is_clean {
                tool::run("/usr/sbin/e2fsck", &["-p", name], CHECK_TIMEOUT)?
                    .require_status(E2FSCK_CORRECTED)?;
            }
            must_grow = superblock.bytes < home_bytes;
        }
        DiskContent::Unknown => {
            bail!("the home's disk contains something other than a home; nothing was changed")
        }
    }
    let mount_point = target.to_str().context("the home's path is not UTF-8")?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::RELATIME;
    mount_file_system(name, mount_point, "ext4", flags, "discard")?;
    // A mounted file system grows without a full check before.
    if must_grow { resize_file_system(name, home_bytes) } else { Ok(()) }
}

fn create_file_system(disk: &str, home_bytes: u64) -> anyhow::Result<()> {
    // No reserved blocks, because no root process needs them. No zeroing, by mkfs or later by the
    // kernel: a blank disk reads as zeros, and writing zeros would only make a new home large in
    // the store.
    let size = format!("{}k", home_bytes / 1024);
    let extended_options = "assume_storage_prezeroed=1,nodiscard";
    let options = ["-q", "-F", "-m", "0", "-L", "home", "-E", extended_options, disk, &size];
    tool::run("/usr/sbin/mkfs.ext4", &options, MKFS_TIMEOUT)?.require_status(0)
}

/// Copies the skeleton into a new home and gives it to its owner. The owner of the home's root is
/// set last: it tells whether the home was initialized.
fn initialize_home(home: &Path) -> anyhow::Result<()> {
    let stat = rustix::fs::stat(home).context("cannot read the home's status")?;
    if stat.st_uid == UID {
        return Ok(());
    }
    // Repairs work without an empty `lost+found`, which would only confuse the owner.
    let _ = std::fs::remove_dir(home.join("lost+found"));
    copy_skeleton(Path::new("/etc/skel"), home).context("cannot copy the skeleton into the home")?;
    // If the guest crashes in its first seconds, empty files must not remain, because no later
    // start would fill them.
    let synced = std::fs::File::open(home).and_then(|home| Ok(rustix::fs::syncfs(home)?));
    synced.context("cannot write the skeleton to the disk")?;
    rustix::fs::chmod(home, Mode::from_raw_mode(0o755)).context("cannot set the home's mode")?;
    set_owner(home).context("cannot set the home's owner")
}

/// Copies regular files and directories. A skeleton contains nothing else.
fn copy_skeleton(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_skeleton(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
        set_owner(&target)?;
    }
    Ok(())
}

fn set_owner(path: &Path) -> std::io::Result<()> {
    let (user, group) = (Some(Uid::from_raw(UID)), Some(Gid::from_raw(GID)));
    Ok(rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn is_mounted(target: &Path) -> anyhow::Result<bool> {
    let Some(parent) = target.parent() else { return Ok(true) };
    let Ok(stat) = rustix::fs::stat(target) else { return Ok(false) };
    Ok(stat.st_dev != rustix::fs::stat(parent).context("cannot read the status of /home")?.st_dev)
}
