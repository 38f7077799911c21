//! Writes the members of an archive.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::FileExt as _,
    },
};

use protocol::{
    api::restore::{RestoreOutcome, RestoredEntry},
    files::{EntryKind, HomePath, MAX_NAME_BYTES},
    restore::{FileTime, PERMISSIONS, RECORDS_DIRECTORY, Segment},
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, XattrFlags},
    io::Errno,
};

use crate::{
    archive::{ArchiveReader, ArchivedEntry, Content},
    compare::is_same_inode,
    directory::{file_type, open_directory, open_parent, stat},
    record::{PlacedEntry, Record, RestoreError, delete_record},
};

/// Bytes that are read and written at once.
const BUFFER_BYTES: usize = 128 << 10;
/// Files that are written before they are synced together and take their places.
const MAX_PENDING_FILES: usize = 256;
/// How often a placement is repeated if another process changes the place.
const MAX_PLACE_ATTEMPTS: usize = 8;
/// Mode of a file until it is complete.
const PENDING_MODE: u32 = 0o600;

/// What happens to an existing entry that differs.
#[derive(Clone, Debug)]
pub struct Existing {
    /// Delete a file that is replaced. Directories and links are kept even so.
    pub overwrites_files: bool,
    /// Keep what is replaced next to its old place, with this at the end of its name. `None`: it
    /// stays in the record.
    pub suffix: Option<String>,
}

/// Writes entries beneath a directory, and records what it does.
///
/// ```no_run
/// # use std::os::fd::AsFd as _;
/// # use burrow_restore::{Existing, Writer, archive::ArchiveReader};
/// # fn example(archive: impl std::io::Read) -> Result<(), burrow_restore::RestoreError> {
/// let root = std::fs::File::open("/home/user")?;
/// let existing = Existing { overwrites_files: false, suffix: None };
/// let mut writer = Writer::create(root.as_fd(), "0197a3c2", 10, existing)?;
/// let written = writer.write_archive(&mut ArchiveReader::new(archive))?;
/// writer.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct Writer<'a> {
    root: BorrowedFd<'a>,
    record: Record,
    existing: Existing,
    /// Complete files that are not in their places yet, by the index of their result.
    pending: Vec<(usize, PlacedEntry)>,
    results: Vec<RestoredEntry>,
    buffer: Vec<u8>,
}

/// What became of an entry that was written.
enum Written {
    /// It took its place.
    Placed { is_replacement: bool },
    /// It takes its place with the other pending files.
    Pending(PlacedEntry),
    /// It was the same already.
    Same,
}

impl<'a> Writer<'a> {
    /// Begins a restore with the record `name`, see [`Record::create`].
    pub fn create(
        root: BorrowedFd<'a>,
        name: &str,
        max_records: usize,
        existing: Existing,
    ) -> Result<Self, RestoreError> {
        Ok(Self::new(root, Record::create(root, name, max_records)?, existing))
    }

    /// Continues the restore with the record `name`.
    pub fn open(root: BorrowedFd<'a>, name: &str, existing: Existing) -> Result<Self, RestoreError> {
        Ok(Self::new(root, Record::open(root, name)?, existing))
    }

    fn new(root: BorrowedFd<'a>, record: Record, existing: Existing) -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Self { root, record, existing, pending: Vec::new(), results: Vec::new(), buffer }
    }

    /// Writes all members of an archive, each completely or not at all. The results are in the order
    /// of the members. Fails if the archive ends early; members before that are written.
    pub fn write_archive<R: Read>(
        &mut self,
        archive: &mut ArchiveReader<R>,
    ) -> Result<Vec<RestoredEntry>, RestoreError> {
        self.results.clear();
        let outcome = self.write_members(archive);
        // What is complete takes its place even if the archive ended early.
        let placed = self.place_pending();
        outcome.and(placed)?;
        Ok(std::mem::take(&mut self.results))
    }

    /// Sets permissions and times of the directories that were created, and syncs everything.
    pub fn finish(self) -> Result<(), RestoreError> {
        for placed in self.record.entries()?.iter().rev() {
            if placed.kind != EntryKind::Directory {
                continue;
            }
            let Ok(directory) = open_directory(self.root, &placed.path, OFlags::RDONLY) else { continue };
            if rustix::fs::fstat(&directory).is_ok_and(|stat| stat.st_ino == placed.inode) {
                let time = FileTime { seconds: placed.seconds, nanoseconds: placed.nanoseconds as u32 };
                let _ = rustix::fs::futimens(&directory, &timestamps(time));
                let _ = rustix::fs::fchmod(&directory, Mode::from_raw_mode(placed.mode & PERMISSIONS));
            }
        }
        Ok(self.record.sync()?)
    }

