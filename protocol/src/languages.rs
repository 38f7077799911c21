//! Language servers of a workspace, and what they know of its files.
//!
//! A language server is a program in the guest, one for each language. The agent is its only client: it
//! passes it the texts of shared documents and applies its edits, so that no user uploads a text.
//!
//! - `languages/watch`: a WebSocket of JSON text messages. The client sends [`LanguageWatchRequest`]s, the
//!   agent [`LanguageEvent`]s: the servers, and the problems that they find.
//! - `POST languages/query` ([`LanguageQuery`]) → [`LanguageAnswer`]. Changes nothing.
//! - `POST languages/rename` ([`RenameSymbol`]), `POST languages/apply` ([`ApplyAction`]) and `POST
//!   languages/undo` ([`UndoEdits`]) → [`AppliedEdits`]. Edit the shared documents.
//! - `POST languages/restart` ([`RestartLanguage`]) starts a server again.
//!
//! Each query names the version of the text that its positions are in ([`text_version`]). The agent waits
//! for edits that are on their way, and refuses what is about another text.
//!
//! Lines are counted from 1, and columns in UTF-16 code units from 0, as in [`crate::search`]. Texts come
//! from programs in the guest: clients show them, and parse them as nothing but Markdown without HTML.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most bytes of a text that language servers get. A larger file is edited without them.
pub const MAX_LANGUAGE_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Most problems that are kept of a file.
pub const MAX_FILE_DIAGNOSTICS: usize = 500;
/// Most problems that are kept of all files together.
pub const MAX_DIAGNOSTICS: usize = 10_000;
/// Most proposals of a completion.
pub const MAX_COMPLETIONS: usize = 300;
/// Most places of an answer.
pub const MAX_LOCATIONS: usize = 2_000;
/// Most symbols of an answer.
pub const MAX_SYMBOLS: usize = 5_000;
/// Most code actions of an answer.
pub const MAX_ACTIONS: usize = 100;
/// Most files that one request edits.
pub const MAX_EDITED_FILES: usize = 1_000;
/// Most edits of one request.
pub const MAX_EDITS: usize = 50_000;
/// Most bytes of a new name.
pub const MAX_NAME_BYTES: usize = 1_024;
/// Most bytes of what is searched for in symbols.
pub const MAX_SYMBOL_QUERY_BYTES: usize = 256;
/// Most bytes of the id that a client chooses for itself.
pub const MAX_CLIENT_BYTES: usize = 64;

/// A place between two characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "line": 12, "column": 7 }))]
pub struct TextPosition {
    /// Line, counted from 1.
    pub line: u32,
    /// UTF-16 code units of the line before the place.
    pub column: u32,
}

/// The text between two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TextRange {
    /// Where it begins.
    pub start: TextPosition,
    /// Where it ends, not before `start`.
    pub end: TextPosition,
}

/// A replacement in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeEdit {
    /// What is replaced.
    pub range: TextRange,
    /// The text that takes its place.
    pub text: String,
}

/// A message of the client on `languages/watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LanguageWatchRequest {
    /// Asks for a sign of life: the servers.
    Ping,
}

/// A message of the agent on `languages/watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LanguageEvent {
    /// Everything known so far is to be forgotten. What follows is the present state.
    Reset,
    /// The servers of languages that are or were in use. Sent at the beginning and after each change.
    Servers {
        /// The servers, by language.
        servers: Vec<LanguageServer>,
    },
    /// The diagnostics of a file. They replace those that were known.
    Diagnostics(FileDiagnostics),
    /// A server has something to say to users.
    Message {
        /// Name of the server.
        server: String,
        /// How serious it is.
        severity: Severity,
        /// The text.
        text: String,
    },
}

