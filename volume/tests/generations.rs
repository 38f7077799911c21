//! Stops and starts: thirty generations in a row, and a crash at every step of a stop. Afterwards
//! the content is exactly generation N, if the controller has committed it, or N − 1.

mod common;

use std::{path::PathBuf, sync::Arc, task::Poll};

use burrow_volume::{
    BLOCK_BYTES, DataKey, Snapshot, SnapshotView, Volume, VolumeError, VolumeOptions,
    store::{Faults, FaultyStore, MemoryStore},
};
use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use common::{directory, rounds, seeded, wait_until_released};

const BLOCKS: u64 = 400;
const GENERATIONS: u64 = 30;
/// More calls to the store, and more waits, than any of these stops makes.
const MAX_STEPS: u64 = 200;

struct World {
    directory: tempfile::TempDir,
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<FaultyStore>,
    epoch: u64,
    /// The committed head, and its content.
    head: Option<ManifestId>,
    content: Vec<u8>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            directory: directory(),
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            key: DataKey::random(),
            store: Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), seed, Faults::default())),
            epoch: 0,
            head: None,
            content: vec![0; (BLOCKS * BLOCK_BYTES) as usize],
        }
    }

    fn cache(&self, host: &str) -> PathBuf {
        self.directory.path().join(host)
    }

    fn lose_cache(&self, host: &str) {
        let _ = std::fs::remove_dir_all(self.cache(host));
    }

    async fn start(&mut self, host: &str) -> Volume {
        self.epoch += 1;
        wait_until_released(&self.cache(host)).await;
        let options = VolumeOptions {
            tenant: self.tenant,
            volume: self.volume,
            size_bytes: BLOCKS * BLOCK_BYTES,
            epoch: Epoch(self.epoch),
            head: self.head,
            head_of: None,
            lineage: 0,
            cache: self.cache(host),
            key: self.key.clone(),
            store: self.store.clone(),
        };
        Volume::open(options).await.expect("starts")
    }

    /// The controller commits the snapshot.
    fn commit(&mut self, snapshot: &Snapshot, content: &[u8]) {
        (self.head, self.content) = (Some(snapshot.manifest), content.to_vec());
    }

    async fn restored(&self) -> Bytes {
        let Some(head) = self.head else { return vec![0; self.content.len()].into() };
        let view = SnapshotView::open(self.store.clone(), self.key.clone(), self.tenant, head).await;
        view.expect("opens").read(0, BLOCKS * BLOCK_BYTES).await.expect("reads")
    }
}

async fn read_all(volume: &Volume) -> Bytes {
    volume.read(0, volume.size_bytes()).await.expect("reads")
}

/// The writes of a session: noise, some of it discarded again.
async fn work(volume: &Volume, random: &mut StdRng) {
    for _ in 0..random.random_range(1..12) {
        let at = random.random_range(0..BLOCKS);
        let count = random.random_range(1..40).min(BLOCKS - at);
        if random.random_bool(0.15) {
            volume.discard(at * BLOCK_BYTES, count * BLOCK_BYTES).await.expect("discards");
            continue;
        }
        let mut content = vec![0; (count * BLOCK_BYTES) as usize];
        random.fill_bytes(&mut content);
        volume.write(at * BLOCK_BYTES, content.into()).await.expect("writes");
    }
    // At least one block differs in each generation.
    volume.write(0, random.random::<u64>().to_le_bytes().to_vec().into()).await.expect("writes");
    volume.flush().await.expect("flushes");
}

#[tokio::test(start_paused = true)]
async fn each_generation_begins_as_the_last_ended() {
    let mut random = seeded();
    for _ in 0..rounds(1, 20) {
        let mut world = World::new(random.random());
        world.store.set_faults(Faults {
            fail_before: 0.05,
            fail_after: 0.05,
            flip_bit: 0.02,
            ..Faults::default()
        });
        for generation in 1..=GENERATIONS {
            let volume = world.start("host").await;
            assert!(
                read_all(&volume).await == world.content,
                "generation {generation} begins as the last ended"
            );
            work(&volume, &mut random).await;
            if random.random_bool(0.2) {
                volume.compact().await.expect("compacts");
            }
            let content = read_all(&volume).await;
            let snapshot = volume.snapshot(|_| ()).await.expect("stored");
            world.commit(&snapshot, &content);
            // The confirmation may not reach the runner.
            if random.random_bool(0.7) {
                volume.confirm_commit(snapshot.manifest).await.expect("known");
            }
            if random.random_bool(0.7) {
                volume.close().await.expect("closes");
            }
            drop(volume);
            if random.random_bool(0.4) {
                world.lose_cache("host");
            }
        }
    }
}

