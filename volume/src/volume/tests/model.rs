//! Random histories against a plain array of bytes: writes, discards, flushes, snapshots, commits
//! that are confirmed and commits that are not, forks, growth, takeovers, a failing store, closes,
//! kills and power losses at any call, lost caches. Short histories are printed and shrunk when
//! they fail. Long ones are a million operations and are replayed from their seed.
//!
//! The model keeps what was overwritten since it was last durable. After a kill every acknowledged
//! write must be there. After a power loss each byte must have one of the values that it has had
//! since it was last durable; whichever it is then, it stays.

use std::{collections::VecDeque, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use protocol::{Epoch, ManifestId, VolumeId};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    BLOCK_BYTES, Volume, VolumeError,
    blocking::inline,
    cache::{
        Cache,
        power::{PowerSupply, SECTOR},
    },
    store::Faults,
    testing::*,
};

const BLOCKS: u64 = 40;
/// The largest size that growth reaches.
const MAX_BLOCKS: u64 = 64;
const BLOCK: usize = BLOCK_BYTES as usize;
/// Old snapshots that are kept to be read again.
const MAX_HISTORY: usize = 6;
/// A failing store: slow, and sometimes without an answer or with altered bytes.
const STORE_FAULTS: Faults =
    Faults { fail_before: 0.15, fail_after: 0.1, flip_bit: 0.05, max_delay: Duration::from_millis(80) };

/// Operations of all long histories together.
const OPERATIONS: u64 = 1_000_000;
/// Operations of one long history.
const OPERATIONS_PER_HISTORY: u64 = 25_000;
/// One operation in this many is one of the slow ones: in a long history, and in a short one.
const LONG_SLOW_RATIO: u32 = 60;
const SHORT_SLOW_RATIO: u32 = 2;

/// A range of bytes. It may reach beyond the volume's size, and is clipped then.
#[derive(Clone, Copy, Debug)]
struct ByteRange {
    offset: usize,
    length: usize,
}

#[derive(Clone, Debug)]
enum Operation {
    Write(ByteRange, u8),
    Discard(ByteRange),
    Read(ByteRange),
    Flush,
    /// The controller commits the snapshot. The volume is told of it, or is not.
    Snapshot {
        is_confirmed: bool,
    },
    /// The snapshot is in the store, and the controller never commits it.
    UncommittedSnapshot,
    /// The writes happen while the snapshot is stored, and are not in it.
    SnapshotDuringWrites {
        writes: Vec<(ByteRange, u8)>,
        is_confirmed: bool,
    },
    /// The snapshot is dropped after this many waits.
    SnapshotDropped(u32),
    /// The store refuses after this many calls of the snapshot.
    SnapshotCutOff(u64),
    Close,
    Kill,
    /// The process is killed this many calls from now.
    KillAt(u64),
    /// The power fails this many calls from now.
    PowerLossAt(u64, u64),
    /// The host is lost, with the cache.
    LoseCache,
    /// Another placement takes over on another host, writes and commits; then the volume is opened
    /// here again.
    Takeover(ByteRange, u8),
    /// A fork continues from the head, as another volume.
    Fork,
    /// The volume grows by this many blocks.
    Grow(u64),
    /// One of the last snapshots is read again.
    ReadSnapshot(usize),
    /// All clean blocks are evicted.
    Evict,
    /// All clean blocks are marked as dirty.
    MarkDirty,
    /// All missing blocks are fetched.
    Prefetch,
    /// The store begins or stops to fail.
    StoreFaults(bool),
}

fn random_range(random: &mut StdRng) -> ByteRange {
    let bytes = (MAX_BLOCKS * BLOCK_BYTES) as usize;
    let (unit, count_max) = match random.random_range(0..14) {
        0..8 => (BLOCK, 12),
        8..12 => (SECTOR as usize, 24),
        _ => (1, 9000),
    };
    ByteRange {
        offset: random.random_range(0..bytes / unit) * unit,
        length: random.random_range(1..count_max) * unit,
    }
}

