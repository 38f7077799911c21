//! Records which blocks the first minute of a start reads, in their order. The next manifest stores
//! the record, and the next start on an empty cache fetches those blocks first.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::format::manifest::MAX_ORDER_RUNS;

/// How long a start is recorded: the kernel's boot, the shell, the editor's first files.
const RECORDING_TIME: Duration = Duration::from_secs(60);
/// Reads at most this far apart become one run. They share frames anyway.
const MAX_GAP_BLOCKS: u32 = 8;
/// A known order is replaced when it does not have more than this share of the blocks that a start
/// read.
const MAX_MISSING_PER_CENT: u64 = 20;

/// Records one start.
#[derive(Debug)]
pub struct BootOrderRecorder {
    until: Instant,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    /// The order that the head records.
    known: Vec<Range<u32>>,
    /// What this start has read.
    seen: Vec<Range<u32>>,
}

impl BootOrderRecorder {
    /// Begins to record. `known` is the order that the head records.
    pub fn new(known: Vec<Range<u32>>) -> Self {
        let orders = Orders { known, seen: Vec::new() };
        Self { until: Instant::now() + RECORDING_TIME, orders: Mutex::new(orders) }
    }

    /// The order that the head records.
    pub fn known(&self) -> Vec<Range<u32>> {
        self.orders().known.clone()
    }

    /// Adds a read, during the first minute.
    pub fn record_read(&self, range: &Range<u32>) {
        if Instant::now() < self.until {
            add_read(&mut self.orders().seen, range);
        }
    }

    /// The finished record, if it differs enough from the known order to be stored in its place.
    pub fn order_to_store(&self) -> Option<Vec<Range<u32>>> {
        let orders = self.orders();
        let is_finished = Instant::now() >= self.until && !orders.seen.is_empty();
        (is_finished && differs_much(&orders.known, &orders.seen)).then(|| orders.seen.clone())
    }

    /// A manifest in the store records this order now.
    pub fn set_known(&self, order: Vec<Range<u32>>) {
        self.orders().known = order;
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a read to the runs, unless one of them has it.
fn add_read(runs: &mut Vec<Range<u32>>, range: &Range<u32>) {
    if runs.iter().any(|run| run.start <= range.start && range.end <= run.end) {
        return;
    }
    let continues =
        |last: &Range<u32>| (last.start..=last.end.saturating_add(MAX_GAP_BLOCKS)).contains(&range.start);
    if let Some(last) = runs.last_mut().filter(|last| continues(last)) {
        last.end = last.end.max(range.end);
    } else if runs.len() < MAX_ORDER_RUNS {
        runs.push(range.clone());
    }
}

/// Whether more than [`MAX_MISSING_PER_CENT`] of the seen blocks are not among the known ones.
fn differs_much(known: &[Range<u32>], seen: &[Range<u32>]) -> bool {
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

    fn runs_of(reads: &[Range<u32>]) -> Vec<Range<u32>> {
        let mut runs = Vec::new();
        for read in reads {
            add_read(&mut runs, read);
        }
        runs
    }

    #[test]
    fn reads_become_runs_in_order() {
        assert_eq!(runs_of(&[100..101, 101..110, 5..6, 104..106, 7..9, 30..31]), [100..110, 5..9, 30..31]);
        let many: Vec<_> =
            (0..2 * MAX_ORDER_RUNS as u32).map(|number| number * 100..number * 100 + 1).collect();
        assert_eq!(runs_of(&many).len(), MAX_ORDER_RUNS);
    }

    #[test]
    fn order_is_replaced_when_much_is_missing() {
        assert!(differs_much(&[], &[0..1]));
        assert!(!differs_much(&[0..100], &[10..20, 50..60]));
        assert!(!differs_much(&[0..100], &[10..110]));
        assert!(differs_much(&[0..100], &[10..150]));
    }

    #[tokio::test(start_paused = true)]
    async fn recording_ends_after_a_minute() {
        let recorder = BootOrderRecorder::new(Vec::new());
        recorder.record_read(&(0..10));
        assert_eq!(recorder.order_to_store(), None);
        tokio::time::advance(RECORDING_TIME).await;
        recorder.record_read(&(500..510));
        assert_eq!(recorder.order_to_store(), Some(vec![0..10]));
        recorder.set_known(vec![0..10]);
        assert_eq!(recorder.order_to_store(), None);
    }
}
