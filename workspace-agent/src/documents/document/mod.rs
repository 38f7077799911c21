//! One open document: a task that owns the shared text, its viewers and its file.
//!
//! Everything that happens to the document passes through the task's inbox, so all of it has one
//! order. If the task panics (on a hostile update that the CRDT library does not survive), its
//! viewers' sockets close. The next client to open the file starts a new task, with another epoch.
//! Other documents are not affected.

mod disk;

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use axum::body::Bytes;
use protocol::{
    document::{DocumentEvent, MAX_DOCUMENT_BYTES, RefusalReason, is_edit},
    files::HomePath,
    search::{EditedDocument, LineEdit},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use self::disk::DiskFile;
use super::{
    file::{self, LoadError, LoadedFile},
    line_edits::locate_line_edits,
    outbox::{Outbox, OutboxSender, ViewerMessage, outbox},
    renewal::{EditMeter, Renewal},
    shared_text::{Rejection, SharedText, ViewerId},
};
use crate::{error::io_error_message, files::home_directory::HomeDirectory, tasks::Tasks};

/// Most commands that wait for the document. Beyond that, viewers' sockets are not read.
const MAX_QUEUED_COMMANDS: usize = 64;
/// How often the file is polled. The watcher reports most changes at once; polling finds those that
/// it misses.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long a document stays open without viewers, so that a user who reloads the page keeps the
/// undo history.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// The first viewer of a document.
const FIRST_VIEWER: ViewerId = 1;

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
    Edit {
        edits: Vec<LineEdit>,
        /// Gets the edits that were missed, at once.
        reply: oneshot::Sender<EditedDocument>,
        flushed: oneshot::Sender<Flushed>,
    },
    Flush(oneshot::Sender<Flushed>),
    Overwrite,
    #[cfg(test)]
    Panic,
}

/// The answer to those who wait until the edits are on disk.
#[derive(Debug, Clone)]
struct Flushed {
    /// Why there are edits that are not on disk, for the user. `None` if all are.
    unsaved: Option<String>,
    /// Whether the document stays open, and tries again to save them.
    is_kept: bool,
}

/// A viewer that was added to a document.
pub struct JoinedViewer {
    /// Identifies the viewer in its document.
    pub id: ViewerId,
    /// The document's epoch.
    pub epoch: String,
    /// Messages for the viewer. Closes when the document ends or removes the viewer.
    pub outbox: Outbox,
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

impl From<Rejection> for DocumentRefusal {
    fn from(rejection: Rejection) -> Self {
        let (reason, message) = match rejection {
            Rejection::Invalid => {
                (RefusalReason::BadUpdate, "Cannot apply an edit. The document is synchronized again.")
            }
            Rejection::Stale => {
                (RefusalReason::Stale, "The document was reloaded from its file. Open it again.")
            }
        };
        Self { reason, message: message.to_owned() }
    }
}

impl DocumentRefusal {
    /// The document ended each time before it could be used.
    pub fn closed_repeatedly() -> Self {
        let message = "Cannot open the document: it closed several times while it was opened. Try again.";
        Self { reason: RefusalReason::Internal, message: message.to_owned() }
    }

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

    /// Replaces the file by the text, although the file is protected or contains something else.
    pub async fn overwrite(&self) -> Result<(), DocumentEnded> {
        self.inbox.send(Command::Overwrite).await.map_err(|_| DocumentEnded)
    }

