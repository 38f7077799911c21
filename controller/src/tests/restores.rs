//! Restores of files into a running home, with the real agent behind a socket in place of the front.

use std::{path::Path, sync::Arc};

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper_util::service::TowerToHyperService;
use protocol::{
    WorkspaceId,
    api::restore::{RestoreEvent, RestoreOutcome, UndoneRestore},
};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use transport::{KeepAlive, serve_link};
use workspace_agent::{routes, state::AgentState, user::GuestUser};

use super::world::{Client, World, stream};

/// Serves the agent of a directory where the controller expects the front. Ends with the test.
fn serve_agent(front: &Path, home: &Path) {
    let home = home.canonicalize().expect("a directory");
    let state = AgentState::on_host(GuestUser::on_host(home)).expect("a home");
    let router = routes::router(Arc::new(state));
    std::fs::create_dir_all(front.parent().expect("a directory")).expect("created");
    let listener = UnixListener::bind(front).expect("a socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(serve_link(stream, service, KeepAlive::AnswerOnly));
        }
    });
}

/// Restores, and returns all events.
async fn restore(client: &Client, id: WorkspaceId, request: &Value) -> Vec<RestoreEvent> {
    let body = serde_json::to_vec(request).expect("JSON");
    let path = format!("/api/v1/workspaces/{id}/restores");
    let response = client.open(Method::POST, &path, Some(("application/json", body))).await;
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.expect("complete").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    events.map(|event| serde_json::from_str(event).expect("an event")).collect()
}

/// The entries in the events, as "path outcome".
fn outcomes(events: &[RestoreEvent]) -> Vec<String> {
    let entries = events.iter().filter_map(|event| match event {
        RestoreEvent::Entries { entries } => Some(entries),
        _ => None,
    });
    let mut all: Vec<String> =
        entries.flatten().map(|entry| format!("{} {:?}", entry.path, entry.outcome)).collect();
    all.sort();
    all
}

#[tokio::test]
async fn files_are_compared_restored_and_undone() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let home = tempfile::tempdir().expect("a home");
    serve_agent(&runner.spec.run_dir.join("front.sock"), home.path());
    let large = "x".repeat(3 << 20);
    let files = [("notes.txt", "one\n"), ("src/large", large.as_str()), ("src/main.rs", "fn main() {}")];
    world.files.insert(1, &files);
    runner.report(vec![stream(1)]).await.expect("accepted");
    let snapshot = owner.snapshots(id).await[0].id;
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).expect("written");
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).expect("readable");
    write("notes.txt", "two, longer\n");
    write("newer", "stays");

    let preview = restore(&owner, id, &json!({ "snapshot": snapshot, "dry_run": true })).await;
    let expected = ["notes.txt Replaced", "src Created", "src/large Created", "src/main.rs Created"];
    assert_eq!(outcomes(&preview), expected);
    let planned = preview.iter().find(|event| matches!(event, RestoreEvent::Planned { .. }));
    let bytes = files.iter().map(|(_, text)| text.len() as u64).sum();
    assert_eq!(planned, Some(&RestoreEvent::Planned { restore: None, entries: 4, bytes, newer: 1 }));
    assert_eq!(read("notes.txt"), "two, longer\n");

    let done =
        restore(&owner, id, &json!({ "snapshot": snapshot, "paths": ["src/main.rs", "notes.txt"] })).await;
    assert_eq!(outcomes(&done), ["notes.txt Replaced", "src Created", "src/main.rs Created"]);
    let Some(RestoreEvent::Finished { restore: Some(first), created: 2, replaced: 1, same: 0, failed: 0 }) =
        done.last()
    else {
        panic!("{:?}", done.last());
    };
    assert_eq!((read("notes.txt").as_str(), read("src/main.rs").as_str()), ("one\n", "fn main() {}"));

    // A restore that ended early continues with what is missing.
    let request = json!({ "snapshot": snapshot, "paths": ["/"], "resume": first });
    let rest = restore(&owner, id, &request).await;
    assert_eq!(outcomes(&rest), ["notes.txt Same", "src/large Created", "src/main.rs Same"]);
    assert!(read("src/large") == large);
    let undo = format!("/api/v1/workspaces/{id}/restores/{first}/undo");
    let undone: UndoneRestore = owner.post(&undo, &json!({})).await.ok();
    assert_eq!((undone.undone, undone.kept_count), (4, 0));
    assert_eq!((read("notes.txt").as_str(), read("newer").as_str()), ("two, longer\n", "stays"));
    assert!(!home.path().join("src").exists());
    let again = owner.post(&undo, &json!({})).await;
    assert_eq!((again.status, again.code()), (404, "not_found"));
}

#[tokio::test]
async fn invalid_restores_are_refused() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let home = tempfile::tempdir().expect("a home");
    serve_agent(&runner.spec.run_dir.join("front.sock"), home.path());
    world.files.insert(1, &[("a", "text")]);
    runner.report(vec![stream(1)]).await.expect("accepted");
    let snapshot = owner.snapshots(id).await[0].id;
    let path = format!("/api/v1/workspaces/{id}/restores");
    let refused = async |client: &Client, request: Value| {
        let answer = client.post(&path, &request).await;
        (answer.status, answer.code().to_owned())
    };
    let at = |paths: &[&str]| json!({ "snapshot": snapshot, "paths": paths });
    assert_eq!(refused(&owner, at(&["a", "no"])).await, (404, "not_found".to_owned()));
    assert_eq!(refused(&owner, at(&["../a"])).await, (422, "invalid".to_owned()));
    assert_eq!(refused(&owner, at(&["x"; 1001])).await, (422, "invalid".to_owned()));
    assert_eq!(refused(&owner, json!({ "snapshot": id })).await, (404, "not_found".to_owned()));
    assert!(std::fs::read_dir(home.path()).expect("readable").next().is_none());
    let guard = world.app().restores.begin(id).expect("none runs");
    assert_eq!(refused(&owner, at(&["a"])).await, (409, "conflict".to_owned()));
    drop(guard);
    let events = restore(&owner, id, &at(&["a"])).await;
    assert!(matches!(events.last(), Some(RestoreEvent::Finished { created: 1, .. })), "{events:?}");
    assert!(outcomes(&events).contains(&format!("a {:?}", RestoreOutcome::Created)));

    let stopped = owner.create("other").await;
    let answer = owner.post(&format!("/api/v1/workspaces/{}/restores", stopped.id), &at(&[])).await;
    assert_eq!((answer.status, answer.code()), (409, "not_running"));
}
