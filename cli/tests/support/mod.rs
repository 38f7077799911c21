//! A server that answers from a script, and the `burrow` executable with its own configuration
//! directory.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod snapshots;

use std::{
    collections::VecDeque,
    path::Path,
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

pub const ID: &str = "01900000-0000-7000-8000-000000000001";
pub const OTHER: &str = "01900000-0000-7000-8000-000000000002";

/// The answers of the server to each `METHOD /path`, in order, and the requests that it has
/// received.
#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<Vec<Route>>>,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
}

type Route = (String, VecDeque<Answer>);
/// Route, body, credential.
type ReceivedRequest = (String, String, String);

/// One answer of the scripted server.
#[derive(Clone)]
pub enum Answer {
    Json(u16, Value),
    /// A sign-in: JSON, and this cookie.
    SignedIn(String, Value),
    Events(String),
}

impl Script {
    /// Adds an answer to a route. The last answer of a route is repeated.
    pub fn on(self, route: &str, answer: Answer) -> Self {
        {
            let mut answers = self.answers.lock().expect("not poisoned");
            match answers.iter_mut().find(|(known, _)| known == route) {
                Some((_, queue)) => queue.push_back(answer),
                None => answers.push((route.to_owned(), VecDeque::from([answer]))),
            }
        }
        self
    }

    /// Adds a JSON answer with status 200.
    pub fn json(self, route: &str, value: Value) -> Self {
        self.on(route, Answer::Json(200, value))
    }

    /// Adds a problem response.
    pub fn problem(self, route: &str, status: u16, code: &str, detail: &str) -> Self {
        let problem = json!({
            "type": format!("about:blank#{code}"), "title": "No", "status": status, "detail": detail,
            "code": code, "request_id": "request-7",
        });
        self.on(route, Answer::Json(status, problem))
    }

    /// The bodies of the requests to a route.
    pub fn bodies(&self, route: &str) -> Vec<String> {
        let requests = self.requests.lock().expect("not poisoned");
        requests.iter().filter(|(known, ..)| known == route).map(|(_, body, _)| body.clone()).collect()
    }

    /// The `Authorization` headers of all requests, or their cookies if they have none.
    pub fn credentials(&self) -> Vec<String> {
        self.requests
            .lock()
            .expect("not poisoned")
            .iter()
            .map(|(.., credential)| credential.clone())
            .collect()
    }
}

/// Answers a request from the script.
pub async fn answer(
    State(script): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let route = format!("{method} {}", uri.path().trim_start_matches("/api/v1"));
    let credential = headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE));
    let credential = credential.and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let body = String::from_utf8_lossy(&body).into_owned();
    script.requests.lock().expect("not poisoned").push((route.clone(), body, credential));
    let mut answers = script.answers.lock().expect("not poisoned");
    let Some((_, queue)) = answers.iter_mut().find(|(known, _)| *known == route) else {
        return (StatusCode::NOT_FOUND, format!("no {route} in this script")).into_response();
    };
    // The last answer is repeated.
    let next = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
    match next.expect("made with one") {
        Answer::Json(status, value) => {
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            let status = StatusCode::from_u16(status).expect("valid");
            (status, [(header::CONTENT_TYPE, kind)], value.to_string()).into_response()
        }
        Answer::SignedIn(cookie, value) => {
            let set = format!("{cookie}; Path=/; HttpOnly");
            (
                [(header::CONTENT_TYPE, "application/json".to_owned()), (header::SET_COOKIE, set)],
                value.to_string(),
            )
                .into_response()
        }
        Answer::Events(text) => ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response(),
    }
}

/// A scripted server, and a configuration directory for `burrow`.
pub struct TestServer {
    pub url: String,
    pub script: Script,
    pub home: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl TestServer {
    /// Starts a server.
    pub fn new(script: Script) -> Self {
        Self::with_routes(script, Router::new())
    }

    /// Starts a server with routes of its own. The script answers the others.
    pub fn with_routes(script: Script, routes: Router<Script>) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let app = routes.fallback(answer).with_state(script.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, script, home: tempfile::tempdir().expect("a directory"), runtime }
    }

    /// Serves the script on the socket of a data directory too, like `burrow up` of this host.
    pub fn serve_locally(&self, data: &Path) {
        let run = data.join("run");
        std::fs::create_dir_all(&run).expect("made");
        std::fs::write(run.join("address"), &self.url).expect("written");
        let _guard = self.runtime.enter();
        let listener = tokio::net::UnixListener::bind(run.join("controller.sock")).expect("a socket");
        let app = Router::new().fallback(answer).with_state(self.script.clone());
        self.runtime.spawn(async move { axum::serve(listener, app).await });
    }

    /// `burrow` with these arguments, not signed in.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burrow"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .current_dir(self.home.path())
            .env("BURROW_URL", &self.url)
            .stdin(Stdio::null());
        command
    }

    /// Runs `burrow` with these arguments, signed in.
    pub fn run(&self, line: &str) -> Output {
        self.command(line).env("BURROW_TOKEN", "brw_test").output().expect("it runs")
    }
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A workspace as the API returns it.
pub fn workspace(name: &str, phase: &str, revision: u64) -> Value {
    json!({
        "id": ID, "name": name, "owner": OTHER, "owner_name": "anna", "template": "base",
        "resources": {"vcpus": 1, "memory_mib": 512, "home_mib": 1024, "scratch_mib": 1024, "pids": 512},
        "phase": phase, "access": "write", "revision": revision, "epoch": 1, "steps": [],
        "created_at": "2026-01-01T00:00:00Z",
    })
}

/// A workspace as an event of its stream.
pub fn event(workspace: &Value) -> String {
    format!("event: workspace\ndata: {workspace}\n\n")
}
