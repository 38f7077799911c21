//! Access to the files beneath one directory, whose owner may be hostile: the kernel resolves every
//! path, and nothing outside of the directory is reached.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use protocol::files::HomePath;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

/// How often `openat2` is repeated if a rename races with the resolution.
const MAX_OPEN_ATTEMPTS: usize = 16;
/// Deepest directory tree that can be deleted. Each level holds an open directory.
const MAX_DEPTH: usize = 256;

/// Opens `path` beneath `root`. Refuses `..`, absolute paths and links that lead out of it. `resolve`
/// adds to that, such as [`ResolveFlags::NO_SYMLINKS`].
pub fn open_beneath(
    root: BorrowedFd<'_>,
    path: &HomePath,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let text = if path.is_home() { "." } else { path.as_str() };
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN means that a rename raced with the resolution, so the kernel could not prove that the
    // path stayed beneath the root.
    for _ in 0..MAX_OPEN_ATTEMPTS {
        match rustix::fs::openat2(root, text, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
    Err(Errno::BUSY.into())
}

/// Opens the directory at `path` beneath `root`. Follows no symbolic link, not even one that stays
/// beneath it.
pub fn open_directory(root: BorrowedFd<'_>, path: &HomePath, flags: OFlags) -> io::Result<OwnedFd> {
    open_beneath(root, path, flags | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

/// Opens the directory that contains `path`, and returns it with the last name of `path`. Follows no
/// symbolic link.
pub fn open_parent<'p>(root: BorrowedFd<'_>, path: &'p HomePath) -> io::Result<(OwnedFd, &'p str)> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Err(Errno::BUSY.into()) };
    Ok((open_directory(root, &parent, OFlags::PATH)?, name))
}

/// The status of a name in a directory. `None` if it does not exist.
pub fn stat(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The type of a file with this status.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The names in a directory, without `.` and `..`.
pub fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let readable = rustix::fs::openat(
        directory,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&readable)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    Ok(names)
}

/// Deletes a file, or a directory with everything in it. Follows no link. Does nothing if there is
/// nothing with this name.
pub fn delete_tree(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    delete_below(parent, OsStr::from_bytes(name), MAX_DEPTH)
}

fn delete_below(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(io::Error::other(format!(
            "Cannot delete the directory: it is nested deeper than {MAX_DEPTH} levels. \
             Use `rm -r` in a terminal"
        )));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            delete_below(directory.as_fd(), OsStr::from_bytes(name), depth)?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}
