//! The interface of a volume: a disk whose flush means this host's disk, and whose snapshot means
//! the store.
//!
//! Reads are served from the cache; blocks that it does not have are fetched first. File access
//! happens on blocking threads, except for short writes, and under one lock that is held briefly
//! and never across an await.
//!
//! Snapshots are in [`crate::snapshot`]; compaction, repair and disk space in [`crate::maintain`].

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use protocol::{Epoch, ManifestId, TenantId, VolumeId, runner::DiskShare};

use crate::{
    blocking::run_blocking,
    blocks::{BLOCK_BYTES, MAX_VOLUME_BYTES, blocks_covered, blocks_touched, byte_offset},
    cache::{BlockSource, Cache, CacheDirectory, Header, Host, check_epoch, check_size},
    error::VolumeError,
    format::{block_map::BlockMap, key::DataKey},
    objects::{LoadedSnapshot, Objects},
    open::OpenVolume,
    read::{fetch::fetch_range, prefetch},
    store::{ObjectStore, StoreError},
};

/// Most bytes that are written under one hold of the lock.
const WRITE_SLICE_BYTES: usize = 1 << 20;
/// Longest write that is done on the calling thread: it only copies into the page cache, in less
/// time than a change of threads.
const MAX_INLINE_WRITE_BYTES: usize = 64 << 10;
/// Most blocks that are discarded under one hold of the lock.
const DISCARD_SLICE_BLOCKS: u32 = 1 << 16;
/// Most bytes of one read or write.
pub const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// How often a request fetches its missing blocks before it gives up. A further round is only
/// needed because a snapshot ended during the last one and moved the blocks.
const MAX_FETCH_ROUNDS: usize = 8;

/// Everything that is needed to open a volume.
pub struct VolumeOptions {
    /// The tenant that owns the volume. Part of the name of every object.
    pub tenant: TenantId,
    /// The volume to open.
    pub volume: VolumeId,
    /// At least the size that the head records: a volume only grows.
    pub size_bytes: u64,
    /// This placement. A cache or a head of a later one refuses to open.
    pub epoch: Epoch,
    /// The committed snapshot to continue from; none for a new volume.
    pub head: Option<ManifestId>,
    /// The volume that made the head, if it is another: then this volume is a fork without a
    /// snapshot of its own.
    pub head_of: Option<VolumeId>,
    /// How often the volume was restored as a whole. A cache of an earlier lineage is moved aside.
    pub lineage: u64,
    /// A directory that only this volume uses. It is created if it does not exist.
    pub cache: PathBuf,
    /// Encrypts and decrypts the objects: the data key of `tenant`.
    pub key: DataKey,
    /// Where snapshots are stored, and from where blocks come that the cache does not have.
    pub store: Arc<dyn ObjectStore>,
}

/// An open volume: an array of bytes that can be read, written, flushed and stored as snapshots.
/// See the [crate] for the life of a write.
///
/// Clones are handles of the same volume. The cache is released when the last clone, snapshot and
/// running call are gone, or by [`Volume::close`].
///
/// ```ignore
/// let volume = Volume::open(options).await?;
/// volume.write(0, Bytes::from_static(b"hello")).await?;
/// volume.flush().await?; // On this host's disk.
/// let snapshot = volume.snapshot(|_| ()).await?; // In the store.
/// // The controller commits `snapshot.manifest`, and answers:
/// volume.confirm_commit(snapshot.manifest).await?;
/// volume.close().await?;
/// ```
#[derive(Clone)]
pub struct Volume {
    pub(crate) inner: Arc<OpenVolume>,
}

/// What a volume reports about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStatus {
    /// Size of the volume in bytes.
    pub size_bytes: u64,
    /// The placement that has it open.
    pub epoch: Epoch,
    /// Bytes that no snapshot in the store has.
    pub dirty_bytes: u64,
    /// Age of the oldest write that no committed snapshot has.
    pub unreplicated: Option<Duration>,
    /// Whether writes are slowed down because of that age or the share of the local disk.
    pub is_slowed: bool,
    /// Whether writes wait because the disk under the cache is nearly full.
    pub is_full: bool,
    /// Bytes that the local cache holds.
    pub cached_bytes: u64,
    /// The newest snapshot that is complete in the store.
    pub head: Option<ManifestId>,
    /// The newest snapshot that the controller has committed.
    pub committed: Option<ManifestId>,
    /// Local changes that do not build on the head. They were moved into this directory, for an
    /// operator to look at.
    pub superseded: Option<PathBuf>,
    /// Why the volume refuses everything, if it does.
    pub failed: Option<String>,
}

