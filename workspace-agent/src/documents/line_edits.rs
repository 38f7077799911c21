//! Edits that name a line, a column and the text that must be there. Pure.

use protocol::search::LineEdit;

use super::diff::TextEdit;

/// Where edits are in a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LocatedEdits {
    /// The edits, the last in the text first.
    pub edits: Vec<TextEdit>,
    /// Indexes of edits whose old text is not there, or that overlap an edit before them in the text.
    pub missed: Vec<usize>,
    /// Bytes of the text after the edits.
    pub bytes: usize,
    /// Line ends of the text after the edits.
    pub line_ends: usize,
}

/// Finds where `edits` are in `text`.
pub fn locate_line_edits(text: &str, edits: &[LineEdit]) -> LocatedEdits {
    let mut in_order: Vec<(usize, &LineEdit)> = edits.iter().enumerate().collect();
    in_order.sort_by_key(|(_, edit)| (edit.line, edit.column));
    let mut cursor = Cursor::new(text);
    let mut located = LocatedEdits { bytes: text.len(), ..LocatedEdits::default() };
    located.line_ends = cursor.lines.len() - 1 - usize::from(!text.is_empty() && !text.ends_with('\n'));
    let mut end = 0;
    for (index, edit) in in_order {
        let Some(found) = cursor.locate(edit).filter(|found| found.at >= end) else {
            located.missed.push(index);
            continue;
        };
        end = found.at + found.delete;
        // The old text is within a line.
        located.bytes = located.bytes + edit.new.len() - edit.old.len();
        located.line_ends += edit.new.matches('\n').count();
        located.edits.push(found);
    }
    located.edits.reverse();
    located.missed.sort_unstable();
    located
}

/// The beginning of a line: its byte and its UTF-16 code unit.
struct LineStart {
    byte: usize,
    unit: u32,
}

fn line_starts(text: &str) -> Vec<LineStart> {
    let mut starts = Vec::new();
    let (mut byte, mut unit) = (0, 0);
    for line in text.split_inclusive('\n') {
        starts.push(LineStart { byte, unit });
        byte += line.len();
        unit += utf16_units(line);
    }
    starts.push(LineStart { byte, unit });
    starts
}

/// A position in a text that only moves forward within a line, so that a long line with many edits is
/// counted once.
struct Cursor<'a> {
    text: &'a str,
    lines: Vec<LineStart>,
    /// Index of the line that the position is in.
    line: usize,
    byte: usize,
    unit: u32,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, lines: line_starts(text), line: 0, byte: 0, unit: 0 }
    }

    /// Finds where an edit is. Edits must come in the order of their lines and columns.
    fn locate(&mut self, edit: &LineEdit) -> Option<TextEdit> {
        let index = usize::try_from(edit.line).ok()?.checked_sub(1)?;
        let line = self.lines.get(index)?;
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| next.byte);
        let column = u32::try_from(edit.column).ok()?;
        let at = line.unit.checked_add(column)?;
        if index != self.line {
            (self.line, self.byte, self.unit) = (index, line.byte, line.unit);
        }
        let end = end - usize::from(self.text[line.byte..end].ends_with('\n'));
        let content = &self.text[..end];
        let rest = self.move_to(at, content)?;
        rest.starts_with(&edit.old).then(|| TextEdit {
            at,
            delete: utf16_units(&edit.old),
            insert: edit.new.clone(),
        })
    }

    /// The rest of `content`, which begins with the text, from a UTF-16 code unit. `None` beyond the end,
    /// and inside a character.
    fn move_to(&mut self, unit: u32, content: &'a str) -> Option<&'a str> {
        let rest = content.get(self.byte..)?;
        for character in rest.chars() {
            if self.unit >= unit {
                break;
            }
            self.unit += character.len_utf16() as u32;
            self.byte += character.len_utf8();
        }
        (self.unit == unit).then(|| &content[self.byte..])
    }
}

fn utf16_units(text: &str) -> u32 {
    text.encode_utf16().count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(line: u64, column: u64, old: &str, new: &str) -> LineEdit {
        LineEdit { line, column, old: old.to_owned(), new: new.to_owned() }
    }

    fn apply(text: &str, edits: &[LineEdit]) -> (String, Vec<usize>) {
        let LocatedEdits { edits, missed, bytes, line_ends } = locate_line_edits(text, edits);
        let mut units: Vec<u16> = text.encode_utf16().collect();
        for TextEdit { at, delete, insert } in edits {
            let range = at as usize..(at + delete) as usize;
            units.splice(range, insert.encode_utf16().collect::<Vec<_>>());
        }
        let text = String::from_utf16(&units).expect("whole characters");
        assert_eq!((text.len(), text.matches('\n').count()), (bytes, line_ends));
        (text, missed)
    }

    #[test]
    fn edits_replace_what_they_name() {
        let text = "one two one\n😀 one\nlast one";
        let edits =
            [edit(1, 0, "one", "1"), edit(3, 5, "one", "3"), edit(1, 8, "one", "11"), edit(2, 3, "one", "")];
        assert_eq!(apply(text, &edits), ("1 two 11\n😀 \nlast 3".to_owned(), vec![]));
        assert_eq!(apply("x", &[edit(1, 1, "", "y")]), ("xy".to_owned(), vec![]));
        assert_eq!(apply("", &[edit(1, 0, "", "y\n")]), ("y\n".to_owned(), vec![]));
        assert_eq!(apply("x\n", &[edit(2, 0, "", "y"), edit(1, 1, "", "\n")]), ("x\n\ny".to_owned(), vec![]));
    }

    #[test]
    fn changed_text_is_missed_and_kept() {
        let text = "😀 one\ntwo";
        let edits = [
            edit(1, 1, "one", "x"),   // inside a character
            edit(1, 3, "two", "x"),   // other text
            edit(2, 0, "two\n", "x"), // beyond the line
            edit(2, 9, "", "x"),
            edit(9, 0, "", "x"),
            edit(0, 0, "", "x"),
            edit(2, 0, "two", "2"),
        ];
        assert_eq!(apply(text, &edits), ("😀 one\n2".to_owned(), vec![0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn overlapping_edits_apply_once() {
        let edits = [edit(1, 1, "bc", "x"), edit(1, 0, "ab", "y"), edit(1, 2, "c", "z")];
        assert_eq!(apply("abc", &edits), ("yz".to_owned(), vec![0]));
    }
}
