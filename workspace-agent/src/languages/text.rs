//! Texts as LSP counts them: lines from 0, and columns in UTF-16 code units. Pure.

use protocol::languages::TextPosition;
use serde_json::{Value, json};

/// The change that makes one text of another: one replacement, as `textDocument/didChange` wants it. `None`
/// if they are equal.
pub fn find_change(old: &str, new: &str) -> Option<Value> {
    if old == new {
        return None;
    }
    let prefix = common_prefix(old, new);
    let suffix = common_suffix(&old[prefix..], &new[prefix..]);
    let (start, end) = (position_at(old, prefix), position_at(old, old.len() - suffix));
    let text = &new[prefix..new.len() - suffix];
    Some(json!({ "range": { "start": start, "end": end }, "text": text }))
}

/// Bytes that both texts begin with, up to the boundary of a character.
fn common_prefix(old: &str, new: &str) -> usize {
    let same = old.bytes().zip(new.bytes()).take_while(|(old, new)| old == new).count();
    (0..=same).rev().find(|at| old.is_char_boundary(*at) && new.is_char_boundary(*at)).unwrap_or(0)
}

/// Bytes that both texts end with, from the boundary of a character.
fn common_suffix(old: &str, new: &str) -> usize {
    let same = old.bytes().rev().zip(new.bytes().rev()).take_while(|(old, new)| old == new).count();
    let is_boundary =
        |count: &usize| old.is_char_boundary(old.len() - count) && new.is_char_boundary(new.len() - count);
    (0..=same).rev().find(is_boundary).unwrap_or(0)
}

/// LSP's position of a byte.
fn position_at(text: &str, byte: usize) -> Value {
    let before = &text[..byte];
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    json!({ "line": line, "character": before[start..].encode_utf16().count() })
}

/// The text of the line before a position. Empty if there is no such place.
pub fn line_before(text: &str, position: TextPosition) -> &str {
    let line = line_at(text, position.line).unwrap_or_default();
    &line[..byte_of_unit(line, position.column)]
}

/// A line, counted from 1.
pub fn line_at(text: &str, line: u32) -> Option<&str> {
    text.split('\n').nth((line as usize).checked_sub(1)?)
}

/// The word at a position, or directly before it. Empty if there is none.
pub fn word_at(text: &str, position: TextPosition, is_of_word: impl Fn(char) -> bool) -> &str {
    let line = line_at(text, position.line).unwrap_or_default();
    let at = byte_of_unit(line, position.column);
    let before = line[..at].rfind(|character| !is_of_word(character));
    let start = before.map_or(0, |end| end + line[end..].chars().next().map_or(0, char::len_utf8));
    let end = line[at..].find(|character| !is_of_word(character)).map_or(line.len(), |length| at + length);
    &line[start..end]
}

/// The byte of a UTF-16 code unit. The end, if there are fewer; the beginning of the character, if it is
/// inside of one.
fn byte_of_unit(line: &str, unit: u32) -> usize {
    let mut units = 0;
    for (byte, character) in line.char_indices() {
        units += character.len_utf16() as u32;
        if units > unit {
            return byte;
        }
    }
    line.len()
}

/// The beginning of a text, of at most so many bytes.
pub fn truncate(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Applies a change as a server does.
    fn apply(text: &str, change: &Value) -> String {
        let byte = |end: &str| {
            let position = &change["range"][end];
            let line = position["line"].as_u64().expect("a line") as usize;
            let unit = position["character"].as_u64().expect("a column") as u32;
            let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
            start + byte_of_unit(text[start..].split('\n').next().unwrap_or_default(), unit)
        };
        let inserted = change["text"].as_str().expect("a text");
        format!("{}{inserted}{}", &text[..byte("start")], &text[byte("end")..])
    }

    #[test]
    fn change_is_one_replacement() {
        let change = find_change("one\nt\u{1f600}wo\nthree", "one\nt\u{1f600}x\nthree").expect("a change");
        assert_eq!(
            change,
            json!({
                "range": { "start": { "line": 1, "character": 3 }, "end": { "line": 1, "character": 5 } },
                "text": "x",
            })
        );
        assert_eq!(find_change("same", "same"), None);
    }

    #[test]
    fn line_before_counts_utf16() {
        let before = |line, column| line_before("a\n\u{1f600}b.c", TextPosition { line, column });
        assert_eq!(before(2, 4), "\u{1f600}b.");
        assert_eq!(before(2, 1), "");
        assert_eq!(before(2, 99), "\u{1f600}b.c");
        assert_eq!((before(0, 0), before(9, 1)), ("", ""));
    }

    #[test]
    fn words_surround_a_position() {
        let word = |column| {
            word_at("a\n\u{1f600} caf\u{e9}(x)", TextPosition { line: 2, column }, char::is_alphanumeric)
        };
        assert_eq!((word(3), word(5), word(7)), ("caf\u{e9}", "caf\u{e9}", "caf\u{e9}"));
        assert_eq!((word(0), word(1), word(8), word(99)), ("", "", "x", ""));
    }

    #[test]
    fn truncate_keeps_characters() {
        assert_eq!(truncate("ab\u{1f600}".to_owned(), 4), "ab…");
        assert_eq!(truncate("ab".to_owned(), 2), "ab");
    }

    proptest! {
        #[test]
        fn change_makes_the_new_text(
            old in "[ab\u{e9}\u{1f600}\u{1f601}\n]{0,12}",
            new in "[ab\u{e9}\u{1f600}\u{1f601}\n]{0,12}",
        ) {
            let applied = find_change(&old, &new).map(|change| apply(&old, &change));
            prop_assert_eq!(applied.unwrap_or(old), new);
        }
    }
}
