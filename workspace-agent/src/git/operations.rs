//! Everything that changes a repository.
//!
//! Most operations are a [`Plan`] of one or two processes, which is pure. Those that discard something first
//! keep what was there as objects of the repository, so that they can be undone.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, ffi::OsStringExt as _, fs::OpenOptionsExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::git::{
    Conflict, ConflictSide, DiscardedFile, FileChange, GitEvent, GitFailure, GitOperation, GitPath,
    LineAction, OngoingOperation, PullStrategy,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use super::{
    Git, ReadError, WorkingTree,
    diff::Direction,
    is_hash, messages, os_string,
    process::{GitError, GitProcess, LITERAL_PATHS},
    prompts::AskPass,
    to_arguments,
};

/// Most time that one process may take. A clone of a large repository, and hooks, take long.
const OPERATION_TIMEOUT: Duration = Duration::from_hours(1);
/// How long output is read after a process has ended.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of output that are kept: the last ones.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// Most bytes of one line of output.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Most files that one process gets as arguments.
const MAX_FILE_ARGUMENTS: usize = 100;
/// Most bytes of an answer of Git about objects and stashes.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// What an operation does.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<Step>,
    /// Whether the operation ends when its client goes away. Others end in a state that nobody wants.
    is_cancelable: bool,
}

/// One process.
#[derive(Debug, Default)]
struct Step {
    arguments: Vec<OsString>,
    input: Vec<u8>,
}

/// Why an operation failed.
#[derive(Debug)]
struct OperationError {
    failure: GitFailure,
    /// A sentence for the user. `None`: that of `failure`.
    message: Option<String>,
    output: String,
}

impl OperationError {
    fn new(failure: GitFailure, message: impl Into<String>) -> Self {
        Self { failure, message: Some(message.into()), output: String::new() }
    }

    /// An error that is explained by its kind and what was printed.
    fn with_output(failure: GitFailure, output: String) -> Self {
        Self { failure, message: None, output }
    }

    /// What was discarded is no object of the repository any more.
    fn discarded_is_gone() -> Self {
        Self::new(GitFailure::Other, "What was discarded does not exist any more.")
    }
}

impl From<ReadError> for OperationError {
    fn from(error: ReadError) -> Self {
        let failure = match &error {
            ReadError::Git(GitError::NotInstalled) => GitFailure::NotInstalled,
            ReadError::Git(GitError::Timeout) => GitFailure::Timeout,
            ReadError::NoRepository => GitFailure::NotFound,
            _ => GitFailure::Other,
        };
        Self::new(failure, error.to_string())
    }
}

impl From<GitError> for OperationError {
    fn from(error: GitError) -> Self {
        ReadError::from(error).into()
    }
}

impl From<io::Error> for OperationError {
    fn from(error: io::Error) -> Self {
        ReadError::from(error).into()
    }
}

/// What a successful operation returns.
#[derive(Default)]
struct Done {
    output: String,
    discarded: Vec<DiscardedFile>,
}

impl Git {
    /// Clones a repository, or makes a directory one, at `target` below the home.
    pub async fn create(
        &self,
        target: &str,
        operation: &GitOperation,
        events: &mpsc::Sender<GitEvent>,
    ) -> GitEvent {
        let home = WorkingTree { directory: self.home.path().to_owned() };
        let plan = match operation {
            GitOperation::Clone { url } => {
                let mut plan = one_step(&["clone", "--progress", "--recurse-submodules", "--", url, target]);
                plan.is_cancelable = true;
                plan
            }
            _ => one_step(&["init", "--", if target.is_empty() { "." } else { target }]),
        };
        let done = self.run_plan(&home, plan, events).await;
        final_event(operation, done)
    }

