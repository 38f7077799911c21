//! One open document: a task that owns the shared text, its viewers and its file.
//!
//! Everything that happens to the document passes through the task's inbox, so all of it has one
//! order. If the task panics (on a hostile update that the CRDT library does not survive), its
//! viewers' sockets close. The next client to open the file starts a new task, with another epoch.
//! Other documents are not affected.

use std::{collections::HashMap, io, ops::ControlFlow, pin::Pin, sync::Arc, time::Duration};

use axum::body::Bytes;
use protocol::{
    document::{DocumentEvent, RefusalReason},
    files::HomePath,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    file::{self, FileChange, LineEnding, LoadError, LoadedFile, SaveOutcome},
    shared_text::{SavePoint, SharedText, ViewerId},
};
use crate::{error::io_error_message, files::home_directory::HomeDirectory, tasks::Tasks};

/// Most commands that wait for the document. Beyond that, viewers' sockets are not read.
const MAX_QUEUED_COMMANDS: usize = 64;
/// Most messages that wait for one viewer. A viewer that falls further behind is removed and has to
/// synchronize again.
const MAX_QUEUED_MESSAGES: usize = 256;
/// A save starts when nobody has typed for this long …
const SAVE_DELAY: Duration = Duration::from_millis(150);
/// … or when the oldest unsaved edit is this old.
const MAX_SAVE_DELAY: Duration = Duration::from_millis(500);
/// Pause before a failed save is repeated.
const SAVE_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How often the file is polled. The watcher reports most changes at once; polling finds those that
/// it misses.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long a document stays open without viewers, so that a user who reloads the page keeps the
/// undo history.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// A message to one viewer.
#[derive(Debug, Clone)]
pub enum ViewerMessage {
    /// A y-sync message.
    Sync(Bytes),
    /// An event about the document.
    Event(DocumentEvent),
}

/// A command to the document's task.
enum Command {
    Join {
        epoch: Option<String>,
        reply: oneshot::Sender<Result<JoinedViewer, DocumentRefusal>>,
    },
    Sync {
        viewer: ViewerId,
        message: Bytes,
    },
    Leave(ViewerId),
    Flush(oneshot::Sender<()>),
    #[cfg(test)]
    Panic,
}

/// A viewer that was added to a document.
pub struct JoinedViewer {
    /// Identifies the viewer in its document.
    pub id: ViewerId,
    /// The document's epoch.
    pub epoch: String,
    /// Messages for the viewer. Closes when the document ends or removes the viewer.
    pub outbox: mpsc::Receiver<ViewerMessage>,
}

/// Why a viewer is refused.
#[derive(Debug, Clone)]
pub struct DocumentRefusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For users.
    pub message: String,
}

impl From<&LoadError> for DocumentRefusal {
    fn from(error: &LoadError) -> Self {
        let message = match error {
            LoadError::Io(error) => io_error_message(error),
            other => other.to_string(),
        };
        Self { reason: error.reason(), message }
    }
}

impl DocumentRefusal {
    /// The event that tells the viewer.
    pub fn event(&self) -> DocumentEvent {
        DocumentEvent::Refused { reason: self.reason, message: self.message.clone() }
    }
}

/// A handle to a document's task.
#[derive(Clone)]
pub struct DocumentHandle {
    inbox: mpsc::Sender<Command>,
    file_changes: Arc<Notify>,
}

/// The document's task has ended. Open the document again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentEnded;

impl DocumentHandle {
    /// Loads the file and starts the document's task. `file_changes` wakes the task when the file
    /// may have changed.
    pub async fn open(
        home: &HomeDirectory,
        path: &HomePath,
        file_changes: Arc<Notify>,
        tasks: &Tasks,
    ) -> Result<Self, DocumentRefusal> {
        let load_path = path.clone();
        let loaded = home
            .run(move |files| file::load(files, &load_path))
            .await
            .map_err(|error| DocumentRefusal::from(&error))?;
        let (inbox, commands) = mpsc::channel(MAX_QUEUED_COMMANDS);
        let document = Document::new(home.clone(), path.clone(), loaded);
        // A panic of the task closes its inbox too, see `has_ended`.
        tasks.spawn(document.run(commands, file_changes.clone()));
        Ok(Self { inbox, file_changes })
    }

