//! Stock clients of y-websocket, in a process of Node.

use std::{path::Path, process::Stdio};

use burrow_tests::{Stack, WAIT_TIMEOUT};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// The clients. Each has a replica of the same document.
pub struct Clients {
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// All replicas at one moment.
pub struct Replicas {
    /// Whether all are connected and synchronized.
    pub are_synchronized: bool,
    /// Their texts.
    pub texts: Vec<String>,
}

impl Clients {
    /// Connects `count` clients to a file of a workspace, through the gateway.
    pub fn start(stack: &Stack, workspace: &str, path: &str, count: usize) -> Self {
        let server = format!("{}/api/v1/workspaces/{workspace}/agent", stack.url.replace("http", "ws"));
        let mut process = Command::new("node")
            .args(["yjs-replicas.mjs", &server, path, &count.to_string()])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser"))
            .env("BURROW_TOKEN", &stack.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let commands = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { commands, answers, _process: process }
    }

    /// Sends a command, and waits for its answer.
    pub async fn send(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("running");
        let answer = timeout(WAIT_TIMEOUT, self.answers.next_line()).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {command}")).expect("readable");
        serde_json::from_str(&answer.unwrap_or_else(|| panic!("ended at {command}"))).expect("JSON")
    }

    /// Looks at all replicas.
    pub async fn replicas(&mut self) -> Replicas {
        let mut state = self.send(json!({ "do": "state" })).await;
        Replicas {
            are_synchronized: state["synced"] == true,
            texts: serde_json::from_value(state["texts"].take()).expect("texts"),
        }
    }
}
