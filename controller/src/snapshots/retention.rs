//! Which automatic snapshots a retention policy keeps. Pure.
//!
//! The age of a snapshot decides the interval: at first every snapshot is kept, then one for each
//! minute, one for each hour, one for each day, then none. The newest snapshot of an interval
//! stands for it. The newest of an hour is also the newest of its minute, so a finer interval never
//! drops what a coarser one needs later: pruning often, or once and late, leaves the same
//! snapshots.

use std::collections::{HashMap, HashSet};

use protocol::api::snapshot::Retention;
use time::{Duration, OffsetDateTime};

/// Longest time for which a policy can keep snapshots: ten years.
pub const MAX_HOURS: u32 = 10 * 366 * 24;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A snapshot that may be pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The instant that it holds.
    pub at: OffsetDateTime,
    /// What it has stored.
    pub stored_bytes: u64,
    pub keep: Keep,
}

/// Why a snapshot may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// A user named or requested it. It stands for no interval, so that no interval is empty once
    /// the user deletes it.
    Requested,
    /// The head or the newest. It is kept at any age, and stands for its interval as others do.
    Needed,
    /// Only if it stands for an interval of the policy.
    ByPolicy,
}

/// Whether a policy is valid: everything is kept for an hour or more, and no interval ends before
/// the one before it.
pub fn is_valid(policy: &Retention) -> bool {
    let hours =
        [1, policy.all_hours, policy.minutely_hours, policy.hourly_hours, policy.daily_hours, MAX_HOURS];
    hours.is_sorted()
}

/// The indexes of the snapshots to delete now.
pub fn select_pruned(now: OffsetDateTime, policy: &Retention, candidates: &[Candidate]) -> Vec<usize> {
    let by_policy =
        || candidates.iter().enumerate().filter(|(_, candidate)| candidate.keep != Keep::Requested);
    let mut newest: HashMap<(i64, i64), usize> = HashMap::new();
    for (index, candidate) in by_policy() {
        for width in [MINUTE, HOUR, DAY] {
            let known = newest.entry(bucket(candidate.at, width)).or_insert(index);
            if candidates[*known].at <= candidate.at {
                *known = index;
            }
        }
    }
    by_policy()
        .filter(|(index, candidate)| {
            let stands_for_interval = match interval(now - candidate.at, policy) {
                Interval::All => true,
                Interval::Seconds(width) => newest[&bucket(candidate.at, width)] == *index,
                Interval::None => false,
            };
            candidate.keep == Keep::ByPolicy && !stands_for_interval
        })
        .map(|(index, _)| index)
        .collect()
}

/// Like [`select_pruned`], and also the oldest that only the policy keeps, until what the rest has
/// stored is at most `max_bytes`.
pub fn select_pruned_within(
    now: OffsetDateTime,
    policy: &Retention,
    candidates: &[Candidate],
    max_bytes: Option<u64>,
) -> Vec<usize> {
    let mut pruned = select_pruned(now, policy, candidates);
    let Some(max_bytes) = max_bytes else { return pruned };
    let is_pruned: HashSet<usize> = pruned.iter().copied().collect();
    let mut kept: Vec<usize> = (0..candidates.len()).filter(|index| !is_pruned.contains(index)).collect();
    let mut total: u64 = kept.iter().map(|index| candidates[*index].stored_bytes).sum();
    kept.sort_by_key(|index| candidates[*index].at);
    for index in kept.into_iter().filter(|index| candidates[*index].keep == Keep::ByPolicy) {
        if total <= max_bytes {
            break;
        }
        total -= candidates[index].stored_bytes;
        pruned.push(index);
    }
    pruned
}

/// How many snapshots of an age are kept.
enum Interval {
    All,
    /// One for each interval of this many seconds.
    Seconds(i64),
    None,
}

