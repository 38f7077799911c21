//! A controller for each test, clients that use its socket as the gateway does, and runners that
//! are real processes whose reports the test sends.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use protocol::{
    Epoch, ManifestId, Redacted, TenantId, WorkspaceId,
    api::{
        auth::Session,
        budget::BudgetResource,
        snapshot::{Consistency, Snapshot, SnapshotKind, SnapshotList},
        workspace::Workspace,
    },
    runner::{
        AcknowledgedState, Command, DesiredRunnerState, REPORT_PATH, Report, ReportReply, ReportRequest,
        RunnerSpec, RuntimeKind,
    },
    workspace::Phase,
};
use reader::ReaderCommand;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Controller, EngineConfig, KmsConfig,
    core::App,
    identity::sessions::SignIn,
    snapshots::browser::{Source, tests::Memory},
};

/// Far more than anything takes; a test that waits so long has failed.
pub const SOON: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub struct World {
    pub config: Config,
    pub directory: tempfile::TempDir,
    /// The files of snapshots, for browsing.
    pub files: Arc<Memory>,
    shutdown: CancellationToken,
    controller: Option<Controller>,
}

impl World {
    pub async fn new() -> Self {
        let url = super::postgres::database().await;
        Box::pin(Self::on(url, "host-a", None)).await
    }

    /// A second controller on another's database, with the same master key.
    pub async fn on_with_key(other: &Self, host: &str) -> Self {
        Box::pin(Self::on(other.config.database_url.clone(), host, Some(&other.config.master_key))).await
    }

    /// A controller with its own directory on a given database.
    async fn on(database_url: Redacted<String>, host: &str, key: Option<&KmsConfig>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let specs = path.join("specs");
        std::fs::create_dir(&specs).expect("made");
        let config = Config {
            database_url,
            host: host.to_owned(),
            master_key: key.cloned().unwrap_or_else(|| KmsConfig::File(path.join("master.key"))),
            store: format!("file://{}", path.join("objects").display()),
            run_dir: path.join("run"),
            gateway_group: None,
            preview: Some(protocol::ports::PreviewHost {
                scheme: "http".to_owned(),
                name: "localhost".to_owned(),
                port: 8080,
            }),
            cache_dir: path.join("cache"),
            max_cache_bytes: u64::MAX,
            disk: crate::DiskConfig::default(),
            engine: EngineConfig {
                // A process that stores its specification and runs until its input ends: the
                // lifeline and nothing more.
                runner: "/bin/sh".into(),
                runner_arguments: vec![
                    "-c".into(),
                    r#"exec cat > "$0/$$.json""#.into(),
                    specs.into_os_string(),
                ],
                runtime: RuntimeKind::Fake,
                tiers: vec![protocol::workspace::Tier::Microvm],
                runsc: None,
                images: [("base".to_owned(), path.join("images/base"))].into(),
                initramfs: PathBuf::new(),
                use_prototypes: true,
                agent: PathBuf::new(),
                max_sandboxes: 50,
                max_memory_mib: 1 << 20,
                overhead_mib: 0,
                max_starting: 50,
                network_bounds: protocol::network::NetworkBounds::default(),
                disk_limits: protocol::runner::DiskLimits::default(),
            },
            reader: ReaderCommand { program: PathBuf::new(), args: vec![] },
            history: crate::HistoryConfig::default(),
            limits: limits(),
        };
        let files = Arc::new(Memory::default());
        let mut world =
            Self { config, directory, files, shutdown: CancellationToken::new(), controller: None };
        world.start().await;
        world
    }

    pub async fn start(&mut self) {
        self.shutdown = CancellationToken::new();
        let source = Some(Source::Memory(self.files.clone()));
        let started = Controller::start_with(self.config.clone(), source, self.shutdown.clone());
        let started = Box::pin(started).await;
        self.controller = Some(started.expect("starts"));
        self.serve_runners();
    }

    /// The processes that stand for runners make no requests. The tests make them, at this socket.
    pub fn runner_socket(&self) -> PathBuf {
        self.config.run_dir.join("runners.sock")
    }

    fn serve_runners(&self) {
        let _ = std::fs::remove_file(self.runner_socket());
        let listener = tokio::net::UnixListener::bind(self.runner_socket()).expect("bound");
        let router = crate::api::runner_router(self.app(), TenantId::random(), WorkspaceId::random());
        let shutdown = self.shutdown.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        tokio::spawn(std::future::IntoFuture::into_future(serving));
    }

