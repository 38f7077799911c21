//! One of the two screens of a terminal, with the lines above it, its cursor, tab stops and scroll region.
//!
//! Resizing moves text between rows as xterm.js does, so that a screen that is restored and then resized is
//! the same as one that was never left.

use std::collections::VecDeque;

use crate::{
    marks,
    row::{PackedRow, Row, Style},
};

/// Most lines above the screen.
pub const MAX_SCROLLBACK_LINES: usize = 10_000;
/// Most memory of the lines above the screen, in bytes. Beyond it the oldest lines go.
pub const MAX_SCROLLBACK_BYTES: usize = 8 * 1024 * 1024;

/// Columns between two default tab stops.
pub const TAB_WIDTH: usize = 8;

/// What saving the cursor saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedCursor {
    /// Column.
    pub x: usize,
    /// Line, counted from the oldest above the screen.
    pub line: usize,
    /// Foreground's bits.
    pub fg: u32,
    /// Background's bits.
    pub bg: u32,
    /// Whether the pen had further attributes. They are not saved.
    pub has_extra: bool,
    /// Final byte of the character set's designation. `None`: ASCII.
    pub charset: Option<u8>,
}

/// Lines, cursor and margins of one screen.
#[derive(Debug)]
pub struct Buffer {
    /// The lines above the screen. Few for the alternate screen.
    pub scrollback: VecDeque<PackedRow>,
    scrollback_bytes: usize,
    /// The rows of the screen.
    pub rows: VecDeque<Row>,
    /// Column of the cursor. The number of columns, if the next character begins a new row.
    pub x: usize,
    /// Row of the cursor.
    pub y: usize,
    /// First row of the scroll region.
    pub top: usize,
    /// Last row of the scroll region.
    pub bottom: usize,
    /// Tab stops by column.
    pub tabs: Vec<bool>,
    /// The saved cursor.
    pub saved: SavedCursor,
    /// Whether lines are kept above it: not of the alternate screen.
    pub has_scrollback: bool,
    /// Most rows with the lines above. That of the alternate screen changes only while it is shown, as in
    /// xterm.js, so it has lines above it after a window became shorter.
    max_lines: usize,
    cols: usize,
    height: usize,
}

fn max_lines(height: usize, has_scrollback: bool) -> usize {
    if has_scrollback { height + MAX_SCROLLBACK_LINES } else { height }
}

impl Buffer {
    /// A buffer of blank rows.
    pub fn new(cols: usize, height: usize, has_scrollback: bool) -> Self {
        let mut buffer = Self {
            scrollback: VecDeque::new(),
            scrollback_bytes: 0,
            rows: VecDeque::new(),
            x: 0,
            y: 0,
            top: 0,
            bottom: height - 1,
            tabs: Vec::new(),
            saved: SavedCursor::default(),
            has_scrollback,
            max_lines: max_lines(height, has_scrollback),
            cols,
            height,
        };
        buffer.set_default_tabs();
        if has_scrollback {
            buffer.fill(Style::default());
        }
        buffer
    }

    /// Fills an empty buffer with blank rows.
    pub fn fill(&mut self, style: Style) {
        if self.rows.is_empty() {
            self.rows.extend((0..self.height).map(|_| Row::blank(self.cols, style, false)));
        }
    }

    /// Empties the buffer. The saved cursor stays.
    pub fn clear(&mut self) {
        self.clear_scrollback();
        self.rows.clear();
        (self.x, self.y, self.top, self.bottom) = (0, 0, 0, self.height - 1);
        self.max_lines = max_lines(self.height, self.has_scrollback);
        self.set_default_tabs();
    }

    /// The cursor's row.
    pub fn row(&mut self) -> &mut Row {
        let y = self.y;
        &mut self.rows[y]
    }

    /// Memory of the lines above the screen, in bytes.
    #[cfg(test)]
    pub fn scrollback_bytes(&self) -> usize {
        self.scrollback_bytes
    }

    /// Removes the lines above the screen.
    pub fn clear_scrollback(&mut self) {
        self.scrollback.clear();
        self.scrollback_bytes = 0;
    }

