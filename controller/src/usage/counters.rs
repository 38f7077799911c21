//! What a report of a runner adds to the usage. Pure.

use protocol::runner::{Report, ReportRequest};
use time::{Date, Duration, OffsetDateTime, Time};

use super::day_of;

/// Largest amount: the largest integer that every JSON parser reads exactly.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;
/// Less time than this waits for the next report, unless there is none: each addition is two writes.
const MIN_ADDED_MS: u64 = 10_000;
/// Longest time that one report adds. Reports come every few seconds, and a runner without a controller ends.
const MAX_ADDED_MS: u64 = 31 * 24 * 3_600_000;

/// What a runner has counted since its placement began, or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// For how long it has run.
    pub ran_ms: u64,
    /// What its sandbox has sent to the network.
    pub sent_bytes: u64,
    /// What its sandbox has received.
    pub received_bytes: u64,
}

impl Counters {
    /// The counters of a request. Traffic that it does not report is 0, which adds nothing.
    pub fn of(request: &ReportRequest) -> Self {
        let mut counters = Self { ran_ms: request.ran_ms, ..Self::default() };
        for report in &request.reports {
            if let Report::Network { sent_bytes, received_bytes, .. } = report {
                counters.sent_bytes = counters.sent_bytes.max(*sent_bytes);
                counters.received_bytes = counters.received_bytes.max(*received_bytes);
            }
        }
        counters
    }

    /// Adds what was reported to what was counted: the new sums, and by how much they have grown. None if
    /// there is nothing to add, or so little that it can wait. Counters never go back.
    pub fn advance(self, reported: Self, is_last: bool) -> Option<(Self, Self)> {
        let larger = |counted: u64, reported: u64| counted.max(reported.min(MAX_AMOUNT));
        let sums = Self {
            ran_ms: larger(self.ran_ms, reported.ran_ms),
            sent_bytes: larger(self.sent_bytes, reported.sent_bytes),
            received_bytes: larger(self.received_bytes, reported.received_bytes),
        };
        let added = Self {
            ran_ms: (sums.ran_ms - self.ran_ms).min(MAX_ADDED_MS),
            sent_bytes: sums.sent_bytes - self.sent_bytes,
            received_bytes: sums.received_bytes - self.received_bytes,
        };
        let is_due = is_last || added.ran_ms >= MIN_ADDED_MS || added.sent_bytes + added.received_bytes > 0;
        (is_due && added != Self::default()).then_some((sums, added))
    }
}

/// Divides the time that has passed until now between its days, in UTC. Bytes belong to the day on which they
/// are reported.
pub fn split_by_day(now: OffsetDateTime, added: Counters) -> Vec<(Date, Counters)> {
    let mut parts = Vec::new();
    let (mut day, mut left) = (day_of(now), added.ran_ms);
    let mut passed = (now - day.with_time(Time::MIDNIGHT).assume_utc()).whole_milliseconds().unsigned_abs();
    let mut bytes = [added.sent_bytes, added.received_bytes];
    loop {
        let ran_ms = left.min(u64::try_from(passed).unwrap_or(u64::MAX));
        let [sent_bytes, received_bytes] = std::mem::take(&mut bytes);
        let part = Counters { ran_ms, sent_bytes, received_bytes };
        if part != Counters::default() {
            parts.push((day, part));
        }
        left -= ran_ms;
        let Some(before) = day.previous_day().filter(|_| left > 0) else { return parts };
        (day, passed) = (before, Duration::DAY.whole_milliseconds().unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    use super::*;

    fn ran(ran_ms: u64) -> Counters {
        Counters { ran_ms, ..Counters::default() }
    }

    fn traffic(sent_bytes: u64, received_bytes: u64) -> Counters {
        Counters { ran_ms: 0, sent_bytes, received_bytes }
    }

    #[test]
    fn report_adds_what_is_new() {
        for (counted, reported, is_last, expected) in [
            (ran(0), ran(30_000), false, Some((ran(30_000), ran(30_000)))),
            (ran(30_000), ran(30_000), true, None),
            (ran(30_000), ran(20_000), true, None),
            (ran(30_000), ran(31_000), false, None),
            (ran(30_000), ran(31_000), true, Some((ran(31_000), ran(1_000)))),
            (traffic(5, 7), traffic(0, 0), true, None),
            (traffic(5, 7), traffic(6, 0), false, Some((traffic(6, 7), traffic(1, 0)))),
            (ran(0), ran(u64::MAX), false, Some((ran(MAX_AMOUNT), ran(MAX_ADDED_MS)))),
            (
                traffic(0, 1),
                traffic(0, u64::MAX),
                false,
                Some((traffic(0, MAX_AMOUNT), traffic(0, MAX_AMOUNT - 1))),
            ),
        ] {
            assert_eq!(counted.advance(reported, is_last), expected, "{counted:?} {reported:?} {is_last}");
        }
    }

    #[test]
    fn time_over_midnight_belongs_to_both_days() {
        let now = datetime!(2026-03-02 00:00:10 UTC);
        let added = Counters { sent_bytes: 5, ..ran(25_000) };
        let expected = [
            (date!(2026 - 03 - 02), Counters { sent_bytes: 5, ..ran(10_000) }),
            (date!(2026 - 03 - 01), ran(15_000)),
        ];
        assert_eq!(split_by_day(now, added), expected);
        assert_eq!(split_by_day(now, ran(10_000)), [(date!(2026 - 03 - 02), ran(10_000))]);
        let midnight = datetime!(2026-03-02 00:00 UTC);
        assert_eq!(split_by_day(midnight, ran(1)), [(date!(2026 - 03 - 01), ran(1))]);
        assert_eq!(split_by_day(midnight, traffic(1, 0)), [(date!(2026 - 03 - 02), traffic(1, 0))]);
        assert_eq!(split_by_day(midnight, Counters::default()), []);
    }

    proptest! {
        /// Whatever of a runner's reports is lost, late or repeated: in the end the days have what the last
        /// one said.
        #[test]
        fn days_add_up_to_the_last_report(
            steps in prop::collection::vec((0_u64..60_000_000, 0_u64..1 << 40, any::<[bool; 2]>()), 1..40),
            start in 1_700_000_000_i64..1_900_000_000,
        ) {
            let (mut counted, mut reported, mut old) = (Counters::default(), ran(0), ran(0));
            let mut now = OffsetDateTime::from_unix_timestamp(start).expect("a time");
            let mut days = Counters::default();
            let last = steps.len() - 1;
            for (step, (ms, bytes, [is_lost, is_repeated])) in steps.into_iter().enumerate() {
                now += Duration::milliseconds(ms.cast_signed());
                reported.ran_ms += ms;
                reported.sent_bytes += bytes;
                if is_lost && step != last {
                    continue;
                }
                let sent = if is_repeated && step != last { old } else { reported };
                old = reported;
                if let Some((sums, added)) = counted.advance(sent, step == last) {
                    counted = sums;
                    let mut previous = None;
                    for (day, part) in split_by_day(now, added) {
                        prop_assert!(previous.is_none_or(|later| day < later) && part.ran_ms <= 86_400_000);
                        previous = Some(day);
                        days.ran_ms += part.ran_ms;
                        days.sent_bytes += part.sent_bytes;
                    }
                }
            }
            prop_assert_eq!(days, reported);
            prop_assert_eq!(counted, reported);
        }
    }
}
