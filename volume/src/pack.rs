//! Packs: objects of at most 8 MiB made of frames, each frame up to sixteen blocks sealed together. Pure.

use protocol::TenantId;

use crate::{
    blocks::{BLOCK_BYTES, is_zero},
    key::{DataKey, random_bytes},
    map::{Extent, Frame, MAX_FRAME_BLOCKS, Pack, PackId},
    seal::{Compressor, FRAME_OVERHEAD, FrameError, ObjectCipher},
};

/// Large enough that a store's cost per request does not matter, small enough to hold a few in memory.
pub const MAX_PACK_BYTES: usize = 8 << 20;

/// What is compressed to nearly nothing still has its frames' overhead.
pub const MAX_PACK_BLOCKS: u32 = (MAX_PACK_BYTES / FRAME_OVERHEAD) as u32 * MAX_FRAME_BLOCKS as u32;

pub const MAX_FRAME_CONTENT: usize = MAX_FRAME_BLOCKS as usize * BLOCK_BYTES as usize;
pub const MAX_FRAME_BYTES: usize = MAX_FRAME_CONTENT + FRAME_OVERHEAD;

/// The object's name of a pack. Packs belong to the tenant, not to a volume, so that homes may share them.
pub fn pack_name(tenant: TenantId, id: PackId) -> String {
    format!("{tenant}/packs/{id}")
}

/// The pack of an object's name.
pub fn pack_of(tenant: TenantId, name: &str) -> Option<PackId> {
    name.strip_prefix(&format!("{tenant}/packs/")).and_then(PackId::parse)
}

pub fn pack_cipher(key: &DataKey, tenant: TenantId, id: PackId) -> ObjectCipher {
    ObjectCipher::new(key, tenant, "pack", &id.0)
}

/// A pack being filled.
pub struct PackWriter {
    id: PackId,
    cipher: ObjectCipher,
    compressor: Compressor,
    bytes: Vec<u8>,
    blocks: u32,
    /// Extents whose `frame.pack` is still 0: the table's index is given when the pack is done.
    extents: Vec<Extent>,
}

/// A pack ready to be stored.
pub struct SealedPack {
    pub pack: Pack,
    pub bytes: Vec<u8>,
    pub extents: Vec<Extent>,
}

impl PackWriter {
    pub fn new(key: &DataKey, tenant: TenantId) -> Self {
        let id = PackId(random_bytes());
        Self {
            id,
            cipher: pack_cipher(key, tenant, id),
            compressor: Compressor::new(),
            // Room for all of it at once: growing by doubling, each pack on its way would hold twice its bytes. What is not
            // written takes no memory.
            bytes: Vec::with_capacity(MAX_PACK_BYTES),
            blocks: 0,
            extents: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next frame may not fit.
    pub fn is_full(&self) -> bool {
        self.bytes.len() + MAX_FRAME_BYTES > MAX_PACK_BYTES
    }

    /// Adds blocks, in order of their numbers, as one frame.
    pub fn add(&mut self, blocks: &[u32], content: &[u8]) {
        debug_assert!(blocks.len() <= usize::from(MAX_FRAME_BLOCKS) && !self.is_full(), "it fits");
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

    pub fn finish(mut self) -> SealedPack {
        self.bytes.shrink_to_fit();
        let pack = Pack { id: self.id, bytes: self.bytes.len() as u32, blocks: self.blocks };
        SealedPack { pack, bytes: self.bytes, extents: self.extents }
    }
}

/// Fills pack after pack with blocks as they come.
pub struct Filler {
    key: DataKey,
    tenant: TenantId,
    writer: PackWriter,
    /// Blocks for the next frame.
    blocks: Vec<u32>,
    content: Vec<u8>,
    /// For whoever stores them.
    pub full: Vec<SealedPack>,
}

impl Filler {
    pub fn new(key: &DataKey, tenant: TenantId) -> Self {
        let (blocks, content, full) = Default::default();
        Self { key: key.clone(), tenant, writer: PackWriter::new(key, tenant), blocks, content, full }
    }

    /// In order of their numbers. Zeros are holes: nothing is stored for them.
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

    /// No more blocks follow.
    pub fn end(&mut self) {
        self.seal_frame();
        self.finish_pack();
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
        let fresh = PackWriter::new(&self.key, self.tenant);
        let writer = std::mem::replace(&mut self.writer, fresh);
        if !writer.is_empty() {
            self.full.push(writer.finish());
        }
    }
}

/// The blocks of a frame, opened and verified.
pub fn open_frame(cipher: &ObjectCipher, frame: Frame, bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    let content = cipher.open(u64::from(frame.offset), bytes, MAX_FRAME_CONTENT)?;
    if content.is_empty() || !(content.len() as u64).is_multiple_of(BLOCK_BYTES) {
        return Err(FrameError::Malformed);
    }
    Ok(content)
}

/// The blocks of `extent` within its opened frame.
pub fn part<'a>(extent: &Extent, content: &'a [u8]) -> Result<&'a [u8], FrameError> {
    let block = BLOCK_BYTES as usize;
    let start = usize::from(extent.skip) * block;
    content.get(start..start + usize::from(extent.blocks) * block).ok_or(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_from_their_frames() {
        let (key, tenant) = (DataKey::random(), TenantId::random());
        let mut writer = PackWriter::new(&key, tenant);
        let block = |number: u32| vec![number as u8; BLOCK_BYTES as usize];
        let frames: [&[u32]; 2] = [&[3, 4, 9], &[10, 700]];
        for blocks in frames {
            writer.add(blocks, &blocks.iter().flat_map(|number| block(*number)).collect::<Vec<_>>());
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
            assert_eq!(part(extent, &content), Ok(expected.as_slice()));
        }
    }
}
