//! What a terminal's screen shows, so that it can be drawn anew for someone who comes late. No I/O.

use std::{
    fmt::Write as _,
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
};

use protocol::{terminal::TerminalSize, workspace::cut};

use super::sequence::Sequencer;

/// Lines that are kept above the screen.
const SCROLLBACK_LINES: usize = 1000;
/// Longest title.
const MAX_TITLE_BYTES: usize = 256;

/// A screen model fed with a terminal's output.
pub struct Screen {
    parser: vt100::Parser<Title>,
    sequencer: Sequencer,
    /// Output that the model has seen: always between two sequences.
    drawn: u64,
}

#[derive(Default)]
struct Title(String);

impl vt100::Callbacks for Title {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let title: String = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).collect();
        self.0 = cut(title, MAX_TITLE_BYTES);
    }
}

impl Screen {
    pub fn new(size: TerminalSize) -> Self {
        Self { parser: parser(cells(size)), sequencer: Sequencer::default(), drawn: 0 }
    }

    pub fn push(&mut self, output: &[u8]) {
        let whole = self.sequencer.push(output);
        self.model(|parser| parser.process(&whole));
        self.drawn += whole.len() as u64;
    }

    pub fn resize(&mut self, size: TerminalSize) {
        let (rows, cols) = cells(size);
        self.model(|parser| parser.set_size(rows, cols));
    }

    /// Changes the model. Where the library does not survive a program's output, the model begins anew: a terminal goes on
    /// whatever is printed in it, and its bytes are in the ring.
    fn model(&mut self, change: impl FnOnce(&mut vt100::Parser<Title>)) {
        let size = self.parser.screen().size();
        if catch_unwind(AssertUnwindSafe(|| change(&mut self.parser))).is_err() {
            self.parser = parser(size);
        }
    }

    /// What the program set by OSC 0 or 2; empty where it set none.
    pub fn title(&self) -> &str {
        &self.parser.callbacks().0
    }

    /// The offset up to which the model has drawn, and bytes that draw the same on a terminal of this size that has just been reset.
    pub fn snapshot(&mut self) -> (u64, Vec<u8>) {
        let alternate = self.parser.screen().alternate_screen();
        // Mode 47 switches between the two screens and changes neither.
        if alternate {
            self.parser.process(b"\x1b[?47l");
        }
        let mut drawing = self.scrollback();
        drawing += &self.parser.screen().contents_formatted();
        if alternate {
            self.parser.process(b"\x1b[?47h");
            // 1049 keeps the cursor of the primary screen, as the program's own 1049 did.
            drawing += "\x1b[?1049h";
            drawing += &self.parser.screen().contents_formatted();
        }
        drawing += &self.parser.screen().input_mode_formatted();
        if !self.title().is_empty() {
            let _ = write!(drawing, "\x1b]2;{}\x07", self.title());
        }
        (self.drawn, drawing.into_bytes())
    }

    /// All lines, those above the screen and those on it, each below the other: the terminal scrolls by itself.
    fn scrollback(&mut self) -> String {
        let screen = self.parser.screen_mut();
        let (rows, cols) = screen.size();
        let rows = usize::from(rows.get());
        let above = {
            screen.set_scrollback(usize::MAX);
            screen.scrollback()
        };
        let mut drawing = String::new();
        if above == 0 {
            return drawing;
        }
        let mut left = above + rows;
        while left > 0 {
            // The window shows the rows from `left` above the bottom on; its last one may begin higher than that.
            let offset = left.saturating_sub(rows);
            screen.set_scrollback(offset);
            let shown = left.min(rows);
            let lines: Vec<String> = screen.rows_formatted(0, cols.get()).take(shown).collect();
            for (row, line) in lines.iter().enumerate() {
                drawing += line;
                drawing += "\x1b[m";
                left -= 1;
                if left > 0 && !screen.row_wrapped(row as u16) {
                    drawing += "\r\n";
                }
            }
        }
        screen.set_scrollback(0);
        drawing
    }
}

fn parser((rows, cols): (NonZeroU16, NonZeroU16)) -> vt100::Parser<Title> {
    vt100::Parser::new_with_callbacks(rows, cols, SCROLLBACK_LINES, Title::default())
}

fn cells(size: TerminalSize) -> (NonZeroU16, NonZeroU16) {
    let size = size.clamped();
    (
        NonZeroU16::new(size.rows).unwrap_or(NonZeroU16::MIN),
        NonZeroU16::new(size.cols).unwrap_or(NonZeroU16::MIN),
    )
}