    /// Runs an operation, and returns its last event.
    pub async fn run(
        &self,
        tree: &WorkingTree,
        operation: &GitOperation,
        events: &mpsc::Sender<GitEvent>,
    ) -> GitEvent {
        let lock = takes_lock(operation).then(|| self.lock_of(tree));
        let _exclusive = match &lock {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let done = self.run_exclusively(tree, operation, events).await;
        final_event(operation, done)
    }

    async fn run_exclusively(
        &self,
        tree: &WorkingTree,
        operation: &GitOperation,
        events: &mpsc::Sender<GitEvent>,
    ) -> Result<Done, OperationError> {
        match operation {
            GitOperation::Discard { paths } => self.discard(tree, paths, events).await,
            GitOperation::RestoreDiscarded { files } => self.restore_discarded(tree, files).await,
            GitOperation::ApplyLines { path, action, fingerprint, changes } => {
                let diff = self.parsed_diff(tree, path, *action == LineAction::Unstage).await?;
                if diff.fingerprint() != fingerprint {
                    return Err(OperationError::with_output(GitFailure::Changed, String::new()));
                }
                let (direction, options): (_, &[&str]) = match action {
                    LineAction::Stage => (Direction::Forward, &["--cached"]),
                    LineAction::Unstage => (Direction::Reverse, &["--cached", "--reverse"]),
                    LineAction::Discard => (Direction::Reverse, &["--reverse"]),
                };
                let Some(patch) = diff.patch(changes, direction) else {
                    return Err(OperationError::new(GitFailure::Changed, "None of these lines has changed."));
                };
                let mut arguments = to_arguments(&["apply", "--whitespace=nowarn"]);
                arguments.extend(to_arguments(options));
                arguments.push("-".into());
                let plan = Plan { steps: vec![Step { arguments, input: patch }], is_cancelable: false };
                if *action == LineAction::Discard {
                    self.discard_by(tree, std::slice::from_ref(path), &[], plan, events).await
                } else {
                    self.run_plan(tree, plan, events).await
                }
            }
            GitOperation::Resolve { path, side } => {
                let conflict = self.status(tree).await?.entries.into_iter().find(|entry| entry.path == *path);
                let Some(conflict) = conflict.and_then(|entry| entry.conflict) else {
                    return Err(OperationError::new(
                        GitFailure::Changed,
                        "The file has no conflict any more.",
                    ));
                };
                self.run_plan(tree, resolve(path, *side, conflict), events).await
            }
            GitOperation::Switch { branch } => {
                let plan = self.plan_switch(tree, branch).await?;
                self.run_plan(tree, plan, events).await
            }
            GitOperation::StashPop { commit } => self.run_on_stash(tree, "pop", commit, events).await,
            GitOperation::StashDrop { commit } => self.run_on_stash(tree, "drop", commit, events).await,
            operation => self.run_plan(tree, plan(operation)?, events).await,
        }
    }

    /// A branch of a remote that has no local one yet gets it.
    async fn plan_switch(&self, tree: &WorkingTree, branch: &str) -> Result<Plan, OperationError> {
        check_name(branch)?;
        let branches = self.branches(tree).await?.branches;
        let is_local = |name: &str| branches.iter().any(|branch| branch.name == name);
        if is_local(branch) {
            return Ok(one_step(&["switch", "--progress", branch]));
        }
        let remotes = self.remotes(tree).await?;
        let local = remotes.iter().find_map(|remote| branch.strip_prefix(&remote.name)?.strip_prefix('/'));
        Ok(match local {
            Some(local) if is_local(local) => one_step(&["switch", "--progress", local]),
            Some(_) => one_step(&["switch", "--progress", "--track", branch]),
            None => one_step(&["switch", "--progress", branch]),
        })
    }

    async fn run_on_stash(
        &self,
        tree: &WorkingTree,
        verb: &str,
        commit: &str,
        events: &mpsc::Sender<GitEvent>,
    ) -> Result<Done, OperationError> {
        let stashes = self.stashes(tree).await?;
        let Some(at) = stashes.iter().position(|stash| stash.commit == commit) else {
            return Err(OperationError::new(GitFailure::Changed, "The stash does not exist any more."));
        };
        let stash = format!("stash@{{{at}}}");
        let mut arguments = vec!["stash", verb];
        // What was staged is staged again.
        arguments.extend((verb == "pop").then_some("--index"));
        arguments.push(&stash);
        self.run_plan(tree, one_step(&arguments), events).await
    }

    async fn discard(
        &self,
        tree: &WorkingTree,
        paths: &[GitPath],
        events: &mpsc::Sender<GitEvent>,
    ) -> Result<Done, OperationError> {
        let status = self.status(tree).await?;
        let entries: BTreeMap<&GitPath, _> =
            status.entries.iter().map(|entry| (&entry.path, entry)).collect();
        let (mut tracked, mut untracked) = (Vec::new(), Vec::new());
        for path in paths {
            let Some(entry) = entries.get(path) else { continue };
            if entry.is_repository {
                let message = format!("{path} is another repository. Discard its changes there.");
                return Err(OperationError::new(GitFailure::Other, message));
            }
            if entry.conflict.is_some() {
                let message = format!("{path} has a conflict. Take one of its sides instead.");
                return Err(OperationError::new(GitFailure::Conflicts, message));
            }
            match entry.worktree {
                FileChange::Unmodified => {}
                FileChange::Untracked => untracked.push(path.clone()),
                _ => tracked.push(path.clone()),
            }
        }
        let mut plan = Plan::default();
        if !tracked.is_empty() {
            plan.steps.push(on_paths(&["restore", "--worktree"], &tracked));
        }
        let all: Vec<GitPath> = tracked.into_iter().chain(untracked.iter().cloned()).collect();
        self.discard_by(tree, &all, &untracked, plan, events).await
    }

    /// Keeps files, deletes those of `untracked`, runs the plan, and describes how all this is undone.
    async fn discard_by(
        &self,
        tree: &WorkingTree,
        paths: &[GitPath],
        untracked: &[GitPath],
        plan: Plan,
        events: &mpsc::Sender<GitEvent>,
    ) -> Result<Done, OperationError> {
        let before = self.describe_files(tree, paths, true).await?;
        let mut done = self.run_plan(tree, plan, events).await?;
        let deleted: Vec<PathBuf> = untracked.iter().map(|path| file_path(tree, path)).collect();
        self.home.run(move |_| deleted.iter().try_for_each(fs::remove_file)).await?;
        let after = self.describe_files(tree, paths, false).await?;
        let files = paths.iter().zip(before).zip(after).map(|((path, before), after)| DiscardedFile {
            path: path.clone(),
            before: before.hash,
            after: after.hash,
            mode: before.mode.to_owned(),
        });
        done.discarded = files.collect();
        Ok(done)
    }

    async fn restore_discarded(
        &self,
        tree: &WorkingTree,
        files: &[DiscardedFile],
    ) -> Result<Done, OperationError> {
        let paths: Vec<GitPath> = files.iter().map(|file| file.path.clone()).collect();
        let present = self.describe_files(tree, &paths, false).await?;
        if let Some((file, _)) = files.iter().zip(&present).find(|(file, present)| file.after != present.hash)
        {
            let message = format!("{} has changed since. Nothing was restored.", file.path);
            return Err(OperationError::new(GitFailure::Changed, message));
        }
        for file in files {
            self.restore_file(tree, file).await?;
        }
        Ok(Done::default())
    }

    async fn restore_file(&self, tree: &WorkingTree, file: &DiscardedFile) -> Result<(), OperationError> {
        let path = file_path(tree, &file.path);
        let Some(hash) = file.before.clone() else {
            return Ok(self.home.run(move |_| fs::remove_file(path)).await?);
        };
        if !is_hash(&hash) {
            return Err(OperationError::new(GitFailure::Other, "This is not the name of an object."));
        }
        let arguments = to_arguments(&["cat-file", "blob", &hash]);
        if file.mode == LINK_MODE {
            let output = self.reader.read(tree.directory.clone(), &arguments, &[], MAX_ANSWER_BYTES).await?;
            if !output.is_success() {
                return Err(OperationError::discarded_is_gone());
            }
            let target = PathBuf::from(OsString::from_vec(output.stdout));
            let replace = self.home.run(move |_| {
                let _ = fs::remove_file(&path);
                std::os::unix::fs::symlink(target, path)
            });
            return Ok(replace.await?);
        }
        let mode = if file.mode == EXECUTABLE_MODE { 0o755 } else { 0o644 };
        let opened = self.home.run(move |_| open_for_restore(&path, mode)).await?;
        let mut process = GitProcess::start(&self.user, tree.directory.clone(), &arguments, &[])?;
        process.child.stdin.take();
        process.child.stderr.take();
        if let Some(mut content) = process.child.stdout.take() {
            let mut opened = tokio::fs::File::from_std(opened);
            tokio::io::copy(&mut content, &mut opened).await?;
            opened.flush().await?;
        }
        match process.wait().await? {
            Some(0) => Ok(()),
            _ => Err(OperationError::discarded_is_gone()),
        }
    }

    /// The hash and mode of each file. With `keeps`, its content becomes an object of the repository.
    async fn describe_files(
        &self,
        tree: &WorkingTree,
        paths: &[GitPath],
        keeps: bool,
    ) -> Result<Vec<DescribedFile>, OperationError> {
        let absolute: Vec<PathBuf> = paths.iter().map(|path| file_path(tree, path)).collect();
        let kinds = self.home.run(move |_| absolute.iter().map(|path| kind_of(path)).collect()).await;
        let kinds: Vec<FileKind> = kinds.map_err(|error: io::Error| OperationError::from(error))?;
        let mut command = to_arguments(&["hash-object", "--no-filters"]);
        command.extend(keeps.then(|| "-w".into()));
        let mut hashes = VecDeque::new();
        let regular: Vec<&GitPath> = paths
            .iter()
            .zip(&kinds)
            .filter(|(_, kind)| matches!(kind, FileKind::Regular { .. }))
            .map(|(path, _)| path)
            .collect();
        for chunk in regular.chunks(MAX_FILE_ARGUMENTS) {
            let mut arguments = command.clone();
            arguments.push("--".into());
            arguments.extend(chunk.iter().map(|path| os_string(path)));
            let hashed = self.hash(tree, &arguments, &[]).await?;
            if hashed.len() != chunk.len() {
                return Err(OperationError::new(GitFailure::Changed, "A file has changed. Try again."));
            }
            hashes.extend(hashed);
        }
        let mut described = Vec::with_capacity(paths.len());
        for kind in kinds {
            let (hash, mode) = match kind {
                FileKind::None => (None, REGULAR_MODE),
                FileKind::Regular { is_executable } => {
                    (hashes.pop_front(), if is_executable { EXECUTABLE_MODE } else { REGULAR_MODE })
                }
                FileKind::Link(target) => {
                    let mut arguments = command.clone();
                    arguments.push("--stdin".into());
                    (self.hash(tree, &arguments, target.as_os_str().as_bytes()).await?.pop(), LINK_MODE)
                }
            };
            described.push(DescribedFile { hash, mode });
        }
        Ok(described)
    }

    async fn hash(
        &self,
        tree: &WorkingTree,
        arguments: &[OsString],
        input: &[u8],
    ) -> Result<Vec<String>, OperationError> {
        let output = self.reader.read(tree.directory.clone(), arguments, input, MAX_ANSWER_BYTES).await?;
        if !output.is_success() {
            return Err(OperationError::with_output(GitFailure::Other, output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    async fn run_plan(
        &self,
        tree: &WorkingTree,
        plan: Plan,
        events: &mpsc::Sender<GitEvent>,
    ) -> Result<Done, OperationError> {
        let mut done = Done::default();
        for step in plan.steps {
            let mut ask_pass = AskPass::new(&self.user)?;
            let mut environment = ask_pass.environment();
            environment.extend(self.login_path.get(&self.user).await.map(|path| ("PATH".into(), path)));
            let process =
                GitProcess::start(&self.user, tree.directory.clone(), &step.arguments, &environment)?;
            let (status, output) = {
                let run = run_process(process, step.input, plan.is_cancelable, events);
                tokio::select! {
                    ended = run => ended?,
                    () = ask_pass.serve(&self.prompts, events) => {
                        return Err(io::Error::other("the pipes of prompts failed").into());
                    }
                }
            };
            ask_pass.settle(&self.prompts, status == Some(0));
            if status != Some(0) {
                return Err(OperationError::with_output(messages::classify_failure(&output), output));
            }
            done.output.push_str(&output);
        }
        Ok(done)
    }
}

/// Runs a process and reports its progress. Returns its status and its output without the progress.
async fn run_process(
    mut process: GitProcess,
    input: Vec<u8>,
    is_cancelable: bool,
    events: &mpsc::Sender<GitEvent>,
) -> Result<(Option<i32>, String), OperationError> {
    let (stdin, stdout, stderr) =
        (process.child.stdin.take(), process.child.stdout.take(), process.child.stderr.take());
    let output = std::sync::Mutex::new(Vec::new());
    let write = async {
        if let Some(mut stdin) = stdin {
            // Fails if the process does not read it all, which its status tells.
            let _ = stdin.write_all(&input).await;
        }
    };
    let streams = async {
        tokio::join!(write, read_lines(stdout, &output, events), read_lines(stderr, &output, events))
    };
    let is_abandoned = async {
        events.closed().await;
        if !is_cancelable {
            std::future::pending::<()>().await;
        }
    };
    let child = &mut process.child;
    let ended = async {
        tokio::select! {
            _ = streams => {}
            // A hook may have left processes running that hold the output open.
            () = async {
                let _ = child.wait().await;
                tokio::time::sleep(OUTPUT_TIMEOUT).await;
            } => {}
        }
    };
    let is_complete = tokio::select! {
        ended = timeout(OPERATION_TIMEOUT, ended) => ended.is_ok(),
        () = is_abandoned => false,
    };
    if !is_complete {
        process.terminate().await;
        return Err(OperationError::with_output(GitFailure::Timeout, String::new()));
    }
    let status = process.wait().await?;
    let output = output.into_inner().unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&output).into_owned()))
}

/// Reads lines, which `\r` ends too. Progress is reported, the rest is kept.
async fn read_lines(
    stream: Option<impl AsyncRead + Unpin>,
    output: &std::sync::Mutex<Vec<u8>>,
    events: &mpsc::Sender<GitEvent>,
) {
    let Some(mut stream) = stream else { return };
    let mut received = Vec::new();
    let mut is_open = true;
    while is_open {
        is_open = matches!(stream.read_buf(&mut received).await, Ok(1..));
        loop {
            let end = received.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let length = match end {
                Some(end) => end + 1,
                None if received.len() > MAX_LINE_BYTES || (!is_open && !received.is_empty()) => {
                    received.len()
                }
                None => break,
            };
            let line: Vec<u8> = received.drain(..length).collect();
            if let Some(progress) = messages::parse_progress(&String::from_utf8_lossy(&line)) {
                // A client that is slow misses some of it.
                let _ = events.try_send(progress);
            } else if let Ok(mut output) = output.lock() {
                output.extend_from_slice(&line);
                let surplus = output.len().saturating_sub(MAX_OUTPUT_BYTES);
                output.drain(..surplus);
            }
        }
    }
}

/// Opens a file to write what was discarded, with its directories.
fn open_for_restore(path: &Path, mode: u32) -> io::Result<fs::File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        fs::remove_file(path)?;
    }
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

const REGULAR_MODE: &str = "100644";
const EXECUTABLE_MODE: &str = "100755";
const LINK_MODE: &str = "120000";

struct DescribedFile {
    hash: Option<String>,
    mode: &'static str,
}

enum FileKind {
    None,
    Regular { is_executable: bool },
    Link(PathBuf),
}

fn kind_of(path: &Path) -> io::Result<FileKind> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileKind::None),
        metadata => metadata?,
    };
    if metadata.is_symlink() {
        return Ok(FileKind::Link(fs::read_link(path)?));
    }
    if !metadata.is_file() {
        return Ok(FileKind::None);
    }
    Ok(FileKind::Regular { is_executable: metadata.permissions().mode() & 0o100 != 0 })
}

