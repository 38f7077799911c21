//! A volume changed without a machine and without a cache: what it is in the store, and chunks that came from elsewhere, become
//! its next manifest. Whose head that is, the caller decides.
//!
//! Packs are stored before the manifest that names them. Cut short, it leaves garbage and nothing else.

use std::{ops::Range, sync::Arc};

use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use crate::{
    blocks::{BLOCK_BYTES, is_zero},
    chunk::{CHUNK_BLOCKS, Part},
    error::VolumeError,
    key::DataKey,
    manifest::{Delta, manifest_name},
    next::{Next, Step},
    objects::{Loaded, Objects, put},
    pack::{Filler, SealedPack, pack_name},
    reader::Reader,
    store::ObjectStore,
    volume::blocking,
};

/// The volume that is written.
pub struct Target {
    pub store: Arc<dyn ObjectStore>,
    pub key: DataKey,
    pub tenant: TenantId,
    pub volume: VolumeId,
    pub size_bytes: u64,
}

/// A volume's next manifest, in the store.
pub struct Patched {
    pub manifest: ManifestId,
    /// It, open: the base of the next patch.
    pub reader: Reader,
    /// Bytes of all objects that it rests on.
    pub stored_bytes: u64,
}

/// No placement made it: any that comes is later.
const NO_PLACEMENT: Epoch = Epoch(0);

/// Puts chunks in place of what `base` has there, of nothing if there is none. They are in order, and within the volume.
pub async fn patch(target: Target, base: Option<&Reader>, parts: Vec<Part>) -> Result<Patched, VolumeError> {
    let Target { store, key, tenant, volume, size_bytes } = target;
    let objects = Objects::new(tenant, key.clone(), store);
    let delta = store_packs(&objects, (size_bytes / BLOCK_BYTES) as u32, parts).await?;
    let base = base.map(Reader::loaded);
    let size_bytes = base.map_or(0, |base| base.size_bytes).max(size_bytes);
    let order = base.map(|base| base.order.clone()).unwrap_or_default();
    let step = Step {
        volume,
        epoch: NO_PLACEMENT,
        size_bytes,
        map: base.map(|base| base.map.clone()).unwrap_or_default(),
        chain: base.map(|base| base.chain.clone()),
        whole: false,
        fresh_order: None,
        known_order: order.clone(),
        delta,
    };
    let Next { id, object, chain, map, .. } = blocking(move || Ok(step.seal(&key, tenant))).await?;
    let stored_bytes = map.stored_bytes() + object.len() as u64;
    put(&*objects.store, &manifest_name(tenant, id), object).await?;
    let loaded = Loaded { volume, epoch: NO_PLACEMENT, size_bytes, order, map, chain };
    Ok(Patched { manifest: id, reader: Reader::new(objects, loaded), stored_bytes })
}

async fn store_packs(objects: &Objects, blocks: u32, parts: Vec<Part>) -> Result<Delta, VolumeError> {
    let filler = Filler::new(&objects.key, objects.tenant);
    let (packs, holes) = blocking(move || Ok(fill(filler, blocks, &parts))).await?;
    let mut delta = Delta { holes, ..Delta::default() };
    for SealedPack { pack, bytes, extents } in packs {
        delta.add(pack, extents);
        put(&*objects.store, &pack_name(objects.tenant, pack.id), bytes.into()).await?;
    }
    Ok(delta)
}

/// Packs of what is no zeros, and where zeros are.
fn fill(mut filler: Filler, blocks: u32, parts: &[Part]) -> (Vec<SealedPack>, Vec<Range<u32>>) {
    let mut holes: Vec<Range<u32>> = Vec::new();
    for Part { index, content } in parts {
        let first = index * CHUNK_BLOCKS;
        for block in first..blocks.min(first + CHUNK_BLOCKS) {
            let at = (block - first) as usize * BLOCK_BYTES as usize;
            match content.get(at..at + BLOCK_BYTES as usize) {
                Some(bytes) if !is_zero(bytes) => filler.add(block, bytes),
                _ => match holes.last_mut() {
                    Some(run) if run.end == block => run.end += 1,
                    _ => holes.push(block..block + 1),
                },
            }
        }
    }
    filler.end();
    (filler.full, holes)
}
