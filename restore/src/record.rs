//! The record of a restore: a directory with what the restore replaced, and a list of what it
//! placed. An undo reads it.
//!
//! ```text
//! .burrow-restores/<id>/record   one line of JSON for each entry
//! .burrow-restores/<id>/17       what entry 17 replaced
//! ```
//!
//! An entry is written under its number, its line is added to the list, and then it takes its place.
//! Whatever was there has the number from then on.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use protocol::{
    files::{EntryKind, HomePath},
    restore::RECORDS_DIRECTORY,
};
use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    archive::ArchiveError,
    directory::{delete_tree, names, open_directory, stat},
};

/// Name of the list in the directory of a restore.
const LIST: &str = "record";
/// Permissions of the directories: what is replaced may be private.
const DIRECTORY_MODE: u32 = 0o700;
const LIST_MODE: u32 = 0o600;

/// Why a restore cannot continue. An error of one entry is not among them.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no record with this name.
    #[error("there is no record of this restore")]
    NoRecord,
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The kernel refused an operation on the record.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for RestoreError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// One entry that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedEntry {
    /// Its number, and the name of what it replaced.
    pub number: u64,
    pub path: HomePath,
    pub kind: EntryKind,
    /// Identify the entry: an undo leaves it alone if they have changed.
    pub inode: u64,
    pub size: u64,
    pub seconds: i64,
    pub nanoseconds: i64,
    /// Permissions of a directory, set when the restore ends.
    pub mode: u32,
    /// Whether a file that it replaced was deleted.
    pub overwrites: bool,
}

impl PlacedEntry {
    /// Whether this is still the status of the entry. A directory's size and time change with its
    /// content, which does not count.
    pub fn is_unchanged(&self, stat: &Stat) -> bool {
        let is_same = stat.st_ino == self.inode;
        is_same
            && (self.kind == EntryKind::Directory
                || (stat.st_size as u64, stat.st_mtime, stat.st_mtime_nsec as i64)
                    == (self.size, self.seconds, self.nanoseconds))
    }
}

/// The record of one restore.
pub struct Record {
    /// The directory of the restore.
    pub directory: OwnedFd,
    list: File,
    next: u64,
}

impl Record {
    /// Creates the record `name`. Deletes the oldest records, so that at most `max_records` exist.
    /// Names must sort by age.
    pub fn create(root: BorrowedFd<'_>, name: &str, max_records: usize) -> Result<Self, RestoreError> {
        let parent = open_records(root)?;
        let mut existing = names(parent.as_fd())?;
        existing.sort_unstable();
        let excess = (existing.len() + 1).saturating_sub(max_records.max(1));
        for old in existing.iter().take(excess) {
            // One that cannot be deleted must not prevent every restore.
            let _ = delete_tree(parent.as_fd(), old);
        }
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
        Self::open_in(parent.as_fd(), name)
    }

    /// Opens an existing record, to continue its restore.
    pub fn open(root: BorrowedFd<'_>, name: &str) -> Result<Self, RestoreError> {
        let path = HomePath::parse(RECORDS_DIRECTORY).map_err(|_| RestoreError::NoRecord)?;
        let parent = open_directory(root, &path, OFlags::PATH).map_err(|_| RestoreError::NoRecord)?;
        Self::open_in(parent.as_fd(), name)
    }

    fn open_in(parent: BorrowedFd<'_>, name: &str) -> Result<Self, RestoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(RestoreError::NoRecord),
            directory => directory?,
        };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let list = File::from(rustix::fs::openat(&directory, LIST, flags, Mode::from_raw_mode(LIST_MODE))?);
        // Numbers of entries that never took their place are not used again either.
        let highest = names(directory.as_fd())?
            .iter()
            .filter_map(|name| str::from_utf8(name).ok()?.parse().ok())
            .max()
            .unwrap_or(0);
        let mut record = Self { directory, list, next: 0 };
        let listed = record.entries()?.iter().map(|placed| placed.number).max().unwrap_or(0);
        record.next = highest.max(listed) + 1;
        Ok(record)
    }

    /// A number for the next entry.
    pub fn next_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Adds an entry that is about to take its place.
    pub fn add(&mut self, placed: &PlacedEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(placed)?;
        line.push(b'\n');
        self.list.write_all(&line)
    }

    /// All entries, in the order in which they were placed. A last line that is incomplete after a
    /// power failure is left out.
    pub fn entries(&self) -> io::Result<Vec<PlacedEntry>> {
        let list =
            rustix::fs::openat(&self.directory, LIST, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut entries = Vec::new();
        for line in BufReader::new(File::from(list)).split(b'\n') {
            let Ok(placed) = serde_json::from_slice(&line?) else { continue };
            entries.push(placed);
        }
        Ok(entries)
    }

    /// Replaces the list of entries.
    pub fn set_entries(&mut self, entries: &[PlacedEntry]) -> io::Result<()> {
        self.list.set_len(0)?;
        entries.iter().try_for_each(|placed| self.add(placed))
    }

    /// Writes everything that was written so far to the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.directory)?)
    }

    /// The status of what has a number.
    pub fn stat(&self, number: u64) -> io::Result<Option<Stat>> {
        stat(self.directory.as_fd(), &number.to_string())
    }

    /// Deletes what has a number, unless it is a directory.
    pub fn delete(&self, number: u64) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, number.to_string(), AtFlags::empty()) {
            Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// Deletes a record with everything in it, and the directory of the records if it was the last.
pub fn delete_record(root: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    delete_tree(open_records(root)?.as_fd(), name.as_bytes())?;
    match rustix::fs::unlinkat(root, RECORDS_DIRECTORY, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOTEMPTY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens the directory of the records, and creates it if necessary.
fn open_records(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(root, RECORDS_DIRECTORY, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let path = HomePath::parse(RECORDS_DIRECTORY).map_err(io::Error::other)?;
    open_directory(root, &path, OFlags::PATH)
}