    /// Whether the task has ended.
    pub fn has_ended(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Makes the task check its file for changes.
    pub fn poll_file(&self) {
        self.file_changes.notify_one();
    }

    /// Adds a viewer. `epoch` is that of the replica it still holds.
    pub async fn join(
        &self,
        epoch: Option<String>,
    ) -> Result<Result<JoinedViewer, DocumentRefusal>, DocumentEnded> {
        let (reply, joined) = oneshot::channel();
        self.inbox.send(Command::Join { epoch, reply }).await.map_err(|_| DocumentEnded)?;
        joined.await.map_err(|_| DocumentEnded)
    }

    /// Applies a viewer's y-sync message.
    pub async fn sync(&self, viewer: ViewerId, message: Bytes) -> Result<(), DocumentEnded> {
        self.inbox.send(Command::Sync { viewer, message }).await.map_err(|_| DocumentEnded)
    }

    /// Removes a viewer.
    pub async fn leave(&self, viewer: ViewerId) {
        // Fails if the document has ended, which has removed all its viewers.
        let _ = self.inbox.send(Command::Leave(viewer)).await;
    }

    /// Waits until all earlier edits are on disk, or a save has failed.
    pub async fn flush(&self) {
        let (reply, flushed) = oneshot::channel();
        if self.inbox.send(Command::Flush(reply)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// The state of a document's task.
struct Document {
    home: HomeDirectory,
    path: HomePath,
    /// Identifies this instance, so that a client's old replica is never merged into another
    /// instance.
    epoch: String,
    text: SharedText,
    line_ending: LineEnding,
    /// Entity tag of the file as it was last loaded or saved. `None`: the file does not exist.
    file_etag: Option<String>,
    viewers: HashMap<ViewerId, mpsc::Sender<ViewerMessage>>,
    next_viewer: ViewerId,
    save: Option<RunningSave>,
    /// When the next save starts.
    next_save: Option<SaveSchedule>,
    flushes: Vec<oneshot::Sender<()>>,
    last_viewer_left_at: Instant,
}

/// A save that is running.
struct RunningSave {
    /// What the save writes.
    save_point: SavePoint,
    outcome: Pin<Box<dyn Future<Output = io::Result<SaveOutcome>> + Send>>,
}

#[derive(Clone, Copy)]
struct SaveSchedule {
    /// When the save starts.
    at: Instant,
    /// The latest time to which further edits can postpone it.
    latest: Instant,
}

/// Whether the task continues after an event.
type Next = ControlFlow<()>;

impl Document {
    fn new(home: HomeDirectory, path: HomePath, loaded: LoadedFile) -> Self {
        Self {
            home,
            path,
            epoch: uuid::Uuid::new_v4().simple().to_string(),
            text: SharedText::new(&loaded.text),
            line_ending: loaded.line_ending,
            file_etag: Some(loaded.etag),
            viewers: HashMap::new(),
            next_viewer: 1,
            save: None,
            next_save: None,
            flushes: Vec::new(),
            last_viewer_left_at: Instant::now(),
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, file_changes: Arc<Notify>) {
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_saving = self.save.is_some();
            let save_at = self.next_save.filter(|_| !is_saving).map(|schedule| schedule.at);
            let next = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.apply_command(command),
                    None => Next::Break(()),
                },
                (save_point, outcome) = save_outcome(self.save.as_mut()), if is_saving => {
                    self.finish_save(save_point, outcome).await
                }
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    self.start_save();
                    Next::Continue(())
                }
                // While a save runs, the document itself changes the file.
                () = file_changes.notified(), if !is_saving => self.merge_file_changes().await,
                _ = poll.tick(), if !is_saving => self.poll_file().await,
            };
            if next.is_break() {
                return;
            }
        }
    }

    fn apply_command(&mut self, command: Command) -> Next {
        match command {
            Command::Join { epoch, reply } => {
                // If the receiver is gone, the outbox is closed and the next message removes the
                // viewer.
                let _ = reply.send(self.add_viewer(epoch));
            }
            Command::Sync { viewer, message } => self.apply_message(viewer, &message),
            Command::Leave(viewer) => self.remove_viewer(viewer),
            Command::Flush(reply) => {
                self.flushes.push(reply);
                if self.text.has_unsaved_edits() {
                    self.start_save();
                }
                self.answer_flushes();
            }
            #[cfg(test)]
            Command::Panic => panic!("as the library does on some hostile updates"),
        }
        Next::Continue(())
    }

    fn add_viewer(&mut self, epoch: Option<String>) -> Result<JoinedViewer, DocumentRefusal> {
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            let message = "The document was reloaded from its file. Open it again.".to_owned();
            return Err(DocumentRefusal { reason: RefusalReason::Stale, message });
        }
        let id = self.next_viewer;
        self.next_viewer += 1;
        let (sender, outbox) = mpsc::channel(MAX_QUEUED_MESSAGES);
        for message in self.text.greeting() {
            let _ = sender.try_send(ViewerMessage::Sync(message.into()));
        }
        if self.text.has_unsaved_edits() {
            let _ = sender.try_send(ViewerMessage::Event(DocumentEvent::Dirty));
        }
        self.viewers.insert(id, sender);
        Ok(JoinedViewer { id, epoch: self.epoch.clone(), outbox })
    }

