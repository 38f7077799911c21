//! Language servers, and what they know of open documents.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use protocol::{
    Code,
    languages::{
        AppliedEdits, ApplyAction, LanguageAnswer, LanguageQuery, MAX_CLIENT_BYTES, RenameSymbol,
        RestartLanguage, UndoEdits,
    },
};

use super::may_write;
use crate::{
    error::{ApiError, ApiResult},
    languages::{AskError, watch::WatchSession},
    socket,
    state::AgentState,
};

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        let code = match &error {
            AskError::NotReady => Code::Unavailable,
            AskError::NotOpen | AskError::NoUndo => Code::NotFound,
            AskError::Stale => Code::PreconditionFailed,
            AskError::TooMany => Code::TooManyStreams,
            AskError::Failed(_) | AskError::Refused(_) => Code::Conflict,
            AskError::Timeout => Code::Timeout,
        };
        Self::new(code, error.to_string())
    }
}

/// Watch language servers
///
/// Opens a WebSocket of JSON text messages that tells what the language servers of the workspace do, and
/// which problems they find. The server sends `LanguageEvent`s: at first `reset` and the present state. The
/// client may send `LanguageWatchRequest`s. Close code 1007 after an invalid message.
///
/// While a client with write access is connected, the servers run whose languages have an open document. They
/// end five minutes after the last such document was closed.
#[utoipa::path(
    get,
    path = "/languages/watch",
    tag = "languages",
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade."),
    ),
)]
pub async fn watch_languages(
    State(state): State<Arc<AgentState>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    let session = WatchSession::new(state.languages.clone(), may_write(&headers));
    Ok(socket::accept(upgrade, state.tasks(), move |socket| session.serve(socket)))
}

/// Ask a language server
///
/// Asks the server of a file's language about an open document, such as for completions or where something is
/// defined. Changes nothing. The question names the version of the client's text. The agent waits up to two
/// seconds for edits that are on their way to it. If the text is another one then, it refuses with
/// `precondition_failed`, and the client asks again with its present text. A client can have 16 questions at
/// once; closing the connection cancels a question.
#[utoipa::path(
    post,
    path = "/languages/query",
    tag = "languages",
    request_body = LanguageQuery,
    responses(
        (status = 200, description = "The answer, by the type of the question.", body = LanguageAnswer),
        (status = 404, description = "`not_found`: the server does not have the file, or no such workspace."),
        (status = 409, description = "`conflict`: the server has failed; the problem has its message."),
        (status = 412, description = "`precondition_failed`: the text or proposal is not the present one."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the body cannot be parsed."),
        (status = 503, description = "`unavailable`: none is ready. `too_many_streams`: too many questions."),
        (status = 504, description = "`timeout`: the server took longer than 20 seconds."),
    ),
)]
pub async fn query_language(
    State(state): State<Arc<AgentState>>,
    Json(query): Json<LanguageQuery>,
) -> ApiResult<Json<LanguageAnswer>> {
    check_client(&query.client)?;
    Ok(Json(state.languages.answer(query).await?))
}

/// Rename a symbol
///
/// Renames what is at a position, in all files that the language server finds, also in those that are not
/// open. All edits are checked first. If any of them is not about the present text of its file, overlaps
/// another, or concerns a file outside the home, nothing is edited. Then they go through the shared
/// documents: users who have a file open see them at once. A file whose text changes before its turn is left
/// as it is and listed in `failures`. Answers when the files are saved. Edits of only the client's own file
/// are returned instead: the client makes them itself, so that its user can undo them.
#[utoipa::path(
    post,
    path = "/languages/rename",
    tag = "languages",
    request_body = RenameSymbol,
    responses(
        (status = 200, description = "What was edited, and what was not.", body = AppliedEdits),
        (status = 404, description = "`not_found`: the server does not have the file, or no such workspace."),
        (status = 409, description = "`conflict`: nothing was edited; the problem says why."),
        (status = 412, description = "`precondition_failed`: the text is not the present one."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the body cannot be parsed."),
        (status = 503, description = "`unavailable`: none is ready. `too_many_streams`: too many questions."),
        (status = 504, description = "`timeout`: the server took longer than 20 seconds."),
    ),
)]
pub async fn rename_symbol(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<RenameSymbol>,
) -> ApiResult<Json<AppliedEdits>> {
    check_client(&request.client)?;
    Ok(Json(state.languages.rename(request).await?))
}

/// Apply a code action
///
/// Does what one of the actions says that `languages/query` has answered, while the text is the one of the
/// question. Edits are checked and applied as those of `languages/rename`, also those that the language
/// server wants while it runs a command. An action changes files once: further edits of the same command are
/// refused.
#[utoipa::path(
    post,
    path = "/languages/apply",
    tag = "languages",
    request_body = ApplyAction,
    responses(
        (status = 200, description = "What was edited, and what was not.", body = AppliedEdits),
        (status = 404, description = "`not_found`: the server does not have the file, or no such workspace."),
        (status = 409, description = "`conflict`: nothing was edited; the problem says why."),
        (status = 412, description = "`precondition_failed`: the text or the action is not the present one."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the body cannot be parsed."),
        (status = 503, description = "`unavailable`: none is ready. `too_many_streams`: too many questions."),
        (status = 504, description = "`timeout`: the server took longer than 20 seconds."),
    ),
)]
pub async fn apply_code_action(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<ApplyAction>,
) -> ApiResult<Json<AppliedEdits>> {
    check_client(&request.client)?;
    Ok(Json(state.languages.apply_action(request).await?))
}

/// Undo edits of a language server
///
/// Restores the files that a rename or a code action has edited, as long as they are as it has left them. The
/// others are listed in `failures`. The answer can be undone in turn. The last 32 changes can be undone.
#[utoipa::path(
    post,
    path = "/languages/undo",
    tag = "languages",
    request_body = UndoEdits,
    responses(
        (status = 200, description = "What was restored, and what was not.", body = AppliedEdits),
        (status = 404, description = "`not_found`: no such change, or it was undone; or no such workspace."),
        (status = 413, description = "`too_large`: the body is larger than 64 KiB."),
        (status = 422, description = "`invalid`: the body cannot be parsed."),
        (status = 503, description = "`too_many_streams`: too many questions wait."),
    ),
)]
pub async fn undo_language_edits(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<UndoEdits>,
) -> ApiResult<Json<AppliedEdits>> {
    check_client(&request.client)?;
    Ok(Json(state.languages.undo_edits(request).await?))
}

fn check_client(client: &str) -> ApiResult<()> {
    if client.len() <= MAX_CLIENT_BYTES {
        return Ok(());
    }
    let message = "Cannot answer the question: the id of the client is longer than 64 bytes.";
    Err(ApiError::new(Code::Invalid, message))
}

/// Restart a language server
///
/// Ends the server of a language and starts it again, also after it has failed too often. Requires write
/// access.
#[utoipa::path(
    post,
    path = "/languages/restart",
    tag = "languages",
    request_body = RestartLanguage,
    responses(
        (status = 202, description = "The server is being restarted."),
        (status = 404, description = "`not_found`: no file of the language was open, or no such workspace."),
        (status = 422, description = "`invalid`: the body cannot be parsed."),
    ),
)]
pub async fn restart_language(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<RestartLanguage>,
) -> ApiResult<StatusCode> {
    if state.languages.restart(&request.language).await {
        return Ok(StatusCode::ACCEPTED);
    }
    let message = "Cannot restart the language server: no file of its language was opened. Open one first.";
    Err(ApiError::new(Code::NotFound, message))
}
