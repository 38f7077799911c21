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
}

/// Finds where `edits` are in `text`.
pub fn locate_line_edits(text: &str, edits: &[LineEdit]) -> LocatedEdits {
    let lines = line_starts(text);
    let mut found: Vec<(usize, TextEdit)> = Vec::with_capacity(edits.len());
    let mut missed = Vec::new();
    for (index, edit) in edits.iter().enumerate() {
        match locate(text, &lines, edit) {
            Some(located) => found.push((index, located)),
            None => missed.push(index),
        }
    }
    found.sort_by_key(|(_, edit)| edit.at);
    let mut end = 0;
    let mut located: Vec<TextEdit> = Vec::with_capacity(found.len());
    for (index, edit) in found {
        if edit.at < end {
            missed.push(index);
            continue;
        }
        end = edit.at + edit.delete;
        located.push(edit);
    }
    located.reverse();
    missed.sort_unstable();
    LocatedEdits { edits: located, missed }
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

fn locate(text: &str, lines: &[LineStart], edit: &LineEdit) -> Option<TextEdit> {
    let line = lines.get(usize::try_from(edit.line).ok()?.checked_sub(1)?)?;
    let rest = &text[line.byte..];
    let content = rest.split('\n').next().unwrap_or(rest);
    let column = u32::try_from(edit.column).ok()?;
    let from_column = &content[byte_of_unit(content, column)?..];
    from_column.starts_with(&edit.old).then(|| TextEdit {
        at: line.unit + column,
        delete: utf16_units(&edit.old),
        insert: edit.new.clone(),
    })
}

/// The byte at a UTF-16 code unit. `None` beyond the end, and inside a character.
fn byte_of_unit(text: &str, unit: u32) -> Option<usize> {
    let mut at = 0;
    for (byte, character) in text.char_indices() {
        if at >= unit {
            return (at == unit).then_some(byte);
        }
        at += character.len_utf16() as u32;
    }
    (at == unit).then_some(text.len())
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
        let LocatedEdits { edits, missed } = locate_line_edits(text, edits);
        let mut units: Vec<u16> = text.encode_utf16().collect();
        for TextEdit { at, delete, insert } in edits {
            let range = at as usize..(at + delete) as usize;
            units.splice(range, insert.encode_utf16().collect::<Vec<_>>());
        }
        (String::from_utf16(&units).expect("whole characters"), missed)
    }

    #[test]
    fn edits_replace_what_they_name() {
        let text = "one two one\n😀 one\nlast one";
        let edits =
            [edit(1, 0, "one", "1"), edit(3, 5, "one", "3"), edit(1, 8, "one", "11"), edit(2, 3, "one", "")];
        assert_eq!(apply(text, &edits), ("1 two 11\n😀 \nlast 3".to_owned(), vec![]));
        assert_eq!(apply("x", &[edit(1, 1, "", "y")]), ("xy".to_owned(), vec![]));
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