fn file_path(tree: &WorkingTree, path: &GitPath) -> PathBuf {
    tree.directory.join(os_string(path))
}

fn final_event(operation: &GitOperation, done: Result<Done, OperationError>) -> GitEvent {
    match done {
        Ok(Done { output, discarded }) => GitEvent::Finished { output, discarded },
        Err(OperationError { failure, message, output }) => {
            let verb = verb_of(operation);
            let message = match message {
                Some(message) => format!("Cannot {verb}: {message}"),
                None => messages::explain_failure(failure, verb, &output),
            };
            GitEvent::Failed { failure, message, output }
        }
    }
}

/// What an operation does, after "Cannot".
fn verb_of(operation: &GitOperation) -> &'static str {
    match operation {
        GitOperation::Clone { .. } => "clone the repository",
        GitOperation::Init => "create a repository",
        GitOperation::Stage { .. } | GitOperation::StageAll => "stage the changes",
        GitOperation::Unstage { .. } | GitOperation::UnstageAll => "unstage the changes",
        GitOperation::Discard { .. } => "discard the changes",
        GitOperation::RestoreDiscarded { .. } => "undo the discard",
        GitOperation::ApplyLines { action: LineAction::Stage, .. } => "stage the lines",
        GitOperation::ApplyLines { action: LineAction::Unstage, .. } => "unstage the lines",
        GitOperation::ApplyLines { action: LineAction::Discard, .. } => "discard the lines",
        GitOperation::Resolve { .. } => "resolve the conflict",
        GitOperation::Commit { .. } => "commit",
        GitOperation::UndoCommit => "undo the last commit",
        GitOperation::Fetch => "fetch",
        GitOperation::Pull { .. } => "pull",
        GitOperation::Push { .. } => "push",
        GitOperation::Switch { .. } | GitOperation::SwitchToCommit { .. } => "switch",
        GitOperation::CreateBranch { .. } => "create the branch",
        GitOperation::RenameBranch { .. } => "rename the branch",
        GitOperation::DeleteBranch { .. } => "delete the branch",
        GitOperation::Merge { .. } => "merge",
        GitOperation::Rebase { .. } => "rebase",
        GitOperation::Continue { .. } => "continue",
        GitOperation::Abort { .. } => "abort",
        GitOperation::StashPush { .. } => "stash the changes",
        GitOperation::StashPop { .. } => "apply the stash",
        GitOperation::StashDrop { .. } => "delete the stash",
        GitOperation::CreateTag { .. } => "create the tag",
        GitOperation::DeleteTag { .. } => "delete the tag",
        GitOperation::AddRemote { .. } => "add the remote",
        GitOperation::RemoveRemote { .. } => "remove the remote",
        GitOperation::SetIdentity { .. } => "set the author",
    }
}

