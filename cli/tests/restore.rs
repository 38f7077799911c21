//! `burrow restore`: the server's events for a running home, and archives for this computer.

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use support::{
    Answer, ID, Script, TestServer,
    snapshots::{File, TestSnapshot, snapshot_server, test_snapshot},
    text,
};

const NEW: &str = "01a00000-0002-7000-8000-000000000002";
const OLD: &str = "01a00000-0001-7000-8000-000000000001";
const RESTORE: &str = "01a00000-0009-7000-8000-000000000009";
const RESTORES: &str = "POST /workspaces/01900000-0000-7000-8000-000000000001/restores";

fn snapshots() -> Vec<TestSnapshot> {
    vec![
        test_snapshot(NEW, None, 5, &[]),
        test_snapshot(
            OLD,
            Some("good"),
            60,
            &[
                ("notes.txt", File::Text("one\n", 0o600)),
                ("deep/down/run.sh", File::Text("#!/bin/sh\n", 0o755)),
                ("deep/down/to notes", File::Link("../../notes.txt")),
                ("deep/same", File::Text("same", 0o644)),
                ("huge", File::Huge(2 << 30)),
            ],
        ),
    ]
}

/// A workspace with snapshots, on a server that answers from a script.
struct TestWorkspace {
    server: TestServer,
}

impl TestWorkspace {
    fn new(phase: &str) -> Self {
        Self::scripted(phase, &[]).0
    }

    fn scripted(phase: &str, answers: &[(&str, Answer)]) -> (Self, Script) {
        let (script, routes) = snapshot_server(phase, &snapshots());
        let script = answers.iter().fold(script, |script, (route, answer)| script.on(route, answer.clone()));
        (Self { server: TestServer::with_routes(script.clone(), routes) }, script)
    }

    /// The exit status, standard output and standard error.
    fn run(&self, line: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.server.command("");
        let output = command.args(line).env("BURROW_TOKEN", "brw_test").output().expect("it runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// A path in the directory where `burrow` runs.
    fn here(&self, name: &str) -> PathBuf {
        self.server.home.path().join(name)
    }
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn permissions(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

/// The only file in a directory that was kept for `name`.
fn kept(directory: &Path, name: &str) -> PathBuf {
    let begins = format!("{name}.before-restore-");
    let names = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("readable").path());
    let mut matching =
        names.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)));
    let only = matching.next().expect("kept");
    assert_eq!(matching.next(), None);
    only
}

/// The stream of a restore with these events.
fn stream(events: &[Value]) -> Answer {
    let lines: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    Answer::Events(lines.concat())
}

fn planned(restore: Option<&str>) -> Value {
    json!({"type": "planned", "restore": restore, "entries": 2, "bytes": 14, "newer": 0})
}

fn entries() -> Value {
    json!({"type": "entries", "entries": [
        {"path": "deep", "kind": "directory", "size": 0, "outcome": "created"},
        {"path": "deep/same", "kind": "file", "size": 4, "outcome": "same"},
        {"path": "notes.txt", "kind": "file", "size": 4, "outcome": "replaced"},
    ]})
}

fn finished(failed: u64) -> Value {
    json!({"type": "finished", "restore": RESTORE, "created": 1, "replaced": 1, "same": 1, "failed": failed})
}

mod running {
    use super::*;

