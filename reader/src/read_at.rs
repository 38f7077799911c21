//! The source of a snapshot's blocks.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A disk that does not change while it is read, such as a volume's snapshot.
pub trait ReadAt: Send + Sync {
    /// Reads exactly `length` bytes; fewer are an error.
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>>;

    /// Size of the disk.
    fn size_bytes(&self) -> u64;
}