/// Whether an operation uses index or working tree. A fetch or push need not wait for a commit's hooks.
fn takes_lock(operation: &GitOperation) -> bool {
    !matches!(operation, GitOperation::Fetch | GitOperation::Push { .. })
}

/// Plans an operation that needs to know nothing of the repository.
fn plan(operation: &GitOperation) -> Result<Plan, OperationError> {
    let mut plan = match operation {
        GitOperation::Stage { paths } => some_paths(&["add", "--all"], paths)?,
        GitOperation::StageAll => one_step(&["add", "--all"]),
        GitOperation::Unstage { paths } => some_paths(&["reset", "--quiet"], paths)?,
        GitOperation::UnstageAll => one_step(&["reset", "--quiet"]),
        GitOperation::Commit { message, amend } => plan_commit(message, *amend),
        GitOperation::UndoCommit => one_step(&["reset", "--soft", "HEAD~1"]),
        GitOperation::Fetch => one_step(&["fetch", "--progress", "--all", "--prune"]),
        GitOperation::Pull { strategy } => {
            let mut arguments = vec!["pull", "--progress"];
            arguments.extend(strategy.map(|strategy| match strategy {
                PullStrategy::Merge => "--no-rebase",
                PullStrategy::Rebase => "--rebase",
            }));
            one_step(&arguments)
        }
        GitOperation::Push { publish_to, force } => {
            let mut arguments = vec!["push", "--progress"];
            arguments.extend(force.then_some("--force-with-lease"));
            if let Some(remote) = publish_to {
                check_name(remote)?;
                arguments.extend(["--set-upstream", remote, "HEAD"]);
            }
            one_step(&arguments)
        }
        GitOperation::SwitchToCommit { commit } => named(&["switch", "--progress", "--detach"], commit)?,
        GitOperation::CreateBranch { name, from } => {
            check_name(name)?;
            let mut arguments = vec!["switch", "--create", name];
            if let Some(from) = from {
                check_name(from)?;
                arguments.push(from);
            }
            one_step(&arguments)
        }
        GitOperation::RenameBranch { name } => named(&["branch", "--move"], name)?,
        GitOperation::DeleteBranch { name, force } => {
            named(&["branch", if *force { "-D" } else { "-d" }], name)?
        }
        GitOperation::Merge { branch } => named(&["merge", "--no-edit"], branch)?,
        GitOperation::Rebase { branch } => named(&["rebase"], branch)?,
        GitOperation::Continue { ongoing } => match ongoing {
            OngoingOperation::Merge => one_step(&["commit", "--no-edit"]),
            other => one_step(&[
                command_of(*other),
                if *other == OngoingOperation::Bisect { "next" } else { "--continue" },
            ]),
        },
        GitOperation::Abort { ongoing: OngoingOperation::Bisect } => one_step(&["bisect", "reset"]),
        GitOperation::Abort { ongoing } => one_step(&[command_of(*ongoing), "--abort"]),
        GitOperation::StashPush { message } => {
            let mut arguments = vec!["stash", "push", "--include-untracked"];
            if !message.is_empty() {
                arguments.extend(["--message", message]);
            }
            one_step(&arguments)
        }
        GitOperation::CreateTag { name, message } => {
            let mut plan = named(if message.is_empty() { &["tag"] } else { &["tag", "--file=-"] }, name)?;
            plan.steps[0].input = message.clone().into_bytes();
            plan
        }
        GitOperation::DeleteTag { name } => named(&["tag", "--delete"], name)?,
        GitOperation::AddRemote { name, url } => {
            check_name(name)?;
            named(&["remote", "add", name], url)?
        }
        GitOperation::RemoveRemote { name } => named(&["remote", "remove"], name)?,
        GitOperation::SetIdentity { name, email } => {
            let mut plan = named(&["config", "--global", "user.name"], name)?;
            plan.steps.append(&mut named(&["config", "--global", "user.email"], email)?.steps);
            plan
        }
        // The rest depends on the state of the repository.
        other => return Err(refuse(other)),
    };
    plan.is_cancelable = !takes_lock(operation);
    Ok(plan)
}