    /// Scrolls the region up by one row. What leaves the screen at its top goes above it.
    pub fn scroll(&mut self, style: Style, is_wrapped: bool) {
        let row = Row::blank(self.cols, style, is_wrapped);
        let Some(old) = self.rows.remove(self.top) else { return };
        self.rows.insert(self.bottom, row);
        if self.top == 0 {
            // On the alternate screen, the row would be removed at once.
            if self.scrollback.is_empty() && self.rows.len() >= self.max_lines {
                return;
            }
            self.push_scrollback(&old);
            if self.scrollback.len() + self.rows.len() > self.max_lines {
                self.pop_oldest();
            }
        }
    }

    /// Deletes rows of the region at `from` and inserts blank rows at `to`.
    pub fn move_rows(&mut self, from: usize, to: usize, count: usize, style: Style) {
        for _ in 0..count.min(self.bottom + 1 - self.top) {
            self.rows.remove(from);
            self.rows.insert(to, Row::blank(self.cols, style, false));
        }
    }

    /// Clears the wrap mark of a line, counted from the oldest above the screen.
    pub fn unwrap_line(&mut self, line: usize) {
        let line = line % self.max_lines;
        if let Some(row) = self.scrollback.get_mut(line) {
            row.is_wrapped = false;
        } else if let Some(row) = self.rows.get_mut(line - self.scrollback.len()) {
            row.is_wrapped = false;
        }
    }

