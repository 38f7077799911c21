//! A workspace's life, as one pure function: [`step`].
//!
//! ```text
//!            Start              Place               Ready
//! Terminated ─────► Queued ───────────► Provisioning ────► Running
//!     ▲               ▲                  │      │             │ Stop
//!     │               └── again, later ──┘      ▼             ▼
//!     └──────────────── Persisting ◄──────── Stopping ◄───────┘
//! ```
//!
//! It knows no clock, no database and no process: time is an argument, and what is to be done comes back as [`Effect`]s.
//! What always holds (each has a check in the walk of all histories below):
//!
//! - the epoch grows by one with each placement and never otherwise;
//! - a report of another epoch, or of a placement that was given up, changes nothing and causes nothing;
//! - a committed snapshot stays the head until a newer one of the present epoch replaces it;
//! - every phase but rest has a deadline, and at its deadline it ends.

pub mod record;

use protocol::{
    Epoch, ManifestId,
    runner::Command,
    workspace::{Failure, Phase, Step, StepProgress, cut},
};
use time::{Duration, OffsetDateTime};

/// A turn that has not come in so long will hardly come: the person is told.
pub const QUEUE_TIMEOUT: Duration = Duration::hours(1);
/// Emulated, a cold boot with an empty cache takes up to two minutes on a busy machine.
pub const PROVISION_TIMEOUT: Duration = Duration::minutes(5);
/// The guest's freeze and last flush.
pub const STOP_TIMEOUT: Duration = Duration::minutes(2);
/// A first upload of a full home at 10 MiB/s takes 14 minutes. What is not done by then stays in the local cache.
pub const PERSIST_TIMEOUT: Duration = Duration::minutes(30);
/// How long a runner may be silent. It speaks at least every ten seconds.
pub const LEASE: Duration = Duration::seconds(30);
/// A runner's first word comes after its process has started and read its spec.
pub const FIRST_LEASE: Duration = Duration::seconds(60);
/// Starts that are tried before a person is asked.
pub const MAX_ATTEMPTS: u8 = 3;
/// Before the second attempt, the third …
const BACKOFF: [Duration; MAX_ATTEMPTS as usize] =
    [Duration::ZERO, Duration::seconds(1), Duration::seconds(5)];
/// A start and a stop have twelve steps; a retry begins anew.
pub const MAX_STEPS: usize = 24;
/// Longest name of a front.
const MAX_FRONT: usize = 200;
const MAX_ACCELERATOR: usize = 16;

/// What the owner last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    Running,
    Stopped,
    Deleted,
}

/// Where a running machine takes streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serving {
    pub front: String,
    pub accelerator: String,
}

/// The life so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub phase: Phase,
    pub epoch: Epoch,
    pub wanted: Wanted,
    /// When the present phase is over at the latest. A running machine has none: its lease is its deadline.
    pub deadline: Option<OffsetDateTime>,
    /// Until when the runner's last word counts.
    pub lease_until: Option<OffsetDateTime>,
    /// While queued after a failed attempt: not earlier than this.
    pub not_before: Option<OffsetDateTime>,
    /// Placements of the present start.
    pub attempts: u8,
    pub steps: Vec<StepProgress>,
    pub failure: Option<Failure>,
    pub serving: Option<Serving>,
    pub head: Option<ManifestId>,
}

impl Life {
    /// A new workspace, at rest.
    pub fn new() -> Self {
        Self {
            phase: Phase::Terminated,
            epoch: Epoch::default(),
            wanted: Wanted::Stopped,
            deadline: None,
            lease_until: None,
            not_before: None,
            attempts: 0,
            steps: Vec::new(),
            failure: None,
            serving: None,
            head: None,
        }
    }

    /// Whether a runner of the present epoch exists, or should.
    pub fn placed(&self) -> bool {
        !matches!(self.phase, Phase::Queued | Phase::Terminated)
    }

