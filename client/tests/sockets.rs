//! Terminals and programs over a scripted server: what is asked for after a loss, what is sent again, what is an end.

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
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest},
    terminal::{
        AttachInfo, AttachQuery, ClientMessage, ExitStatus, MAX_INPUT_BYTES, OUTPUT_WINDOW_BYTES,
        ServerMessage, TerminalSize,
    },
};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// Each attempt to open a socket comes out here, and waits for its answer.
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
        let api = Api::with_token(&url, "brw_secret".to_owned().into()).expect("made");
        Self { api, attempts: Mutex::new(attempts) }
    }

    async fn attempt(&self) -> Attempt {
        soon(async { self.attempts.lock().await.recv().await }).await.expect("an attempt")
    }

    /// Accepts the next attempt and says the first word.
    async fn accept(&self, start: u64, input: u64) -> (AttachQuery, WebSocket) {
        let attempt = self.attempt().await;
        let (sender, socket) = tokio::sync::oneshot::channel();
        assert!(attempt.answer.send(Answer::Accept(sender)).is_ok(), "it waits for its answer");
        let mut socket = soon(socket).await.expect("upgraded");
        assert_eq!(attempt.authorization, "Bearer brw_secret");
        tell(&mut socket, &ServerMessage::Info(AttachInfo { size: SIZE, start, input })).await;
        (attempt.attach, socket)
    }

    async fn refuse(&self, code: Code) {
        assert!(self.attempt().await.answer.send(Answer::Refuse(code)).is_ok(), "it waits for its answer");
    }

    async fn attached(&self) -> (Terminal, AttachQuery, WebSocket) {
        let attaching = self.api.attach(WorkspaceId::random(), TerminalId::random(), SIZE);
        let (terminal, (attach, socket)) = tokio::join!(soon(attaching), self.accept(0, 0));
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
    let (answer, asked) = tokio::sync::oneshot::channel();
    let attempt = Attempt { attach: query, authorization, answer };
    assert!(script.attempts.send(attempt).is_ok(), "the test goes on");
    match asked.await.expect("answered") {
        Answer::Refuse(code) => {
            let status = StatusCode::from_u16(code.status()).expect("valid");
            let kind = [(header::CONTENT_TYPE, protocol::problem::CONTENT_TYPE)];
            (status, kind, axum::Json(Problem::new(code, "No."))).into_response()
        }
        Answer::Accept(to) => upgrade.on_upgrade(|socket| async { drop(to.send(socket)) }),
    }
}

/// Echoes standard input on both outputs; ends at its end.
async fn exec(Path(_): Path<WorkspaceId>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        let first = socket.recv().await.expect("open").expect("valid").into_text().expect("text");
        let request: ExecRequest = serde_json::from_str(&first).expect("a request");
        if request.argv == ["absent"] {
            let end = ExecEnd::NotStarted { status: 127, message: "absent: not found".to_owned() };
            let _ = socket.send(Message::Binary(ExecOutput::End(end).encode().into())).await;
            return;
        }
        while let Some(Ok(message)) = socket.recv().await {
            let Message::Binary(message) = message else { continue };
            let answers = match ExecInput::decode(&message).expect("valid") {
                ExecInput::Stdin(bytes) => {
                    vec![ExecOutput::Stdout(bytes).encode(), ExecOutput::Stderr(b"e").encode()]
                }
                ExecInput::Eof => {
                    vec![
                        ExecOutput::End(ExecEnd::Exited(ExitStatus { code: Some(3), signal: None })).encode(),
                    ]
                }
                ExecInput::Signal(number) => {
                    let exit = ExitStatus { code: None, signal: Some(i32::from(number)) };
                    vec![ExecOutput::End(ExecEnd::Exited(exit)).encode()]
                }
            };
            for answer in answers {
                socket.send(Message::Binary(answer.into())).await.expect("open");
            }
        }
    })
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("comes in time")
}

async fn next(terminal: &mut Terminal) -> TerminalEvent {
    soon(terminal.next()).await.expect("no failure")
}

async fn tell(socket: &mut WebSocket, message: &ServerMessage<'_>) {
    socket.send(Message::Binary(message.encode().into())).await.expect("open");
}

