//! A text that several users edit: the CRDT, the users' presence, and the state of the file. No
//! I/O, no clock, no tasks.
//!
//! It holds two copies of the CRDT. `doc` is what users edit. `saved_doc` is `doc` at the last
//! moment when file and text were equal. When another program changes the file, the change becomes
//! an edit of `saved_doc` by one more author, and is merged into `doc` like any user's edit. So
//! neither the file nor the users overwrite each other.
//!
//! ```text
//! users ── receive ──→ doc ── mark_saved ──→ saved_doc
//! file ─── merge_file_text ─────────────────→ saved_doc and doc
//! ```

use std::{
    collections::HashMap,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use axum::body::Bytes;
use protocol::document::{MAX_UPDATE_BYTES, TEXT_NAME};
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, Transact as _,
    TransactionMut, Update, WriteTxn as _,
    encoding::read::{Cursor, Error, Read as _},
    merge_updates_v1,
    sync::{AwarenessUpdate, Message, SyncMessage, awareness::AwarenessUpdateEntry, protocol::MSG_SYNC},
    updates::{decoder::Decode as _, encoder::Encode as _},
};

use super::{
    diff::{TextEdit, rebase_edits, text_edits},
    text_runs::join_text_runs,
    unsaved_log::{SavePoint, UnsavedLog},
};

/// Most bytes of one user's presence: cursor, name and colour.
const MAX_PRESENCE_BYTES: usize = 4 * 1024;
/// Most presences of one viewer. A client that reconnects gets a new number while its old one is
/// still known.
const MAX_PRESENCES_PER_VIEWER: usize = 4;
/// Most presences of all viewers together.
const MAX_PRESENCES: usize = 512;
/// The upper bits of the client ids under which this module edits. Clients' own ids are below 2^32
/// (Yjs), or almost never have these bits (random 53-bit ids).
const AUTHOR_MARK: u64 = 0x1b_0770;
/// The encoding of an update that changes nothing.
const NO_CHANGE: [u8; 2] = [0, 0];

/// Identifies a viewer in its document.
pub type ViewerId = u64;

/// The text of a document, with the presence of its viewers.
pub struct SharedText {
    doc: Doc,
    saved_doc: Doc,
    /// Updates that are in `doc` and not in `saved_doc`.
    unsaved: UnsavedLog,
    presences: HashMap<ClientID, Presence>,
}

/// What a client tells other users about its user, as JSON that only clients read.
struct Presence {
    viewer: ViewerId,
    clock: u32,
    state: String,
}

/// How large a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSize {
    /// The text alone.
    pub text_bytes: usize,
    /// The encoding of a replica: the text, and where each part of it was inserted and deleted. In memory,
    /// a part takes about 20 times its encoding, here and in each client.
    pub replica_bytes: usize,
}

/// What a message leads to.
#[derive(Debug, Default, PartialEq)]
pub struct MessageEffects {
    /// Messages for the sender.
    pub replies: Vec<Vec<u8>>,
    /// Messages for all other viewers.
    pub broadcasts: Vec<Vec<u8>>,
    /// Whether the text has changed.
    pub has_edited: bool,
}

/// The message cannot be applied. The sender must synchronize again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidMessage;

/// Why a message was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The message is invalid. The sender must synchronize again.
    Invalid,
    /// The sender's replica is that of an earlier instance of the document.
    Stale,
}

impl From<InvalidMessage> for Rejection {
    fn from(_: InvalidMessage) -> Self {
        Self::Invalid
    }
}

/// An empty document whose edits are marked as ours.
fn empty_doc() -> Doc {
    let client_id = ClientID::new(AUTHOR_MARK << 32 | u64::from(uuid::Uuid::new_v4().as_fields().0));
    // Yjs counts UTF-16 units; the library's default counts bytes and would diverge at the first
    // emoji.
    Doc::with_options(Options { client_id, offset_kind: OffsetKind::Utf16, ..Options::default() })
}

/// Whether a client id is one of [`empty_doc`], of this instance or another.
fn is_author(client: ClientID) -> bool {
    client.get() >> 32 == AUTHOR_MARK
}

impl SharedText {
    /// A text that is equal to its file.
    pub fn new(text: &str) -> Self {
        let doc = empty_doc();
        let content = doc.get_or_insert_text(TEXT_NAME);
        if !text.is_empty() {
            content.insert(&mut doc.transact_mut(), 0, text);
        }
        let saved_doc = empty_doc();
        saved_doc.get_or_insert_text(TEXT_NAME);
        let all = doc.transact().encode_diff_v1(&StateVector::default());
        transact(&saved_doc, |saved_doc| apply_own_update(saved_doc, &all));
        let unsaved = UnsavedLog::new(doc.transact().state_vector());
        Self { doc, saved_doc, unsaved, presences: HashMap::new() }
    }

    /// The current text.
    pub fn text(&self) -> String {
        text_of(&self.doc)
    }

