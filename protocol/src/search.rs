//! Searching the text of files, and replacing what was found.
//!
//! `GET files/search` ([`SearchQuery`]) streams [`SearchEvent`]s. Its matches name positions as editors
//! do: a line, and a column in UTF-16 code units. `POST documents/edit` ([`EditDocument`]) replaces text
//! at such positions, if it is still there: what users and programs have changed since is never lost.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Most matches of one search. A search that finds more ends there.
pub const MAX_SEARCH_MATCHES: usize = 10_000;
/// Most bytes of a pattern, a replacement, or a list of globs.
pub const MAX_SEARCH_TEXT_BYTES: usize = 4096;
/// Most matches in one [`SearchEvent::File`].
pub const MAX_EVENT_MATCHES: usize = 200;
/// Most bytes of the body of `POST documents/edit`: as many matches as one search finds.
pub const MAX_EDIT_BYTES: u64 = 16 * 1024 * 1024;

/// Query of `files/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// Text to find in single lines.
    #[param(example = "TODO")]
    pub pattern: String,
    /// Whether `pattern` is a regular expression in the syntax of Rust's `regex` crate.
    pub regex: bool,
    /// Whether upper and lower case differ.
    pub case_sensitive: bool,
    /// Whether a match must begin and end at the boundary of a word.
    pub whole_word: bool,
    /// Whether to search what a `.gitignore` names, `node_modules` and `.cache` too.
    pub ignored: bool,
    /// Path of the directory to search, relative to the home. Defaults to the home.
    #[param(example = "project/src")]
    pub path: String,
    /// Globs of files to search, separated by commas. Without any: all files.
    #[param(example = "*.rs, src")]
    pub include: String,
    /// Globs of files and directories to leave out, separated by commas.
    #[param(example = "*.min.js, target")]
    pub exclude: String,
    /// Text that would replace each match. In that of a regular expression, `$1` and `$name` stand for
    /// groups and `$$` for a dollar sign. Each match then has a `replacement`; no file is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

/// One server-sent event of a search, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SearchEvent {
    /// Matches in a file, in their order. A file with more than 200 matches has several events. Files come
    /// in no particular order.
    File {
        /// Path relative to the home.
        path: String,
        /// The matches.
        matches: Vec<TextMatch>,
    },
    /// The last event.
    Finished {
        /// Files that were searched.
        files: u64,
        /// Whether the search ended early, at 10,000 matches.
        truncated: bool,
        /// Files that could not be read, or have a line longer than 16 MiB.
        skipped: u64,
    },
}

/// One match of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "line": 12, "column": 7, "length": 4, "before": "    // ", "text": "TODO", "after": ": remove"
}))]
pub struct TextMatch {
    /// Line, counted from 1.
    pub line: u64,
    /// UTF-16 code units of the line before the match.
    pub column: u64,
    /// UTF-16 code units of the match. More than `text` has if the match is too long to show.
    pub length: u64,
    /// What precedes the match in its line. The end of it, if it is long.
    pub before: String,
    /// The match. The beginning of it, if it is long.
    pub text: String,
    /// What follows in the line. The beginning of it, if it is long.
    pub after: String,
    /// What would replace the match, if the query has a `replacement` and `text` is the whole match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

/// Body of `POST documents/edit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditDocument {
    /// Path of the file, relative to the home.
    #[schema(example = "src/main.rs")]
    pub path: String,
    /// Edits, whose positions all refer to the text before the request.
    pub edits: Vec<LineEdit>,
}

/// Replaces text within a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "line": 12, "column": 7, "old": "TODO", "new": "DONE" }))]
pub struct LineEdit {
    /// Line, counted from 1.
    pub line: u64,
    /// UTF-16 code units of the line before the edit.
    pub column: u64,
    /// The text that must be there.
    pub old: String,
    /// The text that takes its place.
    pub new: String,
}

/// Answer to `POST documents/edit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditedDocument {
    /// Indexes of edits that were not applied, because other text is there now or they overlap another.
    pub missed: Vec<usize>,
    /// Why the file cannot be written, if it cannot. Edits not in `missed` are saved when it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
}
