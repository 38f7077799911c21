//! Previews of ports through the whole path: gateway, controller, front and agent, with a server in the
//! workspace that records everything it receives.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State, WebSocketUpgrade, ws::Message},
    http::{HeaderMap, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, Sse},
    },
    routing::{any, get, post},
};
use burrow_tests::{Stack, StackOptions, answer, client, free_port, short_directory};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async,
    tungstenite::{client::IntoClientRequest as _, protocol::Message as ClientMessage},
};

/// A server that records the heads and bodies of all requests, as a malicious application would.
#[derive(Clone, Default)]
struct Honeypot {
    received: Arc<Mutex<Vec<String>>>,
    /// The event stream sends its second event when this is notified.
    go_on: Arc<Notify>,
}

impl Honeypot {
    /// Serves at an address of the loopback interface. Ends when the handle is aborted.
    async fn serve(&self, address: &str) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind(address).await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let app = Router::new()
            .route("/events", get(send_events))
            .route("/socket", any(echo_messages))
            .route("/redirect", get(redirect_to_localhost))
            .route("/upload", post(count_bytes).layer(DefaultBodyLimit::disable()))
            .fallback(record_request)
            .with_state(self.clone());
        (port, tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") }))
    }

    fn record(&self, text: String) {
        self.received.lock().expect("not poisoned").push(text);
    }

    fn received(&self) -> String {
        self.received.lock().expect("not poisoned").join("\n")
    }
}

async fn record_request(State(honeypot): State<Honeypot>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let text = format!("{} {} {:?} {body:?}", parts.method, parts.uri, parts.headers);
    honeypot.record(text);
    let get = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let seen = json!({
        "host": get("host"), "origin": get("origin"), "forwarded_host": get("x-forwarded-host"),
        "forwarded_proto": get("x-forwarded-proto"), "cookie": get("cookie"),
        "preview": get("x-burrow-preview-origin"), "path": parts.uri.to_string(),
    });
    let cookie = "id=7; Path=/; Domain=localhost";
    ([(header::SET_COOKIE, cookie), (header::X_FRAME_OPTIONS, "DENY")], axum::Json(seen)).into_response()
}

async fn send_events(State(honeypot): State<Honeypot>, headers: HeaderMap) -> Response {
    honeypot.record(format!("{headers:?}"));
    let events = stream::unfold((0, honeypot.go_on), |(count, go_on)| async move {
        if count > 0 {
            go_on.notified().await;
        }
        Some((Ok::<_, Infallible>(Event::default().data(count.to_string())), (count + 1, go_on)))
    });
    Sse::new(events).into_response()
}

async fn echo_messages(
    State(honeypot): State<Honeypot>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    honeypot.record(format!("{headers:?}"));
    let origin = headers[header::ORIGIN].to_str().expect("text").to_owned();
    upgrade.protocols(["vite-hmr"]).on_upgrade(async |mut socket| {
        let _ = socket.send(Message::Text(origin.into())).await;
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_)) {
                let _ = socket.send(message).await;
            }
        }
    })
}

