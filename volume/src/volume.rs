//! The volume as its users see it: a disk whose flush means this machine's disk and whose snapshot means the store.
//!
//! Reads go to the cache, and to the store for what is not there yet. Work on files happens on blocking threads, but for short
//! writes, and under one short lock; no lock is held across an await.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::{
    blocks::{BLOCK_BYTES, MAX_VOLUME_BYTES, covered, touched},
    cache::{Cache, Disk, Files, Header, Machine, Source},
    error::VolumeError,
    fetch::{self, ReadAhead},
    key::DataKey,
    map::BlockMap,
    objects::{Loaded, Objects},
    order::Recorder,
    pace::Pace,
    readers::Readers,
    store::{ObjectStore, StoreError},
};

/// Most bytes that are written under one hold of the lock.
const WRITE_SLICE_BYTES: usize = 1 << 20;
/// A write so short takes less time than its way to another thread and back: it goes to the page cache only.
const MAX_WRITE_AT_ONCE_BYTES: usize = 64 << 10;
/// Most blocks that are discarded under one hold of the lock.
const DISCARD_SLICE_BLOCKS: u32 = 1 << 16;
/// Most bytes of one read or write.
pub const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// Times that a read fetches what it lacks. Each round can only be needed because a snapshot ended during the last.
const MAX_ROUNDS: usize = 8;

/// All that it takes to open a volume.
pub struct Opening {
    pub tenant: TenantId,
    pub volume: VolumeId,
    /// At least what the head says: a volume grows.
    pub size_bytes: u64,
    /// This placement. A cache or head of a later one refuses us.
    pub epoch: Epoch,
    /// The committed snapshot to go on from; none for a new volume.
    pub head: Option<ManifestId>,
    /// The volume that made the head, where it is another: this one is a fork without a snapshot of its own.
    pub head_of: Option<VolumeId>,
    /// How often the volume was put back to another of its snapshots. A cache of an earlier time is put aside.
    pub lineage: u64,
    /// A directory of this volume's own.
    pub cache: PathBuf,
    pub key: DataKey,
    pub store: Arc<dyn ObjectStore>,
}

/// An open volume. Clones are the same volume.
#[derive(Clone)]
pub struct Volume {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub volume: VolumeId,
    size_bytes: AtomicU64,
    pub epoch: Epoch,
    pub objects: Objects,
    pub read_ahead: Mutex<ReadAhead>,
    /// Who waits for the store.
    pub readers: Readers,
    pub recorder: Recorder,
    pub pace: Pace,
    /// Something has become dirty.
    pub dirtied: Notify,
    /// A flush has ended.
    pub flushed: Notify,
    /// Held from a snapshot's cut to its end.
    pub snapshot_gate: Arc<AsyncMutex<()>>,
    /// Held while files are synced and while the log is rewritten.
    pub flush_gate: Arc<AsyncMutex<()>>,
    cache: Mutex<Cache>,
    data: Arc<Disk>,
    closed: AtomicBool,
    /// Why no file is to be trusted any more: a sync that failed may have dropped what it was to keep.
    failed: OnceLock<String>,
}

/// The volume at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStatus {
    pub size_bytes: u64,
    pub epoch: Epoch,
    /// Bytes that no snapshot in the store has.
    pub dirty_bytes: u64,
    /// Age of the oldest write that no committed snapshot has.
    pub unreplicated: Option<Duration>,
    /// Whether writes are slowed down because of it.
    pub is_slowed: bool,
    /// Whether writes wait because the disk under the cache is nearly full.
    pub is_full: bool,
    /// Bytes that the local cache holds.
    pub cached_bytes: u64,
    /// The newest snapshot that is whole in the store.
    pub head: Option<ManifestId>,
    /// The newest snapshot that the controller has confirmed.
    pub committed: Option<ManifestId>,
    /// Local work that rests on another past than the head, kept aside for people.
    pub superseded: Option<PathBuf>,
    /// Why the volume refuses everything, if it does.
    pub failed: Option<String>,
}

impl Volume {
    /// Opens the volume at its head; what the cache has beyond it stays. An empty cache is filled by reading.
    pub async fn open(opening: Opening) -> Result<Self, VolumeError> {
        Self::open_on(opening, Machine::this()).await
    }

