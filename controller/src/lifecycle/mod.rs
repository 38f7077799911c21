//! The life of a workspace, as one pure function: [`apply`].
//!
//! ```text
//!            Start             place()              Ready
//! Terminated ─────► Queued ───────────► Provisioning ────► Running
//!     ▲               ▲                  │      │             │ Stop
//!     │               └─── retry later ──┘      ▼             ▼
//!     └──────────────── Persisting ◄──────── Stopping ◄───────┘
//! ```
//!
//! An ordinary life: the owner's [`Event::Start`] queues the workspace. The reconciler calls
//! [`place`], which gives it a new epoch, and starts a runner. The runner reports steps, then
//! [`RunnerEvent::Ready`] with the address of its front: the workspace runs. Each report extends
//! the lease. [`Event::Stop`] makes the runner freeze the guest, upload the home and report
//! [`RunnerEvent::Stopped`]: the workspace is at rest, and a later start begins again with the next
//! epoch.
//!
//! This module knows no clock, no database and no process. Time is an argument, and what must be
//! done comes back as [`Effect`]s. [`record`] reads and writes lives in the database. The walk over
//! all histories in `walk.rs` checks what always holds:
//!
//! - The epoch grows by one with each placement and never otherwise.
//! - A report of another epoch, or of a placement that is over, changes nothing and causes nothing.
//! - A committed snapshot stays the head until a newer one of the present epoch replaces it.
//! - Every phase except rest has a deadline or a lease, and ends when that has passed.

pub mod record;
pub mod requests;
#[cfg(test)]
mod walk;

use protocol::{
    Epoch, ManifestId,
    runner::Command,
    workspace::{Failure, Phase, Step, StepProgress, cut},
};
use time::{Duration, OffsetDateTime};

/// How long a workspace may wait for its turn. After an hour without room the owner is told
/// instead.
pub const QUEUE_TIMEOUT: Duration = Duration::hours(1);
/// How long a start may take. Emulated, a cold boot with an empty cache takes up to two minutes on
/// a busy host.
pub const PROVISION_TIMEOUT: Duration = Duration::minutes(5);
/// How long the guest's freeze and last flush may take.
pub const STOP_TIMEOUT: Duration = Duration::minutes(2);
/// How long the upload of a stop may take. A first upload of a full home at 10 MiB/s takes 14
/// minutes. What is not uploaded by then stays in the local cache.
pub const PERSIST_TIMEOUT: Duration = Duration::minutes(30);
/// How long a silent runner still counts as alive. It reports at least every ten seconds.
pub const LEASE_TTL: Duration = Duration::seconds(30);
/// The lease of a new placement: the process must start and read its specification before its first
/// report.
pub const FIRST_LEASE_TTL: Duration = Duration::seconds(60);
/// Placements of one start before it fails.
pub const MAX_ATTEMPTS: u8 = 3;
/// Delay before the second attempt, the third, and so on; indexed by the attempts so far.
const RETRY_DELAY: [Duration; MAX_ATTEMPTS as usize] =
    [Duration::ZERO, Duration::seconds(1), Duration::seconds(5)];
/// Most steps that are kept. A start and a stop together have twelve; a retry starts over.
pub const MAX_STEPS: usize = 24;
/// Longest address of a front, in bytes.
const MAX_FRONT_BYTES: usize = 200;
/// Longest name of an accelerator, in bytes.
const MAX_ACCELERATOR_BYTES: usize = 16;

/// What the owner last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DesiredState {
    /// Run, or run again as soon as a stop that is under way has finished.
    Running,
    /// Be at rest, with the home saved.
    Stopped,
    /// Be at rest and hidden. Nothing leads back from here except an undelete.
    Deleted,
}

/// Where a running sandbox accepts streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serving {
    /// Address of the runner's front: a path of a Unix socket, or `host:port`.
    pub front: String,
    /// `kvm`, `tcg` or `none`.
    pub accelerator: String,
}

