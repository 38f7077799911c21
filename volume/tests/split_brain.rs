//! Two placements believe that a home is theirs, each on its own host. The younger epoch's work is what remains, whole; the
//! older one is refused wherever it meets it; what it had not committed is kept aside on its own host.

mod common;

use std::{path::PathBuf, sync::Arc};

use burrow_volume::{
    BLOCK_BYTES, DataKey, SnapshotView, Volume, VolumeError, VolumeOptions, store::MemoryStore,
};
use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{RngExt as _, rngs::StdRng};

use common::{directory, seeded, share};

const BLOCKS: u64 = 32;

struct World {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<MemoryStore>,
}

/// What the controller knows: the newest placement, and the snapshot that it has let count.
struct Controller {
    epoch: u64,
    head: Option<ManifestId>,
}

impl Controller {
    /// As its row does: only the newest placement commits.
    fn commit(&mut self, epoch: u64, manifest: ManifestId) -> bool {
        let counts = epoch == self.epoch;
        if counts {
            self.head = Some(manifest);
        }
        counts
    }
}

impl World {
    fn cache(&self, host: &str) -> PathBuf {
        self.directory.path().join(host)
    }

    async fn open(&self, host: &str, epoch: u64, head: Option<ManifestId>) -> Result<Volume, VolumeError> {
        let opening = VolumeOptions {
            tenant: self.tenant,
            volume: self.volume,
            size_bytes: BLOCKS * BLOCK_BYTES,
            epoch: Epoch(epoch),
            head,
            head_of: None,
            lineage: 0,
            cache: self.cache(host),
            key: self.key.clone(),
            store: self.store.clone(),
        };
        Volume::open(opening).await
    }

    async fn content(&self, manifest: ManifestId) -> Bytes {
        let reader = SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await;
        reader.expect("opens").read(0, BLOCKS * BLOCK_BYTES).await.expect("reads")
    }
}

async fn everything(volume: &Volume) -> Bytes {
    volume.read(0, volume.size_bytes()).await.expect("reads")
}

async fn work(volume: &Volume, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let (at, fill) = (random.random_range(0..BLOCKS) * BLOCK_BYTES, random.random());
        volume.write(at, vec![fill; BLOCK_BYTES as usize].into()).await.expect("writes");
    }
    // What distinguishes the two for certain.
    let mark = random.random::<u64>().to_le_bytes().to_vec();
    volume.write(0, mark.into()).await.expect("writes");
    volume.flush().await.expect("flushes");
}

fn is_fenced(outcome: Result<Volume, VolumeError>) -> bool {
    matches!(outcome, Err(VolumeError::Fenced { .. }))
}

#[tokio::test]
async fn of_two_placements_one_wins() {
    let mut random = seeded();
    let mut world = World {
        directory: directory(),
        tenant: TenantId::random(),
        volume: VolumeId::random(),
        key: DataKey::random(),
        store: Arc::default(),
    };
    let attempts = share(40, 200);
    let mut controller = Controller { epoch: 1, head: None };
    for attempt in 0..attempts {
        if attempt % 20 == 0 {
            world.volume = VolumeId::random();
            controller = Controller { epoch: 1, head: None };
            for host in ["old", "new"] {
                let _ = std::fs::remove_dir_all(world.cache(host));
            }
        }
        attempt_at(&world, &mut controller, &mut random).await;
    }
    println!("{attempts} split brains, one generation each");
}

async fn attempt_at(world: &World, controller: &mut Controller, random: &mut StdRng) {
    let (old_epoch, new_epoch) = (controller.epoch + 1, controller.epoch + 2);
    let base = controller.head;
    controller.epoch = old_epoch;
    let old = world.open("old", old_epoch, base).await.expect("opens");
    work(&old, random).await;
    // Perhaps it had committed something before it was cut off.
    if random.random_bool(0.5) {
        let manifest = old.snapshot(|_| ()).await.expect("stored").manifest;
        assert!(controller.commit(old_epoch, manifest));
        old.confirm_commit(manifest).await.expect("known");
        work(&old, random).await;
    }
    controller.epoch = new_epoch;
    let new = world.open("new", new_epoch, controller.head).await.expect("opens");
    // Both go on, and both store what they have, in any order.
    let (mut of_old, mut of_new) = (None, None);
    let mut steps = ["old works", "old stores", "new works", "new stores", "old works", "old stores"];
    rand::seq::SliceRandom::shuffle(&mut steps[..], random);
    for step in steps {
        match step {
            "old works" => work(&old, random).await,
            "new works" => work(&new, random).await,
            "old stores" => of_old = Some(old.snapshot(|_| ()).await.expect("stored").manifest),
            _ => of_new = Some(new.snapshot(|_| ()).await.expect("stored").manifest),
        }
    }
    let of_old = of_old.expect("stored");
    assert!(!controller.commit(old_epoch, of_old), "the old placement is not heard");
    work(&new, random).await;
    let winner = new.snapshot(|_| ()).await.expect("stored").manifest;
    assert!(controller.commit(new_epoch, winner));
    new.confirm_commit(winner).await.expect("known");
    let won = everything(&new).await;
    assert!(of_new != Some(winner) && of_old != winner);
    assert_eq!(world.content(winner).await, won, "one generation, whole");
    assert!(matches!(old.confirm_commit(winner).await, Err(VolumeError::UnknownManifest(_))), "not its own");

    // The old placement meets the new one's head, and its cache, in use and left behind.
    let mut older = old_epoch;
    if random.random_bool(0.3) {
        older = base.map_or(1, |_| old_epoch - 1);
    }
    assert!(is_fenced(world.open("third", older, controller.head).await), "the head is a later one's");
    let _ = std::fs::remove_dir_all(world.cache("third"));
    assert!(matches!(world.open("new", older, base).await, Err(VolumeError::InUse(_))));
    assert!(matches!(world.open("old", new_epoch, base).await, Err(VolumeError::InUse(_))));
    drop(new);
    assert!(is_fenced(world.open("new", older, base).await), "the cache is a later one's");
    drop(old);
    assert!(is_fenced(world.open("old", old_epoch, controller.head).await), "on its own cache too");

    // The next placement on the old host goes on from what won; what had not counted is kept aside.
    controller.epoch = new_epoch + 1;
    let next = world.open("old", controller.epoch, controller.head).await.expect("opens");
    assert_eq!(everything(&next).await, won, "nothing of the one that lost");
    assert!(next.status().await.expect("open").superseded.is_some_and(|aside| aside.join("data").is_file()));
}