/// One operation in `slow_ratio` is one of the slow ones.
fn random_operation(random: &mut StdRng, slow_ratio: u32) -> Operation {
    if !random.random_ratio(1, slow_ratio) {
        return match random.random_range(0..30) {
            0..14 => Operation::Write(random_range(random), random.random()),
            14..19 => Operation::Discard(random_range(random)),
            19..26 => Operation::Read(random_range(random)),
            _ => Operation::Flush,
        };
    }
    match random.random_range(0..40) {
        0..6 => Operation::Snapshot { is_confirmed: random.random() },
        6 => Operation::UncommittedSnapshot,
        7..10 => {
            let writes = (0..random.random_range(1..5)).map(|_| (random_range(random), random.random()));
            Operation::SnapshotDuringWrites { writes: writes.collect(), is_confirmed: random.random() }
        }
        10..12 => Operation::SnapshotDropped(random.random_range(0..6)),
        12..14 => Operation::SnapshotCutOff(random.random_range(0..3)),
        14 => Operation::Close,
        15..17 => Operation::Kill,
        17..21 => Operation::KillAt(random.random_range(1..30)),
        21..26 => Operation::PowerLossAt(random.random_range(1..30), random.random()),
        26 => Operation::LoseCache,
        27 => Operation::Takeover(random_range(random), random.random()),
        28 => Operation::Fork,
        29 => Operation::Grow(random.random_range(0..4)),
        30..32 => Operation::ReadSnapshot(random.random_range(0..MAX_HISTORY)),
        32..34 => Operation::Evict,
        34..36 => Operation::MarkDirty,
        36 => Operation::Prefetch,
        _ => Operation::StoreFaults(random.random()),
    }
}

/// A crash that is going to happen.
#[derive(Clone, Copy)]
enum Crash {
    /// The process is killed.
    Kill,
    /// The host loses power. The seed decides what is lost.
    PowerLoss(u64),
}

