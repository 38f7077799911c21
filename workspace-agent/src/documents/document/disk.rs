//! The file of a document: when it is saved, and what happens to the text when other programs change it.
//!
//! The document is *in sync* while the file is what it was when it was last loaded or saved. A change on
//! disk is looked at until it counts ([`Settling`]); nothing is saved in that time, because a save would
//! take the file away from the program that writes it.

use std::{collections::VecDeque, fs::File, io, pin::Pin, sync::Arc, time::Duration};

use protocol::{document::DocumentEvent, files::HomePath};
use tokio::time::Instant;

use super::{Document, Flushed};
use crate::{
    documents::{
        disk_state::{Settling, Verdict},
        file::{self, FileLook, FoundContent, KnownContent, LineEnding, LoadError, LoadedFile},
        file_work::FileWork,
        late_write::LateWrite,
        save::{self, SaveOutcome, SaveRequest, SavedFile},
        unsaved_log::SavePoint,
    },
    error::io_error_message,
    files::{home_directory::HomeFiles, target::ExistingFile},
};

/// A save starts when nobody has typed for this long …
const SAVE_DELAY: Duration = Duration::from_millis(150);
/// … or when the oldest unsaved edit is this old.
const MAX_SAVE_DELAY: Duration = Duration::from_millis(500);
/// Pause before a failed save is repeated.
const SAVE_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Pause before a file is looked at again that a program is writing.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after a look that a change has caused. A program that writes a large file in small pieces changes
/// it thousands of times, and each look reads it.
const CHANGE_LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// How long a save waits for a program that has a position of its own in the file.
const MAX_IN_USE_DELAY: Duration = Duration::from_secs(3);
/// After so many saves in a row that found the file changed, the file is written in place.
const MAX_CONTENDED_SAVES: usize = 3;
/// How long a replaced file is watched for a program that had opened it just before.
const REPLACED_FILE_TTL: Duration = Duration::from_secs(20);
/// Most replaced files that are watched. Each holds a copy of the text.
const MAX_REPLACED_FILES: usize = 8;

/// What is known about the document's file.
pub(super) struct DiskFile {
    files: FileWork,
    path: HomePath,
    line_ending: LineEnding,
    /// Size of the file when it was last loaded or saved.
    bytes: u64,
    /// Entity tag of the file as it was last loaded or saved. `None`: the file does not exist.
    etag: Option<String>,
    state: DiskState,
    settling: Settling,
    /// When to look at the file again, if a program is writing it.
    look_at: Option<Instant>,
    /// When to look at the file, because it may have changed.
    change_look_at: Option<Instant>,
    last_look: Option<Instant>,
    save: Option<RunningSave>,
    /// When the next save starts.
    next_save: Option<SaveSchedule>,
    /// Saves in a row that found the file changed.
    contended_saves: usize,
    /// Since when a save waits for a program that has a position of its own in the file.
    in_use_since: Option<Instant>,
    /// Where such a program was in the file when it was saved nevertheless.
    writer_position: Option<usize>,
    /// The content of the file, if it is not the saved text because that program has written since.
    damaged_content: Option<Vec<u8>>,
    replaced_files: VecDeque<ReplacedFile>,
    /// What keeps the document and its file from being equal.
    failure: Option<DocumentEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DiskState {
    InSync,
    /// The file differs, and a program may be in the middle of writing it.
    Changing,
    /// The file is no text, or cannot be read. It is not overwritten unless a user asks for it.
    NotText {
        /// Entity tag of the file.
        etag: Option<String>,
    },
}

/// A save that is running.
struct RunningSave {
    /// What the save writes.
    save_point: SavePoint,
    /// The file before, if it is replaced.
    base: Arc<str>,
    outcome: Pin<Box<dyn Future<Output = io::Result<SaveOutcome>> + Send>>,
}

#[derive(Clone, Copy)]
struct SaveSchedule {
    /// When the save starts.
    at: Instant,
    /// The latest time to which further edits can postpone it.
    latest: Instant,
}

/// A file that a save has replaced.
struct ReplacedFile {
    file: Arc<File>,
    /// Its text when it was last seen.
    text: Arc<str>,
    /// Size and time of modification of that text.
    version: (i64, i64, u64),
    at: Instant,
}

impl DiskFile {
    pub(super) fn new(files: FileWork, path: HomePath, loaded: &LoadedFile) -> Self {
        Self {
            files,
            path,
            line_ending: loaded.line_ending,
            bytes: loaded.bytes,
            etag: Some(loaded.etag.clone()),
            state: DiskState::InSync,
            settling: Settling::default(),
            look_at: None,
            change_look_at: None,
            last_look: None,
            save: None,
            next_save: None,
            contended_saves: 0,
            in_use_since: None,
            writer_position: None,
            damaged_content: None,
            replaced_files: VecDeque::new(),
            failure: None,
        }
    }