    /// Sizes of the text and of everything that a replica of it contains.
    pub fn size(&self) -> TextSize {
        let all = encode_since(&self.doc, &StateVector::default());
        TextSize { text_bytes: self.text().len(), replica_bytes: all.map_or(usize::MAX, |all| all.len()) }
    }

    /// Messages for a viewer that joins: the state here, so that it sends what is missing, and all
    /// users' presence.
    pub fn greeting(&self) -> Vec<Vec<u8>> {
        let state = self.doc.transact().state_vector();
        let mut greeting = vec![Message::Sync(SyncMessage::SyncStep1(state)).encode_v1()];
        if !self.presences.is_empty() {
            greeting.push(self.all_presences());
        }
        greeting
    }

    /// Applies a viewer's y-sync message.
    ///
    /// Panics if the CRDT library can no longer encode the document. The document's task then ends,
    /// and the document is loaded again from its file.
    pub fn receive(&mut self, viewer: ViewerId, message: &[u8]) -> Result<MessageEffects, Rejection> {
        match decode_message(message)? {
            Message::Sync(SyncMessage::SyncStep1(state)) => {
                self.refuse_other_instance(&state)?;
                Ok(self.encode_missing(&state)?)
            }
            Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update)) => {
                self.apply_updates(vec![decode_update(&update)?])
            }
            Message::Awareness(update) => Ok(self.apply_presence(viewer, update)),
            Message::AwarenessQuery => {
                Ok(MessageEffects { replies: vec![self.all_presences()], ..MessageEffects::default() })
            }
            Message::Auth(_) | Message::Custom(..) => Err(Rejection::Invalid),
        }
    }

    /// Applies messages with edits (sync step 2 and updates) that have arrived together, as one change. If
    /// one of them is refused, none has changed anything: the caller can apply them one by one.
    pub fn receive_edits(&mut self, messages: &[Bytes]) -> Result<MessageEffects, Rejection> {
        let decode_edit = |message: &Bytes| match decode_message(message)? {
            Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update)) => {
                Ok(decode_update(&update)?)
            }
            _ => Err(Rejection::Invalid),
        };
        let updates: Result<Vec<Update>, Rejection> = messages.iter().map(decode_edit).collect();
        self.apply_updates(updates?)
    }

    /// Refuses a state that contains edits of another instance's authors. Merged with this instance,
    /// it would show every line twice.
    fn refuse_other_instance(&self, state: &StateVector) -> Result<(), Rejection> {
        let is_edited = |(client, clock): &(&ClientID, &u32)| is_author(**client) && **clock > 0;
        let authors: Vec<&ClientID> = state.iter().filter(is_edited).map(|(client, _)| client).collect();
        if authors.is_empty() {
            return Ok(());
        }
        let known = self.doc.transact().state_vector();
        if authors.into_iter().all(|author| known.contains_client(author)) {
            Ok(())
        } else {
            Err(Rejection::Stale)
        }
    }

    /// Encodes what is missing from a replica with `state`.
    fn encode_missing(&self, state: &StateVector) -> Result<MessageEffects, InvalidMessage> {
        // Only integrated updates: pending updates of a hostile client could not be encoded.
        let encode = |state| catch_unwind(AssertUnwindSafe(|| self.doc.transact().encode_diff_v1(state)));
        match encode(state) {
            Ok(diff) => Ok(MessageEffects {
                replies: vec![Message::Sync(SyncMessage::SyncStep2(diff)).encode_v1()],
                ..MessageEffects::default()
            }),
            // Either this state vector was invalid, or the document cannot be encoded for anyone
            // any more.
            Err(_) => match encode(&StateVector::default()) {
                Ok(_) => Err(InvalidMessage),
                Err(panic) => resume_unwind(panic),
            },
        }
    }

    fn apply_updates(&mut self, updates: Vec<Update>) -> Result<MessageEffects, Rejection> {
        for update in &updates {
            self.refuse_other_instance(&update.state_vector())?;
        }
        let AppliedUpdates { change, missing_after } = self.try_change(|doc| apply_updates(doc, updates))?;
        let mut effects = MessageEffects::default();
        if let Some(state) = missing_after {
            effects.replies.push(Message::Sync(SyncMessage::SyncStep1(state)).encode_v1());
        }
        if change != NO_CHANGE {
            // The library joins the letters of a change only afterwards.
            let change = join_text_runs(&change).unwrap_or(change);
            effects.has_edited = true;
            effects.broadcasts.push(Message::Sync(SyncMessage::Update(change.clone())).encode_v1());
            self.record_unsaved(change);
        }
        Ok(effects)
    }

    /// Changes `doc`. If that fails, or the library panics, `doc` is restored to its state before.
    fn try_change<T>(
        &mut self,
        change: impl FnOnce(&mut TransactionMut<'_>) -> Result<T, InvalidMessage>,
    ) -> Result<T, InvalidMessage> {
        let changed = catch_unwind(AssertUnwindSafe(|| transact(&self.doc, change)));
        changed.unwrap_or(Err(InvalidMessage)).inspect_err(|_| self.rebuild())
    }

    /// Builds `doc` again from the saved copy and the unsaved updates.
    fn rebuild(&mut self) {
        let doc = empty_doc();
        doc.get_or_insert_text(TEXT_NAME);
        let saved = self.saved_doc.transact().encode_diff_v1(&StateVector::default());
        for update in [&saved].into_iter().chain(self.unsaved.iter()) {
            transact(&doc, |transaction| apply_own_update(transaction, update));
        }
        self.doc = doc;
    }

    fn apply_presence(&mut self, viewer: ViewerId, update: AwarenessUpdate) -> MessageEffects {
        let mut accepted = HashMap::new();
        for (client, entry) in update.clients {
            if self.accepts_presence(viewer, client, &entry) {
                let state = entry.json.to_string();
                if state == "null" {
                    self.presences.remove(&client);
                } else {
                    self.presences.insert(client, Presence { viewer, clock: entry.clock, state });
                }
                accepted.insert(client, entry);
            }
        }
        if accepted.is_empty() {
            return MessageEffects::default();
        }
        let message = Message::Awareness(AwarenessUpdate { clients: accepted }).encode_v1();
        MessageEffects { broadcasts: vec![message], ..MessageEffects::default() }
    }

    /// Whether a viewer may set this presence. It cannot change another viewer's.
    fn accepts_presence(&self, viewer: ViewerId, client: ClientID, entry: &AwarenessUpdateEntry) -> bool {
        if entry.json.len() > MAX_PRESENCE_BYTES {
            return false;
        }
        match self.presences.get(&client) {
            Some(known) => known.viewer == viewer && entry.clock >= known.clock,
            None if &*entry.json == "null" => false,
            None => {
                let own = self.presences.values().filter(|presence| presence.viewer == viewer).count();
                own < MAX_PRESENCES_PER_VIEWER && self.presences.len() < MAX_PRESENCES
            }
        }
    }

    /// Removes a viewer's presences. Returns the message that tells the other viewers, if there
    /// were any.
    pub fn remove_viewer(&mut self, viewer: ViewerId) -> Option<Vec<u8>> {
        let removed: HashMap<ClientID, AwarenessUpdateEntry> = self
            .presences
            .iter()
            .filter(|(_, presence)| presence.viewer == viewer)
            .map(|(client, presence)| {
                // With the clock of the last state, as y-websocket does it: a client that connects again
                // continues to count from there.
                (*client, AwarenessUpdateEntry { clock: presence.clock, json: "null".into() })
            })
            .collect();
        self.presences.retain(|_, presence| presence.viewer != viewer);
        (!removed.is_empty()).then(|| Message::Awareness(AwarenessUpdate { clients: removed }).encode_v1())
    }

    fn all_presences(&self) -> Vec<u8> {
        let entry = |presence: &Presence| AwarenessUpdateEntry {
            clock: presence.clock,
            json: presence.state.as_str().into(),
        };
        let clients = self.presences.iter().map(|(client, presence)| (*client, entry(presence))).collect();
        Message::Awareness(AwarenessUpdate { clients }).encode_v1()
    }

    /// Identifies the current version of the text, for [`Self::mark_saved`].
    pub fn save_point(&mut self) -> SavePoint {
        let (state, saved) = (self.doc.transact().state_vector(), self.saved_doc.transact().state_vector());
        self.unsaved.start_save(state, &saved, |base| encode_since(&self.doc, base))
    }

    /// Records that the file is equal to the version of `save_point`.
    pub fn mark_saved(&mut self, save_point: SavePoint) {
        // One transaction each: the library needs memory for the square of the characters that were
        // typed one after the other in one transaction.
        for update in self.unsaved.finish_save(save_point) {
            transact(&self.saved_doc, |doc| apply_own_update(doc, &update));
        }
    }

    fn record_unsaved(&mut self, change: Vec<u8>) {
        self.unsaved.push(change, |base| encode_since(&self.doc, base));
    }

    /// Whether there are edits that are not in the file.
    pub fn has_unsaved_edits(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// The text at the last moment when it was equal to the file.
    pub fn saved_text(&self) -> String {
        text_of(&self.saved_doc)
    }

    /// Merges the file's new content into the text: the difference to [`Self::saved_text`] becomes
    /// an edit. Returns the message for all viewers, if the file has changed.
    pub fn merge_file_text(&mut self, file_text: &str) -> Option<Vec<u8>> {
        self.merge_file_edits(text_edits(&self.saved_text(), file_text))
    }

    /// Like [`Self::merge_file_text`], with the difference.
    pub fn merge_file_edits(&mut self, edits: Vec<TextEdit>) -> Option<Vec<u8>> {
        if edits.is_empty() {
            return None;
        }
        let change = apply_edits(&self.saved_doc, edits);
        transact(&self.doc, |doc| apply_own_update(doc, &change));
        Some(update_message(change))
    }

    /// Merges into the text what another program has made of an earlier text of the file, `base`, without
    /// having seen the current one. Returns the message for all viewers, if that changes the text. The
    /// change is unsaved.
    pub fn merge_late_text(&mut self, base: &str, late: &str) -> Option<Vec<u8>> {
        let edits = rebase_edits(text_edits(base, late), &text_edits(base, &self.text()));
        self.edit(edits)
    }

    /// Deletes the carriage returns before line ends, which a user has pasted. Returns the message for all
    /// viewers, if there were any. The change is unsaved.
    pub fn delete_carriage_returns(&mut self) -> Option<Vec<u8>> {
        let text = self.text();
        if !text.contains("\r\n") {
            return None;
        }
        let mut edits = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let content = line.strip_suffix('\n').unwrap_or(line);
            let returns = content.len() - content.trim_end_matches('\r').len();
            let units = line.encode_utf16().count() as u32;
            if line.ends_with('\n') && returns > 0 {
                let delete = returns as u32;
                edits.push(TextEdit { at: at + units - 1 - delete, delete, insert: String::new() });
            }
            at += units;
        }
        edits.reverse();
        self.edit(edits)
    }

    /// Applies edits of the current text, the last in it first. Returns the message for all viewers, if the
    /// text has changed. The change is unsaved.
    pub fn edit(&mut self, edits: Vec<TextEdit>) -> Option<Vec<u8>> {
        if edits.is_empty() {
            return None;
        }
        let change = apply_edits(&self.doc, edits);
        self.record_unsaved(change.clone());
        Some(update_message(change))
    }
}