/// A history that is being played, and its model.
struct Run {
    world: World,
    /// None while the volume is closed.
    volume: Option<Volume>,
    power: Arc<PowerSupply>,
    cache: String,
    /// What the volume must contain.
    content: Vec<u8>,
    /// What was overwritten since it was last durable, oldest first.
    overwritten: Vec<(usize, Vec<u8>)>,
    /// The committed head, and the content of it.
    head: Option<ManifestId>,
    head_content: Vec<u8>,
    history: VecDeque<(ManifestId, Vec<u8>)>,
    crash: Option<Crash>,
    is_store_failing: bool,
    forks: u32,
    crashes: u64,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut world = World::in_memory(seed, BLOCKS);
        let power = Arc::new(PowerSupply::default());
        world.host.power = Some(power.clone());
        let volume = Some(world.open("cache", None).await);
        let content = vec![0; (BLOCKS * BLOCK_BYTES) as usize];
        Self {
            world,
            volume,
            power,
            cache: "cache".to_owned(),
            head_content: content.clone(),
            content,
            overwritten: Vec::new(),
            head: None,
            history: VecDeque::new(),
            crash: None,
            is_store_failing: false,
            forks: 0,
            crashes: 0,
        }
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("the volume is open")
    }

    /// Clips a range to the volume's size. None if nothing is left.
    fn clip(&self, ByteRange { offset, length }: ByteRange) -> Option<ByteRange> {
        let left = self.content.len().checked_sub(offset).filter(|left| *left > 0)?;
        Some(ByteRange { offset, length: length.min(left) })
    }

    /// Makes a call. If a failing store makes it fail, stops the faults and tries once more.
    async fn retry_on_store_fault<T, F>(
        &mut self,
        mut call: impl FnMut(Volume) -> F,
    ) -> Result<T, VolumeError>
    where
        F: Future<Output = Result<T, VolumeError>>,
    {
        let outcome = call(self.volume().clone()).await;
        if self.is_store_failing && outcome.as_ref().is_err_and(is_store_error) {
            self.set_store_failing(false);
            return call(self.volume().clone()).await;
        }
        outcome
    }

    fn set_store_failing(&mut self, is_failing: bool) {
        self.is_store_failing = is_failing;
        self.world.store.set_faults(if is_failing { STORE_FAULTS } else { Faults::default() });
    }

    async fn change_cache(
        &self,
        work: impl FnOnce(&mut Cache) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), VolumeError> {
        let volume = self.volume();
        let work = |_: &_, cache: &crate::open::CacheLock<'_>| {
            work(&mut *cache.lock()?).map_err(VolumeError::cache_io("change the cache"))
        };
        volume.inner.with_cache(work).await
    }

    async fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Write(place, fill) => self.write(place, fill).await,
            Operation::Discard(place) => {
                let Some(ByteRange { offset, length }) = self.clip(place) else { return };
                self.change_model(offset, &vec![0; length]);
                let discarded = self.retry_on_store_fault(|volume| async move {
                    volume.discard(offset as u64, length as u64).await
                });
                if discarded.await.is_err() {
                    self.crash(true).await;
                }
            }
            Operation::Read(place) => {
                let Some(ByteRange { offset, length }) = self.clip(place) else { return };
                let read = self.retry_on_store_fault(|volume| async move {
                    volume.read(offset as u64, length as u64).await
                });
                match read.await {
                    Ok(bytes) => assert!(bytes == self.content[offset..offset + length], "{place:?}"),
                    Err(_) => self.crash(false).await,
                }
            }
            Operation::Flush => match self.volume().flush().await {
                Ok(()) => self.overwritten.clear(),
                Err(_) => self.crash(false).await,
            },
            Operation::Snapshot { is_confirmed } => self.snapshot(true, is_confirmed).await,
            Operation::UncommittedSnapshot => self.snapshot(false, false).await,
            Operation::SnapshotDuringWrites { writes, is_confirmed } => {
                self.snapshot_during_writes(writes, is_confirmed).await;
            }
            Operation::SnapshotDropped(waits) => self.drop_snapshot(waits).await,
            Operation::SnapshotCutOff(calls) => {
                self.world.store.cut_off_after(calls);
                let outcome = self.volume().snapshot(|_| ()).await;
                self.world.store.cut_off(false);
                match outcome {
                    Ok(snapshot) => self.commit(snapshot.manifest, self.content.clone(), false).await,
                    Err(error) => self.accept_store_error(&error).await,
                }
            }
            Operation::Close => match self.volume().close().await {
                Ok(()) => {
                    self.overwritten.clear();
                    self.reopen().await;
                }
                Err(_) => self.crash(false).await,
            },
            Operation::Kill => self.reopen().await,
            Operation::KillAt(at) => self.plan_crash(at, Crash::Kill),
            Operation::PowerLossAt(at, seed) => self.plan_crash(at, Crash::PowerLoss(seed)),
            Operation::LoseCache => self.lose_cache().await,
            Operation::Takeover(place, fill) => self.takeover(place, fill).await,
            Operation::Fork => self.fork().await,
            Operation::Grow(blocks) => {
                let size_bytes = (self.world.size_bytes + blocks * BLOCK_BYTES).min(MAX_BLOCKS * BLOCK_BYTES);
                match self.volume().grow(size_bytes).await {
                    Ok(()) => self.grown(size_bytes),
                    Err(_) => self.crash(false).await,
                }
            }
            Operation::ReadSnapshot(index) => {
                if let Some((manifest, content)) = self.history.get(index).cloned() {
                    self.check_snapshot(manifest, &content).await;
                }
            }
            Operation::Evict => {
                if self.change_cache(|cache| cache.evict(0, 1000).map(drop)).await.is_err() {
                    self.crash(false).await;
                }
            }
            Operation::MarkDirty => {
                let mark_dirty = |cache: &mut Cache| {
                    let packs = cache.map().packs().map(|(_, used)| used.pack.id).collect();
                    cache.mark_dirty(&packs, 0..MAX_BLOCKS as u32, 1000).map(drop)
                };
                if self.change_cache(mark_dirty).await.is_err() {
                    self.crash(false).await;
                }
            }
            Operation::Prefetch => {
                let fetched = self.retry_on_store_fault(|volume| async move { volume.prefetch().await });
                if fetched.await.is_err() {
                    self.crash(false).await;
                }
            }
            Operation::StoreFaults(is_failing) => self.set_store_failing(is_failing),
        }
    }

    async fn write(&mut self, place: ByteRange, fill: u8) {
        let Some(ByteRange { offset, length }) = self.clip(place) else { return };
        let bytes = filled(length, fill);
        self.change_model(offset, &bytes);
        let bytes = Bytes::from(bytes);
        let written = self.retry_on_store_fault(|volume| {
            let bytes = bytes.clone();
            async move { volume.write(offset as u64, bytes).await }
        });
        if written.await.is_err() {
            self.crash(true).await;
        }
    }

    /// Applies a write to the model.
    fn change_model(&mut self, offset: usize, bytes: &[u8]) {
        let content = &mut self.content[offset..offset + bytes.len()];
        self.overwritten.push((offset, content.to_vec()));
        content.copy_from_slice(bytes);
    }

    fn grown(&mut self, size_bytes: u64) {
        self.world.size_bytes = size_bytes;
        self.content.resize(size_bytes as usize, 0);
        self.head_content.resize(size_bytes as usize, 0);
    }

    fn plan_crash(&mut self, at: u64, crash: Crash) {
        if self.crash.is_none() {
            self.power.fail_at(self.power.calls() + at);
            self.crash = Some(crash);
        }
    }

    async fn snapshot(&mut self, is_committed: bool, is_confirmed: bool) {
        let taken = self.retry_on_store_fault(|volume| async move { volume.snapshot(|_| ()).await });
        match taken.await {
            Ok(snapshot) if is_committed => {
                self.commit(snapshot.manifest, self.content.clone(), is_confirmed).await;
            }
            Ok(snapshot) => {
                self.overwritten.clear();
                self.check_snapshot(snapshot.manifest, &self.content.clone()).await;
            }
            Err(error) => self.accept_store_error(&error).await,
        }
    }

    async fn snapshot_during_writes(&mut self, writes: Vec<(ByteRange, u8)>, is_confirmed: bool) {
        // The cut is taken first: a whole snapshot may wait before its cut.
        let cut = self.volume().wait_for_turn().await.cut().await;
        let cut = match cut {
            Ok(cut) => cut,
            Err(error) => return self.accept_store_error(&error).await,
        };
        self.world.store.set_faults(Faults { max_delay: STORE_FAULTS.max_delay, ..Faults::default() });
        let mut snapshot = Box::pin(cut.store(|_| ()));
        let at_cut = self.content.clone();
        let mut early = match futures_util::poll!(&mut snapshot) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        };
        let mut failed = None;
        for (place, fill) in writes {
            let Some(ByteRange { offset, length }) = self.clip(place) else { continue };
            let bytes = filled(length, fill);
            self.change_model(offset, &bytes);
            if let Err(error) = self.volume().write(offset as u64, bytes.into()).await {
                failed = Some(error);
                break;
            }
        }
        if failed.is_some() {
            drop(snapshot);
            self.set_store_failing(self.is_store_failing);
            self.crash(true).await;
            return;
        }
        let outcome = match early.take() {
            Some(outcome) => outcome,
            None => snapshot.as_mut().await,
        };
        drop(snapshot);
        self.set_store_failing(self.is_store_failing);
        match outcome {
            // What was written since the cut may not be durable.
            Ok(snapshot) => self.commit_as(snapshot.manifest, at_cut, is_confirmed).await,
            Err(error) => self.accept_store_error(&error).await,
        }
    }

    async fn drop_snapshot(&mut self, waits: u32) {
        self.world.store.set_faults(Faults { max_delay: STORE_FAULTS.max_delay, ..Faults::default() });
        let volume = self.volume().clone();
        let mut snapshot = Box::pin(async move { volume.snapshot(|_| ()).await });
        let mut left = waits;
        let outcome = std::future::poll_fn(|context| match snapshot.as_mut().poll(context) {
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        });
        let outcome = outcome.await;
        drop(snapshot);
        self.set_store_failing(self.is_store_failing);
        if let Some(Err(error)) = outcome {
            self.accept_store_error(&error).await;
        }
    }

    /// A snapshot may fail because of the store or of missing commits. Every other error is a
    /// crash.
    async fn accept_store_error(&mut self, error: &VolumeError) {
        match error {
            VolumeError::TooManyUncommitted(_) => self.reopen().await,
            error if is_store_error(error) => {}
            _ => self.crash(false).await,
        }
    }

    async fn commit(&mut self, manifest: ManifestId, content: Vec<u8>, is_confirmed: bool) {
        self.overwritten.clear();
        self.commit_as(manifest, content, is_confirmed).await;
    }

    async fn commit_as(&mut self, manifest: ManifestId, content: Vec<u8>, is_confirmed: bool) {
        self.check_snapshot(manifest, &content).await;
        self.history.push_back((manifest, content.clone()));
        if self.history.len() > MAX_HISTORY {
            self.history.pop_front();
        }
        (self.head, self.head_content) = (Some(manifest), content);
        if is_confirmed && self.volume().confirm_commit(manifest).await.is_err() {
            self.crash(false).await;
        }
    }

    /// Reads a snapshot and compares it.
    async fn check_snapshot(&self, manifest: ManifestId, content: &[u8]) {
        self.world.store.set_faults(Faults::default());
        let view = self.world.view(manifest).await;
        let found = view.read(0, view.size_bytes()).await.expect("reads");
        // A snapshot from before the volume grew is shorter.
        let (same, beyond) = content.split_at(found.len());
        assert!(found == same && beyond.iter().all(|byte| *byte == 0), "the content of {manifest}");
        self.world.store.set_faults(if self.is_store_failing { STORE_FAULTS } else { Faults::default() });
    }

    /// A call has failed because of the planned crash, perhaps in the middle of the last change.
    async fn crash(&mut self, is_within_change: bool) {
        let crash = self.crash.expect("only a planned crash makes calls fail");
        self.crashes += 1;
        let overwritten = std::mem::take(&mut self.overwritten);
        let uncertain = match crash {
            Crash::PowerLoss(seed) => {
                self.volume = None;
                self.power.lose_unsynced(seed);
                self.world.host.boot = uuid::Uuid::now_v7().into_bytes();
                &overwritten[..]
            }
            // The last change may be done in part: old and new bytes are both right.
            Crash::Kill if is_within_change => &overwritten[overwritten.len() - 1..],
            Crash::Kill => &[],
        };
        let was_value = |index: usize, byte: u8| {
            let at = |(offset, before): &(usize, Vec<u8>)| before.get(index.checked_sub(*offset)?).copied();
            uncertain.iter().any(|change| at(change) == Some(byte))
        };
        self.reopen_with(|found, model| {
            assert_eq!(found.len(), model.len());
            for (sector, (found, model)) in found.chunks(512).zip(model.chunks(512)).enumerate() {
                if found == model {
                    continue;
                }
                for (index, (found, model)) in found.iter().zip(model).enumerate() {
                    let byte = sector * 512 + index;
                    assert!(found == model || was_value(byte, *found), "byte {byte} (block {})", byte / 4096);
                }
            }
        })
        .await;
    }

    async fn reopen(&mut self) {
        self.reopen_with(|found, model| assert!(found == model, "every write is there")).await;
    }

    async fn reopen_with(&mut self, check: impl FnOnce(&[u8], &[u8])) {
        self.volume = None;
        self.power = Arc::new(PowerSupply::default());
        self.crash = None;
        self.world.host.power = Some(self.power.clone());
        self.world.epoch += 1;
        let opened = match self.world.try_open(&self.cache, self.head).await {
            Err(error) if self.is_store_failing && is_store_error(&error) => {
                self.set_store_failing(false);
                self.world.try_open(&self.cache, self.head).await
            }
            outcome => outcome,
        };
        self.volume = Some(opened.expect("opens"));
        let length = self.content.len() as u64;
        let found = self.retry_on_store_fault(|volume| async move { volume.read(0, length).await });
        let found = found.await.expect("reads").to_vec();
        check(&found, &self.content);
        // Opening has made all of it durable.
        self.content = found;
        self.overwritten.clear();
    }

    async fn lose_cache(&mut self) {
        self.volume = None;
        self.remove(&self.cache);
        self.content.clone_from(&self.head_content);
        self.reopen().await;
    }

    fn remove(&self, cache: &str) {
        std::fs::remove_dir_all(self.world.directory.path().join(cache)).expect("removed");
    }

    async fn takeover(&mut self, place: ByteRange, fill: u8) {
        self.set_store_failing(false);
        self.world.epoch += 1;
        let power = self.world.host.power.take();
        let elsewhere = self.world.open("elsewhere", self.head).await;
        self.world.host.power = power;
        let mut content = self.head_content.clone();
        if let Some(ByteRange { offset, length }) = self.clip(place) {
            content[offset..offset + length].copy_from_slice(&filled(length, fill));
            write(&elsewhere, offset as u64, filled(length, fill)).await;
        }
        let manifest = elsewhere.snapshot(|_| ()).await.expect("stored").manifest;
        assert!(read_all(&elsewhere).await == content, "the head, and the new write");
        drop(elsewhere);
        self.remove("elsewhere");
        // The head refuses an older placement, whatever its cache has.
        let mut older = self.world.options("elsewhere", Some(manifest));
        older.epoch = Epoch(self.world.epoch - 1);
        let has_changed = self.head != Some(manifest);
        assert!(!has_changed || matches!(Volume::open(older).await, Err(VolumeError::Fenced { .. })));
        (self.head, self.head_content) = (Some(manifest), content.clone());
        if has_changed {
            self.content = content;
            self.reopen().await;
        }
    }

    async fn fork(&mut self) {
        if self.head.is_none() {
            return;
        }
        self.volume = None;
        self.remove(&self.cache);
        self.forks += 1;
        self.cache = format!("fork-{}", self.forks);
        self.set_store_failing(false);
        let origin = self.world.view(self.head.expect("checked above")).await.volume();
        self.world.head_of = Some(origin);
        self.world.volume = VolumeId::random();
        self.content.clone_from(&self.head_content);
        self.reopen().await;
    }
}

