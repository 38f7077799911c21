//! Draws a terminal as escape sequences: on a terminal of the same size that was just reset, they make the
//! same cells, wrap marks, cursor, modes and everything else that later output depends on.
//!
//! Most cells are simply printed. What printing cannot make, such as a blank cell with an underline, is
//! made by the means that made it in the first place: the rest of a wide character.

use std::fmt::Write as _;

use crate::{
    buffer::{Buffer, SavedCursor, TAB_WIDTH},
    charset::Charset,
    emulator::{Charsets, Emulator, Modes, Pen},
    extra::Extra,
    marks::MarkKind,
    parser::Join,
    row::{Row, Style, bits},
};

/// A wide character that is soon overwritten.
const WIDE: &str = "\u{3000}";

/// Draws the terminal with at most `lines_above` lines above its screen.
pub fn draw(terminal: &Emulator, join: Join, lines_above: usize) -> String {
    let mut drawing = Drawing { out: String::new(), terminal, lines_above, style: Style::default(), link: 0 };
    drawing.draw_settings();
    drawing.draw_buffer(&terminal.primary);
    if terminal.is_alternate {
        drawing.draw_margins(&terminal.primary);
        drawing.place_cursor(&terminal.primary);
        drawing.set_style(Style::default());
        drawing.out += "\x1b[?1047h\x1b[H";
        drawing.draw_buffer(&terminal.alternate);
    }
    drawing.draw_state(join);
    drawing.out
}

struct Drawing<'a> {
    out: String,
    terminal: &'a Emulator,
    lines_above: usize,
    /// The style that the drawing's pen has.
    style: Style,
    /// The link that the drawing's pen has.
    link: u32,
}