    fn push_scrollback(&mut self, row: &Row) {
        let packed = PackedRow::pack(row);
        self.scrollback_bytes += packed.memory();
        self.scrollback.push_back(packed);
        while self.scrollback_bytes > MAX_SCROLLBACK_BYTES && self.scrollback.len() > 1 {
            self.pop_oldest();
            self.saved.line = self.saved.line.saturating_sub(1);
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(row) = self.scrollback.pop_front() {
            self.scrollback_bytes -= row.memory();
        }
    }

    fn set_default_tabs(&mut self) {
        self.tabs.clear();
        self.extend_tabs(0);
    }

    fn extend_tabs(&mut self, from: usize) {
        for stop in (from..self.cols).step_by(TAB_WIDTH) {
            self.set_tab(stop, true);
        }
    }

    /// Sets or clears a tab stop.
    pub fn set_tab(&mut self, column: usize, is_set: bool) {
        if column >= self.tabs.len() {
            self.tabs.resize(column + 1, false);
        }
        self.tabs[column] = is_set;
    }

    fn is_tab(&self, column: usize) -> bool {
        self.tabs.get(column).copied().unwrap_or(false)
    }

    /// The tab stop after the column, or the last column.
    pub fn next_tab(&self, column: usize) -> usize {
        (column + 1..self.cols).find(|column| self.is_tab(*column)).unwrap_or(self.cols - 1)
    }

    /// The tab stop before the column, or the first column.
    pub fn previous_tab(&self, column: usize) -> usize {
        let stop = (0..column).rev().find(|column| self.is_tab(*column)).unwrap_or(0);
        stop.min(self.cols - 1)
    }

    /// Changes the size, and moves text between rows if the width changes.
    pub fn resize(&mut self, cols: usize, height: usize) {
        let old_cols = self.cols;
        let max_lines = max_lines(height, self.has_scrollback);
        self.max_lines = self.max_lines.max(max_lines);
        if !self.rows.is_empty() {
            if old_cols < cols {
                self.rows.iter_mut().for_each(|row| row.resize(cols));
            }
            self.resize_height(cols, height, max_lines);
            self.x = self.x.min(cols - 1);
            self.saved.x = self.saved.x.min(cols - 1);
            self.top = 0;
        }
        self.bottom = height - 1;
        (self.cols, self.height) = (cols, height);
        if self.has_scrollback && cols != old_cols {
            self.reflow(old_cols);
        }
        self.adjust_tabs();
    }

    fn adjust_tabs(&mut self) {
        let cols = self.cols;
        let from = if self.is_tab(cols) { cols } else { self.previous_tab(cols) };
        self.extend_tabs(from);
    }

    /// Adds or removes rows at the bottom while there are blank ones, otherwise at the top.
    fn resize_height(&mut self, cols: usize, height: usize, max_lines: usize) {
        let mut added_above = 0;
        for _ in self.height..height {
            let is_cursor_last = self.rows.len() <= self.y + added_above + 1;
            match self.scrollback.pop_back() {
                Some(row) if is_cursor_last => {
                    self.scrollback_bytes -= row.memory();
                    let mut row = row.unpack();
                    if row.len() < cols {
                        row.resize(cols);
                    }
                    self.rows.push_front(row);
                    added_above += 1;
                }
                row => {
                    self.scrollback.extend(row);
                    self.rows.push_back(Row::blank(cols, Style::default(), false));
                }
            }
        }
        for _ in height..self.height {
            if self.rows.len() > self.y + 1 {
                self.rows.pop_back();
            } else if let Some(row) = self.rows.pop_front() {
                self.push_scrollback(&row);
                self.y = self.y.saturating_sub(1);
            }
        }
        self.max_lines = max_lines;
        while self.scrollback.len() + self.rows.len() > max_lines {
            self.pop_oldest();
            self.saved.line = self.saved.line.saturating_sub(1);
        }
        self.y = self.y.min(height - 1) + added_above;
    }

    /// Moves text between rows for a new width.
    fn reflow(&mut self, old_cols: usize) {
        let mut lines = Lines {
            base: self.scrollback.len(),
            len: self.scrollback.len() + self.rows.len(),
            rows: self.scrollback.drain(..).map(|row| row.unpack()).chain(self.rows.drain(..)).collect(),
            y: self.y,
            saved_line: self.saved.line,
            height: self.height,
            cols: self.cols,
            old_cols,
        };
        self.scrollback_bytes = 0;
        if self.cols > old_cols {
            lines.rows.iter_mut().for_each(|row| row.resize(self.cols));
            lines.widen();
        } else {
            lines.narrow();
            lines.rows.iter_mut().for_each(|row| row.resize(self.cols));
        }
        (self.y, self.saved.line) = (lines.y.min(self.height - 1), lines.saved_line);
        let base = lines.base.min(lines.rows.len());
        self.rows = lines.rows.split_off(base).into();
        for row in lines.rows {
            self.push_scrollback(&row);
        }
        self.rows.truncate(self.height);
        while self.rows.len() < self.height {
            self.rows.push_back(Row::blank(self.cols, Style::default(), false));
        }
    }
}

/// All lines of a buffer while their width changes.
struct Lines {
    rows: Vec<Row>,
    /// Number of lines. While rows are split, those that were pushed over the end are still in `rows`: as in
    /// xterm.js, what is split from them comes back.
    len: usize,
    /// Number of lines above the screen.
    base: usize,
    y: usize,
    saved_line: usize,
    height: usize,
    cols: usize,
    old_cols: usize,
}

/// Length of a row of a paragraph without the cell that a wide character did not fit into.
fn paragraph_row_len(rows: &[Row], index: usize, cols: usize) -> usize {
    let Some(next) = rows.get(index + 1) else { return rows[index].trimmed_len() };
    let ends_blank = !rows[index].has_content(cols - 1) && rows[index].width(cols - 1) == 1;
    if ends_blank && next.width(0) == 2 { cols - 1 } else { cols }
}

/// Copies cells from one row of a slice to another, or within one.
fn copy_between(rows: &mut [Row], from: (usize, usize), to: (usize, usize), count: usize) {
    if from.0 == to.0 {
        return rows[to.0].copy_within(from.1, to.1, count);
    }
    let mut target = std::mem::take(&mut rows[to.0]);
    target.copy_cells(&rows[from.0], from.1, to.1, count);
    rows[to.0] = target;
}

impl Lines {
    fn is_cursor_in(&self, first: usize, after: usize) -> bool {
        // A shell draws its prompt again after a resize, so the cursor's paragraph stays.
        (first..after).contains(&(self.base + self.y))
    }

