//! Git repositories of the home, by the `git` of the workspace. Burrow has no Git of its own: what a user
//! sees in a terminal and in the page is the same.
//!
//! [`Git`] opens a [`WorkingTree`] and reads it; [`operations`] changes it. Each is one or a few processes
//! ([`process`]) with limits; their output is parsed by pure modules ([`status`], [`diff`], [`records`],
//! [`messages`]). [`prompts`] passes questions of Git to the client. [`watch`] tells a client when the status
//! may have changed, and nothing runs for a repository that nobody watches. Knows no HTTP.

mod diff;
mod messages;
pub mod operations;
mod process;
pub mod prompts;
mod records;
mod repository;
mod status;
pub mod watch;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{
    files::HomePath,
    git::{
        BlamedLine, FileDiff, GitPath, GitStatus, History, HistoryQuery, MAX_COMMITS, MAX_GIT_CONTENT_BYTES,
        References, Remote, Repositories, Stash,
    },
};

use self::{
    diff::ParsedDiff,
    process::{GitError, GitReader, LITERAL_PATHS, Output},
    prompts::Prompts,
};
use crate::{files::home_directory::HomeDirectory, login_path::LoginPath, user::GuestUser};

/// Most bytes of a status: more than its most entries need.
const MAX_STATUS_BYTES: u64 = 8 * 1024 * 1024;
/// Most bytes of a list of commits or branches.
const MAX_LIST_BYTES: u64 = 16 * 1024 * 1024;
/// Most bytes of the diff of one file.
const MAX_DIFF_BYTES: u64 = 64 * 1024 * 1024;
/// Most branches and tags that are listed.
const MAX_REFERENCES: &str = "--count=5000";

/// The Git of a workspace.
pub struct Git {
    user: GuestUser,
    login_path: Arc<LoginPath>,
    home: HomeDirectory,
    reader: GitReader,
    /// What Git has asked for.
    pub prompts: Prompts,
    /// Operations on the same working tree wait for each other.
    locks: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

/// A working tree that exists.
#[derive(Clone, Debug)]
pub struct WorkingTree {
    /// Where it is, without symbolic links.
    directory: PathBuf,
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no repository at the path.
    #[error("There is no Git repository at this path.")]
    NoRepository,
    /// The file is not in that version.
    #[error("The file does not exist in this version.")]
    NoSuchFile,
    /// The file is too large.
    #[error("The file is larger than 8 MiB.")]
    TooLarge,
    /// The version is none.
    #[error("The version is not one of index, head, base, ours, theirs, or the hash of a commit.")]
    BadVersion,
    /// Git could not run.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Git has failed.
    #[error("{0}")]
    Failed(String),
    /// The home cannot be read.
    #[error("Cannot read the repository: {0}.")]
    Io(#[from] io::Error),
}

impl Git {
    /// The Git of `user`.
    pub fn new(user: &GuestUser, login_path: Arc<LoginPath>, home: HomeDirectory) -> Self {
        Self {
            user: user.clone(),
            login_path,
            home,
            reader: GitReader::new(user.clone()),
            prompts: Prompts::default(),
            locks: Mutex::default(),
        }
    }

    /// Finds the repositories of the home.
    pub async fn find_repositories(&self) -> io::Result<Repositories> {
        let home = self.home.path().to_owned();
        self.home.run(move |_| Ok(repository::find_repositories(&home))).await
    }

    /// Opens the repository whose working tree is at `path`.
    pub async fn open(&self, path: HomePath) -> Result<WorkingTree, ReadError> {
        let home = self.home.path().to_owned();
        self.home
            .run(move |files| {
                let path = files.resolve(&path).map_err(|_| ReadError::NoRepository)?;
                let directory = home.join(path.as_str());
                repository::git_directory(&directory).ok_or(ReadError::NoRepository)?;
                Ok(WorkingTree { directory })
            })
            .await
    }