/// Updates of a client that were applied.
struct AppliedUpdates {
    /// What changed, as an update.
    change: Vec<u8>,
    /// Set if an update builds on others that are missing here: everything after this state has to be
    /// requested.
    missing_after: Option<StateVector>,
}

fn apply_updates(
    doc: &mut TransactionMut<'_>,
    updates: Vec<Update>,
) -> Result<AppliedUpdates, InvalidMessage> {
    let mut is_any_missing = false;
    for update in updates {
        if leaves_gap(doc, &update) {
            is_any_missing = true;
            continue;
        }
        doc.apply_update(update).map_err(|_| InvalidMessage)?;
        // An update that builds on missing ones would stay pending and break encoding. Drop it and
        // request the missing ones.
        if doc.has_missing_updates() {
            doc.prune_pending();
            is_any_missing = true;
        }
    }
    if has_gap(doc) {
        return Err(InvalidMessage);
    }
    let missing_after = is_any_missing.then(|| doc.state_vector());
    Ok(AppliedUpdates { change: doc.encode_update_v1(), missing_after })
}

/// Whether edits of a client are missing between those in `doc` and those in `update`. The library would
/// show the new ones in the text, but encode none of them for anyone until the missing ones arrive.
fn leaves_gap(doc: &TransactionMut<'_>, update: &Update) -> bool {
    let known = doc.state_vector();
    update.state_vector_lower().iter().any(|(client, first)| *first > known.get(client))
}

