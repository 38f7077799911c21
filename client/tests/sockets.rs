//! Terminals and programs over a scripted server: what is asked for after a loss, what is sent
//! again, what is an end.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        Path, Query, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use burrow_client::{
    Api, ApiError,
    socket::{ExecEvent, InputFull, Terminal, TerminalEvent},
};
use protocol::{
    Code, Problem, TerminalId, WorkspaceId,
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest, INPUT_WINDOW_BYTES},
    terminal::{
        AttachInfo, AttachQuery, ClientMessage, ExitStatus, MAX_INPUT_BYTES, OUTPUT_WINDOW_BYTES,
        ServerMessage, TerminalSize,
    },
};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};

/// Longest wait of a test before it fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// An attempt to open a terminal's WebSocket, which waits for its answer.
struct Attempt {
    attach: AttachQuery,
    authorization: String,
    answer: tokio::sync::oneshot::Sender<Answer>,
}

enum Answer {
    Refuse(Code),
    Accept(tokio::sync::oneshot::Sender<WebSocket>),
}

struct Script {
    attempts: mpsc::UnboundedSender<Attempt>,
}

struct Server {
    api: Api,
    attempts: Mutex<mpsc::UnboundedReceiver<Attempt>>,
}

impl Server {
    async fn start() -> Self {
        let (sender, attempts) = mpsc::unbounded_channel();
        let app = Router::new()
            .route("/api/v1/workspaces/{id}/agent/terminals/{terminal}/attach", any(attach))
            .route("/api/v1/workspaces/{id}/agent/exec", any(exec))
            .with_state(Arc::new(Script { attempts: sender }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        let authorities = burrow_client::TrustedAuthorities::system();
        let api = Api::with_token(&url, "brw_secret".to_owned().into(), authorities).expect("valid");
        Self { api, attempts: Mutex::new(attempts) }
    }

    async fn attempt(&self) -> Attempt {
        in_time(async { self.attempts.lock().await.recv().await }).await.expect("an attempt")
    }

    /// Accepts the next attempt and sends the attach info.
    async fn accept(&self, start: u64, input: u64) -> (AttachQuery, WebSocket) {
        let attempt = self.attempt().await;
        let (sender, socket) = tokio::sync::oneshot::channel();
        assert!(attempt.answer.send(Answer::Accept(sender)).is_ok(), "it waits for its answer");
        let mut socket = in_time(socket).await.expect("upgraded");
        assert_eq!(attempt.authorization, "Bearer brw_secret");
        send(&mut socket, &ServerMessage::Info(AttachInfo { size: SIZE, start, input })).await;
        (attempt.attach, socket)
    }

    async fn refuse(&self, code: Code) {
        assert!(self.attempt().await.answer.send(Answer::Refuse(code)).is_ok(), "it waits for its answer");
    }

    async fn attached(&self) -> (Terminal, AttachQuery, WebSocket) {
        let attaching = self.api.attach(WorkspaceId::random(), TerminalId::random(), SIZE);
        let (terminal, (attach, socket)) = tokio::join!(in_time(attaching), self.accept(0, 0));
        let mut terminal = terminal.expect("attached");
        assert_eq!(next(&mut terminal).await, TerminalEvent::Resized(SIZE));
        (terminal, attach, socket)
    }
}

async fn attach(
    State(script): State<Arc<Script>>,
    Query(query): Query<AttachQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let authorization = headers[header::AUTHORIZATION].to_str().expect("text").to_owned();
    let (answer, decision) = tokio::sync::oneshot::channel();
    let attempt = Attempt { attach: query, authorization, answer };
    assert!(script.attempts.send(attempt).is_ok(), "the test is running");
    match decision.await.expect("answered") {
        Answer::Refuse(code) => {
            let status = StatusCode::from_u16(code.status()).expect("valid");
            let kind = [(header::CONTENT_TYPE, protocol::problem::CONTENT_TYPE)];
            (status, kind, axum::Json(Problem::new(code, "No."))).into_response()
        }
        Answer::Accept(to) => upgrade.on_upgrade(|socket| async { drop(to.send(socket)) }),
    }
}

fn exited(status: ExitStatus) -> ExecOutput<'static> {
    ExecOutput::End(ExecEnd::Exited { status, output_cut: false })
}

/// Echoes standard input to standard output, writes to standard error, and ends with standard input.
async fn exec(Path(_): Path<WorkspaceId>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        let first = socket.recv().await.expect("open").expect("valid").into_text().expect("text");
        let request: ExecRequest = serde_json::from_str(&first).expect("a request");
        if request.argv == ["absent"] {
            let end = ExecEnd::NotStarted { status: 127, message: "absent: not found".to_owned() };
            let _ = socket.send(Message::Binary(ExecOutput::End(end).encode().into())).await;
            return;
        }
        let mut accepted = 0;
        while let Some(Ok(message)) = socket.recv().await {
            let Message::Binary(message) = message else { continue };
            let answers = match ExecInput::decode(&message).expect("valid") {
                ExecInput::Stdin(bytes) => {
                    accepted += bytes.len() as u64;
                    vec![
                        ExecOutput::Stdout(bytes).encode(),
                        ExecOutput::Stderr(b"e").encode(),
                        ExecOutput::InputAccepted(accepted).encode(),
                    ]
                }
                ExecInput::Eof => {
                    vec![exited(ExitStatus { code: Some(3), signal: None }).encode()]
                }
                ExecInput::Signal(number) => {
                    let exit = ExitStatus { code: None, signal: Some(i32::from(number)) };
                    vec![exited(exit).encode()]
                }
            };
            for answer in answers {
                socket.send(Message::Binary(answer.into())).await.expect("open");
            }
        }
    })
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, future).await.expect("no timeout")
}

