//! Invitations, previewed and accepted. No session is needed: the token is the credential.

use axum::{Json, extract::State, response::Response};
use protocol::{
    Code,
    api::{
        auth::Session,
        class::{AcceptInvitation, Invitation, ViewInvitation},
    },
};

use super::{
    auth::create_session,
    error::{ApiError, Result},
    extract::{Client, Input},
};
use crate::{
    classes::invitations,
    core::App,
    identity::{
        clean,
        passwords::{Requester, find_weakness},
        sessions::SignIn,
    },
};

/// Preview an invitation
///
/// Needs no session: the token is the credential.
#[utoipa::path(
    post,
    path = "/invitations/view",
    tag = "invitations",
    request_body = ViewInvitation,
    responses((status = 200, body = Invitation, description = "Who is invited, and to what")),
    extensions(("x-problem-codes" = json!(["expired", "rate_limited"]))),
)]
pub async fn preview_invitation(
    State(app): State<App>,
    client: Client,
    Input(request): Input<ViewInvitation>,
) -> Result<Json<Invitation>> {
    app.rate_limits.check_address(&client.address)?;
    let mut system = app.db.system().await?;
    let open = invitations::find(system.connection(), app.now(), request.token.expose()).await?;
    Ok(Json(open.ok_or_else(expired)?.into()))
}

/// Accept an invitation
///
/// Creates the account, or joins with an existing one; then `password` is the one of that account.
/// Sets the session cookie.
#[utoipa::path(
    post,
    path = "/invitations/accept",
    tag = "invitations",
    request_body = AcceptInvitation,
    responses((status = 200, body = Session, description = "The new session; its cookie is in `set-cookie`")),
    extensions(("x-problem-codes" = json!(["bad_credentials", "expired", "rate_limited", "unavailable"]))),
)]
pub async fn accept_invitation(
    State(app): State<App>,
    client: Client,
    Input(request): Input<AcceptInvitation>,
) -> Result<Response> {
    app.rate_limits.check_address(&client.address)?;
    let mut system = app.db.system().await?;
    let open = invitations::find(system.connection(), app.now(), request.token.expose()).await?;
    system.commit().await?;
    let open = open.ok_or_else(expired)?;
    let requester = Requester::at_address(&client.address);
    let new_account = if open.active {
        app.rate_limits.check_password(&open.email, &client.address)?;
        let hashes = open.password_hash.iter().cloned().collect();
        let fits = app.passwords.verify(requester, &request.password, hashes).await?;
        fits.ok_or_else(|| {
            ApiError::new(Code::BadCredentials, "You have an account here already. Enter its password.")
        })?;
        None
    } else {
        let name = clean::clean_name(&request.name)
            .ok_or_else(|| ApiError::invalid("name", "Use one line of at most 200 characters."))?;
        if let Some(weakness) = find_weakness(request.password.expose()) {
            return Err(ApiError::invalid("password", weakness));
        }
        Some((name, app.passwords.hash(requester, &request.password).await?))
    };
    let new_account = new_account.as_ref().map(|(name, hash)| (name.as_str(), hash.as_str()));
    let mut system = app.db.system().await?;
    let done =
        invitations::accept(system.connection(), app.now(), request.token.expose(), &open, new_account)
            .await?;
    if !done {
        return Err(expired());
    }
    system.commit().await?;
    create_session(&app, &client, (open.tenant_id, open.user_id), SignIn::Password).await
}

fn expired() -> ApiError {
    ApiError::new(Code::Expired, "This invitation was used or has expired. Ask your teacher for a new link.")
}
