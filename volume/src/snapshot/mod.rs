//! Taking a snapshot: cut, copy, pack, upload, and the manifest last. The guest keeps writing.
//!
//! Until the manifest is in the store and the log records that durably, the blocks of the cut count
//! as dirty. So a snapshot that fails, is dropped, or dies with its process loses nothing. The
//! packs that it has uploaded are then named by no manifest, and gc deletes them.

#[cfg(test)]
mod tests;
mod upload;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::{Epoch, ManifestId};
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout},
};

use crate::{
    cache::{Cache, CutContent, MAX_UNCOMMITTED},
    error::VolumeError,
    open::OpenVolume,
    volume::Volume,
};

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have changed since the last snapshot.
    pub changed_bytes: u64,
    /// Of those, bytes that were read from the cache.
    pub done_bytes: u64,
    /// Bytes that were uploaded, compressed and encrypted.
    pub uploaded_bytes: u64,
}

/// A snapshot that is complete in the store. It counts once the controller has committed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Identifies the snapshot in the store. This is what the controller commits.
    pub manifest: ManifestId,
    /// The placement that took it.
    pub epoch: Epoch,
    /// The instant whose content it holds.
    pub cut_at: SystemTime,
    /// Bytes that had changed since the last snapshot.
    pub changed_bytes: u64,
    /// Bytes of the packs and the manifest that were uploaded.
    pub uploaded_bytes: u64,
    /// Bytes of the manifest alone.
    pub manifest_bytes: u64,
    /// Objects that were uploaded.
    pub objects: u64,
    /// Bytes of all objects that the volume now builds on.
    pub stored_bytes: u64,
}

/// The right to take the next snapshot. A volume takes one at a time.
pub struct SnapshotTurn {
    volume: Arc<OpenVolume>,
    gate: OwnedMutexGuard<()>,
}

/// The content of a volume at one instant. Dropped before it is stored, it is abandoned and its
/// blocks are dirty again.
pub enum Cut {
    /// Nothing has changed since this snapshot.
    Unchanged(Snapshot),
    /// Something has changed and must be stored.
    Changed(PendingCut),
}

/// A cut that is not stored yet. Abandons the cut when it is dropped.
pub struct PendingCut {
    volume: Arc<OpenVolume>,
    content: CutContent,
    cut_at: SystemTime,
    is_finished: bool,
    _gate: OwnedMutexGuard<()>,
}

impl Volume {
    /// Stores the present content. If nothing has changed since the last snapshot, returns that one
    /// without a request.
    pub async fn snapshot(&self, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
        self.wait_for_turn().await.cut().await?.store(progress).await
    }

    /// Waits until no other snapshot is running. A caller that freezes the guest for the cut does
    /// so after this.
    pub async fn wait_for_turn(&self) -> SnapshotTurn {
        let gate = self.inner.snapshot_gate.clone().lock_owned().await;
        SnapshotTurn { volume: self.inner.clone(), gate }
    }

    /// Waits until there is something for the next snapshot: a block is dirty, then `delay` has
    /// passed, and then the guest has flushed or `flush_timeout` has passed.
    pub async fn wait_until_due(&self, delay: Duration, flush_timeout: Duration) -> Result<(), VolumeError> {
        loop {
            let dirtied = self.inner.dirtied.notified();
            tokio::pin!(dirtied);
            dirtied.as_mut().enable();
            if self.inner.with_cache(|_, cache| Ok(cache.lock()?.has_dirty_blocks())).await? {
                break;
            }
            dirtied.await;
        }
        tokio::time::sleep(delay).await;
        let _ = timeout(flush_timeout, self.inner.flushed.notified()).await;
        Ok(())
    }
}

impl SnapshotTurn {
    /// Freezes the content of this instant. Takes milliseconds, whatever the size of the volume.
    pub async fn cut(self) -> Result<Cut, VolumeError> {
        let Self { volume, gate } = self;
        let cutting = volume.clone();
        cutting.with_cache(move |_, cache| begin_cut(volume, &mut *cache.lock()?, gate)).await
    }
}

impl Cut {
    /// Uploads the content, and the manifest last.
    pub async fn store(self, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
        match self {
            Self::Unchanged(snapshot) => Ok(snapshot),
            Self::Changed(cut) => {
                // The cut must be durable before a manifest builds on it.
                cut.volume.flush().await?;
                let begun = Instant::now();
                let volume = cut.volume.clone();
                let snapshot = store_cut(cut, progress).await?;
                volume.throttle.record_upload(snapshot.changed_bytes, begun.elapsed());
                Ok(snapshot)
            }
        }
    }
}

impl Drop for PendingCut {
    fn drop(&mut self) {
        if !self.is_finished {
            self.volume.abandon_cut(self.content.number);
        }
    }
}

fn begin_cut(
    volume: Arc<OpenVolume>,
    cache: &mut Cache,
    gate: OwnedMutexGuard<()>,
) -> Result<Cut, VolumeError> {
    let waiting = cache.uncommitted();
    if waiting >= MAX_UNCOMMITTED {
        return Err(VolumeError::TooManyUncommitted(waiting));
    }
    let head = cache.head();
    let cut = cache.begin_cut().map_err(VolumeError::cache_io("begin a snapshot in the cache"))?;
    let cut_at = SystemTime::now();
    if let (None, Some(manifest)) = (&cut, head) {
        return Ok(Cut::Unchanged(Snapshot {
            manifest,
            epoch: volume.epoch,
            cut_at,
            changed_bytes: 0,
            uploaded_bytes: 0,
            manifest_bytes: 0,
            objects: 0,
            stored_bytes: cache.map().stored_bytes(),
        }));
    }
    let content = cut.expect("without a head, there is always something to store");
    Ok(Cut::Changed(PendingCut { volume, content, cut_at, is_finished: false, _gate: gate }))
}

async fn store_cut(mut cut: PendingCut, progress: impl Fn(Progress) + Send) -> Result<Snapshot, VolumeError> {
    let volume = cut.volume.clone();
    let upload::UploadedPacks { delta, progress: done } =
        upload::upload_packs(&volume, &cut.content, progress).await?;
    let packs = delta.packs.len() as u64;
    let manifest = upload::seal_manifest(&volume, cut.content.clone(), delta).await?;
    let manifest_bytes = manifest.object.len() as u64;
    volume.objects.put_manifest(manifest.id, manifest.object).await?;
    let snapshot = Snapshot {
        manifest: manifest.id,
        epoch: volume.epoch,
        cut_at: cut.cut_at,
        changed_bytes: done.changed_bytes,
        uploaded_bytes: done.uploaded_bytes + manifest_bytes,
        manifest_bytes,
        objects: packs + 1,
        stored_bytes: manifest.map.stored_bytes() + manifest_bytes,
    };
    let (chain, map, boot_order) = (manifest.chain, manifest.map, manifest.boot_order);
    let size_bytes = cut.content.size_bytes;
    // The cut is moved along: its gate stays closed until the log has the record.
    let _cut = volume
        .with_cache(move |volume, cache| {
            let mut cache = cache.lock_for_change()?;
            let finished = cache.finish_cut(chain, map, size_bytes);
            finished.map_err(VolumeError::cache_io("record a snapshot in the cache's log"))?;
            if let Some(boot_order) = boot_order {
                volume.boot_order.set_known(boot_order);
            }
            cut.is_finished = true;
            Ok(cut)
        })
        .await?;
    volume.flush().await?;
    Ok(snapshot)
}
