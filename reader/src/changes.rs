//! How two instants of a home differ: both trees are walked together, directory by directory, in the order of names.
//!
//! No directory is passed over because it looks the same: its times speak of its own entries only, so a file that changed deep
//! below shows nowhere above. What bounds the walk is the number of entries looked at and the time it takes.

use std::{collections::VecDeque, time::Duration};

use protocol::{
    api::snapshot::{Change, ChangeKind, Changes, MAX_CHANGES},
    files::{EntryKind, HomePath, MAX_PATH_BYTES},
};
use tokio::time::Instant;

use crate::{error::ReaderError, home::Home, node::Node, wire::Place};

/// Most entries, of both sides together, that one comparison looks at.
pub const MAX_ENTRIES_VISITED: usize = 200_000;
/// What the directories that are yet to be compared may take: their paths.
const MAX_PENDING_BYTES: usize = 32 << 20;
/// And how long it goes on; what was found until then is the answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// What differs at `path` and below it, by path; at most `most` of it.
///
/// A file counts as changed also where only its inode or the time of the inode's last change differ: a program can set the time
/// of a content's change back, and this one it cannot.
pub async fn changes(
    before: &mut Home,
    after: &mut Home,
    path: &HomePath,
    most: usize,
) -> Result<Changes, ReaderError> {
    let (old, new) = both(found(before, path), found(after, path)).await?;
    if old.is_none() && new.is_none() {
        return Err(ReaderError::NotFound);
    }
    let mut walk = Walk::new(most.min(MAX_CHANGES));
    walk.meet(path.parent().unwrap_or_default().as_str(), old, new);
    let deadline = Instant::now() + DEADLINE;
    while let Some(pair) = walk.next() {
        walk.compare(before, after, &pair, deadline).await?;
    }
    Ok(walk.finish())
}

/// Both to their end, whatever becomes of the one: a question that is dropped takes its home along.
pub async fn both<A, B>(
    one: impl Future<Output = Result<A, ReaderError>>,
    other: impl Future<Output = Result<B, ReaderError>>,
) -> Result<(A, B), ReaderError> {
    let (one, other) = tokio::join!(one, other);
    Ok((one?, other?))
}

