//! Client commands against a server that answers from a script: what is sent, what is printed, which status. The real
//! controller is met by the whole-path tests.

use std::{
    collections::VecDeque,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

const ID: &str = "01900000-0000-7000-8000-000000000001";
const OTHER: &str = "01900000-0000-7000-8000-000000000002";

/// What the server was asked, and what it answers next to each `METHOD /path`.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<Route>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Route = (String, VecDeque<Answer>);
/// Route, body, credential.
type Asked = (String, String, String);

#[derive(Clone)]
enum Answer {
    Json(u16, Value),
    Events(String),
}

impl Script {
    fn on(self, route: &str, answer: Answer) -> Self {
        {
            let mut answers = self.answers.lock().expect("not poisoned");
            match answers.iter_mut().find(|(known, _)| known == route) {
                Some((_, queue)) => queue.push_back(answer),
                None => answers.push((route.to_owned(), VecDeque::from([answer]))),
            }
        }
        self
    }

    fn json(self, route: &str, value: Value) -> Self {
        self.on(route, Answer::Json(200, value))
    }

    fn problem(self, route: &str, status: u16, code: &str, detail: &str) -> Self {
        let problem = json!({
            "type": format!("about:blank#{code}"), "title": "No", "status": status, "detail": detail,
            "code": code, "request_id": "request-7",
        });
        self.on(route, Answer::Json(status, problem))
    }

    fn bodies(&self, route: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("not poisoned");
        asked.iter().filter(|(known, ..)| known == route).map(|(_, body, _)| body.clone()).collect()
    }

    fn credentials(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").iter().map(|(.., credential)| credential.clone()).collect()
    }
}

async fn answer(
    State(script): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let route = format!("{method} {}", uri.path().trim_start_matches("/api/v1"));
    let credential =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let body = String::from_utf8_lossy(&body).into_owned();
    script.asked.lock().expect("not poisoned").push((route.clone(), body, credential));
    let mut answers = script.answers.lock().expect("not poisoned");
    let Some((_, queue)) = answers.iter_mut().find(|(known, _)| *known == route) else {
        return (StatusCode::NOT_FOUND, format!("no {route} in this script")).into_response();
    };
    // The last answer is given for ever.
    let next = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
    match next.expect("made with one") {
        Answer::Json(status, value) => {
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            let status = StatusCode::from_u16(status).expect("valid");
            (status, [(header::CONTENT_TYPE, kind)], value.to_string()).into_response()
        }
        Answer::Events(text) => ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response(),
    }
}

/// The scripted server, and `burrow` with a home of its own.
struct Setting {
    url: String,
    script: Script,
    home: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Setting {
    fn new(script: Script) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let app = Router::new().fallback(answer).with_state(script.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, script, home: tempfile::tempdir().expect("a directory"), _runtime: runtime }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burrow"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("BURROW_URL", &self.url)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).env("BURROW_TOKEN", "brw_test").output().expect("it runs")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn workspace(name: &str, phase: &str, revision: u64) -> Value {
    json!({
        "id": ID, "name": name, "owner": OTHER, "owner_name": "anna", "template": "base",
        "resources": {"vcpus": 1, "memory_mib": 512, "home_mib": 1024, "scratch_mib": 1024, "pids": 512},
        "phase": phase, "access": "write", "revision": revision, "epoch": 1, "steps": [],
        "created_at": "2026-01-01T00:00:00Z",
    })
}

fn stepping(phase: &str, revision: u64, steps: &[(&str, u32)]) -> Value {
    let mut workspace = workspace("demo", phase, revision);
    workspace["steps"] = steps
        .iter()
        .map(|(step, second)| json!({"step": step, "since": format!("2026-01-01T00:00:{second:02}Z")}))
        .collect();
    workspace
}

fn event(workspace: &Value) -> String {
    format!("event: workspace\ndata: {workspace}\n\n")
}

fn user() -> Value {
    json!({
        "id": OTHER, "tenant": ID, "tenant_name": "Home", "email": "anna@example.org", "name": "Anna", "role": "owner",
        "has_password": true, "created_at": "2026-01-01T00:00:00Z",
    })
}

fn session() -> Value {
    json!({"user": user(), "expires_at": "2027-01-01T00:00:00Z"})
}

#[test]
fn a_list_has_three_forms() {
    let list = json!({"workspaces": [workspace("demo", "running", 1)]});
    let setting = Setting::new(Script::default().json("GET /workspaces", list));
    let table = text(&setting.run("list").stdout);
    assert!(table.starts_with("NAME") && table.contains("demo") && table.contains("Running"), "{table}");
    assert_eq!(text(&setting.run("ls -o name").stdout), "demo\n");
    assert_eq!(text(&setting.run("ls -q").stdout), format!("{ID}\n"));
    let parsed: Value = serde_json::from_slice(&setting.run("ls -o json").stdout).expect("JSON");
    assert_eq!(parsed[0]["name"], "demo");
    assert!(setting.script.credentials().iter().all(|credential| credential == "Bearer brw_test"));
}

#[test]
fn an_unknown_name_is_status_3_with_a_suggestion() {
    let list = json!({"workspaces": [workspace("demo", "running", 1)]});
    let setting = Setting::new(Script::default().json("GET /workspaces", list));
    let output = setting.run("show dmeo");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("did you mean `demo`?"), "{}", text(&output.stderr));
}

#[test]
fn a_problem_is_told_with_its_request_id() {
    let script =
        Script::default().problem("GET /workspaces", 403, "quota_exceeded", "Ten workspaces are the limit.");
    let output = Setting::new(script).run("list");
    assert_eq!(output.status.code(), Some(6));
    let words = text(&output.stderr);
    assert!(words.contains("Ten workspaces") && words.contains("request id: request-7"), "{words}");
}

#[test]
fn create_shows_the_steps_until_it_runs() {
    let steps = [("queue", 0), ("machine", 2), ("boot", 5)];
    // An older state first, as a connection that lagged behind would give.
    let events = [
        event(&workspace("demo", "terminated", 1)),
        event(&stepping("queued", 2, &steps[..1])),
        event(&stepping("provisioning", 3, &steps)),
        event(&stepping("running", 4, &steps)),
    ]
    .concat();
    let script = Script::default()
        .json("POST /workspaces", workspace("demo", "queued", 2))
        .on(&format!("GET /workspaces/{ID}/events"), Answer::Events(events));
    let setting = Setting::new(script);
    let output = setting.run("create demo --template base");
    let words = text(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("Waiting for a turn done in 2.0 s"), "{words}");
    assert!(words.contains("Starting the machine done in 3.0 s"), "{words}");
    assert!(words.contains("burrow attach demo"), "{words}");
    let asked: Value = serde_json::from_str(&setting.script.bodies("POST /workspaces")[0]).expect("JSON");
    assert_eq!(asked, json!({"name": "demo", "template": "base", "start": true}));
}

#[test]
fn a_broken_event_stream_is_opened_again() {
    let events = format!("GET /workspaces/{ID}/events");
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&format!("POST /workspaces/{ID}/start"), workspace("demo", "queued", 2))
        .on(&events, Answer::Events(event(&workspace("demo", "queued", 2)) + "event: works"))
        .on(&events, Answer::Events(event(&workspace("demo", "running", 3))));
    let output = Setting::new(script).run("start demo -q");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{ID}\n"));
}

