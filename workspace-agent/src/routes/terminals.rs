//! Terminals: list, create, attach, delete.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use protocol::{
    Code, TerminalId,
    terminal::{AttachQuery, MAX_NAME_CHARS, NewTerminal, RenameTerminal, TerminalInfo, TerminalList},
};

use super::may_write;
use crate::{
    error::{ApiError, ApiResult},
    socket,
    state::AgentState,
    terminals::attach,
};

/// List terminals
///
/// Returns all terminals, the oldest first. A terminal whose program has ended stays in the list
/// until it is deleted or until 16 others have ended.
#[utoipa::path(
    get,
    path = "/terminals",
    tag = "terminals",
    responses((status = 200, description = "All terminals.", body = TerminalList)),
)]
pub async fn list_terminals(State(state): State<Arc<AgentState>>) -> Json<TerminalList> {
    let home = state.home.path().to_string_lossy().into_owned();
    Json(TerminalList { terminals: state.terminals.list(), home })
}

/// Create a terminal
///
/// Starts a login shell, or the given command, in a new PTY. The terminal lives until its program
/// ends, whether clients are attached or not. The body is optional. Requires write access.
#[utoipa::path(
    post,
    path = "/terminals",
    tag = "terminals",
    request_body(content = Option<NewTerminal>, description = "Size, directory and command."),
    responses(
        (status = 201, description = "The new terminal.", body = TerminalInfo),
        (status = 403, description = "`quota_exceeded`: 64 open terminals. `forbidden`: no write access."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the directory or the program does not exist."),
        (status = 503, description = "`unavailable`: cannot start the program, or the workspace starts."),
    ),
)]
pub async fn create_terminal(
    State(state): State<Arc<AgentState>>,
    body: Option<Json<NewTerminal>>,
) -> ApiResult<(StatusCode, Json<TerminalInfo>)> {
    state.require_ready()?;
    let request = body.map(|Json(request)| request).unwrap_or_default();
    let created =
        tokio::task::spawn_blocking(move || state.terminals.create(&state.user, &request, state.tasks()));
    let terminal = created
        .await
        .map_err(|_| ApiError::new(Code::Internal, "Cannot start the terminal: an internal error."))??;
    Ok((StatusCode::CREATED, Json(terminal.info())))
}

/// Get a terminal
///
/// Returns size, title, amount of output and, if its program has ended, the exit status.
#[utoipa::path(
    get,
    path = "/terminals/{terminal}",
    tag = "terminals",
    params(("terminal" = TerminalId, Path, description = "Id of the terminal.")),
    responses(
        (status = 200, description = "The terminal.", body = TerminalInfo),
        (status = 404, description = "`not_found`: no such terminal or workspace."),
    ),
)]
pub async fn get_terminal(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<TerminalId>,
) -> ApiResult<Json<TerminalInfo>> {
    Ok(Json(state.terminals.find(id)?.info()))
}

/// Rename a terminal
///
/// Shows a name in place of the title that programs set, for all viewers. An empty name shows the title
/// again. Requires write access.
#[utoipa::path(
    post,
    path = "/terminals/{terminal}/rename",
    tag = "terminals",
    params(("terminal" = TerminalId, Path, description = "Id of the terminal.")),
    request_body(content = RenameTerminal, description = "The name."),
    responses(
        (status = 200, description = "The terminal with its name.", body = TerminalInfo),
        (status = 404, description = "`not_found`: no such terminal or workspace."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the name is longer than 100 characters."),
    ),
)]
pub async fn rename_terminal(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<TerminalId>,
    Json(request): Json<RenameTerminal>,
) -> ApiResult<Json<TerminalInfo>> {
    let terminal = state.terminals.find(id)?;
    if request.name.chars().count() > MAX_NAME_CHARS {
        let message = format!("Choose a name of at most {MAX_NAME_CHARS} characters");
        return Err(ApiError::new(Code::Invalid, format!("{message}.")).with_field("name", message));
    }
    terminal.rename(&request.name);
    Ok(Json(terminal.info()))
}

