//! Access to the home directory with the user's rights.
//!
//! The kernel resolves every path beneath the home: `openat2` with `RESOLVE_BENEATH` refuses `..`,
//! absolute paths and symbolic links that lead out of it, even while another process renames
//! directories. Knows no HTTP.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use protocol::files::HomePath;
use restore::directory::{self, delete_tree, open_beneath};
use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, StatVfs},
    io::Errno,
    process::Gid,
};

use super::{entry::is_directory, staging};
use crate::user;

/// The home directory. Clones share one descriptor.
#[derive(Clone)]
pub struct HomeDirectory(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Set by [`HomeDirectory::open_root`], once the home is mounted.
    root: OnceLock<OwnedFd>,
    /// Whether files are accessed as the user instead of root.
    drops_privileges: bool,
}

/// Space of the file system that holds the home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeSpace {
    /// Used bytes.
    pub used_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
    /// Bytes that a user who is not root can still write.
    pub free_bytes: u64,
    /// Files that can still be created. `None` if the file system sets no limit.
    pub free_inodes: Option<u64>,
}

impl HomeDirectory {
    /// The home at `path`, which need not exist yet. With `drops_privileges`, files are accessed as
    /// the account of [`crate::user`].
    pub fn new(path: PathBuf, drops_privileges: bool) -> Self {
        Self(Arc::new(Inner { path, root: OnceLock::new(), drops_privileges }))
    }

    /// Opens the directory. Call this once the home is mounted; later calls do nothing.
    pub fn open_root(&self) -> io::Result<()> {
        if self.0.root.get().is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(&self.0.path, flags, Mode::empty())?;
            // If another caller was first, its descriptor is as good as this one.
            let _ = self.0.root.set(root);
            if let Ok(files) = self.0.files() {
                let _rights = self.0.drops_privileges.then(UserRights::take);
                let _ = staging::delete_leftovers(&files);
            }
        }
        Ok(())
    }

    /// Absolute path of the home.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Space of the file system that holds the home.
    pub fn space(&self) -> io::Result<HomeSpace> {
        let stat = rustix::fs::statvfs(&self.0.path)?;
        let used_blocks = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(HomeSpace {
            used_bytes: used_blocks * stat.f_frsize,
            total_bytes: stat.f_blocks * stat.f_frsize,
            free_bytes: stat.f_bavail * stat.f_frsize,
            free_inodes: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }

    /// Runs file operations on a blocking thread, with the user's rights.
    pub async fn run<T, E>(
        &self,
        work: impl FnOnce(&HomeFiles<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let files = inner.files()?;
            let _rights = inner.drops_privileges.then(UserRights::take);
            work(&files)
        })
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the file operation panicked").into()))
    }
}

impl Inner {
    fn files(&self) -> io::Result<HomeFiles<'_>> {
        let root = self.root.get().ok_or_else(|| io::Error::other("the home is not mounted yet"))?;
        Ok(HomeFiles { root: root.as_fd(), home: &self.path, drops_privileges: self.drops_privileges })
    }
}

/// While it exists, the kernel checks this thread's file accesses against the user's rights instead
/// of root's.
struct UserRights {
    /// The agent's own groups.
    groups: Vec<Gid>,
}

impl UserRights {
    fn take() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        // Both calls concern this thread alone. They fail only without root's rights.
        let _ = rustix::thread::set_thread_groups(&user::GROUPS.map(Gid::from_raw));
        nix::unistd::setfsgid(user::GID.into());
        nix::unistd::setfsuid(user::UID.into());
        Self { groups }
    }
}

impl Drop for UserRights {
    fn drop(&mut self) {
        nix::unistd::setfsuid(0.into());
        nix::unistd::setfsgid(0.into());
        let _ = rustix::thread::set_thread_groups(&self.groups);
    }
}

/// The home cannot hold one more file, although it may have room for bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the home holds as many files as it can")]
pub struct OutOfInodes;

impl From<OutOfInodes> for io::Error {
    fn from(error: OutOfInodes) -> Self {
        Self::new(io::ErrorKind::StorageFull, error)
    }
}

