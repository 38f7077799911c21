//! Random plans of a document: clients with replicas of yrs and of Yjs type letter by letter, lose their
//! connections with all that is on its way, and come back; programs write the file; saves take a while and
//! find the file changed; the agent is killed. Whenever everything rests, all replicas and the file are
//! equal, and no line is lost that a program has written or that a client was told is saved.
//!
//! The document, its messages and its merges are real. The network and the disk belong to the plan, so
//! thousands of plans take a minute, and a seed repeats one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    rc::Rc,
};

use futures_util::FutureExt as _;
use protocol::document::TEXT_NAME;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use yrs::{
    Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, Transact as _, Update,
    sync::{Message, SyncMessage},
    updates::{decoder::Decode as _, encoder::Encode as _},
};

use super::*;
use crate::{
    documents::{file::LineEnding, unsaved_log::SavePoint},
    files::home_directory::HomeDirectory,
};

const CLIENTS: usize = 3;
const STEPS: usize = 60;
/// Plans of the gate, and at most with `BURROW_SOAK_FACTOR`.
const PLANS: u64 = 200;
const MAX_PLANS: u64 = 10_000;
/// Lines that begin so may be deleted by anyone.
const JUNK: &str = "junk";

/// The replicas of Yjs, in a process of Node.
struct Yjs {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Child,
}

impl Yjs {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser/yjs-plans.mjs");
        let mut process = std::process::Command::new("node")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let commands = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Self { commands, answers, process }
    }

    fn send(&mut self, command: &Value) -> Value {
        writeln!(self.commands, "{command}").expect("it runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("readable");
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("no answer to {command}"))
    }
}

impl Drop for Yjs {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client's copy of the text.
enum Replica {
    Yrs(Doc),
    Yjs(Rc<RefCell<Yjs>>),
}

impl Replica {
    fn new(yjs: Option<&Rc<RefCell<Yjs>>>) -> Self {
        match yjs {
            None => {
                let options = Options { offset_kind: OffsetKind::Utf16, ..Options::default() };
                Self::Yrs(Doc::with_options(options))
            }
            Some(yjs) => {
                yjs.borrow_mut().send(&json!({ "do": "begin" }));
                Self::Yjs(yjs.clone())
            }
        }
    }

    fn begin_again(&self) -> Self {
        match self {
            Self::Yrs(_) => Self::new(None),
            Self::Yjs(yjs) => Self::new(Some(yjs)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Yrs(doc) => doc.get_or_insert_text(TEXT_NAME).get_string(&doc.transact()),
            Self::Yjs(yjs) => {
                serde_json::from_value(yjs.borrow_mut().send(&json!({ "do": "text" }))).expect("a text")
            }
        }
    }

    /// Deletes and inserts. Returns the update.
    fn edit(&self, at: u32, delete: u32, insert: &str) -> Vec<u8> {
        match self {
            Self::Yrs(doc) => {
                let text = doc.get_or_insert_text(TEXT_NAME);
                let mut transaction = doc.transact_mut();
                text.remove_range(&mut transaction, at, delete);
                text.insert(&mut transaction, at, insert);
                transaction.encode_update_v1()
            }
            Self::Yjs(yjs) => {
                bytes_of(yjs, &json!({ "do": "edit", "at": at, "delete": delete, "insert": insert }))
            }
        }
    }

    fn apply(&self, update: &[u8]) {
        match self {
            Self::Yrs(doc) => {
                let update = Update::decode_v1(update).expect("decodes");
                doc.transact_mut().apply_update(update).expect("applies");
            }
            Self::Yjs(yjs) => drop(yjs.borrow_mut().send(&json!({ "do": "apply", "update": update }))),
        }
    }

    fn state(&self) -> StateVector {
        match self {
            Self::Yrs(doc) => doc.transact().state_vector(),
            Self::Yjs(yjs) => {
                StateVector::decode_v1(&bytes_of(yjs, &json!({ "do": "state" }))).expect("decodes")
            }
        }
    }

    fn missing_from(&self, state: &StateVector) -> Vec<u8> {
        match self {
            Self::Yrs(doc) => doc.transact().encode_diff_v1(state),
            Self::Yjs(yjs) => bytes_of(yjs, &json!({ "do": "missing", "state": state.encode_v1() })),
        }
    }
}

fn bytes_of(yjs: &Rc<RefCell<Yjs>>, command: &Value) -> Vec<u8> {
    serde_json::from_value(yjs.borrow_mut().send(command)).expect("bytes")
}

struct Client {
    replica: Replica,
    /// Whether it says which epoch its replica has, as Burrow's editor does and stock clients do not.
    knows_epochs: bool,
    epoch: Option<String>,
    connection: Option<Connection>,
    /// Lines of this replica that were not acknowledged, with the number of the message that has their end
    /// (on the current connection), once they are sent.
    typed: Vec<(String, Option<u64>)>,
    /// The letters that this replica has typed into its own lines.
    letters: BTreeMap<String, String>,
}

struct Connection {
    viewer: JoinedViewer,
    /// On its way to the document.
    sent: VecDeque<Bytes>,
    sent_edits: u64,
}

/// What is known of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// A program has written it, or its client was told that it is saved.
    Kept,
    /// A replica has it that will be synchronized.
    Typed,
    /// Its replica was discarded before it was saved.
    Uncertain,
}

struct Plan {
    random: StdRng,
    directory: tempfile::TempDir,
    document: Document,
    file: String,
    running_save: Option<(SavePoint, String, String)>,
    clients: Vec<Client>,
    lines: BTreeMap<String, Promise>,
}

fn load(directory: &tempfile::TempDir, file: &str) -> Document {
    let home = HomeDirectory::new(directory.path().to_owned(), false);
    let loaded = LoadedFile {
        text: file.to_owned(),
        line_ending: LineEnding::Lf,
        bytes: file.len() as u64,
        etag: String::new(),
    };
    let path = HomePath::parse("file").expect("a path");
    Document::new(FileWork::new(home), path, loaded, Arc::default())
}

impl Plan {
    fn begin(seed: u64, yjs: &Rc<RefCell<Yjs>>) -> Self {
        let file = ["line 0 é😀\n", "line 1 é😀\n", "line 2\n", "line 3 é\n"].concat();
        let directory = tempfile::tempdir().expect("a directory");
        let document = load(&directory, &file);
        let lines = file.lines().map(|line| (line.to_owned(), Promise::Kept)).collect();
        let client = |index| Client {
            replica: Replica::new((index == 0).then_some(yjs)),
            knows_epochs: index != 1,
            epoch: None,
            connection: None,
            typed: Vec::new(),
            letters: BTreeMap::new(),
        };
        let clients = (0..CLIENTS).map(client).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { random, directory, document, file, running_save: None, clients, lines }
    }

