//! Edits of ranges that all refer to one text, as language servers send them: where they are, what they make
//! of the text, and what undoes them. Every function reads the text once, however many edits there are. Pure.

use std::ops::Range;

use protocol::languages::{RangeEdit, TextPosition, TextRange};

use super::{diff::TextEdit, line_edits::LocatedEdits};

/// Two edits replace the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap;

/// Where edits are in a text.
#[derive(Debug, PartialEq, Eq)]
pub struct LocatedRanges {
    /// The edits, the last in the text first.
    pub edits: Vec<TextEdit>,
    /// Whether the text has each of their places. If it has not, the place is at the end of the line or the
    /// text, as LSP has it, or at the beginning of the character.
    pub is_exact: bool,
}

/// Finds where `edits` are in `text`. New lines end as those of the text do.
pub fn locate_range_edits(text: &str, edits: &[RangeEdit]) -> Result<LocatedRanges, Overlap> {
    let mut sorted: Vec<&RangeEdit> = edits.iter().collect();
    // Stable: insertions at one place keep their order.
    sorted.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let has_carriage_returns = text.contains("\r\n");
    let mut cursor = Cursor::new(text);
    let mut located = LocatedRanges { edits: Vec::with_capacity(edits.len()), is_exact: true };
    let mut last = TextPosition::default();
    for RangeEdit { range, text: insert } in sorted {
        if range.start < last || range.end < range.start {
            return Err(Overlap);
        }
        last = range.end;
        located.is_exact &= cursor.move_to_position(range.start);
        let at = cursor.unit;
        located.is_exact &= cursor.move_to_position(range.end);
        let insert = if has_carriage_returns { insert.clone() } else { insert.replace("\r\n", "\n") };
        located.edits.push(TextEdit { at, delete: cursor.unit - at, insert });
    }
    located.edits.reverse();
    Ok(located)
}

/// Edits as ranges, in the order of the text. `None` if they are not those of the text, as for all functions
/// here.
pub fn ranges_of_edits(text: &str, edits: &[TextEdit]) -> Option<Vec<RangeEdit>> {
    let mut cursor = Cursor::new(text);
    let ranges = edits.iter().rev().map(|edit| {
        let (start, _) = cursor.move_to_unit(edit.at)?;
        let (end, _) = cursor.move_to_unit(edit.at.checked_add(edit.delete)?)?;
        Some(RangeEdit { range: TextRange { start, end }, text: edit.insert.clone() })
    });
    ranges.collect()
}

/// Measures the text after the edits.
pub fn measure_edits(text: &str, edits: &[TextEdit]) -> Option<LocatedEdits> {
    let line_ends = |text: &str| text.bytes().filter(|byte| *byte == b'\n').count();
    let mut located = LocatedEdits {
        bytes: text.len(),
        line_ends: line_ends(text),
        edits: edits.to_vec(),
        ..LocatedEdits::default()
    };
    for (range, insert) in replaced_ranges(text, edits)? {
        located.bytes = located.bytes - range.len() + insert.len();
        located.line_ends = located.line_ends - line_ends(&text[range]) + line_ends(insert);
    }
    Some(located)
}

/// The text after the edits.
pub fn apply_edits(text: &str, edits: &[TextEdit]) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    for (range, insert) in replaced_ranges(text, edits)? {
        result.push_str(&text[copied..range.start]);
        result.push_str(insert);
        copied = range.end;
    }
    result.push_str(&text[copied..]);
    Some(result)
}

/// The edits that make the text of [`apply_edits`] this text again.
pub fn invert_edits(text: &str, edits: &[TextEdit]) -> Option<Vec<TextEdit>> {
    let replaced = replaced_ranges(text, edits)?;
    let mut moved = 0_i64;
    let mut inverse: Vec<TextEdit> = edits
        .iter()
        .rev()
        .zip(replaced)
        .map(|(edit, (range, insert))| {
            let inserted = insert.encode_utf16().count() as u32;
            let at = (i64::from(edit.at) + moved) as u32;
            moved += i64::from(inserted) - i64::from(edit.delete);
            TextEdit { at, delete: inserted, insert: text[range].to_owned() }
        })
        .collect();
    inverse.reverse();
    Some(inverse)
}

