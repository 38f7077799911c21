//! `burrow push` and `burrow pull`: which server gets which request, with which token.

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _};

use protocol::api::import::ChunkHash;
use serde_json::{Value, json};
use support::{Answer, ID, OTHER, Script, TestServer, text, workspace};

const TAKEN: &str = "01a00000-0003-7000-8000-000000000003";
const LEFT: &str = "01a00000-0002-7000-8000-000000000002";
const OLD: &str = "01a00000-0001-7000-8000-000000000001";

fn snapshot(id: &str, name: Option<&str>) -> Value {
    json!({
        "id": id, "name": name, "kind": "requested", "consistency": "clean", "epoch": 1, "changed_bytes": 0,
        "uploaded_bytes": 0, "stored_bytes": 0, "created_at": "2026-01-01T00:00:00Z",
    })
}

fn chunks(list: &[(u32, u8)], next: Option<u32>) -> Value {
    let chunk = |(index, hash): &(u32, u8)| json!({ "index": index, "hash": ChunkHash([*hash; 32]) });
    json!({ "chunks": list.iter().map(chunk).collect::<Vec<_>>(), "next": next })
}

fn import(version: u64) -> Value {
    json!({
        "id": OTHER, "source": ID, "name": "demo", "version": version, "expires_at": "2027-01-01T00:00:00Z",
    })
}

/// The path of a snapshot's chunks.
fn chunks_path(snapshot: &str) -> String {
    format!("/workspaces/{ID}/snapshots/{snapshot}/chunks")
}

/// Saves a login to `there` in the configuration of `here`.
fn sign_in(here: &TestServer, there: &TestServer) {
    let directory = here.home.path().join(".config/burrow");
    fs::create_dir_all(&directory).expect("made");
    let file = directory.join("credentials.toml");
    fs::write(&file, format!("[servers.\"{}\"]\ntoken = \"brw_there\"\n", there.url)).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
}

fn destination() -> Script {
    let route = format!("/imports/{OTHER}");
    Script::default()
        .json("POST /imports", import(3))
        .json("GET /workspaces", json!({ "workspaces": [] }))
        .json(&format!("GET {route}/chunks"), chunks(&[(1, 1), (4, 9)], None))
        // A lost answer.
        .problem(&format!("PUT {route}/chunks"), 503, "unavailable", "Later.")
        .json(&format!("PUT {route}/chunks"), import(4))
        // Verifying takes longer than a request may.
        .problem(&format!("POST {route}/finish"), 504, "timeout", "Ask again.")
        .json(&format!("POST {route}/finish"), workspace("demo", "terminated", 1))
}

