//! How processes of ours give up what they do not need: root, capabilities, inherited descriptors and the
//! sight of the host's files. Each role decides which of these it takes, and in which order.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// Where a root is built, in a mount namespace of its own. Every host has this directory.
const PLACE: &str = "/tmp";
/// Bytes and files of a root itself, which holds only mount points.
const ROOT_OPTIONS: &std::ffi::CStr = c"mode=755,size=64k,nr_inodes=128";
const ROOT_FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Closes what the process has inherited beside its standard streams and these descriptors. Call it before
/// the process opens anything itself.
pub fn close_foreign_descriptors(wanted: &[RawFd]) -> io::Result<()> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let mut first = 3;
    for descriptor in sorted.into_iter().chain([RawFd::MAX]) {
        close_range(first, descriptor - 1)?;
        first = descriptor.saturating_add(1);
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: nothing in this process owns these descriptors: it has just started, and uses only its standard
    // streams and those that its parent has named.
    #[allow(unsafe_code)]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the calling thread a user and group without capabilities, that can gain none by executing a program
/// of root's either. `group` is its only other group. Allocates nothing.
///
/// The order matters: changing groups and the bounding set needs privileges that changing the user drops.
pub fn become_user(user: u32, group: Option<u32>) -> io::Result<()> {
    let (user, own_group) = (Uid::from_raw(user), Gid::from_raw(user));
    for capability in CapabilitySet::all() {
        // A kernel that does not know a capability cannot give it either.
        let _ = remove_capability_from_bounding_set(capability);
    }
    clear_ambient_capability_set()?;
    match group {
        Some(group) => set_thread_groups(&[Gid::from_raw(group)])?,
        None => set_thread_groups(&[])?,
    }
    set_thread_res_gid(own_group, own_group, own_group)?;
    set_thread_res_uid(user, user, user)?;
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

/// Whether the host forbids root to create namespaces: in this root directory, or to everybody.
pub fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::StorageFull
    )
}

/// A root directory that shows only listed files and directories of the host. It does not exist until a
/// thread enters it.
///
/// ```no_run
/// # use burrow_daemon::isolation::{READ_ONLY, RootDirectory};
/// let mut root = RootDirectory::default();
/// root.show("/var/lib/burrow/run".as_ref(), READ_ONLY);
/// // In a new mount namespace:
/// root.enter()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct RootDirectory {
    entries: Vec<Entry>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// A file or directory of the host that a root contains.
#[derive(Debug)]
struct Entry {
    /// Absolute path on the host.
    source: PathBuf,
    /// Absolute path in the root.
    path: PathBuf,
    flags: MountFlags,
}

/// For what is only read, and programs.
pub const READ_ONLY: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV);
/// For directories of data and sockets.
pub const WRITABLE: MountFlags = ROOT_FLAGS;

impl RootDirectory {
    /// Shows a file or directory of the host under the same path.
    pub fn show(&mut self, path: &Path, flags: MountFlags) {
        self.show_as(path, path, flags);
    }

    /// Shows a file or directory of the host under another path.
    pub fn show_as(&mut self, source: &Path, path: &Path, flags: MountFlags) {
        self.entries.push(Entry { source: source.to_owned(), path: path.to_owned(), flags });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &Path, target: &Path) {
        self.links.push((path.to_owned(), target.to_owned()));
    }

    /// Makes this the root and working directory of the calling thread, which must have just moved to a
    /// mount namespace of its own. Nothing can be created in it beside what is shown.
    pub fn enter(&self) -> io::Result<()> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)?;
        // Others may look for what is shown.
        let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
        let built = self.build();
        rustix::process::umask(mask);
        built?;
        std::env::set_current_dir(PLACE)?;
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        std::env::set_current_dir("/")?;
        Ok(rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | ROOT_FLAGS, c"")?)
    }

    fn build(&self) -> io::Result<()> {
        let sources: Vec<OwnedFd> = self.entries.iter().map(Entry::open).collect::<io::Result<_>>()?;
        rustix::mount::mount("none", PLACE, "tmpfs", ROOT_FLAGS, ROOT_OPTIONS)?;
        for (entry, source) in self.entries.iter().zip(&sources) {
            entry.place(source).map_err(|error| named(&entry.source, &error))?;
        }
        for (link, target) in &self.links {
            std::os::unix::fs::symlink(target, in_place(link)).map_err(|error| named(link, &error))?;
        }
        Ok(())
    }
}

impl Entry {
    /// Opens the source, which the place may hide later. A mount can only be made of what was opened in the
    /// same namespace.
    fn open(&self) -> io::Result<OwnedFd> {
        let opened = rustix::fs::open(&self.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(|errno| named(&self.source, &errno.into()))
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

/// Keeps the kind of the error.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn in_place(path: &Path) -> PathBuf {
    Path::new(PLACE).join(path.strip_prefix("/").unwrap_or(path))
}
