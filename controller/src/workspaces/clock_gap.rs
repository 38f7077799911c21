//! Time in which the silence of a runner proves nothing.
//!
//! Deadlines and leases are times of the wall clock, because they lie in the database. While this
//! process is paused (a closed laptop lid, SIGSTOP), while the database does not answer, and when
//! the wall clock jumps, runners cannot report, but deadlines pass. [`ClockGap`] measures that time.
//! The reconciler shifts all deadlines by it before it ends what is overdue.
//!
//! The monotonic clock tells jumps and pauses apart from time that passed: it never jumps, and
//! stands still while the host sleeps.

use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

/// Longest time that counts as passed between two observations. The reconciler observes at least
/// every second; more means that this process was paused.
const MAX_STEP: Duration = Duration::seconds(5);

/// A smaller gap waits until it has grown: clocks drift.
const MIN_GAP: Duration = Duration::seconds(1);

/// Measures how much of the wall clock's progress was a jump, a pause or an outage.
#[derive(Debug)]
pub struct ClockGap {
    wall: OffsetDateTime,
    monotonic: Instant,
    gap: Duration,
}

impl ClockGap {
    /// Begins to measure.
    pub fn new(wall: OffsetDateTime, monotonic: Instant) -> Self {
        Self { wall, monotonic, gap: Duration::ZERO }
    }

    /// Records the time now. `could_report`: whether runners could report since the last
    /// observation, because the database answered.
    pub fn observe(&mut self, wall: OffsetDateTime, monotonic: Instant, could_report: bool) {
        let elapsed = Duration::try_from(monotonic - self.monotonic).unwrap_or(Duration::MAX);
        let passed = if could_report { elapsed.min(MAX_STEP) } else { Duration::ZERO };
        self.gap = self.gap.saturating_add((wall - self.wall).saturating_sub(passed));
        (self.wall, self.monotonic) = (wall, monotonic);
    }

    /// By how much deadlines must be shifted, if at all. Negative after the wall clock went back.
    pub fn pending(&self) -> Option<Duration> {
        (self.gap.abs() >= MIN_GAP).then_some(self.gap)
    }

    /// To be called when the deadlines are shifted.
    pub fn clear(&mut self) {
        self.gap = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observes a second of healthy time, then this step. Returns the pending gap in seconds.
    fn gap_after(wall: i64, elapsed: u64, could_report: bool) -> Option<i64> {
        let (start, began) = (OffsetDateTime::UNIX_EPOCH, Instant::now());
        let mut gap = ClockGap::new(start, began);
        let second = std::time::Duration::from_secs(1);
        gap.observe(start + second, began + second, true);
        assert_eq!(gap.pending(), None);
        let monotonic = began + second + std::time::Duration::from_secs(elapsed);
        gap.observe(start + second + Duration::seconds(wall), monotonic, could_report);
        gap.pending().map(Duration::whole_seconds)
    }

    #[test]
    fn gap_is_what_did_not_pass() {
        let hour = 3600;
        for (what, wall, elapsed, could_report, expected) in [
            ("a normal pass", 1, 1, true, None),
            ("a slow pass", 5, 5, true, None),
            ("the clock jumped forward", hour + 1, 1, true, Some(hour)),
            ("the clock jumped back", 1 - hour, 1, true, Some(-hour)),
            ("this process was stopped", 120, 120, true, Some(115)),
            ("the host slept", 8 * hour, 1, true, Some(8 * hour - 1)),
            ("the database was away", 40, 40, false, Some(40)),
            ("the database was away for a moment", 1, 1, false, Some(1)),
        ] {
            assert_eq!(gap_after(wall, elapsed, could_report), expected, "{what}");
        }
    }

    #[test]
    fn gap_adds_up_until_it_is_cleared() {
        let (start, began) = (OffsetDateTime::UNIX_EPOCH, Instant::now());
        let mut gap = ClockGap::new(start, began);
        for second in 1..=30 {
            let elapsed = std::time::Duration::from_secs(second);
            gap.observe(start + elapsed, began + elapsed, false);
        }
        assert_eq!(gap.pending(), Some(Duration::seconds(30)));
        gap.clear();
        assert_eq!(gap.pending(), None);
    }
}