/// The server of one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "language": "python", "label": "Python", "files": [".py"], "server": "basedpyright", "state": "ready",
    "features": ["completion", "hover", "definition"]
}))]
pub struct LanguageServer {
    /// Id of the language, such as `python`.
    pub language: String,
    /// Name of the language.
    pub label: String,
    /// Ends of the names of its files, in lower case.
    pub files: Vec<String>,
    /// Name of the program, or of the one that would be used.
    pub server: String,
    /// What it is doing.
    pub state: ServerState,
    /// Why it is not ready, or what it is working on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// With [`ServerState::Missing`]: a command that installs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<String>,
    /// Characters after which clients ask for a completion.
    #[serde(default)]
    pub completion_triggers: Vec<String>,
    /// Characters after which clients ask for the signature of a call.
    #[serde(default)]
    pub signature_triggers: Vec<String>,
    /// What it can do.
    #[serde(default)]
    pub features: Vec<LanguageFeature>,
}

/// What the server of a language is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// No program for the language is installed in the workspace.
    Missing,
    /// It begins.
    Starting,
    /// It answers.
    Ready,
    /// It has ended unexpectedly and will be started again.
    Waiting,
    /// It has ended too often. It stays so until a user restarts it.
    Failed,
    /// Nobody needs it at the moment.
    Stopped,
}

/// What a server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LanguageFeature {
    /// [`LanguageQuestion::Completion`].
    Completion,
    /// [`LanguageQuestion::CompletionDetails`].
    CompletionDetails,
    /// [`LanguageQuestion::Hover`].
    Hover,
    /// [`LanguageQuestion::Signature`].
    Signature,
    /// [`LanguageQuestion::Definition`].
    Definition,
    /// [`LanguageQuestion::References`].
    References,
    /// [`LanguageQuestion::Symbols`].
    Symbols,
    /// [`LanguageQuestion::WorkspaceSymbols`].
    WorkspaceSymbols,
    /// [`LanguageQuestion::Format`].
    Format,
    /// [`LanguageQuestion::RenameTarget`], and [`RenameSymbol`].
    Rename,
    /// [`LanguageQuestion::CodeActions`], and [`ApplyAction`].
    CodeActions,
}

/// How serious a problem or message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does not work.
    Error,
    /// It may not work.
    Warning,
    /// Good to know.
    Info,
    /// A suggestion.
    Hint,
}

/// The problems of one file, as one server sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileDiagnostics {
    /// Path of the file, relative to the home.
    pub path: String,
    /// Id of the language whose server has found them.
    pub language: String,
    /// Version of the text that they are about, if the server has said so and it is the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The problems, in their order in the text. At most 500.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether there are more.
    #[serde(default)]
    pub truncated: bool,
}

/// A problem in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Where it is.
    pub range: TextRange,
    /// How serious it is.
    pub severity: Severity,
    /// What it is.
    pub message: String,
    /// What has found it, such as `basedpyright`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The name of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether the text has no effect, so that it is shown faded.
    #[serde(default)]
    pub unnecessary: bool,
    /// Whether the text uses something deprecated, so that it is struck out.
    #[serde(default)]
    pub deprecated: bool,
}

/// Body of `POST languages/query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "path": "src/main.py", "version": "120-5bd1e995", "client": "a1b2",
    "question": { "type": "hover", "position": { "line": 3, "column": 8 } }
}))]
pub struct LanguageQuery {
    /// Path of an open document, relative to the home.
    pub path: String,
    /// Version of the client's text: its length in UTF-16 code units, `-`, and the FNV-1a hash of these units
    /// as eight hexadecimal digits.
    pub version: String,
    /// An id that the client has chosen for itself. Queries of one client share a limit.
    pub client: String,
    /// The question.
    pub question: LanguageQuestion,
}

/// A question about a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LanguageQuestion {
    /// What could be typed here?
    Completion {
        /// Where.
        position: TextPosition,
        /// The character that was typed, if it is one of `completion_triggers`.
        #[serde(default)]
        trigger: Option<String>,
    },
    /// What else is known of a proposal?
    CompletionDetails {
        /// Its `id`.
        id: String,
    },
    /// What is here?
    Hover {
        /// Where.
        position: TextPosition,
    },
    /// Which parameters does the call have?
    Signature {
        /// Where.
        position: TextPosition,
    },
    /// Where is it defined?
    Definition {
        /// Where it is used.
        position: TextPosition,
        /// Which of its places.
        #[serde(default)]
        of: DefinitionKind,
    },
    /// Where is it used?
    References {
        /// Where it is used or defined.
        position: TextPosition,
    },
    /// Which names does the file define?
    Symbols,
    /// Which names are defined in the projects of a language? The path and the version of the query do not
    /// matter.
    WorkspaceSymbols {
        /// Id of the language.
        language: String,
        /// A part of the names. At most 256 bytes.
        query: String,
    },
    /// How would the text be formatted?
    Format {
        /// Columns of one level of indentation.
        tab_size: u32,
        /// Whether levels are spaces.
        insert_spaces: bool,
    },
    /// What would be renamed?
    RenameTarget {
        /// Where.
        position: TextPosition,
    },
    /// What can be done about a part of the text?
    CodeActions {
        /// The part.
        range: TextRange,
        /// Only actions of this kind, such as `source.organizeImports`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<String>,
    },
}

