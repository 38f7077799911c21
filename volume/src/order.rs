//! What the first minute of a start reads, in its order, so that the next start on an empty cache has it fetched ahead.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::manifest::MAX_ORDER_RUNS;

/// A machine's boot, the shell, the editor's first files.
const RECORDED: Duration = Duration::from_secs(60);
/// Reads that lie so close are one run: they share frames anyway.
const GAP_BLOCKS: u32 = 8;
/// Of a known order so many per cent of the blocks may be missing before it is replaced.
const MAX_MISSING_PER_CENT: u64 = 20;

/// Records one start.
#[derive(Debug)]
pub struct Recorder {
    until: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the head says.
    known: Vec<Range<u32>>,
    seen: Vec<Range<u32>>,
}

impl Recorder {
    pub fn new(known: Vec<Range<u32>>) -> Self {
        let state = State { known, seen: Vec::new() };
        Self { until: Instant::now() + RECORDED, state: Mutex::new(state) }
    }

    pub fn known(&self) -> Vec<Range<u32>> {
        self.state().known.clone()
    }

    pub fn note(&self, range: &Range<u32>) {
        if Instant::now() < self.until {
            note(&mut self.state().seen, range);
        }
    }

    /// A finished record that is worth storing in place of the known one.
    pub fn worth_storing(&self) -> Option<Vec<Range<u32>>> {
        let state = self.state();
        let is_done = Instant::now() >= self.until && !state.seen.is_empty();
        (is_done && differs(&state.known, &state.seen)).then(|| state.seen.clone())
    }

    /// This one is in the store now.
    pub fn stored(&self, order: Vec<Range<u32>>) {
        self.state().known = order;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a read to the runs, unless they have it.
fn note(runs: &mut Vec<Range<u32>>, range: &Range<u32>) {
    if runs.iter().any(|run| run.start <= range.start && range.end <= run.end) {
        return;
    }
    let goes_on =
        |last: &Range<u32>| (last.start..=last.end.saturating_add(GAP_BLOCKS)).contains(&range.start);
    if let Some(last) = runs.last_mut().filter(|last| goes_on(last)) {
        last.end = last.end.max(range.end);
    } else if runs.len() < MAX_ORDER_RUNS {
        runs.push(range.clone());
    }
}

/// Whether a good part of what was seen is not known.
fn differs(known: &[Range<u32>], seen: &[Range<u32>]) -> bool {
    let mut sorted: Vec<&Range<u32>> = known.iter().collect();
    sorted.sort_unstable_by_key(|run| run.start);
    let length = |run: &Range<u32>| u64::from(run.end - run.start);
    let mut covered = 0;
    for run in seen {
        let overlaps = sorted.iter().map(|other| other.start.max(run.start)..other.end.min(run.end));
        let together: u64 =
            overlaps.filter(|overlap| overlap.start < overlap.end).map(|run| length(&run)).sum();
        covered += together.min(length(run));
    }
    let all: u64 = seen.iter().map(length).sum();
    (all - covered) * 100 > all * MAX_MISSING_PER_CENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(reads: &[Range<u32>]) -> Vec<Range<u32>> {
        let mut runs = Vec::new();
        for read in reads {
            note(&mut runs, read);
        }
        runs
    }

    #[test]
    fn reads_become_runs_in_their_order() {
        assert_eq!(noted(&[100..101, 101..110, 5..6, 104..106, 7..9, 30..31]), [100..110, 5..9, 30..31]);
        let many: Vec<_> =
            (0..2 * MAX_ORDER_RUNS as u32).map(|number| number * 100..number * 100 + 1).collect();
        assert_eq!(noted(&many).len(), MAX_ORDER_RUNS);
    }

    #[test]
    fn an_order_is_replaced_when_it_misses_much() {
        assert!(differs(&[], &[0..1]));
        assert!(!differs(&[0..100], &[10..20, 50..60]));
        assert!(!differs(&[0..100], &[10..110]));
        assert!(differs(&[0..100], &[10..150]));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_minute_counts() {
        let recorder = Recorder::new(Vec::new());
        recorder.note(&(0..10));
        assert_eq!(recorder.worth_storing(), None);
        tokio::time::advance(RECORDED).await;
        recorder.note(&(500..510));
        assert_eq!(recorder.worth_storing(), Some(vec![0..10]));
        recorder.stored(vec![0..10]);
        assert_eq!(recorder.worth_storing(), None);
    }
}
