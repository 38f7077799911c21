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
        let (removed, inserted) = (&old_lines[operation.old_range()], &new_lines[operation.new_range()]);
        match operation {
            DiffOp::Equal { .. } => at += utf16_units(&removed.concat()),
            // The same number of lines, as after an indentation: each line keeps what it can.
            _ if removed.len() == inserted.len() => {
                for (removed, inserted) in removed.iter().zip(inserted) {
                    edits.push(narrow(at, removed, inserted));
                    at += utf16_units(removed);
                }
            }
            _ => {
                let removed = removed.concat();
                edits.push(narrow(at, &removed, &inserted.concat()));
                at += utf16_units(&removed);
            }
        }
    }
    edits.retain(|edit| edit.delete > 0 || !edit.insert.is_empty());
    edits.reverse();
    edits
}

/// Moves `edits` of a text to where they belong after `others`, edits of the same text. What both delete
/// is deleted once, and neither deletes what the other inserts. All edits are ordered as those of
/// [`text_edits`].
pub fn rebase_edits(edits: Vec<TextEdit>, others: &[TextEdit]) -> Vec<TextEdit> {
    edits.into_iter().flat_map(|edit| rebase_edit(edit, others)).collect()
}

fn rebase_edit(edit: TextEdit, others: &[TextEdit]) -> Vec<TextEdit> {
    let end = edit.at + edit.delete;
    // The parts of the deleted range that the others have not deleted, and the places between them where
    // the others inserted.
    let mut parts = vec![(edit.at, end)];
    for other in others.iter().rev() {
        let Some((from, to)) = parts.pop() else { break };
        let other_end = other.at + other.delete;
        if other_end <= from || other.at >= to {
            parts.push((from, to));
            continue;
        }
        parts.push((from, other.at.max(from)));
        parts.push((other_end.min(to), to));
    }
    let mut rebased: Vec<TextEdit> = parts
        .iter()
        .map(|(from, to)| TextEdit {
            at: rebase_start(*from, others),
            delete: to - from,
            insert: String::new(),
        })
        .collect();
    if let Some(first) = rebased.first_mut() {
        first.insert = edit.insert;
    }
    rebased.retain(|edit| edit.delete > 0 || !edit.insert.is_empty());
    rebased.reverse();
    rebased
}

/// Where the unit at `position` is after `edits`. A deleted one is where it was deleted.
fn rebase_start(position: u32, edits: &[TextEdit]) -> u32 {
    let before = edits.iter().filter(|edit| edit.at < position || edit.delete == 0 && edit.at == position);
    before.fold(position, |moved, edit| {
        let deleted = edit.delete.min(position - edit.at);
        moved + utf16_units(&edit.insert) - deleted
    })
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

    #[test]
    fn indentation_keeps_the_lines() {
        let edits = text_edits("one\ntwo\n", "  one\n  two\n");
        let indent = |at| TextEdit { at, delete: 0, insert: "  ".to_owned() };
        assert_eq!(edits, [indent(4), indent(0)]);
    }

    #[test]
    fn rebased_edits_merge_two_changes_of_a_text() {
        for (base, ours, theirs, expected) in [
            ("one\ntwo\n", "zero\none\ntwo\n", "one\ntwo\nthree\n", "zero\none\ntwo\nthree\n"),
            ("one\ntwo\n", "one!\ntwo\n", "one\n2\n", "one!\n2\n"),
            ("one\ntwo\nthree\n", "one\nthree\n", "one\ntwo\n", "one\n"),
            ("one\n", "one\nours\n", "one\ntheirs\n", "one\nours\ntheirs\n"),
            ("abc\n", "abXc\n", "\n", "X\n"),
            ("abc\n", "\n", "abYc\n", "Y\n"),
        ] {
            let edits = rebase_edits(text_edits(base, theirs), &text_edits(base, ours));
            assert_eq!(apply(ours, &edits), expected, "{base:?}: {ours:?} and {theirs:?}");
        }
    }

    proptest! {
        #[test]
        fn rebased_edits_apply_to_any_text(
            base in prop::collection::vec("[abé]{0,3}\n?", 0..8),
            ours in prop::collection::vec("[abé]{0,3}\n?", 0..8),
            theirs in prop::collection::vec("[abé]{0,3}\n?", 0..8),
        ) {
            let (base, ours, theirs) = (base.concat(), ours.concat(), theirs.concat());
            let mine = text_edits(&base, &ours);
            // Without other changes, the result is theirs, and a change that both made counts once or
            // twice, but nothing is out of bounds.
            prop_assert_eq!(apply(&base, &rebase_edits(text_edits(&base, &theirs), &[])), theirs.clone());
            apply(&ours, &rebase_edits(text_edits(&base, &theirs), &mine));
        }

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
