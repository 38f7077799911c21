//! The receiving side of a transfer: a volume that no sandbox uses is changed in the store, without
//! a cache. Chunks replace what a base snapshot has there, and the result is the volume's next
//! manifest. The caller decides whose head that becomes.
//!
//! Packs are uploaded before the manifest that names them. If an import is interrupted, it leaves
//! objects that gc deletes, and nothing else.

use std::{ops::Range, sync::Arc};

use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use super::chunk::{CHUNK_BLOCKS, Chunk};
use crate::{
    blocking::run_blocking,
    blocks::{BLOCK_BYTES, byte_offset, is_zero, push_block},
    error::VolumeError,
    format::{
        key::DataKey,
        manifest::Delta,
        next_manifest::ManifestDraft,
        pack::{PackBuilder, SealedPack},
    },
    objects::{LoadedSnapshot, Objects},
    store::ObjectStore,
    view::SnapshotView,
};

/// The volume that is written.
pub struct ImportTarget {
    /// Where its objects are written.
    pub store: Arc<dyn ObjectStore>,
    /// Encrypts them: the data key of `tenant`.
    pub key: DataKey,
    /// The tenant that owns the volume.
    pub tenant: TenantId,
    /// The volume's identifier in this installation.
    pub volume: VolumeId,
    /// Size of the volume in bytes. Chunks beyond it are refused.
    pub size_bytes: u64,
}

/// The volume's next manifest, which is in the store.
pub struct ImportedSnapshot {
    /// Identifies the snapshot in the store.
    pub manifest: ManifestId,
    /// The snapshot, open: the base of the next import.
    pub view: SnapshotView,
    /// Bytes of all objects that it builds on.
    pub stored_bytes: u64,
}

/// The epoch of an imported manifest: no placement made it, and every placement is later.
const IMPORT_EPOCH: Epoch = Epoch(0);

/// Writes chunks over a base snapshot, or over zeros if there is none. The chunks are in order and
/// within the volume.
pub async fn import_chunks(
    target: ImportTarget,
    base: Option<&SnapshotView>,
    chunks: Vec<Chunk>,
) -> Result<ImportedSnapshot, VolumeError> {
    let ImportTarget { store, key, tenant, volume, size_bytes } = target;
    let objects = Objects::new(tenant, key.clone(), store);
    let delta = upload_chunks(&objects, (size_bytes / BLOCK_BYTES) as u32, chunks).await?;
    let base = base.map(SnapshotView::snapshot);
    let size_bytes = base.map_or(0, |base| base.size_bytes).max(size_bytes);
    let boot_order = base.map(|base| base.boot_order.clone()).unwrap_or_default();
    let draft = ManifestDraft {
        volume,
        epoch: IMPORT_EPOCH,
        size_bytes,
        map: base.map(|base| base.map.clone()).unwrap_or_default(),
        chain: base.map(|base| base.chain.clone()),
        is_whole: false,
        recorded_order: None,
        known_order: boot_order.clone(),
        delta,
    };
    let manifest = run_blocking(move || Ok(draft.seal(&key, tenant))).await?;
    let stored_bytes = manifest.map.stored_bytes() + manifest.object.len() as u64;
    objects.put_manifest(manifest.id, manifest.object).await?;
    let (map, chain) = (manifest.map, manifest.chain);
    let snapshot = LoadedSnapshot { volume, epoch: IMPORT_EPOCH, size_bytes, boot_order, map, chain };
    Ok(ImportedSnapshot { manifest: manifest.id, view: SnapshotView::new(objects, snapshot), stored_bytes })
}

async fn upload_chunks(objects: &Objects, blocks: u32, chunks: Vec<Chunk>) -> Result<Delta, VolumeError> {
    let builder = objects.pack_builder();
    let (packs, holes) = run_blocking(move || Ok(pack_chunks(builder, blocks, &chunks))).await?;
    let mut delta = Delta { holes, ..Delta::default() };
    for SealedPack { pack, bytes, extents } in packs {
        delta.add_pack(pack, extents);
        objects.put_pack(pack.id, bytes.into()).await?;
    }
    Ok(delta)
}

/// Packs of the blocks that hold data, and the runs of the others.
fn pack_chunks(
    mut builder: PackBuilder,
    blocks: u32,
    chunks: &[Chunk],
) -> (Vec<SealedPack>, Vec<Range<u32>>) {
    let mut holes: Vec<Range<u32>> = Vec::new();
    for Chunk { index, content } in chunks {
        let first = index * CHUNK_BLOCKS;
        for block in first..blocks.min(first + CHUNK_BLOCKS) {
            let at = byte_offset(block - first) as usize;
            match content.get(at..at + BLOCK_BYTES as usize) {
                Some(bytes) if !is_zero(bytes) => builder.add(block, bytes),
                _ => push_block(&mut holes, block),
            }
        }
    }
    builder.finish();
    (builder.full, holes)
}