/// The life of one workspace so far: its [`State`], and what outlives every state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Number of the latest placement. Zero before the first.
    pub epoch: Epoch,
    pub desired_state: DesiredState,
    pub state: State,
    /// Steps of the present start or stop, oldest first, at most [`MAX_STEPS`].
    pub steps: Vec<StepProgress>,
    /// Why the last start or stop failed. Never set while the workspace runs.
    pub failure: Option<Failure>,
    /// The newest committed snapshot of the home.
    pub head: Option<ManifestId>,
}

/// What is happening to a workspace now. Each variant has the facts that are known in it and no
/// others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No runner, and none is wanted.
    AtRest,
    /// Waiting for a turn. A failed attempt waits until `not_before`.
    Queued { deadline: OffsetDateTime, not_before: Option<OffsetDateTime>, attempts: u8 },
    /// A runner starts the sandbox. `attempts` counts this placement.
    Provisioning { deadline: OffsetDateTime, lease_until: OffsetDateTime, attempts: u8 },
    /// The guest runs and is served. The lease is the only deadline.
    Running { lease_until: OffsetDateTime, serving: Serving },
    /// The guest is frozen and flushed. Streams are still served if the workspace has run.
    Stopping { deadline: OffsetDateTime, lease_until: OffsetDateTime, serving: Option<Serving> },
    /// The home is uploaded.
    Persisting { deadline: OffsetDateTime, lease_until: OffsetDateTime, serving: Option<Serving> },
}

impl State {
    /// The phase that users see.
    pub fn phase(&self) -> Phase {
        match self {
            Self::AtRest => Phase::Terminated,
            Self::Queued { .. } => Phase::Queued,
            Self::Provisioning { .. } => Phase::Provisioning,
            Self::Running { .. } => Phase::Running,
            Self::Stopping { .. } => Phase::Stopping,
            Self::Persisting { .. } => Phase::Persisting,
        }
    }

    /// When the present phase ends at the latest. A running workspace has none.
    pub fn deadline(&self) -> Option<OffsetDateTime> {
        match self {
            Self::AtRest | Self::Running { .. } => None,
            Self::Queued { deadline, .. }
            | Self::Provisioning { deadline, .. }
            | Self::Stopping { deadline, .. }
            | Self::Persisting { deadline, .. } => Some(*deadline),
        }
    }

    /// Until when the runner's last report counts. None without a runner.
    pub fn lease_until(&self) -> Option<OffsetDateTime> {
        match self {
            Self::AtRest | Self::Queued { .. } => None,
            Self::Provisioning { lease_until, .. }
            | Self::Running { lease_until, .. }
            | Self::Stopping { lease_until, .. }
            | Self::Persisting { lease_until, .. } => Some(*lease_until),
        }
    }

    /// While queued after a failed attempt: the earliest time of the next one.
    pub fn not_before(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Queued { not_before, .. } => *not_before,
            _ => None,
        }
    }

    /// Placements of the present start. Zero once it has succeeded or failed.
    pub fn attempts(&self) -> u8 {
        match self {
            Self::Queued { attempts, .. } | Self::Provisioning { attempts, .. } => *attempts,
            _ => 0,
        }
    }

    /// Where streams are accepted, if anywhere.
    pub fn serving(&self) -> Option<&Serving> {
        match self {
            Self::Running { serving, .. } => Some(serving),
            Self::Stopping { serving, .. } | Self::Persisting { serving, .. } => serving.as_ref(),
            Self::AtRest | Self::Queued { .. } | Self::Provisioning { .. } => None,
        }
    }

    fn extend_lease(&mut self, until: OffsetDateTime) {
        match self {
            Self::AtRest | Self::Queued { .. } => {}
            Self::Provisioning { lease_until, .. }
            | Self::Running { lease_until, .. }
            | Self::Stopping { lease_until, .. }
            | Self::Persisting { lease_until, .. } => *lease_until = until.max(*lease_until),
        }
    }
}

impl Life {
    /// The life of a new workspace: at rest, without a home yet.
    pub fn new() -> Self {
        Self {
            epoch: Epoch::default(),
            desired_state: DesiredState::Stopped,
            state: State::AtRest,
            steps: Vec::new(),
            failure: None,
            head: None,
        }
    }

    /// The phase that users see.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Whether a runner of the present epoch exists, or should.
    pub fn is_placed(&self) -> bool {
        !matches!(self.state, State::Queued { .. } | State::AtRest)
    }

