//! A tenant's objects: packs and manifests, uploaded, fetched, decrypted and verified. Knows no
//! cache.
//!
//! Every access to the store goes through [`Objects`], which retries what may succeed later and
//! bounds what is in flight.

pub mod fetch_plan;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use tokio::sync::Semaphore;

use crate::{
    blocking::run_blocking,
    error::VolumeError,
    format::{
        block_map::{BlockMap, Extent, Frame, PackId},
        chain::Chain,
        key::DataKey,
        manifest::{Content, MAX_MANIFEST_BYTES, Manifest, ManifestError, manifest_name},
        pack::{PackBuilder, blocks_of_extent, open_frame, pack_cipher, pack_name},
        seal::FrameError,
    },
    store::{ObjectStore, with_retries},
};
use fetch_plan::Fetch;

/// Ranges in flight, for all callers together. With [`fetch_plan::MAX_FETCH_BYTES`] that is at most
/// 8 MiB in memory.
pub const MAX_FETCHES: usize = 8;
/// An object that arrives altered is fetched again, up to this many attempts in all. Then it is
/// damaged in the store.
const MAX_OPEN_ATTEMPTS: usize = 3;
/// Links of a chain that are fetched at once.
const LINK_CONCURRENCY: usize = 16;

/// The objects of one tenant in a store.
pub struct Objects {
    tenant: TenantId,
    key: DataKey,
    store: Arc<dyn ObjectStore>,
    fetches: Semaphore,
}

/// A snapshot's metadata: its manifest and the chain of it, applied to each other.
#[derive(Clone, Debug)]
pub struct LoadedSnapshot {
    pub volume: VolumeId,
    pub epoch: Epoch,
    pub size_bytes: u64,
    /// What the first minute of a start reads, in its order.
    pub boot_order: Vec<Range<u32>>,
    pub map: BlockMap,
    pub chain: Chain,
}

/// A frame that was fetched, decrypted and verified, and where its blocks are used.
pub struct OpenedFrame {
    pub frame: Frame,
    /// Not all extents of the frame, if many others have come to lie between them.
    pub extents: Vec<Extent>,
    pub content: Vec<u8>,
}

impl OpenedFrame {
    /// The content of an extent of this frame.
    pub fn blocks_of(&self, extent: &Extent) -> Result<&[u8], FrameError> {
        blocks_of_extent(extent, &self.content)
    }
}

impl Objects {
    pub fn new(tenant: TenantId, key: DataKey, store: Arc<dyn ObjectStore>) -> Self {
        Self { tenant, key, store, fetches: Semaphore::new(MAX_FETCHES) }
    }

    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub fn key(&self) -> &DataKey {
        &self.key
    }

    /// An empty builder of packs for this tenant.
    pub fn pack_builder(&self) -> PackBuilder {
        PackBuilder::new(&self.key, self.tenant)
    }

    /// Uploads a pack.
    pub async fn put_pack(&self, id: PackId, bytes: Bytes) -> Result<(), VolumeError> {
        self.put(&pack_name(self.tenant, id), bytes).await
    }

    /// Uploads a manifest. Its packs must be in the store already.
    pub async fn put_manifest(&self, id: ManifestId, object: Bytes) -> Result<(), VolumeError> {
        self.put(&manifest_name(self.tenant, id), object).await
    }

    /// Names are random or hashes. So an object that exists already is this one, from an attempt
    /// whose answer was lost.
    async fn put(&self, name: &str, body: Bytes) -> Result<(), VolumeError> {
        with_retries(|| self.store.put_if_absent(name, body.clone())).await?;
        Ok(())
    }

    /// Loads a snapshot's metadata: its manifest, then all manifests of its chain at once.
    pub async fn load(&self, head: ManifestId) -> Result<LoadedSnapshot, VolumeError> {
        let (newest, bytes) = self.fetch_manifest(head).await?;
        let Manifest { volume, epoch, size_bytes, boot_order, content } = newest;
        let (chain, last) = match content {
            Content::Whole { map, .. } => {
                let (boot_order, chain) = (boot_order.unwrap_or_default(), Chain::new(head, bytes));
                return Ok(LoadedSnapshot { volume, epoch, size_bytes, boot_order, map, chain });
            }
            Content::Delta { chain, delta } => (chain, delta),
        };
        let links: Vec<(Manifest, u64)> = futures_util::stream::iter(chain.clone())
            .map(|link| self.fetch_manifest(link))
            .buffered(LINK_CONCURRENCY)
            .try_collect()
            .await?;
        let broken = |source| VolumeError::Manifest { id: head, source };
        let assembled = run_blocking(move || Ok(apply_chain(&chain, links))).await?;
        let (mut map, mut chain, known_order) = assembled.map_err(broken)?;
        last.apply(&mut map);
        chain.push(head, bytes);
        let boot_order = boot_order.or(known_order).unwrap_or_default();
        Ok(LoadedSnapshot { volume, epoch, size_bytes, boot_order, map, chain })
    }

