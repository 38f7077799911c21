//! How often a home that changes a lot is uploaded. Pure.
//!
//! Each automatic snapshot of a guest that rewrites its home stores all of it again. Without a bound
//! that fills the store for everyone. An allowance grows with time, up to some hours' worth; a
//! snapshot uses up what it stores. One is due when the allowance covers what has changed, or is
//! complete. So a large change after a quiet time is uploaded at once, small changes wait for
//! seconds at most, and only a home that changes a lot all the time waits longer and longer.
//! Snapshots on request and at a stop never wait.

use std::time::Duration;

use protocol::runner::complete_upload_allowance;
use tokio::time::Instant;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// The allowance of one home.
#[derive(Clone, Copy, Debug)]
pub struct UploadPace {
    bytes_per_hour: u64,
    allowance: f64,
    updated_at: Instant,
}

impl UploadPace {
    /// An allowance that grows by this many bytes an hour. `used_bytes` of it are used up. None if it does
    /// not grow: no bound.
    pub fn new(bytes_per_hour: u64, used_bytes: u64, now: Instant) -> Option<Self> {
        let allowance = complete_upload_allowance(bytes_per_hour).saturating_sub(used_bytes) as f64;
        (bytes_per_hour > 0).then_some(Self { bytes_per_hour, allowance, updated_at: now })
    }

    /// How long an automatic snapshot of this many changed bytes must wait. Zero: it is due.
    pub fn delay(&mut self, changed_bytes: u64, now: Instant) -> Duration {
        self.update(now);
        let missing = (changed_bytes as f64).min(self.complete()) - self.allowance;
        Duration::from_secs_f64(missing.max(0.0) / self.bytes_per_hour as f64 * SECONDS_PER_HOUR)
    }

    /// Records that a snapshot has stored this many bytes.
    pub fn record_upload(&mut self, stored_bytes: u64, now: Instant) {
        self.update(now);
        self.allowance = (self.allowance - stored_bytes as f64).max(0.0);
    }

    fn update(&mut self, now: Instant) {
        let hours = now.saturating_duration_since(self.updated_at).as_secs_f64() / SECONDS_PER_HOUR;
        self.allowance = (self.allowance + hours * self.bytes_per_hour as f64).min(self.complete());
        self.updated_at = now;
    }

    fn complete(&self) -> f64 {
        complete_upload_allowance(self.bytes_per_hour) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn large_change_is_uploaded_at_once_and_small_ones_soon() {
        let now = Instant::now();
        let mut pace = UploadPace::new(GIB, 0, now).expect("bounded");
        assert_eq!(pace.delay(100 * GIB, now), Duration::ZERO, "larger than any allowance");
        pace.record_upload(100 * GIB, now);
        assert!(pace.delay(MIB, now) < Duration::from_secs(4), "{:?}", pace.delay(MIB, now));
        assert_eq!(pace.delay(4 * GIB, now), 4 * HOUR);
        assert_eq!(pace.delay(4 * GIB, now + 3 * HOUR), HOUR);
        assert_eq!(pace.delay(100 * GIB, now + 20 * HOUR), Duration::ZERO, "quiet since");
    }

    #[test]
    fn rewriting_guest_stores_a_bounded_amount() {
        let begun = Instant::now();
        let (mut pace, mut now, mut stored) = (UploadPace::new(GIB, 0, begun).expect("bounded"), begun, 0);
        while now < begun + 24 * HOUR {
            // It rewrites 4 GiB every 30 seconds.
            now += pace.delay(4 * GIB, now).max(Duration::from_secs(30));
            pace.record_upload(4 * GIB, now);
            stored += 4 * GIB;
        }
        assert!(stored <= (8 + 24 + 4) * GIB, "{} GiB in a day", stored / GIB);
    }

    #[test]
    fn restart_gives_no_new_allowance() {
        let now = Instant::now();
        let mut pace = UploadPace::new(GIB, 6 * GIB, now).expect("bounded");
        assert_eq!(pace.delay(2 * GIB, now), Duration::ZERO, "the rest of it");
        assert_eq!(pace.delay(4 * GIB, now), 2 * HOUR);
        let mut pace = UploadPace::new(GIB, 100 * GIB, now).expect("bounded");
        assert_eq!(pace.delay(4 * GIB, now), 4 * HOUR, "a complete allowance at most");
    }

    #[test]
    fn ordinary_work_never_waits() {
        let mut now = Instant::now();
        let mut pace = UploadPace::new(GIB, 0, now).expect("bounded");
        for _ in 0..8 * 720 {
            now += Duration::from_secs(5);
            assert_eq!(pace.delay(MIB, now), Duration::ZERO);
            pace.record_upload(MIB, now);
        }
        assert!(UploadPace::new(0, 0, now).is_none());
    }
}
