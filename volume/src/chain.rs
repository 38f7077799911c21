//! Chains of manifests: what a head rests on, and whether the next one may be a delta. Pure.

use protocol::ManifestId;

use crate::manifest::MAX_CHAIN;

/// Deltas of so many bytes together are cheaper to keep than a whole one is to write.
const DELTA_BYTES_FREE: u64 = 256 << 10;

/// A whole manifest and the deltas since, oldest first; the last link is the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    links: Vec<ManifestId>,
    whole_bytes: u64,
    delta_bytes: u64,
}

impl Chain {
    /// Of links with their objects' sizes, the whole one first.
    pub fn new(whole: ManifestId, whole_bytes: u64) -> Self {
        Self { links: vec![whole], whole_bytes, delta_bytes: 0 }
    }

    pub fn head(&self) -> ManifestId {
        *self.links.last().expect("a chain has its whole manifest")
    }

    pub fn links(&self) -> &[ManifestId] {
        &self.links
    }

    pub fn push(&mut self, delta: ManifestId, bytes: u64) {
        self.links.push(delta);
        self.delta_bytes += bytes;
    }

    /// Whether the next may be a delta: opening asks for all links, and half of what a whole one takes has been spent.
    pub fn takes_delta(&self) -> bool {
        self.links.len() < MAX_CHAIN && self.delta_bytes <= (self.whole_bytes / 2).max(DELTA_BYTES_FREE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_bounded_in_links_and_in_bytes() {
        let id = |number: usize| ManifestId([number as u8; 32]);
        let mut chain = Chain::new(id(0), 10 << 20);
        for number in 1..MAX_CHAIN {
            assert!(chain.takes_delta(), "{number}");
            chain.push(id(number), 1000);
        }
        assert!(!chain.takes_delta());
        assert_eq!((chain.links().len(), chain.head()), (MAX_CHAIN, id(MAX_CHAIN - 1)));

        let mut chain = Chain::new(id(0), 10 << 20);
        chain.push(id(1), 5 << 20);
        assert!(chain.takes_delta());
        chain.push(id(2), 1);
        assert!(!chain.takes_delta());

        // What is small need not be rewritten because it doubled.
        let mut chain = Chain::new(id(0), 500);
        chain.push(id(1), 200 << 10);
        assert!(chain.takes_delta());
    }
}
