//! The internal API, for the gateway and runners.

use axum::{Json, extract::State, http::HeaderMap};
use protocol::{
    Code,
    api::internal::{
        GrantReply, GrantRequest, MAX_SESSIONS_PER_CHECK, PreviewCookie, PreviewGrantRequest,
        PreviewTicketRequest, SessionsCheck, SessionsVerdict, SignInLink,
    },
    runner::{ReportReply, ReportRequest},
};

use super::{
    error::{ApiError, Result},
    extract::Input,
    layers::bearer,
};
use crate::{
    audit::origin::{self, Origin},
    controller::create_first_sign_in_link,
    core::App,
    workspaces::{
        grants::{self, GrantError},
        previews,
        reports::{self, ReportError},
    },
};

pub async fn grants(State(app): State<App>, Input(request): Input<GrantRequest>) -> Result<Json<GrantReply>> {
    // The gateway asks on behalf of its client.
    let origin = Origin { address: Some(request.address.clone()), ..origin::current() };
    Ok(Json(origin.run(grants::issue(&app, &request)).await?))
}

pub async fn preview_grant(
    State(app): State<App>,
    Input(request): Input<PreviewGrantRequest>,
) -> Result<Json<GrantReply>> {
    Ok(Json(previews::issue_grant(&app, &request).await?))
}

pub async fn redeem_preview_ticket(
    State(app): State<App>,
    Input(request): Input<PreviewTicketRequest>,
) -> Result<Json<PreviewCookie>> {
    let cookie = previews::redeem_ticket(&app, &request).await?;
    cookie.map(Json).ok_or_else(|| {
        ApiError::new(Code::Expired, "This ticket was used already, or has expired. Open the preview again.")
    })
}

pub async fn sessions_check(
    State(app): State<App>,
    Input(request): Input<SessionsCheck>,
) -> Result<Json<SessionsVerdict>> {
    if request.streams.len() > MAX_SESSIONS_PER_CHECK {
        return Err(ApiError::new(Code::TooLarge, "The request has too many streams."));
    }
    Ok(Json(grants::check_streams(&app, request).await?))
}

pub async fn grant_key(State(app): State<App>) -> Json<String> {
    Json(app.signing.verifying_key().to_hex())
}

pub async fn sign_in_link(State(app): State<App>) -> Result<Json<SignInLink>> {
    let path = create_first_sign_in_link(&app).await.map_err(|error| {
        tracing::error!(%error, "cannot create a sign-in link");
        ApiError::internal()
    })?;
    tracing::info!("created a sign-in link for the owner");
    Ok(Json(SignInLink { path }))
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
            tracing::info!(%workspace, %epoch, "refused a fenced runner");
            ApiError::new(Code::Fenced, "Another placement has taken over. Stop the sandbox.")
        }
        ReportError::Token => {
            tracing::warn!(%workspace, %epoch, "refused a report with a wrong token");
            ApiError::unauthenticated()
        }
        ReportError::TooLarge => ApiError::new(Code::TooLarge, "The request has too many reports."),
        ReportError::Database(error) => error.into(),
    })
}

impl From<GrantError> for ApiError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Unauthenticated => Self::unauthenticated(),
            GrantError::NoWorkspace | GrantError::Hidden => Self::not_found("workspace"),
            GrantError::ReadOnly => {
                Self::new(Code::Forbidden, "You may watch this workspace, but not change it.")
            }
            GrantError::TokenScope => Self::new(
                Code::Forbidden,
                "This token may not do this: it has the scope read and needs workspaces. Use another token.",
            ),
            GrantError::NotRunning => {
                Self::new(Code::NotRunning, "The workspace is not running. Start it first.")
            }
            GrantError::NotAllowed(error) => error.into(),
            GrantError::Database(error) => error.into(),
        }
    }
}