    pub(super) fn is_saving(&self) -> bool {
        self.save.is_some()
    }

    /// Whether the file is as it was last loaded or saved, and no save is running or needed.
    pub(super) fn is_in_sync(&self) -> bool {
        self.state == DiskState::InSync && !self.is_saving() && self.damaged_content.is_none()
    }

    /// When the next save starts, unless one is running or the file has to settle first.
    pub(super) fn next_save_at(&self) -> Option<Instant> {
        let can_save = !self.is_saving() && self.state == DiskState::InSync;
        self.next_save.filter(|_| can_save).map(|schedule| schedule.at)
    }

    /// When the file is to be looked at.
    pub(super) fn next_look_at(&self) -> Option<Instant> {
        [self.look_at, self.change_look_at].into_iter().flatten().min()
    }

    /// Schedules a look, because the file may have changed.
    pub(super) fn schedule_look(&mut self) {
        let now = Instant::now();
        let at = self.last_look.map_or(now, |last| now.max(last + CHANGE_LOOK_INTERVAL));
        self.change_look_at.get_or_insert(at);
    }

    pub(super) fn failure(&self) -> Option<DocumentEvent> {
        self.failure.clone()
    }

    /// Size of the file when it was last loaded or saved.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size of the file with a text of so many bytes and line ends.
    pub(super) fn encoded_bytes(&self, bytes: usize, line_ends: usize) -> usize {
        if self.line_ending == LineEnding::CrLf { bytes + line_ends } else { bytes }
    }

    /// Schedules a save after an edit. Further edits postpone it, up to [`MAX_SAVE_DELAY`] after
    /// the first.
    pub(super) fn schedule_save(&mut self) {
        let now = Instant::now();
        let latest = self.next_save.map_or(now + MAX_SAVE_DELAY, |schedule| schedule.latest);
        self.next_save = Some(SaveSchedule { at: (now + SAVE_DELAY).min(latest), latest });
    }

    fn schedule_save_at(&mut self, at: Instant) {
        self.next_save = Some(SaveSchedule { at, latest: at });
    }

    /// Waits for the running save, or forever without one. Cancel safe.
    pub(super) async fn save_outcome(&mut self) -> (SavePoint, io::Result<SaveOutcome>) {
        match &mut self.save {
            Some(save) => (save.save_point, save.outcome.as_mut().await),
            None => std::future::pending().await,
        }
    }

    fn set_in_sync(&mut self, etag: Option<String>) {
        self.etag = etag;
        self.state = DiskState::InSync;
        self.settling.reset();
        self.look_at = None;
    }

    fn watch_replaced_file(&mut self, replaced: ExistingFile, text: Arc<str>) {
        let Some(file) = replaced.file else { return };
        if self.replaced_files.len() == MAX_REPLACED_FILES {
            self.replaced_files.pop_front();
        }
        let version = file::content_version(&replaced.stat);
        let file = Arc::new(file);
        self.replaced_files.push_back(ReplacedFile { file, text, version, at: Instant::now() });
    }
}

impl Document {
    /// Starts a save of the current text, unless one is running. Edits can continue while it runs.
    pub(super) fn start_save(&mut self) {
        let is_in_use_too_long =
            self.file.in_use_since.is_some_and(|since| since.elapsed() >= MAX_IN_USE_DELAY);
        // A workspace that stops does not wait for its programs.
        let moves_positions = is_in_use_too_long || !self.flushes.is_empty();
        self.save_with(moves_positions, false);
    }

    /// Replaces the file by the text, whatever it contains.
    pub(super) fn overwrite_file(&mut self) {
        self.save_with(true, true);
    }

    fn save_with(&mut self, moves_positions: bool, overwrites: bool) {
        if self.file.is_saving() {
            return;
        }
        self.file.next_save = None;
        if self.file.line_ending != LineEnding::Mixed
            && let Some(message) = self.text.delete_carriage_returns()
        {
            self.share_change(message);
        }
        let base: Arc<str> = self.text.saved_text().into();
        let request = SaveRequest {
            known_etag: self.file.etag.clone(),
            base: self.known_bytes(&base),
            content: self.file.line_ending.encode(&self.text.text()),
            moves_positions,
            is_contended: self.file.contended_saves >= MAX_CONTENDED_SAVES,
            overwrites,
        };
        let (files, path) = (self.file.files.clone(), self.file.path.clone());
        let outcome = async move {
            let save = move |files: &HomeFiles<'_>| {
                save::save(files, &path, &request).map_err(|error| files.explain(error))
            };
            files.write(save).await
        };
        let save_point = self.text.save_point();
        self.file.save = Some(RunningSave { save_point, base, outcome: Box::pin(outcome) });
    }

