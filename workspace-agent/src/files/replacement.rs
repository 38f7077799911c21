//! Replacement of a file by a staged one, in one step.
//!
//! A program that reads the file sees the old or the new content, and so does the next boot after a
//! power failure. What another program writes to the file while it is replaced is not lost: the
//! replacement happens under a lease, and it is reverted if something else was exchanged.

use std::{io, os::fd::AsFd as _};

use rustix::{
    fs::{AtFlags, Mode, RenameFlags, Stat},
    io::Errno,
};

use super::{
    entry::etag,
    home_directory::sync_directory,
    lease::{Lease, LeaseKind},
    staging::StagedFile,
    target::{ExistingFile, TargetFile},
};

/// Mode of a new file.
const NEW_FILE_MODE: u32 = 0o644;

/// A replacement that has happened.
pub struct Replaced {
    /// Status of the file that has the target's name now.
    pub stat: Stat,
    /// The file that had the name before.
    pub old: Option<ExistingFile>,
}

/// Gives the staged file the target's name. `existing` is the file that it replaces (`None`: there is
/// none), which must be open. Returns `None`, and changes nothing, if another program has changed the
/// target or is about to.
pub fn replace(
    target: &TargetFile,
    existing: Option<ExistingFile>,
    staged: &mut StagedFile,
) -> io::Result<Option<Replaced>> {
    let mode = existing.as_ref().map_or(NEW_FILE_MODE, |existing| existing.stat.st_mode & 0o7777);
    // The umask may have removed bits of the mode.
    rustix::fs::fchmod(staged.file(), Mode::from_raw_mode(mode))?;
    rustix::fs::fsync(staged.file())?;
    let is_replaced = match &existing {
        None => create(target, staged)?,
        Some(existing) => exchange(target, existing, staged)?,
    };
    if !is_replaced {
        return Ok(None);
    }
    sync_directory(target.directory())?;
    Ok(Some(Replaced { stat: rustix::fs::fstat(staged.file())?, old: existing }))
}

/// Gives the staged file a name that does not exist. Returns false if it exists.
fn create(target: &TargetFile, staged: &mut StagedFile) -> io::Result<bool> {
    let (directory, name) = staged.place().ok_or(Errno::NOSPC)?;
    match rustix::fs::renameat_with(
        directory,
        name,
        target.directory(),
        target.name(),
        RenameFlags::NOREPLACE,
    ) {
        Ok(()) => {
            staged.keep();
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Exchanges the names of the staged and the existing file, which is deleted with the staged name
/// afterwards. Returns false if the existing file has changed or another program begins to write to it.
fn exchange(target: &TargetFile, existing: &ExistingFile, staged: &StagedFile) -> io::Result<bool> {
    let (directory, name) = staged.place().ok_or(Errno::NOSPC)?;
    let file = existing.file.as_ref().ok_or(Errno::ACCESS)?;
    // Without leases, only the comparisons protect what others write.
    let lease = match Lease::take(file.as_fd(), LeaseKind::NoWriters) {
        Ok(None) => return Ok(false),
        Ok(Some(lease)) => Some(lease),
        Err(_) => None,
    };
    let is_intact = || lease.as_ref().is_none_or(Lease::is_intact);
    if target.stat()?.map(|stat| etag(&stat)) != Some(etag(&existing.stat)) || !is_intact() {
        return Ok(false);
    }
    let exchange = || {
        let flags = RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(directory, name, target.directory(), target.name(), flags)
    };
    let taken_out = || rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_ino);
    match exchange() {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false), // deleted
        Err(error) => return Err(error.into()),
    }
    if taken_out()? == existing.stat.st_ino && is_intact() {
        return Ok(true);
    }
    exchange()?;
    if taken_out()? != rustix::fs::fstat(staged.file())?.st_ino {
        // A third file has taken the name since: it is the newest, so it gets it again.
        exchange()?;
    }
    Ok(false)
}
