//! The server of one language: when it runs, what it knows of documents, and what it asks for.
//!
//! A task for each language lives as long as the agent. It starts the server when somebody has a file of the
//! language open, passes on what changes in these files, and ends it when nobody has had one open for a
//! while. A server that ends by itself is started again, each time after a longer pause.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use protocol::{
    files::HomePath,
    languages::{
        LanguageFeature, LanguageServer, MAX_FILE_DIAGNOSTICS, MAX_LANGUAGE_TEXT_BYTES, ServerState,
        Severity, text_version,
    },
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    board::Board,
    connection::{Connection, NotReading},
    convert,
    definitions::{Candidate, Definition},
    text::{find_change, truncate},
    uris::{home_path_of, uri_of},
};
use crate::{
    documents::document::DocumentHandle, files::home_directory::HomeDirectory, login_path::LoginPath,
    user::GuestUser,
};

/// How long a server may take until it answers at first. It reads the whole project, on a slow computer.
const START_TIMEOUT: Duration = Duration::from_mins(2);
/// A server that is asked something and says nothing for this long has stopped working.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(2);
/// A server that has run for this long has started well: the pauses begin with the shortest again.
const STABLE_AFTER: Duration = Duration::from_mins(2);
/// Most unexpected ends in a row.
const MAX_FAILURES: u32 = 5;
/// How long edits are collected before the server gets them. A question sends them at once.
const SYNC_DELAY: Duration = Duration::from_millis(60);
/// How often silence, idleness and cancelled requests are looked at.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two reports of progress.
const MIN_PROGRESS_INTERVAL: Duration = Duration::from_millis(300);
/// How long a server that is not needed may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// Most requests that wait for an answer of the server.
const MAX_PENDING: usize = 64;
/// Most directories of projects that a server knows.
const MAX_PROJECTS: usize = 16;
/// Most messages to users from one run of a server.
const MAX_MESSAGES: u32 = 20;
/// Most bytes of a message to users.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Most bytes of the name of what a server works on.
const MAX_PROGRESS_BYTES: usize = 120;
/// Most bytes that are kept of the diagnostics of a file, for questions about them.
const MAX_KEPT_DIAGNOSTICS_BYTES: usize = 128 * 1024;
/// Most edits of one command that wait to be applied.
const MAX_QUEUED_EDITS: usize = 4;
/// JSON-RPC's code for a method that does not exist.
const METHOD_NOT_FOUND: i32 = -32601;

/// What the tasks of all languages share.
pub struct ServerContext {
    /// Who servers run as.
    pub user: GuestUser,
    /// Where they are searched.
    pub login_path: Arc<LoginPath>,
    /// Where the files are.
    pub home: HomeDirectory,
    /// Where their states are shown.
    pub board: Board,
    /// Limits how many run at once.
    pub slots: Semaphore,
    /// How long they wait.
    pub timing: Timing,
}

/// How long servers wait.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a server runs without any open file of its language.
    pub idle_timeout: Duration,
    /// The pause before the first restart. Each further one is twice as long, up to a minute.
    pub restart_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_mins(5), restart_delay: Duration::from_secs(1) }
    }
}

impl Timing {
    fn pause_after(self, failures: u32) -> Duration {
        let factor = 1 << failures.saturating_sub(1).min(10);
        (self.restart_delay * factor).min(Duration::from_mins(1))
    }
}

/// The open files of a language.
pub type OpenFiles = Vec<(HomePath, DocumentHandle)>;

/// A command to the task of a language.
pub enum Command {
    /// Asks the server.
    Ask(Ask),
    /// Ends the server, and starts it again.
    Restart,
}

/// A request to the server.
pub struct Ask {
    /// The file that it is about, and the version of its text. `None` if it is about none.
    pub file: Option<(HomePath, String)>,
    /// LSP's name of the request.
    pub method: &'static str,
    /// Its parameters, without the file.
    pub params: Value,
    /// Gets the answer. When it is closed, the request is cancelled.
    pub reply: oneshot::Sender<Result<Reply, AskError>>,
    /// Gets the edits that the server wants until it answers. Only for commands.
    pub edits: Option<mpsc::Sender<EditRequest>>,
}

impl Ask {
    /// A channel for edits of a command.
    pub fn edits() -> (mpsc::Sender<EditRequest>, mpsc::Receiver<EditRequest>) {
        mpsc::channel(MAX_QUEUED_EDITS)
    }
}

