//! Manifests: what a volume was at one instant. Pure.
//!
//! The object is a random salt and one sealed frame. Its name is the hash of its bytes. So the name
//! proves the content, and the names in the chain prove the history. Packs are uploaded before the
//! manifest that names them.
//!
//! ```text
//! magic "BVM2" │ volume 16 │ epoch 8 │ size 8 │ boot order: 0, or 1 and count, then (start, blocks)
//! whole, 0: parent 0, or 1 and 32
//! delta, 1: chain: count, then 32 each: the whole manifest and the deltas since, the parent last
//!           holes: count, then (blocks since the last one's end, blocks - 1)
//! packs:    count, then (id 16, bytes, blocks)
//! extents:  count, then (blocks since the last one's end, blocks - 1, skip, pack, offset, length)
//! ```
//! Counts and the fields of runs, packs and extents are LEB128. A delta's holes and extents replace
//! what the parent has there. A delta names its whole chain, so that it is opened with one round of
//! requests and not one for each link.

use std::ops::Range;

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use uuid::Uuid;

use super::{
    block_map::{BlockMap, Extent, Frame, MAX_FRAME_BLOCKS, Pack, PackId},
    key::{DataKey, random_bytes},
    pack::{MAX_FRAME_BYTES, MAX_PACK_BLOCKS, MAX_PACK_BYTES},
    seal::{Compressor, FrameError, ObjectCipher},
};
use crate::blocks::{BLOCK_BYTES, MAX_VOLUME_BYTES};

/// Largest manifest object. The map of 4 TiB, written in the least favourable order, stays below.
pub const MAX_MANIFEST_BYTES: u64 = 256 << 20;
/// Largest content of a manifest, decompressed.
const MAX_CONTENT_BYTES: usize = 1 << 30;

/// Manifests that one delta builds on. Opening fetches all of them at once.
pub const MAX_CHAIN: usize = 64;
/// Runs of a boot order: more than the first minute of a start reads.
pub const MAX_ORDER_RUNS: usize = 4096;

const MAGIC: &[u8; 4] = b"BVM2";
const WHOLE: u8 = 0;
const DELTA: u8 = 1;
const SALT_BYTES: usize = 32;

/// What a volume was at one instant, complete or as changes since a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub volume: VolumeId,
    /// The placement that made it.
    pub epoch: Epoch,
    pub size_bytes: u64,
    /// What the first minute of a start reads, in its order. None in a delta means that the
    /// parent's order holds.
    pub boot_order: Option<Vec<Range<u32>>>,
    pub content: Content,
}

/// The two kinds of manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Maps every block.
    Whole { parent: Option<ManifestId>, map: BlockMap },
    /// Maps the blocks that have changed since the last manifest of the chain.
    Delta { chain: Vec<ManifestId>, delta: Delta },
}

/// Changes since a parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Blocks that have become zeros, in order.
    pub holes: Vec<Range<u32>>,
    /// New packs.
    pub packs: Vec<Pack>,
    /// In order; `frame.pack` is an index into `packs`.
    pub extents: Vec<Extent>,
}

impl Delta {
    /// Adds a pack and the extents of its blocks, whose `frame.pack` it sets.
    pub fn add_pack(&mut self, pack: Pack, extents: Vec<Extent>) {
        let index = self.packs.len() as u32;
        self.packs.push(pack);
        self.extents.extend(extents.into_iter().map(|extent| {
            let frame = Frame { pack: index, ..extent.frame };
            Extent { frame, ..extent }
        }));
    }