fn refuse(operation: &GitOperation) -> OperationError {
    tracing::error!(?operation, "no plan for this operation");
    OperationError::new(GitFailure::Other, "this is an internal error.")
}

fn plan_commit(message: &str, amend: bool) -> Plan {
    let mut arguments = vec!["commit"];
    arguments.extend(amend.then_some("--amend"));
    arguments.push(if amend && message.trim().is_empty() { "--no-edit" } else { "--file=-" });
    let mut plan = one_step(&arguments);
    plan.steps[0].input = message.as_bytes().to_vec();
    plan
}

/// Takes a side, or deletes the file if that side has none.
fn resolve(path: &GitPath, side: ConflictSide, conflict: Conflict) -> Plan {
    let is_there = match side {
        ConflictSide::Ours => {
            !matches!(conflict, Conflict::BothDeleted | Conflict::DeletedByUs | Conflict::AddedByThem)
        }
        ConflictSide::Theirs => {
            !matches!(conflict, Conflict::BothDeleted | Conflict::DeletedByThem | Conflict::AddedByUs)
        }
    };
    let paths = std::slice::from_ref(path);
    if !is_there {
        return paths_step(&["rm", "--quiet"], paths);
    }
    let option = if side == ConflictSide::Ours { "--ours" } else { "--theirs" };
    let steps = vec![on_paths(&["checkout", option], paths), on_paths(&["add"], paths)];
    Plan { steps, is_cancelable: false }
}

