//! Tells a client when the status of a repository may have changed.
//!
//! The kernel watches the directories of the working tree that Git does not ignore, and those in which Git
//! keeps branches and the index. What happens is reported at most once a second, and the client reads the
//! status. In a tree with more directories than are watched, the client is told regularly.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use ignore::WalkBuilder;
use notify::{Event, EventKind};
use protocol::{
    files::HomePath,
    git::{GitWatchRequest, RepositoryChanged},
};
use tokio::time::Instant;

use super::repository;
use crate::{
    files::{
        home_directory::HomeDirectory,
        kernel_watcher::{KernelWatcher, is_replacement},
    },
    socket::{CLOSE_INVALID_MESSAGE, CloseReason, Disconnected, Incoming, Socket},
};

/// Changes within this time are one message: a program that writes one file writes others.
const DEBOUNCE_DELAY: Duration = Duration::from_millis(200);
/// Least time between two messages. Each makes the client read the status.
const MIN_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often a tree that is too large to watch is reported.
const UNWATCHED_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Most directories that one client watches. The kernel allows 524,288 in a guest.
const MAX_DIRECTORIES: usize = 16_384;
/// Most events that wait. When one is lost, everything counts as changed.
const MAX_QUEUED_EVENTS: usize = 256;

/// One client's subscription, which lives as long as its socket.
pub struct WatchSession {
    home: HomeDirectory,
    watcher: KernelWatcher,
    /// The working tree, if there is one at the path that the client has named.
    tree: Option<PathBuf>,
    /// The directories that the kernel watches.
    watched: BTreeSet<PathBuf>,
    /// Whether there are directories that it does not watch.
    is_incomplete: bool,
}

/// What is to be reported, and when.
#[derive(Default)]
struct Pending {
    due: Option<Instant>,
    /// Whether directories have come or gone.
    is_stale: bool,
    last_report: Option<Instant>,
}

impl Pending {
    fn now() -> Self {
        Self { due: Some(Instant::now()), is_stale: true, last_report: None }
    }

    fn schedule(&mut self, now: Instant) {
        let earliest = self.last_report.map_or(now, |last| last + MIN_REPORT_INTERVAL);
        self.due.get_or_insert_with(|| earliest.max(now + DEBOUNCE_DELAY));
    }
}

impl WatchSession {
    /// Creates the kernel's watcher, without any directory.
    pub fn new(home: HomeDirectory) -> notify::Result<Self> {
        Ok(Self {
            home,
            watcher: KernelWatcher::new(MAX_QUEUED_EVENTS, is_relevant)?,
            tree: None,
            watched: BTreeSet::new(),
            is_incomplete: false,
        })
    }

    /// Serves the client until it disconnects or sends something that is not a watch request.
    pub async fn serve(mut self, mut socket: Socket) {
        if let Ok(reason) = self.run(&mut socket).await {
            socket.close(reason).await;
        }
    }

    async fn run(&mut self, socket: &mut Socket) -> Result<CloseReason, Disconnected> {
        let invalid = CloseReason { code: CLOSE_INVALID_MESSAGE, reason: "not a watch request" };
        let mut pending = Pending::default();
        loop {
            let regular = pending.last_report.filter(|_| self.is_incomplete);
            let due = pending.due.or(regular.map(|last| last + UNWATCHED_REPORT_INTERVAL));
            tokio::select! {
                message = socket.receive() => {
                    let Incoming::Text(text) = message.ok_or(Disconnected)? else { return Ok(invalid) };
                    match serde_json::from_str(&text) {
                        Ok(GitWatchRequest::Ping) => socket.send_json(&RepositoryChanged::default()).await?,
                        Ok(GitWatchRequest::Watch { repository }) => {
                            let path = HomePath::parse(&repository).ok();
                            self.tree = path.map(|path| self.home.path().join(path.as_str()));
                            pending = Pending::now();
                        }
                        Err(_) => return Ok(invalid),
                    }
                }
                Some(event) = self.watcher.next() => {
                    pending.is_stale |= self.apply_event(&event);
                    pending.schedule(Instant::now());
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    pending.is_stale |= self.watcher.take_lost();
                    if std::mem::take(&mut pending.is_stale) {
                        self.follow_directories().await;
                    }
                    (pending.due, pending.last_report) = (None, Some(Instant::now()));
                    socket.send_json(&RepositoryChanged { changed: true }).await?;
                }
            }
        }
    }