    /// The content of the file when it was last seen.
    fn known_bytes(&self, saved_text: &str) -> Vec<u8> {
        let damaged = self.file.damaged_content.clone();
        damaged.unwrap_or_else(|| self.file.line_ending.encode(saved_text))
    }

    pub(super) async fn finish_save(&mut self, save_point: SavePoint, outcome: io::Result<SaveOutcome>) {
        let base = self.file.save.take().map(|save| save.base);
        match outcome {
            Ok(SaveOutcome::Saved(saved)) => self.apply_saved(save_point, saved, base),
            Ok(SaveOutcome::FileChanged) => {
                self.file.contended_saves += 1;
                self.file.schedule_save_at(Instant::now());
                self.merge_file_changes().await;
            }
            Ok(SaveOutcome::InUse) => {
                self.file.in_use_since.get_or_insert_with(Instant::now);
                self.file.schedule_save_at(Instant::now() + LOOK_INTERVAL);
            }
            Ok(SaveOutcome::Protected) => self.fail_save(
                "The file is protected against writing. Overwrite it, or change its owner or mode in a \
                 terminal."
                    .to_owned(),
                true,
            ),
            Err(error) => self.fail_save(io_error_message(&error), false),
        }
        self.flush();
    }

    fn apply_saved(&mut self, save_point: SavePoint, saved: SavedFile, base: Option<Arc<str>>) {
        // The program stays where it was: at the end of the content before, or of its last write.
        let position = self.file.writer_position.or_else(|| Some(self.known_bytes(base.as_deref()?).len()));
        self.text.mark_saved(save_point);
        self.file.bytes = saved.bytes;
        self.file.contended_saves = 0;
        self.file.in_use_since = None;
        self.file.failure = None;
        self.file.writer_position = position.filter(|_| saved.has_positioned_writer);
        self.file.damaged_content = None;
        let has_more = saved.etag.is_none();
        self.file.set_in_sync(saved.etag);
        if has_more {
            // Another program has appended to the file.
            self.file.etag = Some(String::new());
            self.file.look_at = Some(Instant::now());
        }
        if let (Some(file), Some(base)) = (saved.replaced, base) {
            self.file.watch_replaced_file(file, base);
        }
        self.convert_line_ending();
        if !self.text.has_unsaved_edits() {
            self.broadcast_saved();
        }
    }

    /// If a user has made mixed line endings uniform, the shared text has `\n` from now on.
    fn convert_line_ending(&mut self) {
        if self.file.line_ending != LineEnding::Mixed {
            return;
        }
        let text = self.text.saved_text();
        self.file.line_ending = LineEnding::detect(&text);
        if let Some(message) = self.text.merge_file_text(&self.file.line_ending.decode(text)) {
            self.share_change(message);
        }
    }

    fn fail_save(&mut self, message: String, can_overwrite: bool) {
        self.report_failure(message, can_overwrite);
        self.file.schedule_save_at(Instant::now() + SAVE_RETRY_DELAY);
        self.answer_flushes();
    }

    fn report_failure(&mut self, message: String, can_overwrite: bool) {
        let event = DocumentEvent::SaveFailed { message, can_overwrite };
        if self.file.failure.as_ref() != Some(&event) {
            self.broadcast_event(&event);
        }
        self.file.failure = Some(event);
    }

    /// Saves at once if somebody waits for it, and answers those who waited.
    pub(super) fn flush(&mut self) {
        if self.flushes.is_empty() || self.file.is_saving() {
            return;
        }
        if self.text.has_unsaved_edits() {
            match self.file.state {
                DiskState::InSync => return self.start_save(),
                DiskState::Changing => return,
                DiskState::NotText { .. } => {}
            }
        }
        self.answer_flushes();
    }

    fn answer_flushes(&mut self) {
        let flushed = Flushed { unsaved: self.unsaved_reason(), is_kept: !self.is_temporary };
        for flush in self.flushes.drain(..) {
            let _ = flush.send(flushed.clone());
        }
    }

