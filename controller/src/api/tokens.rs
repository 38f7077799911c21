//! Personal access tokens.

use axum::{Json, extract::State, http::StatusCode};
use protocol::api::auth::{NewToken, TokenList, TokenSecret};
use uuid::Uuid;

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    core::App,
    identity::{
        clean,
        sessions::{self, SessionKind, TokenRequest},
    },
};

/// List your personal access tokens
///
/// Secrets are never listed.
#[utoipa::path(
    get,
    path = "/tokens",
    tag = "auth",
    responses((status = 200, body = TokenList, description = "The tokens of the current user")),
)]
pub async fn list_tokens(State(app): State<App>, signed: Signed) -> Result<Json<TokenList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    Ok(Json(TokenList { tokens: sessions::list_tokens(&mut scope, app.now()).await? }))
}

/// Create a personal access token
///
/// The secret is returned once. Send it as `authorization: Bearer brw_…`. Needs a confirmed session.
#[utoipa::path(
    post,
    path = "/tokens",
    tag = "auth",
    request_body = NewToken,
    responses((status = 201, body = TokenSecret, description = "The token with its secret")),
    extensions(("x-problem-codes" = json!(["confirmation_required"]))),
)]
pub async fn create_token(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<NewToken>,
) -> Result<(StatusCode, Json<TokenSecret>)> {
    let name = clean::clean_name(&request.name)
        .ok_or_else(|| ApiError::invalid("name", "Use one line of at most 200 characters."))?;
    let days = request.days.unwrap_or(sessions::DEFAULT_TOKEN_DAYS);
    if !(1..=sessions::MAX_TOKEN_DAYS).contains(&days) {
        return Err(ApiError::invalid("days", "Use 1 to 365 days."));
    }
    signed.check_confirmed(app.now())?;
    let caller = signed.caller();
    let mut scope = app.db.scope(authorize(caller, Action::ManageSelf)?).await?;
    let user = (caller.tenant.0, caller.user.0);
    let created_by = Some(caller.session.0);
    let token = TokenRequest { name: &name, days, scope: request.scope, created_by };
    let (info, token) = sessions::create_token(scope.connection(), app.now(), user, token).await?;
    let detail = serde_json::json!({ "days": days, "scope": info.scope });
    audit::write(&mut scope, "token.create", &info.id.to_string(), detail).await?;
    scope.commit().await?;
    Ok((StatusCode::CREATED, Json(TokenSecret { info, token })))
}

/// Revoke a personal access token
///
/// Requests and streams that use it end at once. What the token has created ends with it: sign-in links
/// and the sessions that began with them.
#[utoipa::path(
    delete,
    path = "/tokens/{id}",
    tag = "auth",
    params(
        ("id" = Uuid, Path, description = "The token."),
    ),
    responses((status = 204, description = "The token is revoked")),
)]
pub async fn revoke_token(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<Uuid>,
) -> Result<StatusCode> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    if !sessions::revoke(&mut scope, id, Some(SessionKind::Token)).await? {
        return Err(ApiError::not_found("token"));
    }
    audit::write(&mut scope, "token.delete", &id.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
