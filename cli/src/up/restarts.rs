//! How often a part that has exited may be started again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Most restarts of a part within [`RESTART_WINDOW`].
const MAX_RESTARTS: usize = 5;
/// The time in which restarts are counted.
const RESTART_WINDOW: Duration = Duration::from_mins(10);

/// Restarts of a part in the last minutes.
#[derive(Debug, Default)]
pub struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Counts a restart. Returns false if there were too many.
    pub fn admit(&mut self, now: Instant) -> bool {
        self.0.retain(|then| now.duration_since(*then) < RESTART_WINDOW);
        self.0.push_back(now);
        self.0.len() <= MAX_RESTARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_restarts_are_forgotten() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        for _ in 0..MAX_RESTARTS {
            assert!(restarts.admit(start));
        }
        assert!(!restarts.admit(start + RESTART_WINDOW / 2));
        assert!(restarts.admit(start + RESTART_WINDOW * 2));
    }
}
