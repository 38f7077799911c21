//! Snapshots that are read block by block, for whoever moves a home: each is asked about many times in a row. Few are kept open,
//! for a while after their last use. What is in a home is not known here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{ManifestId, TenantId};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};
use volume::{DataKey, ObjectStore, RootHasher, SnapshotView, VolumeError};

/// Open at the same time, for all tenants: of a home of 100 GiB each is some 40 MiB.
const MAX_READERS: usize = 4;
/// Questions at the same time: each reads and hashes up to 64 MiB. Others wait.
const MAX_QUESTIONS: usize = 2;
/// Snapshots that are read for their roots, some kilobytes each; one that is forgotten is read from its beginning again.
const MAX_READINGS: usize = 32;
/// Longest wait for a turn; whoever moves a home asks again.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Kept so long after its last use: whoever moves a home asks again at once.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Readers {
    store: Arc<dyn ObjectStore>,
    kept: Mutex<Vec<Kept>>,
    readings: Mutex<Vec<(TenantId, ManifestId, Reading)>>,
    questions: Semaphore,
}

/// How far a snapshot has been read for its root: a large one takes longer than an answer may.
#[derive(Clone)]
pub struct Reading {
    pub root: RootHasher,
    /// Where the next page begins; none: all has been read.
    pub next: Option<u32>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { root: RootHasher::default(), next: Some(0) }
    }
}

/// All who may ask at the same time do, and go on doing so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

struct Kept {
    tenant: TenantId,
    manifest: ManifestId,
    reader: Arc<SnapshotView>,
    used: Instant,
}

impl Readers {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let (kept, readings) = Default::default();
        Self { store, kept, readings, questions: Semaphore::new(MAX_QUESTIONS) }
    }

    pub async fn open(
        &self,
        tenant: TenantId,
        key: DataKey,
        manifest: ManifestId,
    ) -> Result<Arc<SnapshotView>, VolumeError> {
        if let Some(known) = self.known(tenant, manifest) {
            return Ok(known);
        }
        let reader = Arc::new(SnapshotView::open(self.store.clone(), key, tenant, manifest).await?);
        self.keep(tenant, manifest, reader.clone());
        Ok(reader)
    }

    /// The right to ask, for as long as it lives.
    pub async fn question(&self) -> Result<SemaphorePermit<'_>, Busy> {
        let turn = timeout(TURN_TIMEOUT, self.questions.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(Busy)
    }

    /// As far as a snapshot has been read by the last who asked.
    pub fn reading(&self, tenant: TenantId, manifest: ManifestId) -> Reading {
        let readings = self.readings();
        let known = readings.iter().find(|(of, id, _)| (*of, *id) == (tenant, manifest));
        known.map(|(.., reading)| reading.clone()).unwrap_or_default()
    }

    /// Remembers how far it is; those that were gone on with last.
    pub fn note(&self, tenant: TenantId, manifest: ManifestId, reading: Reading) {
        let mut readings = self.readings();
        readings.retain(|(of, id, _)| (*of, *id) != (tenant, manifest));
        if readings.len() >= MAX_READINGS {
            readings.remove(0);
        }
        readings.push((tenant, manifest, reading));
    }

    fn readings(&self) -> MutexGuard<'_, Vec<(TenantId, ManifestId, Reading)>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one that is open; the one that was idle longest makes room.
    pub fn keep(&self, tenant: TenantId, manifest: ManifestId, reader: Arc<SnapshotView>) {
        let mut kept = self.kept();
        kept.retain(|one| (one.tenant, one.manifest) != (tenant, manifest));
        if kept.len() >= MAX_READERS {
            let longest = (0..kept.len()).min_by_key(|index| kept[*index].used).expect("not empty");
            kept.swap_remove(longest);
        }
        kept.push(Kept { tenant, manifest, reader, used: Instant::now() });
    }

    /// Closes those of a tenant.
    pub fn close(&self, tenant: TenantId) {
        self.kept().retain(|one| one.tenant != tenant);
    }

    /// Closes what nobody asks about.
    pub fn tidy(&self) {
        self.kept().retain(|one| one.used.elapsed() < IDLE_TIMEOUT);
    }

    fn known(&self, tenant: TenantId, manifest: ManifestId) -> Option<Arc<SnapshotView>> {
        let mut kept = self.kept();
        let known = kept.iter_mut().find(|one| (one.tenant, one.manifest) == (tenant, manifest))?;
        known.used = Instant::now();
        Some(known.reader.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use protocol::VolumeId;
    use volume::{ImportTarget, import_chunks, store::MemoryStore};

    use super::*;

    /// A store with so many homes of a tenant.
    async fn homes(count: usize) -> (Readers, TenantId, DataKey, Vec<ManifestId>) {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
        let (tenant, key) = (TenantId::random(), DataKey::random());
        let mut manifests = Vec::new();
        for _ in 0..count {
            let (store, key, volume) = (store.clone(), key.clone(), VolumeId::random());
            let target = ImportTarget { store, key, tenant, volume, size_bytes: 1 << 20 };
            manifests.push(import_chunks(target, None, vec![]).await.expect("stored").manifest);
        }
        (Readers::new(store), tenant, key, manifests)
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_open_and_they_are_closed_when_idle() {
        let (readers, tenant, key, manifests) = homes(2 * MAX_READERS).await;
        for manifest in &manifests {
            tokio::time::advance(Duration::from_secs(1)).await;
            let first = readers.open(tenant, key.clone(), *manifest).await.expect("opens");
            let again = readers.open(tenant, key.clone(), *manifest).await.expect("is open");
            assert!(Arc::ptr_eq(&first, &again));
            assert!(readers.kept().len() <= MAX_READERS);
        }
        assert!(readers.known(TenantId::random(), manifests[7]).is_none(), "another tenant's is another");
        assert!(
            readers.known(tenant, manifests[0]).is_none() && readers.known(tenant, manifests[7]).is_some()
        );
        tokio::time::advance(IDLE_TIMEOUT).await;
        readers.tidy();
        assert!(readers.kept().is_empty());
        readers.open(tenant, key, manifests[0]).await.expect("opens");
        readers.close(tenant);
        assert!(readers.kept().is_empty());
    }

    #[tokio::test]
    async fn a_reading_goes_on_where_it_was_and_few_are_remembered() {
        let (readers, tenant, ..) = homes(0).await;
        let id = |number: usize| ManifestId([number as u8; 32]);
        assert_eq!(readers.reading(tenant, id(0)).next, Some(0));
        for number in 0..=MAX_READINGS {
            readers.note(tenant, id(number), Reading { next: Some(7), ..Reading::default() });
            readers.note(tenant, id(number), Reading { next: None, ..Reading::default() });
        }
        assert_eq!(readers.reading(tenant, id(1)).next, None);
        assert_eq!(readers.reading(tenant, id(0)).next, Some(0), "the first was forgotten");
        assert_eq!(readers.reading(TenantId::random(), id(1)).next, Some(0), "another tenant's is another");
        assert_eq!(readers.readings().len(), MAX_READINGS);
    }

    #[tokio::test(start_paused = true)]
    async fn few_ask_at_the_same_time_and_nobody_waits_for_ever() {
        let (readers, ..) = homes(0).await;
        let mut asking = Vec::new();
        for _ in 0..MAX_QUESTIONS {
            asking.push(readers.question().await.expect("a turn"));
        }
        assert_eq!(readers.question().await.err(), Some(Busy));
        asking.pop();
        asking.push(readers.question().await.expect("a turn"));
    }
}
