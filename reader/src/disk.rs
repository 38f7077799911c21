//! Where a home's blocks come from.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A disk at an instant: it does not change while it is read.
pub trait ReadAt: Send + Sync {
    /// Exactly these bytes; fewer are an error.
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>>;

    fn size_bytes(&self) -> u64;
}