    /// Whether a report of `epoch` counts.
    pub fn accepts(&self, epoch: Epoch) -> bool {
        self.is_placed() && self.epoch == epoch
    }

    /// What the runner of the present epoch should do.
    pub fn command(&self) -> Command {
        match (self.desired_state, &self.state) {
            (DesiredState::Deleted, _) => Command::Discard,
            // A start that is requested during a stop begins after that stop.
            (DesiredState::Running, State::Provisioning { .. } | State::Running { .. }) => Command::Run,
            _ => Command::Stop,
        }
    }

    /// When [`Event::Tick`] has something to do.
    pub fn due(&self) -> Option<OffsetDateTime> {
        [self.state.deadline(), self.state.lease_until()].into_iter().flatten().min()
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// What happened to a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The owner asks for it to run.
    Start,
    /// The owner asks for it to stop.
    Stop,
    /// The owner deletes it.
    Delete,
    /// The runner of this epoch reported something.
    Runner(Epoch, RunnerEvent),
    /// The runner of this epoch could not be started.
    LaunchFailed(Epoch, Failure),
    /// The runner process of this epoch ended without a last report.
    RunnerExited(Epoch),
    /// The controller has just started: the runners of the previous one ended with it.
    ControllerRestarted,
    /// Time has passed.
    Tick,
}

/// A report of a runner, as far as the life depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerEvent {
    /// Any report: the runner lives.
    Alive,
    /// A step has begun or progressed.
    Step(StepProgress),
    /// The guest answers.
    Ready(Serving),
    /// A snapshot of this runner has been committed, in the same transaction.
    SnapshotCommitted(ManifestId),
    /// The sandbox ended in order. The last report.
    Stopped,
    /// The sandbox ended after a failure. The last report.
    Failed(Failure),
}

/// What must be done after an event, besides writing the life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End the runner of this epoch in whichever state it is.
    EndRunner(Epoch),
    /// Hide the workspace and free its name: it is deleted and nothing of it runs.
    Erase,
}

/// Applies an event: the next life, and what must be done.
pub fn apply(now: OffsetDateTime, life: Life, event: Event) -> (Life, Vec<Effect>) {
    match event {
        Event::Start => (start(now, life), vec![]),
        Event::Stop => (stop(now, life), vec![]),
        Event::Delete => delete(now, life),
        Event::Runner(epoch, event) if life.accepts(epoch) => apply_runner_event(now, life, event),
        Event::LaunchFailed(epoch, failure) if life.accepts(epoch) => {
            end_placement(now, life, failure.bounded())
        }
        Event::RunnerExited(epoch) if life.accepts(epoch) => {
            let failure = describe_loss(&life, "The runner process ended unexpectedly.");
            end_placement(now, life, failure)
        }
        Event::ControllerRestarted => recover(now, life),
        Event::Tick => tick(now, life),
        Event::Runner(..) | Event::LaunchFailed(..) | Event::RunnerExited(_) => (life, vec![]),
    }
}

/// Gives a queued workspace its turn: the next epoch, whose runner the caller starts. None if it is
/// not queued, or if the delay after a failed attempt has not passed.
pub fn place(now: OffsetDateTime, life: &Life) -> Option<Life> {
    let State::Queued { not_before, attempts, .. } = life.state else { return None };
    if not_before.is_some_and(|time| now < time) {
        return None;
    }
    let state = State::Provisioning {
        deadline: now + PROVISION_TIMEOUT,
        lease_until: now + FIRST_LEASE_TTL,
        attempts: attempts.saturating_add(1),
    };
    let life = Life { state, epoch: life.epoch.next(), ..life.clone() };
    Some(with_step(life, StepProgress { step: Step::Runner, since: now, detail: None }))
}

fn start(now: OffsetDateTime, mut life: Life) -> Life {
    if life.desired_state == DesiredState::Deleted {
        return life;
    }
    life.desired_state = DesiredState::Running;
    if life.state == State::AtRest {
        life.failure = None;
        return queue(now, life, None, 0);
    }
    // Queued, provisioning or running: nothing to do. Stopping: `finish_stop` queues it.
    life
}

