//! Slows writers down when they write faster than the store takes. The guest waits a little with
//! each write, and so less is lost if its host is lost.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use protocol::runner::DiskShare;
use tokio::time::{Instant, sleep};

use super::share::WriteShare;
use crate::error::VolumeError;

/// Writes are not slowed while the oldest unreplicated write is younger than this.
const FREE_AGE: Duration = Duration::from_secs(30);
/// At this age writes are as slow as they get.
const SLOWEST_AGE: Duration = Duration::from_secs(120);
/// Bytes per second that are allowed even while the store is unreachable: a workspace that stands
/// still does not help.
const MIN_RATE: f64 = 1024.0 * 1024.0;
/// Assumed rate of the store, in bytes per second, before the first upload has been measured.
const INITIAL_RATE: f64 = 8.0 * 1024.0 * 1024.0;
/// Longest delay of one write.
const MAX_WRITE_DELAY: Duration = Duration::from_secs(20);
/// Weight of the newest upload in the moving average of the rate.
const NEWEST_WEIGHT: f64 = 0.3;

/// How often a write checks again while the disk is full.
const FULL_DISK_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// After this time the write is tried all the same, and fails with the disk's own error.
const FULL_DISK_TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes per second that are allowed while the share of the disk is nearly used up. A workspace that waits
/// for a paced upload gets along with this for hours.
const MIN_CROWDED_RATE: f64 = 64.0 * 1024.0;

/// Delays writes while the store is behind, the volume's share of the disk is nearly used up or the local
/// disk is full.
#[derive(Debug)]
pub struct WriteThrottle {
    rate: Mutex<Rate>,
    is_full: AtomicBool,
    /// What the volume may use of the local disk.
    pub share: WriteShare,
}

#[derive(Debug)]
struct Rate {
    /// Time of the oldest write that no committed snapshot has.
    unreplicated_since: Option<Instant>,
    /// What the store takes, in bytes of the volume per second.
    bytes_per_second: f64,
    /// The writes that were admitted so far take the store until this time.
    busy_until: Instant,
}

impl WriteThrottle {
    /// The throttle of a volume of which the store lacks `unsaved_bytes`.
    pub fn new(unreplicated_since: Option<Instant>, unsaved_bytes: u64) -> Self {
        let rate = Rate { unreplicated_since, bytes_per_second: INITIAL_RATE, busy_until: Instant::now() };
        let share = WriteShare::new(unsaved_bytes);
        Self { rate: Mutex::new(rate), is_full: AtomicBool::new(false), share }
    }

    /// Sets the time of the oldest write that no committed snapshot has.
    pub fn set_unreplicated_since(&self, since: Option<Instant>) {
        self.rate().unreplicated_since = since;
    }

    /// Updates the measured rate of the store: `bytes` of the volume were stored in `time`.
    pub fn record_upload(&self, bytes: u64, time: Duration) {
        if bytes > 0 && !time.is_zero() {
            let mut rate = self.rate();
            rate.bytes_per_second +=
                NEWEST_WEIGHT * (bytes as f64 / time.as_secs_f64() - rate.bytes_per_second);
        }
    }

    /// Replaces the share of the local disk. Without a limit, nothing waits any more for writes that were
    /// admitted slowly.
    pub fn set_share(&self, share: DiskShare) {
        self.share.set(share);
        if share.max_unsaved_bytes.is_none() {
            self.rate().busy_until = Instant::now();
        }
    }