fn command_of(operation: OngoingOperation) -> &'static str {
    match operation {
        OngoingOperation::Merge => "merge",
        OngoingOperation::Rebase => "rebase",
        OngoingOperation::CherryPick => "cherry-pick",
        OngoingOperation::Revert => "revert",
        OngoingOperation::Bisect => "bisect",
    }
}

fn one_step(arguments: &[&str]) -> Plan {
    let step = Step { arguments: to_arguments(arguments), input: Vec::new() };
    Plan { steps: vec![step], is_cancelable: false }
}

/// A command whose last argument is a name that a client has chosen.
fn named(arguments: &[&str], name: &str) -> Result<Plan, OperationError> {
    check_name(name)?;
    Ok(one_step(&[arguments, &[name]].concat()))
}

/// Without a path, Git would mean all files.
fn some_paths(arguments: &[&str], paths: &[GitPath]) -> Result<Plan, OperationError> {
    if paths.is_empty() {
        return Err(OperationError::new(GitFailure::Other, "no file is named."));
    }
    Ok(paths_step(arguments, paths))
}

fn paths_step(arguments: &[&str], paths: &[GitPath]) -> Plan {
    Plan { steps: vec![on_paths(arguments, paths)], is_cancelable: false }
}

/// A command that reads paths from its standard input: any number, and any names.
fn on_paths(arguments: &[&str], paths: &[GitPath]) -> Step {
    let mut arguments = to_arguments(&[&[LITERAL_PATHS], arguments].concat());
    arguments.extend(to_arguments(&["--pathspec-from-file=-", "--pathspec-file-nul"]));
    let input = paths.iter().flat_map(|path| path.as_bytes().iter().copied().chain([0])).collect();
    Step { arguments, input }
}