    /// Applies the edits whose old text is still there, and waits until they are on disk, or a save has
    /// failed. A document that never had a viewer ends then.
    pub async fn edit(&self, edits: Vec<LineEdit>) -> Result<EditedDocument, DocumentEnded> {
        let all = 0..edits.len();
        let ((reply, edited), (flushed, saved)) = (oneshot::channel(), oneshot::channel());
        self.inbox.send(Command::Edit { edits, reply, flushed }).await.map_err(|_| DocumentEnded)?;
        let mut edited = edited.await.map_err(|_| DocumentEnded)?;
        let saved = saved.await.unwrap_or_else(|_| Flushed {
            unsaved: Some(
                "The document was closed before it was saved. Try again with fewer edits.".to_owned(),
            ),
            is_kept: false,
        });
        if saved.unsaved.is_some() && !saved.is_kept {
            edited.missed = all.collect();
        }
        edited.unsaved = edited.unsaved.or(saved.unsaved);
        Ok(edited)
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
    /// Identifies this instance, so that a client's old replica is never merged into another
    /// instance.
    epoch: String,
    text: SharedText,
    file: DiskFile,
    viewers: HashMap<ViewerId, Viewer>,
    next_viewer: ViewerId,
    /// Whether it was only edited by requests, and never had a viewer. It then ends when they are answered.
    is_temporary: bool,
    flushes: Vec<oneshot::Sender<Flushed>>,
    last_viewer_left_at: Instant,
    edit_meter: EditMeter,
    renewal: Renewal,
}

/// A client of the document.
struct Viewer {
    outbox: OutboxSender,
    /// Messages with edits that have arrived from it.
    edits: u64,
}

/// Whether the task continues after an event.
type Next = ControlFlow<()>;

impl Document {
    fn new(home: HomeDirectory, path: HomePath, loaded: LoadedFile) -> Self {
        Self {
            epoch: uuid::Uuid::new_v4().simple().to_string(),
            text: SharedText::new(&loaded.text),
            file: DiskFile::new(home, path, &loaded),
            viewers: HashMap::new(),
            next_viewer: FIRST_VIEWER,
            is_temporary: false,
            flushes: Vec::new(),
            last_viewer_left_at: Instant::now(),
            edit_meter: EditMeter::default(),
            renewal: Renewal::default(),
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, file_changes: Arc<Notify>) {
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_saving = self.file.is_saving();
            let save_at = self.file.next_save_at();
            let look_at = self.file.next_look_at();
            let next = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.apply_command(command),
                    None => Next::Break(()),
                },
                (save_point, outcome) = self.file.save_outcome(), if is_saving => {
                    self.finish_save(save_point, outcome).await;
                    Next::Continue(())
                }
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    self.start_save();
                    Next::Continue(())
                }
                // While a save runs, the document itself changes the file.
                () = wait_for_look(&file_changes, look_at), if !is_saving => {
                    self.merge_file_changes().await;
                    Next::Continue(())
                }
                _ = poll.tick(), if !is_saving => self.poll_file().await,
            };
            if next.is_break() || self.is_to_be_renewed() || self.is_unused() {
                return;
            }
        }
    }

    /// Whether this instance ends, so that the next one has no history.
    fn is_to_be_renewed(&self) -> bool {
        match self.renewal {
            Renewal::NotNeeded => false,
            Renewal::AfterSave => !self.text.has_unsaved_edits() && self.file.is_in_sync(),
            Renewal::Now => true,
        }
    }

    /// Whether all requests are answered that the document was opened for. What they could not save is
    /// forgotten, as they were told.
    fn is_unused(&self) -> bool {
        self.is_temporary && self.flushes.is_empty()
    }

    fn measure(&mut self) {
        let size = self.text.size();
        self.renewal = Renewal::of(size);
        if self.renewal != Renewal::NotNeeded {
            tracing::info!(?size, "a document has a large history; it begins again from its file");
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
            Command::Edit { edits, reply, flushed } => {
                self.is_temporary = self.next_viewer == FIRST_VIEWER;
                let _ = reply.send(self.apply_line_edits(&edits));
                self.flushes.push(flushed);
                self.flush();
            }
            Command::Flush(reply) => {
                self.flushes.push(reply);
                self.flush();
            }
            Command::Overwrite => self.overwrite_file(),
            #[cfg(test)]
            Command::Panic => panic!("as the library does on some hostile updates"),
        }
        Next::Continue(())
    }

    fn add_viewer(&mut self, epoch: Option<String>) -> Result<JoinedViewer, DocumentRefusal> {
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(Rejection::Stale.into());
        }
        let id = self.next_viewer;
        self.next_viewer += 1;
        self.is_temporary = false;
        let (sender, outbox) = outbox();
        for message in self.text.greeting() {
            let _ = sender.send(ViewerMessage::Sync(message.into()));
        }
        if self.text.has_unsaved_edits() {
            let _ = sender.send(ViewerMessage::Event(DocumentEvent::Dirty));
        }
        if let Some(failure) = self.file.failure() {
            let _ = sender.send(ViewerMessage::Event(failure));
        }
        self.viewers.insert(id, Viewer { outbox: sender, edits: 0 });
        Ok(JoinedViewer { id, epoch: self.epoch.clone(), outbox })
    }

    fn apply_message(&mut self, viewer: ViewerId, message: &[u8]) {
        let Some(sender) = self.viewers.get_mut(&viewer) else {
            return; // removed while the message was queued
        };
        let is_edit = is_edit(message);
        sender.edits += u64::from(is_edit);
        let was_unsaved = self.text.has_unsaved_edits();
        let effects = match self.text.receive(viewer, message) {
            Ok(effects) => effects,
            Err(rejection) => {
                self.send(viewer, ViewerMessage::Event(DocumentRefusal::from(rejection).event()));
                return self.remove_viewer(viewer);
            }
        };
        // As y-websocket does, presences are sent to their own viewer too: its client regards a
        // connection without messages as dead.
        let except = effects.has_edited.then_some(viewer);
        let is_complete = effects.replies.is_empty();
        for message in effects.replies {
            self.send(viewer, ViewerMessage::Sync(message.into()));
        }
        for message in effects.broadcasts {
            self.broadcast(&ViewerMessage::Sync(message.into()), except);
        }
        if effects.has_edited {
            self.count_edit(message.len());
            if !was_unsaved {
                self.broadcast(&ViewerMessage::Event(DocumentEvent::Dirty), None);
            }
            self.file.schedule_save();
        } else if is_edit && is_complete && !was_unsaved {
            // What it sends again after a reconnect may have been saved without its knowledge.
            self.send_saved(viewer);
        }
    }

    fn apply_line_edits(&mut self, edits: &[LineEdit]) -> EditedDocument {
        let was_unsaved = self.text.has_unsaved_edits();
        let located = locate_line_edits(&self.text.text(), edits);
        let bytes = self.file.encoded_bytes(located.bytes, located.line_ends);
        if !located.edits.is_empty() && bytes as u64 > MAX_DOCUMENT_BYTES {
            let unsaved = format!("The file would be larger than {} MiB.", MAX_DOCUMENT_BYTES / 1024 / 1024);
            return EditedDocument { missed: (0..edits.len()).collect(), unsaved: Some(unsaved) };
        }
        if let Some(message) = self.text.edit(located.edits) {
            self.share_change(message);
            if !was_unsaved {
                self.broadcast(&ViewerMessage::Event(DocumentEvent::Dirty), None);
            }
            self.file.schedule_save();
        }
        EditedDocument { missed: located.missed, unsaved: None }
    }

    fn unsaved_reason(&self) -> Option<String> {
        if !self.text.has_unsaved_edits() {
            return None;
        }
        match self.file.failure() {
            Some(DocumentEvent::SaveFailed { message, .. }) => Some(message),
            _ => Some("The file is being changed by a program.".to_owned()),
        }
    }

    /// Tells a viewer that all its edits are on disk.
    fn send_saved(&mut self, viewer: ViewerId) {
        let Some(edits) = self.viewers.get(&viewer).map(|viewer| viewer.edits) else { return };
        let bytes = self.file.bytes();
        self.send(viewer, ViewerMessage::Event(DocumentEvent::Saved { bytes, edits }));
    }

    /// Tells all viewers that all their edits are on disk.
    fn broadcast_saved(&mut self) {
        for viewer in self.viewers.keys().copied().collect::<Vec<_>>() {
            self.send_saved(viewer);
        }
    }

    /// Sends a change of the text that comes from the file to all viewers.
    fn share_change(&mut self, message: Vec<u8>) {
        self.count_edit(message.len());
        self.broadcast(&ViewerMessage::Sync(message.into()), None);
    }

    /// Counts an edit, wherever it comes from: each makes the history longer.
    fn count_edit(&mut self, bytes: usize) {
        if self.edit_meter.count(bytes) {
            self.measure();
        }
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
        let is_full = self.viewers.get(&viewer).is_some_and(|viewer| viewer.outbox.send(message).is_err());
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

    async fn poll_file(&mut self) -> Next {
        let is_idle = self.viewers.is_empty()
            && !self.text.has_unsaved_edits()
            && self.last_viewer_left_at.elapsed() > IDLE_TIMEOUT;
        if is_idle {
            return Next::Break(());
        }
        self.merge_file_changes().await;
        Next::Continue(())
    }
}

/// Waits until the file may have changed, or until it is time to look at it. Cancel safe.
async fn wait_for_look(file_changes: &Notify, look_at: Option<Instant>) {
    let timer = async {
        match look_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = file_changes.notified() => {}
        () = timer => {}
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

    #[tokio::test]
    async fn edits_are_missed_if_document_ends_unsaved() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("file"), "one").expect("a writable directory");
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let path = HomePath::parse("file").expect("a valid path");
        let tasks = Tasks::default();
        let document = DocumentHandle::open(&home, &path, Arc::default(), &tasks).await.expect("a text file");
        let edit = LineEdit { line: 1, column: 0, old: "one".to_owned(), new: "two".to_owned() };
        // Both are queued before the document's task continues.
        let (edited, sent) = tokio::join!(document.edit(vec![edit]), document.inbox.send(Command::Panic));
        assert!(sent.is_ok());
        let edited = edited.expect("the edits were applied");
        assert_eq!(edited.missed, [0]);
        assert!(edited.unsaved.is_some_and(|reason| reason.contains("closed")));
    }
}
