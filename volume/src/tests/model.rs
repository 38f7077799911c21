//! Random histories against a plain array of bytes: writes, discards, flushes, snapshots, commits heard and unheard, clean
//! closes, kills and losses of power at any call, lost caches. A failing history is printed whole and shrunk.
//!
//! The model keeps, for each sector, every content it has had since it was last durable. After a kill all acknowledged writes
//! must be there; after a loss of power each byte must be one of those its sector had, and whatever it is then, it stays.

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
const BYTES: usize = (BLOCKS * BLOCK_BYTES) as usize;

#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: usize,
        length: usize,
        fill: u8,
    },
    Discard {
        offset: usize,
        length: usize,
    },
    Read {
        offset: usize,
        length: usize,
    },
    Flush,
    /// The controller commits it; the volume hears of it or does not.
    Snapshot {
        heard: bool,
    },
    /// It lies in the store, and the controller never commits it.
    UncommittedSnapshot,
    Close,
    Kill,
    /// The process dies at so many calls from here.
    KillAt(u64),
    /// The power goes at so many calls from here.
    PowerAt(u64, u64),
    /// The machine is lost with its cache.
    LoseCache,
    /// All that is clean is let go of.
    Evict,
    /// All that is clean is stored anew with the next snapshot.
    Renew,
    /// All that is away is fetched.
    Prefetch,
    /// The store refuses after so many calls, during the next snapshot.
    SnapshotCutOff(u64),
}

