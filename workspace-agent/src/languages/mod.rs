//! Language servers of the workspace. The agent is their only client: it gives them the texts of open
//! documents, and what they say goes to all users.
//!
//! [`Languages`] follows which documents are open, gives them to the task of their language ([`server`]), and
//! answers questions about them. A task runs one server ([`connection`], [`frames`]) out of those that are
//! known ([`definitions`]). What servers say is made uniform ([`convert`]) and shown on the [`board`]. The
//! edits that they want ([`workspace_edit`]) are checked and applied to the documents ([`edits`]).
//! Nothing runs while no user who may write looks at an open file. Knows no HTTP.

mod board;
mod connection;
mod convert;
mod definitions;
mod edits;
mod frames;
mod server;
#[cfg(test)]
mod tests;
mod text;
mod uris;
pub mod watch;
mod workspace_edit;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use protocol::{
    files::HomePath,
    languages::{
        AppliedEdits, ApplyAction, CompletionItem, EditFailure, LanguageAnswer, LanguageQuery,
        LanguageQuestion, MAX_LANGUAGE_TEXT_BYTES, MAX_NAME_BYTES, MAX_SYMBOL_QUERY_BYTES, RangeEdit,
        RenameSymbol, TextLocation, TextPosition, TextRange, UndoEdits, text_version,
    },
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch as channel},
    time::timeout,
};

pub use self::server::AskError;
use self::{
    board::Board,
    convert::RenameRange,
    definitions::Definition,
    edits::{UndoStore, is_of_name},
    server::{
        Ask, Command, EditRequest, OpenFiles, Reply, ServerContext, ServerTask, SyncedVersions, Timing,
    },
    text::{truncate, word_at},
    uris::uri_of,
    workspace_edit::read_workspace_edit,
};
use crate::{
    documents::{
        diff::text_edits,
        document::DocumentHandle,
        range_edits::{apply_edits, locate_range_edits, ranges_of_edits, replaced_ranges},
        registry::DocumentRegistry,
    },
    files::home_directory::HomeDirectory,
    login_path::LoginPath,
    tasks::Tasks,
    user::GuestUser,
};

/// Most servers that run at once.
const MAX_SERVERS: usize = 6;
/// Most commands that wait for the task of a language.
const MAX_QUEUED_COMMANDS: usize = 64;
/// Most questions of one client that wait for an answer.
const MAX_CLIENT_QUESTIONS: usize = 16;
/// How long a question waits for the edits that it is about.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a question waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two looks at which documents are open.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);
/// LSP's kind of the action that sorts imports and removes unused ones.
const ORGANIZE_IMPORTS: &str = "source.organizeImports";
/// Commands of servers for that, which get the URI of the file. These servers do not list them: each follows
/// one that they list.
const ORGANIZE_COMMANDS: [(&str, &str); 2] = [
    ("basedpyright.createtypestub", "basedpyright.organizeimports"),
    ("pyright.createtypestub", "pyright.organizeimports"),
];
/// Most lists of proposals and actions that are kept, for further questions about them.
const MAX_KEPT_LISTS: usize = 16;
/// Most files of which the lines of references are shown.
const MAX_SHOWN_FILES: usize = 200;
/// Most bytes of a line that is shown.
const MAX_LINE_BYTES: usize = 200;

/// The language servers of a workspace.
pub struct Languages {
    context: Arc<ServerContext>,
    documents: Arc<DocumentRegistry>,
    tasks: Tasks,
    /// By language.
    servers: Mutex<BTreeMap<&'static str, ServerHandle>>,
    /// How many questions of each client wait.
    questions: Mutex<HashMap<String, usize>>,
    completions: Mutex<KeptLists>,
    actions: Mutex<KeptLists>,
    undos: Mutex<UndoStore>,
    /// How many users who may write follow the servers.
    watchers: channel::Sender<usize>,
    is_following: AtomicBool,
}