#[test]
fn a_failed_start_names_step_cause_and_action() {
    let mut failed = workspace("demo", "terminated", 3);
    failed["failure"] = json!({
        "step": "boot", "cause": "The kernel \u{1b}[31mpanicked.", "action": "Try again.", "log": ["a line"],
    });
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&format!("POST /workspaces/{ID}/start"), workspace("demo", "queued", 2))
        .on(&format!("GET /workspaces/{ID}/events"), Answer::Events(event(&failed)));
    let output = Setting::new(script).run("start demo");
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains("booting failed") && words.contains("next: Try again."), "{words}");
    assert!(words.contains("| a line") && !words.contains('\u{1b}'), "{words}");
}

#[test]
fn a_name_that_is_taken_is_status_5_unless_wanted() {
    let script = Script::default()
        .problem("POST /workspaces", 409, "name_taken", "There is a demo already.")
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "running", 1)]}));
    let setting = Setting::new(script);
    assert_eq!(setting.run("create demo").status.code(), Some(5));
    let again = setting.run("create demo --if-not-exists");
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn nothing_is_deleted_without_a_word() {
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&format!("DELETE /workspaces/{ID}"), json!({}));
    let setting = Setting::new(script);
    let route = format!("DELETE /workspaces/{ID}");
    let refused = setting.run("delete demo");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--yes"));
    assert!(setting.script.bodies(&route).is_empty());
    assert!(setting.run("rm demo -y").status.success());
    assert_eq!(setting.script.bodies(&route).len(), 1);
    assert_eq!(setting.run("delete other -y").status.code(), Some(3));
    assert!(setting.run("delete other -y --ignore-not-found").status.success());
}

#[test]
fn a_rosters_bad_rows_are_named_and_the_rest_goes_on() {
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
        "errors": [{"line": 3, "row": "nonsense", "message": "the e-mail is missing"}],
    });
    let script =
        Script::default().json("POST /classes", class).json(&format!("POST /classes/{ID}/roster"), result);
    let setting = Setting::new(script);
    let file = setting.home.path().join("students.csv");
    std::fs::write(&file, "Ben,ben@example.org\nEva,eva@example.org\nnonsense\n").expect("written");
    let output = setting.run(&format!("class create algo --roster {}", file.display()));
    assert_eq!(output.status.code(), Some(1));
    let (data, words) = (text(&output.stdout), text(&output.stderr));
    assert!(data.contains(&format!("{}/join#secret", setting.url)), "{data}");
    assert!(words.contains("students.csv:3: the e-mail is missing: nonsense"), "{words}");
    assert_eq!(
        setting.script.bodies(&format!("POST /classes/{ID}/roster")),
        ["Ben,ben@example.org\nEva,eva@example.org\nnonsense\n"]
    );
    let missing = setting.run("class create other --roster /nowhere.csv");
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(setting.script.bodies("POST /classes").len(), 1, "no class is left behind");
}

#[test]
fn a_device_login_is_kept_and_forgotten() {
    let info = json!({
        "id": ID, "name": "burrow", "created_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z",
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
    let setting = Setting::new(script);
    let output = setting.command("login").output().expect("it runs");
    let words = text(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("ABCD-EFGH") && words.contains(&format!("{}/device", setting.url)), "{words}");
    assert!(!words.contains("device-secret") && !words.contains("brw_fresh"), "{words}");

    assert!(setting.command("list").output().expect("it runs").status.success());
    assert!(setting.script.credentials().contains(&"Bearer brw_fresh".to_owned()));
    assert!(setting.command("logout").output().expect("it runs").status.success());
    assert_eq!(setting.command("list").output().expect("it runs").status.code(), Some(4));
}
