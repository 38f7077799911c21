//! How automatic snapshots thin out: pure.
//!
//! Age decides the step: every snapshot, then one a minute, one an hour, one a day, then none. The newest of each minute, hour
//! or day stands for it. As an hour's newest is also the newest of its minute, what a later step needs is never dropped by an
//! earlier one: to thin out often or once, late, leaves the same.

use std::collections::HashMap;

use protocol::api::snapshot::Retention;
use time::{Duration, OffsetDateTime};

/// Longest time that a snapshot is kept by rule: ten years.
pub const MAX_HOURS: u32 = 10 * 366 * 24;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A snapshot, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    pub at: OffsetDateTime,
    pub kept: Kept,
}

/// What speaks for keeping a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A person named it or asked for it. It stands for no step: when the person deletes it, no hour is without its own.
    Chosen,
    /// The head, or the newest. Stays whatever its age; stands for its step as others do.
    Needed,
    ByRule,
}

/// Whether hours can be a tenant's retention: a while of everything, and no step shorter than the one before.
pub fn is_sound(policy: &Retention) -> bool {
    let steps =
        [1, policy.all_hours, policy.minutely_hours, policy.hourly_hours, policy.daily_hours, MAX_HOURS];
    steps.is_sorted()
}

/// The indexes of those that go now.
pub fn dropped(now: OffsetDateTime, policy: &Retention, instants: &[Instant]) -> Vec<usize> {
    let by_rule = || instants.iter().enumerate().filter(|(_, instant)| instant.kept != Kept::Chosen);
    let mut newest: HashMap<(i64, i64), usize> = HashMap::new();
    for (index, instant) in by_rule() {
        for width in [MINUTE, HOUR, DAY] {
            let known = newest.entry(bucket(instant.at, width)).or_insert(index);
            if instants[*known].at <= instant.at {
                *known = index;
            }
        }
    }
    by_rule()
        .filter(|(index, instant)| {
            let stands = match step(now - instant.at, policy) {
                Step::All => true,
                Step::One(width) => newest[&bucket(instant.at, width)] == *index,
                Step::None => false,
            };
            instant.kept == Kept::ByRule && !stands
        })
        .map(|(index, _)| index)
        .collect()
}

enum Step {
    All,
    /// One in so many seconds.
    One(i64),
    None,
}

fn step(age: Duration, policy: &Retention) -> Step {
    let within = |hours: u32| age < Duration::hours(hours.into());
    match () {
        () if within(policy.all_hours) => Step::All,
        () if within(policy.minutely_hours) => Step::One(MINUTE),
        () if within(policy.hourly_hours) => Step::One(HOUR),
        () if within(policy.daily_hours) => Step::One(DAY),
        () => Step::None,
    }
}

