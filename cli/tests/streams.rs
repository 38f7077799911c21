//! `burrow exec` and `burrow attach`: the real program with a scripted server and a
//! pseudo-terminal.

use std::{
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{
        Query,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::{any, get},
};
use protocol::{
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest},
    terminal::{AttachInfo, AttachQuery, ClientMessage, ExitStatus, ServerMessage, TerminalSize},
};
use rustix::{
    process::{Pid, Signal, kill_process},
    termios::{LocalModes, tcgetattr},
};
use serde_json::{Value, json};

const ID: &str = "01900000-0000-7000-8000-000000000001";
const TERMINAL: &str = "01900000-0000-7000-8000-0000000000aa";

struct TestServer {
    url: String,
    home: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl TestServer {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        runtime.spawn(async move { axum::serve(listener, app()).await.expect("serves") });
        Self { url, home: tempfile::tempdir().expect("a home"), _runtime: runtime }
    }

    fn burrow(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burrow"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("BURROW_URL", &self.url)
            .env("BURROW_TOKEN", "brw_test")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.burrow(arguments).output().expect("runs")
    }

    /// `burrow attach` in its own pseudo-terminal.
    fn attach(&self) -> Attached {
        let pair = nix::pty::openpty(None, None).expect("a pseudo-terminal");
        let inside = || Stdio::from(pair.slave.try_clone().expect("a copy"));
        let child = self
            .burrow(&["attach", "demo"])
            .stdin(inside())
            .stdout(inside())
            .stderr(inside())
            .spawn()
            .expect("runs");
        Attached { child, outside: pair.master.into(), inside: pair.slave, shown: Vec::new() }
    }
}

struct Attached {
    child: Child,
    outside: std::fs::File,
    inside: OwnedFd,
    shown: Vec<u8>,
}

impl Attached {
    /// Reads the output of the terminal until it contains `text`.
    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !String::from_utf8_lossy(&self.shown).contains(text) {
            let count = self.outside.read(&mut buffer).expect("the terminal is open");
            self.shown.extend_from_slice(&buffer[..count]);
        }
    }

    /// Types keys.
    fn type_keys(&mut self, keys: &str) {
        self.outside.write_all(keys.as_bytes()).expect("written");
    }

    /// Waits for the end, and checks that the terminal is restored. Returns the exit status.
    fn exit_status(mut self) -> i32 {
        let status = self.child.wait().expect("ends").code().expect("by itself");
        let modes = tcgetattr(&self.inside).expect("a terminal").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "the terminal is restored");
        status
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn app() -> Router {
    let typed = Arc::new(Mutex::new(0_u64));
    Router::new()
        .route("/api/v1/workspaces", get(|| async { axum::Json(json!({ "workspaces": [workspace()] })) }))
        .route(
            &format!("/api/v1/workspaces/{ID}/agent/terminals"),
            get(|| async { axum::Json(json!({ "terminals": [terminal()] })) }),
        )
        .route(
            &format!("/api/v1/workspaces/{ID}/agent/terminals/{TERMINAL}/attach"),
            any(move |Query(attach): Query<AttachQuery>, upgrade: WebSocketUpgrade| {
                let answer = shell(attach, typed.clone(), upgrade);
                async { answer }
            }),
        )
        .route(&format!("/api/v1/workspaces/{ID}/agent/exec"), any(exec))
}

fn workspace() -> Value {
    json!({
        "id": ID, "name": "demo", "owner": ID, "owner_name": "anna", "template": "base",
        "resources": {"vcpus": 1, "memory_mib": 512, "home_mib": 1024, "scratch_mib": 1024, "pids": 512},
        "phase": "running", "access": "write", "revision": 1, "epoch": 1, "steps": [],
        "created_at": "2026-01-01T00:00:00Z",
    })
}

fn terminal() -> Value {
    json!({
        "id": TERMINAL, "title": "sh", "size": { "cols": 80, "rows": 24 }, "created_at": 1, "end": 0,
        "viewers": 0,
    })
}