/// The way to the task of a language.
struct ServerHandle {
    files: channel::Sender<OpenFiles>,
    commands: mpsc::Sender<Command>,
}

/// What servers have sent in the last lists of proposals or actions.
#[derive(Default)]
struct KeptLists {
    last: u64,
    lists: VecDeque<KeptList>,
}

struct KeptList {
    number: u64,
    language: &'static str,
    versions: Arc<SyncedVersions>,
    raw: Vec<Value>,
}

/// An item of a list that was kept.
struct KeptItem {
    language: &'static str,
    /// What the server has sent.
    raw: Value,
    /// The texts that the server had.
    versions: Arc<SyncedVersions>,
}

/// What has become of a code action.
struct ActionOutcome {
    /// The file of the client.
    own: HomePath,
    applied: Option<AppliedEdits>,
}

impl KeptLists {
    /// Keeps a list, and gives each of its items an id.
    fn keep<'a>(
        &mut self,
        language: &'static str,
        versions: Arc<SyncedVersions>,
        raw: Vec<Value>,
        ids: impl Iterator<Item = &'a mut String>,
    ) {
        self.last += 1;
        for (index, id) in ids.enumerate() {
            *id = format!("{}:{index}", self.last);
        }
        if self.lists.len() == MAX_KEPT_LISTS {
            self.lists.pop_front();
        }
        self.lists.push_back(KeptList { number: self.last, language, versions, raw });
    }

    fn find(&self, id: &str) -> Option<KeptItem> {
        let (number, index) = id.split_once(':')?;
        let (number, index): (u64, usize) = (number.parse().ok()?, index.parse().ok()?);
        let list = self.lists.iter().find(|list| list.number == number)?;
        let (language, versions) = (list.language, list.versions.clone());
        Some(KeptItem { language, raw: list.raw.get(index)?.clone(), versions })
    }
}

impl Languages {
    /// The servers of `user`, of which none runs. Their tasks run as `tasks`.
    pub fn new(
        user: &GuestUser,
        login_path: Arc<LoginPath>,
        home: HomeDirectory,
        documents: Arc<DocumentRegistry>,
        tasks: &Tasks,
    ) -> Arc<Self> {
        Self::with_timing(user, login_path, home, documents, tasks, Timing::default())
    }

    fn with_timing(
        user: &GuestUser,
        login_path: Arc<LoginPath>,
        home: HomeDirectory,
        documents: Arc<DocumentRegistry>,
        tasks: &Tasks,
        timing: Timing,
    ) -> Arc<Self> {
        let context = ServerContext {
            user: user.clone(),
            login_path,
            home,
            board: Board::default(),
            slots: Semaphore::new(MAX_SERVERS),
            timing,
        };
        Arc::new(Self {
            context: Arc::new(context),
            documents,
            tasks: tasks.clone(),
            servers: Mutex::default(),
            questions: Mutex::default(),
            completions: Mutex::default(),
            actions: Mutex::default(),
            undos: Mutex::default(),
            watchers: channel::Sender::default(),
            is_following: AtomicBool::new(false),
        })
    }

    /// Starts the server of a language again. Returns false if it was never used.
    pub async fn restart(&self, language: &str) -> bool {
        let commands = lock(&self.servers).get(language).map(|server| server.commands.clone());
        match commands {
            Some(commands) => commands.send(Command::Restart).await.is_ok(),
            None => false,
        }
    }

