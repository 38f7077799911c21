//! Snapshots that are read block by block, for whoever moves a home: each is asked about many times in a row. Few are kept open,
//! for a while after their last use. What is in a home is not known here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{ManifestId, TenantId};
use tokio::{sync::Semaphore, time::Instant};
use volume::{DataKey, ObjectStore, Reader, VolumeError};

/// Open at the same time, for all tenants: of a home of 100 GiB each is some 40 MiB.
const READERS_MAX: usize = 4;
/// Questions at the same time: each reads and hashes up to 64 MiB. Others wait.
const QUESTIONS_MAX: usize = 2;
/// Kept so long after its last use: whoever moves a home asks again at once.
const IDLE_MAX: Duration = Duration::from_secs(60);

pub struct Readers {
    store: Arc<dyn ObjectStore>,
    kept: Mutex<Vec<Kept>>,
    pub questions: Semaphore,
}

struct Kept {
    tenant: TenantId,
    manifest: ManifestId,
    reader: Arc<Reader>,
    used: Instant,
}

impl Readers {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, kept: Mutex::default(), questions: Semaphore::new(QUESTIONS_MAX) }
    }

    pub async fn open(
        &self,
        tenant: TenantId,
        key: DataKey,
        manifest: ManifestId,
    ) -> Result<Arc<Reader>, VolumeError> {
        if let Some(known) = self.known(tenant, manifest) {
            return Ok(known);
        }
        let reader = Arc::new(Reader::open(self.store.clone(), key, tenant, manifest).await?);
        self.keep(tenant, manifest, reader.clone());
        Ok(reader)
    }

    /// Takes in one that is open; the one that was idle longest makes room.
    pub fn keep(&self, tenant: TenantId, manifest: ManifestId, reader: Arc<Reader>) {
        let mut kept = self.kept();
        kept.retain(|one| (one.tenant, one.manifest) != (tenant, manifest));
        if kept.len() >= READERS_MAX {
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
        self.kept().retain(|one| one.used.elapsed() < IDLE_MAX);
    }

    fn known(&self, tenant: TenantId, manifest: ManifestId) -> Option<Arc<Reader>> {
        let mut kept = self.kept();
        let known = kept.iter_mut().find(|one| (one.tenant, one.manifest) == (tenant, manifest))?;
        known.used = Instant::now();
        Some(known.reader.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
