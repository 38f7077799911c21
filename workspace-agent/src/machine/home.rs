//! The home: a file system on a volume of its own, checked, grown and mounted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use protocol::agent::HOME_SERIAL;
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, Uid},
    mount::MountFlags,
};

use super::{
    disk::{self, Content},
    root::attach,
    tool,
};
use crate::person::{GID, UID};

const MKFS_TIMEOUT: Duration = Duration::from_mins(2);
/// A check after a crash replays the journal; a full one reads all metadata.
const CHECK_TIMEOUT: Duration = Duration::from_mins(10);
const GROW_TIMEOUT: Duration = Duration::from_mins(2);
/// `e2fsck`: 1 is "errors were corrected".
const CORRECTED: i32 = 1;

/// Mounts the home on `target` with at least so many bytes; makes its file system if the disk is blank. A home that is mounted
/// stays so.
pub fn mount(target: &Path, home_bytes: u64) -> anyhow::Result<()> {
    if !is_mounted(target)? {
        attach_home(target, home_bytes)?;
    }
    furnish(target)
}

/// Lets the mounted home's file system fill so many bytes of its disk.
pub fn grow(home_bytes: u64) -> anyhow::Result<()> {
    let disk = disk::find(HOME_SERIAL)?;
    let name = disk.to_str().context("a device's name is not UTF-8")?;
    resize(name, home_bytes)
}

fn resize(disk: &str, home_bytes: u64) -> anyhow::Result<()> {
    tool::run("/usr/sbin/resize2fs", &[disk, &in_kib(home_bytes, "K")], GROW_TIMEOUT)?.at_most(0)
}

/// A size as e2fsprogs read it.
fn in_kib(bytes: u64, unit: &str) -> String {
    format!("{}{unit}", bytes / 1024)
}

fn attach_home(target: &Path, home_bytes: u64) -> anyhow::Result<()> {
    let disk = disk::find(HOME_SERIAL)?;
    let name = disk.to_str().context("a device's name is not UTF-8")?;
    let disk_bytes = disk::size(&disk).context("cannot read the home's disk")?;
    let home_bytes = if home_bytes == 0 { disk_bytes } else { home_bytes.min(disk_bytes) };
    let mut grows = false;
    match disk::content(&disk).context("cannot read the home's disk")? {
        Content::Blank => make(name, home_bytes)?,
        Content::Ext4(said) => {
            // What was put away in order needs no check, which would keep the person waiting.
            if !said.clean {
                tool::run("/usr/sbin/e2fsck", &["-p", name], CHECK_TIMEOUT)?.at_most(CORRECTED)?;
            }
            grows = said.bytes < home_bytes;
        }
        Content::Unknown => bail!("the home's disk holds something that is no home; nothing was changed"),
    }
    let point = target.to_str().context("the home's path is not UTF-8")?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::RELATIME;
    attach(name, point, "ext4", flags, "discard")?;
    // Mounted it grows without a full check.
    if grows { resize(name, home_bytes) } else { Ok(()) }
}

fn make(disk: &str, home_bytes: u64) -> anyhow::Result<()> {
    // No reserved blocks: there is no root to keep them for. A blank disk reads as zeros: writing zeros over them, now or by the
    // kernel in the background, would only make a new home large.
    let size = in_kib(home_bytes, "k");
    let zeros = "assume_storage_prezeroed=1,nodiscard";
    let options = ["-q", "-F", "-m", "0", "-L", "home", "-E", zeros, disk, &size];
    tool::run("/usr/sbin/mkfs.ext4", &options, MKFS_TIMEOUT)?.at_most(0)
}

/// Gives a new home its owner and the skeleton. The owner of its root tells whether it was done: that is set last.
fn furnish(home: &Path) -> anyhow::Result<()> {
    let stat = rustix::fs::stat(home).context("cannot look at the home")?;
    if stat.st_uid == UID {
        return Ok(());
    }
    // Repairs find their own way: an empty `lost+found` only puzzles the owner.
    let _ = std::fs::remove_dir(home.join("lost+found"));
    copy(Path::new("/etc/skel"), home).context("cannot copy the skeleton into the home")?;
    // A machine that breaks in its first seconds must not leave empty files that nobody fills again.
    let synced = std::fs::File::open(home).and_then(|home| Ok(rustix::fs::syncfs(home)?));
    synced.context("cannot put the skeleton on the disk")?;
    rustix::fs::chmod(home, Mode::from_raw_mode(0o755)).context("cannot open the home to its owner")?;
    give(home).context("cannot give the home to its owner")
}

/// Copies plain files and directories: a skeleton has nothing else.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
        give(&target)?;
    }
    Ok(())
}

fn give(path: &Path) -> std::io::Result<()> {
    let (user, group) = (Some(Uid::from_raw(UID)), Some(Gid::from_raw(GID)));
    Ok(rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn is_mounted(target: &Path) -> anyhow::Result<bool> {
    let Some(parent) = target.parent() else { return Ok(true) };
    let Ok(stat) = rustix::fs::stat(target) else { return Ok(false) };
    Ok(stat.st_dev != rustix::fs::stat(parent).context("cannot look at /home")?.st_dev)
}
