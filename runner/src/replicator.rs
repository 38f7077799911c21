//! Replicates a home to the object store while its sandbox runs: a snapshot every few seconds and
//! on request, repairs, growth, and the state that users see. Knows no runtime: what a runtime must
//! do before a snapshot is a [`PreSnapshotHook`].

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use protocol::{
    agent::{Health, Pressure},
    api::{
        scrub::{ByteRange, Repair},
        snapshot::{Consistency, SnapshotKind},
    },
    idle::{self, AwakeReason, IdleFacts, IdleState, MAX_AWAKE_REASONS, RECENT_USE},
    runner::{RepairOutcome, Report, RunnerSpec},
    workspace::{HomeNotice, ProgramName},
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use volume::{Cut, SnapshotTurn, StoreError, VolumeError};

use crate::{
    agent::Agent,
    disk_share,
    home_volume::{HomeError, HomeVolume, TakenSnapshot},
    reporter::{ControllerState, HomeTask, Reporter},
    runtime::{PreSnapshotHook, RuntimeError},
    upload_pace::UploadPace,
};

/// How long a snapshot that is due waits for the guest's next flush, where the file system is
/// closest to consistent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A guest that does not freeze within this time is not waited for: its snapshot is then
/// crash-consistent.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a home that is uploaded only on request has had much to upload before it is uploaded anyway.
const CROWDED_UPLOAD_DELAY: Duration = Duration::from_secs(5);
/// The first pause after a failure. Each further failure doubles it.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// How often a snapshot that waits for the pace is checked again.
const PACE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A shorter wait for the pace is not worth a notice.
const MIN_PACED: Duration = Duration::from_secs(30);
/// How often the home's state is reported.
const HOME_INTERVAL: Duration = Duration::from_secs(3);
/// A home with less free space is full: most writes need several blocks.
const MIN_FREE_BYTES: u64 = 256 * 1024;
/// A home in which fewer files can be created is full.
const MIN_FREE_INODES: u64 = 8;
/// After this many snapshots it is worth looking for packs to compact.
const SNAPSHOTS_PER_COMPACTION: u32 = 64;
const MIB: u64 = 1024 * 1024;

/// Moves a running home to the store, like Litestream moves a database.
///
/// It lives from the moment the agent is ready until the sandbox stops, and runs five loops side by
/// side: snapshots and other tasks, reports about the home, prefetching the rest of the home, eviction
/// when the host's disk runs low, and the home's share of that disk. It does one task at a time. For
/// example, with an interval of 5 seconds:
///
/// 1. The guest writes. The volume counts dirty blocks.
/// 2. 5 seconds later a snapshot is due. The replicator waits up to [`FLUSH_TIMEOUT`] for a flush
///    and cuts.
/// 3. The cut's blocks are uploaded as packs, then their manifest.
/// 4. The snapshot is reported. The controller's reply commits it, and the cache builds on it.
///
/// The session drops the replicator when the sandbox stops. Dropping it at any point is safe: the
/// snapshot of the stop includes whatever the interrupted one would have uploaded.
pub struct Replicator {
    /// Time between snapshots; `None` if they are taken only on stop and on request.
    interval: Option<Duration>,
    home: HomeVolume,
    agent: Arc<Agent>,
    reporter: Reporter,
    hook: PreSnapshotHook,
    /// Why the last snapshot failed, as users see it.
    failure: Mutex<Option<HomeNotice>>,
    /// Bounds what automatic snapshots store, if they are bounded.
    pace: Mutex<Option<UploadPace>>,
    /// After which idle time the controller stops the workspace. Zero: never.
    idle_stop: Duration,
    /// An automatic snapshot waits for the pace.
    is_paced: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
enum ReplicationError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

enum Task {
    /// The interval has passed since the oldest write that no snapshot has.
    ScheduledSnapshot,
    /// The controller desires something.
    Desired(HomeTask),
}

impl Replicator {
    /// The replicator of one running sandbox. It does nothing until [`Self::run`].
    pub fn new(
        spec: &RunnerSpec,
        reporter: &Reporter,
        home: &HomeVolume,
        agent: &Arc<Agent>,
        hook: PreSnapshotHook,
    ) -> Self {
        let interval = Duration::from_secs(spec.stream_seconds.into());
        let (upload_rate, used) = (u64::from(spec.upload_mib_per_hour) * MIB, spec.upload_allowance_used);
        Self {
            interval: (!interval.is_zero()).then_some(interval),
            home: home.clone(),
            agent: agent.clone(),
            reporter: reporter.clone(),
            hook,
            failure: Mutex::default(),
            pace: Mutex::new(UploadPace::new(upload_rate, used, Instant::now())),
            idle_stop: Duration::from_secs(spec.idle_stop_seconds),
            is_paced: AtomicBool::new(false),
        }
    }

    /// Runs until dropped.
    pub async fn run(&self) {
        tokio::join!(
            self.run_tasks(),
            self.report_home(),
            self.prefetch(),
            self.evict(),
            disk_share::follow(self.home.volume(), self.reporter.subscribe())
        );
    }

    async fn run_tasks(&self) {
        let (mut retry_delay, mut tasks_done) = (MIN_RETRY_DELAY, 0_u32);
        loop {
            let task = self.next_task().await;
            match self.perform(task).await {
                Ok(()) => {
                    self.set_failure(None);
                    retry_delay = MIN_RETRY_DELAY;
                    tasks_done += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, "replication failed; retrying");
                    self.set_failure(notice_for(&error));
                    sleep(retry_delay.mul_f64(rand::random_range(0.5..1.0))).await;
                    retry_delay = (retry_delay * 2).min(MAX_RETRY_DELAY);
                }
            }
            if tasks_done >= SNAPSHOTS_PER_COMPACTION {
                tasks_done = 0;
                match self.home.volume().compact().await {
                    Ok(0) => {}
                    Ok(blocks) => tracing::info!(blocks, "compacted packs"),
                    Err(error) => tracing::warn!(%error, "compaction failed"),
                }
            }
        }
    }

    /// Waits for the next task. What the controller desires comes before a scheduled snapshot.
    async fn next_task(&self) -> Task {
        let mut controller = self.reporter.subscribe();
        let acknowledged = self.reporter.acknowledged();
        let next = |state: &ControllerState| state.desired.next_home_task(&acknowledged);
        let due = async {
            if let Some(interval) = self.interval {
                return self.wait_until_due(interval).await;
            }
            // Nothing is uploaded by itself, unless writes would have to wait for it.
            self.home.volume().wait_until_crowded().await;
            sleep(CROWDED_UPLOAD_DELAY).await;
            Ok(())
        };
        tokio::select! {
            biased;
            state = controller.wait_for(|state| next(state).is_some()) => {
                match state.ok().and_then(|state| next(&state)) {
                    Some(task) => Task::Desired(task),
                    // Unreachable: the sender lives in `self.reporter`.
                    None => std::future::pending().await,
                }
            }
            due = due => match due {
                Ok(()) => Task::ScheduledSnapshot,
                // The volume has failed or is closed. The guest's own reads and writes report that.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Waits until an automatic snapshot is due and its size is within the pace.
    async fn wait_until_due(&self, interval: Duration) -> Result<(), VolumeError> {
        let volume = self.home.volume();
        volume.wait_until_due(interval, FLUSH_TIMEOUT).await?;
        loop {
            let dirty_bytes = volume.status().await?.dirty_bytes;
            let delay =
                self.pace().as_mut().map_or(Duration::ZERO, |pace| pace.delay(dirty_bytes, Instant::now()));
            self.is_paced.store(delay >= MIN_PACED, Ordering::Relaxed);
            volume.set_uploads_paced(!delay.is_zero());
            if delay.is_zero() {
                return Ok(());
            }
            sleep(delay.min(PACE_CHECK_INTERVAL)).await;
        }
    }

    fn pace(&self) -> MutexGuard<'_, Option<UploadPace>> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn perform(&self, task: Task) -> Result<(), ReplicationError> {
        match task {
            Task::ScheduledSnapshot => self.snapshot_unfrozen().await,
            Task::Desired(HomeTask::Snapshot(request)) => {
                self.hook.run().await?;
                let turn = self.home.volume().wait_for_turn().await;
                let (cut, consistency) = self.cut_frozen(turn).await?;
                self.store_and_commit(cut, SnapshotKind::Requested, consistency, request).await?;
                self.reporter.acknowledge_snapshot(request);
                Ok(())
            }
            Task::Desired(HomeTask::Repair(repair)) => {
                let outcome = match self.repair(&repair.objects).await {
                    Ok(repair) => RepairOutcome::Done(repair),
                    // Not retried here: the caller of the repair decides that, and replication goes on.
                    Err(error) => {
                        tracing::warn!(%error, "repair failed");
                        RepairOutcome::Failed(error.to_string())
                    }
                };
                self.reporter.acknowledge_repair(repair.number, outcome);
                Ok(())
            }
            Task::Desired(HomeTask::Grow(home_mib)) => {
                let bytes = u64::from(home_mib) * MIB;
                self.home.volume().grow(bytes).await?;
                // If the guest cannot grow its file system now, it does so at its next start.
                if let Err(error) = self.agent.grow(bytes).await {
                    tracing::warn!(%error, "the home's file system did not grow");
                }
                self.reporter.acknowledge_size(home_mib);
                Ok(())
            }
        }
    }

    async fn snapshot_unfrozen(&self) -> Result<(), ReplicationError> {
        let cut = self.home.volume().wait_for_turn().await.cut().await?;
        self.store_and_commit(cut, SnapshotKind::Stream, Consistency::Crash, 0).await
    }

    /// Stores again what the cache has of damaged objects. When it returns, the new objects are
    /// committed.
    async fn repair(&self, objects: &[String]) -> Result<Repair, ReplicationError> {
        let repaired = self.home.volume().repair(objects).await?;
        self.snapshot_unfrozen().await?;
        let volume::RepairReport { rewritten_bytes, lost_bytes, lost } = repaired;
        let lost = lost.into_iter().map(|run| ByteRange { start: run.start, end: run.end }).collect();
        Ok(Repair { rewritten_bytes, lost_bytes, lost })
    }

    async fn store_and_commit(
        &self,
        cut: Cut,
        kind: SnapshotKind,
        consistency: Consistency,
        request: u64,
    ) -> Result<(), ReplicationError> {
        let snapshot = cut.store(|_| ()).await?;
        if let Some(pace) = self.pace().as_mut() {
            pace.record_upload(snapshot.uploaded_bytes, Instant::now());
        }
        let taken = TakenSnapshot { snapshot, kind, consistency, request };
        Ok(self.home.commit_snapshot(&self.reporter, &taken).await?)
    }

    /// Cuts while the guest's file system is frozen, if the guest cooperates. Its writers wait for
    /// the cut, not for the upload.
    async fn cut_frozen(&self, turn: SnapshotTurn) -> Result<(Cut, Consistency), VolumeError> {
        let frozen = timeout(FREEZE_TIMEOUT, self.agent.freeze()).await;
        let started = Instant::now();
        let cut = turn.cut().await;
        let elapsed = started.elapsed();
        // Thaw even if the freeze was not answered: the guest may freeze a little later.
        if let Err(error) = self.agent.thaw().await {
            tracing::warn!(%error, "cannot thaw the guest; it thaws by itself");
        }
        let consistency = match frozen {
            Ok(Ok(consistency)) => consistency,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot freeze the guest");
                Consistency::Crash
            }
            Err(_) => Consistency::Crash,
        };
        tracing::debug!(?consistency, ?elapsed, "cut");
        Ok((cut?, consistency))
    }

    async fn report_home(&self) {
        let mut interval = tokio::time::interval(HOME_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_warned = false;
        loop {
            interval.tick().await;
            self.home.apply_late_commit(&self.reporter).await;
            // The time is read before the status: what is reported as safe was safe at this time.
            let at = OffsetDateTime::now_utc();
            let size_bytes = u64::from(self.reporter.acknowledged().home_mib) * MIB;
            let (health, corrected) = tokio::join!(self.agent.health(), self.agent.correct_clock());
            if let Err(error) = corrected {
                tracing::debug!(%error, "cannot correct the guest's clock");
            }
            let health = health.ok();
            let used_bytes = health.as_ref().map(|health| used_bytes(health, size_bytes));
            let guest_notice = health.as_ref().and_then(guest_notice);
            let idle_seconds = health.as_ref().map(|health| health.idle_seconds);
            let awake = health.as_ref().map(awake_reasons).unwrap_or_default();
            let killed_program = health.and_then(|health| health.killed_program);
            has_warned = self.warn_if_idle(at, idle_seconds, &awake, has_warned).await;
            match self.home.volume().status().await {
                Ok(status) => {
                    let notice = self.notice(status.is_full, status.is_slowed, guest_notice);
                    self.reporter.queue_report(Report::Home {
                        at,
                        dirty_bytes: status.dirty_bytes,
                        unreplicated_ms: status.unreplicated.map_or(0, |age| age.as_millis().max(1) as u64),
                        used_bytes,
                        idle_seconds,
                        awake,
                        notice,
                        killed_program: killed_program
                            .filter(|_| notice == Some(HomeNotice::OutOfMemory))
                            .and_then(|name| ProgramName::try_from(name).ok()),
                    });
                }
                Err(error) => tracing::warn!(%error, "cannot read the home's status"),
            }
        }
    }

    /// Warns in all terminals, once, before an idle workspace is stopped. Returns whether it has.
    async fn warn_if_idle(
        &self,
        now: OffsetDateTime,
        idle_seconds: Option<u64>,
        awake: &[AwakeReason],
        has_warned: bool,
    ) -> bool {
        let Some(idle_seconds) = idle_seconds else { return has_warned };
        let held_until = self.reporter.subscribe().borrow().desired.held_until;
        let idle = Duration::from_secs(idle_seconds);
        let decision = idle::decide(IdleFacts::new(now, idle, awake, held_until, self.idle_stop));
        let is_soon = decision.state != IdleState::Active;
        if is_soon && !has_warned {
            let minutes = decision.stops_in.unwrap_or_default().as_secs().div_ceil(60);
            let text = format!(
                "Burrow: nobody uses this workspace. It stops in {minutes} min and keeps the home. Press a \
                 key to keep it running."
            );
            if let Err(error) = self.agent.show_notice(&text).await {
                tracing::debug!(%error, "cannot warn of the stop of an idle workspace");
            }
        }
        is_soon
    }

    /// What users should know about the home: the most serious condition, if any.
    fn notice(&self, is_full: bool, is_slowed: bool, guest: Option<HomeNotice>) -> Option<HomeNotice> {
        let failure = *self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let full = is_full.then_some(HomeNotice::HostDiskFull);
        let paced = self.is_paced.load(Ordering::Relaxed).then_some(HomeNotice::UploadsPaced);
        full.or(failure).or(guest).or(paced).or(is_slowed.then_some(HomeNotice::Throttled))
    }

    fn set_failure(&self, failure: Option<HomeNotice>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Fetches the rest of the home in the background.
    async fn prefetch(&self) {
        let mut retry_delay = MIN_RETRY_DELAY;
        while let Err(error) = self.home.volume().prefetch().await {
            tracing::warn!(%error, "prefetching the home failed; retrying");
            sleep(retry_delay).await;
            retry_delay = (retry_delay * 2).min(MAX_RETRY_DELAY);
        }
    }

    /// Evicts clean blocks whenever the host's disk runs low.
    async fn evict(&self) {
        let error = self.home.volume().keep_disk_space().await;
        tracing::debug!(%error, "eviction ended");
    }
}

/// Used bytes of the home, including what the file system needs for itself: a home that nothing can
/// be written to is full.
fn used_bytes(health: &Health, size_bytes: u64) -> u64 {
    let own_bytes = size_bytes.saturating_sub(health.home_size_bytes);
    health.home_used_bytes.saturating_add(own_bytes).min(size_bytes.max(health.home_used_bytes))
}

/// What keeps the workspace awake, as the guest tells.
fn awake_reasons(health: &Health) -> Vec<AwakeReason> {
    let job = |program: &String| AwakeReason::Job { program: ProgramName::try_from(program.clone()).ok() };
    let mut reasons: Vec<_> = health.jobs.iter().take(MAX_AWAKE_REASONS - 2).map(job).collect();
    reasons.extend(health.has_exec.then_some(AwakeReason::Exec));
    reasons.extend(health.is_cpu_busy.then_some(AwakeReason::Cpu));
    if reasons.is_empty() && Duration::from_secs(health.idle_seconds) < RECENT_USE {
        reasons.push(AwakeReason::Use);
    }
    reasons
}

/// What the guest reports that its user should know.
fn guest_notice(health: &Health) -> Option<HomeNotice> {
    let is_below = |free: Option<u64>, limit| free.is_some_and(|free| free < limit);
    if is_below(health.home_free_bytes, MIN_FREE_BYTES) {
        return Some(HomeNotice::HomeFull);
    }
    if is_below(health.home_free_inodes, MIN_FREE_INODES) {
        return Some(HomeNotice::HomeOutOfInodes);
    }
    health.pressure.map(|pressure| match pressure {
        Pressure::OutOfMemory => HomeNotice::OutOfMemory,
        Pressure::ProcessLimit => HomeNotice::ProcessLimit,
    })
}

fn notice_for(error: &ReplicationError) -> Option<HomeNotice> {
    let for_volume = |error: &VolumeError| match error {
        VolumeError::Store(StoreError::NotFound(_)) => None,
        VolumeError::Store(StoreError::Full(_)) => Some(HomeNotice::HostDiskFull),
        VolumeError::Store(_) => Some(HomeNotice::StoreUnavailable),
        VolumeError::Full => Some(HomeNotice::HostDiskFull),
        _ => None,
    };
    match error {
        ReplicationError::Volume(error) | ReplicationError::Home(HomeError::Volume(error)) => {
            for_volume(error)
        }
        ReplicationError::Home(_) | ReplicationError::Runtime(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_notice_names_what_is_missing() {
        let health = |bytes, inodes, pressure| Health {
            home_free_bytes: bytes,
            home_free_inodes: inodes,
            pressure,
            ..Health::default()
        };
        for (health, expected) in [
            (health(None, None, None), None),
            (health(Some(MIN_FREE_BYTES), Some(MIN_FREE_INODES), None), None),
            (health(Some(4096), Some(0), Some(Pressure::ProcessLimit)), Some(HomeNotice::HomeFull)),
            (health(Some(1 << 30), Some(0), None), Some(HomeNotice::HomeOutOfInodes)),
            (health(Some(1 << 30), None, Some(Pressure::OutOfMemory)), Some(HomeNotice::OutOfMemory)),
            (health(None, None, Some(Pressure::ProcessLimit)), Some(HomeNotice::ProcessLimit)),
        ] {
            assert_eq!(guest_notice(&health), expected, "{health:?}");
        }
    }

    #[test]
    fn used_bytes_include_file_system_overhead() {
        let used = |used, size, home| {
            used_bytes(&Health { home_used_bytes: used, home_size_bytes: size, ..Health::default() }, home)
        };
        assert_eq!(used(0, 3952, 4096), 144);
        assert_eq!(used(3952, 3952, 4096), 4096);
        // The fake runtime reports the host's file system, and a guest may report anything.
        assert_eq!(used(10, 99_999, 4096), 10);
        assert_eq!(used(u64::MAX, 0, 4096), u64::MAX);
    }
}