    /// Reads the status.
    pub async fn status(&self, tree: &WorkingTree) -> Result<GitStatus, ReadError> {
        let arguments =
            ["status", "--porcelain=v2", "-z", "--branch", "--show-stash", "--untracked-files=all"];
        let output = self.read(tree, &arguments, MAX_STATUS_BYTES).await?;
        let mut status = status::parse_status(&output.stdout);
        status.truncated |= output.is_truncated;
        let directory = tree.directory.clone();
        let state = self.home.run(move |_| {
            let Some(directory) = repository::git_directory(&directory) else { return Ok((None, None)) };
            let operation = repository::ongoing_operation(&directory);
            Ok::<_, io::Error>((operation, repository::proposed_message(&directory)))
        });
        (status.operation, status.proposed_message) = state.await?;
        Ok(status)
    }

    /// Lists branches, tags, remotes and stashes.
    pub async fn references(&self, tree: &WorkingTree) -> Result<References, ReadError> {
        let (branches, remotes, stashes) =
            tokio::try_join!(self.branches(tree), self.remotes(tree), self.stashes(tree))?;
        Ok(References { remotes, stashes, ..branches })
    }

    /// Lists branches and tags only.
    async fn branches(&self, tree: &WorkingTree) -> Result<References, ReadError> {
        let format = records::REFERENCE_FORMAT;
        let arguments = [
            "for-each-ref",
            format,
            "--sort=-creatordate",
            MAX_REFERENCES,
            "refs/heads",
            "refs/remotes",
            "refs/tags",
        ];
        Ok(records::parse_references(&self.read(tree, &arguments, MAX_LIST_BYTES).await?.stdout))
    }

    async fn remotes(&self, tree: &WorkingTree) -> Result<Vec<Remote>, ReadError> {
        let arguments = ["config", "-z", "--get-regexp", r"^remote\..*\.url$"];
        // Fails if there are none.
        Ok(records::parse_remotes(&self.read_any(tree, &arguments, MAX_LIST_BYTES).await?.stdout))
    }

    async fn stashes(&self, tree: &WorkingTree) -> Result<Vec<Stash>, ReadError> {
        let arguments = ["stash", "list", "-z", records::STASH_FORMAT];
        Ok(records::parse_stashes(&self.read(tree, &arguments, MAX_LIST_BYTES).await?.stdout))
    }

    /// Lists commits.
    pub async fn history(&self, tree: &WorkingTree, query: &HistoryQuery) -> Result<History, ReadError> {
        let limit = query.limit.clamp(1, MAX_COMMITS);
        let (skip, count) = (format!("--skip={}", query.skip), format!("--max-count={}", limit + 1));
        let mut arguments =
            vec!["log", "-z", "--topo-order", "--no-show-signature", records::COMMIT_FORMAT, &skip, &count];
        arguments.push(if query.all { "--all" } else { "HEAD" });
        arguments.push("--");
        let output = self.read_any(tree, &arguments, MAX_LIST_BYTES).await?;
        // Before the first commit, there is no HEAD.
        if !output.is_success() && !output.stderr.contains("bad revision 'HEAD'") {
            return Err(ReadError::Failed(failure_message("read the history", &output)));
        }
        let mut commits = records::parse_commits(&output.stdout);
        let truncated = commits.len() > limit as usize || output.is_truncated;
        commits.truncate(limit as usize);
        Ok(History { commits, truncated })
    }

    /// Compares a file: the index with the working tree, or the last commit with the index.
    pub async fn diff(
        &self,
        tree: &WorkingTree,
        path: &GitPath,
        staged: bool,
    ) -> Result<FileDiff, ReadError> {
        let diff = self.parsed_diff(tree, path, staged).await?;
        Ok(diff.describe())
    }

