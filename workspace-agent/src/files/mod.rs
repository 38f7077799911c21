//! Files of the home. Blocking; every function runs inside
//! [`HomeDirectory::run`](home_directory::HomeDirectory::run). Knows no HTTP.

pub mod copy;
pub mod entry;
pub mod find;
pub mod home_directory;
pub mod kernel_watcher;
pub mod lease;
pub mod overwrite;
pub mod replacement;
pub mod search;
pub mod staging;
pub mod target;
pub mod upload;
mod walk;
pub mod watch;
mod watch_targets;
pub mod writers;

use std::{collections::BinaryHeap, ffi::CString, io, os::fd::AsFd as _};

use protocol::files::{DirectoryListing, FileEntry, HomePath, MAX_ENTRIES};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};

use self::home_directory::HomeFiles;

/// Lists a directory. Of more than [`MAX_ENTRIES`] entries, the first in the order of the listing
/// are kept.
pub fn list_directory(files: &HomeFiles<'_>, path: &HomePath) -> io::Result<DirectoryListing> {
    let directory = files.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    // Only names are kept until the cut, and never more than the listing has.
    let mut first: BinaryHeap<(bool, CString)> = BinaryHeap::new();
    let mut truncated = false;
    for item in rustix::fs::Dir::read_from(&directory)? {
        let item = item?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_directory = match item.file_type() {
            FileType::Unknown => rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| entry::is_directory(&stat)),
            kind => kind.is_dir(),
        };
        first.push((!is_directory, name.to_owned()));
        if first.len() > MAX_ENTRIES {
            first.pop();
            truncated = true;
        }
    }
    let mut entries = Vec::with_capacity(first.len());
    for (_, name) in first.into_sorted_vec() {
        match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => entries.push(entry::file_entry(directory.as_fd(), &name, &stat)),
            Err(rustix::io::Errno::NOENT) => {} // deleted during the iteration
            Err(error) => return Err(error.into()),
        }
    }
    Ok(DirectoryListing { path: path.as_str().to_owned(), entries, truncated })
}

/// Creates a directory, and with `parents` its missing parents too.
pub fn create_directory(files: &HomeFiles<'_>, path: &HomePath, parents: bool) -> io::Result<FileEntry> {
    if parents
        && let Some(parent) = path.parent().filter(|parent| !parent.is_home())
        && files.stat(&parent)?.is_none()
    {
        create_directory(files, &parent, true)?;
    }
    let (parent, name) = files.open_parent(path)?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        .map_err(|error| files.explain(error.into()))?;
    entry_at(files, path)
}

/// Renames a file or directory. Without `overwrite`, fails if something exists at `to`.
pub fn rename(
    files: &HomeFiles<'_>,
    from: &HomePath,
    to: &HomePath,
    overwrite: bool,
) -> io::Result<FileEntry> {
    let (from_parent, from_name) = files.open_parent(from)?;
    let (to_parent, to_name) = files.open_parent(to)?;
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    rustix::fs::renameat_with(&from_parent, from_name, &to_parent, to_name, flags)?;
    entry_at(files, to)
}

/// The entry of an existing path.
pub fn entry_at(files: &HomeFiles<'_>, path: &HomePath) -> io::Result<FileEntry> {
    let (parent, name) = files.open_parent(path)?;
    let name = CString::new(name).map_err(io::Error::other)?;
    let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(entry::file_entry(parent.as_fd(), &name, &stat))
}
