//! Language servers of the workspace. The agent is their only client: it gives them the texts of open
//! documents, and what they say goes to all users.
//!
//! [`Languages`] follows which documents are open, gives them to the task of their language ([`server`]), and
//! answers questions about them. A task runs one server ([`connection`], [`frames`]) out of those that are
//! known ([`definitions`]). What servers say is made uniform ([`convert`]) and shown on the [`board`].
//! Nothing runs while no user who may write looks at an open file. Knows no HTTP.

mod board;
mod connection;
mod convert;
mod definitions;
mod frames;
mod server;
#[cfg(test)]
mod tests;
mod text;
mod uris;
pub mod watch;

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
        CompletionItem, LanguageAnswer, LanguageQuery, LanguageQuestion, TextPosition, text_version,
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
    definitions::Definition,
    server::{Ask, Command, OpenFiles, Reply, ServerContext, ServerTask, Timing},
};
use crate::{
    documents::{document::DocumentHandle, registry::DocumentRegistry},
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
/// Most completions of which the proposals are kept, for further questions about them.
const MAX_KEPT_COMPLETIONS: usize = 16;

/// The language servers of a workspace.
pub struct Languages {
    context: Arc<ServerContext>,
    documents: Arc<DocumentRegistry>,
    tasks: Tasks,
    /// By language.
    servers: Mutex<BTreeMap<&'static str, ServerHandle>>,
    /// How many questions of each client wait.
    questions: Mutex<HashMap<String, usize>>,
    completions: Mutex<KeptCompletions>,
    /// How many users who may write follow the servers.
    watchers: channel::Sender<usize>,
    is_following: AtomicBool,
}

/// The way to the task of a language.
struct ServerHandle {
    files: channel::Sender<OpenFiles>,
    commands: mpsc::Sender<Command>,
}

/// What servers have sent of the last proposals.
#[derive(Default)]
struct KeptCompletions {
    last: u64,
    lists: VecDeque<KeptCompletion>,
}

struct KeptCompletion {
    number: u64,
    language: &'static str,
    raw: Vec<Value>,
}

impl KeptCompletions {
    /// Keeps proposals, and gives each an id.
    fn keep(&mut self, language: &'static str, raw: Vec<Value>, items: &mut [CompletionItem]) {
        self.last += 1;
        for (index, item) in items.iter_mut().enumerate() {
            item.id = format!("{}:{index}", self.last);
        }
        if self.lists.len() == MAX_KEPT_COMPLETIONS {
            self.lists.pop_front();
        }
        self.lists.push_back(KeptCompletion { number: self.last, language, raw });
    }

    fn find(&self, id: &str) -> Option<(&'static str, Value)> {
        let (number, index) = id.split_once(':')?;
        let (number, index): (u64, usize) = (number.parse().ok()?, index.parse().ok()?);
        let list = self.lists.iter().find(|list| list.number == number)?;
        Some((list.language, list.raw.get(index)?.clone()))
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
        if let LanguageQuestion::CompletionDetails { id } = question {
            return self.completion_details(id).await;
        }
        let path = HomePath::parse(&path).map_err(|_| AskError::NotOpen)?;
        let (path, document) = self.documents.find(&path).await.ok_or(AskError::NotOpen)?;
        let definition = Definition::of_file(&path).ok_or(AskError::NotReady)?;
        self.wait_for_version(&document, &version).await?;
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
                let Reply { result, text } =
                    self.ask(language, file, "textDocument/completion", params).await?;
                let mut found = convert::proposals(result, &text, position);
                lock(&self.completions).keep(language, found.raw, &mut found.items);
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
            LanguageQuestion::CompletionDetails { .. } => Err(AskError::Stale),
        }
    }

    async fn completion_details(&self, id: String) -> Result<LanguageAnswer, AskError> {
        let (language, raw) = lock(&self.completions).find(&id).ok_or(AskError::Stale)?;
        let reply = self.ask(language, None, "completionItem/resolve", raw).await?;
        let item = serde_json::from_value(reply.result)
            .map_err(|_| AskError::Failed("its answer cannot be read".to_owned()))?;
        Ok(LanguageAnswer::CompletionDetails(CompletionItem { id, ..convert::completion_item(item) }))
    }

    async fn ask(
        &self,
        language: &str,
        file: Option<(HomePath, String)>,
        method: &'static str,
        params: Value,
    ) -> Result<Reply, AskError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { file, method, params, reply };
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
            convert::locations(home, result);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
