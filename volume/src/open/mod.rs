//! The state that all parts of an open volume share: its cache under one lock, its objects, and the
//! counters that let foreground and background work take turns. Decides nothing; the parts that use
//! it do.
//!
//! Lock order: `snapshot_gate`, then `flush_gate`, then the cache's lock. The cache's lock is held
//! for one short step at a time and never across an await.

pub mod boot_order;
pub mod foreground;
pub mod read_ahead;
pub mod share;
pub mod throttle;

use std::{
    io,
    ops::{Deref, DerefMut, Range},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use protocol::{Epoch, VolumeId};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::{
    blocking::run_blocking,
    blocks::{BLOCK_BYTES, byte_offset},
    cache::{Cache, CacheFile},
    error::VolumeError,
    objects::Objects,
};
use boot_order::BootOrderRecorder;
use foreground::ForegroundReads;
use read_ahead::ReadAhead;
use throttle::WriteThrottle;

/// What the parts of an open volume share. Lives as long as the last [`Volume`](crate::Volume),
/// snapshot or background task.
pub struct OpenVolume {
    pub id: VolumeId,
    pub epoch: Epoch,
    /// Shared with uploads, which may outlive a dropped snapshot. They must not keep the volume and
    /// its cache open.
    pub objects: Arc<Objects>,
    pub read_ahead: Mutex<ReadAhead>,
    /// Reads and writes that wait for the store now.
    pub foreground: ForegroundReads,
    pub boot_order: BootOrderRecorder,
    pub throttle: WriteThrottle,
    /// Notified when a block becomes dirty.
    pub dirtied: Notify,
    /// Notified when a flush ends.
    pub flushed: Notify,
    /// Held from a snapshot's cut to its end.
    pub snapshot_gate: Arc<AsyncMutex<()>>,
    /// Held while files are synced and while the log is rewritten.
    pub flush_gate: Arc<AsyncMutex<()>>,
    size_bytes: AtomicU64,
    cache: Mutex<Cache>,
    data: Arc<CacheFile>,
    /// Evictions so far: see [`Self::evictions`].
    evictions: AtomicU64,
    is_closed: AtomicBool,
    /// Why no file can be trusted any more: a failed sync may have dropped what it was asked to
    /// keep.
    failure: OnceLock<String>,
}

/// The right to lock the cache, for work on a blocking thread. Refuses once the volume is closed.
pub struct CacheLock<'a> {
    volume: &'a OpenVolume,
    allows_closed: bool,
}

/// The locked cache during a change to what the store does not have yet. When it is dropped, and
/// before the lock is released, the throttle and waiting snapshots learn of the
/// change.
pub struct CacheChange<'a> {
    volume: &'a OpenVolume,
    cache: MutexGuard<'a, Cache>,
}

impl OpenVolume {
    /// `known_order` is the boot order that the head records.
    pub fn new(
        id: VolumeId,
        epoch: Epoch,
        size_bytes: u64,
        objects: Objects,
        cache: Cache,
        known_order: Vec<Range<u32>>,
    ) -> Self {
        Self {
            id,
            epoch,
            objects: objects.into(),
            read_ahead: Mutex::default(),
            foreground: ForegroundReads::default(),
            boot_order: BootOrderRecorder::new(known_order),
            throttle: WriteThrottle::new(cache.unreplicated_since(), byte_offset(cache.dirty_blocks())),
            dirtied: Notify::new(),
            flushed: Notify::new(),
            snapshot_gate: Arc::default(),
            flush_gate: Arc::default(),
            size_bytes: size_bytes.into(),
            data: cache.data(),
            cache: Mutex::new(cache),
            evictions: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::SeqCst)
    }

    /// To be called with the cache locked, after the cache has grown.
    pub fn set_size_bytes(&self, size_bytes: u64) {
        self.size_bytes.store(size_bytes, Ordering::SeqCst);
    }

    /// The number of blocks.
    pub fn blocks(&self) -> u32 {
        (self.size_bytes() / BLOCK_BYTES) as u32
    }

    /// The data file, for reads and syncs that need no lock.
    pub fn data(&self) -> &CacheFile {
        &self.data
    }

