//! The agent's Git routes on real repositories. What the agent says and does is compared with `git` itself.

mod support;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use protocol::{
    document::DocumentEvent,
    git::{
        Conflict, FileChange, FileDiff, GitEvent, GitFailure, GitOperation, GitPath, GitStatus, History,
        LineAction, LineChange, References, Repositories, RepositoryChanged, RepositoryKind, StatusEntry,
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use support::{Agent, Editor, Socket, within_timeout};
use tokio_tungstenite::tungstenite::Message;
use transport::body::{empty, full};

/// An agent with one repository, `repo`, that has one commit.
struct Fixture {
    agent: Agent,
}

impl Fixture {
    async fn new() -> Self {
        let fixture = Self { agent: Agent::start().await };
        fixture.write(
            ".gitconfig",
            "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n",
        );
        fixture.git(&["init", "--quiet", "../repo"], "");
        fixture.write("repo/one.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        fixture.commit_all("first");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.agent.path(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text file")
    }

    /// Runs `git` in the repository, as a user does in a terminal.
    fn git(&self, arguments: &[&str], input: &str) -> String {
        let directory = self.path("repo");
        fs::create_dir_all(&directory).expect("a directory");
        run_git(&self.path(""), &directory, arguments, input)
    }

    fn commit_all(&self, message: &str) {
        self.git(&["add", "--all"], "");
        self.git(&["commit", "--quiet", "--message", message], "");
    }

    async fn status(&self) -> GitStatus {
        self.agent.json(Method::GET, "/v1/git/status?repository=repo", json!(null)).await
    }

    async fn entries(&self) -> BTreeMap<String, StatusEntry> {
        self.status().await.entries.into_iter().map(|entry| (entry.path.to_string(), entry)).collect()
    }

    async fn diff(&self, path: &str, staged: bool) -> FileDiff {
        let path = format!("/v1/git/diff?repository=repo&path={path}&staged={staged}");
        self.agent.json(Method::GET, &path, json!(null)).await
    }

    /// Runs an operation, answers its prompts, and returns its last event.
    async fn run_answering(
        &self,
        repository: &str,
        operation: GitOperation,
        answer: impl Fn(&str) -> Option<&'static str>,
    ) -> GitEvent {
        let body = json!({ "repository": repository, "operation": operation }).to_string();
        let request = http::Request::post("/v1/git/run").header("content-type", "application/json");
        let response = self.agent.link.request(request.body(full(body)).expect("a request")).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let mut text = String::new();
        loop {
            while let Some((event, rest)) = text.split_once("\n\n") {
                let event = event.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
                text = rest.to_owned();
                match event {
                    Some(GitEvent::Prompt { prompt, text, .. }) => {
                        let body = json!({ "prompt": prompt, "answer": answer(&text) }).to_string();
                        self.agent.send(Method::POST, "/v1/git/answer", full(body)).await;
                    }
                    Some(GitEvent::Progress { .. }) | None => {}
                    Some(end) => return end,
                }
            }
            let frame = within_timeout(body.frame()).await.expect("a last event").expect("a frame");
            if let Ok(data) = frame.into_data() {
                text.push_str(std::str::from_utf8(&data).expect("text"));
            }
        }
    }

    async fn run(&self, operation: GitOperation) -> GitEvent {
        self.run_answering("repo", operation, |question| panic!("nothing may be asked: {question}")).await
    }

    async fn run_ok(&self, operation: GitOperation) -> GitEvent {
        let end = self.run(operation).await;
        assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        end
    }

    async fn run_failing(&self, operation: GitOperation) -> GitFailure {
        match self.run(operation).await {
            GitEvent::Failed { failure, .. } => failure,
            other => panic!("{other:?}"),
        }
    }
}

fn run_git(home: &Path, directory: &Path, arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_remove("XDG_CONFIG_HOME")
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("git runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn git_path(text: &str) -> GitPath {
    GitPath::parse(text).expect("a path")
}

fn stage(path: &str) -> GitOperation {
    GitOperation::Stage { paths: vec![git_path(path)] }
}

fn commit(message: &str) -> GitOperation {
    GitOperation::Commit { message: message.to_owned(), amend: false }
}

mod status {
    use FileChange::{Added, Deleted, Modified, Renamed, Unmodified, Untracked};

    use super::*;

    #[tokio::test]
    async fn names_every_kind_of_change() {
        let fixture = Fixture::new().await;
        fixture.write("repo/gone.txt", "gone\n");
        fixture.write("repo/old name", "a file that is renamed\n");
        fixture.commit_all("second");
        fixture.write("repo/one.txt", "changed\n");
        fixture.write("repo/staged \"quoted\".txt", "new\n");
        fixture.git(&["add", "staged \"quoted\".txt"], "");
        fixture.write("repo/staged \"quoted\".txt", "newer\n");
        fs::remove_file(fixture.path("repo/gone.txt")).expect("a file");
        fixture.git(&["mv", "old name", "new\nname"], "");
        let odd = fixture.path("repo").join(OsStr::from_bytes(b"caf\xe9"));
        fs::write(odd, "x").expect("a file");
        let entries = fixture.entries().await;
        let change = |path: &str| {
            let entry = entries.get(path).unwrap_or_else(|| panic!("{path}: {entries:?}"));
            (entry.index, entry.worktree)
        };
        assert_eq!(change("one.txt"), (Unmodified, Modified));
        assert_eq!(change("staged \"quoted\".txt"), (Added, Modified));
        assert_eq!(change("gone.txt"), (Unmodified, Deleted));
        assert_eq!(change("new\nname"), (Renamed, Unmodified));
        assert_eq!(entries["new\nname"].original_path, Some(git_path("old name")));
        assert_eq!(change("\0caf%E9"), (Unmodified, Untracked));
        assert_eq!(entries.len(), 6 - 1, "{entries:?}");
        // Names that are not UTF-8 can be staged like others.
        fixture.run_ok(stage("\0caf%E9")).await;
        fixture.run_ok(stage("new\nname")).await;
        assert_eq!(fixture.entries().await["\0caf%E9"].index, Added);
    }

    #[tokio::test]
    async fn sees_what_was_typed() {
        let fixture = Fixture::new().await;
        let mut editor = Editor::open(&fixture.agent, "repo/one.txt").await;
        editor.receive_until(|text, _| text.starts_with("1\n")).await;
        editor.insert(0, "typed ").await;
        // The edit has arrived, and need not be saved yet.
        editor.receive_until(|_, event| matches!(event, Some(DocumentEvent::Dirty))).await;
        fixture.run_ok(stage("one.txt")).await;
        fixture.run_ok(commit("typed")).await;
        assert!(fixture.git(&["show", "HEAD:one.txt"], "").starts_with("typed 1\n"));
    }

    #[tokio::test]
    async fn of_other_directory_is_not_found() {
        let fixture = Fixture::new().await;
        fixture.write("plain/file", "");
        for path in ["plain", "missing", "repo/one.txt"] {
            let path = format!("/v1/git/status?repository={path}");
            assert_eq!(fixture.agent.send(Method::GET, &path, empty()).await.0, StatusCode::NOT_FOUND);
        }
        let (status, _) = fixture.agent.send(Method::GET, "/v1/git/status?repository=../x", empty()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[tokio::test]
    async fn before_first_commit_works() {
        let fixture = Fixture::new().await;
        let end = fixture.run_answering("new/repo", GitOperation::Init, |_| None).await;
        assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        fixture.write("new/repo/a", "a\n");
        let run = |operation| fixture.run_answering("new/repo", operation, |_| None);
        run(stage("a")).await;
        run(GitOperation::UnstageAll).await;
        let path = "/v1/git/status?repository=new/repo";
        let status: GitStatus = fixture.agent.json(Method::GET, path, json!(null)).await;
        assert_eq!((status.head, status.branch.as_deref()), (None, Some("main")));
        assert_eq!(status.entries[0].worktree, FileChange::Untracked);
        let path = "/v1/git/log?repository=new/repo";
        let history: History = fixture.agent.json(Method::GET, path, json!(null)).await;
        assert!(history.commits.is_empty());
    }
}

mod repositories {
    use super::*;

    #[tokio::test]
    async fn worktrees_and_submodules_have_own_status() {
        let fixture = Fixture::new().await;
        fixture.git(&["worktree", "add", "--quiet", "../tree"], "");
        fixture.git(&["clone", "--quiet", ".", "../other"], "");
        let source = fixture.path("other");
        let source = source.to_str().expect("text");
        fixture.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", source, "sub"], "");
        fixture.commit_all("submodule");
        fixture.write("repo/sub/one.txt", "changed in the submodule\n");
        fixture.write("tree/one.txt", "changed in the worktree\n");
        let found: Repositories = fixture.agent.json(Method::GET, "/v1/git/repositories", json!(null)).await;
        let kinds: BTreeMap<_, _> = found.repositories.into_iter().map(|one| (one.path, one.kind)).collect();
        let expected = [
            ("other", RepositoryKind::Main),
            ("repo", RepositoryKind::Main),
            ("repo/sub", RepositoryKind::Submodule),
            ("tree", RepositoryKind::Worktree),
        ];
        assert_eq!(kinds, expected.map(|(path, kind)| (path.to_owned(), kind)).into());
        let entries = fixture.entries().await;
        assert!(entries["sub"].is_repository);
        for (repository, branch) in [("repo/sub", "main"), ("tree", "tree")] {
            let path = format!("/v1/git/status?repository={repository}");
            let status: GitStatus = fixture.agent.json(Method::GET, &path, json!(null)).await;
            assert_eq!(status.branch.as_deref(), Some(branch));
            assert_eq!(status.entries.len(), 1, "{repository}");
        }
        let discard = GitOperation::Discard { paths: vec![git_path("sub")] };
        assert_eq!(fixture.run_failing(discard).await, GitFailure::Other);
        assert!(fixture.read("repo/sub/one.txt").starts_with("changed"));
    }
}

mod lines {
    use super::*;

    /// Random text of few different lines, so that diffs are ambiguous. Sometimes without a last line end.
    fn random_text(random: &mut StdRng) -> String {
        let lines = random.random_range(0..14);
        let mut text: String = (0..lines)
            .map(|_| ["a\n", "b\n", "\n", "c\r\n", "-d\n", "+e\n"][random.random_range(0..6)])
            .collect();
        if random.random_bool(0.3) {
            text.pop();
        }
        text
    }

    fn edit(text: &str, random: &mut StdRng) -> String {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(0..=lines.len());
            match random.random_range(0..3) {
                0 => lines.insert(at, "new\n"),
                1 if at < lines.len() => drop(lines.remove(at)),
                _ if at < lines.len() => lines[at] = "other\n",
                _ => {}
            }
        }
        let mut text = lines.concat();
        if random.random_bool(0.3) {
            text.pop();
        }
        text
    }

    /// Lines with their ends. Only the last one may have none.
    fn lines_of(text: &str) -> Vec<String> {
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    /// What is expected: the old text with the selected changes. This is written without patches.
    fn apply(old: &str, new: &str, all: &[LineChange], selected: impl Fn(bool, u64) -> bool) -> String {
        let (old, new) = (lines_of(old), lines_of(new));
        let mut result: Vec<String> = Vec::new();
        let mut at = 1;
        for change in all {
            result.extend(old[at as usize - 1..change.old_start as usize - 1].iter().cloned());
            for line in change.old_start..change.old_start + change.old_lines {
                if !selected(true, line) {
                    result.push(old[line as usize - 1].clone());
                }
            }
            for line in change.new_start..change.new_start + change.new_lines {
                if selected(false, line) {
                    result.push(new[line as usize - 1].clone());
                }
            }
            at = change.old_start + change.old_lines;
        }
        result.extend(old[at as usize - 1..].iter().cloned());
        let last = result.len().saturating_sub(1);
        for line in result.iter_mut().take(last).filter(|line| !line.ends_with('\n')) {
            line.push('\n');
        }
        result.concat()
    }

    fn seed() -> u64 {
        let seed = std::env::var("BURROW_SEED").ok().and_then(|seed| seed.parse().ok());
        seed.unwrap_or_else(|| rand::rng().random())
    }

    /// Stages, unstages or discards random lines of random edits, and compares with text made another way.
    #[tokio::test]
    async fn random_lines_move_exactly() {
        let seed = seed();
        println!("BURROW_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let fixture = Fixture::new().await;
        for round in 0..40 {
            if round == 20 {
                // What users configure changes nothing.
                for (name, value) in [("color.diff", "always"), ("diff.suppressBlankEmpty", "true")] {
                    fixture.git(&["config", name, value], "");
                }
            }
            let (old, new) = loop {
                let old = random_text(&mut random);
                let new = edit(&old, &mut random);
                if old != new {
                    break (old, new);
                }
            };
            let action =
                [LineAction::Stage, LineAction::Unstage, LineAction::Discard][random.random_range(0..3)];
            fixture.write("repo/odd name\u{e9}.txt", &old);
            fixture.commit_all_or_same(&format!("round {round}"));
            fixture.write("repo/odd name\u{e9}.txt", &new);
            let is_staged = action == LineAction::Unstage;
            if is_staged {
                fixture.git(&["add", "--all"], "");
            }
            let diff = fixture.diff("odd%20name%C3%A9.txt", is_staged).await;
            let mut changes = Vec::new();
            for change in &diff.changes {
                for line in 0..change.old_lines.max(change.new_lines) {
                    let mut side = |start, count| {
                        if line < count && random.random_bool(0.6) { (start + line, 1) } else { (0, 0) }
                    };
                    let (old_start, old_lines) = side(change.old_start, change.old_lines);
                    let (new_start, new_lines) = side(change.new_start, change.new_lines);
                    changes.push(LineChange { old_start, old_lines, new_start, new_lines });
                }
            }
            let selected = |is_old: bool, line: u64| {
                changes.iter().any(|one| {
                    let (start, lines) =
                        if is_old { (one.old_start, one.old_lines) } else { (one.new_start, one.new_lines) };
                    lines > 0 && start == line
                })
            };
            // Staged lines move to the old text. The others' lines stay in the new text.
            let expected = match action {
                LineAction::Stage => apply(&old, &new, &diff.changes, selected),
                _ => apply(&old, &new, &diff.changes, |is_old, line| !selected(is_old, line)),
            };
            let is_any = changes.iter().any(|one| one.old_lines + one.new_lines > 0);
            let operation = GitOperation::ApplyLines {
                path: git_path("odd name\u{e9}.txt"),
                action,
                fingerprint: diff.fingerprint,
                changes: changes.clone(),
            };
            let end = fixture.run(operation).await;
            let context = format!("{action:?} of {old:?} and {new:?}: {changes:?} {end:?}");
            if !is_any {
                assert!(matches!(end, GitEvent::Failed { failure: GitFailure::Changed, .. }), "{context}");
                continue;
            }
            let GitEvent::Finished { discarded, .. } = end else { panic!("{context}") };
            if action == LineAction::Discard {
                assert_eq!(fixture.read("repo/odd name\u{e9}.txt"), expected, "{context}");
                fixture.run_ok(GitOperation::RestoreDiscarded { files: discarded }).await;
                assert_eq!(fixture.read("repo/odd name\u{e9}.txt"), new, "{context}");
            } else {
                assert_eq!(fixture.git(&["show", ":odd name\u{e9}.txt"], ""), expected, "{context}");
                assert_eq!(fixture.read("repo/odd name\u{e9}.txt"), new, "{context}");
            }
        }
    }

    impl Fixture {
        fn commit_all_or_same(&self, message: &str) {
            self.git(&["add", "--all"], "");
            self.git(&["commit", "--quiet", "--allow-empty", "--message", message], "");
        }
    }

    #[tokio::test]
    async fn of_changed_file_are_refused() {
        let fixture = Fixture::new().await;
        fixture.write("repo/one.txt", "1\nchanged\n3\n");
        let diff = fixture.diff("one.txt", false).await;
        fixture.write("repo/one.txt", "0\n1\nchanged\n3\n");
        let operation = GitOperation::ApplyLines {
            path: git_path("one.txt"),
            action: LineAction::Discard,
            fingerprint: diff.fingerprint,
            changes: diff.changes,
        };
        assert_eq!(fixture.run_failing(operation).await, GitFailure::Changed);
        assert_eq!(fixture.read("repo/one.txt"), "0\n1\nchanged\n3\n");
    }

    #[tokio::test]
    async fn of_new_and_deleted_files_move() {
        let fixture = Fixture::new().await;
        fixture.write("repo/new.txt", "a\nb\n");
        fixture.git(&["add", "new.txt"], "");
        let apply = async |path: &str, action, at: usize| {
            let diff = fixture.diff(path, action == LineAction::Unstage).await;
            let change = diff.changes[0];
            let line = |start, lines| if lines > 0 { (start + at as u64, 1) } else { (0, 0) };
            let (old_start, old_lines) = line(change.old_start, change.old_lines);
            let (new_start, new_lines) = line(change.new_start, change.new_lines);
            let changes = vec![LineChange { old_start, old_lines, new_start, new_lines }];
            let (path, fingerprint) = (git_path(path), diff.fingerprint);
            fixture.run_ok(GitOperation::ApplyLines { path, action, fingerprint, changes }).await;
        };
        apply("new.txt", LineAction::Unstage, 0).await;
        assert_eq!(fixture.git(&["show", ":new.txt"], ""), "b\n");
        fs::remove_file(fixture.path("repo/one.txt")).expect("a file");
        apply("one.txt", LineAction::Stage, 2).await;
        assert_eq!(fixture.git(&["show", ":one.txt"], ""), "1\n2\n4\n5\n6\n7\n8\n9\n");
    }
}

mod discard {
    use super::*;

    #[tokio::test]
    async fn can_be_undone() {
        let fixture = Fixture::new().await;
        fixture.write("repo/tool.sh", "#!/bin/sh\n");
        fixture.commit_all("tool");
        fixture.write("repo/one.txt", "changed\n");
        fixture.write("repo/dir/untracked\nfile", b"\xff\0binary");
        fs::set_permissions(fixture.path("repo/dir/untracked\nfile"), fs::Permissions::from_mode(0o755))
            .expect("a file");
        std::os::unix::fs::symlink("one.txt", fixture.path("repo/link")).expect("a link");
        fs::remove_file(fixture.path("repo/tool.sh")).expect("a file");
        let before = fixture.entries().await;
        let paths = before.values().map(|entry| entry.path.clone()).collect();
        let GitEvent::Finished { discarded, .. } = fixture.run_ok(GitOperation::Discard { paths }).await
        else {
            unreachable!()
        };
        assert!(fixture.entries().await.is_empty());
        assert_eq!(fixture.read("repo/tool.sh"), "#!/bin/sh\n");
        assert!(!fixture.path("repo/dir/untracked\nfile").exists());
        fixture.run_ok(GitOperation::RestoreDiscarded { files: discarded }).await;
        assert_eq!(fixture.entries().await, before);
        assert_eq!(fixture.read("repo/one.txt"), "changed\n");
        assert_eq!(fs::read(fixture.path("repo/dir/untracked\nfile")).expect("a file"), b"\xff\0binary");
        let mode =
            fs::metadata(fixture.path("repo/dir/untracked\nfile")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_link(fixture.path("repo/link")).expect("a link"), Path::new("one.txt"));
    }

    #[tokio::test]
    async fn undo_of_changed_file_is_refused() {
        let fixture = Fixture::new().await;
        fixture.write("repo/one.txt", "changed\n");
        let operation = GitOperation::Discard { paths: vec![git_path("one.txt")] };
        let GitEvent::Finished { discarded, .. } = fixture.run_ok(operation).await else { unreachable!() };
        fixture.write("repo/one.txt", "changed again\n");
        let undo = GitOperation::RestoreDiscarded { files: discarded };
        assert_eq!(fixture.run_failing(undo).await, GitFailure::Changed);
        assert_eq!(fixture.read("repo/one.txt"), "changed again\n");
    }
}

mod branches {
    use super::*;

    #[tokio::test]
    async fn conflicts_are_shown_and_resolved() {
        let fixture = Fixture::new().await;
        fixture.run_ok(GitOperation::CreateBranch { name: "other".into(), from: None }).await;
        fixture.write("repo/one.txt", "theirs\n");
        fixture.write("repo/two.txt", "theirs\n");
        fixture.commit_all("theirs");
        fixture.run_ok(GitOperation::Switch { branch: "main".into() }).await;
        fixture.write("repo/one.txt", "ours\n");
        fixture.write("repo/two.txt", "ours\n");
        fixture.commit_all("ours");
        let merge = GitOperation::Merge { branch: "other".into() };
        assert_eq!(fixture.run_failing(merge).await, GitFailure::Conflicts);
        let status = fixture.status().await;
        assert_eq!(status.operation, Some(protocol::git::OngoingOperation::Merge));
        assert!(status.proposed_message.expect("a message").starts_with("Merge branch 'other'"));
        let conflicts: Vec<_> = status.entries.iter().map(|entry| entry.conflict).collect();
        assert_eq!(conflicts, [Some(Conflict::BothModified), Some(Conflict::BothAdded)]);
        assert_eq!(fixture.run_failing(commit("too early")).await, GitFailure::Conflicts);
        let side = protocol::git::ConflictSide::Theirs;
        fixture.run_ok(GitOperation::Resolve { path: git_path("one.txt"), side }).await;
        fixture.write("repo/two.txt", "both\n");
        fixture.run_ok(stage("two.txt")).await;
        fixture.run_ok(commit("merged")).await;
        assert_eq!(fixture.read("repo/one.txt"), "theirs\n");
        let history: History =
            fixture.agent.json(Method::GET, "/v1/git/log?repository=repo&limit=2", json!(null)).await;
        assert_eq!(history.commits[0].parents.len(), 2);
        assert_eq!(history.commits[0].message, "merged");
        assert!(history.truncated);
    }

    #[tokio::test]
    async fn stash_keeps_untracked_and_staged_files() {
        let fixture = Fixture::new().await;
        fixture.write("repo/one.txt", "changed\n");
        fixture.git(&["add", "one.txt"], "");
        fixture.write("repo/new.txt", "new\n");
        let before = fixture.entries().await;
        fixture.run_ok(GitOperation::StashPush { message: "later".into() }).await;
        assert!(fixture.entries().await.is_empty());
        let references: References =
            fixture.agent.json(Method::GET, "/v1/git/references?repository=repo", json!(null)).await;
        assert_eq!(references.stashes[0].message, "On main: later");
        let commit = references.stashes[0].commit.clone();
        fixture.run_ok(GitOperation::StashPop { commit: commit.clone() }).await;
        assert_eq!(fixture.entries().await, before);
        assert_eq!(fixture.run_failing(GitOperation::StashDrop { commit }).await, GitFailure::Changed);
    }

    #[tokio::test]
    async fn unknown_author_is_asked_for() {
        let fixture = Fixture::new().await;
        fixture.write(".gitconfig", "[user]\nuseConfigOnly = true\n");
        fixture.write("repo/one.txt", "changed\n");
        fixture.run_ok(GitOperation::StageAll).await;
        assert_eq!(fixture.run_failing(commit("x")).await, GitFailure::IdentityMissing);
        let identity = GitOperation::SetIdentity { name: "Bo".into(), email: "bo@example.org".into() };
        fixture.run_ok(identity).await;
        fixture.run_ok(commit("#1 is no comment")).await;
        assert_eq!(fixture.git(&["log", "-1", "--format=%an %s"], ""), "Bo #1 is no comment\n");
        fixture.run_ok(GitOperation::UndoCommit).await;
        assert_eq!(fixture.entries().await["one.txt"].index, FileChange::Modified);
    }

    #[tokio::test]
    async fn failing_hook_is_told() {
        let fixture = Fixture::new().await;
        fixture.write("repo/.git/hooks/pre-commit", "#!/bin/sh\necho no commits today >&2\nexit 1\n");
        let hook = fixture.path("repo/.git/hooks/pre-commit");
        fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).expect("a hook");
        fixture.write("repo/one.txt", "changed\n");
        fixture.run_ok(GitOperation::StageAll).await;
        let GitEvent::Failed { message, .. } = fixture.run(commit("x")).await else {
            panic!("the hook refuses")
        };
        assert_eq!(message, "Cannot commit: no commits today");
    }
}

mod remotes {
    use axum::{
        Router,
        extract::{Path as UrlPath, State},
        http::HeaderMap,
        response::IntoResponse,
        routing::get,
    };

    use super::*;

    #[tokio::test]
    async fn clone_push_and_pull_work() {
        let fixture = Fixture::new().await;
        fixture.git(&["clone", "--quiet", "--bare", ".", "../remote.git"], "");
        let url = format!("file://{}", fixture.path("remote.git").display());
        let clone = GitOperation::Clone { url };
        let end = fixture.run_answering("work/clone", clone, |_| None).await;
        assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        fixture.write("work/clone/new.txt", "new\n");
        let run = async |operation| fixture.run_answering("work/clone", operation, |_| None).await;
        for operation in [
            GitOperation::StageAll,
            commit("new"),
            GitOperation::Push { publish_to: None, force: false },
            GitOperation::CreateBranch { name: "topic".into(), from: None },
        ] {
            let end = run(operation).await;
            assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        }
        let end = run(GitOperation::Push { publish_to: None, force: false }).await;
        assert!(matches!(end, GitEvent::Failed { failure: GitFailure::NoUpstream, .. }), "{end:?}");
        let end = run(GitOperation::Push { publish_to: Some("origin".into()), force: false }).await;
        assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        let remote = fixture.path("remote.git");
        assert_eq!(run_git(&fixture.path(""), &remote, &["show", "topic:new.txt"], ""), "new\n");
        // The first repository learns of it, and gets the branch of the remote.
        fixture.git(&["remote", "add", "origin", remote.to_str().expect("text")], "");
        fixture.run_ok(GitOperation::Fetch).await;
        fixture.run_ok(GitOperation::Switch { branch: "origin/topic".into() }).await;
        let status = fixture.status().await;
        assert_eq!(status.branch.as_deref(), Some("topic"));
        assert_eq!((status.upstream.as_deref(), status.behind), (Some("origin/topic"), Some(0)));
        fixture.run_ok(GitOperation::Pull { strategy: None }).await;
        // Both sides commit.
        fixture.write("repo/new.txt", "mine\n");
        fixture.commit_all("mine");
        fixture.write("work/clone/other.txt", "theirs\n");
        for operation in
            [GitOperation::StageAll, commit("theirs"), GitOperation::Push { publish_to: None, force: false }]
        {
            run(operation).await;
        }
        let push = GitOperation::Push { publish_to: None, force: false };
        assert_eq!(fixture.run_failing(push.clone()).await, GitFailure::Rejected);
        assert_eq!(fixture.run_failing(GitOperation::Pull { strategy: None }).await, GitFailure::Diverged);
        let strategy = Some(protocol::git::PullStrategy::Rebase);
        fixture.run_ok(GitOperation::Pull { strategy }).await;
        fixture.run_ok(push).await;
    }

    #[derive(Clone)]
    struct Served {
        directory: Arc<PathBuf>,
    }

    /// Serves the files of a bare repository to one user, as any web server can.
    async fn serve_file(
        State(served): State<Served>,
        UrlPath(path): UrlPath<String>,
        headers: HeaderMap,
    ) -> axum::response::Response {
        // "ada:s3cret"
        let is_ada = headers.get("authorization").is_some_and(|value| value == "Basic YWRhOnMzY3JldA==");
        if !is_ada {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"git\"")]).into_response();
        }
        match fs::read(served.directory.join(path)) {
            Ok(content) => content.into_response(),
            Err(_) => StatusCode::NOT_FOUND.into_response(),
        }
    }

    #[tokio::test]
    async fn credentials_are_asked_for_once_and_not_written() {
        let fixture = Fixture::new().await;
        fixture.git(&["clone", "--quiet", "--bare", ".", "../remote.git"], "");
        fixture.git(&["--git-dir=../remote.git", "update-server-info"], "");
        let served = Served { directory: Arc::new(fixture.path("remote.git")) };
        let router = Router::new().route("/remote.git/{*path}", get(serve_file)).with_state(served);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let clone = || GitOperation::Clone { url: format!("http://127.0.0.1:{port}/remote.git") };
        let wrong = |question: &str| Some(if question.starts_with("Username") { "ada" } else { "wrong" });
        let right = |question: &str| Some(if question.starts_with("Username") { "ada" } else { "s3cret" });
        let end = fixture.run_answering("a", clone(), wrong).await;
        assert!(matches!(end, GitEvent::Failed { failure: GitFailure::Authentication, .. }), "{end:?}");
        assert!(!fixture.path("a").exists());
        let end = fixture.run_answering("a", clone(), |_| None).await;
        assert!(matches!(end, GitEvent::Failed { failure: GitFailure::Authentication, .. }), "{end:?}");
        let end = fixture.run_answering("a", clone(), right).await;
        assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        let end = fixture.run_answering("b", clone(), |question| panic!("asked again: {question}")).await;
        assert!(matches!(end, GitEvent::Finished { .. }), "{end:?}");
        assert_eq!(fixture.read("b/one.txt"), fixture.read("repo/one.txt"));
        let found = Command::new("grep").args(["--recursive", "s3cret"]).arg(fixture.path("")).output();
        assert!(found.expect("grep runs").stdout.is_empty(), "the home has no secret");
        server.abort();
    }
}

mod content {
    use super::*;

    #[tokio::test]
    async fn versions_of_a_file_differ() {
        let fixture = Fixture::new().await;
        fixture.write("repo/one.txt", "staged\n");
        fixture.git(&["add", "one.txt"], "");
        fixture.write("repo/one.txt", "on disk\n");
        let get = async |version: &str| {
            let path = format!("/v1/git/content?repository=repo&path=one.txt&version={version}");
            fixture.agent.send(Method::GET, &path, empty()).await
        };
        assert_eq!(get("index").await, (StatusCode::OK, b"staged\n".to_vec()));
        assert!(get("head").await.1.starts_with(b"1\n2\n"));
        let hash = fixture.git(&["rev-parse", "HEAD"], "");
        assert!(get(hash.trim()).await.1.starts_with(b"1\n2\n"));
        assert_eq!(get("ours").await.0, StatusCode::NOT_FOUND);
        assert_eq!(get("--help").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[tokio::test]
    async fn blame_names_the_commit() {
        let fixture = Fixture::new().await;
        fixture.write("repo/one.txt", "1\nchanged\n3\n4\n5\n6\n7\n8\n9\n");
        let blame = async |line: u64| {
            let path = format!("/v1/git/blame?repository=repo&path=one.txt&line={line}");
            fixture.agent.json::<protocol::git::BlamedLine>(Method::GET, &path, json!(null)).await
        };
        assert_eq!(blame(2).await.commit, None);
        let first = blame(3).await;
        assert_eq!((first.author.as_str(), first.subject.as_str()), ("Ada", "first"));
        assert!(first.commit.is_some());
    }
}

mod watch {
    use super::*;

    async fn next_change(socket: &mut Socket) {
        loop {
            let message = within_timeout(socket.next()).await.expect("open").expect("a message");
            let Message::Text(text) = message else { continue };
            if serde_json::from_str::<RepositoryChanged>(&text).expect("an event").changed {
                return;
            }
        }
    }

    #[tokio::test]
    async fn reports_files_new_directories_and_commits() {
        let fixture = Fixture::new().await;
        let mut socket = fixture.agent.open_socket("/v1/git/watch").await;
        let watch = json!({ "type": "watch", "repository": "repo" }).to_string();
        socket.send(Message::text(watch)).await.expect("open");
        next_change(&mut socket).await;
        fixture.write("repo/one.txt", "changed\n");
        next_change(&mut socket).await;
        fs::create_dir(fixture.path("repo/new")).expect("a directory");
        next_change(&mut socket).await;
        fixture.write("repo/new/file", "new\n");
        next_change(&mut socket).await;
        fixture.git(&["commit", "--quiet", "--all", "--message", "x"], "");
        next_change(&mut socket).await;
    }
}
