//! Taking a snapshot: cut, copy, pack, store, manifest last. Writes go on meanwhile.
//!
//! Until the manifest is in the store and the log says so durably, what was cut counts as dirty: a snapshot that fails, is
//! dropped, or dies with the process, loses nothing. Packs it had stored are then named by no manifest and are garbage.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{Epoch, ManifestId};
use tokio::{sync::OwnedMutexGuard, task::JoinSet};

use crate::{
    blocks::BLOCK_BYTES,
    cache::UNCOMMITTED_MAX,
    error::VolumeError,
    manifest::{Manifest, manifest_name},
    map::{BlockMap, FRAME_BLOCKS_MAX, Pack},
    pack::{PackWriter, SealedPack, pack_name},
    store::{ObjectStore, StoreError, retrying},
    volume::{Shared, Volume, io_of},
};

/// Packs on their way at once: with the one being filled 32 MiB of memory.
const UPLOADS_MAX: usize = 3;
/// Blocks copied under one hold of the lock: the guest's writes wait for 256 KiB at most.
const COPY_BLOCKS: usize = 64;
/// Blocks copied and sealed in one go on a blocking thread.
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
    pub changed_bytes: u64,
    pub uploaded_bytes: u64,
    /// Objects that were stored for it.
    pub objects: u64,
    /// Bytes of all objects that the volume rests on.
    pub stored_bytes: u64,
}

impl Volume {
    /// Stores the volume as it is now. Costs nothing if nothing has changed since the last.
    pub async fn snapshot(&self, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
        let shared = &self.shared;
        let gate = shared.snapshot_gate.clone().lock_owned().await;
        let cut = match shared.on_cache(move |shared, cache| begin(shared, &mut *cache()?, gate)).await? {
            Begun::Unchanged(snapshot) => return Ok(snapshot),
            Begun::Cut(cut) => cut,
        };
        // The cut must be durable before a manifest rests on it.
        shared.flush().await?;
        store(shared, cut, progress).await
    }
}

enum Begun {
    Unchanged(Snapshot),
    Cut(CutGuard),
}

/// A cut under way; gives it up when dropped.
struct CutGuard {
    shared: Arc<Shared>,
    number: u32,
    changed_bytes: u64,
    parent: Option<ManifestId>,
    finished: bool,
    _gate: OwnedMutexGuard<()>,
}

impl Drop for CutGuard {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.abandon_cut(self.number);
        }
    }
}

fn begin(
    shared: &Arc<Shared>,
    cache: &mut crate::cache::Cache,
    gate: OwnedMutexGuard<()>,
) -> Result<Begun, VolumeError> {
    let waiting = cache.uncommitted().len();
    if waiting >= UNCOMMITTED_MAX {
        return Err(VolumeError::TooManyUncommitted(waiting));
    }
    let parent = cache.head();
    let cut = cache.cut().map_err(io_of("cut a snapshot"))?;
    if let (None, Some(manifest)) = (cut, parent) {
        let stored_bytes = cache.map().stored_bytes();
        let epoch = shared.epoch;
        let unchanged =
            Snapshot { manifest, epoch, changed_bytes: 0, uploaded_bytes: 0, objects: 0, stored_bytes };
        return Ok(Begun::Unchanged(unchanged));
    }
    let cut = cut.expect("without a head there is always something to cut");
    Ok(Begun::Cut(CutGuard {
        shared: shared.clone(),
        number: cut.number,
        changed_bytes: u64::from(cut.blocks) * BLOCK_BYTES,
        parent,
        finished: false,
        _gate: gate,
    }))
}

/// Packs that were stored, and what that came to.
struct Stored {
    map: BlockMap,
    progress: Progress,
    objects: u64,
}

async fn store(
    shared: &Arc<Shared>,
    mut cut: CutGuard,
    progress: impl Fn(Progress) + Send,
) -> Result<Snapshot, VolumeError> {
    let Stored { map, progress: done, objects } = store_packs(shared, &cut, progress).await?;
    let manifest = Manifest {
        volume: shared.volume,
        epoch: shared.epoch,
        parent: cut.parent,
        size_bytes: shared.size_bytes,
        map,
    };
    let (key, tenant) = (shared.key.clone(), shared.tenant);
    let (id, object, map) = crate::volume::blocking(move || {
        let (id, object) = manifest.seal(&key, tenant);
        Ok((id, object, manifest.map))
    })
    .await?;
    let (manifest_bytes, stored_bytes) = (object.len() as u64, map.stored_bytes());
    put(&*shared.store, &manifest_name(tenant, id), object).await?;
    let snapshot = Snapshot {
        manifest: id,
        epoch: shared.epoch,
        changed_bytes: cut.changed_bytes,
        uploaded_bytes: done.uploaded_bytes + manifest_bytes,
        objects: objects + 1,
        stored_bytes: stored_bytes + manifest_bytes,
    };
    // The gate stays shut until the log has the word: the cut goes along.
    let _cut = shared
        .on_cache(move |_, cache| {
            cache()?.finish_cut(id, map).map_err(io_of("note a snapshot in the log"))?;
            cut.finished = true;
            Ok(cut)
        })
        .await?;
    shared.flush().await?;
    Ok(snapshot)
}

