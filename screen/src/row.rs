//! One row of cells. The operations are those of xterm.js, including what they do to halves of wide
//! characters.

use std::collections::BTreeMap;

use crate::{marks::Mark, width::width};

/// Most bytes of a character with its combining marks. More marks are dropped.
const MAX_COMBINED_BYTES: usize = 128;

/// Attributes and colours of a cell as bits, the same bits as in xterm.js.
pub mod bits {
    /// How a colour is given: not at all (0), or by one of the modes.
    pub const COLOR_MODE: u32 = 0x0300_0000;
    /// A colour of the first 16, by number.
    pub const PALETTE_16: u32 = 0x0100_0000;
    /// A colour of 256, by number.
    pub const PALETTE_256: u32 = 0x0200_0000;
    /// A colour by red, green and blue.
    pub const RGB: u32 = 0x0300_0000;
    /// Mode and value of a colour.
    pub const COLOR: u32 = 0x03ff_ffff;

    /// In the foreground's bits.
    pub const INVERSE: u32 = 0x0400_0000;
    /// In the foreground's bits.
    pub const BOLD: u32 = 0x0800_0000;
    /// In the foreground's bits.
    pub const UNDERLINE: u32 = 0x1000_0000;
    /// In the foreground's bits.
    pub const BLINK: u32 = 0x2000_0000;
    /// In the foreground's bits.
    pub const INVISIBLE: u32 = 0x4000_0000;
    /// In the foreground's bits.
    pub const STRIKETHROUGH: u32 = 0x8000_0000;

    /// In the background's bits.
    pub const ITALIC: u32 = 0x0400_0000;
    /// In the background's bits.
    pub const DIM: u32 = 0x0800_0000;
    /// In the background's bits: not erased by selective erases.
    pub const PROTECTED: u32 = 0x2000_0000;
    /// In the background's bits.
    pub const OVERLINE: u32 = 0x4000_0000;
}

const CODE: u32 = 0x001f_ffff;
/// The cell's text is in [`Row::combined`].
const COMBINED: u32 = 0x0020_0000;
const HAS_CONTENT: u32 = CODE | COMBINED;
const WIDTH_SHIFT: u32 = 22;

/// How a cell is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Foreground colour and attributes.
    pub fg: u32,
    /// Background colour and attributes.
    pub bg: u32,
    /// Number of further attributes: underline and link. 0: none.
    pub extra: u32,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    content: u32,
    /// How the cell is drawn.
    pub style: Style,
}

impl Cell {
    /// What xterm.js copies from beyond the end of a row: the second half of a wide character that was cut.
    const BEYOND: Self = Self { content: 0, style: Style { fg: 0, bg: 0, extra: 0 } };

    /// A cell without text.
    pub fn blank(style: Style) -> Self {
        Self { content: 1 << WIDTH_SHIFT, style }
    }

    /// A cell with one character.
    pub fn new(code: u32, width: u8, style: Style) -> Self {
        Self { content: code | u32::from(width) << WIDTH_SHIFT, style }
    }

    /// 0: the second half of a wide character. 1 or 2 otherwise.
    pub fn width(self) -> u8 {
        (self.content >> WIDTH_SHIFT) as u8
    }

    /// Whether the cell has text.
    pub fn has_content(self) -> bool {
        self.content & HAS_CONTENT != 0
    }

    /// The character, if it is a single one.
    pub fn code(self) -> u32 {
        self.content & CODE
    }

    fn is_combined(self) -> bool {
        self.content & COMBINED != 0
    }

    /// Whether the cell is as a reset has left it.
    pub fn is_default(self) -> bool {
        self == Self::blank(Style::default())
    }
}

/// One row of cells.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: Vec<Cell>,
    combined: BTreeMap<usize, String>,
    /// The text of the row above continues here.
    pub is_wrapped: bool,
    /// Marks of the shell.
    pub marks: Vec<Mark>,
}

