//! What a terminal does for each control character and sequence. It follows xterm.js, which draws the page.

use crate::{
    buffer::{Buffer, SavedCursor},
    charset::{self, Charset},
    colors::{self, Colors},
    extra::{Extra, Extras, Link},
    marks::{self, Mark, MarkKind},
    parser::{Handler, Join, Parameters},
    row::{Cell, Row, Style, bits},
    width::width,
};

/// Longest title, in bytes. The rest is cut.
const MAX_TITLE_BYTES: usize = 256;
/// Longest address of a working directory, in bytes. A longer one is ignored.
const MAX_DIRECTORY_BYTES: usize = 8 * 1024;
/// Most bytes of replies that wait to be taken. A program that asks more and reads nothing gets no more.
const MAX_REPLY_BYTES: usize = 4 * 1024;
/// Most characters that one repetition prints.
const MAX_REPEATED: usize = 64 * 1024;

/// The pen: how the next character is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pen {
    /// Foreground's bits.
    pub fg: u32,
    /// Background's bits.
    pub bg: u32,
    /// Underline and link.
    pub extra: Extra,
    /// Whether `extra` applies. A restored cursor may have switched it off.
    pub has_extra: bool,
    /// Number of `extra`, if it applies.
    number: u32,
}

impl Pen {
    /// How a character is drawn with the pen.
    pub fn style(&self) -> Style {
        Style { fg: self.fg, bg: self.bg, extra: if self.has_extra { self.number } else { 0 } }
    }

    fn erase_style(&self) -> Style {
        Style { bg: self.bg & bits::COLOR, ..Style::default() }
    }
}

/// Modes that a soft reset resets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// ANSI mode 4.
    pub insert: bool,
    /// Mode 1.
    pub application_cursor_keys: bool,
    /// Mode 66.
    pub application_keypad: bool,
    /// Mode 2004.
    pub bracketed_paste: bool,
    /// Mode 6.
    pub origin: bool,
    /// Mode 45.
    pub reverse_wraparound: bool,
    /// Mode 1004.
    pub focus_events: bool,
    /// Mode 2026.
    pub synchronized_output: bool,
    /// Mode 7.
    pub wraparound: bool,
    /// 1 block, 2 underline, 3 bar. `None`: the viewer's choice.
    pub cursor_shape: Option<u8>,
    /// Whether the cursor blinks. `None`: the viewer's choice.
    pub cursor_blinks: Option<bool>,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            insert: false,
            application_cursor_keys: false,
            application_keypad: false,
            bracketed_paste: false,
            origin: false,
            reverse_wraparound: false,
            focus_events: false,
            synchronized_output: false,
            wraparound: true,
            cursor_shape: None,
            cursor_blinks: None,
        }
    }
}

/// The character sets that are designated and in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charsets {
    /// The sets G0 to G3.
    pub designated: [Charset; 4],
    /// Which of them was invoked last.
    pub level: usize,
    /// The set in use. After a restored cursor it may be another one than the invoked.
    pub active: Charset,
}

impl Charsets {
    fn invoke(&mut self, level: usize) {
        self.level = level;
        self.active = self.designated[level];
    }

    fn designate(&mut self, level: usize, charset: Charset) {
        self.designated[level] = charset;
        if self.level == level {
            self.active = charset;
        }
    }
}

/// A terminal without its parser.
#[derive(Debug)]
pub struct Emulator {
    /// The screen with lines above it.
    pub primary: Buffer,
    /// The screen of full-screen programs.
    pub alternate: Buffer,
    /// Which of the two is shown.
    pub is_alternate: bool,
    /// Number of columns.
    pub cols: usize,
    /// Number of rows.
    pub height: usize,
    /// How the next character is drawn.
    pub pen: Pen,
    /// Underlines and links of cells.
    pub extras: Extras,
    /// Character sets.
    pub charsets: Charsets,
    /// Modes that a soft reset resets.
    pub modes: Modes,
    /// The mode of the mouse events that the program wants: 9, 1000, 1002 or 1003.
    pub mouse_events: Option<i32>,
    /// The mode of their encoding: 1006 or 1016.
    pub mouse_encoding: Option<i32>,
    /// Mode 25.
    pub is_cursor_hidden: bool,
    /// Mode 12.
    pub cursor_blink_option: bool,
    /// ANSI mode 20.
    pub converts_line_feeds: bool,
    /// Colours.
    pub colors: Colors,
    /// The title that the program set.
    pub title: String,
    /// The address of the shell's working directory. Empty if the shell told none.
    pub directory: String,
    /// Replies to the program's queries that were not taken yet.
    pub replies: Vec<u8>,
}