async fn redirect_to_localhost(headers: HeaderMap) -> Response {
    let host = headers[header::HOST].to_str().expect("text");
    let location = format!("http://{host}/after?a=b");
    (axum::http::StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn count_bytes(body: Bytes) -> String {
    body.len().to_string()
}

/// A running workspace, and its owner's session in a browser.
struct Setup {
    stack: Stack,
    workspace: String,
    session: String,
    _place: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let place = short_directory();
        let mut stack = Stack::start_signed_out(StackOptions::new("fake", &place.path().join("d"))).await;
        let (_, secret) = stack.link.split_once("/welcome#").expect("the link's form");
        let signed_in = client()
            .post(format!("{}/api/v1/auth/link", stack.url))
            .header("origin", &stack.url)
            .json(&json!({ "token": secret }))
            .send()
            .await
            .expect("an answer");
        let session = cookie_of(&signed_in);
        let token = client()
            .post(format!("{}/api/v1/tokens", stack.url))
            .header("origin", &stack.url)
            .header("cookie", &session)
            .json(&json!({ "name": "test", "days": 1, "scope": "admin" }));
        let (_, created) = answer(token).await;
        stack.token = created["token"].as_str().expect("a token").into();
        stack.run_ok(&["create", "demo"]).await;
        let (_, listed) = stack.get("/workspaces").await;
        let workspace = listed["workspaces"][0]["id"].as_str().expect("an id").to_owned();
        Self { stack, workspace, session, _place: place }
    }

    fn host(&self, port: u16) -> String {
        let address = self.stack.url.strip_prefix("http://127.0.0.1").expect("its form");
        format!("{port}--{}.localhost{address}", self.workspace)
    }

    fn address(&self) -> SocketAddr {
        self.stack.url.strip_prefix("http://").expect("http").parse().expect("an address")
    }

    fn origin(&self, port: u16) -> String {
        format!("http://{}", self.host(port))
    }

    /// A request to the origin of a preview.
    fn visit(&self, method: Method, port: u16, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("a client");
        client.request(method, format!("{}{path}", self.stack.url)).header("host", self.host(port))
    }

    /// A request of the app's page.
    fn app(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        client()
            .request(method, format!("{}/api/v1/workspaces/{}{path}", self.stack.url, self.workspace))
            .header("origin", &self.stack.url)
            .header("cookie", &self.session)
    }

    /// Path and query of a new ticket at the preview's origin.
    async fn ticket(&self, port: u16) -> String {
        let (status, ticket) = answer(self.app(Method::POST, &format!("/port-settings/{port}/ticket"))).await;
        assert_eq!(status, 200, "{ticket}");
        let url = ticket["ticket_url"].as_str().expect("an address");
        url.strip_prefix(&self.origin(port)).expect("at the preview's origin").to_owned()
    }

    /// Enters by a ticket, and returns the preview's cookie.
    async fn enter(&self, port: u16) -> String {
        let ticket = self.ticket(port).await;
        let entered = self.visit(Method::GET, port, &ticket).send().await.expect("an answer");
        assert_eq!(entered.status(), 303);
        cookie_of(&entered)
    }

    async fn set(&self, port: u16, settings: Value) {
        let request = self.app(Method::PUT, &format!("/port-settings/{port}")).json(&settings);
        let (status, body) = answer(request).await;
        assert_eq!(status, 200, "{body}");
    }
}

fn cookie_of(response: &reqwest::Response) -> String {
    let cookie = response.headers()["set-cookie"].to_str().expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn preview_gives_no_secret_to_the_guest() {
    let setup = Setup::new().await;
    let honeypot = Honeypot::default();
    let (port, _server) = honeypot.serve("127.0.0.1:0").await;

    // A browser without a cookie is sent to the app; a program is refused.
    let page = setup.visit(Method::GET, port, "/x?y=1").header("sec-fetch-mode", "navigate");
    let page = page.send().await.expect("an answer");
    let location = page.headers()["location"].to_str().expect("text");
    let expected = format!("{}/preview?workspace={}&port={port}&to=", setup.stack.url, setup.workspace);
    assert!(page.status() == 302 && location.starts_with(&expected), "{location}");
    let (status, problem) = answer(setup.visit(Method::GET, port, "/")).await;
    assert_eq!((status, problem["code"].as_str()), (401, Some("unauthenticated")));

    // A ticket works once, at its own origin.
    let ticket = setup.ticket(port).await;
    let (status, _) = answer(setup.visit(Method::GET, port + 1, &ticket)).await;
    assert_eq!(status, 410, "another port");
    let entered = setup.visit(Method::GET, port, &format!("{ticket}&to=%2Fstart")).send().await.expect("one");
    assert_eq!(
        (entered.status().as_u16(), &entered.headers()["location"]),
        (303, &"/start".parse().expect("valid"))
    );
    let cookie = cookie_of(&entered);
    assert!(cookie.starts_with("__Host-burrow-preview="), "{cookie}");
    assert_eq!(answer(setup.visit(Method::GET, port, &ticket)).await.0, 410, "used twice");

    let cookies = format!("{cookie}; {}; theme=dark", setup.session);
    let visit = |path: &str| {
        setup
            .visit(Method::POST, port, path)
            .header("cookie", &cookies)
            .header("origin", setup.origin(port))
            .header("authorization", format!("Bearer {}", setup.stack.token))
            .header("x-forwarded-host", "evil.example")
            .body("the body")
    };
    let seen = visit("/api/v1/version?a=1").send().await.expect("an answer");
    assert_eq!(seen.status(), 200);
    assert_eq!(seen.headers()["set-cookie"], "id=7; Path=/", "no domain");
    assert!(!seen.headers().contains_key("x-frame-options"));
    let policy = seen.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("frame-ancestors 'self' http://127.0.0.1:"), "{policy}");
    let seen: Value = seen.json().await.expect("the honeypot's, not the API's");
    assert_eq!(
        seen,
        json!({
            "host": format!("localhost:{port}"), "origin": format!("http://localhost:{port}"),
            "forwarded_host": format!("localhost:{port}"), "forwarded_proto": "http", "cookie": "theme=dark",
            "preview": setup.origin(port), "path": "/api/v1/version?a=1",
        })
    );
    let host = setup.host(port);
    let (name, _) = host.rsplit_once(':').expect("a port");
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let http2 = http2.resolve(name, setup.address()).build().expect("a client");
    let second = http2.get(format!("http://{host}/two")).header("cookie", &cookie).send().await.expect("one");
    assert_eq!((second.status().as_u16(), second.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(second.json::<Value>().await.expect("the honeypot's")["path"], "/two");
    let redirected = setup.visit(Method::GET, port, "/redirect").header("cookie", &cookie);
    let redirected = redirected.send().await.expect("an answer");
    assert_eq!(redirected.headers()["location"], format!("{}/after?a=b", setup.origin(port)).as_str());
    assert!(honeypot.received().contains("the body"));
    let secret = |cookie: &str| cookie.split_once('=').expect("a pair").1.to_owned();
    let ticket = secret(ticket.split_once('?').expect("a query").1);
    for secret in [secret(&cookie), secret(&setup.session), setup.stack.token.clone(), ticket] {
        assert!(!honeypot.received().contains(&secret), "{secret} in {}", honeypot.received());
    }
    assert!(!honeypot.received().contains("v4.public"), "no grant");

    // The app is at none of these hosts, and a preview at no other.
    for host in ["x.localhost", "3000--demo.localhost"] {
        let request = client().get(format!("{}/api/v1/version", setup.stack.url)).header("host", host);
        assert_eq!(answer(request).await.0, 404, "{host}");
    }
    assert_eq!(answer(setup.visit(Method::GET, port, "/.burrow/x").header("cookie", &cookie)).await.0, 404);
    setup.stack.interrupt().await;
}

#[tokio::test]
async fn streams_pass_and_end_with_the_session() {
    let setup = Setup::new().await;
    let honeypot = Honeypot::default();
    let (port, _server) = honeypot.serve("[::1]:0").await;
    let cookie = setup.enter(port).await;

    let size = 8 << 20;
    let pieces = stream::iter((0..8).map(move |_| Ok::<_, Infallible>(Bytes::from(vec![7; size / 8]))));
    let upload = setup.visit(Method::POST, port, "/upload").header("cookie", &cookie);
    let upload = upload.body(reqwest::Body::wrap_stream(pieces)).send().await.expect("an answer");
    assert_eq!(upload.text().await.expect("text"), size.to_string());

    let mut events =
        setup.visit(Method::GET, port, "/events").header("cookie", &cookie).send().await.expect("one");
    assert_eq!(events.chunk().await.expect("open").expect("an event"), "data: 0\n\n");
    honeypot.go_on.notify_one();
    assert_eq!(events.chunk().await.expect("open").expect("an event"), "data: 1\n\n");

    let mut socket = open_socket(&setup, port, &cookie, &setup.origin(port)).await.expect("accepted");
    let origin = socket.next().await.expect("open").expect("a message");
    assert_eq!(origin, ClientMessage::text(format!("http://localhost:{port}")));
    socket.send(ClientMessage::text("hello")).await.expect("open");
    assert_eq!(socket.next().await.expect("open").expect("a message"), ClientMessage::text("hello"));
    // A page of another workspace or site cannot use the visitor's cookie.
    for origin in
        ["https://evil.example".to_owned(), setup.origin(port).replace("--0", "--1"), "null".to_owned()]
    {
        assert_eq!(open_socket(&setup, port, &cookie, &origin).await.expect_err("refused"), 401, "{origin}");
    }

    let out = client().post(format!("{}/api/v1/auth/logout", setup.stack.url));
    let out = out.header("origin", &setup.stack.url).header("cookie", &setup.session).json(&json!({}));
    assert_eq!(answer(out).await.0, 204);
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::join!(async { while let Some(Ok(_)) = socket.next().await {} }, events.chunk())
    });
    assert!(ended.await.expect("both end").1.is_err(), "cut");
    let (status, _) = answer(setup.visit(Method::GET, port, "/").header("cookie", &cookie)).await;
    assert_eq!(status, 401);
    setup.stack.interrupt().await;
}

/// Opens the echo's WebSocket, or returns the status of the refusal.
async fn open_socket(
    setup: &Setup,
    port: u16,
    cookie: &str,
    origin: &str,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, u16> {
    let stream = TcpStream::connect(setup.address()).await.expect("connected");
    let mut request = format!("ws://{}/socket", setup.host(port)).into_client_request().expect("valid");
    let headers = request.headers_mut();
    headers.insert("cookie", cookie.parse().expect("valid"));
    headers.insert("origin", origin.parse().expect("valid"));
    headers.insert("sec-websocket-protocol", "vite-hmr".parse().expect("valid"));
    match client_async(request, MaybeTlsStream::Plain(stream)).await {
        Ok((socket, response)) => {
            assert_eq!(response.headers()["sec-websocket-protocol"], "vite-hmr");
            Ok(socket)
        }
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn preview_follows_visibility_and_listener() {
    let setup = Setup::new().await;
    let (port, sibling) = (free_port(), free_port());
    let anybody = |path: &str| setup.visit(Method::GET, port, path);
    assert_eq!(answer(anybody("/")).await.0, 401);
    setup.set(port, json!({ "visibility": "public", "public_hours": 1 })).await;
    let waiting = anybody("/").header("accept", "text/html").send().await.expect("an answer");
    assert_eq!(waiting.status(), 503);
    let page = waiting.text().await.expect("text");
    assert!(page.contains(&format!("Nothing listens on port {port}")), "{page}");
    assert_eq!(answer(anybody("/.burrow/ready")).await.0, 503);
    let honeypot = Honeypot::default();
    let (_, server) = honeypot.serve(&format!("127.0.0.1:{port}")).await;
    assert_eq!(answer(anybody("/.burrow/ready")).await.0, 204);
    let mut events = anybody("/events").send().await.expect("an answer");
    assert_eq!(events.chunk().await.expect("open").expect("an event"), "data: 0\n\n");

    // A page at another port of the workspace may ask; others may not.
    let preflight = |origin: String| {
        let request = setup.visit(Method::OPTIONS, port, "/data").header("origin", origin);
        request.header("access-control-request-method", "PUT").send()
    };
    let allowed = preflight(setup.origin(sibling)).await.expect("an answer");
    assert_eq!(allowed.status(), 204);
    assert_eq!(allowed.headers()["access-control-allow-origin"], setup.origin(sibling).as_str());
    let foreign = preflight("https://evil.example".to_owned()).await.expect("an answer");
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));

    setup.set(port, json!({ "visibility": "private" })).await;
    let end = tokio::time::timeout(Duration::from_secs(10), events.chunk());
    assert!(end.await.expect("it ends").is_err(), "cut");
    assert_eq!(answer(anybody("/")).await.0, 401);
    server.abort();
    setup.stack.run_ok(&["stop", "demo"]).await;
    setup.set(port, json!({ "visibility": "public", "public_hours": 1 })).await;
    let stopped = anybody("/").header("accept", "text/html").send().await.expect("an answer");
    assert_eq!(stopped.status(), 409);
    assert!(stopped.text().await.expect("text").contains("The workspace is not running"));
    setup.stack.interrupt().await;
}

#[tokio::test]
async fn forward_carries_connections() {
    let setup = Setup::new().await;
    // It answers when its client has sent everything, as many protocols do.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let _server = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut received = Vec::new();
            connection.read_to_end(&mut received).await.expect("read");
            connection.write_all(received.len().to_string().as_bytes()).await.expect("written");
        }
    });
    let listed: Value =
        serde_json::from_str(&setup.stack.run_ok(&["ports", "demo", "-o", "json"]).await).expect("JSON");
    let listed = listed.as_array().expect("a list").iter().find(|row| row["port"] == port).expect("listed");
    assert_eq!(
        (listed["visibility"].as_str(), listed["url"].as_str()),
        (Some("private"), Some(&*setup.origin(port)))
    );
    let opened = setup.stack.run_ok(&["open", "--port", &port.to_string(), "-o", "json"]).await;
    assert!(opened.contains(&format!("/preview?workspace={}&port={port}", setup.workspace)), "{opened}");
    let shared =
        setup.stack.run_ok(&["ports", "demo", "--share", &port.to_string(), "--visibility", "members"]).await;
    assert!(shared.contains("members"), "{shared}");

    let mut forward =
        setup.stack.command(&["forward", "demo", &format!("0:{port}")]).spawn().expect("starts");
    let mut lines = BufReader::new(forward.stderr.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("readable").expect("an address");
    let address = line.strip_prefix("Forwarding ").and_then(|rest| rest.split(' ').next()).expect("its form");
    for size in [0, 1, 3 << 20] {
        let mut connection = TcpStream::connect(address).await.expect("connected");
        connection.write_all(&vec![7; size]).await.expect("written");
        connection.shutdown().await.expect("open");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, size.to_string());
    }
    forward.kill().await.expect("it runs");
    let refused = setup.stack.run(&["forward", "demo", "x"]).await;
    assert_eq!(refused.status.code(), Some(2));
    setup.stack.interrupt().await;
}
