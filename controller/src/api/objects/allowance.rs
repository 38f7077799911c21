//! How much a runner may store. Pure.
//!
//! A guest that has taken over the session of its runner can send any objects. What it may store at once is
//! what a home can need: the home twice, and all that automatic snapshots may store after a quiet time. What
//! it has stored grows back with time, faster than automatic snapshots may store. So an honest home meets
//! this only if it is rewritten and saved on request all the time. It is then slowed, and not refused.

use std::time::Duration;

use protocol::runner::complete_upload_allowance;
use tokio::time::Instant;

const SECONDS_PER_HOUR: f64 = 3600.0;
/// Grows back in an hour in any case: a pack of 8 MiB in seven seconds, so that a runner that waits for its
/// turn does not give up.
const MIN_BYTES_PER_HOUR: u64 = 4 << 30;

/// How large an allowance is, and how fast it grows back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    complete_bytes: f64,
    bytes_per_second: f64,
}

impl Pace {
    /// That of a home. `None` if automatic snapshots have no bound (`upload_bytes_per_hour` is 0): the
    /// operator wants none.
    pub fn of_home(home_bytes: u64, upload_bytes_per_hour: u64) -> Option<Self> {
        let complete = complete_upload_allowance(upload_bytes_per_hour).saturating_add(2 * home_bytes);
        let per_hour = upload_bytes_per_hour.saturating_add(home_bytes).max(MIN_BYTES_PER_HOUR);
        (upload_bytes_per_hour > 0).then_some(Self {
            complete_bytes: complete as f64,
            bytes_per_second: per_hour as f64 / SECONDS_PER_HOUR,
        })
    }
}

/// What one runner may still store.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Less than nothing while objects wait.
    bytes: f64,
    updated_at: Instant,
}

impl Allowance {
    /// All of it.
    pub fn complete(pace: Pace, now: Instant) -> Self {
        Self { bytes: pace.complete_bytes, updated_at: now }
    }

    /// Takes an object's bytes. Returns how long the object must wait; `None`, and nothing is taken, if that
    /// is longer than `max_wait`.
    pub fn take(&mut self, pace: Pace, bytes: u64, now: Instant, max_wait: Duration) -> Option<Duration> {
        self.update(pace, now);
        let left = self.bytes - bytes as f64;
        let wait = Duration::from_secs_f64((-left).max(0.0) / pace.bytes_per_second);
        (wait <= max_wait).then(|| {
            self.bytes = left;
            wait
        })
    }

    /// Returns what was taken for an object that was not stored.
    pub fn refund(&mut self, bytes: u64) {
        self.bytes += bytes as f64;
    }

    /// Whether nothing of it is used.
    pub fn is_complete(mut self, pace: Pace, now: Instant) -> bool {
        self.update(pace, now);
        self.bytes >= pace.complete_bytes
    }

    fn update(&mut self, pace: Pace, now: Instant) {
        let seconds = now.saturating_duration_since(self.updated_at).as_secs_f64();
        self.bytes = (self.bytes + seconds * pace.bytes_per_second).min(pace.complete_bytes);
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const PACK: u64 = 8 << 20;
    const MAX_WAIT: Duration = Duration::from_secs(60);

    #[test]
    fn honest_home_is_slowed_and_never_refused() {
        let (home, per_hour) = (10 * GIB, 2 * GIB);
        let pace = Pace::of_home(home, per_hour).expect("bounded");
        let begun = Instant::now();
        let (mut now, mut stored) = (begun, 0);
        let mut allowance = Allowance::complete(pace, now);
        // It sends one pack after the other for half a day.
        while now - begun < Duration::from_hours(12) {
            now += Duration::from_millis(20);
            now += allowance.take(pace, PACK, now, MAX_WAIT).expect("not refused");
            stored += PACK;
        }
        let bound = 2 * home + complete_upload_allowance(per_hour) + 12 * (home + per_hour) + PACK;
        assert!(stored <= bound, "{stored} of {bound}");
        assert!(stored >= bound - GIB, "all that it may: {stored} of {bound}");
    }

    #[test]
    fn whole_home_is_stored_at_once() {
        for home in [0, 64 << 20, 10 * GIB, 500 * GIB] {
            let pace = Pace::of_home(home, 2 * GIB).expect("bounded");
            let now = Instant::now();
            let mut allowance = Allowance::complete(pace, now);
            let taken = allowance.take(pace, 2 * home + 16 * GIB, now, Duration::ZERO);
            assert_eq!(taken, Some(Duration::ZERO), "{home}");
            let wait = allowance.take(pace, PACK, now, MAX_WAIT).expect("not refused");
            assert!(wait > Duration::ZERO && wait < Duration::from_secs(8), "{home}: {wait:?}");
        }
    }

    #[test]
    fn what_would_wait_too_long_takes_nothing() {
        let pace = Pace::of_home(0, 1).expect("bounded");
        let now = Instant::now();
        let mut allowance = Allowance::complete(pace, now);
        assert_eq!(allowance.take(pace, GIB, now, MAX_WAIT), None);
        assert!(allowance.is_complete(pace, now));
        allowance.take(pace, PACK, now, MAX_WAIT).expect("taken");
        assert!(!allowance.is_complete(pace, now));
        allowance.refund(PACK);
        assert!(allowance.is_complete(pace, now));
        allowance.take(pace, PACK, now, MAX_WAIT).expect("taken");
        assert!(allowance.is_complete(pace, now + Duration::from_secs(8)), "it has grown back");
        assert_eq!(Pace::of_home(GIB, 0), None, "the operator wants no bound");
    }
}