impl Volume {
    /// Opens the volume at its head. Changes that the cache has beyond the head stay; an empty
    /// cache is filled by reading.
    ///
    /// Fails if the cache or the head belongs to another volume, another key or a later placement,
    /// if the cache is in use, or if the head cannot be read.
    pub async fn open(options: VolumeOptions) -> Result<Self, VolumeError> {
        Self::open_on(options, Host::current()).await
    }

    /// Opens the volume on a given host: tests simulate one that loses power.
    pub(crate) async fn open_on(options: VolumeOptions, host: Host) -> Result<Self, VolumeError> {
        check_volume_size(options.size_bytes)?;
        let objects = Objects::new(options.tenant, options.key.clone(), options.store.clone());
        let head = match options.head {
            None => None,
            Some(head) => Some(objects.load(head).await?),
        };
        if let Some(head) = &head {
            check_head(head, &options)?;
        }
        let header = Header {
            tenant: options.tenant,
            volume: options.volume,
            key_check: objects.key().check_value(options.volume),
            epoch: options.epoch,
            size_bytes: options.size_bytes,
            head: options.head,
            boot: host.boot,
            salt: [0; 32],
            lineage: options.lineage,
        };
        let directory = options.cache;
        let (map, chain, head_bytes, boot_order) = match head {
            None => (BlockMap::default(), None, 0, Vec::new()),
            Some(LoadedSnapshot { map, chain, size_bytes, boot_order, .. }) => {
                (map, Some(chain), size_bytes, boot_order)
            }
        };
        let cache = run_blocking(move || {
            Ok(Cache::new(CacheDirectory::open(directory, host, header)?, map, chain, head_bytes))
        })
        .await?;
        let (id, epoch, size_bytes) = (options.volume, options.epoch, options.size_bytes);
        let inner = OpenVolume::new(id, epoch, size_bytes, objects, cache, boot_order);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Size of the volume in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    /// Reads at most [`MAX_REQUEST_BYTES`]. Waits for the store if the cache does not have all of
    /// it.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, VolumeError> {
        self.check_range(offset, length)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let range = blocks_touched(offset, length);
        self.inner.boot_order.record_read(&range);
        for _ in 0..MAX_FETCH_ROUNDS {
            let wanted = range.clone();
            let read = self.inner.with_cache(move |volume, cache| {
                let (sources, evictions) = {
                    let cache = cache.lock()?;
                    (cache.sources(wanted), volume.evictions())
                };
                let bytes = read_local(volume, &sources, offset, length)?;
                Ok(bytes.filter(|_| volume.evictions() == evictions))
            });
            match read.await? {
                Some(bytes) => return Ok(bytes),
                None => fetch_range(&self.inner, range.clone()).await?,
            }
        }
        Err(fetch_rounds_exceeded())
    }