fn place() -> impl Strategy<Value = (usize, usize)> {
    let block = BLOCK_BYTES as usize;
    let sectors =
        (0..BYTES / SECTOR as usize, 1usize..24).prop_map(|(start, count)| (start * 512, count * 512));
    let blocks =
        (0..BLOCKS as usize, 1usize..12).prop_map(move |(start, count)| (start * block, count * block));
    let odd = (0..BYTES, 1usize..9000);
    prop_oneof![4 => blocks, 2 => sectors, 1 => odd]
        .prop_map(|(offset, length)| (offset, length.min(BYTES - offset)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (place(), 0u8..=255).prop_map(|((offset, length), fill)| Step::Write { offset, length, fill }),
        6 => place().prop_map(|(offset, length)| Step::Discard { offset, length }),
        4 => place().prop_map(|(offset, length)| Step::Read { offset, length }),
        6 => Just(Step::Flush),
        4 => any::<bool>().prop_map(|heard| Step::Snapshot { heard }),
        1 => Just(Step::UncommittedSnapshot),
        1 => Just(Step::Close),
        2 => Just(Step::Kill),
        3 => (1u64..30).prop_map(Step::KillAt),
        3 => (1u64..30, any::<u64>()).prop_map(|(at, seed)| Step::PowerAt(at, seed)),
        1 => Just(Step::LoseCache),
        2 => Just(Step::Evict),
        2 => Just(Step::Renew),
        1 => Just(Step::Prefetch),
        2 => (0u64..3).prop_map(Step::SnapshotCutOff),
    ]
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
    /// The newest content.
    content: Vec<u8>,
    /// What each sector has been since it was last durable, beside its newest.
    earlier: Vec<Vec<Vec<u8>>>,
    /// What the controller says, and what that snapshot holds.
    head: Option<ManifestId>,
    head_content: Vec<u8>,
    pull: Option<Pull>,
}

impl Run {
    async fn new() -> Self {
        let mut world = World::new(BLOCKS).await;
        let plug = Arc::new(Plug::default());
        world.machine.plug = Some(plug.clone());
        let volume = Some(world.open("cache", None).await);
        let head_content = vec![0; BYTES];
        let earlier = vec![Vec::new(); BYTES / SECTOR as usize];
        Self {
            world,
            volume,
            plug,
            content: head_content.clone(),
            earlier,
            head: None,
            head_content,
            pull: None,
        }
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("it runs")
    }

    async fn on_cache(
        &self,
        work: impl FnOnce(&mut Cache) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), VolumeError> {
        let shared = &self.volume().shared;
        shared.on_cache(|_, cache| work(&mut *cache()?).map_err(io_of("work on it"))).await
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Write { offset, length, fill } => {
                let bytes: Vec<u8> =
                    (0..length).map(|index| fill.wrapping_add((index / 512) as u8)).collect();
                let outcome = self.volume().write(offset as u64, Bytes::from(bytes.clone())).await;
                self.change(offset, &bytes, outcome).await;
            }
            Step::Discard { offset, length } => {
                let outcome = self.volume().discard(offset as u64, length as u64).await;
                self.change(offset, &vec![0; length], outcome).await;
            }
            Step::Read { offset, length } => match self.volume().read(offset as u64, length as u64).await {
                Ok(bytes) => assert_eq!(bytes, self.content[offset..offset + length]),
                Err(_) => self.crash().await,
            },
            Step::Flush => match self.volume().flush().await {
                Ok(()) => self.all_is_durable(),
                Err(_) => self.crash().await,
            },
            Step::Snapshot { heard } => self.snapshot(true, heard).await,
            Step::UncommittedSnapshot => self.snapshot(false, false).await,
            Step::SnapshotCutOff(calls) => {
                self.world.store.cut_off_after(calls);
                let outcome = self.volume().snapshot(|_| ()).await;
                self.world.store.cut_off(false);
                match outcome {
                    Ok(snapshot) => self.commit(snapshot.manifest, false).await,
                    Err(VolumeError::Store(_)) => (),
                    Err(_) => self.crash().await,
                }
            }
            Step::Close => match self.volume().close().await {
                Ok(()) => {
                    self.all_is_durable();
                    self.reopen().await;
                }
                Err(_) => self.crash().await,
            },
            Step::Kill => self.reopen().await,
            Step::KillAt(at) => self.pull_at(at, Pull::Process),
            Step::PowerAt(at, seed) => self.pull_at(at, Pull::Power(seed)),
            Step::LoseCache => self.lose_cache().await,
            Step::Evict => {
                let evicted = self.on_cache(|cache| cache.evict(0, 1000).map(drop)).await;
                if evicted.is_err() {
                    self.crash().await;
                }
            }
            Step::Renew => {
                let renew = |cache: &mut Cache| {
                    let packs = cache.map().packs().map(|(_, used)| used.pack.id).collect();
                    cache.renew(&packs, 0..BLOCKS as u32, 1000).map(drop)
                };
                if self.on_cache(renew).await.is_err() {
                    self.crash().await;
                }
            }
            Step::Prefetch => {
                if self.volume().prefetch().await.is_err() {
                    self.crash().await;
                }
            }
        }
    }

    fn pull_at(&mut self, at: u64, pull: Pull) {
        if self.pull.is_none() {
            self.plug.pull_at(self.plug.calls() + at);
            self.pull = Some(pull);
        }
    }

    async fn change(&mut self, offset: usize, bytes: &[u8], outcome: Result<(), VolumeError>) {
        let sectors = offset / 512..(offset + bytes.len()).div_ceil(512);
        let before = self.content.clone();
        for sector in sectors {
            self.earlier[sector].push(before[sector * 512..][..512].to_vec());
        }
        self.content[offset..offset + bytes.len()].copy_from_slice(bytes);
        if outcome.is_err() {
            // In part, perhaps: both are as good.
            self.crash_during(Some((before, offset, bytes.len()))).await;
        }
    }

    async fn snapshot(&mut self, committed: bool, heard: bool) {
        match self.volume().snapshot(|_| ()).await {
            Ok(snapshot) if committed => self.commit(snapshot.manifest, heard).await,
            Ok(snapshot) => {
                self.all_is_durable();
                assert_eq!(self.world.content_of(snapshot.manifest).await, self.content);
            }
            Err(_) => self.crash().await,
        }
    }

    async fn commit(&mut self, manifest: ManifestId, heard: bool) {
        self.all_is_durable();
        assert_eq!(self.world.content_of(manifest).await, self.content, "the snapshot is the volume");
        (self.head, self.head_content) = (Some(manifest), self.content.clone());
        if heard && self.volume().committed(manifest).await.is_err() {
            self.crash().await;
        }
    }

    fn all_is_durable(&mut self) {
        self.earlier.iter_mut().for_each(Vec::clear);
    }

    async fn crash(&mut self) {
        self.crash_during(None).await;
    }

    async fn crash_during(&mut self, partial: Option<(Vec<u8>, usize, usize)>) {
        let pull = self.pull.expect("only a pulled plug makes things fail");
        let power_went = matches!(pull, Pull::Power(_));
        if let Pull::Power(seed) = pull {
            self.volume = None;
            self.plug.lose_unsynced(seed);
            self.world.machine.boot = uuid::Uuid::now_v7().into_bytes();
        } else if let Some((before, offset, length)) = partial {
            self.reopen_with(|found, model| {
                for index in 0..BYTES {
                    let changed = (offset..offset + length).contains(&index);
                    let good = found[index] == model[index] || (changed && found[index] == before[index]);
                    assert!(good, "byte {index} after a kill");
                }
            })
            .await;
            return;
        }
        let earlier = self.earlier.clone();
        self.reopen_with(move |found, model| {
            for index in 0..BYTES {
                let was = || earlier[index / 512].iter().any(|version| version[index % 512] == found[index]);
                let good = found[index] == model[index] || (power_went && was());
                assert!(good, "byte {index} (block {}) after a crash", index / 4096);
            }
        })
        .await;
    }

    async fn reopen(&mut self) {
        self.reopen_with(|found, model| assert_eq!(found, model)).await;
    }

    async fn reopen_with(&mut self, check: impl FnOnce(&[u8], &[u8])) {
        self.volume = None;
        self.plug = Arc::new(Plug::default());
        self.pull = None;
        self.world.machine.plug = Some(self.plug.clone());
        self.world.epoch += 1;
        self.volume = Some(self.world.open("cache", self.head).await);
        let found = everything(self.volume()).await.to_vec();
        check(&found, &self.content);
        // Opening made all of it durable.
        self.content = found;
        self.all_is_durable();
    }

    async fn lose_cache(&mut self) {
        self.volume = None;
        std::fs::remove_dir_all(self.world.directory.path().join("cache")).expect("removed");
        self.content = self.head_content.clone();
        self.all_is_durable();
        self.reopen_with(|found, model| assert_eq!(found, model)).await;
    }
}

