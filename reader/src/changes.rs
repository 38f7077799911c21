//! Compares two snapshots of a home: walks both trees together, directory by directory, in the
//! order of names.
//!
//! No directory can be skipped because it looks unchanged. A directory's times reflect only its own
//! entries, so a file that changed deep below leaves no trace above. The walk is bounded by the
//! number of visited entries and by time.

use std::{collections::VecDeque, time::Duration};

use protocol::{
    api::snapshot::{Change, ChangeKind, Changes, MAX_CHANGES},
    files::{EntryKind, HomePath, MAX_PATH_BYTES},
};
use tokio::time::Instant;

use crate::{error::ReaderError, node::Node, snapshot_files::SnapshotFiles, wire::DirectoryRef};

/// Entries of both snapshots together that one comparison visits.
pub const MAX_ENTRIES_VISITED: usize = 200_000;
/// Memory for the paths of directories that are still to be compared.
const MAX_PENDING_BYTES: usize = 32 << 20;
/// How long one comparison may take. Then it returns what it has found.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// Lists the differences at `path` and below, sorted by path, at most `max_changes`.
///
/// A file also counts as changed if only its inode number or its change time (ctime) differ.
/// Programs can set a file's modification time back; they cannot do that with its change time.
pub async fn list_changes(
    before: &mut SnapshotFiles,
    after: &mut SnapshotFiles,
    path: &HomePath,
    max_changes: usize,
) -> Result<Changes, ReaderError> {
    let (old, new) = join_results(find_node(before, path), find_node(after, path)).await?;
    if old.is_none() && new.is_none() {
        return Err(ReaderError::NotFound);
    }
    let mut walk = TreeComparison::new(max_changes.min(MAX_CHANGES));
    walk.compare_nodes(path.parent().unwrap_or_default().as_str(), old, new);
    let deadline = Instant::now() + COMPARE_TIMEOUT;
    while let Some(pair) = walk.next_directory() {
        walk.compare_directory(before, after, &pair, deadline).await?;
    }
    Ok(walk.finish())
}

/// Awaits both results, even if one fails: dropping a request would kill its reader.
pub async fn join_results<A, B>(
    one: impl Future<Output = Result<A, ReaderError>>,
    other: impl Future<Output = Result<B, ReaderError>>,
) -> Result<(A, B), ReaderError> {
    let (one, other) = tokio::join!(one, other);
    Ok((one?, other?))
}

