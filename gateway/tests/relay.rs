//! The gateway's boundary: who gets through, which headers and bytes pass, and when streams end.

mod harness;

use std::time::Duration;

use burrow_gateway::Limits;
use futures_util::{SinkExt as _, StreamExt as _};
use harness::{Harness, ORIGIN, Socket, in_time, limits, problem, refused_status};
use protocol::{Code, TerminalId, WorkspaceId, grant::SigningKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use transport::settings;

/// Shorter than any wait of the gateway for a workspace.
const AT_ONCE: Duration = Duration::from_secs(10);

fn attach() -> String {
    format!("terminals/{}/attach?client=c", TerminalId::random())
}

async fn open(harness: &Harness, cookie: &str) -> Socket {
    harness.open(&attach(), cookie, Some(ORIGIN)).await.expect("opened")
}

async fn assert_echo(socket: &mut Socket, text: &str) {
    socket.send(Message::binary(text.as_bytes().to_vec())).await.expect("open");
    let answer = in_time(socket.next()).await.expect("open").expect("valid");
    assert_eq!(answer.into_data(), text.as_bytes());
}

/// Reads until the socket is closed.
async fn closed(mut socket: Socket) {
    in_time(async { while let Some(Ok(_)) = socket.next().await {} }).await;
}

#[tokio::test]
async fn websocket_reaches_front_with_grant_only() {
    let mut harness = Harness::new();
    let mut socket = open(&harness, "anna").await;
    assert_echo(&mut socket, "ls\r").await;
    assert_echo(&mut socket, &"x".repeat(300_000)).await;
    let seen = in_time(harness.seen.recv()).await.expect("seen");
    assert!(
        seen.path.starts_with("/v1/terminals/") && seen.path.ends_with("/attach?client=c"),
        "{}",
        seen.path
    );
    let authorization = seen.headers["authorization"].to_str().expect("text");
    assert!(authorization.starts_with("Bearer v4.public."));
    assert!(
        !seen.headers.contains_key("cookie") && !seen.headers.contains_key("origin"),
        "{:?}",
        seen.headers
    );
}

#[tokio::test]
async fn full_workspace_refuses_at_once() {
    let harness = Harness::with_limits(Limits {
        max_streams_per_session: usize::MAX,
        max_buffered_bytes: usize::MAX,
        ..limits()
    });
    let path = format!("/api/v1/workspaces/{}/agent/{}", harness.controller.workspace, attach());
    let headers: http::HeaderMap = [("cookie", "burrow=anna"), ("origin", ORIGIN)]
        .into_iter()
        .map(|(name, value)| (name.parse().expect("valid"), value.parse().expect("valid")))
        .collect();
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let link = transport::Link::connect(&harness.address().to_string()).await.expect("connects");
        for _ in 0..settings::MAX_WEBSOCKETS / 8 {
            sockets.push(in_time(link.open_websocket(&path, headers.clone())).await.expect("a place"));
        }
    }
    let refused = async {
        let opened = harness.open(&attach(), "anna", Some(ORIGIN)).await;
        let list = harness.http.get(harness.agent_url("files?path=")).bearer_auth("anna").send().await;
        (refused_status(opened), list.expect("a response").status())
    };
    let (socket, list) = timeout(AT_ONCE, refused).await.expect("at once");
    assert_eq!((socket, list.as_u16()), (503, 200));
}

#[tokio::test]
async fn websocket_opens_over_http2() {
    let harness = Harness::new();
    let link = transport::Link::connect(&harness.address().to_string()).await.expect("connects");
    let path = format!("/api/v1/workspaces/{}/agent/{}", harness.controller.workspace, attach());
    let headers = |origin: &str| {
        let pairs = [("cookie", "burrow=anna"), ("origin", origin)];
        pairs
            .into_iter()
            .map(|(name, value)| (name.parse().expect("valid"), value.parse().expect("valid")))
            .collect::<http::HeaderMap>()
    };
    let refusal =
        in_time(link.open_websocket(&path, headers("http://evil.test"))).await.expect_err("refused");
    assert!(matches!(refusal, transport::WebSocketError::Refused(answer) if answer.status() == 403));
    let raw = in_time(link.open_websocket(&path, headers(ORIGIN))).await.expect("opened");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    socket.send(Message::binary(b"ls".to_vec())).await.expect("open");
    assert_eq!(in_time(socket.next()).await.expect("open").expect("valid").into_data(), b"ls".as_slice());
}