impl Emulator {
    /// A terminal as after its start.
    pub fn new(cols: usize, height: usize) -> Self {
        Self {
            primary: Buffer::new(cols, height, true),
            alternate: Buffer::new(cols, height, false),
            is_alternate: false,
            cols,
            height,
            pen: Pen::default(),
            extras: Extras::default(),
            charsets: Charsets::default(),
            modes: Modes::default(),
            mouse_events: None,
            mouse_encoding: None,
            is_cursor_hidden: false,
            cursor_blink_option: false,
            converts_line_feeds: false,
            colors: Colors::default(),
            title: String::new(),
            directory: String::new(),
            replies: Vec::new(),
        }
    }

    /// Changes the size.
    pub fn resize(&mut self, cols: usize, height: usize) {
        (self.cols, self.height) = (cols, height);
        self.primary.resize(cols, height);
        self.alternate.resize(cols, height);
    }

    /// The screen that is shown.
    pub fn buffer(&self) -> &Buffer {
        if self.is_alternate { &self.alternate } else { &self.primary }
    }

    fn active(&mut self) -> &mut Buffer {
        if self.is_alternate { &mut self.alternate } else { &mut self.primary }
    }

    fn reply(&mut self, reply: &str) {
        if self.replies.len() + reply.len() <= MAX_REPLY_BYTES {
            self.replies.extend_from_slice(reply.as_bytes());
        }
    }

    fn full_reset(&mut self) {
        self.pen = Pen::default();
        self.primary = Buffer::new(self.cols, self.height, true);
        self.alternate = Buffer::new(self.cols, self.height, false);
        self.is_alternate = false;
        self.charsets = Charsets::default();
        self.modes = Modes::default();
        (self.mouse_events, self.mouse_encoding) = (None, None);
    }

    fn soft_reset(&mut self) {
        let last = self.height - 1;
        self.is_cursor_hidden = false;
        self.pen = Pen::default();
        self.modes = Modes::default();
        self.charsets = Charsets::default();
        let buffer = self.active();
        (buffer.top, buffer.bottom) = (0, last);
        buffer.saved = SavedCursor { line: buffer.scrollback.len(), ..SavedCursor::default() };
    }

    // Cursor.

    fn restrict_cursor_to(&mut self, last_col: usize) {
        let (is_origin, last_row) = (self.modes.origin, self.height - 1);
        let buffer = self.active();
        buffer.x = buffer.x.min(last_col);
        buffer.y =
            if is_origin { buffer.y.max(buffer.top).min(buffer.bottom) } else { buffer.y.min(last_row) };
    }

    fn restrict_cursor(&mut self) {
        self.restrict_cursor_to(self.cols - 1);
    }

    fn set_cursor(&mut self, x: usize, y: usize) {
        let origin = if self.modes.origin { self.buffer().top } else { 0 };
        let buffer = self.active();
        buffer.x = x;
        buffer.y = origin + y;
        self.restrict_cursor();
    }

    fn move_cursor(&mut self, x: isize, y: isize) {
        self.restrict_cursor();
        // As xterm.js: with the origin mode, the row counts from the region twice, and is restricted.
        let buffer = self.buffer();
        let (x, y) = (buffer.x.saturating_add_signed(x), buffer.y as isize + y);
        let origin = if self.modes.origin { self.buffer().top as isize } else { 0 };
        let buffer = self.active();
        buffer.x = x;
        buffer.y = usize::try_from(origin + y).unwrap_or(0);
        self.restrict_cursor();
    }

    fn move_up(&mut self, count: usize) {
        let buffer = self.buffer();
        let room = buffer.y.checked_sub(buffer.top);
        self.move_cursor(0, -(room.map_or(count, |room| room.min(count)) as isize));
    }

    fn move_down(&mut self, count: usize) {
        let buffer = self.buffer();
        let room = buffer.bottom.checked_sub(buffer.y);
        self.move_cursor(0, room.map_or(count, |room| room.min(count)) as isize);
    }

    fn save_cursor(&mut self) {
        let (pen, charset) = (self.pen, self.charsets.active);
        let buffer = self.active();
        buffer.saved = SavedCursor {
            x: buffer.x,
            line: buffer.scrollback.len() + buffer.y,
            fg: pen.fg,
            bg: pen.bg,
            has_extra: pen.has_extra,
            charset,
        };
    }

    fn restore_cursor(&mut self) {
        let buffer = self.active();
        let saved = buffer.saved;
        buffer.x = saved.x;
        buffer.y = saved.line.saturating_sub(buffer.scrollback.len());
        (self.pen.fg, self.pen.bg, self.pen.has_extra) = (saved.fg, saved.bg, saved.has_extra);
        self.charsets.active = saved.charset;
        if self.pen.has_extra {
            self.pen.number = self.extra_number(self.pen.extra);
        }
        self.restrict_cursor();
    }

    fn line_feed(&mut self) {
        let (style, cols, last) = (self.pen.erase_style(), self.cols, self.height - 1);
        let returns = self.converts_line_feeds;
        let buffer = self.active();
        if returns {
            buffer.x = 0;
        }
        if buffer.y == buffer.bottom {
            buffer.scroll(style, false);
        } else if buffer.y < last {
            buffer.y += 1;
            buffer.row().is_wrapped = false;
        }
        if buffer.x >= cols {
            buffer.x -= 1;
        }
    }

