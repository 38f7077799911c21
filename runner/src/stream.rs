//! The home's way to the store while its machine runs: snapshots every few seconds and when asked for, growth when wanted, and
//! what people should know about it. Ends with the machine; whatever it was doing then, the stop does anew.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use protocol::{
    agent::Health,
    api::{
        check::{ByteRange, Repair},
        snapshot::{Consistency, SnapshotKind},
        workspace::HomeNotice,
    },
    runner::{RepairOutcome, RepairWish, Report, RunnerSpec},
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use volume::{Cut, StoreError, Turn, VolumeError};

use crate::{
    agent::Agent,
    home::{Home, HomeError, Taken},
    report::{Reporter, Wanted},
    runtime::{RuntimeError, Settler},
};

/// A snapshot that is due waits so long for the guest's next flush, where the file system is nearest to order.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A guest that does not hold still within this is not waited for: the snapshot is then as after a power cut.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(2);
/// After a failure, the first and the longest pause.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How often the home's state is told.
const HOME_INTERVAL: Duration = Duration::from_secs(5);
/// After so many snapshots it is worth looking for packs to store anew.
const COMPACT_INTERVAL: u32 = 64;
const MIB: u64 = 1024 * 1024;

pub struct Stream {
    every: Option<Duration>,
    home: Home,
    agent: Arc<Agent>,
    reporter: Reporter,
    settler: Settler,
    /// Why the last snapshot did not come about.
    trouble: Mutex<Option<HomeNotice>>,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// What is to be done next.
enum Next {
    Due,
    Asked(u64),
    Repair(RepairWish),
    Grow(u32),
}

impl Stream {
    pub fn new(
        spec: &RunnerSpec,
        reporter: &Reporter,
        home: &Home,
        agent: &Arc<Agent>,
        settler: Settler,
    ) -> Self {
        let every = Duration::from_secs(spec.stream_seconds.into());
        Self {
            every: (!every.is_zero()).then_some(every),
            home: home.clone(),
            agent: agent.clone(),
            reporter: reporter.clone(),
            settler,
            trouble: Mutex::default(),
        }
    }

    /// Goes on until dropped.
    pub async fn run(&self) {
        tokio::join!(self.stream(), self.tell(), self.prefetch(), self.keep_room());
    }