    /// Answers a question about an open document.
    pub async fn answer(&self, query: LanguageQuery) -> Result<LanguageAnswer, AskError> {
        let LanguageQuery { path, version, client, question } = query;
        let _question = self.begin_question(client)?;
        let question = match question {
            LanguageQuestion::CompletionDetails { id } => return self.completion_details(id).await,
            LanguageQuestion::WorkspaceSymbols { language, query } => {
                let params = json!({ "query": truncate(query, MAX_SYMBOL_QUERY_BYTES) });
                let reply = self.ask(&language, None, "workspace/symbol", params).await?;
                return Ok(convert::workspace_symbols(self.context.home.path(), reply.result));
            }
            question => question,
        };
        let (path, definition) = self.find_present(&path, &version).await?;
        let about = |position: TextPosition| json!({ "position": convert::lsp_position(position) });
        let file = Some((path, version));
        let language = definition.language;
        let home = self.context.home.path();
        match question {
            LanguageQuestion::Completion { position, trigger } => {
                let mut params = about(position);
                params["context"] = match trigger {
                    Some(character) => json!({ "triggerKind": 2, "triggerCharacter": character }),
                    None => json!({ "triggerKind": 1 }),
                };
                let Reply { result, text, versions, .. } =
                    self.ask(language, file, "textDocument/completion", params).await?;
                let mut found = convert::proposals(result, &text, position);
                let ids = found.items.iter_mut().map(|item| &mut item.id);
                lock(&self.completions).keep(language, versions, found.raw, ids);
                Ok(LanguageAnswer::Completion { items: found.items, is_incomplete: found.is_incomplete })
            }
            LanguageQuestion::Hover { position } => {
                let reply = self.ask(language, file, "textDocument/hover", about(position)).await?;
                Ok(convert::hover(reply.result))
            }
            LanguageQuestion::Signature { position } => {
                let reply = self.ask(language, file, "textDocument/signatureHelp", about(position)).await?;
                Ok(convert::signature(reply.result))
            }
            LanguageQuestion::Definition { position, of } => {
                let method = convert::definition_method(of);
                let reply = self.ask(language, file, method, about(position)).await?;
                Ok(convert::locations(home, reply.result))
            }
            LanguageQuestion::References { position } => {
                let mut params = about(position);
                params["context"] = json!({ "includeDeclaration": true });
                let reply = self.ask(language, file, "textDocument/references", params).await?;
                let LanguageAnswer::Locations { mut locations } = convert::locations(home, reply.result)
                else {
                    return Err(unreadable());
                };
                self.add_lines(&mut locations).await;
                Ok(LanguageAnswer::Locations { locations })
            }
            LanguageQuestion::Symbols => {
                let reply = self.ask(language, file, "textDocument/documentSymbol", json!({})).await?;
                Ok(convert::symbols(reply.result))
            }
            LanguageQuestion::Format { tab_size, insert_spaces } => {
                let options = json!({ "tabSize": tab_size, "insertSpaces": insert_spaces });
                let params = json!({ "options": options });
                let reply = self.ask(language, file, "textDocument/formatting", params).await?;
                let edits = convert::text_edits(reply.result)?;
                // The comparison takes a while for a large text.
                let smallest = tokio::task::spawn_blocking(move || smallest_edits(&reply.text, &edits)).await;
                Ok(LanguageAnswer::Edits { edits: smallest.map_err(|_| unreadable())?? })
            }
            LanguageQuestion::RenameTarget { position } => {
                let target = self.rename_target(language, file, position).await?;
                Ok(LanguageAnswer::RenameTarget { name: target })
            }
            LanguageQuestion::CodeActions { range, only } => {
                let mut context = json!({ "diagnostics": [], "triggerKind": 1 });
                if let Some(kind) = only {
                    context["only"] = json!([kind]);
                }
                let params = json!({ "range": convert::lsp_range(range), "context": context });
                let is_organizing = params["context"]["only"][0] == ORGANIZE_IMPORTS;
                let uri = file.as_ref().map(|(path, _)| uri_of(&home.join(path.as_str())));
                let Reply { mut result, versions, capabilities, .. } =
                    self.ask(language, file, "textDocument/codeAction", params).await?;
                let has_none = result.as_array().is_none_or(Vec::is_empty);
                if is_organizing && has_none {
                    let action = uri.and_then(|uri| organize_action(&capabilities, &uri));
                    result = action.into_iter().collect();
                }
                let mut found = convert::code_actions(result, |command| {
                    knows_command(&capabilities, command) || organize_command(&capabilities) == Some(command)
                });
                let ids = found.actions.iter_mut().map(|action| &mut action.id);
                lock(&self.actions).keep(language, versions, found.raw, ids);
                Ok(LanguageAnswer::CodeActions { actions: found.actions })
            }
            LanguageQuestion::CompletionDetails { .. } | LanguageQuestion::WorkspaceSymbols { .. } => {
                Err(AskError::Stale)
            }
        }
    }