    fn index(&mut self) {
        self.restrict_cursor();
        let (style, last) = (self.pen.erase_style(), self.height - 1);
        let buffer = self.active();
        if buffer.y == buffer.bottom {
            buffer.scroll(style, false);
        } else if buffer.y < last {
            buffer.y += 1;
        }
        self.restrict_cursor();
    }

    fn reverse_index(&mut self) {
        self.restrict_cursor();
        let style = self.pen.erase_style();
        let buffer = self.active();
        if buffer.y == buffer.top {
            let (top, bottom) = (buffer.top, buffer.bottom);
            buffer.move_rows(bottom, top, 1, style);
        } else {
            buffer.y = buffer.y.saturating_sub(1);
            self.restrict_cursor();
        }
    }

    fn backspace(&mut self) {
        if !self.modes.reverse_wraparound {
            self.restrict_cursor();
            let buffer = self.active();
            buffer.x = buffer.x.saturating_sub(1);
            return;
        }
        let cols = self.cols;
        self.restrict_cursor_to(cols);
        let buffer = self.active();
        if buffer.x > 0 {
            buffer.x -= 1;
        } else if buffer.y > buffer.top && buffer.y <= buffer.bottom && buffer.row().is_wrapped {
            buffer.row().is_wrapped = false;
            buffer.y -= 1;
            buffer.x = cols - 1;
            let row = buffer.row();
            if row.width(cols - 1) > 0 && !row.has_content(cols - 1) {
                buffer.x -= 1;
            }
        }
        self.restrict_cursor();
    }

    fn tab(&mut self, count: usize, is_forward: bool) {
        let cols = self.cols;
        let buffer = self.active();
        if buffer.x >= cols {
            return;
        }
        for _ in 0..count.min(cols) {
            buffer.x = if is_forward { buffer.next_tab(buffer.x) } else { buffer.previous_tab(buffer.x) };
        }
    }

    // Erasing and moving.

    fn reset_row(&mut self, y: usize, respects_protection: bool) {
        let cell = Cell::blank(self.pen.erase_style());
        if let Some(row) = self.active().rows.get_mut(y) {
            row.fill(cell, respects_protection);
            row.is_wrapped = false;
            row.marks.clear();
        }
    }

    fn erase_in_row(&mut self, from: usize, to: usize, unwraps: bool, respects_protection: bool) {
        let style = self.pen.erase_style();
        let row = self.active().row();
        row.clear_cells(from, to, style, respects_protection);
        if unwraps {
            row.is_wrapped = false;
        }
    }

    fn erase_in_display(&mut self, what: i32, respects_protection: bool) {
        let (cols, height) = (self.cols, self.height);
        self.restrict_cursor_to(cols);
        let (x, y) = (self.buffer().x, self.buffer().y);
        match what {
            0 => {
                self.erase_in_row(x, cols, x == 0, respects_protection);
                (y + 1..height).for_each(|row| self.reset_row(row, respects_protection));
            }
            1 => {
                self.erase_in_row(0, x + 1, true, respects_protection);
                if x + 1 >= cols {
                    // As xterm.js: the line is counted from the oldest above the screen.
                    self.active().unwrap_line(y + 1);
                }
                (0..y).for_each(|row| self.reset_row(row, respects_protection));
            }
            2 => (0..height).for_each(|row| self.reset_row(row, respects_protection)),
            3 => self.active().clear_scrollback(),
            _ => {}
        }
    }

    fn erase_in_line(&mut self, what: i32, respects_protection: bool) {
        let cols = self.cols;
        self.restrict_cursor_to(cols);
        let x = self.buffer().x;
        match what {
            0 => self.erase_in_row(x, cols, x == 0, respects_protection),
            1 => self.erase_in_row(0, x + 1, false, respects_protection),
            2 => self.erase_in_row(0, cols, true, respects_protection),
            _ => {}
        }
    }

    fn is_in_region(&self) -> bool {
        let buffer = self.buffer();
        (buffer.top..=buffer.bottom).contains(&buffer.y)
    }

    /// Inserts or deletes rows at the cursor.
    fn shift_rows(&mut self, count: usize, inserts: bool) {
        self.restrict_cursor();
        if !self.is_in_region() {
            return;
        }
        let style = self.pen.erase_style();
        let buffer = self.active();
        let (y, bottom) = (buffer.y, buffer.bottom);
        if inserts {
            buffer.move_rows(bottom, y, count, style);
        } else {
            buffer.move_rows(y, bottom, count, style);
        }
        buffer.x = 0;
    }

