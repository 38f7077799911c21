//! Chains of manifests: what a head builds on, and whether the next manifest may be a delta. Pure.

use protocol::ManifestId;

use super::manifest::MAX_CHAIN;

/// Deltas of this many bytes together are cheaper to keep than a whole manifest is to write.
const FREE_DELTA_BYTES: u64 = 256 << 10;

/// A whole manifest and the deltas since, oldest first. The last link is the head.
///
/// It is bounded in two ways. Opening a volume fetches all links, so there are at most
/// [`MAX_CHAIN`]. And once the deltas together are half as large as the whole manifest, a new whole
/// one is cheaper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    links: Vec<ManifestId>,
    whole_bytes: u64,
    delta_bytes: u64,
}

impl Chain {
    /// A chain of one whole manifest, with the size of its object.
    pub fn new(whole: ManifestId, whole_bytes: u64) -> Self {
        Self { links: vec![whole], whole_bytes, delta_bytes: 0 }
    }

    /// The newest manifest.
    pub fn head(&self) -> ManifestId {
        *self.links.last().expect("a chain has its whole manifest")
    }

    /// All manifests, the whole one first.
    pub fn links(&self) -> &[ManifestId] {
        &self.links
    }

    /// Adds a delta, with the size of its object.
    pub fn push(&mut self, delta: ManifestId, bytes: u64) {
        self.links.push(delta);
        self.delta_bytes += bytes;
    }

    /// Whether the next manifest may be a delta.
    pub fn accepts_delta(&self) -> bool {
        self.links.len() < MAX_CHAIN && self.delta_bytes <= (self.whole_bytes / 2).max(FREE_DELTA_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_is_bounded_in_links_and_bytes() {
        let id = |number: usize| ManifestId([number as u8; 32]);
        let mut chain = Chain::new(id(0), 10 << 20);
        for number in 1..MAX_CHAIN {
            assert!(chain.accepts_delta(), "{number}");
            chain.push(id(number), 1000);
        }
        assert!(!chain.accepts_delta());
        assert_eq!((chain.links().len(), chain.head()), (MAX_CHAIN, id(MAX_CHAIN - 1)));

        let mut chain = Chain::new(id(0), 10 << 20);
        chain.push(id(1), 5 << 20);
        assert!(chain.accepts_delta());
        chain.push(id(2), 1);
        assert!(!chain.accepts_delta());

        // A small manifest is not rewritten only because its deltas are larger.
        let mut chain = Chain::new(id(0), 500);
        chain.push(id(1), 200 << 10);
        assert!(chain.accepts_delta());
    }
}
