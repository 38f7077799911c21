//! The home while a machine has it: opened at the committed snapshot, persisted at the end.

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
const COMMIT_WITHIN: Duration = Duration::from_secs(60);
/// News of an upload that people can follow.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
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

pub struct Home {
    volume: Volume,
}

impl Home {
    pub async fn open(spec: &RunnerSpec) -> Result<Self, HomeError> {
        let opening = Opening {
            tenant: spec.tenant,
            volume: spec.volume,
            size_bytes: u64::from(spec.resources.home_mib) * MIB,
            epoch: spec.epoch,
            head: spec.head,
            cache: spec.cache_dir.clone(),
            key: DataKey::from_hex(spec.data_key.expose())?,
            store: volume::store::open(&spec.store).await?,
        };
        Ok(Self { volume: Volume::open(opening).await? })
    }

    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// What the status bar shows.
    pub async fn report(&self, reporter: &Reporter, used_bytes: Option<u64>) -> Result<(), HomeError> {
        let status = self.volume.status().await?;
        reporter.tell(Report::Home {
            dirty_bytes: status.dirty_bytes,
            unreplicated_ms: 0,
            used_bytes,
            notice: None,
        });
        Ok(())
    }

    /// Puts the home into the store and has it committed.
    pub async fn persist(&self, reporter: &Reporter) -> Result<ManifestId, HomeError> {
        reporter.step(Step::Upload, None);
        let told = std::sync::Mutex::new(Instant::now());
        let progress = |progress: Progress| {
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.elapsed() >= PROGRESS_EVERY {
                *told = Instant::now();
                reporter.step(Step::Upload, Some(sentence(progress)));
            }
        };
        let snapshot = self.volume.snapshot(progress).await?;
        reporter.step(Step::Commit, None);
        reporter.tell(report_of(&snapshot));
        committed(reporter, snapshot.manifest).await?;
        self.volume.committed(snapshot.manifest).await?;
        Ok(snapshot.manifest)
    }

    /// Flushes and lets go; the cache stays as it is.
    pub async fn close(&self) -> Result<(), HomeError> {
        let flushed = self.volume.flush().await;
        self.volume.close().await?;
        Ok(flushed?)
    }
}

async fn committed(reporter: &Reporter, manifest: ManifestId) -> Result<(), HomeError> {
    let mut wanted = reporter.wanted();
    let known = |wanted: &Wanted| wanted.committed == Some(manifest) || wanted.lost.is_some();
    let heard = timeout(COMMIT_WITHIN, wanted.wait_for(known)).await;
    match heard {
        Ok(Ok(wanted)) if wanted.committed == Some(manifest) => Ok(()),
        _ => Err(HomeError::NotCommitted),
    }
}

fn report_of(snapshot: &Snapshot) -> Report {
    Report::Snapshot {
        manifest: snapshot.manifest,
        kind: SnapshotKind::Stop,
        consistency: Consistency::Clean,
        answers: 0,
        cut_at: OffsetDateTime::now_utc(),
        changed_bytes: snapshot.changed_bytes,
        uploaded_bytes: snapshot.uploaded_bytes,
        objects: snapshot.objects,
        stored_bytes: snapshot.stored_bytes,
    }
}

fn sentence(progress: Progress) -> String {
    format!("{} of {} MiB", progress.done_bytes / MIB, progress.changed_bytes.div_ceil(MIB))
}
