//! One `up` per data directory: an advisory lock that the kernel releases however the process ends.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Held for as long as it lives. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{path} is in use by another `burrow up`{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held { path: PathBuf, pid: Option<u32> },
    #[error("{path} cannot be opened")]
    Io { path: PathBuf, source: std::io::Error },
}

impl DataLock {
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

/// Who wrote its number into the file; nobody for the instant between locking and writing.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_the_first() {
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
