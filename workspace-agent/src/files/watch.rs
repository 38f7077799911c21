//! A client's subscription to changes in directories.
//!
//! The kernel watches inodes, clients watch paths. A directory that is deleted and created again, or
//! replaced by a rename or a link, has another inode under the same path, or a reused one. The
//! session therefore also watches every directory on the way to a watched path. When one of these is
//! created, removed or renamed, its watch is dropped, and whatever is at each path now is watched
//! ([`super::watch_targets`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Event, EventKind};
use protocol::files::{DirectoryChanges, HomePath, MAX_WATCHES, WatchRequest};
use tokio::time::Instant;

use super::{
    home_directory::HomeDirectory,
    kernel_watcher::{KernelWatcher, is_replacement},
    watch_targets::{Inode, WatchTargets, find_targets},
};
use crate::socket::{CLOSE_INVALID_MESSAGE, CloseReason, Disconnected, Incoming, Socket};

/// Changes within this time are sent as one message.
const DEBOUNCE_DELAY: Duration = Duration::from_millis(80);
/// Most events that wait for the session. Beyond it, the client has to list everything again.
const MAX_QUEUED_EVENTS: usize = 1024;

/// One client's subscription, which lives as long as its socket.
pub struct WatchSession {
    home: HomeDirectory,
    watcher: KernelWatcher,
    /// The paths that the client watches, as it wrote them.
    watched: BTreeMap<String, HomePath>,
    /// What was at these paths when they were last compared.
    targets: WatchTargets,
    /// The directories that the kernel watches: absolute path and inode.
    kernel: HashMap<PathBuf, Inode>,
}

/// What is to be done when the debounce delay is over.
#[derive(Default)]
struct Pending {
    due: Option<Instant>,
    /// Watched paths that changed, as the client wrote them.
    changed: BTreeSet<String>,
    /// Whether the inodes at the watched paths must be compared.
    is_stale: bool,
}

impl Pending {
    fn schedule(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE_DELAY);
    }
}

impl WatchSession {
    /// Creates the kernel's watcher, without any directory.
    pub fn new(home: HomeDirectory) -> notify::Result<Self> {
        let is_change = |event: &Event| !matches!(event.kind, EventKind::Access(_));
        Ok(Self {
            home,
            watcher: KernelWatcher::new(MAX_QUEUED_EVENTS, is_change)?,
            watched: BTreeMap::new(),
            targets: WatchTargets::default(),
            kernel: HashMap::new(),
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
            let due = pending.due.unwrap_or_else(Instant::now);
            tokio::select! {
                message = socket.receive() => {
                    let Incoming::Text(text) = message.ok_or(Disconnected)? else { return Ok(invalid) };
                    let Ok(request) = serde_json::from_str(&text) else { return Ok(invalid) };
                    if request == WatchRequest::Ping {
                        socket.send_json(&DirectoryChanges::default()).await?;
                    }
                    self.apply_request(request, &mut pending);
                }
                Some(event) = self.watcher.next() => {
                    self.apply_event(&event, &mut pending);
                }
                () = tokio::time::sleep_until(due), if pending.due.is_some() => {
                    let all = self.watcher.take_lost();
                    let mut pending = std::mem::take(&mut pending);
                    if all {
                        self.drop_all_watches();
                    }
                    if pending.is_stale || all {
                        pending.changed.extend(self.follow_paths().await);
                    }
                    let directories = pending.changed.into_iter().collect::<Vec<_>>();
                    if all || !directories.is_empty() {
                        socket.send_json(&DirectoryChanges { directories, all }).await?;
                    }
                }
            }
        }
    }

    fn apply_request(&mut self, request: WatchRequest, pending: &mut Pending) {
        match request {
            WatchRequest::Ping => return,
            WatchRequest::Watch { path } => {
                let Ok(parsed) = HomePath::parse(&path) else { return };
                if self.watched.len() >= MAX_WATCHES && !self.watched.contains_key(&path) {
                    return;
                }
                self.watched.insert(path.clone(), parsed);
                // Reported once it is watched: what changed before that, nobody has seen.
                pending.changed.insert(path);
            }
            WatchRequest::Unwatch { path } => {
                self.watched.remove(&path);
                pending.changed.remove(&path);
            }
        }
        pending.is_stale = true;
        pending.schedule();
    }

    fn apply_event(&mut self, event: &Event, pending: &mut Pending) {
        let replaces = is_replacement(event);
        for path in &event.paths {
            if replaces {
                self.drop_watch(path);
            }
            pending.is_stale |= self.targets.on_the_way.contains(path);
            let parent = path.parent().unwrap_or(Path::new("/"));
            let concerned = [parent, path].into_iter().filter_map(|path| self.targets.clients.get(path));
            pending.changed.extend(concerned.flatten().cloned());
        }
        pending.schedule();
    }

    /// Makes the kernel watch what is at the watched paths now. Returns the paths at which something
    /// else is than before.
    async fn follow_paths(&mut self) -> Vec<String> {
        let watched = self.watched.clone();
        let home = self.home.path().to_owned();
        let found = self.home.run(move |files| Ok::<_, std::io::Error>(find_targets(files, &home, &watched)));
        let Ok(found) = found.await else { return Vec::new() };
        let old = std::mem::replace(&mut self.targets, found);
        for path in self.kernel.keys().cloned().collect::<Vec<_>>() {
            if self.targets.directories.get(&path) != self.kernel.get(&path) {
                self.drop_watch(&path);
            }
        }
        // Parents come first. A directory that is replaced before it is watched is an event of its
        // parent.
        for (path, inode) in &self.targets.directories {
            if !self.kernel.contains_key(path) && self.watcher.watch(path) {
                self.kernel.insert(path.clone(), *inode);
            }
        }
        let is_changed = |path: &&String| old.inodes.get(*path) != self.targets.inodes.get(*path);
        self.watched.keys().filter(is_changed).cloned().collect()
    }

    fn drop_watch(&mut self, path: &Path) {
        if self.kernel.remove(path).is_some() {
            self.watcher.unwatch(path);
        }
    }

    fn drop_all_watches(&mut self) {
        for path in self.kernel.keys().cloned().collect::<Vec<_>>() {
            self.drop_watch(&path);
        }
    }
}