/// Whether there are gaps among the edits that a transaction has inserted.
fn has_gap(doc: &TransactionMut<'_>) -> bool {
    let known = doc.state_vector();
    doc.insert_set().iter().any(|(client, ranges)| ranges.iter().any(|range| range.end > known.get(client)))
}

/// Applies edits, of which the last in the text comes first. Returns the change as an update.
fn apply_edits(doc: &Doc, edits: Vec<TextEdit>) -> Vec<u8> {
    transact(doc, |doc| {
        let text = doc.get_or_insert_text(TEXT_NAME);
        for edit in bisect_edits(edits) {
            text.remove_range(doc, edit.at, edit.delete);
            text.insert(doc, edit.at, &edit.insert);
        }
        doc.encode_update_v1()
    })
}

/// Orders edits, of which the last in the text comes first, so that each is about in the middle of what
/// the ones before it leave whole. An edit splits a part of the text, for which the library reads and
/// copies the part: in the order of the text, that would be most of it each time. Positions refer to the
/// text after the edits before.
fn bisect_edits(mut edits: Vec<TextEdit>) -> Vec<TextEdit> {
    let mut ordered = Vec::with_capacity(edits.len());
    // Ranges of edits, with the units by which the text there has moved.
    let mut ranges = vec![(0..edits.len(), 0_i64)];
    while let Some((range, moved)) = ranges.pop() {
        let middle = range.start + range.len() / 2;
        let Some(edit) = edits.get_mut(middle).filter(|_| !range.is_empty()) else { continue };
        let at = (i64::from(edit.at) + moved) as u32;
        let insert = std::mem::take(&mut edit.insert);
        let grown = insert.encode_utf16().count() as i64 - i64::from(edit.delete);
        ordered.push(TextEdit { at, delete: edit.delete, insert });
        // What is later in the text comes next: the library counts the parts before an edit.
        ranges.push((middle + 1..range.end, moved));
        ranges.push((range.start..middle, moved + grown));
    }
    ordered
}