    /// Writes at most [`MAX_REQUEST_BYTES`]. A write is durable once a later [`Self::flush`] has
    /// returned.
    ///
    /// May wait, if the store is far behind, if the home has used up its share of the local disk or if
    /// that is nearly full. [`VolumeError::Full`] if the share stays used up. After an error, any part of
    /// the bytes may have been written.
    pub async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), VolumeError> {
        self.check_range(offset, bytes.len() as u64)?;
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let slice = rest.split_to(rest.len().min(WRITE_SLICE_BYTES));
            let length = slice.len() as u64;
            self.inner.throttle.admit_write(length).await?;
            self.write_slice(offset, slice).await?;
            offset += length;
        }
        Ok(())
    }

    async fn write_slice(&self, offset: u64, slice: Bytes) -> Result<(), VolumeError> {
        let range = blocks_touched(offset, slice.len() as u64);
        for _ in 0..MAX_FETCH_ROUNDS {
            let is_written = if let Some(written) = self.write_inline(offset, &slice) {
                written?
            } else {
                let bytes = slice.clone();
                let write = self.inner.with_cache(move |_, cache| {
                    cache.lock_for_change()?.write(offset, &bytes).map_err(write_failed())
                });
                write.await?
            };
            if is_written {
                return Ok(());
            }
            // A block that is only partly overwritten needs its other part first.
            fetch_range(&self.inner, range.start..range.start + 1).await?;
            fetch_range(&self.inner, range.end - 1..range.end).await?;
        }
        Err(fetch_rounds_exceeded())
    }

    /// Writes on this thread if the write is short and no other thread uses the cache.
    /// `Some(Ok(false))` means that a block must be fetched first, as with [`Cache::write`].
    fn write_inline(&self, offset: u64, bytes: &[u8]) -> Option<Result<bool, VolumeError>> {
        if bytes.len() > MAX_INLINE_WRITE_BYTES {
            return None;
        }
        let mut cache = self.inner.try_lock_for_change()?;
        Some(cache.write(offset, bytes).map_err(write_failed()))
    }

    /// Makes the range zeros, and releases the space of its whole blocks, here and in the next
    /// snapshot. Any length.
    pub async fn discard(&self, offset: u64, length: u64) -> Result<(), VolumeError> {
        self.check_range(offset, 0)?;
        if length > self.inner.size_bytes() - offset {
            return Err(VolumeError::OutOfRange { offset, length });
        }
        let whole = blocks_covered(offset, length);
        let mut start = whole.start;
        while start < whole.end {
            let end = whole.end.min(start.saturating_add(DISCARD_SLICE_BLOCKS));
            self.inner
                .with_cache(move |_, cache| {
                    let discarded = cache.lock_for_change()?.discard(start..end);
                    discarded.map_err(VolumeError::cache_io("discard blocks in the cache"))
                })
                .await?;
            start = end;
        }
        let end = offset + length;
        let whole_start = byte_offset(whole.start).min(end);
        let whole_end = byte_offset(whole.end).max(whole_start);
        for edge in [offset..whole_start, whole_end..end] {
            if !edge.is_empty() {
                self.write(edge.start, Bytes::from(vec![0; (edge.end - edge.start) as usize])).await?;
            }
        }
        Ok(())
    }

    /// Makes everything that was written before the call durable on this host's disk.
    ///
    /// If a sync fails, the volume refuses everything from then on: [`VolumeError::Failed`].
    pub async fn flush(&self) -> Result<(), VolumeError> {
        self.inner.flush().await
    }

    /// Records that the controller has committed this snapshot as the head. The volume will be
    /// opened again at this one or a later one, so that older records of the log can go. Repeating
    /// it changes nothing.
    pub async fn confirm_commit(&self, manifest: ManifestId) -> Result<(), VolumeError> {
        let confirm =
            self.inner.with_cache(move |_, cache| Ok(cache.lock_for_change()?.confirm_commit(manifest)));
        if !confirm.await? {
            return Err(VolumeError::UnknownManifest(manifest));
        }
        self.inner.shorten_log().await
    }

    /// Makes the volume larger, while it is in use. The new blocks read as zeros. Its present size
    /// changes nothing; a smaller one is refused.
    pub async fn grow(&self, size_bytes: u64) -> Result<(), VolumeError> {
        check_volume_size(size_bytes)?;
        self.inner
            .with_cache(move |volume, cache| {
                let mut cache = cache.lock()?;
                let found = volume.size_bytes();
                if size_bytes < found {
                    return Err(VolumeError::Shrunk { found, wanted: size_bytes });
                }
                cache.grow(size_bytes).map_err(VolumeError::cache_io("grow the cache"))?;
                volume.set_size_bytes(size_bytes);
                Ok(())
            })
            .await
    }

    /// Fetches all blocks that the cache does not have, those that a start reads first. Ends when
    /// the cache has them all, when the local disk is nearly full, or with an error that the
    /// guest's own reads would get too.
    pub async fn prefetch(&self) -> Result<(), VolumeError> {
        prefetch::fetch_everything(&self.inner).await
    }

    /// Sets the share of the local disk that the volume may use for what the store does not have.
    pub fn set_disk_share(&self, share: DiskShare) {
        self.inner.throttle.set_share(share);
    }

    /// Sets whether the next snapshot waits although something has changed. Then writes that wait for it
    /// are not refused, however long it takes.
    pub fn set_uploads_paced(&self, are_paced: bool) {
        self.inner.throttle.share.set_paced(are_paced);
    }

    /// Waits until writes are slowed because the store lacks much of the volume's share of the disk.
    pub async fn wait_until_crowded(&self) {
        self.inner.throttle.share.wait_until_crowded().await;
    }

    /// Also answers when the volume is closed or has failed.
    pub async fn status(&self) -> Result<VolumeStatus, VolumeError> {
        self.inner
            .with_cache_always(|volume, cache| {
                let cache = cache.lock()?;
                Ok(VolumeStatus {
                    size_bytes: volume.size_bytes(),
                    epoch: volume.epoch,
                    dirty_bytes: byte_offset(cache.dirty_blocks()),
                    unreplicated: cache.unreplicated_since().map(|since| since.elapsed()),
                    is_slowed: volume.throttle.is_slowed(),
                    is_full: volume.throttle.is_full(),
                    cached_bytes: byte_offset(cache.present_blocks()),
                    head: cache.head(),
                    committed: cache.committed(),
                    superseded: cache.superseded(),
                    failed: volume.failure().map(str::to_owned),
                })
            })
            .await
    }

    /// Flushes and releases the cache. Waits for a running snapshot. Every clone refuses all calls
    /// afterwards.
    pub async fn close(&self) -> Result<(), VolumeError> {
        let snapshot = self.inner.snapshot_gate.clone().lock_owned().await;
        let flush = self.inner.flush_gate.clone().lock_owned().await;
        self.inner
            .with_cache(move |volume, cache| {
                let _gates = (snapshot, flush);
                let mut cache = cache.lock()?;
                if !volume.mark_closed() {
                    return Err(VolumeError::Closed);
                }
                cache.close().map_err(|error| volume.fail(&error))
            })
            .await
    }

    fn check_range(&self, offset: u64, length: u64) -> Result<(), VolumeError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.inner.size_bytes());
        if end.is_none() || length > MAX_REQUEST_BYTES {
            return Err(VolumeError::OutOfRange { offset, length });
        }
        Ok(())
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Volume({}, epoch {})", self.inner.id, self.inner.epoch)
    }
}

