//! Shared documents: the registry, and the socket between a viewer and a document.

mod disk;
mod document;
mod merge;
mod shared;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{Query, State, WebSocketUpgrade},
    http::HeaderMap,
    response::Response,
};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use protocol::{
    document::{DocumentEvent, OpenDocument, RefusalReason},
    files::HomePath,
};
use tokio::sync::Notify;

use self::document::{Ended, Handle, Joined, Out, Refused};
use crate::{
    app::{App, may_write},
    files::home::Home,
    problem::Answer,
    socket::{self, Gone, Incoming, Socket},
};

/// Most documents at once.
const MAX_DOCUMENTS: usize = 256;
/// A document that ends between being found and being joined is opened again; not more often than this.
const ATTEMPTS: usize = 3;

const CLOSE_NORMAL: u16 = 1000;
/// "Try again": the document's task has ended, or the viewer was too slow.
const CLOSE_TRY_AGAIN: u16 = 1013;
const CLOSE_BAD_MESSAGE: u16 = 1007;

pub struct Documents {
    home: Home,
    open: tokio::sync::Mutex<HashMap<HomePath, Handle>>,
    disk: Disk,
}

impl Documents {
    pub fn new(home: Home) -> Self {
        Self { home, open: tokio::sync::Mutex::default(), disk: Disk::default() }
    }

    /// How many are open. Zero while someone opens one: good enough for a status bar.
    pub fn count(&self) -> usize {
        self.open.try_lock().map_or(0, |open| open.values().filter(|handle| !handle.has_ended()).count())
    }

    /// The file was written by one of our own routes.
    pub fn disk_changed(&self, path: &HomePath) {
        self.disk.changed(&self.home.path().join(path.as_str()));
    }

    /// Resolves when all that was typed is on disk.
    pub async fn flush_all(&self) {
        let handles: Vec<Handle> = self.open.lock().await.values().cloned().collect();
        futures_util::future::join_all(handles.iter().map(Handle::flush)).await;
    }

    /// Joins the document of `path`, opening it if need be.
    async fn join(&self, request: OpenDocument) -> Result<(Handle, Joined), Refused> {
        let outside = |error: protocol::files::BadPath| Refused {
            reason: RefusalReason::OutsideHome,
            message: format!("{error}."),
        };
        let path = HomePath::parse(&request.path).map_err(outside)?;
        // One file has one document, by whatever links it is reached.
        let path = self.home.run(move |files| files.real(&path).map_err(disk::Unreadable::Io)).await;
        let path = path.map_err(|error| Refused::from(&error))?;
        for _ in 0..ATTEMPTS {
            let handle = self.handle(&path).await?;
            if let Ok(joined) = handle.join(request.epoch.clone()).await {
                return joined.map(|joined| (handle, joined));
            }
        }
        Err(Refused {
            reason: RefusalReason::Internal,
            message: "The document could not be opened; try again.".to_owned(),
        })
    }

    async fn handle(&self, path: &HomePath) -> Result<Handle, Refused> {
        let mut open = self.open.lock().await;
        open.retain(|_, handle| !handle.has_ended());
        if let Some(handle) = open.get(path) {
            return Ok(handle.clone());
        }
        if open.len() >= MAX_DOCUMENTS {
            let message =
                format!("{MAX_DOCUMENTS} documents are open: close some, and try again in a few minutes.");
            return Err(Refused { reason: RefusalReason::TooMany, message });
        }
        let notify = self.disk.watch(self.home.path().join(path.as_str()));
        let handle = Handle::open(&self.home, path, notify).await?;
        handle.look(); // what changed between the reading and the watching
        open.insert(path.clone(), handle.clone());
        Ok(handle)
    }
}

/// One watcher for the directories of all documents: every watcher of its own would take one of the kernel's few instances.
#[derive(Default)]
struct Disk(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    watcher: Option<RecommendedWatcher>,
    files: Arc<Mutex<HashMap<PathBuf, Arc<Notify>>>>,
}

impl Disk {
    /// Wakes what is returned whenever the file may have changed. Without a watcher, documents look by themselves.
    fn watch(&self, file: PathBuf) -> Arc<Notify> {
        let mut watched = lock(&self.0);
        let directory = file.parent().map(Path::to_owned);
        watched.forget_the_closed();
        let notify = lock(&watched.files).entry(file).or_default().clone();
        if watched.watcher.is_none() {
            let files = watched.files.clone();
            watched.watcher = notify::recommended_watcher(move |event| tell(&files, event))
                .inspect_err(|error| tracing::warn!(%error, "files are not watched: changes are seen later"))
                .ok();
        }
        if let (Some(watcher), Some(directory)) = (watched.watcher.as_mut(), directory) {
            let _ = watcher.watch(&directory, RecursiveMode::NonRecursive);
        }
        notify
    }