#[tokio::test]
async fn missing_credential_is_refused() {
    let mut harness = Harness::new();
    let sent = harness.http.get(harness.agent_url("files?path=")).header("x-request-id", "mine").send();
    let problem = problem(in_time(sent).await.expect("a response")).await;
    assert_eq!(problem.code, Code::Unauthenticated);
    assert_ne!(problem.request_id, "mine");
    assert_eq!(harness.grant_requests(), 0);
    assert_eq!(refused_status(harness.open(&attach(), "unknown", Some(ORIGIN)).await), 401);
    assert!(harness.seen.try_recv().is_err());
}

#[tokio::test]
async fn other_origins_are_refused() {
    let mut harness = Harness::new();
    for origin in [None, Some("null"), Some("http://evil.test"), Some("http://burrow.test.evil.test")] {
        assert_eq!(refused_status(harness.open(&attach(), "anna", origin).await), 403, "{origin:?}");
        for url in [harness.agent_url("terminals"), harness.url("/api/v1/workspaces")] {
            let mut request = harness.http.post(url).header("cookie", "burrow=anna");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let refusal = problem(in_time(request.send()).await.expect("a response")).await;
            assert_eq!(refusal.code, Code::ForeignOrigin, "{origin:?}");
        }
    }
    assert_eq!(harness.grant_requests(), 0);
    assert!(harness.seen.try_recv().is_err());
}

#[tokio::test]
async fn unknown_workspace_is_not_found() {
    let mut harness = Harness::new();
    let url = harness.url(&format!("/api/v1/workspaces/{}/agent/files?path=", WorkspaceId::random()));
    let refusal =
        problem(in_time(harness.http.get(url).bearer_auth("anna").send()).await.expect("a response")).await;
    assert_eq!(refusal.code, Code::NotFound);
    assert!(harness.seen.try_recv().is_err());
}

#[tokio::test]
async fn read_only_grant_cannot_write() {
    let mut harness = Harness::new();
    let sent =
        harness.http.put(harness.agent_url("files/content?path=a")).bearer_auth("ben").body("x").send();
    assert_eq!(problem(in_time(sent).await.expect("a response")).await.code, Code::Forbidden);
    assert!(harness.seen.try_recv().is_err());
    assert_echo(&mut open(&harness, "ben").await, "watching").await;
}

#[tokio::test]
async fn foreign_signature_is_refused() {
    let mut harness = Harness::new();
    *harness.controller.forger.lock().expect("not poisoned") =
        Some(SigningKey::generate().expect("randomness"));
    let sent = harness.http.get(harness.agent_url("files?path=")).bearer_auth("anna").send();
    assert_eq!(problem(in_time(sent).await.expect("a response")).await.code, Code::Internal);
    assert!(harness.seen.try_recv().is_err());
    // A new key of the controller is accepted once the controller publishes it.
    let forger = harness.controller.forger.lock().expect("not poisoned").take().expect("set");
    *harness.controller.key.lock().expect("not poisoned") = forger;
    assert_echo(&mut open(&harness, "anna").await, "again").await;
}

#[tokio::test]
async fn internal_agent_routes_are_not_found() {
    let mut harness = Harness::new();
    for rest in ["freeze", "bootstrap", "health", "files/../freeze", "files%2f..%2ffreeze", ""] {
        let sent = harness.http.get(harness.agent_url(rest)).bearer_auth("anna").send();
        assert_eq!(in_time(sent).await.expect("a response").status(), 404, "{rest}");
    }
    assert!(harness.seen.try_recv().is_err());
}

#[tokio::test]
async fn refused_upgrade_opens_no_stream() {
    let harness = Harness::new();
    assert_eq!(refused_status(harness.open("exec", "anna", Some(ORIGIN)).await), 409);
    // A plain request to a WebSocket route, and a WebSocket to a plain route.
    let sent = harness.http.get(harness.agent_url("exec")).bearer_auth("anna").send();
    assert_eq!(problem(in_time(sent).await.expect("a response")).await.code, Code::BadRequest);
    assert_eq!(refused_status(harness.open("files?path=", "anna", Some(ORIGIN)).await), 400);
}

#[tokio::test]
async fn stalled_browser_is_dropped() {
    let mut harness = Harness::new();
    let flooded = harness.open("documents?path=a", "anna", Some(ORIGIN)).await.expect("opened");
    let mut other = open(&harness, "anna").await;
    assert_eq!(in_time(harness.ended.recv()).await.expect("a report"), "flood");
    assert_echo(&mut other, "untouched").await;
    drop(flooded);
}

