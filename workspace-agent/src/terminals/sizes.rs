//! The sizes that a terminal has had, each with the offset of the output at which it began. A viewer that
//! draws the output and changes its size at the same offsets has the same screen as the model. No I/O.

use std::collections::VecDeque;

use protocol::terminal::TerminalSize;

/// Most sizes that are remembered. A viewer that has missed older ones continues with the oldest.
const MAX_SIZES: usize = 1024;

/// The newest sizes, numbered from 0.
#[derive(Debug)]
pub struct SizeLog {
    sizes: VecDeque<(u64, TerminalSize)>,
    /// Number of the oldest.
    first: u64,
}

impl SizeLog {
    /// A terminal's first size.
    pub fn new(size: TerminalSize) -> Self {
        Self { sizes: VecDeque::from([(0, size)]), first: 0 }
    }

    /// The newest size.
    pub fn current(&self) -> TerminalSize {
        self.sizes[self.sizes.len() - 1].1
    }

    /// Adds a size that begins at an offset.
    pub fn push(&mut self, offset: u64, size: TerminalSize) {
        self.sizes.push_back((offset, size));
        if self.sizes.len() > MAX_SIZES {
            self.drop_oldest();
        }
    }

    /// Forgets sizes that ended before an offset.
    pub fn forget_before(&mut self, offset: u64) {
        while self.sizes.get(1).is_some_and(|(next, _)| *next < offset) {
            self.drop_oldest();
        }
    }

    /// The size at an offset, and how many sizes there were up to it.
    pub fn at(&self, offset: u64) -> (TerminalSize, u64) {
        let count = self.sizes.partition_point(|(begin, _)| *begin <= offset).max(1);
        (self.sizes[count - 1].1, self.first + count as u64)
    }

    /// The size after the first `seen`: the offset where it begins, the size, and how many were seen with
    /// it.
    pub fn next(&self, seen: u64) -> Option<(u64, TerminalSize, u64)> {
        let index = seen.saturating_sub(self.first) as usize;
        let (offset, size) = self.sizes.get(index)?;
        Some((*offset, *size, self.first + index as u64 + 1))
    }

    fn drop_oldest(&mut self) {
        self.sizes.pop_front();
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(cols: u16) -> TerminalSize {
        TerminalSize { cols, rows: 2 }
    }

    #[test]
    fn sizes_are_found_by_offset() {
        let mut log = SizeLog::new(size(10));
        log.push(5, size(11));
        log.push(5, size(12));
        log.push(9, size(13));
        assert_eq!(log.at(4), (size(10), 1));
        assert_eq!(log.at(5), (size(12), 3));
        assert_eq!(log.next(1), Some((5, size(11), 2)));
        assert_eq!(log.next(4), None);
        log.forget_before(6);
        assert_eq!(log.at(6), (size(12), 3));
        assert_eq!(log.next(0), Some((5, size(12), 3)));
        assert_eq!(log.current(), size(13));
    }

    #[test]
    fn sizes_are_bounded() {
        let mut log = SizeLog::new(size(1));
        (0..10 * MAX_SIZES).for_each(|_| log.push(0, size(7)));
        assert_eq!(log.sizes.len(), MAX_SIZES);
        assert_eq!(log.at(0).1, 10 * MAX_SIZES as u64 + 1);
    }
}