    /// Joins wrapped rows as far as they fit into the wider rows.
    fn widen(&mut self) {
        let mut removed = vec![false; self.rows.len()];
        let mut first = 0;
        while first + 1 < self.rows.len() {
            let after = (first + 1..self.rows.len())
                .find(|row| !self.rows[*row].is_wrapped)
                .unwrap_or(self.rows.len());
            if after > first + 1 && !self.is_cursor_in(first, after) {
                let marks = marks::take_from_paragraph(&mut self.rows[first..after], self.old_cols);
                let kept = self.widen_paragraph(first, after);
                marks::give_to_paragraph(self.rows[first..first + kept].iter_mut(), marks, self.cols);
                removed[first + kept..after].fill(true);
            }
            first = after;
        }
        let count = removed.iter().filter(|removed| **removed).count();
        let mut removed = removed.into_iter();
        self.rows.retain(|_| !removed.next().unwrap_or(false));
        for _ in 0..count {
            if self.base > 0 {
                self.base -= 1;
                continue;
            }
            self.y = self.y.saturating_sub(1);
            if self.rows.len() < self.height {
                self.rows.push(Row::blank(self.cols, Style::default(), false));
            }
        }
        self.saved_line = self.saved_line.saturating_sub(count);
    }

    /// Joins the rows of one paragraph. Returns how many it needs.
    fn widen_paragraph(&mut self, first: usize, after: usize) -> usize {
        let (cols, old_cols) = (self.cols, self.old_cols);
        let rows = &mut self.rows[first..after];
        let (mut to, mut to_col) = (0, paragraph_row_len(rows, 0, old_cols));
        let (mut from, mut from_col) = (1, 0);
        while from < rows.len() {
            let len = paragraph_row_len(rows, from, old_cols);
            let count = (len - from_col.min(len)).min(cols - to_col);
            copy_between(rows, (from, from_col), (to, to_col), count);
            to_col += count;
            if to_col == cols {
                (to, to_col) = (to + 1, 0);
            }
            from_col += count;
            if from_col == len {
                (from, from_col) = (from + 1, 0);
            }
            // A wide character that does not fit goes to the next row.
            if to_col == 0 && to != 0 && rows[to - 1].width(cols - 1) == 2 {
                copy_between(rows, (to - 1, cols - 1), (to, 0), 1);
                to_col = 1;
                rows[to - 1].clear_cell(cols - 1, Style::default());
            }
        }
        if let Some(row) = rows.get_mut(to) {
            row.clear_cells(to_col, cols, Style::default(), false);
        }
        let unused = (1..rows.len()).rev().take_while(|row| *row > to || rows[*row].trimmed_len() == 0);
        rows.len() - unused.count()
    }

    /// Splits rows that are longer than the narrower rows.
    fn narrow(&mut self) {
        let max_lines = self.height + MAX_SCROLLBACK_LINES;
        // From the last to the first: rows to insert, and the line before which they go.
        let mut inserts: Vec<(usize, Vec<Row>)> = Vec::new();
        let mut inserted = 0;
        let mut end = self.rows.len();
        while end > 0 {
            let mut first = end - 1;
            let after = end;
            if !self.rows[first].is_wrapped && self.rows[first].trimmed_len() <= self.cols {
                end = first;
                continue;
            }
            while self.rows[first].is_wrapped && first > 0 {
                first -= 1;
            }
            end = first;
            if self.is_cursor_in(first, after) {
                continue;
            }
            let marks = marks::take_from_paragraph(&mut self.rows[first..after], self.old_cols);
            let mut added = self.narrow_paragraph(first, after);
            let rows = self.rows[first..after].iter_mut().chain(&mut added);
            marks::give_to_paragraph(rows, marks, self.cols);
            let count = added.len();
            let is_screen_full = self.base > 0 || self.y + 1 == self.len;
            let filled = if is_screen_full { self.len } else { self.y };
            let trimmed = (filled + count).saturating_sub(max_lines);
            if count > 0 {
                inserts.push((after + inserted, added));
                inserted += count;
            }
            self.move_viewport(count - trimmed.min(count), inserted, max_lines);
            self.saved_line = (self.saved_line + count).min(self.base + self.height - 1);
        }
        self.insert_rows(inserts, inserted, max_lines);
    }

