//! One kernel watcher for the files of all documents. A watcher per document would use up the
//! kernel's few instances.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

/// The end of a program's writing. Documents wait for it.
const CLOSED_BY_WRITER: AccessKind = AccessKind::Close(AccessMode::Write);

/// The watched files, and the notifier of each file's document.
type Notifiers = HashMap<PathBuf, Arc<Notify>>;

/// Watches the directories of open documents.
#[derive(Default)]
pub struct FileWatcher(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    watcher: Option<RecommendedWatcher>,
    notifiers: Arc<Mutex<Notifiers>>,
}

impl FileWatcher {
    /// Returns a notifier that wakes whenever `file` may have changed. If the kernel refuses a
    /// watcher, it never wakes; documents also poll their files.
    pub fn watch(&self, file: PathBuf) -> Arc<Notify> {
        let mut inner = lock(&self.0);
        let directory = file.parent().map(Path::to_owned);
        inner.unwatch_closed();
        let notifier = lock(&inner.notifiers).entry(file).or_default().clone();
        if inner.watcher.is_none() {
            let notifiers = inner.notifiers.clone();
            inner.watcher = notify::recommended_watcher(move |event| notify_documents(&notifiers, event))
                .inspect_err(|error| tracing::warn!(%error, "cannot watch files; documents poll them"))
                .ok();
        }
        if let (Some(watcher), Some(directory)) = (inner.watcher.as_mut(), directory) {
            let _ = watcher.watch(&directory, RecursiveMode::NonRecursive);
        }
        notifier
    }

    /// Wakes the document of `file`, which one of the agent's own routes has written.
    pub fn report_change(&self, file: &Path) {
        if let Some(notifier) = lock(&lock(&self.0).notifiers).get(file) {
            notifier.notify_one();
        }
    }
}

impl Inner {
    /// Stops watching for documents that have ended. Nobody else holds their notifiers.
    fn unwatch_closed(&mut self) {
        let unused = remove_closed(&mut lock(&self.notifiers));
        // The lock must be free here: `unwatch` returns only after earlier events were delivered,
        // and their delivery takes the lock.
        for directory in unused {
            if let Some(watcher) = self.watcher.as_mut() {
                let _ = watcher.unwatch(&directory);
            }
        }
    }
}

/// Removes the files of documents that have ended. Returns the directories that no other file needs
/// watched.
fn remove_closed(notifiers: &mut Notifiers) -> Vec<PathBuf> {
    let closed = notifiers.extract_if(|_, notifier| Arc::strong_count(notifier) == 1);
    let mut directories: Vec<PathBuf> =
        closed.filter_map(|(file, _)| Some(file.parent()?.to_owned())).collect();
    directories.sort_unstable();
    directories.dedup();
    directories.retain(|directory| !notifiers.keys().any(|file| file.parent() == Some(directory)));
    directories
}

fn notify_documents(notifiers: &Mutex<Notifiers>, event: notify::Result<Event>) {
    let notifiers = lock(notifiers);
    match event {
        Ok(event) if matches!(event.kind, EventKind::Access(kind) if kind != CLOSED_BY_WRITER) => {}
        Ok(event) if !event.need_rescan() => {
            let changed = event.paths.iter().filter_map(|path| notifiers.get(path));
            changed.for_each(|notifier| notifier.notify_one());
        }
        // Events were lost, so any file may have changed.
        _ => notifiers.values().for_each(|notifier| notifier.notify_one()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