#[test]
fn push_sends_missing_chunks_and_retries() {
    let there = TestServer::new(destination());
    let label = format!("moving to {}", there.url);
    let source = Script::default()
        .json("GET /workspaces", json!({ "workspaces": [workspace("demo", "running", 1)] }))
        .json(&format!("GET /workspaces/{ID}/snapshots"), json!({ "snapshots": [snapshot(OLD, None)] }))
        .json(
            &format!("GET /workspaces/{ID}/snapshots"),
            json!({ "snapshots": [
                snapshot(TAKEN, Some(&label)), snapshot(LEFT, Some(&label)), snapshot(OLD, None),
            ] }),
        )
        .json(&format!("POST /workspaces/{ID}/snapshots"), snapshot(TAKEN, None))
        .json(&format!("PATCH /workspaces/{ID}/snapshots/{TAKEN}"), snapshot(TAKEN, Some(&label)))
        .json(&format!("DELETE /workspaces/{ID}/snapshots/{TAKEN}"), json!({}))
        .json(&format!("DELETE /workspaces/{ID}/snapshots/{LEFT}"), json!({}))
        .json(&format!("GET {}", chunks_path(TAKEN)), chunks(&[(0, 7), (1, 1)], Some(5)))
        .json(&format!("GET {}", chunks_path(TAKEN)), chunks(&[(5, 8)], None))
        .json(&format!("POST {}", chunks_path(TAKEN)), json!("chunk data"));
    let here = TestServer::new(source);
    sign_in(&here, &there);
    let output = here.run(&format!("push demo --to {} -o json", there.url));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let request: Value = serde_json::from_str(&there.script.bodies("POST /imports")[0]).expect("JSON");
    assert_eq!(
        (&request["source"], &request["name"], &request["home_mib"]),
        (&json!(ID), &json!("demo"), &json!(1024))
    );
    // A chunk that differs, a new one, and one that must become zeros.
    assert_eq!(here.script.bodies(&format!("POST {}", chunks_path(TAKEN))), [r#"{"indexes":[0,4,5]}"#]);
    let sent = there.script.bodies(&format!("PUT /imports/{OTHER}/chunks"));
    assert_eq!(sent, ["\"chunk data\"", "\"chunk data\""]);
    let mut root = volume::RootHasher::default();
    for (index, hash) in [(0, 7), (1, 1), (5, 8)] {
        root.add(index, &ChunkHash([hash; 32]));
    }
    let finish = there.script.bodies(&format!("POST /imports/{OTHER}/finish"));
    assert_eq!(finish.len(), 2);
    let finish: Value = serde_json::from_str(&finish[1]).expect("JSON");
    assert_eq!(finish["root"], json!(root.finish()));

    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["chunks"], &report["sent_chunks"]), (&json!(3), &json!(3)));
    assert_eq!((&report["sent_bytes"], &report["snapshot"]), (&json!(12), &json!(TAKEN)));
    // The temporary snapshot is deleted, and the one of an interrupted transfer.
    for taken in [TAKEN, LEFT] {
        assert_eq!(here.script.bodies(&format!("DELETE /workspaces/{ID}/snapshots/{taken}")).len(), 1);
    }
    assert!(here.script.credentials().iter().all(|credential| credential == "Bearer brw_test"));
    assert!(there.script.credentials().iter().all(|credential| credential == "Bearer brw_there"));
}

#[test]
fn push_keeps_requested_snapshots() {
    let there = TestServer::new(destination());
    let source = Script::default()
        .json("GET /workspaces", json!({ "workspaces": [workspace("demo", "running", 1)] }))
        .json(&format!("GET /workspaces/{ID}/snapshots"), json!({ "snapshots": [snapshot(OLD, None)] }))
        // Nothing has changed since.
        .json(&format!("POST /workspaces/{ID}/snapshots"), snapshot(OLD, None))
        .json(&format!("GET {}", chunks_path(OLD)), chunks(&[(1, 1), (4, 9)], None));
    let here = TestServer::new(source);
    sign_in(&here, &there);
    let output = here.run(&format!("push demo --to {} -o json", there.url));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(there.script.bodies(&format!("PUT /imports/{OTHER}/chunks")).is_empty(), "nothing is missing");
    assert!(here.script.bodies(&format!("DELETE /workspaces/{ID}/snapshots/{OLD}")).is_empty());
}

#[test]
fn refused_push_creates_no_snapshot() {
    let taken = Script::default().problem("POST /imports", 409, "name_taken", "You have one.");
    let there = TestServer::new(taken);
    let list = json!({ "workspaces": [workspace("demo", "running", 1)] });
    let here = TestServer::new(Script::default().json("GET /workspaces", list.clone()));
    sign_in(&here, &there);
    let output = here.run(&format!("push demo --to {}", there.url));
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("hint: --as NAME, or --replace"), "{}", text(&output.stderr));
    assert!(here.script.bodies(&format!("POST /workspaces/{ID}/snapshots")).is_empty());

    let here = TestServer::new(Script::default().on("GET /workspaces", Answer::Json(200, list)));
    sign_in(&here, &here);
    let output = here.run(&format!("pull demo --from {}", here.url));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("burrow fork"), "{}", text(&output.stderr));
}
