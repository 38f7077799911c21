//! Reads snapshots chunk by chunk, for transfers to another installation. A transfer sends many
//! requests for the same snapshot, so a few are kept open for a while after their last use. Knows
//! no files.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{ManifestId, TenantId, UserId};
use tokio::time::Instant;
use volume::{DataKey, ObjectStore, RootHasher, SnapshotView, VolumeError};

use crate::fair_permits::{Busy, FairPermit, FairPermits};

/// Snapshots that are open at the same time, for all tenants. One of a home of 100 GiB takes some
/// 40 MiB.
const MAX_OPEN: usize = 4;
/// Requests that are served at the same time, one of each user. Each reads and hashes up to 64 MiB;
/// others wait.
const MAX_CONCURRENT_READS: usize = 2;
/// Uploads whose body is in memory or arrives at the same time, one of each user, 4 MiB each.
const MAX_CONCURRENT_UPLOADS: usize = 16;
/// Snapshots whose root hash is being computed, some kilobytes each. One that is dropped starts
/// from its beginning again.
const MAX_ROOT_HASHES: usize = 32;
/// Longest wait for a permit. The client sends the request again.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the turn of an upload. Its body waits too, and the gateway cuts one that is silent for
/// 30 seconds.
const UPLOAD_TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a snapshot stays open after its last use. A transfer sends its next request at once.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The snapshots that are open for transfers.
pub struct ChunkReaders {
    store: Arc<dyn ObjectStore>,
    open: Mutex<Vec<OpenReader>>,
    root_hashes: Mutex<Vec<(TenantId, ManifestId, RootHash)>>,
    permits: FairPermits<UserId>,
    uploads: FairPermits<UserId>,
}

/// The root hash of a snapshot, as far as it has been computed. A large snapshot takes longer than
/// one request may.
#[derive(Clone)]
pub struct RootHash {
    pub root: RootHasher,
    /// The first chunk that has not been hashed. None: all of them have.
    pub next: Option<u32>,
}

impl Default for RootHash {
    fn default() -> Self {
        Self { root: RootHasher::default(), next: Some(0) }
    }
}

struct OpenReader {
    tenant: TenantId,
    manifest: ManifestId,
    reader: Arc<SnapshotView>,
    used_at: Instant,
}