    /// Ends the controller in order.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(controller) = self.controller.take() {
            assert_eq!(controller.join().await, crate::ShutdownOutcome::Clean);
        }
    }

    pub fn controller(&self) -> &Controller {
        self.controller.as_ref().expect("started")
    }

    pub fn app(&self) -> App {
        self.controller().app.clone()
    }

    pub fn anonymous(&self) -> Client {
        Client { socket: self.config.gateway_socket(), headers: vec![] }
    }

    /// The owner, by a fresh link.
    pub async fn owner(&self) -> Client {
        let link = self.controller().first_sign_in_link().await.expect("a link");
        let token = link.expose().strip_prefix("/welcome#").expect("its form").to_owned();
        let answer = self.anonymous().post("/api/v1/auth/link", &json!({ "token": token })).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        self.anonymous().with_cookie(&answer)
    }

    /// Someone else of the owner's tenant.
    pub async fn member(&self, owner: &Client, role: &str) -> Client {
        let tenant = owner.session().await.user.tenant.0;
        let user = uuid::Uuid::now_v7();
        let app = self.app();
        let mut system = app.db.system().await.expect("a transaction");
        sqlx::query(
            "insert into users (tenant_id, user_id, email, name, role, active) values ($1, $2, $3,
                'Member', $4, true)",
        )
        .bind(tenant)
        .bind(user)
        .bind(format!("{user}@members.example"))
        .bind(role)
        .execute(system.connection())
        .await
        .expect("made");
        let begun = crate::identity::sessions::create(
            system.connection(),
            app.now(),
            (tenant, user),
            SignIn::Password,
        )
        .await;
        system.commit().await.expect("committed");
        self.anonymous().with("cookie", &format!("burrow={}", begun.expect("created").expose()))
    }

    /// The owner of a tenant of their own.
    pub async fn stranger(&self) -> Client {
        let app = self.app();
        let mut system = app.db.system().await.expect("a transaction");
        let email = format!("{}@elsewhere.example", uuid::Uuid::now_v7());
        let (tenant, user) =
            crate::tenants::create(system.connection(), &app.kms, "Elsewhere", (&email, "Stranger"))
                .await
                .expect("created");
        let now = app.now();
        let secret =
            crate::identity::sessions::create(system.connection(), now, (tenant.0, user.0), SignIn::Password)
                .await;
        system.commit().await.expect("committed");
        self.anonymous().with("cookie", &format!("burrow={}", secret.expect("created").expose()))
    }

    /// The process that was started for this placement, by its specification.
    pub async fn runner(&self, workspace: WorkspaceId, epoch: u64) -> Runner {
        let directory = self.directory.path().join("specs");
        let find = || {
            std::fs::read_dir(&directory).expect("listed").find_map(|entry| {
                let path = entry.expect("read").path();
                let spec: RunnerSpec = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
                let pid = path.file_stem()?.to_str()?.parse().ok()?;
                (spec.workspace == workspace && spec.epoch == Epoch(epoch)).then_some((spec, pid))
            })
        };
        let (spec, pid) = eventually("a runner is started", async || find()).await;
        Runner { spec, pid, socket: self.runner_socket() }
    }
}

