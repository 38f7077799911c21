//! A read-only ext4 implementation. Every function is total: any bytes on the disk give a result or
//! a [`Fault`].
//!
//! It knows no path of the host, no process and no socket: a disk is a [`Device`]. No allocation
//! has a size that the disk alone determines, and every loop has its own bound.
//!
//! A file system that was not unmounted cleanly is read as after its recovery: [`journal`] finds
//! the blocks of which the journal has a newer copy, and every read of a block looks there first.

mod attributes;
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
pub use inode::Inode;
#[cfg(any(test, feature = "fuzzing"))]
pub use inode::ROOT;
#[cfg(any(test, feature = "fuzzing"))]
pub use journal::recover;

use crate::error::Fault;

/// A disk, read one part at a time.
pub trait Device {
    /// Fills `into`, or fails with [`Fault::Disk`].
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault>;

    /// Size of the disk.
    fn size_bytes(&self) -> u64;
}
