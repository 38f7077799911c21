//! Routes that only the runner calls. The front relays none of them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use protocol::agent::{BootstrapRequest, ClockRequest, GrowRequest, Health, NoticeRequest};

use crate::{error::ApiResult, state::AgentState};

/// `GET health`.
pub async fn health(State(state): State<Arc<AgentState>>) -> Json<Health> {
    Json(state.health())
}

/// `POST bootstrap`. Answers once the home is mounted. Repeating it is harmless.
pub async fn bootstrap(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<BootstrapRequest>,
) -> ApiResult<Json<Health>> {
    state.bootstrap(request).await?;
    Ok(Json(state.health()))
}

/// `POST freeze`.
pub async fn freeze(State(state): State<Arc<AgentState>>) -> ApiResult<StatusCode> {
    state.freeze().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST thaw`.
pub async fn thaw(State(state): State<Arc<AgentState>>) -> ApiResult<StatusCode> {
    state.thaw().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST grow`.
pub async fn grow(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<GrowRequest>,
) -> ApiResult<StatusCode> {
    state.grow_home(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST clock`.
pub async fn correct_clock(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<ClockRequest>,
) -> ApiResult<StatusCode> {
    state.correct_clock(request)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST notice`.
pub async fn show_notice(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<NoticeRequest>,
) -> StatusCode {
    state.terminals.show_notice(&request.text);
    StatusCode::NO_CONTENT
}
