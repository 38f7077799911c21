//! Homes that would take hours to write, reduced to their manifest: for measurements of what only
//! their size costs.

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use crate::{
    blocks::BLOCK_BYTES,
    format::{
        block_map::{BlockMap, Extent, Frame, MAX_FRAME_BLOCKS, Pack, PackId},
        key::DataKey,
        manifest::{Content, Manifest, manifest_name},
    },
};

/// Blocks in a pack of content that compresses to half its size.
const PACK_BLOCKS: u32 = 4096;
const FRAME_BYTES: u32 = 32 << 10;

/// Makes the manifest of a home without holes. Returns its id, the name of its object, and the
/// object. The packs do not exist.
pub fn dense_home_manifest(
    key: &DataKey,
    tenant: TenantId,
    volume: VolumeId,
    size_bytes: u64,
) -> (ManifestId, String, Bytes) {
    let blocks = (size_bytes / BLOCK_BYTES) as u32;
    let frame_blocks = u32::from(MAX_FRAME_BLOCKS);
    let frames = PACK_BLOCKS / frame_blocks;
    let pack = |number: u32| {
        let id = PackId(u128::from(number).to_le_bytes());
        Pack { id, bytes: frames * FRAME_BYTES, blocks: PACK_BLOCKS }
    };
    let extent = |start: u32| Extent {
        start,
        blocks: frame_blocks.min(blocks - start) as u8,
        frame: Frame {
            pack: start / PACK_BLOCKS,
            offset: start % PACK_BLOCKS / frame_blocks * FRAME_BYTES,
            length: FRAME_BYTES,
        },
        skip: 0,
    };
    let extents: Vec<Extent> = (0..blocks).step_by(frame_blocks as usize).map(extent).collect();
    let map = BlockMap::from_checked((0..blocks.div_ceil(PACK_BLOCKS)).map(pack).collect(), &extents);
    let content = Content::Whole { parent: None, map };
    let (id, object) =
        Manifest { volume, epoch: Epoch(1), size_bytes, boot_order: None, content }.seal(key, tenant);
    (id, manifest_name(tenant, id), object)
}