/// A place that belongs to a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKind {
    /// Where it is defined.
    #[default]
    Definition,
    /// Where it is declared.
    Declaration,
    /// Where its type is defined.
    Type,
    /// Where it is implemented.
    Implementation,
}

/// Answer to `POST languages/query`, by the type of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LanguageAnswer {
    /// What could be typed.
    Completion {
        /// The proposals that go with what precedes the position, the best first. At most 300.
        items: Vec<CompletionItem>,
        /// Whether the client must ask again after the next character.
        is_incomplete: bool,
    },
    /// The proposal with everything that is known.
    CompletionDetails(CompletionItem),
    /// What is at the position.
    Hover {
        /// Markdown. Empty: nothing.
        markdown: String,
        /// What it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range: Option<TextRange>,
    },
    /// The signatures of a call. Empty: there is none.
    Signature {
        /// The signatures.
        signatures: Vec<Signature>,
        /// Index of the signature that fits best.
        active: usize,
    },
    /// Where something is.
    Locations {
        /// The places. At most 2,000.
        locations: Vec<TextLocation>,
    },
    /// Which names a file defines.
    Symbols {
        /// The symbols, each after the one that contains it. At most 5,000.
        symbols: Vec<DocumentSymbol>,
    },
    /// Which names are defined in the home.
    WorkspaceSymbols {
        /// The symbols. At most 5,000.
        symbols: Vec<WorkspaceSymbol>,
    },
    /// How the text would be changed.
    Edits {
        /// The edits. Their ranges all refer to the text of the question, in its order, and do not overlap.
        edits: Vec<RangeEdit>,
    },
    /// What would be renamed.
    RenameTarget {
        /// The present name. Empty: nothing can be renamed there.
        name: String,
    },
    /// What can be done.
    CodeActions {
        /// The actions, in the order of the server. At most 100.
        actions: Vec<CodeAction>,
    },
}

/// A proposal of a completion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompletionItem {
    /// For [`LanguageQuestion::CompletionDetails`].
    pub id: String,
    /// What is shown.
    pub label: String,
    /// What it is: `function`, `class` and so on, as LSP names them.
    pub kind: String,
    /// Shown beside the label, such as a type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Shown at the end of the line, such as a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
    /// The text that is inserted.
    pub insert: String,
    /// Whether `insert` is a snippet in the syntax of LSP, with tab stops.
    #[serde(default)]
    pub is_snippet: bool,
    /// What is replaced. Without it: the word before the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<TextRange>,
    /// What is compared with the typed text, if not the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether it should be selected at first.
    #[serde(default)]
    pub preselect: bool,
    /// Whether it should not be used any more.
    #[serde(default)]
    pub deprecated: bool,
    /// Further edits of the text, such as an import.
    #[serde(default)]
    pub edits: Vec<RangeEdit>,
}

/// The signature of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signature {
    /// The whole signature.
    pub label: String,
    /// Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
    /// Where the parameter that is being typed is in the label, in UTF-16 code units: its begin and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_parameter: Option<(u32, u32)>,
    /// Markdown about this parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_documentation: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TextLocation {
    /// Path relative to the home. Outside the home, the absolute path: the file cannot be opened.
    pub path: String,
    /// Whether the file is in the home.
    pub in_home: bool,
    /// The place.
    pub range: TextRange,
    /// The line that it begins in, or the beginning of that. Only in answers to questions about references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