impl Row {
    /// A row of blank cells.
    pub fn blank(cols: usize, style: Style, is_wrapped: bool) -> Self {
        Self {
            cells: vec![Cell::blank(style); cols],
            combined: BTreeMap::new(),
            is_wrapped,
            marks: Vec::new(),
        }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// The cells.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The cell at `index`, if there is one.
    pub fn cell(&self, index: usize) -> Option<Cell> {
        self.cells.get(index).copied()
    }

    /// Appends the text of the cell at `index`. A blank cell has none.
    pub fn push_text(&self, index: usize, out: &mut String) {
        match self.cell(index) {
            Some(cell) if cell.is_combined() => {
                out.push_str(self.combined.get(&index).map_or("", String::as_str));
            }
            Some(cell) if cell.code() != 0 => out.extend(char::from_u32(cell.code())),
            _ => {}
        }
    }

    /// The text of the cell at `index`. Empty for a blank cell.
    pub fn text(&self, index: usize) -> String {
        let mut text = String::new();
        self.push_text(index, &mut text);
        text
    }

    /// Width of a cell. 0 beyond the row.
    pub fn width(&self, index: usize) -> u8 {
        self.cell(index).map_or(0, Cell::width)
    }

    /// Whether a cell has text. `false` beyond the row.
    pub fn has_content(&self, index: usize) -> bool {
        self.cell(index).is_some_and(Cell::has_content)
    }

    /// Sets a cell to one character, or blank with the code 0.
    pub fn set(&mut self, index: usize, code: u32, width: u8, style: Style) {
        self.set_cell(index, Cell::new(code, width, style));
    }

    fn set_cell(&mut self, index: usize, cell: Cell) {
        if let Some(at) = self.cells.get_mut(index) {
            *at = cell;
        }
    }

    /// Sets a cell to blank.
    pub fn clear_cell(&mut self, index: usize, style: Style) {
        self.set_cell(index, Cell::blank(style));
    }

    fn move_cell(&mut self, from: usize, to: usize) {
        let cell = self.cells[from];
        if cell.is_combined()
            && let Some(text) = self.combined.get(&from).cloned()
        {
            self.combined.insert(to, text);
        }
        self.cells[to] = cell;
    }

    /// Adds a combining character to a cell.
    pub fn combine(&mut self, index: usize, code: u32, width: u8) {
        let Some(cell) = self.cells.get_mut(index) else { return };
        let Some(mark) = char::from_u32(code) else { return };
        if cell.is_combined() {
            let text = self.combined.entry(index).or_default();
            if text.len() + mark.len_utf8() <= MAX_COMBINED_BYTES {
                text.push(mark);
            }
        } else if cell.code() != 0 {
            self.combined.insert(index, char::from_u32(cell.code()).into_iter().chain([mark]).collect());
            cell.content = cell.content & !CODE | COMBINED;
        } else {
            cell.content = code | 1 << WIDTH_SHIFT;
        }
        if width > 0 {
            cell.content = cell.content & HAS_CONTENT | u32::from(width) << WIDTH_SHIFT;
        }
    }

    /// Inserts blank cells before `at`. What is pushed over the end is lost.
    pub fn insert_cells(&mut self, at: usize, count: usize, style: Style) {
        let at = at % self.len().max(1);
        if at > 0 && self.width(at - 1) == 2 {
            self.clear_cell(at - 1, style);
        }
        let count = count.min(self.len() - at);
        for from in (at..self.len() - count).rev() {
            self.move_cell(from, from + count);
        }
        for index in at..at + count {
            self.clear_cell(index, style);
        }
        let last = self.len() - 1;
        if self.width(last) == 2 {
            self.clear_cell(last, style);
        }
    }

    /// Deletes cells at `at`. The row is filled with blank cells.
    pub fn delete_cells(&mut self, at: usize, count: usize, style: Style) {
        let at = at % self.len().max(1);
        let count = count.min(self.len() - at);
        for to in at..self.len() - count {
            self.move_cell(to + count, to);
        }
        for index in self.len() - count..self.len() {
            self.clear_cell(index, style);
        }
        if at > 0 && self.width(at - 1) == 2 {
            self.clear_cell(at - 1, style);
        }
        if self.width(at) == 0 && !self.has_content(at) {
            self.clear_cell(at, style);
        }
    }

    /// Makes cells blank, except protected ones if they are respected.
    pub fn clear_cells(&mut self, from: usize, to: usize, style: Style, respects_protection: bool) {
        let is_kept = |row: &Self, index: usize| {
            respects_protection && row.cell(index).is_some_and(|cell| cell.style.bg & bits::PROTECTED != 0)
        };
        if from > 0 && self.width(from - 1) == 2 && !is_kept(self, from - 1) {
            self.clear_cell(from - 1, style);
        }
        if to < self.len() && to > 0 && self.width(to - 1) == 2 && !is_kept(self, to) {
            self.clear_cell(to, style);
        }
        for index in from..to.min(self.len()) {
            if !is_kept(self, index) {
                self.clear_cell(index, style);
            }
        }
    }

    /// Sets all cells, except protected ones if they are respected.
    pub fn fill(&mut self, cell: Cell, respects_protection: bool) {
        if !respects_protection {
            self.combined.clear();
        }
        for at in &mut self.cells {
            if !respects_protection || at.style.bg & bits::PROTECTED == 0 {
                *at = cell;
            }
        }
    }

    /// Makes the row longer or shorter.
    pub fn resize(&mut self, cols: usize) {
        if cols < self.len() {
            drop(self.combined.split_off(&cols));
        }
        self.cells.resize(cols, Cell::blank(Style::default()));
    }

    /// Number of cells up to the last with text.
    pub fn trimmed_len(&self) -> usize {
        let last = self.cells.iter().rposition(|cell| cell.has_content());
        last.map_or(0, |last| last + usize::from(self.cells[last].width()))
    }

    /// Copies cells of another row.
    pub fn copy_cells(&mut self, source: &Self, from: usize, to: usize, count: usize) {
        for index in 0..count {
            self.set_cell(to + index, source.cell(from + index).unwrap_or(Cell::BEYOND));
        }
        for (index, text) in source.combined.range(from..) {
            self.combined.insert(index - from + to, text.clone());
        }
    }

    /// Copies cells within the row.
    pub fn copy_within(&mut self, from: usize, to: usize, count: usize) {
        let cells: Vec<Cell> =
            (from..from + count).map(|index| self.cell(index).unwrap_or(Cell::BEYOND)).collect();
        for (index, cell) in (to..).zip(cells) {
            self.set_cell(index, cell);
        }
        // One after the other, as xterm.js does: a text that was copied may be copied again.
        let indices: Vec<usize> = self.combined.range(from..).map(|(index, _)| *index).collect();
        for index in indices {
            if let Some(text) = self.combined.get(&index).cloned() {
                self.combined.insert(index - from + to, text);
            }
        }
    }

    /// Makes what no output can print blank: halves of wide characters without the other half, which a
    /// narrower window has cut, and text that has not the width of its cell.
    pub fn clear_odd_cells(&mut self, cols: usize) {
        let cols = cols.min(self.len());
        for index in 0..cols {
            if self.cells[index].is_combined() && self.width(index) > 0 {
                let base = self.text(index).chars().next();
                if base.is_none_or(|base| width(u32::from(base)) != self.width(index)) {
                    self.clear_cell(index, self.cells[index].style);
                }
            }
            let is_spacer = |index: usize| index < cols && self.width(index) == 0 && !self.has_content(index);
            let is_odd = match self.width(index) {
                2 => !is_spacer(index + 1),
                0 => is_spacer(index) && (index == 0 || self.width(index - 1) != 2),
                _ => false,
            };
            if is_odd {
                self.clear_cell(index, self.cells[index].style);
            }
        }
    }

    /// Calls `mark` with the number of further attributes of every cell.
    pub fn visit_extras(&self, mark: &mut impl FnMut(u32)) {
        self.cells.iter().for_each(|cell| mark(cell.style.extra));
    }
}

/// A row in little memory: for the lines above the screen.
#[derive(Debug)]
pub struct PackedRow {
    content: PackedContent,
    /// Styles of the cells, each with the index after its last cell.
    styles: Box<[(u16, Style)]>,
    combined: BTreeMap<usize, String>,
    cols: u16,
    /// The text of the row above continues here.
    pub is_wrapped: bool,
    marks: Box<[Mark]>,
}

#[derive(Debug)]
enum PackedContent {
    /// All characters are ASCII. 0: a blank cell.
    Ascii(Box<[u8]>),
    Any(Box<[u32]>),
}

impl PackedRow {
    /// Packs a row. Blank cells at its end take no memory.
    pub fn pack(row: &Row) -> Self {
        let end = row.cells.iter().rposition(|cell| !cell.is_default()).map_or(0, |last| last + 1);
        let cells = &row.cells[..end];
        let is_ascii = |cell: &Cell| cell.width() == 1 && !cell.is_combined() && cell.code() < 0x80;
        let content = if cells.iter().all(is_ascii) {
            PackedContent::Ascii(cells.iter().map(|cell| cell.code() as u8).collect())
        } else {
            PackedContent::Any(cells.iter().map(|cell| cell.content).collect())
        };
        let mut styles: Vec<(u16, Style)> = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            match styles.last_mut() {
                Some((to, style)) if *style == cell.style => *to = index as u16 + 1,
                _ => styles.push((index as u16 + 1, cell.style)),
            }
        }
        Self {
            content,
            styles: styles.into(),
            combined: row.combined.clone(),
            cols: row.len() as u16,
            is_wrapped: row.is_wrapped,
            marks: row.marks.as_slice().into(),
        }
    }