async fn next(terminal: &mut Terminal) -> TerminalEvent {
    in_time(terminal.next()).await.expect("no failure")
}

async fn send(socket: &mut WebSocket, message: &ServerMessage<'_>) {
    socket.send(Message::Binary(message.encode().into())).await.expect("open");
}

/// Returns the next binary message.
async fn receive(socket: &mut WebSocket) -> Vec<u8> {
    loop {
        if let Message::Binary(message) = in_time(socket.recv()).await.expect("open").expect("valid") {
            return message.to_vec();
        }
    }
}

async fn receive_input(socket: &mut WebSocket) -> (u64, Vec<u8>) {
    match ClientMessage::decode(&receive(socket).await).expect("valid") {
        ClientMessage::Input { offset, bytes } => (offset, bytes.to_vec()),
        other => panic!("input, not {other:?}"),
    }
}

fn output(text: &str) -> TerminalEvent {
    TerminalEvent::Output(text.as_bytes().to_vec().into())
}

#[tokio::test]
async fn drawn_output_is_acknowledged() {
    let server = Server::start().await;
    let (mut terminal, attach, mut socket) = server.attached().await;
    assert!(attach.is_valid() && attach.from.is_none());
    assert_eq!((attach.cols, attach.rows), (Some(80), Some(24)));
    // An echo is not acknowledged; an eighth of the window is.
    let text = "x".repeat(OUTPUT_WINDOW_BYTES as usize / 8);
    for (offset, text) in [(0, "hello"), (5, &text)] {
        send(&mut socket, &ServerMessage::Output { offset, bytes: text.as_bytes() }).await;
        assert_eq!(next(&mut terminal).await, output(text));
    }
    let more = tokio::spawn(async move {
        let event = next(&mut terminal).await;
        (terminal, event)
    });
    let acknowledged = ClientMessage::Acknowledge(5 + OUTPUT_WINDOW_BYTES / 8);
    assert_eq!(ClientMessage::decode(&receive(&mut socket).await), Ok(acknowledged));
    let exit = ExitStatus { code: Some(7), signal: None };
    send(&mut socket, &ServerMessage::Exited(exit)).await;
    let (mut terminal, event) = in_time(more).await.expect("no panic");
    assert_eq!(event, TerminalEvent::Exited(exit));
    in_time(terminal.next()).await.expect_err("nothing follows");
}