/// A name that a file defines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentSymbol {
    /// The name.
    pub name: String,
    /// What it is: `function`, `class` and so on, as LSP names them.
    pub kind: String,
    /// How many symbols contain it.
    pub depth: u32,
    /// All of it.
    pub range: TextRange,
    /// Its name.
    pub name_range: TextRange,
}

/// A name that is defined somewhere in the home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceSymbol {
    /// The name.
    pub name: String,
    /// What it is: `function`, `class` and so on, as LSP names them.
    pub kind: String,
    /// What contains it, as the server names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Path of the file, relative to the home.
    pub path: String,
    /// Where it is.
    pub range: TextRange,
}

/// Something that can be done about a part of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodeAction {
    /// For [`ApplyAction`].
    pub id: String,
    /// What it does.
    pub title: String,
    /// Its kind, such as `quickfix` or `source.organizeImports`. Empty: it is of none.
    pub kind: String,
    /// Whether it is the one that most users would choose.
    #[serde(default)]
    pub is_preferred: bool,
    /// Why it cannot be used now, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
}

/// Body of `POST languages/rename`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "path": "src/main.py", "version": "120-5bd1e995", "client": "a1b2",
    "position": { "line": 3, "column": 8 }, "name": "height"
}))]
pub struct RenameSymbol {
    /// Path of an open document, relative to the home.
    pub path: String,
    /// Version of the client's text, as in [`LanguageQuery`].
    pub version: String,
    /// The id of the client, as in [`LanguageQuery`].
    pub client: String,
    /// Where the present name is.
    pub position: TextPosition,
    /// The new name. At most 1,024 bytes.
    pub name: String,
}

/// Body of `POST languages/apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "path": "src/main.py", "version": "120-5bd1e995", "client": "a1b2", "id": "17:0"
}))]
pub struct ApplyAction {
    /// Path of the document that the question was about.
    pub path: String,
    /// Version of the client's text, as in [`LanguageQuery`]. It must still be the one of the question.
    pub version: String,
    /// The id of the client, as in [`LanguageQuery`].
    pub client: String,
    /// The id of the [`CodeAction`].
    pub id: String,
}

/// Body of `POST languages/undo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "client": "a1b2", "id": "3" }))]
pub struct UndoEdits {
    /// The id of the client, as in [`LanguageQuery`].
    pub client: String,
    /// `undo` of the [`AppliedEdits`].
    pub id: String,
}

/// What was edited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedEdits {
    /// Files that were edited, by path. Their documents have the edits.
    pub files: Vec<EditedFile>,
    /// Edits of the client's own text, which is the only one that is concerned. The client makes them
    /// itself, if its text still has the version of the request, so that its user can undo them.
    #[serde(default)]
    pub edits: Vec<RangeEdit>,
    /// What was not edited, or is not saved.
    #[serde(default)]
    pub failures: Vec<EditFailure>,
    /// For `languages/undo`, while the files stay as they are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// A file that was edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditedFile {
    /// Path relative to the home.
    pub path: String,
    /// How many places were edited.
    pub edits: usize,
}

/// A file that was not edited, or is not saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditFailure {
    /// Path relative to the home.
    pub path: String,
    /// Why.
    pub message: String,
}

/// Body of `POST languages/restart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "language": "python" }))]
pub struct RestartLanguage {
    /// Id of the language.
    pub language: String,
}

/// Names a text: its length in UTF-16 code units, and the 32-bit FNV-1a hash of these units. Clients and the
/// agent compare texts by it, and it needs no history.
pub fn text_version(text: &str) -> String {
    let (mut units, mut hash) = (0_u64, 0x811c_9dc5_u32);
    for unit in text.encode_utf16() {
        units += 1;
        hash = (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193);
    }
    format!("{units}-{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The web app's test has the same examples.
    #[test]
    fn text_version_counts_utf16() {
        assert_eq!(text_version(""), "0-811c9dc5");
        assert_eq!(text_version("a"), "1-e40c292c");
        assert_eq!(text_version("x = 1 # \u{1f600}\n"), "11-8345d587");
        assert_ne!(text_version("ab"), text_version("ba"));
    }
}
