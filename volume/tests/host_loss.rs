//! Loss of the whole host: a volume that is being replicated is dropped with its cache at a random
//! moment, and continues on another host from the last committed snapshot. Its content is a prefix
//! of what was written, and what is lost is not older than the volume had reported.

mod common;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use burrow_volume::{
    BLOCK_BYTES, DataKey, Volume, VolumeError, VolumeOptions,
    store::{Faults, FaultyStore, MemoryStore},
};
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use rand::{RngExt as _, rngs::StdRng};

use common::{directory, rounds, seeded};

const BLOCKS: u64 = 1 << 13;
/// A hundredth of the runner's interval.
const REPLICATION_INTERVAL: Duration = Duration::from_millis(50);
const FLUSH_TIMEOUT: Duration = Duration::from_millis(20);
const MAX_LIFE_MS: u64 = 700;

/// What survives the host.
struct World {
    tenant: TenantId,
    volume: VolumeId,
    key: DataKey,
    store: Arc<FaultyStore>,
    committed: Mutex<Option<ManifestId>>,
}

impl World {
    fn options(&self, epoch: u64, cache: &Path) -> VolumeOptions {
        VolumeOptions {
            tenant: self.tenant,
            volume: self.volume,
            size_bytes: BLOCKS * BLOCK_BYTES,
            epoch: Epoch(epoch),
            head: *self.committed.lock().expect("no panic"),
            head_of: None,
            lineage: 0,
            cache: cache.to_owned(),
            key: self.key.clone(),
            store: self.store.clone(),
        }
    }
}

/// A log with one number per block. `acknowledged[n]` is the time at which the flush after entry n
/// had ended.
#[derive(Default)]
struct Log {
    acknowledged: Mutex<Vec<Instant>>,
}

async fn append(volume: &Volume, log: &Log, first: u64) -> Result<(), VolumeError> {
    for number in first..BLOCKS {
        let entry = (number + 1).to_le_bytes().repeat(BLOCK_BYTES as usize / 8);
        volume.write(number * BLOCK_BYTES, entry.into()).await?;
        volume.flush().await?;
        log.acknowledged.lock().expect("no panic").push(Instant::now());
        tokio::task::yield_now().await;
    }
    std::future::pending().await
}

/// The runner's loop, with the controller's commit in between.
async fn replicate(volume: &Volume, world: &World) {
    loop {
        let taken = async {
            volume.wait_until_due(REPLICATION_INTERVAL, FLUSH_TIMEOUT).await?;
            let snapshot = volume.wait_for_turn().await.cut().await?.store(|_| ()).await?;
            *world.committed.lock().expect("no panic") = Some(snapshot.manifest);
            tokio::task::yield_now().await;
            volume.confirm_commit(snapshot.manifest).await
        };
        // The store fails sometimes. The next round takes everything.
        let _ = taken.await;
    }
}

/// Counts the entries before the first missing one. None may follow it.
async fn count_entries(volume: &Volume) -> u64 {
    let content = volume.read(0, BLOCKS * BLOCK_BYTES).await.expect("reads");
    let number = |block: &[u8]| {
        let number = u64::from_le_bytes(*block.first_chunk().expect("eight bytes"));
        assert!(block == number.to_le_bytes().repeat(BLOCK_BYTES as usize / 8), "entry {number} is torn");
        number
    };
    let numbers: Vec<u64> = content.chunks_exact(BLOCK_BYTES as usize).map(number).collect();
    let there = numbers.iter().take_while(|number| **number != 0).count();
    assert!(
        (1..).zip(&numbers[..there]).all(|(expected, found)| expected == *found),
        "an entry has another number"
    );
    assert!(numbers[there..].iter().all(|number| *number == 0), "an entry follows a missing one");
    there as u64
}

#[test]
fn lost_host_loses_no_more_than_reported() {
    let mut random = seeded();
    let store = FaultyStore::new(Arc::new(MemoryStore::default()), random.random(), Faults::default());
    let world = Arc::new(World {
        tenant: TenantId::random(),
        volume: VolumeId::random(),
        key: DataKey::random(),
        store: Arc::new(store),
        committed: Mutex::default(),
    });
    let (mut there, mut oldest_lost, mut lost) = (0, Duration::ZERO, 0);
    let hosts = rounds(10, 100);
    for epoch in 1..=hosts {
        let (now, age) = lose_host(&world, epoch, there, &mut random);
        assert!(now.0 >= there, "{there} entries were there, {} are", now.0);
        (there, lost, oldest_lost) = (now.0, lost + now.1, oldest_lost.max(age));
        if there > BLOCKS / 2 {
            *world.committed.lock().expect("no panic") = None;
            there = 0;
        }
    }
    println!("{hosts} hosts lost, {lost} acknowledged entries with them, the oldest {oldest_lost:?} old");
}

/// Runs a host and loses it. Returns the number of entries afterwards and of lost ones, and the age
/// of the oldest lost entry.
fn lose_host(world: &Arc<World>, epoch: u64, first: u64, random: &mut StdRng) -> ((u64, u64), Duration) {
    let life = Duration::from_millis(random.random_range(1..MAX_LIFE_MS));
    let max_delay = Duration::from_millis(random.random_range(0..40));
    world.store.set_faults(Faults { fail_before: 0.05, fail_after: 0.05, flip_bit: 0.0, max_delay });
    let host = directory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let log = Arc::new(Log::default());
    let (asked, unreplicated) = runtime.block_on(async {
        let volume = Volume::open(world.options(epoch, &host.path().join("cache"))).await.expect("opens");
        assert_eq!(count_entries(&volume).await, first, "as the last host ended");
        let (writer, replicator) = (volume.clone(), volume.clone());
        let (log, world) = (log.clone(), world.clone());
        tokio::spawn(async move { append(&writer, &log, first).await });
        tokio::spawn(async move { replicate(&replicator, &world).await });
        tokio::time::sleep(life).await;
        let asked = Instant::now();
        (asked, volume.status().await.expect("the volume is open").unreplicated)
    });
    // Everything is dropped where it is. Nothing of it runs any more when this returns.
    runtime.shutdown_timeout(Duration::from_secs(60));
    let acknowledged = log.acknowledged.lock().expect("no panic").clone();
    drop(host);

    world.store.set_faults(Faults::default());
    let elsewhere = directory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let there = runtime.block_on(async {
        count_entries(&Volume::open(world.options(epoch, elsewhere.path())).await.expect("opens")).await
    });
    // If nothing was reported as unreplicated, everything that was acknowledged before is safe.
    let safe_before =
        asked.checked_sub(unreplicated.unwrap_or_default()).expect("the clock is older than the run");
    let kept = there.saturating_sub(first) as usize;
    let lost = acknowledged.get(kept..).unwrap_or_default();
    let age = lost.first().map_or(Duration::ZERO, |when| asked.saturating_duration_since(*when));
    if let Some(oldest) = lost.first() {
        assert!(
            *oldest >= safe_before,
            "an entry {age:?} old is lost, and {unreplicated:?} was reported as unreplicated"
        );
    }
    ((there, lost.len() as u64), age)
}