    /// How many evictions have begun. A read of the data file needs no lock, but its blocks may be
    /// evicted at the same time and then read as zeros. A read is valid if this number is the same
    /// before and after it.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::SeqCst)
    }

    /// To be called with the cache locked, before blocks are evicted.
    pub fn begin_eviction(&self) {
        self.evictions.fetch_add(1, Ordering::SeqCst);
    }

    /// Why the volume refuses everything, if it does.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Runs work on the cache on a blocking thread. The work decides how long it holds the lock.
    pub async fn with_cache<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>, &CacheLock<'_>) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let volume = self.clone();
        run_blocking(move || {
            if let Some(cause) = volume.failure() {
                return Err(VolumeError::Failed(cause.to_owned()));
            }
            work(&volume, &CacheLock { volume: &volume, allows_closed: false })
        })
        .await
    }

    /// Like [`Self::with_cache`], also when the volume is closed or has failed.
    pub async fn with_cache_always<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>, &CacheLock<'_>) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let volume = self.clone();
        run_blocking(move || work(&volume, &CacheLock { volume: &volume, allows_closed: true })).await
    }

    /// Locks the cache on this thread if no other thread holds it and the volume is usable.
    pub fn try_lock_for_change(&self) -> Option<CacheChange<'_>> {
        let cache = self.cache.try_lock().ok()?;
        let is_usable = self.failure.get().is_none() && !self.is_closed.load(Ordering::SeqCst);
        is_usable.then_some(CacheChange { volume: self, cache })
    }

    /// Makes everything that was written before the call durable on this host's disk.
    ///
    /// Two syncs, neither of them under the cache's lock: first the data file, then the log with a
    /// record that says so.
    pub async fn flush(self: &Arc<Self>) -> Result<(), VolumeError> {
        let gate = self.flush_gate.clone().lock_owned().await;
        self.with_cache(move |volume, cache| {
            let _gate = gate;
            let Some(mut ticket) = cache.lock()?.begin_flush() else { return Ok(()) };
            volume.data.sync().map_err(|error| volume.fail(&error))?;
            let log = cache.lock()?.record_flush(&mut ticket).map_err(|error| volume.fail(&error))?;
            if let Some(log) = log {
                log.sync().map_err(|error| volume.fail(&error))?;
                cache.lock()?.end_flush(ticket);
            }
            volume.flushed.notify_waiters();
            let mut cache = cache.lock()?;
            if cache.needs_log_rewrite() {
                cache.rewrite_log().map_err(|error| volume.fail(&error))?;
            }
            Ok(())
        })
        .await
    }

    /// Rewrites the log if a commit has made most of its records unnecessary.
    pub async fn shorten_log(self: &Arc<Self>) -> Result<(), VolumeError> {
        let gate = self.flush_gate.clone().lock_owned().await;
        self.with_cache(move |volume, cache| {
            let _gate = gate;
            if !cache.lock()?.needs_log_rewrite() {
                return Ok(());
            }
            // Syncs most of the data without the lock: under it, the guest waits only for what it
            // wrote since.
            volume.data.sync().map_err(|error| volume.fail(&error))?;
            let mut cache = cache.lock()?;
            if cache.needs_log_rewrite() {
                cache.rewrite_log().map_err(|error| volume.fail(&error))?;
            }
            Ok(())
        })
        .await
    }

    /// Makes the blocks of an abandoned cut dirty again.
    pub fn abandon_cut(&self, number: u32) {
        // The lock is poisoned after a panic. The state is unusable then, and so nothing needs to
        // be restored.
        if let Ok(mut cache) = self.cache.lock() {
            cache.abandon_cut(number);
        }
    }

    /// Refuses everything from now on. While the cache is locked, no other work is between its
    /// check and its change. Returns false if the volume was closed already.
    pub fn mark_closed(&self) -> bool {
        !self.is_closed.swap(true, Ordering::SeqCst)
    }

    /// Records a failed sync: the files can no longer be trusted, and the volume refuses
    /// everything.
    pub fn fail(&self, error: &io::Error) -> VolumeError {
        let cause = self.failure.get_or_init(|| error.to_string());
        tracing::error!(volume = %self.id, %error, "the cache's disk has failed");
        VolumeError::Failed(cause.clone())
    }
}

impl<'a> CacheLock<'a> {
    /// Locks the cache, to read it or to change what does not affect replication.
    ///
    /// After a panic under the lock the state is unknown: [`VolumeError::Failed`].
    pub fn lock(&self) -> Result<MutexGuard<'a, Cache>, VolumeError> {
        let cache = self.volume.cache.lock();
        let cache = cache.map_err(|_| VolumeError::Failed("a bug in the cache".to_owned()))?;
        if !self.allows_closed && self.volume.is_closed.load(Ordering::SeqCst) {
            return Err(VolumeError::Closed);
        }
        Ok(cache)
    }

    /// Locks the cache for a change to its dirty blocks, its cut or its commits.
    pub fn lock_for_change(&self) -> Result<CacheChange<'a>, VolumeError> {
        Ok(CacheChange { volume: self.volume, cache: self.lock()? })
    }
}

impl Deref for CacheChange<'_> {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        &self.cache
    }
}

impl DerefMut for CacheChange<'_> {
    fn deref_mut(&mut self) -> &mut Cache {
        &mut self.cache
    }
}

impl Drop for CacheChange<'_> {
    fn drop(&mut self) {
        self.volume.throttle.set_unreplicated_since(self.cache.unreplicated_since());
        self.volume.throttle.share.set_unsaved(byte_offset(self.cache.dirty_blocks()));
        if self.cache.has_dirty_blocks() {
            self.volume.dirtied.notify_waiters();
        }
    }
}
