//! Git repositories of the home.
//!
//! Routes (below `/v1/`):
//! - `GET git/repositories` → [`Repositories`].
//! - `GET git/status?repository=` → [`GitStatus`].
//! - `GET git/references?repository=` → [`References`]: branches, tags, remotes and stashes.
//! - `GET git/log?repository=&skip=&limit=` → [`History`].
//! - `GET git/diff?repository=&path=&staged=` → [`FileDiff`]: which lines differ.
//! - `GET git/content?repository=&path=&version=` → the bytes of a file in a commit or in the index.
//! - `GET git/blame?repository=&path=&line=` → [`BlamedLine`].
//! - `POST git/run` ([`RunGit`]) → a stream of [`GitEvent`]s. Every change goes through it.
//! - `POST git/answer` ([`PromptAnswer`]): what Git has asked for, such as a password.
//! - `git/watch`: a WebSocket of JSON text messages, [`GitWatchRequest`] from the client and
//!   [`RepositoryChanged`] from the agent.
//!
//! A repository is named by the path of its working tree relative to the home; the empty path is the home
//! itself. Paths of files are relative to the working tree, and may be any bytes ([`GitPath`]).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

/// Most bytes of the body of `POST git/run`: the paths of some 40,000 files.
pub const MAX_RUN_BYTES: u64 = 4 * 1024 * 1024;
/// Most entries of a [`GitStatus`].
pub const MAX_STATUS_ENTRIES: usize = 10_000;
/// Most repositories that are found in a home.
pub const MAX_REPOSITORIES: usize = 100;
/// Most commits in one [`History`].
pub const MAX_COMMITS: u32 = 500;
/// Most bytes of a file's content, as large as a document.
pub const MAX_GIT_CONTENT_BYTES: u64 = 8 * 1024 * 1024;

/// A path in a repository, relative to its working tree.
///
/// In JSON it is a string. A path that is not UTF-8 is written as a NUL character, which no path contains,
/// followed by the path with its invalid bytes and `%` as `%XX`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitPath(Vec<u8>);

/// Why a text is not a [`GitPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path in a repository is relative, without `..`, and at most 4,096 bytes")]
pub struct BadGitPath;

impl GitPath {
    /// A path as Git prints it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadGitPath> {
        let is_bad = |segment: &[u8]| segment.is_empty() || segment == b"." || segment == b"..";
        if bytes.is_empty()
            || bytes.len() > crate::files::MAX_PATH_BYTES
            || bytes.contains(&0)
            || bytes.strip_suffix(b"/").unwrap_or(bytes).split(|byte| *byte == b'/').any(is_bad)
        {
            return Err(BadGitPath);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parses the form of JSON.
    pub fn parse(text: &str) -> Result<Self, BadGitPath> {
        let Some(escaped) = text.strip_prefix('\0') else { return Self::from_bytes(text.as_bytes()) };
        let mut bytes = Vec::with_capacity(escaped.len());
        let mut rest = escaped.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = tail;
            if *first == b'%' {
                let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or(BadGitPath)?);
                rest = &tail[2..];
            } else {
                bytes.push(*first);
            }
        }
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for GitPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return f.write_str(text);
        }
        f.write_str("\0")?;
        for chunk in self.0.utf8_chunks() {
            f.write_str(&chunk.valid().replace('%', "%25"))?;
            for byte in chunk.invalid() {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for GitPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GitPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Answer to `git/repositories`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repositories {
    /// Repositories, those near the top of the home first.
    pub repositories: Vec<Repository>,
    /// Whether the home has more repositories or directories than were looked at.
    pub truncated: bool,
}

/// A working tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// Path relative to the home. Empty: the home itself.
    #[schema(example = "project")]
    pub path: String,
    /// What it is.
    pub kind: RepositoryKind,
}

/// What a working tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryKind {
    /// A working tree with its repository.
    Main,
    /// A further working tree of another repository.
    Worktree,
    /// A submodule of another repository.
    Submodule,
}

/// Query that names a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RepositoryQuery {
    /// Path of the working tree, relative to the home.
    #[param(example = "project")]
    pub repository: String,
}