    /// Returns whether directories may have come or gone.
    fn apply_event(&mut self, event: &Event) -> bool {
        // What Git ignores may be other directories now, also if the file was written in place.
        let is_rules = |path: &PathBuf| path.file_name().is_some_and(|name| name == ".gitignore");
        let mut is_stale = event.paths.iter().any(is_rules);
        if !is_replacement(event) {
            return is_stale;
        }
        for path in &event.paths {
            if self.watched.remove(path) {
                self.watcher.unwatch(path);
                is_stale = true;
            }
            is_stale |= path.is_dir();
        }
        is_stale
    }

    /// Makes the kernel watch what is there now.
    async fn follow_directories(&mut self) {
        let tree = self.tree.clone();
        let found = self.home.run(move |_| Ok::<_, io::Error>(find_directories(tree.as_deref()))).await;
        let (found, is_truncated) = found.unwrap_or_default();
        self.is_incomplete = is_truncated;
        for path in self.watched.difference(&found) {
            self.watcher.unwatch(path);
        }
        self.watched.retain(|path| found.contains(path));
        for path in found {
            if self.watched.contains(&path) {
                continue;
            }
            if self.watcher.watch(&path) {
                self.watched.insert(path);
            } else {
                // It is gone, or the kernel allows no more.
                self.is_incomplete = true;
            }
        }
    }
}

/// Git writes a lock before it changes anything, also if it then changes nothing.
fn is_relevant(event: &Event) -> bool {
    let is_lock = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock");
    !matches!(event.kind, EventKind::Access(_))
        && (event.paths.is_empty() || !event.paths.iter().all(is_lock))
}

/// The directories to watch for a working tree, and whether there are more.
fn find_directories(tree: Option<&Path>) -> (BTreeSet<PathBuf>, bool) {
    let Some((tree, git)) = tree.and_then(|tree| Some((tree, repository::git_directory(tree)?))) else {
        return (BTreeSet::new(), false);
    };
    let mut found = BTreeSet::from([git.clone()]);
    // Of a further working tree, the branches are in the directory of the first one.
    let common = fs::read_to_string(git.join("commondir")).ok();
    let common = common.map_or_else(|| git.clone(), |path| git.join(path.trim_end()));
    found.insert(common.clone());
    let references = WalkBuilder::new(common.join("refs")).standard_filters(false).build();
    // The rules of the working tree apply to it also when the home is a repository itself.
    let files = WalkBuilder::new(tree)
        .hidden(false)
        .parents(false)
        .require_git(false)
        .filter_entry(|entry| {
            entry.file_name() != ".git" && entry.file_type().is_some_and(|kind| kind.is_dir())
        })
        .build();
    for entry in references.chain(files).flatten() {
        if found.len() >= MAX_DIRECTORIES {
            return (found, true);
        }
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            found.insert(entry.into_path());
        }
    }
    (found, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_directories_are_not_watched() {
        let place = tempfile::tempdir().expect("a directory");
        let tree = place.path().join("repo");
        for directory in ["repo/.git/refs/heads/a", "repo/.git/objects/00", "repo/src/deep", "repo/out/x"] {
            fs::create_dir_all(place.path().join(directory)).expect("a directory");
        }
        fs::write(place.path().join(".gitignore"), "src").expect("a file of another repository");
        fs::write(tree.join(".gitignore"), "out/").expect("a file");
        let (found, is_truncated) = find_directories(Some(&tree));
        let found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(&tree).expect("below").to_str().expect("text"))
            .collect();
        assert_eq!(
            found,
            ["", ".git", ".git/refs", ".git/refs/heads", ".git/refs/heads/a", "src", "src/deep"]
        );
        assert!(!is_truncated);
    }

    #[test]
    fn locks_are_not_reported() {
        let event = |path: &str| Event::new(EventKind::Any).add_path(path.into());
        assert!(!is_relevant(&event("/r/.git/index.lock")));
        assert!(is_relevant(&event("/r/.git/index")));
        assert!(is_relevant(&event("/r/.git/index.lock").add_path("/r/.git/index".into())));
    }
}