/// A name must not be an option. Git checks the rest.
fn check_name(name: &str) -> Result<(), OperationError> {
    if name.is_empty() || name.starts_with('-') || name.chars().any(char::is_control) {
        let message = "a name must not be empty, begin with `-`, or contain control characters.";
        return Err(OperationError::new(GitFailure::Other, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(operation: &GitOperation) -> Vec<String> {
        let plan = plan(operation).expect("a plan");
        let first = plan.steps.into_iter().next().expect("a step");
        first.arguments.into_iter().map(|argument| argument.into_string().expect("text")).collect()
    }

    #[test]
    fn names_are_never_options() {
        for name in ["-f", "--upload-pack=x", "", "a\nb"] {
            let name = name.to_owned();
            for operation in [
                GitOperation::DeleteBranch { name: name.clone(), force: false },
                GitOperation::Merge { branch: name.clone() },
                GitOperation::Push { publish_to: Some(name.clone()), force: false },
                GitOperation::AddRemote { name: "x".to_owned(), url: name.clone() },
                GitOperation::CreateBranch { name: "x".to_owned(), from: Some(name.clone()) },
            ] {
                assert!(plan(&operation).is_err(), "{operation:?}");
            }
        }
    }

    #[test]
    fn paths_are_passed_as_input() {
        let path = GitPath::from_bytes(b"-a\n\xff").expect("a path");
        let plan = plan(&GitOperation::Stage { paths: vec![path] }).expect("a plan");
        assert_eq!(plan.steps[0].input, b"-a\n\xff\0");
    }

    #[test]
    fn amend_without_message_keeps_it() {
        let amend = |message: &str| arguments(&GitOperation::Commit { message: message.into(), amend: true });
        assert_eq!(amend(" \n"), ["commit", "--amend", "--no-edit"]);
        assert_eq!(amend("x"), ["commit", "--amend", "--file=-"]);
    }

    #[test]
    fn side_that_deleted_the_file_deletes_it() {
        let path = GitPath::from_bytes(b"a").expect("a path");
        let first = |side, conflict| resolve(&path, side, conflict).steps[0].arguments[1].clone();
        assert_eq!(first(ConflictSide::Ours, Conflict::DeletedByUs), "rm");
        assert_eq!(first(ConflictSide::Theirs, Conflict::DeletedByUs), "checkout");
    }
}
