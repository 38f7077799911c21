//! Users of the tenant: the current one, and what an owner does with others.

use axum::{Json, extract::State, http::StatusCode};
use protocol::{
    Code, UserId, WorkspaceId,
    api::user::{CreatedUser, EditMe, EditUser, NewUser, Role, User, UserLink, UserList},
};

use super::{
    access::apply_event,
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, Allowed, NotAllowed, authorize},
    core::{App, Core},
    db::{Scope, violated_constraint},
    identity::{
        clean, sessions, sign_in_links,
        users::{self, UserRow},
    },
    lifecycle::Event,
};

const NAME_RULE: &str = "Use one line of at most 200 characters.";
const EMAIL_RULE: &str = "Use an address like anna@example.org.";

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
/// Changes the name or email; fields that are absent stay as they are. Another email address needs a
/// confirmed session.
#[utoipa::path(
    patch,
    path = "/users/me",
    tag = "users",
    request_body = EditMe,
    responses((status = 200, body = User, description = "The user with the changes")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "name_taken"]))),
)]
pub async fn update_current_user(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<EditMe>,
) -> Result<Json<User>> {
    let name = request.name.map(|name| {
        clean::clean_name(&name)
            .ok_or_else(|| ApiError::invalid("name", "Use one line of at most 200 characters."))
    });
    let email = request.email.map(|email| {
        clean::clean_email(&email)
            .ok_or_else(|| ApiError::invalid("email", "Use an address like anna@example.org."))
    });
    let (name, email) = (name.transpose()?, email.transpose()?);
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    let before = users::current(&mut scope).await?;
    if email.as_ref().is_some_and(|email| *email != before.email) {
        signed.check_confirmed(app.now())?;
    }
    users::update_current(&mut scope, name.as_deref(), email.as_deref()).await.map_err(|error| {
        match violated_constraint(&error) {
            Some("users_email") => {
                ApiError::new(Code::NameTaken, "Another user of this organisation has this address.")
            }
            _ => error.into(),
        }
    })?;
    let user = users::current(&mut scope).await?;
    let (id, changes) = (
        signed.caller().user.to_string(),
        [("user.name", &before.name, &user.name), ("user.email", &before.email, &user.email)],
    );
    for (action, from, to) in changes.into_iter().filter(|(_, from, to)| from != to) {
        audit::write(&mut scope, action, &id, serde_json::json!({ "from": from, "to": to })).await?;
    }
    scope.commit().await?;
    Ok(Json(user.into()))
}

/// Create a user
///
/// For owners with a confirmed session. Returns a one-time link with which the user signs in and
/// sets a password. A teacher is appointed so, or by changing the role of a user.
#[utoipa::path(
    post,
    path = "/users",
    tag = "users",
    request_body = NewUser,
    responses((status = 201, body = CreatedUser, description = "The user, and the link to send")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "name_taken"]))),
)]
pub async fn create_user(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<NewUser>,
) -> Result<(StatusCode, Json<CreatedUser>)> {
    let allowed = authorize(signed.caller(), Action::ManageUsers)?;
    signed.check_confirmed(app.now())?;
    let name = clean::clean_name(&request.name).ok_or_else(|| ApiError::invalid("name", NAME_RULE))?;
    let email = clean::clean_email(&request.email).ok_or_else(|| ApiError::invalid("email", EMAIL_RULE))?;
    let id = UserId::random();
    let mut scope = app.db.scope(allowed).await?;
    if !users::create(&mut scope, id, (&email, &name), request.role).await? {
        return Err(ApiError::new(
            Code::NameTaken,
            "A user of this organisation has this address, or was invited to a class with it.",
        ));
    }
    let detail = serde_json::json!({ "role": request.role });
    audit::write(&mut scope, "user.create", &id.to_string(), detail).await?;
    let user = users::lock(&mut scope, id).await?.ok_or_else(user_not_found)?;
    scope.commit().await?;
    let link = create_link(&app, &signed, id).await?;
    Ok((StatusCode::CREATED, Json(CreatedUser { user: user.into(), link })))
}