    fn apply_message(&mut self, viewer: ViewerId, message: &[u8]) {
        if !self.viewers.contains_key(&viewer) {
            return; // removed while the message was queued
        }
        let was_unsaved = self.text.has_unsaved_edits();
        let Ok(effects) = self.text.receive(viewer, message) else {
            let message = "Cannot apply an edit. The document is synchronized again.".to_owned();
            let refusal = DocumentRefusal { reason: RefusalReason::BadUpdate, message };
            self.send(viewer, ViewerMessage::Event(refusal.event()));
            self.remove_viewer(viewer);
            return;
        };
        for message in effects.replies {
            self.send(viewer, ViewerMessage::Sync(message.into()));
        }
        for message in effects.broadcasts {
            self.broadcast(&ViewerMessage::Sync(message.into()), Some(viewer));
        }
        if effects.has_edited {
            if !was_unsaved {
                self.broadcast(&ViewerMessage::Event(DocumentEvent::Dirty), None);
            }
            self.schedule_save();
        }
    }

    /// Schedules a save after an edit. Further edits postpone it, up to [`MAX_SAVE_DELAY`] after
    /// the first.
    fn schedule_save(&mut self) {
        let now = Instant::now();
        let latest = self.next_save.map_or(now + MAX_SAVE_DELAY, |schedule| schedule.latest);
        self.next_save = Some(SaveSchedule { at: (now + SAVE_DELAY).min(latest), latest });
    }

    fn remove_viewer(&mut self, viewer: ViewerId) {
        if self.viewers.remove(&viewer).is_none() {
            return;
        }
        if let Some(message) = self.text.remove_viewer(viewer) {
            self.broadcast(&ViewerMessage::Sync(message.into()), None);
        }
        self.last_viewer_left_at = Instant::now();
    }

    fn send(&mut self, viewer: ViewerId, message: ViewerMessage) {
        let is_full = self.viewers.get(&viewer).is_some_and(|outbox| outbox.try_send(message).is_err());
        if is_full {
            self.remove_viewer(viewer);
        }
    }

    fn broadcast(&mut self, message: &ViewerMessage, except: Option<ViewerId>) {
        let viewers: Vec<ViewerId> =
            self.viewers.keys().copied().filter(|viewer| Some(*viewer) != except).collect();
        for viewer in viewers {
            self.send(viewer, message.clone());
        }
    }

    /// Starts a save of the current text, unless one is running. Edits can continue while it runs.
    fn start_save(&mut self) {
        if self.save.is_some() {
            return;
        }
        self.next_save = None;
        let (home, path, etag) = (self.home.clone(), self.path.clone(), self.file_etag.clone());
        let (text, line_ending) = (self.text.text(), self.line_ending);
        let outcome = async move {
            home.run(move |files| file::save(files, &path, etag.as_deref(), &text, line_ending)).await
        };
        self.save = Some(RunningSave { save_point: self.text.save_point(), outcome: Box::pin(outcome) });
    }

