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
    document::{OpenDocument, OverwriteDocument, RefusalReason},
    files::HomePath,
    search::{EditDocument, EditedDocument},
};

use super::may_write;
use crate::{
    documents::{document::Edits, session},
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

/// Edit a document
///
/// Replaces text at lines and columns of a text file, which does not have to be open. Each edit names the
/// text that must be there; an edit whose text is not there is left out and listed as `missed`. Users
/// who have the file open see the edits at once. Answers when the file is saved. Requires write access.
#[utoipa::path(
    post,
    path = "/documents/edit",
    tag = "documents",
    request_body = EditDocument,
    responses(
        (status = 200, description = "Which edits were left out.", body = EditedDocument),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such file or workspace."),
        (status = 413, description = "`too_large`: the file is larger than 8 MiB, or the body than 16 MiB."),
        (status = 415, description = "`unsupported`: the path is not a text file."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
        (status = 503, description = "`too_many_streams`: too many documents are open."),
    ),
)]
pub async fn edit_document(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<EditDocument>,
) -> ApiResult<Json<EditedDocument>> {
    state.require_ready()?;
    let path = HomePath::parse(&request.path)?;
    let edited = state.documents.edit(&path, Edits::Lines(request.edits)).await;
    edited.map(Json).map_err(|refusal| ApiError::new(refusal_code(refusal.reason), refusal.message))
}

fn refusal_code(reason: RefusalReason) -> Code {
    match reason {
        RefusalReason::NotFound => Code::NotFound,
        RefusalReason::TooLarge => Code::TooLarge,
        RefusalReason::NotText | RefusalReason::NotAFile => Code::Unsupported,
        RefusalReason::OutsideHome | RefusalReason::PermissionDenied => Code::Forbidden,
        RefusalReason::TooMany => Code::TooManyStreams,
        RefusalReason::Stale | RefusalReason::BadUpdate | RefusalReason::Internal => Code::Internal,
    }
}
