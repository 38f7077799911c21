//! The volume as a whole, against a plain array of bytes.

mod concurrency;
mod garbage;
mod model;
mod moved;
mod past;
mod power;
mod promises;
mod repair;

use std::{cell::Cell, path::PathBuf, sync::Arc};

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    BLOCK_BYTES, DataKey, Opening, Reader, Volume, VolumeError,
    cache::Machine,
    store::{DirectoryStore, Faults, Faulty, MemoryStore, ObjectStore},
};

thread_local! {
    static INLINE: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread does itself what blocks: a history is then the same each time, and many times faster.
fn run_inline() {
    INLINE.set(true);
}

pub fn is_inline() -> bool {
    INLINE.get()
}

/// From `BURROW_SEED`, to play a failure again; printed, so that there is one to play.
fn seed() -> u64 {
    let seed = from_environment("BURROW_SEED").unwrap_or_else(rand::random);
    println!("BURROW_SEED={seed}");
    seed
}

/// How many times the short share of a proof is wanted.
fn soak_factor() -> u64 {
    from_environment("BURROW_SOAK_FACTOR").unwrap_or(1)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A tenant, a volume, a store, and a directory for it all; in memory where the machine offers it.
struct World {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    /// The volume that made the head, where it is another.
    head_of: Option<VolumeId>,
    key: DataKey,
    store: Arc<Faulty>,
    size_bytes: u64,
    epoch: u64,
    machine: Machine,
}

impl World {
    async fn new(blocks: u64) -> Self {
        let directory = directory();
        let objects = DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        Self::on(Arc::new(objects), 1, directory, blocks)
    }

    /// Its objects in memory; what goes wrong with them comes from the seed.
    fn in_memory(seed: u64, blocks: u64) -> Self {
        Self::on(Arc::new(MemoryStore::default()), seed, directory(), blocks)
    }

    fn on(objects: Arc<dyn ObjectStore>, seed: u64, directory: tempfile::TempDir, blocks: u64) -> Self {
        Self {
            directory,
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            head_of: None,
            key: DataKey::random(),
            store: Arc::new(Faulty::new(objects, seed, Faults::default())),
            size_bytes: blocks * BLOCK_BYTES,
            epoch: 1,
            machine: Machine::this(),
        }
    }

    fn opening(&self, cache: &str, head: Option<ManifestId>) -> Opening {
        Opening {
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

    async fn try_open(&self, cache: &str, head: Option<ManifestId>) -> Result<Volume, VolumeError> {
        Volume::open_on(self.opening(cache, head), self.machine.clone()).await
    }

    async fn open(&self, cache: &str, head: Option<ManifestId>) -> Volume {
        self.try_open(cache, head).await.expect("opens")
    }

    async fn reader(&self, head: ManifestId) -> Reader {
        let opened = Reader::open(self.store.clone(), self.key.clone(), self.tenant, head).await;
        opened.expect("opens without a cache")
    }

    /// The volume as somebody elsewhere reads it, with a cache and without.
    async fn content_of(&self, head: ManifestId) -> Bytes {
        let cache = format!("reader-{}", uuid::Uuid::now_v7());
        let opening = self.opening(&cache, Some(head));
        let reader = Volume::open(opening).await.expect("opens elsewhere");
        let content = everything(&reader).await;
        drop(reader);
        std::fs::remove_dir_all(self.directory.path().join(cache)).expect("removed");
        let reader = self.reader(head).await;
        assert_eq!(reader.read(0, reader.size_bytes()).await.expect("reads"), content);
        content
    }
}

fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a temporary directory")
}

async fn everything(volume: &Volume) -> Bytes {
    volume.read(0, volume.size_bytes()).await.expect("reads")
}

async fn write(volume: &Volume, offset: u64, bytes: impl Into<Vec<u8>>) {
    volume.write(offset, Bytes::from(bytes.into())).await.expect("writes");
}
