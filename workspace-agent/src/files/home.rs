//! The home directory as the person sees it: every path is resolved beneath it by the kernel, every access is made with the
//! person's own rights.
//!
//! `openat2` with `RESOLVE_BENEATH` refuses what leads out by `..`, by an absolute path or by a symbolic link, whatever is
//! renamed meanwhile. Knows no HTTP.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use protocol::files::HomePath;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};

use crate::person;

/// Deepest tree that is deleted: each level holds an open directory.
const MAX_DEPTH: usize = 256;

#[derive(Clone)]
pub struct Home(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Opened once the home is mounted.
    root: OnceLock<OwnedFd>,
    /// Access files as the person, not as root.
    as_person: bool,
}

impl Home {
    pub fn new(path: PathBuf, as_person: bool) -> Self {
        Self(Arc::new(Inner { path, root: OnceLock::new(), as_person }))
    }

    /// Call once the home is there.
    pub fn open_root(&self) -> io::Result<()> {
        if self.0.root.get().is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(&self.0.path, flags, Mode::empty())?;
            // Another caller may have been first: its descriptor is as good.
            let _ = self.0.root.set(root);
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Bytes used and bytes in all of the file system that holds the home.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        let space = rustix::fs::statvfs(&self.0.path)?;
        let used = space.f_blocks.saturating_sub(space.f_bfree);
        Ok((used * space.f_frsize, space.f_blocks * space.f_frsize))
    }

    /// Runs file work on a thread of its own, with the person's rights.
    pub async fn run<T, E>(
        &self,
        work: impl FnOnce(&Files<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let root = inner.root.get().ok_or_else(|| io::Error::other("the home is not mounted yet"))?;
            let _rights = inner.as_person.then(Rights::of_person);
            work(&Files { root: root.as_fd(), home: &inner.path })
        })
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the file work panicked").into()))
    }
}

/// While it lives, this thread's file accesses are checked as the person's.
struct Rights;

impl Rights {
    fn of_person() -> Self {
        nix::unistd::setfsgid(person::GID.into());
        nix::unistd::setfsuid(person::UID.into());
        Self
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        nix::unistd::setfsuid(0.into());
        nix::unistd::setfsgid(0.into());
    }
}

/// File work beneath the home.
pub struct Files<'a> {
    root: BorrowedFd<'a>,
    home: &'a Path,
}

impl Files<'_> {
    /// Opens what `path` names, following links that stay in the home.
    pub fn open(&self, path: &HomePath, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let text = if path.is_home() { "." } else { path.as_str() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // The kernel answers EAGAIN when a rename raced with the walk: it could not prove that the path stayed beneath.
        for _ in 0..16 {
            match rustix::fs::openat2(self.root, text, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                opened => return Ok(opened?),
            }
        }
        Err(rustix::io::Errno::BUSY.into())
    }

    /// The directory that holds `path`, and the last name.
    pub fn parent<'p>(&self, path: &'p HomePath) -> io::Result<(OwnedFd, &'p str)> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(rustix::io::Errno::BUSY.into()); // the home itself
        };
        Ok((self.open(&parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    /// What `path` names, without following a last link. None: nothing.
    pub fn stat(&self, path: &HomePath) -> io::Result<Option<Stat>> {
        if path.is_home() {
            return Ok(Some(rustix::fs::fstat(self.root)?));
        }
        let (parent, name) = match self.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            parent => parent?,
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            stat => Ok(Some(stat?)),
        }
    }

    /// The path behind all links, so that one file has one name. What does not exist keeps its name in its parent's real path.
    pub fn real(&self, path: &HomePath) -> io::Result<HomePath> {
        match self.open(path, OFlags::PATH, Mode::empty()) {
            Ok(file) => self.name_of(file.as_fd()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = self.parent(path)?;
                let is_link = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
                if is_link {
                    return Err(error); // a link to nothing
                }
                self.name_of(parent.as_fd())?.child(name).map_err(io::Error::other)
            }
            Err(error) => Err(error),
        }
    }

    fn name_of(&self, file: BorrowedFd<'_>) -> io::Result<HomePath> {
        use std::os::fd::AsRawFd as _;
        let target = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let home = std::fs::read_link(format!("/proc/self/fd/{}", self.root.as_raw_fd()))?;
        let relative = target.strip_prefix(&home).or_else(|_| target.strip_prefix(self.home));
        let relative = relative.map_err(|_| io::Error::from(rustix::io::Errno::XDEV))?;
        let text = relative.to_str().ok_or(rustix::io::Errno::ILSEQ)?;
        HomePath::parse(text).map_err(io::Error::other)
    }

    /// Deletes a file, a link, or (with `recursive`) a directory and all in it. No link is followed.
    pub fn delete(&self, path: &HomePath, recursive: bool) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_directory(&stat) {
            return Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?);
        }
        if recursive {
            empty(parent.as_fd(), name.as_ref(), MAX_DEPTH)?;
        }
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }
}

pub fn is_directory(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

pub fn is_file(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}

fn empty(parent: BorrowedFd<'_>, name: &std::ffi::OsStr, depth: usize) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(depth) = depth.checked_sub(1) else {
        return Err(io::Error::other("the tree is too deep to be deleted here; use `rm -r` in a terminal"));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(rustix::io::Errno::ISDIR) => {
                empty(directory.as_fd(), name, depth)?;
                rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Syncs a directory so that a rename in it survives a power cut.
pub fn sync_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    // An O_PATH descriptor cannot be synced: open it anew.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    Ok(rustix::fs::fsync(directory)?)
}
