//! The agent's routes and what they share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{any, delete, get, post},
};
use protocol::{
    Code,
    agent::{
        ACCESS_HEADER, BOOTSTRAP, BootstrapRequest, FREEZE, GROW, GrowRequest, HEALTH, Health,
        MAX_JSON_BYTES, THAW,
    },
    problem::REQUEST_ID_HEADER,
};

use crate::{
    documents::{self, Documents},
    exec,
    files::{self, home::Home},
    machine::Machine,
    person::Person,
    problem::{Answer, Refusal},
    stats,
    terminals::{self, Terminals},
};

/// A file system that does not take the last edits in this time is frozen without them: they are still in the editors.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What an error's sentence may take where a library worded it.
const MAX_SENTENCE_BYTES: usize = 4 * 1024;

pub struct App {
    pub(crate) person: Person,
    pub(crate) home: Home,
    pub(crate) terminals: Terminals,
    pub(crate) documents: Documents,
    /// None on a host.
    machine: Option<Arc<Machine>>,
    ready: AtomicBool,
    /// Held by whoever changes the machine.
    changing: tokio::sync::Mutex<()>,
}

impl App {
    /// The agent of a machine, which becomes ready by being told its bootstrap.
    pub fn in_machine(person: Person, machine: Machine) -> Self {
        Self::new(person, Some(Arc::new(machine)))
    }

    /// The agent of a directory on this host.
    pub fn on_host(person: Person) -> std::io::Result<Self> {
        let app = Self::new(person, None);
        app.home.open_root()?;
        app.ready.store(true, Ordering::Release);
        Ok(app)
    }

    fn new(person: Person, machine: Option<Arc<Machine>>) -> Self {
        let home = Home::new(person.home.clone(), person.launcher);
        Self {
            documents: Documents::new(home.clone()),
            home,
            person,
            terminals: Terminals::default(),
            machine,
            ready: AtomicBool::new(false),
            changing: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn require_ready(&self) -> Answer<()> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Refusal::new(Code::Unavailable, "The machine is still starting; try again in a moment."))
    }

    fn health(&self) -> Health {
        let (home_used_bytes, home_size_bytes) = self.home.space().unwrap_or_default();
        Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.ready.load(Ordering::Acquire),
            home_used_bytes,
            home_size_bytes,
        }
    }

    /// Runs work on the machine, one at a time, away from the tasks.
    async fn change(&self, work: impl FnOnce(&Machine) -> anyhow::Result<()> + Send + 'static) -> Answer<()> {
        let Some(machine) = self.machine.clone() else { return Ok(()) };
        let _alone = self.changing.lock().await;
        let done = tokio::task::spawn_blocking(move || work(&machine)).await;
        done.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
            .map_err(|error| Refusal::new(Code::Internal, format!("{error:#}.")))
    }
}

/// Whether the runner lets this viewer write. Only for what to show: writes of others never come here.
pub(crate) fn may_write(headers: &HeaderMap) -> bool {
    headers.get(ACCESS_HEADER).is_none_or(|access| access != "read")
}

/// All routes of the agent.
pub fn router(app: Arc<App>) -> Router {
    let homes = Router::new()
        .route("/v1/files", get(files::list).delete(files::delete))
        .route("/v1/files/content", get(files::get).head(files::head).put(files::put))
        .route("/v1/files/directory", post(files::create_directory))
        .route("/v1/files/rename", post(files::rename))
        .route("/v1/files/watch", any(files::watch))
        .layer(from_fn({
            let app = app.clone();
            move |request, next: Next| {
                let ready = app.require_ready();
                async move {
                    if let Err(refusal) = ready { refusal.into_response() } else { next.run(request).await }
                }
            }
        }));
    Router::new()
        .route(BOOTSTRAP, post(bootstrap))
        .route(FREEZE, post(freeze))
        .route(THAW, post(thaw))
        .route(GROW, post(grow))
        .route(HEALTH, get(health))
        .route("/v1/terminals", get(terminals::list).post(terminals::create))
        .route("/v1/terminals/{id}", get(terminals::show).merge(delete(terminals::delete)))
        .route("/v1/terminals/{id}/attach", any(terminals::attach))
        .route("/v1/exec", any(exec::open))
        .route("/v1/documents", any(documents::open))
        .route("/v1/stats", get(stats::show))
        .merge(homes)
        .fallback(async || Refusal::new(Code::NotFound, "The agent has no such route."))
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES as usize))
        .layer(from_fn(refuse_in_one_form))
        .with_state(app)
}

async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    Json(app.health())
}

/// May come twice: the second finds all done.
async fn bootstrap(
    State(app): State<Arc<App>>,
    Json(request): Json<BootstrapRequest>,
) -> Answer<Json<Health>> {
    app.change(move |machine| machine.bootstrap(&request)).await?;
    app.home.open_root()?;
    app.ready.store(true, Ordering::Release);
    Ok(Json(app.health()))
}

/// Puts all edits on disk and holds the home still, so that a snapshot of it is a file system that was put away in order.
async fn freeze(State(app): State<Arc<App>>) -> Answer<StatusCode> {
    if tokio::time::timeout(FLUSH_TIMEOUT, app.documents.flush_all()).await.is_err() {
        tracing::warn!("edits were not saved within the deadline");
    }
    app.change(Machine::freeze).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn thaw(State(app): State<Arc<App>>) -> Answer<StatusCode> {
    app.change(Machine::thaw).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A home that has the size already stays as it is.
async fn grow(State(app): State<Arc<App>>, Json(request): Json<GrowRequest>) -> Answer<StatusCode> {
    app.change(move |_| Machine::grow(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every refusal is a problem with the request's id, whoever worded it.
async fn refuse_in_one_form(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok());
    let id = id.unwrap_or_default().to_owned();
    transport::problem::add_request_id(as_problem(next.run(request).await).await, &id)
}

/// What the library words becomes a problem.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !is_text {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::RANGE_NOT_SATISFIABLE => return response,
        status if status.is_server_error() => Code::Internal,
        _ => Code::BadRequest,
    };
    let text = to_bytes(response.into_body(), MAX_SENTENCE_BYTES).await.unwrap_or_default();
    Refusal::new(code, String::from_utf8_lossy(&text)).into_response()
}
