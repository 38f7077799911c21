//! Which kind of process has a file open for writing.

use std::{
    fs, io,
    os::{fd::BorrowedFd, unix::fs::MetadataExt as _},
    path::Path,
};

use rustix::fs::{OFlags, Stat};

use super::{
    home_directory::HomeFiles,
    lease::{Lease, LeaseKind},
};

/// The processes other than the agent that have a file open for writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileWriters {
    /// None.
    #[default]
    None,
    /// Every one of them writes at the end of the file (`O_APPEND`), wherever that is.
    Appending,
    /// At least one has a position of its own in the file, which goes wrong if the file's text moves.
    Positioned,
}

/// Finds out who has `file` open for writing. `file` must be open for reading only.
pub fn find_writers(files: &HomeFiles<'_>, file: BorrowedFd<'_>, stat: &Stat) -> FileWriters {
    match Lease::take(file, LeaseKind::NoWriters) {
        Ok(Some(_)) => FileWriters::None,
        // What is open cannot be replaced, even if it cannot be found: a process of root on a host.
        Ok(None) => files.as_agent(|| scan_processes(stat)).unwrap_or(FileWriters::Positioned),
        Err(_) => files.as_agent(|| scan_processes(stat)).unwrap_or_default(),
    }
}

/// Finds out who else has `file` open for writing, which the agent has open for writing itself.
pub fn find_other_writers(files: &HomeFiles<'_>, file: BorrowedFd<'_>, stat: &Stat) -> FileWriters {
    match Lease::take(file, LeaseKind::NoOthers) {
        Ok(Some(_)) => FileWriters::None,
        // Those that only read the file prevent this lease, too.
        Ok(None) | Err(_) => files.as_agent(|| scan_processes(stat)).unwrap_or_default(),
    }
}

/// Looks for the file among the open files of all processes. `None` if no process has it open for
/// writing.
fn scan_processes(stat: &Stat) -> Option<FileWriters> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").ok()?.flatten().filter(|entry| {
        let name = entry.file_name();
        name != own.as_str() && name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    });
    let modes: Vec<OFlags> = processes.flat_map(|process| open_modes(&process.path(), stat)).collect();
    let is_positioned = |mode: &OFlags| !mode.contains(OFlags::APPEND);
    match modes.as_slice() {
        [] => None,
        modes if modes.iter().any(is_positioned) => Some(FileWriters::Positioned),
        _ => Some(FileWriters::Appending),
    }
}

/// The modes in which a process has the file open for writing.
fn open_modes(process: &Path, stat: &Stat) -> Vec<OFlags> {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return Vec::new() };
    descriptors
        .flatten()
        .filter(|descriptor| {
            fs::metadata(descriptor.path())
                .is_ok_and(|open| open.ino() == stat.st_ino && open.dev() == stat.st_dev)
        })
        .filter_map(|descriptor| read_mode(&process.join("fdinfo").join(descriptor.file_name())).ok())
        .filter(|mode| mode.intersects(OFlags::WRONLY | OFlags::RDWR))
        .collect()
}

fn read_mode(path: &Path) -> io::Result<OFlags> {
    let text = fs::read_to_string(path)?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    let bits = u32::from_str_radix(flags.trim(), 8).map_err(io::Error::other)?;
    Ok(OFlags::from_bits_retain(bits))
}
