//! A tenant's objects: packs and manifests as they are fetched, opened and verified. Knows no cache.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use tokio::sync::Semaphore;

use crate::{
    chain::Chain,
    error::VolumeError,
    key::DataKey,
    manifest::{Content, MAX_MANIFEST_BYTES, Manifest, ManifestError, manifest_name},
    map::{BlockMap, Extent, Frame, PackId},
    pack::{open_frame, pack_cipher, pack_name, part},
    seal::FrameError,
    store::{ObjectStore, StoreError, retrying},
    volume::blocking,
};

/// Ranges in flight, for all readers: with the bound below at most 8 MiB in memory.
pub const MAX_FETCHES: usize = 8;
/// Largest range; at 20 ms a request and 400 Mbit/s half of the time is transfer.
const MAX_FETCH_BYTES: u32 = 1 << 20;
/// Bytes between two wanted frames that are cheaper to fetch than a second request.
const MAX_GAP_BYTES: u32 = 128 << 10;
/// What arrives altered is asked for again, then it is damaged in the store.
const OPEN_ATTEMPTS: usize = 3;
/// Links of a chain that are asked for at once.
const LINKS_AT_ONCE: usize = 16;

pub struct Objects {
    pub tenant: TenantId,
    pub key: DataKey,
    pub store: Arc<dyn ObjectStore>,
    fetches: Semaphore,
}

/// A home as a manifest says it, its chain put together.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub volume: VolumeId,
    pub epoch: Epoch,
    pub size_bytes: u64,
    /// What the first minute of a start read, in its order.
    pub order: Vec<Range<u32>>,
    pub map: BlockMap,
    pub chain: Chain,
}

/// One range of one pack and the frames in it that are wanted, each with the places its blocks have in the volume.
#[derive(Clone)]
pub struct Fetch {
    pack: u32,
    range: Range<u32>,
    frames: Vec<(Frame, Vec<Extent>)>,
}

impl Fetch {
    /// Each of its frames for itself: one that does not open keeps none of the others.
    pub fn frame_by_frame(self) -> impl Iterator<Item = Self> {
        let pack = self.pack;
        self.frames.into_iter().map(move |(frame, extents)| Self {
            pack,
            range: frame.offset..frame.offset + frame.length,
            frames: vec![(frame, extents)],
        })
    }
}

impl Objects {
    pub fn new(tenant: TenantId, key: DataKey, store: Arc<dyn ObjectStore>) -> Self {
        Self { tenant, key, store, fetches: Semaphore::new(MAX_FETCHES) }
    }

    /// A home from its head's name.
    pub async fn load(&self, head: ManifestId) -> Result<Loaded, VolumeError> {
        let (newest, bytes) = self.manifest(head).await?;
        let Manifest { volume, epoch, size_bytes, order, content } = newest;
        let (chain, last) = match content {
            Content::Whole { map, .. } => {
                let (order, chain) = (order.unwrap_or_default(), Chain::new(head, bytes));
                return Ok(Loaded { volume, epoch, size_bytes, order, map, chain });
            }
            Content::Delta { chain, delta } => (chain, delta),
        };
        let links: Vec<(Manifest, u64)> = futures_util::stream::iter(chain.clone())
            .map(|link| self.manifest(link))
            .buffered(LINKS_AT_ONCE)
            .try_collect()
            .await?;
        let broken = |source| VolumeError::Manifest { id: head, source };
        let assembled = blocking(move || Ok(assemble(&chain, links))).await?;
        let (mut map, mut so_far, mut known_order) = assembled.map_err(broken)?;
        last.apply(&mut map);
        so_far.push(head, bytes);
        known_order = order.or(known_order);
        let order = known_order.unwrap_or_default();
        Ok(Loaded { volume, epoch, size_bytes, order, map, chain: so_far })
    }

    /// One manifest, verified, with the size of its object.
    pub async fn manifest(&self, id: ManifestId) -> Result<(Manifest, u64), VolumeError> {
        let name = manifest_name(self.tenant, id);
        let mut source = ManifestError::OtherBytes;
        for _ in 0..OPEN_ATTEMPTS {
            let object = retrying(|| self.store.get(&name, MAX_MANIFEST_BYTES)).await?;
            let (key, tenant, bytes) = (self.key.clone(), self.tenant, object.len() as u64);
            match blocking(move || Ok(Manifest::open(&key, tenant, id, &object))).await? {
                Ok(manifest) => return Ok((manifest, bytes)),
                // Its bytes are those that were written: it is we who hold another key.
                Err(ManifestError::Frame(FrameError::DoesNotOpen)) => return Err(VolumeError::WrongKey),
                Err(error) => source = error,
            }
        }
        Err(VolumeError::Manifest { id, source })
    }

