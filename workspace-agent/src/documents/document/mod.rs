//! One open document: a task that owns the shared text, its viewers and its file.
//!
//! Everything that happens to the document passes through the task's inbox, so all of it has one
//! order. If the task panics (on a hostile update that the CRDT library does not survive), its
//! viewers' sockets close. The next client to open the file starts a new task, with another epoch.
//! Other documents are not affected.

mod disk;
#[cfg(test)]
mod plans;

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use axum::body::Bytes;
use protocol::{
    document::{DocumentEvent, MAX_DOCUMENT_BYTES, RefusalReason, is_edit, is_full_state, is_presence},
    files::HomePath,
    languages::text_version,
    search::{EditedDocument, LineEdit},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use self::disk::DiskFile;
use super::{
    broadcast::{Announcement, Broadcast},
    diff::TextEdit,
    file::{self, LoadError, LoadedFile},
    file_work::FileWork,
    line_edits::{LocatedEdits, locate_line_edits},
    outbox::{Outbox, OutboxSender, ViewerMessage, outbox},
    pulse::DocumentPulse,
    range_edits::measure_edits,
    renewal::{EditMeter, Renewal},
    shared_text::{MessageEffects, Rejection, SharedText, ViewerId},
};
use crate::{error::io_error_message, tasks::Tasks};

/// Most commands that wait for the document. Beyond that, viewers' sockets are not read.
const MAX_QUEUED_COMMANDS: usize = 64;
/// Most bytes of edits that are applied as one change. The library joins the letters in it, which takes
/// memory for the product of their number and bytes.
const MAX_CHANGE_BYTES: usize = 64 * 1024;
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
        edits: Edits,
        /// Gets the edits that were missed, at once.
        reply: oneshot::Sender<EditedDocument>,
        flushed: oneshot::Sender<Flushed>,
    },
    Flush(oneshot::Sender<Flushed>),
    Read(oneshot::Sender<DocumentText>),
    Overwrite,
    #[cfg(test)]
    Panic,
}

/// Edits that come without a replica.
#[derive(Clone, Debug)]
pub enum Edits {
    /// Each names the text that must be there. The others are missed.
    Lines(Vec<LineEdit>),
    /// Edits of one text, the last in the text first. If the document has another text, all are missed.
    Exact {
        /// [`text_version`] of the text.
        version: String,
        /// The edits.
        edits: Vec<TextEdit>,
    },
}

impl Edits {
    fn len(&self) -> usize {
        match self {
            Self::Lines(edits) => edits.len(),
            Self::Exact { edits, .. } => edits.len(),
        }
    }

    fn locate(&self, text: &str) -> LocatedEdits {
        let located = match self {
            Self::Lines(edits) => Some(locate_line_edits(text, edits)),
            Self::Exact { version, edits } if text_version(text) == *version => measure_edits(text, edits),
            Self::Exact { .. } => None,
        };
        located.unwrap_or_else(|| LocatedEdits {
            missed: (0..self.len()).collect(),
            bytes: text.len(),
            ..LocatedEdits::default()
        })
    }
}

/// The answer to those who wait until the edits are on disk.
#[derive(Debug, Clone)]
struct Flushed {
    /// Why there are edits that are not on disk, for the user. `None` if all are.
    unsaved: Option<String>,
    /// Whether the document stays open, and tries again to save them.
    is_kept: bool,
}

/// A text, and which one it is.
#[derive(Debug)]
pub struct DocumentText {
    /// The text.
    pub text: String,
    /// [`DocumentPulse::edits`] of it.
    pub edits: u64,
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
    /// What changes, for those who follow the document.
    pub pulse: Arc<DocumentPulse>,
}

/// The document's task has ended. Open the document again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentEnded;

