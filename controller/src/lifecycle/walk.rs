//! Every history of up to seven events, from every beginning that matters: what must always hold is checked after each.

use std::collections::{HashSet, VecDeque};

use super::*;

const DEPTH: usize = 8;
const EPOCH_ZERO: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// A world: the life, the clock, and what the outside remembers to compare with.
#[derive(Clone)]
struct World {
    now: OffsetDateTime,
    life: Life,
    /// Snapshots whose commit was caused, by order.
    committed: Vec<ManifestId>,
    erased: bool,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Start,
    Stop,
    Delete,
    Place,
    Present(Said),
    /// The same, said by the runner before.
    Past(Said),
    Gone,
    PastGone,
    Restarted,
    /// Time goes on to just before what is due next, or to it.
    AlmostDue,
    Due,
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Alive,
    Freeze,
    Upload,
    Volume,
    Ready,
    Snapshot,
    Stopped,
    Failed,
}

const SAID: [Said; 8] = [
    Said::Alive,
    Said::Freeze,
    Said::Upload,
    Said::Volume,
    Said::Ready,
    Said::Snapshot,
    Said::Stopped,
    Said::Failed,
];

fn alphabet() -> Vec<Happening> {
    use Happening as H;
    let plain =
        [H::Start, H::Stop, H::Delete, H::Place, H::Gone, H::PastGone, H::Restarted, H::AlmostDue, H::Due];
    plain.into_iter().chain(SAID.map(H::Present)).chain(SAID.map(H::Past)).collect()
}

fn word(world: &World, said: Said) -> Word {
    let step = |step| Word::Step(StepProgress { step, since: world.now, detail: None });
    match said {
        Said::Alive => Word::Alive,
        Said::Freeze => step(Step::Freeze),
        Said::Upload => step(Step::Upload),
        Said::Volume => step(Step::Volume),
        Said::Ready => Word::Ready(Serving { front: "/front".into(), accelerator: "tcg".into() }),
        // Each snapshot is new; the shell filters those that are committed already.
        Said::Snapshot => {
            let mut name = [0; 32];
            name[0] = world.committed.len() as u8 + 1;
            Word::Snapshot(ManifestId(name))
        }
        Said::Stopped => Word::Stopped,
        Said::Failed => Word::Failed(Failure {
            step: Step::Sandbox,
            cause: "no".into(),
            action: "try".into(),
            log: vec![],
        }),
    }
}

fn event(world: &mut World, happening: Happening) -> Event {
    let past = Epoch(world.life.epoch.0.wrapping_sub(1));
    match happening {
        Happening::Start => Event::Start,
        Happening::Stop => Event::Stop,
        Happening::Delete => Event::Delete,
        Happening::Place => Event::Place,
        Happening::Present(said) => Event::Runner(world.life.epoch, word(world, said)),
        Happening::Past(said) => Event::Runner(past, word(world, said)),
        Happening::Gone => Event::Gone(world.life.epoch),
        Happening::PastGone => Event::Gone(past),
        Happening::Restarted => Event::Restarted,
        Happening::AlmostDue => {
            let due = world.life.due().unwrap_or(world.now + Duration::hours(1));
            world.now = world.now.max(due - Duration::milliseconds(1));
            Event::Tick
        }
        Happening::Due => {
            world.now = world.now.max(world.life.due().unwrap_or(world.now + Duration::hours(1)));
            Event::Tick
        }
    }
}

fn advance(mut world: World, happening: Happening) -> World {
    let event = event(&mut world, happening);
    let before = world.life.clone();
    let (life, effects) = step(world.now, before.clone(), event.clone());
    check(&world, &before, &event, &life, &effects);
    for effect in effects {
        match effect {
            Effect::Commit(manifest) => world.committed.push(manifest),
            Effect::Erase => world.erased = true,
            Effect::Launch(_) | Effect::Kill(_) => {}
        }
    }
    world.life = life;
    world
}