    /// Inserts or deletes cells in all rows of the region.
    fn shift_columns(&mut self, at: usize, count: usize, inserts: bool) {
        if !self.is_in_region() {
            return;
        }
        let style = self.pen.erase_style();
        let buffer = self.active();
        for row in buffer.rows.range_mut(buffer.top..=buffer.bottom) {
            if inserts {
                row.insert_cells(at, count, style);
            } else {
                row.delete_cells(at, count, style);
            }
            row.is_wrapped = false;
        }
    }

    fn align_screen(&mut self) {
        let style = Style { fg: self.pen.fg, bg: self.pen.bg, extra: 0 };
        self.set_cursor(0, 0);
        let buffer = self.active();
        for row in buffer.rows.range_mut(buffer.y..) {
            row.fill(Cell::new(u32::from(b'E'), 1, style), false);
            row.is_wrapped = false;
        }
        self.set_cursor(0, 0);
    }

    fn set_region(&mut self, parameters: &Parameters) {
        let top = parameters.count(0);
        let bottom = usize::try_from(parameters.get(1)).unwrap_or(0);
        let bottom = if parameters.len() < 2 || bottom == 0 { self.height } else { bottom.min(self.height) };
        if bottom > top {
            let buffer = self.active();
            (buffer.top, buffer.bottom) = (top - 1, bottom - 1);
            self.set_cursor(0, 0);
        }
    }

    fn show_alternate(&mut self) {
        if self.is_alternate {
            return;
        }
        self.alternate.fill(self.pen.erase_style());
        (self.alternate.x, self.alternate.y) = (self.primary.x, self.primary.y);
        self.is_alternate = true;
    }

    fn show_primary(&mut self) {
        if !self.is_alternate {
            return;
        }
        (self.primary.x, self.primary.y) = (self.alternate.x, self.alternate.y);
        self.alternate.clear();
        self.is_alternate = false;
    }

    // Printing.

    fn wrap(&mut self) {
        let (style, last_row) = (self.pen.erase_style(), self.height - 1);
        let buffer = self.active();
        if buffer.y == buffer.bottom {
            buffer.scroll(style, true);
        } else {
            buffer.y = (buffer.y + 1).min(last_row);
            buffer.row().is_wrapped = true;
        }
    }

    fn print_code(&mut self, code: u32, join: Join) -> Join {
        let code = charset::map(self.charsets.active, code);
        let own_width = width(code);
        let old_width = if own_width == 0 { join } else { None };
        let joins = old_width.is_some();
        let old_width = usize::from(old_width.unwrap_or(0));
        let new_width = if joins { old_width } else { usize::from(own_width) };
        let next_join = (new_width > 0).then_some(new_width as u8);
        let style = self.pen.style();
        let (cols, wraps, inserts) = (self.cols, self.modes.wraparound, self.modes.insert);
        if self.buffer().x + new_width - old_width > cols {
            if wraps {
                self.wrap_before(old_width);
            } else {
                self.active().x = cols - 1;
                if new_width == 2 {
                    return next_join;
                }
            }
        }
        let buffer = self.active();
        let x = buffer.x;
        let row = buffer.row();
        if joins && x > 0 {
            let offset = if row.width(x - 1) > 0 { 1 } else { 2 };
            row.combine(x.wrapping_sub(offset), code, new_width as u8);
            return next_join;
        }
        if inserts {
            row.insert_cells(x, new_width - old_width, style);
            if row.width(cols - 1) == 2 {
                row.clear_cell(cols - 1, style);
            }
        }
        row.set(x, code, new_width as u8, style);
        for at in 1..new_width {
            row.set(x + at, 0, 0, style);
        }
        buffer.x = x + new_width.max(1);
        next_join
    }

    /// Goes to the next row before a character that does not fit. A character of `old_width` that it joins
    /// comes along.
    fn wrap_before(&mut self, old_width: usize) {
        let (style, cols) = (self.pen.style(), self.cols);
        let buffer = self.active();
        let first = buffer.x.saturating_sub(old_width);
        let moved = (old_width > 0).then(|| buffer.row().clone());
        // The filler goes into the old row before it may scroll away.
        for at in first..cols {
            buffer.row().clear_cell(at, style);
        }
        buffer.x = old_width;
        self.wrap();
        if let Some(moved) = moved {
            self.active().row().copy_cells(&moved, first, 0, old_width);
        }
    }

    // Attributes.

    fn extra_number(&mut self, extra: Extra) -> u32 {
        if let Some(number) = self.extras.find(extra) {
            return number;
        }
        if self.extras.is_full() {
            self.collect_extras();
        }
        self.extras.add(extra)
    }

    fn link_number(&mut self, link: Link) -> u32 {
        if let Some(number) = self.extras.find_link(&link) {
            return number;
        }
        if self.extras.is_full() {
            self.collect_extras();
        }
        self.extras.add_link(link)
    }