/// The message that sends an update to viewers.
fn update_message(update: Vec<u8>) -> Vec<u8> {
    Message::Sync(SyncMessage::Update(update)).encode_v1()
}

/// Merges messages that wait for a viewer: all updates into one, and of each user's presence the latest.
/// Other messages come first, because they may be the base of the updates.
pub fn merge_messages(messages: Vec<Bytes>) -> Vec<Bytes> {
    let (mut merged, mut updates, mut clients) = (Vec::new(), Vec::new(), HashMap::new());
    for message in messages {
        match decode(|| Message::decode_v1(&message)) {
            Ok(Message::Sync(SyncMessage::Update(update))) => updates.push(update),
            Ok(Message::Awareness(update)) => clients.extend(update.clients),
            _ => merged.push(message),
        }
    }
    match updates.len() {
        0 => {}
        1 => merged.extend(updates.into_iter().map(|update| update_message(update).into())),
        _ => match decode(|| merge_updates_v1(&updates)) {
            Ok(update) => {
                let update = join_text_runs(&update).unwrap_or(update);
                merged.push(update_message(update).into());
            }
            Err(InvalidMessage) => {
                merged.extend(updates.into_iter().map(|update| update_message(update).into()));
            }
        },
    }
    if !clients.is_empty() {
        merged.push(Message::Awareness(AwarenessUpdate { clients }).encode_v1().into());
    }
    merged
}

/// Applies an update that this module has encoded, which always decodes and applies.
fn apply_own_update(doc: &mut TransactionMut<'_>, update: &[u8]) {
    if let Ok(update) = Update::decode_v1(update) {
        let _ = doc.apply_update(update);
    }
}

/// Changes `doc` in one transaction. If that panics, the transaction is leaked and `doc` stays
/// locked. Dropping the transaction would commit a partial change and panic again during unwinding,
/// which aborts the process.
fn transact<T>(doc: &Doc, change: impl FnOnce(&mut TransactionMut<'_>) -> T) -> T {
    let mut transaction = ManuallyDrop::new(doc.transact_mut());
    let changed = change(&mut transaction);
    drop(ManuallyDrop::into_inner(transaction));
    changed
}

/// Decodes a viewer's bytes. The library panics on some; no state has changed at that point.
fn decode<T, E>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, InvalidMessage> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| InvalidMessage)?.map_err(|_| InvalidMessage)
}

/// Decodes a viewer's y-sync message.
fn decode_message(message: &[u8]) -> Result<Message, Rejection> {
    if message.len() > MAX_UPDATE_BYTES || claims_too_many_entries(message) {
        return Err(Rejection::Invalid);
    }
    Ok(decode(|| Message::decode_v1(message))?)
}

/// Decodes an update. Letters that were typed one after the other become one part.
fn decode_update(update: &[u8]) -> Result<Update, InvalidMessage> {
    let joined = join_text_runs(update);
    decode(|| Update::decode_v1(joined.as_deref().unwrap_or(update)))
}

/// Whether a message claims to contain more entries than it has bytes. The library would reserve
/// memory for all of them before it reads the first.
fn claims_too_many_entries(message: &[u8]) -> bool {
    let mut message = Cursor::new(message);
    let mut content = || {
        if message.read_var::<u32>()? == u32::from(MSG_SYNC) {
            message.read_var::<u32>()?;
        }
        let content = message.read_buf()?;
        // State vectors, updates and presences all begin with their number of clients.
        Ok::<_, Error>(Cursor::new(content).read_var::<u64>()? > content.len() as u64)
    };
    content().unwrap_or(false)
}

/// Everything in `doc` that is not in `state`, or `None` if the library cannot encode it.
fn encode_since(doc: &Doc, state: &StateVector) -> Option<Vec<u8>> {
    catch_unwind(AssertUnwindSafe(|| doc.transact().encode_diff_v1(state))).ok()
}

