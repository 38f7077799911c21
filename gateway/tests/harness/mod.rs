//! A gateway between a scripted controller and a scripted front, all on real sockets.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State, ws::WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use burrow_gateway::{Config, Gateway, HttpRedirect, Limits, TlsConfig};
use hyper_util::service::TowerToHyperService;
use protocol::{
    Access, Code, Epoch, Problem, SessionId, UserId, WorkspaceId,
    api::internal::{GrantReply, GrantRequest, SessionsCheck, SessionsVerdict},
    grant::{Grant, SigningKey},
};
use tokio::{
    net::{TcpStream, UnixListener},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, client::IntoClientRequest as _},
};
use transport::{KeepAlive, serve_link};

/// Longest wait of a test before it fails.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(30);
pub const ORIGIN: &str = "http://burrow.test";
/// Where the listener that only redirects sends clients.
pub const REDIRECT_ORIGIN: &str = "https://burrow.test";

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A scripted controller: what it answers next, and what it was asked.
pub struct FakeController {
    pub key: Mutex<SigningKey>,
    /// Signs grants instead of the published key, if set.
    pub forger: Mutex<Option<SigningKey>>,
    pub front: PathBuf,
    pub workspace: WorkspaceId,
    pub anna: SessionId,
    pub ben: SessionId,
    pub revoked: Mutex<HashSet<SessionId>>,
    pub grant_requests: Mutex<usize>,
    events: Mutex<Option<mpsc::Receiver<String>>>,
}

/// A request that reached the front.
#[derive(Debug, Clone)]
pub struct FrontRequest {
    pub path: String,
    pub headers: HeaderMap,
}

/// A scripted front.
pub struct FakeFront {
    seen: mpsc::UnboundedSender<FrontRequest>,
    ended: mpsc::UnboundedSender<String>,
}

pub struct Harness {
    pub gateway: Gateway,
    /// The address of the listener that only redirects. It exists with TLS only.
    pub redirect_address: Option<SocketAddr>,
    pub controller: Arc<FakeController>,
    /// Sends to the controller's event stream.
    pub events: mpsc::Sender<String>,
    /// Requests that reached the front.
    pub seen: mpsc::UnboundedReceiver<FrontRequest>,
    /// Names of the front's WebSockets that ended.
    pub ended: mpsc::UnboundedReceiver<String>,
    pub links: Arc<Mutex<Vec<JoinHandle<()>>>>,
    pub controller_task: JoinHandle<()>,
    pub http: reqwest::Client,
    directory: tempfile::TempDir,
}

pub fn limits() -> Limits {
    Limits {
        write_timeout: Duration::from_millis(500),
        session_check_interval: Duration::from_millis(50),
        max_streams_per_session: 4,
        ..Limits::default()
    }
}

impl Harness {
    pub fn new() -> Self {
        Self::with_limits(limits())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::with_tls(limits, None)
    }

    pub fn with_tls(limits: Limits, tls: Option<TlsConfig>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let front = directory.path().join("front.sock");
        let (events, feed) = mpsc::channel(8);
        let controller = Arc::new(FakeController {
            key: Mutex::new(SigningKey::generate().expect("randomness")),
            forger: Mutex::default(),
            front: front.clone(),
            workspace: WorkspaceId::random(),
            anna: SessionId::random(),
            ben: SessionId::random(),
            revoked: Mutex::default(),
            grant_requests: Mutex::default(),
            events: Mutex::new(Some(feed)),
        });
        let (seen_sender, seen) = mpsc::unbounded_channel();
        let (ended_sender, ended) = mpsc::unbounded_channel();
        let links = Arc::new(Mutex::new(Vec::new()));
        serve_front(
            UnixListener::bind(&front).expect("bound"),
            Arc::new(FakeFront { seen: seen_sender, ended: ended_sender }),
            links.clone(),
        );
        let socket = directory.path().join("controller.sock");
        let controller_task = serve_controller(&socket, controller.clone());
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let http_redirect =
            tls.is_some().then(|| HttpRedirect { listener: bind(), origin: REDIRECT_ORIGIN.to_owned() });
        let redirect_address =
            http_redirect.as_ref().map(|redirect| redirect.listener.local_addr().expect("bound"));
        let gateway = Gateway::start(
            Config {
                listener: bind(),
                controller: socket,
                allowed_origins: vec![ORIGIN.to_owned()],
                preview: None,
                trusted_proxies: vec![],
                tls,
                http_redirect,
            },
            limits,
        )
        .expect("started");
        let http = reqwest::Client::builder().no_proxy().build().expect("valid");
        Self {
            gateway,
            redirect_address,
            controller,
            events,
            seen,
            ended,
            links,
            controller_task,
            http,
            directory,
        }
    }

    pub fn restart_controller(&mut self) {
        let socket = self.directory.path().join("controller.sock");
        std::fs::remove_file(&socket).expect("exists");
        self.controller_task = serve_controller(&socket, self.controller.clone());
    }

    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The URL of a route of the workspace's agent.
    pub fn agent_url(&self, rest: &str) -> String {
        self.url(&format!("/api/v1/workspaces/{}/agent/{rest}", self.controller.workspace))
    }

    /// Opens a WebSocket as a browser does.
    pub async fn open(&self, rest: &str, cookie: &str, origin: Option<&str>) -> Result<Socket, Error> {
        let url = self.agent_url(rest).replacen("http", "ws", 1);
        let mut request = url.into_client_request().expect("valid");
        let headers = request.headers_mut();
        headers.insert("cookie", format!("burrow={cookie}").parse().expect("valid"));
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().expect("valid"));
        }
        in_time(Box::pin(tokio_tungstenite::connect_async(request))).await.map(|(socket, _)| socket)
    }

    pub fn grant_requests(&self) -> usize {
        *self.controller.grant_requests.lock().expect("not poisoned")
    }
}