#[tokio::test]
async fn exec_stream_may_stall() {
    let mut harness = Harness::new();
    let mut program = harness.open("exec?flood", "anna", Some(ORIGIN)).await.expect("opened");
    // When this stream is dropped for not reading, the program's would have been dropped too.
    let browser = harness.open("documents?path=a", "ben", Some(ORIGIN)).await.expect("opened");
    assert_eq!(in_time(harness.ended.recv()).await.expect("a report"), "flood");
    let other = harness.open("documents?path=b", "ben", Some(ORIGIN)).await.expect("opened");
    assert_eq!(in_time(harness.ended.recv()).await.expect("a report"), "flood");
    for _ in 0..1000 {
        in_time(program.next()).await.expect("still open").expect("valid");
    }
    assert!(harness.ended.try_recv().is_err());
    drop((browser, other));
}

#[tokio::test]
async fn refused_websocket_returns_problem() {
    let harness = Harness::new();
    let authorities = client::TrustedAuthorities::system();
    let api =
        client::Api::with_token(&harness.url(""), "anna".to_owned().into(), authorities).expect("valid");
    let request = protocol::exec::ExecRequest { argv: vec!["true".to_owned()], ..Default::default() };
    let refused = in_time(api.exec(harness.controller.workspace, &request)).await.err().expect("refused");
    assert!(refused.is(Code::Conflict), "{refused:?}");
}

#[tokio::test]
async fn stalled_download_frees_its_stream() {
    let mut harness = Harness::new();
    let sent = harness.http.get(harness.agent_url("files/content?path=endless")).bearer_auth("anna").send();
    let mut stalled = in_time(sent).await.expect("a response");
    in_time(harness.seen.recv()).await.expect("seen");
    // Its place is free again once the download was dropped: the session can open its full number of streams.
    let sockets = in_time(async {
        let mut sockets = Vec::new();
        while sockets.len() < harness::limits().max_streams_per_session {
            match harness.open(&attach(), "anna", Some(ORIGIN)).await {
                Ok(socket) => sockets.push(socket),
                refusal => assert_eq!(refused_status(refusal), 429),
            }
        }
        sockets
    });
    drop(sockets.await);
    while let Ok(Some(_)) = in_time(stalled.chunk()).await {}
}

#[tokio::test]
async fn revocation_ends_streams_of_session_only() {
    let mut harness = Harness::new();
    let (anna, mut ben) = (open(&harness, "anna").await, open(&harness, "ben").await);
    let sent = harness.http.get(harness.agent_url("files/content?path=endless")).bearer_auth("anna").send();
    let mut download = in_time(sent).await.expect("a response");
    harness.controller.revoked.lock().expect("not poisoned").insert(harness.controller.anna);
    closed(anna).await;
    assert_eq!(in_time(harness.ended.recv()).await.expect("a report"), "echo");
    let cut = in_time(async {
        loop {
            match download.chunk().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        }
    });
    cut.await.expect_err("a revoked download must not look complete");
    assert_echo(&mut ben, "still here").await;
}

#[tokio::test]
async fn streams_per_session_are_limited() {
    let harness = Harness::new();
    let mut sockets = Vec::new();
    for _ in 0..harness::limits().max_streams_per_session {
        sockets.push(open(&harness, "anna").await);
    }
    assert_eq!(refused_status(harness.open(&attach(), "anna", Some(ORIGIN)).await), 429);
    assert_echo(&mut open(&harness, "ben").await, "another session").await;
}

