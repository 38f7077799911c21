//! Parses `git diff` of one file, and makes patches of chosen lines of it. Pure.
//!
//! A patch is made of the bytes that Git has printed, never of what a client has sent: the client names
//! lines. `git apply` then checks that its context is still there.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use protocol::git::{FileDiff, LineChange};

/// The diff of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ParsedDiff {
    fingerprint: String,
    is_binary: bool,
    /// The lines before the first hunk, without line ends.
    header: Vec<Vec<u8>>,
    hunks: Vec<Hunk>,
}

#[derive(Debug, PartialEq, Eq)]
struct Hunk {
    /// Numbers of the first lines, counted from 1: where a line would be if there is none.
    old_first: u64,
    new_first: u64,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    side: Side,
    /// Without the line end.
    text: Vec<u8>,
    has_newline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Both,
    Old,
    New,
}

/// Which way a patch is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the old version.
    Forward,
    /// To the new version, with `git apply --reverse`.
    Reverse,
}

/// Parses the output of `git diff`. An empty output is a diff without changes.
pub fn parse_diff(output: &[u8]) -> ParsedDiff {
    let mut hasher = DefaultHasher::new();
    output.hash(&mut hasher);
    let mut diff = ParsedDiff { fingerprint: format!("{:016x}", hasher.finish()), ..ParsedDiff::default() };
    for line in output.strip_suffix(b"\n").unwrap_or(output).split(|byte| *byte == b'\n') {
        if let Some(hunk) = parse_hunk_header(line) {
            diff.hunks.push(hunk);
            continue;
        }
        let Some(hunk) = diff.hunks.last_mut() else {
            diff.is_binary |= line.starts_with(b"Binary files ") || line == b"GIT binary patch";
            diff.header.push(line.to_vec());
            continue;
        };
        let side = match line.first() {
            // With `diff.suppressBlankEmpty`, an empty line of both sides has no space before it.
            Some(b' ') | None => Side::Both,
            Some(b'-') => Side::Old,
            Some(b'+') => Side::New,
            Some(b'\\') => {
                if let Some(last) = hunk.lines.last_mut() {
                    last.has_newline = false;
                }
                continue;
            }
            _ => continue,
        };
        hunk.lines.push(Line { side, text: line.get(1..).unwrap_or_default().to_vec(), has_newline: true });
    }
    diff
}

/// Parses `@@ -1,2 +3,4 @@ …`. The diff of a conflict has three ranges and is not parsed: it has no hunks.
fn parse_hunk_header(line: &[u8]) -> Option<Hunk> {
    let ranges = line.strip_prefix(b"@@ -")?;
    let end = ranges.windows(3).position(|window| window == b" @@")?;
    let (old, new) = std::str::from_utf8(&ranges[..end]).ok()?.split_once(" +")?;
    Some(Hunk { old_first: first_line(old)?, new_first: first_line(new)?, lines: Vec::new() })
}

/// The first line of a range such as `3,2`. Of an empty range, Git names the line before it.
fn first_line(range: &str) -> Option<u64> {
    let (start, count) = range.split_once(',').unwrap_or((range, "1"));
    let (start, count): (u64, u64) = (start.parse().ok()?, count.parse().ok()?);
    start.checked_add(u64::from(count == 0))
}

impl ParsedDiff {
    /// Names this state of the diff.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What clients see of it.
    pub fn describe(&self) -> FileDiff {
        let changes = self.hunks.iter().flat_map(Hunk::changes).collect();
        FileDiff { fingerprint: self.fingerprint.clone(), is_binary: self.is_binary, changes }
    }

    /// A patch of the lines that are in `selection`, to be applied in `direction`. `None` if there are none.
    pub fn patch(&self, selection: &[LineChange], direction: Direction) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        let mut delta = 0;
        let (mut selected, mut left) = (0, 0);
        for hunk in &self.hunks {
            let chosen = hunk.choose(selection, direction);
            selected += chosen.selected;
            left += chosen.left;
            if chosen.selected > 0 {
                write_hunk(&mut body, hunk, &chosen.lines, direction, &mut delta);
            }
        }
        if selected == 0 {
            return None;
        }
        let mut patch = self.patch_header(left == 0);
        patch.append(&mut body);
        Some(patch)
    }

    /// The header. A patch of some lines of a new or deleted file is a change of a file that stays.
    fn patch_header(&self, is_complete: bool) -> Vec<u8> {
        let mut header = Vec::new();
        let name_of = |prefix: &[u8]| self.header.iter().find_map(|line| line.strip_prefix(prefix));
        for line in &self.header {
            let is_extended =
                [&b"new file mode "[..], b"deleted file mode ", b"old mode ", b"new mode ", b"index "]
                    .iter()
                    .any(|prefix| line.starts_with(prefix));
            let replaced = match line.as_slice() {
                _ if is_complete => line.clone(),
                _ if is_extended => continue,
                b"--- /dev/null" => with_prefix(b"--- ", name_of(b"+++ "), b'a'),
                b"+++ /dev/null" => with_prefix(b"+++ ", name_of(b"--- "), b'b'),
                _ => line.clone(),
            };
            header.extend_from_slice(&replaced);
            header.push(b'\n');
        }
        header
    }
}

