//! Snapshots that are complete in the store and wait for the controller to commit them. Pure.

use protocol::ManifestId;
use tokio::time::Instant;

/// The newest committed manifest, and those that were stored since.
#[derive(Debug)]
pub struct PendingCommits {
    committed: Option<ManifestId>,
    /// Oldest first; each with the time of the oldest write that it is the first to hold.
    pending: Vec<(ManifestId, Instant)>,
}

impl PendingCommits {
    /// Begins with the head that the volume was opened at.
    pub fn new(head: Option<ManifestId>) -> Self {
        Self { committed: head, pending: Vec::new() }
    }

    pub fn committed(&self) -> Option<ManifestId> {
        self.committed
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Time of the oldest write that only waiting snapshots hold.
    pub fn oldest_write(&self) -> Option<Instant> {
        self.pending.iter().map(|(_, oldest_write)| *oldest_write).min()
    }

    /// A snapshot was stored.
    pub fn add(&mut self, manifest: ManifestId, oldest_write: Instant) {
        self.pending.push((manifest, oldest_write));
    }

    /// The controller has committed this manifest, and with it all older ones. Returns false if it
    /// is unknown; repeating the last one is fine.
    pub fn confirm(&mut self, manifest: ManifestId) -> bool {
        if self.committed == Some(manifest) {
            return true;
        }
        let Some(index) = self.pending.iter().position(|(stored, _)| *stored == manifest) else {
            return false;
        };
        self.pending.drain(..=index);
        self.committed = Some(manifest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_confirms_older_snapshots_too() {
        let id = |number| ManifestId([number; 32]);
        let mut commits = PendingCommits::new(None);
        for number in 1..=3 {
            commits.add(id(number), Instant::now());
        }
        assert!(commits.confirm(id(2)) && commits.confirm(id(2)));
        assert_eq!((commits.committed(), commits.len()), (Some(id(2)), 1));
        assert!(!commits.confirm(id(1)), "it is behind the committed one");
    }
}