#[tokio::test]
async fn streams_share_a_link_that_reconnects() {
    let harness = Harness::new();
    let (first, mut second) = (open(&harness, "anna").await, open(&harness, "ben").await);
    assert_echo(&mut second, "before").await;
    let lost: Vec<_> = harness.links.lock().expect("not poisoned").drain(..).collect();
    assert_eq!(lost.len(), 1, "both streams share one link");
    lost.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::join!(closed(first), closed(second));
    assert_echo(&mut open(&harness, "anna").await, "after").await;
    assert_eq!(harness.links.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn guest_response_is_not_executable() {
    let harness = Harness::new();
    let sent = harness.http.get(harness.agent_url("files?path=")).bearer_auth("anna").send();
    let answer = in_time(sent).await.expect("a response");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(!answer.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn uploads_are_streamed_and_limited() {
    let harness = Harness::new();
    let upload = |body: reqwest::Body| {
        harness.http.put(harness.agent_url("files/content?path=a")).bearer_auth("anna").body(body).send()
    };
    let taken = in_time(upload(vec![1; 3_000_000].into())).await.expect("a response");
    assert_eq!(taken.text().await.expect("complete"), "3000000");
    let request = format!(
        "PUT /api/v1/workspaces/{}/agent/files/content?path=a HTTP/1.1\r\nhost: x\r\n\
         authorization: Bearer anna\r\ncontent-length: {}\r\n\r\n",
        harness.controller.workspace,
        protocol::agent::MAX_UPLOAD_BYTES + 1
    );
    assert!(send_raw(&harness, &request).await.starts_with("HTTP/1.1 413 "));
    let roster = |size: usize| {
        let pieces =
            futures_util::stream::iter((0..size / 1024).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 1024])));
        let request = harness.http.post(harness.url("/api/v1/classes/x/roster")).bearer_auth("anna");
        request.body(reqwest::Body::wrap_stream(pieces)).send()
    };
    assert_eq!(
        in_time(roster(64 * 1024)).await.expect("a response").text().await.expect("complete"),
        "65536"
    );
    let refusal = problem(in_time(roster(8 * 1024 * 1024)).await.expect("a response")).await;
    assert_eq!(refusal.code, Code::TooLarge);
}

#[tokio::test]
async fn events_are_streamed() {
    let harness = Harness::new();
    let mut answer =
        in_time(harness.http.get(harness.url("/api/v1/events")).send()).await.expect("a response");
    for text in ["event: workspace\n\n", ": comment\n\n", "event: deleted\n\n"] {
        harness.events.send(text.to_owned()).await.expect("open");
        assert_eq!(in_time(answer.chunk()).await.expect("open").expect("a piece"), text);
    }
}

#[tokio::test]
async fn clients_cannot_forge_internal_headers() {
    let harness = Harness::new();
    let sent = harness
        .http
        .get(harness.url("/api/v1/version?x=%2e%2e"))
        .header("x-burrow-secure", "true, really")
        .header("x-burrow-client-address", "1.2.3.4")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-request-id", "mine")
        .header("host", "other.test")
        .send();
    let answer = in_time(sent).await.expect("a response");
    assert_eq!(answer.headers()["set-cookie"], "burrow=new");
    assert!(!answer.headers().contains_key("x-burrow-inner"));
    let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    let received: serde_json::Value =
        serde_json::from_slice(&answer.bytes().await.expect("complete")).expect("JSON");
    assert_eq!(received["path"], "/api/v1/version?x=%2e%2e");
    let headers: std::collections::HashMap<String, String> =
        serde_json::from_value::<Vec<(String, String)>>(received["headers"].clone())
            .expect("pairs")
            .into_iter()
            .collect();
    assert_eq!(headers["x-burrow-secure"], "false");
    assert_eq!(headers["x-burrow-client-address"], "127.0.0.1");
    assert_eq!(headers["x-request-id"], id);
    assert_eq!(headers["host"], "other.test");
    assert!(!headers.contains_key("x-forwarded-for"));
}

#[tokio::test]
async fn internal_paths_are_not_reachable() {
    let harness = Harness::new();
    for path in [
        "/internal/grant-key",
        "/api/v1/../../internal/grant-key",
        "/api/v1/%2e%2e/%2e%2e/internal/grant-key",
        "/api/v1/..%2f..%2finternal/grant-key",
        "//internal/grant-key",
        "/api/v1/\\..\\..\\internal\\grant-key",
    ] {
        let answer =
            send_raw(&harness, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        // If the web app is built, its page answers every path of a page. It is the same for everyone.
        let is_app_page = answer.starts_with("HTTP/1.1 200 ") && answer.contains("<!doctype html>");
        assert!(
            answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 ") || is_app_page,
            "{path}: {answer}"
        );
        assert!(!answer.contains("grant-key"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn controller_restart_keeps_streams() {
    let mut harness = Harness::new();
    let mut socket = open(&harness, "anna").await;
    harness.controller_task.abort();
    let (address, http) = (harness.url("/api/v1/version"), harness.http.clone());
    in_time(async {
        // The controller's open connections are served until they end.
        loop {
            let answer = http.get(&address).send().await.expect("a response");
            if answer.status() != 200 {
                assert_eq!(problem(answer).await.code, Code::Unavailable);
                break;
            }
        }
    })
    .await;
    assert_echo(&mut socket, "the stream stays").await;
    harness.restart_controller();
    assert_eq!(in_time(http.get(&address).send()).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn shutdown_cuts_streams() {
    let harness = Harness::new();
    let socket = open(&harness, "anna").await;
    harness.gateway.stop();
    closed(socket).await;
    assert_eq!(in_time(harness.gateway.join()).await, daemon::ShutdownOutcome::Clean);
}

/// Sends raw bytes and returns what one read of the response yields.
async fn send_raw(harness: &Harness, request: &str) -> String {
    let mut stream = TcpStream::connect(harness.address()).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut buffer = vec![0; 64 * 1024];
    let count = in_time(stream.read(&mut buffer)).await.expect("a response");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}
