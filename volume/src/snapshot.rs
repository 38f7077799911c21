//! Taking a snapshot: cut, copy, pack, store, manifest last. Writes go on meanwhile.
//!
//! Until the manifest is in the store and the log says so durably, what was cut counts as dirty: a snapshot that fails, is
//! dropped, or dies with the process, loses nothing. Packs it had stored are then named by no manifest and are garbage.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::{Epoch, ManifestId};
use tokio::{
    sync::OwnedMutexGuard,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    blocks::BLOCK_BYTES,
    cache::{Copied, CutMade, MAX_UNCOMMITTED},
    error::VolumeError,
    manifest::{Delta, manifest_name},
    next::{Next, Step},
    objects::put,
    pack::{Filler, SealedPack, pack_name},
    volume::{Locker, Shared, Volume, blocking, io_of},
};

/// Packs on their way at once: with the one being filled 24 MiB of memory.
const MAX_UPLOADS: usize = 2;
/// Blocks copied under one hold of the lock: the guest's writes wait for 256 KiB at most.
const COPY_BLOCKS: usize = 64;
/// Blocks copied, and then sealed, in one go on a blocking thread.
const STEP_BLOCKS: usize = 256;

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub changed_bytes: u64,
    /// Of those, read and sealed.
    pub done_bytes: u64,
    /// Sealed bytes that the store has.
    pub uploaded_bytes: u64,
}

/// A snapshot whole in the store. It counts once the controller has committed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub manifest: ManifestId,
    pub epoch: Epoch,
    /// The instant that it holds.
    pub cut_at: SystemTime,
    pub changed_bytes: u64,
    /// Of packs and manifest together.
    pub uploaded_bytes: u64,
    /// Of the manifest alone.
    pub manifest_bytes: u64,
    /// Objects that were stored for it.
    pub objects: u64,
    /// Bytes of all objects that the volume rests on.
    pub stored_bytes: u64,
}

/// The right to take the next snapshot: one is taken at a time.
pub struct Turn {
    shared: Arc<Shared>,
    gate: OwnedMutexGuard<()>,
}

impl Volume {
    /// Stores the volume as it is now. Costs nothing if nothing has changed since the last.
    pub async fn snapshot(&self, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
        self.turn().await.cut().await?.store(progress).await
    }

    /// Waits for a running snapshot's end. Whoever holds the guest still for a cut does so after this.
    pub async fn turn(&self) -> Turn {
        let gate = self.shared.snapshot_gate.clone().lock_owned().await;
        Turn { shared: self.shared.clone(), gate }
    }

    /// Resolves when something has been written that the next snapshot will hold, `after` has passed since, and the guest has
    /// just flushed, or has not for so long as `flush_within`.
    pub async fn due(&self, after: Duration, flush_within: Duration) -> Result<(), VolumeError> {
        loop {
            let dirtied = self.shared.dirtied.notified();
            tokio::pin!(dirtied);
            dirtied.as_mut().enable();
            if self.shared.on_cache(|_, cache| Ok(cache()?.has_dirt())).await? {
                break;
            }
            dirtied.await;
        }
        tokio::time::sleep(after).await;
        let _ = timeout(flush_within, self.shared.flushed.notified()).await;
        Ok(())
    }
}

impl Turn {
    /// Freezes the volume's content of this instant: milliseconds, whatever its size.
    pub async fn cut(self) -> Result<Cut, VolumeError> {
        let Self { shared, gate } = self;
        let volume = shared.clone();
        volume.on_cache(move |_, cache| begin(shared, &mut *cache()?, gate)).await
    }
}

/// A volume's content of one instant, on its way to the store. Dropped before it is stored, it is given up.
pub enum Cut {
    /// Nothing has changed since this one.
    Unchanged(Snapshot),
    Changed(Changed),
}