fn check(world: &World, before: &Life, event: &Event, after: &Life, effects: &[Effect]) {
    let told = || format!("{event:?}\nbefore {before:?}\nafter {after:?}\neffects {effects:?}");

    // The epoch.
    let placed = effects.iter().any(|effect| matches!(effect, Effect::Launch(_)));
    let expected = if placed { before.epoch.next() } else { before.epoch };
    assert_eq!(after.epoch, expected, "the epoch grows with a placement only: {}", told());
    if placed {
        assert_eq!(*event, Event::Place, "{}", told());
        assert_eq!(before.phase, Phase::Queued, "{}", told());
        assert_eq!(effects, [Effect::Launch(after.epoch)], "{}", told());
    }

    // The fence.
    if let Event::Runner(epoch, _) | Event::Gone(epoch) = event
        && !before.hears(*epoch)
    {
        assert_eq!((after, effects), (before, &[][..]), "a fenced runner was heard: {}", told());
    }

    // The head.
    if after.head != before.head {
        let Event::Runner(epoch, Word::Snapshot(manifest)) = event else {
            panic!("the head changed without a snapshot: {}", told())
        };
        assert_eq!((*epoch, after.head), (before.epoch, Some(*manifest)), "{}", told());
        assert!(effects.contains(&Effect::Commit(*manifest)), "{}", told());
    }
    assert!(after.head.is_some() >= before.head.is_some(), "a snapshot was forgotten: {}", told());
    if !matches!(event, Event::Runner(_, Word::Snapshot(_))) {
        assert_eq!(after.head, world.committed.last().copied(), "{}", told());
    }

    // Deadlines.
    match after.phase {
        Phase::Terminated => assert_eq!(after.due(), None, "{}", told()),
        Phase::Running => assert!(after.lease_until.is_some(), "{}", told()),
        _ => assert!(after.deadline.is_some(), "a wait without end: {}", told()),
    }
    if let Some(due) = after.due() {
        assert!(due > world.now, "overdue after a step: {}", told());
    }
    if *event == Event::Tick && before.due().is_some_and(|due| world.now >= due) {
        assert_ne!(after.phase, before.phase, "a deadline passed and nothing happened: {}", told());
    }

    // The end of a placement.
    if before.placed() && !after.placed() {
        let told_by_runner = matches!(event, Event::Runner(_, Word::Stopped) | Event::Restarted);
        assert!(
            told_by_runner || effects.contains(&Effect::Kill(before.epoch)),
            "a runner is left: {}",
            told()
        );
        assert_eq!(after.serving, None, "{}", told());
    }
    assert_eq!(
        after.serving.is_some() && after.phase == Phase::Running,
        after.phase == Phase::Running,
        "{}",
        told()
    );

    // Deletion.
    if before.wanted == Wanted::Deleted {
        assert_eq!(after.wanted, Wanted::Deleted, "{}", told());
        assert_ne!(after.phase, Phase::Queued, "{}", told());
    }
    if effects.contains(&Effect::Erase) {
        assert!(!world.erased, "erased twice: {}", told());
        assert_eq!((after.phase, after.wanted), (Phase::Terminated, Wanted::Deleted), "{}", told());
    }
    if after.wanted == Wanted::Deleted && after.phase == Phase::Terminated {
        assert!(world.erased || effects.contains(&Effect::Erase), "deleted and not erased: {}", told());
    }
    if world.erased {
        assert_eq!(after, before, "the dead do not change: {}", told());
    }

    // What people see.
    assert!(after.steps.len() <= MAX_STEPS && after.attempts <= MAX_ATTEMPTS, "{}", told());
    if after.phase == Phase::Running {
        assert_eq!(after.failure, None, "{}", told());
    }
    if after.phase == Phase::Queued {
        assert_eq!(after.wanted, Wanted::Running, "{}", told());
    }
    if *event == Event::Stop && before.wanted != Wanted::Deleted {
        assert_eq!(after.wanted, Wanted::Stopped, "{}", told());
    }
}

