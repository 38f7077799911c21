//! Client commands with a scripted server: requests, output and exit status. Tests with the real
//! controller are in the `tests` crate.

mod support;

use serde_json::{Value, json};
use support::{Answer, ID, OTHER, Script, TestServer, event, text, workspace};

fn workspace_with_steps(phase: &str, revision: u64, steps: &[(&str, u32)]) -> Value {
    let mut workspace = workspace("demo", phase, revision);
    workspace["steps"] = steps
        .iter()
        .map(|(step, second)| json!({"step": step, "since": format!("2026-01-01T00:00:{second:02}Z")}))
        .collect();
    workspace
}

fn user() -> Value {
    json!({
        "id": OTHER, "tenant": ID, "tenant_name": "Home", "email": "anna@example.org", "name": "Anna",
        "role": "owner",        "has_password": true, "created_at": "2026-01-01T00:00:00Z",
    })
}

fn session() -> Value {
    json!({"user": user(), "expires_at": "2027-01-01T00:00:00Z"})
}

#[test]
fn list_has_three_formats() {
    let list = json!({"workspaces": [workspace("demo", "running", 1)]});
    let server = TestServer::new(Script::default().json("GET /workspaces", list));
    let table = text(&server.run("list").stdout);
    assert!(table.starts_with("NAME") && table.contains("demo") && table.contains("Running"), "{table}");
    assert_eq!(text(&server.run("ls -o name").stdout), "demo\n");
    assert_eq!(text(&server.run("ls -q").stdout), format!("{ID}\n"));
    let parsed: Value = serde_json::from_slice(&server.run("ls -o json").stdout).expect("JSON");
    assert_eq!(parsed[0]["name"], "demo");
    assert!(server.script.credentials().iter().all(|credential| credential == "Bearer brw_test"));
}

#[test]
fn unknown_name_is_status_3_with_suggestion() {
    let list = json!({"workspaces": [workspace("demo", "running", 1)]});
    let server = TestServer::new(Script::default().json("GET /workspaces", list));
    let output = server.run("show dmeo");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("did you mean `demo`?"), "{}", text(&output.stderr));
}

#[test]
fn problems_show_request_id() {
    let script =
        Script::default().problem("GET /workspaces", 403, "quota_exceeded", "Ten workspaces are the limit.");
    let output = TestServer::new(script).run("list");
    assert_eq!(output.status.code(), Some(6));
    let words = text(&output.stderr);
    assert!(words.contains("Ten workspaces") && words.contains("request ID: request-7"), "{words}");
}

#[test]
fn create_shows_steps() {
    let steps = [("queue", 0), ("sandbox", 2), ("boot", 5)];
    // An older state first, as after a reconnect.
    let events = [
        event(&workspace("demo", "terminated", 1)),
        event(&workspace_with_steps("queued", 2, &steps[..1])),
        event(&workspace_with_steps("provisioning", 3, &steps)),
        event(&workspace_with_steps("running", 4, &steps)),
    ]
    .concat();
    let script = Script::default()
        .json("POST /workspaces", workspace("demo", "queued", 2))
        .on(&format!("GET /workspaces/{ID}/events"), Answer::Events(events));
    let server = TestServer::new(script);
    let output = server.run("create demo --template base");
    let words = text(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("Waiting in the queue done in 2.0 s"), "{words}");
    assert!(words.contains("Starting the sandbox done in 3.0 s"), "{words}");
    assert!(words.contains("burrow attach demo"), "{words}");
    let asked: Value = serde_json::from_str(&server.script.bodies("POST /workspaces")[0]).expect("JSON");
    assert_eq!(asked, json!({"name": "demo", "template": "base", "start": true}));
}

#[test]
fn broken_event_stream_is_reopened() {
    let events = format!("GET /workspaces/{ID}/events");
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&format!("POST /workspaces/{ID}/start"), workspace("demo", "queued", 2))
        .on(&events, Answer::Events(event(&workspace("demo", "queued", 2)) + "event: works"))
        .on(&events, Answer::Events(event(&workspace("demo", "running", 3))));
    let output = TestServer::new(script).run("start demo -q");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{ID}\n"));
}

#[test]
fn failed_start_shows_step_cause_and_action() {
    let mut failed = workspace("demo", "terminated", 3);
    failed["failure"] = json!({
        "step": "boot", "cause": "The kernel \u{1b}[31mpanicked.", "action": "Try again.", "log": ["a line"],
    });
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&format!("POST /workspaces/{ID}/start"), workspace("demo", "queued", 2))
        .on(&format!("GET /workspaces/{ID}/events"), Answer::Events(event(&failed)));
    let output = TestServer::new(script).run("start demo");
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains("booting failed") && words.contains("hint: Try again."), "{words}");
    assert!(words.contains("| a line") && !words.contains('\u{1b}'), "{words}");
}

#[test]
fn taken_name_is_status_5() {
    let script = Script::default()
        .problem("POST /workspaces", 409, "name_taken", "There is a demo already.")
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "running", 1)]}));
    let server = TestServer::new(script);
    assert_eq!(server.run("create demo").status.code(), Some(5));
    let again = server.run("create demo --if-not-exists");
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn delete_needs_confirmation() {
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&format!("DELETE /workspaces/{ID}"), json!({}));
    let server = TestServer::new(script);
    let route = format!("DELETE /workspaces/{ID}");
    let refused = server.run("delete demo");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--yes"));
    assert!(server.script.bodies(&route).is_empty());
    assert!(server.run("rm demo -y").status.success());
    assert_eq!(server.script.bodies(&route).len(), 1);
    assert_eq!(server.run("delete other -y").status.code(), Some(3));
    assert!(server.run("delete other -y --ignore-not-found").status.success());
}