    /// Sets whether the local disk is nearly full.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub fn is_slowed(&self) -> bool {
        let is_old = self.rate().unreplicated_since.is_some_and(|since| since.elapsed() > FREE_AGE);
        is_old || self.share.crowding() > 0.0
    }

    /// Waits until a write of this many bytes may begin. Fails with [`VolumeError::Full`] if the volume's
    /// share of the disk stays used up.
    pub async fn admit_write(&self, bytes: u64) -> Result<(), VolumeError> {
        let begun = Instant::now();
        while self.is_full() && begun.elapsed() < FULL_DISK_TIMEOUT {
            sleep(FULL_DISK_CHECK_INTERVAL).await;
        }
        self.share.reserve(bytes).await?;
        let crowding = self.share.crowding();
        let delay = {
            let mut rate = self.rate();
            let now = Instant::now();
            let age =
                rate.unreplicated_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            let for_age = (age > FREE_AGE).then(|| write_cost(bytes, age, rate.bytes_per_second));
            let for_share = (crowding > 0.0).then(|| crowded_cost(bytes, crowding, rate.bytes_per_second));
            let Some(cost) = for_age.max(for_share) else { return Ok(()) };
            rate.busy_until = rate.busy_until.max(now) + cost;
            (rate.busy_until - now).min(MAX_WRITE_DELAY)
        };
        sleep(delay).await;
        Ok(())
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that a write takes at this age of the oldest unreplicated write. At first that is the
/// store's own rate; with a greater age, down to a quarter of it, so that the age decreases.
fn write_cost(bytes: u64, age: Duration, bytes_per_second: f64) -> Duration {
    let over =
        age.saturating_sub(FREE_AGE).as_secs_f64() / SLOWEST_AGE.saturating_sub(FREE_AGE).as_secs_f64();
    let allowed = (bytes_per_second * (1.0 - 0.75 * over.min(1.0))).max(MIN_RATE);
    Duration::from_secs_f64(bytes as f64 / allowed)
}

/// The time that a write takes while the share of the disk is nearly used up: at first the store's own
/// rate, and the less the closer the limit is.
fn crowded_cost(bytes: u64, crowding: f64, bytes_per_second: f64) -> Duration {
    let allowed = (bytes_per_second * (1.0 - crowding)).max(MIN_CROWDED_RATE);
    Duration::from_secs_f64(bytes as f64 / allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn cost_grows_with_age_up_to_the_minimum_rate() {
        let rate = 40.0 * MIB as f64;
        let at = |seconds| write_cost(40 * MIB, Duration::from_secs(seconds), rate).as_secs_f64();
        assert!((at(30) - 1.0).abs() < 1e-9);
        assert!(at(60) > at(31) && at(119) > at(60));
        assert!((at(120) - 4.0).abs() < 1e-9 && (at(100_000) - 4.0).abs() < 1e-9);
        assert_eq!(write_cost(MIB, Duration::from_secs(100_000), 0.0), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn writers_share_the_rate_when_the_store_is_behind() {
        let begun = Instant::now();
        let throttle = WriteThrottle::new(Some(begun), 0);
        throttle.admit_write(1000 * MIB).await.expect("no share");
        assert!(begun.elapsed() < Duration::from_millis(5), "nothing is old yet");
        tokio::time::advance(FREE_AGE + Duration::from_millis(1)).await;
        assert!(throttle.is_slowed());
        let then = Instant::now();
        let written = futures_util::future::join_all((0..4).map(|_| throttle.admit_write(MIB))).await;
        assert!(written.iter().all(Result::is_ok));
        let expected = 4.0 * MIB as f64 / INITIAL_RATE;
        assert!((then.elapsed().as_secs_f64() - expected).abs() < 0.05, "{:?}", then.elapsed());
        throttle.set_unreplicated_since(None);
        assert!(!throttle.is_slowed());
    }

    #[tokio::test(start_paused = true)]
    async fn writes_are_slower_the_less_is_left() {
        let throttle = WriteThrottle::new(None, 0);
        throttle.set_share(DiskShare { max_unsaved_bytes: Some(100 * MIB), must_shrink: false });
        let time_at = async |unsaved| {
            throttle.share.set_unsaved(unsaved);
            tokio::time::advance(Duration::from_mins(1)).await;
            let begun = Instant::now();
            throttle.admit_write(MIB).await.expect("within the share");
            begun.elapsed()
        };
        assert!(time_at(40 * MIB).await < Duration::from_millis(2));
        let (first, later, last) =
            (time_at(60 * MIB).await, time_at(90 * MIB).await, time_at(99 * MIB).await);
        assert!(Duration::from_millis(100) < first && first < later && later < last, "{first:?} {later:?}");
        assert!(last <= MAX_WRITE_DELAY + Duration::from_millis(2), "{last:?}");
        assert!(throttle.is_slowed());
    }
}