    /// Fetches and verifies one manifest. Also returns the size of its object in bytes.
    pub async fn fetch_manifest(&self, id: ManifestId) -> Result<(Manifest, u64), VolumeError> {
        let name = manifest_name(self.tenant, id);
        let mut source = ManifestError::OtherBytes;
        for _ in 0..MAX_OPEN_ATTEMPTS {
            let object = with_retries(|| self.store.get(&name, MAX_MANIFEST_BYTES)).await?;
            let (key, tenant, bytes) = (self.key.clone(), self.tenant, object.len() as u64);
            match run_blocking(move || Ok(Manifest::open(&key, tenant, id, &object))).await? {
                Ok(manifest) => return Ok((manifest, bytes)),
                // The hash is right, so these are the bytes that were written. Our key is another.
                Err(ManifestError::Frame(FrameError::DoesNotOpen)) => return Err(VolumeError::WrongKey),
                Err(error) => source = error,
            }
        }
        Err(VolumeError::Manifest { id, source })
    }

    /// Fetches and verifies the frames of one range of a pack. `map` is the one that the fetch was
    /// planned with.
    pub async fn fetch(&self, map: &BlockMap, fetch: Fetch) -> Result<Vec<OpenedFrame>, VolumeError> {
        let _permit = self.fetches.acquire().await.map_err(|_| VolumeError::Closed)?;
        let Fetch { pack, range, frames } = fetch;
        let id = map.pack(Frame { pack, offset: 0, length: 0 }).id;
        let name = pack_name(self.tenant, id);
        let bytes_range = u64::from(range.start)..u64::from(range.end);
        let frames = Arc::new(frames);
        let mut reason = FrameError::Malformed;
        for _ in 0..MAX_OPEN_ATTEMPTS {
            let bytes = with_retries(|| self.store.get_range(&name, bytes_range.clone())).await?;
            let (key, tenant, frames, start) = (self.key.clone(), self.tenant, frames.clone(), range.start);
            match run_blocking(move || Ok(open_frames(&key, tenant, id, &frames, start, &bytes))).await? {
                Ok(opened) => return Ok(opened),
                Err(error) => reason = error,
            }
            tracing::warn!(
                object = name,
                ?bytes_range,
                "a range of a pack does not decrypt, fetching it again"
            );
        }
        Err(VolumeError::Damaged { object: name, reason: reason.to_string() })
    }
}

/// What the first minute of a start reads.
type BootOrder = Vec<Range<u32>>;

/// Applies the links of a chain to each other, and checks that each of them names those before it.
fn apply_chain(
    names: &[ManifestId],
    links: Vec<(Manifest, u64)>,
) -> Result<(BlockMap, Chain, Option<BootOrder>), ManifestError> {
    let mut links = names.iter().zip(links);
    let Some((name, (Manifest { boot_order, content: Content::Whole { mut map, .. }, .. }, bytes))) =
        links.next()
    else {
        return Err(ManifestError::Malformed("its chain does not begin with a whole manifest"));
    };
    let (mut chain, mut newest_order) = (Chain::new(*name, bytes), boot_order);
    for (name, (Manifest { boot_order, content, .. }, bytes)) in links {
        match content {
            Content::Delta { chain: before, delta } if before == chain.links() => delta.apply(&mut map),
            _ => return Err(ManifestError::Malformed("its chain does not fit together")),
        }
        chain.push(*name, bytes);
        newest_order = boot_order.or(newest_order);
    }
    Ok((map, chain, newest_order))
}

/// Decrypts the frames of a range of a pack that begins at `start`.
fn open_frames(
    key: &DataKey,
    tenant: TenantId,
    id: PackId,
    frames: &[(Frame, Vec<Extent>)],
    start: u32,
    bytes: &Bytes,
) -> Result<Vec<OpenedFrame>, FrameError> {
    let cipher = pack_cipher(key, tenant, id);
    let open_one = |(frame, extents): &(Frame, Vec<Extent>)| {
        let at = (frame.offset - start) as usize;
        let sealed = bytes.get(at..at + frame.length as usize).ok_or(FrameError::Malformed)?;
        let content = open_frame(&cipher, *frame, sealed)?;
        let opened = OpenedFrame { frame: *frame, extents: extents.clone(), content };
        extents.iter().try_for_each(|extent| opened.blocks_of(extent).map(drop))?;
        Ok(opened)
    };
    frames.iter().map(open_one).collect()
}
