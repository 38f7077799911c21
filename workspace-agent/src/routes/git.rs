//! Git repositories of the home.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, WebSocketUpgrade},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{
    Code,
    files::HomePath,
    git::{
        BlameQuery, BlamedLine, DiffQuery, FileDiff, GitContentQuery, GitEvent, GitOperation, GitPath,
        GitStatus, History, HistoryQuery, PromptAnswer, References, Repositories, RepositoryQuery, RunGit,
    },
};
use tokio::sync::mpsc;

use super::event_stream::event_stream;
use crate::{
    error::{ApiError, ApiResult},
    git::{ReadError, WorkingTree, watch::WatchSession},
    socket,
    state::AgentState,
};

/// Most events that wait for the client.
const MAX_QUEUED_EVENTS: usize = 64;

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::NoRepository | ReadError::NoSuchFile => Code::NotFound,
            ReadError::TooLarge => Code::TooLarge,
            ReadError::BadVersion => Code::Invalid,
            ReadError::Git(_) => Code::Unavailable,
            ReadError::Failed(_) => Code::Conflict,
            ReadError::Io(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

async fn open(state: &AgentState, repository: &str) -> ApiResult<WorkingTree> {
    Ok(state.git.open(HomePath::parse(repository)?).await?)
}

/// List Git repositories
///
/// Finds the working trees of the home, also those of submodules and further worktrees, up to 100. Looks
/// into at most 20,000 directories, six levels deep, without hidden ones.
#[utoipa::path(
    get,
    path = "/git/repositories",
    tag = "git",
    responses(
        (status = 200, description = "The repositories.", body = Repositories),
        (status = 404, description = "`not_found`: no such workspace."),
    ),
)]
pub async fn list_repositories(State(state): State<Arc<AgentState>>) -> ApiResult<Json<Repositories>> {
    Ok(Json(state.git.find_repositories().await?))
}

/// Get the Git status
///
/// Returns the branch, what has begun and waits (such as a merge), and up to 10,000 files that differ between
/// the last commit, the index and the working tree. Takes no lock in the repository.
#[utoipa::path(
    get,
    path = "/git/status",
    tag = "git",
    params(RepositoryQuery),
    responses(
        (status = 200, description = "The status.", body = GitStatus),
        (status = 404, description = "`not_found`: no such repository or workspace."),
        (status = 409, description = "`conflict`: Git has failed; the problem has its message."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
        (status = 503, description = "`unavailable`: Git is not installed, or took too long."),
    ),
)]
pub async fn get_git_status(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<RepositoryQuery>,
) -> ApiResult<Json<GitStatus>> {
    let tree = open(&state, &query.repository).await?;
    Ok(Json(state.git.status(&tree).await?))
}

/// List branches and tags
///
/// Returns branches, branches of remotes, tags, remotes and stashes of a repository.
#[utoipa::path(
    get,
    path = "/git/references",
    tag = "git",
    params(RepositoryQuery),
    responses(
        (status = 200, description = "Branches, tags, remotes and stashes.", body = References),
        (status = 404, description = "`not_found`: no such repository or workspace."),
        (status = 409, description = "`conflict`: Git has failed; the problem has its message."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
        (status = 503, description = "`unavailable`: Git is not installed, or took too long."),
    ),
)]
pub async fn list_references(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<RepositoryQuery>,
) -> ApiResult<Json<References>> {
    let tree = open(&state, &query.repository).await?;
    Ok(Json(state.git.references(&tree).await?))
}

/// List commits
///
/// Returns commits of the current branch or of all branches, newest first and no parent before its children.
/// `skip` and `limit` page through them.
#[utoipa::path(
    get,
    path = "/git/log",
    tag = "git",
    params(HistoryQuery),
    responses(
        (status = 200, description = "Commits.", body = History),
        (status = 404, description = "`not_found`: no such repository or workspace."),
        (status = 409, description = "`conflict`: Git has failed; the problem has its message."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
        (status = 503, description = "`unavailable`: Git is not installed, or took too long."),
    ),
)]
pub async fn list_commits(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<HistoryQuery>,
) -> ApiResult<Json<History>> {
    let tree = open(&state, &query.repository).await?;
    Ok(Json(state.git.history(&tree, &query).await?))
}

/// Compare a file
///
/// Returns which lines of a file differ between the index and the working tree, or with `staged` between the
/// last commit and the index. Edits of open documents are saved first.
#[utoipa::path(
    get,
    path = "/git/diff",
    tag = "git",
    params(DiffQuery),
    responses(
        (status = 200, description = "The lines that differ.", body = FileDiff),
        (status = 404, description = "`not_found`: no such repository or workspace."),
        (status = 409, description = "`conflict`: Git has failed; the problem has its message."),
        (status = 413, description = "`too_large`: the diff is larger than 64 MiB."),
        (status = 422, description = "`invalid`: a path is absolute, contains `..`, or is too long."),
        (status = 503, description = "`unavailable`: Git is not installed, or took too long."),
    ),
)]
pub async fn compare_file(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<DiffQuery>,
) -> ApiResult<Json<FileDiff>> {
    let (tree, path) = (open(&state, &query.repository).await?, GitPath::parse(&query.path)?);
    state.flush_documents().await;
    Ok(Json(state.git.diff(&tree, &path, query.staged).await?))
}

