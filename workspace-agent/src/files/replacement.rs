//! Atomic replacement of a file: the new content goes to a temporary file, which is synced and then
//! renamed.
//!
//! A program that reads the file sees the old or the new content, and so does the next boot after a
//! power failure.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use protocol::files::HomePath;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use super::{
    entry::is_file,
    home_directory::{HomeFiles, sync_directory},
};

/// Mode of a new file.
const NEW_FILE_MODE: u32 = 0o644;

/// A file that is being replaced. Dropped before [`FileReplacement::commit`], it deletes its
/// temporary file.
pub struct FileReplacement {
    directory: OwnedFd,
    name: String,
    temporary_name: String,
    is_committed: bool,
}

impl FileReplacement {
    /// Begins to replace `path` and returns the temporary file to write to. `path` must come from
    /// [`HomeFiles::resolve`]: it must not be a link. The new file gets the old file's mode.
    pub fn begin(files: &HomeFiles<'_>, path: &HomePath) -> io::Result<(Self, std::fs::File)> {
        let (directory, name) = files.open_parent(path)?;
        let old = stat(&directory, name)?;
        if old.as_ref().is_some_and(|stat| !is_file(stat)) {
            return Err(rustix::io::Errno::ISDIR.into());
        }
        let mode = Mode::from_raw_mode(old.map_or(NEW_FILE_MODE, |stat| stat.st_mode & 0o7777));
        let temporary_name = format!(".burrow-{}", uuid::Uuid::new_v4().simple());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &temporary_name, flags, mode)?;
        let replacement = Self { directory, name: name.to_owned(), temporary_name, is_committed: false };
        // The umask may have removed bits of the mode.
        rustix::fs::fchmod(&file, mode)?;
        Ok((replacement, std::fs::File::from(file)))
    }

    /// Status of the file that is being replaced. `None` if it does not exist.
    pub fn current(&self) -> io::Result<Option<Stat>> {
        stat(&self.directory, &self.name)
    }

    /// Replaces the old file by `file`, the temporary file that [`Self::begin`] returned.
    pub fn commit(mut self, file: &std::fs::File) -> io::Result<Stat> {
        rustix::fs::fsync(file)?;
        rustix::fs::renameat(&self.directory, &self.temporary_name, &self.directory, &self.name)?;
        self.is_committed = true;
        sync_directory(self.directory.as_fd())?;
        Ok(rustix::fs::fstat(file)?)
    }
}

impl Drop for FileReplacement {
    fn drop(&mut self) {
        if !self.is_committed {
            let _ = rustix::fs::unlinkat(&self.directory, &self.temporary_name, AtFlags::empty());
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
