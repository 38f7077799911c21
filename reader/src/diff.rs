//! The difference of one file between two snapshots, as a unified diff.

use std::time::Duration;

use protocol::{
    api::snapshot::{Diff, MAX_DIFF_BYTES},
    files::{EntryKind, HomePath},
};
use similar::TextDiff;

use crate::{
    changes::join_results, error::ReaderError, node::Node, snapshot_files::SnapshotFiles,
    wire::MAX_PIECE_BYTES,
};

/// Unchanged lines around a change.
const CONTEXT_LINES: usize = 3;
/// Lines of one side. A comparison by lines takes memory for each line.
const MAX_LINES: usize = 200_000;
/// After this time the comparison settles for a difference that is not the shortest.
const DIFF_TIMEOUT: Duration = Duration::from_secs(2);

/// Compares the file at `path` in two snapshots. A missing file counts as empty; if both are
/// missing, the result is [`ReaderError::NotFound`].
pub async fn diff_file(
    before: &mut SnapshotFiles,
    after: &mut SnapshotFiles,
    path: &HomePath,
) -> Result<Diff, ReaderError> {
    let (old, new) = join_results(find_file(before, path), find_file(after, path)).await?;
    if old.is_none() && new.is_none() {
        return Err(ReaderError::NotFound);
    }
    let size = |side: &Option<Node>| side.as_ref().map_or(0, |node| node.size);
    let (size_before, size_after) = (size(&old), size(&new));
    let binary = Diff::Binary { size_before, size_after };
    if size_before.max(size_after) > MAX_DIFF_BYTES {
        return Ok(binary);
    }
    let (old, new) =
        join_results(read_content(before, path, size_before), read_content(after, path, size_after)).await?;
    let name = path.to_string();
    let compared = tokio::task::spawn_blocking(move || compare(&name, old, new)).await;
    Ok(compared.ok().flatten().unwrap_or(binary))
}

/// The regular file at `path`; `None` if nothing is there.
async fn find_file(home: &mut SnapshotFiles, path: &HomePath) -> Result<Option<Node>, ReaderError> {
    match home.node(path).await {
        Ok(node) if node.kind == EntryKind::File => Ok(Some(node)),
        Ok(node) if node.kind == EntryKind::Directory => Err(ReaderError::IsADirectory),
        Ok(_) => Err(ReaderError::NotAFile),
        Err(ReaderError::NotFound | ReaderError::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a whole file. The caller has checked its size.
async fn read_content(home: &mut SnapshotFiles, path: &HomePath, size: u64) -> Result<Vec<u8>, ReaderError> {
    let mut content = Vec::new();
    while (content.len() as u64) < size {
        let offset = content.len() as u64;
        let bytes = home.read(path, offset, MAX_PIECE_BYTES.min(size - offset)).await?;
        if bytes.is_empty() {
            return Err(ReaderError::Broken("a file's content ends early"));
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content)
}

/// Compares two contents; `None` if one is not text, or too long.
fn compare(path: &str, old: Vec<u8>, new: Vec<u8>) -> Option<Diff> {
    if old == new {
        return Some(Diff::Same);
    }
    let (old, new) = (decode_text(old)?, decode_text(new)?);
    let difference = TextDiff::configure().timeout(DIFF_TIMEOUT).diff_lines(&old, &new);
    let unified = difference
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header(&format!("a/{path}"), &format!("b/{path}"))
        .to_string();
    Some(Diff::Text { unified })
}

fn decode_text(bytes: Vec<u8>) -> Option<String> {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    if lines > MAX_LINES || bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unified(old: &str, new: &str) -> String {
        match compare("dir/a", old.into(), new.into()) {
            Some(Diff::Text { unified }) => unified,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn diff_is_unified() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let new = "1\n2\n3\n4\n5\nsix\n7\n8\n";
        let expected = "--- a/dir/a\n+++ b/dir/a\n@@ -3,6 +3,6 @@\n 3\n 4\n 5\n-6\n+six\n 7\n 8\n";
        assert_eq!(unified(old, new), expected);
        assert!(unified("", "new\n").contains("+new"));
        assert!(unified("a", "a\n").contains("No newline at end of file"));
    }

    #[test]
    fn binary_content_is_not_compared_by_line() {
        assert_eq!(compare("a", b"x\0".to_vec(), b"x".to_vec()), None);
        assert_eq!(compare("a", b"x\xff".to_vec(), b"x".to_vec()), None);
        assert_eq!(compare("a", vec![b'\n'; MAX_LINES + 1], b"x".to_vec()), None);
        assert_eq!(compare("a", b"\0\xff".to_vec(), b"\0\xff".to_vec()), Some(Diff::Same));
    }

    #[test]
    fn unrelated_texts_are_compared_in_time() {
        let lines =
            |from: u32| (from..from + 60_000).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        let start = std::time::Instant::now();
        unified(&lines(0), &lines(100_000));
        assert!(start.elapsed() < 10 * DIFF_TIMEOUT, "{:?}", start.elapsed());
    }
}
