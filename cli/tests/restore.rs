//! `burrow restore`: into a home that the real agent serves, and onto this computer.

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Router, extract::Request, http::Uri, routing::any};
use serde_json::Value;
use support::{
    ID, Script, TestServer,
    snapshots::{File, TestSnapshot, snapshot_server, test_snapshot},
    text,
};
use tower::ServiceExt as _;
use workspace_agent::{routes, state::AgentState, user::GuestUser};

const NEW: &str = "01a00000-0002-7000-8000-000000000002";
const OLD: &str = "01a00000-0001-7000-8000-000000000001";

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

/// A workspace with snapshots, and the directory that its agent serves.
struct TestWorkspace {
    server: TestServer,
    home: tempfile::TempDir,
}

impl TestWorkspace {
    fn new(phase: &str) -> Self {
        let home = tempfile::tempdir().expect("a home");
        let (script, routes) = snapshot_server(phase, &snapshots());
        let server = TestServer::with_routes(script, routes.merge(agent(home.path())));
        Self { server, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("in the home")).expect("made");
        fs::write(path, content).expect("written");
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

/// The agent's routes under the paths of the gateway.
fn agent(home: &Path) -> Router<Script> {
    let home = home.canonicalize().expect("there");
    let agent = AgentState::on_host(GuestUser::on_host(home)).expect("a home");
    let agent = routes::router(Arc::new(agent));
    let base = format!("/api/v1/workspaces/{ID}/agent");
    let serve = {
        let base = base.clone();
        async move |mut request: Request| {
            let rest = request.uri().to_string();
            let rest = rest.split_once(&base).expect("below it").1;
            *request.uri_mut() = format!("/v1{rest}").parse::<Uri>().expect("a path");
            agent.oneshot(request).await.expect("infallible")
        }
    };
    Router::new().route(&format!("{base}/{{*rest}}"), any(serve))
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

#[test]
fn directories_are_restored_into_running_home() {
    let workspace = TestWorkspace::new("running");
    workspace.write("deep/same", "same");
    workspace.write("deep/later", "stays");
    let (status, data, words) = workspace.run(&["restore", "demo", "--at", "good", "deep", "notes.txt"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(content(&workspace.path("notes.txt")), "one\n");
    assert_eq!(content(&workspace.path("deep/down/run.sh")), "#!/bin/sh\n");
    assert_eq!(content(&workspace.path("deep/later")), "stays");
    assert_eq!(permissions(&workspace.path("notes.txt")), 0o600);
    assert_eq!(permissions(&workspace.path("deep/down/run.sh")), 0o755);
    assert_eq!(permissions(&workspace.path("deep/down")), 0o750);
    let link = fs::read_link(workspace.path("deep/down/to notes")).expect("a link");
    assert_eq!(link, Path::new("../../notes.txt"));
    assert!(data.contains("deep/down/") && !data.contains("same"), "{data}");
    assert!(words.contains("4 created, 0 replaced, 1 unchanged"), "{words}");

    let (status, data, words) = workspace.run(&["restore", "demo", "--at", "good", "deep", "notes.txt"]);
    assert_eq!((status, data.as_str()), (Some(0), ""), "{words}");
    assert!(words.contains("0 created, 0 replaced, 4 unchanged"), "{words}");
}

#[test]
fn differing_files_are_kept_unless_forced() {
    for (present, line) in [("two\n", &[][..]), ("longer than it was\n", &[]), ("two\n", &["--force"])] {
        let workspace = TestWorkspace::new("running");
        workspace.write("notes.txt", present);
        let line = [&["restore", "demo", "--at", "good", "notes.txt", "-o", "json"], line].concat();
        let (status, data, words) = workspace.run(&line);
        assert_eq!(status, Some(0), "{words}");
        assert_eq!(content(&workspace.path("notes.txt")), "one\n");
        let results: Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(results[0]["outcome"], "replaced");
        if line.contains(&"--force") {
            assert_eq!(fs::read_dir(workspace.home.path()).expect("a home").count(), 1);
            assert_eq!(results[0]["kept"], Value::Null);
        } else {
            let kept = kept(workspace.home.path(), "notes.txt");
            assert_eq!(content(&kept), present);
            assert_eq!(results[0]["kept"], kept.file_name().expect("named").to_str().expect("UTF-8"));
        }
    }
}

#[test]
fn directories_are_kept_even_if_forced() {
    let workspace = TestWorkspace::new("running");
    workspace.write("notes.txt/inside", "precious");
    workspace.write("elsewhere/untouched", "");
    symlink("../elsewhere", workspace.path("down")).expect("linked");
    fs::create_dir(workspace.path("deep")).expect("made");
    fs::rename(workspace.path("down"), workspace.path("deep/down")).expect("moved");
    let (status, _, words) =
        workspace.run(&["restore", "demo", "--at", "good", "notes.txt", "deep/down", "--force"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(content(&workspace.path("notes.txt")), "one\n");
    assert_eq!(content(&kept(workspace.home.path(), "notes.txt").join("inside")), "precious");
    // Nothing was written through the link.
    assert_eq!(fs::read_dir(workspace.path("elsewhere")).expect("there").count(), 1);
    assert!(fs::symlink_metadata(workspace.path("deep/down")).expect("there").is_dir());
}

#[test]
fn missing_parents_are_created() {
    let workspace = TestWorkspace::new("running");
    let (status, data, words) =
        workspace.run(&["restore", "demo", "--at", "1h", "deep/down/run.sh", "-o", "name"]);
    assert_eq!((status, data.as_str()), (Some(0), "deep/down/run.sh\n"), "{words}");
    assert_eq!(content(&workspace.path("deep/down/run.sh")), "#!/bin/sh\n");
}

#[test]
fn one_failure_does_not_stop_the_rest() {
    let workspace = TestWorkspace::new("running");
    let (status, data, words) = workspace.run(&["restore", "demo", "--at", "good", ".", "-q"]);
    assert_eq!(status, Some(1), "{words}");
    assert!(
        words.contains("huge: the file is larger than the limit of 1.0 GiB")
            && words.contains("1 of 7 entries"),
        "{words}"
    );
    assert!(data.contains("notes.txt\n") && data.contains("deep/same\n"), "{data}");
    // A mistyped path restores nothing.
    let workspace = TestWorkspace::new("running");
    let (status, _, words) = workspace.run(&["restore", "demo", "--at", "good", "notes.txt", "nots.txt"]);
    assert_eq!(status, Some(3), "{words}");
    assert_eq!(fs::read_dir(workspace.home.path()).expect("a home").count(), 0);
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
