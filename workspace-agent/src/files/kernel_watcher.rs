//! Directories that the kernel watches, and its events in a bounded queue.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind};
use tokio::sync::mpsc;

/// Watches directories. Events that find the queue full are lost, and [`Self::take_lost`] says so.
pub struct KernelWatcher {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<Event>,
    has_lost_events: Arc<AtomicBool>,
}

impl KernelWatcher {
    /// Creates a watcher without any directory. Only relevant events are queued, at most `max_events`.
    pub fn new(max_events: usize, is_relevant: fn(&Event) -> bool) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(max_events);
        let has_lost_events = Arc::new(AtomicBool::new(false));
        let overflow = has_lost_events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let sent = match event {
                Ok(event) if !is_relevant(&event) => Ok(()),
                Ok(event) if !event.need_rescan() => sender.try_send(event),
                _ => Err(mpsc::error::TrySendError::Full(Event::default())),
            };
            if sent.is_err() {
                overflow.store(true, Ordering::Relaxed);
                // Wakes the owner, unless the queue is full and will wake it anyway.
                let _ = sender.try_send(Event::default());
            }
        })?;
        Ok(Self { watcher, events, has_lost_events })
    }

    /// Watches a directory, without those below it. Returns whether the kernel does.
    pub fn watch(&mut self, directory: &Path) -> bool {
        self.watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
    }

    /// Ends the watch of a directory.
    pub fn unwatch(&mut self, directory: &Path) {
        // Fails if the kernel has removed the watch with its directory.
        let _ = self.watcher.unwatch(directory);
    }

    /// Returns the next event.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Whether events were lost since the last call.
    pub fn take_lost(&self) -> bool {
        self.has_lost_events.swap(false, Ordering::Relaxed)
    }
}

/// Whether what is at the event's paths may be something else now.
pub fn is_replacement(event: &Event) -> bool {
    matches!(event.kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}