fn interval(age: Duration, policy: &Retention) -> Interval {
    let within = |hours: u32| age < Duration::hours(hours.into());
    match () {
        () if within(policy.all_hours) => Interval::All,
        () if within(policy.minutely_hours) => Interval::Seconds(MINUTE),
        () if within(policy.hourly_hours) => Interval::Seconds(HOUR),
        () if within(policy.daily_hours) => Interval::Seconds(DAY),
        () => Interval::None,
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

    fn candidate(at: OffsetDateTime, keep: Keep) -> Candidate {
        Candidate { at, stored_bytes: 10, keep }
    }

    /// Checks which of the ages, in seconds, are kept at the end of a day.
    fn check(ages: &[i64], left: &[i64]) {
        let now = start() + Duration::days(30);
        let candidates: Vec<Candidate> =
            ages.iter().map(|age| candidate(now - Duration::seconds(*age), Keep::ByPolicy)).collect();
        let pruned = select_pruned(now, &POLICY, &candidates);
        let kept: Vec<i64> =
            (0..ages.len()).filter(|index| !pruned.contains(index)).map(|index| ages[index]).collect();
        assert_eq!(kept, left, "of {ages:?}");
    }

    #[test]
    fn interval_keeps_its_newest() {
        check(&[], &[]);
        check(&[5, 10, 3599], &[5, 10, 3599]);
        check(&[3600, 3601, 3659, 3661], &[3600, 3601, 3661]);
        check(
            &[3 * HOUR, 3 * HOUR + 60, 4 * HOUR - 1, 4 * HOUR + 1],
            &[3 * HOUR, 3 * HOUR + 60, 4 * HOUR + 1],
        );
        check(&[2 * DAY, 2 * DAY + 1, 3 * DAY, 3 * DAY + 1], &[2 * DAY, 2 * DAY + 1, 3 * DAY + 1]);
        check(&[10 * DAY - 1, 10 * DAY, 11 * DAY], &[10 * DAY - 1]);
        // A snapshot from the future is new.
        check(&[-HOUR, -HOUR - 1], &[-HOUR, -HOUR - 1]);
    }

    #[test]
    fn requested_and_needed_are_kept() {
        let now = start();
        let at = |age, keep| candidate(now - Duration::seconds(age), keep);
        let candidates = [
            at(5 * HOUR, Keep::Requested),
            at(5 * HOUR + 10, Keep::ByPolicy),
            at(5 * HOUR + 20, Keep::ByPolicy),
            at(400 * DAY, Keep::Requested),
            at(400 * DAY, Keep::Needed),
            at(400 * DAY, Keep::ByPolicy),
        ];
        assert_eq!(select_pruned(now, &POLICY, &candidates), [2, 5]);
    }

    #[test]
    fn oldest_automatic_are_pruned_beyond_budget() {
        let now = start();
        let at = |days, keep| candidate(now - Duration::days(days), keep);
        let candidates = [
            at(5, Keep::ByPolicy),
            at(6, Keep::Requested),
            at(4, Keep::ByPolicy),
            at(3, Keep::ByPolicy),
            at(2, Keep::Needed),
        ];
        let select = |max_bytes| select_pruned_within(now, &POLICY, &candidates, max_bytes);
        assert_eq!(select(None), [0; 0]);
        assert_eq!(select(Some(50)), [0; 0]);
        assert_eq!(select(Some(49)), [0]);
        assert_eq!(select(Some(30)), [0, 2]);
        assert_eq!(select(Some(0)), [0, 2, 3], "the others stay");
    }

    #[test]
    fn policy_bounds_are_checked() {
        let valid = |all_hours, minutely_hours, hourly_hours, daily_hours| {
            is_valid(&Retention { all_hours, minutely_hours, hourly_hours, daily_hours })
        };
        assert!(is_valid(&Retention::default()) && valid(1, 1, 1, 1) && valid(1, 1, 1, MAX_HOURS));
        assert!(
            !valid(0, 1, 1, 1) && !valid(2, 1, 1, 1) && !valid(1, 5, 4, 6) && !valid(1, 1, 1, MAX_HOURS + 1)
        );
    }

    fn without(candidates: &[Candidate], pruned: &[usize]) -> Vec<Candidate> {
        (0..candidates.len())
            .filter(|index| pruned.binary_search(index).is_err())
            .map(|index| candidates[index])
            .collect()
    }

    #[test]
    fn pruning_often_equals_pruning_once() {
        let mut random = StdRng::seed_from_u64(seed());
        for _ in 0..200 {
            let mut at = start();
            let mut candidates = Vec::new();
            for _ in 0..random.random_range(1..300) {
                at += Duration::seconds(random.random_range(1..20_000));
                let keep = if random.random_bool(0.05) { Keep::Requested } else { Keep::ByPolicy };
                candidates.push(candidate(at, keep));
            }
            // The newest is always needed, and another one is the head.
            let head = random.random_range(0..candidates.len());
            for index in [head, candidates.len() - 1] {
                if candidates[index].keep == Keep::ByPolicy {
                    candidates[index].keep = Keep::Needed;
                }
            }
            let first = at + Duration::seconds(random.random_range(0..10 * DAY));
            let second = first + Duration::seconds(random.random_range(0..10 * DAY));
            let once = without(&candidates, &select_pruned(second, &POLICY, &candidates));
            let pruned = without(&candidates, &select_pruned(first, &POLICY, &candidates));
            assert!(select_pruned(first, &POLICY, &pruned).is_empty(), "idempotent");
            assert_eq!(without(&pruned, &select_pruned(second, &POLICY, &pruned)), once);
            for candidate in &candidates {
                let stays = once.contains(candidate);
                let age = second - candidate.at;
                assert!(stays || candidate.keep == Keep::ByPolicy);
                assert!(stays || age >= Duration::hours(POLICY.all_hours.into()));
                let Interval::Seconds(width) = interval(age, &POLICY) else { continue };
                let same = |other: &&Candidate| bucket(other.at, width) == bucket(candidate.at, width);
                let is_represented = once.iter().filter(same).any(|other| other.at >= candidate.at);
                assert!(is_represented, "{candidate:?} has no representative");
            }
        }
    }

    #[test]
    fn year_leaves_a_few_hundred() {
        let policy = Retention::default();
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut now = start();
        for _ in 0..365 {
            // Eight hours of work a day, a snapshot every half minute.
            candidates.extend(
                (0..8 * 120).map(|half| candidate(now + Duration::seconds(30 * half), Keep::ByPolicy)),
            );
            now += Duration::days(1);
            let pruned = select_pruned(now, &policy, &candidates);
            candidates = without(&candidates, &pruned);
        }
        // Eight hours of minutes, eight hours a day for a month, and one snapshot for each day
        // before.
        let expected = 8 * 60 + 29 * 8 + 335;
        assert!(candidates.len().abs_diff(expected) < 20, "{} of {expected}", candidates.len());
    }
}