/// The world without what cannot matter for the future: absolute time, names of snapshots.
fn key(world: &World) -> String {
    let since = |time: Option<OffsetDateTime>| time.map(|time| (time - world.now).whole_milliseconds());
    let life = &world.life;
    let steps: Vec<Step> = life.steps.iter().map(|progress| progress.step).collect();
    format!(
        "{:?} {:?} {} {:?} {:?} {:?} {} {:?} {} {} {}",
        life.phase,
        life.wanted,
        life.epoch.0.min(2),
        since(life.deadline),
        since(life.lease_until),
        since(life.not_before),
        life.attempts,
        steps,
        life.failure.is_some(),
        world.committed.len().min(2),
        world.erased,
    )
}

#[test]
fn every_history_keeps_the_promises() {
    let beginning =
        World { now: EPOCH_ZERO + Duration::days(1), life: Life::new(), committed: vec![], erased: false };
    let (_, running) = running(beginning.clone());
    let alphabet = alphabet();
    let mut seen = HashSet::new();
    let mut front = VecDeque::from([(0, beginning), (0, running)]);
    let mut histories = 0_u64;
    while let Some((depth, world)) = front.pop_front() {
        if !seen.insert(key(&world)) || depth == DEPTH {
            continue;
        }
        for happening in &alphabet {
            histories += 1;
            front.push_back((depth + 1, advance(world.clone(), *happening)));
        }
    }
    println!("{} states, {histories} steps", seen.len());
    assert!(seen.len() > 500, "the walk went nowhere: {}", seen.len());
}

fn running(world: World) -> (Epoch, World) {
    let way = [Happening::Start, Happening::Place, Happening::Present(Said::Ready)];
    let world = way.into_iter().fold(world, advance);
    assert_eq!(world.life.phase, Phase::Running);
    (world.life.epoch, world)
}

fn after(way: &[Happening]) -> World {
    let world = World { now: EPOCH_ZERO, life: Life::new(), committed: vec![], erased: false };
    way.iter().copied().fold(world, advance)
}

#[test]
fn a_stop_goes_through_all_phases() {
    use Happening as H;
    let way = [H::Start, H::Place, H::Present(Said::Ready), H::Stop];
    let world = after(&way);
    assert_eq!((world.life.phase, world.life.command()), (Phase::Stopping, Command::Stop));
    let world = advance(world, H::Present(Said::Freeze));
    let world = advance(world, H::Present(Said::Upload));
    assert_eq!(world.life.phase, Phase::Persisting);
    let world = advance(world, H::Present(Said::Snapshot));
    let world = advance(world, H::Present(Said::Stopped));
    assert_eq!((world.life.phase, world.committed.len()), (Phase::Terminated, 1));
    assert_eq!(world.life.failure, None);
}

#[test]
fn a_failed_start_is_tried_again_and_then_told() {
    use Happening as H;
    let mut world = after(&[H::Start]);
    for attempt in 1..=MAX_ATTEMPTS {
        world.now = world.life.not_before.unwrap_or(world.now);
        world = advance(world, H::Place);
        assert_eq!(world.life.attempts, attempt);
        world = advance(world, H::Gone);
        assert!(world.life.failure.is_some());
    }
    assert_eq!((world.life.phase, world.life.epoch), (Phase::Terminated, Epoch(3)));
}

#[test]
fn a_start_during_a_stop_follows_it() {
    use Happening as H;
    let way = [H::Start, H::Place, H::Present(Said::Ready), H::Stop, H::Start];
    let world = after(&way);
    assert_eq!((world.life.phase, world.life.command()), (Phase::Stopping, Command::Stop));
    assert_eq!(advance(world, H::Present(Said::Stopped)).life.phase, Phase::Queued);
}

#[test]
fn a_guest_that_powers_off_stays_off() {
    use Happening as H;
    let way =
        [H::Start, H::Place, H::Present(Said::Ready), H::Present(Said::Freeze), H::Present(Said::Stopped)];
    let life = after(&way).life;
    assert_eq!((life.phase, life.wanted, life.failure), (Phase::Terminated, Wanted::Stopped, None));
}
