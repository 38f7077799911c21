//! Slowing down whoever writes faster than the store takes: the guest then waits a little with each write instead of losing
//! much with its host.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Up to this age of the oldest unsafe write nobody is slowed down.
pub const AGE_FREE: Duration = Duration::from_secs(30);
/// At this age writes are as slow as they get.
const AGE_SLOWEST: Duration = Duration::from_secs(120);
/// Even with the store away, so many bytes a second go on to the local disk: a machine that stands still helps nobody.
const RATE_LEAST: f64 = 1024.0 * 1024.0;
/// Before the first upload has told.
const RATE_FIRST: f64 = 8.0 * 1024.0 * 1024.0;
/// Longest wait of one write.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Weight of the newest upload in the rate.
const NEWEST: f64 = 0.3;

/// While the disk is full, a write looks again so often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Then it is tried all the same, and fails with the disk's own word.
const FULL_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Pace {
    state: Mutex<State>,
    /// The local disk is nearly full.
    full: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// When the oldest write was made that the store does not have.
    since: Option<Instant>,
    /// What the store takes, in bytes of the volume a second.
    rate: f64,
    /// Until when what was let through is paid for.
    paid_until: Instant,
}

impl Pace {
    pub fn new(since: Option<Instant>) -> Self {
        let state = State { since, rate: RATE_FIRST, paid_until: Instant::now() };
        Self { state: Mutex::new(state), full: AtomicBool::new(false) }
    }

    pub fn set(&self, since: Option<Instant>) {
        self.state().since = since;
    }

    /// So much of the volume was stored in so much time.
    pub fn stored(&self, bytes: u64, time: Duration) {
        if bytes > 0 && !time.is_zero() {
            let mut state = self.state();
            state.rate += NEWEST * (bytes as f64 / time.as_secs_f64() - state.rate);
        }
    }

    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub fn is_slowed(&self) -> bool {
        let state = self.state();
        state.since.is_some_and(|since| since.elapsed() > AGE_FREE)
    }

    /// Waits as long as a write of so many bytes has to.
    pub async fn wait(&self, bytes: u64) {
        let begun = Instant::now();
        while self.is_full() && begun.elapsed() < FULL_TIMEOUT {
            sleep(LOOK_AGAIN).await;
        }
        let wait = {
            let mut state = self.state();
            let now = Instant::now();
            let age = state.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            if age <= AGE_FREE {
                return;
            }
            let cost = cost(bytes, age, state.rate);
            state.paid_until = state.paid_until.max(now) + cost;
            (state.paid_until - now).min(MAX_WAIT)
        };
        sleep(wait).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What writing so many bytes costs at this age: at first what the store takes, later less, so that the age comes down.
fn cost(bytes: u64, age: Duration, rate: f64) -> Duration {
    let over =
        age.saturating_sub(AGE_FREE).as_secs_f64() / AGE_SLOWEST.saturating_sub(AGE_FREE).as_secs_f64();
    let allowed = (rate * (1.0 - 0.75 * over.min(1.0))).max(RATE_LEAST);
    Duration::from_secs_f64(bytes as f64 / allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_older_the_dearer_and_never_dearer_than_the_least_rate() {
        let rate = 40.0 * MIB as f64;
        let at = |seconds| cost(40 * MIB, Duration::from_secs(seconds), rate).as_secs_f64();
        assert!((at(30) - 1.0).abs() < 1e-9);
        assert!(at(60) > at(31) && at(119) > at(60));
        assert!((at(120) - 4.0).abs() < 1e-9 && (at(100_000) - 4.0).abs() < 1e-9);
        assert_eq!(cost(MIB, Duration::from_secs(100_000), 0.0), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn writers_are_slowed_together_once_the_store_is_behind() {
        let begun = Instant::now();
        let pace = Pace::new(Some(begun));
        pace.wait(1000 * MIB).await;
        assert!(begun.elapsed() < Duration::from_millis(5), "nothing is old yet");
        tokio::time::advance(AGE_FREE + Duration::from_millis(1)).await;
        assert!(pace.is_slowed());
        let then = Instant::now();
        futures_util::future::join_all((0..4).map(|_| pace.wait(MIB))).await;
        let expected = 4.0 * MIB as f64 / RATE_FIRST;
        assert!((then.elapsed().as_secs_f64() - expected).abs() < 0.05, "{:?}", then.elapsed());
        pace.set(None);
        assert!(!pace.is_slowed());
    }
}