/// Answer to `git/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GitStatus {
    /// The commit that is checked out. `None` before the first commit.
    pub head: Option<String>,
    /// The branch that is checked out. `None`: no branch, but a commit.
    pub branch: Option<String>,
    /// The branch that this one follows, for example `origin/main`.
    pub upstream: Option<String>,
    /// Commits that the upstream branch lacks. `None` if the upstream branch does not exist.
    pub ahead: Option<u64>,
    /// Commits of the upstream branch that this one lacks.
    pub behind: Option<u64>,
    /// What has begun and is not finished.
    pub operation: Option<OngoingOperation>,
    /// The message that Git proposes for the next commit, for example during a merge.
    pub proposed_message: Option<String>,
    /// Number of stashes.
    pub stashes: u64,
    /// Files that differ, in Git's order.
    pub entries: Vec<StatusEntry>,
    /// Whether there are more entries.
    pub truncated: bool,
}

/// What was begun in a repository and waits for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OngoingOperation {
    /// A merge.
    Merge,
    /// A rebase.
    Rebase,
    /// A cherry-pick.
    CherryPick,
    /// A revert.
    Revert,
    /// A bisection.
    Bisect,
}

/// A file that differs between the last commit, the index and the working tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusEntry {
    /// Path of the file.
    #[schema(value_type = String, example = "src/main.rs")]
    pub path: GitPath,
    /// Its former path, if it was renamed or copied.
    #[schema(value_type = Option<String>)]
    pub original_path: Option<GitPath>,
    /// What is staged.
    pub index: FileChange,
    /// What is not staged.
    pub worktree: FileChange,
    /// Set if both sides of a merge have changed the file.
    pub conflict: Option<Conflict>,
    /// Whether it is a submodule, or the directory of another repository.
    pub is_repository: bool,
}

/// How a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileChange {
    /// Not at all.
    Unmodified,
    /// Other content.
    Modified,
    /// A file has become a link, or the other way round.
    TypeChanged,
    /// New.
    Added,
    /// Deleted.
    Deleted,
    /// Has another path.
    Renamed,
    /// A copy of another file.
    Copied,
    /// Git does not know it.
    Untracked,
}

/// What the two sides of a merge have done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// Both have changed it.
    BothModified,
    /// Both have added it.
    BothAdded,
    /// Both have deleted it, for example because both have renamed it.
    BothDeleted,
    /// This branch has added it.
    AddedByUs,
    /// The other branch has added it.
    AddedByThem,
    /// This branch has deleted it.
    DeletedByUs,
    /// The other branch has deleted it.
    DeletedByThem,
}

/// Answer to `git/references`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct References {
    /// Local branches, newest commit first.
    pub branches: Vec<Branch>,
    /// Branches of remotes, for example `origin/main`, newest commit first.
    pub remote_branches: Vec<Branch>,
    /// Tags, newest first.
    pub tags: Vec<Branch>,
    /// Remotes.
    pub remotes: Vec<Remote>,
    /// Stashes, newest first.
    pub stashes: Vec<Stash>,
}

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Branch {
    /// Its name, without `refs/…/`.
    pub name: String,
    /// Its commit.
    pub commit: String,
    /// The branch that it follows.
    pub upstream: Option<String>,
    /// Whether it is checked out here.
    pub is_head: bool,
    /// Unix time of the commit, in seconds.
    pub time: i64,
    /// First line of the commit's message.
    pub subject: String,
}

/// A remote repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remote {
    /// Its name, for example `origin`.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// Changes that were put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stash {
    /// Its commit, which names it even if others come or go.
    pub commit: String,
    /// Unix time, in seconds.
    pub time: i64,
    /// Its description.
    pub message: String,
}

/// Query of `git/log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Path of the working tree, relative to the home.
    #[param(example = "project")]
    pub repository: String,
    /// How many of the newest commits to leave out.
    #[serde(default)]
    pub skip: u32,
    /// Most commits of the answer, at most 500.
    #[serde(default = "default_limit")]
    pub limit: u32,
    /// Whether to list commits of all branches, instead of those that lead to the current one.
    #[serde(default)]
    pub all: bool,
}