    /// What the runner of the present epoch is to do.
    pub fn command(&self) -> Command {
        match (self.wanted, self.phase) {
            (Wanted::Deleted, _) => Command::Discard,
            // A start that is asked for while the last machine stops begins after that stop.
            (Wanted::Running, Phase::Provisioning | Phase::Running) => Command::Run,
            _ => Command::Stop,
        }
    }

    /// When something is overdue.
    pub fn due(&self) -> Option<OffsetDateTime> {
        [self.deadline, self.lease_until].into_iter().flatten().min()
    }

    /// Whether a runner of `epoch` is listened to.
    pub fn hears(&self, epoch: Epoch) -> bool {
        self.placed() && self.epoch == epoch
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The owner asks.
    Start,
    Stop,
    Delete,
    /// The queue gives the workspace its turn.
    Place,
    /// The runner of this epoch spoke.
    Runner(Epoch, Word),
    /// The runner's process is not there any more; it said no last word.
    Gone(Epoch),
    /// The controller is new, and this placement's runner ended with the old one.
    Restarted,
    /// Time has passed.
    Tick,
}

/// What a runner says, as far as the life depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Anything at all: it lives.
    Alive,
    Step(StepProgress),
    Ready(Serving),
    /// A complete snapshot that is not committed yet.
    Snapshot(ManifestId),
    Stopped,
    Failed(Failure),
}

/// What is to be done about it, besides writing the life down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a runner of this epoch.
    Launch(Epoch),
    /// End the runner of this epoch, whatever it is doing.
    Kill(Epoch),
    /// Write the snapshot's row, in the same transaction as the life.
    Commit(ManifestId),
    /// The workspace is deleted: nothing runs, the name is free.
    Erase,
}

/// The next life, and what is to be done.
pub fn step(now: OffsetDateTime, life: Life, event: Event) -> (Life, Vec<Effect>) {
    match event {
        Event::Start => (start(now, life), vec![]),
        Event::Stop => (stop(now, life), vec![]),
        Event::Delete => delete(now, life),
        Event::Place => place(now, life),
        Event::Runner(epoch, word) if life.hears(epoch) => heard(now, life, word),
        Event::Gone(epoch) if life.hears(epoch) => {
            let failure = vanished(&life, "The machine's process ended without a word.");
            lost(now, life, failure)
        }
        Event::Restarted => restarted(now, life),
        Event::Tick => tick(now, life),
        Event::Runner(..) | Event::Gone(_) => (life, vec![]),
    }
}

fn start(now: OffsetDateTime, mut life: Life) -> Life {
    if life.wanted == Wanted::Deleted {
        return life;
    }
    life.wanted = Wanted::Running;
    if life.phase == Phase::Terminated {
        life.failure = None;
        life.attempts = 0;
        return queued(now, life, None);
    }
    // Queued, starting, running: nothing to do. Stopping: goes on when the stop is done.
    life
}

fn stop(now: OffsetDateTime, mut life: Life) -> Life {
    if life.wanted == Wanted::Deleted {
        return life;
    }
    life.wanted = Wanted::Stopped;
    match life.phase {
        Phase::Queued => rest(life),
        Phase::Provisioning | Phase::Running => stopping(now, life),
        Phase::Stopping | Phase::Persisting | Phase::Terminated => life,
    }
}

fn delete(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    if life.wanted == Wanted::Deleted {
        return (life, vec![]);
    }
    life.wanted = Wanted::Deleted;
    match life.phase {
        Phase::Queued | Phase::Terminated => (rest(life), vec![Effect::Erase]),
        Phase::Provisioning | Phase::Running => (stopping(now, life), vec![]),
        Phase::Stopping | Phase::Persisting => (life, vec![]),
    }
}

