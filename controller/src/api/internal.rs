//! What gateway and runners ask.

use axum::{Json, extract::State, http::HeaderMap};
use protocol::{
    Code,
    api::internal::{GrantReply, GrantRequest, MAX_SESSIONS_PER_CHECK, SessionsCheck, SessionsVerdict},
    runner::{ReportReply, ReportRequest},
};

use super::{
    error::{ApiError, Result},
    extract::Input,
    layers::bearer,
};
use crate::{
    core::App,
    workspaces::{
        grants,
        reports::{self, ReportError},
    },
};

pub async fn grants(State(app): State<App>, Input(request): Input<GrantRequest>) -> Result<Json<GrantReply>> {
    grants::issue(&app, &request).await.map(Json)
}

pub async fn sessions_check(
    State(app): State<App>,
    Input(request): Input<SessionsCheck>,
) -> Result<Json<SessionsVerdict>> {
    if request.streams.len() > MAX_SESSIONS_PER_CHECK {
        return Err(ApiError::new(Code::TooLarge, "Too many streams in one check."));
    }
    grants::check(&app, request).await.map(Json)
}

pub async fn grant_key(State(app): State<App>) -> Json<String> {
    Json(app.signing.verifying_key().to_hex())
}

pub async fn report(
    State(app): State<App>,
    headers: HeaderMap,
    Input(request): Input<ReportRequest>,
) -> Result<Json<ReportReply>> {
    let token = bearer(&headers).ok_or_else(ApiError::unauthenticated)?;
    let (workspace, epoch) = (request.workspace, request.epoch);
    reports::exchange(&app, token, request).await.map(Json).map_err(|error| match error {
        ReportError::Fenced => {
            tracing::info!(%workspace, %epoch, "a runner is fenced");
            ApiError::new(Code::Fenced, "Another placement has taken over: stop.")
        }
        ReportError::Token => {
            tracing::warn!(%workspace, %epoch, "a report with a wrong token");
            ApiError::unauthenticated()
        }
        ReportError::Excess => ApiError::new(Code::TooLarge, "Too many reports in one exchange."),
        ReportError::Database(error) => error.into(),
    })
}