fn default_limit() -> u32 {
    50
}

/// Answer to `git/log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Commits, no parent before its children.
    pub commits: Vec<Commit>,
    /// Whether there are more.
    pub truncated: bool,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Commit {
    /// Its hash.
    pub id: String,
    /// Hashes of its parents.
    pub parents: Vec<String>,
    /// Name of the author.
    pub author: String,
    /// Email address of the author.
    pub email: String,
    /// Unix time of the authoring, in seconds.
    pub time: i64,
    /// Branches and tags on it, as Git shows them: `HEAD -> main`, `origin/main`, `tag: v1`.
    pub references: Vec<String>,
    /// The whole message.
    pub message: String,
}

/// Query of `git/diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// Path of the working tree, relative to the home.
    #[param(example = "project")]
    pub repository: String,
    /// Path of the file.
    #[param(example = "src/main.rs")]
    pub path: String,
    /// Whether to compare the last commit with the index, instead of the index with the working tree.
    #[serde(default)]
    pub staged: bool,
}

/// Answer to `git/diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileDiff {
    /// Names this state of the diff, for [`GitOperation::ApplyLines`].
    pub fingerprint: String,
    /// Whether Git considers the file binary: it has no lines.
    pub is_binary: bool,
    /// What has changed, from top to bottom.
    pub changes: Vec<LineChange>,
}

/// Lines that were replaced by others. Lines are counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineChange {
    /// First of the old lines. Without any: the old line before which the new ones come.
    pub old_start: u64,
    /// Number of old lines.
    pub old_lines: u64,
    /// First of the new lines. Without any: the new line before which the old ones were.
    pub new_start: u64,
    /// Number of new lines.
    pub new_lines: u64,
}

/// Query of `git/content`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GitContentQuery {
    /// Path of the working tree, relative to the home.
    #[param(example = "project")]
    pub repository: String,
    /// Path of the file.
    #[param(example = "src/main.rs")]
    pub path: String,
    /// `index`, `head`, the side of a conflict (`base`, `ours` or `theirs`), or the hash of a commit.
    #[param(example = "head")]
    pub version: String,
}

/// Query of `git/blame`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BlameQuery {
    /// Path of the working tree, relative to the home.
    #[param(example = "project")]
    pub repository: String,
    /// Path of the file.
    #[param(example = "src/main.rs")]
    pub path: String,
    /// Line of the file on disk, counted from 1.
    #[param(example = 12)]
    pub line: u64,
}

/// Answer to `git/blame`: the commit that a line comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlamedLine {
    /// The commit. `None`: the line is not committed yet.
    pub commit: Option<String>,
    /// Name of the author.
    pub author: String,
    /// Unix time of the authoring, in seconds.
    pub time: i64,
    /// First line of the commit's message.
    pub subject: String,
}

/// Body of `POST git/run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "repository": "project", "operation": { "type": "stage", "paths": ["a.txt"] } }))]
pub struct RunGit {
    /// Path of the working tree, relative to the home. For `clone` and `init`: of the new one.
    pub repository: String,
    /// What to do.
    pub operation: GitOperation,
}