fn text_of(doc: &Doc) -> String {
    let text = doc.get_or_insert_text(TEXT_NAME);
    text.get_string(&doc.transact())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::search::LineEdit;

    use super::*;
    use crate::documents::line_edits::locate_line_edits;

    /// A client with its own replica, as a browser has.
    struct Client {
        doc: Doc,
        id: ViewerId,
    }

    impl Client {
        fn join(shared: &mut SharedText, id: ViewerId) -> Self {
            let client = Self { doc: client_doc(), id };
            client.synchronize(shared);
            client
        }

        fn synchronize(&self, shared: &mut SharedText) {
            let state = self.doc.transact().state_vector();
            let request = Message::Sync(SyncMessage::SyncStep1(state)).encode_v1();
            for reply in shared.receive(self.id, &request).expect("a sync request").replies {
                self.apply(&reply);
            }
        }

        fn apply(&self, message: &[u8]) {
            if let Ok(Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update))) =
                Message::decode_v1(message)
            {
                let update = Update::decode_v1(&update).expect("the server's updates decode");
                self.doc.transact_mut().apply_update(update).expect("the server's updates apply");
            }
        }

        fn edit(&self, at: u32, delete: u32, insert: &str) -> Vec<u8> {
            let text = self.doc.get_or_insert_text(TEXT_NAME);
            let mut transaction = self.doc.transact_mut();
            let length = text.len(&transaction);
            let at = at.min(length);
            text.remove_range(&mut transaction, at, delete.min(length - at));
            text.insert(&mut transaction, at, insert);
            Message::Sync(SyncMessage::Update(transaction.encode_update_v1())).encode_v1()
        }
    }

    /// A document with an id of a client's own.
    fn client_doc() -> Doc {
        Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() })
    }

    fn save(shared: &mut SharedText) {
        let save_point = shared.save_point();
        shared.mark_saved(save_point);
    }

    #[test]
    fn unsaved_edits_of_burst_are_compacted() {
        for position in [|_, length| length, |random: u32, length: u32| random % (length + 1)] {
            let mut shared = SharedText::new("text");
            let client = Client::join(&mut shared, 1);
            let mut random = 1_u32;
            let mut edit = |shared: &mut SharedText| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let length = client.doc.get_or_insert_text(TEXT_NAME).len(&client.doc.transact());
                let edit =
                    client.edit(position(random >> 8, length), u32::from(random.is_multiple_of(5)), "x");
                shared.receive(1, &edit).expect("an edit");
            };
            for _ in 0..10_000 {
                edit(&mut shared);
            }
            // Saves that fail, one after the other.
            for _ in 0..30 {
                shared.save_point();
                edit(&mut shared);
            }
            let save_point = shared.save_point();
            let text = shared.text();
            for _ in 0..5_000 {
                edit(&mut shared);
            }
            assert!(shared.unsaved.bytes() < 512 * 1024, "{} bytes", shared.unsaved.bytes());
            shared.mark_saved(save_point);
            assert_eq!(shared.saved_text(), text);
            assert!(shared.has_unsaved_edits());
            shared.rebuild();
            assert_eq!(shared.text(), text_of(&client.doc));
            save(&mut shared);
            assert_eq!(shared.saved_text(), shared.text());
            assert!(!shared.has_unsaved_edits());
        }
    }

    #[test]
    fn file_change_and_edit_are_merged() {
        let mut shared = SharedText::new("one\ntwo\nthree\n");
        let client = Client::join(&mut shared, 1);
        let edit = client.edit(0, 0, "zero\n");
        assert!(shared.receive(1, &edit).expect("an edit").has_edited);
        let change = shared.merge_file_text("one\ntwo\nthree\nfour\n").expect("a change");
        client.apply(&change);
        assert_eq!(shared.text(), "zero\none\ntwo\nthree\nfour\n");
        assert_eq!(text_of(&client.doc), shared.text());
        assert_eq!(shared.saved_text(), "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn late_text_is_merged_with_what_followed() {
        let mut shared = SharedText::new("one\ntwo\n");
        let client = Client::join(&mut shared, 1);
        shared.receive(1, &client.edit(0, 0, "zero\n")).expect("an edit");
        save(&mut shared);
        let change = shared.merge_late_text("one\ntwo\n", "one\ntwo\nthree\n").expect("a change");
        client.apply(&change);
        assert_eq!(shared.text(), "zero\none\ntwo\nthree\n");
        assert_eq!(text_of(&client.doc), shared.text());
        assert!(shared.has_unsaved_edits());
    }

    #[test]
    fn many_edits_of_long_line_are_applied() {
        const EDITS: u32 = 10_000;
        const STRIDE: u32 = 200;
        let part = format!("{}é word", "x".repeat(STRIDE as usize - 6));
        let text = part.repeat(EDITS as usize);
        let mut shared = SharedText::new(&text);
        let client = Client::join(&mut shared, 1);
        let edit = |index: u32| LineEdit {
            line: 1,
            column: u64::from(index * STRIDE + STRIDE - 4),
            old: "word".to_owned(),
            new: if index.is_multiple_of(2) { "longer 😀" } else { "" }.to_owned(),
        };
        // With a pass over the text for each edit, this would take minutes.
        let located = locate_line_edits(&text, &(0..EDITS).map(edit).collect::<Vec<_>>());
        assert_eq!(located.missed, [0; 0]);
        let change = shared.edit(located.edits).expect("a change");
        client.apply(&change);
        let pair = format!("{}{}", part.replace("word", "longer 😀"), part.replace("word", ""));
        assert!(shared.text() == pair.repeat(EDITS as usize / 2), "the text differs");
        assert!(text_of(&client.doc) == shared.text(), "the replica differs");
    }

    #[test]
    fn pasted_carriage_returns_are_deleted() {
        for (text, expected) in [
            ("😀\r\none\r\n", "😀\none\n"),
            ("one\r\r\ntwo\nthree\r\n", "one\ntwo\nthree\n"),
            ("one\rtwo\r\nend\r", "one\rtwo\nend\r"),
        ] {
            let mut shared = SharedText::new(text);
            let client = Client::join(&mut shared, 1);
            client.apply(&shared.delete_carriage_returns().expect("a change"));
            assert_eq!(shared.text(), expected);
            assert_eq!(text_of(&client.doc), expected);
            assert_eq!(shared.delete_carriage_returns(), None);
        }
    }

    #[test]
    fn update_without_its_base_is_requested_again() {
        let mut shared = SharedText::new("text");
        let other = client_doc();
        let text = other.get_or_insert_text(TEXT_NAME);
        text.insert(&mut other.transact_mut(), 0, "lost");
        let second = {
            let mut transaction = other.transact_mut();
            text.insert(&mut transaction, 4, " tail");
            transaction.encode_update_v1()
        };
        let effects =
            shared.receive(1, &Message::Sync(SyncMessage::Update(second)).encode_v1()).expect("decodes");
        assert_eq!(effects.replies.len(), 1);
        assert!(!effects.has_edited);
        let joined = Client::join(&mut shared, 2);
        assert_eq!(text_of(&joined.doc), "text");
    }

    /// A client that types before it has sent what it typed while it was away.
    #[test]
    fn update_after_a_gap_is_requested_again() {
        let mut shared = SharedText::new("text");
        let client = Client::join(&mut shared, 1);
        let missing = client.edit(0, 0, "away ");
        // Both neighbours of the new letter are known.
        let later = client.edit(9, 0, "!");
        let effects = shared.receive(1, &later).expect("decodes");
        assert!(effects.replies.len() == 1 && !effects.has_edited && effects.broadcasts.is_empty());
        assert_eq!(shared.text(), "text", "nothing is shown that cannot be sent");
        for (message, text) in [(missing, "away text"), (later, "away text!")] {
            assert!(shared.receive(1, &message).expect("an edit").has_edited);
            assert_eq!(shared.text(), text);
        }
        save(&mut shared);
        assert_eq!(shared.saved_text(), "away text!");
    }

    #[test]
    fn panic_in_the_library_changes_nothing() {
        let mut shared = SharedText::new("saved ");
        let client = Client::join(&mut shared, 1);
        shared.receive(1, &client.edit(6, 0, "ahead ")).expect("an edit");
        let broken: Result<(), InvalidMessage> = shared.try_change(|doc| {
            let text = doc.get_or_insert_text(TEXT_NAME);
            text.insert(doc, 0, "half");
            panic!("as the library does");
        });
        assert_eq!(broken, Err(InvalidMessage));
        assert_eq!(shared.text(), "saved ahead ");
        shared.receive(1, &client.edit(12, 0, "on")).expect("the document still works");
        assert_eq!(shared.text(), "saved ahead on");
        assert_eq!(text_of(&Client::join(&mut shared, 2).doc), "saved ahead on");
        save(&mut shared);
        assert_eq!(shared.saved_text(), "saved ahead on");
    }

    #[test]
    fn merged_messages_have_the_effect_of_all() {
        let mut shared = SharedText::new("text");
        let (client, reader) = (Client::join(&mut shared, 1), Client::join(&mut shared, 2));
        let mut waiting: Vec<Bytes> = Vec::new();
        for number in 0..1000 {
            let edit = client.edit(number % 7, u32::from(number % 3 == 0), "é");
            let effects = shared.receive(1, &edit).expect("an edit");
            waiting.extend(effects.broadcasts.into_iter().map(Bytes::from));
            let entry = AwarenessUpdateEntry { clock: number, json: format!("{{\"at\":{number}}}").into() };
            let clients = HashMap::from([(ClientID::new(7), entry)]);
            let presence = Message::Awareness(AwarenessUpdate { clients }).encode_v1();
            let effects = shared.receive(1, &presence).expect("a presence");
            waiting.extend(effects.broadcasts.into_iter().map(Bytes::from));
        }
        let merged = merge_messages(waiting);
        assert_eq!(merged.len(), 2);
        reader.apply(&merged[0]);
        assert_eq!(text_of(&reader.doc), shared.text());
        assert!(String::from_utf8_lossy(&merged[1]).contains("999"));
    }

    #[test]
    fn replica_of_earlier_instance_is_refused() {
        let mut earlier = SharedText::new("text");
        let client = Client::join(&mut earlier, 1);
        let mut shared = SharedText::new("text");
        let transaction = client.doc.transact();
        let messages = [
            SyncMessage::SyncStep1(transaction.state_vector()),
            SyncMessage::SyncStep2(transaction.encode_diff_v1(&StateVector::default())),
        ];
        drop(transaction);
        for message in messages {
            assert_eq!(shared.receive(1, &Message::Sync(message).encode_v1()), Err(Rejection::Stale));
        }
        assert_eq!(shared.text(), "text");
        let fresh = Client::join(&mut shared, 2);
        shared.receive(2, &fresh.edit(0, 0, "new ")).expect("an edit");
        assert_eq!(shared.text(), "new text");
    }

    #[test]
    fn message_with_too_many_entries_is_refused() {
        let mut shared = SharedText::new("");
        let many = [0xff, 0xff, 0xff, 0xff, 0x0f];
        for kind in [&[0_u8, 0][..], &[0, 1], &[0, 2], &[1]] {
            let message = [kind, &[many.len() as u8], &many].concat();
            assert!(claims_too_many_entries(&message), "{message:?}");
            assert_eq!(shared.receive(1, &message), Err(Rejection::Invalid));
        }
    }

    #[test]
    fn presence_belongs_to_one_viewer_and_is_bounded() {
        let mut shared = SharedText::new("");
        let presence = |client: u64, clock, json: &str| {
            let entry = AwarenessUpdateEntry { clock, json: json.into() };
            Message::Awareness(AwarenessUpdate { clients: HashMap::from([(ClientID::new(client), entry)]) })
                .encode_v1()
        };
        assert_eq!(shared.receive(1, &presence(7, 1, "{}")).expect("presence").broadcasts.len(), 1);
        assert!(
            shared.receive(2, &presence(7, 2, "{\"forged\":1}")).expect("presence").broadcasts.is_empty()
        );
        let long = format!("\"{}\"", "x".repeat(MAX_PRESENCE_BYTES));
        assert!(shared.receive(1, &presence(8, 1, &long)).expect("presence").broadcasts.is_empty());
        for client in 10..30 {
            shared.receive(3, &presence(client, 1, "{}")).expect("presence");
        }
        assert_eq!(shared.presences.len(), 1 + MAX_PRESENCES_PER_VIEWER);
        assert!(shared.remove_viewer(1).is_some());
        assert!(shared.remove_viewer(1).is_none());
    }

    #[derive(Debug, Clone)]
    enum Action {
        Edit { client: usize, at: u32, delete: u32, insert: String },
        WriteFile(String),
        Save,
        Noise { client: usize, bytes: Vec<u8> },
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            6 => (0_usize..3, 0_u32..20, 0_u32..4, "[ab😀é\n]{0,4}")
                .prop_map(|(client, at, delete, insert)| Action::Edit { client, at, delete, insert }),
            1 => "[abé😀\n]{0,20}".prop_map(Action::WriteFile),
            1 => Just(Action::Save),
            2 => (0_usize..3, prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(client, mut bytes)| {
                if let Some(first) = bytes.first_mut() {
                    *first %= 4;
                }
                Action::Noise { client, bytes }
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn replicas_converge(actions in prop::collection::vec(action(), 0..60)) {
            let mut shared = SharedText::new("start 😀\n");
            let clients: Vec<Client> = (0..3).map(|id| Client::join(&mut shared, id)).collect();
            for action in actions {
                let (sender, message) = match action {
                    Action::Edit { client, at, delete, insert } => {
                        let client = &clients[client];
                        // A cursor is never inside a surrogate pair.
                        let text: Vec<u16> = text_of(&client.doc).encode_utf16().collect();
                        let splits_pair = |at: u32| {
                            text.get(at as usize).is_some_and(|unit| (0xdc00..0xe000).contains(unit))
                        };
                        let at = if splits_pair(at) { at - 1 } else { at };
                        let delete = if splits_pair(at + delete) { delete + 1 } else { delete };
                        (client.id, client.edit(at, delete, &insert))
                    }
                    Action::WriteFile(text) => {
                        if let Some(change) = shared.merge_file_text(&text) {
                            for client in &clients {
                                client.apply(&change);
                            }
                        }
                        prop_assert_eq!(shared.saved_text(), text);
                        continue;
                    }
                    Action::Save => {
                        save(&mut shared);
                        prop_assert_eq!(shared.saved_text(), shared.text());
                        continue;
                    }
                    Action::Noise { client, bytes } => (clients[client].id, bytes),
                };
                let Ok(effects) = shared.receive(sender, &message) else { continue };
                for change in &effects.broadcasts {
                    let others = clients.iter().filter(|client| client.id != sender);
                    others.for_each(|client| client.apply(change));
                }
            }
            // A client that sent noise does not have its effect yet: it arrives with a
            // synchronization.
            for client in &clients {
                client.synchronize(&mut shared);
                prop_assert_eq!(text_of(&client.doc), shared.text());
            }
        }
    }
}
