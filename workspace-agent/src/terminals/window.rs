//! How much of a program's output is read before its viewers have drawn what was read: the flow control of
//! the PTY. Without it, everything that was read already is drawn before the echo of Ctrl-C. No I/O, no
//! clock.
//!
//! The program waits for the viewer that draws fastest, never for the others. A viewer that draws nothing
//! for a while (a page in the background, a dead network) does not count until it has caught up, and a
//! program that nobody watches does not wait.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// Most bytes that are read and not drawn by the fastest viewer: with what such a viewer still acknowledges,
/// at most [`protocol::terminal::OUTPUT_WINDOW_BYTES`] arrive after a key.
pub const READ_WINDOW_BYTES: u64 = 48 * 1024;
/// A viewer that has drawn nothing for so long, while there was something to draw, does not count.
const STALL_TIMEOUT: Duration = Duration::from_millis(500);

/// What may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRoom {
    /// So many bytes.
    Bytes(u64),
    /// Nothing before this time, or before a viewer has drawn more.
    Nothing(Instant),
}

/// The viewers of a terminal and what they have drawn.
#[derive(Debug, Default)]
pub struct OutputWindow {
    viewers: HashMap<u64, Viewer>,
    next_id: u64,
}

#[derive(Debug)]
struct Viewer {
    drawn: u64,
    /// When it had last drawn something, or had nothing to draw.
    progress_at: Instant,
    is_stalled: bool,
}

impl OutputWindow {
    /// Adds a viewer that has drawn the output up to an offset. Returns its number.
    pub fn add(&mut self, drawn: u64, now: Instant) -> u64 {
        self.next_id += 1;
        self.viewers.insert(self.next_id, Viewer { drawn, progress_at: now, is_stalled: false });
        self.next_id
    }

    /// Removes a viewer.
    pub fn remove(&mut self, id: u64) {
        self.viewers.remove(&id);
    }

    /// Number of viewers.
    pub fn count(&self) -> u32 {
        self.viewers.len() as u32
    }

    /// Records what a viewer has drawn.
    pub fn record_drawn(&mut self, id: u64, drawn: u64, now: Instant) {
        if let Some(viewer) = self.viewers.get_mut(&id)
            && drawn > viewer.drawn
        {
            (viewer.drawn, viewer.progress_at) = (drawn, now);
        }
    }

    /// What may be read after `end` bytes.
    pub fn room(&mut self, end: u64, now: Instant) -> ReadRoom {
        for viewer in self.viewers.values_mut() {
            if end.saturating_sub(viewer.drawn) < READ_WINDOW_BYTES {
                (viewer.progress_at, viewer.is_stalled) = (now, false);
            } else if now >= viewer.progress_at + STALL_TIMEOUT {
                viewer.is_stalled = true;
            }
        }
        let counted = || self.viewers.values().filter(|viewer| !viewer.is_stalled);
        let Some(drawn) = counted().map(|viewer| viewer.drawn).max() else {
            return ReadRoom::Bytes(u64::MAX);
        };
        match READ_WINDOW_BYTES.saturating_sub(end.saturating_sub(drawn)) {
            0 => {
                let first = counted().map(|viewer| viewer.progress_at).min().unwrap_or(now);
                ReadRoom::Nothing(first + STALL_TIMEOUT)
            }
            room => ReadRoom::Bytes(room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fastest_viewer_sets_the_pace() {
        let now = Instant::now();
        let mut window = OutputWindow::default();
        assert_eq!(window.room(1 << 30, now), ReadRoom::Bytes(u64::MAX));
        let (slow, fast) = (window.add(0, now), window.add(0, now));
        assert_eq!(window.room(READ_WINDOW_BYTES - 10, now), ReadRoom::Bytes(10));
        assert_eq!(window.room(READ_WINDOW_BYTES, now), ReadRoom::Nothing(now + STALL_TIMEOUT));
        window.record_drawn(fast, 1000, now);
        assert_eq!(window.room(READ_WINDOW_BYTES, now), ReadRoom::Bytes(1000));
        window.remove(fast);
        assert_eq!(window.room(READ_WINDOW_BYTES, now), ReadRoom::Nothing(now + STALL_TIMEOUT));
        window.remove(slow);
        assert_eq!(window.room(READ_WINDOW_BYTES, now), ReadRoom::Bytes(u64::MAX));
    }

    #[test]
    fn stalled_viewer_counts_after_it_caught_up() {
        let now = Instant::now();
        let later = now + STALL_TIMEOUT;
        let mut window = OutputWindow::default();
        let viewer = window.add(0, now);
        assert_eq!(
            window.room(READ_WINDOW_BYTES, later - Duration::from_millis(1)),
            ReadRoom::Nothing(later)
        );
        assert_eq!(window.room(READ_WINDOW_BYTES, later), ReadRoom::Bytes(u64::MAX));
        let end = 10 * READ_WINDOW_BYTES;
        window.record_drawn(viewer, READ_WINDOW_BYTES, later);
        assert_eq!(window.room(end, later), ReadRoom::Bytes(u64::MAX));
        window.record_drawn(viewer, end, later);
        assert_eq!(window.room(end, later), ReadRoom::Bytes(READ_WINDOW_BYTES));
    }

    #[test]
    fn idle_viewer_does_not_stall() {
        let now = Instant::now();
        let mut window = OutputWindow::default();
        window.add(0, now);
        let later = now + 10 * STALL_TIMEOUT;
        assert_eq!(window.room(0, later), ReadRoom::Bytes(READ_WINDOW_BYTES));
        assert_eq!(window.room(READ_WINDOW_BYTES, later), ReadRoom::Nothing(later + STALL_TIMEOUT));
    }
}