    #[test]
    fn restore_prints_events_and_undo() {
        let events = [
            json!({"type": "comparing", "entries": 3}),
            planned(Some(RESTORE)),
            json!({"type": "progress", "entries": 1, "bytes": 4, "path": "notes.txt"}),
            entries(),
            finished(0),
        ];
        let (workspace, script) = TestWorkspace::scripted("running", &[(RESTORES, stream(&events))]);
        let (status, data, words) =
            workspace.run(&["restore", "demo", "--at", "good", "deep", "./notes.txt", "--force"]);
        assert_eq!(status, Some(0), "{words}");
        assert!(data.contains("deep/") && data.contains("notes.txt") && !data.contains("same"), "{data}");
        assert!(words.contains("1 created, 1 replaced, 1 unchanged"), "{words}");
        assert!(words.contains(&format!("To undo this: burrow restore demo --undo {RESTORE}")), "{words}");
        let body: Value = serde_json::from_str(&script.bodies(RESTORES)[0]).expect("JSON");
        let expected = json!({"snapshot": OLD, "paths": ["deep", "notes.txt"], "dry_run": false,
            "force": true, "resume": null});
        assert_eq!(body, expected);
    }

    #[test]
    fn dry_run_changes_nothing() {
        let events = [planned(None), entries(), finished(0)];
        let mut last = events;
        last[2]["restore"] = Value::Null;
        let (workspace, script) = TestWorkspace::scripted("running", &[(RESTORES, stream(&last))]);
        let line = ["restore", "demo", "--at", "good", "deep", "--dry-run", "-o", "json"];
        let (status, data, words) = workspace.run(&line);
        assert_eq!(status, Some(0), "{words}");
        let results: Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(
            results[2],
            json!({"path": "notes.txt", "kind": "file", "size": 4, "outcome": "replaced"})
        );
        assert!(script.bodies(RESTORES)[0].contains(r#""dry_run":true"#));
    }

    #[test]
    fn failed_entry_sets_exit_status() {
        let failed = json!({"type": "entries", "entries": [
            {"path": "fifo", "kind": "other", "size": 0, "outcome": "failed", "message": "It is a pipe."},
        ]});
        let events = [planned(Some(RESTORE)), entries(), failed, finished(1)];
        let (workspace, _) = TestWorkspace::scripted("running", &[(RESTORES, stream(&events))]);
        let (status, _, words) = workspace.run(&["restore", "demo", "--at", "good", ".", "-q"]);
        assert_eq!(status, Some(1), "{words}");
        assert!(words.contains("fifo: It is a pipe.") && words.contains("1 of 4 entries"), "{words}");
    }

    #[test]
    fn early_end_says_how_to_continue() {
        let problem = json!({"type": "about:blank#disk_full", "title": "No space left", "status": 507,
            "detail": "The home is full.", "code": "disk_full", "request_id": ""});
        let failed = json!({"type": "failed", "problem": problem});
        let resume = format!("burrow restore demo --at {OLD} deep --resume {RESTORE}");
        for last in [&[failed][..], &[]] {
            let events = [&[planned(Some(RESTORE)), entries()][..], last].concat();
            let (workspace, _) = TestWorkspace::scripted("running", &[(RESTORES, stream(&events))]);
            let (status, _, words) = workspace.run(&["restore", "demo", "--at", "good", "deep"]);
            assert!(status != Some(0) && words.contains(&resume), "{words}");
        }
        let (workspace, script) = TestWorkspace::scripted(
            "running",
            &[(RESTORES, stream(&[planned(Some(RESTORE)), entries(), finished(0)]))],
        );
        let (status, _, words) =
            workspace.run(&["restore", "demo", "--at", "good", "deep", "--resume", RESTORE]);
        assert_eq!(status, Some(0), "{words}");
        assert!(script.bodies(RESTORES)[0].contains(RESTORE));
    }

    #[test]
    fn undo_lists_what_stays() {
        let answer = json!({"undone": 2, "kept_count": 1,
            "kept": [{"path": "notes.txt", "message": "It was changed after the restore."}]});
        let route = format!("POST /workspaces/{ID}/restores/{RESTORE}/undo");
        let (workspace, _) = TestWorkspace::scripted("running", &[(&route, Answer::Json(200, answer))]);
        let (status, _, words) = workspace.run(&["restore", "demo", "--undo", RESTORE]);
        assert_eq!(status, Some(1), "{words}");
        assert!(words.contains("notes.txt: It was changed") && words.contains("2 undone"), "{words}");
    }

    #[test]
    fn mistyped_path_restores_nothing() {
        let (workspace, script) = TestWorkspace::scripted("running", &[]);
        let (status, _, words) = workspace.run(&["restore", "demo", "--at", "good", "notes.txt", "nots.txt"]);
        assert_eq!(status, Some(3), "{words}");
        assert!(script.bodies(RESTORES).is_empty());
    }
}

#[test]
fn stopped_workspace_is_refused_with_hint() {
    let workspace = TestWorkspace::new("terminated");
    let (status, _, words) = workspace.run(&["restore", "demo", "--at", "good", "notes.txt"]);
    assert_eq!(status, Some(5));
    assert!(words.contains("burrow start demo; or restore to this computer with --to DIR"), "{words}");
    assert_eq!(workspace.run(&["restore", "demo", "--at", "good"]).0, Some(2));
    assert_eq!(workspace.run(&["restore", "demo", "--at", "good", "--all", "notes.txt"]).0, Some(2));
}

#[test]
fn local_restore_needs_no_running_workspace() {
    let workspace = TestWorkspace::new("terminated");
    let restore = |paths: &[&str], to: &str| {
        let (status, _, words) =
            workspace.run(&[&["restore", "demo", "--at", "good", "--to", to], paths].concat());
        assert_eq!(status, Some(0), "{words}");
    };
    restore(&["notes.txt"], "old.txt");
    assert_eq!(content(&workspace.here("old.txt")), "one\n");
    assert_eq!(permissions(&workspace.here("old.txt")), 0o600);
    // A directory that is not there becomes the one that is restored; in one that is, it keeps its
    // name.
    restore(&["deep"], "rescued");
    assert_eq!(content(&workspace.here("rescued/down/run.sh")), "#!/bin/sh\n");
    assert_eq!(permissions(&workspace.here("rescued/down")), 0o750);
    restore(&["deep/down", "notes.txt"], "rescued");
    assert_eq!(content(&workspace.here("rescued/notes.txt")), "one\n");
    restore(&["deep"], "rescued");
    assert_eq!(content(&workspace.here("rescued/deep/same")), "same");
    restore(&["notes.txt"], "new/");
    assert_eq!(content(&workspace.here("new/notes.txt")), "one\n");
    // Files that differ are kept here too.
    fs::write(workspace.here("old.txt"), "mine").expect("written");
    restore(&["notes.txt"], "old.txt");
    assert_eq!(content(&workspace.here("old.txt")), "one\n");
    assert_eq!(content(&kept(&workspace.here("."), "old.txt")), "mine");
    assert!(!workspace.here(".burrow-restores").exists());
}

#[test]
fn local_restore_names_what_archive_lacks() {
    let workspace = TestWorkspace::new("terminated");
    let (status, data, words) = workspace.run(&["restore", "demo", "--at", "good", ".", "--to", "all"]);
    assert_eq!(status, Some(1), "{words}");
    assert!(words.contains("home/huge: cannot be restored: damaged"), "{words}");
    assert!(data.contains("all/notes.txt"), "{data}");
    assert_eq!(content(&workspace.here("all/deep/same")), "same");
    assert!(!workspace.here("all/left-out.txt").exists());
}

#[test]
fn local_links_are_not_followed() {
    let workspace = TestWorkspace::new("terminated");
    fs::create_dir_all(workspace.here("rescued/deep")).expect("made");
    fs::create_dir(workspace.here("outside")).expect("made");
    symlink("../../outside", workspace.here("rescued/deep/down")).expect("linked");
    let (status, _, words) =
        workspace.run(&["restore", "demo", "--at", "good", "deep", "--to", "rescued", "--force"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(fs::read_dir(workspace.here("outside")).expect("there").count(), 0);
    assert_eq!(content(&workspace.here("rescued/deep/down/run.sh")), "#!/bin/sh\n");
}
