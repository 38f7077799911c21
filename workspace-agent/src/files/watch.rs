//! What changes in directories that a viewer looks at.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{State, WebSocketUpgrade},
    response::Response,
};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use protocol::files::{DirectoryChanges, HomePath, MAX_WATCHES, WatchRequest};
use rustix::fs::{Mode, OFlags};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    app::App,
    problem::{Answer, Refusal},
    socket::{self, Gone, Incoming, Socket},
};

/// Changes that come within this time go out as one message.
const DEBOUNCE: Duration = Duration::from_millis(80);
/// Events that wait; beyond it the viewer is told to look at everything again.
const QUEUE: usize = 1024;

const CLOSE_BAD_MESSAGE: u16 = 1007;

pub async fn watch(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Answer<Response> {
    let (events, queue) = mpsc::channel(QUEUE);
    let lost = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let overflow = lost.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let sent = match event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => Ok(()),
            Ok(event) if !event.need_rescan() => events.try_send(event),
            _ => Err(mpsc::error::TrySendError::Full(Event::default())),
        };
        if sent.is_err() {
            overflow.store(true, std::sync::atomic::Ordering::Relaxed);
            // Wakes the viewer's loop, unless it has enough to read anyway.
            let _ = events.try_send(Event::default());
        }
    });
    let watcher = watcher.map_err(|error| {
        Refusal::new(protocol::Code::Unavailable, format!("Watching files failed: {error}."))
    })?;
    Ok(socket::accept(upgrade, move |mut socket| async move {
        let mut view = View { app, watcher, queue, lost, directories: HashMap::new() };
        if let Ok(code) = view.run(&mut socket).await {
            socket.close(code, "not a watch request").await;
        }
    }))
}

struct View {
    app: Arc<App>,
    watcher: RecommendedWatcher,
    queue: mpsc::Receiver<Event>,
    lost: Arc<std::sync::atomic::AtomicBool>,
    /// What is watched: the real path, and the path as the viewer wrote it.
    directories: HashMap<PathBuf, String>,
}

impl View {
    /// Ends with a close code, or because the viewer has gone.
    async fn run(&mut self, socket: &mut Socket) -> Result<u16, Gone> {
        let mut changed = BTreeSet::new();
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                message = socket.receive() => {
                    let Some(Incoming::Text(text)) = message else {
                        return if message.is_some() { Ok(CLOSE_BAD_MESSAGE) } else { Err(Gone) };
                    };
                    let Ok(request) = serde_json::from_str(&text) else { return Ok(CLOSE_BAD_MESSAGE) };
                    self.change(request).await;
                }
                Some(event) = self.queue.recv() => {
                    changed.extend(self.directories_of(&event));
                    due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    due = None;
                    let all = self.lost.swap(false, std::sync::atomic::Ordering::Relaxed);
                    let directories = std::mem::take(&mut changed).into_iter().collect::<Vec<_>>();
                    if all || !directories.is_empty() {
                        socket.send_json(&DirectoryChanges { directories, all }).await?;
                    }
                }
            }
        }
    }

    async fn change(&mut self, request: WatchRequest) {
        match request {
            WatchRequest::Watch { path } => {
                if self.directories.len() < MAX_WATCHES
                    && let Some(real) = self.real(&path).await
                    && self.watcher.watch(&real, RecursiveMode::NonRecursive).is_ok()
                {
                    self.directories.insert(real, path);
                }
            }
            WatchRequest::Unwatch { path } => {
                let gone = self
                    .directories
                    .iter()
                    .find(|(_, watched)| **watched == path)
                    .map(|(real, _)| real.clone());
                if let Some(real) = gone {
                    self.directories.remove(&real);
                    let _ = self.watcher.unwatch(&real);
                }
            }
        }
    }

    /// The real place of a directory that the person may read.
    async fn real(&self, path: &str) -> Option<PathBuf> {
        let path = HomePath::parse(path).ok()?;
        let real = self
            .app
            .home
            .run(move |files| {
                files.open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
                files.real(&path)
            })
            .await;
        real.ok().map(|real| self.app.home.path().join(real.as_str()))
    }

    fn directories_of(&self, event: &Event) -> Vec<String> {
        let parents = event.paths.iter().filter_map(|path| path.parent());
        let themselves = event.paths.iter().map(PathBuf::as_path);
        parents.chain(themselves).filter_map(|path| self.directories.get(path)).cloned().collect()
    }
}