fn place(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    let early = life.not_before.is_some_and(|time| now < time);
    if life.phase != Phase::Queued || early {
        return (life, vec![]);
    }
    life.phase = Phase::Provisioning;
    life.epoch = life.epoch.next();
    life.attempts = life.attempts.saturating_add(1);
    life.deadline = Some(now + PROVISION_TIMEOUT);
    life.lease_until = Some(now + FIRST_LEASE);
    life.not_before = None;
    let life = with_step(life, StepProgress { step: Step::Runner, since: now, detail: None });
    let epoch = life.epoch;
    (life, vec![Effect::Launch(epoch)])
}

fn heard(now: OffsetDateTime, mut life: Life, word: Word) -> (Life, Vec<Effect>) {
    life.lease_until = Some((now + LEASE).max(life.lease_until.unwrap_or(now)));
    match word {
        Word::Alive => (life, vec![]),
        Word::Step(progress) => (stepped(now, life, progress), vec![]),
        Word::Ready(serving) => (ready(now, life, serving), vec![]),
        Word::Snapshot(manifest) => {
            life.head = Some(manifest);
            (life, vec![Effect::Commit(manifest)])
        }
        Word::Stopped => ended(now, life),
        Word::Failed(failure) => lost(now, life, failure.bounded()),
    }
}

fn stepped(now: OffsetDateTime, life: Life, progress: StepProgress) -> Life {
    let step = progress.step;
    let life = with_step(
        life,
        StepProgress {
            detail: progress.detail.map(|detail| cut(detail, StepProgress::MAX_DETAIL)),
            // A guest's host may have another clock; the page shows differences.
            since: progress.since.clamp(now - PERSIST_TIMEOUT, now),
            ..progress
        },
    );
    match step {
        Step::Freeze => ending(now, life),
        Step::Upload | Step::Commit => {
            let life = ending(now, life);
            if life.phase == Phase::Stopping { persisting(now, life) } else { life }
        }
        _ => life,
    }
}

/// A machine that goes down by itself (`poweroff` in the guest) is a stop that nobody asked for; it is not started again.
fn ending(now: OffsetDateTime, mut life: Life) -> Life {
    if !matches!(life.phase, Phase::Provisioning | Phase::Running) {
        return life;
    }
    if life.wanted == Wanted::Running {
        life.wanted = Wanted::Stopped;
    }
    stopping(now, life)
}

fn ready(now: OffsetDateTime, mut life: Life, serving: Serving) -> Life {
    if life.phase != Phase::Provisioning {
        return life;
    }
    life.phase = Phase::Running;
    life.deadline = None;
    life.failure = None;
    life.attempts = 0;
    life.serving = Some(Serving {
        front: cut(serving.front, MAX_FRONT),
        accelerator: cut(serving.accelerator, MAX_ACCELERATOR),
    });
    with_step(life, StepProgress { step: Step::Ready, since: now, detail: None })
}

/// The runner's own end, orderly.
fn ended(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    match (life.phase, life.wanted) {
        (_, Wanted::Deleted) => (rest(life), vec![Effect::Erase]),
        (Phase::Stopping | Phase::Persisting, Wanted::Running) => {
            life.attempts = 0;
            life.failure = None;
            (queued(now, life, None), vec![])
        }
        _ => {
            life.wanted = Wanted::Stopped;
            life.failure = None;
            (rest(life), vec![])
        }
    }
}

/// The placement is over and did not do what it should. The runner is gone, or is to be treated so.
fn lost(now: OffsetDateTime, mut life: Life, failure: Failure) -> (Life, Vec<Effect>) {
    let kill = Effect::Kill(life.epoch);
    if life.wanted == Wanted::Deleted {
        return (rest(life), vec![kill, Effect::Erase]);
    }
    life.failure = Some(failure);
    let starting = life.phase == Phase::Provisioning && life.wanted == Wanted::Running;
    if starting && life.attempts < MAX_ATTEMPTS {
        let pause = BACKOFF[usize::from(life.attempts)];
        return (queued(now, life, Some(now + pause)), vec![kill]);
    }
    // A machine that broke while it ran has lost its processes: whether to go on is the person's choice.
    life.wanted = Wanted::Stopped;
    (rest(life), vec![kill])
}