    /// The row with all its cells.
    pub fn unpack(&self) -> Row {
        let mut cells = Vec::with_capacity(usize::from(self.cols));
        let mut styles = self.styles.iter();
        let (mut to, mut style) = styles.next().copied().unwrap_or_default();
        let mut push = |content| {
            if cells.len() >= usize::from(to) {
                (to, style) = styles.next().copied().unwrap_or_default();
            }
            cells.push(Cell { content, style });
        };
        match &self.content {
            PackedContent::Ascii(bytes) => {
                bytes.iter().for_each(|byte| push(u32::from(*byte) | 1 << WIDTH_SHIFT));
            }
            PackedContent::Any(contents) => contents.iter().for_each(|content| push(*content)),
        }
        cells.resize(usize::from(self.cols), Cell::blank(Style::default()));
        Row {
            cells,
            combined: self.combined.clone(),
            is_wrapped: self.is_wrapped,
            marks: self.marks.to_vec(),
        }
    }

    /// About how much memory the row takes, in bytes.
    pub fn memory(&self) -> usize {
        let content = match &self.content {
            PackedContent::Ascii(bytes) => bytes.len(),
            PackedContent::Any(contents) => contents.len() * size_of::<u32>(),
        };
        let combined: usize = self.combined.values().map(|text| text.capacity() + 64).sum();
        size_of::<Self>()
            + content
            + self.styles.len() * size_of::<(u16, Style)>()
            + combined
            + self.marks.len() * size_of::<Mark>()
    }

    /// Calls `mark` with the number of further attributes of every style.
    pub fn visit_extras(&self, mark: &mut impl FnMut(u32)) {
        self.styles.iter().for_each(|(_, style)| mark(style.extra));
    }
}