    /// The present name of what would be renamed. Empty: nothing can be.
    async fn rename_target(
        &self,
        language: &str,
        file: Option<(HomePath, String)>,
        position: TextPosition,
    ) -> Result<String, AskError> {
        let params = json!({ "position": convert::lsp_position(position) });
        let asked = self.ask(language, file.clone(), "textDocument/prepareRename", params).await;
        let (range, text) = match asked {
            Ok(reply) => (convert::rename_range(&reply.result), reply.text),
            // It refuses what cannot be renamed, or does not know the question.
            Err(AskError::Failed(_)) => {
                let Some((path, _)) = file else { return Err(AskError::NotOpen) };
                let (_, text) = self.documents.read_text(&path).await.map_err(|_| AskError::NotOpen)?;
                (Some(RenameRange::Word), text.into())
            }
            Err(error) => return Err(error),
        };
        Ok(match range {
            None => String::new(),
            Some(RenameRange::Name(name)) => name,
            Some(RenameRange::Word) => word_at(&text, position, is_of_name).to_owned(),
            Some(RenameRange::Range(range)) => text_of_range(&text, range),
        })
    }

    /// Renames what is at a position, in all files.
    pub async fn rename(self: &Arc<Self>, request: RenameSymbol) -> Result<AppliedEdits, AskError> {
        let RenameSymbol { path, version, client, position, name } = request;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(AskError::Refused(format!("a name has 1 to {MAX_NAME_BYTES} bytes")));
        }
        let _question = self.begin_question(client)?;
        let (path, definition) = self.find_present(&path, &version).await?;
        let params = json!({ "position": convert::lsp_position(position), "newName": name });
        let file = Some((path.clone(), version));
        let reply = self.ask(definition.language, file, "textDocument/rename", params).await?;
        let files = read_workspace_edit(self.context.home.path(), reply.result)?;
        let present = word_at(&reply.text, position, is_of_name);
        let planned = self.plan_edits(files, &reply.versions, Some(present)).await?;
        self.apply_or_return(planned, &path).await
    }

    /// Does what a code action says. Of its changes, at most one is made.
    pub async fn apply_action(self: &Arc<Self>, request: ApplyAction) -> Result<AppliedEdits, AskError> {
        let ApplyAction { path, version, client, id } = request;
        let _question = self.begin_question(client)?;
        let (path, _) = self.find_present(&path, &version).await?;
        let KeptItem { language, raw: mut action, mut versions } =
            lock(&self.actions).find(&id).ok_or(AskError::Stale)?;
        if versions.get(&path).is_none_or(|known| known.version != version) {
            return Err(AskError::Stale);
        }
        let file = Some((path.clone(), version));
        if action["command"].is_null() && action["edit"].is_null() {
            let reply = self.ask(language, file.clone(), "codeAction/resolve", action).await?;
            (action, versions) = (reply.result, reply.versions);
        }
        let mut outcome = ActionOutcome { own: path, applied: None };
        if !action["edit"].is_null() {
            outcome.applied = Some(self.apply_edit(action["edit"].take(), &versions, &outcome.own).await?);
        }
        let command = if action["command"].is_string() { action } else { action["command"].take() };
        if !command["command"].is_string() {
            return Ok(outcome.applied.unwrap_or_default());
        }
        // After an edit of the action, the text is another one.
        let file = file.filter(|_| outcome.applied.is_none());
        self.run_command(language, file, &command, &mut outcome).await?;
        Ok(outcome.applied.unwrap_or_default())
    }

    /// Makes a server run one of its commands, and applies the edits that it wants until it answers.
    async fn run_command(
        self: &Arc<Self>,
        language: &str,
        file: Option<(HomePath, String)>,
        command: &Value,
        outcome: &mut ActionOutcome,
    ) -> Result<(), AskError> {
        let params = json!({ "command": command["command"], "arguments": command["arguments"] });
        let (edits, mut requests) = Ask::edits();
        let asked = self.ask_for_edits(language, file, "workspace/executeCommand", params, Some(edits));
        let mut refusal = None;
        let apply = async {
            // Ends when the server has answered, or has ended.
            while let Some(EditRequest { edit, versions, done }) = requests.recv().await {
                let applied = match outcome.applied {
                    None => self.apply_edit(edit, &versions, &outcome.own).await,
                    Some(_) => Err(AskError::Refused("they are the second ones of an action".to_owned())),
                };
                let _ = done.send(applied.as_ref().map(|_| ()).map_err(ToString::to_string));
                match applied {
                    Ok(applied) => outcome.applied = Some(applied),
                    Err(error) => refusal = Some(error),
                }
            }
        };
        let (answer, ()) = tokio::join!(asked, apply);
        let Some(error) = refusal.or(answer.err()) else { return Ok(()) };
        match &mut outcome.applied {
            None => Err(error),
            // What was changed can still be undone.
            Some(applied) => {
                let path = outcome.own.to_string();
                applied.failures.push(EditFailure { path, message: error.to_string() });
                Ok(())
            }
        }
    }

    async fn apply_edit(
        self: &Arc<Self>,
        edit: Value,
        versions: &SyncedVersions,
        own: &HomePath,
    ) -> Result<AppliedEdits, AskError> {
        let files = read_workspace_edit(self.context.home.path(), edit)?;
        let planned = self.plan_edits(files, versions, None).await?;
        self.apply_or_return(planned, own).await
    }

    /// Undoes a change of [`Self::rename`] or [`Self::apply_action`] in the files that it has left so.
    pub async fn undo_edits(self: &Arc<Self>, request: UndoEdits) -> Result<AppliedEdits, AskError> {
        let _question = self.begin_question(request.client)?;
        self.undo(&request.id).await
    }

    /// Sorts places, and adds the lines that they begin in.
    async fn add_lines(&self, locations: &mut Vec<TextLocation>) {
        locations.sort_by(|one, other| (&one.path, one.range.start).cmp(&(&other.path, other.range.start)));
        locations.dedup();
        let files = locations.chunk_by_mut(|one, other| one.path == other.path);
        for places in files.filter(|places| places[0].in_home).take(MAX_SHOWN_FILES) {
            let Ok(path) = HomePath::parse(&places[0].path) else { continue };
            let Ok((_, text)) = self.documents.read_text(&path).await else { continue };
            let mut lines = text.lines();
            let (mut number, mut line) = (0, "");
            for place in places {
                while number < place.range.start.line {
                    number += 1;
                    let Some(next) = lines.next() else { break };
                    line = next;
                }
                place.line = Some(truncate(line.trim().to_owned(), MAX_LINE_BYTES));
            }
        }
    }

    async fn completion_details(&self, id: String) -> Result<LanguageAnswer, AskError> {
        let KeptItem { language, raw, .. } = lock(&self.completions).find(&id).ok_or(AskError::Stale)?;
        let reply = self.ask(language, None, "completionItem/resolve", raw).await?;
        let item = serde_json::from_value(reply.result).map_err(|_| unreadable())?;
        Ok(LanguageAnswer::CompletionDetails(CompletionItem { id, ..convert::completion_item(item) }))
    }

    async fn ask(
        &self,
        language: &str,
        file: Option<(HomePath, String)>,
        method: &'static str,
        params: Value,
    ) -> Result<Reply, AskError> {
        self.ask_for_edits(language, file, method, params, None).await
    }

    /// Asks the server of a language. `edits` gets the edits that it wants until it answers.
    async fn ask_for_edits(
        &self,
        language: &str,
        file: Option<(HomePath, String)>,
        method: &'static str,
        params: Value,
        edits: Option<mpsc::Sender<EditRequest>>,
    ) -> Result<Reply, AskError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { file, method, params, reply, edits };
        let sent = match lock(&self.servers).get(language) {
            Some(server) => server.commands.try_send(Command::Ask(ask)),
            None => return Err(AskError::NotReady),
        };
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::TooMany,
            mpsc::error::TrySendError::Closed(_) => AskError::NotReady,
        })?;
        let answered = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| AskError::Timeout)?;
        // The server has ended.
        answered.unwrap_or(Err(AskError::NotReady))
    }

    /// Finds an open file and its language, once it has the text that the client means.
    async fn find_present(
        &self,
        path: &str,
        version: &str,
    ) -> Result<(HomePath, &'static Definition), AskError> {
        let path = HomePath::parse(path).map_err(|_| AskError::NotOpen)?;
        let (path, document) = self.documents.find(&path).await.ok_or(AskError::NotOpen)?;
        let definition = Definition::of_file(&path).ok_or(AskError::NotReady)?;
        self.wait_for_version(&document, version).await?;
        Ok((path, definition))
    }

    /// Waits until the document has the text that the question is about: its edits come on another way.
    async fn wait_for_version(&self, document: &DocumentHandle, version: &str) -> Result<(), AskError> {
        let mut changes = self.documents.changes();
        let arrives = async {
            loop {
                changes.borrow_and_update();
                let read = document.read().await.map_err(|_| AskError::NotOpen)?;
                if text_version(&read.text) == version {
                    return Ok(());
                }
                changes.changed().await.map_err(|_| AskError::NotOpen)?;
            }
        };
        timeout(VERSION_TIMEOUT, arrives).await.unwrap_or(Err(AskError::Stale))
    }

    fn begin_question(&self, client: String) -> Result<Question<'_>, AskError> {
        let mut questions = lock(&self.questions);
        let count = questions.entry(client.clone()).or_default();
        if *count >= MAX_CLIENT_QUESTIONS {
            return Err(AskError::TooMany);
        }
        *count += 1;
        Ok(Question { languages: self, client })
    }

    /// Follows the open documents from now on.
    fn start_following(self: &Arc<Self>) {
        if !self.is_following.swap(true, Ordering::AcqRel) {
            self.tasks.spawn(self.clone().follow_documents());
        }
    }

    async fn follow_documents(self: Arc<Self>) {
        let (mut changes, mut watchers) = (self.documents.changes(), self.watchers.subscribe());
        loop {
            let is_watched = *watchers.borrow_and_update() > 0;
            changes.borrow_and_update();
            let viewed = if is_watched { self.documents.viewed().await } else { Vec::new() };
            self.assign_files(viewed);
            tokio::select! {
                changed = changes.changed(), if is_watched => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(FOLLOW_INTERVAL).await;
                }
                changed = watchers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Gives each language its open files.
    fn assign_files(&self, viewed: OpenFiles) {
        let mut by_language: BTreeMap<&'static str, OpenFiles> = BTreeMap::new();
        for (path, document) in viewed {
            if let Some(definition) = Definition::of_file(&path) {
                by_language.entry(definition.language).or_default().push((path, document));
            }
        }
        let mut servers = lock(&self.servers);
        for language in by_language.keys() {
            if let Some(definition) = Definition::of_language(language) {
                servers.entry(language).or_insert_with(|| self.start_task(definition));
            }
        }
        for (language, server) in servers.iter() {
            let mut files = by_language.remove(language).unwrap_or_default();
            files.sort_by(|(path, _), (other, _)| path.cmp(other));
            server.files.send_if_modified(|known| {
                let is_same = known.len() == files.len()
                    && known.iter().zip(&files).all(|((path, document), (other_path, other))| {
                        path == other_path && Arc::ptr_eq(&document.pulse, &other.pulse)
                    });
                if !is_same {
                    *known = files;
                }
                !is_same
            });
        }
    }

    fn start_task(&self, definition: &'static Definition) -> ServerHandle {
        let (files, received) = channel::channel(OpenFiles::default());
        let (commands, queue) = mpsc::channel(MAX_QUEUED_COMMANDS);
        let task = ServerTask {
            definition,
            context: self.context.clone(),
            files: received,
            changes: self.documents.changes(),
            commands: queue,
        };
        self.tasks.spawn(task.run());
        ServerHandle { files, commands }
    }
}

fn unreadable() -> AskError {
    AskError::Failed("its answer cannot be read".to_owned())
}

/// Whether a server runs a command, and not only one editor does.
fn knows_command(capabilities: &Value, command: &str) -> bool {
    let commands = capabilities["executeCommandProvider"]["commands"].as_array();
    commands.is_some_and(|commands| commands.iter().any(|known| known == command))
}

/// The command of a server that organizes imports, if that is none of its actions.
fn organize_command(capabilities: &Value) -> Option<&'static str> {
    let found = ORGANIZE_COMMANDS.iter().find(|(listed, _)| knows_command(capabilities, listed));
    found.map(|(_, command)| *command)
}