    fn new_line(&mut self, kind: &str, promise: Promise) -> String {
        let line = format!("{kind} {} é😀", self.lines.len());
        self.lines.insert(line.clone(), promise);
        line
    }

    fn run_step(&mut self) {
        let client = self.random.random_range(0..CLIENTS);
        match self.random.random_range(0..100) {
            0..12 => self.type_line(client),
            12..25 => self.type_letters(client),
            25..30 => self.type_junk(client),
            30..35 => self.delete_junk(client),
            35..55 => self.deliver(),
            55..65 => self.receive(client),
            65..72 => self.connect(client),
            72..76 => self.cut(client),
            76..82 => self.write_file(),
            82..88 => self.notice_file_change(),
            88..93 => self.start_save(),
            93..98 => self.finish_save(),
            98 => self.send_presence(client),
            _ => self.crash(),
        }
        // What waits for its interval is sent sooner or later.
        let sends_all = self.random.random_bool(0.3);
        self.document.broadcast_due(sends_all);
    }

    /// Where a line of a client's text begins, in UTF-16 units.
    fn pick_line_start(&mut self, text: &str) -> u32 {
        let starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let at = starts[self.random.random_range(0..starts.len())];
        text[..at].encode_utf16().count() as u32
    }

    /// Types a line with a place for letters.
    fn type_line(&mut self, client: usize) {
        if self.clients[client].epoch.is_none() {
            return; // it has no text yet
        }
        let line = self.new_line(&format!("typed by {client}"), Promise::Typed);
        let text = self.clients[client].replica.text();
        let at = self.pick_line_start(&text);
        self.edit(client, at, 0, &format!("{line}[]\n"));
        let client = &mut self.clients[client];
        client.typed.push((line.clone(), client.sent_edits()));
        client.letters.insert(line, String::new());
    }

    /// Types letters one by one into a line of its own.
    fn type_letters(&mut self, client: usize) {
        let lines: Vec<String> = self.clients[client].letters.keys().cloned().collect();
        let Some(line) = lines.get(self.random.random_range(0..lines.len().max(1))) else { return };
        let text = self.clients[client].replica.text();
        let begin = text.find(&format!("{line}[")).expect("its own replica has it");
        let place = begin + text[begin..].find(']').expect("an end");
        let at = text[..place].encode_utf16().count() as u32;
        for number in 0..self.random.random_range(1..12) {
            self.edit(client, at + number, 0, "x");
            self.clients[client].letters.get_mut(line).expect("known").push('x');
        }
    }

