//! A shared text: the CRDT, who is there, and its likeness on disk. No I/O, no clock, no tasks.
//!
//! Two copies of the CRDT are kept. `doc` is what everyone edits; `mirror` is `doc` as it was when file and text were last
//! the same. A change made on disk is an edit of the mirror by one more author, merged into `doc` like everyone's: so
//! neither the disk nor the editors overwrite each other.

use std::{
    collections::HashMap,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use protocol::document::{MAX_UPDATE_BYTES, TEXT_NAME};
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, Transact as _,
    TransactionMut, Update, WriteTxn as _,
    encoding::read::{Cursor, Error, Read as _},
    sync::{AwarenessUpdate, Message, SyncMessage, awareness::AwarenessUpdateEntry, protocol::MSG_SYNC},
    updates::{
        decoder::Decode as _,
        encoder::{Encode as _, Encoder as _, EncoderV1},
    },
};

use super::merge::edits;

/// What one person's cursor, name and colour may take.
const MAX_PRESENCE_BYTES: usize = 4 * 1024;
/// A client that reconnects has a new number while its old one is still known; more than a few is abuse.
const MAX_PRESENCES_PER_VIEWER: usize = 4;
/// Everyone at once.
const MAX_PRESENCES: usize = 512;
/// An update that changes nothing.
const NO_CHANGE: [u8; 2] = [0, 0];

/// Names a viewer within a document.
pub type ViewerId = u64;

pub struct Shared {
    doc: Doc,
    mirror: Doc,
    /// Updates that `doc` has and `mirror` has not.
    ahead: Vec<Vec<u8>>,
    presences: HashMap<ClientID, Presence>,
}

struct Presence {
    viewer: ViewerId,
    clock: u32,
    state: String,
}

/// A moment of the text. Valid until the next settling.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

/// What follows from a message.
#[derive(Debug, Default, PartialEq)]
pub struct Effects {
    /// Messages for the sender.
    pub reply: Vec<Vec<u8>>,
    /// Messages for everyone else.
    pub broadcast: Vec<Vec<u8>>,
    /// The text changed.
    pub edited: bool,
}

/// The message cannot be taken; the sender must synchronise anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMessage;

fn empty_doc() -> Doc {
    // Yjs counts UTF-16 units; the library's default counts bytes and would diverge at the first emoji.
    Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() })
}

impl Shared {
    pub fn new(text: &str) -> Self {
        let doc = empty_doc();
        let shared = doc.get_or_insert_text(TEXT_NAME);
        if !text.is_empty() {
            shared.insert(&mut doc.transact_mut(), 0, text);
        }
        let mirror = empty_doc();
        mirror.get_or_insert_text(TEXT_NAME);
        let mut new = Self { doc, mirror, ahead: Vec::new(), presences: HashMap::new() };
        let all = new.doc.transact().encode_diff_v1(&StateVector::default());
        new.ahead.push(all);
        new.settle(new.mark());
        new
    }

    pub fn text(&self) -> String {
        text_of(&self.doc)
    }

    /// What a viewer who joins is sent: our state, so that it sends what we lack, and who is there.
    pub fn greeting(&self) -> Vec<Vec<u8>> {
        let state = self.doc.transact().state_vector();
        let mut greeting = vec![Message::Sync(SyncMessage::SyncStep1(state)).encode_v1()];
        if !self.presences.is_empty() {
            greeting.push(self.everyone());
        }
        greeting
    }

