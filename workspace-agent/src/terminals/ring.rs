//! The newest bytes of a terminal's output, numbered from 0. No I/O.

use std::collections::VecDeque;

/// Keeps the newest `capacity` bytes of a stream. Older bytes are dropped; their numbers are not
/// used again.
#[derive(Debug)]
pub struct OutputRing {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Number of the byte after the newest.
    end: u64,
}

impl OutputRing {
    /// An empty ring.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity, end: 0 }
    }

    /// Offset of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Offset after the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends bytes to the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.capacity);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    /// Reads at most `max` bytes from `offset` on. Returns `None` if the bytes were dropped or do
    /// not exist yet.
    pub fn read(&self, offset: u64, max: usize) -> Option<Vec<u8>> {
        if offset < self.start() || offset > self.end {
            return None;
        }
        let from = (offset - self.start()) as usize;
        let to = from.saturating_add(max).min(self.bytes.len());
        Some(self.bytes.range(from..to).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ring_is_the_tail_of_the_stream(
            capacity in 1_usize..64,
            pushes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..12),
            max in 0_usize..80,
        ) {
            let mut ring = OutputRing::new(capacity);
            let mut all = Vec::new();
            for push in &pushes {
                ring.push(push);
                all.extend_from_slice(push);
                prop_assert_eq!(ring.end(), all.len() as u64);
                prop_assert_eq!(ring.start(), all.len().saturating_sub(capacity) as u64);
                for offset in 0..=all.len() as u64 + 1 {
                    let expected = (offset >= ring.start() && offset <= ring.end()).then(|| {
                        let from = offset as usize;
                        all[from..(from + max).min(all.len())].to_vec()
                    });
                    prop_assert_eq!(ring.read(offset, max), expected);
                }
            }
        }
    }
}