fn check_volume_size(size_bytes: u64) -> Result<(), VolumeError> {
    if size_bytes == 0 || size_bytes > MAX_VOLUME_BYTES || !size_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(VolumeError::Size(size_bytes));
    }
    Ok(())
}

/// Refuses a head of another volume, of a later placement, or of a larger size.
fn check_head(head: &LoadedSnapshot, options: &VolumeOptions) -> Result<(), VolumeError> {
    let is_own = head.volume == options.volume;
    if !is_own && Some(head.volume) != options.head_of {
        return Err(VolumeError::OtherVolume { found: head.volume, wanted: options.volume });
    }
    // The epochs of another volume are counted apart.
    if is_own {
        check_epoch(head.epoch, options.epoch)?;
    }
    check_size(head.size_bytes, options.size_bytes)
}

/// The bytes of the range, unless only the store has a part of them. Needs no lock, but blocks that
/// are evicted at the same time read as zeros: see [`OpenVolume::evictions`].
fn read_local(
    volume: &OpenVolume,
    sources: &[BlockSource],
    offset: u64,
    length: u64,
) -> Result<Option<Bytes>, VolumeError> {
    let mut bytes = BytesMut::zeroed(length as usize);
    for source in sources {
        match source {
            BlockSource::Store(_) => return Ok(None),
            BlockSource::Zeros(_) => {}
            BlockSource::File(run) => {
                let start = byte_offset(run.start).max(offset);
                let end = byte_offset(run.end).min(offset + length);
                let into = &mut bytes[(start - offset) as usize..(end - offset) as usize];
                volume.data().read(start, into).map_err(VolumeError::cache_io("read from the cache"))?;
            }
        }
    }
    Ok(Some(bytes.freeze()))
}

fn write_failed() -> impl Fn(std::io::Error) -> VolumeError {
    VolumeError::cache_io("write to the cache")
}

fn fetch_rounds_exceeded() -> VolumeError {
    VolumeError::Store(StoreError::Unavailable("fetched blocks did not stay in the cache".to_owned()))
}
