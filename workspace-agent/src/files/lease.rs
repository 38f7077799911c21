//! Leases on files: while one is held, no process has the file open for writing, and one that opens it
//! waits.
//!
//! A lease covers the moment in which a file is replaced: it is refused while another process is in the
//! middle of writing, and it is interrupted by one that begins. It must be held for an instant only,
//! because those processes wait for it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use rustix::io::Errno;

/// `fcntl` commands that libraries do not wrap.
mod command {
    pub const SET_SIGNAL: i32 = 10;
    pub const SET_LEASE: i32 = 1024;
    pub const GET_LEASE: i32 = 1025;
}

/// What a lease excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// Other processes may read the file. The descriptor must be open for reading only.
    NoWriters,
    /// No other process has the file open.
    NoOthers,
}

/// A lease on an open file, released when it is dropped.
pub struct Lease<'a> {
    file: BorrowedFd<'a>,
    kind: LeaseKind,
}

impl<'a> Lease<'a> {
    /// Takes a lease. `None` if another process has the file open in a way that excludes it. An error
    /// means that the file system has no leases.
    pub fn take(file: BorrowedFd<'a>, kind: LeaseKind) -> io::Result<Option<Self>> {
        // The kernel reports an interrupted lease by a signal. The default, SIGIO, would end the process;
        // SIGURG is ignored.
        fcntl(file, command::SET_SIGNAL, libc::SIGURG)?;
        match fcntl(file, command::SET_LEASE, kind.code()) {
            Ok(_) => Ok(Some(Self { file, kind })),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether no other process waits to open the file.
    pub fn is_intact(&self) -> bool {
        fcntl(self.file, command::GET_LEASE, 0).is_ok_and(|code| code == self.kind.code())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let _ = fcntl(self.file, command::SET_LEASE, libc::F_UNLCK);
    }
}

impl LeaseKind {
    fn code(self) -> i32 {
        match self {
            Self::NoWriters => libc::F_RDLCK,
            Self::NoOthers => libc::F_WRLCK,
        }
    }
}

fn fcntl(file: impl AsFd, command: i32, argument: i32) -> io::Result<i32> {
    // SAFETY: the descriptor is open, and these commands take and return integers.
    #[allow(unsafe_code)]
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    #[test]
    fn lease_is_refused_while_file_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut writer = File::create(&path).expect("a file");
        let reader = File::open(&path).expect("a file");
        assert!(Lease::take(reader.as_fd(), LeaseKind::NoWriters).expect("leases").is_none());
        writer.write_all(b"x").expect("written");
        drop(writer);
        let lease = Lease::take(reader.as_fd(), LeaseKind::NoWriters).expect("leases").expect("free");
        assert!(lease.is_intact());
    }

    #[test]
    fn lease_is_interrupted_by_writer_that_then_waits() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "old").expect("a file");
        let reader = File::open(&path).expect("a file");
        let lease = Lease::take(reader.as_fd(), LeaseKind::NoWriters).expect("leases").expect("free");
        let writer = std::thread::spawn(move || std::fs::write(path, "new"));
        while lease.is_intact() {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(directory.path().join("file")).expect("a file"), "old");
        drop(lease);
        writer.join().expect("no panic").expect("written");
        assert_eq!(std::fs::read_to_string(directory.path().join("file")).expect("a file"), "new");
    }
}
