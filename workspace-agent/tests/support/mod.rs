//! What the tests of the agent share: its executable, and a client of its documents.

// Each test executable uses a part of this.
#![allow(dead_code)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use protocol::{
    agent::NONCE_BYTES,
    document::{DocumentEvent, TEXT_NAME},
    terminal::TerminalInfo,
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message, tungstenite::protocol::Role};
use transport::{Body, Link, Upgraded, body::full, preamble::send_preamble};
use yrs::{
    Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, Transact as _, Update,
    sync::{Message as Sync, SyncMessage},
    updates::{decoder::Decode as _, encoder::Encode as _},
};

/// A client's socket.
pub type Socket = WebSocketStream<Upgraded>;

/// A running agent.
pub struct Agent {
    pub link: Link,
    pub home: tempfile::TempDir,
    /// The home as the test sees it.
    root: PathBuf,
    pub child: Child,
    _socket: tempfile::TempDir,
}

impl Agent {
    pub async fn start() -> Self {
        let home = tempfile::tempdir().expect("a home");
        let program = Command::new(env!("CARGO_BIN_EXE_workspace-agent"));
        Self::spawn(program, home.path().to_owned(), home).await
    }

    /// Starts an agent as a shell script does in the background: it is to ignore Ctrl-C.
    pub async fn start_in_background() -> Self {
        let home = tempfile::tempdir().expect("a home");
        let mut program = Command::new("sh");
        program.args(["-c", "trap '' INT QUIT; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_workspace-agent")]);
        Self::spawn(program, home.path().to_owned(), home).await
    }

    /// Starts an agent whose home is a file system of its own, with these options of tmpfs.
    pub async fn start_in_file_system(options: &str) -> Self {
        let home = tempfile::tempdir().expect("a home");
        let mut program = Command::new("unshare");
        program.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        program.arg(format!("mount -t tmpfs -o {options} none \"$0\" && exec \"$@\""));
        program.arg(home.path()).arg(env!("CARGO_BIN_EXE_workspace-agent"));
        let mut agent = Self::spawn(program, home.path().to_owned(), home).await;
        let process = agent.child.id().expect("running");
        agent.root = format!("/proc/{process}/root{}", agent.root.display()).into();
        agent
    }

    /// Kills the agent and starts another one on the same home.
    pub async fn restart(&mut self) {
        self.child.kill().await.expect("running");
        let program = Command::new(env!("CARGO_BIN_EXE_workspace-agent"));
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().expect("a directory"));
        *self = Self::spawn(program, home.path().to_owned(), home).await;
    }

    async fn spawn(mut program: Command, root: PathBuf, home: tempfile::TempDir) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("agent.sock");
        let child = program
            .arg("--serve-unix")
            .arg(&socket)
            .arg("--home")
            .arg(home.path())
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the agent starts");
        let link = connect(&socket).await;
        Self { link, home, root, child, _socket: directory }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.join(name)
    }

    /// Sends a request and returns status and body.
    pub async fn send(&self, method: Method, path: &str, body: Body) -> (StatusCode, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = self.link.request(request.body(body).expect("a request")).await.expect("an answer");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }

    /// Sends a request that must succeed and returns its JSON.
    pub async fn json<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: serde_json::Value,
    ) -> T {
        let (status, bytes) = self.send(method, path, full(body.to_string())).await;
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).expect("valid JSON")
    }

    pub async fn open_socket(&self, path: &str) -> Socket {
        let raw = self.link.open_websocket(path, HeaderMap::new()).await.expect("accepted");
        WebSocketStream::from_raw_socket(raw, Role::Client, None).await
    }

    pub async fn create_terminal(&self, command: &[&str]) -> TerminalInfo {
        self.json(Method::POST, "/v1/terminals", serde_json::json!({ "command": command })).await
    }
}

/// Connects to the socket, which appears a few moments after the process.
async fn connect(socket: &Path) -> Link {
    let mut stream = loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    send_preamble(&mut stream, [9; NONCE_BYTES]).await.expect("an echo");
    Link::handshake(stream).await.expect("HTTP/2")
}

/// Fails a test instead of letting it hang.
pub async fn within_timeout<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(60), event).await.expect("no timeout")
}