#[tokio::test]
async fn terminal_continues_after_reconnect() {
    let server = Server::start().await;
    let (mut terminal, first, mut socket) = server.attached().await;
    let input = terminal.input();
    send(&mut socket, &ServerMessage::Output { offset: 0, bytes: b"hello" }).await;
    assert_eq!(next(&mut terminal).await, output("hello"));
    input.send_input(b"abcdef").expect("room");
    assert_eq!(receive_input(&mut socket).await, (0, b"abcdef".to_vec()));
    send(&mut socket, &ServerMessage::InputAccepted(2)).await;
    drop(socket);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Disconnected);
    input.send_input(b"g").expect("room while there is no connection");
    // The client retries while the server is unavailable.
    server.refuse(Code::Unavailable).await;
    let (again, mut socket) = server.accept(5, 4).await;
    assert_eq!((again.from, again.client), (Some(5), first.client));
    assert_eq!(receive_input(&mut socket).await, (4, b"efg".to_vec()));
    assert_eq!(next(&mut terminal).await, TerminalEvent::Reconnected);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Resized(SIZE));
    // Output that was received before is not reported again.
    send(&mut socket, &ServerMessage::Output { offset: 3, bytes: b"lo, world" }).await;
    assert_eq!(next(&mut terminal).await, output(", world"));
}

#[tokio::test]
async fn terminal_redraws_from_snapshot() {
    let server = Server::start().await;
    let (mut terminal, _, mut socket) = server.attached().await;
    send(&mut socket, &ServerMessage::Snapshot { offset: 1 << 30, screen: b"screen" }).await;
    assert_eq!(next(&mut terminal).await, TerminalEvent::Redraw(b"screen".to_vec().into()));
    send(&mut socket, &ServerMessage::Output { offset: 1 << 30, bytes: b"on" }).await;
    assert_eq!(next(&mut terminal).await, output("on"));
    // Missing bytes mean a broken connection: the client reconnects and requests them.
    send(&mut socket, &ServerMessage::Output { offset: (1 << 30) + 9, bytes: b"hole" }).await;
    assert_eq!(next(&mut terminal).await, TerminalEvent::Disconnected);
    let (again, _socket) = server.accept((1 << 30) + 2, 0).await;
    assert_eq!(again.from, Some((1 << 30) + 2));
}

#[tokio::test]
async fn paused_reader_delays_acknowledgements_only() {
    let server = Server::start().await;
    let (mut terminal, _, mut socket) = server.attached().await;
    let piece = vec![b'x'; 4096];
    let pieces = OUTPUT_WINDOW_BYTES / 4096;
    for number in 0..pieces {
        send(&mut socket, &ServerMessage::Output { offset: number * 4096, bytes: &piece }).await;
    }
    terminal.input().send_input(b"\x03").expect("room");
    assert_eq!(receive_input(&mut socket).await, (0, b"\x03".to_vec()));
    for _ in 0..pieces {
        assert!(matches!(next(&mut terminal).await, TerminalEvent::Output(bytes) if bytes.len() == 4096));
    }
    assert!(matches!(
        ClientMessage::decode(&receive(&mut socket).await),
        Ok(ClientMessage::Acknowledge(offset)) if offset % 4096 == 0
    ));
}

#[tokio::test]
async fn input_is_limited() {
    let server = Server::start().await;
    let (terminal, _, mut socket) = server.attached().await;
    let input = terminal.input();
    input.send_input(&vec![b'x'; MAX_INPUT_BYTES]).expect("room");
    assert_eq!(input.send_input(b"y"), Err(InputFull));
    assert_eq!(receive_input(&mut socket).await.1.len(), MAX_INPUT_BYTES);
    let waiting = tokio::spawn(async move { input.wait_for_room(1).await });
    send(&mut socket, &ServerMessage::InputAccepted(1)).await;
    in_time(waiting).await.expect("room");
    drop(terminal);
}

