//! A model of a terminal's screen, from which the screen is drawn for a viewer that attaches late. No I/O,
//! no clock.
//!
//! The page draws terminals with xterm.js, so the model does what xterm.js does, also where other terminals
//! differ: in cells and their attributes, wide and combining characters, wrapped rows, scroll regions,
//! character sets, tab stops, modes, links, colours, the alternate screen, and in how a resize moves text
//! between rows. Marks of a shell (OSC 133) move with their rows. A life: [`Screen::push`] gets a program's
//! output, and [`Screen::draw`] returns escape sequences after which a fresh terminal shows the same and
//! continues in the same way. The tests compare both, cell by cell, with xterm.js itself.
//!
//! The program's queries are answered here ([`Screen::take_replies`]), once, whether anybody watches or not.
//!
//! Memory is bounded: 10,000 lines above the screen, at most 8 MiB, packed. What bounds cost in exactness
//! is listed in decision 21.

mod buffer;
mod charset;
mod colors;
mod drawing;
mod emulator;
mod extra;
mod marks;
mod parser;
mod row;
mod width;

pub use colors::{Rgb, Theme};

/// Longest drawing with lines above the screen, in bytes: less than the longest message to a viewer.
const MAX_DRAWING_BYTES: usize = 6 * 1024 * 1024;
/// Fewest columns that the model has. A wide character needs two.
const MIN_COLS: u16 = 2;

/// A terminal's screen after a given amount of a program's output.
#[derive(Debug)]
pub struct Screen {
    parser: parser::Parser,
    terminal: emulator::Emulator,
}

impl Screen {
    /// An empty screen. Sizes below 2 × 1 are raised.
    pub fn new(cols: u16, rows: u16) -> Self {
        let terminal = emulator::Emulator::new(usize::from(cols.max(MIN_COLS)), usize::from(rows.max(1)));
        Self { parser: parser::Parser::default(), terminal }
    }

    /// Draws output, which may be split anywhere.
    pub fn push(&mut self, output: &[u8]) {
        self.parser.parse(output, &mut self.terminal);
    }