impl Drawing<'_> {
    fn add(&mut self, arguments: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(arguments);
    }

    /// What a reset does not reset.
    fn draw_settings(&mut self) {
        self.out += "\x1b[20l";
        self.terminal.colors.draw(&mut self.out);
        if !self.terminal.title.is_empty() {
            let title = &self.terminal.title;
            self.add(format_args!("\x1b]2;{title}\x1b\\"));
        }
        if !self.terminal.directory.is_empty() {
            let directory = &self.terminal.directory;
            self.add(format_args!("\x1b]7;{directory}\x1b\\"));
        }
    }

    // Styles.

    fn set_style(&mut self, style: Style) {
        if style == self.style {
            return;
        }
        let extra = self.terminal.extras.get(style.extra);
        self.set_bits(style.fg, style.bg, extra);
        self.style = style;
    }

    /// Sets the pen. An underline without further attributes cannot be set, and is not shown either.
    fn set_bits(&mut self, fg: u32, bg: u32, extra: Extra) {
        self.set_link(extra.link);
        self.out += "\x1b[";
        let attributes = [
            (fg & bits::BOLD, 1),
            (bg & bits::DIM, 2),
            (bg & bits::ITALIC, 3),
            (fg & bits::BLINK, 5),
            (fg & bits::INVERSE, 7),
            (fg & bits::INVISIBLE, 8),
            (fg & bits::STRIKETHROUGH, 9),
            (bg & bits::OVERLINE, 53),
        ];
        for (bit, number) in attributes {
            if bit != 0 {
                self.add(format_args!(";{number}"));
            }
        }
        if fg & bits::UNDERLINE != 0 && extra.underline != 0 {
            self.add(format_args!(";4:{}", extra.underline));
        }
        self.add_color(fg, 30);
        self.add_color(bg, 40);
        self.add_color(extra.color, 50);
        self.out.push('m');
        if bg & bits::PROTECTED != 0 {
            self.out += "\x1b[1\"q";
        }
    }

    fn add_color(&mut self, color: u32, base: u32) {
        let value = color & 0xff;
        match color & bits::COLOR_MODE {
            bits::PALETTE_16 if value < 8 => self.add(format_args!(";{}", base + value)),
            bits::PALETTE_16 => self.add(format_args!(";{}", base + 60 + value - 8)),
            bits::PALETTE_256 => self.add(format_args!(";{};5;{value}", base + 8)),
            bits::RGB => {
                let (red, green) = (color >> 16 & 0xff, color >> 8 & 0xff);
                self.add(format_args!(";{};2;{red};{green};{value}", base + 8));
            }
            _ => {}
        }
    }

    fn set_link(&mut self, number: u32) {
        if number == self.link {
            return;
        }
        self.link = number;
        match self.terminal.extras.link(number) {
            Some(link) => {
                let name = if link.name.is_empty() { String::new() } else { format!("id={}", link.name) };
                let _ = write!(self.out, "\x1b]8;{name};{}\x1b\\", link.target);
            }
            None => self.out += "\x1b]8;;\x1b\\",
        }
    }

    // Rows.

    fn go_to_column(&mut self, column: usize) {
        self.add(format_args!("\x1b[{}G", column + 1));
    }

    /// Draws the lines of a buffer from the oldest. The terminal scrolls by itself.
    fn draw_buffer(&mut self, buffer: &Buffer) {
        let above = buffer.scrollback.len();
        // No sequence restores the lines above the alternate screen.
        let is_alternate = !buffer.has_scrollback;
        let first = if is_alternate { above } else { above.saturating_sub(self.lines_above) };
        let cols = self.terminal.cols;
        let drawable = |line: usize| {
            let mut row = match buffer.scrollback.get(line) {
                Some(row) => row.unpack(),
                None => buffer.rows[line - above].clone(),
            };
            row.clear_odd_cells(cols);
            row
        };
        let mut row = drawable(first);
        let mut is_first_drawn_over = false;
        // The alternate screen's first row may continue one that is gone, which is made and scrolls away.
        if row.is_wrapped && is_alternate {
            self.go_to_column(cols - 1);
            self.out.push(' ');
            is_first_drawn_over = self.go_to_next_row(&Row::default(), true);
        }
        let last = above + buffer.rows.len() - 1;
        for line in first..=last {
            let is_saved = buffer.saved.line == line || (line == last && buffer.saved.line > last);
            if is_saved && !is_alternate {
                self.save_cursor(&buffer.saved);
            }
            self.draw_row(&row, is_first_drawn_over);
            if line == last {
                break;
            }
            let next = drawable(line + 1);
            is_first_drawn_over = self.go_to_next_row(&row, next.is_wrapped);
            row = next;
        }
        self.set_style(Style::default());
        if is_alternate {
            let y = buffer.saved.line.saturating_sub(above).min(self.terminal.height - 1);
            self.add(format_args!("\x1b[{};1H", y + 1));
            self.save_cursor(&buffer.saved);
        }
    }

    fn save_cursor(&mut self, saved: &SavedCursor) {
        if *saved == SavedCursor::default() {
            return;
        }
        self.go_to_column(saved.x.min(self.terminal.cols - 1));
        self.set_bits(saved.fg, saved.bg, Extra::default());
        if saved.fg & bits::UNDERLINE != 0 {
            self.out += "\x1b[4m";
        } else if saved.has_extra {
            self.out += "\x1b]8;;x\x1b\\";
        }
        self.designate(0, saved.charset);
        self.out += "\x1b7";
        if saved.has_extra {
            self.out += "\x1b]8;;\x1b\\";
        }
        self.designate(0, None);
        self.out += "\x1b[m\r";
        self.style = Style::default();
        self.link = 0;
    }

    fn designate(&mut self, level: usize, charset: Charset) {
        let intermediate = ['(', ')', '*', '+'][level];
        self.add(format_args!("\x1b{intermediate}{}", char::from(charset.unwrap_or(b'B'))));
    }

    /// Draws a row at whose beginning the cursor is. Its cells are blank, except perhaps the first.
    fn draw_row(&mut self, row: &Row, is_first_drawn_over: bool) {
        let cols = self.terminal.cols.min(row.len());
        // A cell that is not blank any more.
        let mut drawn_over = is_first_drawn_over.then_some(0);
        let mut cursor = 0;
        let mut at = 0;
        let mut marks = marks_in_order(row, cols).into_iter().peekable();
        while at < cols {
            while let Some((column, kind)) = marks.next_if(|(column, _)| *column <= at) {
                self.go_from(cursor, column.max(cursor));
                cursor = column.max(cursor);
                kind.draw(&mut self.out);
            }
            let cell = row.cells()[at];
            let width = usize::from(cell.width());
            if cell.has_content() {
                self.go_from(cursor, at);
                self.set_style(cell.style);
                if width == 0 {
                    // A mark of its own: nothing may come before that it would be joined to.
                    self.out += "\x1b[?0h";
                }
                row.push_text(at, &mut self.out);
                at += width.max(1);
                cursor = at;
                continue;
            }
            if width == 0 {
                at += 1;
            } else if is_erased(cell.style) {
                let end = marks.peek().map_or(cols, |(column, _)| *column);
                let run = row.cells()[at..end].iter().take_while(|other| **other == cell).count();
                let is_drawn_over = drawn_over.is_some_and(|column| (at..at + run).contains(&column));
                if !cell.is_default() || is_drawn_over {
                    self.go_from(cursor, at);
                    cursor = at;
                    self.set_style(cell.style);
                    self.add(format_args!("\x1b[{run}X"));
                }
                at += run;
            } else {
                self.go_from(cursor, at);
                if at + 1 < cols {
                    // The rest of a wide character whose second half is overwritten.
                    self.out += WIDE;
                    self.go_to_column(at + 1);
                    drawn_over = Some(at + 1);
                }
                // In the last column, a space looks the same.
                self.set_style(cell.style);
                self.out.push(' ');
                cursor = at + if at + 1 < cols { 2 } else { 1 };
                at += 1;
            }
        }
        // In the second half of a wide character at the end.
        marks.for_each(|(_, kind)| kind.draw(&mut self.out));
    }

    fn go_from(&mut self, cursor: usize, column: usize) {
        if cursor != column {
            self.go_to_column(column);
        }
    }

    /// Goes from a row that was drawn to the beginning of the next. Returns whether the next row's first
    /// cell is drawn over.
    fn go_to_next_row(&mut self, row: &Row, is_wrapped: bool) -> bool {
        let cols = self.terminal.cols;
        if !is_wrapped {
            self.set_style(Style::default());
            self.out += "\r\n";
            return false;
        }
        let last = row.cell(cols - 1);
        let filler = last.filter(|cell| !cell.has_content() && cell.width() > 0).map(|cell| cell.style);
        if let Some(style) = filler {
            // A wide character that does not fit leaves such a cell.
            self.go_to_column(cols - 1);
            self.set_style(style);
            self.out += WIDE;
            self.set_style(Style::default());
            self.add(format_args!("\r\x1b[{cols}X"));
            return false;
        }
        self.set_style(Style::default());
        self.out += " \r";
        true
    }

    // What is not in cells.

    fn draw_margins(&mut self, buffer: &Buffer) {
        let default: Vec<usize> = (0..self.terminal.cols).step_by(TAB_WIDTH).collect();
        let tabs: Vec<usize> =
            (0..self.terminal.cols).filter(|column| buffer.tabs.get(*column) == Some(&true)).collect();
        if tabs != default {
            self.out += "\x1b[3g";
            for column in tabs {
                self.go_to_column(column);
                self.out += "\x1bH";
            }
        }
        if (buffer.top, buffer.bottom) != (0, self.terminal.height - 1) {
            self.add(format_args!("\x1b[{};{}r", buffer.top + 1, buffer.bottom + 1));
        }
    }

    fn go_to(&mut self, buffer: &Buffer, x: usize) {
        let origin = if self.terminal.modes.origin { buffer.top } else { 0 };
        let row = buffer.y.saturating_sub(origin);
        self.add(format_args!("\x1b[{};{}H", row + 1, x + 1));
    }

    /// Places the cursor on a terminal without the origin mode.
    fn place_cursor(&mut self, buffer: &Buffer) {
        let x = buffer.x.min(self.terminal.cols - 1);
        self.add(format_args!("\x1b[{};{}H", buffer.y + 1, x + 1));
    }

    /// Prints the last cell of the cursor's row again, after which the cursor waits to wrap.
    fn place_cursor_after_end(&mut self, buffer: &Buffer) {
        let cols = self.terminal.cols;
        let row = &buffer.rows[buffer.y];
        let at = if row.width(cols - 1) == 0 && !row.has_content(cols - 1) { cols - 2 } else { cols - 1 };
        if row.has_content(at) {
            self.go_to(buffer, at);
            self.set_style(row.cells()[at].style);
            if row.width(at) == 0 {
                self.out += "\x1b[?0h";
            }
            row.push_text(at, &mut self.out);
        }
    }

    fn draw_state(&mut self, join: Join) {
        let terminal = self.terminal;
        let buffer = terminal.buffer();
        self.draw_margins(buffer);
        if terminal.modes.origin {
            self.out += "\x1b[?6h";
        }
        let Charsets { designated, level, active } = &terminal.charsets;
        let is_restored = *active != designated[*level] && *active == buffer.saved.charset;
        if is_restored {
            self.draw_charsets();
            self.out += "\x1b8";
            // The pen is that of the saved cursor now.
            self.style = Style { extra: u32::MAX, ..Style::default() };
        }
        self.go_to(buffer, buffer.x.min(terminal.cols - 1));
        if buffer.x >= terminal.cols && (!is_restored || active.is_none()) {
            self.place_cursor_after_end(buffer);
        }
        if !is_restored {
            self.draw_charsets();
        }
        self.draw_modes(&terminal.modes);
        self.draw_pen(&terminal.pen);
        if let Some(width) = join {
            self.print_last_again(buffer, usize::from(width));
        }
    }

    fn draw_charsets(&mut self) {
        let Charsets { designated, level, .. } = &self.terminal.charsets;
        for (number, charset) in designated.iter().copied().enumerate() {
            if charset.is_some() {
                self.designate(number, charset);
            }
        }
        self.out += ["", "\x0e", "\x1bn", "\x1bo"][*level];
    }

    fn draw_modes(&mut self, modes: &Modes) {
        let terminal = self.terminal;
        let set = [
            (1, modes.application_cursor_keys),
            (12, terminal.cursor_blink_option),
            (25, !terminal.is_cursor_hidden),
            (45, modes.reverse_wraparound),
            (66, modes.application_keypad),
            (1004, modes.focus_events),
            (2004, modes.bracketed_paste),
            (2026, modes.synchronized_output),
        ];
        if !terminal.cursor_blink_option {
            self.out += "\x1b[?12l";
        }
        if terminal.is_cursor_hidden {
            self.out += "\x1b[?25l";
        }
        for (mode, is_set) in set {
            if is_set {
                self.add(format_args!("\x1b[?{mode}h"));
            }
        }
        for mode in [terminal.mouse_encoding, terminal.mouse_events].into_iter().flatten() {
            self.add(format_args!("\x1b[?{mode}h"));
        }
        if !modes.wraparound {
            self.out += "\x1b[?7l";
        }
        if terminal.converts_line_feeds {
            self.out += "\x1b[20h";
        }
        if modes.insert {
            self.out += "\x1b[4h";
        }
        let number = match (modes.cursor_shape, modes.cursor_blinks) {
            (None, None) => None,
            (Some(shape), blinks) => Some(2 * u16::from(shape) - u16::from(blinks == Some(true))),
            // No shape has the numbers 7 and 8, but they say whether the cursor blinks.
            (None, Some(blinks)) => Some(8 - u16::from(blinks)),
        };
        if let Some(number) = number {
            self.add(format_args!("\x1b[{number} q"));
        }
    }

    fn draw_pen(&mut self, pen: &Pen) {
        let extra =
            if pen.has_extra { pen.extra } else { Extra { color: pen.extra.color, ..Extra::default() } };
        if pen.style() != self.style || extra.color != 0 || self.link != extra.link {
            self.set_bits(pen.fg, pen.bg, extra);
        }
    }

    /// Prints the character before the cursor again, so that a mark that follows is joined to it.
    fn print_last_again(&mut self, buffer: &Buffer, width: usize) {
        let Some(at) = buffer.x.checked_sub(width) else { return };
        let row = &buffer.rows[buffer.y];
        // Without the wraparound mode, a character that did not fit was not printed.
        let is_last = row.cell(at).is_some_and(|cell| {
            cell.has_content()
                && usize::from(cell.width()) == width
                && cell.style == self.terminal.pen.style()
        });
        if !is_last {
            return;
        }
        self.go_to(buffer, at);
        if self.terminal.modes.insert {
            self.add(format_args!("\x1b[{width}P"));
        }
        row.push_text(at, &mut self.out);
    }
}

/// The marks of a row by their columns, which a narrower window may have cut.
fn marks_in_order(row: &Row, cols: usize) -> Vec<(usize, MarkKind)> {
    let mut marks: Vec<_> =
        row.marks.iter().map(|mark| ((mark.column as usize).min(cols - 1), mark.kind)).collect();
    marks.sort_by_key(|(column, _)| *column);
    marks
}

/// Whether an erase makes blank cells of this style.
fn is_erased(style: Style) -> bool {
    style.fg == 0 && style.bg & !bits::COLOR == 0 && style.extra == 0
}
