//! The model of a terminal's screen, with the offset of the output that it has drawn. No I/O.

use std::panic::{AssertUnwindSafe, catch_unwind};

use protocol::terminal::TerminalSize;
use screen::{Screen, Theme};

/// The screen after a given amount of a program's output.
pub struct ScreenModel {
    screen: Screen,
    size: TerminalSize,
    /// Offset up to which the output is drawn.
    drawn: u64,
    /// Number of sizes that were applied, for [`super::sizes::SizeLog`].
    sizes: u64,
}

/// A drawing of the screen.
#[derive(Debug)]
pub struct Snapshot {
    /// Offset of the output that follows.
    pub offset: u64,
    /// The size on which it is drawn.
    pub size: TerminalSize,
    /// Number of sizes that were applied.
    pub sizes: u64,
    /// Bytes that draw the screen on a terminal of this size that was just reset.
    pub screen: Vec<u8>,
}

impl ScreenModel {
    /// An empty screen.
    pub fn new(size: TerminalSize) -> Self {
        Self { screen: Screen::new(size.cols, size.rows), size, drawn: 0, sizes: 1 }
    }

    /// Offset up to which the output is drawn.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Number of sizes that were applied.
    pub fn sizes(&self) -> u64 {
        self.sizes
    }

    /// Draws more output. Returns the replies to the program's queries in it.
    pub fn push(&mut self, output: &[u8]) -> Vec<u8> {
        self.drawn += output.len() as u64;
        self.update(|screen| screen.push(output));
        self.screen.take_replies()
    }

    /// Changes the size of the screen. `sizes`: the number of sizes that were applied with this one.
    pub fn resize(&mut self, size: TerminalSize, sizes: u64) {
        (self.size, self.sizes) = (size, sizes);
        self.update(|screen| screen.resize(size.cols, size.rows));
    }

    /// Sets the colours that a program is told.
    pub fn set_theme(&mut self, theme: Theme) {
        self.screen.set_theme(theme);
    }

    /// The title that the program set. Empty if it set none.
    pub fn title(&self) -> &str {
        self.screen.title()
    }

    /// Whether the output ends inside a sequence.
    pub fn is_in_sequence(&self) -> bool {
        self.screen.is_in_sequence()
    }

    /// Output that removes all lines but the cursor's, if it may be removed.
    pub fn clear_sequence(&self) -> Option<Vec<u8>> {
        self.screen.clear_sequence()
    }

    /// Draws the screen, perhaps with the lines above it.
    pub fn snapshot(&self, with_lines_above: bool) -> Snapshot {
        let screen = if with_lines_above { self.screen.draw() } else { self.screen.draw_screen_only() };
        Snapshot { offset: self.drawn, size: self.size, sizes: self.sizes, screen }
    }

    /// Changes the model. Should it panic on a program's output, it starts over with an empty screen: the
    /// terminal stays usable, and its output is still in the ring.
    fn update(&mut self, change: impl FnOnce(&mut Screen)) {
        if catch_unwind(AssertUnwindSafe(|| change(&mut self.screen))).is_err() {
            self.screen = Screen::new(self.size.cols, self.size.rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_survives_a_panic() {
        let mut model = ScreenModel::new(TerminalSize { cols: 20, rows: 6 });
        model.push(b"before");
        model.update(|_| panic!("as a mistake would"));
        model.push(b"after");
        let snapshot = model.snapshot(true);
        assert_eq!(snapshot.offset, 11);
        assert!(String::from_utf8_lossy(&snapshot.screen).contains("after"));
    }
}
