//! Users of the tenant.

use axum::{Json, extract::State};
use protocol::{
    Code,
    api::user::{EditMe, User, UserList},
};

use super::{
    error::{ApiError, Result},
    extract::{Input, Signed},
};
use crate::{
    authz::{Action, authorize},
    core::App,
    db::violated_constraint,
    identity::users,
};

/// List the users of your organisation
///
/// For teachers and owners.
#[utoipa::path(
    get,
    path = "/users",
    tag = "users",
    responses((status = 200, body = UserList, description = "All users of the tenant")),
)]
pub async fn list_users(State(app): State<App>, signed: Signed) -> Result<Json<UserList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ListUsers)?).await?;
    let users = users::list(&mut scope).await?;
    Ok(Json(UserList { users: users.into_iter().map(User::from).collect() }))
}

/// Get the current user
#[utoipa::path(
    get,
    path = "/users/me",
    tag = "users",
    responses((status = 200, body = User, description = "The current user")),
)]
pub async fn get_current_user(State(app): State<App>, signed: Signed) -> Result<Json<User>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    Ok(Json(users::current(&mut scope).await?.into()))
}

/// Update the current user
///
/// Changes the name or email; fields that are absent stay as they are.
#[utoipa::path(
    patch,
    path = "/users/me",
    tag = "users",
    request_body = EditMe,
    responses((status = 200, body = User, description = "The user with the changes")),
    extensions(("x-problem-codes" = json!(["name_taken"]))),
)]
pub async fn update_current_user(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<EditMe>,
) -> Result<Json<User>> {
    let name = request.name.map(|name| {
        users::clean_name(&name)
            .ok_or_else(|| ApiError::invalid("name", "Use one line of at most 200 characters."))
    });
    let email = request.email.map(|email| {
        users::clean_email(&email)
            .ok_or_else(|| ApiError::invalid("email", "Use an address like anna@example.org."))
    });
    let (name, email) = (name.transpose()?, email.transpose()?);
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    users::update_current(&mut scope, name.as_deref(), email.as_deref()).await.map_err(|error| {
        match violated_constraint(&error) {
            Some("users_email") => {
                ApiError::new(Code::NameTaken, "Another user of this organisation has this address.")
            }
            _ => error.into(),
        }
    })?;
    let user = users::current(&mut scope).await?;
    scope.commit().await?;
    Ok(Json(user.into()))
}