async fn found(home: &mut Home, path: &HomePath) -> Result<Option<Node>, ReaderError> {
    match home.node(path).await {
        Ok(node) => Ok(Some(node)),
        Err(ReaderError::NotFound | ReaderError::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A directory that both have, yet to be compared.
struct Pair {
    path: String,
    before: u32,
    after: u32,
}

struct Walk {
    changes: Vec<Change>,
    pending: Vec<Pair>,
    pending_bytes: usize,
    visited: usize,
    most: usize,
    truncated: bool,
}

impl Walk {
    fn new(most: usize) -> Self {
        Self {
            changes: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            visited: 0,
            most,
            truncated: false,
        }
    }

    fn next(&mut self) -> Option<Pair> {
        let pair = self.pending.pop()?;
        self.pending_bytes -= pair.path.len();
        Some(pair)
    }

    /// The changes by path; a directory before what is in it.
    fn finish(mut self) -> Changes {
        self.changes.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        Changes { changes: self.changes, truncated: self.truncated }
    }

    async fn compare(
        &mut self,
        before: &mut Home,
        after: &mut Home,
        pair: &Pair,
        deadline: Instant,
    ) -> Result<(), ReaderError> {
        let (mut old, mut new) = (Entries::of(pair.before), Entries::of(pair.after));
        loop {
            both(old.fill(before), new.fill(after)).await?;
            if old.overflows || new.overflows || Instant::now() >= deadline {
                self.stop();
            }
            if self.truncated {
                return Ok(());
            }
            match take_next(&mut old, &mut new) {
                (None, None) => return Ok(()),
                (old, new) => self.meet(&pair.path, old, new),
            }
        }
    }

    /// Two entries of one name in the directory `path`, or one that the other side has not.
    fn meet(&mut self, path: &str, old: Option<Node>, new: Option<Node>) {
        self.visited += usize::from(old.is_some()) + usize::from(new.is_some());
        let Some(name) = new.as_ref().or(old.as_ref()).map(|node| String::from_utf8_lossy(&node.name)) else {
            return;
        };
        let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
        if let (Some(old), Some(new)) = (&old, &new)
            && (old.kind, new.kind) == (EntryKind::Directory, EntryKind::Directory)
        {
            self.descend(Pair { path: path.clone(), before: old.inode, after: new.inode });
        }
        if let Some(change) = difference(path, old.as_ref(), new.as_ref()) {
            if self.changes.len() == self.most {
                return self.stop();
            }
            self.changes.push(change);
        }
        if self.visited >= MAX_ENTRIES_VISITED {
            self.stop();
        }
    }

    /// A path that is too long for Linux is one that leads round in a circle.
    fn descend(&mut self, pair: Pair) {
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

/// A directory's entries as they come, page by page.
struct Entries {
    inode: u32,
    queue: VecDeque<Node>,
    after: Vec<u8>,
    more: bool,
    overflows: bool,
}

impl Entries {
    fn of(inode: u32) -> Self {
        Self { inode, queue: VecDeque::new(), after: Vec::new(), more: true, overflows: false }
    }

    async fn fill(&mut self, home: &mut Home) -> Result<(), ReaderError> {
        if !self.queue.is_empty() || !self.more {
            return Ok(());
        }
        let page = home.page(Place::Inode(self.inode), std::mem::take(&mut self.after)).await?;
        self.after = page.nodes.last().map(|node| node.name.clone()).unwrap_or_default();
        (self.more, self.overflows) = (page.more, page.overflows);
        self.queue = page.nodes.into();
        Ok(())
    }
}

/// The entry whose name comes first, of each side that has it.
fn take_next(old: &mut Entries, new: &mut Entries) -> (Option<Node>, Option<Node>) {
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

fn difference(path: String, old: Option<&Node>, new: Option<&Node>) -> Option<Change> {
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

/// Of a directory its own times do not count: its entries are compared.
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
    use crate::node;

    fn file(name: &str, inode: u32) -> Node {
        Node::unreadable(name.into(), inode, EntryKind::File)
    }

    #[test]
    fn a_file_differs_by_whatever_could_mean_another_content() {
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
    fn a_directory_and_a_link_differ_by_what_they_say() {
        let mut old = file("a", 12);
        old.kind = EntryKind::Directory;
        let new = Node { modified: node::Instant { seconds: 1, nanoseconds: 0 }, inode: 13, ..old.clone() };
        assert!(!differ(&old, &new));
        let old = Node { kind: EntryKind::Symlink, target: Some(b"x".to_vec()), ..old };
        let new = Node { inode: 13, ..old.clone() };
        assert!(!differ(&old, &new));
        assert!(differ(&old, &Node { target: Some(b"y".to_vec()), ..new }));
    }

    #[test]
    fn entries_are_met_in_the_order_of_their_names() {
        let entries = |names: &[&str]| Entries {
            queue: names.iter().map(|name| file(name, 12)).collect(),
            more: false,
            ..Entries::of(2)
        };
        let (mut old, mut new) = (entries(&["a", "c", "d"]), entries(&["b", "c"]));
        let mut met = Vec::new();
        loop {
            let (old, new) = take_next(&mut old, &mut new);
            if old.is_none() && new.is_none() {
                break;
            }
            let name = |node: Option<Node>| node.map(|node| String::from_utf8_lossy(&node.name).into_owned());
            met.push((name(old).unwrap_or_default(), name(new).unwrap_or_default()));
        }
        let met: Vec<(&str, &str)> = met.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
        assert_eq!(met, [("a", ""), ("", "b"), ("c", "c"), ("d", "")]);
    }

    #[test]
    fn more_changes_than_wanted_are_said_to_be_more() {
        let mut walk = Walk::new(1);
        walk.meet("", None, Some(file("b", 12)));
        assert!(!walk.truncated);
        walk.meet("", None, Some(file("a", 12)));
        let changes = walk.finish();
        assert!(changes.truncated);
        assert_eq!(changes.changes.len(), 1);
    }
}