/// Something that changes a repository. Each is done by the `git` of the workspace, with its hooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GitOperation {
    /// Copies a repository to a new directory. Ends with its client.
    Clone {
        /// Where the repository is.
        url: String,
    },
    /// Makes a directory a repository.
    Init,
    /// Stages files: their content, or that they are deleted. Resolves conflicts.
    Stage {
        /// Paths of files.
        #[schema(value_type = Vec<String>)]
        paths: Vec<GitPath>,
    },
    /// Stages all files.
    StageAll,
    /// Unstages files.
    Unstage {
        /// Paths of files; of a renamed one both.
        #[schema(value_type = Vec<String>)]
        paths: Vec<GitPath>,
    },
    /// Unstages all files.
    UnstageAll,
    /// Makes files as they are in the index, and deletes untracked ones. What they contained is kept: see
    /// [`GitEvent::Finished`].
    Discard {
        /// Paths of files.
        #[schema(value_type = Vec<String>)]
        paths: Vec<GitPath>,
    },
    /// Undoes a discard. Refused if one of the files has changed since.
    RestoreDiscarded {
        /// What the discard has returned.
        files: Vec<DiscardedFile>,
    },
    /// Stages, unstages or discards some of the changed lines of a file.
    ApplyLines {
        /// Path of the file.
        #[schema(value_type = String)]
        path: GitPath,
        /// What to do with the lines.
        action: LineAction,
        /// The [`FileDiff::fingerprint`] of the diff that the lines were chosen in. Refused if the file has
        /// changed since.
        fingerprint: String,
        /// The old and new lines that are meant. Others stay as they are.
        changes: Vec<LineChange>,
    },
    /// Takes one side of a conflict, and stages it.
    Resolve {
        /// Path of the file.
        #[schema(value_type = String)]
        path: GitPath,
        /// Which side.
        side: ConflictSide,
    },
    /// Commits what is staged.
    Commit {
        /// The message. May be empty with `amend`: the message stays.
        message: String,
        /// Whether to replace the last commit.
        amend: bool,
    },
    /// Removes the last commit. What it has changed is staged.
    UndoCommit,
    /// Gets new commits of the remote, without changing files.
    Fetch,
    /// Gets new commits of the upstream branch and joins them with the own ones.
    Pull {
        /// How they are joined. Without: as the repository is configured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strategy: Option<PullStrategy>,
    },
    /// Sends commits to the upstream branch.
    Push {
        /// A remote, in which to create a branch of the same name as upstream branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        publish_to: Option<String>,
        /// Whether to replace the remote's commits, if they are those that were fetched last.
        #[serde(default)]
        force: bool,
    },
    /// Switches to a branch. A branch of a remote is followed by a new local one.
    Switch {
        /// Name of the branch.
        branch: String,
    },
    /// Checks out a commit or tag, without a branch.
    SwitchToCommit {
        /// A commit or tag.
        commit: String,
    },
    /// Creates a branch and switches to it.
    CreateBranch {
        /// Its name.
        name: String,
        /// Where it begins. Without: at the current commit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// Renames the current branch.
    RenameBranch {
        /// Its new name.
        name: String,
    },
    /// Deletes a local branch.
    DeleteBranch {
        /// Its name.
        name: String,
        /// Whether to delete it even if its commits are on no other branch.
        force: bool,
    },
    /// Merges a branch into the current one.
    Merge {
        /// Name of the branch.
        branch: String,
    },
    /// Moves the current branch's own commits onto another branch.
    Rebase {
        /// Name of the branch.
        branch: String,
    },
    /// Continues what waits for the user, after all conflicts are resolved.
    Continue {
        /// What is continued.
        ongoing: OngoingOperation,
    },
    /// Ends what waits for the user, and returns to the state before it.
    Abort {
        /// What is aborted.
        ongoing: OngoingOperation,
    },
    /// Puts all changes aside, untracked files too.
    StashPush {
        /// A description. May be empty.
        message: String,
    },
    /// Applies a stash, and removes it if that succeeds.
    StashPop {
        /// The stash's commit.
        commit: String,
    },
    /// Removes a stash.
    StashDrop {
        /// The stash's commit.
        commit: String,
    },
    /// Creates a tag on the current commit.
    CreateTag {
        /// Its name.
        name: String,
        /// A message. May be empty: then the tag is a mere name.
        message: String,
    },
    /// Deletes a local tag.
    DeleteTag {
        /// Its name.
        name: String,
    },
    /// Adds a remote.
    AddRemote {
        /// Its name.
        name: String,
        /// Where it is.
        url: String,
    },
    /// Removes a remote.
    RemoveRemote {
        /// Its name.
        name: String,
    },
    /// Sets who the author of new commits is, for all repositories of the home.
    SetIdentity {
        /// Name of the author.
        name: String,
        /// Email address of the author.
        email: String,
    },
}

/// What happens to chosen lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineAction {
    /// The index gets them from the working tree.
    Stage,
    /// The index gets them from the last commit.
    Unstage,
    /// The working tree gets them from the index.
    Discard,
}

