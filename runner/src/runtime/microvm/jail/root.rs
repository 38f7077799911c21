//! What the VMM sees of the host's file systems: its program, its libraries and firmware, the files
//! that it was given, and nothing else, all of it read-only. There is no `/proc`, `/dev` or `/etc`.

use std::{fs, path::Path};

use daemon::isolation::{READ_ONLY, RootDirectory};
use nix::sched::CloneFlags;
use rustix::mount::MountFlags;

use super::JailError;

/// Directories of libraries. The first of each group that exists is used: a distribution with one
/// directory for each architecture keeps other programs' files in the common one.
const LIBRARY_DIRECTORIES: [&[&str]; 2] =
    [&["/usr/lib/x86_64-linux-gnu", "/usr/lib"], &["/usr/lib64", "/lib64"]];
/// Names of the directories of libraries in older paths, such as the one of the dynamic linker.
const LIBRARY_LINKS: [&str; 2] = ["/lib", "/lib64"];
/// Directories of firmware. Those that do not exist are left out.
const FIRMWARE_DIRECTORIES: [&str; 3] = ["/usr/share/qemu", "/usr/share/seabios", "/usr/share/qboot"];

/// A device that may be opened for writing, although nothing can be created beside it.
const DEVICE: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// A root directory that does not exist yet.
pub struct JailRoot(RootDirectory);

impl JailRoot {
    /// A root with `program`, its libraries and its firmware.
    pub fn new(program: &Path) -> Self {
        let mut root = RootDirectory::default();
        root.show(program, READ_ONLY);
        for candidates in LIBRARY_DIRECTORIES {
            if let Some(directory) = candidates.iter().find(|directory| is_directory(directory)) {
                root.show(Path::new(directory), READ_ONLY);
            }
        }
        for link in LIBRARY_LINKS {
            match fs::read_link(link) {
                Ok(target) => root.link(Path::new(link), &target),
                Err(_) if is_directory(link) => root.show(Path::new(link), READ_ONLY),
                Err(_) => {}
            }
        }
        for directory in FIRMWARE_DIRECTORIES.iter().filter(|directory| is_directory(directory)) {
            root.show(Path::new(directory), READ_ONLY);
        }
        Self(root)
    }

    /// Adds the host's file `source` under `path`.
    pub fn add_file(&mut self, source: &Path, path: &Path) {
        self.0.show_as(source, path, READ_ONLY);
    }

    /// Adds a device of the host under the same path.
    pub fn add_device(&mut self, path: &Path) {
        self.0.show(path, DEVICE);
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
        self.0.enter().map_err(|error| JailError::new("build the VMM's root directory", error))
    }
}

fn is_directory(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}
