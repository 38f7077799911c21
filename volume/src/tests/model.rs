//! Random histories against a plain array of bytes: writes, discards, flushes, snapshots, commits heard and unheard, forks,
//! growth, takeovers, a failing store, clean closes, kills and losses of power at any call, lost caches. Short ones are printed
//! whole and shrunk when they fail; long ones are a million operations, and are played again from their seed.
//!
//! The model keeps what was overwritten since it was last durable. After a kill all acknowledged writes must be there; after a
//! loss of power each byte must be one of those it has been since, and whatever it is then, it stays.

use std::{collections::VecDeque, task::Poll, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    cache::{
        Cache,
        plug::{Plug, SECTOR},
    },
    volume::io_of,
};

const BLOCKS: u64 = 40;
/// Growth ends here.
const MAX_BLOCKS: u64 = 64;
const BLOCK: usize = BLOCK_BYTES as usize;
/// Snapshots of the past that are read again.
const MAX_PAST: usize = 6;
/// A store with trouble: slow, and now and then without an answer or with another.
const TROUBLE: Faults =
    Faults { before: 0.15, after: 0.1, flipped: 0.05, delay_max: Duration::from_millis(80) };

/// Operations of the long histories together, and of each.
const OPERATIONS: u64 = 1_000_000;
const OPERATIONS_EACH: u64 = 25_000;
/// In a long history, one step in so many is one of the dear ones; in a short one, every other.
const DEAR_LONG: u32 = 60;
const DEAR_SHORT: u32 = 2;

/// A place, as a part of the volume's size at that time.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: usize,
    length: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Write(Place, u8),
    Discard(Place),
    Read(Place),
    Flush,
    /// The controller commits it; the volume hears of it or does not.
    Snapshot {
        heard: bool,
    },
    /// It lies in the store, and the controller never commits it.
    UncommittedSnapshot,
    /// Written while it is on its way, and not in it.
    SnapshotAmid {
        writes: Vec<(Place, u8)>,
        heard: bool,
    },
    /// Given up after so many waits.
    SnapshotDropped(u32),
    /// The store refuses after so many calls, during the next snapshot.
    SnapshotCutOff(u64),
    Close,
    Kill,
    /// The process dies at so many calls from here.
    KillAt(u64),
    /// The power goes at so many calls from here.
    PowerAt(u64, u64),
    /// The machine is lost with its cache.
    LoseCache,
    /// Another placement takes over, elsewhere, writes and commits; then the home comes back.
    Takeover(Place, u8),
    /// The home goes on as another volume's, from the head.
    Fork,
    /// By so many blocks.
    Grow(u64),
    /// One of the last snapshots is read again.
    Past(usize),
    /// All that is clean is let go of.
    Evict,
    /// All that is clean is stored anew with the next snapshot.
    Renew,
    /// All that is away is fetched.
    Prefetch,
    /// The store has trouble from now on, or no longer.
    Trouble(bool),
}

fn some_place(random: &mut StdRng) -> Place {
    let bytes = (MAX_BLOCKS * BLOCK_BYTES) as usize;
    let (unit, count_max) = match random.random_range(0..14) {
        0..8 => (BLOCK, 12),
        8..12 => (SECTOR as usize, 24),
        _ => (1, 9000),
    };
    Place {
        offset: random.random_range(0..bytes / unit) * unit,
        length: random.random_range(1..count_max) * unit,
    }
}

/// One step in `dear` is of those that take a while.
fn some_step(random: &mut StdRng, dear: u32) -> Step {
    if !random.random_ratio(1, dear) {
        return match random.random_range(0..30) {
            0..14 => Step::Write(some_place(random), random.random()),
            14..19 => Step::Discard(some_place(random)),
            19..26 => Step::Read(some_place(random)),
            _ => Step::Flush,
        };
    }
    match random.random_range(0..40) {
        0..6 => Step::Snapshot { heard: random.random() },
        6 => Step::UncommittedSnapshot,
        7..10 => {
            let writes = (0..random.random_range(1..5)).map(|_| (some_place(random), random.random()));
            Step::SnapshotAmid { writes: writes.collect(), heard: random.random() }
        }
        10..12 => Step::SnapshotDropped(random.random_range(0..6)),
        12..14 => Step::SnapshotCutOff(random.random_range(0..3)),
        14 => Step::Close,
        15..17 => Step::Kill,
        17..21 => Step::KillAt(random.random_range(1..30)),
        21..26 => Step::PowerAt(random.random_range(1..30), random.random()),
        26 => Step::LoseCache,
        27 => Step::Takeover(some_place(random), random.random()),
        28 => Step::Fork,
        29 => Step::Grow(random.random_range(0..4)),
        30..32 => Step::Past(random.random_range(0..MAX_PAST)),
        32..34 => Step::Evict,
        34..36 => Step::Renew,
        36 => Step::Prefetch,
        _ => Step::Trouble(random.random()),
    }
}

