//! Manifests: what a volume was at an instant. Pure.
//!
//! The object is a random salt and one sealed frame; its name is the hash of its bytes, so a manifest's name proves what it
//! says, and its parents' names prove the past. Packs are stored before the manifest that names them.
//!
//! ```text
//! magic "BVM1" │ kind 0: whole │ volume 16 │ epoch 8 │ size 8 │ parent 0, or 1 and 32
//! packs:   count, then (id 16, bytes)
//! extents: count, then (blocks since the last one's end, blocks - 1, skip, pack, offset, length)
//! ```
//! Counts and the fields of packs and extents are LEB128. The kind leaves room for manifests that name what changed.

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use uuid::Uuid;

use crate::{
    blocks::{BLOCK_BYTES, VOLUME_BYTES_MAX},
    key::{DataKey, random_bytes},
    map::{BlockMap, Extent, FRAME_BLOCKS_MAX, Frame, Pack, PackId},
    pack::{FRAME_BYTES_MAX, PACK_BYTES_MAX},
    seal::{FrameError, ObjectCipher},
};

/// Largest manifest object: the map of 4 TiB, written in the least favourable order, stays below.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Largest unpacked content.
const CONTENT_BYTES_MAX: usize = 1 << 30;

const MAGIC: &[u8; 4] = b"BVM1";
const WHOLE: u8 = 0;
const SALT_BYTES: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub volume: VolumeId,
    /// The placement that made it.
    pub epoch: Epoch,
    pub parent: Option<ManifestId>,
    pub size_bytes: u64,
    pub map: BlockMap,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("its bytes do not have the hash that names it")]
    OtherBytes,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
}

pub fn manifest_name(tenant: TenantId, id: ManifestId) -> String {
    format!("{tenant}/manifests/{id}")
}

impl Manifest {
    /// Its object and the name of it.
    pub fn seal(&self, key: &DataKey, tenant: TenantId) -> (ManifestId, Bytes) {
        let salt: [u8; SALT_BYTES] = random_bytes();
        let mut object = salt.to_vec();
        object.extend_from_slice(&cipher(key, tenant, &salt).seal(0, &self.encode()));
        (ManifestId(*blake3::hash(&object).as_bytes()), object.into())
    }

    pub fn open(
        key: &DataKey,
        tenant: TenantId,
        id: ManifestId,
        object: &[u8],
    ) -> Result<Self, ManifestError> {
        if blake3::hash(object) != id.0 {
            return Err(ManifestError::OtherBytes);
        }
        let (salt, frame) =
            object.split_first_chunk::<SALT_BYTES>().ok_or(ManifestError::Malformed("it is too short"))?;
        Self::decode(&cipher(key, tenant, salt).open(0, frame, CONTENT_BYTES_MAX)?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(WHOLE);
        bytes.extend_from_slice(self.volume.0.as_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        match self.parent {
            None => bytes.push(0),
            Some(parent) => {
                bytes.push(1);
                bytes.extend_from_slice(&parent.0);
            }
        }
        push_number(&mut bytes, self.map.packs().len() as u64);
        for pack in self.map.packs() {
            bytes.extend_from_slice(&pack.id.0);
            push_number(&mut bytes, u64::from(pack.bytes));
        }
        push_number(&mut bytes, self.map.extents_len() as u64);
        let mut end = 0;
        for extent in self.map.extents() {
            let fields = [
                extent.start - end,
                u32::from(extent.blocks) - 1,
                u32::from(extent.skip),
                extent.frame.pack,
                extent.frame.offset,
                extent.frame.length,
            ];
            for field in fields {
                push_number(&mut bytes, u64::from(field));
            }
            end = extent.end();
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote and nothing that could not have been written by it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut reader = Reader(bytes);
        if reader.array()? != *MAGIC || reader.array()? != [WHOLE] {
            return Err(ManifestError::Malformed("another format"));
        }
        let volume = VolumeId(Uuid::from_bytes(reader.array()?));
        let epoch = Epoch(u64::from_le_bytes(reader.array()?));
        let size_bytes = u64::from_le_bytes(reader.array()?);
        if size_bytes > VOLUME_BYTES_MAX || !size_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(ManifestError::Malformed("its size"));
        }
        let parent = match reader.array()? {
            [0] => None,
            [1] => Some(ManifestId(reader.array()?)),
            _ => return Err(ManifestError::Malformed("its parent")),
        };
        // Each entry takes more than one byte: a count beyond the bytes left is a lie, and nothing is allocated for it.
        let packs = (0..reader.count()?).map(|_| reader.pack()).collect::<Result<Vec<_>, _>>()?;
        let mut end = 0;
        let mut extents = Vec::new();
        for _ in 0..reader.count()? {
            let extent = reader.extent(end, &packs)?;
            if u64::from(extent.end()) * BLOCK_BYTES > size_bytes {
                return Err(ManifestError::Malformed("an extent beyond the end"));
            }
            end = extent.end();
            extents.push(extent);
        }
        if !reader.0.is_empty() {
            return Err(ManifestError::Malformed("more follows"));
        }
        Ok(Self { volume, epoch, parent, size_bytes, map: BlockMap::from_checked(packs, extents) })
    }
}

fn cipher(key: &DataKey, tenant: TenantId, salt: &[u8]) -> ObjectCipher {
    ObjectCipher::new(key, tenant, "manifest", salt)
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    const SHORT: ManifestError = ManifestError::Malformed("it ends early");

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    /// At most 32 bits, in at most five bytes.
    fn number(&mut self) -> Result<u32, ManifestError> {
        let mut number: u64 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(number).map_err(|_| ManifestError::Malformed("a number"));
            }
        }
        Err(ManifestError::Malformed("a number"))
    }