/// `name` is `a/path`, or `"a/path"` with escapes. Its first letter becomes `side`.
fn with_prefix(start: &[u8], name: Option<&[u8]>, side: u8) -> Vec<u8> {
    let mut name = name.unwrap_or_default().to_vec();
    let at = usize::from(name.first() == Some(&b'"'));
    if let Some(letter) = name.get_mut(at) {
        *letter = side;
    }
    [start, &name].concat()
}

/// The lines of a hunk's patch.
struct ChosenLines {
    lines: Vec<Line>,
    /// Changed lines that are in the patch, and those that are not.
    selected: usize,
    left: usize,
}

impl Hunk {
    /// The runs of changed lines.
    fn changes(&self) -> Vec<LineChange> {
        let mut changes: Vec<LineChange> = Vec::new();
        let (mut old, mut new) = (self.old_first, self.new_first);
        let mut is_in_change = false;
        for line in &self.lines {
            if line.side == Side::Both {
                (old, new, is_in_change) = (old + 1, new + 1, false);
                continue;
            }
            if !is_in_change {
                changes.push(LineChange { old_start: old, old_lines: 0, new_start: new, new_lines: 0 });
                is_in_change = true;
            }
            let Some(change) = changes.last_mut() else { continue };
            if line.side == Side::Old {
                change.old_lines += 1;
                old += 1;
            } else {
                change.new_lines += 1;
                new += 1;
            }
        }
        changes
    }

    /// Keeps the selected changes. The others become what is already there: in the version that the patch is
    /// applied to, a line that is not removed stays, and one that is not added does not appear.
    fn choose(&self, selection: &[LineChange], direction: Direction) -> ChosenLines {
        let (mut old, mut new) = (self.old_first, self.new_first);
        let mut chosen = ChosenLines { lines: Vec::new(), selected: 0, left: 0 };
        let present = if direction == Direction::Forward { Side::Old } else { Side::New };
        for line in &self.lines {
            let is_selected = match line.side {
                Side::Both => false,
                Side::Old => selection.iter().any(|one| is_within(old, one.old_start, one.old_lines)),
                Side::New => selection.iter().any(|one| is_within(new, one.new_start, one.new_lines)),
            };
            old += u64::from(line.side != Side::New);
            new += u64::from(line.side != Side::Old);
            if line.side == Side::Both || is_selected {
                chosen.selected += usize::from(is_selected);
                chosen.lines.push(line.clone());
                continue;
            }
            chosen.left += 1;
            if line.side == present {
                chosen.lines.push(Line { side: Side::Both, ..line.clone() });
            }
        }
        chosen.lines = end_lines(chosen.lines, direction);
        chosen
    }
}

fn is_within(line: u64, start: u64, count: u64) -> bool {
    line >= start && line - start < count
}

/// Ends every line of the result but the last one. A line that had no end, because it was the last one of its
/// file, may be followed by others now.
fn end_lines(lines: Vec<Line>, direction: Direction) -> Vec<Line> {
    let (present, result) = match direction {
        Direction::Forward => (Side::Old, Side::New),
        Direction::Reverse => (Side::New, Side::Old),
    };
    let is_in_result = |line: &Line| line.side != present;
    let last = lines.iter().rposition(is_in_result);
    let mut ended = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        if line.has_newline || line.side == present || Some(at) == last {
            ended.push(line);
        } else if line.side == result {
            ended.push(Line { has_newline: true, ..line });
        } else {
            ended.push(Line { side: present, ..line.clone() });
            ended.push(Line { side: result, has_newline: true, ..line });
        }
    }
    ended
}