/// The node at `path`; `None` if it does not exist.
async fn find_node(home: &mut SnapshotFiles, path: &HomePath) -> Result<Option<Node>, ReaderError> {
    match home.node(path).await {
        Ok(node) => Ok(Some(node)),
        Err(ReaderError::NotFound | ReaderError::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A directory of both snapshots that is still to be compared. `before` and `after` are inode numbers.
struct DirectoryPair {
    path: String,
    before: u32,
    after: u32,
}

/// The state of one comparison.
struct TreeComparison {
    changes: Vec<Change>,
    pending: Vec<DirectoryPair>,
    pending_bytes: usize,
    visited: usize,
    max_changes: usize,
    /// Whether a bound ended the comparison early.
    truncated: bool,
}

impl TreeComparison {
    fn new(max_changes: usize) -> Self {
        Self {
            changes: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            visited: 0,
            max_changes,
            truncated: false,
        }
    }

    fn next_directory(&mut self) -> Option<DirectoryPair> {
        let pair = self.pending.pop()?;
        self.pending_bytes -= pair.path.len();
        Some(pair)
    }

    /// The changes, sorted by path: a directory comes before its content.
    fn finish(mut self) -> Changes {
        self.changes.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        Changes { changes: self.changes, truncated: self.truncated }
    }

    async fn compare_directory(
        &mut self,
        before: &mut SnapshotFiles,
        after: &mut SnapshotFiles,
        pair: &DirectoryPair,
        deadline: Instant,
    ) -> Result<(), ReaderError> {
        let (mut old, mut new) = (EntryStream::new(pair.before), EntryStream::new(pair.after));
        loop {
            join_results(old.fill(before), new.fill(after)).await?;
            if old.overflows || new.overflows || Instant::now() >= deadline {
                self.stop();
            }
            if self.truncated {
                return Ok(());
            }
            match pop_next(&mut old, &mut new) {
                (None, None) => return Ok(()),
                (old, new) => self.compare_nodes(&pair.path, old, new),
            }
        }
    }

    /// Compares two entries with the same name in the directory `path`, or records one that exists
    /// on one side only.
    fn compare_nodes(&mut self, path: &str, old: Option<Node>, new: Option<Node>) {
        self.visited += usize::from(old.is_some()) + usize::from(new.is_some());
        let Some(name) = new.as_ref().or(old.as_ref()).map(|node| String::from_utf8_lossy(&node.name)) else {
            return;
        };
        let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
        if let (Some(old), Some(new)) = (&old, &new)
            && (old.kind, new.kind) == (EntryKind::Directory, EntryKind::Directory)
        {
            self.queue_directory(DirectoryPair { path: path.clone(), before: old.inode, after: new.inode });
        }
        if let Some(change) = describe_change(path, old.as_ref(), new.as_ref()) {
            if self.changes.len() == self.max_changes {
                return self.stop();
            }
            self.changes.push(change);
        }
        if self.visited >= MAX_ENTRIES_VISITED {
            self.stop();
        }
    }

    /// Queues a directory. A path that is too long for Linux means a cycle, which ends the comparison.
    fn queue_directory(&mut self, pair: DirectoryPair) {
        self.pending_bytes += pair.path.len();
        if pair.path.len() > MAX_PATH_BYTES || self.pending_bytes > MAX_PENDING_BYTES {
            self.stop();
        } else {
            self.pending.push(pair);
        }
    }

    fn stop(&mut self) {
        self.truncated = true;
        self.pending.clear();
        self.pending_bytes = 0;
    }
}

/// A directory's entries, fetched page by page.
struct EntryStream {
    inode: u32,
    queue: VecDeque<Node>,
    /// Name of the last fetched entry.
    after: Vec<u8>,
    more: bool,
    overflows: bool,
}

impl EntryStream {
    fn new(inode: u32) -> Self {
        Self { inode, queue: VecDeque::new(), after: Vec::new(), more: true, overflows: false }
    }

    /// Fetches the next page if the queue is empty.
    async fn fill(&mut self, home: &mut SnapshotFiles) -> Result<(), ReaderError> {
        if !self.queue.is_empty() || !self.more {
            return Ok(());
        }
        let page = home.page(DirectoryRef::Inode(self.inode), std::mem::take(&mut self.after)).await?;
        self.after = page.nodes.last().map(|node| node.name.clone()).unwrap_or_default();
        (self.more, self.overflows) = (page.more, page.overflows);
        self.queue = page.nodes.into();
        Ok(())
    }
}

/// Takes the entry whose name comes first, from each side that has it.
fn pop_next(old: &mut EntryStream, new: &mut EntryStream) -> (Option<Node>, Option<Node>) {
    let (first, second) =
        (old.queue.front().map(|node| &node.name), new.queue.front().map(|node| &node.name));
    let (takes_old, takes_new) = match (first, second) {
        (Some(first), Some(second)) => (first <= second, second <= first),
        (first, second) => (first.is_some(), second.is_some()),
    };
    let old = if takes_old { old.queue.pop_front() } else { None };
    let new = if takes_new { new.queue.pop_front() } else { None };
    (old, new)
}

fn describe_change(path: String, old: Option<&Node>, new: Option<&Node>) -> Option<Change> {
    let kind = match (old, new) {
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(old), Some(new)) if differ(old, new) => ChangeKind::Changed,
        _ => return None,
    };
    let size = |node: Option<&Node>| node.filter(|node| node.kind == EntryKind::File).map(|node| node.size);
    let entry = new.or(old)?.kind;
    Some(Change { path, kind, entry, size_before: size(old), size_after: size(new) })
}

/// Whether two nodes differ. A directory's own times do not count, because its entries are compared.
fn differ(old: &Node, new: &Node) -> bool {
    let shape = |node: &Node| (node.kind, node.mode);
    let content = |node: &Node| (node.size, node.modified, node.changed, node.inode);
    shape(old) != shape(new)
        || old.target != new.target
        || (new.kind == EntryKind::File && content(old) != content(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::FileTime;

    fn file(name: &str, inode: u32) -> Node {
        Node::unreadable(name.into(), inode, EntryKind::File)
    }

    #[test]
    fn files_differ_by_any_content_attribute() {
        let check = |change: fn(&mut Node), expected: bool| {
            let (old, mut new) = (file("a", 12), file("a", 12));
            change(&mut new);
            assert_eq!(differ(&old, &new), expected, "{new:?}");
        };
        check(|_| {}, false);
        check(|node| node.size = 1, true);
        check(|node| node.mode = 0o644, true);
        check(|node| node.inode = 13, true);
        check(|node| node.modified.nanoseconds = 1, true);
        check(|node| node.changed.nanoseconds = 1, true);
        check(|node| node.kind = EntryKind::Other, true);
    }

    #[test]
    fn directories_ignore_times_links_compare_targets() {
        let mut old = file("a", 12);
        old.kind = EntryKind::Directory;
        let new = Node { modified: FileTime { seconds: 1, nanoseconds: 0 }, inode: 13, ..old.clone() };
        assert!(!differ(&old, &new));
        let old = Node { kind: EntryKind::Symlink, target: Some(b"x".to_vec()), ..old };
        let new = Node { inode: 13, ..old.clone() };
        assert!(!differ(&old, &new));
        assert!(differ(&old, &Node { target: Some(b"y".to_vec()), ..new }));
    }

    #[test]
    fn entries_are_paired_in_name_order() {
        let entries = |names: &[&str]| EntryStream {
            queue: names.iter().map(|name| file(name, 12)).collect(),
            more: false,
            ..EntryStream::new(2)
        };
        let (mut old, mut new) = (entries(&["a", "c", "d"]), entries(&["b", "c"]));
        let mut pairs = Vec::new();
        loop {
            let (old, new) = pop_next(&mut old, &mut new);
            if old.is_none() && new.is_none() {
                break;
            }
            let name = |node: Option<Node>| node.map(|node| String::from_utf8_lossy(&node.name).into_owned());
            pairs.push((name(old).unwrap_or_default(), name(new).unwrap_or_default()));
        }
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
        assert_eq!(pairs, [("a", ""), ("", "b"), ("c", "c"), ("d", "")]);
    }

    #[test]
    fn too_many_changes_are_truncated() {
        let mut walk = TreeComparison::new(1);
        walk.compare_nodes("", None, Some(file("b", 12)));
        assert!(!walk.truncated);
        walk.compare_nodes("", None, Some(file("a", 12)));
        let changes = walk.finish();
        assert!(changes.truncated);
        assert_eq!(changes.changes.len(), 1);
    }
}
