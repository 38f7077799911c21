//! Numbered requests to a runner: snapshots and repairs. Numbers only grow, so a request that is
//! delivered twice is the same request, and the answer to a later one answers the earlier ones too.
//! Pure.

use protocol::{
    SnapshotId,
    runner::{MAX_REPAIR_OBJECTS, RepairRequest},
};

/// Requests for a snapshot of a running home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequests {
    /// The latest request. Zero if there was none.
    pub requested: u64,
    /// The latest request that has been answered.
    pub answered: u64,
    /// The snapshot that answered it.
    pub answer: Option<SnapshotId>,
}

impl SnapshotRequests {
    /// Records that `snapshot` answers all requests up to `number`. A repeated or unknown answer
    /// changes nothing.
    pub fn answer(&mut self, number: u64, snapshot: SnapshotId) {
        if number > self.answered {
            self.answered = number.min(self.requested);
            self.answer = Some(snapshot);
        }
    }
}

/// Requests to store damaged objects again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairRequests {
    /// The latest request. Zero if there was none.
    pub requested: u64,
    /// The latest request that has been answered.
    pub answered: u64,
    /// The objects of the latest request.
    pub objects: Vec<String>,
}

impl RepairRequests {
    /// The request that the runner should still answer.
    pub fn pending(&self) -> Option<RepairRequest> {
        let is_pending = self.requested > self.answered;
        is_pending.then(|| RepairRequest { number: self.requested, objects: self.objects.clone() })
    }

    /// Whether an answer with this number is new. Only requests that were made can be answered, and
    /// each once.
    pub fn is_answered_by(&self, number: u64) -> bool {
        number > self.answered && number <= self.requested
    }

    /// The objects of one more request. It includes what is still pending, because its answer
    /// answers that too. None if together they are more than one repair takes.
    pub fn merge(&self, objects: &[String]) -> Option<Vec<String>> {
        let mut all = self.pending().map_or_else(Vec::new, |pending| pending.objects);
        for object in objects {
            if !all.contains(object) {
                all.push(object.clone());
            }
        }
        (all.len() <= MAX_REPAIR_OBJECTS).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("t/packs/{number}")).collect()
    }

    #[test]
    fn repair_merges_with_pending_request() {
        let answered = RepairRequests { requested: 3, answered: 3, objects: names(0..2) };
        assert_eq!(answered.merge(&names(5..6)), Some(names(5..6)));
        let pending = RepairRequests { answered: 2, ..answered };
        assert_eq!(pending.merge(&names(1..3)), Some(names(0..3)));
        let full = RepairRequests { objects: names(0..MAX_REPAIR_OBJECTS), ..pending };
        assert_eq!(full.merge(&names(0..3)), Some(full.objects.clone()));
        assert_eq!(full.merge(&names(500..501)), None);
    }
}