    fn collect_extras(&mut self) {
        let mut used = vec![false; self.extras.highest() + 1];
        let mut mark = |number: u32| {
            if let Some(slot) = used.get_mut(number as usize) {
                *slot = true;
            }
        };
        for buffer in [&self.primary, &self.alternate] {
            buffer.scrollback.iter().for_each(|row| row.visit_extras(&mut mark));
            buffer.rows.iter().for_each(|row: &Row| row.visit_extras(&mut mark));
        }
        mark(self.pen.number);
        self.extras.collect(&used, self.pen.extra);
    }

    fn update_extra(&mut self) {
        self.pen.has_extra = !self.pen.extra.is_empty();
        self.pen.number = self.extra_number(self.pen.extra);
    }

    fn set_underline(&mut self, style: i32) {
        let style = if (0..=5).contains(&style) { style as u8 } else { 1 };
        self.pen.extra.underline = style;
        if style == 0 {
            self.pen.fg &= !bits::UNDERLINE;
        } else {
            self.pen.fg |= bits::UNDERLINE;
        }
        self.update_extra();
    }

    fn reset_attributes(&mut self) {
        (self.pen.fg, self.pen.bg) = (0, 0);
        (self.pen.extra.underline, self.pen.extra.color) = (0, 0);
        self.update_extra();
    }

    fn set_attributes(&mut self, parameters: &Parameters) {
        let set = |color: &mut u32, mode: u32, value: i32| {
            *color = *color & !bits::COLOR | mode | value as u32;
        };
        let mut index = 0;
        while index < parameters.len() {
            let pen = &mut self.pen;
            match parameters.get(index) {
                0 => self.reset_attributes(),
                1 => pen.fg |= bits::BOLD,
                2 => pen.bg |= bits::DIM,
                3 => pen.bg |= bits::ITALIC,
                4 => self.set_underline(parameters.subparameters(index).first().copied().unwrap_or(1)),
                5 => pen.fg |= bits::BLINK,
                7 => pen.fg |= bits::INVERSE,
                8 => pen.fg |= bits::INVISIBLE,
                9 => pen.fg |= bits::STRIKETHROUGH,
                21 => self.set_underline(2),
                22 => {
                    pen.fg &= !bits::BOLD;
                    pen.bg &= !bits::DIM;
                }
                23 => pen.bg &= !bits::ITALIC,
                24 => self.set_underline(0),
                25 => pen.fg &= !bits::BLINK,
                27 => pen.fg &= !bits::INVERSE,
                28 => pen.fg &= !bits::INVISIBLE,
                29 => pen.fg &= !bits::STRIKETHROUGH,
                value @ 30..=37 => set(&mut pen.fg, bits::PALETTE_16, value - 30),
                value @ 40..=47 => set(&mut pen.bg, bits::PALETTE_16, value - 40),
                value @ 90..=97 => set(&mut pen.fg, bits::PALETTE_16, (value - 90) | 8),
                value @ 100..=107 => set(&mut pen.bg, bits::PALETTE_16, (value - 100) | 8),
                39 => set(&mut pen.fg, 0, 0),
                49 => set(&mut pen.bg, 0, 0),
                38 | 48 | 58 => index += self.set_color(parameters, index),
                53 => pen.bg |= bits::OVERLINE,
                55 => pen.bg &= !bits::OVERLINE,
                59 => {
                    // As xterm.js: white.
                    pen.extra.color = bits::COLOR;
                    self.update_extra();
                }
                _ => {}
            }
            index += 1;
        }
    }

    /// Sets a colour that is given by several parameters or by subparameters. Returns how many parameters
    /// it takes beyond the first.
    fn set_color(&mut self, parameters: &Parameters, at: usize) -> usize {
        // The kind, the mode, the colour space, and the values.
        let mut parts = [0, 0, -1, 0, 0, 0];
        let mut space = 0;
        let mut advance = 0;
        loop {
            parts[advance + space] = parameters.get(at + advance);
            let subparameters = parameters.subparameters(at + advance);
            if !subparameters.is_empty() {
                for (index, value) in subparameters.iter().enumerate() {
                    if parts[1] == 5 {
                        space = 1;
                    }
                    let Some(part) = parts.get_mut(advance + index + 1 + space) else { break };
                    *part = *value;
                }
                break;
            }
            if (parts[1] == 5 && advance + space >= 2) || (parts[1] == 2 && advance + space >= 5) {
                break;
            }
            if parts[1] != 0 {
                space = 1;
            }
            advance += 1;
            if advance + at >= parameters.len() || advance + space >= parts.len() {
                break;
            }
        }
        let value = |index: usize| (parts[index].max(0) & 0xff) as u32;
        let color = |old: u32| match parts[1] {
            2 => old & !bits::COLOR | bits::RGB | value(3) << 16 | value(4) << 8 | value(5),
            5 => old & !bits::COLOR | bits::PALETTE_256 | value(3),
            _ => old,
        };
        match parts[0] {
            38 => self.pen.fg = color(self.pen.fg),
            48 => self.pen.bg = color(self.pen.bg),
            58 => {
                self.pen.extra.color = color(self.pen.extra.color);
                if self.pen.has_extra {
                    self.pen.number = self.extra_number(self.pen.extra);
                }
            }
            _ => {}
        }
        advance
    }