/// Whether a file system that counts its inodes has no free one.
fn has_no_inodes(stat: &StatVfs) -> bool {
    stat.f_files > 0 && stat.f_favail == 0
}

/// The files of the home, inside [`HomeDirectory::run`].
pub struct HomeFiles<'a> {
    root: BorrowedFd<'a>,
    home: &'a Path,
    drops_privileges: bool,
}

impl HomeFiles<'_> {
    /// The descriptor of the home, for code that resolves paths by itself.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root
    }

    /// User and group that new files belong to.
    pub fn owner(&self) -> (u32, u32) {
        if self.drops_privileges {
            return (user::UID, user::GID);
        }
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    /// Runs `work` with the agent's own rights.
    pub fn as_agent<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.drops_privileges {
            return work();
        }
        nix::unistd::setfsuid(0.into());
        let result = work();
        nix::unistd::setfsuid(user::UID.into());
        result
    }

    /// An error of the kernel, with the reason if the home has no room.
    pub fn explain(&self, error: io::Error) -> io::Error {
        let is_out_of_room = Errno::from_io_error(&error) == Some(Errno::NOSPC);
        let has_no_inodes = || rustix::fs::fstatvfs(self.root).is_ok_and(|stat| has_no_inodes(&stat));
        if is_out_of_room && has_no_inodes() { OutOfInodes.into() } else { error }
    }

    /// Opens `path`. Follows symbolic links that stay in the home.
    pub fn open(&self, path: &HomePath, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        open_beneath(self.root, path, flags, mode, ResolveFlags::empty())
    }

    /// Opens the directory that contains `path`, and returns it with the last name of `path`.
    pub fn open_parent<'p>(&self, path: &'p HomePath) -> io::Result<(OwnedFd, &'p str)> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(Errno::BUSY.into()); // the home itself
        };
        Ok((self.open(&parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    /// Status of `path`, without following a link in its last name. `None` if it does not exist.
    pub fn stat(&self, path: &HomePath) -> io::Result<Option<Stat>> {
        if path.is_home() {
            return Ok(Some(rustix::fs::fstat(self.root)?));
        }
        let (parent, name) = match self.open_parent(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            result => result?,
        };
        directory::stat(parent.as_fd(), name)
    }

    /// Resolves all symbolic links, so that each file has exactly one path. A name that does not
    /// exist is kept in the resolved path of its parent.
    pub fn resolve(&self, path: &HomePath) -> io::Result<HomePath> {
        match self.open(path, OFlags::PATH, Mode::empty()) {
            Ok(file) => self.path_of(file.as_fd()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = self.open_parent(path)?;
                let is_dangling_link = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
                if is_dangling_link {
                    return Err(error);
                }
                self.path_of(parent.as_fd())?.child(name).map_err(io::Error::other)
            }
            Err(error) => Err(error),
        }
    }

    /// The path of an open file, without symbolic links.
    pub fn path_of(&self, file: BorrowedFd<'_>) -> io::Result<HomePath> {
        let target = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let home = std::fs::read_link(format!("/proc/self/fd/{}", self.root.as_raw_fd()))?;
        let relative = target.strip_prefix(&home).or_else(|_| target.strip_prefix(self.home));
        let relative = relative.map_err(|_| io::Error::from(Errno::XDEV))?;
        let text = relative.to_str().ok_or(Errno::ILSEQ)?;
        HomePath::parse(text).map_err(io::Error::other)
    }

    /// Deletes a file, a link, or (with `recursive`) a directory with its content. Follows no link.
    pub fn delete(&self, path: &HomePath, recursive: bool) -> io::Result<()> {
        let (parent, name) = self.open_parent(path)?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_directory(&stat) {
            return Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?);
        }
        if recursive {
            return delete_tree(parent.as_fd(), name.as_bytes());
        }
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }
}

/// Syncs a directory, so that a rename in it survives a power failure.
pub fn sync_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    // An O_PATH descriptor cannot be synced, so the directory is opened a second time.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    Ok(rustix::fs::fsync(directory)?)
}