/// Get a committed file
///
/// Returns a file as it is in the index, in the last commit, in another commit, or on a side of a conflict.
#[utoipa::path(
    get,
    path = "/git/content",
    tag = "git",
    params(GitContentQuery),
    responses(
        (
            status = 200,
            description = "The content.",
            body = Vec<u8>,
            content_type = "application/octet-stream",
        ),
        (status = 404, description = "`not_found`: no such repository, file or workspace."),
        (status = 413, description = "`too_large`: the file is larger than 8 MiB."),
        (status = 422, description = "`invalid`: a path or the version cannot be parsed."),
        (status = 503, description = "`unavailable`: Git is not installed, or took too long."),
    ),
)]
pub async fn get_committed_file(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<GitContentQuery>,
) -> ApiResult<Response> {
    let (tree, path) = (open(&state, &query.repository).await?, GitPath::parse(&query.path)?);
    let content = state.git.content(&tree, &path, &query.version).await?;
    // No browser may take it for a page.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, content).into_response())
}

/// Find the commit of a line
///
/// Returns the commit that a line of a file on disk comes from.
#[utoipa::path(
    get,
    path = "/git/blame",
    tag = "git",
    params(BlameQuery),
    responses(
        (status = 200, description = "The commit.", body = BlamedLine),
        (status = 404, description = "`not_found`: no such repository or workspace."),
        (status = 409, description = "`conflict`: Git does not know the file, or the line does not exist."),
        (status = 422, description = "`invalid`: a path is absolute, contains `..`, or is too long."),
        (status = 503, description = "`unavailable`: Git is not installed, or took too long."),
    ),
)]
pub async fn blame_line(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<BlameQuery>,
) -> ApiResult<Json<BlamedLine>> {
    let (tree, path) = (open(&state, &query.repository).await?, GitPath::parse(&query.path)?);
    Ok(Json(state.git.blame(&tree, &path, query.line).await?))
}

/// Run a Git operation
///
/// Changes a repository with the `git` of the workspace, and streams server-sent events of type `GitEvent`:
/// progress, prompts for a user name, token or host key, and at the end `finished` or `failed`. Edits of open
/// documents are saved first. Operations on the same working tree wait for each other. A clone, fetch or push
/// ends when the client closes the connection; others are completed. Requires write access.
#[utoipa::path(
    post,
    path = "/git/run",
    tag = "git",
    request_body(content = RunGit, description = "The repository, and what to do."),
    responses(
        (
            status = 200,
            description = "Events of the operation.",
            body = GitEvent,
            content_type = "text/event-stream",
        ),
        (status = 404, description = "`not_found`: no such repository or workspace."),
        (status = 413, description = "`too_large`: the body is larger than 4 MiB."),
        (status = 422, description = "`invalid`: a path is absolute, contains `..`, or is too long."),
    ),
)]
pub async fn run_git(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<RunGit>,
) -> ApiResult<impl IntoResponse> {
    let RunGit { repository, operation } = request;
    let path = HomePath::parse(&repository)?;
    let creates = matches!(operation, GitOperation::Clone { .. } | GitOperation::Init);
    let tree = if creates { None } else { Some(state.git.open(path.clone()).await?) };
    let (events, received) = mpsc::channel(MAX_QUEUED_EVENTS);
    let running = state.clone();
    state.tasks().spawn(async move {
        let _use = running.activity.begin();
        running.flush_documents().await;
        let end = match tree {
            Some(tree) => running.git.run(&tree, &operation, &events).await,
            None => running.git.create(path.as_str(), &operation, &events).await,
        };
        let _ = events.send(end).await;
    });
    Ok(event_stream(received, ()))
}

/// Answer a Git prompt
///
/// Answers a `prompt` event of a running operation, or cancels the operation without an answer. The agent
/// keeps answers in memory for the same question until the workspace stops, and forgets them when the
/// operation fails. Requires write access.
#[utoipa::path(
    post,
    path = "/git/answer",
    tag = "git",
    request_body(content = PromptAnswer, description = "The prompt, and the answer."),
    responses(
        (status = 204, description = "The answer was passed on."),
        (status = 404, description = "`not_found`: nothing waits for this answer, or no such workspace."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the body cannot be parsed."),
    ),
)]
pub async fn answer_prompt(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<PromptAnswer>,
) -> ApiResult<StatusCode> {
    if state.git.prompts.answer(&request.prompt, request.answer) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let message = "Cannot answer the prompt: nothing waits for it any more. Run the operation again.";
    Err(ApiError::new(Code::NotFound, message))
}

/// Watch a Git repository
///
/// Opens a WebSocket of JSON text messages that tells when the status of a repository may have changed, at
/// most once a second. The client sends `GitWatchRequest`s, the server `RepositoryChanged`. Close code 1007
/// after an invalid message.
#[utoipa::path(
    get,
    path = "/git/watch",
    tag = "git",
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade."),
    ),
)]
pub async fn watch_repository(
    State(state): State<Arc<AgentState>>,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    let session = WatchSession::new(state.home.clone()).map_err(|error| {
        ApiError::new(Code::Unavailable, format!("Cannot watch the repository: {error}."))
    })?;
    Ok(socket::accept(upgrade, state.tasks(), move |socket| session.serve(socket)))
}
