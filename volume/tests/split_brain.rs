//! Two placements use one volume at once, each on its own host. The content of the later epoch wins
//! completely. The older placement is refused wherever it meets the later one, and what it had not
//! committed is moved aside on its own host.

mod common;

use std::{path::PathBuf, sync::Arc};

use burrow_volume::{
    BLOCK_BYTES, DataKey, SnapshotView, Volume, VolumeError, VolumeOptions, store::MemoryStore,
};
use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{RngExt as _, rngs::StdRng};

use common::{directory, rounds, seeded};

const BLOCKS: u64 = 32;

struct World {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<MemoryStore>,
}

/// What the controller knows: the newest placement and the committed head.
struct Controller {
    epoch: u64,
    head: Option<ManifestId>,
}

impl Controller {
    /// Only the newest placement commits, as with the controller's row.
    fn commit(&mut self, epoch: u64, manifest: ManifestId) -> bool {
        let is_newest = epoch == self.epoch;
        if is_newest {
            self.head = Some(manifest);
        }
        is_newest
    }
}

impl World {
    fn cache(&self, host: &str) -> PathBuf {
        self.directory.path().join(host)
    }

    async fn open(&self, host: &str, epoch: u64, head: Option<ManifestId>) -> Result<Volume, VolumeError> {
        let options = VolumeOptions {
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
        Volume::open(options).await
    }

    async fn content(&self, manifest: ManifestId) -> Bytes {
        let view = SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, manifest).await;
        view.expect("opens").read(0, BLOCKS * BLOCK_BYTES).await.expect("reads")
    }
}

async fn read_all(volume: &Volume) -> Bytes {
    volume.read(0, volume.size_bytes()).await.expect("reads")
}

async fn work(volume: &Volume, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let (at, fill) = (random.random_range(0..BLOCKS) * BLOCK_BYTES, random.random());
        volume.write(at, vec![fill; BLOCK_BYTES as usize].into()).await.expect("writes");
    }
    // Distinguishes the two placements for certain.
    let mark = random.random::<u64>().to_le_bytes().to_vec();
    volume.write(0, mark.into()).await.expect("writes");
    volume.flush().await.expect("flushes");
}

fn is_fenced(outcome: Result<Volume, VolumeError>) -> bool {
    matches!(outcome, Err(VolumeError::Fenced { .. }))
}

#[tokio::test]
async fn later_of_two_placements_wins() {
    let mut random = seeded();
    let mut world = World {
        directory: directory(),
        tenant: TenantId::random(),
        volume: VolumeId::random(),
        key: DataKey::random(),
        store: Arc::default(),
    };
    let attempts = rounds(40, 200);
    let mut controller = Controller { epoch: 1, head: None };
    for attempt in 0..attempts {
        if attempt % 20 == 0 {
            world.volume = VolumeId::random();
            controller = Controller { epoch: 1, head: None };
            for host in ["old", "new"] {
                let _ = std::fs::remove_dir_all(world.cache(host));
            }
        }
        run_attempt(&world, &mut controller, &mut random).await;
    }
    println!("{attempts} split brains, one generation each");
}

async fn run_attempt(world: &World, controller: &mut Controller, random: &mut StdRng) {
    let (old_epoch, new_epoch) = (controller.epoch + 1, controller.epoch + 2);
    let base = controller.head;
    controller.epoch = old_epoch;
    let old = world.open("old", old_epoch, base).await.expect("opens");
    work(&old, random).await;
    // Perhaps it commits something before it is cut off.
    if random.random_bool(0.5) {
        let manifest = old.snapshot(|_| ()).await.expect("stored").manifest;
        assert!(controller.commit(old_epoch, manifest));
        old.confirm_commit(manifest).await.expect("known");
        work(&old, random).await;
    }
    controller.epoch = new_epoch;
    let new = world.open("new", new_epoch, controller.head).await.expect("opens");
    // Both continue, and both store their content, in any order.
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
    assert!(!controller.commit(old_epoch, of_old), "the old placement cannot commit");
    work(&new, random).await;
    let winner = new.snapshot(|_| ()).await.expect("stored").manifest;
    assert!(controller.commit(new_epoch, winner));
    new.confirm_commit(winner).await.expect("known");
    let won = read_all(&new).await;
    assert!(of_new != Some(winner) && of_old != winner);
    assert_eq!(world.content(winner).await, won, "one generation, whole");
    assert!(
        matches!(old.confirm_commit(winner).await, Err(VolumeError::UnknownManifest(_))),
        "it did not store that one"
    );

    // The old placement meets the head of the new one, and its cache, in use and released.
    let mut older = old_epoch;
    if random.random_bool(0.3) {
        older = base.map_or(1, |_| old_epoch - 1);
    }
    assert!(is_fenced(world.open("third", older, controller.head).await), "the head is of a later placement");
    let _ = std::fs::remove_dir_all(world.cache("third"));
    assert!(matches!(world.open("new", older, base).await, Err(VolumeError::InUse(_))));
    assert!(matches!(world.open("old", new_epoch, base).await, Err(VolumeError::InUse(_))));
    drop(new);
    assert!(is_fenced(world.open("new", older, base).await), "the cache is of a later placement");
    drop(old);
    assert!(is_fenced(world.open("old", old_epoch, controller.head).await), "on its own cache too");

    // The next placement on the old host continues from the winner. What did not count is moved
    // aside.
    controller.epoch = new_epoch + 1;
    let next = world.open("old", controller.epoch, controller.head).await.expect("opens");
    assert_eq!(read_all(&next).await, won, "nothing of the losing placement");
    assert!(next.status().await.expect("open").superseded.is_some_and(|aside| aside.join("data").is_file()));
}