fn run(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut run = Run::new().await;
        for step in steps {
            run.step(step).await;
        }
        run.reopen().await;
        run.snapshot(true, true).await;
        run.lose_cache().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("BURROW_VOLUME_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(200),
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_history_leaves_what_was_promised(steps in prop::collection::vec(step(), 1..60)) {
        run(steps);
    }
}

/// One history that does a little of everything, cut at every single call to the disk.
#[test]
fn a_history_survives_a_kill_and_a_loss_of_power_at_every_call() {
    let block = BLOCK_BYTES as usize;
    let history = |crash: Step| {
        vec![
            Step::Write { offset: 0, length: 8 * block, fill: 1 },
            Step::Snapshot { heard: true },
            Step::Write { offset: 4 * block, length: 2 * block, fill: 50 },
            crash,
            Step::Flush,
            Step::Write { offset: 3 * block + 700, length: 3 * block, fill: 90 },
            Step::Discard { offset: block, length: 2 * block },
            Step::Snapshot { heard: false },
            Step::Write { offset: block, length: block, fill: 130 },
            Step::Write { offset: 20 * block + 5, length: 300, fill: 170 },
            Step::Flush,
            Step::Discard { offset: 6 * block, length: block },
            Step::Snapshot { heard: true },
            Step::Write { offset: 0, length: block, fill: 200 },
            Step::Close,
        ]
    };
    for call in 1..60 {
        run(history(Step::KillAt(call)));
        for seed in 0..4 {
            run(history(Step::PowerAt(call, seed)));
        }
    }
}