/// The next binary message.
async fn heard(socket: &mut WebSocket) -> Vec<u8> {
    loop {
        if let Message::Binary(message) = soon(socket.recv()).await.expect("open").expect("valid") {
            return message.to_vec();
        }
    }
}

async fn hears_input(socket: &mut WebSocket) -> (u64, Vec<u8>) {
    match ClientMessage::decode(&heard(socket).await).expect("valid") {
        ClientMessage::Input { offset, bytes } => (offset, bytes.to_vec()),
        other => panic!("input, not {other:?}"),
    }
}

fn output(text: &str) -> TerminalEvent {
    TerminalEvent::Output(text.as_bytes().to_vec().into())
}

#[tokio::test]
async fn output_is_acknowledged_when_it_has_been_drawn() {
    let server = Server::start().await;
    let (mut terminal, attach, mut socket) = server.attached().await;
    assert!(attach.is_valid() && attach.from.is_none());
    assert_eq!((attach.cols, attach.rows), (Some(80), Some(24)));
    // An echo is not worth a word; an eighth of the window is.
    let text = "x".repeat(OUTPUT_WINDOW_BYTES as usize / 8);
    for (offset, text) in [(0, "hello"), (5, &text)] {
        tell(&mut socket, &ServerMessage::Output { offset, bytes: text.as_bytes() }).await;
        assert_eq!(next(&mut terminal).await, output(text));
    }
    let more = tokio::spawn(async move {
        let event = next(&mut terminal).await;
        (terminal, event)
    });
    let acknowledged = ClientMessage::Acknowledge(5 + OUTPUT_WINDOW_BYTES / 8);
    assert_eq!(ClientMessage::decode(&heard(&mut socket).await), Ok(acknowledged));
    let exit = ExitStatus { code: Some(7), signal: None };
    tell(&mut socket, &ServerMessage::Exited(exit)).await;
    let (mut terminal, event) = soon(more).await.expect("no panic");
    assert_eq!(event, TerminalEvent::Exited(exit));
    soon(terminal.next()).await.expect_err("nothing follows");
}

#[tokio::test]
async fn a_lost_connection_goes_on_where_it_was() {
    let server = Server::start().await;
    let (mut terminal, first, mut socket) = server.attached().await;
    let input = terminal.input();
    tell(&mut socket, &ServerMessage::Output { offset: 0, bytes: b"hello" }).await;
    assert_eq!(next(&mut terminal).await, output("hello"));
    input.type_in(b"abcdef").expect("room");
    assert_eq!(hears_input(&mut socket).await, (0, b"abcdef".to_vec()));
    tell(&mut socket, &ServerMessage::InputAccepted(2)).await;
    drop(socket);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Lost);
    input.type_in(b"g").expect("room while there is no connection");
    // A server on its way back, then a proxy before it, is asked again.
    server.refuse(Code::Unavailable).await;
    let (again, mut socket) = server.accept(5, 4).await;
    assert_eq!((again.from, again.client), (Some(5), first.client));
    assert_eq!(hears_input(&mut socket).await, (4, b"efg".to_vec()));
    assert_eq!(next(&mut terminal).await, TerminalEvent::Restored);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Resized(SIZE));
    // What is known already is not shown again.
    tell(&mut socket, &ServerMessage::Output { offset: 3, bytes: b"lo, world" }).await;
    assert_eq!(next(&mut terminal).await, output(", world"));
}

#[tokio::test]
async fn what_is_no_longer_there_is_drawn_anew() {
    let server = Server::start().await;
    let (mut terminal, _, mut socket) = server.attached().await;
    tell(&mut socket, &ServerMessage::Snapshot { offset: 1 << 30, screen: b"screen" }).await;
    assert_eq!(next(&mut terminal).await, TerminalEvent::Redraw(b"screen".to_vec().into()));
    tell(&mut socket, &ServerMessage::Output { offset: 1 << 30, bytes: b"on" }).await;
    assert_eq!(next(&mut terminal).await, output("on"));
    // A hole is a broken connection: what is missing is asked for.
    tell(&mut socket, &ServerMessage::Output { offset: (1 << 30) + 9, bytes: b"hole" }).await;
    assert_eq!(next(&mut terminal).await, TerminalEvent::Lost);
    let (again, _socket) = server.accept((1 << 30) + 2, 0).await;
    assert_eq!(again.from, Some((1 << 30) + 2));
}