    async fn parsed_diff(
        &self,
        tree: &WorkingTree,
        path: &GitPath,
        staged: bool,
    ) -> Result<ParsedDiff, ReadError> {
        let mut arguments = to_arguments(&[
            LITERAL_PATHS,
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--no-renames",
            "--full-index",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "--unified=3",
            "--inter-hunk-context=0",
            "--submodule=short",
        ]);
        arguments.extend(staged.then(|| "--cached".into()));
        arguments.push("--".into());
        arguments.push(os_string(path));
        let output = self.reader.read(tree.directory.clone(), &arguments, &[], MAX_DIFF_BYTES).await?;
        if output.is_truncated {
            return Err(ReadError::TooLarge);
        }
        let output = require_success("compare the file", output)?;
        Ok(diff::parse_diff(&output.stdout))
    }

    /// Reads a file as it is in a commit or in the index, in the form that it would have on disk.
    pub async fn content(
        &self,
        tree: &WorkingTree,
        path: &GitPath,
        version: &str,
    ) -> Result<Vec<u8>, ReadError> {
        let revision = match version {
            "index" => ":0",
            "base" => ":1",
            "ours" => ":2",
            "theirs" => ":3",
            "head" => "HEAD",
            hash if is_hash(hash) => hash,
            _ => return Err(ReadError::BadVersion),
        };
        let mut object = OsString::from(revision);
        object.push(":");
        object.push(OsStr::from_bytes(path.as_bytes()));
        let arguments = ["cat-file".into(), "--filters".into(), object];
        let output = self.reader.read(tree.directory.clone(), &arguments, &[], MAX_GIT_CONTENT_BYTES).await?;
        if output.is_truncated {
            return Err(ReadError::TooLarge);
        }
        // The object's name is all that can be wrong.
        if output.is_success() { Ok(output.stdout) } else { Err(ReadError::NoSuchFile) }
    }

    /// Finds the commit that a line of a file on disk comes from.
    pub async fn blame(
        &self,
        tree: &WorkingTree,
        path: &GitPath,
        line: u64,
    ) -> Result<BlamedLine, ReadError> {
        let mut arguments =
            to_arguments(&[LITERAL_PATHS, "blame", "--porcelain", "-L", &format!("{line},{line}"), "--"]);
        arguments.push(os_string(path));
        let output = self.reader.read(tree.directory.clone(), &arguments, &[], MAX_LIST_BYTES).await?;
        let output = require_success("find the commit of the line", output)?;
        records::parse_blame(&output.stdout).ok_or(ReadError::NoSuchFile)
    }

    /// Runs a process that must succeed.
    async fn read(
        &self,
        tree: &WorkingTree,
        arguments: &[&str],
        max_bytes: u64,
    ) -> Result<Output, ReadError> {
        let output = self.read_any(tree, arguments, max_bytes).await?;
        require_success("read the repository", output)
    }

    async fn read_any(
        &self,
        tree: &WorkingTree,
        arguments: &[&str],
        max_bytes: u64,
    ) -> Result<Output, ReadError> {
        let arguments = to_arguments(arguments);
        Ok(self.reader.read(tree.directory.clone(), &arguments, &[], max_bytes).await?)
    }

    /// The lock of a working tree.
    fn lock_of(&self, tree: &WorkingTree) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(tree.directory.clone()).or_default().clone()
    }
}

fn require_success(what: &str, output: Output) -> Result<Output, ReadError> {
    if output.is_success() { Ok(output) } else { Err(ReadError::Failed(failure_message(what, &output))) }
}

fn failure_message(what: &str, output: &Output) -> String {
    messages::explain_failure(protocol::git::GitFailure::Other, what, &output.stderr)
}

fn to_arguments(arguments: &[&str]) -> Vec<OsString> {
    arguments.iter().map(OsString::from).collect()
}

fn os_string(path: &GitPath) -> OsString {
    OsStr::from_bytes(path.as_bytes()).to_owned()
}

/// Whether a text is the hash of a commit, perhaps its beginning.
fn is_hash(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}