    fn changed(&self, file: &Path) {
        if let Some(notify) = lock(&lock(&self.0).files).get(file) {
            notify.notify_one();
        }
    }
}

impl Watched {
    /// Stops watching for documents that have ended: nobody else holds their notifiers.
    fn forget_the_closed(&mut self) {
        let idle = idle_directories(&mut lock(&self.files));
        // Without the lock: the watcher answers only after it has told of what came before, and that takes the lock.
        for directory in idle {
            if let Some(watcher) = self.watcher.as_mut() {
                let _ = watcher.unwatch(&directory);
            }
        }
    }
}

/// Removes the files of documents that have ended; the directories that no other file needs watched.
fn idle_directories(files: &mut HashMap<PathBuf, Arc<Notify>>) -> Vec<PathBuf> {
    let closed = files.extract_if(|_, notify| Arc::strong_count(notify) == 1);
    let mut directories: Vec<PathBuf> =
        closed.filter_map(|(file, _)| Some(file.parent()?.to_owned())).collect();
    directories.sort_unstable();
    directories.dedup();
    directories.retain(|directory| !files.keys().any(|file| file.parent() == Some(directory)));
    directories
}

fn tell(files: &Mutex<HashMap<PathBuf, Arc<Notify>>>, event: notify::Result<Event>) {
    let files = lock(files);
    match event {
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
        Ok(event) if !event.need_rescan() => {
            event.paths.iter().filter_map(|path| files.get(path)).for_each(|notify| notify.notify_one());
        }
        // Events were lost: everyone looks.
        _ => files.values().for_each(|notify| notify.notify_one()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub async fn open(
    State(app): State<Arc<App>>,
    Query(request): Query<OpenDocument>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Answer<Response> {
    app.require_ready()?;
    let read_only = !may_write(&headers);
    Ok(socket::accept(upgrade, move |mut socket| async move {
        match app.documents.join(request).await {
            Ok((handle, joined)) => serve(handle, joined, read_only, socket).await,
            Err(refused) => {
                if socket.send_json(&refused.event()).await.is_ok() {
                    socket.close(CLOSE_NORMAL, "refused").await;
                }
            }
        }
    }))
}

async fn serve(handle: Handle, mut joined: Joined, read_only: bool, mut socket: Socket) {
    let result = relay(&handle, &mut joined, read_only, &mut socket).await;
    handle.leave(joined.viewer).await;
    if let Ok((code, reason)) = result {
        socket.close(code, reason).await;
    }
}

async fn relay(
    handle: &Handle,
    joined: &mut Joined,
    read_only: bool,
    socket: &mut Socket,
) -> Result<(u16, &'static str), Gone> {
    socket.send_json(&DocumentEvent::Opened { epoch: joined.epoch.clone(), read_only }).await?;
    loop {
        tokio::select! {
            out = joined.outbox.recv() => match out {
                Some(Out::Sync(message)) => socket.send_binary(message.to_vec()).await?,
                Some(Out::Event(event)) => {
                    socket.send_json(&event).await?;
                    if matches!(event, DocumentEvent::Refused { .. }) {
                        return Ok((CLOSE_NORMAL, "refused"));
                    }
                }
                None => return Ok((CLOSE_TRY_AGAIN, "synchronise again")),
            },
            message = socket.receive() => match message {
                Some(Incoming::Binary(message)) => {
                    if let Err(Ended) = handle.sync(joined.viewer, message).await {
                        return Ok((CLOSE_TRY_AGAIN, "synchronise again"));
                    }
                }
                Some(Incoming::Text(_)) => return Ok((CLOSE_BAD_MESSAGE, "not a y-sync message")),
                None => return Err(Gone),
            },
        }
    }
}

/// See [`crate::fuzzing`].
pub fn fuzz(message: &[u8]) {
    let mut shared = shared::Shared::new("some text \u{1f600}\n");
    if shared.receive(1, message).is_ok() {
        let text = shared.text();
        let mut other = shared::Shared::new("");
        for greeting in shared.greeting() {
            let _ = other.receive(2, &greeting);
        }
        assert!(text.len() <= message.len() + 64);
    }
}