/// A side of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictSide {
    /// The current branch. In a rebase: the branch onto which commits are moved.
    Ours,
    /// The other branch. In a rebase: the commit that is moved.
    Theirs,
}

/// How a pull joins commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullStrategy {
    /// By a commit that merges both.
    Merge,
    /// The own commits come after the others.
    Rebase,
}

/// One server-sent event of a running operation, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GitEvent {
    /// How far it is. Some of these may be left out.
    Progress {
        /// What it does, in Git's words.
        text: String,
        /// Percent of this step.
        percent: Option<u8>,
    },
    /// Git or SSH asks for something. Answer with `POST git/answer`.
    Prompt {
        /// Names the prompt.
        prompt: String,
        /// What is asked for, in the program's words.
        text: String,
        /// Whether the answer is a secret.
        is_secret: bool,
    },
    /// The last event, of an operation that succeeded.
    Finished {
        /// What Git has printed, the end of it.
        output: String,
        /// What a discard has removed, for [`GitOperation::RestoreDiscarded`].
        #[serde(default)]
        discarded: Vec<DiscardedFile>,
    },
    /// The last event, of an operation that failed.
    Failed {
        /// What went wrong.
        failure: GitFailure,
        /// What went wrong and what to do, for the user.
        message: String,
        /// What Git has printed, the end of it.
        output: String,
    },
}

/// The content of a file before it was discarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiscardedFile {
    /// Path of the file.
    #[schema(value_type = String)]
    pub path: GitPath,
    /// The object of the repository that has the content. `None`: there was no file.
    pub before: Option<String>,
    /// The hash of what the discard has left. `None`: no file.
    pub after: Option<String>,
    /// The mode of the file, as in Git's trees: 100644, 100755 or 120000.
    pub mode: String,
}

/// Why an operation failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GitFailure {
    /// The author of commits is not known.
    IdentityMissing,
    /// The remote does not accept the credentials, or none were given.
    Authentication,
    /// The remote does not answer.
    Unreachable,
    /// There is no such repository or branch.
    NotFound,
    /// The branch follows no other.
    NoUpstream,
    /// The remote has commits that the branch lacks.
    Rejected,
    /// Both sides have commits, and nothing says how to join them.
    Diverged,
    /// There are conflicts to resolve.
    Conflicts,
    /// Local changes are in the way.
    LocalChanges,
    /// Another Git process works in the repository.
    Locked,
    /// There is nothing to commit.
    NothingToCommit,
    /// The branch has commits that are on no other.
    NotMerged,
    /// What the operation is about has changed since it was read.
    Changed,
    /// The operation took too long.
    Timeout,
    /// Git is not installed.
    NotInstalled,
    /// Something else, see the output.
    Other,
}

/// Body of `POST git/answer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PromptAnswer {
    /// The prompt that is answered.
    pub prompt: String,
    /// The answer. `None` cancels the operation.
    #[schema(value_type = Option<String>)]
    pub answer: Option<crate::Redacted<String>>,
}

/// A message of the client on `git/watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GitWatchRequest {
    /// Watches one repository, instead of another one.
    Watch {
        /// Path of the working tree, relative to the home.
        repository: String,
    },
    /// Asks for an answer.
    Ping,
}

/// A message of the agent on `git/watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryChanged {
    /// Whether the status may have changed. False in the answer to a ping.
    pub changed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_round_trips_any_bytes() {
        for bytes in [&b"a b"[..], b"a\nb\"c", b"caf\xe9/100%", b"\xff", "grün".as_bytes(), b"dir/"] {
            let path = GitPath::from_bytes(bytes).expect("a path");
            let json = serde_json::to_string(&path).expect("JSON");
            assert_eq!(serde_json::from_str::<GitPath>(&json).expect("a path"), path, "{json}");
        }
    }

    #[test]
    fn path_that_leaves_repository_is_refused() {
        for text in ["", "/a", "a/../b", "..", "a//b", "./a", "a\0", "\0%2", "\0%zz", "\0%2e%2e/a"] {
            assert_eq!(GitPath::parse(text), Err(BadGitPath), "{text:?}");
        }
    }
}
