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
    languages::{LanguageAnswer, LanguageQuery, MAX_CLIENT_BYTES, RestartLanguage},
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
            AskError::NotOpen => Code::NotFound,
            AskError::Stale => Code::PreconditionFailed,
            AskError::TooMany => Code::TooManyStreams,
            AskError::Failed(_) => Code::Conflict,
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
    if query.client.len() > MAX_CLIENT_BYTES {
        let message = "Cannot answer the question: the id of the client is longer than 64 bytes.";
        return Err(ApiError::new(Code::Invalid, message));
    }
    Ok(Json(state.languages.answer(query).await?))
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