    // Modes.

    fn set_ansi_mode(&mut self, mode: i32, is_set: bool) {
        match mode {
            4 => self.modes.insert = is_set,
            20 => self.converts_line_feeds = is_set,
            _ => {}
        }
    }

    fn set_mode(&mut self, mode: i32, is_set: bool) {
        let modes = &mut self.modes;
        match mode {
            1 => modes.application_cursor_keys = is_set,
            2 if is_set => (0..4).for_each(|level| self.charsets.designate(level, None)),
            6 => {
                modes.origin = is_set;
                self.set_cursor(0, 0);
            }
            7 => modes.wraparound = is_set,
            9 | 1000 | 1002 | 1003 => self.mouse_events = is_set.then_some(mode),
            12 => self.cursor_blink_option = is_set,
            25 => self.is_cursor_hidden = !is_set,
            45 => modes.reverse_wraparound = is_set,
            66 => modes.application_keypad = is_set,
            1004 => modes.focus_events = is_set,
            1006 | 1016 => self.mouse_encoding = is_set.then_some(mode),
            47 | 1047 if is_set => self.show_alternate(),
            47 | 1047 => self.show_primary(),
            1048 if is_set => self.save_cursor(),
            1048 => self.restore_cursor(),
            1049 if is_set => {
                self.save_cursor();
                self.show_alternate();
            }
            1049 => {
                self.show_primary();
                self.restore_cursor();
            }
            2004 => modes.bracketed_paste = is_set,
            2026 => modes.synchronized_output = is_set,
            _ => {}
        }
    }

    // Queries. Replies are those of xterm.js, which no longer answers itself.

    fn report_mode(&mut self, mode: i32, is_ansi: bool) {
        let by = |is_set: bool| if is_set { 1 } else { 2 };
        let modes = &self.modes;
        let state = match (is_ansi, mode) {
            (true, 2) | (false, 67 | 1005 | 1015) => 4,
            (true, 12) | (false, 8) => 3,
            (true, 4) => by(modes.insert),
            (true, 20) => by(self.converts_line_feeds),
            (false, 1) => by(modes.application_cursor_keys),
            (false, 6) => by(modes.origin),
            (false, 7) => by(modes.wraparound),
            (false, 9 | 1000 | 1002 | 1003) => by(self.mouse_events == Some(mode)),
            (false, 12) => by(self.cursor_blink_option),
            (false, 25) => by(!self.is_cursor_hidden),
            (false, 45) => by(modes.reverse_wraparound),
            (false, 66) => by(modes.application_keypad),
            (false, 1004) => by(modes.focus_events),
            (false, 1006 | 1016) => by(self.mouse_encoding == Some(mode)),
            (false, 1048) => 1,
            (false, 47 | 1047 | 1049) => by(self.is_alternate),
            (false, 2004) => by(modes.bracketed_paste),
            (false, 2026) => by(modes.synchronized_output),
            _ => 0,
        };
        let prefix = if is_ansi { "" } else { "?" };
        self.reply(&format!("\x1b[{prefix}{mode};{state}$y"));
    }

    fn report_status(&mut self, what: i32, prefix: &str) {
        let (row, column) = (self.buffer().y + 1, self.buffer().x + 1);
        match (what, prefix) {
            (5, "") => self.reply("\x1b[0n"),
            (6, _) => self.reply(&format!("\x1b[{prefix}{row};{column}R")),
            _ => {}
        }
    }

    fn report_setting(&mut self, setting: &str) {
        let buffer = self.buffer();
        let answer = match setting {
            "\"q" => format!("P1$r{}\"q", u8::from(self.pen.bg & bits::PROTECTED != 0)),
            "\"p" => "P1$r61;1\"p".to_owned(),
            "r" => format!("P1$r{};{}r", buffer.top + 1, buffer.bottom + 1),
            "m" => "P1$r0m".to_owned(),
            " q" => format!("P1$r{} q", 2 - u8::from(self.cursor_blink_option)),
            _ => "P0$r".to_owned(),
        };
        self.reply(&format!("\x1b{answer}\x1b\\"));
    }

    fn set_or_report_color(&mut self, number: u16, value: &str) {
        if value == "?" {
            let color = colors::text(self.colors.get(number));
            self.reply(&format!("\x1b]{};{color}\x1b\\", colors::command(number)));
        } else if let Some(color) = colors::parse(value) {
            self.colors.set(number, color);
        }
    }

    fn set_palette(&mut self, payload: &str) {
        let mut slots = payload.split(';');
        while let (Some(number), Some(value)) = (slots.next(), slots.next()) {
            if let Some(number) = palette_number(number) {
                self.set_or_report_color(number, value);
            }
        }
    }