fn filled(length: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (index, sector) in bytes.chunks_mut(SECTOR as usize).enumerate() {
        sector.fill(fill.wrapping_add(index as u8));
    }
    bytes
}

fn is_store_error(error: &VolumeError) -> bool {
    matches!(error, VolumeError::Store(_) | VolumeError::Damaged { .. } | VolumeError::Manifest { .. })
}

/// Plays a history. Returns the number of its crashes.
fn play(seed: u64, operations: impl IntoIterator<Item = Operation>) -> u64 {
    inline::enable();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut run = Run::new(seed).await;
        for operation in operations {
            run.run(operation).await;
        }
        run.reopen().await;
        run.set_store_failing(false);
        run.snapshot(true, true).await;
        assert!(run.world.content_of(run.head.expect("committed")).await == run.content);
        run.lose_cache().await;
        run.crashes
    })
}

/// An operation of a short history.
fn operation_of(seed: u64) -> Operation {
    random_operation(&mut StdRng::seed_from_u64(seed), SHORT_SLOW_RATIO)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200 * soak_factor() as u32,
        ..ProptestConfig::default()
    })]
    #[test]
    fn short_histories_keep_the_promises(seeds in prop::collection::vec(any::<u64>().no_shrink(), 1..60)) {
        let operations: Vec<Operation> =
            seeds.iter().map(|seed| operation_of(*seed)).collect();
        // Printed only if it fails.
        println!("{operations:?}");
        play(0, operations);
    }
}

