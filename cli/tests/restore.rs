//! Files of the past on their way back: into a home that the real agent serves, and onto this machine.

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

/// A workspace with a past, and the directory that its agent serves.
struct Machine {
    server: TestServer,
    home: tempfile::TempDir,
}

impl Machine {
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

    /// The status, the data and the words.
    fn run(&self, line: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.server.command("");
        let output = command.args(line).env("BURROW_TOKEN", "brw_test").output().expect("it runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Where `burrow` runs.
    fn here(&self, name: &str) -> PathBuf {
        self.server.home.path().join(name)
    }
}

/// The agent's own routes, as the gateway maps them.
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

/// The only name in a directory that begins so and goes on.
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
fn a_tree_comes_back_into_the_running_home() {
    let machine = Machine::new("running");
    machine.write("deep/same", "same");
    machine.write("deep/later", "stays");
    let (status, data, words) = machine.run(&["restore", "demo", "--at", "good", "deep", "notes.txt"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(content(&machine.path("notes.txt")), "one\n");
    assert_eq!(content(&machine.path("deep/down/run.sh")), "#!/bin/sh\n");
    assert_eq!(content(&machine.path("deep/later")), "stays");
    assert_eq!(permissions(&machine.path("notes.txt")), 0o600);
    assert_eq!(permissions(&machine.path("deep/down/run.sh")), 0o755);
    assert_eq!(permissions(&machine.path("deep/down")), 0o750);
    let link = fs::read_link(machine.path("deep/down/to notes")).expect("a link");
    assert_eq!(link, Path::new("../../notes.txt"));
    assert!(data.contains("deep/down/") && !data.contains("same"), "{data}");
    assert!(words.contains("4 created, 0 replaced, 1 unchanged"), "{words}");

    let (status, data, words) = machine.run(&["restore", "demo", "--at", "good", "deep", "notes.txt"]);
    assert_eq!((status, data.as_str()), (Some(0), ""), "{words}");
    assert!(words.contains("0 created, 0 replaced, 4 unchanged"), "{words}");
}

#[test]
fn what_differs_is_kept_beside_unless_forced() {
    for (present, line) in [("two\n", &[][..]), ("longer than it was\n", &[]), ("two\n", &["--force"])] {
        let machine = Machine::new("running");
        machine.write("notes.txt", present);
        let line = [&["restore", "demo", "--at", "good", "notes.txt", "-o", "json"], line].concat();
        let (status, data, words) = machine.run(&line);
        assert_eq!(status, Some(0), "{words}");
        assert_eq!(content(&machine.path("notes.txt")), "one\n");
        let told: Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(told[0]["outcome"], "replaced");
        if line.contains(&"--force") {
            assert_eq!(fs::read_dir(machine.home.path()).expect("a home").count(), 1);
            assert_eq!(told[0]["kept"], Value::Null);
        } else {
            let kept = kept(machine.home.path(), "notes.txt");
            assert_eq!(content(&kept), present);
            assert_eq!(told[0]["kept"], kept.file_name().expect("named").to_str().expect("UTF-8"));
        }
    }
}

#[test]
fn what_is_no_file_any_more_is_kept_even_if_forced() {
    let machine = Machine::new("running");
    machine.write("notes.txt/inside", "precious");
    machine.write("elsewhere/untouched", "");
    symlink("../elsewhere", machine.path("down")).expect("linked");
    fs::create_dir(machine.path("deep")).expect("made");
    fs::rename(machine.path("down"), machine.path("deep/down")).expect("moved");
    let (status, _, words) =
        machine.run(&["restore", "demo", "--at", "good", "notes.txt", "deep/down", "--force"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(content(&machine.path("notes.txt")), "one\n");
    assert_eq!(content(&kept(machine.home.path(), "notes.txt").join("inside")), "precious");
    // Nothing was written through the link.
    assert_eq!(fs::read_dir(machine.path("elsewhere")).expect("there").count(), 1);
    assert!(fs::symlink_metadata(machine.path("deep/down")).expect("there").is_dir());
}

#[test]
fn a_lost_directory_is_made_again_for_its_file() {
    let machine = Machine::new("running");
    let (status, data, words) =
        machine.run(&["restore", "demo", "--at", "1h", "deep/down/run.sh", "-o", "name"]);
    assert_eq!((status, data.as_str()), (Some(0), "deep/down/run.sh\n"), "{words}");
    assert_eq!(content(&machine.path("deep/down/run.sh")), "#!/bin/sh\n");
}

#[test]
fn one_failure_does_not_keep_the_rest() {
    let machine = Machine::new("running");
    let (status, data, words) = machine.run(&["restore", "demo", "--at", "good", ".", "-q"]);
    assert_eq!(status, Some(1), "{words}");
    assert!(
        words.contains("huge: the file is larger than the limit of 1.0 GiB")
            && words.contains("1 of 7 entries"),
        "{words}"
    );
    assert!(data.contains("notes.txt\n") && data.contains("deep/same\n"), "{data}");
    // A word with a mistake in it does nothing at all.
    let machine = Machine::new("running");
    let (status, _, words) = machine.run(&["restore", "demo", "--at", "good", "notes.txt", "nots.txt"]);
    assert_eq!(status, Some(3), "{words}");
    assert_eq!(fs::read_dir(machine.home.path()).expect("a home").count(), 0);
}

#[test]
fn a_home_at_rest_takes_no_files_and_says_what_to_do() {
    let machine = Machine::new("terminated");
    let (status, _, words) = machine.run(&["restore", "demo", "--at", "good", "notes.txt"]);
    assert_eq!(status, Some(5));
    assert!(words.contains("burrow start demo; or restore to this computer with --to DIR"), "{words}");
    assert_eq!(machine.run(&["restore", "demo", "--at", "good"]).0, Some(2));
    assert_eq!(machine.run(&["restore", "demo", "--at", "good", "--all", "notes.txt"]).0, Some(2));
}

#[test]
fn files_come_to_this_machine_without_a_running_one() {
    let machine = Machine::new("terminated");
    let restore = |paths: &[&str], to: &str| {
        let (status, _, words) =
            machine.run(&[&["restore", "demo", "--at", "good", "--to", to], paths].concat());
        assert_eq!(status, Some(0), "{words}");
    };
    restore(&["notes.txt"], "old.txt");
    assert_eq!(content(&machine.here("old.txt")), "one\n");
    assert_eq!(permissions(&machine.here("old.txt")), 0o600);
    // A directory that is not there becomes the one that is restored; in one that is, it keeps its name.
    restore(&["deep"], "rescued");
    assert_eq!(content(&machine.here("rescued/down/run.sh")), "#!/bin/sh\n");
    assert_eq!(permissions(&machine.here("rescued/down")), 0o750);
    restore(&["deep/down", "notes.txt"], "rescued");
    assert_eq!(content(&machine.here("rescued/notes.txt")), "one\n");
    restore(&["deep"], "rescued");
    assert_eq!(content(&machine.here("rescued/deep/same")), "same");
    restore(&["notes.txt"], "new/");
    assert_eq!(content(&machine.here("new/notes.txt")), "one\n");
    // What differs is kept beside here too.
    fs::write(machine.here("old.txt"), "mine").expect("written");
    restore(&["notes.txt"], "old.txt");
    assert_eq!(content(&machine.here("old.txt")), "one\n");
    assert_eq!(content(&kept(&machine.here("."), "old.txt")), "mine");
}

#[test]
fn links_on_this_machine_are_not_written_through() {
    let machine = Machine::new("terminated");
    fs::create_dir_all(machine.here("rescued/deep")).expect("made");
    fs::create_dir(machine.here("outside")).expect("made");
    symlink("../../outside", machine.here("rescued/deep/down")).expect("linked");
    let (status, _, words) =
        machine.run(&["restore", "demo", "--at", "good", "deep", "--to", "rescued", "--force"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(fs::read_dir(machine.here("outside")).expect("there").count(), 0);
    assert_eq!(content(&machine.here("rescued/deep/down/run.sh")), "#!/bin/sh\n");
}