/// Edits that a server wants while it runs a command.
#[derive(Debug)]
pub struct EditRequest {
    /// The edits, as it has sent them.
    pub edit: Value,
    /// The texts that it had when the command began.
    pub versions: Arc<SyncedVersions>,
    /// Gets whether they were applied, or why not.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// The texts that a server has.
pub type SyncedVersions = BTreeMap<HomePath, SyncedVersion>;

/// A text that a server has.
#[derive(Clone, Debug)]
pub struct SyncedVersion {
    /// LSP's number of it.
    pub number: i32,
    /// [`text_version`] of it.
    pub version: String,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Reply {
    /// The result.
    pub result: Value,
    /// The text of the file that it is about.
    pub text: Arc<str>,
    /// The texts that the server had when it was asked.
    pub versions: Arc<SyncedVersions>,
    /// What the server can do.
    pub capabilities: Arc<Value>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The server does not run, or not yet.
    #[error("The language server is not ready. Its state is in the status bar.")]
    NotReady,
    /// The server does not have the file.
    #[error("The language server does not have this file. Open it first; files beyond 4 MiB are left out.")]
    NotOpen,
    /// The text is another one.
    #[error("The text has changed. Ask again.")]
    Stale,
    /// Too many requests wait.
    #[error("Too many questions wait for an answer. Try again in a moment.")]
    TooMany,
    /// Its edits are not applied.
    #[error("Cannot apply the edits of the language server: {0}. Nothing was changed.")]
    Refused(String),
    /// The change is not known any more.
    #[error("Cannot undo the change: it was undone already, or is too old.")]
    NoUndo,
    /// The server has refused it.
    #[error("The language server has failed: {0}.")]
    Failed(String),
    /// It took too long.
    #[error("The language server took too long. Try again.")]
    Timeout,
}

/// The task of one language.
pub struct ServerTask {
    pub definition: &'static Definition,
    pub context: Arc<ServerContext>,
    pub files: watch::Receiver<OpenFiles>,
    /// Changes with every document.
    pub changes: watch::Receiver<u64>,
    pub commands: mpsc::Receiver<Command>,
}

/// Why a server does not run any more.
enum End {
    /// No program is installed.
    Missing,
    /// Nobody needs it.
    Unneeded,
    /// A user wants it to start again.
    Restart,
    /// It has ended or misbehaved.
    Failed(String),
    /// The agent ends.
    Shutdown,
}

impl From<NotReading> for End {
    fn from(error: NotReading) -> Self {
        Self::Failed(error.to_string())
    }
}

impl ServerTask {
    /// Runs the server whenever it is needed.
    pub async fn run(mut self) {
        let mut failures = 0;
        while self.wait_for_files().await {
            let started_at = Instant::now();
            let end = self.run_server().await;
            self.context.board.clear_diagnostics(self.definition.language);
            if !matches!(end, End::Failed(_)) {
                failures = 0;
            }
            let goes_on = match end {
                End::Shutdown => false,
                End::Restart => true,
                End::Unneeded => {
                    self.report(None, ServerState::Stopped, None);
                    true
                }
                End::Missing => {
                    self.report(None, ServerState::Missing, None);
                    self.wait(None, true).await
                }
                End::Failed(reason) => {
                    let is_stable = started_at.elapsed() > STABLE_AFTER;
                    failures = if is_stable { 1 } else { failures + 1 };
                    tracing::info!(language = self.definition.language, %reason, "a language server failed");
                    if failures < MAX_FAILURES {
                        self.report(None, ServerState::Waiting, Some(reason));
                        let pause = self.context.timing.pause_after(failures);
                        self.wait(Some(Instant::now() + pause), false).await
                    } else {
                        self.report(None, ServerState::Failed, Some(reason));
                        failures = 0;
                        self.wait(None, false).await
                    }
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Waits until somebody has a file of the language open. Returns false when the agent ends.
    async fn wait_for_files(&mut self) -> bool {
        while self.files.borrow_and_update().is_empty() {
            tokio::select! {
                changed = self.files.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                }
                command = self.commands.recv() => {
                    let Some(command) = command else { return false };
                    refuse(command);
                }
            }
        }
        true
    }

    /// Waits until a user wants a restart, until a time, or with `for_files` until other files are open.
    /// Returns false when the agent ends.
    async fn wait(&mut self, until: Option<Instant>, for_files: bool) -> bool {
        loop {
            tokio::select! {
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return true,
                changed = self.files.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    if for_files {
                        return true;
                    }
                }
                command = self.commands.recv() => match command {
                    None => return false,
                    Some(Command::Restart) => return true,
                    Some(command) => refuse(command),
                },
            }
        }
    }

    async fn run_server(&mut self) -> End {
        let path = self.context.login_path.get(&self.context.user).await;
        let searched = path.clone().unwrap_or_else(|| crate::user::PATH_VARIABLE.into());
        let definition = self.definition;
        let found = tokio::task::spawn_blocking(move || find_program(definition, &searched)).await;
        let Some((candidate, program)) = found.ok().flatten() else { return End::Missing };
        let context = self.context.clone();
        let Ok(_slot) = context.slots.try_acquire() else {
            let reason =
                "as many language servers run as a workspace may have. Close files of other languages";
            return End::Failed(reason.to_owned());
        };
        self.report(Some(candidate), ServerState::Starting, None);
        let projects = self.find_projects().await;
        let directory = projects.first().map_or_else(
            || context.home.path().to_owned(),
            |project| context.home.path().join(project.as_str()),
        );
        let mut argv: Vec<String> = candidate.argv.iter().map(|&word| word.to_owned()).collect();
        argv[0] = program;
        let connection = match Connection::start(&context.user, &argv, directory, path) {
            Ok(connection) => connection,
            Err(error) => return End::Failed(format!("it cannot be started: {error}")),
        };
        let mut session = Session::new(self, connection, candidate, projects);
        let end = session.serve().await;
        let Session { connection, .. } = session;
        let how = connection.end().await;
        match end {
            End::Failed(reason) if reason.is_empty() => End::Failed(how),
            end => end,
        }
    }

    /// The projects of the open files.
    async fn find_projects(&self) -> Vec<HomePath> {
        let (definition, home) = (self.definition, self.context.home.path().to_owned());
        let files: Vec<HomePath> = self.files.borrow().iter().map(|(path, _)| path.clone()).collect();
        let find = move || {
            let projects = files.iter().filter_map(|path| definition.project_of(&home, path));
            projects.collect::<BTreeSet<_>>().into_iter().take(MAX_PROJECTS).collect()
        };
        self.context.home.run(move |_| Ok::<_, io::Error>(find())).await.unwrap_or_default()
    }

    fn report(&self, candidate: Option<&Candidate>, state: ServerState, message: Option<String>) {
        let definition = self.definition;
        let candidate = candidate.unwrap_or(&definition.candidates[0]);
        let is_missing = state == ServerState::Missing;
        let server = LanguageServer {
            language: definition.language.to_owned(),
            label: definition.label.to_owned(),
            files: definition.files.iter().map(|(end, _)| (*end).to_owned()).collect(),
            server: candidate.name.to_owned(),
            state,
            message,
            install: is_missing.then(|| definition.install.to_owned()),
            completion_triggers: Vec::new(),
            signature_triggers: Vec::new(),
            features: Vec::new(),
        };
        self.context.board.set_server(definition.language, server);
    }
}

fn refuse(command: Command) {
    if let Command::Ask(ask) = command {
        let _ = ask.reply.send(Err(AskError::NotReady));
    }
}

/// The first candidate that is installed, and its program.
fn find_program(definition: &'static Definition, path: &OsStr) -> Option<(&'static Candidate, String)> {
    definition.candidates.iter().find_map(|candidate| {
        let found = std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(candidate.argv[0]))
            .find(|program| is_executable(program))?;
        Some((candidate, found.into_os_string().into_string().ok()?))
    })
}

fn is_executable(program: &Path) -> bool {
    std::fs::metadata(program).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A file as the server has it.
struct SyncedFile {
    document: DocumentHandle,
    uri: String,
    text: Arc<str>,
    /// The name of the text, as clients compute it.
    version: String,
    /// LSP's number of the text.
    number: i32,
    edits: u64,
    saves: u64,
    /// The last diagnostics, as JSON, with their places.
    diagnostics: Vec<(lsp_types::Range, String)>,
}

impl SyncedFile {
    /// The diagnostics that a range touches, as the server has sent them.
    fn diagnostics_in(&self, range: &Value) -> Vec<Value> {
        let Ok(wanted) = serde_json::from_value::<lsp_types::Range>(range.clone()) else { return Vec::new() };
        let touching = self
            .diagnostics
            .iter()
            .filter(|(range, _)| range.start <= wanted.end && range.end >= wanted.start);
        touching.filter_map(|(_, text)| serde_json::from_str(text).ok()).collect()
    }
}

/// One run of a server.
struct Session<'a> {
    task: &'a mut ServerTask,
    connection: Connection,
    candidate: &'static Candidate,
    projects: Vec<HomePath>,
    files: BTreeMap<HomePath, SyncedFile>,
    /// Requests that wait for an answer, by their id.
    pending: HashMap<i64, PendingAsk>,
    next_id: i64,
    /// Answers to the server that wait until edits are applied: the id of its request, and the outcome.
    edit_answers: FuturesUnordered<BoxFuture<'static, (Value, Result<(), String>)>>,
    /// Of the server. Null until it has answered.
    capabilities: Arc<Value>,
    /// What the server works on, by its token.
    progress: BTreeMap<String, String>,
    last_progress: Instant,
    last_received: Instant,
    /// Since when no file is open.
    unused_since: Option<Instant>,
    messages: u32,
}

struct PendingAsk {
    text: Arc<str>,
    versions: Arc<SyncedVersions>,
    reply: oneshot::Sender<Result<Reply, AskError>>,
    edits: Option<mpsc::Sender<EditRequest>>,
}

/// Id of the first request.
const INITIALIZE_ID: i64 = 0;

impl<'a> Session<'a> {
    fn new(
        task: &'a mut ServerTask,
        connection: Connection,
        candidate: &'static Candidate,
        projects: Vec<HomePath>,
    ) -> Self {
        let now = Instant::now();
        Self {
            task,
            connection,
            candidate,
            projects,
            files: BTreeMap::new(),
            pending: HashMap::new(),
            next_id: INITIALIZE_ID + 1,
            edit_answers: FuturesUnordered::new(),
            capabilities: Arc::default(),
            progress: BTreeMap::new(),
            last_progress: now,
            last_received: now,
            unused_since: None,
            messages: 0,
        }
    }