    /// Deletes the record `name`: the restore cannot be undone any more.
    pub fn forget(root: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        delete_record(root, name)
    }

    fn write_members<R: Read>(&mut self, archive: &mut ArchiveReader<R>) -> Result<(), RestoreError> {
        while let Some(entry) = archive.next_entry()? {
            let index = self.results.len();
            self.results.push(RestoredEntry {
                path: entry.name.clone(),
                kind: entry.content.kind(),
                size: entry.content.size(),
                outcome: RestoreOutcome::Failed,
                message: None,
            });
            match self.write_member(&entry, archive) {
                Ok(Written::Placed { is_replacement }) => self.set_outcome(index, is_replacement),
                Ok(Written::Pending(placed)) => self.pending.push((index, placed)),
                Ok(Written::Same) => self.results[index].outcome = RestoreOutcome::Same,
                Err(RestoreError::Io(error)) => {
                    if is_fatal(&error) {
                        return Err(error.into());
                    }
                    self.results[index].message = Some(describe(&error));
                }
                Err(error) => return Err(error),
            }
            if self.pending.len() >= MAX_PENDING_FILES {
                self.place_pending()?;
            }
        }
        Ok(())
    }

    fn write_member<R: Read>(
        &mut self,
        entry: &ArchivedEntry,
        archive: &mut ArchiveReader<R>,
    ) -> Result<Written, RestoreError> {
        let path = member_path(&entry.name)?;
        let (parent, name) = open_parent(self.root, &path)?;
        let existing = stat(parent.as_fd(), name)?;
        match &entry.content {
            Content::Directory => {
                if existing.is_some_and(|stat| file_type(&stat).is_dir()) {
                    return Ok(Written::Same);
                }
                self.write_directory(path, entry)
            }
            Content::Symlink { target } => {
                let present = rustix::fs::readlinkat(&parent, name, Vec::new());
                if present.is_ok_and(|present| present.as_bytes() == target.as_bytes()) {
                    return Ok(Written::Same);
                }
                self.write_symlink(path, entry, target)
            }
            Content::HardLink { target } => {
                // The file that it is another name of may be pending.
                self.place_pending()?;
                self.write_hard_link(path, &member_path(target)?, existing.as_ref())
            }
            Content::File { size, segments } => {
                self.write_file(path, entry, *size, segments, existing.as_ref(), archive)
            }
        }
    }

    fn write_directory(&mut self, path: HomePath, entry: &ArchivedEntry) -> Result<Written, RestoreError> {
        let number = self.record.next_number();
        let name = number.to_string();
        rustix::fs::mkdirat(&self.record.directory, &name, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.record.directory, &name, flags, Mode::empty())?;
        // The owner must be able to write to it until its content is complete.
        rustix::fs::fchmod(&directory, Mode::from_raw_mode((entry.mode & PERMISSIONS) | 0o700))?;
        set_attributes(&directory, &entry.attributes)?;
        let stat = rustix::fs::fstat(&directory)?;
        let placed = PlacedEntry {
            seconds: entry.modified.seconds,
            nanoseconds: i64::from(entry.modified.nanoseconds),
            mode: entry.mode,
            ..self.placed(number, path, EntryKind::Directory, &stat)
        };
        self.record.add(&placed)?;
        Ok(Written::Placed { is_replacement: self.place(&placed)? })
    }

