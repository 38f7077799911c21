//! The home while a machine has it: opened at the committed snapshot, streamed while it runs, persisted at the end.

use std::time::{Duration, Instant};

use protocol::{
    ManifestId,
    api::snapshot::{Consistency, SnapshotKind},
    runner::{Report, RunnerSpec},
    workspace::Step,
};
use time::OffsetDateTime;
use tokio::time::timeout;
use volume::{DataKey, Opening, Progress, Snapshot, Volume, VolumeError};

use crate::report::{Reporter, Wanted};

/// The controller commits in the exchange that carries the snapshot; it may be restarting.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// News of an upload that people can follow.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
const MIB: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Store(#[from] volume::StoreError),
    #[error("the home's key cannot be used: {0}")]
    Key(#[from] volume::KeyError),
    #[error("the controller did not commit the snapshot")]
    NotCommitted,
}

/// Clones are the same home.
#[derive(Clone)]
pub struct Home {
    volume: Volume,
}

/// A snapshot, and why it was taken.
pub struct Taken {
    pub snapshot: Snapshot,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    /// The request that it answers; 0: none.
    pub answers: u64,
}

impl Home {
    pub async fn open(spec: &RunnerSpec) -> Result<Self, HomeError> {
        let opening = Opening {
            tenant: spec.tenant,
            volume: spec.volume,
            size_bytes: u64::from(spec.resources.home_mib) * MIB,
            epoch: spec.epoch,
            head: spec.head,
            head_of: spec.head_of,
            lineage: spec.lineage,
            cache: spec.cache_dir.clone(),
            key: DataKey::from_hex(spec.data_key.expose())?,
            store: volume::store::open(&spec.store).await?,
        };
        Ok(Self { volume: Volume::open(opening).await? })
    }

    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Puts the home into the store and has it committed.
    pub async fn persist(
        &self,
        reporter: &Reporter,
        consistency: Consistency,
    ) -> Result<ManifestId, HomeError> {
        reporter.step(Step::Upload, None);
        let told = std::sync::Mutex::new(Instant::now());
        let progress = |progress: Progress| {
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.elapsed() >= PROGRESS_INTERVAL {
                *told = Instant::now();
                reporter.step(Step::Upload, Some(sentence(progress)));
            }
        };
        let snapshot = self.volume.snapshot(progress).await?;
        reporter.step(Step::Commit, None);
        self.commit(reporter, &Taken { snapshot, kind: SnapshotKind::Stop, consistency, answers: 0 }).await?;
        Ok(snapshot.manifest)
    }

    /// Tells of a snapshot and waits for the controller's word that it counts.
    pub async fn commit(&self, reporter: &Reporter, taken: &Taken) -> Result<(), HomeError> {
        let manifest = taken.snapshot.manifest;
        reporter.tell(report_of(taken));
        let mut wanted = reporter.wanted();
        let known = |wanted: &Wanted| wanted.committed == Some(manifest) || wanted.lost.is_some();
        match timeout(COMMIT_TIMEOUT, wanted.wait_for(known)).await {
            Ok(Ok(wanted)) if wanted.committed == Some(manifest) => {}
            _ => return Err(HomeError::NotCommitted),
        }
        Ok(self.volume.committed(manifest).await?)
    }

    /// Takes in a commit whose word came after nobody waited for it any more.
    pub async fn hear(&self, reporter: &Reporter) {
        let committed = reporter.wanted().borrow().committed;
        if let Some(manifest) = committed {
            // One that a later one has overtaken is not known any more, and need not be.
            let _ = self.volume.committed(manifest).await;
        }
    }

    /// Flushes and lets go; the cache stays as it is.
    pub async fn close(&self) -> Result<(), HomeError> {
        let flushed = self.volume.flush().await;
        self.volume.close().await?;
        Ok(flushed?)
    }
}

fn report_of(taken: &Taken) -> Report {
    let Taken { snapshot, kind, consistency, answers } = taken;
    Report::Snapshot {
        manifest: snapshot.manifest,
        kind: *kind,
        consistency: *consistency,
        answers: *answers,
        cut_at: OffsetDateTime::from(snapshot.cut_at),
        changed_bytes: snapshot.changed_bytes,
        uploaded_bytes: snapshot.uploaded_bytes,
        objects: snapshot.objects,
        stored_bytes: snapshot.stored_bytes,
    }
}

fn sentence(progress: Progress) -> String {
    format!("{} of {} MiB", progress.done_bytes / MIB, progress.changed_bytes.div_ceil(MIB))
}