/// Repeats what is typed. `x` loses the connection, `q` ends the shell with 7, `m` switches another
/// screen on, `c` and `r` write and read the clipboard.
fn shell(attach: AttachQuery, typed: Arc<Mutex<u64>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        let input = *typed.lock().expect("sound");
        let mut end = attach.from.unwrap_or(0);
        let info = AttachInfo { size: TerminalSize { cols: 80, rows: 24 }, start: end, input };
        send(&mut socket, &ServerMessage::Info(info)).await;
        if attach.from.is_none() {
            send(&mut socket, &ServerMessage::Snapshot { offset: 0, screen: b"prompt$ " }).await;
        }
        while let Some(Ok(message)) = socket.recv().await {
            let Message::Binary(message) = message else { continue };
            let (offset, bytes) = match ClientMessage::decode(&message) {
                Ok(ClientMessage::Input { offset, bytes }) => (offset, bytes),
                Ok(ClientMessage::Redraw) => {
                    send(&mut socket, &ServerMessage::Snapshot { offset: end, screen: b"(redrawn)" }).await;
                    continue;
                }
                _ => continue,
            };
            let typed_now = offset + bytes.len() as u64;
            *typed.lock().expect("sound") = typed_now;
            if bytes.contains(&b'x') {
                return;
            }
            send(&mut socket, &ServerMessage::InputAccepted(typed_now)).await;
            if bytes.contains(&b'q') {
                return send(&mut socket, &ServerMessage::Exited(ExitStatus { code: Some(7), signal: None }))
                    .await;
            }
            let answer = match bytes {
                b"m" => b"\x1b[?1049h(other)".to_vec(),
                b"c" => b"\x1b]52;c;aGVsbG8=\x07(copied)".to_vec(),
                b"r" => b"\x1b]52;c;?\x07(asked)".to_vec(),
                _ => [b"<", bytes, b">"].concat(),
            };
            send(&mut socket, &ServerMessage::Output { offset: end, bytes: &answer }).await;
            end += answer.len() as u64;
        }
    })
}

async fn send(socket: &mut WebSocket, message: &ServerMessage<'_>) {
    let _ = socket.send(Message::Binary(message.encode().into())).await;
}

/// Writes its request to standard error, repeats its input, and ends with 3 at the end of its input
/// or a signal; or as the program's name says: `sleep` takes no input.
async fn exec(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        let Some(Ok(Message::Text(text))) = socket.recv().await else { return };
        let request: ExecRequest = serde_json::from_str(&text).expect("a request");
        let mut send = async |output: ExecOutput<'_>| {
            let _ = socket.send(Message::Binary(output.encode().into())).await;
        };
        match request.argv[0].as_str() {
            "absent" => {
                let end = ExecEnd::NotStarted { status: 127, message: "absent: \x1b[2Jnot found".to_owned() };
                return send(ExecOutput::End(end)).await;
            }
            "lost" => return send(ExecOutput::Stdout(b"half")).await,
            _ => {}
        }
        send(ExecOutput::Stderr(text.as_bytes())).await;
        let mut accepted = 0;
        if request.stdin {
            while let Some(Ok(message)) = socket.recv().await {
                let Message::Binary(message) = message else { continue };
                let bytes = match ExecInput::decode(&message) {
                    Ok(ExecInput::Stdin(_)) if request.argv[0] == "sleep" => continue,
                    Ok(ExecInput::Stdin(bytes)) => bytes,
                    _ => break,
                };
                accepted += bytes.len() as u64;
                for output in [ExecOutput::Stdout(bytes), ExecOutput::InputAccepted(accepted)] {
                    let _ = socket.send(Message::Binary(output.encode().into())).await;
                }
            }
        }
        let status = ExitStatus { code: Some(3), signal: None };
        let end = ExecEnd::Exited { status, output_cut: request.argv[0] == "daemon" };
        let _ = socket.send(Message::Binary(ExecOutput::End(end).encode().into())).await;
    })
}

#[test]
fn exec_passes_streams_and_status() {
    let server = TestServer::new();
    let run = server.run(&["exec", "-e", "CI=1", "-w", "project", "demo", "--", "make", "-j", "2"]);
    assert_eq!(run.status.code(), Some(3));
    assert!(run.stdout.is_empty());
    let request: ExecRequest = serde_json::from_slice(&run.stderr).expect("a request");
    assert_eq!(request.argv, ["make", "-j", "2"]);
    assert_eq!(request.environment, [("CI".to_owned(), "1".to_owned())]);
    assert_eq!((request.directory.as_deref(), request.stdin), (Some("project"), false));
}

#[test]
fn exec_passes_standard_input_and_its_end() {
    let server = TestServer::new();
    let mut child =
        server.burrow(&["exec", "-i", "demo", "--", "cat"]).stdin(Stdio::piped()).spawn().expect("runs");
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = child.stdin.take().expect("piped");
    let writer = {
        let sent = sent.clone();
        std::thread::spawn(move || stdin.write_all(&sent))
    };
    let run = child.wait_with_output().expect("ends");
    writer.join().expect("no panic").expect("written");
    assert_eq!(run.status.code(), Some(3));
    assert!(run.stdout == sent, "{} of {} bytes", run.stdout.len(), sent.len());
}