impl World {
    /// Those of the workspaces for which a process was started here.
    pub fn specs(&self, ids: &[WorkspaceId]) -> Vec<WorkspaceId> {
        let entries = std::fs::read_dir(self.directory.path().join("specs")).expect("listed");
        let specs: Vec<RunnerSpec> = entries
            .filter_map(|entry| serde_json::from_slice(&std::fs::read(entry.ok()?.path()).ok()?).ok())
            .collect();
        ids.iter().copied().filter(|id| specs.iter().any(|spec| spec.workspace == *id)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The default limits, except that one owner may run many.
fn limits() -> crate::Limits {
    let mut limits = crate::Limits::default();
    for resource in [BudgetResource::Running, BudgetResource::Scratch] {
        limits.teacher.set(resource, None);
    }
    limits
}

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    timeout(SOON, asking).await.unwrap_or_else(|_| panic!("in {SOON:?} never: {what}"))
}

#[derive(Clone)]
pub struct Client {
    pub socket: PathBuf,
    pub headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn ok<T: serde::de::DeserializeOwned>(self) -> T {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        serde_json::from_value(self.body).expect("the answer's form")
    }
}

impl Client {
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    #[must_use]
    pub fn with_cookie(&self, answer: &Answer) -> Self {
        let set = answer.headers["set-cookie"].to_str().expect("text");
        self.with("cookie", set.split(';').next().expect("a pair"))
    }

    /// The same person on another controller.
    #[must_use]
    pub fn with_headers_of(&self, other: &Self) -> Self {
        Self { socket: self.socket.clone(), headers: other.headers.clone() }
    }

    /// The session cookie's value.
    pub fn credential(&self) -> &str {
        let cookie = self.headers.iter().find(|(name, _)| name == "cookie").expect("signed in");
        cookie.1.split_once('=').expect("a pair").1
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(("application/json", body.to_string().into_bytes()))).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(("application/json", body.to_string().into_bytes()))).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, Some(("application/json", body.to_string().into_bytes()))).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Answer {
        let response = self.open(method, path, body).await;
        let (parts, body) = response.into_parts();
        let bytes = timeout(SOON, body.collect()).await.expect("in time").expect("read").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> hyper::Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.expect("connects");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        tokio::spawn(connection);
        let name = method.to_string();
        let mut request = Request::builder().method(method).uri(path).header("host", "controller");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (kind, bytes) = body.unwrap_or(("application/json", vec![]));
        let request =
            request.header("content-type", kind).body(Full::new(Bytes::from(bytes))).expect("a request");
        let response = timeout(SOON, sender.send_request(request)).await.expect("in time").expect("answered");
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        super::openapi::assert_declared(&name, path, response.status().as_u16(), content_type);
        response
    }

    /// Sends the head of a request, whose body the server must ask for. Returns the connection.
    pub async fn send_head(&self, method: Method, path: &str, body_bytes: usize) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).await.expect("connects");
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers: String = headers.collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: controller\r\nexpect: 100-continue\r\n\
             content-length: {body_bytes}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream
    }

    pub async fn events(&self, path: &str) -> Events {
        let response = self.open(Method::GET, path, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), text: String::new() }
    }

    pub async fn session(&self) -> Session {
        self.get("/api/v1/auth/session").await.ok()
    }

    pub async fn create(&self, name: &str) -> Workspace {
        self.post("/api/v1/workspaces", &json!({ "name": name })).await.ok()
    }

    pub async fn workspace(&self, id: WorkspaceId) -> Workspace {
        self.get(&format!("/api/v1/workspaces/{id}")).await.ok()
    }

    /// Newest first.
    pub async fn snapshots(&self, id: WorkspaceId) -> Vec<Snapshot> {
        self.get(&format!("/api/v1/workspaces/{id}/snapshots?limit=1000"))
            .await
            .ok::<SnapshotList>()
            .snapshots
    }

    /// A workspace that runs, with its runner.
    pub async fn running(&self, world: &World, name: &str) -> (WorkspaceId, Runner) {
        let id = self.create(name).await.id;
        let runner = world.runner(id, 1).await;
        runner.ready().await;
        (id, runner)
    }

    /// Stops a workspace whose runner then saves this content.
    pub async fn rest(&self, id: WorkspaceId, runner: &Runner, content: u8) {
        assert_eq!(self.act(id, "stop").await.status, 200);
        runner.persist(content).await;
        self.reaches(id, Phase::Terminated).await;
    }

    pub async fn act(&self, id: WorkspaceId, action: &str) -> Answer {
        self.post(&format!("/api/v1/workspaces/{id}/{action}"), &json!({})).await
    }

    pub async fn reaches(&self, id: WorkspaceId, phase: Phase) -> Workspace {
        eventually(&format!("{phase}"), async || {
            Some(self.workspace(id).await).filter(|workspace| workspace.phase == phase)
        })
        .await
    }
}