impl Cut {
    /// Stores it.
    pub async fn store(self, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
        match self {
            Self::Unchanged(snapshot) => Ok(snapshot),
            Self::Changed(changed) => {
                // The cut must be durable before a manifest rests on it.
                changed.shared.flush().await?;
                let begun = Instant::now();
                let shared = changed.shared.clone();
                let snapshot = store(changed, progress).await?;
                shared.pace.stored(snapshot.changed_bytes, begun.elapsed());
                Ok(snapshot)
            }
        }
    }
}

/// A cut under way; gives it up when dropped.
pub struct Changed {
    shared: Arc<Shared>,
    made: CutMade,
    cut_at: SystemTime,
    finished: bool,
    _gate: OwnedMutexGuard<()>,
}

impl Drop for Changed {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.abandon_cut(self.made.number);
        }
    }
}

fn begin(
    shared: Arc<Shared>,
    cache: &mut crate::cache::Cache,
    gate: OwnedMutexGuard<()>,
) -> Result<Cut, VolumeError> {
    let waiting = cache.uncommitted();
    if waiting >= MAX_UNCOMMITTED {
        return Err(VolumeError::TooManyUncommitted(waiting));
    }
    let head = cache.head();
    let cut = cache.cut().map_err(io_of("cut a snapshot"))?;
    let cut_at = SystemTime::now();
    if let (None, Some(manifest)) = (&cut, head) {
        return Ok(Cut::Unchanged(Snapshot {
            manifest,
            epoch: shared.epoch,
            cut_at,
            changed_bytes: 0,
            uploaded_bytes: 0,
            manifest_bytes: 0,
            objects: 0,
            stored_bytes: cache.map().stored_bytes(),
        }));
    }
    let made = cut.expect("without a head there is always something to cut");
    Ok(Cut::Changed(Changed { shared, made, cut_at, finished: false, _gate: gate }))
}

/// What a cut's packs say, and what storing them came to.
struct Stored {
    delta: Delta,
    progress: Progress,
}

async fn store(mut cut: Changed, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
    let shared = cut.shared.clone();
    let Stored { delta, progress: done } = store_packs(&cut, progress).await?;
    let packs = delta.packs.len() as u64;
    let (about, made) = (shared.clone(), cut.made.clone());
    let sealed = blocking(move || Ok(seal(&about, made, delta))).await?;
    let Next { id, object, chain, map, order } = sealed;
    let manifest_bytes = object.len() as u64;
    put(&*shared.objects.store, &manifest_name(shared.objects.tenant, id), object).await?;
    let snapshot = Snapshot {
        manifest: id,
        epoch: shared.epoch,
        cut_at: cut.cut_at,
        changed_bytes: done.changed_bytes,
        uploaded_bytes: done.uploaded_bytes + manifest_bytes,
        manifest_bytes,
        objects: packs + 1,
        stored_bytes: map.stored_bytes() + manifest_bytes,
    };
    // The gate stays shut until the log has the word: the cut goes along.
    let size_bytes = cut.made.size_bytes;
    let _cut = shared
        .on_cache(move |shared, cache| {
            let mut cache = cache()?;
            cache.finish_cut(chain, map, size_bytes).map_err(io_of("note a snapshot in the log"))?;
            shared.note_dirt(&cache);
            if let Some(order) = order {
                shared.recorder.stored(order);
            }
            cut.finished = true;
            Ok(cut)
        })
        .await?;
    shared.flush().await?;
    Ok(snapshot)
}

fn seal(shared: &Shared, made: CutMade, mut delta: Delta) -> Next {
    let CutMade { blocks, map, chain, whole, size_bytes, .. } = made;
    let mut holes = (*blocks).clone();
    delta.extents.iter().for_each(|extent| holes.remove_all(extent.range()));
    delta.holes = holes.runs().collect();
    let step = Step {
        volume: shared.volume,
        epoch: shared.epoch,
        size_bytes,
        map: (*map).clone(),
        chain,
        whole,
        fresh_order: shared.recorder.worth_storing(),
        known_order: shared.recorder.known(),
        delta,
    };
    step.seal(&shared.objects.key, shared.objects.tenant)
}

