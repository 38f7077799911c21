//! Which full hour is missing in the usage of homes. Pure.

use time::{Duration, OffsetDateTime};

/// Hours that are added after a time without a controller. Of a longer time only the last ones count.
const MAX_HOURS: i64 = 31 * 24;

/// The next full hour to add, if one has passed since the last. After a clock went back, it is the present
/// one, which is perhaps in the rows already.
pub fn next_hour(counted_until: OffsetDateTime, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let past = Duration::seconds(now.unix_timestamp().rem_euclid(3600));
    let last = now.replace_nanosecond(0).expect("in range") - past;
    let oldest = last - Duration::hours(MAX_HOURS - 1);
    let next = (counted_until + Duration::HOUR).clamp(oldest, last);
    (counted_until != last).then_some(next)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn hours_are_added_one_after_the_other() {
        let until = datetime!(2026-03-01 23:00 UTC);
        for (now, expected, count) in [
            (datetime!(2026-03-01 23:59:59.9 UTC), None, 0),
            (datetime!(2026-03-02 00:00 UTC), Some(datetime!(2026-03-02 00:00 UTC)), 1),
            (datetime!(2026-03-02 02:00:00.5 UTC), Some(datetime!(2026-03-02 00:00 UTC)), 3),
            (datetime!(2026-03-01 11:10 UTC), Some(datetime!(2026-03-01 11:00 UTC)), 1),
            (datetime!(2027-03-01 11:00 UTC), Some(datetime!(2027-01-29 12:00 UTC)), 744),
        ] {
            assert_eq!(next_hour(until, now), expected, "{now}");
            let hours = std::iter::successors(Some(until), |hour| next_hour(*hour, now));
            assert_eq!(hours.skip(1).count(), count, "{now}");
        }
    }
}