/// Writes a hunk. `delta` is by how much earlier hunks have made the result longer than what is there.
fn write_hunk(patch: &mut Vec<u8>, hunk: &Hunk, lines: &[Line], direction: Direction, delta: &mut i64) {
    let count = |other: Side| lines.iter().filter(|line| line.side != other).count() as u64;
    let (old_count, new_count) = (count(Side::New), count(Side::Old));
    let moved = |first: u64| first.saturating_add_signed(*delta);
    let (old_first, new_first) = match direction {
        Direction::Forward => (hunk.old_first, moved(hunk.old_first)),
        Direction::Reverse => (moved(hunk.new_first), hunk.new_first),
    };
    let growth = new_count as i64 - old_count as i64;
    *delta += if direction == Direction::Forward { growth } else { -growth };
    let start = |first: u64, count: u64| if count == 0 { first.saturating_sub(1) } else { first };
    let header = format!(
        "@@ -{},{old_count} +{},{new_count} @@\n",
        start(old_first, old_count),
        start(new_first, new_count),
    );
    patch.extend_from_slice(header.as_bytes());
    for line in lines {
        patch.push(match line.side {
            Side::Both => b' ',
            Side::Old => b'-',
            Side::New => b'+',
        });
        patch.extend_from_slice(&line.text);
        patch.push(b'\n');
        if !line.has_newline {
            patch.extend_from_slice(b"\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/f b/f\nindex 111..222 100644\n--- a/f\n+++ b/f\n\
                        @@ -1,4 +1,5 @@\n one\n-two\n+2\n+2.5\n three\n-four\n+4\n";

    fn change(old_start: u64, old_lines: u64, new_start: u64, new_lines: u64) -> LineChange {
        LineChange { old_start, old_lines, new_start, new_lines }
    }

    fn patch(diff: &str, selection: &[LineChange], direction: Direction) -> String {
        let patch = parse_diff(diff.as_bytes()).patch(selection, direction).expect("selected lines");
        String::from_utf8(patch).expect("text")
    }

    #[test]
    fn changes_are_runs_of_lines() {
        let diff = parse_diff(DIFF.as_bytes()).describe();
        assert_eq!(diff.changes, [change(2, 1, 2, 2), change(4, 1, 5, 1)]);
        assert!(!diff.is_binary);
        assert_ne!(diff.fingerprint, parse_diff(b"").fingerprint);
    }

    #[test]
    fn change_without_lines_on_a_side_has_a_place() {
        let diff = parse_diff(b"--- a/f\n+++ b/f\n@@ -3,0 +4,2 @@\n+a\n+b\n").describe();
        assert_eq!(diff.changes, [change(4, 0, 4, 2)]);
        let diff = parse_diff(b"--- a/f\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n").describe();
        assert_eq!(diff.changes, [change(1, 2, 1, 0)]);
    }

    #[test]
    fn binary_files_have_no_lines() {
        let diff = parse_diff(b"diff --git a/f b/f\nBinary files a/f and b/f differ\n").describe();
        assert!(diff.is_binary && diff.changes.is_empty());
    }

    #[test]
    fn patch_has_selected_lines_only() {
        let forward = patch(DIFF, &[change(2, 1, 2, 1)], Direction::Forward);
        assert!(forward.ends_with("@@ -1,4 +1,4 @@\n one\n-two\n+2\n three\n four\n"), "{forward}");
        let reverse = patch(DIFF, &[change(0, 0, 3, 1)], Direction::Reverse);
        assert!(reverse.ends_with("@@ -1,4 +1,5 @@\n one\n 2\n+2.5\n three\n 4\n"), "{reverse}");
        assert!(parse_diff(DIFF.as_bytes()).patch(&[change(1, 1, 1, 1)], Direction::Forward).is_none());
    }

    #[test]
    fn patch_of_some_lines_keeps_a_deleted_file() {
        let diff = "diff --git \"a/\\303\" \"b/\\303\"\ndeleted file mode 100644\nindex 1..0\n\
                    --- \"a/\\303\"\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n";
        let some = patch(diff, &[change(1, 1, 0, 0)], Direction::Forward);
        assert_eq!(
            some,
            "diff --git \"a/\\303\" \"b/\\303\"\n--- \"a/\\303\"\n+++ \"b/\\303\"\n@@ -1,2 +1,1 @@\n-a\n b\n"
        );
        assert!(patch(diff, &[change(1, 2, 0, 0)], Direction::Forward).contains("deleted file mode"));
    }

    #[test]
    fn line_without_end_gets_one_before_others() {
        let diff = "--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n";
        let added = patch(diff, &[change(0, 0, 2, 1)], Direction::Forward);
        assert!(added.ends_with("@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n"), "{added}");
    }
}