    /// The frames of one range of a pack.
    pub async fn fetch(&self, map: &BlockMap, fetch: Fetch) -> Result<Vec<Opened>, VolumeError> {
        let _permit = self.fetches.acquire().await.map_err(|_| VolumeError::Closed)?;
        let Fetch { pack, range, frames } = fetch;
        let id = map.pack(Frame { pack, offset: 0, length: 0 }).id;
        let name = pack_name(self.tenant, id);
        let bytes_range = u64::from(range.start)..u64::from(range.end);
        let frames = Arc::new(frames);
        let mut reason = FrameError::Malformed;
        for _ in 0..OPEN_ATTEMPTS {
            let bytes = retrying(|| self.store.get_range(&name, bytes_range.clone())).await?;
            let (key, tenant, frames, start) = (self.key.clone(), self.tenant, frames.clone(), range.start);
            match blocking(move || Ok(open(&key, tenant, id, &frames, start, &bytes))).await? {
                Ok(opened) => return Ok(opened),
                Err(error) => reason = error,
            }
            tracing::warn!(object = name, ?bytes_range, "a range of a pack does not open, asking again");
        }
        Err(VolumeError::Damaged { object: name, reason: reason.to_string() })
    }
}

/// An object of its name is this object: names are random or hashes, and an answer may have been lost.
pub async fn put(store: &dyn ObjectStore, name: &str, body: Bytes) -> Result<(), StoreError> {
    retrying(|| store.put_if_absent(name, body.clone())).await.map(|_| ())
}

/// What the first minute of a start read.
type Order = Vec<Range<u32>>;

/// Puts a chain's links together.
fn assemble(
    names: &[ManifestId],
    links: Vec<(Manifest, u64)>,
) -> Result<(BlockMap, Chain, Option<Order>), ManifestError> {
    let mut links = names.iter().zip(links);
    let Some((name, (Manifest { order, content: Content::Whole { mut map, .. }, .. }, bytes))) = links.next()
    else {
        return Err(ManifestError::Malformed("its chain begins with no whole manifest"));
    };
    let (mut chain, mut newest_order) = (Chain::new(*name, bytes), order);
    for (name, (Manifest { order, content, .. }, bytes)) in links {
        match content {
            Content::Delta { chain: before, delta } if before == chain.links() => delta.apply(&mut map),
            _ => return Err(ManifestError::Malformed("its chain does not hold together")),
        }
        chain.push(*name, bytes);
        newest_order = order.or(newest_order);
    }
    Ok((map, chain, newest_order))
}

/// The fewest ranges that bring these blocks, and with them the rest of their frames.
pub fn plan(map: &BlockMap, runs: impl Iterator<Item = Range<u32>>) -> Vec<Fetch> {
    let mut frames: BTreeMap<Frame, Vec<Extent>> = BTreeMap::new();
    for extent in runs.flat_map(|run| map.within(run).collect::<Vec<_>>()) {
        let known = frames.entry(extent.frame).or_default();
        // What came later may lie between a frame's blocks, so that one look around does not see all that are wanted.
        if !known.iter().any(|one| one.range().contains(&extent.start)) {
            let around = map.of_frame(extent.frame, extent.start + 1);
            let more: Vec<Extent> = around.into_iter().filter(|one| !known.contains(one)).collect();
            known.extend(more);
        }
    }
    let mut fetches: Vec<Fetch> = Vec::new();
    for (frame, extents) in frames {
        let end = frame.offset + frame.length;
        match fetches.last_mut() {
            Some(last)
                if last.pack == frame.pack
                    && frame.offset.saturating_sub(last.range.end) <= MAX_GAP_BYTES
                    && end - last.range.start <= MAX_FETCH_BYTES =>
            {
                last.range.end = last.range.end.max(end);
                last.frames.push((frame, extents));
            }
            _ => fetches.push(Fetch {
                pack: frame.pack,
                range: frame.offset..end,
                frames: vec![(frame, extents)],
            }),
        }
    }
    fetches
}

/// Opens the frames of a range that begins at `start`.
fn open(
    key: &DataKey,
    tenant: TenantId,
    id: PackId,
    frames: &[(Frame, Vec<Extent>)],
    start: u32,
    bytes: &Bytes,
) -> Result<Vec<Opened>, FrameError> {
    let cipher = pack_cipher(key, tenant, id);
    let open_one = |(frame, extents): &(Frame, Vec<Extent>)| {
        let at = (frame.offset - start) as usize;
        let sealed = bytes.get(at..at + frame.length as usize).ok_or(FrameError::Malformed)?;
        let content = open_frame(&cipher, *frame, sealed)?;
        let opened = Opened { frame: *frame, extents: extents.clone(), content };
        extents.iter().try_for_each(|extent| opened.part(extent).map(drop))?;
        Ok(opened)
    };
    frames.iter().map(open_one).collect()
}

/// A frame's blocks, and where some of them are used.
pub struct Opened {
    pub frame: Frame,
    /// Not all, if much has come to lie between them.
    pub extents: Vec<Extent>,
    pub content: Vec<u8>,
}

impl Opened {
    /// The blocks of an extent of this frame.
    pub fn part(&self, extent: &Extent) -> Result<&[u8], FrameError> {
        part(extent, &self.content)
    }
}