/// A client of a document, as a browser is.
pub struct Editor {
    pub socket: Socket,
    pub doc: Doc,
    pub epoch: String,
}

impl Editor {
    pub async fn open(agent: &Agent, path: &str) -> Self {
        let mut socket = agent.open_socket(&format!("/v1/documents?events=true&path={path}")).await;
        let DocumentEvent::Opened { epoch, read_only: false } = next_event(&mut socket).await else {
            panic!("not opened")
        };
        let doc = Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() });
        let request = Sync::Sync(SyncMessage::SyncStep1(doc.transact().state_vector())).encode_v1();
        socket.send(Message::binary(request)).await.expect("open");
        Self { socket, doc, epoch }
    }

    /// Connects again with the replica that was kept, and sends what was typed since.
    pub async fn reconnect(&mut self, agent: &Agent, path: &str) {
        let path = format!("/v1/documents?events=true&path={path}&epoch={}", self.epoch);
        self.socket = agent.open_socket(&path).await;
        let DocumentEvent::Opened { .. } = next_event(&mut self.socket).await else { panic!("not opened") };
        let (state, update) = {
            let transaction = self.doc.transact();
            (transaction.state_vector(), transaction.encode_diff_v1(&StateVector::default()))
        };
        for message in [SyncMessage::SyncStep1(state), SyncMessage::Update(update)] {
            self.socket.send(Message::binary(Sync::Sync(message).encode_v1())).await.expect("open");
        }
    }

    /// Receives the messages that have arrived.
    pub fn receive_arrived(&mut self) {
        while let Some(Some(Ok(message))) = self.socket.next().now_or_never() {
            if let Message::Binary(bytes) = message {
                self.apply(&bytes);
            }
        }
    }

    pub fn text(&self) -> String {
        let text = self.doc.get_or_insert_text(TEXT_NAME);
        text.get_string(&self.doc.transact())
    }

    pub async fn insert(&mut self, at: u32, content: &str) {
        self.replace(at, 0, content).await;
    }

    pub async fn replace(&mut self, at: u32, delete: u32, content: &str) {
        let update = self.edit_replica(at, delete, content);
        self.send_update(update).await;
    }

    pub async fn send_update(&mut self, update: Vec<u8>) {
        let message = Sync::Sync(SyncMessage::Update(update)).encode_v1();
        self.socket.send(Message::binary(message)).await.expect("open");
    }

    /// Edits the replica alone, as a client does that is not connected. Returns the update.
    pub fn edit_replica(&mut self, at: u32, delete: u32, content: &str) -> Vec<u8> {
        let text = self.doc.get_or_insert_text(TEXT_NAME);
        let mut transaction = self.doc.transact_mut();
        text.remove_range(&mut transaction, at, delete);
        text.insert(&mut transaction, at, content);
        transaction.encode_update_v1()
    }

    /// Receives messages until `is_done` accepts the text or an event.
    pub async fn receive_until(&mut self, is_done: impl FnMut(&str, Option<&DocumentEvent>) -> bool) {
        within_timeout(self.receive(is_done)).await;
    }

    async fn receive(&mut self, mut is_done: impl FnMut(&str, Option<&DocumentEvent>) -> bool) {
        loop {
            let message = self.socket.next().await.expect("open").expect("a message");
            let mut event = None;
            match message {
                Message::Text(text) => event = serde_json::from_str(&text).ok(),
                Message::Binary(bytes) => self.apply(&bytes),
                _ => {}
            }
            if is_done(&self.text(), event.as_ref()) {
                return;
            }
        }
    }

    fn apply(&self, message: &[u8]) {
        if let Ok(Sync::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update))) =
            Sync::decode_v1(message)
        {
            self.doc
                .transact_mut()
                .apply_update(Update::decode_v1(&update).expect("decodes"))
                .expect("applies");
        }
    }
}

pub async fn next_event(socket: &mut Socket) -> DocumentEvent {
    loop {
        if let Message::Text(text) = within_timeout(socket.next()).await.expect("open").expect("a message") {
            return serde_json::from_str(&text).expect("an event");
        }
    }
}