#[test]
fn malformed_roster_rows_are_reported() {
    let class = json!({
        "id": ID, "name": "algo", "template": "base", "teacher": OTHER, "created_at": "2026-01-01T00:00:00Z",
        "members": [],
    });
    let result = json!({
        "class": class, "unchanged": 1,
        "added": [{
            "member": OTHER, "name": "Ben", "email": "ben@example.org",
            "invitation": {"path": "/join#secret", "expires_at": "2026-02-01T00:00:00Z"},
        }],
        "errors": [{"line": 3, "row": "nonsense", "message": "the email is missing"}],
    });
    let script =
        Script::default().json("POST /classes", class).json(&format!("POST /classes/{ID}/roster"), result);
    let server = TestServer::new(script);
    let file = server.home.path().join("students.csv");
    std::fs::write(&file, "Ben,ben@example.org\nEva,eva@example.org\nnonsense\n").expect("written");
    let output = server.run(&format!("class create algo --roster {}", file.display()));
    assert_eq!(output.status.code(), Some(1));
    let (data, words) = (text(&output.stdout), text(&output.stderr));
    assert!(data.contains(&format!("{}/join#secret", server.url)), "{data}");
    assert!(words.contains("students.csv:3: the email is missing: nonsense"), "{words}");
    assert_eq!(
        server.script.bodies(&format!("POST /classes/{ID}/roster")),
        ["Ben,ben@example.org\nEva,eva@example.org\nnonsense\n"]
    );
    let missing = server.run("class create other --roster /nowhere.csv");
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(server.script.bodies("POST /classes").len(), 1, "no class is created");
}

#[test]
fn device_login_is_saved_and_removed() {
    let info = json!({
        "id": ID, "name": "burrow", "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z",
    });
    let code = json!({
        "device_code": "device-secret", "user_code": "ABCD-EFGH", "verification_path": "/device",
        "expires_in_seconds": 600, "interval_seconds": 1,
    });
    let script = Script::default()
        .json("POST /auth/device", code)
        .problem("POST /auth/device/token", 400, "authorization_pending", "Not yet.")
        .json("POST /auth/device/token", json!({"info": info, "token": "brw_fresh"}))
        .json("GET /auth/session", session())
        .json("POST /auth/logout", json!({}))
        .json("GET /workspaces", json!({"workspaces": []}));
    let server = TestServer::new(script);
    let output = server.command("login").output().expect("it runs");
    let words = text(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("ABCD-EFGH") && words.contains(&format!("{}/device", server.url)), "{words}");
    assert!(!words.contains("device-secret") && !words.contains("brw_fresh"), "{words}");

    assert!(server.command("list").output().expect("it runs").status.success());
    assert!(server.script.credentials().contains(&"Bearer brw_fresh".to_owned()));
    assert!(server.command("logout").output().expect("it runs").status.success());
    assert_eq!(server.command("list").output().expect("it runs").status.code(), Some(4));
}

fn deleted(id: &str, name: &str) -> Value {
    json!({
        "id": id, "name": name, "owner": OTHER, "owner_name": "anna", "deleted_at": "2026-01-01T00:00:00Z",
        "kept_until": "2999-01-08T00:00:00Z", "safe_at": "2025-12-31T00:00:00Z", "stored_bytes": 2048,
    })
}

#[test]
fn undelete_finds_workspaces_by_name() {
    let list = json!({"workspaces": [deleted(ID, "demo"), deleted(OTHER, "twice"), deleted(ID, "twice")]});
    let script = Script::default()
        .json("GET /workspaces/deleted", list)
        .json(&format!("POST /workspaces/{ID}/undelete"), workspace("demo", "terminated", 3));
    let server = TestServer::new(script.clone());
    let table = text(&server.run("list --deleted").stdout);
    assert!(table.starts_with("NAME") && table.contains("demo") && table.contains("days"), "{table}");
    let parsed: Value = serde_json::from_slice(&server.run("ls --deleted -o json").stdout).expect("JSON");
    assert_eq!(parsed[0]["kept_until"], "2999-01-08T00:00:00Z");
    let output = server.run("undelete demo");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("burrow start demo"), "{}", text(&output.stderr));
    assert_eq!(text(&server.run(&format!("undelete {ID} -q")).stdout), format!("{ID}\n"));
    for (line, status, words) in [
        ("undelete dmeo", 3, "did you mean `demo`?"),
        ("undelete other/demo", 3, "burrow list --deleted"),
        ("undelete twice", 2, "give the identifier"),
    ] {
        let output = server.run(line);
        assert_eq!(output.status.code(), Some(status), "{line}");
        assert!(text(&output.stderr).contains(words), "{line}: {}", text(&output.stderr));
    }
    assert_eq!(script.bodies(&format!("POST /workspaces/{ID}/undelete")).len(), 2);
}

#[test]
fn destroy_tenant_key_needs_its_name() {
    let route = "POST /admin/destroy-tenant-key";
    let script = Script::default().json("GET /auth/session", session()).json(route, Value::Null);
    let server = TestServer::new(script.clone());
    for (line, words) in [
        ("admin destroy-tenant-key", "add --name NAME"),
        ("admin destroy-tenant-key --name home", "not the name of your organisation"),
        ("admin destroy-tenant-key --yes", "unexpected argument"),
    ] {
        let output = server.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text(&output.stderr).contains(words), "{line}: {}", text(&output.stderr));
    }
    assert!(script.bodies(route).is_empty());
    let output = server.run("admin destroy-tenant-key --name Home");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("Destroyed the key of Home"), "{}", text(&output.stderr));
    assert_eq!(script.bodies(route), [json!({ "tenant": ID }).to_string()]);
}
