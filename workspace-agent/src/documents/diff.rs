//! The difference between two texts, as edits of a shared text. No I/O; only a timeout depends on
//! the clock.

use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// How long the smallest difference is searched for. After that, a larger one is returned.
const DIFF_TIMEOUT: Duration = Duration::from_millis(500);

/// Replaces `delete` units at `at` by `insert`. Units are UTF-16 code units, which Yjs counts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextEdit {
    /// Position in the old text.
    pub at: u32,
    /// Units to delete.
    pub delete: u32,
    /// Text to insert.
    pub insert: String,
}

/// Edits that turn `old` into `new`. Positions refer to `old`. The last edit comes first, so that
/// applying one does not move the positions of those after it.
pub fn text_edits(old: &str, new: &str) -> Vec<TextEdit> {
    let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new.split_inclusive('\n').collect();
    let operations = capture_diff_slices_deadline(
        Algorithm::Myers,
        &old_lines,
        &new_lines,
        Some(Instant::now() + DIFF_TIMEOUT),
    );
    let mut edits = Vec::new();
    let mut at = 0;
    for operation in operations {
        let removed = old_lines[operation.old_range()].concat();
        if !matches!(operation, DiffOp::Equal { .. }) {
            let inserted = new_lines[operation.new_range()].concat();
            edits.push(narrow(at, &removed, &inserted));
        }
        at += utf16_units(&removed);
    }
    edits.reverse();
    edits
}

/// Removes what both texts have in common at their ends, so that cursors nearby keep their place.
fn narrow(at: u32, removed: &str, inserted: &str) -> TextEdit {
    let head: usize =
        removed.chars().zip(inserted.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let (kept, removed) = removed.split_at(head);
    let inserted = &inserted[head..];
    let tail: usize = removed
        .chars()
        .rev()
        .zip(inserted.chars().rev())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    let removed = &removed[..removed.len() - tail];
    let inserted = &inserted[..inserted.len() - tail];
    TextEdit { at: at + utf16_units(kept), delete: utf16_units(removed), insert: inserted.to_owned() }
}

fn utf16_units(text: &str) -> u32 {
    text.encode_utf16().count() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(old: &str, edits: &[TextEdit]) -> String {
        let mut units: Vec<u16> = old.encode_utf16().collect();
        for edit in edits {
            let (from, to) = (edit.at as usize, (edit.at + edit.delete) as usize);
            units.splice(from..to, edit.insert.encode_utf16());
        }
        String::from_utf16(&units).expect("no edit splits a character")
    }

    #[test]
    fn changed_word_is_a_small_edit() {
        let edits = text_edits("one\ntwo 😀 x\nthree\n", "one\ntwo 😀 y\nthree\n");
        assert_eq!(edits, [TextEdit { at: 11, delete: 1, insert: "y".to_owned() }]);
    }

    proptest! {
        #[test]
        fn edits_turn_old_text_into_new(
            old in prop::collection::vec("[abé😀]{0,3}\n?", 0..12),
            new in prop::collection::vec("[abé😀]{0,3}\n?", 0..12),
        ) {
            let (old, new) = (old.concat(), new.concat());
            prop_assert_eq!(apply(&old, &text_edits(&old, &new)), new);
        }
    }
}
