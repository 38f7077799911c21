//! A model of a terminal's screen, from which the screen can be redrawn for a client that attaches
//! late. No I/O.

use std::{
    fmt::Write as _,
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
};

use protocol::{terminal::TerminalSize, workspace::cut};

use super::{conceal::ConcealFilter, splitter::SequenceSplitter};

/// Lines above the screen that are kept.
const SCROLLBACK_LINES: usize = 1000;
/// Longest title. The rest is cut.
const MAX_TITLE_BYTES: usize = 256;

/// Hides the text that follows.
const HIDE: &str = "\x1b[8m";

/// The screen after a given amount of a program's output.
pub struct Screen {
    parser: vt100::Parser<Title>,
    splitter: SequenceSplitter,
    conceal: ConcealFilter,
    /// Offset up to which the model has drawn the output. Always between two escape sequences.
    drawn: u64,
}

/// The title that the program set.
#[derive(Default)]
struct Title(String);

impl vt100::Callbacks for Title {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let title: String = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).collect();
        self.0 = cut(title, MAX_TITLE_BYTES);
    }
}

impl Screen {
    /// An empty screen.
    pub fn new(size: TerminalSize) -> Self {
        Self {
            parser: new_parser(cells(size)),
            splitter: SequenceSplitter::default(),
            conceal: ConcealFilter::default(),
            drawn: 0,
        }
    }

    /// Draws more output.
    pub fn push(&mut self, output: &[u8]) {
        let whole = self.splitter.push(output);
        let visible = self.conceal.filter(&whole);
        self.update_model(|parser| parser.process(&visible));
        self.drawn += whole.len() as u64;
    }

    /// Changes the size of the screen.
    pub fn resize(&mut self, size: TerminalSize) {
        let (rows, cols) = cells(size);
        self.update_model(|parser| parser.set_size(rows, cols));
    }

    /// Changes the model. If the library panics on a program's output, the model starts over with
    /// an empty screen. The terminal stays usable, and its output is still in the ring.
    fn update_model(&mut self, change: impl FnOnce(&mut vt100::Parser<Title>)) {
        let size = self.parser.screen().size();
        if catch_unwind(AssertUnwindSafe(|| change(&mut self.parser))).is_err() {
            self.parser = new_parser(size);
        }
    }

    /// The title that the program set with OSC 0 or 2. Empty if it set none.
    pub fn title(&self) -> &str {
        &self.parser.callbacks().0
    }

    /// The offset up to which the model has drawn, and bytes that draw the same screen on a
    /// terminal of this size that was just reset.
    pub fn snapshot(&mut self) -> (u64, Vec<u8>) {
        let alternate = self.parser.screen().alternate_screen();
        // Mode 47 switches between the two screens without changing either.
        if alternate {
            self.parser.process(b"\x1b[?47l");
        }
        let mut drawing = self.scrollback();
        drawing += &self.parser.screen().contents_formatted();
        if alternate {
            self.parser.process(b"\x1b[?47h");
            // 1049 saves the cursor of the primary screen, as the program's own 1049 did.
            drawing += "\x1b[?1049h";
            drawing += &self.parser.screen().contents_formatted();
        }
        drawing += &self.parser.screen().input_mode_formatted();
        if !self.title().is_empty() {
            let _ = write!(drawing, "\x1b]2;{}\x07", self.title());
        }
        if self.conceal.is_hidden() {
            drawing += HIDE;
        }
        (self.drawn, drawing.into_bytes())
    }