/// Clear a terminal
///
/// Removes all lines but that of the cursor, also those above the screen, for all viewers. Does nothing while
/// a program uses the whole screen. Requires write access.
#[utoipa::path(
    post,
    path = "/terminals/{terminal}/clear",
    tag = "terminals",
    params(("terminal" = TerminalId, Path, description = "Id of the terminal.")),
    responses(
        (status = 204, description = "The lines are removed."),
        (status = 404, description = "`not_found`: no such terminal or workspace."),
    ),
)]
pub async fn clear_terminal(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<TerminalId>,
) -> ApiResult<StatusCode> {
    let cleared = state.terminals.find(id)?.clear().await;
    cleared
        .map_err(|error| ApiError::new(Code::Internal, format!("Cannot clear the terminal: {error:#}.")))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a terminal
///
/// Sends SIGHUP to the terminal's programs and removes the terminal from the list. Requires write
/// access.
#[utoipa::path(
    delete,
    path = "/terminals/{terminal}",
    tag = "terminals",
    params(("terminal" = TerminalId, Path, description = "Id of the terminal.")),
    responses(
        (status = 204, description = "The terminal is deleted."),
        (status = 404, description = "`not_found`: no such terminal or workspace."),
    ),
)]
pub async fn delete_terminal(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<TerminalId>,
) -> ApiResult<StatusCode> {
    state.terminals.delete(id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Attach to a terminal
///
/// Opens a WebSocket of binary messages. The first byte of a message is its tag; numbers are
/// big-endian.
///
/// From the server:
/// - `0` output: `u64` offset of the first byte, then the bytes.
/// - `1` info: JSON `AttachInfo`. The first message, sent again where the size changes: the output that
///   follows was printed for it.
/// - `2` exited: JSON `ExitStatus`. The socket closes after it.
/// - `3` input accepted: `u64`, bytes of this client's input that were typed.
/// - `4` snapshot: `u64` offset of the output that follows, then bytes that draw the screen on a
///   terminal that was just reset.
/// - `5` pong: the answer to a ping.
///
/// From the client:
/// - `0` input: `u64` offset in this client's input, then at most 64 KiB of bytes. Repeated bytes
///   are not typed twice.
/// - `1` resize: `u16` columns, `u16` rows.
/// - `2` acknowledge: `u64`, all output before this offset is drawn. At most 64 KiB are sent
///   without an acknowledgement.
/// - `3` redraw: send a snapshot, because something else was drawn over the screen.
/// - `4` ping: answered with `5`, so that a dead connection is noticed.
/// - `5` colors: of text, background, cursor and the first 16 of the palette, each red, green and blue. A
///   program that asks for colors gets the last ones that were sent.
///
/// The server answers a program's queries, such as for the cursor's position. Clients must not.
/// It drops input, sizes and colors of a client with read access.
/// Close codes: 1000 after the program has ended, 1007 after an invalid message.
#[utoipa::path(
    get,
    path = "/terminals/{terminal}/attach",
    tag = "terminals",
    params(("terminal" = TerminalId, Path, description = "Id of the terminal."), AttachQuery),
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade, or an invalid query."),
        (status = 404, description = "`not_found`: no such terminal or workspace."),
        (status = 422, description = "`invalid`: the client's name is not allowed."),
    ),
)]
pub async fn attach_terminal(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<TerminalId>,
    Query(mut query): Query<AttachQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    if !query.is_valid() {
        return Err(ApiError::new(Code::Invalid, "`client` must be 1 to 64 letters, digits or hyphens."));
    }
    // A read-only viewer does not change the terminal's size.
    if !may_write(&headers) {
        (query.cols, query.rows) = (None, None);
    }
    let terminal = state.terminals.find(id)?;
    Ok(socket::accept(upgrade, state.tasks(), move |socket| attach::serve(terminal, query, socket)))
}
