//! Marks of a shell in its output (OSC 133): where a prompt begins and ends, and where a command's output
//! begins and ends. They belong to rows and move with them.

use std::fmt::Write as _;

use crate::row::Row;

/// Most marks of one row. Beyond that the oldest go.
const MAX_ROW_MARKS: usize = 16;

/// What a mark stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// `A`: the prompt begins.
    Prompt,
    /// `B`: the prompt ends, and what the user types begins.
    Input,
    /// `C`: the command runs, and its output begins.
    Output {
        /// When it was started, in Unix milliseconds.
        start: Option<u64>,
    },
    /// `D`: the command has ended.
    End {
        /// Its exit status.
        status: Option<i32>,
        /// For how long it ran, in milliseconds.
        duration: Option<u64>,
    },
}

/// A mark in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Column of the cell before which the mark is.
    pub column: u32,
    /// What it stands for.
    pub kind: MarkKind,
}

impl MarkKind {
    /// Reads the payload of an OSC 133. `None`: it is none of the four marks.
    pub fn parse(payload: &str) -> Option<Self> {
        let mut parts = payload.split(';');
        let name = parts.next()?;
        let mut status = None;
        let (mut start, mut duration) = (None, None);
        for (index, part) in parts.enumerate() {
            match part.split_once('=') {
                Some(("start", value)) => start = value.parse().ok(),
                Some(("duration", value)) => duration = value.parse().ok(),
                None if index == 0 => status = part.parse().ok(),
                _ => {}
            }
        }
        match name {
            "A" => Some(Self::Prompt),
            "B" => Some(Self::Input),
            "C" => Some(Self::Output { start }),
            "D" => Some(Self::End { status, duration }),
            _ => None,
        }
    }

    /// Appends the sequence that makes the mark.
    pub fn draw(self, out: &mut String) {
        out.push_str("\x1b]133;");
        match self {
            Self::Prompt => out.push('A'),
            Self::Input => out.push('B'),
            Self::Output { start } => {
                out.push('C');
                if let Some(start) = start {
                    let _ = write!(out, ";start={start}");
                }
            }
            Self::End { status, duration } => {
                out.push('D');
                if let Some(status) = status {
                    let _ = write!(out, ";{status}");
                }
                if let Some(duration) = duration {
                    let _ = write!(out, ";duration={duration}");
                }
            }
        }
        out.push_str("\x1b\\");
    }
}

/// Adds a mark to a row. A shell that draws its prompt again repeats its marks at the same place.
pub fn add(marks: &mut Vec<Mark>, mark: Mark) {
    let is_same = |other: &Mark| {
        other.column == mark.column
            && std::mem::discriminant(&other.kind) == std::mem::discriminant(&mark.kind)
    };
    marks.retain(|other| !is_same(other));
    if marks.len() >= MAX_ROW_MARKS {
        marks.remove(0);
    }
    marks.push(mark);
}

/// Takes the marks of the rows of one paragraph. Their columns then count from the paragraph's beginning.
pub fn take_from_paragraph(rows: &mut [Row], cols: usize) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (index, row) in rows.iter_mut().enumerate() {
        let first = (index * cols) as u32;
        marks.extend(row.marks.drain(..).map(|mark| Mark { column: first + mark.column, ..mark }));
    }
    marks
}

/// Gives marks to the rows of their paragraph, which now have `cols` columns.
pub fn give_to_paragraph<'a>(
    rows: impl Iterator<Item = &'a mut Row>,
    marks: impl IntoIterator<Item = Mark>,
    cols: usize,
) {
    let mut rows: Vec<_> = rows.collect();
    let Some(last) = rows.len().checked_sub(1) else { return };
    for mark in marks {
        let row = (mark.column as usize / cols).min(last);
        let column = (mark.column as usize - row * cols).min(cols - 1) as u32;
        add(&mut rows[row].marks, Mark { column, ..mark });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_marks_and_their_facts() {
        let end = |status, duration| Some(MarkKind::End { status, duration });
        for (payload, expected) in [
            ("A", Some(MarkKind::Prompt)),
            ("A;cl=m;aid=7", Some(MarkKind::Prompt)),
            ("B", Some(MarkKind::Input)),
            ("C", Some(MarkKind::Output { start: None })),
            ("C;start=1764500000123", Some(MarkKind::Output { start: Some(1_764_500_000_123) })),
            ("D", end(None, None)),
            ("D;130", end(Some(130), None)),
            ("D;0;duration=1250", end(Some(0), Some(1250))),
            ("D;x;duration=-1", end(None, None)),
            ("P;k=i", None),
            ("", None),
        ] {
            assert_eq!(MarkKind::parse(payload), expected, "{payload}");
            let Some(kind) = expected else { continue };
            let mut drawn = String::new();
            kind.draw(&mut drawn);
            let payload = drawn.trim_start_matches("\x1b]133;").trim_end_matches("\x1b\\");
            assert_eq!(MarkKind::parse(payload), expected, "{payload}");
        }
    }

    #[test]
    fn marks_of_a_row_are_bounded() {
        let mut marks = Vec::new();
        for column in 0..100 {
            add(&mut marks, Mark { column, kind: MarkKind::Prompt });
        }
        assert_eq!(marks.len(), MAX_ROW_MARKS);
        assert_eq!(marks[MAX_ROW_MARKS - 1].column, 99);
        add(&mut marks, Mark { column: 99, kind: MarkKind::Prompt });
        assert_eq!(marks.len(), MAX_ROW_MARKS);
    }
}