    /// Makes the changes to the parent's map.
    pub fn apply(&self, map: &mut BlockMap) {
        self.holes.iter().for_each(|run| map.remove(run.clone()));
        // Adds only packs that an extent uses: others would stay in the table for ever.
        let mut indexes: Vec<Option<u32>> = vec![None; self.packs.len()];
        for extent in &self.extents {
            let own = extent.frame.pack as usize;
            indexes[own].get_or_insert_with(|| map.add_pack(self.packs[own]));
        }
        for extent in &self.extents {
            let pack = indexes[extent.frame.pack as usize].expect("added above");
            let frame = Frame { pack, ..extent.frame };
            map.insert(Extent { frame, ..*extent });
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The object was altered.
    #[error("its bytes do not have the hash in its name")]
    OtherBytes,
    /// It does not decrypt.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its content could not have been written by us. Says where.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
}

/// The name of a manifest's object.
pub fn manifest_name(tenant: TenantId, id: ManifestId) -> String {
    format!("{tenant}/manifests/{id}")
}

impl Manifest {
    /// Encodes and encrypts the manifest. Returns its id and its object.
    pub fn seal(&self, key: &DataKey, tenant: TenantId) -> (ManifestId, Bytes) {
        let salt: [u8; SALT_BYTES] = random_bytes();
        let mut object = salt.to_vec();
        object.extend_from_slice(&cipher(key, tenant, &salt).seal(0, &self.encode(), &mut Compressor::new()));
        (ManifestId(*blake3::hash(&object).as_bytes()), object.into())
    }

    /// Verifies, decrypts and decodes an object.
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
        Self::decode(&cipher(key, tenant, salt).open(0, frame, MAX_CONTENT_BYTES)?)
    }

    /// The manifest that this one follows.
    #[cfg(test)]
    pub fn parent(&self) -> Option<ManifestId> {
        match &self.content {
            Content::Whole { parent, .. } => *parent,
            Content::Delta { chain, .. } => chain.last().copied(),
        }
    }

    /// The packs that this manifest names itself, without its chain.
    pub fn packs(&self) -> Vec<Pack> {
        match &self.content {
            Content::Whole { map, .. } => map.packs().map(|(_, used)| used.pack).collect(),
            Content::Delta { delta, .. } => delta.packs.clone(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.volume.0.as_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        bytes.push(u8::from(self.boot_order.is_some()));
        if let Some(order) = &self.boot_order {
            push_number(&mut bytes, order.len() as u32);
            for run in order {
                push_number(&mut bytes, run.start);
                push_number(&mut bytes, run.end - run.start);
            }
        }
        match &self.content {
            Content::Whole { parent, map } => {
                bytes.extend([WHOLE, u8::from(parent.is_some())]);
                bytes.extend(parent.iter().flat_map(|parent| parent.0));
                push_map(&mut bytes, map);
            }
            Content::Delta { chain, delta } => {
                bytes.push(DELTA);
                push_number(&mut bytes, chain.len() as u32);
                bytes.extend(chain.iter().flat_map(|link| link.0));
                push_runs(&mut bytes, &delta.holes);
                push_packs(&mut bytes, &delta.packs);
                push_extents(&mut bytes, delta.extents.len(), delta.extents.iter().copied());
            }
        }
        bytes
    }

    /// Decodes what [`Self::encode`] wrote. Refuses everything that it could not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut decoder = ManifestDecoder(bytes);
        if decoder.array()? != *MAGIC {
            return Err(ManifestError::Malformed("another format"));
        }
        let volume = VolumeId(Uuid::from_bytes(decoder.array()?));
        let epoch = Epoch(u64::from_le_bytes(decoder.array()?));
        let size_bytes = u64::from_le_bytes(decoder.array()?);
        if size_bytes > MAX_VOLUME_BYTES || !size_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(ManifestError::Malformed("its size"));
        }
        let blocks = (size_bytes / BLOCK_BYTES) as u32;
        let boot_order = if decoder.flag()? { Some(decoder.boot_order(blocks)?) } else { None };
        let content = match decoder.array()? {
            [WHOLE] => {
                let parent = if decoder.flag()? { Some(ManifestId(decoder.array()?)) } else { None };
                let packs = decoder.packs()?;
                let extents = decoder.extents(blocks, &packs)?;
                Content::Whole { parent, map: BlockMap::from_checked(packs, &extents) }
            }
            [DELTA] => {
                let chain = decoder.chain()?;
                let holes = decoder.runs(blocks)?;
                let packs = decoder.packs()?;
                let extents = decoder.extents(blocks, &packs)?;
                Content::Delta { chain, delta: Delta { holes, packs, extents } }
            }
            _ => return Err(ManifestError::Malformed("its kind")),
        };
        if !decoder.0.is_empty() {
            return Err(ManifestError::Malformed("more follows"));
        }
        Ok(Self { volume, epoch, size_bytes, boot_order, content })
    }
}

fn cipher(key: &DataKey, tenant: TenantId, salt: &[u8]) -> ObjectCipher {
    ObjectCipher::new(key, tenant, "manifest", salt)
}

/// Writes a map. Packs that no extent uses are left out, and the others renumbered.
fn push_map(bytes: &mut Vec<u8>, map: &BlockMap) {
    let (indexes, packs): (Vec<u32>, Vec<Pack>) = map.packs().map(|(index, used)| (index, used.pack)).unzip();
    push_packs(bytes, &packs);
    let renumbered = |extent: &Extent| {
        let pack = indexes.binary_search(&extent.frame.pack).expect("a used pack is live") as u32;
        Extent { frame: Frame { pack, ..extent.frame }, ..*extent }
    };
    push_extents(bytes, map.extents_len(), map.extents().map(renumbered));
}

fn push_packs(bytes: &mut Vec<u8>, packs: &[Pack]) {
    push_number(bytes, packs.len() as u32);
    for pack in packs {
        bytes.extend_from_slice(&pack.id.0);
        push_number(bytes, pack.bytes);
        push_number(bytes, pack.blocks);
    }
}

fn push_runs(bytes: &mut Vec<u8>, runs: &[Range<u32>]) {
    push_number(bytes, runs.len() as u32);
    let mut end = 0;
    for run in runs {
        push_number(bytes, run.start - end);
        push_number(bytes, run.end - run.start - 1);
        end = run.end;
    }
}

fn push_extents(bytes: &mut Vec<u8>, count: usize, extents: impl Iterator<Item = Extent>) {
    push_number(bytes, count as u32);
    let mut end = 0;
    for extent in extents {
        let Frame { pack, offset, length } = extent.frame;
        let (blocks, skip) = (u32::from(extent.blocks) - 1, u32::from(extent.skip));
        for field in [extent.start - end, blocks, skip, pack, offset, length] {
            push_number(bytes, field);
        }
        end = extent.end();
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads the fields of a manifest one after another, and checks each.
struct ManifestDecoder<'a>(&'a [u8]);

impl ManifestDecoder<'_> {
    const SHORT: ManifestError = ManifestError::Malformed("it ends early");

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    /// A number of at most 32 bits, in at most five bytes.
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

    fn flag(&mut self) -> Result<bool, ManifestError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(ManifestError::Malformed("a flag")),
        }
    }

    /// A count of entries. Each entry takes at least one byte, so that a count larger than the rest
    /// is refused before anything is allocated for it.
    fn count(&mut self) -> Result<u32, ManifestError> {
        let count = self.number()?;
        if count as usize > self.0.len() { Err(Self::SHORT) } else { Ok(count) }
    }

    fn boot_order(&mut self, blocks: u32) -> Result<Vec<Range<u32>>, ManifestError> {
        let count = self.count()?;
        if count as usize > MAX_ORDER_RUNS {
            return Err(ManifestError::Malformed("its boot order"));
        }
        let run = |decoder: &mut Self| {
            let start = decoder.number()?;
            let end = start.checked_add(decoder.number()?).filter(|end| start < *end && *end <= blocks);
            end.map(|end| start..end).ok_or(ManifestError::Malformed("its boot order"))
        };
        (0..count).map(|_| run(self)).collect()
    }

    fn chain(&mut self) -> Result<Vec<ManifestId>, ManifestError> {
        let count = self.count()? as usize;
        if !(1..=MAX_CHAIN).contains(&count) {
            return Err(ManifestError::Malformed("its chain"));
        }
        (0..count).map(|_| Ok(ManifestId(self.array()?))).collect()
    }

    fn runs(&mut self, blocks: u32) -> Result<Vec<Range<u32>>, ManifestError> {
        let mut last_end = 0_u32;
        let mut run = |decoder: &mut Self| {
            let start = last_end.checked_add(decoder.number()?);
            let end = start.and_then(|start| start.checked_add(decoder.number().ok()?)?.checked_add(1));
            let (Some(start), Some(end)) = (start, end) else {
                return Err(ManifestError::Malformed("a hole"));
            };
            if end > blocks {
                return Err(ManifestError::Malformed("a hole beyond the end"));
            }
            last_end = end;
            Ok(start..end)
        };
        (0..self.count()?).map(|_| run(self)).collect()
    }

    fn packs(&mut self) -> Result<Vec<Pack>, ManifestError> {
        (0..self.count()?).map(|_| self.pack()).collect()
    }

    fn pack(&mut self) -> Result<Pack, ManifestError> {
        let pack = Pack { id: PackId(self.array()?), bytes: self.number()?, blocks: self.number()? };
        if pack.bytes as usize > MAX_PACK_BYTES || pack.blocks > MAX_PACK_BLOCKS {
            return Err(ManifestError::Malformed("a pack's size"));
        }
        Ok(pack)
    }

    fn extents(&mut self, blocks: u32, packs: &[Pack]) -> Result<Vec<Extent>, ManifestError> {
        let (mut end, mut extents) = (0, Vec::new());
        for _ in 0..self.count()? {
            let extent = self.extent(end, packs)?;
            if extent.end() > blocks {
                return Err(ManifestError::Malformed("an extent beyond the end"));
            }
            end = extent.end();
            extents.push(extent);
        }
        Ok(extents)
    }

    fn extent(&mut self, last_end: u32, packs: &[Pack]) -> Result<Extent, ManifestError> {
        let bad = ManifestError::Malformed("an extent");
        let start = last_end.checked_add(self.number()?).ok_or(bad.clone())?;
        let (blocks, skip) = (u64::from(self.number()?) + 1, u64::from(self.number()?));
        let frame = Frame { pack: self.number()?, offset: self.number()?, length: self.number()? };
        let pack = packs.get(frame.pack as usize).ok_or(bad.clone())?;
        let frame_end = u64::from(frame.offset) + u64::from(frame.length);
        let fits = blocks + skip <= u64::from(MAX_FRAME_BLOCKS)
            && start.checked_add(blocks as u32).is_some()
            && frame_end <= u64::from(pack.bytes)
            && frame.length as usize <= MAX_FRAME_BYTES;
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

    fn some_map() -> impl Strategy<Value = BlockMap> {
        let extent = (0u32..1000, 1u8..=16, 0u32..4, 0u32..100_000);
        prop::collection::vec(extent, 0..40).prop_map(|extents| {
            let mut map = BlockMap::default();
            for (start, blocks, id, offset) in extents {
                let known = map.packs().find(|(_, used)| used.pack.id == PackId([id as u8; 16]));
                let pack = Pack { id: PackId([id as u8; 16]), bytes: 200_000, blocks: 2000 };
                let pack = known.map_or_else(|| map.add_pack(pack), |(index, _)| index);
                let frame = Frame { pack, offset, length: 5000 };
                map.insert(Extent { start, blocks, frame, skip: MAX_FRAME_BLOCKS - blocks });
            }
            map
        })
    }

    fn some_runs() -> impl Strategy<Value = Vec<Range<u32>>> {
        prop::collection::vec((0u32..20, 1u32..20), 0..20).prop_map(|pairs| {
            let mut end = 0;
            let run = |(gap, length): (u32, u32)| {
                let start = end + gap;
                end = start + length;
                start..end
            };
            pairs.into_iter().map(run).collect()
        })
    }

    fn some_manifest() -> impl Strategy<Value = Manifest> {
        let whole = (any::<Option<[u8; 32]>>(), some_map())
            .prop_map(|(parent, map)| Content::Whole { parent: parent.map(ManifestId), map });
        let chain = prop::collection::vec(any::<[u8; 32]>().prop_map(ManifestId), 1..=MAX_CHAIN);
        let delta = (chain, some_runs(), some_map()).prop_map(|(chain, holes, map)| {
            let (indexes, packs): (Vec<u32>, Vec<Pack>) =
                map.packs().map(|(index, used)| (index, used.pack)).unzip();
            let mut extents: Vec<Extent> = map.extents().copied().collect();
            for extent in &mut extents {
                extent.frame.pack = indexes.binary_search(&extent.frame.pack).expect("live") as u32;
            }
            Content::Delta { chain, delta: Delta { holes, packs, extents } }
        });
        (any::<u64>(), prop::option::of(some_runs()), prop_oneof![whole, delta]).prop_map(
            |(epoch, boot_order, content)| Manifest {
                volume: VolumeId(Uuid::from_u128(7)),
                epoch: Epoch(epoch),
                size_bytes: 1024 * BLOCK_BYTES,
                boot_order,
                content,
            },
        )
    }

    proptest! {
        #[test]
        fn manifest_reads_back(manifest in some_manifest()) {
            let (key, tenant) = (DataKey::random(), TenantId::random());
            let (id, object) = manifest.seal(&key, tenant);
            prop_assert_eq!(Manifest::open(&key, tenant, id, &object), Ok(manifest.clone()));
            prop_assert!(Manifest::open(&DataKey::random(), tenant, id, &object).is_err());
            prop_assert!(Manifest::open(&key, TenantId::random(), id, &object).is_err());
        }

        #[test]
        fn altered_manifest_is_refused(
            manifest in some_manifest(),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let (key, tenant) = (DataKey::random(), TenantId::random());
            let (id, object) = manifest.seal(&key, tenant);
            let mut object = object.to_vec();
            let index = at.index(object.len());
            object[index] ^= 1u8 << bit;
            prop_assert_eq!(Manifest::open(&key, tenant, id, &object), Err(ManifestError::OtherBytes));
            // Also under the name that the altered bytes would have.
            let other = ManifestId(*blake3::hash(&object).as_bytes());
            prop_assert!(Manifest::open(&key, tenant, other, &object).is_err());
        }

        #[test]
        fn decoder_survives_any_bytes(
            manifest in some_manifest(),
            cut in any::<prop::sample::Index>(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
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