    async fn finish_save(&mut self, save_point: SavePoint, outcome: io::Result<SaveOutcome>) -> Next {
        self.save = None;
        match outcome {
            Ok(SaveOutcome::Saved { etag, bytes }) => {
                self.file_etag = Some(etag);
                self.text.mark_saved(save_point);
                if !self.text.has_unsaved_edits() {
                    self.broadcast(&ViewerMessage::Event(DocumentEvent::Saved { bytes }), None);
                }
            }
            Ok(SaveOutcome::FileChanged) => {
                let next = self.merge_file_changes().await;
                self.start_save();
                return next;
            }
            Err(error) => {
                let message = io_error_message(&error);
                self.broadcast(&ViewerMessage::Event(DocumentEvent::SaveFailed { message }), None);
                let at = Instant::now() + SAVE_RETRY_DELAY;
                self.next_save = Some(SaveSchedule { at, latest: at });
                self.flushes.clear();
            }
        }
        if !self.flushes.is_empty() && self.text.has_unsaved_edits() {
            self.start_save();
        }
        self.answer_flushes();
        Next::Continue(())
    }

    fn answer_flushes(&mut self) {
        if !self.text.has_unsaved_edits() && self.save.is_none() {
            for flush in self.flushes.drain(..) {
                let _ = flush.send(());
            }
        }
    }

    async fn poll_file(&mut self) -> Next {
        let is_idle = self.viewers.is_empty()
            && !self.text.has_unsaved_edits()
            && self.last_viewer_left_at.elapsed() > IDLE_TIMEOUT;
        if is_idle { Next::Break(()) } else { self.merge_file_changes().await }
    }

    /// Merges what other programs have written to the file.
    async fn merge_file_changes(&mut self) -> Next {
        let (path, etag) = (self.path.clone(), self.file_etag.clone());
        match self.home.run(move |files| file::load_if_changed(files, &path, etag.as_deref())).await {
            Ok(FileChange::Unchanged) => Next::Continue(()),
            Ok(FileChange::Deleted) => {
                if self.file_etag.take().is_some() {
                    self.broadcast(&ViewerMessage::Event(DocumentEvent::Deleted), None);
                }
                Next::Continue(())
            }
            Ok(FileChange::Changed(loaded)) => {
                self.file_etag = Some(loaded.etag);
                self.line_ending = loaded.line_ending;
                if let Some(message) = self.text.merge_file_text(&loaded.text) {
                    self.broadcast(&ViewerMessage::Sync(message.into()), None);
                }
                if !self.text.has_unsaved_edits() {
                    let bytes = loaded.text.len() as u64;
                    self.broadcast(&ViewerMessage::Event(DocumentEvent::Saved { bytes }), None);
                }
                Next::Continue(())
            }
            Err(error) => {
                // The file is no text any more. The document must not overwrite it.
                self.broadcast(&ViewerMessage::Event(DocumentRefusal::from(&error).event()), None);
                Next::Break(())
            }
        }
    }
}

/// Waits for the running save, or forever without one. Cancel safe.
async fn save_outcome(save: Option<&mut RunningSave>) -> (SavePoint, io::Result<SaveOutcome>) {
    match save {
        Some(save) => (save.save_point, save.outcome.as_mut().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_ends_only_its_own_document() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["file", "other"] {
            std::fs::write(directory.path().join(name), name).expect("a writable directory");
        }
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let tasks = Tasks::default();
        let open = async |name| {
            let path = HomePath::parse(name).expect("a valid path");
            DocumentHandle::open(&home, &path, Arc::default(), &tasks).await.expect("a text file")
        };
        let (broken, other) = (open("file").await, open("other").await);
        let mut before = broken.join(None).await.expect("running").expect("admitted");
        let beside = other.join(None).await.expect("running").expect("admitted");

        broken.inbox.send(Command::Panic).await.expect("running");
        while before.outbox.recv().await.is_some() {} // the greeting, then the end
        assert_eq!(broken.sync(before.id, Bytes::new()).await, Err(DocumentEnded));
        assert!(broken.has_ended() && broken.join(None).await.is_err());

        let reopened = open("file").await;
        let stale = reopened.join(Some(before.epoch.clone())).await.expect("running");
        let refusal = stale.err().expect("the old epoch is refused");
        assert_eq!(refusal.reason, RefusalReason::Stale);
        let after = reopened.join(None).await.expect("running").expect("admitted");
        assert_ne!(after.epoch, before.epoch);
        other.flush().await;
        assert!(!other.has_ended() && other.join(Some(beside.epoch)).await.expect("running").is_ok());
    }
}