    /// Takes a viewer's y-sync message.
    ///
    /// Panics if the document cannot be read any more: whoever owns it ends it, and it is opened anew from its file.
    pub fn receive(&mut self, viewer: ViewerId, message: &[u8]) -> Result<Effects, BadMessage> {
        if message.len() > MAX_UPDATE_BYTES || claims_too_much(message) {
            return Err(BadMessage);
        }
        match decode(|| Message::decode_v1(message))? {
            Message::Sync(SyncMessage::SyncStep1(state)) => self.difference(&state),
            Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update)) => {
                self.update(&update)
            }
            Message::Awareness(update) => Ok(self.presence(viewer, update)),
            Message::AwarenessQuery => Ok(Effects { reply: vec![self.everyone()], ..Effects::default() }),
            Message::Auth(_) | Message::Custom(..) => Err(BadMessage),
        }
    }

    /// What a viewer who has `state` lacks.
    fn difference(&self, state: &StateVector) -> Result<Effects, BadMessage> {
        // Only what is integrated: pending updates of a hostile client could not be encoded.
        let encode = |state| catch_unwind(AssertUnwindSafe(|| self.doc.transact().encode_diff_v1(state)));
        match encode(state) {
            Ok(diff) => Ok(Effects {
                reply: vec![Message::Sync(SyncMessage::SyncStep2(diff)).encode_v1()],
                ..Effects::default()
            }),
            // Either the question was at fault, or nobody can be answered any more.
            Err(_) => match encode(&StateVector::default()) {
                Ok(_) => Err(BadMessage),
                Err(panic) => resume_unwind(panic),
            },
        }
    }

    fn update(&mut self, update: &[u8]) -> Result<Effects, BadMessage> {
        let update = decode(|| Update::decode_v1(update))?;
        let Applied { change, lacks } = self.attempt(|doc| apply(doc, update))??;
        let mut effects = Effects::default();
        if let Some(state) = lacks {
            effects.reply.push(Message::Sync(SyncMessage::SyncStep1(state)).encode_v1());
        }
        if change != NO_CHANGE {
            effects.edited = true;
            effects.broadcast.push(Message::Sync(SyncMessage::Update(change.clone())).encode_v1());
            self.ahead.push(change);
        }
        Ok(effects)
    }

    /// Changes `doc` in a way that the library may not survive; then it is as it was before.
    fn attempt<T>(&mut self, change: impl FnOnce(&mut TransactionMut<'_>) -> T) -> Result<T, BadMessage> {
        catch_unwind(AssertUnwindSafe(|| transact(&self.doc, change))).map_err(|_| {
            self.rebuild();
            BadMessage
        })
    }

    /// Makes `doc` anew of all that it was before it broke: the mirror, and what is ahead of it.
    fn rebuild(&mut self) {
        let doc = empty_doc();
        let settled = self.mirror.transact().encode_diff_v1(&StateVector::default());
        transact(&doc, |transaction| {
            transaction.get_or_insert_text(TEXT_NAME);
            [&settled].into_iter().chain(&self.ahead).for_each(|update| apply_own(transaction, update));
        });
        self.doc = doc;
    }

    fn presence(&mut self, viewer: ViewerId, update: AwarenessUpdate) -> Effects {
        let mut accepted = HashMap::new();
        for (client, entry) in update.clients {
            if self.takes(viewer, client, &entry) {
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
            return Effects::default();
        }
        let message = Message::Awareness(AwarenessUpdate { clients: accepted }).encode_v1();
        Effects { broadcast: vec![message], ..Effects::default() }
    }

    /// Whether a viewer may say this of itself.
    fn takes(&self, viewer: ViewerId, client: ClientID, entry: &AwarenessUpdateEntry) -> bool {
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

    /// A viewer has gone: what others are told.
    pub fn leave(&mut self, viewer: ViewerId) -> Option<Vec<u8>> {
        let gone: HashMap<ClientID, AwarenessUpdateEntry> = self
            .presences
            .iter()
            .filter(|(_, presence)| presence.viewer == viewer)
            .map(|(client, presence)| {
                (*client, AwarenessUpdateEntry { clock: presence.clock + 1, json: "null".into() })
            })
            .collect();
        self.presences.retain(|_, presence| presence.viewer != viewer);
        (!gone.is_empty()).then(|| Message::Awareness(AwarenessUpdate { clients: gone }).encode_v1())
    }

    fn everyone(&self) -> Vec<u8> {
        let entry = |presence: &Presence| AwarenessUpdateEntry {
            clock: presence.clock,
            json: presence.state.as_str().into(),
        };
        let clients = self.presences.iter().map(|(client, presence)| (*client, entry(presence))).collect();
        Message::Awareness(AwarenessUpdate { clients }).encode_v1()
    }

    /// Marks the text as it is now, for [`Self::settle`].
    pub fn mark(&self) -> Mark {
        Mark(self.ahead.len())
    }

    /// The file reads as the text did at `mark`: the mirror catches up.
    pub fn settle(&mut self, mark: Mark) {
        let settled = self.ahead.drain(..mark.0.min(self.ahead.len()));
        transact(&self.mirror, |mirror| settled.for_each(|update| apply_own(mirror, &update)));
    }

    /// Whether the text has edits that the file has not.
    pub fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The text as it was when file and text were last the same.
    pub fn settled_text(&self) -> String {
        text_of(&self.mirror)
    }

    /// The file now reads `disk`: merges what changed in it since the last settling into the shared text. Gives the message
    /// for all viewers, if anything changed.
    pub fn merge_disk(&mut self, disk: &str) -> Option<Vec<u8>> {
        let edits = edits(&self.settled_text(), disk);
        if edits.is_empty() {
            return None;
        }
        let change = transact(&self.mirror, |mirror| {
            let text = mirror.get_or_insert_text(TEXT_NAME);
            for edit in edits {
                text.remove_range(mirror, edit.at, edit.delete);
                text.insert(mirror, edit.at, &edit.insert);
            }
            mirror.encode_update_v1()
        });
        transact(&self.doc, |doc| apply_own(doc, &change));
        let mut message = EncoderV1::new();
        Message::Sync(SyncMessage::Update(change)).encode(&mut message);
        Some(message.to_vec())
    }
}

struct Applied {
    /// What the update changed.
    change: Vec<u8>,
    /// The state to ask from, if the update builds on what is not here.
    lacks: Option<StateVector>,
}

fn apply(doc: &mut TransactionMut<'_>, update: Update) -> Result<Applied, BadMessage> {
    doc.apply_update(update).map_err(|_| BadMessage)?;
    // An update that builds on what we do not have would stay pending for ever, and breaks encoding: forget it and ask.
    let lacks = doc.has_missing_updates().then(|| {
        doc.prune_pending();
        doc.state_vector()
    });
    Ok(Applied { change: doc.encode_update_v1(), lacks })
}

/// Applies what we have encoded ourselves, which decodes and applies.
fn apply_own(doc: &mut TransactionMut<'_>, update: &[u8]) {
    if let Ok(update) = Update::decode_v1(update) {
        let _ = doc.apply_update(update);
    }
}

/// Changes `doc` in one transaction. If that panics, `doc` is locked for good and its transaction is leaked: dropping it
/// would commit what is half done, and panic again while unwinding, which ends the process.
fn transact<T>(doc: &Doc, change: impl FnOnce(&mut TransactionMut<'_>) -> T) -> T {
    let mut transaction = ManuallyDrop::new(doc.transact_mut());
    let changed = change(&mut transaction);
    drop(ManuallyDrop::into_inner(transaction));
    changed
}

/// Decodes a viewer's bytes, which the library does not survive in every case. Nothing is touched yet.
fn decode<T, E>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, BadMessage> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| BadMessage)?.map_err(|_| BadMessage)
}

/// Whether a message says that it holds more entries than it has bytes: the library makes room for all before it reads one.
fn claims_too_much(message: &[u8]) -> bool {
    let mut message = Cursor::new(message);
    let mut content = || {
        if message.read_var::<u32>()? == u32::from(MSG_SYNC) {
            message.read_var::<u32>()?;
        }
        let content = message.read_buf()?;
        // States, updates and presences all begin with the number of clients in them.
        Ok::<_, Error>(Cursor::new(content).read_var::<u64>()? > content.len() as u64)
    };
    content().unwrap_or(false)
}

fn text_of(doc: &Doc) -> String {
    let text = doc.get_or_insert_text(TEXT_NAME);
    text.get_string(&doc.transact())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client as the browser's is: a document of its own, updates by message.
    struct Client {
        doc: Doc,
        id: ViewerId,
    }

    impl Client {
        fn join(shared: &mut Shared, id: ViewerId) -> Self {
            let client = Self { doc: empty_doc(), id };
            let ask = Message::Sync(SyncMessage::SyncStep1(client.doc.transact().state_vector())).encode_v1();
            for reply in shared.receive(id, &ask).expect("a question").reply {
                client.take(&reply);
            }
            client
        }

        fn take(&self, message: &[u8]) {
            if let Ok(Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update))) =
                Message::decode_v1(message)
            {
                let update = Update::decode_v1(&update).expect("the server's updates decode");
                self.doc.transact_mut().apply_update(update).expect("and apply");
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

    #[test]
    fn an_edit_on_disk_and_one_in_the_editor_both_stay() {
        let mut shared = Shared::new("one\ntwo\nthree\n");
        let client = Client::join(&mut shared, 1);
        let edit = client.edit(0, 0, "zero\n");
        assert!(shared.receive(1, &edit).expect("an edit").edited);
        let change = shared.merge_disk("one\ntwo\nthree\nfour\n").expect("a change");
        client.take(&change);
        assert_eq!(shared.text(), "zero\none\ntwo\nthree\nfour\n");
        assert_eq!(text_of(&client.doc), shared.text());
        assert_eq!(shared.settled_text(), "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn an_update_from_nowhere_is_forgotten_and_asked_for() {
        let mut shared = Shared::new("text");
        let stranger = empty_doc();
        let text = stranger.get_or_insert_text(TEXT_NAME);
        text.insert(&mut stranger.transact_mut(), 0, "lost");
        let second = {
            let mut transaction = stranger.transact_mut();
            text.insert(&mut transaction, 4, " tail");
            transaction.encode_update_v1()
        };
        let effects =
            shared.receive(1, &Message::Sync(SyncMessage::Update(second)).encode_v1()).expect("decodes");
        assert_eq!(effects.reply.len(), 1);
        assert!(!effects.edited);
        let joined = Client::join(&mut shared, 2);
        assert_eq!(text_of(&joined.doc), "text");
    }

    #[test]
    fn an_edit_that_breaks_the_library_changes_nothing() {
        let mut shared = Shared::new("settled ");
        let client = Client::join(&mut shared, 1);
        shared.receive(1, &client.edit(8, 0, "ahead ")).expect("an edit");
        let broken: Result<(), BadMessage> = shared.attempt(|doc| {
            let text = doc.get_or_insert_text(TEXT_NAME);
            text.insert(doc, 0, "half of it");
            panic!("as the library does");
        });
        assert_eq!(broken, Err(BadMessage));
        assert_eq!(shared.text(), "settled ahead ");
        shared.receive(1, &client.edit(14, 0, "on")).expect("editing goes on");
        assert_eq!(shared.text(), "settled ahead on");
        assert_eq!(text_of(&Client::join(&mut shared, 2).doc), "settled ahead on");
        shared.settle(shared.mark());
        assert_eq!(shared.settled_text(), "settled ahead on");
    }

    #[test]
    fn a_message_holds_no_more_than_its_bytes() {
        let mut shared = Shared::new("");
        let many = [0xff, 0xff, 0xff, 0xff, 0x0f];
        for kind in [&[0_u8, 0][..], &[0, 1], &[0, 2], &[1]] {
            let message = [kind, &[many.len() as u8], &many].concat();
            assert!(claims_too_much(&message), "{message:?}");
            assert_eq!(shared.receive(1, &message), Err(BadMessage));
        }
    }

    #[test]
    fn presence_is_ones_own_and_bounded() {
        let mut shared = Shared::new("");
        let say = |client: u64, clock, json: &str| {
            let entry = AwarenessUpdateEntry { clock, json: json.into() };
            Message::Awareness(AwarenessUpdate { clients: HashMap::from([(ClientID::new(client), entry)]) })
                .encode_v1()
        };
        assert_eq!(shared.receive(1, &say(7, 1, "{}")).expect("presence").broadcast.len(), 1);
        assert!(shared.receive(2, &say(7, 2, "{\"forged\":1}")).expect("presence").broadcast.is_empty());
        let long = format!("\"{}\"", "x".repeat(MAX_PRESENCE_BYTES));
        assert!(shared.receive(1, &say(8, 1, &long)).expect("presence").broadcast.is_empty());
        for client in 10..30 {
            shared.receive(3, &say(client, 1, "{}")).expect("presence");
        }
        assert_eq!(shared.presences.len(), 1 + MAX_PRESENCES_PER_VIEWER);
        assert!(shared.leave(1).is_some());
        assert!(shared.leave(1).is_none());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Edit { who: usize, at: u32, delete: u32, insert: String },
        Disk(String),
        Save,
        Noise { who: usize, bytes: Vec<u8> },
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0_usize..3, 0_u32..20, 0_u32..4, "[ab😀é\n]{0,4}")
                .prop_map(|(who, at, delete, insert)| Act::Edit { who, at, delete, insert }),
            1 => "[abé😀\n]{0,20}".prop_map(Act::Disk),
            1 => Just(Act::Save),
            2 => (0_usize..3, prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(who, mut bytes)| {
                if let Some(first) = bytes.first_mut() {
                    *first %= 4;
                }
                Act::Noise { who, bytes }
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn everyone_sees_the_same(acts in prop::collection::vec(act(), 0..60)) {
            let mut shared = Shared::new("start 😀\n");
            let clients: Vec<Client> = (0..3).map(|id| Client::join(&mut shared, id)).collect();
            for act in acts {
                let (who, message) = match act {
                    Act::Edit { who, at, delete, insert } => {
                        // A caret does not stand inside a surrogate pair.
                        let text: Vec<u16> = text_of(&clients[who].doc).encode_utf16().collect();
                        let inside = |at: u32| text.get(at as usize).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
                        let at = if inside(at) { at - 1 } else { at };
                        let delete = if inside(at + delete) { delete + 1 } else { delete };
                        (who, clients[who].edit(at, delete, &insert))
                    }
                    Act::Disk(text) => {
                        if let Some(change) = shared.merge_disk(&text) {
                            for client in &clients {
                                client.take(&change);
                            }
                        }
                        prop_assert_eq!(shared.settled_text(), text);
                        continue;
                    }
                    Act::Save => {
                        shared.settle(shared.mark());
                        prop_assert_eq!(shared.settled_text(), shared.text());
                        continue;
                    }
                    Act::Noise { who, bytes } => (who, bytes),
                };
                let Ok(effects) = shared.receive(clients[who].id, &message) else { continue };
                for change in &effects.broadcast {
                    clients.iter().filter(|client| client.id != clients[who].id).for_each(|client| client.take(change));
                }
            }
            // What noise changed at the server and not at its sender comes by synchronising.
            for client in &clients {
                let ask = Message::Sync(SyncMessage::SyncStep1(client.doc.transact().state_vector())).encode_v1();
                for reply in shared.receive(client.id, &ask).expect("a question").reply {
                    client.take(&reply);
                }
                prop_assert_eq!(text_of(&client.doc), shared.text());
            }
        }
    }
}
