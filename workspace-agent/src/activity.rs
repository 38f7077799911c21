//! When the workspace was last used. An idle workspace is stopped, so whatever somebody may wait for
//! counts as use.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Load of a guest above which something runs that somebody may wait for.
const BUSY_LOAD: f64 = 0.3;
/// Unit of the load averages of `sysinfo`.
const LOAD_SCALE: f64 = 65_536.0;

/// Records uses of the workspace.
pub struct Activity {
    last: Mutex<Instant>,
    running: AtomicUsize,
}

impl Default for Activity {
    fn default() -> Self {
        Self { last: Mutex::new(Instant::now()), running: AtomicUsize::new(0) }
    }
}

impl Activity {
    /// Records a use at this instant.
    pub fn record(&self) {
        self.record_at(Instant::now());
    }

    /// Records a use at an earlier instant.
    pub fn record_at(&self, at: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = at.max(*last);
    }

    /// Counts as use until the guard is dropped.
    pub fn begin(&self) -> ActivityGuard<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        ActivityGuard(self)
    }

    /// Whether a guard of [`Self::begin`] exists.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// How long ago the last use was. Zero while something runs.
    pub fn idle(&self) -> Duration {
        if self.is_running() {
            return Duration::ZERO;
        }
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// See [`Activity::begin`].
pub struct ActivityGuard<'a>(&'a Activity);

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        self.0.record();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether programs use the guest's CPUs, such as a job in the background.
pub fn is_guest_busy() -> bool {
    let load = rustix::system::sysinfo().loads[0];
    load as f64 / LOAD_SCALE > BUSY_LOAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_begins_after_last_use() {
        let activity = Activity::default();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
        activity.record_at(long_ago.expect("the host has run for a minute"));
        assert!(activity.idle() < Duration::from_secs(30), "an older use changes nothing");
        assert!(!activity.is_running());
        let running = activity.begin();
        assert!(activity.is_running());
        assert_eq!(activity.idle(), Duration::ZERO);
        drop(running);
        assert!(activity.idle() < Duration::from_secs(30));
    }
}
