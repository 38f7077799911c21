//! How one text becomes another, as edits of a shared text. Pure but for a deadline.

use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// Longest time to look for a small difference; after it a larger one will do.
const DEADLINE: Duration = Duration::from_millis(500);

/// Replace `delete` units at `at` by `insert`. Units are UTF-16 code units, as Yjs counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub at: u32,
    pub delete: u32,
    pub insert: String,
}

/// Edits that make `new` of `old`, in positions of `old`, from the last to the first: so applied one by one, none moves
/// another's place.
pub fn edits(old: &str, new: &str) -> Vec<Edit> {
    let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new.split_inclusive('\n').collect();
    let operations = capture_diff_slices_deadline(
        Algorithm::Myers,
        &old_lines,
        &new_lines,
        Some(Instant::now() + DEADLINE),
    );
    let mut edits = Vec::new();
    let mut at = 0;
    for operation in operations {
        let removed = old_lines[operation.old_range()].concat();
        if !matches!(operation, DiffOp::Equal { .. }) {
            let inserted = new_lines[operation.new_range()].concat();
            edits.push(narrowed(at, &removed, &inserted));
        }
        at += units(&removed);
    }
    edits.reverse();
    edits
}

/// Without what both have in common at the ends, so that a carets' neighbourhood stays what it was.
fn narrowed(at: u32, removed: &str, inserted: &str) -> Edit {
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
    Edit { at: at + units(kept), delete: units(removed), insert: inserted.to_owned() }
}

fn units(text: &str) -> u32 {
    text.encode_utf16().count() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(old: &str, edits: &[Edit]) -> String {
        let mut units: Vec<u16> = old.encode_utf16().collect();
        for edit in edits {
            let (from, to) = (edit.at as usize, (edit.at + edit.delete) as usize);
            units.splice(from..to, edit.insert.encode_utf16());
        }
        String::from_utf16(&units).expect("edits cut no character in two")
    }

    #[test]
    fn a_changed_word_is_a_small_edit() {
        let edits = edits("one\ntwo 😀 x\nthree\n", "one\ntwo 😀 y\nthree\n");
        assert_eq!(edits, [Edit { at: 11, delete: 1, insert: "y".to_owned() }]);
    }

    proptest! {
        #[test]
        fn edits_make_the_new_text(
            old in prop::collection::vec("[abé😀]{0,3}\n?", 0..12),
            new in prop::collection::vec("[abé😀]{0,3}\n?", 0..12),
        ) {
            let (old, new) = (old.concat(), new.concat());
            prop_assert_eq!(applied(&old, &edits(&old, &new)), new);
        }
    }
}
