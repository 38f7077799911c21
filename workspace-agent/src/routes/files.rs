//! Directories and files of the home, except their content.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use protocol::{
    Code,
    files::{
        CopyRequest, DirectoryListing, FileEntry, FoundFiles, HomePath, MAX_PATH_BYTES, NewDirectory,
        RenameRequest,
    },
    search::{SearchEvent, SearchQuery},
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::event_stream::event_stream;
use crate::{
    error::{ApiError, ApiResult},
    files::{self, find, home_directory::HomeFiles, search::FileSearch, watch::WatchSession},
    socket,
    state::AgentState,
};

/// Most events of a search that wait for the client.
const MAX_QUEUED_EVENTS: usize = 16;

/// Query of [`list_directory`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListDirectoryQuery {
    /// Path of the directory, relative to the home. Defaults to the home.
    #[serde(default)]
    #[param(example = "project/src")]
    path: String,
}

/// Query of [`find_files`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FindFilesQuery {
    /// Letters of the path in their order, for example `mnrs` for `src/main.rs`. Words are matched
    /// one by one.
    #[serde(default)]
    #[param(example = "main")]
    query: String,
    /// Whether to find what a `.gitignore` names, `node_modules` and `.cache` too.
    #[serde(default)]
    ignored: bool,
}

/// Query of [`delete_file`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteFileQuery {
    /// Path of the file or directory, relative to the home.
    #[param(example = "project/build")]
    path: String,
    /// Delete a directory with its content.
    #[serde(default)]
    recursive: bool,
}

/// List a directory
///
/// Returns the first 20,000 entries, directories first, then by name. Links are not followed.
#[utoipa::path(
    get,
    path = "/files",
    tag = "files",
    params(ListDirectoryQuery),
    responses(
        (status = 200, description = "The entries of the directory.", body = DirectoryListing),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such directory or workspace."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
    ),
)]
pub async fn list_directory(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<ListDirectoryQuery>,
) -> ApiResult<Json<DirectoryListing>> {
    let path = HomePath::parse(&query.path)?;
    let listing = state.home.run(move |files| files::list_directory(files, &path)).await?;
    Ok(Json(listing))
}

/// Find files
///
/// Returns the files of the home whose path matches best. Leaves out `.git`, and unless `ignored` is
/// set, `node_modules`, `.cache`, and what a `.gitignore` names. Visits at most 500,000 files and
/// directories. The answer may be 3 seconds behind the home, but for an empty query it never is: send
/// one before the first letter.
#[utoipa::path(
    get,
    path = "/files/find",
    tag = "files",
    params(FindFilesQuery),
    responses(
        (status = 200, description = "Paths of files, best match first.", body = FoundFiles),
        (status = 404, description = "`not_found`: no such workspace."),
        (status = 422, description = "`invalid`: the query is longer than 4,096 bytes."),
    ),
)]
pub async fn find_files(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<FindFilesQuery>,
) -> ApiResult<Json<FoundFiles>> {
    if query.query.len() > MAX_PATH_BYTES {
        return Err(ApiError::new(Code::Invalid, "The query is longer than 4,096 bytes."));
    }
    // A client that types on ends the request, and this guard the search.
    let cancellation = CancellationToken::new();
    let _guard = cancellation.clone().drop_guard();
    // An editor asks so when its user begins to type.
    let max_age = if query.query.is_empty() { Duration::ZERO } else { find::LIST_TTL };
    let list = state.file_lists.get(&state.home, query.ignored, max_age, state.tasks()).await?;
    let found = tokio::task::spawn_blocking(move || {
        find::find_files(&list, &query.query, || cancellation.is_cancelled())
    });
    Ok(Json(found.await.map_err(io::Error::other)?))
}

/// Search the text of files
///
/// Streams the matches of a pattern in the text files of a directory, as server-sent events of type
/// `SearchEvent`. Files with a NUL byte are left out. Ends at 10,000 matches. The search ends when the
/// client closes the connection.
#[utoipa::path(
    get,
    path = "/files/search",
    tag = "files",
    params(SearchQuery),
    responses(
        (
            status = 200,
            description = "The matches, file by file.",
            body = SearchEvent,
            content_type = "text/event-stream",
        ),
        (status = 404, description = "`not_found`: no such directory or workspace."),
        (status = 422, description = "`invalid`: the pattern or a glob cannot be parsed, or is too long."),
    ),
)]
pub async fn search_files(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<SearchQuery>,
) -> ApiResult<impl IntoResponse> {
    let directory = HomePath::parse(&query.path)?;
    // A search that waits for its turn ends with its client. Compiling a pattern takes a while, too.
    let permit = state.searches.clone().acquire_owned().await.map_err(io::Error::other)?;
    let root = state.home.path().to_owned();
    let prepare = move |files: &HomeFiles<'_>| {
        let directory = files.resolve(&directory)?;
        FileSearch::new(&root, &directory, &query).map_err(|error| {
            ApiError::new(Code::Invalid, error.to_string()).with_field(error.field(), error.cause())
        })
    };
    let search = state.home.run(prepare).await?;
    let (events, received) = mpsc::channel(MAX_QUEUED_EVENTS);
    // The end of the response ends the search.
    let cancellation = CancellationToken::new();
    let guard = cancellation.clone().drop_guard();
    let home = state.home.clone();
    state.tasks().spawn(async move {
        let _permit = permit;
        let run = home.run(move |_| {
            search.run(&cancellation, &|event| events.blocking_send(event).is_ok());
            Ok::<_, io::Error>(())
        });
        if let Err(error) = run.await {
            tracing::warn!(%error, "a search failed");
        }
    });
    Ok(event_stream(received, guard))
}

