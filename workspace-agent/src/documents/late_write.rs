//! Finds what a program has written that has a position of its own in a file whose text has moved. Pure.
//!
//! The output of `program > file` is written where the program was before, not at the end. If a user has
//! inserted a line above and the file was saved, the program's next line overwrites the end of the text;
//! if the user has deleted one, it leaves a gap. Both are known to be wrong, and what the program wrote
//! is known, so it is taken as if it had been appended.

use std::cmp::Ordering;

/// A write at the position of a program.
#[derive(Debug, PartialEq, Eq)]
pub struct LateWrite {
    /// What was written.
    pub bytes: Vec<u8>,
    /// The content of the file after that.
    pub content: Vec<u8>,
    /// Where the program is now.
    pub position: usize,
}

/// Compares the file's `content` with `known`, its content before, if a program was at `position`.
/// `None`: the difference is something else.
pub fn find_late_write(known: &[u8], position: usize, content: &[u8]) -> Option<LateWrite> {
    let kept = position.min(known.len());
    let gap = content.get(kept..position)?;
    if content[..kept] != known[..kept] || gap.iter().any(|byte| *byte != 0) || content == known {
        return None;
    }
    let end = match content.len().cmp(&known.len()) {
        Ordering::Greater => content.len(),
        Ordering::Equal => {
            let differs = |at: &usize| content[*at] != known[*at];
            (position..content.len()).rev().find(differs)? + 1
        }
        Ordering::Less => return None, // truncated
    };
    (end > position).then(|| LateWrite {
        bytes: content[position..end].to_vec(),
        content: content.to_vec(),
        position: end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_write_is_found_at_position() {
        for (known, position, content, expected) in [
            // "x" was inserted before "one\n"; the program was behind that.
            ("xone\n", 4, "xonetwo\n", Some(("two\n", 8))),
            ("xyzone\n", 4, "xyz2\ne\n", None),
            ("xone\n", 4, "xone2\n", Some(("2\n", 6))),
            ("12345one\n", 4, "1234ab\ne\n", Some(("ab\n", 7))),
            // "one\n" was deleted.
            ("", 4, "\0\0\0\0two\n", Some(("two\n", 8))),
            ("a", 4, "a\0\0\0two\n", Some(("two\n", 8))),
            ("a", 4, "aXX\0two\n", None),
            ("one\n", 4, "one\n", None),
            ("one\n", 4, "one\ntwo\n", Some(("two\n", 8))),
            ("one\n", 4, "", None),
            ("one\ntwo\n", 4, "one\nt", None),
        ] {
            let found = find_late_write(known.as_bytes(), position, content.as_bytes());
            let expected = expected.map(|(bytes, position)| LateWrite {
                bytes: bytes.as_bytes().to_vec(),
                content: content.as_bytes().to_vec(),
                position,
            });
            assert_eq!(found, expected, "{known:?} {position} {content:?}");
        }
    }
}