    async fn serve(&mut self) -> End {
        match self.exchange().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn exchange(&mut self) -> Result<End, End> {
        let started_at = Instant::now();
        self.connection.send(&self.initialize_request())?;
        let mut sync_at = None;
        let mut tick = tokio::time::interval(TICK_INTERVAL);
        loop {
            tokio::select! {
                message = self.connection.receive() => match message {
                    Some(Ok(message)) => self.apply_message(message).await?,
                    Some(Err(error)) => return Ok(End::Failed(error.to_string())),
                    None => return Ok(End::Failed(String::new())),
                },
                command = self.task.commands.recv() => match command {
                    None => return Ok(End::Shutdown),
                    Some(Command::Restart) => return Ok(End::Restart),
                    Some(Command::Ask(ask)) => self.ask(ask).await?,
                },
                changed = self.task.files.changed() => {
                    if changed.is_err() {
                        return Ok(End::Shutdown);
                    }
                    self.sync_files().await?;
                }
                _ = self.task.changes.changed() => {
                    sync_at.get_or_insert_with(|| Instant::now() + SYNC_DELAY);
                }
                () = sleep_until(sync_at.unwrap_or_else(Instant::now)), if sync_at.is_some() => {
                    sync_at = None;
                    self.sync_texts().await?;
                }
                Some((id, outcome)) = self.edit_answers.next(), if !self.edit_answers.is_empty() => {
                    self.answer_edit(&id, outcome)?;
                }
                _ = tick.tick() => {
                    self.cancel_unwanted()?;
                    if self.capabilities.is_null() && started_at.elapsed() > START_TIMEOUT {
                        return Ok(End::Failed("it has not started in time".to_owned()));
                    }
                    if !self.pending.is_empty() && self.last_received.elapsed() > SILENCE_TIMEOUT {
                        return Ok(End::Failed("it does not answer".to_owned()));
                    }
                    if self.is_unneeded() {
                        self.shut_down().await;
                        return Ok(End::Unneeded);
                    }
                }
            }
        }
    }

    fn is_unneeded(&mut self) -> bool {
        if !self.task.files.borrow().is_empty() {
            self.unused_since = None;
            return false;
        }
        self.unused_since.get_or_insert_with(Instant::now).elapsed() >= self.task.context.timing.idle_timeout
    }

    /// Asks the server to end, so that it can store what it wants to keep.
    async fn shut_down(&mut self) {
        let id = self.next_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": "shutdown" });
        if self.connection.send(&request).is_err() {
            return;
        }
        let answered = async {
            while let Some(Ok(message)) = self.connection.receive().await {
                if message["id"] == id && message.get("method").is_none() {
                    return;
                }
            }
        };
        if timeout(SHUTDOWN_TIMEOUT, answered).await.is_ok() {
            let _ = self.notify("exit", Value::Null);
        }
    }

    fn initialize_request(&self) -> Value {
        let folders: Vec<Value> = self.projects.iter().map(|project| self.folder(project)).collect();
        let root = folders.first().map(|folder| folder["uri"].clone());
        json!({
            "jsonrpc": "2.0",
            "id": INITIALIZE_ID,
            "method": "initialize",
            "params": {
                // Servers end when this process is gone, and cannot see processes of other users.
                "processId": null,
                "clientInfo": { "name": "Burrow", "version": env!("CARGO_PKG_VERSION") },
                "locale": "en",
                "rootUri": root,
                "workspaceFolders": if folders.is_empty() { Value::Null } else { folders.into() },
                "initializationOptions": self.candidate.start_options(),
                "capabilities": convert::client_capabilities(),
            },
        })
    }

    fn folder(&self, project: &HomePath) -> Value {
        let uri = uri_of(&self.task.context.home.path().join(project.as_str()));
        json!({ "uri": uri, "name": project.name().unwrap_or_default() })
    }

    fn notify(&self, method: &str, params: Value) -> Result<(), NotReading> {
        let mut message = json!({ "jsonrpc": "2.0", "method": method });
        if !params.is_null() {
            message["params"] = params;
        }
        self.connection.send(&message)
    }

    async fn apply_message(&mut self, mut message: Value) -> Result<(), End> {
        self.last_received = Instant::now();
        let id = message.get("id").cloned();
        let params = message["params"].take();
        match (message["method"].as_str(), id) {
            (Some("workspace/applyEdit"), Some(id)) => Ok(self.receive_edit(id, params)?),
            (Some(method), Some(id)) => Ok(self.answer(method, &id, &params)?),
            (Some(method), None) => {
                self.apply_notification(method, params);
                Ok(())
            }
            (None, Some(id)) if id == INITIALIZE_ID => self.finish_start(message).await,
            (None, Some(id)) => {
                let pending = id.as_i64().and_then(|id| self.pending.remove(&id));
                if let Some(PendingAsk { text, versions, reply, .. }) = pending {
                    let capabilities = self.capabilities.clone();
                    let answer = result_of(message);
                    let _ = reply.send(answer.map(|result| Reply { result, text, versions, capabilities }));
                }
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    async fn finish_start(&mut self, message: Value) -> Result<(), End> {
        let result = result_of(message).map_err(|error| End::Failed(error.to_string()))?;
        self.capabilities = Arc::new(result.get("capabilities").cloned().unwrap_or_default());
        if self.capabilities.is_null() {
            return Err(End::Failed("it does not say what it can do".to_owned()));
        }
        self.notify("initialized", json!({}))?;
        let settings = self.candidate.section("");
        self.notify("workspace/didChangeConfiguration", json!({ "settings": settings }))?;
        self.sync_files().await?;
        self.report_ready();
        Ok(())
    }

    fn report_ready(&self) {
        let capability = |name: &str| {
            let found = self.capabilities.get(name).filter(|found| !found.is_null());
            found.filter(|found| **found != Value::Bool(false))
        };
        let strings = |name: &str, list: &str| {
            let found = capability(name).and_then(|options| options.get(list)).and_then(Value::as_array);
            let found = found.into_iter().flatten().filter_map(Value::as_str);
            found.filter(|text| text.len() <= 4).take(64).map(str::to_owned).collect::<Vec<_>>()
        };
        let features = [
            ("completionProvider", LanguageFeature::Completion),
            ("hoverProvider", LanguageFeature::Hover),
            ("signatureHelpProvider", LanguageFeature::Signature),
            ("definitionProvider", LanguageFeature::Definition),
            ("referencesProvider", LanguageFeature::References),
            ("documentSymbolProvider", LanguageFeature::Symbols),
            ("workspaceSymbolProvider", LanguageFeature::WorkspaceSymbols),
            ("documentFormattingProvider", LanguageFeature::Format),
            ("renameProvider", LanguageFeature::Rename),
            ("codeActionProvider", LanguageFeature::CodeActions),
        ];
        let mut features: Vec<LanguageFeature> =
            features.into_iter().filter(|(name, _)| capability(name).is_some()).map(|(_, can)| can).collect();
        let details = capability("completionProvider").and_then(|options| options.get("resolveProvider"));
        if details == Some(&Value::Bool(true)) {
            features.push(LanguageFeature::CompletionDetails);
        }
        let definition = self.task.definition;
        let server = LanguageServer {
            language: definition.language.to_owned(),
            label: definition.label.to_owned(),
            files: definition.files.iter().map(|(end, _)| (*end).to_owned()).collect(),
            server: self.candidate.name.to_owned(),
            state: ServerState::Ready,
            message: self.progress.values().next_back().cloned(),
            install: None,
            completion_triggers: strings("completionProvider", "triggerCharacters"),
            signature_triggers: strings("signatureHelpProvider", "triggerCharacters"),
            features,
        };
        self.task.context.board.set_server(definition.language, server);
    }

    /// Answers a request of the server.
    fn answer(&mut self, method: &str, id: &Value, params: &Value) -> Result<(), NotReading> {
        let result = match method {
            "workspace/configuration" => self.settings(params),
            "workspace/workspaceFolders" => {
                self.projects.iter().map(|project| self.folder(project)).collect()
            }
            "client/registerCapability"
            | "client/unregisterCapability"
            | "window/workDoneProgress/create"
            | "workspace/diagnostic/refresh"
            | "workspace/semanticTokens/refresh"
            | "workspace/inlayHint/refresh"
            | "workspace/codeLens/refresh" => Value::Null,
            "window/showMessageRequest" => {
                self.show_message(params);
                Value::Null
            }
            "window/showDocument" => json!({ "success": false }),
            _ => {
                let error = json!({ "code": METHOD_NOT_FOUND, "message": "unknown method" });
                return self.connection.send(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
            }
        };
        self.connection.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    /// Passes edits that the server wants to those who have asked it to run a command: the oldest, if there
    /// are several.
    fn receive_edit(&mut self, id: Value, mut params: Value) -> Result<(), NotReading> {
        let asks = self.pending.iter().filter_map(|(id, ask)| Some((id, ask.edits.as_ref()?, &ask.versions)));
        let Some((_, edits, versions)) = asks.min_by_key(|(id, ..)| **id) else {
            return self.answer_edit(&id, Err("Not requested.".to_owned()));
        };
        let (done, outcome) = oneshot::channel();
        let request = EditRequest { edit: params["edit"].take(), versions: versions.clone(), done };
        if edits.try_send(request).is_err() {
            return self.answer_edit(&id, Err("Too many edits.".to_owned()));
        }
        let answer = async move { (id, outcome.await.unwrap_or_else(|_| Err("Cancelled.".to_owned()))) };
        self.edit_answers.push(answer.boxed());
        Ok(())
    }

    fn answer_edit(&self, id: &Value, outcome: Result<(), String>) -> Result<(), NotReading> {
        let result = match outcome {
            Ok(()) => json!({ "applied": true }),
            Err(reason) => json!({ "applied": false, "failureReason": reason }),
        };
        self.connection.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    /// The settings of the sections that the server asks for.
    fn settings(&self, params: &Value) -> Value {
        let items = params["items"].as_array().map_or(&[][..], Vec::as_slice);
        items
            .iter()
            .map(|item| self.candidate.section(item["section"].as_str().unwrap_or_default()))
            .collect()
    }

    fn apply_notification(&mut self, method: &str, params: Value) {
        match method {
            "textDocument/publishDiagnostics" => self.apply_diagnostics(params),
            "window/showMessage" => self.show_message(&params),
            "$/progress" => self.apply_progress(&params),
            _ => {}
        }
    }

    fn apply_diagnostics(&mut self, params: Value) {
        let Ok(params) = serde_json::from_value::<lsp_types::PublishDiagnosticsParams>(params) else {
            return;
        };
        let home = self.task.context.home.path();
        let Some(path) = home_path_of(home, params.uri.as_str()) else { return };
        let mut version = None;
        if let Some(file) = self.files.get_mut(&path) {
            if let Some(number) = params.version {
                if number != file.number {
                    return; // those of the present text follow
                }
                version = Some(file.version.clone());
            }
            file.diagnostics = kept_diagnostics(&params.diagnostics);
        }
        let language = self.task.definition.language;
        let diagnostics = convert::file_diagnostics(path.to_string(), language, version, params.diagnostics);
        self.task.context.board.set_diagnostics(language, diagnostics);
    }

    fn show_message(&mut self, params: &Value) {
        let severity = match params["type"].as_i64() {
            Some(1) => Severity::Error,
            Some(2) => Severity::Warning,
            _ => return, // the rest is for a log
        };
        self.messages += 1;
        let Some(text) = params["message"].as_str().filter(|_| self.messages <= MAX_MESSAGES) else { return };
        let text = truncate(text.to_owned(), MAX_MESSAGE_BYTES);
        self.task.context.board.show_message(self.candidate.name, severity, text);
    }

    fn apply_progress(&mut self, params: &Value) {
        let (token, value) = (params["token"].to_string(), &params["value"]);
        let text = |name: &str| value[name].as_str().filter(|text| !text.is_empty());
        if value["kind"] == "end" {
            self.progress.remove(&token);
        } else if self.progress.len() < MAX_PENDING || self.progress.contains_key(&token) {
            let percent = value["percentage"].as_u64().map(|percent| format!("{percent} %"));
            let words = [text("title"), text("message"), percent.as_deref()];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
            self.progress.insert(token, truncate(words, MAX_PROGRESS_BYTES));
        }
        let is_over = self.progress.is_empty();
        if !self.capabilities.is_null() && (is_over || self.last_progress.elapsed() > MIN_PROGRESS_INTERVAL) {
            self.last_progress = Instant::now();
            self.report_ready();
        }
    }

    /// Passes a request on to the server, after the edits that it may be about.
    async fn ask(&mut self, ask: Ask) -> Result<(), End> {
        let Ask { file, method, mut params, reply, edits } = ask;
        if self.capabilities.is_null() {
            let _ = reply.send(Err(AskError::NotReady));
            return Ok(());
        }
        self.cancel_unwanted()?;
        if self.pending.len() >= MAX_PENDING {
            let _ = reply.send(Err(AskError::TooMany));
            return Ok(());
        }
        let mut text = Arc::from("");
        if let Some((path, version)) = file {
            if !self.files.contains_key(&path) {
                self.sync_files().await?;
            }
            self.sync_text(&path).await?;
            let Some(file) = self.files.get(&path) else {
                let _ = reply.send(Err(AskError::NotOpen));
                return Ok(());
            };
            if file.version != version {
                let _ = reply.send(Err(AskError::Stale));
                return Ok(());
            }
            if method.starts_with("textDocument/") {
                params["textDocument"] = json!({ "uri": file.uri });
            }
            if method == "textDocument/codeAction" {
                params["context"]["diagnostics"] = file.diagnostics_in(&params["range"]).into();
            }
            text = file.text.clone();
        }
        if self.pending.is_empty() {
            self.last_received = Instant::now();
        }
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.connection.send(&request)?;
        let versions = Arc::new(self.synced_versions());
        self.pending.insert(id, PendingAsk { text, versions, reply, edits });
        Ok(())
    }

    fn synced_versions(&self) -> SyncedVersions {
        let synced = |file: &SyncedFile| SyncedVersion { number: file.number, version: file.version.clone() };
        self.files.iter().map(|(path, file)| (path.clone(), synced(file))).collect()
    }

    /// Cancels requests whose answers nobody waits for.
    fn cancel_unwanted(&mut self) -> Result<(), NotReading> {
        let unwanted: Vec<i64> =
            self.pending.iter().filter(|(_, ask)| ask.reply.is_closed()).map(|(id, _)| *id).collect();
        for id in unwanted {
            self.pending.remove(&id);
            self.notify("$/cancelRequest", json!({ "id": id }))?;
        }
        Ok(())
    }

    /// Opens and closes files of the server as documents were opened and closed.
    async fn sync_files(&mut self) -> Result<(), End> {
        if self.capabilities.is_null() {
            return Ok(());
        }
        let open = self.task.files.borrow_and_update().clone();
        let is_open = |path: &HomePath| open.iter().any(|(one, _)| one == path);
        let closed: Vec<HomePath> = self.files.keys().filter(|path| !is_open(path)).cloned().collect();
        for path in closed {
            self.close_file(&path)?;
        }
        self.add_projects().await?;
        for (path, document) in open {
            self.open_file(path, document).await?;
        }
        Ok(())
    }

    fn close_file(&mut self, path: &HomePath) -> Result<(), NotReading> {
        let Some(file) = self.files.remove(path) else { return Ok(()) };
        self.notify("textDocument/didClose", json!({ "textDocument": { "uri": file.uri } }))
    }

    async fn add_projects(&mut self) -> Result<(), NotReading> {
        let found = self.task.find_projects().await;
        let added: Vec<HomePath> =
            found.into_iter().filter(|project| !self.projects.contains(project)).collect();
        let room = MAX_PROJECTS.saturating_sub(self.projects.len());
        let added: Vec<HomePath> = added.into_iter().take(room).collect();
        let can_change = self.capabilities.pointer("/workspace/workspaceFolders/changeNotifications");
        let can_change = can_change.is_some_and(|can| *can != Value::Bool(false) && !can.is_null());
        if added.is_empty() || !can_change {
            return Ok(());
        }
        let folders: Vec<Value> = added.iter().map(|project| self.folder(project)).collect();
        self.projects.extend(added);
        let event = json!({ "event": { "added": folders, "removed": [] } });
        self.notify("workspace/didChangeWorkspaceFolders", event)
    }

    async fn open_file(&mut self, path: HomePath, document: DocumentHandle) -> Result<(), NotReading> {
        if let Some(file) = self.files.get(&path) {
            if !file.document.has_ended() {
                return Ok(());
            }
            self.close_file(&path)?;
        }
        let saves = document.pulse.saves();
        let Ok(read) = document.read().await else { return Ok(()) };
        let Some(language) = self.task.definition.id_of_file(&path) else { return Ok(()) };
        if read.text.len() > MAX_LANGUAGE_TEXT_BYTES {
            return Ok(());
        }
        let uri = uri_of(&self.task.context.home.path().join(path.as_str()));
        let item = json!({ "uri": uri, "languageId": language, "version": 1, "text": read.text });
        self.notify("textDocument/didOpen", json!({ "textDocument": item }))?;
        let version = text_version(&read.text);
        let text = read.text.into();
        let (edits, diagnostics) = (read.edits, Vec::new());
        let file = SyncedFile { document, uri, text, version, number: 1, edits, saves, diagnostics };
        self.files.insert(path, file);
        Ok(())
    }

    async fn sync_texts(&mut self) -> Result<(), End> {
        let paths: Vec<HomePath> = self.files.keys().cloned().collect();
        for path in paths {
            self.sync_text(&path).await?;
        }
        Ok(())
    }

    /// Passes on what was edited and saved in a file.
    async fn sync_text(&mut self, path: &HomePath) -> Result<(), NotReading> {
        let Some(file) = self.files.get(path) else { return Ok(()) };
        let (document, saves) = (file.document.clone(), file.document.pulse.saves());
        if document.pulse.edits() != file.edits {
            let Ok(read) = document.read().await else { return Ok(()) };
            if read.text.len() > MAX_LANGUAGE_TEXT_BYTES {
                return self.close_file(path);
            }
            self.send_change(path, read.text, read.edits)?;
        }
        let Some(file) = self.files.get_mut(path) else { return Ok(()) };
        if saves == file.saves {
            return Ok(());
        }
        file.saves = saves;
        let params = json!({ "textDocument": { "uri": file.uri } });
        self.notify("textDocument/didSave", params)
    }

    fn send_change(&mut self, path: &HomePath, text: String, edits: u64) -> Result<(), NotReading> {
        let takes_whole_texts = self.takes_whole_texts();
        let Some(file) = self.files.get_mut(path) else { return Ok(()) };
        file.edits = edits;
        let Some(change) = find_change(&file.text, &text) else { return Ok(()) };
        let change = if takes_whole_texts { json!({ "text": text }) } else { change };
        file.number += 1;
        file.version = text_version(&text);
        file.text = text.into();
        let document = json!({ "uri": file.uri, "version": file.number });
        let params = json!({ "textDocument": document, "contentChanges": [change] });
        self.notify("textDocument/didChange", params)
    }

    fn takes_whole_texts(&self) -> bool {
        let sync = &self.capabilities["textDocumentSync"];
        sync.as_i64().or_else(|| sync["change"].as_i64()) != Some(2)
    }
}

/// The first diagnostics of a file as JSON, as many as are kept.
fn kept_diagnostics(diagnostics: &[lsp_types::Diagnostic]) -> Vec<(lsp_types::Range, String)> {
    let mut bytes = 0;
    let texts = diagnostics.iter().take(MAX_FILE_DIAGNOSTICS).map_while(|diagnostic| {
        let text = serde_json::to_string(diagnostic).ok()?;
        bytes += text.len();
        (bytes <= MAX_KEPT_DIAGNOSTICS_BYTES).then_some((diagnostic.range, text))
    });
    texts.collect()
}

fn result_of(mut message: Value) -> Result<Value, AskError> {
    if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
        let text = error["message"].as_str().unwrap_or("it gives no reason").trim_end_matches('.');
        return Err(AskError::Failed(truncate(text.to_owned(), MAX_MESSAGE_BYTES)));
    }
    Ok(message["result"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let timing = Timing::default();
        let pauses: Vec<u64> = (1..=8).map(|failures| timing.pause_after(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn first_installed_program_is_found() {
        let place = tempfile::tempdir().expect("a directory");
        let install = |name: &str, mode: u32| {
            let path = place.path().join(name);
            std::fs::write(&path, "").expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a file");
        };
        let python = Definition::of_language("python").expect("a language");
        let find = || find_program(python, place.path().as_os_str()).map(|(candidate, _)| candidate.name);
        assert_eq!(find(), None);
        install("basedpyright-langserver", 0o644);
        assert_eq!(find(), None);
        install("pylsp", 0o755);
        assert_eq!(find(), Some("python-lsp-server"));
        install("pyright-langserver", 0o755);
        assert_eq!(find(), Some("Pyright"));
    }
}
