//! Packs: objects of at most 8 MiB that consist of frames. A frame is up to 16 blocks, compressed
//! and encrypted together. Pure.

use protocol::TenantId;

use super::{
    block_map::{Extent, Frame, MAX_FRAME_BLOCKS, Pack, PackId},
    key::{DataKey, random_bytes},
    seal::{Compressor, FRAME_OVERHEAD, FrameError, ObjectCipher},
};
use crate::blocks::{BLOCK_BYTES, is_zero};

/// Largest pack: large enough that the cost of a request does not matter, small enough to hold a
/// few in memory.
pub const MAX_PACK_BYTES: usize = 8 << 20;

/// Most blocks in a pack: content that compresses to nearly nothing still has the overhead of its
/// frames.
pub const MAX_PACK_BLOCKS: u32 = (MAX_PACK_BYTES / FRAME_OVERHEAD) as u32 * MAX_FRAME_BLOCKS as u32;

/// Most bytes in a frame, before compression.
pub const MAX_FRAME_CONTENT: usize = MAX_FRAME_BLOCKS as usize * BLOCK_BYTES as usize;
/// Most bytes of a frame in its pack.
pub const MAX_FRAME_BYTES: usize = MAX_FRAME_CONTENT + FRAME_OVERHEAD;

/// The name of a pack's object. Packs belong to the tenant, not to a volume: a fork shares those of
/// its origin.
pub fn pack_name(tenant: TenantId, id: PackId) -> String {
    format!("{tenant}/packs/{id}")
}

/// The pack that an object's name names, if it is one of this tenant.
pub fn parse_pack_name(tenant: TenantId, name: &str) -> Option<PackId> {
    name.strip_prefix(&format!("{tenant}/packs/")).and_then(PackId::parse)
}

/// The cipher of a pack's frames.
pub fn pack_cipher(key: &DataKey, tenant: TenantId, id: PackId) -> ObjectCipher {
    ObjectCipher::new(key, tenant, "pack", &id.0)
}

/// A pack that is being filled.
struct PackWriter {
    id: PackId,
    cipher: ObjectCipher,
    compressor: Compressor,
    bytes: Vec<u8>,
    blocks: u32,
    /// Their `frame.pack` is 0 until the pack is added to a manifest's table.
    extents: Vec<Extent>,
}

/// A pack that is ready to be uploaded.
pub struct SealedPack {
    pub pack: Pack,
    /// The object.
    pub bytes: Vec<u8>,
    /// Where its blocks lie. `frame.pack` is 0: see
    /// [`Delta::add_pack`](super::manifest::Delta::add_pack).
    pub extents: Vec<Extent>,
}

