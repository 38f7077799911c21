//! Free space on the disk that the caches of a host share, usually with the objects and the
//! database. Clean blocks are evicted before the disk is full, and writes wait before it is.
//!
//! | free | what happens |
//! |---|---|
//! | [`FreeSpace::Low`] | caches shrink; the controller starts and creates nothing |
//! | [`FreeSpace::NearlyFull`] | guests' writes wait, and nothing is stored; the rest is for the database |
//!
//! This is the last resort, where all guests wait. Long before it, each home is kept to its share of the
//! disk ([`crate::open::share`]), so that only the one that fills the disk waits.

use std::{io, path::Path, time::Duration};

use crate::{blocking::run_blocking, error::VolumeError, volume::Volume};

/// How often the disk is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The disk is low below this share of its size, or below [`LOW_BYTES`], whichever is less. Then
/// clean blocks are evicted.
const LOW_PER_CENT: u64 = 5;
const LOW_BYTES: u64 = 2 << 30;
/// The disk is nearly full below this fraction of that. Then writes wait.
const FULL_DIVISOR: u64 = 4;
/// How soon it is checked again while there is more to evict.
const EVICT_INTERVAL: Duration = Duration::from_millis(20);
/// Blocks that are evicted under one hold of the lock.
const EVICT_BLOCKS: u32 = 1024;

/// How much space a disk has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeSpace {
    /// Enough for everything.
    Plenty,
    /// Enough for what runs, and for nothing new.
    Low,
    /// Only what is reserved for the database.
    NearlyFull,
}

impl FreeSpace {
    /// Measures the disk that a directory is on.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let stats = rustix::fs::statvfs(directory)?;
        Ok(classify(stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize))
    }

    /// A disk of this size is [`Self::Low`] below this many free bytes.
    pub fn low_bytes(total_bytes: u64) -> u64 {
        (total_bytes / 100 * LOW_PER_CENT).min(LOW_BYTES)
    }

    /// A disk of this size is [`Self::NearlyFull`] below this many free bytes: those are for the database.
    pub fn reserved_bytes(total_bytes: u64) -> u64 {
        Self::low_bytes(total_bytes) / FULL_DIVISOR
    }
}

impl Volume {
    /// Keeps space free on the disk under the cache, for as long as it is polled. Returns the error
    /// that ends it, such as [`VolumeError::Closed`].
    pub async fn keep_disk_space(&self) -> VolumeError {
        let mut next = 0;
        loop {
            match self.check_disk_space(&mut next).await {
                // The guest's own requests take turns with the eviction of many blocks.
                Ok(true) => tokio::time::sleep(EVICT_INTERVAL).await,
                Ok(false) => tokio::time::sleep(CHECK_INTERVAL).await,
                Err(error) => return error,
            }
        }
    }

    /// Checks the disk once, and evicts some blocks from `next` on if it is low. Returns whether there may
    /// be more to evict.
    async fn check_disk_space(&self, next: &mut u32) -> Result<bool, VolumeError> {
        let volume = &self.inner;
        let directory = volume.with_cache(|_, cache| Ok(cache.lock()?.directory_path())).await?;
        let space = run_blocking(move || {
            FreeSpace::of(&directory).map_err(|source| VolumeError::Cache {
                what: "get the free space of the cache's disk",
                source,
            })
        })
        .await?;
        volume.throttle.set_full(space == FreeSpace::NearlyFull);
        if space == FreeSpace::Plenty && !volume.throttle.share.must_shrink() {
            return Ok(false);
        }
        let from = *next;
        // An eviction may rewrite the log, and a flush needs the log that it began with.
        let gate = volume.flush_gate.clone().lock_owned().await;
        *next = volume
            .with_cache(move |volume, cache| {
                let _gate = gate;
                let mut cache = cache.lock()?;
                volume.begin_eviction();
                let evicted = cache.evict(from, EVICT_BLOCKS);
                evicted.map_err(VolumeError::cache_io("evict blocks from the cache"))
            })
            .await?;
        // The same place: a snapshot is running, and nothing can be evicted before it is committed.
        Ok(*next != 0 && *next != from)
    }
}

fn classify(free_bytes: u64, total_bytes: u64) -> FreeSpace {
    match free_bytes {
        free if free < FreeSpace::reserved_bytes(total_bytes) => FreeSpace::NearlyFull,
        free if free < FreeSpace::low_bytes(total_bytes) => FreeSpace::Low,
        _ => FreeSpace::Plenty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_is_low_before_it_is_full() {
        const GIB: u64 = 1 << 30;
        assert_eq!(classify(6 * GIB, 100 * GIB), FreeSpace::Plenty);
        assert_eq!(classify(GIB, 100 * GIB), FreeSpace::Low);
        assert_eq!(classify(GIB / 4, 100 * GIB), FreeSpace::NearlyFull);
        assert_eq!(classify(6 << 20, 100 << 20), FreeSpace::Plenty);
        assert_eq!(classify(4 << 20, 100 << 20), FreeSpace::Low);
        assert_eq!(classify(1 << 20, 100 << 20), FreeSpace::NearlyFull);
    }
}