    pub(crate) async fn open_on(opening: Opening, machine: Machine) -> Result<Self, VolumeError> {
        let size_bytes = opening.size_bytes;
        if size_bytes == 0 || size_bytes > MAX_VOLUME_BYTES || !size_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(VolumeError::Size(size_bytes));
        }
        let objects = Objects::new(opening.tenant, opening.key, opening.store);
        let head = match opening.head {
            None => None,
            Some(head) => Some(objects.load(head).await?),
        };
        if let Some(head) = &head {
            let own = head.volume == opening.volume;
            if !own && Some(head.volume) != opening.head_of {
                return Err(VolumeError::OtherVolume { found: head.volume, wanted: opening.volume });
            }
            // Another volume's placements are counted apart.
            if own {
                crate::cache::check_epoch(head.epoch, opening.epoch)?;
            }
            crate::cache::check_size(head.size_bytes, size_bytes)?;
        }
        let key_check = objects.key.derive("burrow volume key check v1", opening.volume.0.as_bytes());
        let header = Header {
            tenant: opening.tenant,
            volume: opening.volume,
            key_check: *key_check.first_chunk().expect("32 bytes"),
            epoch: opening.epoch,
            size_bytes,
            head: opening.head,
            boot: machine.boot,
            salt: [0; 32],
            lineage: opening.lineage,
        };
        let directory = opening.cache;
        let (map, chain, head_bytes, order) = match head {
            None => (BlockMap::default(), None, 0, Vec::new()),
            Some(Loaded { map, chain, size_bytes, order, .. }) => (map, Some(chain), size_bytes, order),
        };
        let cache = blocking(move || {
            Ok(Cache::new(Files::open(directory, machine, header)?, map, chain, head_bytes))
        })
        .await?;
        let shared = Shared {
            volume: opening.volume,
            size_bytes: size_bytes.into(),
            epoch: opening.epoch,
            objects,
            read_ahead: Mutex::default(),
            readers: Readers::default(),
            recorder: Recorder::new(order),
            pace: Pace::new(cache.unreplicated_since()),
            dirtied: Notify::new(),
            flushed: Notify::new(),
            snapshot_gate: Arc::default(),
            flush_gate: Arc::default(),
            data: cache.data(),
            cache: Mutex::new(cache),
            closed: AtomicBool::new(false),
            failed: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn size_bytes(&self) -> u64 {
        self.shared.size_bytes()
    }

    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, VolumeError> {
        self.shared.check_range(offset, length)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let range = touched(offset, length);
        self.shared.recorder.note(&range);
        for _ in 0..MAX_ROUNDS {
            let wanted = range.clone();
            let read = self.shared.on_cache(move |shared, cache| {
                let sources = cache()?.sources(wanted);
                shared.read_sources(&sources, offset, length)
            });
            match read.await? {
                Some(bytes) => return Ok(bytes),
                None => fetch::fill(&self.shared, range.clone()).await?,
            }
        }
        Err(VolumeError::Store(StoreError::Unavailable("what was fetched did not stay".to_owned())))
    }

    pub async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), VolumeError> {
        self.shared.check_range(offset, bytes.len() as u64)?;
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let slice = rest.split_to(rest.len().min(WRITE_SLICE_BYTES));
            let length = slice.len() as u64;
            self.shared.pace.wait(length).await;
            self.write_slice(offset, slice).await?;
            offset += length;
        }
        Ok(())
    }

    async fn write_slice(&self, offset: u64, slice: Bytes) -> Result<(), VolumeError> {
        let range = touched(offset, slice.len() as u64);
        for _ in 0..MAX_ROUNDS {
            let written = if let Some(written) = self.shared.write_at_once(offset, &slice) {
                written?
            } else {
                let bytes = slice.clone();
                let write = self
                    .shared
                    .on_cache(move |shared, cache| shared.write_to(&mut *cache()?, offset, &bytes));
                write.await?
            };
            if written {
                return Ok(());
            }
            // Blocks written in part need their other part first.
            fetch::fill(&self.shared, range.start..range.start + 1).await?;
            fetch::fill(&self.shared, range.end - 1..range.end).await?;
        }
        Err(VolumeError::Store(StoreError::Unavailable("what was fetched did not stay".to_owned())))
    }

    /// Makes zeros of the range and gives the space of its whole blocks back, here and in the next snapshot.
    pub async fn discard(&self, offset: u64, length: u64) -> Result<(), VolumeError> {
        self.shared.check_range(offset, 0)?;
        if length > self.shared.size_bytes() - offset {
            return Err(VolumeError::OutOfRange { offset, length });
        }
        let whole = covered(offset, length);
        let mut start = whole.start;
        while start < whole.end {
            let end = whole.end.min(start.saturating_add(DISCARD_SLICE_BLOCKS));
            self.shared
                .on_cache(move |shared, cache| {
                    let mut cache = cache()?;
                    cache.discard(start..end).map_err(io_of("discard in the data"))?;
                    shared.note_dirt(&cache);
                    Ok(())
                })
                .await?;
            start = end;
        }
        let end = offset + length;
        let first_whole = (u64::from(whole.start) * BLOCK_BYTES).min(end);
        let last_whole = (u64::from(whole.end) * BLOCK_BYTES).max(first_whole);
        for edge in [offset..first_whole, last_whole..end] {
            if !edge.is_empty() {
                self.write(edge.start, Bytes::from(vec![0; (edge.end - edge.start) as usize])).await?;
            }
        }
        Ok(())
    }

    /// When this returns, all that was written before it was called is on this machine's disk.
    pub async fn flush(&self) -> Result<(), VolumeError> {
        self.shared.flush().await
    }

    /// The manifest is the controller's word for the newest state: the next opening goes on from it or a later one.
    pub async fn committed(&self, manifest: ManifestId) -> Result<(), VolumeError> {
        let commit = self.shared.on_cache(move |shared, cache| {
            let mut cache = cache()?;
            let known = cache.commit(manifest);
            shared.note_dirt(&cache);
            Ok(known)
        });
        let known = commit.await?;
        if !known {
            return Err(VolumeError::UnknownManifest(manifest));
        }
        self.shared.tidy().await
    }

    /// Makes the volume larger, while it is used. A size that it has already changes nothing.
    pub async fn grow(&self, size_bytes: u64) -> Result<(), VolumeError> {
        if size_bytes > MAX_VOLUME_BYTES || !size_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(VolumeError::Size(size_bytes));
        }
        self.shared
            .on_cache(move |shared, cache| {
                let mut cache = cache()?;
                let found = shared.size_bytes();
                if size_bytes < found {
                    return Err(VolumeError::Shrunk { found, wanted: size_bytes });
                }
                cache.grow(size_bytes).map_err(io_of("grow the data"))?;
                shared.size_bytes.store(size_bytes, Ordering::SeqCst);
                Ok(())
            })
            .await
    }

    pub async fn status(&self) -> Result<VolumeStatus, VolumeError> {
        self.shared
            .on_cache_whatever(|shared, cache| {
                let cache = cache()?;
                Ok(VolumeStatus {
                    size_bytes: shared.size_bytes(),
                    epoch: shared.epoch,
                    dirty_bytes: u64::from(cache.dirty_blocks()) * BLOCK_BYTES,
                    unreplicated: cache.unreplicated_since().map(|since| since.elapsed()),
                    is_slowed: shared.pace.is_slowed(),
                    is_full: shared.pace.is_full(),
                    cached_bytes: u64::from(cache.present_blocks()) * BLOCK_BYTES,
                    head: cache.head(),
                    committed: cache.committed(),
                    superseded: cache.superseded(),
                    failed: shared.failed.get().cloned(),
                })
            })
            .await
    }

    /// Flushes and lets go of the cache. Waits for a running snapshot. Clones refuse everything afterwards.
    pub async fn close(&self) -> Result<(), VolumeError> {
        let snapshot = self.shared.snapshot_gate.clone().lock_owned().await;
        let flush = self.shared.flush_gate.clone().lock_owned().await;
        self.shared
            .on_cache(move |shared, cache| {
                let _gates = (snapshot, flush);
                let mut cache = cache()?;
                // While the lock is held nobody is between its check and its work.
                if shared.closed.swap(true, Ordering::SeqCst) {
                    return Err(VolumeError::Closed);
                }
                cache.close().map_err(|error| shared.fail(&error))
            })
            .await
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Volume({}, epoch {})", self.shared.volume, self.shared.epoch)
    }
}