    async fn stream(&self) {
        let (mut pause, mut taken) = (PAUSE_FIRST, 0_u32);
        loop {
            let next = self.next().await;
            match self.perform(next).await {
                Ok(()) => {
                    self.set_trouble(None);
                    pause = PAUSE_FIRST;
                    taken += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, "the home did not come into the store; trying again");
                    self.set_trouble(notice_of(&error));
                    sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
            if taken >= COMPACT_INTERVAL {
                taken = 0;
                match self.home.volume().compact().await {
                    Ok(0) => {}
                    Ok(blocks) => tracing::info!(blocks, "packs are stored anew"),
                    Err(error) => tracing::warn!(%error, "packs are not stored anew"),
                }
            }
        }
    }

    async fn next(&self) -> Next {
        let mut wanted = self.reporter.wanted();
        let (answering, home_mib) = (self.reporter.answering(), self.reporter.home_mib());
        let repairing = self.reporter.repairing();
        let is_new = |wanted: &Wanted| {
            wanted.snapshot > answering || wanted.repair.number > repairing || wanted.home_mib > home_mib
        };
        let due = async {
            match self.every {
                Some(every) => self.home.volume().due(every, FLUSH_TIMEOUT).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            heard = wanted.wait_for(is_new) => match heard.map(|wanted| wanted.clone()) {
                Ok(wanted) if wanted.home_mib > home_mib => Next::Grow(wanted.home_mib),
                Ok(wanted) if wanted.snapshot > answering => Next::Asked(wanted.snapshot),
                Ok(wanted) => Next::Repair(wanted.repair),
                // Nobody is there to ask: the reporter lives as long as we do.
                Err(_) => std::future::pending().await,
            },
            due = due => match due {
                Ok(()) => Next::Due,
                // The volume has failed or is closed: the machine's own reads and writes say so.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn perform(&self, next: Next) -> Result<(), Trouble> {
        match next {
            Next::Due => {
                let cut = self.home.volume().turn().await.cut().await?;
                self.store(cut, SnapshotKind::Stream, Consistency::Crash, 0).await
            }
            Next::Asked(number) => {
                self.settler.settle().await?;
                let turn = self.home.volume().turn().await;
                let (cut, consistency) = self.cut_in_order(turn).await?;
                self.store(cut, SnapshotKind::Asked, consistency, number).await?;
                self.reporter.answer(number);
                Ok(())
            }
            Next::Repair(wish) => {
                let outcome = match self.repair(&wish.objects).await {
                    Ok(repair) => RepairOutcome::Done(repair),
                    // Whoever asked decides whether to ask again; the home goes on to the store meanwhile.
                    Err(error) => {
                        tracing::warn!(%error, "a repair failed");
                        RepairOutcome::Failed(error.to_string())
                    }
                };
                self.reporter.repaired(wish.number, outcome);
                Ok(())
            }
            Next::Grow(home_mib) => {
                let bytes = u64::from(home_mib) * MIB;
                self.home.volume().grow(bytes).await?;
                // A guest that does not follow now does so with its next start.
                if let Err(error) = self.agent.grow(bytes).await {
                    tracing::warn!(%error, "the home's file system did not grow");
                }
                self.reporter.grown(home_mib);
                Ok(())
            }
        }
    }

    /// Stores anew what the cache has of damaged objects. When it returns, that is committed.
    async fn repair(&self, objects: &[String]) -> Result<Repair, Trouble> {
        let repaired = self.home.volume().repair(objects).await?;
        let cut = self.home.volume().turn().await.cut().await?;
        self.store(cut, SnapshotKind::Stream, Consistency::Crash, 0).await?;
        let volume::Repaired { renewed_bytes, lost_bytes, lost } = repaired;
        let lost = lost.into_iter().map(|run| ByteRange { start: run.start, end: run.end }).collect();
        Ok(Repair { renewed_bytes, lost_bytes, lost })
    }

    async fn store(
        &self,
        cut: Cut,
        kind: SnapshotKind,
        consistency: Consistency,
        answers: u64,
    ) -> Result<(), Trouble> {
        let snapshot = cut.store(|_| ()).await?;
        self.home.commit(&self.reporter, &Taken { snapshot, kind, consistency, answers }).await?;
        Ok(())
    }

    /// A cut with the file system put in order, if the guest holds still; its writers wait for the cut only.
    async fn cut_in_order(&self, turn: Turn) -> Result<(Cut, Consistency), VolumeError> {
        let frozen = timeout(FREEZE_TIMEOUT, self.agent.freeze()).await;
        let begun = Instant::now();
        let cut = turn.cut().await;
        let held = begun.elapsed();
        // Also where no answer came: it may hold still a little later.
        if let Err(error) = self.agent.thaw().await {
            tracing::warn!(%error, "the guest was not told to go on; it does so by itself");
        }
        let consistency = match frozen {
            Ok(Ok(())) => Consistency::Clean,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the guest did not hold still");
                Consistency::Crash
            }
            Err(_) => Consistency::Crash,
        };
        tracing::debug!(?consistency, ?held, "cut");
        Ok((cut?, consistency))
    }

    async fn tell(&self) {
        let mut interval = tokio::time::interval(HOME_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.home.hear(&self.reporter).await;
            // Before anything is looked at: what is said to be safe then was.
            let at = OffsetDateTime::now_utc();
            let size_bytes = u64::from(self.reporter.home_mib()) * MIB;
            let used_bytes = self.agent.health().await.ok().map(|health| used_bytes(&health, size_bytes));
            match self.home.volume().status().await {
                Ok(status) => self.reporter.tell(Report::Home {
                    at,
                    dirty_bytes: status.dirty_bytes,
                    unreplicated_ms: status.unreplicated.map_or(0, |age| age.as_millis().max(1) as u64),
                    used_bytes,
                    notice: self.notice(status.is_full, status.is_slowed),
                }),
                Err(error) => tracing::warn!(%error, "the home's state is not known"),
            }
        }
    }

    fn notice(&self, is_full: bool, is_slowed: bool) -> Option<HomeNotice> {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let full = is_full.then_some(HomeNotice::HostDiskFull);
        full.or(trouble).or(is_slowed.then_some(HomeNotice::Throttled))
    }

    fn set_trouble(&self, trouble: Option<HomeNotice>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    async fn prefetch(&self) {
        let mut pause = PAUSE_FIRST;
        while let Err(error) = self.home.volume().prefetch().await {
            tracing::warn!(%error, "the rest of the home is not here yet; trying again");
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn keep_room(&self) {
        let error = self.home.volume().keep_room().await;
        tracing::debug!(%error, "nobody looks after the disk's room any more");
    }
}

/// With what the file system has for itself: a home in which nothing more can be written is a full one.
fn used_bytes(health: &Health, size_bytes: u64) -> u64 {
    let own_bytes = size_bytes.saturating_sub(health.home_size_bytes);
    health.home_used_bytes.saturating_add(own_bytes).min(size_bytes.max(health.home_used_bytes))
}

fn notice_of(error: &Trouble) -> Option<HomeNotice> {
    let of_volume = |error: &VolumeError| match error {
        VolumeError::Store(StoreError::NotFound(_)) => None,
        VolumeError::Store(_) => Some(HomeNotice::StoreUnavailable),
        VolumeError::Full => Some(HomeNotice::HostDiskFull),
        _ => None,
    };
    match error {
        Trouble::Volume(error) | Trouble::Home(HomeError::Volume(error)) => of_volume(error),
        Trouble::Home(HomeError::Store(_)) => Some(HomeNotice::StoreUnavailable),
        Trouble::Home(_) | Trouble::Runtime(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_system_has_for_itself_is_used() {
        let used = |used, size, home| {
            used_bytes(&Health { home_used_bytes: used, home_size_bytes: size, ..Health::default() }, home)
        };
        assert_eq!(used(0, 3952, 4096), 144);
        assert_eq!(used(3952, 3952, 4096), 4096);
        // A plain process has the host's file system, and a guest says what it likes.
        assert_eq!(used(10, 99_999, 4096), 10);
        assert_eq!(used(u64::MAX, 0, 4096), u64::MAX);
    }
}