async fn store_packs(
    shared: &Arc<Shared>,
    cut: &CutGuard,
    report: impl Fn(Progress) + Send,
) -> Result<Stored, VolumeError> {
    let number = cut.number;
    let map = shared
        .on_cache(move |_, cache| cache()?.map_without_cut(number).ok_or(VolumeError::SnapshotAbandoned));
    let map = map.await?;
    let mut progress = Progress { changed_bytes: cut.changed_bytes, ..Progress::default() };
    report(progress);
    let mut stored = Stored { map, progress, objects: 0 };
    let mut uploads = JoinSet::new();
    let mut packer = Packer::new(shared, number);
    loop {
        let (next_packer, copied_all) = shared.on_cache(move |_, cache| packer.step(cache)).await?;
        packer = next_packer;
        while let Some(pack) = packer.full.pop() {
            begin_upload(shared, &mut uploads, &mut stored, pack);
        }
        while uploads.len() > if copied_all { 0 } else { UPLOADS_MAX - 1 } {
            let uploaded = uploads.join_next().await.expect("one is under way");
            progress.uploaded_bytes += uploaded.map_err(|error| VolumeError::Failed(error.to_string()))??;
        }
        progress.done_bytes = packer.copied_blocks * BLOCK_BYTES;
        report(progress);
        if copied_all {
            // Holes were cut too, and are done without copying.
            progress.done_bytes = progress.changed_bytes;
            report(progress);
            stored.progress = progress;
            stored.map.drop_unused_packs();
            return Ok(stored);
        }
    }
}

fn begin_upload(
    shared: &Arc<Shared>,
    uploads: &mut JoinSet<Result<u64, VolumeError>>,
    stored: &mut Stored,
    pack: SealedPack,
) {
    let index = stored.map.add_pack(Pack { id: pack.id, bytes: pack.bytes.len() as u32 });
    for mut extent in pack.extents {
        extent.frame.pack = index;
        stored.map.insert(extent);
    }
    stored.objects += 1;
    let (store, name) = (shared.store.clone(), pack_name(shared.tenant, pack.id));
    uploads.spawn(async move {
        let length = pack.bytes.len() as u64;
        put(&*store, &name, pack.bytes.into()).await?;
        Ok(length)
    });
}

/// An object of its name is this object: names are random or hashes, and an answer may have been lost.
async fn put(store: &dyn ObjectStore, name: &str, body: Bytes) -> Result<(), StoreError> {
    retrying(|| store.put_if_absent(name, body.clone())).await.map(|_| ())
}

/// Turns the cut's blocks into packs.
struct Packer {
    shared: Arc<Shared>,
    cut: u32,
    writer: PackWriter,
    /// Blocks for the next frame.
    blocks: Vec<u32>,
    content: Vec<u8>,
    /// Where the cut is copied from next.
    next: u32,
    copied_blocks: u64,
    full: Vec<SealedPack>,
}

impl Packer {
    fn new(shared: &Arc<Shared>, cut: u32) -> Self {
        Self {
            shared: shared.clone(),
            cut,
            writer: PackWriter::new(&shared.key, shared.tenant),
            blocks: Vec::new(),
            content: Vec::new(),
            next: 0,
            copied_blocks: 0,
            full: Vec::new(),
        }
    }

    /// Copies and seals the next blocks; true when none are left and the last pack is full.
    fn step(mut self, cache: &crate::volume::Locker<'_>) -> Result<(Self, bool), VolumeError> {
        for _ in 0..STEP_BLOCKS / COPY_BLOCKS {
            let copied = cache()?.copy_cut(self.cut, self.next, COPY_BLOCKS);
            let copied =
                copied.map_err(io_of("copy a snapshot out"))?.ok_or(VolumeError::SnapshotAbandoned)?;
            let Some(last) = copied.blocks.last() else {
                self.seal_frame();
                self.finish_pack();
                return Ok((self, true));
            };
            self.next = last + 1;
            self.copied_blocks += copied.blocks.len() as u64;
            for (block, content) in
                copied.blocks.iter().zip(copied.content.chunks_exact(BLOCK_BYTES as usize))
            {
                self.add(*block, content);
            }
        }
        Ok((self, false))
    }

    /// Zeros are holes: nothing is stored for them.
    fn add(&mut self, block: u32, content: &[u8]) {
        if content.iter().all(|byte| *byte == 0) {
            return;
        }
        self.blocks.push(block);
        self.content.extend_from_slice(content);
        if self.blocks.len() == usize::from(FRAME_BLOCKS_MAX) {
            self.seal_frame();
        }
    }

    fn seal_frame(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        self.writer.add(&self.blocks, &self.content);
        self.blocks.clear();
        self.content.clear();
        if self.writer.is_full() {
            self.finish_pack();
        }
    }

    fn finish_pack(&mut self) {
        let fresh = PackWriter::new(&self.shared.key, self.shared.tenant);
        let writer = std::mem::replace(&mut self.writer, fresh);
        if !writer.is_empty() {
            self.full.push(writer.finish());
        }
    }
}
