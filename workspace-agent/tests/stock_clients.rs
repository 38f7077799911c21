//! The y-websocket package of npm as a client of a document, in Node.

mod support;

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        RawQuery, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
};
use futures_util::{SinkExt as _, StreamExt as _};
use support::{Agent, Socket, within_timeout};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::Command,
    sync::Mutex,
};
use tokio_tungstenite::tungstenite;

#[tokio::test]
async fn stock_clients_edit_and_are_not_merged_twice() {
    let agent = Arc::new(Mutex::new(Agent::start().await));
    std::fs::write(agent.lock().await.path("file"), "text\n").expect("a writable home");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("ws://{}", listener.local_addr().expect("bound"));
    let bridge = Router::new().route("/documents", any(relay)).with_state(agent.clone());
    let bridge = tokio::spawn(async move { axum::serve(listener, bridge).await.expect("serves") });

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser/yjs-clients.mjs");
    let mut clients = Command::new("node")
        .arg(script)
        .args([&server, "file"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node runs");
    let mut stdin = clients.stdin.take().expect("piped");
    let mut lines = BufReader::new(clients.stdout.take().expect("piped")).lines();
    let mut steps = Vec::new();
    while let Some(line) = within_timeout(lines.next_line()).await.expect("readable") {
        if line == "restart" {
            let mut agent = agent.lock().await;
            within_timeout(wait_for_file(&agent.path("file"), "one text\ntwo\n")).await;
            agent.restart().await;
            drop(agent);
            stdin.write_all(b"restarted\n").await.expect("running");
        }
        steps.push(line);
    }
    assert_eq!(steps, ["synchronized", "edited", "echoed", "restart", "refused"]);
    assert!(clients.wait().await.expect("ended").success());
    let agent = agent.lock().await;
    assert_eq!(std::fs::read_to_string(agent.path("file")).expect("a file"), "one text\ntwo\n");
    bridge.abort();
}

async fn wait_for_file(path: &Path, text: &str) {
    while std::fs::read_to_string(path).expect("a file") != text {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes the place of gateway and front, which pass messages unchanged.
async fn relay(
    State(agent): State<Arc<Mutex<Agent>>>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |client| {
        let path = format!("/v1/documents?{}", query.unwrap_or_default());
        let socket = agent.lock().await.open_socket(&path).await;
        copy_messages(client, socket).await;
    })
}

async fn copy_messages(client: WebSocket, agent: Socket) {
    let (mut to_client, mut from_client) = client.split();
    let (mut to_agent, mut from_agent) = agent.split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            if let Message::Binary(bytes) = message {
                to_agent.send(tungstenite::Message::Binary(bytes)).await.ok()?;
            }
        }
        Some(())
    };
    let down = async {
        while let Some(Ok(message)) = from_agent.next().await {
            let message = match message {
                tungstenite::Message::Binary(bytes) => Message::Binary(bytes),
                tungstenite::Message::Text(text) => Message::Text(text.as_str().into()),
                tungstenite::Message::Close(Some(frame)) => Message::Close(Some(CloseFrame {
                    code: frame.code.into(),
                    reason: frame.reason.as_str().into(),
                })),
                _ => continue,
            };
            to_client.send(message).await.ok()?;
        }
        Some(())
    };
    tokio::select! { _ = up => {}, _ = down => {} }
}
