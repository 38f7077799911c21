//! The home's volume while a runner has it: opened at the committed snapshot, replicated while the
//! sandbox runs, persisted at the end. Knows the store and the controller's commit; knows no
//! sandbox.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::{
    ManifestId,
    api::snapshot::{Consistency, SnapshotKind},
    runner::{Report, RunnerSpec},
    workspace::Step,
};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use volume::{DataKey, ObjectStore, Progress, Snapshot, Volume, VolumeError, VolumeOptions};

use crate::{
    controller_link::ControllerLink,
    objects::TenantObjects,
    reporter::{ControllerState, Reporter},
};

/// The controller commits in the exchange that reports the snapshot; it may be restarting.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the progress of an upload is reported: often enough for users to follow it.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// How long a cache may be in use when it is opened.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(5);
const IN_USE_RETRY_INTERVAL: Duration = Duration::from_millis(50);
const MIB: u64 = 1024 * 1024;

/// Why the home cannot be opened or persisted.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("Cannot use the home's key: {0}")]
    Key(#[from] volume::KeyError),
    #[error("Cannot save the home: the controller did not commit the snapshot in time")]
    NotCommitted,
}

/// A workspace's home, as its volume. Clones share the volume.
#[derive(Clone)]
pub struct HomeVolume {
    volume: Volume,
}

/// A snapshot that is complete in the store, and why it was taken.
pub struct TakenSnapshot {
    pub snapshot: Snapshot,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    /// Number of the request that it answers; 0 if nobody requested it.
    pub request: u64,
}

impl HomeVolume {
    /// Opens the volume of the workspace in `spec` at its committed snapshot. A newer local cache
    /// is used where it exists.
    pub async fn open(spec: &RunnerSpec, controller: &ControllerLink) -> Result<Self, HomeError> {
        let store: Arc<dyn ObjectStore> = Arc::new(TenantObjects::new(controller.clone(), spec.tenant));
        let key = DataKey::from_hex(spec.data_key.expose())?;
        let options = || VolumeOptions {
            tenant: spec.tenant,
            volume: spec.volume,
            size_bytes: u64::from(spec.resources.home_mib) * MIB,
            epoch: spec.epoch,
            head: spec.head,
            head_of: spec.head_of,
            lineage: spec.lineage,
            cache: spec.cache_dir.clone(),
            key: key.clone(),
            store: store.clone(),
        };
        let begun = Instant::now();
        loop {
            match Volume::open(options()).await {
                // The controller's janitor looks at a cache for a moment.
                Err(VolumeError::InUse(_)) if begun.elapsed() < IN_USE_TIMEOUT => {
                    sleep(IN_USE_RETRY_INTERVAL).await;
                }
                opened => return Ok(Self { volume: opened? }),
            }
        }
    }

    /// The block device itself.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Uploads the home as the snapshot of a stop, and waits for its commit.
    pub async fn persist(
        &self,
        reporter: &Reporter,
        consistency: Consistency,
    ) -> Result<ManifestId, HomeError> {
        reporter.report_step(Step::Upload, None);
        let last_report = Mutex::new(Instant::now());
        let on_progress = |progress: Progress| {
            let mut last_report = last_report.lock().unwrap_or_else(PoisonError::into_inner);
            if last_report.elapsed() >= PROGRESS_INTERVAL {
                *last_report = Instant::now();
                reporter.report_step(Step::Upload, Some(format_progress(progress)));
            }
        };
        let snapshot = self.volume.snapshot(on_progress).await?;
        reporter.report_step(Step::Commit, None);
        let taken = TakenSnapshot { snapshot, kind: SnapshotKind::Stop, consistency, request: 0 };
        self.commit_snapshot(reporter, &taken).await?;
        Ok(snapshot.manifest)
    }

    /// Reports a snapshot and waits until the controller has committed it. Then the cache builds on it.
    pub async fn commit_snapshot(&self, reporter: &Reporter, taken: &TakenSnapshot) -> Result<(), HomeError> {
        let manifest = taken.snapshot.manifest;
        reporter.queue_report(taken.to_report());
        let mut controller = reporter.subscribe();
        let is_decided =
            |state: &ControllerState| state.committed == Some(manifest) || state.lease_loss.is_some();
        match timeout(COMMIT_TIMEOUT, controller.wait_for(is_decided)).await {
            Ok(Ok(state)) if state.committed == Some(manifest) => {}
            _ => return Err(HomeError::NotCommitted),
        }
        Ok(self.volume.confirm_commit(manifest).await?)
    }

    /// Applies a commit that arrived after [`Self::commit_snapshot`] had stopped waiting for it.
    pub async fn apply_late_commit(&self, reporter: &Reporter) {
        let committed = reporter.subscribe().borrow().committed;
        if let Some(manifest) = committed {
            // The volume refuses a snapshot that a later one has replaced; nothing is left to do
            // for it.
            let _ = self.volume.confirm_commit(manifest).await;
        }
    }

    /// Flushes and closes the volume. The cache stays.
    pub async fn close(&self) -> Result<(), HomeError> {
        let flushed = self.volume.flush().await;
        self.volume.close().await?;
        Ok(flushed?)
    }
}

impl TakenSnapshot {
    fn to_report(&self) -> Report {
        let Self { snapshot, kind, consistency, request } = self;
        Report::Snapshot {
            manifest: snapshot.manifest,
            kind: *kind,
            consistency: *consistency,
            answers: *request,
            cut_at: OffsetDateTime::from(snapshot.cut_at),
            changed_bytes: snapshot.changed_bytes,
            uploaded_bytes: snapshot.uploaded_bytes,
            objects: snapshot.objects,
            stored_bytes: snapshot.stored_bytes,
        }
    }
}

fn format_progress(progress: Progress) -> String {
    format!("{} of {} MiB", progress.done_bytes / MIB, progress.changed_bytes.div_ceil(MIB))
}
