//! Walks every history of up to seven events, from rest and from a running workspace, and checks
//! after each event what must always hold.

use std::collections::{HashSet, VecDeque};

use super::*;

const DEPTH: usize = 8;
const EPOCH_ZERO: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// A life with its clock, and what the outside remembers of it to compare with.
#[derive(Clone)]
struct World {
    now: OffsetDateTime,
    life: Life,
    /// Snapshots that were committed, in order.
    committed: Vec<ManifestId>,
    /// Whether the workspace was erased.
    is_erased: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Input {
    Start,
    Stop,
    Delete,
    Place,
    /// A report of the present runner.
    Report(Reported),
    /// A report of the runner before.
    OldReport(Reported),
    LaunchFailed,
    Exited,
    OldExited,
    Restarted,
    /// Time passes to just before the next deadline, or to it.
    AlmostDue,
    Due,
}

#[derive(Clone, Copy, Debug)]
enum Reported {
    Alive,
    Freeze,
    Upload,
    Volume,
    Ready,
    Snapshot,
    Stopped,
    Failed,
}

const REPORTED: [Reported; 8] = [
    Reported::Alive,
    Reported::Freeze,
    Reported::Upload,
    Reported::Volume,
    Reported::Ready,
    Reported::Snapshot,
    Reported::Stopped,
    Reported::Failed,
];

fn alphabet() -> Vec<Input> {
    use Input as I;
    let plain = [
        I::Start,
        I::Stop,
        I::Delete,
        I::Place,
        I::LaunchFailed,
        I::Exited,
        I::OldExited,
        I::Restarted,
        I::AlmostDue,
        I::Due,
    ];
    plain.into_iter().chain(REPORTED.map(I::Report)).chain(REPORTED.map(I::OldReport)).collect()
}

fn runner_event(world: &World, reported: Reported) -> RunnerEvent {
    let step = |step| RunnerEvent::Step(StepProgress { step, since: world.now, detail: None });
    match reported {
        Reported::Alive => RunnerEvent::Alive,
        Reported::Freeze => step(Step::Freeze),
        Reported::Upload => step(Step::Upload),
        Reported::Volume => step(Step::Volume),
        Reported::Ready => RunnerEvent::Ready(Serving { front: "/front".into(), accelerator: "tcg".into() }),
        // Each snapshot is new: reports of committed ones cause no event.
        Reported::Snapshot => {
            let mut name = [0; 32];
            name[0] = world.committed.len() as u8 + 1;
            RunnerEvent::SnapshotCommitted(ManifestId(name))
        }
        Reported::Stopped => RunnerEvent::Stopped,
        Reported::Failed => RunnerEvent::Failed(failure()),
    }
}

fn failure() -> Failure {
    Failure { step: Step::Sandbox, cause: "no".into(), action: "try".into(), log: vec![] }
}

/// The event of an input. None for a placement, which is not an event.
fn event(world: &mut World, input: Input) -> Option<Event> {
    let old_epoch = Epoch(world.life.epoch.0.wrapping_sub(1));
    Some(match input {
        Input::Start => Event::Start,
        Input::Stop => Event::Stop,
        Input::Delete => Event::Delete,
        Input::Place => return None,
        Input::Report(reported) => Event::Runner(world.life.epoch, runner_event(world, reported)),
        Input::OldReport(reported) => Event::Runner(old_epoch, runner_event(world, reported)),
        Input::LaunchFailed => Event::LaunchFailed(world.life.epoch, failure()),
        Input::Exited => Event::RunnerExited(world.life.epoch),
        Input::OldExited => Event::RunnerExited(old_epoch),
        Input::Restarted => Event::ControllerRestarted,
        Input::AlmostDue => {
            let due = world.life.due().unwrap_or(world.now + Duration::hours(1));
            world.now = world.now.max(due - Duration::milliseconds(1));
            Event::Tick
        }
        Input::Due => {
            world.now = world.now.max(world.life.due().unwrap_or(world.now + Duration::hours(1)));
            Event::Tick
        }
    })
}

fn advance(mut world: World, input: Input) -> World {
    let before = world.life.clone();
    let Some(event) = event(&mut world, input) else {
        if let Some(placed) = place(world.now, &before) {
            check_placement(&before, &placed);
            check_state(&world, &before, &placed, &[]);
            world.life = placed;
        }
        return world;
    };
    // The controller commits a snapshot only for the runner that it accepts.
    if let Event::Runner(epoch, RunnerEvent::SnapshotCommitted(manifest)) = event
        && before.accepts(epoch)
    {
        world.committed.push(manifest);
    }
    let (life, effects) = apply(world.now, before.clone(), event.clone());
    check(&world, &before, &event, &life, &effects);
    world.is_erased |= effects.contains(&Effect::Erase);
    world.life = life;
    world
}

fn check_placement(before: &Life, after: &Life) {
    let context = || format!("before {before:?}\nafter {after:?}");
    assert_eq!(before.phase(), Phase::Queued, "{}", context());
    assert_eq!(after.phase(), Phase::Provisioning, "{}", context());
    assert_eq!(after.epoch, before.epoch.next(), "{}", context());
    assert_eq!(after.head, before.head, "{}", context());
    assert_eq!(after.desired_state, before.desired_state, "{}", context());
}

/// What holds after every event.
fn check(world: &World, before: &Life, event: &Event, after: &Life, effects: &[Effect]) {
    let context = || format!("{event:?}\nbefore {before:?}\nafter {after:?}\neffects {effects:?}");

    // The epoch.
    assert_eq!(after.epoch, before.epoch, "the epoch grew without a placement: {}", context());

    // The fence.
    if let Event::Runner(epoch, _) | Event::LaunchFailed(epoch, _) | Event::RunnerExited(epoch) = event
        && !before.accepts(*epoch)
    {
        assert_eq!((after, effects), (before, &[][..]), "a fenced runner had an effect: {}", context());
    }

    // The head.
    if after.head != before.head {
        let Event::Runner(epoch, RunnerEvent::SnapshotCommitted(manifest)) = event else {
            panic!("the head changed without a snapshot: {}", context())
        };
        assert_eq!((*epoch, after.head), (before.epoch, Some(*manifest)), "{}", context());
    }
    assert_eq!(after.head, world.committed.last().copied(), "a committed snapshot was lost: {}", context());

    // Deadlines.
    if *event == Event::Tick && before.due().is_some_and(|due| world.now >= due) {
        assert_ne!(after.phase(), before.phase(), "a deadline passed without effect: {}", context());
    }

    // The end of a placement.
    if before.is_placed() && !after.is_placed() {
        let has_ended = matches!(event, Event::Runner(_, RunnerEvent::Stopped) | Event::ControllerRestarted);
        assert!(
            has_ended || effects.contains(&Effect::EndRunner(before.epoch)),
            "a runner is left: {}",
            context()
        );
    }

    // Deletion.
    if effects.contains(&Effect::Erase) {
        assert!(!world.is_erased, "erased twice: {}", context());
        let end = (after.phase(), after.desired_state);
        assert_eq!(end, (Phase::Terminated, DesiredState::Deleted), "{}", context());
    }
    if *event == Event::Stop && before.desired_state != DesiredState::Deleted {
        assert_eq!(after.desired_state, DesiredState::Stopped, "{}", context());
    }
    check_state(world, before, after, effects);
}

/// What holds in every state, whatever led to it.
fn check_state(world: &World, before: &Life, after: &Life, effects: &[Effect]) {
    let context = || format!("before {before:?}\nafter {after:?}\neffects {effects:?}");

    // Deadlines.
    match after.phase() {
        Phase::Terminated => assert_eq!(after.due(), None, "{}", context()),
        Phase::Running => assert!(after.state.lease_until().is_some(), "{}", context()),
        _ => assert!(after.state.deadline().is_some(), "a wait without end: {}", context()),
    }
    if let Some(due) = after.due() {
        assert!(due > world.now, "overdue after an event: {}", context());
    }

    // Streams are served while it runs, and never without a runner.
    assert!(after.state.serving().is_some() || after.phase() != Phase::Running, "{}", context());
    assert!(after.state.serving().is_none() || after.is_placed(), "{}", context());

    // Deletion.
    if before.desired_state == DesiredState::Deleted {
        assert_eq!(after.desired_state, DesiredState::Deleted, "{}", context());
        assert_ne!(after.phase(), Phase::Queued, "{}", context());
    }
    if after.desired_state == DesiredState::Deleted && after.phase() == Phase::Terminated {
        assert!(world.is_erased || effects.contains(&Effect::Erase), "deleted, not erased: {}", context());
    }
    if world.is_erased {
        assert_eq!(after, before, "changed after its deletion: {}", context());
    }

    // What users see.
    assert!(after.steps.len() <= MAX_STEPS && after.state.attempts() <= MAX_ATTEMPTS, "{}", context());
    if after.phase() == Phase::Running {
        assert_eq!(after.failure, None, "{}", context());
    }
    if after.phase() == Phase::Queued {
        assert_eq!(after.desired_state, DesiredState::Running, "{}", context());
    }
}

/// The world without what does not matter for the future: absolute times and names of snapshots.
fn key(world: &World) -> String {
    let since = |time: Option<OffsetDateTime>| time.map(|time| (time - world.now).whole_milliseconds());
    let life = &world.life;
    let steps: Vec<Step> = life.steps.iter().map(|progress| progress.step).collect();
    format!(
        "{:?} {:?} {} {:?} {:?} {:?} {} {:?} {} {} {}",
        life.phase(),
        life.desired_state,
        life.epoch.0.min(2),
        since(life.state.deadline()),
        since(life.state.lease_until()),
        since(life.state.not_before()),
        life.state.attempts(),
        steps,
        life.failure.is_some(),
        world.committed.len().min(2),
        world.is_erased,
    )
}

#[test]
fn every_history_keeps_invariants() {
    let initial =
        World { now: EPOCH_ZERO + Duration::days(1), life: Life::new(), committed: vec![], is_erased: false };
    let (_, running) = running(initial.clone());
    let alphabet = alphabet();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([(0, initial), (0, running)]);
    let mut histories = 0_u64;
    while let Some((depth, world)) = queue.pop_front() {
        if !seen.insert(key(&world)) || depth == DEPTH {
            continue;
        }
        for input in &alphabet {
            histories += 1;
            queue.push_back((depth + 1, advance(world.clone(), *input)));
        }
    }
    println!("{} states, {histories} steps", seen.len());
    assert!(seen.len() > 500, "the walk found few states: {}", seen.len());
}

fn running(world: World) -> (Epoch, World) {
    let inputs = [Input::Start, Input::Place, Input::Report(Reported::Ready)];
    let world = inputs.into_iter().fold(world, advance);
    assert_eq!(world.life.phase(), Phase::Running);
    (world.life.epoch, world)
}

fn after(inputs: &[Input]) -> World {
    let world = World { now: EPOCH_ZERO, life: Life::new(), committed: vec![], is_erased: false };
    inputs.iter().copied().fold(world, advance)
}

#[test]
fn stop_passes_all_phases() {
    use Input as I;
    let inputs = [I::Start, I::Place, I::Report(Reported::Ready), I::Stop];
    let world = after(&inputs);
    assert_eq!((world.life.phase(), world.life.command()), (Phase::Stopping, Command::Stop));
    let world = advance(world, I::Report(Reported::Freeze));
    let world = advance(world, I::Report(Reported::Upload));
    assert_eq!(world.life.phase(), Phase::Persisting);
    let world = advance(world, I::Report(Reported::Snapshot));
    let world = advance(world, I::Report(Reported::Stopped));
    assert_eq!((world.life.phase(), world.committed.len()), (Phase::Terminated, 1));
    assert_eq!(world.life.failure, None);
}

#[test]
fn failed_start_is_retried_then_reported() {
    use Input as I;
    let mut world = after(&[I::Start]);
    for attempt in 1..=MAX_ATTEMPTS {
        world.now = world.life.state.not_before().unwrap_or(world.now);
        world = advance(world, I::Place);
        assert_eq!(world.life.state.attempts(), attempt);
        world = advance(world, I::Exited);
        assert!(world.life.failure.is_some());
    }
    assert_eq!((world.life.phase(), world.life.epoch), (Phase::Terminated, Epoch(3)));
}

#[test]
fn start_during_stop_follows_it() {
    use Input as I;
    let inputs = [I::Start, I::Place, I::Report(Reported::Ready), I::Stop, I::Start];
    let world = after(&inputs);
    assert_eq!((world.life.phase(), world.life.command()), (Phase::Stopping, Command::Stop));
    assert_eq!(advance(world, I::Report(Reported::Stopped)).life.phase(), Phase::Queued);
}

#[test]
fn powered_off_guest_stays_off() {
    use Input as I;
    let inputs = [
        I::Start,
        I::Place,
        I::Report(Reported::Ready),
        I::Report(Reported::Freeze),
        I::Report(Reported::Stopped),
    ];
    let life = after(&inputs).life;
    assert_eq!(
        (life.phase(), life.desired_state, life.failure),
        (Phase::Terminated, DesiredState::Stopped, None)
    );
}