#[tokio::test]
async fn a_reader_that_pauses_holds_back_acknowledgements_only() {
    let server = Server::start().await;
    let (mut terminal, _, mut socket) = server.attached().await;
    let piece = vec![b'x'; 4096];
    let pieces = OUTPUT_WINDOW_BYTES / 4096;
    for number in 0..pieces {
        tell(&mut socket, &ServerMessage::Output { offset: number * 4096, bytes: &piece }).await;
    }
    terminal.input().type_in(b"\x03").expect("room");
    assert_eq!(hears_input(&mut socket).await, (0, b"\x03".to_vec()));
    for _ in 0..pieces {
        assert!(matches!(next(&mut terminal).await, TerminalEvent::Output(bytes) if bytes.len() == 4096));
    }
    assert!(matches!(
        ClientMessage::decode(&heard(&mut socket).await),
        Ok(ClientMessage::Acknowledge(offset)) if offset % 4096 == 0
    ));
}

#[tokio::test]
async fn input_has_room_for_so_much() {
    let server = Server::start().await;
    let (terminal, _, mut socket) = server.attached().await;
    let input = terminal.input();
    input.type_in(&vec![b'x'; MAX_INPUT_BYTES]).expect("room");
    assert_eq!(input.type_in(b"y"), Err(InputFull));
    assert_eq!(hears_input(&mut socket).await.1.len(), MAX_INPUT_BYTES);
    let waiting = tokio::spawn(async move { input.has_room(1).await });
    tell(&mut socket, &ServerMessage::InputAccepted(1)).await;
    soon(waiting).await.expect("room");
    drop(terminal);
}

#[tokio::test]
async fn refusals_are_told_and_end_it() {
    let server = Server::start().await;
    let attaching = server.api.attach(WorkspaceId::random(), TerminalId::random(), SIZE);
    let (refused, ()) = tokio::join!(soon(attaching), server.refuse(Code::NotRunning));
    assert!(refused.expect_err("refused").is(Code::NotRunning));
    let (mut terminal, _, socket) = server.attached().await;
    drop(socket);
    assert_eq!(next(&mut terminal).await, TerminalEvent::Lost);
    server.refuse(Code::Unauthenticated).await;
    let error = soon(terminal.next()).await.expect_err("no longer signed in");
    assert!(error.is(Code::Unauthenticated), "{error}");
}

#[tokio::test]
async fn dropping_detaches() {
    let server = Server::start().await;
    let (terminal, _, mut socket) = server.attached().await;
    drop(terminal);
    soon(async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

#[tokio::test]
async fn programs_keep_their_streams_apart_and_their_status() {
    let server = Server::start().await;
    let request =
        |program: &str| ExecRequest { argv: vec![program.to_owned()], stdin: true, ..Default::default() };
    let exec = soon(server.api.exec(WorkspaceId::random(), &request("cat"))).await.expect("started");
    let (mut sender, mut receiver) = exec.split();
    soon(sender.stdin(b"in")).await.expect("taken");
    assert_eq!(soon(receiver.next()).await.expect("open"), ExecEvent::Stdout(b"in".to_vec().into()));
    assert_eq!(soon(receiver.next()).await.expect("open"), ExecEvent::Stderr(b"e".to_vec().into()));
    soon(sender.ping()).await.expect("taken");
    soon(sender.end_of_stdin()).await.expect("taken");
    let end = ExecEvent::End(ExecEnd::Exited(ExitStatus { code: Some(3), signal: None }));
    assert_eq!(soon(receiver.next()).await.expect("open"), end);
    let exec = soon(server.api.exec(WorkspaceId::random(), &request("absent"))).await.expect("asked");
    let (_sender, mut receiver) = exec.split();
    let first = soon(receiver.next()).await.expect("open");
    assert!(matches!(first, ExecEvent::End(ExecEnd::NotStarted { status: 127, .. })), "{first:?}");
    assert!(matches!(soon(receiver.next()).await, Err(ApiError::Broken { .. })));
}