    fn move_viewport(&mut self, count: usize, inserted: usize, max_lines: usize) {
        for _ in 0..count {
            if self.base == 0 && self.y + 1 < self.height {
                self.y += 1;
                self.len -= 1;
            } else if self.base == 0 || self.base + self.height < max_lines.min(self.len + inserted) {
                self.base += 1;
            }
        }
    }

    /// Splits the rows of one paragraph. Returns the rows that come after the existing ones.
    fn narrow_paragraph(&mut self, first: usize, after: usize) -> Vec<Row> {
        let (cols, old_cols) = (self.cols, self.old_cols);
        let mut rows: Vec<Row> = self.rows[first..after].iter_mut().map(std::mem::take).collect();
        let last_len = rows[rows.len() - 1].trimmed_len();
        let lens = narrow_lens(&rows, old_cols, cols);
        let old_count = rows.len();
        let added = lens.len().saturating_sub(old_count);
        rows.extend((0..added).map(|_| Row::blank(cols, Style::default(), true)));
        let len_at = |index: Option<usize>| index.and_then(|index| lens.get(index)).copied();
        let mut to = lens.len().checked_sub(1);
        let mut to_col = len_at(to).unwrap_or(0);
        if to_col == 0 {
            to = to.and_then(|to| to.checked_sub(1));
            to_col = len_at(to).unwrap_or(0);
        }
        let mut from = old_count - 1;
        let mut from_col = last_len;
        while let Some(target) = to {
            let count = from_col.min(to_col);
            copy_between(&mut rows, (from, from_col - count), (target, to_col - count), count);
            to_col -= count;
            if to_col == 0 {
                to = target.checked_sub(1);
                to_col = len_at(to).unwrap_or(0);
            }
            from_col -= count;
            if from_col == 0 {
                if from == 0 {
                    break;
                }
                from -= 1;
                from_col = paragraph_row_len(&rows, from, old_cols);
            }
        }
        for (row, len) in rows.iter_mut().zip(&lens) {
            if *len < cols {
                row.clear_cell(*len, Style::default());
            }
        }
        let new = rows.split_off(old_count);
        for (at, row) in self.rows[first..after].iter_mut().zip(rows) {
            *at = row;
        }
        new
    }

    fn insert_rows(&mut self, inserts: Vec<(usize, Vec<Row>)>, inserted: usize, max_lines: usize) {
        self.rows.truncate(self.len);
        let total = (self.rows.len() + inserted).min(max_lines);
        let mut old = std::mem::take(&mut self.rows);
        let mut reversed = Vec::with_capacity(total);
        let mut so_far = 0;
        let mut inserts = inserts.into_iter().peekable();
        while reversed.len() < total {
            // The index of the last old row that is not placed yet is `old.len() - 1`.
            if let Some((_, rows)) = inserts.next_if(|(start, _)| start + 1 > old.len() + so_far) {
                so_far += rows.len();
                reversed.extend(rows.into_iter().rev());
            } else if let Some(row) = old.pop() {
                reversed.push(row);
            } else {
                break;
            }
        }
        reversed.truncate(total);
        reversed.reverse();
        self.rows = reversed;
    }
}

/// Lengths of the rows into which a paragraph is split.
fn narrow_lens(rows: &[Row], old_cols: usize, cols: usize) -> Vec<usize> {
    let needed: usize = (0..rows.len()).map(|row| paragraph_row_len(rows, row, old_cols)).sum();
    let mut lens = Vec::new();
    let (mut from, mut from_col, mut available) = (0, 0, 0);
    while available < needed {
        if needed - available < cols {
            lens.push(needed - available);
            break;
        }
        if from >= rows.len() {
            break;
        }
        from_col += cols;
        let old_len = paragraph_row_len(rows, from, old_cols);
        if from_col > old_len {
            from_col -= old_len;
            from += 1;
        }
        let ends_wide = rows.get(from).is_some_and(|row| from_col > 0 && row.width(from_col - 1) == 2);
        let len = if ends_wide { cols - 1 } else { cols };
        from_col -= usize::from(ends_wide);
        lens.push(len);
        available += len;
    }
    lens
}