fn restarted(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    match (life.phase, life.wanted) {
        (Phase::Terminated, _) => (life, vec![]),
        (_, Wanted::Deleted) => (rest(life), vec![Effect::Erase]),
        // Nobody waits less because the controller was away.
        (Phase::Queued, _) => (queued(now, life, None), vec![]),
        (Phase::Provisioning, Wanted::Running) => {
            life.attempts = 0;
            (queued(now, life, None), vec![])
        }
        _ => {
            life.wanted = Wanted::Stopped;
            life.failure = None;
            let note = "The machine went away with the server. The home up to its last flush is kept.";
            let step = StepProgress { step: Step::Remove, since: now, detail: Some(note.to_owned()) };
            (with_step(rest(life), step), vec![])
        }
    }
}

fn tick(now: OffsetDateTime, mut life: Life) -> (Life, Vec<Effect>) {
    if life.due().is_none_or(|due| now < due) {
        return (life, vec![]);
    }
    if life.phase == Phase::Queued {
        life.wanted = Wanted::Stopped;
        life.failure = Some(Failure {
            step: Step::Queue,
            cause: "There was no room for another machine for an hour.".to_owned(),
            action: "Stop another workspace, or try again later.".to_owned(),
            log: vec![],
        });
        return (rest(life), vec![]);
    }
    let silent = life.lease_until.is_some_and(|lease| now >= lease);
    let failure = if silent {
        vanished(&life, "The machine's runner did not answer any more.")
    } else {
        vanished(&life, "It took too long and was ended.")
    };
    lost(now, life, failure)
}

fn vanished(life: &Life, cause: &str) -> Failure {
    let step = life.steps.last().map_or(Step::Runner, |progress| progress.step);
    let action = match life.phase {
        Phase::Provisioning => "Start it again; if it fails again, ask whoever runs this server for its log.",
        Phase::Stopping | Phase::Persisting => {
            "The home is kept on this server up to its last flush. Start and stop it again to save it to the store."
        }
        _ => "The home up to its last flush is kept. Start it again.",
    };
    Failure { step, cause: cause.to_owned(), action: action.to_owned(), log: vec![] }
}

fn queued(now: OffsetDateTime, life: Life, not_before: Option<OffsetDateTime>) -> Life {
    let step = StepProgress { step: Step::Queue, since: now, detail: None };
    Life {
        phase: Phase::Queued,
        deadline: Some(now + QUEUE_TIMEOUT),
        not_before,
        lease_until: None,
        serving: None,
        steps: vec![step],
        ..life
    }
}

fn stopping(now: OffsetDateTime, mut life: Life) -> Life {
    life.phase = Phase::Stopping;
    life.deadline = Some(now + STOP_TIMEOUT);
    if life.steps.last().is_none_or(|last| last.step != Step::Freeze) {
        life.steps = vec![StepProgress { step: Step::Freeze, since: now, detail: None }];
    }
    life
}

fn persisting(now: OffsetDateTime, life: Life) -> Life {
    Life { phase: Phase::Persisting, deadline: Some(now + PERSIST_TIMEOUT), ..life }
}

fn rest(life: Life) -> Life {
    Life {
        phase: Phase::Terminated,
        deadline: None,
        lease_until: None,
        not_before: None,
        serving: None,
        attempts: 0,
        steps: vec![],
        ..life
    }
}

/// The same step again is news of it: its detail changes, its beginning does not.
fn with_step(mut life: Life, progress: StepProgress) -> Life {
    match life.steps.iter_mut().find(|known| known.step == progress.step) {
        Some(known) => known.detail = progress.detail,
        None => life.steps.push(progress),
    }
    life.steps.truncate(MAX_STEPS);
    life
}

#[cfg(test)]
mod walk;
