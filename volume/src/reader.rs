//! A snapshot read without a machine and without a cache on disk: for whoever browses, compares or verifies it.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{ManifestId, TenantId, VolumeId};

use crate::{
    blocks::{BLOCK_BYTES, touched},
    error::VolumeError,
    key::DataKey,
    map::{BlockMap, Extent, Frame},
    objects::{Fetch, Loaded, MAX_FETCHES, Objects, Opened, plan},
    pack::{pack_name, pack_of},
    seal::FrameError,
    store::ObjectStore,
    volume::MAX_REQUEST_BYTES,
};

/// Frames kept in memory, in bytes: directories and tables are read in many small pieces.
const MAX_KEPT_BYTES: usize = 32 << 20;
/// Blocks whose frames are verified together.
const VERIFY_BLOCKS: u32 = 1 << 16;

/// An open snapshot.
pub struct Reader {
    objects: Objects,
    loaded: Loaded,
    kept: Mutex<Kept>,
}

/// Opened frames, the oldest first to go.
#[derive(Default)]
struct Kept {
    frames: HashMap<Frame, Arc<Opened>>,
    order: VecDeque<Frame>,
    bytes: usize,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Packs that were read, and the bytes of them that count.
    pub objects: u64,
    pub bytes: u64,
    /// Names of objects that are missing or altered.
    pub damaged: Vec<String>,
}

impl Verified {
    fn note(&mut self, object: &str) {
        if !self.damaged.iter().any(|known| known == object) {
            self.damaged.push(object.to_owned());
        }
    }
}

impl Reader {
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        key: DataKey,
        tenant: TenantId,
        manifest: ManifestId,
    ) -> Result<Self, VolumeError> {
        let objects = Objects::new(tenant, key, store);
        let loaded = objects.load(manifest).await?;
        Ok(Self::new(objects, loaded))
    }

    pub(crate) fn new(objects: Objects, loaded: Loaded) -> Self {
        Self { objects, loaded, kept: Mutex::default() }
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    pub(crate) fn map(&self) -> &BlockMap {
        &self.loaded.map
    }

    pub(crate) fn blocks(&self) -> u32 {
        (self.size_bytes() / BLOCK_BYTES) as u32
    }

    pub(crate) async fn fetch(&self, fetch: Fetch) -> Result<Vec<Opened>, VolumeError> {
        self.objects.fetch(&self.loaded.map, fetch).await
    }

    pub fn volume(&self) -> VolumeId {
        self.loaded.volume
    }

    pub fn size_bytes(&self) -> u64 {
        self.loaded.size_bytes
    }

    /// Bytes of all packs that the snapshot rests on.
    pub fn stored_bytes(&self) -> u64 {
        self.loaded.map.stored_bytes()
    }

    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, VolumeError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size_bytes());
        let Some(end) = end.filter(|_| length <= MAX_REQUEST_BYTES) else {
            return Err(VolumeError::OutOfRange { offset, length });
        };
        let range = touched(offset, length);
        let frames = self.frames(range.clone()).await?;
        let mut bytes = BytesMut::zeroed(length as usize);
        for wanted in self.loaded.map.within(range) {
            let content =
                frames[&wanted.frame].part(&wanted).map_err(|reason| self.damaged(&wanted, reason))?;
            let (first, beyond) = (byte(wanted.start).max(offset), byte(wanted.end()).min(end));
            let from = (first - byte(wanted.start)) as usize..(beyond - byte(wanted.start)) as usize;
            bytes[(first - offset) as usize..(beyond - offset) as usize].copy_from_slice(&content[from]);
        }
        Ok(bytes.freeze())
    }

    pub(crate) fn damaged(&self, extent: &Extent, reason: FrameError) -> VolumeError {
        let id = self.loaded.map.pack(extent.frame).id;
        VolumeError::Damaged { object: pack_name(self.objects.tenant, id), reason: reason.to_string() }
    }

    /// Blocks that lie elsewhere in the other snapshot, or are in one of the two only: what may differ.
    pub fn differing(&self, other: &Self) -> Vec<Range<u32>> {
        let place = |reader: &Self, block: u32| {
            reader
                .loaded
                .map
                .at(block)
                .map(|extent| (reader.loaded.map.pack(extent.frame).id, extent.frame.offset, extent.skip))
        };
        let mut runs: Vec<Range<u32>> = Vec::new();
        let blocks = self.loaded.map.extents().chain(other.loaded.map.extents()).flat_map(Extent::range);
        let mut blocks: Vec<u32> =
            blocks.filter(|block| place(self, *block) != place(other, *block)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        for block in blocks {
            match runs.last_mut() {
                Some(run) if run.end == block => run.end += 1,
                _ => runs.push(block..block + 1),
            }
        }
        runs
    }

    /// Whether some of the snapshot's blocks lie in this object.
    pub fn rests_on(&self, object: &str) -> bool {
        let pack = pack_of(self.objects.tenant, object);
        self.loaded.map.packs().any(|(_, used)| Some(used.pack.id) == pack)
    }

    /// Reads every frame of the snapshot from the store again.
    pub async fn verify(&self) -> Result<Verified, VolumeError> {
        let mut verified =
            Verified { objects: self.loaded.map.packs().count() as u64, ..Verified::default() };
        let blocks = self.blocks();
        let mut start = 0;
        while start < blocks {
            let end = blocks.min(start.saturating_add(VERIFY_BLOCKS));
            let fetches = plan(&self.loaded.map, std::iter::once(start..end));
            let mut outcomes = futures_util::stream::iter(fetches)
                .map(|fetch| self.fetch(fetch))
                .buffer_unordered(MAX_FETCHES);
            while let Some(outcome) = outcomes.next().await {
                match outcome {
                    Ok(opened) => {
                        verified.bytes += opened.iter().map(|frame| frame.content.len() as u64).sum::<u64>();
                    }
                    Err(error) => match error.damaged_object() {
                        Some(object) => verified.note(object),
                        None => return Err(error),
                    },
                }
            }
            start = end;
        }
        Ok(verified)
    }

    /// The opened frames of a range.
    async fn frames(&self, range: Range<u32>) -> Result<HashMap<Frame, Arc<Opened>>, VolumeError> {
        let mut found = HashMap::new();
        let mut lacking = Vec::new();
        {
            let kept = self.kept();
            for extent in self.loaded.map.within(range) {
                match kept.frames.get(&extent.frame) {
                    Some(opened) => {
                        found.insert(extent.frame, opened.clone());
                    }
                    None => lacking.push(extent.range()),
                }
            }
        }
        let fetches = plan(&self.loaded.map, lacking.into_iter());
        let fetched: Vec<_> = futures_util::stream::iter(fetches)
            .map(|fetch| self.fetch(fetch))
            .buffer_unordered(MAX_FETCHES)
            .try_collect()
            .await?;
        let mut kept = self.kept();
        for opened in fetched.into_iter().flatten().map(Arc::new) {
            kept.put(opened.clone());
            found.insert(opened.frame, opened);
        }
        Ok(found)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn put(&mut self, opened: Arc<Opened>) {
        let frame = opened.frame;
        self.bytes += opened.content.len();
        match self.frames.insert(frame, opened) {
            Some(before) => self.bytes -= before.content.len(),
            None => self.order.push_back(frame),
        }
        while self.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(gone) = self.frames.remove(&oldest) {
                self.bytes -= gone.content.len();
            }
        }
    }
}

fn byte(block: u32) -> u64 {
    u64::from(block) * BLOCK_BYTES
}
