//! Slots: small numbers, one for each sandbox on this host, from which its network and the VMM's
//! user are derived.
//!
//! The controller proposes a slot that none of its own sandboxes uses; another controller on the
//! same host may use it. A slot is locked with `flock`: the kernel releases the lock when this
//! process dies, however it dies.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use protocol::runner::MAX_SLOT;
use rustix::fs::{FlockOperation, flock};

/// Uid and gid of slot 0's VMM. Above what systems assign, below what containers map.
const BASE_UID: u32 = 620_000;

/// Why no slot can be acquired.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("Cannot lock the slot {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("Cannot acquire a slot: all {} slots of this host are in use", u32::from(MAX_SLOT) + 1)]
    Full,
}

/// An acquired slot. Dropping it releases it.
#[derive(Debug)]
pub struct Slot {
    number: u16,
    _lock: File,
}

impl Slot {
    /// Acquires the proposed slot, or the next free one.
    pub fn acquire(proposed: u16) -> Result<Self, SlotError> {
        Self::acquire_in(&directory(), proposed)
    }

    /// Acquires the slot with this number, and fails if it is in use.
    pub fn acquire_exactly(number: u16) -> Result<Self, SlotError> {
        Self::acquire_first(&directory(), std::iter::once(number))
    }

    fn acquire_in(directory: &Path, proposed: u16) -> Result<Self, SlotError> {
        Self::acquire_first(directory, (proposed..=MAX_SLOT).chain(0..proposed.min(MAX_SLOT)))
    }

    /// Acquires the first slot in `order` that is free.
    fn acquire_first(directory: &Path, order: impl Iterator<Item = u16>) -> Result<Self, SlotError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SlotError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
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

    /// 0 ..= [`MAX_SLOT`].
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Uid and gid of this slot's VMM. No other process uses them.
    pub fn uid(&self) -> u32 {
        BASE_UID + u32::from(self.number)
    }
}

/// One directory for the whole host if we are root, else one for this user.
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
    fn next_free_slot_replaces_a_locked_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Slot::acquire_in(directory.path(), 7).expect("free");
        let second = Slot::acquire_in(directory.path(), 7).expect("another");
        assert_eq!((first.number(), second.number()), (7, 8));
        drop(first);
        assert_eq!(Slot::acquire_in(directory.path(), 7).expect("free again").number(), 7);
        let last = Slot::acquire_in(directory.path(), MAX_SLOT).expect("free");
        assert_eq!(Slot::acquire_in(directory.path(), MAX_SLOT).expect("from the start").number(), 0);
        assert_ne!(last.uid(), second.uid());
    }
}