    fn count(&mut self) -> Result<u32, ManifestError> {
        let count = self.number()?;
        if count as usize > self.0.len() { Err(Self::SHORT) } else { Ok(count) }
    }

    fn pack(&mut self) -> Result<Pack, ManifestError> {
        let pack = Pack { id: PackId(self.array()?), bytes: self.number()? };
        if pack.bytes as usize > PACK_BYTES_MAX {
            return Err(ManifestError::Malformed("a pack's size"));
        }
        Ok(pack)
    }

    fn extent(&mut self, last_end: u32, packs: &[Pack]) -> Result<Extent, ManifestError> {
        let bad = ManifestError::Malformed("an extent");
        let start = last_end.checked_add(self.number()?).ok_or(bad.clone())?;
        let (blocks, skip) = (u64::from(self.number()?) + 1, u64::from(self.number()?));
        let frame = Frame { pack: self.number()?, offset: self.number()?, length: self.number()? };
        let pack = packs.get(frame.pack as usize).ok_or(bad.clone())?;
        let frame_end = u64::from(frame.offset) + u64::from(frame.length);
        let fits = blocks + skip <= u64::from(FRAME_BLOCKS_MAX)
            && start.checked_add(blocks as u32).is_some()
            && frame_end <= u64::from(pack.bytes)
            && frame.length as usize <= FRAME_BYTES_MAX;
        if !fits {
            return Err(bad);
        }
        Ok(Extent { start, blocks: blocks as u8, frame, skip: skip as u8 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_manifest() -> impl Strategy<Value = Manifest> {
        let extent = (0u32..1000, 1u8..=16, 0u32..4, 0u32..100_000);
        (prop::collection::vec(extent, 0..40), any::<u64>(), any::<Option<[u8; 32]>>()).prop_map(
            |(extents, epoch, parent)| {
                let mut map = BlockMap::default();
                (0u8..4).for_each(|id| {
                    map.add_pack(Pack { id: PackId([id; 16]), bytes: 200_000 });
                });
                for (start, blocks, pack, offset) in extents {
                    let frame = Frame { pack, offset, length: 5000 };
                    map.insert(Extent { start, blocks, frame, skip: FRAME_BLOCKS_MAX - blocks });
                }
                Manifest {
                    volume: VolumeId(Uuid::from_u128(7)),
                    epoch: Epoch(epoch),
                    parent: parent.map(ManifestId),
                    size_bytes: 1024 * BLOCK_BYTES,
                    map,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_manifest_reads_back(manifest in some_manifest()) {
            let (key, tenant) = (DataKey::random(), TenantId::random());
            let (id, object) = manifest.seal(&key, tenant);
            prop_assert_eq!(Manifest::open(&key, tenant, id, &object), Ok(manifest.clone()));
            prop_assert!(Manifest::open(&DataKey::random(), tenant, id, &object).is_err());
            prop_assert!(Manifest::open(&key, TenantId::random(), id, &object).is_err());
        }

        #[test]
        fn altered_objects_are_found(manifest in some_manifest(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (key, tenant) = (DataKey::random(), TenantId::random());
            let (id, object) = manifest.seal(&key, tenant);
            let mut object = object.to_vec();
            let index = at.index(object.len());
            object[index] ^= 1u8 << bit;
            prop_assert_eq!(Manifest::open(&key, tenant, id, &object), Err(ManifestError::OtherBytes));
            // Even under the name that the altered bytes have.
            let other = ManifestId(*blake3::hash(&object).as_bytes());
            prop_assert!(Manifest::open(&key, tenant, other, &object).is_err());
        }

        #[test]
        fn decoding_survives_anything(manifest in some_manifest(), cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
            let mut bytes = manifest.encode();
            for (at, value) in flips {
                let index = at.index(bytes.len());
                bytes[index] = value;
            }
            if let Ok(decoded) = Manifest::decode(&bytes) {
                prop_assert_eq!(Manifest::decode(&decoded.encode()), Ok(decoded));
            }
            bytes.truncate(cut.index(bytes.len()));
            let _ = Manifest::decode(&bytes);
        }
    }
}
