//! ext4 as it lies on a disk, read only. Every function is total: any bytes give an answer or a [`Fault`].
//!
//! It knows no path of the host, no process and no socket: a disk is a [`Device`]. Nothing is allocated by a number that the
//! disk holds, and every loop ends by a bound of its own.
//!
//! A file system that was not put away in order is read as after its recovery: [`journal`] says which blocks the journal has
//! newer, and every read of a block asks there first.

mod checksum;
mod directory;
mod fields;
mod file_system;
mod inode;
mod journal;
mod map;
mod superblock;

pub use directory::DirectoryEntry;
pub use file_system::FileSystem;
pub use inode::{Inode, ROOT};
#[cfg(any(test, feature = "fuzzing"))]
pub use journal::recover;

use crate::error::Fault;

/// Reads of a disk, one after the other.
pub trait Device {
    /// Fills `into`, or says [`Fault::Disk`].
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault>;

    fn size_bytes(&self) -> u64;
}