/// Update a user
///
/// For owners with a confirmed session. Changes the role, suspends the user or ends the suspension.
/// A suspension ends all sessions, tokens and links of the user at once and stops their workspaces;
/// homes are saved first and nothing is deleted. You cannot change your own account so.
#[utoipa::path(
    patch,
    path = "/users/{id}",
    tag = "users",
    request_body = EditUser,
    params(
        ("id" = UserId, Path, description = "The user."),
    ),
    responses((status = 200, body = User, description = "The user with the changes")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "conflict"]))),
)]
pub async fn update_user(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<UserId>,
    Input(request): Input<EditUser>,
) -> Result<Json<User>> {
    let (allowed, mut scope, before) = lock_other(&app, &signed, id).await?;
    let role = request.role.filter(|role| *role != before.role.0);
    if let Some(role) = role {
        users::set_role(&mut scope, id, role).await?;
    }
    let suspended = request.suspended.filter(|suspended| *suspended != before.suspended_at.is_some());
    if let Some(suspended) = suspended {
        users::set_suspended(&mut scope, id, suspended.then(|| app.now())).await?;
        if suspended {
            sessions::revoke_all(&mut scope, id).await?;
        }
    }
    let user = users::lock(&mut scope, id).await?.ok_or_else(user_not_found)?;
    let workspaces = match suspended {
        Some(true) => users::list_workspaces(&mut scope, id).await?,
        _ => Vec::new(),
    };
    if let Some(role) = role {
        let detail = serde_json::json!({ "from": before.role.0, "to": role });
        audit::write(&mut scope, "user.role", &id.to_string(), detail).await?;
    }
    if let Some(suspended) = suspended {
        let action = if suspended { "user.suspend" } else { "user.resume" };
        audit::write(&mut scope, action, &id.to_string(), serde_json::json!({})).await?;
    }
    scope.commit().await?;
    if suspended == Some(true) {
        revoke_links(&app, &signed, id).await?;
    }
    for workspace in workspaces {
        apply_event(&app, allowed, WorkspaceId(workspace), Event::Stop, "workspace.stop").await?;
    }
    Ok(Json(user.into()))
}

/// Reset the password of a user
///
/// For owners with a confirmed session. The password, all sessions and all tokens of the user are
/// void. Returns a one-time link with which the user signs in and sets a new password.
#[utoipa::path(
    post,
    path = "/users/{id}/password-reset",
    tag = "users",
    params(
        ("id" = UserId, Path, description = "The user."),
    ),
    responses((status = 200, body = UserLink, description = "The link to send; it is shown once")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "conflict"]))),
)]
pub async fn reset_user_password(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<UserId>,
) -> Result<Json<UserLink>> {
    let (_, mut scope, user) = lock_other(&app, &signed, id).await?;
    if user.suspended_at.is_some() {
        return Err(ApiError::new(
            Code::Conflict,
            "Cannot reset the password: the user is suspended. End the suspension first.",
        ));
    }
    users::clear_password(&mut scope, id).await?;
    sessions::revoke_all(&mut scope, id).await?;
    audit::write(&mut scope, "user.password.reset", &id.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    revoke_links(&app, &signed, id).await?;
    create_link(&app, &signed, id).await.map(Json)
}

/// End all sessions of a user
///
/// For owners with a confirmed session. Signs the user out everywhere and revokes all their tokens.
/// The password stays.
#[utoipa::path(
    delete,
    path = "/users/{id}/sessions",
    tag = "users",
    params(
        ("id" = UserId, Path, description = "The user."),
    ),
    responses((status = 204, description = "No session of the user is left")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "conflict"]))),
)]
pub async fn end_user_sessions(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<UserId>,
) -> Result<StatusCode> {
    let (_, mut scope, _) = lock_other(&app, &signed, id).await?;
    let ended = sessions::revoke_all(&mut scope, id).await?;
    let detail = serde_json::json!({ "sessions": ended });
    audit::write(&mut scope, "user.sessions.end", &id.to_string(), detail).await?;
    scope.commit().await?;
    revoke_links(&app, &signed, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Locks another user of the tenant for a change by an owner. Because nobody changes the own account
/// so, an owner who can sign in is always left.
async fn lock_other(app: &Core, signed: &Signed, id: UserId) -> Result<(Allowed, Scope, UserRow)> {
    let caller = signed.caller();
    let allowed = authorize(caller, Action::ManageUsers)?;
    signed.check_confirmed(app.now())?;
    if id == caller.user {
        return Err(ApiError::new(
            Code::Conflict,
            "Cannot change your own account here. Another owner can do it.",
        ));
    }
    let mut scope = app.db.scope(allowed).await?;
    // In one order for everybody, so that two owners cannot suspend each other at the same time.
    let mut both = [id, caller.user];
    both.sort_by_key(|user| user.0);
    let mut found = None;
    for user in both {
        let row = users::lock(&mut scope, user).await?.ok_or_else(user_not_found)?;
        if user == id {
            found = Some(row);
        } else if row.suspended_at.is_some() || row.role.0 != Role::Owner {
            return Err(NotAllowed.into());
        }
    }
    Ok((allowed, scope, found.ok_or_else(user_not_found)?))
}

/// Creates a one-time link for a user.
async fn create_link(app: &Core, signed: &Signed, id: UserId) -> Result<UserLink> {
    let mut system = app.db.system().await?;
    let now = app.now();
    let path = sign_in_links::create(
        system.connection(),
        now,
        signed.caller().tenant,
        id,
        Some(signed.caller().session),
    )
    .await?;
    system.commit().await?;
    Ok(UserLink { path, expires_at: now + sign_in_links::LINK_TTL })
}

async fn revoke_links(app: &Core, signed: &Signed, id: UserId) -> Result<()> {
    let mut system = app.db.system().await?;
    sign_in_links::revoke_all(system.connection(), signed.caller().tenant, id).await?;
    system.commit().await?;
    Ok(())
}

fn user_not_found() -> ApiError {
    ApiError::not_found("user")
}