    fn type_junk(&mut self, client: usize) {
        if self.clients[client].epoch.is_some() {
            let text = self.clients[client].replica.text();
            let at = self.pick_line_start(&text);
            self.edit(client, at, 0, &format!("{JUNK}\n"));
        }
    }

    fn delete_junk(&mut self, client: usize) {
        let text = self.clients[client].replica.text();
        let whole = format!("\n{JUNK}\n");
        if let Some(at) = text.find(&whole) {
            let at = text[..=at].encode_utf16().count() as u32;
            self.edit(client, at, JUNK.len() as u32 + 1, "");
        }
    }

    fn edit(&mut self, client: usize, at: u32, delete: u32, insert: &str) {
        let client = &mut self.clients[client];
        let update = client.replica.edit(at, delete, insert);
        client.send(SyncMessage::Update(update));
    }

    /// Delivers messages that are on their way, in one turn of the document.
    fn deliver(&mut self) {
        let mut commands = Vec::new();
        for _ in 0..self.random.random_range(1..40) {
            let client = self.random.random_range(0..CLIENTS);
            if let Some(connection) = &mut self.clients[client].connection
                && let Some(message) = connection.sent.pop_front()
            {
                commands.push(Command::Sync { viewer: connection.viewer.id, message });
            }
        }
        self.document.apply_commands(commands.into_iter());
    }

    /// A client reads what has arrived.
    fn receive(&mut self, client: usize) {
        while let Some(connection) = &mut self.clients[client].connection {
            match connection.viewer.outbox.recv().now_or_never() {
                None => return,
                Some(Some(ViewerMessage::Sync(message))) => self.clients[client].apply(&message),
                Some(Some(ViewerMessage::Event(DocumentEvent::Saved { edits, .. }))) => {
                    self.acknowledge(client, edits);
                }
                Some(Some(ViewerMessage::Event(DocumentEvent::Refused { reason, .. }))) => {
                    assert_eq!(reason, RefusalReason::Stale);
                    self.give_up_replica(client);
                }
                Some(Some(ViewerMessage::Event(_))) => {}
                Some(None) => self.clients[client].connection = None,
            }
        }
    }

    fn acknowledge(&mut self, client: usize, edits: u64) {
        let lines = &mut self.lines;
        self.clients[client].typed.retain(|(line, sent)| {
            let is_saved = sent.is_some_and(|sent| sent <= edits);
            if is_saved {
                lines.insert(line.clone(), Promise::Kept);
            }
            !is_saved
        });
    }

    fn give_up_replica(&mut self, client: usize) {
        let client = &mut self.clients[client];
        for (line, _) in client.typed.drain(..) {
            self.lines.insert(line, Promise::Uncertain);
        }
        client.letters.clear();
        client.replica = client.replica.begin_again();
        (client.epoch, client.connection) = (None, None);
    }

    fn connect(&mut self, client: usize) {
        if self.clients[client].connection.is_some() {
            return;
        }
        let epoch = self.clients[client].epoch.clone().filter(|_| self.clients[client].knows_epochs);
        let Ok(viewer) = self.document.add_viewer(epoch) else {
            return self.give_up_replica(client);
        };
        let client = &mut self.clients[client];
        client.typed.iter_mut().for_each(|(_, sent)| *sent = None);
        client.connection = Some(Connection { viewer, sent: VecDeque::new(), sent_edits: 0 });
        let state = client.replica.state();
        client.send(SyncMessage::SyncStep1(state));
    }

    /// The network fails: what is on its way is lost. The document learns about it.
    fn cut(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].connection.take() {
            self.clients[client].typed.iter_mut().for_each(|(_, sent)| *sent = None);
            self.document.apply_commands(std::iter::once(Command::Leave(connection.viewer.id)));
        }
    }