/// See [`crate::fuzzing`].
pub fn fuzz(output: &[u8]) {
    let mut screen = Screen::new(TerminalSize { cols: 20, rows: 6 });
    output.chunks(7).for_each(|piece| screen.push(piece));
    screen.snapshot();
    screen.resize(TerminalSize { cols: 3, rows: 2 });
    screen.push(output);
    let (drawn, _) = screen.snapshot();
    assert!(drawn <= 2 * output.len() as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: TerminalSize = TerminalSize { cols: 20, rows: 6 };

    fn same(a: &vt100::Screen, b: &vt100::Screen) {
        assert_eq!(a.contents(), b.contents());
        assert_eq!(a.contents_formatted(), b.contents_formatted());
        assert_eq!(a.input_mode_formatted(), b.input_mode_formatted());
        assert_eq!(a.alternate_screen(), b.alternate_screen());
        assert_eq!(a.cursor_position(), b.cursor_position());
    }

    fn redrawn(screen: &mut Screen) -> Screen {
        let (_, drawing) = screen.snapshot();
        let mut fresh = Screen::new(SIZE);
        fresh.push(&drawing);
        fresh
    }

    #[test]
    fn a_late_viewer_sees_the_lines_above_too() {
        let mut screen = Screen::new(SIZE);
        for line in 0..50 {
            screen.push(format!("\x1b[3{}mline {line}\r\n", line % 8).as_bytes());
        }
        let mut fresh = redrawn(&mut screen);
        for up in 0..=44 {
            screen.parser.screen_mut().set_scrollback(up);
            fresh.parser.screen_mut().set_scrollback(up);
            assert_eq!(screen.parser.screen().contents(), fresh.parser.screen().contents(), "{up} up");
        }
    }

    #[test]
    fn leaving_an_editor_shows_the_shell_again() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"$ vim\r\n\x1b[?1049h\x1b[2J\x1b[Htext\x1b[?1h\x1b[?2004h");
        let mut fresh = redrawn(&mut screen);
        same(screen.parser.screen(), fresh.parser.screen());
        for screen in [&mut screen, &mut fresh] {
            screen.push(b"\x1b[?1049l");
        }
        same(screen.parser.screen(), fresh.parser.screen());
        assert!(fresh.parser.screen().contents().starts_with("$ vim"));
    }

    #[test]
    fn a_snapshot_ends_between_sequences() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"ab\x1b[3");
        assert_eq!(screen.snapshot().0, 2);
        screen.push(b"1mc");
        assert_eq!(screen.snapshot().0, 8);
    }

    #[test]
    fn a_terminal_goes_on_after_what_its_model_does_not_survive() {
        let mut screen = Screen::new(TerminalSize { cols: 20, rows: 6 });
        screen.push(b"before");
        screen.model(|_| panic!("as the library does"));
        screen.push(b"after");
        let (drawn, drawing) = screen.snapshot();
        assert_eq!(drawn, 11);
        assert!(String::from_utf8_lossy(&drawing).contains("after"));
    }

    #[test]
    fn titles_are_bounded_text() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"\x1b]0;a\nb\x07");
        assert_eq!(screen.title(), "ab");
        screen.push(format!("\x1b]2;{}\x07", "x".repeat(5000)).as_bytes());
        assert_eq!(screen.title().len(), MAX_TITLE_BYTES);
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-zé漢😀 ]{0,30}".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()),
            (0_u8..8).prop_map(|n| format!("\x1b[{};3{n}m", n % 2).into_bytes()),
            (1_u8..8, 1_u8..22).prop_map(|(row, col)| format!("\x1b[{row};{col}H").into_bytes()),
            prop::sample::select(vec![
                "\x1b[J",
                "\x1b[2J",
                "\x1b[K",
                "\x1b[?1h",
                "\x1b[?1l",
                "\x1b[?2004h",
                "\x1b[?25l",
                "\x1b[?25h",
                "\x1b[?1000h",
                "\x1b[?1006h",
                "\x1b[L",
                "\x1b[M",
                "\x1b[P",
                "\x1b[@",
                "\x08",
                "\t",
                "\x1b=",
                "\x1bM",
                "\x1b[S",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #[test]
        fn a_snapshot_draws_the_same(pieces in prop::collection::vec(piece(), 0..40)) {
            let mut screen = Screen::new(SIZE);
            screen.push(&pieces.concat());
            let fresh = redrawn(&mut screen);
            prop_assert_eq!(screen.parser.screen().contents(), fresh.parser.screen().contents());
            prop_assert_eq!(screen.parser.screen().input_mode_formatted(), fresh.parser.screen().input_mode_formatted());
            prop_assert_eq!(screen.parser.screen().alternate_screen(), fresh.parser.screen().alternate_screen());
        }
    }
}
