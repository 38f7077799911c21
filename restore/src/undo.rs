//! Undoes a restore: what it placed and what it replaced change places again.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use protocol::{
    api::restore::{KeptPath, MAX_KEPT_PATHS, UndoneRestore},
    files::EntryKind,
};
use rustix::{
    fs::{AtFlags, RenameFlags},
    io::Errno,
};

use crate::{
    directory::{open_parent, stat},
    record::{PlacedEntry, Record, RestoreError, delete_record},
};

const CHANGED: &str = "It was changed after the restore.";
const NOT_EMPTY: &str = "The folder is not empty.";
const OVERWRITTEN: &str = "The file before it was overwritten.";

/// Undoes the restore with the record `name`. What was changed since then stays as it is, and the
/// record of it stays too. Otherwise the record is deleted.
pub fn undo(root: BorrowedFd<'_>, name: &str) -> Result<UndoneRestore, RestoreError> {
    let mut record = Record::open(root, name)?;
    let (mut undone, mut kept) = (UndoneRestore::default(), Vec::new());
    for placed in record.entries()?.into_iter().rev() {
        let message = match undo_entry(root, &record, &placed) {
            Ok(None) => {
                undone.undone += 1;
                continue;
            }
            Ok(Some(message)) => message.to_owned(),
            Err(error) => format!("{error}."),
        };
        if undone.kept.len() < MAX_KEPT_PATHS {
            undone.kept.push(KeptPath { path: placed.path.to_string(), message });
        }
        kept.push(placed);
    }
    undone.kept_count = kept.len() as u64;
    if kept.is_empty() {
        delete_record(root, name)?;
    } else {
        kept.reverse();
        record.set_entries(&kept)?;
    }
    Ok(undone)
}

/// Undoes one entry, or returns why it stays.
fn undo_entry(
    root: BorrowedFd<'_>,
    record: &Record,
    placed: &PlacedEntry,
) -> io::Result<Option<&'static str>> {
    let replaced = record.stat(placed.number)?;
    if replaced.as_ref().is_some_and(|stat| stat.st_ino == placed.inode) {
        // The restore ended before the entry took its place.
        return Ok(None);
    }
    let number = placed.number.to_string();
    let (parent, name) = match open_parent(root, &placed.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && replaced.is_none() => return Ok(None),
        result => result?,
    };
    let Some(present) = stat(parent.as_fd(), name)? else {
        if replaced.is_some() {
            rustix::fs::renameat_with(&record.directory, &number, &parent, name, RenameFlags::NOREPLACE)?;
        }
        return Ok(None);
    };
    if !placed.is_unchanged(&present) {
        return Ok(Some(CHANGED));
    }
    match (replaced.is_some(), placed.kind) {
        (false, _) if placed.overwrites => Ok(Some(OVERWRITTEN)),
        (false, EntryKind::Directory) => match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Some(NOT_EMPTY)),
            result => Ok(result.map(|()| None)?),
        },
        (false, _) => Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map(|()| None)?),
        (true, _) => {
            let exchange = || {
                rustix::fs::renameat_with(&record.directory, &number, &parent, name, RenameFlags::EXCHANGE)
            };
            exchange()?;
            if placed.kind != EntryKind::Directory {
                record.delete(placed.number)?;
                return Ok(None);
            }
            if rustix::fs::unlinkat(&record.directory, &number, AtFlags::REMOVEDIR).is_err() {
                exchange()?;
                return Ok(Some(NOT_EMPTY));
            }
            Ok(None)
        }
    }
}