fn organize_action(capabilities: &Value, uri: &str) -> Option<Value> {
    let command = organize_command(capabilities)?;
    Some(json!({
        "title": "Organize imports",
        "kind": ORGANIZE_IMPORTS,
        "command": { "title": "Organize imports", "command": command, "arguments": [uri] },
    }))
}

/// The smallest edits that do the same, in the order of the text: servers replace whole texts, and cursors
/// and the edits of other users would be lost.
fn smallest_edits(text: &str, edits: &[RangeEdit]) -> Result<Vec<RangeEdit>, AskError> {
    let refuse = |reason: &str| AskError::Refused(reason.to_owned());
    let located = locate_range_edits(text, edits).map_err(|_| refuse("they overlap"))?;
    let bytes: usize = located.edits.iter().map(|edit| edit.insert.len()).sum();
    if bytes > MAX_LANGUAGE_TEXT_BYTES {
        return Err(refuse("the text would be too large"));
    }
    let after = apply_edits(text, &located.edits).ok_or_else(unreadable)?;
    ranges_of_edits(text, &text_edits(text, &after)).ok_or_else(unreadable)
}

/// The text of a range, or its beginning.
fn text_of_range(text: &str, range: TextRange) -> String {
    let edit = RangeEdit { range, text: String::new() };
    let Ok(located) = locate_range_edits(text, &[edit]) else { return String::new() };
    let found = replaced_ranges(text, &located.edits).and_then(|mut found| found.pop());
    found.map(|(range, _)| truncate(text[range].to_owned(), MAX_NAME_BYTES)).unwrap_or_default()
}

/// A question that waits for its answer.
struct Question<'a> {
    languages: &'a Languages,
    client: String,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut questions = lock(&self.languages.questions);
        if let Some(count) = questions.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                questions.remove(&self.client);
            }
        }
    }
}

/// Reads messages, and takes each as an answer of each kind.
#[cfg(feature = "fuzzing")]
pub fn read_output(output: &[u8]) {
    let home = std::path::Path::new("/home/dev");
    let mut decoder = frames::FrameDecoder::default();
    for piece in output.chunks(1024) {
        decoder.push(piece);
        while let Ok(Some(mut message)) = decoder.next() {
            let result = message["result"].take();
            convert::proposals(result.clone(), "pri", TextPosition { line: 1, column: 3 });
            convert::hover(result.clone());
            convert::signature(result.clone());
            convert::symbols(result.clone());
            convert::workspace_symbols(home, result.clone());
            convert::code_actions(result.clone(), |_| true);
            let _ = convert::text_edits(result.clone()).map(|edits| smallest_edits("a\n\u{1f600}b", &edits));
            let _ = read_workspace_edit(home, result.clone());
            convert::locations(home, result);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
