//! What the VMM sees of the host's file systems: its program, its libraries and firmware, the files
//! that it was given, and nothing else, all of it read-only. There is no `/proc`, `/dev` or `/etc`.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sched::CloneFlags;
use rustix::{
    fs::{FileType, Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
};

use super::JailError;

/// Where the root is built, in a mount namespace of its own. Every host has this directory, and
/// nothing below it changes.
const PLACE: &str = "/tmp";

/// Directories of libraries. The first of each group that exists is used: a distribution with one
/// directory for each architecture keeps other programs' files in the common one.
const LIBRARY_DIRECTORIES: [&[&str]; 2] =
    [&["/usr/lib/x86_64-linux-gnu", "/usr/lib"], &["/usr/lib64", "/lib64"]];
/// Names of the directories of libraries in older paths, such as the one of the dynamic linker.
const LIBRARY_LINKS: [&str; 2] = ["/lib", "/lib64"];
/// Directories of firmware. Those that do not exist are left out.
const FIRMWARE_DIRECTORIES: [&str; 3] = ["/usr/share/qemu", "/usr/share/seabios", "/usr/share/qboot"];

/// Bytes and files of the root itself, which holds only mount points.
const ROOT_OPTIONS: &std::ffi::CStr = c"mode=755,size=64k,nr_inodes=128";

const READ_ONLY: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV);
/// A device that may be opened for writing, although nothing can be created beside it.
const DEVICE: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// A root directory that does not exist yet.
pub struct JailRoot {
    entries: Vec<Entry>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// A file or directory of the host that the root contains.
struct Entry {
    /// Absolute path on the host.
    source: PathBuf,
    /// Absolute path in the root.
    path: PathBuf,
    flags: MountFlags,
}

impl JailRoot {
    /// A root with `program`, its libraries and its firmware.
    pub fn new(program: &Path) -> Self {
        let mut root = Self { entries: Vec::new(), links: Vec::new() };
        root.add(program, READ_ONLY);
        for candidates in LIBRARY_DIRECTORIES {
            if let Some(directory) = candidates.iter().find(|directory| is_directory(directory)) {
                root.add(Path::new(directory), READ_ONLY);
            }
        }
        for link in LIBRARY_LINKS {
            match fs::read_link(link) {
                Ok(target) => root.links.push((link.into(), target)),
                Err(_) if is_directory(link) => root.add(Path::new(link), READ_ONLY),
                Err(_) => {}
            }
        }
        for directory in FIRMWARE_DIRECTORIES.iter().filter(|directory| is_directory(directory)) {
            root.add(Path::new(directory), READ_ONLY);
        }
        root
    }

    /// Adds the host's file `source` under `path`.
    pub fn add_file(&mut self, source: PathBuf, path: PathBuf) {
        self.entries.push(Entry { source, path, flags: READ_ONLY });
    }

    /// Adds a device of the host under the same path.
    pub fn add_device(&mut self, path: &Path) {
        self.add(path, DEVICE);
    }

    fn add(&mut self, path: &Path, flags: MountFlags) {
        self.entries.push(Entry { source: path.to_owned(), path: path.to_owned(), flags });
    }

    /// Moves the calling thread into namespaces of its own, with this root. Programs that it starts
    /// also have a process namespace of their own. Other threads do not change.
    pub fn enter(&self) -> Result<(), JailError> {
        nix::sched::unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWPID,
        )
        .map_err(|error| JailError::new("create the VMM's namespaces", error))?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)
            .map_err(|error| JailError::new("separate the VMM's mounts", error))?;
        let cannot_show = |entry: &Entry, error| {
            JailError::new(format!("show {} to the VMM", entry.source.display()), error)
        };
        let open = |entry| Entry::open(entry).map_err(|error| cannot_show(entry, error));
        let sources: Vec<OwnedFd> = self.entries.iter().map(open).collect::<Result<_, _>>()?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("none", PLACE, "tmpfs", flags, ROOT_OPTIONS)
            .map_err(|error| JailError::new("mount the VMM's root directory", error))?;
        for (entry, source) in self.entries.iter().zip(&sources) {
            entry.place(source).map_err(|error| cannot_show(entry, error))?;
        }
        for (link, target) in &self.links {
            std::os::unix::fs::symlink(target, in_place(link))
                .map_err(|error| JailError::new(format!("link {} for the VMM", link.display()), error))?;
        }
        change_root(flags).map_err(|error| JailError::new("enter the VMM's root directory", error))
    }
}

impl Entry {
    /// Opens the source, which the place may hide later. A mount can only be made of what was opened
    /// in the same namespace.
    fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn place(&self, source: &OwnedFd) -> io::Result<()> {
        let target = in_place(&self.path);
        if FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode) == FileType::Directory {
            fs::create_dir_all(&target)?;
        } else {
            target.parent().map_or(Ok(()), fs::create_dir_all)?;
            File::create_new(&target)?;
        }
        let source = format!("/proc/self/fd/{}", source.as_raw_fd());
        rustix::mount::mount_bind(source, &target)?;
        Ok(rustix::mount::mount_remount(&target, MountFlags::BIND | self.flags, c"")?)
    }
}

/// Makes the place the root directory of this thread's mount namespace, and detaches the host's.
fn change_root(flags: MountFlags) -> io::Result<()> {
    std::env::set_current_dir(PLACE)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    Ok(rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | flags, c"")?)
}

fn in_place(path: &Path) -> PathBuf {
    Path::new(PLACE).join(path.strip_prefix("/").unwrap_or(path))
}

fn is_directory(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}