fn stop(now: OffsetDateTime, mut life: Life) -> Life {
    if life.desired_state == DesiredState::Deleted {
        return life;
    }
    life.desired_state = DesiredState::Stopped;
    if matches!(life.state, State::Queued { .. }) { rest(life) } else { begin_stop(now, life) }
}

fn delete(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    if life.desired_state == DesiredState::Deleted {
        return (life, vec![]);
    }
    life.desired_state = DesiredState::Deleted;
    if life.is_placed() { (begin_stop(now, life), vec![]) } else { (rest(life), vec![Effect::Erase]) }
}

fn apply_runner_event(now: OffsetDateTime, mut life: Life, event: RunnerEvent) -> (Life, Vec<Effect>) {
    life.state.extend_lease(now + LEASE_TTL);
    match event {
        RunnerEvent::Alive => (life, vec![]),
        RunnerEvent::Step(progress) => (record_step(now, life, progress), vec![]),
        RunnerEvent::Ready(serving) => (serve(now, life, serving), vec![]),
        RunnerEvent::SnapshotCommitted(manifest) => (Life { head: Some(manifest), ..life }, vec![]),
        RunnerEvent::Stopped => finish_stop(now, life),
        RunnerEvent::Failed(failure) => end_placement(now, life, failure.bounded()),
    }
}

fn record_step(now: OffsetDateTime, life: Life, progress: StepProgress) -> Life {
    let step = progress.step;
    let life = with_step(
        life,
        StepProgress {
            detail: progress.detail.map(|detail| cut(detail, StepProgress::MAX_DETAIL)),
            // The runner's host may have another clock, and the page shows differences.
            since: progress.since.clamp(now - PERSIST_TIMEOUT, now),
            ..progress
        },
    );
    match step {
        Step::Freeze => stop_by_guest(now, life),
        Step::Upload | Step::Commit => persist(now, stop_by_guest(now, life)),
        _ => life,
    }
}

/// A runner that freezes although nobody asked for a stop: the guest powered itself off. It is not
/// started again.
fn stop_by_guest(now: OffsetDateTime, mut life: Life) -> Life {
    let is_up = matches!(life.state, State::Provisioning { .. } | State::Running { .. });
    if is_up && life.desired_state == DesiredState::Running {
        life.desired_state = DesiredState::Stopped;
    }
    begin_stop(now, life)
}

fn serve(now: OffsetDateTime, mut life: Life, serving: Serving) -> Life {
    let State::Provisioning { lease_until, .. } = life.state else { return life };
    let serving = Serving {
        front: cut(serving.front, MAX_FRONT_BYTES),
        accelerator: cut(serving.accelerator, MAX_ACCELERATOR_BYTES),
    };
    life.state = State::Running { lease_until, serving };
    life.failure = None;
    with_step(life, StepProgress { step: Step::Ready, since: now, detail: None })
}

/// The runner has ended in order.
fn finish_stop(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    if life.desired_state == DesiredState::Deleted {
        return (rest(life), vec![Effect::Erase]);
    }
    life.failure = None;
    let was_stopping = matches!(life.state, State::Stopping { .. } | State::Persisting { .. });
    if was_stopping && life.desired_state == DesiredState::Running {
        return (queue(now, life, None, 0), vec![]);
    }
    life.desired_state = DesiredState::Stopped;
    (rest(life), vec![])
}

/// Ends a placement that did not do what it should: a start is retried, anything else is over.
fn end_placement(now: OffsetDateTime, mut life: Life, failure: Failure) -> (Life, Vec<Effect>) {
    let end = Effect::EndRunner(life.epoch);
    if life.desired_state == DesiredState::Deleted {
        return (rest(life), vec![end, Effect::Erase]);
    }
    life.failure = Some(failure);
    if let State::Provisioning { attempts, .. } = life.state
        && life.desired_state == DesiredState::Running
        && attempts < MAX_ATTEMPTS
    {
        let not_before = now + RETRY_DELAY[usize::from(attempts)];
        return (queue(now, life, Some(not_before), attempts), vec![end]);
    }
    // A sandbox that failed while it ran has lost its processes: the owner decides whether to start
    // it again.
    life.desired_state = DesiredState::Stopped;
    (rest(life), vec![end])
}

