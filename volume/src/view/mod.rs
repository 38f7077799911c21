//! A snapshot that is read without a sandbox and without a cache on disk: to browse, compare,
//! verify or copy it.

mod frame_cache;
mod verify;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{ManifestId, TenantId, VolumeId};

use crate::{
    blocks::{BLOCK_BYTES, blocks_touched, byte_offset, push_block},
    error::VolumeError,
    format::{
        block_map::{BlockMap, Extent, Frame},
        key::DataKey,
        pack::{pack_name, parse_pack_name},
        seal::FrameError,
    },
    objects::{
        LoadedSnapshot, MAX_FETCHES, Objects, OpenedFrame,
        fetch_plan::{Fetch, plan_fetches},
    },
    store::ObjectStore,
    volume::MAX_REQUEST_BYTES,
};
use frame_cache::FrameCache;
pub use verify::Verification;

/// An open snapshot. Its content never changes. Fetches what is read from the store, and keeps some
/// of it in memory.
pub struct SnapshotView {
    objects: Objects,
    snapshot: LoadedSnapshot,
    frames: Mutex<FrameCache>,
}

impl SnapshotView {
    /// Opens the snapshot of a manifest.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        key: DataKey,
        tenant: TenantId,
        manifest: ManifestId,
    ) -> Result<Self, VolumeError> {
        let objects = Objects::new(tenant, key, store);
        let snapshot = objects.load(manifest).await?;
        Ok(Self::new(objects, snapshot))
    }

    pub(crate) fn new(objects: Objects, snapshot: LoadedSnapshot) -> Self {
        Self { objects, snapshot, frames: Mutex::default() }
    }

    pub(crate) fn snapshot(&self) -> &LoadedSnapshot {
        &self.snapshot
    }

    pub(crate) fn map(&self) -> &BlockMap {
        &self.snapshot.map
    }

    /// The number of blocks.
    pub(crate) fn blocks(&self) -> u32 {
        (self.size_bytes() / BLOCK_BYTES) as u32
    }

    pub(crate) async fn fetch(&self, fetch: Fetch) -> Result<Vec<OpenedFrame>, VolumeError> {
        self.objects.fetch(&self.snapshot.map, fetch).await
    }

    /// The volume that made the snapshot.
    pub fn volume(&self) -> VolumeId {
        self.snapshot.volume
    }

    /// Size of the volume in bytes when the snapshot was taken.
    pub fn size_bytes(&self) -> u64 {
        self.snapshot.size_bytes
    }

    /// Bytes of all packs that the snapshot uses.
    pub fn stored_bytes(&self) -> u64 {
        self.snapshot.map.stored_bytes()
    }

    /// Reads at most [`MAX_REQUEST_BYTES`].
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, VolumeError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size_bytes());
        let Some(end) = end.filter(|_| length <= MAX_REQUEST_BYTES) else {
            return Err(VolumeError::OutOfRange { offset, length });
        };
        let range = blocks_touched(offset, length);
        let frames = self.open_frames(range.clone()).await?;
        let mut bytes = BytesMut::zeroed(length as usize);
        for extent in self.snapshot.map.within(range) {
            let content =
                frames[&extent.frame].blocks_of(&extent).map_err(|reason| self.damaged(&extent, reason))?;
            let extent_start = byte_offset(extent.start);
            let (start, stop) = (extent_start.max(offset), byte_offset(extent.end()).min(end));
            let part = (start - extent_start) as usize..(stop - extent_start) as usize;
            bytes[(start - offset) as usize..(stop - offset) as usize].copy_from_slice(&content[part]);
        }
        Ok(bytes.freeze())
    }

    pub(crate) fn damaged(&self, extent: &Extent, reason: FrameError) -> VolumeError {
        let id = self.snapshot.map.pack(extent.frame).id;
        VolumeError::Damaged { object: pack_name(self.objects.tenant(), id), reason: reason.to_string() }
    }

    /// Blocks that may differ between the two snapshots: they lie at different places, or only one
    /// snapshot has them. In order.
    pub fn changed_blocks(&self, other: &Self) -> Vec<Range<u32>> {
        let place_of = |view: &Self, block: u32| {
            let map = &view.snapshot.map;
            map.at(block).map(|extent| (map.pack(extent.frame).id, extent.frame.offset, extent.skip))
        };
        let extents = self.snapshot.map.extents().chain(other.snapshot.map.extents());
        let blocks = extents.flat_map(Extent::range);
        let mut blocks: Vec<u32> =
            blocks.filter(|block| place_of(self, *block) != place_of(other, *block)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let mut runs: Vec<Range<u32>> = Vec::new();
        for block in blocks {
            push_block(&mut runs, block);
        }
        runs
    }

    /// Whether some of the snapshot's blocks lie in this object.
    pub fn uses_object(&self, object: &str) -> bool {
        let pack = parse_pack_name(self.objects.tenant(), object);
        self.snapshot.map.packs().any(|(_, used)| Some(used.pack.id) == pack)
    }

    /// The decrypted frames of a range, from memory or from the store.
    async fn open_frames(&self, range: Range<u32>) -> Result<HashMap<Frame, Arc<OpenedFrame>>, VolumeError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let cache = self.frames();
            for extent in self.snapshot.map.within(range) {
                match cache.get(extent.frame) {
                    Some(opened) => {
                        found.insert(extent.frame, opened);
                    }
                    None => missing.push(extent.range()),
                }
            }
        }
        let fetches = plan_fetches(&self.snapshot.map, missing.into_iter());
        let fetched: Vec<_> = futures_util::stream::iter(fetches)
            .map(|fetch| self.fetch(fetch))
            .buffer_unordered(MAX_FETCHES)
            .try_collect()
            .await?;
        let mut cache = self.frames();
        for opened in fetched.into_iter().flatten().map(Arc::new) {
            cache.insert(opened.clone());
            found.insert(opened.frame, opened);
        }
        Ok(found)
    }

    fn frames(&self) -> MutexGuard<'_, FrameCache> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
