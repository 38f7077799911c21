//! Tells those who follow documents that something has changed, without a queue: they look at what they
//! follow when they have time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

/// Counts what happens to one document.
#[derive(Debug, Default)]
pub struct DocumentPulse {
    edits: AtomicU64,
    saves: AtomicU64,
    viewers: AtomicUsize,
    /// Changes with every document.
    changes: watch::Sender<u64>,
}

impl DocumentPulse {
    /// The pulse of a new document. Each change of it is one of `changes`.
    pub fn new(changes: watch::Sender<u64>) -> Self {
        Self { changes, ..Self::default() }
    }

    /// How often the text was edited.
    pub fn edits(&self) -> u64 {
        self.edits.load(Ordering::Acquire)
    }

    /// How often the file was saved.
    pub fn saves(&self) -> u64 {
        self.saves.load(Ordering::Acquire)
    }

    /// How many clients have the document open.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Acquire)
    }

    /// Records a change of the text.
    pub fn record_edit(&self) {
        self.edits.fetch_add(1, Ordering::AcqRel);
        self.report();
    }

    /// Records that the file is equal to the text.
    pub fn record_save(&self) {
        self.saves.fetch_add(1, Ordering::AcqRel);
        self.report();
    }

    /// Records how many clients have the document open.
    pub fn set_viewers(&self, viewers: usize) {
        self.viewers.store(viewers, Ordering::Release);
        self.report();
    }

    fn report(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}