    /// A program inserts a line into the file.
    fn write_file(&mut self) {
        let line = self.new_line("written", Promise::Kept);
        let starts: Vec<usize> =
            std::iter::once(0).chain(self.file.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let at = starts[self.random.random_range(0..starts.len())];
        self.file.insert_str(at, &format!("{line}\n"));
    }

    fn notice_file_change(&mut self) {
        if self.running_save.is_none()
            && let Some(message) = self.document.text.merge_file_text(&self.file)
        {
            self.document.share_change(message);
        }
    }

    fn start_save(&mut self) {
        if self.running_save.is_none() && self.document.text.has_unsaved_edits() {
            let base = self.document.text.saved_text();
            let save_point = self.document.text.save_point();
            self.running_save = Some((save_point, base, self.document.text.text()));
        }
    }

    fn finish_save(&mut self) {
        let Some((save_point, base, content)) = self.running_save.take() else { return };
        if self.file != base {
            return self.notice_file_change();
        }
        self.file = content;
        self.document.text.mark_saved(save_point);
        assert_eq!(self.document.text.saved_text(), self.file);
        if !self.document.text.has_unsaved_edits() {
            self.document.broadcast_saved();
        }
    }

    fn send_presence(&mut self, client: usize) {
        if let Some(connection) = &mut self.clients[client].connection {
            let entry = yrs::sync::awareness::AwarenessUpdateEntry { clock: 1, json: "{}".into() };
            let clients = [(yrs::ClientID::new(client as u64 + 1), entry)].into();
            let message = Message::Awareness(yrs::sync::AwarenessUpdate { clients }).encode_v1();
            connection.sent.push_back(message.into());
        }
    }

    /// The agent is killed, and starts again.
    fn crash(&mut self) {
        self.running_save = None;
        self.document = load(&self.directory, &self.file);
        for client in &mut self.clients {
            client.connection = None;
        }
    }

    /// Lets everything rest, and checks what is there.
    fn check_rest(&mut self) {
        for _ in 0..100 {
            for client in 0..CLIENTS {
                self.connect(client);
                self.receive(client);
            }
            self.deliver();
            self.notice_file_change();
            self.start_save();
            self.finish_save();
            self.document.broadcast_due(true);
            if self.is_at_rest() {
                break;
            }
        }
        for client in &self.clients {
            assert_eq!(
                client.replica.text(),
                self.file,
                "a replica differs from the file; the document has {:?}, unsaved: {}",
                self.document.text.text(),
                self.document.text.has_unsaved_edits()
            );
        }
        let mut counts = BTreeMap::new();
        for line in self.file.lines() {
            *counts.entry(line.split('[').next().unwrap_or_default()).or_insert(0) += 1;
        }
        for (line, letters) in self.clients.iter().flat_map(|client| &client.letters) {
            let whole = format!("{line}[{letters}]\n");
            assert!(self.file.contains(&whole), "a letter is missing: {whole}{}", self.file);
        }
        for (line, promise) in &self.lines {
            let count = counts.get(line.as_str()).copied().unwrap_or(0);
            let is_right = count == 1 || (count == 0 && *promise == Promise::Uncertain);
            assert!(is_right, "{count} times: {line} ({promise:?})\n{}", self.file);
        }
    }

    fn is_at_rest(&self) -> bool {
        let is_idle =
            |client: &Client| client.connection.as_ref().is_some_and(|connection| connection.sent.is_empty());
        !self.document.text.has_unsaved_edits()
            && self.document.text.text() == self.file
            && self.clients.iter().all(|client| is_idle(client) && client.replica.text() == self.file)
    }
}

impl Client {
    fn sent_edits(&self) -> Option<u64> {
        self.connection.as_ref().map(|connection| connection.sent_edits)
    }

    fn send(&mut self, message: SyncMessage) {
        if let Some(connection) = &mut self.connection {
            let is_edit = !matches!(message, SyncMessage::SyncStep1(_));
            connection.sent_edits += u64::from(is_edit);
            connection.sent.push_back(Message::Sync(message).encode_v1().into());
        }
    }

    fn apply(&mut self, message: &[u8]) {
        match Message::decode_v1(message).expect("the document's messages decode") {
            Message::Sync(SyncMessage::SyncStep1(state)) => {
                let missing = self.replica.missing_from(&state);
                self.send(SyncMessage::SyncStep2(missing));
                // What was typed before is in this message.
                let sent = self.sent_edits();
                self.typed.iter_mut().for_each(|(_, known)| *known = known.or(sent));
            }
            Message::Sync(SyncMessage::SyncStep2(update)) => {
                self.replica.apply(&update);
                self.epoch = self.connection.as_ref().map(|connection| connection.viewer.epoch.clone());
            }
            Message::Sync(SyncMessage::Update(update)) => self.replica.apply(&update),
            _ => {}
        }
    }
}

#[tokio::test]
async fn random_plans_lose_nothing() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let given = from_environment("BURROW_SEED");
    let first = given.unwrap_or_else(|| rand::rng().next_u64() >> 16);
    let plans = PLANS.saturating_mul(from_environment("BURROW_SOAK_FACTOR").unwrap_or(1)).min(MAX_PLANS);
    let yjs = Rc::new(RefCell::new(Yjs::start()));
    for seed in (first..).take(if given.is_some() { 1 } else { plans as usize }) {
        println!("BURROW_SEED={seed}");
        let mut plan = Plan::begin(seed, &yjs);
        for step in 1..=STEPS {
            plan.run_step();
            if step % (STEPS / 2) == 0 {
                plan.check_rest();
            }
        }
    }
}