/// Takes the lock. A panic under it leaves the state unknown: nobody goes on with it.
pub(crate) type Locker<'a> = dyn Fn() -> Result<std::sync::MutexGuard<'a, Cache>, VolumeError> + 'a;

impl Shared {
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::SeqCst)
    }

    pub fn blocks(&self) -> u32 {
        (self.size_bytes() / BLOCK_BYTES) as u32
    }

    /// Passes on since when something waits for the store. To be called with each change, under the lock.
    pub fn note_dirt(&self, cache: &Cache) {
        self.pace.set(cache.unreplicated_since());
        if cache.has_dirt() {
            self.dirtied.notify_waiters();
        }
    }

    /// Works on the cache on a blocking thread; the work itself says how long it holds the lock.
    pub async fn on_cache<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>, &Locker<'_>) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        self.on_cache_whatever(move |shared, cache| {
            if let Some(why) = shared.failed.get() {
                return Err(VolumeError::Failed(why.clone()));
            }
            let open = || {
                let cache = cache()?;
                if shared.closed.load(Ordering::SeqCst) { Err(VolumeError::Closed) } else { Ok(cache) }
            };
            work(shared, &open)
        })
        .await
    }

    async fn on_cache_whatever<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>, &Locker<'_>) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let shared = self.clone();
        blocking(move || {
            let lock =
                || shared.cache.lock().map_err(|_| VolumeError::Failed("a bug in the cache".to_owned()));
            work(&shared, &lock)
        })
        .await
    }

    /// Writes on this thread, if the write is short and nobody else is at the cache; false as [`Cache::write`] says it.
    fn write_at_once(&self, offset: u64, bytes: &[u8]) -> Option<Result<bool, VolumeError>> {
        if bytes.len() > MAX_WRITE_AT_ONCE_BYTES {
            return None;
        }
        let mut cache = self.cache.try_lock().ok()?;
        // Whoever waits for the lock says why nothing is written any more.
        let is_open = self.failed.get().is_none() && !self.closed.load(Ordering::SeqCst);
        is_open.then(|| self.write_to(&mut cache, offset, bytes))
    }

    fn write_to(&self, cache: &mut Cache, offset: u64, bytes: &[u8]) -> Result<bool, VolumeError> {
        let written = cache.write(offset, bytes).map_err(io_of("write"))?;
        self.note_dirt(cache);
        Ok(written)
    }

    pub async fn flush(self: &Arc<Self>) -> Result<(), VolumeError> {
        let gate = self.flush_gate.clone().lock_owned().await;
        self.on_cache(move |shared, cache| {
            let _gate = gate;
            let Some(mut begun) = cache()?.begin_flush() else { return Ok(()) };
            shared.data.sync().map_err(|error| shared.fail(&error))?;
            let log = cache()?.record_flush(&mut begun).map_err(|error| shared.fail(&error))?;
            if let Some(log) = log {
                log.sync().map_err(|error| shared.fail(&error))?;
                cache()?.end_flush(begun);
            }
            shared.flushed.notify_waiters();
            let mut cache = cache()?;
            if cache.wants_rewrite() {
                cache.rewrite_log().map_err(|error| shared.fail(&error))?;
            }
            Ok(())
        })
        .await
    }

    /// Rewrites the log if what is committed makes most of it idle.
    pub async fn tidy(self: &Arc<Self>) -> Result<(), VolumeError> {
        let gate = self.flush_gate.clone().lock_owned().await;
        self.on_cache(move |shared, cache| {
            let _gate = gate;
            if !cache()?.wants_rewrite() {
                return Ok(());
            }
            // Most of it without the lock, so that the guest waits only for what it writes meanwhile.
            shared.data.sync().map_err(|error| shared.fail(&error))?;
            let mut cache = cache()?;
            if cache.wants_rewrite() {
                cache.rewrite_log().map_err(|error| shared.fail(&error))?;
            }
            Ok(())
        })
        .await
    }

    /// Gives a running snapshot's blocks back to the dirty ones.
    pub fn abandon_cut(&self, number: u32) {
        // After a panic under the lock nobody goes on with the state, so there is nothing to give back to.
        if let Ok(mut cache) = self.cache.lock() {
            cache.abandon_cut(number);
        }
    }

    /// From now on nothing is believed.
    fn fail(&self, error: &io::Error) -> VolumeError {
        let why = self.failed.get_or_init(|| error.to_string());
        tracing::error!(volume = %self.volume, %error, "the cache's disk has failed");
        VolumeError::Failed(why.clone())
    }

    /// The bytes, unless a part of them is in the store only.
    fn read_sources(
        &self,
        sources: &[Source],
        offset: u64,
        length: u64,
    ) -> Result<Option<Bytes>, VolumeError> {
        let mut bytes = BytesMut::zeroed(length as usize);
        for source in sources {
            let (run, on_file) = match source {
                Source::File(run) => (run, true),
                Source::Zeros(run) => (run, false),
                Source::Store(_) => return Ok(None),
            };
            if on_file {
                let start = (u64::from(run.start) * BLOCK_BYTES).max(offset);
                let end = (u64::from(run.end) * BLOCK_BYTES).min(offset + length);
                let into = &mut bytes[(start - offset) as usize..(end - offset) as usize];
                self.data.read(start, into).map_err(io_of("read the data"))?;
            }
        }
        Ok(Some(bytes.freeze()))
    }

    fn check_range(&self, offset: u64, length: u64) -> Result<(), VolumeError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size_bytes());
        if end.is_none() || length > MAX_REQUEST_BYTES {
            return Err(VolumeError::OutOfRange { offset, length });
        }
        Ok(())
    }
}

pub(crate) fn io_of(what: &'static str) -> impl Fn(io::Error) -> VolumeError {
    move |error| VolumeError::of_io(what, error)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    #[cfg(test)]
    if crate::tests::is_inline() {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(VolumeError::Failed(error.to_string())))
}
