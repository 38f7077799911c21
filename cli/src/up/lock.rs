//! The lock that allows one `burrow up` per data directory. The kernel releases it, however the
//! process ends.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The lock, held until it is dropped. The file is never removed: otherwise two processes could
/// lock two files of one name.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Why the lock cannot be acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cannot use {path}: another `burrow up` is using it{}", process_text(*pid))]
    Held { path: PathBuf, pid: Option<u32> },
    #[error("cannot open {path}")]
    Io { path: PathBuf, source: std::io::Error },
}

fn process_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl DataLock {
    /// Acquires the lock, or fails immediately if another process holds it.
    pub fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join("lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { path: data_dir.to_owned(), pid: holder(&mut file) });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        file.set_len(0).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// The process that holds the lock. None in the moment between its locking and its writing of the
/// number.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DataLock::acquire(directory.path()).expect("free");
        let refused = DataLock::acquire(directory.path()).expect_err("held");
        let LockError::Held { pid, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!(*pid, Some(std::process::id()));
        assert!(refused.to_string().contains(&std::process::id().to_string()));
        drop(first);
        DataLock::acquire(directory.path()).expect("free again");
    }
}