    fn reset_palette(&mut self, payload: &str) {
        if payload.is_empty() {
            return self.colors.reset(None);
        }
        for number in payload.split(';').filter_map(palette_number) {
            self.colors.reset(Some(number));
        }
    }

    fn set_link(&mut self, payload: &str) {
        let Some((parameters, target)) = payload.split_once(';') else { return };
        let parameters = parameters.trim();
        if target.is_empty() && !parameters.is_empty() {
            return;
        }
        let name = parameters.split(':').find_map(|parameter| parameter.strip_prefix("id=")).unwrap_or("");
        self.pen.extra.link = 0;
        if !target.is_empty() {
            let link = Link { name: name.to_owned(), target: target.to_owned() };
            self.pen.extra.link = self.link_number(link);
        }
        self.update_extra();
    }

    fn set_title(&mut self, title: &str) {
        self.title = title.chars().filter(|character| !character.is_control()).collect();
        let end = self.title.floor_char_boundary(MAX_TITLE_BYTES);
        self.title.truncate(end);
    }

    fn set_directory(&mut self, address: &str) {
        if address.len() <= MAX_DIRECTORY_BYTES && !address.contains(char::is_control) {
            address.clone_into(&mut self.directory);
        }
    }

    /// Marks the cursor's place. Full-screen programs have no prompts.
    fn add_mark(&mut self, payload: &str) {
        let Some(kind) = MarkKind::parse(payload).filter(|_| !self.is_alternate) else { return };
        let last_col = self.cols - 1;
        let buffer = self.active();
        let column = buffer.x.min(last_col) as u32;
        marks::add(&mut buffer.row().marks, Mark { column, kind });
    }

    fn repeat(&mut self, count: usize, join: Join) {
        let Some(width) = join else { return };
        let buffer = self.active();
        let x = buffer.x.wrapping_sub(usize::from(width));
        let text: Vec<u32> = buffer.row().text(x).chars().map(u32::from).collect();
        if text.is_empty() {
            return;
        }
        let count = count.min(MAX_REPEATED / text.len());
        self.print(&text.repeat(count), join);
    }
}

/// The number of a colour of the palette.
fn palette_number(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number < 256)
}

impl Handler for Emulator {
    fn print(&mut self, text: &[u32], mut join: Join) -> Join {
        let style = self.pen.style();
        let buffer = self.active();
        let x = buffer.x;
        // The first half of a wide character whose second half is overwritten.
        if x > 0 && buffer.row().width(x - 1) == 2 {
            buffer.row().clear_cell(x - 1, style);
        }
        for code in text {
            join = self.print_code(*code, join);
        }
        let cols = self.cols;
        let buffer = self.active();
        let x = buffer.x;
        let row = buffer.row();
        // The second half of a wide character whose first half was overwritten.
        if x < cols && row.width(x) == 0 && !row.has_content(x) {
            row.clear_cell(x, style);
        }
        join
    }

    fn execute(&mut self, code: u32) {
        match code {
            0x0a..=0x0c => self.line_feed(),
            0x0d => self.active().x = 0,
            0x08 => self.backspace(),
            0x09 => self.tab(1, true),
            0x0e => self.charsets.invoke(1),
            0x0f => self.charsets.invoke(0),
            0x84 => self.index(),
            0x85 => {
                self.active().x = 0;
                self.index();
            }
            0x88 => {
                let x = self.buffer().x;
                self.active().set_tab(x, true);
            }
            _ => {}
        }
    }

    fn escape(&mut self, sequence: u32) {
        let (intermediate, last) = ((sequence >> 8) as u8, sequence as u8);
        match (intermediate, last) {
            _ if sequence > 0xffff => {}
            (0, b'7') => self.save_cursor(),
            (0, b'8') => self.restore_cursor(),
            (0, b'D') => self.index(),
            (0, b'E') => self.execute(0x85),
            (0, b'H') => self.execute(0x88),
            (0, b'M') => self.reverse_index(),
            (0, b'=') => self.modes.application_keypad = true,
            (0, b'>') => self.modes.application_keypad = false,
            (0, b'c') => self.full_reset(),
            (0, b'n' | b'}') => self.charsets.invoke(2),
            (0, b'o' | b'|') => self.charsets.invoke(3),
            (0, b'~') => self.charsets.invoke(1),
            (b'%', b'@' | b'G') => {
                self.charsets.invoke(0);
                self.charsets.designate(0, None);
            }
            (b'#', b'8') => self.align_screen(),
            (b'(' | b')' | b'*' | b'+' | b'-' | b'.', last) => {
                if let Some(charset) = charset::find(last) {
                    let level = match intermediate {
                        b'(' => 0,
                        b')' | b'-' => 1,
                        b'*' | b'.' => 2,
                        _ => 3,
                    };
                    self.charsets.designate(level, charset);
                }
            }
            _ => {}
        }
    }