#[tokio::test]
async fn refusal_ends_the_terminal() {
    let server = Server::start().await;
    let attaching = server.api.attach(WorkspaceId::random(), TerminalId::random(), SIZE);
    let (refused, ()) = tokio::join!(in_time(attaching), server.refuse(Code::NotRunning));
    assert!(refused.expect_err("refused").is(Code::NotRunning));
    let (mut terminal, _, socket) = server.attached().await;
    drop(socket);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Disconnected);
    server.refuse(Code::Unauthenticated).await;
    let error = in_time(terminal.next()).await.expect_err("no longer signed in");
    assert!(error.is(Code::Unauthenticated), "{error}");
}

#[tokio::test]
async fn dropped_terminal_detaches() {
    let server = Server::start().await;
    let (terminal, _, mut socket) = server.attached().await;
    drop(terminal);
    in_time(async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

#[tokio::test]
async fn dead_connection_is_noticed_in_time() {
    let server = Server::start().await;
    let (mut terminal, _, mut socket) = server.attached().await;
    let input = terminal.input();
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    // The server never answers.
    assert_eq!(ClientMessage::decode(&receive(&mut socket).await), Ok(ClientMessage::Ping));
    input.send_input(b"rm").expect("room");
    assert_eq!(next(&mut terminal).await, TerminalEvent::Disconnected);
    assert!(begin.elapsed() <= Duration::from_secs(20), "{:?}", begin.elapsed());
    tokio::time::resume();
    let (again, mut socket) = server.accept(0, 0).await;
    assert_eq!(again.from, Some(0));
    assert_eq!(next(&mut terminal).await, TerminalEvent::Reconnected);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Resized(SIZE));
    assert_eq!(next(&mut terminal).await, TerminalEvent::InputDropped(2));
    input.send_input(b"x").expect("room");
    assert_eq!(receive_input(&mut socket).await, (0, b"x".to_vec()), "what is typed now");
}

#[tokio::test]
async fn dead_exec_ends_with_an_error() {
    let server = Server::start().await;
    let request = ExecRequest { argv: vec!["cat".to_owned()], ..Default::default() };
    let exec = in_time(server.api.exec(WorkspaceId::random(), &request)).await.expect("started");
    let (_sender, mut receiver) = exec.split();
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let error = in_time(receiver.next()).await.expect_err("nothing arrives");
    assert!(begin.elapsed() <= Duration::from_secs(20), "{:?}", begin.elapsed());
    assert!(matches!(error, ApiError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn exec_keeps_streams_apart_and_returns_status() {
    let server = Server::start().await;
    let request =
        |program: &str| ExecRequest { argv: vec![program.to_owned()], stdin: true, ..Default::default() };
    let exec = in_time(server.api.exec(WorkspaceId::random(), &request("cat"))).await.expect("started");
    let (mut sender, mut receiver) = exec.split();
    assert_eq!(sender.wait_for_room().await as u64, INPUT_WINDOW_BYTES);
    in_time(sender.send_stdin(b"in")).await.expect("sent");
    assert_eq!(sender.wait_for_room().await as u64, INPUT_WINDOW_BYTES - 2);
    assert_eq!(in_time(receiver.next()).await.expect("open"), ExecEvent::Stdout(b"in".to_vec().into()));
    assert_eq!(in_time(receiver.next()).await.expect("open"), ExecEvent::Stderr(b"e".to_vec().into()));
    in_time(sender.send_ping()).await.expect("sent");
    in_time(sender.close_stdin()).await.expect("sent");
    let status = ExitStatus { code: Some(3), signal: None };
    let end = ExecEvent::End(ExecEnd::Exited { status, output_cut: false });
    assert_eq!(in_time(receiver.next()).await.expect("open"), end);
    let exec = in_time(server.api.exec(WorkspaceId::random(), &request("absent"))).await.expect("asked");
    let (_sender, mut receiver) = exec.split();
    let first = in_time(receiver.next()).await.expect("open");
    assert!(matches!(first, ExecEvent::End(ExecEnd::NotStarted { status: 127, .. })), "{first:?}");
    let error = in_time(receiver.next()).await.expect_err("closed");
    assert!(matches!(error, ApiError::Broken { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert_eq!(cause, "the workspace or the server has closed it");
}