#[test]
fn exec_interrupt_overtakes_unread_input() {
    let server = TestServer::new();
    let mut child = server
        .burrow(&["exec", "-i", "demo", "--", "sleep"])
        .stdin(std::fs::File::open("/dev/zero").expect("a source without end"))
        .spawn()
        .expect("runs");
    // The program has started once its first output is here.
    child.stderr.as_mut().expect("piped").read_exact(&mut [0]).expect("a byte");
    kill_process(Pid::from_child(&child), Signal::INT).expect("alive");
    assert_eq!(child.wait().expect("ends").code(), Some(3), "the program ended with the signal");
}

#[test]
fn exec_reports_cut_output() {
    let server = TestServer::new();
    let run = server.run(&["exec", "--output-timeout", "2", "demo", "--", "daemon"]);
    let words = String::from_utf8(run.stderr).expect("text");
    assert_eq!(run.status.code(), Some(3));
    assert!(words.contains("\"output_timeout_ms\":2000"), "{words}");
    assert!(words.contains("warning: The output was cut") && words.contains("--output-timeout"), "{words}");
}

#[test]
fn exec_errors_have_own_status() {
    let server = TestServer::new();
    let absent = server.run(&["exec", "demo", "--", "absent"]);
    assert_eq!(absent.status.code(), Some(127));
    let words = String::from_utf8(absent.stderr).expect("text");
    assert!(words.contains("not found") && !words.contains('\x1b'), "{words:?}");
    let lost = server.run(&["exec", "demo", "--", "lost"]);
    assert_eq!((lost.status.code(), lost.stdout.as_slice()), (Some(255), &b"half"[..]));
    let words = String::from_utf8(lost.stderr).expect("text");
    assert!(words.contains("the workspace or the server has closed it"), "{words}");
    assert!(!words.contains("WebSocket"), "{words}");
    assert_eq!(server.run(&["exec", "nowhere", "--", "true"]).status.code(), Some(255));
}

#[test]
fn attach_types_and_exits_with_shell() {
    let server = TestServer::new();
    let mut attached = server.attach();
    attached.wait_for("prompt$ ");
    attached.type_keys("ls\r");
    attached.wait_for("<ls\r>");
    attached.type_keys("q");
    assert_eq!(attached.exit_status(), 7);
}

#[test]
fn attach_survives_a_lost_connection() {
    let server = TestServer::new();
    let mut attached = server.attach();
    attached.wait_for("prompt$ ");
    attached.type_keys("a");
    attached.wait_for("<a>");
    attached.type_keys("x");
    attached.wait_for("Connection lost");
    attached.type_keys("b");
    attached.wait_for("<b>");
    attached.type_keys("q");
    assert_eq!(attached.exit_status(), 7);
}

#[test]
fn attach_refuses_clipboard_reads() {
    let server = TestServer::new();
    let mut attached = server.attach();
    attached.wait_for("prompt$ ");
    attached.type_keys("r");
    attached.wait_for("(asked)");
    attached.wait_for("asked for your clipboard. Burrow refused.");
    // The screen is drawn again below the notice.
    attached.wait_for("(redrawn)");
    assert!(!String::from_utf8_lossy(&attached.shown).contains("52;c;?"), "the terminal was asked");
    attached.type_keys("c");
    attached.wait_for("\x1b]52;c;aGVsbG8=\x07(copied)");
    attached.wait_for("has copied text to your clipboard.");
    attached.type_keys("q");
    assert_eq!(attached.exit_status(), 7);
}

#[test]
fn attach_detach_restores_terminal() {
    let server = TestServer::new();
    let mut attached = server.attach();
    attached.wait_for("prompt$ ");
    attached.type_keys("m");
    attached.wait_for("(other)");
    attached.type_keys("\r~.");
    attached.wait_for("\x1b[?1049l\x1b[0m");
    attached.wait_for("Detached");
    assert_eq!(attached.exit_status(), 0);
}

#[test]
fn attach_signals_restore_terminal() {
    let server = TestServer::new();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut attached = server.attach();
        attached.wait_for("prompt$ ");
        kill_process(Pid::from_child(&attached.child), signal).expect("alive");
        assert_eq!(attached.exit_status(), 128 + signal.as_raw());
    }
}

#[test]
fn attach_needs_a_terminal() {
    let run = TestServer::new().run(&["attach", "demo"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("burrow exec"));
}