    /// Draws all lines from the oldest in the scrollback to the last on the screen. The terminal
    /// scrolls by itself.
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
            // The view starts `left` rows above the bottom. The last view may start higher than
            // that.
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

fn new_parser((rows, cols): (NonZeroU16, NonZeroU16)) -> vt100::Parser<Title> {
    vt100::Parser::new_with_callbacks(rows, cols, SCROLLBACK_LINES, Title::default())
}

fn cells(size: TerminalSize) -> (NonZeroU16, NonZeroU16) {
    let size = size.clamped();
    (
        NonZeroU16::new(size.rows).unwrap_or(NonZeroU16::MIN),
        NonZeroU16::new(size.cols).unwrap_or(NonZeroU16::MIN),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: TerminalSize = TerminalSize { cols: 20, rows: 6 };

    fn assert_same(a: &vt100::Screen, b: &vt100::Screen) {
        assert_eq!(a.contents(), b.contents());
        assert_eq!(a.contents_formatted(), b.contents_formatted());
        assert_eq!(a.input_mode_formatted(), b.input_mode_formatted());
        assert_eq!(a.alternate_screen(), b.alternate_screen());
        assert_eq!(a.cursor_position(), b.cursor_position());
    }

    fn redraw(screen: &mut Screen) -> Screen {
        let (_, drawing) = screen.snapshot();
        let mut fresh = Screen::new(SIZE);
        fresh.push(&drawing);
        fresh
    }

    #[test]
    fn snapshot_includes_scrollback() {
        let mut screen = Screen::new(SIZE);
        for line in 0..50 {
            screen.push(format!("\x1b[3{}mline {line}\r\n", line % 8).as_bytes());
        }
        let mut fresh = redraw(&mut screen);
        for up in 0..=44 {
            screen.parser.screen_mut().set_scrollback(up);
            fresh.parser.screen_mut().set_scrollback(up);
            assert_eq!(screen.parser.screen().contents(), fresh.parser.screen().contents(), "{up} up");
        }
    }

    #[test]
    fn snapshot_keeps_primary_screen() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"$ vim\r\n\x1b[?1049h\x1b[2J\x1b[Htext\x1b[?1h\x1b[?2004h");
        let mut fresh = redraw(&mut screen);
        assert_same(screen.parser.screen(), fresh.parser.screen());
        for screen in [&mut screen, &mut fresh] {
            screen.push(b"\x1b[?1049l");
        }
        assert_same(screen.parser.screen(), fresh.parser.screen());
        assert!(fresh.parser.screen().contents().starts_with("$ vim"));
    }

    #[test]
    fn snapshot_ends_between_sequences() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"ab\x1b[3");
        assert_eq!(screen.snapshot().0, 2);
        screen.push(b"1mc");
        assert_eq!(screen.snapshot().0, 8);
    }

    #[test]
    fn push_survives_a_panic_of_the_model() {
        let mut screen = Screen::new(TerminalSize { cols: 20, rows: 6 });
        screen.push(b"before");
        screen.update_model(|_| panic!("as the library does"));
        screen.push(b"after");
        let (drawn, drawing) = screen.snapshot();
        assert_eq!(drawn, 11);
        assert!(String::from_utf8_lossy(&drawing).contains("after"));
    }

    #[test]
    fn snapshot_keeps_hidden_text_hidden() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"key: \x1b[8mhunter2\x1b[0m ok\r\nagain: \x1b[8m");
        let (_, drawing) = screen.snapshot();
        let drawing = String::from_utf8(drawing).expect("text");
        assert!(!drawing.contains("hunter2") && drawing.contains("ok"), "{drawing:?}");
        // What is typed after the redraw stays hidden too.
        assert!(drawing.ends_with(HIDE), "{drawing:?}");
        screen.push(b"hunter2\x1b[0m");
        let (_, drawing) = screen.snapshot();
        let drawing = String::from_utf8(drawing).expect("text");
        assert!(!drawing.contains("hunter2") && !drawing.contains(HIDE), "{drawing:?}");
    }

    #[test]
    fn hidden_text_scrolls_out_hidden() {
        let mut screen = Screen::new(SIZE);
        screen.push(b"\x1b[8mhunter2\x1b[28m\r\n");
        for line in 0..30 {
            screen.push(format!("line {line}\r\n").as_bytes());
        }
        let (_, drawing) = screen.snapshot();
        assert!(!String::from_utf8_lossy(&drawing).contains("hunter2"));
    }

    #[test]
    fn title_is_bounded_text() {
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
        fn snapshot_draws_the_same_screen(pieces in prop::collection::vec(piece(), 0..40)) {
            let mut screen = Screen::new(SIZE);
            screen.push(&pieces.concat());
            let fresh = redraw(&mut screen);
            let (before, after) = (screen.parser.screen(), fresh.parser.screen());
            prop_assert_eq!(before.contents(), after.contents());
            prop_assert_eq!(before.input_mode_formatted(), after.input_mode_formatted());
            prop_assert_eq!(before.alternate_screen(), after.alternate_screen());
        }
    }
}
