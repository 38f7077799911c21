//! Opening documents.

use std::sync::Arc;

use axum::{
    extract::{Query, State, WebSocketUpgrade},
    http::HeaderMap,
    response::Response,
};
use protocol::document::OpenDocument;

use super::may_write;
use crate::{documents::session, error::ApiResult, socket, state::AgentState};

/// Open a document
///
/// Opens a WebSocket on a text file that several users edit at once. Binary messages are y-sync
/// messages (synchronization and awareness) as y-websocket sends them, at most 4 MiB each; the text
/// is the Yjs text `content`. Text messages come from the server only and are JSON
/// `DocumentEvent`s. The first is `opened` or `refused`.
///
/// The server saves the file 150 ms after the last edit, and merges what other programs write to
/// it. A client that reconnects passes the `epoch` of its replica. If the server has reloaded the
/// document since, it refuses with `stale`, and the client must start from an empty replica.
///
/// A client with read access may only request state; the server drops its edits. Close codes: 1000
/// after `refused`, 1007 after a text message, 1013 if the client was too slow and has to
/// synchronize again.
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
        session::serve(&documents.documents, request, read_only, socket).await;
    }))
}