    /// Merges what other programs have written to the file.
    pub(super) async fn merge_file_changes(&mut self) {
        self.file.change_look_at = None;
        self.merge_replaced_files().await;
        let current = self.current_etag().await;
        if current.as_ref().is_ok_and(|etag| *etag == self.file.etag) {
            if self.file.state != DiskState::InSync {
                self.file.set_in_sync(self.file.etag.clone());
                self.resume();
            }
        } else if self.file.state != (DiskState::NotText { etag: current.ok().flatten() }) {
            let look = self.look().await;
            let now = Instant::now();
            match self.file.settling.judge(look.sighting, look.etag.as_deref(), now) {
                Verdict::InProgress(due) => {
                    self.file.state = DiskState::Changing;
                    self.file.look_at = Some(due.min(now + LOOK_INTERVAL));
                }
                Verdict::Settled => self.apply_look(look).await,
            }
        }
        self.file.last_look = Some(Instant::now());
        self.flush();
    }

    async fn current_etag(&mut self) -> io::Result<Option<String>> {
        let path = self.file.path.clone();
        self.file.files.read(move |files| file::current_etag(files, &path)).await
    }

    async fn look(&mut self) -> FileLook {
        let bytes = self.known_bytes(&self.text.saved_text());
        let known = KnownContent { bytes, writer_position: self.file.writer_position };
        let path = self.file.path.clone();
        let look =
            self.file.files.read(move |files| Ok::<_, io::Error>(file::look(files, &path, &known))).await;
        look.unwrap_or_else(|error| FileLook::not_text(None, LoadError::Io(error)))
    }

    async fn apply_look(&mut self, look: FileLook) {
        match look.content {
            FoundContent::Text(loaded) => self.merge_loaded_file(loaded).await,
            FoundContent::LateWrite(late) => self.merge_late_write(late, look.etag),
            FoundContent::Missing => {
                let was_there = self.file.etag.is_some();
                self.file.set_in_sync(None);
                if was_there {
                    self.broadcast_event(&DocumentEvent::Deleted);
                }
                self.resume();
            }
            FoundContent::NotText(error) => {
                self.file.state = DiskState::NotText { etag: look.etag };
                self.file.settling.reset();
                self.file.look_at = None;
                self.report_failure(format!("{} Your text is kept here.", error.file_state()), true);
            }
        }
    }

    async fn merge_loaded_file(&mut self, loaded: LoadedFile) {
        let edits = self.file.files.find_edits(self.text.saved_text(), loaded.text).await;
        self.file.bytes = loaded.bytes;
        self.file.set_in_sync(Some(loaded.etag));
        self.file.writer_position = None;
        self.file.damaged_content = None;
        self.file.line_ending = loaded.line_ending;
        if let Some(message) = self.text.merge_file_edits(edits) {
            self.share_change(message);
        }
        self.file.failure = None;
        if self.text.has_unsaved_edits() {
            self.resume();
        } else {
            self.broadcast_saved();
        }
    }

    /// Takes a write at a program's own position as appended text. The next save repairs the file.
    fn merge_late_write(&mut self, late: LateWrite, etag: Option<String>) {
        self.file.set_in_sync(etag);
        self.file.writer_position = Some(late.position);
        self.file.damaged_content = Some(late.content);
        let appended = self.file.line_ending.decode(String::from_utf8_lossy(&late.bytes).into_owned());
        let text = self.text.saved_text() + &appended;
        if let Some(message) = self.text.merge_file_text(&text) {
            self.share_change(message);
        }
        self.file.schedule_save();
    }

    /// Continues with a save that had to wait.
    fn resume(&mut self) {
        self.file.failure = None;
        if self.text.has_unsaved_edits() && self.file.next_save.is_none() {
            self.file.schedule_save();
        }
    }

    /// Merges what programs have written to files that a save has replaced since they opened them.
    async fn merge_replaced_files(&mut self) {
        self.file.replaced_files.retain(|replaced| replaced.at.elapsed() < REPLACED_FILE_TTL);
        for index in 0..self.file.replaced_files.len() {
            let replaced = &self.file.replaced_files[index];
            let (file, base) = (replaced.file.clone(), replaced.text.clone());
            let Ok(stat) = rustix::fs::fstat(&file) else { continue };
            let version = file::content_version(&stat);
            if version == replaced.version {
                continue;
            }
            let line_ending = self.file.line_ending;
            let read = self.file.files.read(move |_| file::read_open_file(&file, line_ending)).await;
            let Ok(text) = read else { continue };
            let replaced = &mut self.file.replaced_files[index];
            (replaced.text, replaced.version) = (text.as_str().into(), version);
            if let Some(message) = self.text.merge_late_text(&base, &text) {
                self.share_change(message);
                self.file.schedule_save();
            }
        }
    }
}
