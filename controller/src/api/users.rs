//! People of the tenant.

use axum::{Json, extract::State};
use protocol::{
    Code,
    api::user::{EditMe, User, UserList},
};

use super::{
    error::{ApiError, Result, violated},
    extract::{Input, Signed},
};
use crate::{
    authz::{Action, authorize},
    core::App,
    identity::users,
};

/// The tenant's people.
#[utoipa::path(get, path = "/users", tag = "users",
    responses((status = 200, body = UserList), (status = 403, body = protocol::Problem)))]
pub async fn list(State(app): State<App>, signed: Signed) -> Result<Json<UserList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ListUsers)?).await?;
    let users = users::list(&mut scope).await?;
    Ok(Json(UserList { users: users.into_iter().map(User::from).collect() }))
}

/// Oneself.
#[utoipa::path(get, path = "/users/me", tag = "users", responses((status = 200, body = User)))]
pub async fn me(State(app): State<App>, signed: Signed) -> Result<Json<User>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    Ok(Json(users::me(&mut scope).await?.into()))
}

/// Changes the own name or e-mail.
#[utoipa::path(patch, path = "/users/me", tag = "users", request_body = EditMe,
    responses((status = 200, body = User), (status = 409, body = protocol::Problem), (status = 422, body = protocol::Problem)))]
pub async fn edit(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<EditMe>,
) -> Result<Json<User>> {
    let name = request.name.map(|name| {
        users::clean_name(&name)
            .ok_or_else(|| ApiError::invalid("name", "One line of at most 200 characters."))
    });
    let email = request.email.map(|email| {
        users::clean_email(&email)
            .ok_or_else(|| ApiError::invalid("email", "An address like anna@example.org."))
    });
    let (name, email) = (name.transpose()?, email.transpose()?);
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    users::edit_me(&mut scope, name.as_deref(), email.as_deref()).await.map_err(|error| {
        match violated(&error) {
            Some("users_email") => {
                ApiError::new(Code::NameTaken, "Someone else of this tenant has this address.")
            }
            _ => error.into(),
        }
    })?;
    let user = users::me(&mut scope).await?;
    scope.commit().await?;
    Ok(Json(user.into()))
}
