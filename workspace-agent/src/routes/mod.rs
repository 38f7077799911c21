//! The agent's HTTP routes: they parse requests, call the parts of [`AgentState`], and build
//! responses.
//!
//! [`relayed_routes`] lists the routes that clients reach through the gateway; [`openapi`]
//! describes them. [`runner`] has those that only the runner calls, [`restores`] those that only the
//! controller calls, [`ports`] also the one of previews, which no client reaches by its path.

mod documents;
mod event_stream;
mod exec;
mod file_content;
mod files;
mod git;
mod languages;
pub mod openapi;
mod ports;
mod restores;
mod runner;
mod stats;
mod terminals;

use std::sync::Arc;

use axum::{
    Router,
    body::to_bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, any, delete, get, head, post, put},
};
use protocol::{
    Code,
    agent::{ACCESS_HEADER, BOOTSTRAP, CLOCK, FREEZE, GROW, HEALTH, MAX_JSON_BYTES, NOTICE, THAW},
    git::MAX_RUN_BYTES,
    problem::REQUEST_ID_HEADER,
    restore::MAX_COMPARE_BYTES,
    search::MAX_EDIT_BYTES,
};

use crate::{error::ApiError, state::AgentState};

/// Most bytes of an error message from a library.
const MAX_ERROR_BYTES: usize = 4 * 1024;

/// A route: its method in the API description, its path, and its handler.
type Route = (&'static str, &'static str, MethodRouter<Arc<AgentState>>);

/// Routes that clients reach through the gateway. WebSocket routes accept any method: `GET` over
/// HTTP/1.1 and `CONNECT` over HTTP/2.
fn relayed_routes() -> Vec<Route> {
    vec![
        ("GET", "/v1/terminals", get(terminals::list_terminals)),
        ("POST", "/v1/terminals", post(terminals::create_terminal)),
        ("GET", "/v1/terminals/{terminal}", get(terminals::get_terminal)),
        ("DELETE", "/v1/terminals/{terminal}", delete(terminals::delete_terminal)),
        ("POST", "/v1/terminals/{terminal}/rename", post(terminals::rename_terminal)),
        ("POST", "/v1/terminals/{terminal}/clear", post(terminals::clear_terminal)),
        ("GET", "/v1/terminals/{terminal}/attach", any(terminals::attach_terminal)),
        ("GET", "/v1/exec", any(exec::exec_program)),
        ("GET", "/v1/documents", any(documents::open_document)),
        ("POST", "/v1/documents/overwrite", post(documents::overwrite_document)),
        (
            "POST",
            "/v1/documents/edit",
            post(documents::edit_document).layer(DefaultBodyLimit::max(MAX_EDIT_BYTES as usize)),
        ),
        ("GET", "/v1/stats", get(stats::get_workspace_stats)),
        ("GET", "/v1/ports", get(ports::list_ports)),
        ("GET", "/v1/ports/watch", any(ports::watch_ports)),
        ("GET", "/v1/ports/{port}/connect", any(ports::connect_port)),
    ]
}

/// Relayed routes that are refused until the home is mounted.
fn relayed_file_routes() -> Vec<Route> {
    vec![
        ("GET", "/v1/files", get(files::list_directory)),
        ("DELETE", "/v1/files", delete(files::delete_file)),
        ("GET", "/v1/files/find", get(files::find_files)),
        ("GET", "/v1/files/search", get(files::search_files)),
        ("GET", "/v1/files/content", get(file_content::read_file)),
        ("HEAD", "/v1/files/content", head(file_content::get_file_headers)),
        ("PUT", "/v1/files/content", put(file_content::write_file)),
        ("POST", "/v1/files/directory", post(files::create_directory)),
        ("POST", "/v1/files/rename", post(files::rename_file)),
        ("POST", "/v1/files/copy", post(files::copy_file)),
        ("GET", "/v1/files/watch", any(files::watch_files)),
        ("GET", "/v1/git/repositories", get(git::list_repositories)),
        ("GET", "/v1/git/status", get(git::get_git_status)),
        ("GET", "/v1/git/references", get(git::list_references)),
        ("GET", "/v1/git/log", get(git::list_commits)),
        ("GET", "/v1/git/diff", get(git::compare_file)),
        ("GET", "/v1/git/content", get(git::get_committed_file)),
        ("GET", "/v1/git/blame", get(git::blame_line)),
        ("GET", "/v1/git/watch", any(git::watch_repository)),
        ("POST", "/v1/git/run", post(git::run_git).layer(DefaultBodyLimit::max(MAX_RUN_BYTES as usize))),
        ("POST", "/v1/git/answer", post(git::answer_prompt)),
        ("GET", "/v1/languages/watch", any(languages::watch_languages)),
        ("POST", "/v1/languages/query", post(languages::query_language)),
        ("POST", "/v1/languages/rename", post(languages::rename_symbol)),
        ("POST", "/v1/languages/apply", post(languages::apply_code_action)),
        ("POST", "/v1/languages/undo", post(languages::undo_language_edits)),
        ("POST", "/v1/languages/restart", post(languages::restart_language)),
    ]
}

