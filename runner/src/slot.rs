//! Slots: small numbers, one for each machine on this host, that pick its network and the VMM's user.
//!
//! The controller proposes one that none of its own machines has; another controller on the same host may have it. The lock
//! is the kernel's: it ends with this process, however that ends.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use protocol::runner::MAX_SLOT;
use rustix::fs::{FlockOperation, flock};

/// Uid and gid of slot 0's VMM. Above what systems hand out, below what containers map.
const UID_BASE: u32 = 620_000;

#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("{} cannot be used: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("all {} slots of this host are taken", u32::from(MAX_SLOT) + 1)]
    Full,
}

/// Held for as long as it lives.
#[derive(Debug)]
pub struct Slot {
    number: u16,
    _lock: File,
}

impl Slot {
    /// The proposed slot, or the next one that is free.
    pub fn take(proposed: u16) -> Result<Self, SlotError> {
        Self::take_in(&directory(), proposed)
    }

    fn take_in(directory: &Path, proposed: u16) -> Result<Self, SlotError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SlotError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
        let order = (proposed..=MAX_SLOT).chain(0..proposed.min(MAX_SLOT));
        for number in order {
            let path = directory.join(number.to_string());
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = file.map_err(failed(&path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { number, _lock: file }),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(failed(&path)(errno.into())),
            }
        }
        Err(SlotError::Full)
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    /// User and group of this slot's VMM: nobody else has them.
    pub fn uid(&self) -> u32 {
        UID_BASE + u32::from(self.number)
    }
}

/// One place for the whole host where we may, else one for this user.
fn directory() -> PathBuf {
    let host = Path::new("/run");
    if rustix::process::geteuid().is_root() && fs::metadata(host).is_ok_and(|about| about.is_dir()) {
        return host.join("burrow/slots");
    }
    std::env::temp_dir().join(format!("burrow-{}/slots", rustix::process::geteuid().as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_slot_gives_way_to_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Slot::take_in(directory.path(), 7).expect("free");
        let second = Slot::take_in(directory.path(), 7).expect("another");
        assert_eq!((first.number(), second.number()), (7, 8));
        drop(first);
        assert_eq!(Slot::take_in(directory.path(), 7).expect("free again").number(), 7);
        let last = Slot::take_in(directory.path(), MAX_SLOT).expect("free");
        assert_eq!(Slot::take_in(directory.path(), MAX_SLOT).expect("from the start").number(), 0);
        assert_ne!(last.uid(), second.uid());
    }
}