fn recover(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    match (&life.state, life.desired_state) {
        (State::AtRest, _) => (life, vec![]),
        (_, DesiredState::Deleted) => (rest(life), vec![Effect::Erase]),
        // The time in which no controller ran does not count.
        (State::Queued { attempts, .. }, _) => {
            let attempts = *attempts;
            (queue(now, life, None, attempts), vec![])
        }
        (State::Provisioning { .. }, DesiredState::Running) => (queue(now, life, None, 0), vec![]),
        _ => {
            life.desired_state = DesiredState::Stopped;
            life.failure = None;
            let detail = "The sandbox ended with the server. The home is kept up to its last flush.";
            let step = StepProgress { step: Step::Remove, since: now, detail: Some(detail.to_owned()) };
            (with_step(rest(life), step), vec![])
        }
    }
}

fn tick(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    if life.due().is_none_or(|due| now < due) {
        return (life, vec![]);
    }
    if matches!(life.state, State::Queued { .. }) {
        life.desired_state = DesiredState::Stopped;
        life.failure = Some(Failure {
            step: Step::Queue,
            cause: "There was no room for another workspace for an hour.".to_owned(),
            action: "Stop another workspace, or try again later.".to_owned(),
            log: vec![],
        });
        return (rest(life), vec![]);
    }
    let is_silent = life.state.lease_until().is_some_and(|lease| now >= lease);
    let cause =
        if is_silent { "The runner stopped responding." } else { "It took too long and was cancelled." };
    let failure = describe_loss(&life, cause);
    end_placement(now, life, failure)
}

fn describe_loss(life: &Life, cause: &str) -> Failure {
    let step = life.steps.last().map_or(Step::Runner, |progress| progress.step);
    let action = match life.state {
        State::Provisioning { .. } => {
            "Start the workspace again. If it fails again, ask the operator of this server for its log."
        }
        State::Stopping { .. } | State::Persisting { .. } => {
            "The home is kept on this server up to its last flush. Start \
                and stop the workspace again to upload it."
        }
        _ => "The home is kept up to its last flush. Start the workspace again.",
    };
    Failure { step, cause: cause.to_owned(), action: action.to_owned(), log: vec![] }
}

fn queue(now: OffsetDateTime, life: Life, not_before: Option<OffsetDateTime>, attempts: u8) -> Life {
    let steps = vec![StepProgress { step: Step::Queue, since: now, detail: None }];
    Life { state: State::Queued { deadline: now + QUEUE_TIMEOUT, not_before, attempts }, steps, ..life }
}

/// Begins the stop of a workspace that starts or runs. Others stay as they are.
fn begin_stop(now: OffsetDateTime, mut life: Life) -> Life {
    let (lease_until, serving) = match life.state {
        State::Provisioning { lease_until, .. } => (lease_until, None),
        State::Running { lease_until, serving } => (lease_until, Some(serving)),
        state => return Life { state, ..life },
    };
    life.state = State::Stopping { deadline: now + STOP_TIMEOUT, lease_until, serving };
    if life.steps.last().is_none_or(|last| last.step != Step::Freeze) {
        life.steps = vec![StepProgress { step: Step::Freeze, since: now, detail: None }];
    }
    life
}

fn persist(now: OffsetDateTime, life: Life) -> Life {
    let state = match life.state {
        State::Stopping { lease_until, serving, .. } => {
            State::Persisting { deadline: now + PERSIST_TIMEOUT, lease_until, serving }
        }
        state => state,
    };
    Life { state, ..life }
}

fn rest(life: Life) -> Life {
    Life { state: State::AtRest, steps: vec![], ..life }
}

/// Adds a step. For one that is there already only the detail changes, not the time at which it
/// began.
fn with_step(mut life: Life, progress: StepProgress) -> Life {
    match life.steps.iter_mut().find(|known| known.step == progress.step) {
        Some(known) => known.detail = progress.detail,
        None => life.steps.push(progress),
    }
    life.steps.truncate(MAX_STEPS);
    life
}