impl DocumentHandle {
    /// Loads the file and starts the document's task. `file_changes` wakes the task when the file
    /// may have changed.
    pub async fn open(
        files: &FileWork,
        path: &HomePath,
        file_changes: Arc<Notify>,
        pulse: DocumentPulse,
        tasks: &Tasks,
    ) -> Result<Self, DocumentRefusal> {
        let load_path = path.clone();
        let loaded = files
            .read(move |files| file::load(files, &load_path))
            .await
            .map_err(|error| DocumentRefusal::from(&error))?;
        let (inbox, commands) = mpsc::channel(MAX_QUEUED_COMMANDS);
        let pulse = Arc::new(pulse);
        let document = Document::new(files.clone(), path.clone(), loaded, pulse.clone());
        // A panic of the task closes its inbox too, see `has_ended`.
        tasks.spawn(document.run(commands, file_changes.clone()));
        Ok(Self { inbox, file_changes, pulse })
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

    /// Applies the edits that are about the present text, and waits until they are on disk, or a save has
    /// failed. A document that never had a viewer ends then.
    pub async fn edit(&self, edits: Edits) -> Result<EditedDocument, DocumentEnded> {
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

    /// Reads the text, with all edits that have arrived.
    pub async fn read(&self) -> Result<DocumentText, DocumentEnded> {
        let (reply, text) = oneshot::channel();
        self.inbox.send(Command::Read(reply)).await.map_err(|_| DocumentEnded)?;
        text.await.map_err(|_| DocumentEnded)
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
    /// Changes that the viewers do not have yet.
    broadcast: Broadcast,
    next_viewer: ViewerId,
    /// Whether it was only edited by requests, and never had a viewer. It then ends when they are answered.
    is_temporary: bool,
    flushes: Vec<oneshot::Sender<Flushed>>,
    last_viewer_left_at: Instant,
    edit_meter: EditMeter,
    renewal: Renewal,
    pulse: Arc<DocumentPulse>,
}

/// A client of the document.
struct Viewer {
    outbox: OutboxSender,
    /// Messages with edits that have arrived from it.
    edits: u64,
    /// How many of them had arrived before one that builds on others which are missing, until it has sent
    /// those. What came later may not be in the text.
    complete_edits: Option<u64>,
}

impl Viewer {
    fn count_edits(&mut self, messages: &[Bytes], count: u64, is_complete: bool) {
        if !is_complete && count > 0 {
            self.complete_edits.get_or_insert(self.edits);
        } else if messages.iter().any(|message| is_full_state(message)) {
            self.complete_edits = None;
        }
        self.edits += count;
    }

    /// How many messages with edits are in the text for certain.
    fn applied_edits(&self) -> u64 {
        self.complete_edits.unwrap_or(self.edits)
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        self.pulse.set_viewers(0);
    }
}

/// Whether the task continues after an event.
type Next = ControlFlow<()>;

impl Document {
    fn new(files: FileWork, path: HomePath, loaded: LoadedFile, pulse: Arc<DocumentPulse>) -> Self {
        Self {
            epoch: uuid::Uuid::new_v4().simple().to_string(),
            text: SharedText::new(&loaded.text),
            file: DiskFile::new(files, path, &loaded),
            viewers: HashMap::new(),
            broadcast: Broadcast::default(),
            next_viewer: FIRST_VIEWER,
            is_temporary: false,
            flushes: Vec::new(),
            last_viewer_left_at: Instant::now(),
            edit_meter: EditMeter::default(),
            renewal: Renewal::default(),
            pulse,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, file_changes: Arc<Notify>) {
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrived = Vec::new();
        loop {
            let is_saving = self.file.is_saving();
            let save_at = self.file.next_save_at();
            // While a save runs, the document itself changes the file.
            let look_at = self.file.next_look_at().filter(|_| !is_saving);
            let broadcast_at = self.broadcast.next_due(Instant::now());
            let next = tokio::select! {
                // What arrives in one turn is applied together.
                count = commands.recv_many(&mut arrived, MAX_QUEUED_COMMANDS) => {
                    self.apply_commands(arrived.drain(..));
                    if count == 0 { Next::Break(()) } else { Next::Continue(()) }
                }
                () = sleep_until(broadcast_at.unwrap_or_else(Instant::now)), if broadcast_at.is_some() => {
                    Next::Continue(())
                }
                (save_point, outcome) = self.file.save_outcome(), if is_saving => {
                    self.finish_save(save_point, outcome).await;
                    Next::Continue(())
                }
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    self.start_save();
                    Next::Continue(())
                }
                () = file_changes.notified(), if !is_saving => {
                    self.file.schedule_look();
                    Next::Continue(())
                }
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                    self.merge_file_changes().await;
                    Next::Continue(())
                }
                _ = poll.tick(), if !is_saving => self.poll_file().await,
            };
            let is_ending = next.is_break() || self.is_to_be_renewed() || self.is_unused();
            self.broadcast_due(is_ending);
            if is_ending {
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

    /// Applies commands in their order. Of edits and presences, those of one viewer keep their order, and
    /// presences follow the edits, which they may refer to.
    fn apply_commands(&mut self, commands: impl Iterator<Item = Command>) {
        let mut arrived = ArrivedMessages::default();
        for command in commands {
            match command {
                Command::Sync { viewer, message } if is_edit(&message) => {
                    if arrived.edit_bytes + message.len() > MAX_CHANGE_BYTES {
                        self.apply_arrived(&mut arrived);
                    }
                    arrived.add_edit(viewer, message);
                }
                Command::Sync { viewer, message } if is_presence(&message) => {
                    arrived.presences.push((viewer, message));
                }
                other => {
                    self.apply_arrived(&mut arrived);
                    self.apply_command(other);
                }
            }
        }
        self.apply_arrived(&mut arrived);
    }

    fn apply_arrived(&mut self, arrived: &mut ArrivedMessages) {
        let ArrivedMessages { edits, presences, .. } = std::mem::take(arrived);
        for (viewer, messages) in edits {
            self.apply_messages(viewer, &messages);
        }
        for (viewer, message) in presences {
            self.apply_messages(viewer, &[message]);
        }
    }

    fn apply_command(&mut self, command: Command) {
        match command {
            Command::Join { epoch, reply } => {
                // If the receiver is gone, the outbox is closed and the next message removes the
                // viewer.
                let _ = reply.send(self.add_viewer(epoch));
            }
            Command::Sync { viewer, message } => self.apply_messages(viewer, &[message]),
            Command::Leave(viewer) => self.remove_viewer(viewer),
            Command::Edit { edits, reply, flushed } => {
                self.is_temporary = self.next_viewer == FIRST_VIEWER;
                let _ = reply.send(self.apply_edits(&edits));
                self.flushes.push(flushed);
                self.flush();
            }
            Command::Flush(reply) => {
                self.flushes.push(reply);
                self.flush();
            }
            Command::Read(reply) => {
                let _ = reply.send(DocumentText { text: self.text.text(), edits: self.pulse.edits() });
            }
            Command::Overwrite => self.overwrite_file(),
            #[cfg(test)]
            Command::Panic => panic!("as the library does on some hostile updates"),
        }
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
        self.viewers.insert(id, Viewer { outbox: sender, edits: 0, complete_edits: None });
        self.pulse.set_viewers(self.viewers.len());
        Ok(JoinedViewer { id, epoch: self.epoch.clone(), outbox })
    }

    /// Applies messages of a viewer: one, or several with edits.
    fn apply_messages(&mut self, viewer: ViewerId, messages: &[Bytes]) {
        if !self.viewers.contains_key(&viewer) {
            return; // removed while the messages were queued
        }
        let was_unsaved = self.text.has_unsaved_edits();
        let received = match messages {
            [message] => self.text.receive(viewer, message),
            messages => self.text.receive_edits(messages),
        };
        match received {
            Ok(effects) => self.apply_effects(viewer, messages, effects, was_unsaved),
            Err(_) if messages.len() > 1 => {
                for message in messages.chunks(1) {
                    self.apply_messages(viewer, message);
                }
            }
            Err(rejection) => {
                self.send_event(viewer, DocumentRefusal::from(rejection).event());
                self.remove_viewer(viewer);
            }
        }
    }

    fn apply_effects(
        &mut self,
        viewer: ViewerId,
        messages: &[Bytes],
        effects: MessageEffects,
        was_unsaved: bool,
    ) {
        let edit_count = messages.iter().filter(|message| is_edit(message)).count();
        let is_complete = effects.replies.is_empty();
        if let Some(sender) = self.viewers.get_mut(&viewer) {
            sender.count_edits(messages, edit_count as u64, is_complete);
        }
        for message in effects.replies {
            self.send(viewer, ViewerMessage::Sync(message.into()));
        }
        for message in effects.broadcasts {
            if effects.has_edited {
                self.broadcast.add_edits(message.into(), edit_count, Some(viewer));
            } else {
                // As y-websocket does, presences are sent to their own viewer too: its client regards a
                // connection without messages as dead.
                self.broadcast.add_presences(message.into());
            }
        }
        if effects.has_edited {
            for message in messages {
                self.count_edit(message.len());
            }
            if !was_unsaved {
                self.broadcast_event(&DocumentEvent::Dirty);
            }
            self.file.schedule_save();
        } else if edit_count > 0 && is_complete && !was_unsaved {
            // What it sends again after a reconnect may have been saved without its knowledge.
            self.send_saved(viewer);
        }
    }

    fn apply_edits(&mut self, edits: &Edits) -> EditedDocument {
        let was_unsaved = self.text.has_unsaved_edits();
        let located = edits.locate(&self.text.text());
        let bytes = self.file.encoded_bytes(located.bytes, located.line_ends);
        if !located.edits.is_empty() && bytes as u64 > MAX_DOCUMENT_BYTES {
            let unsaved = format!("The file would be larger than {} MiB.", MAX_DOCUMENT_BYTES / 1024 / 1024);
            return EditedDocument { missed: (0..edits.len()).collect(), unsaved: Some(unsaved) };
        }
        if let Some(message) = self.text.edit(located.edits) {
            self.share_change(message);
            if !was_unsaved {
                self.broadcast_event(&DocumentEvent::Dirty);
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
        let Some(edits) = self.viewers.get(&viewer).map(Viewer::applied_edits) else { return };
        let bytes = self.file.bytes();
        self.send_event(viewer, DocumentEvent::Saved { bytes, edits });
    }

    /// Tells all viewers that all their edits are on disk.
    fn broadcast_saved(&mut self) {
        self.pulse.record_save();
        for viewer in self.viewers.keys().copied().collect::<Vec<_>>() {
            self.send_saved(viewer);
        }
    }

    /// Sends a change of the text that comes from the file to all viewers.
    fn share_change(&mut self, message: Vec<u8>) {
        self.count_edit(message.len());
        self.broadcast.add_edits(message.into(), 1, None);
    }

    /// Counts an edit, wherever it comes from: each makes the history longer.
    fn count_edit(&mut self, bytes: usize) {
        self.pulse.record_edit();
        if self.edit_meter.count(bytes) {
            self.measure();
        }
    }

    fn remove_viewer(&mut self, viewer: ViewerId) {
        if self.viewers.remove(&viewer).is_none() {
            return;
        }
        self.pulse.set_viewers(self.viewers.len());
        if let Some(message) = self.text.remove_viewer(viewer) {
            self.broadcast.add_presences(message.into());
        }
        self.last_viewer_left_at = Instant::now();
    }

    fn send(&mut self, viewer: ViewerId, message: ViewerMessage) {
        let is_full = self.viewers.get(&viewer).is_some_and(|viewer| viewer.outbox.send(message).is_err());
        if is_full {
            self.remove_viewer(viewer);
        }
    }

    /// Sends an event to a viewer, after the edits that it may be about.
    fn send_event(&mut self, viewer: ViewerId, event: DocumentEvent) {
        self.broadcast_edits();
        self.send(viewer, ViewerMessage::Event(event));
    }

    /// Sends an event to all viewers, after the edits that it may be about.
    fn broadcast_event(&mut self, event: &DocumentEvent) {
        self.broadcast_edits();
        self.send_to_all(&ViewerMessage::Event(event.clone()), None);
    }

    fn broadcast_edits(&mut self) {
        let edits = self.broadcast.take_edits(Instant::now());
        self.announce(edits);
    }

    /// Sends to the viewers what is due, and at the end of the document all edits.
    fn broadcast_due(&mut self, is_ending: bool) {
        if is_ending {
            self.broadcast_edits();
        }
        let due = self.broadcast.take_due(Instant::now());
        self.announce(due);
    }

    fn announce(&mut self, announcements: Vec<Announcement>) {
        for Announcement { message, except } in announcements {
            self.send_to_all(&ViewerMessage::Sync(message), except);
        }
    }

    fn send_to_all(&mut self, message: &ViewerMessage, except: Option<ViewerId>) {
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

/// Messages of viewers that have arrived together.
#[derive(Default)]
struct ArrivedMessages {
    /// Those with edits, of each viewer.
    edits: Vec<(ViewerId, Vec<Bytes>)>,
    edit_bytes: usize,
    presences: Vec<(ViewerId, Bytes)>,
}

impl ArrivedMessages {
    fn add_edit(&mut self, viewer: ViewerId, message: Bytes) {
        self.edit_bytes += message.len();
        match self.edits.iter_mut().find(|(known, _)| *known == viewer) {
            Some((_, messages)) => messages.push(message),
            None => self.edits.push((viewer, vec![message])),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::document::TEXT_NAME;
    use yrs::{
        ClientID, Doc, OffsetKind, Options, Text as _, Transact as _, Update,
        sync::{Message as YMessage, SyncMessage},
        updates::{decoder::Decode as _, encoder::Encode as _},
    };

    use super::*;
    use crate::files::home_directory::HomeDirectory;

    #[tokio::test]
    async fn panic_ends_only_its_own_document() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["file", "other"] {
            std::fs::write(directory.path().join(name), name).expect("a writable directory");
        }
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let files = FileWork::new(home);
        let tasks = Tasks::default();
        let open = async |name| {
            let path = HomePath::parse(name).expect("a valid path");
            DocumentHandle::open(&files, &path, Arc::default(), DocumentPulse::default(), &tasks)
                .await
                .expect("a text file")
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
        let files = FileWork::new(home);
        let path = HomePath::parse("file").expect("a valid path");
        let tasks = Tasks::default();
        let document = DocumentHandle::open(&files, &path, Arc::default(), DocumentPulse::default(), &tasks)
            .await
            .expect("a text file");
        let edit = LineEdit { line: 1, column: 0, old: "one".to_owned(), new: "two".to_owned() };
        // Both are queued before the document's task continues.
        let (edited, sent) =
            tokio::join!(document.edit(Edits::Lines(vec![edit])), document.inbox.send(Command::Panic));
        assert!(sent.is_ok());
        let edited = edited.expect("the edits were applied");
        assert_eq!(edited.missed, [0]);
        assert!(edited.unsaved.is_some_and(|reason| reason.contains("closed")));
    }

    /// A user's updates, one for each letter that is typed.
    fn typed_letters(client: u64, count: u32) -> Vec<Bytes> {
        let options = Options {
            client_id: ClientID::new(client),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        };
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text(TEXT_NAME);
        let update = |at: u32| {
            let mut transaction = doc.transact_mut();
            text.insert(&mut transaction, at, "x");
            YMessage::Sync(SyncMessage::Update(transaction.encode_update_v1())).encode_v1().into()
        };
        (0..count).map(update).collect()
    }

    /// Receives messages until one has edits.
    async fn receive_edits(viewer: &mut JoinedViewer) -> Bytes {
        loop {
            match viewer.outbox.recv().await.expect("the document is open") {
                ViewerMessage::Sync(message) if is_edit(&message) => return message,
                _ => {}
            }
        }
    }

    async fn open_empty(directory: &tempfile::TempDir) -> DocumentHandle {
        std::fs::write(directory.path().join("file"), "").expect("a writable directory");
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let path = HomePath::parse("file").expect("a valid path");
        let files = FileWork::new(home);
        DocumentHandle::open(&files, &path, Arc::default(), DocumentPulse::default(), &Tasks::default())
            .await
            .expect("a text file")
    }

    #[tokio::test]
    async fn edits_of_one_turn_are_one_message() {
        let directory = tempfile::tempdir().expect("a directory");
        let document = open_empty(&directory).await;
        let (typist, other) = (document.join(None).await, document.join(None).await);
        let typist = typist.expect("running").expect("admitted");
        let other = other.expect("running").expect("admitted");
        let mut reader = document.join(None).await.expect("running").expect("admitted");
        let send = |viewer, message| {
            assert!(document.inbox.try_send(Command::Sync { viewer, message }).is_ok());
        };
        let mut first = typed_letters(1, 30).into_iter();
        send(typist.id, first.next().expect("a letter"));
        let before = receive_edits(&mut reader).await;
        // All of these wait when the document's task continues.
        for (one, two) in first.zip(typed_letters(2, 30)) {
            send(typist.id, one);
            send(other.id, two);
        }
        let replica = Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() });
        for message in [before, receive_edits(&mut reader).await] {
            let Ok(YMessage::Sync(SyncMessage::Update(update))) = YMessage::decode_v1(&message) else {
                panic!("no update")
            };
            let update = Update::decode_v1(&update).expect("an update");
            replica.transact_mut().apply_update(update).expect("applies");
        }
        assert_eq!(replica.get_or_insert_text(TEXT_NAME).len(&replica.transact()), 1 + 2 * 29);
    }

    #[tokio::test]
    async fn invalid_edit_among_others_ends_only_its_sender() {
        let directory = tempfile::tempdir().expect("a directory");
        let document = open_empty(&directory).await;
        let (typist, hostile) = (document.join(None).await, document.join(None).await);
        let mut typist = typist.expect("running").expect("admitted");
        let mut hostile = hostile.expect("running").expect("admitted");
        let mut letters = typed_letters(1, 3).into_iter();
        let valid = letters.next().expect("three");
        let invalid = Bytes::from_static(&[0, 2, 1, 0xff]);
        for (viewer, message) in [
            (hostile.id, valid.clone()),
            (typist.id, letters.next().expect("three")),
            (hostile.id, invalid),
            (hostile.id, letters.next().expect("three")),
        ] {
            assert!(document.inbox.try_send(Command::Sync { viewer, message }).is_ok());
        }
        // What came before the invalid one counts, and what came after it does not.
        let message = receive_edits(&mut typist).await;
        assert_eq!(message, valid);
        let mut refusal = None;
        while let Some(message) = hostile.outbox.recv().await {
            if let ViewerMessage::Event(DocumentEvent::Refused { reason, .. }) = message {
                refusal = Some(reason);
            }
        }
        assert_eq!(refusal, Some(RefusalReason::BadUpdate));
        assert!(!document.has_ended());
    }
}