/// Routes that only the controller calls, through the front. They are refused until the home is
/// mounted.
fn controller_routes() -> Router<Arc<AgentState>> {
    Router::new()
        .route("/v1/restores/compare", post(restores::compare_entries))
        .route("/v1/restores/{id}", post(restores::begin_restore))
        .route("/v1/restores/{id}/entries", post(restores::write_entries))
        .route("/v1/restores/{id}/finish", post(restores::finish_restore))
        .route("/v1/restores/{id}/undo", post(restores::undo_restore))
        .layer(DefaultBodyLimit::max(MAX_COMPARE_BYTES as usize))
}

/// All routes of the agent.
pub fn router(state: Arc<AgentState>) -> Router {
    let files = collect_routes(relayed_file_routes()).merge(controller_routes());
    let files = files.layer(from_fn_with_state(state.clone(), require_ready));
    let files = files.layer(from_fn_with_state(state.clone(), record_use));
    collect_routes(relayed_routes())
        .layer(from_fn_with_state(state.clone(), record_use))
        .route("/v1/ports/{port}/stream", any(ports::stream_port))
        .route(BOOTSTRAP, post(runner::bootstrap))
        .route(FREEZE, post(runner::freeze))
        .route(THAW, post(runner::thaw))
        .route(GROW, post(runner::grow))
        .route(CLOCK, post(runner::correct_clock))
        .route(NOTICE, post(runner::show_notice))
        .route(HEALTH, get(runner::health))
        .merge(files)
        .fallback(async || ApiError::new(Code::NotFound, "The agent has no such route."))
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES as usize))
        .layer(from_fn(complete_problem))
        .with_state(state)
}

fn collect_routes(routes: Vec<Route>) -> Router<Arc<AgentState>> {
    routes.into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
}

/// Whether the viewer may write. The answer only decides what to show: a read-only viewer's writes
/// never reach the agent.
fn may_write(headers: &HeaderMap) -> bool {
    headers.get(ACCESS_HEADER).is_none_or(|access| access != "read")
}

/// Records a use for requests that change something or read a file. An open page sends the others by
/// itself.
async fn record_use(State(state): State<Arc<AgentState>>, request: Request, next: Next) -> Response {
    let reads_content = request.uri().path() == "/v1/files/content";
    let is_change = [Method::POST, Method::PUT, Method::DELETE].contains(request.method());
    if reads_content || is_change {
        let _use = state.activity.begin();
        return next.run(request).await;
    }
    next.run(request).await
}

async fn require_ready(State(state): State<Arc<AgentState>>, request: Request, next: Next) -> Response {
    match state.require_ready() {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Turns every error into a problem with the request's id, including errors that axum reports as
/// plain text.
async fn complete_problem(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok());
    let id = id.unwrap_or_default().to_owned();
    transport::problem::add_request_id(text_to_problem(next.run(request).await).await, &id)
}

async fn text_to_problem(response: Response) -> Response {
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
    let text = to_bytes(response.into_body(), MAX_ERROR_BYTES).await.unwrap_or_default();
    ApiError::new(code, String::from_utf8_lossy(&text)).into_response()
}