pub struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// Name and data of the next event; nothing at the stream's end.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                let (name, data) = (field("event:"), field("data:"));
                self.text = rest.to_owned();
                if name.is_empty() {
                    continue;
                }
                return Some((name, serde_json::from_str(&data).expect("JSON")));
            }
            let frame = timeout(SOON, self.body.frame()).await.expect("in time")?.expect("read");
            let data = frame.into_data().unwrap_or_default();
            // Comments keep the line alive and say nothing.
            self.text.push_str(std::str::from_utf8(&data).expect("UTF-8"));
        }
    }

    /// The next event that fits.
    pub async fn until(&mut self, fits: impl Fn(&str, &Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = timeout(SOON, async {
            loop {
                let (name, data) = self.next().await.expect("the stream goes on");
                if fits(&name, &data) {
                    return data;
                }
                last = data;
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("no such event; the last was {last}"))
    }
}

/// A runner's process, whose words the test speaks.
#[derive(Clone)]
pub struct Runner {
    pub spec: RunnerSpec,
    pub pid: i32,
    socket: PathBuf,
}

impl Runner {
    pub async fn report(&self, reports: Vec<Report>) -> Result<ReportReply, Answer> {
        self.exchange(reports, Command::Run, 0).await
    }

    pub async fn exchange(
        &self,
        reports: Vec<Report>,
        acting_on: Command,
        wait_ms: u64,
    ) -> Result<ReportReply, Answer> {
        let (workspace, epoch) = (self.spec.workspace, self.spec.epoch);
        let request = ReportRequest {
            workspace,
            epoch,
            reports,
            acknowledged: AcknowledgedState {
                command: acting_on,
                snapshot: u64::MAX,
                repair: u64::MAX,
                home_mib: 0,
                network_revision: u64::MAX,
            },
            wait_ms,
            ran_ms: 0,
        };
        self.send(request).await
    }

    /// One exchange, as it is given.
    pub async fn send(&self, request: ReportRequest) -> Result<ReportReply, Answer> {
        let client = Client { socket: self.socket.clone(), headers: vec![] }
            .with("authorization", &format!("Bearer {}", self.spec.token.expose()));
        let body = serde_json::to_value(&request).expect("plain data");
        let answer = client.post(REPORT_PATH, &body).await;
        if answer.status == 200 { Ok(answer.ok()) } else { Err(answer) }
    }

    /// Asks, as a runner that has answered and grown so far, until there is news or it has waited
    /// long enough.
    pub async fn poll(&self, snapshot: u64, home_mib: u32, wait_ms: u64) -> DesiredRunnerState {
        let (workspace, epoch) = (self.spec.workspace, self.spec.epoch);
        let request = ReportRequest {
            workspace,
            epoch,
            reports: vec![],
            acknowledged: AcknowledgedState {
                command: Command::Run,
                snapshot,
                repair: 0,
                home_mib,
                network_revision: u64::MAX,
            },
            wait_ms,
            ran_ms: 0,
        };
        self.send(request).await.expect("accepted").desired
    }

    pub async fn ready(&self) {
        self.report(vec![Report::Ready { accelerator: "none".to_owned() }]).await.expect("accepted");
    }

    /// Waits for another command than `acting_on`.
    pub async fn command(&self, acting_on: Command) -> Command {
        eventually("another command", async || {
            let reply = self.exchange(vec![], acting_on, 5000).await.expect("accepted");
            Some(reply.desired.command).filter(|command| *command != acting_on)
        })
        .await
    }

    /// Goes the way of a stop, with a snapshot of this content.
    pub async fn persist(&self, content: u8) {
        let reply = self.report(vec![snapshot(content), Report::Stopped]).await.expect("accepted");
        assert_eq!(reply.committed, [ManifestId([content; 32])]);
    }

    pub fn alive(&self) -> bool {
        std::path::Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    pub fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }
}

/// Of a stop.
pub fn snapshot(content: u8) -> Report {
    taken(content, SnapshotKind::Stop, 0)
}

/// A snapshot that was taken automatically while the workspace ran.
pub fn stream(content: u8) -> Report {
    taken(content, SnapshotKind::Stream, 0)
}

/// For a request.
pub fn answer(content: u8, answers: u64) -> Report {
    taken(content, SnapshotKind::Requested, answers)
}

fn taken(content: u8, kind: SnapshotKind, answers: u64) -> Report {
    Report::Snapshot {
        kind,
        consistency: if kind == SnapshotKind::Stream { Consistency::Crash } else { Consistency::Clean },
        answers,
        cut_at: time::OffsetDateTime::now_utc(),
        manifest: ManifestId([content; 32]),
        changed_bytes: 4096,
        uploaded_bytes: 1024,
        objects: 1,
        stored_bytes: 2048,
    }
}

/// A random test's seed, which `BURROW_SEED` replays.
pub fn seed() -> u64 {
    let seed = std::env::var("BURROW_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    eprintln!("BURROW_SEED={seed}");
    seed
}

/// How many times the short share is done: `cargo xtask soak` says more.
pub fn soak_factor() -> usize {
    std::env::var("BURROW_SOAK_FACTOR").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
