//! Opening documents.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use protocol::{
    Code,
    document::{OpenDocument, OverwriteDocument},
    files::HomePath,
};

use super::may_write;
use crate::{
    documents::session,
    error::{ApiError, ApiResult},
    socket,
    state::AgentState,
};

/// Open a document
///
/// Opens a WebSocket on a text file that several users edit at once. Binary messages are y-sync
/// messages (synchronization and awareness) as y-websocket sends them, at most 4 MiB each; the text
/// is the Yjs text `content`. With `events=true`, the server also sends text messages, which are JSON
/// `DocumentEvent`s; the first is `opened` or `refused`. Without, stock y-websocket clients work.
///
/// The server saves the file 150 ms after the last edit, and merges what other programs write to
/// it. A client that reconnects passes the `epoch` of its replica. If the server has reloaded the
/// document since, it refuses with `stale`, and the client must start from an empty replica.
///
/// A client with read access may only request state; the server drops its edits. Close codes: 1000
/// after `refused`; without events 4409 for a replica of an earlier epoch, 4403, 4404, 4413 and 4415
/// like HTTP statuses for a file that cannot be opened; 1007 after a text message, 1013 if the
/// client was too slow and has to synchronize again.
#[utoipa::path(
    get,
    path = "/documents",
    tag = "documents",
    params(OpenDocument),
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade, or an invalid query."),
    ),
)]
pub async fn open_document(
    State(state): State<Arc<AgentState>>,
    Query(request): Query<OpenDocument>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    state.require_ready()?;
    let read_only = !may_write(&headers);
    let documents = state.clone();
    Ok(socket::accept(upgrade, state.tasks(), move |socket| async move {
        session::serve(&documents.documents, &documents.activity, request, read_only, socket).await;
    }))
}

/// Overwrite the file of a document
///
/// Replaces the file of an open document by the document's text, after a `save_failed` event with
/// `can_overwrite`: the file is protected against writing, belongs to another user, or is not text any
/// more. The new file has the old one's permissions, and belongs to the user. Whether that succeeded is
/// reported by the document's next event, `saved` or `save_failed`. Requires write access.
#[utoipa::path(
    post,
    path = "/documents/overwrite",
    tag = "documents",
    request_body = OverwriteDocument,
    responses(
        (status = 202, description = "The file is being overwritten."),
        (status = 404, description = "`not_found`: no such open document or workspace."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
    ),
)]
pub async fn overwrite_document(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<OverwriteDocument>,
) -> ApiResult<StatusCode> {
    let path = HomePath::parse(&request.path)?;
    if state.documents.overwrite(&path).await {
        return Ok(StatusCode::ACCEPTED);
    }
    let message = "Cannot overwrite the file: it is not open as a document. Open it again.";
    Err(ApiError::new(Code::NotFound, message))
}
