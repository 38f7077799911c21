//! A client's subscription to changes in directories.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use protocol::files::{DirectoryChanges, HomePath, MAX_WATCHES, WatchRequest};
use rustix::fs::{Mode, OFlags};
use tokio::{sync::mpsc, time::Instant};

use super::home_directory::HomeDirectory;
use crate::socket::{CLOSE_INVALID_MESSAGE, CloseReason, Disconnected, Incoming, Socket};

/// Changes within this time are sent as one message.
const DEBOUNCE_DELAY: Duration = Duration::from_millis(80);
/// Most events that wait for the session. Beyond it, the client has to list everything again.
const MAX_QUEUED_EVENTS: usize = 1024;

/// One client's subscription, which lives as long as its socket.
pub struct WatchSession {
    home: HomeDirectory,
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<Event>,
    /// Set when an event was dropped.
    has_lost_events: Arc<AtomicBool>,
    /// Watched directories: the resolved absolute path, and the path as the client wrote it.
    directories: HashMap<PathBuf, String>,
}

impl WatchSession {
    /// Creates the kernel's watcher, without any directory.
    pub fn new(home: HomeDirectory) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(MAX_QUEUED_EVENTS);
        let has_lost_events = Arc::new(AtomicBool::new(false));
        let overflow = has_lost_events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let sent = match event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => Ok(()),
                Ok(event) if !event.need_rescan() => sender.try_send(event),
                _ => Err(mpsc::error::TrySendError::Full(Event::default())),
            };
            if sent.is_err() {
                overflow.store(true, Ordering::Relaxed);
                // Wakes the session, unless its queue is full and it will wake anyway.
                let _ = sender.try_send(Event::default());
            }
        })?;
        Ok(Self { home, watcher, events, has_lost_events, directories: HashMap::new() })
    }

    /// Serves the client until it disconnects or sends something that is not a watch request.
    pub async fn serve(mut self, mut socket: Socket) {
        if let Ok(reason) = self.run(&mut socket).await {
            socket.close(reason).await;
        }
    }

    async fn run(&mut self, socket: &mut Socket) -> Result<CloseReason, Disconnected> {
        let invalid = CloseReason { code: CLOSE_INVALID_MESSAGE, reason: "not a watch request" };
        let mut changed = BTreeSet::new();
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                message = socket.receive() => {
                    let Incoming::Text(text) = message.ok_or(Disconnected)? else { return Ok(invalid) };
                    let Ok(request) = serde_json::from_str(&text) else { return Ok(invalid) };
                    self.apply_request(request).await;
                }
                Some(event) = self.events.recv() => {
                    changed.extend(self.directories_of(&event));
                    due.get_or_insert_with(|| Instant::now() + DEBOUNCE_DELAY);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    due = None;
                    let all = self.has_lost_events.swap(false, Ordering::Relaxed);
                    let directories = std::mem::take(&mut changed).into_iter().collect::<Vec<_>>();
                    if all || !directories.is_empty() {
                        socket.send_json(&DirectoryChanges { directories, all }).await?;
                    }
                }
            }
        }
    }

    async fn apply_request(&mut self, request: WatchRequest) {
        match request {
            WatchRequest::Watch { path } => {
                if self.directories.len() < MAX_WATCHES
                    && let Some(resolved) = self.resolve_directory(&path).await
                    && self.watcher.watch(&resolved, RecursiveMode::NonRecursive).is_ok()
                {
                    self.directories.insert(resolved, path);
                }
            }
            WatchRequest::Unwatch { path } => {
                let resolved = self
                    .directories
                    .iter()
                    .find(|(_, watched)| **watched == path)
                    .map(|(resolved, _)| resolved.clone());
                if let Some(resolved) = resolved {
                    self.directories.remove(&resolved);
                    let _ = self.watcher.unwatch(&resolved);
                }
            }
        }
    }

    /// The absolute path of a directory that the user may read.
    async fn resolve_directory(&self, path: &str) -> Option<PathBuf> {
        let path = HomePath::parse(path).ok()?;
        let resolved = self
            .home
            .run(move |files| {
                files.open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
                files.resolve(&path)
            })
            .await;
        resolved.ok().map(|resolved| self.home.path().join(resolved.as_str()))
    }

    /// The watched directories that an event concerns, as the client wrote them.
    fn directories_of(&self, event: &Event) -> Vec<String> {
        let parents = event.paths.iter().filter_map(|path| path.parent());
        let themselves = event.paths.iter().map(PathBuf::as_path);
        parents.chain(themselves).filter_map(|path| self.directories.get(path)).cloned().collect()
    }
}
