//! Client commands with a scripted server: requests, output and exit status. Tests with the real
//! controller are in the `tests` crate.

mod support;

use protocol::{
    api::audit::{AuditEntry, AuditOutcome},
    audit::{EntryHash, hash_entry},
};
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
fn roster_preview_shows_what_differs() {
    let class = json!({
        "id": ID, "name": "algo", "template": "base", "teacher": OTHER, "created_at": "2026-01-01T00:00:00Z",
        "members": [],
    });
    let summary = json!({
        "id": ID, "name": "algo", "template": "base", "members": 2, "running": 0,
        "created_at": "2026-01-01T00:00:00Z",
    });
    let row = |line: u32, name: &str, change: &str, previous: Value| {
        json!({"line": line, "name": name, "email": format!("{name}@x.org"), "change": change,
            "previous": previous})
    };
    let result = json!({
        "class": class, "dry_run": true, "unchanged": 1, "added": [], "corrected": [], "errors": [],
        "format": {"encoding": "UTF-16LE", "separator": "\t", "header_line": 1, "name_columns": ["Name"],
            "email_column": "E-Mail", "notes": ["2 blank rows are skipped."], "text": ""},
        "rows": [row(2, "Ada", "name_corrected", json!("Adda")), row(3, "Ben", "added", Value::Null)],
        "missing": [{"member": OTHER, "name": "Cleo", "email": "cleo@x.org"}],
    });
    let script = Script::default()
        .json("GET /classes", json!({"classes": [summary]}))
        .json(&format!("GET /classes/{ID}"), class)
        .json(&format!("POST /classes/{ID}/roster"), result);
    let server = TestServer::new(script);
    let file = server.home.path().join("students.txt");
    std::fs::write(&file, "\u{feff}Name\tE-Mail\n").expect("written");
    let output = server.run(&format!("class roster algo {} --dry-run", file.display()));
    let words = text(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert_eq!(text(&output.stdout), "");
    for part in [
        "Encoding UTF-16LE; names from Name, addresses from E-Mail",
        "2 blank rows are skipped.",
        "Adda is now Ada",
        "New: Ben, Ben@x.org",
        "Not in the list: Cleo, cleo@x.org",
        "1 to add, 1 to correct, 1 unchanged, 0 malformed",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn member_is_removed_by_address() {
    let member = json!({
        "id": OTHER, "name": "Ben", "email": "ben@example.org", "joined": true, "workspace": null,
    });
    let class = json!({
        "id": ID, "name": "algo", "template": "base", "teacher": OTHER, "created_at": "2026-01-01T00:00:00Z",
        "members": [member],
    });
    let summary = json!({
        "id": ID, "name": "algo", "template": "base", "members": 1, "running": 0,
        "created_at": "2026-01-01T00:00:00Z",
    });
    let route = format!("DELETE /classes/{ID}/members/{OTHER}");
    let script = Script::default()
        .json("GET /classes", json!({"classes": [summary]}))
        .json(&format!("GET /classes/{ID}"), class)
        .json(&route, json!({}));
    let server = TestServer::new(script);
    assert_eq!(server.run("class remove algo ben@example.org").status.code(), Some(2), "asks first");
    let unknown = server.run("class remove algo bem@example.org --yes");
    assert_eq!(unknown.status.code(), Some(3));
    assert!(text(&unknown.stderr).contains("did you mean `ben@example.org`?"), "{}", text(&unknown.stderr));
    assert!(server.script.bodies(&route).is_empty());
    assert!(server.run("class remove algo BEN@example.org --yes").status.success());
    assert_eq!(server.script.bodies(&route).len(), 1);
}

#[test]
fn user_is_suspended_by_address() {
    let mut suspended = user();
    suspended["suspended_at"] = json!("2026-01-02T00:00:00Z");
    let route = format!("PATCH /users/{OTHER}");
    let script = Script::default().json("GET /users", json!({"users": [user()]})).json(&route, suspended);
    let server = TestServer::new(script);
    let output = server.run("user suspend Anna@example.org");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("suspended"), "{}", text(&output.stdout));
    let asked: Value = serde_json::from_str(&server.script.bodies(&route)[0]).expect("JSON");
    assert_eq!(asked["suspended"], true);
    assert_eq!(server.run("user suspend nobody@example.org").status.code(), Some(3));
}

#[test]
fn list_shows_own_workspaces() {
    let mut other = workspace("theirs", "running", 1);
    other["access"] = json!("read");
    let list = json!({"workspaces": [workspace("demo", "running", 1), other]});
    let server = TestServer::new(Script::default().json("GET /workspaces", list));
    let own = server.run("list -o name");
    assert_eq!(text(&own.stdout), "demo\n");
    assert_eq!(text(&server.run("list --all -o name").stdout), "demo\ntheirs\n");
    assert!(text(&server.run("list").stderr).contains("1 of other users: burrow list --all"));
}

#[test]
fn long_name_does_not_widen_table() {
    let list =
        json!({"workspaces": [workspace(&"x".repeat(63), "running", 1), workspace("b", "running", 1)]});
    let server = TestServer::new(Script::default().json("GET /workspaces", list));
    let table = text(&server.run("list").stdout);
    assert!(table.lines().all(|line| line.chars().count() < 120), "{table}");
    assert!(text(&server.run("list -o name").stdout).contains(&"x".repeat(63)));
}

#[test]
fn name_of_deleted_workspace_is_free() {
    let mut deleting = workspace("demo", "stopping", 1);
    deleting["is_deleting"] = json!(true);
    let server =
        TestServer::new(Script::default().json("GET /workspaces", json!({"workspaces": [deleting]})));
    assert_eq!(server.run("show demo").status.code(), Some(3));
    assert!(text(&server.run("list").stdout).contains("Deleting"));
}

#[test]
fn address_and_token_need_no_home() {
    let list = json!({"workspaces": [workspace("demo", "running", 1)]});
    let server = TestServer::new(Script::default().json("GET /workspaces", list));
    let credentials = server.home.path().join("burrow/credentials.toml");
    std::fs::create_dir_all(credentials.parent().expect("has one")).expect("made");
    std::fs::write(&credentials, "not TOML at all [").expect("written");
    let mut command = server.command("list -o name");
    command
        .env("BURROW_URL", &server.url)
        .env("BURROW_TOKEN", "brw_test")
        .env("XDG_CONFIG_HOME", server.home.path());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    command.env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    assert!(command.output().expect("it runs").status.success(), "without a home");
}

#[test]
fn bad_token_and_address_get_plain_messages() {
    let script = Script::default().problem("GET /workspaces", 401, "unauthenticated", "Sign in.");
    let server = TestServer::new(script);
    let run = |url: &str, token: &str| {
        let mut command = server.command("list");
        command.env("BURROW_URL", url).env("BURROW_TOKEN", token);
        let output = command.output().expect("it runs");
        (output.status.code(), text(&output.stderr))
    };
    let (status, words) = run(&server.url, "two\nlines");
    assert_eq!(status, Some(4));
    assert!(words.contains("Cannot use BURROW_TOKEN: a token has only letters"), "{words}");
    assert!(run(&server.url, "ghp_foreign").1.contains("a token begins with brw_"));
    let (status, words) = run(&server.url, "brw_old");
    assert!(status == Some(4) && words.contains("BURROW_TOKEN has expired"), "{words}");
    let (status, words) = run("ftp://x", "brw_test");
    assert!(status == Some(2) && words.contains("the scheme must be http or https"), "{words}");
    // Port 9 of loopback: nothing listens there. Without a scheme, this computer needs no TLS.
    let (status, words) = run("127.0.0.1:9", "brw_test");
    assert!(status == Some(7) && words.contains("Cannot reach http://127.0.0.1:9"), "{words}");
}

#[test]
fn dead_proxy_is_named() {
    let server = TestServer::new(Script::default());
    let mut command = server.command("list");
    command.env("BURROW_URL", "http://burrow.invalid").env("BURROW_TOKEN", "brw_test");
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env_remove("NO_PROXY").env_remove("no_proxy");
    let output = command.output().expect("it runs");
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{words}");
    assert!(words.contains("go through the proxy of HTTP_PROXY") && words.contains("NO_PROXY"), "{words}");
}

#[test]
fn completion_knows_names_of_workspaces() {
    let list = json!({"workspaces": [workspace("demo", "running", 1), workspace("other", "running", 1)]});
    let server = TestServer::new(Script::default().json("GET /workspaces", list));
    let complete = |url: &str| {
        let mut command = server.command("");
        command.env("BURROW_URL", url).env("BURROW_TOKEN", "brw_test");
        command.env("_BURROW_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2").env("_CLAP_IFS", "\n");
        let output = command.args(["--", "burrow", "attach", "de"]).output().expect("it runs");
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    };
    assert_eq!(complete(&server.url).trim(), "demo");
    assert_eq!(complete("http://127.0.0.1:9").trim(), "", "no server, no names, no message");
}

#[test]
fn device_login_is_saved_and_removed() {
    let info = json!({
        "id": ID, "name": "burrow", "scope": "workspaces", "created_at": "2026-01-01T00:00:00Z",
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
    let script = Script::default()
        .json("GET /auth/session", session())
        .json(route, json!({"destroy_at": "2026-03-09T09:14:07Z", "destroyed_at": null}))
        .json(&format!("{route}/undo"), json!({"destroy_at": null, "destroyed_at": null}));
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
    assert!(text(&output.stderr).contains("destroyed on 2026-03-09"), "{}", text(&output.stderr));
    assert_eq!(script.bodies(route), [json!({ "tenant": ID }).to_string()]);
    assert!(server.run("admin destroy-tenant-key --undo").status.success());
    assert_eq!(script.bodies(&format!("{route}/undo")).len(), 1);
}

/// A server on which a sign-in gives a session, and the session a token.
fn server_for_logins() -> TestServer {
    let info = json!({
        "id": ID, "name": "burrow", "scope": "workspaces", "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z",
    });
    let signed_in = Answer::SignedIn("burrow=cookie-secret".to_owned(), session());
    let script = Script::default()
        .on("POST /auth/link", signed_in.clone())
        .on("POST /auth/login", signed_in)
        .json("POST /internal/sign-in-link", json!({"path": "/welcome#link-secret"}))
        .json("POST /tokens", json!({"info": info, "token": "brw_fresh"}))
        .json("GET /auth/session", session())
        .json("POST /auth/logout", json!({}))
        .json("GET /workspaces", json!({"workspaces": []}));
    TestServer::new(script)
}

fn run_with_input(mut command: std::process::Command, input: &str) -> std::process::Output {
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("written");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// What a login leaves: the saved token works, the browser's session has ended, and no secret was shown.
fn assert_signed_in(server: &TestServer, output: &std::process::Output) {
    let words = text(&output.stderr) + &text(&output.stdout);
    assert!(output.status.success(), "{words}");
    for secret in ["link-secret", "cookie-secret", "brw_fresh"] {
        assert!(!words.contains(secret), "{words}");
    }
    let asked: Value = serde_json::from_str(&server.script.bodies("POST /auth/link")[0]).expect("JSON");
    assert_eq!(asked["token"], "link-secret");
    let token: Value = serde_json::from_str(&server.script.bodies("POST /tokens")[0]).expect("JSON");
    assert_eq!(token["scope"], "workspaces");
    let credentials = server.script.credentials();
    assert_eq!(credentials.iter().filter(|one| *one == "burrow=cookie-secret").count(), 2, "{credentials:?}");
    assert_eq!(server.script.bodies("POST /auth/logout").len(), 1);
    assert!(server.command("list").output().expect("it runs").status.success());
    assert_eq!(server.script.credentials().last().map(String::as_str), Some("Bearer brw_fresh"));
}

#[test]
fn link_signs_in_without_showing_itself() {
    for is_on_stdin in [false, true] {
        let server = server_for_logins();
        let link = format!("{}/welcome#link-secret", server.url);
        let mut command = server.command("login");
        command.arg(if is_on_stdin { "-" } else { &link }).env_remove("BURROW_URL");
        let output = run_with_input(command, &format!("{link}\n"));
        assert_signed_in(&server, &output);
    }
}

#[test]
fn wrong_links_get_plain_messages() {
    let server = server_for_logins();
    for (link, words) in [
        ("https://x.example/join#link-secret", "open it in a browser"),
        ("https://x.example/#link-secret", "it is another page"),
        ("https://x.example/welcome#", "it is not complete"),
    ] {
        let output = server.command(&format!("login {link}")).output().expect("it runs");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(words) && !error.contains("link-secret"), "{error}");
    }
    let empty = run_with_input(server.command("login -"), "");
    assert!(text(&empty.stderr).contains("burrow admin sign-in-link"), "{}", text(&empty.stderr));
}

#[test]
fn host_signs_in_over_the_socket() {
    let server = server_for_logins();
    let data = tempfile::tempdir().expect("a directory");
    let login = format!("login --local --data-dir {}", data.path().display());
    let missing = server.command(&login).output().expect("it runs");
    assert_eq!(missing.status.code(), Some(7));
    assert!(text(&missing.stderr).contains("as the user that runs `burrow up`"), "{}", text(&missing.stderr));
    server.serve_locally(data.path());
    let output = server.command(&login).output().expect("it runs");
    assert_signed_in(&server, &output);
}

#[test]
fn token_is_created_with_the_password() {
    let server = server_for_logins();
    let refused = server.run("token create ci");
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("--password -"), "{}", text(&refused.stderr));
    let mut command = server.command("token create ci --scope read --password -");
    command.env("BURROW_TOKEN", "brw_test");
    let output = run_with_input(command, "the password\n");
    assert_eq!(text(&output.stdout), "brw_fresh\n", "{}", text(&output.stderr));
    let login: Value = serde_json::from_str(&server.script.bodies("POST /auth/login")[0]).expect("JSON");
    assert_eq!((&login["email"], &login["password"]), (&json!("anna@example.org"), &json!("the password")));
    let token: Value = serde_json::from_str(&server.script.bodies("POST /tokens")[0]).expect("JSON");
    assert_eq!((&token["scope"], &token["name"]), (&json!("read"), &json!("ci")));
}

#[test]
fn password_without_terminal_is_asked_for_alike() {
    let server = server_for_logins();
    for (line, hint) in [
        ("auth confirm", "burrow auth confirm --password - < file"),
        ("token create ci", "burrow token create NAME --password - < file"),
    ] {
        let refused = server.run(line);
        assert_eq!(refused.status.code(), Some(4), "{line}");
        let words = text(&refused.stderr);
        assert!(words.contains("Cannot ask for your password: there is no terminal"), "{line}: {words}");
        assert!(words.contains(hint), "{line}: {words}");
        let mut command = server.command(&format!("{line} --password -"));
        command.env("BURROW_TOKEN", "brw_test");
        let empty = run_with_input(command, "");
        assert_eq!(empty.status.code(), Some(2), "{line}");
        assert!(text(&empty.stderr).contains(hint), "{line}: {}", text(&empty.stderr));
    }
}

#[test]
fn refused_confirmation_names_the_command() {
    let route = format!("PATCH /users/{OTHER}");
    let script = Script::default()
        .json("GET /users", json!({"users": [user()]}))
        .problem(&route, 403, "confirmation_required", "Confirm your password first.")
        .on("POST /auth/confirm", Answer::Json(200, Value::Null));
    let server = TestServer::new(script);
    let refused = server.run("user suspend anna@example.org");
    assert!(text(&refused.stderr).contains("burrow auth confirm --password -"), "{}", text(&refused.stderr));
    let mut command = server.command("auth confirm --password -");
    command.env("BURROW_TOKEN", "brw_test");
    assert!(run_with_input(command, "the password\n").status.success());
    assert_eq!(server.script.bodies("POST /auth/confirm"), [json!({"password": "the password"}).to_string()]);
}

fn audit_entry(seq: u64, previous: EntryHash) -> AuditEntry {
    let mut entry = AuditEntry {
        tenant: ID.parse().expect("an id"),
        seq,
        at: time::OffsetDateTime::UNIX_EPOCH,
        actor: None,
        actor_email: Some("anna@example.org".to_owned()),
        session: None,
        request: None,
        address: Some("198.51.100.7".to_owned()),
        action: "workspace.start".to_owned(),
        subject: ID.to_owned(),
        outcome: AuditOutcome::Allowed,
        detail: json!({ "a": 1 }),
        previous,
        hash: EntryHash::ZERO,
    };
    entry.hash = hash_entry(&entry);
    entry
}

#[test]
fn audit_lists_pages_and_follows_the_exit_status() {
    let entries =
        |seqs: &[u64]| seqs.iter().map(|seq| audit_entry(*seq, EntryHash::ZERO)).collect::<Vec<_>>();
    let verification = json!({
        "is_intact": false, "entries": 3, "first_seq": 1, "last_seq": 3, "pruned_seq": 0, "anchors": 0,
        "last_anchored_seq": 0, "faults": ["entry 2 was changed"],
    });
    let script = Script::default()
        .json("GET /audit", json!({ "entries": entries(&[3, 2]), "has_more": true }))
        .json("GET /audit", json!({ "entries": entries(&[1]), "has_more": false }))
        .json("POST /audit/verify", verification);
    let server = TestServer::new(script);
    let listed = server.run("audit list --outcome refused --since 24h -o name");
    assert_eq!(text(&listed.stdout), "3\n2\n1\n", "{}", text(&listed.stderr));
    let refused = server.run("audit verify");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("fault: entry 2 was changed"), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("The audit log is not intact"), "{}", text(&refused.stderr));
}

#[test]
fn audit_export_is_verified_from_a_file() {
    let server = TestServer::new(Script::default());
    let first = audit_entry(8, EntryHash::from_bytes([7; 32]));
    let second = audit_entry(9, first.hash);
    let lines = |entries: &[&AuditEntry]| {
        entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON") + "\n").collect::<String>()
    };
    let file = server.home.path().join("audit.jsonl");
    std::fs::write(&file, lines(&[&first, &second])).expect("written");
    let intact = server.run("audit verify --file audit.jsonl -o json");
    assert!(intact.status.success(), "{}", text(&intact.stderr));
    let parsed: Value = serde_json::from_slice(&intact.stdout).expect("JSON");
    assert_eq!((&parsed["entries"], &parsed["last_hash"]), (&json!(2), &json!(second.hash.to_string())));
    let mut changed = first.clone();
    changed.subject = "other".to_owned();
    std::fs::write(&file, lines(&[&changed, &second])).expect("written");
    assert_eq!(server.run("audit verify --file audit.jsonl").status.code(), Some(1));
}

#[test]
fn usage_has_total_json_and_csv() {
    let amounts = json!({
        "machine_seconds": 5400, "vcpu_seconds": 10_800, "home_byte_days": 0, "stored_byte_days": 3_u64 << 29,
        "sent_bytes": 2048, "received_bytes": 0,
    });
    let report = json!({
        "from": "2026-03-01", "to": "2026-03-31", "by": "user", "total": amounts, "is_truncated": false,
        "rows": [{ "key": OTHER, "name": "anna@example.org", "owner": null, "amounts": amounts }],
    });
    let script = Script::default()
        .json("GET /usage", report.clone())
        .json("GET /usage", report)
        .json("GET /usage/export", json!("key,name"));
    let server = TestServer::new(script);
    let table = server.run("usage --everyone --by user --from 2026-03-01 --to 2026-03-31");
    let lines: Vec<_> = text(&table.stdout).lines().map(str::to_owned).collect();
    assert!(lines[1].starts_with("anna@example.org") && lines[2].starts_with("total"), "{lines:?}");
    assert!(lines[1].contains("1.5") && lines[1].contains("2.0 KiB"), "{lines:?}");
    let parsed: Value = serde_json::from_slice(&server.run("usage -o json").stdout).expect("JSON");
    assert_eq!(parsed["total"]["machine_seconds"], 5400);
    let table = server.run("usage --csv");
    assert!(text(&table.stdout).contains("key,name"), "{}", text(&table.stderr));
    assert_eq!(server.run("usage --from 1.3.2026").status.code(), Some(2));
}

#[test]
fn hold_sends_seconds() {
    let mut held = workspace("demo", "running", 2);
    held["idle"] = json!({
        "stops_at": null, "awake": [{"kind": "job", "program": "pytest"}],
        "held_until": "2100-01-01T02:00:00Z",
    });
    let route = format!("POST /workspaces/{ID}/hold");
    let script =
        Script::default().json("GET /workspaces", json!({"workspaces": [held.clone()]})).json(&route, held);
    let server = TestServer::new(script);
    for line in ["hold demo 2h", "hold demo", "hold demo --release"] {
        let output = server.run(line);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("demo runs until 2100-01-01"), "{}", text(&output.stderr));
    }
    let bodies = server.script.bodies(&route);
    assert_eq!(bodies, [r#"{"seconds":7200}"#, r#"{"seconds":null}"#, r#"{"seconds":0}"#]);
    let shown = text(&server.run("show demo").stdout);
    assert!(shown.contains("pytest runs in a terminal, held until 2100-01-01"), "{shown}");
    assert!(shown.contains("not while a job runs"), "{shown}");
}