    fn control(&mut self, sequence: u32, parameters: &Parameters, join: Join) {
        let (first, count) = (parameters.get(0), parameters.count(0));
        let style = self.pen.erase_style();
        let bytes = sequence.to_be_bytes();
        let name = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(3)..];
        let is_set = name.ends_with(b"h");
        match name {
            b"@" | b"P" | b"X" => {
                self.restrict_cursor();
                let buffer = self.active();
                let x = buffer.x;
                match name[0] {
                    b'@' => buffer.row().insert_cells(x, count, style),
                    b'P' => buffer.row().delete_cells(x, count, style),
                    _ => buffer.row().clear_cells(x, x.saturating_add(count), style, false),
                }
            }
            b" @" => self.shift_columns(0, count, false),
            b" A" => self.shift_columns(0, count, true),
            b"'}" => self.shift_columns(self.buffer().x, count, true),
            b"'~" => self.shift_columns(self.buffer().x, count, false),
            b"A" => self.move_up(count),
            b"B" => self.move_down(count),
            b"C" | b"a" => self.move_cursor(count as isize, 0),
            b"D" => self.move_cursor(-(count as isize), 0),
            b"E" => {
                self.move_down(count);
                self.active().x = 0;
            }
            b"F" => {
                self.move_up(count);
                self.active().x = 0;
            }
            b"G" | b"`" => {
                self.set_cursor(count - 1, self.buffer().y);
            }
            b"H" | b"f" => {
                let column = if parameters.len() >= 2 { parameters.count(1) - 1 } else { 0 };
                self.set_cursor(column, count - 1);
            }
            b"I" => self.tab(count, true),
            b"J" => self.erase_in_display(first, false),
            b"?J" => self.erase_in_display(first, true),
            b"K" => self.erase_in_line(first, false),
            b"?K" => self.erase_in_line(first, true),
            b"L" => self.shift_rows(count, true),
            b"M" => self.shift_rows(count, false),
            b"S" => {
                let buffer = self.active();
                let (top, bottom) = (buffer.top, buffer.bottom);
                buffer.move_rows(top, bottom, count, style);
            }
            b"T" => {
                let buffer = self.active();
                let (top, bottom) = (buffer.top, buffer.bottom);
                // As xterm.js: without the background's colour.
                buffer.move_rows(bottom, top, count, Style::default());
            }
            b"Z" => self.tab(count, false),
            b"b" => self.repeat(count, join),
            b"c" if first <= 0 => self.reply("\x1b[?1;2c"),
            b">c" if first <= 0 => self.reply("\x1b[>0;276;0c"),
            b"d" => self.set_cursor(self.buffer().x, count - 1),
            b"e" => self.move_cursor(0, count as isize),
            b"g" => {
                let x = self.buffer().x;
                match first {
                    0 => self.active().set_tab(x, false),
                    3 => self.active().tabs.clear(),
                    _ => {}
                }
            }
            b"h" | b"l" => {
                for index in 0..parameters.len() {
                    self.set_ansi_mode(parameters.get(index), is_set);
                }
            }
            b"?h" | b"?l" => {
                for index in 0..parameters.len() {
                    self.set_mode(parameters.get(index), is_set);
                }
            }
            b"m" => self.set_attributes(parameters),
            b"n" => self.report_status(first, ""),
            b"?n" => self.report_status(first, "?"),
            b"!p" => self.soft_reset(),
            b"$p" => self.report_mode(first, true),
            b"?$p" => self.report_mode(first, false),
            b" q" => {
                let modes = &mut self.modes;
                if first == 0 {
                    (modes.cursor_shape, modes.cursor_blinks) = (None, None);
                } else {
                    if let 1..=6 = first {
                        modes.cursor_shape = Some(((first + 1) / 2) as u8);
                    }
                    modes.cursor_blinks = Some(first % 2 == 1);
                }
            }
            b"\"q" => match first {
                1 => self.pen.bg |= bits::PROTECTED,
                0 | 2 => self.pen.bg &= !bits::PROTECTED,
                _ => {}
            },
            b"r" => self.set_region(parameters),
            b"s" => self.save_cursor(),
            b"u" => self.restore_cursor(),
            _ => {}
        }
    }

    fn command(&mut self, number: u32, payload: &str) {
        match number {
            0 | 2 => self.set_title(payload),
            4 => self.set_palette(payload),
            7 => self.set_directory(payload),
            8 => self.set_link(payload),
            10..=12 => {
                let first = colors::FOREGROUND + (number - 10) as u16;
                for (number, value) in (first..=colors::CURSOR).zip(payload.split(';')) {
                    self.set_or_report_color(number, value);
                }
            }
            104 => self.reset_palette(payload),
            133 => self.add_mark(payload),
            110..=112 => self.colors.reset(Some(colors::FOREGROUND + (number - 110) as u16)),
            _ => {}
        }
    }

    fn device_control(&mut self, sequence: u32, payload: &str) {
        if sequence == u32::from_be_bytes(*b"\0\0$q") {
            self.report_setting(payload);
        }
    }
}