/// The kinds of stop: the first writes a whole manifest, a later one a delta, and one after a
/// compaction moves blocks.
#[derive(Clone, Copy, Debug)]
enum Stop {
    First,
    Later,
    Compacting,
}

/// Where a stop ends: after this many calls to the store, at one of the snapshot's own waits, or at
/// its end but without a commit.
#[derive(Clone, Copy, Debug)]
enum Crash {
    Call(u64),
    Wait(u64),
    Uncommitted,
}

#[tokio::test(start_paused = true)]
async fn crash_during_stop_leaves_a_whole_generation() {
    let mut random = seeded();
    let mut points = 0;
    for _ in 0..rounds(4, 60) {
        let seed = random.random();
        for stop in [Stop::First, Stop::Later, Stop::Compacting] {
            assert!(crash_once(stop, Crash::Uncommitted, seed).await);
            for crash in [Crash::Call, Crash::Wait] {
                let mut step = 0;
                while crash_once(stop, crash(step), seed).await {
                    step += 1;
                    assert!(step < MAX_STEPS, "{stop:?} never ends");
                }
                points += step;
            }
            points += 1;
        }
    }
    println!("{points} crash points");
}

/// Returns false if the stop came to its end before the crash.
async fn crash_once(stop: Stop, crash: Crash, seed: u64) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed);
    if !matches!(stop, Stop::First) {
        let volume = world.start("host").await;
        let mut noise = vec![0; (BLOCKS * BLOCK_BYTES) as usize * 9 / 10];
        random.fill_bytes(&mut noise);
        volume.write(0, noise.clone().into()).await.expect("writes");
        for sparse in [false, true] {
            // To have something to compact, most of the first pack is overwritten.
            if sparse && matches!(stop, Stop::Compacting) {
                for block in (0..BLOCKS * 9 / 10).filter(|block| block % 6 != 0) {
                    let other = noise[(block * 7) as usize..][..BLOCK_BYTES as usize].to_vec();
                    volume.write(block * BLOCK_BYTES, other.into()).await.expect("writes");
                }
            }
            let content = read_all(&volume).await;
            let snapshot = volume.snapshot(|_| ()).await.expect("stored");
            world.commit(&snapshot, &content);
            volume.confirm_commit(snapshot.manifest).await.expect("known");
        }
    }
    let before = world.content.clone();
    let volume = world.start("host").await;
    work(&volume, &mut random).await;
    if matches!(stop, Stop::Compacting) {
        assert!(volume.compact().await.expect("compacts") > 0, "something is sparse");
    }
    let after = read_all(&volume).await;

    let outcome = snapshot_until(&world, &volume, crash).await;
    let ended = outcome.is_some();
    if let Some(snapshot) = outcome {
        world.commit(&snapshot, &after);
    }
    drop(volume);
    world.store.cut_off(false);
    let expected = if ended { &after[..] } else { &before[..] };
    assert!(world.restored().await == expected, "{stop:?}, {crash:?}: the store");
    // Without the host, the committed generation is there. With it, everything that was written is.
    let elsewhere = world.start("elsewhere").await;
    assert!(read_all(&elsewhere).await == expected, "{stop:?}, {crash:?}: elsewhere");
    drop(elsewhere);
    let volume = world.start("host").await;
    assert!(read_all(&volume).await == after, "{stop:?}, {crash:?}: on the same host");
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    world.commit(&snapshot, &after);
    assert!(world.restored().await == after, "{stop:?}, {crash:?}: stored after all");
    !ended
}

/// Takes a snapshot up to the crash. Returns it if the crash did not happen before.
async fn snapshot_until(world: &World, volume: &Volume, crash: Crash) -> Option<Snapshot> {
    match crash {
        Crash::Uncommitted => {
            volume.snapshot(|_| ()).await.expect("stored");
            None
        }
        Crash::Call(number) => {
            world.store.cut_off_after(number);
            let outcome = volume.snapshot(|_| ()).await;
            let is_cut_off = matches!(outcome, Err(VolumeError::Store(_)));
            assert!(outcome.is_ok() || is_cut_off, "{outcome:?}");
            outcome.ok()
        }
        Crash::Wait(number) => {
            let mut snapshot = Box::pin(volume.snapshot(|_| ()));
            let mut left = number;
            std::future::poll_fn(|context| match snapshot.as_mut().poll(context) {
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    Poll::Pending
                }
                Poll::Ready(outcome) => Poll::Ready(Some(outcome.expect("stored"))),
            })
            .await
        }
    }
}