/// The bytes that each edit replaces, and by what, in the order of the text.
pub fn replaced_ranges<'a>(text: &str, edits: &'a [TextEdit]) -> Option<Vec<(Range<usize>, &'a str)>> {
    let mut cursor = Cursor::new(text);
    let replaced = edits.iter().rev().map(|edit| {
        let (_, start) = cursor.move_to_unit(edit.at)?;
        let (_, end) = cursor.move_to_unit(edit.at.checked_add(edit.delete)?)?;
        Some((start..end, edit.insert.as_str()))
    });
    replaced.collect()
}

/// A place in a text, which only moves forward.
struct Cursor<'a> {
    text: &'a str,
    byte: usize,
    unit: u32,
    position: TextPosition,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, byte: 0, unit: 0, position: TextPosition { line: 1, column: 0 } }
    }

    /// Moves to a place, or to the one where LSP has it if the text has none. Returns whether it has.
    fn move_to_position(&mut self, wanted: TextPosition) -> bool {
        while let Some(character) = self.peek() {
            let width = character.len_utf16() as u32;
            let is_beyond = match wanted.line.cmp(&self.position.line) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => {
                    character == '\n' || self.position.column.saturating_add(width) > wanted.column
                }
                std::cmp::Ordering::Greater => false,
            };
            if is_beyond {
                break;
            }
            self.advance(character);
        }
        self.position == wanted
    }

    /// Moves to a UTF-16 code unit, and returns its place and its byte. `None` if the cursor is beyond it, or
    /// a character contains it, or the text ends before.
    fn move_to_unit(&mut self, wanted: u32) -> Option<(TextPosition, usize)> {
        while self.unit < wanted {
            let character = self.peek()?;
            self.advance(character);
        }
        (self.unit == wanted).then_some((self.position, self.byte))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.byte..].chars().next()
    }

    fn advance(&mut self, character: char) {
        let width = character.len_utf16() as u32;
        self.byte += character.len_utf8();
        self.unit += width;
        if character == '\n' {
            self.position = TextPosition { line: self.position.line + 1, column: 0 };
        } else {
            self.position.column += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(line: u32, column: u32) -> TextPosition {
        TextPosition { line, column }
    }

    fn edit(start: (u32, u32), end: (u32, u32), text: &str) -> RangeEdit {
        let at = |(line, column)| place(line, column);
        RangeEdit { range: TextRange { start: at(start), end: at(end) }, text: text.to_owned() }
    }

    fn apply(text: &str, edits: &[RangeEdit]) -> Result<(String, bool), Overlap> {
        let located = locate_range_edits(text, edits)?;
        Ok((apply_edits(text, &located.edits).expect("edits of the text"), located.is_exact))
    }

    #[test]
    fn ranges_refer_to_one_text() {
        let text = "\u{1f600} one\ntwo\nthree";
        let edits = [edit((2, 0), (3, 0), ""), edit((1, 3), (1, 6), "1\n"), edit((3, 5), (3, 5), "!")];
        assert_eq!(apply(text, &edits), Ok(("\u{1f600} 1\n\nthree!".to_owned(), true)));
        let same = [edit((1, 0), (1, 0), "a"), edit((1, 0), (1, 1), "b"), edit((1, 0), (1, 0), "c")];
        assert_eq!(apply("x", &same), Ok(("acb".to_owned(), true)));
        assert_eq!(apply("", &[]), Ok((String::new(), true)));
    }

    #[test]
    fn places_beyond_the_text_are_at_its_end() {
        assert_eq!(apply("one\ntwo", &[edit((1, 0), (999, 0), "all")]), Ok(("all".to_owned(), false)));
        assert_eq!(
            apply("one\ntwo", &[edit((1, 3), (1, u32::MAX), "!")]),
            Ok(("one!\ntwo".to_owned(), false))
        );
        assert_eq!(
            apply("\u{1f600}\n", &[edit((1, 1), (1, 2), "x")]),
            Ok(("x\n".to_owned(), false)),
            "no half character"
        );
        let beyond = [edit((7, 0), (8, 0), "a"), edit((9, 1), (9, 1), "b")];
        assert_eq!(apply("x\n", &beyond), Ok(("x\nab".to_owned(), false)));
        // The line after a last line end is a place.
        assert_eq!(apply("x\n", &[edit((1, 0), (2, 0), "")]), Ok((String::new(), true)));
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        assert_eq!(apply("abc", &[edit((1, 0), (1, 2), "x"), edit((1, 1), (1, 3), "y")]), Err(Overlap));
        assert_eq!(apply("abc", &[edit((1, 2), (1, 1), "x")]), Err(Overlap));
        assert_eq!(apply("abc", &[edit((1, 0), (1, 9), "x"), edit((1, 5), (1, 9), "y")]), Err(Overlap));
    }

    #[test]
    fn line_ends_are_those_of_the_text() {
        assert_eq!(apply("a\n", &[edit((1, 0), (1, 0), "x\r\n")]), Ok(("x\na\n".to_owned(), true)));
        assert_eq!(apply("a\r\n", &[edit((1, 0), (1, 0), "x\r\n")]), Ok(("x\r\na\r\n".to_owned(), true)));
    }

    #[test]
    fn edits_of_another_text_are_refused() {
        let at = |at, delete| [TextEdit { at, delete, insert: String::new() }];
        for edits in [at(1, 0), at(0, 9), at(9, 0), at(1, u32::MAX)] {
            assert_eq!(apply_edits("\u{1f600}", &edits), None);
            assert_eq!(measure_edits("\u{1f600}", &edits), None);
        }
    }

    #[test]
    fn many_edits_of_a_long_line_are_fast() {
        let text = "x".repeat(2_000_000);
        let end = text.len() as u32;
        let edits: Vec<RangeEdit> =
            (0..50_000).map(|index| edit((1, end - index), (1, end - index), "y")).collect();
        // Counting the line for each edit would take minutes.
        let (result, is_exact) = apply(&text, &edits).expect("no overlap");
        assert_eq!((result.len(), is_exact), (2_050_000, true));
    }

    proptest! {
        #[test]
        fn inverse_restores_the_text(
            text in "[ab\u{e9}\u{1f600}\n]{0,12}",
            places in prop::collection::vec((0_u32..4, 0_u32..6, "[x\u{1f601}\n]{0,3}"), 0..5),
        ) {
            let mut positions: Vec<TextPosition> =
                places.iter().map(|(line, column, _)| place(line + 1, *column)).collect();
            positions.sort_unstable();
            let edits: Vec<RangeEdit> = positions
                .chunks(2)
                .zip(&places)
                .map(|(pair, (_, _, insert))| RangeEdit {
                    range: TextRange { start: pair[0], end: pair[pair.len() - 1] },
                    text: insert.clone(),
                })
                .collect();
            let located = locate_range_edits(&text, &edits).expect("in order").edits;
            let after = apply_edits(&text, &located).expect("edits of the text");
            let inverse = invert_edits(&text, &located).expect("edits of the text");
            prop_assert_eq!(apply_edits(&after, &inverse), Some(text.clone()));
            let measured = measure_edits(&text, &located).expect("edits of the text");
            prop_assert_eq!((measured.bytes, measured.line_ends), (after.len(), after.matches('\n').count()));
            let ranges = ranges_of_edits(&text, &located).expect("edits of the text");
            prop_assert_eq!(apply(&text, &ranges), Ok((after, true)));
        }
    }
}
