//! Who gets through the gateway, what of theirs does, and when it ends.

mod setting;

use futures_util::{SinkExt as _, StreamExt as _};
use protocol::{Code, TerminalId, WorkspaceId, grant::SigningKey};
use setting::{ORIGIN, Setting, Socket, problem, refused, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

fn attach() -> String {
    format!("terminals/{}/attach?client=c", TerminalId::random())
}

async fn open(setting: &Setting, cookie: &str) -> Socket {
    setting.open(&attach(), cookie, Some(ORIGIN)).await.expect("opened")
}

async fn echoes(socket: &mut Socket, text: &str) {
    socket.send(Message::binary(text.as_bytes().to_vec())).await.expect("open");
    let answer = soon(socket.next()).await.expect("open").expect("valid");
    assert_eq!(answer.into_data(), text.as_bytes());
}

/// Reads until the socket is gone.
async fn gone(mut socket: Socket) {
    soon(async { while let Some(Ok(_)) = socket.next().await {} }).await;
}

#[tokio::test]
async fn a_browsers_socket_reaches_the_guest_with_a_grant_and_no_cookie() {
    let mut setting = Setting::new();
    let mut socket = open(&setting, "anna").await;
    echoes(&mut socket, "ls\r").await;
    echoes(&mut socket, &"x".repeat(300_000)).await;
    let seen = soon(setting.seen.recv()).await.expect("seen");
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
async fn sockets_come_by_http2_too() {
    let setting = Setting::new();
    let link = transport::Link::connect(&setting.address().to_string()).await.expect("connects");
    let path = format!("/api/v1/workspaces/{}/agent/{}", setting.controller.workspace, attach());
    let headers = |origin: &str| {
        let pairs = [("cookie", "burrow=anna"), ("origin", origin)];
        pairs
            .into_iter()
            .map(|(name, value)| (name.parse().expect("valid"), value.parse().expect("valid")))
            .collect::<http::HeaderMap>()
    };
    let refusal = soon(link.open_websocket(&path, headers("http://evil.test"))).await.expect_err("refused");
    assert!(matches!(refusal, transport::WebSocketError::Refused(answer) if answer.status() == 403));
    let raw = soon(link.open_websocket(&path, headers(ORIGIN))).await.expect("opened");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    socket.send(Message::binary(b"ls".to_vec())).await.expect("open");
    assert_eq!(soon(socket.next()).await.expect("open").expect("valid").into_data(), b"ls".as_slice());
}

#[tokio::test]
async fn without_a_credential_nothing_is_asked_or_opened() {
    let mut setting = Setting::new();
    let sent = setting.http.get(setting.agent("files?path=")).header("x-request-id", "mine").send();
    let problem = problem(soon(sent).await.expect("answers")).await;
    assert_eq!(problem.code, Code::Unauthenticated);
    assert_ne!(problem.request_id, "mine");
    assert_eq!(setting.grants_asked(), 0);
    assert_eq!(refused(setting.open(&attach(), "unknown", Some(ORIGIN)).await), 401);
    assert!(setting.seen.try_recv().is_err());
}

#[tokio::test]
async fn pages_of_other_origins_open_nothing_and_change_nothing() {
    let mut setting = Setting::new();
    for origin in [None, Some("null"), Some("http://evil.test"), Some("http://burrow.test.evil.test")] {
        assert_eq!(refused(setting.open(&attach(), "anna", origin).await), 403, "{origin:?}");
        for url in [setting.agent("terminals"), setting.url("/api/v1/workspaces")] {
            let mut request = setting.http.post(url).header("cookie", "burrow=anna");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let refusal = problem(soon(request.send()).await.expect("answers")).await;
            assert_eq!(refusal.code, Code::ForeignOrigin, "{origin:?}");
        }
    }
    assert_eq!(setting.grants_asked(), 0);
    assert!(setting.seen.try_recv().is_err());
}

#[tokio::test]
async fn someone_elses_workspace_is_not_there() {
    let mut setting = Setting::new();
    let url = setting.url(&format!("/api/v1/workspaces/{}/agent/files?path=", WorkspaceId::random()));
    let refusal =
        problem(soon(setting.http.get(url).bearer_auth("anna").send()).await.expect("answers")).await;
    assert_eq!(refusal.code, Code::NotFound);
    assert!(setting.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_watchers_grant_does_not_write() {
    let mut setting = Setting::new();
    let sent = setting.http.put(setting.agent("files/content?path=a")).bearer_auth("ben").body("x").send();
    assert_eq!(problem(soon(sent).await.expect("answers")).await.code, Code::Forbidden);
    assert!(setting.seen.try_recv().is_err());
    echoes(&mut open(&setting, "ben").await, "watching").await;
}

#[tokio::test]
async fn only_the_controllers_signature_opens() {
    let mut setting = Setting::new();
    *setting.controller.forger.lock().expect("sound") = Some(SigningKey::generate().expect("randomness"));
    let sent = setting.http.get(setting.agent("files?path=")).bearer_auth("anna").send();
    assert_eq!(problem(soon(sent).await.expect("answers")).await.code, Code::Internal);
    assert!(setting.seen.try_recv().is_err());
    // A controller that has changed its key is believed, once it publishes it.
    let forger = setting.controller.forger.lock().expect("sound").take().expect("set");
    *setting.controller.key.lock().expect("sound") = forger;
    echoes(&mut open(&setting, "anna").await, "again").await;
}

#[tokio::test]
async fn the_runners_own_routes_are_not_there() {
    let mut setting = Setting::new();
    for rest in ["freeze", "bootstrap", "health", "files/../freeze", "files%2f..%2ffreeze", ""] {
        let sent = setting.http.get(setting.agent(rest)).bearer_auth("anna").send();
        assert_eq!(soon(sent).await.expect("answers").status(), 404, "{rest}");
    }
    assert!(setting.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_and_no_tunnel() {
    let setting = Setting::new();
    assert_eq!(refused(setting.open("exec", "anna", Some(ORIGIN)).await), 409);
    // An ordinary request where a socket is needed, and the other way round.
    let sent = setting.http.get(setting.agent("exec")).bearer_auth("anna").send();
    assert_eq!(problem(soon(sent).await.expect("answers")).await.code, Code::BadRequest);
    assert_eq!(refused(setting.open("files?path=", "anna", Some(ORIGIN)).await), 400);
}

#[tokio::test]
async fn a_browser_that_stops_reading_is_dropped() {
    let mut setting = Setting::new();
    let flooded = setting.open("documents?path=a", "anna", Some(ORIGIN)).await.expect("opened");
    let mut other = open(&setting, "anna").await;
    assert_eq!(soon(setting.ended.recv()).await.expect("told"), "flood");
    echoes(&mut other, "untouched").await;
    drop(flooded);
}

#[tokio::test]
async fn a_program_waits_for_its_reader() {
    let mut setting = Setting::new();
    let mut program = setting.open("exec?flood", "anna", Some(ORIGIN)).await.expect("opened");
    // By the time that this one has been dropped, the program's would have been too.
    let browser = setting.open("documents?path=a", "ben", Some(ORIGIN)).await.expect("opened");
    assert_eq!(soon(setting.ended.recv()).await.expect("told"), "flood");
    let other = setting.open("documents?path=b", "ben", Some(ORIGIN)).await.expect("opened");
    assert_eq!(soon(setting.ended.recv()).await.expect("told"), "flood");
    for _ in 0..1000 {
        soon(program.next()).await.expect("still open").expect("valid");
    }
    assert!(setting.ended.try_recv().is_err());
    drop((browser, other));
}

#[tokio::test]
async fn a_refused_socket_tells_its_problem() {
    let setting = Setting::new();
    let api = client::Api::with_token(&setting.url(""), "anna".to_owned().into()).expect("made");
    let request = protocol::exec::ExecRequest { argv: vec!["true".to_owned()], ..Default::default() };
    let refused = soon(api.exec(setting.controller.workspace, &request)).await.err().expect("refused");
    assert!(refused.is(Code::Conflict), "{refused:?}");
}

#[tokio::test]
async fn a_download_that_nobody_reads_ends() {
    let mut setting = Setting::new();
    let sent = setting.http.get(setting.agent("files/content?path=endless")).bearer_auth("anna").send();
    let mut stalled = soon(sent).await.expect("answers");
    soon(setting.seen.recv()).await.expect("seen");
    // Its place is given back once it is dropped: as many others as there are places can be opened.
    let sockets = soon(async {
        let mut sockets = Vec::new();
        while sockets.len() < setting::limits().streams_per_session {
            match setting.open(&attach(), "anna", Some(ORIGIN)).await {
                Ok(socket) => sockets.push(socket),
                refusal => assert_eq!(refused(refusal), 429),
            }
        }
        sockets
    });
    drop(sockets.await);
    while let Ok(Some(_)) = soon(stalled.chunk()).await {}
}

#[tokio::test]
async fn a_revoked_sessions_streams_end_and_others_stay() {
    let mut setting = Setting::new();
    let (anna, mut ben) = (open(&setting, "anna").await, open(&setting, "ben").await);
    let sent = setting.http.get(setting.agent("files/content?path=endless")).bearer_auth("anna").send();
    let mut download = soon(sent).await.expect("answers");
    setting.controller.revoked.lock().expect("sound").insert(setting.controller.anna);
    gone(anna).await;
    assert_eq!(soon(setting.ended.recv()).await.expect("told"), "echo");
    let cut = soon(async {
        loop {
            match download.chunk().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        }
    });
    cut.await.expect_err("a cut is not an end");
    echoes(&mut ben, "still here").await;
}

#[tokio::test]
async fn a_session_has_so_many_streams() {
    let setting = Setting::new();
    let mut sockets = Vec::new();
    for _ in 0..setting::limits().streams_per_session {
        sockets.push(open(&setting, "anna").await);
    }
    assert_eq!(refused(setting.open(&attach(), "anna", Some(ORIGIN)).await), 429);
    echoes(&mut open(&setting, "ben").await, "another's").await;
}

#[tokio::test]
async fn streams_share_a_link_and_a_lost_one_is_made_again() {
    let setting = Setting::new();
    let (first, mut second) = (open(&setting, "anna").await, open(&setting, "ben").await);
    echoes(&mut second, "before").await;
    let lost: Vec<_> = setting.links.lock().expect("sound").drain(..).collect();
    assert_eq!(lost.len(), 1, "one link carries both");
    lost.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::join!(gone(first), gone(second));
    echoes(&mut open(&setting, "anna").await, "after").await;
    assert_eq!(setting.links.lock().expect("sound").len(), 1);
}

#[tokio::test]
async fn a_guests_answer_runs_nothing_on_our_origin() {
    let setting = Setting::new();
    let sent = setting.http.get(setting.agent("files?path=")).bearer_auth("anna").send();
    let answer = soon(sent).await.expect("answers");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(!answer.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn uploads_stream_through_and_are_bounded() {
    let setting = Setting::new();
    let upload = |body: reqwest::Body| {
        setting.http.put(setting.agent("files/content?path=a")).bearer_auth("anna").body(body).send()
    };
    let taken = soon(upload(vec![1; 3_000_000].into())).await.expect("answers");
    assert_eq!(taken.text().await.expect("whole"), "3000000");
    let request = format!(
        "PUT /api/v1/workspaces/{}/agent/files/content?path=a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer anna\r\n\
         content-length: {}\r\n\r\n",
        setting.controller.workspace,
        protocol::agent::MAX_UPLOAD_BYTES + 1
    );
    assert!(raw(&setting, &request).await.starts_with("HTTP/1.1 413 "));
    let roster = |size: usize| {
        let pieces =
            futures_util::stream::iter((0..size / 1024).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 1024])));
        let request = setting.http.post(setting.url("/api/v1/classes/x/roster")).bearer_auth("anna");
        request.body(reqwest::Body::wrap_stream(pieces)).send()
    };
    assert_eq!(soon(roster(64 * 1024)).await.expect("answers").text().await.expect("whole"), "65536");
    let refusal = problem(soon(roster(8 * 1024 * 1024)).await.expect("answers")).await;
    assert_eq!(refusal.code, Code::TooLarge);
}

#[tokio::test]
async fn events_stream_through_as_they_come() {
    let setting = Setting::new();
    let mut answer = soon(setting.http.get(setting.url("/api/v1/events")).send()).await.expect("answers");
    for text in ["event: workspace\n\n", ": comment\n\n", "event: deleted\n\n"] {
        setting.events.send(text.to_owned()).await.expect("open");
        assert_eq!(soon(answer.chunk()).await.expect("open").expect("a piece"), text);
    }
}

#[tokio::test]
async fn the_controller_hears_what_we_know_and_not_what_clients_claim() {
    let setting = Setting::new();
    let sent = setting
        .http
        .get(setting.url("/api/v1/version?x=%2e%2e"))
        .header("x-burrow-secure", "true, really")
        .header("x-burrow-client-address", "1.2.3.4")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-request-id", "mine")
        .header("host", "other.test")
        .send();
    let answer = soon(sent).await.expect("answers");
    assert_eq!(answer.headers()["set-cookie"], "burrow=new");
    assert!(!answer.headers().contains_key("x-burrow-inner"));
    let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    let told: serde_json::Value =
        serde_json::from_slice(&answer.bytes().await.expect("whole")).expect("JSON");
    assert_eq!(told["path"], "/api/v1/version?x=%2e%2e");
    let headers: std::collections::HashMap<String, String> =
        serde_json::from_value::<Vec<(String, String)>>(told["headers"].clone())
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
async fn no_path_leads_to_what_is_internal() {
    let setting = Setting::new();
    for path in [
        "/internal/grant-key",
        "/api/v1/../../internal/grant-key",
        "/api/v1/%2e%2e/%2e%2e/internal/grant-key",
        "/api/v1/..%2f..%2finternal/grant-key",
        "//internal/grant-key",
        "/api/v1/\\..\\..\\internal\\grant-key",
    ] {
        let answer =
            raw(&setting, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        // The app's shell, where it is built, answers every address of a page: it is ours, and the same for everyone.
        let is_shell = answer.starts_with("HTTP/1.1 200 ") && answer.contains("<!doctype html>");
        assert!(
            answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 ") || is_shell,
            "{path}: {answer}"
        );
        assert!(!answer.contains("grant-key"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_lost_controller_is_told_and_forgotten_when_it_is_back() {
    let mut setting = Setting::new();
    let mut socket = open(&setting, "anna").await;
    setting.controller_task.abort();
    let (address, http) = (setting.url("/api/v1/version"), setting.http.clone());
    soon(async {
        // The connections that it had open are served to their end.
        loop {
            let answer = http.get(&address).send().await.expect("answers");
            if answer.status() != 200 {
                assert_eq!(problem(answer).await.code, Code::Unavailable);
                break;
            }
        }
    })
    .await;
    echoes(&mut socket, "the stream stays").await;
    setting.restart_controller();
    assert_eq!(soon(http.get(&address).send()).await.expect("answers").status(), 200);
}

#[tokio::test]
async fn its_end_cuts_streams_and_is_clean() {
    let setting = Setting::new();
    let socket = open(&setting, "anna").await;
    setting.gateway.stop();
    gone(socket).await;
    assert_eq!(soon(setting.gateway.join()).await, daemon::tasks::End::Clean);
}

/// Sends bytes as they are; gives what comes back until the end or the first pause in it.
async fn raw(setting: &Setting, request: &str) -> String {
    let mut stream = TcpStream::connect(setting.address()).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut buffer = vec![0; 64 * 1024];
    let count = soon(stream.read(&mut buffer)).await.expect("answers");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}
