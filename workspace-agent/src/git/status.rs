//! Parses `git status --porcelain=v2 -z --branch --show-stash`. Pure.

use protocol::git::{Conflict, FileChange, GitPath, GitStatus, MAX_STATUS_ENTRIES, StatusEntry};

/// Parses the output. What is not understood, such as a record that was cut off, is left out.
pub fn parse_status(output: &[u8]) -> GitStatus {
    let mut status = GitStatus::default();
    let mut records = output.split(|byte| *byte == 0);
    while let Some(record) = records.next() {
        if let Some(header) = record.strip_prefix(b"# ") {
            parse_header(&mut status, &String::from_utf8_lossy(header));
            continue;
        }
        let original = record.starts_with(b"2 ").then(|| records.next()).flatten();
        let Some(entry) = parse_entry(record, original) else { continue };
        if status.entries.len() >= MAX_STATUS_ENTRIES {
            status.truncated = true;
            break;
        }
        status.entries.push(entry);
    }
    status
}

fn parse_header(status: &mut GitStatus, header: &str) {
    let Some((name, value)) = header.split_once(' ') else { return };
    match name {
        "branch.oid" => status.head = Some(value.to_owned()).filter(|value| value != "(initial)"),
        "branch.head" => status.branch = Some(value.to_owned()).filter(|value| value != "(detached)"),
        "branch.upstream" => status.upstream = Some(value.to_owned()),
        "branch.ab" => {
            let mut counts = value.split(' ').map(|count| count.trim_start_matches(['+', '-']).parse().ok());
            status.ahead = counts.next().flatten();
            status.behind = counts.next().flatten();
        }
        "stash" => status.stashes = value.parse().unwrap_or(0),
        _ => {}
    }
}

/// Parses one record. `original` is the former path, which only records of renamed files have.
fn parse_entry(record: &[u8], original: Option<&[u8]>) -> Option<StatusEntry> {
    // Fields before the path. A path may contain spaces.
    let fields_before_path = match record.first()? {
        b'1' => 8,
        b'2' => 9,
        b'u' => 10,
        b'?' => 1,
        _ => return None,
    };
    let mut fields = record.splitn(fields_before_path + 1, |byte| *byte == b' ');
    let kind = fields.next()?;
    if kind == b"?" {
        let path = fields.next()?;
        return Some(StatusEntry {
            path: GitPath::from_bytes(path).ok()?,
            original_path: None,
            index: FileChange::Unmodified,
            worktree: FileChange::Untracked,
            conflict: None,
            is_repository: path.ends_with(b"/"),
        });
    }
    let [index, worktree] = fields.next()? else { return None };
    let submodule = fields.next()?;
    let path = fields.nth(fields_before_path - 3)?;
    let conflict = if kind == b"u" { Some(parse_conflict(*index, *worktree)?) } else { None };
    let change = |letter: u8| if conflict.is_some() { FileChange::Unmodified } else { parse_change(letter) };
    Some(StatusEntry {
        path: GitPath::from_bytes(path).ok()?,
        original_path: original.and_then(|path| GitPath::from_bytes(path).ok()),
        index: change(*index),
        worktree: change(*worktree),
        conflict,
        is_repository: submodule.starts_with(b"S"),
    })
}

fn parse_change(letter: u8) -> FileChange {
    match letter {
        b'M' => FileChange::Modified,
        b'T' => FileChange::TypeChanged,
        b'A' => FileChange::Added,
        b'D' => FileChange::Deleted,
        b'R' => FileChange::Renamed,
        b'C' => FileChange::Copied,
        _ => FileChange::Unmodified,
    }
}