/// The plug will be pulled.
#[derive(Clone, Copy)]
enum Pull {
    /// Of the process only.
    Process,
    /// Of the machine; the seed says what is forgotten.
    Power(u64),
}

struct Run {
    world: World,
    /// None while nothing runs.
    volume: Option<Volume>,
    plug: Arc<Plug>,
    cache: String,
    /// The newest content.
    content: Vec<u8>,
    /// What was overwritten since it was last durable, oldest first.
    overwritten: Vec<(usize, Vec<u8>)>,
    /// What the controller says, and what that snapshot holds.
    head: Option<ManifestId>,
    head_content: Vec<u8>,
    past: VecDeque<(ManifestId, Vec<u8>)>,
    pull: Option<Pull>,
    trouble: bool,
    forks: u32,
    crashes: u64,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut world = World::in_memory(seed, BLOCKS);
        let plug = Arc::new(Plug::default());
        world.machine.plug = Some(plug.clone());
        let volume = Some(world.open("cache", None).await);
        let content = vec![0; (BLOCKS * BLOCK_BYTES) as usize];
        Self {
            world,
            volume,
            plug,
            cache: "cache".to_owned(),
            head_content: content.clone(),
            content,
            overwritten: Vec::new(),
            head: None,
            past: VecDeque::new(),
            pull: None,
            trouble: false,
            forks: 0,
            crashes: 0,
        }
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("it runs")
    }

    /// The part of it that the volume has, if any.
    fn within(&self, Place { offset, length }: Place) -> Option<Place> {
        let left = self.content.len().checked_sub(offset).filter(|left| *left > 0)?;
        Some(Place { offset, length: length.min(left) })
    }

    /// Tries once more without trouble if it was the store's.
    async fn patient<T, F>(&mut self, mut call: impl FnMut(Volume) -> F) -> Result<T, VolumeError>
    where
        F: Future<Output = Result<T, VolumeError>>,
    {
        let outcome = call(self.volume().clone()).await;
        if self.trouble && outcome.as_ref().is_err_and(is_of_the_store) {
            self.set_trouble(false);
            return call(self.volume().clone()).await;
        }
        outcome
    }

    fn set_trouble(&mut self, trouble: bool) {
        self.trouble = trouble;
        self.world.store.set_faults(if trouble { TROUBLE } else { Faults::default() });
    }

    async fn on_cache(
        &self,
        work: impl FnOnce(&mut Cache) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), VolumeError> {
        let volume = self.volume();
        volume.shared.on_cache(|_, cache| work(&mut *cache()?).map_err(io_of("work on it"))).await
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Write(place, fill) => self.write(place, fill).await,
            Step::Discard(place) => {
                let Some(Place { offset, length }) = self.within(place) else { return };
                self.note(offset, &vec![0; length]);
                let discarded =
                    self.patient(|volume| async move { volume.discard(offset as u64, length as u64).await });
                if discarded.await.is_err() {
                    self.crash(true).await;
                }
            }
            Step::Read(place) => {
                let Some(Place { offset, length }) = self.within(place) else { return };
                let read =
                    self.patient(|volume| async move { volume.read(offset as u64, length as u64).await });
                match read.await {
                    Ok(bytes) => assert!(bytes == self.content[offset..offset + length], "{place:?}"),
                    Err(_) => self.crash(false).await,
                }
            }
            Step::Flush => match self.volume().flush().await {
                Ok(()) => self.overwritten.clear(),
                Err(_) => self.crash(false).await,
            },
            Step::Snapshot { heard } => self.snapshot(true, heard).await,
            Step::UncommittedSnapshot => self.snapshot(false, false).await,
            Step::SnapshotAmid { writes, heard } => self.snapshot_amid(writes, heard).await,
            Step::SnapshotDropped(waits) => self.drop_snapshot(waits).await,
            Step::SnapshotCutOff(calls) => {
                self.world.store.cut_off_after(calls);
                let outcome = self.volume().snapshot(|_| ()).await;
                self.world.store.cut_off(false);
                match outcome {
                    Ok(snapshot) => self.commit(snapshot.manifest, self.content.clone(), false).await,
                    Err(error) => self.bear(&error).await,
                }
            }
            Step::Close => match self.volume().close().await {
                Ok(()) => {
                    self.overwritten.clear();
                    self.reopen().await;
                }
                Err(_) => self.crash(false).await,
            },
            Step::Kill => self.reopen().await,
            Step::KillAt(at) => self.pull_at(at, Pull::Process),
            Step::PowerAt(at, seed) => self.pull_at(at, Pull::Power(seed)),
            Step::LoseCache => self.lose_cache().await,
            Step::Takeover(place, fill) => self.takeover(place, fill).await,
            Step::Fork => self.fork().await,
            Step::Grow(blocks) => {
                let size_bytes = (self.world.size_bytes + blocks * BLOCK_BYTES).min(MAX_BLOCKS * BLOCK_BYTES);
                match self.volume().grow(size_bytes).await {
                    Ok(()) => self.grown(size_bytes),
                    Err(_) => self.crash(false).await,
                }
            }
            Step::Past(index) => {
                if let Some((manifest, content)) = self.past.get(index).cloned() {
                    self.check(manifest, &content).await;
                }
            }
            Step::Evict => {
                if self.on_cache(|cache| cache.evict(0, 1000).map(drop)).await.is_err() {
                    self.crash(false).await;
                }
            }
            Step::Renew => {
                let renew = |cache: &mut Cache| {
                    let packs = cache.map().packs().map(|(_, used)| used.pack.id).collect();
                    cache.renew(&packs, 0..MAX_BLOCKS as u32, 1000).map(drop)
                };
                if self.on_cache(renew).await.is_err() {
                    self.crash(false).await;
                }
            }
            Step::Prefetch => {
                let fetched = self.patient(|volume| async move { volume.prefetch().await });
                if fetched.await.is_err() {
                    self.crash(false).await;
                }
            }
            Step::Trouble(trouble) => self.set_trouble(trouble),
        }
    }

    async fn write(&mut self, place: Place, fill: u8) {
        let Some(Place { offset, length }) = self.within(place) else { return };
        let bytes = filled(length, fill);
        self.note(offset, &bytes);
        let bytes = Bytes::from(bytes);
        let written = self.patient(|volume| {
            let bytes = bytes.clone();
            async move { volume.write(offset as u64, bytes).await }
        });
        if written.await.is_err() {
            self.crash(true).await;
        }
    }

    /// Something is about to be changed.
    fn note(&mut self, offset: usize, bytes: &[u8]) {
        let place = &mut self.content[offset..offset + bytes.len()];
        self.overwritten.push((offset, place.to_vec()));
        place.copy_from_slice(bytes);
    }

    fn grown(&mut self, size_bytes: u64) {
        self.world.size_bytes = size_bytes;
        self.content.resize(size_bytes as usize, 0);
        self.head_content.resize(size_bytes as usize, 0);
    }

    fn pull_at(&mut self, at: u64, pull: Pull) {
        if self.pull.is_none() {
            self.plug.pull_at(self.plug.calls() + at);
            self.pull = Some(pull);
        }
    }

    async fn snapshot(&mut self, committed: bool, heard: bool) {
        let taken = self.patient(|volume| async move { volume.snapshot(|_| ()).await });
        match taken.await {
            Ok(snapshot) if committed => self.commit(snapshot.manifest, self.content.clone(), heard).await,
            Ok(snapshot) => {
                self.overwritten.clear();
                self.check(snapshot.manifest, &self.content.clone()).await;
            }
            Err(error) => self.bear(&error).await,
        }
    }

    async fn snapshot_amid(&mut self, writes: Vec<(Place, u8)>, heard: bool) {
        // The cut by itself: a wait of the whole snapshot's may come before it, when the runtime has it make room for others.
        let cut = self.volume().turn().await.cut().await;
        let cut = match cut {
            Ok(cut) => cut,
            Err(error) => return self.bear(&error).await,
        };
        self.world.store.set_faults(Faults { delay_max: TROUBLE.delay_max, ..Faults::default() });
        let mut snapshot = Box::pin(cut.store(|_| ()));
        let at_cut = self.content.clone();
        let mut early = match futures_util::poll!(&mut snapshot) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        };
        let mut failed = None;
        for (place, fill) in writes {
            let Some(Place { offset, length }) = self.within(place) else { continue };
            let bytes = filled(length, fill);
            self.note(offset, &bytes);
            if let Err(error) = self.volume().write(offset as u64, bytes.into()).await {
                failed = Some(error);
                break;
            }
        }
        if failed.is_some() {
            drop(snapshot);
            self.set_trouble(self.trouble);
            self.crash(true).await;
            return;
        }
        let outcome = match early.take() {
            Some(outcome) => outcome,
            None => snapshot.as_mut().await,
        };
        drop(snapshot);
        self.set_trouble(self.trouble);
        match outcome {
            // What was written meanwhile may not be durable.
            Ok(snapshot) => self.commit_as(snapshot.manifest, at_cut, heard).await,
            Err(error) => self.bear(&error).await,
        }
    }

    async fn drop_snapshot(&mut self, waits: u32) {
        self.world.store.set_faults(Faults { delay_max: TROUBLE.delay_max, ..Faults::default() });
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
        self.set_trouble(self.trouble);
        if let Some(Err(error)) = outcome {
            self.bear(&error).await;
        }
    }

    /// A snapshot that the store or nobody's answer has prevented is no harm; anything else is the plug.
    async fn bear(&mut self, error: &VolumeError) {
        match error {
            VolumeError::TooManyUncommitted(_) => self.reopen().await,
            error if is_of_the_store(error) => {}
            _ => self.crash(false).await,
        }
    }

    async fn commit(&mut self, manifest: ManifestId, content: Vec<u8>, heard: bool) {
        self.overwritten.clear();
        self.commit_as(manifest, content, heard).await;
    }

    async fn commit_as(&mut self, manifest: ManifestId, content: Vec<u8>, heard: bool) {
        self.check(manifest, &content).await;
        self.past.push_back((manifest, content.clone()));
        if self.past.len() > MAX_PAST {
            self.past.pop_front();
        }
        (self.head, self.head_content) = (Some(manifest), content);
        if heard && self.volume().committed(manifest).await.is_err() {
            self.crash(false).await;
        }
    }

    /// The snapshot is just this.
    async fn check(&self, manifest: ManifestId, content: &[u8]) {
        self.world.store.set_faults(Faults::default());
        let reader = self.world.reader(manifest).await;
        let found = reader.read(0, reader.size_bytes()).await.expect("reads");
        // Heads that were grown since are shorter.
        let (same, beyond) = content.split_at(found.len());
        assert!(found == same && beyond.iter().all(|byte| *byte == 0), "{manifest} is what it was");
        self.world.store.set_faults(if self.trouble { TROUBLE } else { Faults::default() });
    }

    /// Something has failed, perhaps in the middle of the last change.
    async fn crash(&mut self, amid: bool) {
        let pull = self.pull.expect("only a pulled plug makes things fail");
        self.crashes += 1;
        let overwritten = std::mem::take(&mut self.overwritten);
        let open = match pull {
            Pull::Power(seed) => {
                self.volume = None;
                self.plug.lose_unsynced(seed);
                self.world.machine.boot = uuid::Uuid::now_v7().into_bytes();
                &overwritten[..]
            }
            // In part, perhaps: before and after are as good.
            Pull::Process if amid => &overwritten[overwritten.len() - 1..],
            Pull::Process => &[],
        };
        let good = |index: usize, byte: u8| {
            let at = |(offset, before): &(usize, Vec<u8>)| before.get(index.checked_sub(*offset)?).copied();
            open.iter().any(|change| at(change) == Some(byte))
        };
        self.reopen_with(|found, model| {
            assert_eq!(found.len(), model.len());
            for (sector, (found, model)) in found.chunks(512).zip(model.chunks(512)).enumerate() {
                if found == model {
                    continue;
                }
                for (index, (found, model)) in found.iter().zip(model).enumerate() {
                    let byte = sector * 512 + index;
                    assert!(found == model || good(byte, *found), "byte {byte} (block {})", byte / 4096);
                }
            }
        })
        .await;
    }

    async fn reopen(&mut self) {
        self.reopen_with(|found, model| assert!(found == model, "all is there")).await;
    }

    async fn reopen_with(&mut self, check: impl FnOnce(&[u8], &[u8])) {
        self.volume = None;
        self.plug = Arc::new(Plug::default());
        self.pull = None;
        self.world.machine.plug = Some(self.plug.clone());
        self.world.epoch += 1;
        let opened = match self.world.try_open(&self.cache, self.head).await {
            Err(error) if self.trouble && is_of_the_store(&error) => {
                self.set_trouble(false);
                self.world.try_open(&self.cache, self.head).await
            }
            outcome => outcome,
        };
        self.volume = Some(opened.expect("opens"));
        let length = self.content.len() as u64;
        let found = self.patient(|volume| async move { volume.read(0, length).await });
        let found = found.await.expect("reads").to_vec();
        check(&found, &self.content);
        // Opening made all of it durable.
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

    async fn takeover(&mut self, place: Place, fill: u8) {
        self.set_trouble(false);
        self.world.epoch += 1;
        let plug = self.world.machine.plug.take();
        let elsewhere = self.world.open("elsewhere", self.head).await;
        self.world.machine.plug = plug;
        let mut content = self.head_content.clone();
        if let Some(Place { offset, length }) = self.within(place) {
            content[offset..offset + length].copy_from_slice(&filled(length, fill));
            write(&elsewhere, offset as u64, filled(length, fill)).await;
        }
        let manifest = elsewhere.snapshot(|_| ()).await.expect("stored").manifest;
        assert!(everything(&elsewhere).await == content, "the head, and what was written");
        drop(elsewhere);
        self.remove("elsewhere");
        // An older placement is refused by the head, whatever it has.
        let mut older = self.world.opening("elsewhere", Some(manifest));
        older.epoch = Epoch(self.world.epoch - 1);
        let made_it = self.head != Some(manifest);
        assert!(!made_it || matches!(Volume::open(older).await, Err(VolumeError::Fenced { .. })));
        (self.head, self.head_content) = (Some(manifest), content.clone());
        if made_it {
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
        self.set_trouble(false);
        let origin = self.world.reader(self.head.expect("there is one")).await.volume();
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

fn is_of_the_store(error: &VolumeError) -> bool {
    matches!(error, VolumeError::Store(_) | VolumeError::Damaged { .. } | VolumeError::Manifest { .. })
}

/// Plays the steps; the number of crashes that they came to.
fn run(seed: u64, steps: impl IntoIterator<Item = Step>) -> u64 {
    run_inline();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut run = Run::new(seed).await;
        for step in steps {
            run.step(step).await;
        }
        run.reopen().await;
        run.set_trouble(false);
        run.snapshot(true, true).await;
        assert!(run.world.content_of(run.head.expect("committed")).await == run.content);
        run.lose_cache().await;
        run.crashes
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200 * soak_factor() as u32,
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_history_leaves_what_was_promised(seeds in prop::collection::vec(any::<u64>().no_shrink(), 1..60)) {
        let steps: Vec<Step> =
            seeds.iter().map(|seed| some_step(&mut StdRng::seed_from_u64(*seed), DEAR_SHORT)).collect();
        // Said only if it fails.
        println!("{steps:?}");
        run(0, steps);
    }
}

/// Says which history it is that fails: its seed plays it first.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("BURROW_SEED={} plays it first", self.0);
        }
    }
}