    fn write_symlink(
        &mut self,
        path: HomePath,
        entry: &ArchivedEntry,
        target: &str,
    ) -> Result<Written, RestoreError> {
        let number = self.record.next_number();
        let name = number.to_string();
        rustix::fs::symlinkat(target, &self.record.directory, &name)?;
        let times = timestamps(entry.modified);
        rustix::fs::utimensat(&self.record.directory, &name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        self.place_number(number, path, EntryKind::Symlink)
    }

    fn write_hard_link(
        &mut self,
        path: HomePath,
        target: &HomePath,
        existing: Option<&Stat>,
    ) -> Result<Written, RestoreError> {
        let (target_parent, target_name) = open_parent(self.root, target)?;
        let linked = stat(target_parent.as_fd(), target_name)?.ok_or(Errno::NOENT)?;
        if !file_type(&linked).is_file() {
            return Err(Errno::NOENT.into());
        }
        if existing.is_some_and(|existing| is_same_inode(existing, &linked)) {
            return Ok(Written::Same);
        }
        let number = self.record.next_number();
        let name = number.to_string();
        rustix::fs::linkat(&target_parent, target_name, &self.record.directory, &name, AtFlags::empty())?;
        self.place_number(number, path, EntryKind::File)
    }

    /// Records and places what was written under a number.
    fn place_number(
        &mut self,
        number: u64,
        path: HomePath,
        kind: EntryKind,
    ) -> Result<Written, RestoreError> {
        let stat = self.record.stat(number)?.ok_or(Errno::NOENT)?;
        let placed = self.placed(number, path, kind, &stat);
        self.record.add(&placed)?;
        Ok(Written::Placed { is_replacement: self.place(&placed)? })
    }

    fn write_file<R: Read>(
        &mut self,
        path: HomePath,
        entry: &ArchivedEntry,
        size: u64,
        segments: &[Segment],
        existing: Option<&Stat>,
        archive: &mut ArchiveReader<R>,
    ) -> Result<Written, RestoreError> {
        let number = self.record.next_number();
        let outcome = self.fill_file(number, entry, size, segments, archive).and_then(|file| {
            if existing.is_some_and(|existing| self.is_same_file(&path, existing, &file, entry, size)) {
                return Ok(Written::Same);
            }
            let stat = rustix::fs::fstat(&file)?;
            Ok(Written::Pending(self.placed(number, path, EntryKind::File, &stat)))
        });
        if !matches!(outcome, Ok(Written::Pending(_))) {
            self.record.delete(number)?;
        }
        outcome
    }

    fn fill_file<R: Read>(
        &mut self,
        number: u64,
        entry: &ArchivedEntry,
        size: u64,
        segments: &[Segment],
        archive: &mut ArchiveReader<R>,
    ) -> Result<File, RestoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(PENDING_MODE);
        let file = rustix::fs::openat(&self.record.directory, number.to_string(), flags, mode)?;
        let file = File::from(file);
        for segment in segments {
            let mut offset = segment.offset;
            while offset < segment.end() {
                let length = usize::try_from(segment.end() - offset).unwrap_or(usize::MAX);
                let length = length.min(self.buffer.len());
                let read = archive.read_content(&mut self.buffer[..length])?;
                if read == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                file.write_all_at(&self.buffer[..read], offset)?;
                offset += read as u64;
            }
        }
        // A hole at the end.
        file.set_len(size)?;
        set_attributes(&file, &entry.attributes)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode & PERMISSIONS))?;
        rustix::fs::futimens(&file, &timestamps(entry.modified))?;
        Ok(file)
    }

    /// Whether the existing file has the content, permissions and attributes of the new one. Its
    /// time may differ.
    fn is_same_file(
        &self,
        path: &HomePath,
        existing: &Stat,
        new: &File,
        entry: &ArchivedEntry,
        size: u64,
    ) -> bool {
        if !file_type(existing).is_file()
            || existing.st_size as u64 != size
            || existing.st_nlink != 1
            || existing.st_mode & PERMISSIONS != entry.mode & PERMISSIONS
        {
            return false;
        }
        let opened = open_parent(self.root, path).and_then(|(parent, name)| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(File::from(rustix::fs::openat(&parent, name, flags, Mode::empty())?))
        });
        let Ok(old) = opened else { return false };
        has_attributes(&old, &entry.attributes) && is_same_content(&old, new, size).unwrap_or(false)
    }

    fn placed(&self, number: u64, path: HomePath, kind: EntryKind, stat: &Stat) -> PlacedEntry {
        PlacedEntry {
            number,
            kind,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as i64,
            mode: stat.st_mode & PERMISSIONS,
            overwrites: self.existing.overwrites_files && self.is_regular_file(&path),
            path,
        }
    }

    fn is_regular_file(&self, path: &HomePath) -> bool {
        let existing = open_parent(self.root, path).and_then(|(parent, name)| stat(parent.as_fd(), name));
        existing.is_ok_and(|existing| existing.is_some_and(|stat| file_type(&stat).is_file()))
    }

    /// Syncs the pending files, so that none is incomplete after a power failure, and places them.
    fn place_pending(&mut self) -> Result<(), RestoreError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        pending.iter().try_for_each(|(_, placed)| self.record.add(placed))?;
        self.record.sync()?;
        for (index, placed) in pending {
            match self.place(&placed) {
                Ok(is_replacement) => self.set_outcome(index, is_replacement),
                Err(error) => {
                    self.record.delete(placed.number)?;
                    self.results[index].message = Some(describe(&error));
                }
            }
        }
        Ok(())
    }

    /// Moves an entry to its place. Returns whether it replaced something.
    fn place(&self, placed: &PlacedEntry) -> io::Result<bool> {
        let (parent, name) = open_parent(self.root, &placed.path)?;
        let number = placed.number.to_string();
        let directory = &self.record.directory;
        for _ in 0..MAX_PLACE_ATTEMPTS {
            match rustix::fs::renameat_with(directory, &number, &parent, name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                result => return Ok(result.map(|()| false)?),
            }
            match rustix::fs::renameat_with(directory, &number, &parent, name, RenameFlags::EXCHANGE) {
                // What was there was deleted in between.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    self.keep_replaced(placed, parent.as_fd(), name)?;
                    return Ok(true);
                }
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Decides where the entry that was replaced stays. It has the number of the new one.
    fn keep_replaced(&self, placed: &PlacedEntry, parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let Some(replaced) = self.record.stat(placed.number)? else { return Ok(()) };
        if self.existing.overwrites_files && file_type(&replaced) == FileType::RegularFile {
            return self.record.delete(placed.number);
        }
        let Some(suffix) = &self.existing.suffix else { return Ok(()) };
        let number = placed.number.to_string();
        let kept = kept_name(name, suffix);
        Ok(rustix::fs::renameat_with(&self.record.directory, number, parent, kept, RenameFlags::NOREPLACE)?)
    }

    fn set_outcome(&mut self, index: usize, is_replacement: bool) {
        self.results[index].outcome =
            if is_replacement { RestoreOutcome::Replaced } else { RestoreOutcome::Created };
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        for (_, placed) in &self.pending {
            let _ = self.record.delete(placed.number);
        }
    }
}

/// The path of a member. The directory of the records is not restored.
fn member_path(name: &str) -> Result<HomePath, RestoreError> {
    let path = HomePath::parse(name).ok().filter(|path| path.as_str() == name && !path.is_home());
    let path = path.filter(|path| path.as_str().split('/').next() != Some(RECORDS_DIRECTORY));
    path.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput).into())
}

