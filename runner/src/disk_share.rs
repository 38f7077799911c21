//! The home's share of the host's disk, applied for as long as the home is uploaded. Knows no sandbox.

use protocol::runner::DiskShare;
use tokio::sync::watch;
use volume::Volume;

use crate::reporter::ControllerState;

/// Applies the share whenever the controller sends another one. Ends with the controller's state.
///
/// Dropping it ends the limit: while nothing is uploaded, a write that waits for an upload would wait for
/// ever, and the guest could not write what it has in memory at its stop.
pub async fn follow(volume: &Volume, mut controller: watch::Receiver<ControllerState>) {
    let _until_dropped = NoShare(volume);
    loop {
        let share = controller.borrow_and_update().desired.disk;
        volume.set_disk_share(share);
        if controller.changed().await.is_err() {
            return;
        }
    }
}

/// Ends the limit when it is dropped.
struct NoShare<'a>(&'a Volume);

impl Drop for NoShare<'_> {
    fn drop(&mut self) {
        self.0.set_disk_share(DiskShare::default());
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use futures_util::FutureExt as _;
    use protocol::{Epoch, TenantId, VolumeId, runner::Command};
    use tokio::time::{Instant, timeout};
    use volume::{DataKey, VolumeOptions, store::MemoryStore};

    use super::*;
    use crate::reporter::{AcknowledgedState, DesiredState};

    const MIB: usize = 1 << 20;

    async fn open(directory: &tempfile::TempDir) -> Volume {
        let options = VolumeOptions {
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            size_bytes: 16 * MIB as u64,
            epoch: Epoch(1),
            head: None,
            head_of: None,
            lineage: 0,
            cache: directory.path().join("cache"),
            key: DataKey::random(),
            store: Arc::new(MemoryStore::default()),
        };
        Volume::open(options).await.expect("opens")
    }

    fn state(max_unsaved_bytes: u64) -> ControllerState {
        let acknowledged = AcknowledgedState {
            command: Command::Run,
            snapshot_request: 0,
            repair_request: 0,
            home_mib: 16,
            network_revision: 0,
        };
        let disk = DiskShare { max_unsaved_bytes: Some(max_unsaved_bytes), must_shrink: false };
        let desired = DesiredState { disk, ..DesiredState::fulfilled_by(&acknowledged) };
        ControllerState { desired, committed: None, lease_loss: None }
    }

    #[tokio::test]
    async fn share_ends_with_uploads() {
        let directory = tempfile::tempdir().expect("a directory");
        let volume = open(&directory).await;
        let controller = watch::Sender::new(state(4096));
        let mut following = Box::pin(follow(&volume, controller.subscribe()));
        assert!((&mut following).now_or_never().is_none());
        volume.write(0, vec![1; 4096].into()).await.expect("within the share");
        let mut writing = Box::pin(volume.write(0, vec![1; 8 * MIB].into()));
        assert!((&mut writing).now_or_never().is_none(), "beyond the share");

        let begun = Instant::now();
        drop(following);
        timeout(Duration::from_secs(60), writing).await.expect("goes on").expect("written");
        // The delays of a crowded share would be 16 seconds for each MiB.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn newest_share_is_applied() {
        let directory = tempfile::tempdir().expect("a directory");
        let volume = open(&directory).await;
        let controller = watch::Sender::new(state(0));
        let mut following = Box::pin(follow(&volume, controller.subscribe()));
        assert!((&mut following).now_or_never().is_none());
        assert!(volume.status().await.expect("open").is_slowed);
        controller.send_replace(state(16 * MIB as u64));
        assert!((&mut following).now_or_never().is_none());
        assert!(!volume.status().await.expect("open").is_slowed);
    }
}