/// Prints the seed of a history that fails.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("BURROW_SEED={} replays it first", self.0);
        }
    }
}

#[test]
fn long_histories_keep_the_promises() {
    let seed = seed();
    let histories = OPERATIONS / OPERATIONS_PER_HISTORY * soak_factor();
    let next = std::sync::atomic::AtomicU64::new(0);
    let crashes = std::sync::atomic::AtomicU64::new(0);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if number >= histories {
                        return;
                    }
                    let _seed = SeedOnPanic(seed.wrapping_add(number));
                    let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
                    let operations =
                        (0..OPERATIONS_PER_HISTORY).map(|_| random_operation(&mut random, LONG_SLOW_RATIO));
                    let crashed = play(seed.wrapping_add(number), operations);
                    crashes.fetch_add(crashed, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    let operations = histories * OPERATIONS_PER_HISTORY;
    println!("{operations} operations with {crashes:?} crashes in {:?}", begun.elapsed());
}

/// One history that does a little of everything, with a crash at every single call to the disk.
#[test]
fn history_survives_a_crash_at_every_call() {
    let write = |offset, length, fill| Operation::Write(ByteRange { offset, length }, fill);
    let discard = |offset, length| Operation::Discard(ByteRange { offset, length });
    let block = BLOCK;
    let history = |crash: Operation| {
        vec![
            write(0, 8 * block, 1),
            Operation::Snapshot { is_confirmed: true },
            write(4 * block, 2 * block, 50),
            crash,
            Operation::Flush,
            write(3 * block + 700, 3 * block, 90),
            discard(block, 2 * block),
            Operation::Snapshot { is_confirmed: false },
            write(block, block, 130),
            write(20 * block + 5, 300, 170),
            Operation::Flush,
            discard(6 * block, block),
            Operation::Snapshot { is_confirmed: true },
            write(0, block, 200),
            Operation::Close,
        ]
    };
    for call in 1..60 {
        play(0, history(Operation::KillAt(call)));
        for seed in 0..4 {
            play(0, history(Operation::PowerLossAt(call, seed)));
        }
    }
}
