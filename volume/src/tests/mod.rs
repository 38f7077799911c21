//! The volume as a whole, against a plain array of bytes.

mod concurrency;
mod garbage;
mod model;
mod past;
mod promises;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use crate::{
    BLOCK_BYTES, DataKey, Opening, Reader, Volume, VolumeError,
    cache::Machine,
    store::{DirectoryStore, Faults, Faulty},
};

/// A tenant, a volume, a store, and a directory for it all; in memory where the machine offers it.
struct World {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<Faulty>,
    size_bytes: u64,
    epoch: u64,
    machine: Machine,
}

impl World {
    async fn new(blocks: u64) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("a temporary directory");
        let objects = DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        Self {
            directory,
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            key: DataKey::random(),
            store: Arc::new(Faulty::new(Arc::new(objects), 1, Faults::default())),
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
            head_of: None,
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

async fn everything(volume: &Volume) -> Bytes {
    volume.read(0, volume.size_bytes()).await.expect("reads")
}

async fn write(volume: &Volume, offset: u64, bytes: impl Into<Vec<u8>>) {
    volume.write(offset, Bytes::from(bytes.into())).await.expect("writes");
}