async fn store_packs(cut: &Changed, report: impl Fn(Progress) + Send) -> Result<Stored, VolumeError> {
    let shared = &cut.shared;
    let changed_bytes = u64::from(cut.made.blocks.len()) * BLOCK_BYTES;
    let mut progress = Progress { changed_bytes, ..Progress::default() };
    report(progress);
    let mut delta = Delta::default();
    let mut uploads = JoinSet::new();
    let mut filler = Filler::new(&shared.objects.key, shared.objects.tenant);
    let mut batch = Batch::copy(shared, cut.made.number, 0).await?;
    loop {
        let (next, is_last) = (batch.next, batch.is_last);
        progress.done_bytes += batch.bytes();
        // The next blocks are read while these are sealed.
        let sealing = blocking(move || Ok(batch.fill(filler)));
        let copying = async {
            if is_last { Ok(None) } else { Batch::copy(shared, cut.made.number, next).await.map(Some) }
        };
        let (filled, following) = tokio::try_join!(sealing, copying)?;
        filler = filled;
        while let Some(pack) = filler.full.pop() {
            begin_upload(shared, &mut uploads, &mut delta, pack);
        }
        while uploads.len() > if is_last { 0 } else { MAX_UPLOADS - 1 } {
            let uploaded = uploads.join_next().await.expect("one is under way");
            progress.uploaded_bytes += uploaded.map_err(|error| VolumeError::Failed(error.to_string()))??;
        }
        report(progress);
        let Some(following) = following else { break };
        batch = following;
    }
    // Holes were cut too, and are done without copying.
    progress.done_bytes = progress.changed_bytes;
    report(progress);
    Ok(Stored { delta, progress })
}

fn begin_upload(
    shared: &Arc<Shared>,
    uploads: &mut JoinSet<Result<u64, VolumeError>>,
    delta: &mut Delta,
    sealed: SealedPack,
) {
    let SealedPack { pack, bytes, extents } = sealed;
    delta.add(pack, extents);
    let (store, name) = (shared.objects.store.clone(), pack_name(shared.objects.tenant, pack.id));
    uploads.spawn(async move {
        let length = bytes.len() as u64;
        put(&*store, &name, bytes.into()).await?;
        Ok(length)
    });
}

/// Blocks of a cut on their way into packs.
struct Batch {
    copied: Vec<Copied>,
    /// Where the cut is copied from next.
    next: u32,
    is_last: bool,
}

impl Batch {
    async fn copy(shared: &Arc<Shared>, cut: u32, from: u32) -> Result<Self, VolumeError> {
        let mut batch = Self { copied: Vec::new(), next: from, is_last: false };
        let copying = move |_: &Arc<Shared>, cache: &Locker<'_>| {
            for _ in 0..STEP_BLOCKS / COPY_BLOCKS {
                let copied = cache()?.copy_cut(cut, batch.next, COPY_BLOCKS);
                let copied =
                    copied.map_err(io_of("copy a snapshot out"))?.ok_or(VolumeError::SnapshotAbandoned)?;
                let Some(last) = copied.blocks.last() else {
                    batch.is_last = true;
                    break;
                };
                batch.next = last + 1;
                batch.copied.push(copied);
            }
            Ok(batch)
        };
        shared.on_cache(copying).await
    }

    fn bytes(&self) -> u64 {
        self.copied.iter().map(|copied| copied.content.len() as u64).sum()
    }

    /// Seals the blocks; after the last ones the last pack is full.
    fn fill(self, mut filler: Filler) -> Filler {
        for Copied { blocks, content } in self.copied {
            for (block, content) in blocks.into_iter().zip(content.chunks_exact(BLOCK_BYTES as usize)) {
                filler.add(block, content);
            }
        }
        if self.is_last {
            filler.end();
        }
        filler
    }
}
