//! Conversion of the kernel's file status into a [`FileEntry`], and the entity tag of a file.

use std::{ffi::CStr, os::fd::BorrowedFd};

use protocol::files::{EntryKind, FileEntry};
use rustix::fs::{FileType, Stat};

/// The entry of `name` in `directory`.
pub fn file_entry(directory: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> FileEntry {
    let kind = entry_kind(stat);
    let target = (kind == EntryKind::Symlink)
        .then(|| rustix::fs::readlinkat(directory, name, Vec::new()).ok())
        .flatten()
        .map(|target| target.to_string_lossy().into_owned());
    FileEntry {
        name: String::from_utf8_lossy(name.to_bytes()).into_owned(),
        utf8: name.to_str().is_ok(),
        kind,
        size: stat.st_size.max(0) as u64,
        modified: stat.st_mtime * 1000 + (stat.st_mtime_nsec / 1_000_000) as i64,
        mode: stat.st_mode & 0o7777,
        target,
        etag: (kind == EntryKind::File).then(|| etag(stat)),
    }
}

/// The entity tag of a file. It changes whenever the content may have changed.
pub fn etag(stat: &Stat) -> String {
    format!(
        "\"{:x}-{:x}-{:x}-{:x}.{:x}-{:x}.{:x}\"",
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec
    )
}

/// Whether the status is that of a directory.
pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}

/// Whether the status is that of a regular file.
pub fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
}

fn entry_kind(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    }
}
