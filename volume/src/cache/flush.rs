//! What of the cache is durable already, so that a flush does no more than it must. Pure.
//!
//! A flush has three steps, of which only the second runs under the cache's lock: sync the data
//! file, append a record that says so, sync the log. A guest flushes often and mostly rewrites
//! blocks that are dirty already. Then the log has not changed since its last sync, and the flush
//! is one sync instead of two.

/// Counts changes, and remembers how many of them are durable.
#[derive(Debug, Default)]
pub struct FlushState {
    /// Changes of the data file or the log so far.
    changes: u64,
    /// Changes that a flush covers.
    flushed_changes: u64,
    /// Length of the log, in slots, at the last point where every record in it was durable, if any.
    durable_slots: Option<u32>,
}

/// A running flush: what it covers.
#[derive(Debug, Clone, Copy)]
pub struct FlushTicket {
    /// The flush covers the records before this slot.
    through: u32,
    changes: u64,
    /// Length of the log including the record of the flush, if no other record came in between.
    covered_slots: Option<u32>,
}

impl FlushState {
    /// Something has changed that a flush must cover.
    pub fn record_change(&mut self) {
        self.changes += 1;
    }

    /// Begins a flush of a log with this many slots. None if everything is durable.
    pub fn begin(&self, slots: u32) -> Option<FlushTicket> {
        let is_durable = self.changes == self.flushed_changes;
        let ticket = FlushTicket { through: slots, changes: self.changes, covered_slots: None };
        (!is_durable).then_some(ticket)
    }

    /// Whether the log has records that are not durable yet, so that the flush must be recorded in
    /// it.
    pub fn needs_record(&self, ticket: &FlushTicket) -> bool {
        self.durable_slots != Some(ticket.through)
    }

    /// The changes that the ticket covers are in the files.
    pub fn record_flushed(&mut self, ticket: &FlushTicket) {
        self.flushed_changes = ticket.changes;
    }

    /// The log was synced.
    pub fn end(&mut self, ticket: FlushTicket) {
        self.durable_slots = ticket.covered_slots;
    }

    /// The log was replaced by one that is durable and covers everything.
    pub fn record_rewrite(&mut self) {
        self.durable_slots = None;
        self.flushed_changes = self.changes;
    }
}

impl FlushTicket {
    pub fn through(&self) -> u32 {
        self.through
    }

    /// The log has this many slots including the record of this flush, which covers all of them.
    pub fn set_covered_slots(&mut self, slots: u32) {
        self.covered_slots = Some(slots);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_is_skipped_when_nothing_changed() {
        let mut flush = FlushState::default();
        assert!(flush.begin(0).is_none());
        flush.record_change();
        let mut ticket = flush.begin(1).expect("a change");
        assert!(flush.needs_record(&ticket));
        ticket.set_covered_slots(2);
        flush.record_flushed(&ticket);
        flush.end(ticket);
        assert!(flush.begin(2).is_none());
    }

    #[test]
    fn unchanged_log_needs_no_record() {
        let mut flush = FlushState::default();
        flush.record_change();
        let mut ticket = flush.begin(1).expect("a change");
        ticket.set_covered_slots(2);
        flush.record_flushed(&ticket);
        flush.end(ticket);
        flush.record_change();
        assert!(!flush.needs_record(&flush.begin(2).expect("a change")), "the log is as it was");
        assert!(flush.needs_record(&flush.begin(3).expect("a change")), "a record was added");
    }
}