fn bucket(at: OffsetDateTime, width: i64) -> (i64, i64) {
    (width, at.unix_timestamp().div_euclid(width))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::tests::world::seed;

    const POLICY: Retention =
        Retention { all_hours: 1, minutely_hours: 3, hourly_hours: 48, daily_hours: 240 };

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 / DAY * DAY).expect("a day")
    }

    /// Which of the ages, in seconds, are left at a full day's end.
    fn check(ages: &[i64], left: &[i64]) {
        let now = start() + Duration::days(30);
        let instants: Vec<Instant> = ages
            .iter()
            .map(|age| Instant { at: now - Duration::seconds(*age), kept: Kept::ByRule })
            .collect();
        let gone = dropped(now, &POLICY, &instants);
        let kept: Vec<i64> =
            (0..ages.len()).filter(|index| !gone.contains(index)).map(|index| ages[index]).collect();
        assert_eq!(kept, left, "of {ages:?}");
    }

    #[test]
    fn each_step_keeps_its_newest() {
        check(&[], &[]);
        check(&[5, 10, 3599], &[5, 10, 3599]);
        check(&[3600, 3601, 3659, 3661], &[3600, 3601, 3661]);
        check(
            &[3 * HOUR, 3 * HOUR + 60, 4 * HOUR - 1, 4 * HOUR + 1],
            &[3 * HOUR, 3 * HOUR + 60, 4 * HOUR + 1],
        );
        check(&[2 * DAY, 2 * DAY + 1, 3 * DAY, 3 * DAY + 1], &[2 * DAY, 2 * DAY + 1, 3 * DAY + 1]);
        check(&[10 * DAY - 1, 10 * DAY, 11 * DAY], &[10 * DAY - 1]);
        // A clock that was set back makes nothing old.
        check(&[-HOUR, -HOUR - 1], &[-HOUR, -HOUR - 1]);
    }

    #[test]
    fn what_is_chosen_or_needed_stays_and_the_chosen_stand_for_nothing() {
        let now = start();
        let at = |age, kept| Instant { at: now - Duration::seconds(age), kept };
        let instants = [
            at(5 * HOUR, Kept::Chosen),
            at(5 * HOUR + 10, Kept::ByRule),
            at(5 * HOUR + 20, Kept::ByRule),
            at(400 * DAY, Kept::Chosen),
            at(400 * DAY, Kept::Needed),
            at(400 * DAY, Kept::ByRule),
        ];
        assert_eq!(dropped(now, &POLICY, &instants), [2, 5]);
    }

    #[test]
    fn bounds() {
        let sound = |all_hours, minutely_hours, hourly_hours, daily_hours| {
            is_sound(&Retention { all_hours, minutely_hours, hourly_hours, daily_hours })
        };
        assert!(is_sound(&Retention::default()) && sound(1, 1, 1, 1) && sound(1, 1, 1, MAX_HOURS));
        assert!(
            !sound(0, 1, 1, 1) && !sound(2, 1, 1, 1) && !sound(1, 5, 4, 6) && !sound(1, 1, 1, MAX_HOURS + 1)
        );
    }

    fn without(instants: &[Instant], gone: &[usize]) -> Vec<Instant> {
        (0..instants.len())
            .filter(|index| gone.binary_search(index).is_err())
            .map(|index| instants[index])
            .collect()
    }

    #[test]
    fn often_or_once_is_the_same_and_every_step_is_stood_for() {
        let mut random = StdRng::seed_from_u64(seed());
        for _ in 0..200 {
            let mut at = start();
            let mut instants = Vec::new();
            for _ in 0..random.random_range(1..300) {
                at += Duration::seconds(random.random_range(1..20_000));
                let kept = if random.random_bool(0.05) { Kept::Chosen } else { Kept::ByRule };
                instants.push(Instant { at, kept });
            }
            // The newest is needed at any time, and another one is the head.
            let head = random.random_range(0..instants.len());
            for index in [head, instants.len() - 1] {
                if instants[index].kept == Kept::ByRule {
                    instants[index].kept = Kept::Needed;
                }
            }
            let first = at + Duration::seconds(random.random_range(0..10 * DAY));
            let second = first + Duration::seconds(random.random_range(0..10 * DAY));
            let once = without(&instants, &dropped(second, &POLICY, &instants));
            let thinned = without(&instants, &dropped(first, &POLICY, &instants));
            assert!(dropped(first, &POLICY, &thinned).is_empty(), "idempotent");
            assert_eq!(without(&thinned, &dropped(second, &POLICY, &thinned)), once);
            for instant in &instants {
                let stays = once.contains(instant);
                let age = second - instant.at;
                assert!(stays || instant.kept == Kept::ByRule);
                assert!(stays || age >= Duration::hours(POLICY.all_hours.into()));
                let Step::One(width) = step(age, &POLICY) else { continue };
                let same = |other: &&Instant| bucket(other.at, width) == bucket(instant.at, width);
                let stood_for = once.iter().filter(same).any(|other| other.at >= instant.at);
                assert!(stood_for, "{instant:?} has nobody in its step");
            }
        }
    }

    #[test]
    fn a_year_of_snapshots_is_a_few_hundred() {
        let policy = Retention::default();
        let mut instants: Vec<Instant> = Vec::new();
        let mut now = start();
        for _ in 0..365 {
            // Eight hours of work a day, a snapshot every half minute.
            instants.extend(
                (0..8 * 120)
                    .map(|half| Instant { at: now + Duration::seconds(30 * half), kept: Kept::ByRule }),
            );
            now += Duration::days(1);
            let gone = dropped(now, &policy, &instants);
            instants = without(&instants, &gone);
        }
        // Eight hours of minutes, eight hours a day of a month, and a day for each day before.
        let expected = 8 * 60 + 29 * 8 + 335;
        assert!(instants.len().abs_diff(expected) < 20, "{} of {expected}", instants.len());
    }
}
