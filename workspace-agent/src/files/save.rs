//! Replacing a file whole: written aside, synced, renamed. A reader sees the old or the new, a power cut leaves one of them.

use std::{io, os::fd::OwnedFd};

use protocol::files::HomePath;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use super::home::{Files, is_file, sync_directory};

/// A new file's permissions before the person's own umask would narrow them.
const NEW_MODE: u32 = 0o644;

/// A file being written aside. Dropped before [`Aside::place`], it leaves nothing behind.
pub struct Aside {
    directory: OwnedFd,
    name: String,
    temporary: String,
    file: Option<std::fs::File>,
    placed: bool,
}

impl Aside {
    /// Begins to replace `path`, which must be as [`Files::real`] gave it: not a link. Keeps the old file's permissions.
    pub fn begin(files: &Files<'_>, path: &HomePath) -> io::Result<Self> {
        let (directory, name) = files.parent(path)?;
        let old = stat(&directory, name)?;
        if old.as_ref().is_some_and(|stat| !is_file(stat)) {
            return Err(rustix::io::Errno::ISDIR.into());
        }
        let mode = old.map_or(NEW_MODE, |stat| stat.st_mode & 0o7777);
        let temporary = format!(".burrow-{}", uuid::Uuid::new_v4().simple());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &temporary, flags, Mode::from_raw_mode(mode))?;
        let file = std::fs::File::from(file);
        let aside = Self { directory, name: name.to_owned(), temporary, file: Some(file), placed: false };
        // The umask has narrowed it.
        rustix::fs::fchmod(aside.file()?, Mode::from_raw_mode(mode))?;
        Ok(aside)
    }

    /// The file to write to, for once.
    pub fn take_file(&mut self) -> io::Result<std::fs::File> {
        self.file.take().ok_or_else(|| io::Error::other("the file was taken already"))
    }

    /// What stands under the name now.
    pub fn current(&self) -> io::Result<Option<Stat>> {
        stat(&self.directory, &self.name)
    }

    /// Puts the written file in its place.
    pub fn place(mut self, file: &std::fs::File) -> io::Result<Stat> {
        rustix::fs::fsync(file)?;
        rustix::fs::renameat(&self.directory, &self.temporary, &self.directory, &self.name)?;
        self.placed = true;
        sync_directory(std::os::fd::AsFd::as_fd(&self.directory))?;
        Ok(rustix::fs::fstat(file)?)
    }

    fn file(&self) -> io::Result<&std::fs::File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the file was taken already"))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            let _ = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
    }
}

fn stat(directory: &OwnedFd, name: &str) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