impl PackWriter {
    fn new(key: &DataKey, tenant: TenantId) -> Self {
        let id = PackId(random_bytes());
        Self {
            id,
            cipher: pack_cipher(key, tenant, id),
            compressor: Compressor::new(),
            // Reserved at once: growing by doubling, a pack would hold up to twice its bytes. What
            // is not written takes no memory.
            bytes: Vec::with_capacity(MAX_PACK_BYTES),
            blocks: 0,
            extents: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next frame may not fit.
    fn is_full(&self) -> bool {
        self.bytes.len() + MAX_FRAME_BYTES > MAX_PACK_BYTES
    }

    /// Adds blocks, in order of their numbers, as one frame.
    fn add_frame(&mut self, blocks: &[u32], content: &[u8]) {
        debug_assert!(blocks.len() <= usize::from(MAX_FRAME_BLOCKS) && !self.is_full(), "the frame fits");
        let offset = self.bytes.len() as u64;
        let sealed = self.cipher.seal(offset, content, &mut self.compressor);
        let frame = Frame { pack: 0, offset: offset as u32, length: sealed.len() as u32 };
        self.bytes.extend_from_slice(&sealed);
        self.blocks += blocks.len() as u32;
        let first = self.extents.len();
        for (skip, &block) in blocks.iter().enumerate() {
            match self.extents[first..].last_mut() {
                Some(run) if run.end() == block => run.blocks += 1,
                _ => self.extents.push(Extent { start: block, blocks: 1, frame, skip: skip as u8 }),
            }
        }
    }

    fn finish(mut self) -> SealedPack {
        self.bytes.shrink_to_fit();
        let pack = Pack { id: self.id, bytes: self.bytes.len() as u32, blocks: self.blocks };
        SealedPack { pack, bytes: self.bytes, extents: self.extents }
    }
}

/// Fills pack after pack with blocks.
pub struct PackBuilder {
    key: DataKey,
    tenant: TenantId,
    writer: PackWriter,
    /// Blocks for the next frame.
    blocks: Vec<u32>,
    content: Vec<u8>,
    /// Packs that are complete. The caller takes them out and uploads them.
    pub full: Vec<SealedPack>,
}

impl PackBuilder {
    /// A builder whose packs are encrypted for this tenant.
    pub fn new(key: &DataKey, tenant: TenantId) -> Self {
        let (blocks, content, full) = Default::default();
        Self { key: key.clone(), tenant, writer: PackWriter::new(key, tenant), blocks, content, full }
    }

    /// Adds a block. Blocks come in order of their numbers. Zeros are not stored: they become
    /// holes.
    pub fn add(&mut self, block: u32, content: &[u8]) {
        if is_zero(content) {
            return;
        }
        self.blocks.push(block);
        self.content.extend_from_slice(content);
        if self.blocks.len() == usize::from(MAX_FRAME_BLOCKS) {
            self.seal_frame();
        }
    }

    /// Completes the last pack. No more blocks follow.
    pub fn finish(&mut self) {
        self.seal_frame();
        self.finish_pack();
    }

    fn seal_frame(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        self.writer.add_frame(&self.blocks, &self.content);
        self.blocks.clear();
        self.content.clear();
        if self.writer.is_full() {
            self.finish_pack();
        }
    }

    fn finish_pack(&mut self) {
        let fresh = PackWriter::new(&self.key, self.tenant);
        let writer = std::mem::replace(&mut self.writer, fresh);
        if !writer.is_empty() {
            self.full.push(writer.finish());
        }
    }
}

/// Decrypts and verifies a frame. Returns its blocks.
pub fn open_frame(cipher: &ObjectCipher, frame: Frame, bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    let content = cipher.open(u64::from(frame.offset), bytes, MAX_FRAME_CONTENT)?;
    if content.is_empty() || !(content.len() as u64).is_multiple_of(BLOCK_BYTES) {
        return Err(FrameError::Malformed);
    }
    Ok(content)
}

/// The content of an extent within its decrypted frame.
pub fn blocks_of_extent<'a>(extent: &Extent, content: &'a [u8]) -> Result<&'a [u8], FrameError> {
    let block = BLOCK_BYTES as usize;
    let start = usize::from(extent.skip) * block;
    content.get(start..start + usize::from(extent.blocks) * block).ok_or(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_back_from_their_frames() {
        let (key, tenant) = (DataKey::random(), TenantId::random());
        let mut writer = PackWriter::new(&key, tenant);
        let block = |number: u32| vec![number as u8; BLOCK_BYTES as usize];
        let frames: [&[u32]; 2] = [&[3, 4, 9], &[10, 700]];
        for blocks in frames {
            writer.add_frame(blocks, &blocks.iter().flat_map(|number| block(*number)).collect::<Vec<_>>());
        }
        let pack = writer.finish();
        let ranges: Vec<_> = pack.extents.iter().map(Extent::range).collect();
        assert_eq!(ranges, [3..5, 9..10, 10..11, 700..701]);
        let cipher = pack_cipher(&key, tenant, pack.pack.id);
        assert_eq!(pack.pack.blocks, 5);
        for extent in &pack.extents {
            let Frame { offset, length, .. } = extent.frame;
            let bytes = &pack.bytes[offset as usize..][..length as usize];
            let content = open_frame(&cipher, extent.frame, bytes).expect("opens");
            let expected: Vec<u8> = extent.range().flat_map(block).collect();
            assert_eq!(blocks_of_extent(extent, &content), Ok(expected.as_slice()));
        }
    }
}