fn parse_conflict(ours: u8, theirs: u8) -> Option<Conflict> {
    Some(match (ours, theirs) {
        (b'U', b'U') => Conflict::BothModified,
        (b'A', b'A') => Conflict::BothAdded,
        (b'D', b'D') => Conflict::BothDeleted,
        (b'A', b'U') => Conflict::AddedByUs,
        (b'U', b'A') => Conflict::AddedByThem,
        (b'D', b'U') => Conflict::DeletedByUs,
        (b'U', b'D') => Conflict::DeletedByThem,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record, and the path, former path, changes and conflict that it has.
    type Row<'a> = (String, &'a str, Option<&'a str>, FileChange, FileChange, Option<Conflict>);

    const HASHES: &str = "100644 100644 100644 1111111111111111111111111111111111111111 \
                          2222222222222222222222222222222222222222";

    #[test]
    fn headers_are_parsed() {
        let status = parse_status(
            b"# branch.oid 0123\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -3\0\
              # stash 4\0# unknown x\0",
        );
        assert_eq!(status.head.as_deref(), Some("0123"));
        assert_eq!(status.branch.as_deref(), Some("main"));
        assert_eq!(status.upstream.as_deref(), Some("origin/main"));
        assert_eq!((status.ahead, status.behind, status.stashes), (Some(2), Some(3), 4));
        let status = parse_status(b"# branch.oid (initial)\0# branch.head (detached)\0");
        assert_eq!((status.head, status.branch), (None, None));
    }

    #[test]
    fn records_are_parsed() {
        use FileChange::{Added, Deleted, Modified, Renamed, Unmodified, Untracked};
        let table: [Row<'_>; 7] = [
            (format!("1 M. N... {HASHES} a b\nc\"d"), "a b\nc\"d", None, Modified, Unmodified, None),
            (format!("1 AM N... {HASHES} new"), "new", None, Added, Modified, None),
            (format!("1 .D N... {HASHES} gone"), "gone", None, Unmodified, Deleted, None),
            (
                format!("2 R. N... {HASHES} R100 to x\0from x"),
                "to x",
                Some("from x"),
                Renamed,
                Unmodified,
                None,
            ),
            (
                format!("u UU N... 100644 {HASHES} 3333 both"),
                "both",
                None,
                Unmodified,
                Unmodified,
                Some(Conflict::BothModified),
            ),
            (
                format!("u DU N... 100644 {HASHES} 3333 a b"),
                "a b",
                None,
                Unmodified,
                Unmodified,
                Some(Conflict::DeletedByUs),
            ),
            ("? un tracked".to_owned(), "un tracked", None, Unmodified, Untracked, None),
        ];
        for (record, path, original, index, worktree, conflict) in table {
            let entry = &parse_status(format!("{record}\0").as_bytes()).entries[0];
            assert_eq!(entry.path.to_string(), path, "{record}");
            assert_eq!(entry.original_path.as_ref().map(ToString::to_string).as_deref(), original);
            assert_eq!(
                (entry.index, entry.worktree, entry.conflict),
                (index, worktree, conflict),
                "{record}"
            );
        }
    }

    #[test]
    fn repositories_are_recognized() {
        let status = parse_status(format!("1 .M SC.. {HASHES} sub\0? other/\0? file\0").as_bytes());
        let are_repositories: Vec<bool> = status.entries.iter().map(|entry| entry.is_repository).collect();
        assert_eq!(are_repositories, [true, true, false]);
    }

    #[test]
    fn names_that_are_not_utf8_are_kept() {
        let status = parse_status(b"? caf\xe9\0");
        assert_eq!(status.entries[0].path.as_bytes(), b"caf\xe9");
    }

    #[test]
    fn truncation_is_told() {
        let output = "? a\0".repeat(MAX_STATUS_ENTRIES + 1);
        let status = parse_status(output.as_bytes());
        assert_eq!((status.entries.len(), status.truncated), (MAX_STATUS_ENTRIES, true));
        for cut in ["1 M", "1 M. N...", "2 R. N... 1 2 3 4 5 R100", "u", "?", "1 MMM N... "] {
            assert!(parse_status(cut.as_bytes()).entries.is_empty(), "{cut}");
        }
    }
}