/// A name with the suffix, cut between characters to what Linux allows.
fn kept_name(name: &str, suffix: &str) -> String {
    let room = MAX_NAME_BYTES.saturating_sub(suffix.len());
    let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{suffix}", &name[..end])
}

fn timestamps(time: FileTime) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds.min(999_999_999)) as _ };
    Timestamps { last_access: time, last_modification: time }
}

fn set_attributes(file: impl std::os::fd::AsFd, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(&file, attribute_name(name), value, XattrFlags::empty()) {
            // The file system has no attributes, or has no room for them: the content counts more.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether the file has these attributes. It may have others.
fn has_attributes(file: &File, attributes: &[(Vec<u8>, Vec<u8>)]) -> bool {
    attributes.iter().all(|(name, value)| {
        let mut present = vec![0; value.len() + 1];
        let length = rustix::fs::fgetxattr(file, attribute_name(name), &mut present[..]);
        length.is_ok_and(|length| present[..length] == value[..])
    })
}

fn attribute_name(name: &[u8]) -> Vec<u8> {
    [b"user.", name].concat()
}

fn is_same_content(one: &File, other: &File, size: u64) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut offset = 0;
    while offset < size {
        let length = usize::try_from(size - offset).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        one.read_exact_at(&mut left[..length], offset)?;
        other.read_exact_at(&mut right[..length], offset)?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        offset += length as u64;
    }
    Ok(true)
}

/// Whether every further entry would fail too.
fn is_fatal(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS))
}

/// The error for the user.
fn describe(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "Its directory, or the file that it is linked to, does not exist.".to_owned(),
        Some(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
            "A part of its path is a symbolic link or a file.".to_owned()
        }
        Some(Errno::ACCESS | Errno::PERM) => "Permission denied.".to_owned(),
        Some(Errno::NAMETOOLONG) => "The name is too long.".to_owned(),
        _ if error.kind() == io::ErrorKind::InvalidInput => "The name is not valid.".to_owned(),
        _ => format!("{error}."),
    }
}