impl ChunkReaders {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let (open, root_hashes) = Default::default();
        let permits = FairPermits::new(MAX_CONCURRENT_READS, 1);
        Self { store, open, root_hashes, permits, uploads: FairPermits::new(MAX_CONCURRENT_UPLOADS, 1) }
    }

    /// Opens a snapshot, or returns it if it is open already.
    pub async fn open(
        &self,
        tenant: TenantId,
        key: DataKey,
        manifest: ManifestId,
    ) -> Result<Arc<SnapshotView>, VolumeError> {
        if let Some(known) = self.find(tenant, manifest) {
            return Ok(known);
        }
        let reader = Arc::new(SnapshotView::open(self.store.clone(), key, tenant, manifest).await?);
        self.keep(tenant, manifest, reader.clone());
        Ok(reader)
    }

    /// Waits for a user's permit to read. Hold it while reading.
    pub async fn permit(&self, user: UserId) -> Result<FairPermit<UserId>, Busy> {
        self.permits.acquire(user, PERMIT_TIMEOUT).await
    }

    /// Waits for a user's turn to upload. No byte of the body is read before it; hold it until the body is
    /// stored.
    pub async fn upload_turn(&self, user: UserId) -> Result<FairPermit<UserId>, Busy> {
        self.uploads.acquire(user, UPLOAD_TURN_TIMEOUT).await
    }

    /// How many uploads wait for their turn.
    #[cfg(test)]
    pub fn waiting_uploads(&self) -> usize {
        self.uploads.waiting()
    }

    /// The root hash of a snapshot, as far as earlier requests have computed it.
    pub fn root_hash(&self, tenant: TenantId, manifest: ManifestId) -> RootHash {
        let root_hashes = self.root_hashes();
        let known = root_hashes.iter().find(|(of, id, _)| (*of, *id) == (tenant, manifest));
        known.map(|(.., root_hash)| root_hash.clone()).unwrap_or_default()
    }

    /// Keeps how far a root hash is computed, for the next request. The ones that were kept first
    /// make room.
    pub fn keep_root_hash(&self, tenant: TenantId, manifest: ManifestId, root_hash: RootHash) {
        let mut root_hashes = self.root_hashes();
        root_hashes.retain(|(of, id, _)| (*of, *id) != (tenant, manifest));
        if root_hashes.len() >= MAX_ROOT_HASHES {
            root_hashes.remove(0);
        }
        root_hashes.push((tenant, manifest, root_hash));
    }

    fn root_hashes(&self) -> MutexGuard<'_, Vec<(TenantId, ManifestId, RootHash)>> {
        self.root_hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a snapshot open. The one that was idle longest makes room.
    pub fn keep(&self, tenant: TenantId, manifest: ManifestId, reader: Arc<SnapshotView>) {
        let mut open = self.open_readers();
        open.retain(|one| (one.tenant, one.manifest) != (tenant, manifest));
        if open.len() >= MAX_OPEN {
            let longest = (0..open.len()).min_by_key(|index| open[*index].used_at).expect("not empty");
            open.swap_remove(longest);
        }
        open.push(OpenReader { tenant, manifest, reader, used_at: Instant::now() });
    }

    /// Closes the snapshots of a tenant.
    pub fn close(&self, tenant: TenantId) {
        self.open_readers().retain(|one| one.tenant != tenant);
    }

    /// Closes the snapshots that have been idle for too long.
    pub fn close_idle(&self) {
        self.open_readers().retain(|one| one.used_at.elapsed() < IDLE_TIMEOUT);
    }

    fn find(&self, tenant: TenantId, manifest: ManifestId) -> Option<Arc<SnapshotView>> {
        let mut open = self.open_readers();
        let known = open.iter_mut().find(|one| (one.tenant, one.manifest) == (tenant, manifest))?;
        known.used_at = Instant::now();
        Some(known.reader.clone())
    }

    fn open_readers(&self) -> MutexGuard<'_, Vec<OpenReader>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use protocol::VolumeId;
    use volume::{ImportTarget, import_chunks, store::MemoryStore};

    use super::*;

    /// A store with some snapshots of a tenant.
    async fn store_snapshots(count: usize) -> (ChunkReaders, TenantId, DataKey, Vec<ManifestId>) {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
        let (tenant, key) = (TenantId::random(), DataKey::random());
        let mut manifests = Vec::new();
        for _ in 0..count {
            let (store, key, volume) = (store.clone(), key.clone(), VolumeId::random());
            let target = ImportTarget { store, key, tenant, volume, size_bytes: 1 << 20 };
            manifests.push(import_chunks(target, None, vec![]).await.expect("stored").manifest);
        }
        (ChunkReaders::new(store), tenant, key, manifests)
    }

    #[tokio::test(start_paused = true)]
    async fn snapshots_close_when_idle() {
        let (readers, tenant, key, manifests) = store_snapshots(2 * MAX_OPEN).await;
        for manifest in &manifests {
            tokio::time::advance(Duration::from_secs(1)).await;
            let first = readers.open(tenant, key.clone(), *manifest).await.expect("opens");
            let again = readers.open(tenant, key.clone(), *manifest).await.expect("is open");
            assert!(Arc::ptr_eq(&first, &again));
            assert!(readers.open_readers().len() <= MAX_OPEN);
        }
        assert!(readers.find(TenantId::random(), manifests[7]).is_none(), "another tenant's snapshot");
        assert!(readers.find(tenant, manifests[0]).is_none() && readers.find(tenant, manifests[7]).is_some());
        tokio::time::advance(IDLE_TIMEOUT).await;
        readers.close_idle();
        assert!(readers.open_readers().is_empty());
        readers.open(tenant, key, manifests[0]).await.expect("opens");
        readers.close(tenant);
        assert!(readers.open_readers().is_empty());
    }

    #[tokio::test]
    async fn root_hash_resumes_and_oldest_is_dropped() {
        let (readers, tenant, ..) = store_snapshots(0).await;
        let id = |number: usize| ManifestId([number as u8; 32]);
        assert_eq!(readers.root_hash(tenant, id(0)).next, Some(0));
        for number in 0..=MAX_ROOT_HASHES {
            readers.keep_root_hash(tenant, id(number), RootHash { next: Some(7), ..RootHash::default() });
            readers.keep_root_hash(tenant, id(number), RootHash { next: None, ..RootHash::default() });
        }
        assert_eq!(readers.root_hash(tenant, id(1)).next, None);
        assert_eq!(readers.root_hash(tenant, id(0)).next, Some(0), "the first was dropped");
        assert_eq!(readers.root_hash(TenantId::random(), id(1)).next, Some(0), "another tenant's snapshot");
        assert_eq!(readers.root_hashes().len(), MAX_ROOT_HASHES);
    }

    #[tokio::test(start_paused = true)]
    async fn permit_waits_and_times_out() {
        let (readers, ..) = store_snapshots(0).await;
        let [first, second, third] = [(); 3].map(|()| UserId::random());
        let held = readers.permit(first).await.expect("a permit");
        assert_eq!(readers.permit(first).await.err(), Some(Busy), "one for each user");
        let _other = readers.permit(second).await.expect("a permit");
        assert_eq!(readers.permit(third).await.err(), Some(Busy));
        drop(held);
        readers.permit(third).await.expect("a permit");
    }
}
