//! The pipeline from a cut to the store: copy blocks, seal them into packs, upload the packs. The
//! three overlap.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Progress;
use crate::{
    blocking::run_blocking,
    blocks::{BLOCK_BYTES, byte_offset},
    cache::{CutBlocks, CutContent},
    error::VolumeError,
    format::{
        manifest::Delta,
        next_manifest::{ManifestDraft, SealedManifest},
        pack::{PackBuilder, SealedPack},
    },
    open::{CacheLock, OpenVolume},
};

/// Packs that are uploaded at once. With the one being filled they take 24 MiB of memory.
const MAX_UPLOADS: usize = 2;
/// Blocks that are copied under one hold of the lock. The guest's writes wait for 256 KiB at most.
const COPY_BLOCKS: usize = 64;
/// Blocks that are copied, and then sealed, in one go on a blocking thread.
const BATCH_BLOCKS: usize = 256;

/// The packs of a cut, which are in the store, as the delta that names them.
pub struct UploadedPacks {
    pub delta: Delta,
    pub progress: Progress,
}

/// Uploads the data of a cut. Fails with [`VolumeError::SnapshotAbandoned`] if the cut is
/// abandoned.
pub async fn upload_packs(
    volume: &Arc<OpenVolume>,
    cut: &CutContent,
    report: impl Fn(Progress) + Send,
) -> Result<UploadedPacks, VolumeError> {
    let changed_bytes = byte_offset(cut.blocks.len());
    let mut progress = Progress { changed_bytes, ..Progress::default() };
    report(progress);
    let mut delta = Delta::default();
    let mut uploads = JoinSet::new();
    let mut builder = volume.objects.pack_builder();
    let mut batch = Batch::copy(volume, cut.number, 0).await?;
    loop {
        let (next, is_last) = (batch.next, batch.is_last);
        progress.done_bytes += batch.bytes();
        // The next blocks are copied while these are sealed.
        let sealing = run_blocking(move || Ok(batch.seal(builder)));
        let copying =
            async { if is_last { Ok(None) } else { Batch::copy(volume, cut.number, next).await.map(Some) } };
        let (sealed, following) = tokio::try_join!(sealing, copying)?;
        builder = sealed;
        while let Some(pack) = builder.full.pop() {
            begin_upload(volume, &mut uploads, &mut delta, pack);
        }
        while uploads.len() > if is_last { 0 } else { MAX_UPLOADS - 1 } {
            let uploaded = uploads.join_next().await.expect("an upload is running");
            progress.uploaded_bytes += uploaded.map_err(|error| VolumeError::Failed(error.to_string()))??;
        }
        report(progress);
        let Some(following) = following else { break };
        batch = following;
    }
    // The cut's holes have nothing to copy.
    progress.done_bytes = progress.changed_bytes;
    report(progress);
    Ok(UploadedPacks { delta, progress })
}

fn begin_upload(
    volume: &Arc<OpenVolume>,
    uploads: &mut JoinSet<Result<u64, VolumeError>>,
    delta: &mut Delta,
    sealed: SealedPack,
) {
    let SealedPack { pack, bytes, extents } = sealed;
    delta.add_pack(pack, extents);
    let objects = volume.objects.clone();
    uploads.spawn(async move {
        let length = bytes.len() as u64;
        objects.put_pack(pack.id, bytes.into()).await?;
        Ok(length)
    });
}

/// Seals the manifest of a cut whose packs are in the store.
pub async fn seal_manifest(
    volume: &Arc<OpenVolume>,
    cut: CutContent,
    mut delta: Delta,
) -> Result<SealedManifest, VolumeError> {
    let volume = volume.clone();
    run_blocking(move || {
        let CutContent { blocks, map, chain, is_whole, size_bytes, .. } = cut;
        // Blocks of the cut that no pack holds are zeros.
        let mut holes = (*blocks).clone();
        delta.extents.iter().for_each(|extent| holes.remove_all(extent.range()));
        delta.holes = holes.runs().collect();
        let draft = ManifestDraft {
            volume: volume.id,
            epoch: volume.epoch,
            size_bytes,
            map: (*map).clone(),
            chain,
            is_whole,
            recorded_order: volume.boot_order.order_to_store(),
            known_order: volume.boot_order.known(),
            delta,
        };
        Ok(draft.seal(volume.objects.key(), volume.objects.tenant()))
    })
    .await
}

/// Blocks of a cut on their way from the cache into packs.
struct Batch {
    copied: Vec<CutBlocks>,
    /// The block at which the next batch begins.
    next: u32,
    is_last: bool,
}

impl Batch {
    async fn copy(volume: &Arc<OpenVolume>, cut: u32, from: u32) -> Result<Self, VolumeError> {
        let mut batch = Self { copied: Vec::new(), next: from, is_last: false };
        let copying = move |_: &Arc<OpenVolume>, cache: &CacheLock<'_>| {
            for _ in 0..BATCH_BLOCKS / COPY_BLOCKS {
                let copied = cache.lock()?.copy_cut(cut, batch.next, COPY_BLOCKS);
                let copied = copied
                    .map_err(VolumeError::cache_io("copy a snapshot out of the cache"))?
                    .ok_or(VolumeError::SnapshotAbandoned)?;
                let Some(last) = copied.blocks.last() else {
                    batch.is_last = true;
                    break;
                };
                batch.next = last + 1;
                batch.copied.push(copied);
            }
            Ok(batch)
        };
        volume.with_cache(copying).await
    }

    fn bytes(&self) -> u64 {
        self.copied.iter().map(|copied| copied.content.len() as u64).sum()
    }

    /// Adds the blocks to the builder. The last batch finishes its last pack.
    fn seal(self, mut builder: PackBuilder) -> PackBuilder {
        for CutBlocks { blocks, content } in self.copied {
            for (block, content) in blocks.into_iter().zip(content.chunks_exact(BLOCK_BYTES as usize)) {
                builder.add(block, content);
            }
        }
        if self.is_last {
            builder.finish();
        }
        builder
    }
}
