//! Finds out which entries of a snapshot differ from a directory. Changes nothing.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use protocol::{
    files::EntryKind,
    restore::{
        CompareReply, CompareRequest, ComparedDirectory, Comparison, PERMISSIONS, RECORDS_DIRECTORY,
        SourceEntry,
    },
};
use rustix::{
    fs::{FileType, OFlags, Stat},
    io::Errno,
};

use crate::directory::{file_type, names, open_directory, open_parent, stat};

/// Compares entries with what is beneath `root`. Contents are not read: two files are the same if
/// they have the same size, time and permissions.
pub fn compare(root: BorrowedFd<'_>, request: &CompareRequest) -> io::Result<CompareReply> {
    let mut reply = CompareReply::default();
    for directory in &request.directories {
        compare_directory(root, directory, &mut reply)?;
    }
    Ok(reply)
}

fn compare_directory(
    root: BorrowedFd<'_>,
    directory: &ComparedDirectory,
    reply: &mut CompareReply,
) -> io::Result<()> {
    let opened = match open_directory(root, &directory.path, OFlags::PATH) {
        Ok(opened) => opened,
        Err(error) => match Errno::from_io_error(&error) {
            // It does not exist, or something else will be replaced by it.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {
                reply.comparisons.extend(directory.entries.iter().map(|_| Comparison::Missing));
                return Ok(());
            }
            _ => return Err(error),
        },
    };
    let mut found = 0;
    for entry in &directory.entries {
        let name = entry.path.name().unwrap_or_default();
        let existing = if name.is_empty() { None } else { stat(opened.as_fd(), name)? };
        found += usize::from(existing.is_some());
        let comparison = match existing {
            None => Comparison::Missing,
            Some(existing) => compare_entry(root, opened.as_fd(), entry, &existing),
        };
        reply.comparisons.push(comparison);
    }
    if directory.is_complete {
        let mut present = names(opened.as_fd())?;
        if directory.path.is_home() {
            present.retain(|name| name != RECORDS_DIRECTORY.as_bytes());
        }
        reply.newer += present.len().saturating_sub(found) as u64;
    }
    Ok(())
}

fn compare_entry(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    entry: &SourceEntry,
    existing: &Stat,
) -> Comparison {
    let is_same = match (entry.kind, file_type(existing)) {
        (EntryKind::Directory, FileType::Directory) => return Comparison::Merged,
        (EntryKind::Symlink, FileType::Symlink) => {
            let name = entry.path.name().unwrap_or_default();
            let target = rustix::fs::readlinkat(parent, name, Vec::new()).ok();
            target.is_some_and(|target| Some(target.to_string_lossy().as_ref()) == entry.target.as_deref())
        }
        (EntryKind::File, FileType::RegularFile) => {
            is_same_file(entry, existing)
                && entry.hard_link.as_ref().is_none_or(|first| {
                    let first =
                        open_parent(root, first).and_then(|(parent, name)| stat(parent.as_fd(), name));
                    first.is_ok_and(|first| first.is_some_and(|first| is_same_inode(&first, existing)))
                })
        }
        _ => false,
    };
    if is_same { Comparison::Same } else { Comparison::Different }
}

fn is_same_file(entry: &SourceEntry, existing: &Stat) -> bool {
    existing.st_size as u64 == entry.size
        && existing.st_mtime == entry.modified.seconds
        && existing.st_mtime_nsec as u32 == entry.modified.nanoseconds
        && existing.st_mode & PERMISSIONS == entry.mode & PERMISSIONS
}

/// Whether both are names of one file.
pub fn is_same_inode(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
