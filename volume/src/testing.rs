//! What the tests of this crate share: a world with a tenant, a volume and a store; seeds; and test
//! content.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use crate::{
    BLOCK_BYTES, DataKey, SnapshotView, Volume, VolumeError, VolumeOptions,
    cache::Host,
    objects::Objects,
    store::{DirectoryStore, Faults, FaultyStore, MemoryStore, ObjectStore},
};

/// The seed of a random test: from `BURROW_SEED`, to replay a failure, otherwise random. It is
/// printed.
pub fn seed() -> u64 {
    let seed = from_environment("BURROW_SEED").unwrap_or_else(rand::random);
    println!("BURROW_SEED={seed}");
    seed
}

/// How many times longer than usual a proof runs.
pub fn soak_factor() -> u64 {
    from_environment("BURROW_SOAK_FACTOR").unwrap_or(1)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A tenant, a volume, a store, and a directory for all of it.
pub struct World {
    pub directory: tempfile::TempDir,
    pub tenant: TenantId,
    pub volume: VolumeId,
    /// The volume that made the head, if it is another.
    pub head_of: Option<VolumeId>,
    pub key: DataKey,
    pub store: Arc<FaultyStore>,
    pub size_bytes: u64,
    pub epoch: u64,
    pub host: Host,
}

impl World {
    /// A world whose store is a directory.
    pub async fn new(blocks: u64) -> Self {
        let directory = directory();
        let objects = DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        Self::on(Arc::new(objects), 1, directory, blocks)
    }

    /// A world whose store is in memory. The store's faults come from the seed.
    pub fn in_memory(seed: u64, blocks: u64) -> Self {
        Self::on(Arc::new(MemoryStore::default()), seed, directory(), blocks)
    }

    fn on(objects: Arc<dyn ObjectStore>, seed: u64, directory: tempfile::TempDir, blocks: u64) -> Self {
        Self {
            directory,
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            head_of: None,
            key: DataKey::random(),
            store: Arc::new(FaultyStore::new(objects, seed, Faults::default())),
            size_bytes: blocks * BLOCK_BYTES,
            epoch: 1,
            host: Host::current(),
        }
    }

    pub fn options(&self, cache: &str, head: Option<ManifestId>) -> VolumeOptions {
        VolumeOptions {
            tenant: self.tenant,
            volume: self.volume,
            size_bytes: self.size_bytes,
            epoch: Epoch(self.epoch),
            head,
            head_of: self.head_of,
            lineage: 0,
            cache: self.directory.path().join(cache),
            key: self.key.clone(),
            store: self.store.clone(),
        }
    }

    pub async fn try_open(&self, cache: &str, head: Option<ManifestId>) -> Result<Volume, VolumeError> {
        Volume::open_on(self.options(cache, head), self.host.clone()).await
    }

    pub async fn open(&self, cache: &str, head: Option<ManifestId>) -> Volume {
        self.try_open(cache, head).await.expect("opens")
    }

    pub async fn try_view(&self, manifest: ManifestId) -> Result<SnapshotView, VolumeError> {
        SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await
    }

    pub async fn view(&self, manifest: ManifestId) -> SnapshotView {
        self.try_view(manifest).await.expect("opens without a cache")
    }

    /// The content of a snapshot, as another host reads it: with an empty cache, and without one.
    pub async fn content_of(&self, head: ManifestId) -> Bytes {
        let cache = format!("elsewhere-{}", uuid::Uuid::now_v7());
        let volume = Volume::open(self.options(&cache, Some(head))).await.expect("opens elsewhere");
        let content = read_all(&volume).await;
        drop(volume);
        std::fs::remove_dir_all(self.directory.path().join(cache)).expect("removed");
        let view = self.view(head).await;
        assert_eq!(view.read(0, view.size_bytes()).await.expect("reads"), content);
        content
    }

    pub fn objects(&self) -> Objects {
        Objects::new(self.tenant, self.key.clone(), self.store.clone())
    }

    /// Paths of the store's objects of a kind: `packs` or `manifests`.
    pub fn object_files(&self, kind: &str) -> Vec<PathBuf> {
        let directory = self.directory.path().join("objects").join(self.tenant.to_string()).join(kind);
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries.map(|entry| entry.expect("listed").path()).collect()
    }
}

/// A temporary directory, in memory if the host offers that.
fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a temporary directory")
}

/// The whole content of a volume.
pub async fn read_all(volume: &Volume) -> Bytes {
    volume.read(0, volume.size_bytes()).await.expect("reads")
}

pub async fn write(volume: &Volume, offset: u64, bytes: impl Into<Vec<u8>>) {
    volume.write(offset, Bytes::from(bytes.into())).await.expect("writes");
}

/// Takes a snapshot and commits it.
pub async fn commit_snapshot(volume: &Volume) -> ManifestId {
    let manifest = volume.snapshot(|_| ()).await.expect("stored").manifest;
    volume.confirm_commit(manifest).await.expect("known");
    manifest
}

/// Random bytes, which do not compress.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