/// Create a directory
///
/// Creates a directory with mode 755, and with `parents` its missing parents too. Requires write
/// access.
#[utoipa::path(
    post,
    path = "/files/directory",
    tag = "files",
    request_body(content = NewDirectory, description = "Path of the new directory."),
    responses(
        (status = 201, description = "The new directory.", body = FileEntry),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such parent directory or workspace."),
        (status = 409, description = "`conflict`: the path exists. `not_running`: no running workspace."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
        (status = 507, description = "`disk_full`: the home is full."),
    ),
)]
pub async fn create_directory(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<NewDirectory>,
) -> ApiResult<(StatusCode, Json<FileEntry>)> {
    let path = HomePath::parse(&request.path)?;
    let entry = state.home.run(move |files| files::create_directory(files, &path, request.parents)).await?;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Rename a file
///
/// Renames or moves a file, link or directory within the home, atomically. Without `overwrite`, the
/// request fails if something exists at the new path. Requires write access.
#[utoipa::path(
    post,
    path = "/files/rename",
    tag = "files",
    request_body(content = RenameRequest, description = "Current and new path."),
    responses(
        (status = 200, description = "The entry at its new path.", body = FileEntry),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such file, parent directory or workspace."),
        (status = 409, description = "`conflict`: the new path exists. `not_running`: no running workspace."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: a path is absolute, contains `..`, or is too long."),
        (status = 507, description = "`disk_full`: the home is full."),
    ),
)]
pub async fn rename_file(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<RenameRequest>,
) -> ApiResult<Json<FileEntry>> {
    let (from, to) = (HomePath::parse(&request.from)?, HomePath::parse(&request.to)?);
    let entry = state.home.run(move |files| files::rename(files, &from, &to, request.overwrite)).await?;
    Ok(Json(entry))
}

/// Copy a file
///
/// Copies a file, a link, or a directory with its content, within the home. The copy appears when it is
/// complete; after an error there is none. Permissions are kept; times and owners are those of new files.
/// Requires write access.
#[utoipa::path(
    post,
    path = "/files/copy",
    tag = "files",
    request_body(content = CopyRequest, description = "Path of the original, and of the copy."),
    responses(
        (status = 201, description = "The copy.", body = FileEntry),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such file, parent directory or workspace."),
        (status = 409, description = "`conflict`: the new path exists. `not_running`: no running workspace."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 415, description = "`unsupported`: a socket, pipe or device cannot be copied."),
        (status = 422, description = "`invalid`: a path is absolute, contains `..`, or is too long."),
        (status = 507, description = "`disk_full`: the home is full."),
    ),
)]
pub async fn copy_file(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<CopyRequest>,
) -> ApiResult<(StatusCode, Json<FileEntry>)> {
    let (from, to) = (HomePath::parse(&request.from)?, HomePath::parse(&request.to)?);
    let is_within = to.as_str().strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('/'));
    if from.is_home() || is_within {
        return Err(ApiError::new(Code::Invalid, "Cannot copy a directory into itself."));
    }
    let entry = state.home.run(move |files| files::copy::copy(files, &from, &to)).await?;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Delete a file
///
/// Deletes a file or link, an empty directory, or with `recursive` a directory with its content.
/// Links are not followed. Requires write access.
#[utoipa::path(
    delete,
    path = "/files",
    tag = "files",
    params(DeleteFileQuery),
    responses(
        (status = 204, description = "The file or directory is deleted."),
        (status = 403, description = "`forbidden`: permission denied, or the path is the home itself."),
        (status = 404, description = "`not_found`: no such file or workspace."),
        (status = 409, description = "`conflict`: directory not empty. `not_running`: no running workspace."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
    ),
)]
pub async fn delete_file(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<DeleteFileQuery>,
) -> ApiResult<StatusCode> {
    let path = HomePath::parse(&query.path)?;
    if path.is_home() {
        return Err(ApiError::new(Code::Forbidden, "Cannot delete the home itself."));
    }
    state.home.run(move |files| files.delete(&path, query.recursive)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Watch directories
///
/// Opens a WebSocket of JSON text messages that reports changes in directories. The client sends
/// `WatchRequest`s for at most 512 directories; only direct entries of a watched directory count.
/// The server sends `DirectoryChanges`, at most one message every 80 ms. A directory that cannot be
/// watched is ignored. Close code 1007 after an invalid message.
#[utoipa::path(
    get,
    path = "/files/watch",
    tag = "files",
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade."),
    ),
)]
pub async fn watch_files(
    State(state): State<Arc<AgentState>>,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    let session = WatchSession::new(state.home.clone())
        .map_err(|error| ApiError::new(Code::Unavailable, format!("Cannot watch files: {error}.")))?;
    Ok(socket::accept(upgrade, state.tasks(), move |socket| session.serve(socket)))
}