#[test]
fn a_million_operations_leave_what_was_promised() {
    let seed = seed();
    let histories = OPERATIONS / OPERATIONS_EACH * soak_factor();
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
                    let _told = Told(seed.wrapping_add(number));
                    let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
                    let steps = (0..OPERATIONS_EACH).map(|_| some_step(&mut random, DEAR_LONG));
                    let crashed = run(seed.wrapping_add(number), steps);
                    crashes.fetch_add(crashed, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    let operations = histories * OPERATIONS_EACH;
    println!("{operations} operations with {crashes:?} crashes in {:?}", begun.elapsed());
}

/// One history that does a little of everything, cut at every single call to the disk.
#[test]
fn a_history_survives_a_kill_and_a_loss_of_power_at_every_call() {
    let write = |offset, length, fill| Step::Write(Place { offset, length }, fill);
    let discard = |offset, length| Step::Discard(Place { offset, length });
    let block = BLOCK;
    let history = |crash: Step| {
        vec![
            write(0, 8 * block, 1),
            Step::Snapshot { heard: true },
            write(4 * block, 2 * block, 50),
            crash,
            Step::Flush,
            write(3 * block + 700, 3 * block, 90),
            discard(block, 2 * block),
            Step::Snapshot { heard: false },
            write(block, block, 130),
            write(20 * block + 5, 300, 170),
            Step::Flush,
            discard(6 * block, block),
            Step::Snapshot { heard: true },
            write(0, block, 200),
            Step::Close,
        ]
    };
    for call in 1..60 {
        run(0, history(Step::KillAt(call)));
        for seed in 0..4 {
            run(0, history(Step::PowerAt(call, seed)));
        }
    }
}