    /// Changes the size of the screen.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        let size = (usize::from(cols.max(MIN_COLS)), usize::from(rows.max(1)));
        if size != (self.terminal.cols, self.terminal.height) {
            self.terminal.resize(size.0, size.1);
        }
    }

    /// Sets the colours that a program is told when it asks.
    pub fn set_theme(&mut self, theme: Theme) {
        self.terminal.colors.theme = theme;
    }

    /// The title that the program set with OSC 0 or 2. Empty if it set none.
    pub fn title(&self) -> &str {
        &self.terminal.title
    }

    /// Takes the replies to the program's queries, to be typed into the program.
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.terminal.replies)
    }

    /// Whether the output ends inside a sequence, of which the rest follows.
    pub fn is_in_sequence(&self) -> bool {
        !self.parser.is_at_rest()
    }

    /// Output that removes all lines but the cursor's, which becomes the first. `None` while a program uses
    /// the whole screen, or a part of it.
    pub fn clear_sequence(&self) -> Option<Vec<u8>> {
        let buffer = &self.terminal.primary;
        let is_whole = (buffer.top, buffer.bottom) == (0, self.terminal.height - 1);
        if self.terminal.is_alternate || !is_whole || self.is_in_sequence() {
            return None;
        }
        let above = match buffer.y {
            0 => String::new(),
            rows => format!("\x1b[{rows}S\x1b[{rows}A"),
        };
        Some(format!("{above}\x1b[3J").into_bytes())
    }

    /// Bytes that draw the same screen on a terminal of this size that was just reset. An incomplete
    /// sequence at the end of the output is their end, so later output continues it.
    ///
    /// A drawing of more than 6 MiB leaves out the oldest lines above the screen.
    pub fn draw(&self) -> Vec<u8> {
        self.draw_with(self.terminal.primary.scrollback.len())
    }

    /// Like [`Self::draw`], without the lines above the screen: for a viewer that has them already.
    pub fn draw_screen_only(&self) -> Vec<u8> {
        self.draw_with(0)
    }

    fn draw_with(&self, mut lines_above: usize) -> Vec<u8> {
        let mut drawing = drawing::draw(&self.terminal, self.parser.join(), lines_above).into_bytes();
        while drawing.len() > MAX_DRAWING_BYTES && lines_above > 0 {
            lines_above /= 2;
            drawing = drawing::draw(&self.terminal, self.parser.join(), lines_above).into_bytes();
        }
        drawing.extend_from_slice(&self.parser.pending());
        drawing
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn memory_of_screen_is_bounded() {
        let mut screen = Screen::new(1000, 4);
        // Every cell has another colour, and every row a long link and a character with many marks.
        for row in 0..2000 {
            let mut line = format!("\x1b]8;;https://example.org/{row}/{}\x1b\\e", "x".repeat(4000));
            line.push_str(&"\u{301}".repeat(500));
            for column in 0..999 {
                let _ = write!(line, "\x1b[38;5;{}mx", (row + column) % 256);
            }
            screen.push(line.as_bytes());
            screen.push(b"\r\n");
        }
        assert!(screen.terminal.primary.scrollback_bytes() <= buffer::MAX_SCROLLBACK_BYTES);
        assert!(screen.terminal.extras.link_bytes() <= 1024 * 1024);
    }

    #[test]
    fn drawing_is_bounded() {
        let mut screen = Screen::new(1000, 4);
        for row in 0..500 {
            let mut line = String::new();
            for column in 0..999 {
                let _ = write!(line, "\x1b[38;2;{};1;255;48;2;255;255;{}mx", row % 256, column % 256);
            }
            screen.push(line.as_bytes());
            screen.push(b"\r\n");
        }
        screen.push(b"the last line");
        let drawing = screen.draw();
        assert!(drawing.len() <= MAX_DRAWING_BYTES, "{}", drawing.len());
        assert!(String::from_utf8_lossy(&drawing).contains("the last line"));
    }

    #[test]
    fn lines_above_are_drawn_on_request_only() {
        let mut screen = Screen::new(20, 2);
        screen.push(b"one\r\ntwo\r\nthree");
        let text = |drawing: Vec<u8>| String::from_utf8(drawing).expect("UTF-8");
        assert!(text(screen.draw()).contains("one"));
        let only = text(screen.draw_screen_only());
        assert!(!only.contains("one") && only.contains("two") && only.contains("three"), "{only:?}");
    }

    #[test]
    fn incomplete_sequence_ends_the_drawing() {
        let mut screen = Screen::new(20, 4);
        screen.push(b"a\x1b[3");
        assert!(screen.is_in_sequence());
        assert!(screen.draw().ends_with(b"\x1b[3"));
        // The beginning of a long command is not kept. Its end is not printed.
        screen.push(b"1m\x1b]52;c;");
        screen.push(&vec![b'A'; 100_000]);
        let mut restored = Screen::new(20, 4);
        restored.push(&screen.draw());
        restored.push(b"AAAA\x07b");
        assert!(!String::from_utf8_lossy(&restored.draw()).contains('A'));
    }

    #[test]
    fn marks_survive_scrolling_and_drawing() {
        let text = |drawing: Vec<u8>| String::from_utf8(drawing).expect("UTF-8");
        let mut screen = Screen::new(20, 3);
        screen.push(b"\x1b]7;file://host/home/dev\x07");
        for command in 0..4 {
            screen.push(b"\x1b]133;A\x07$ \x1b]133;B\x07run\r\n\x1b]133;C;start=5\x07");
            screen.push(format!("output {command}\r\n\x1b]133;D;{command};duration=9\x07").as_bytes());
        }
        screen.push(b"\x1b]133;A\x07$ \x1b]133;B\x07");
        let drawing = text(screen.draw());
        assert!(drawing.contains("\x1b]7;file://host/home/dev\x1b\\"), "{drawing:?}");
        let first = "\x1b]133;A\x1b\\$ \x1b]133;B\x1b\\run\r\n\x1b]133;C;start=5\x1b\\output 0\r\n";
        assert!(drawing.contains(first), "{drawing:?}");
        assert_eq!(drawing.matches("\x1b]133;D;").count(), 4);
        let last = "\x1b]133;D;3;duration=9\x1b\\\x1b]133;A\x1b\\$ \x1b]133;B\x1b\\";
        assert!(drawing.contains(last), "{drawing:?}");
        let mut restored = Screen::new(20, 3);
        restored.push(drawing.as_bytes());
        assert_eq!(text(restored.draw()), drawing);
        // What is erased has no marks, and the lines above keep theirs.
        screen.push(b"\x1b[H\x1b[2J");
        assert_eq!(text(screen.draw_screen_only()).matches("\x1b]133;").count(), 0);
        assert!(text(screen.draw()).matches("\x1b]133;").count() > 8);
    }

    #[test]
    fn marks_move_with_text_that_is_reflowed() {
        let mut screen = Screen::new(10, 4);
        screen.push(b"\x1b]133;A\x07$ \x1b]133;B\x07echo 123456789\r\n\x1b]133;C\x07x\r\n\r\n");
        let marked = |screen: &Screen| String::from_utf8(screen.draw()).expect("UTF-8");
        screen.resize(6, 4);
        screen.resize(20, 4);
        let drawing = marked(&screen);
        assert!(drawing.contains("\x1b]133;A\x1b\\$ \x1b]133;B\x1b\\echo 123456789\r\n"), "{drawing:?}");
        assert!(drawing.contains("\x1b]133;C\x1b\\x"), "{drawing:?}");
    }

    #[test]
    fn clear_keeps_the_line_of_the_cursor() {
        let mut screen = Screen::new(20, 3);
        screen.push(b"one\r\ntwo\r\nthree\r\nfour\r\n$ typed");
        let clear = screen.clear_sequence().expect("a whole screen");
        screen.push(&clear);
        let drawing = String::from_utf8(screen.draw()).expect("UTF-8");
        assert!(drawing.contains("$ typed") && !drawing.contains("four"), "{drawing:?}");
        assert!(drawing.ends_with("\x1b[1;8H\x1b[?12l\x1b[?25h"), "{drawing:?}");
        screen.push(b"\x1b[?1049h");
        assert_eq!(screen.clear_sequence(), None);
    }

    #[test]
    fn title_is_bounded_text() {
        let mut screen = Screen::new(20, 4);
        screen.push("\x1b]2;é".as_bytes());
        screen.push(&[b'x'; 5000]);
        screen.push(b"\x07");
        assert_eq!(screen.title().len(), 256);
    }
}