/// Waits for a future that must complete soon.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, future).await.expect("no timeout")
}

/// Returns the status with which a WebSocket was refused.
pub fn refused_status(opened: Result<Socket, Error>) -> u16 {
    match opened {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

pub async fn problem(response: reqwest::Response) -> Problem {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let status = response.status().as_u16();
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    let problem: Problem =
        serde_json::from_slice(&response.bytes().await.expect("complete")).expect("a problem");
    assert_eq!(problem.status, status);
    assert_eq!(problem.request_id, id);
    problem
}

fn serve_controller(socket: &std::path::Path, controller: Arc<FakeController>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("bound");
    let app = Router::new()
        .route(
            "/internal/grant-key",
            get(|State(controller): State<Arc<FakeController>>| async move {
                Json(controller.key.lock().expect("not poisoned").verifying_key().to_hex())
            }),
        )
        .route("/internal/grants", post(grant))
        .route("/internal/sessions/check", post(check_sessions))
        .route("/api/v1/events", get(stream))
        .route("/api/v1/classes/x/roster", post(|body: Bytes| async move { body.len().to_string() }))
        .fallback(any(echo))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(controller);
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") })
}

async fn grant(State(controller): State<Arc<FakeController>>, Json(asked): Json<GrantRequest>) -> Response {
    *controller.grant_requests.lock().expect("not poisoned") += 1;
    let (session, access) = match asked.credential.expose().as_str() {
        "anna" => (controller.anna, Access::Write),
        "ben" => (controller.ben, Access::Read),
        _ => return refuse(Code::Unauthenticated, "No such session."),
    };
    if asked.workspace != controller.workspace {
        return refuse(Code::NotFound, "There is no such workspace.");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let grant = Grant {
        user: UserId::random(),
        session,
        workspace: asked.workspace,
        epoch: Epoch(3),
        access,
        preview_port: None,
        expires_at: now.cast_signed() + 30,
    };
    let forger = controller.forger.lock().expect("not poisoned");
    let signed = match &*forger {
        Some(forger) => forger.sign(&grant),
        None => controller.key.lock().expect("not poisoned").sign(&grant),
    };
    Json(GrantReply {
        grant: signed.into(),
        session,
        user: grant.user,
        access,
        epoch: grant.epoch,
        front: controller.front.to_str().expect("text").to_owned(),
    })
    .into_response()
}

async fn check_sessions(
    State(controller): State<Arc<FakeController>>,
    Json(asked): Json<SessionsCheck>,
) -> Json<SessionsVerdict> {
    let revoked = controller.revoked.lock().expect("not poisoned");
    let revoked = asked.streams.into_iter().filter(|stream| revoked.contains(&stream.session)).collect();
    Json(SessionsVerdict { revoked })
}

async fn stream(State(controller): State<Arc<FakeController>>) -> Response {
    let feed = controller.events.lock().expect("not poisoned").take().expect("one subscriber");
    let pieces = futures_util::stream::unfold(feed, |mut feed| async {
        feed.recv().await.map(|text| (Ok::<_, std::io::Error>(text), feed))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}

/// Answers with the request's path and headers as JSON.
async fn echo(request: Request) -> Response {
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let value = serde_json::json!({ "path": request.uri().to_string(), "headers": headers });
    ([("x-burrow-inner", "1"), ("set-cookie", "burrow=new")], Json(value)).into_response()
}

pub fn refuse(code: Code, detail: &str) -> Response {
    transport::problem::response(Problem::new(code, detail))
}

fn serve_front(listener: UnixListener, front: Arc<FakeFront>, links: Arc<Mutex<Vec<JoinHandle<()>>>>) {
    let app = Router::new()
        .route("/v1/terminals/{id}/attach", any(echo_socket))
        .route("/v1/exec", any(exec))
        .route("/v1/documents", any(flood))
        .route(
            "/v1/files",
            get(|| async { ([("set-cookie", "burrow=evil")], axum::response::Html("<script>")) }),
        )
        .route("/v1/files/content", any(content))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(front.clone(), record))
        .with_state(front);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let app = TowerToHyperService::new(app.clone());
            let link = tokio::spawn(async move {
                drop(serve_link(stream, app, KeepAlive::AnswerOnly).await);
            });
            links.lock().expect("not poisoned").push(link);
        }
    });
}

async fn record(
    State(front): State<Arc<FakeFront>>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let _ = front.seen.send(FrontRequest { path, headers: request.headers().clone() });
    next.run(request).await
}

/// Echoes every message.
async fn echo_socket(State(front): State<Arc<FakeFront>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
        let _ = front.ended.send("echo".to_owned());
    })
}

/// Floods if the query asks for it; otherwise refuses.
async fn exec(state: State<Arc<FakeFront>>, uri: axum::http::Uri, upgrade: WebSocketUpgrade) -> Response {
    if uri.query() == Some("flood") {
        flood(state, upgrade).await
    } else {
        refuse(Code::Conflict, "Not now.")
    }
}

/// Sends until the other side is gone.
async fn flood(State(front): State<Arc<FakeFront>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        let piece = Bytes::from(vec![7; 64 * 1024]);
        while socket.send(axum::extract::ws::Message::Binary(piece.clone())).await.is_ok() {}
        let _ = front.ended.send("flood".to_owned());
    })
}

/// Accepts an upload, or sends an endless file.
async fn content(request: Request) -> Response {
    if request.method() == axum::http::Method::PUT {
        return match axum::body::to_bytes(request.into_body(), usize::MAX).await {
            Ok(body) => Json(body.len()).into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        };
    }
    let pieces =
        futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![1; 16 * 1024])));
    Body::from_stream(pieces).into_response()
}
