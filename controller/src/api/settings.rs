//! Settings of the workbench.

use axum::{Json, extract::State};
use protocol::{WorkspaceId, api::settings::Settings};
use serde_json::{Map, Value};

use super::{
    access::{authorize_workspace, workspace_not_found},
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    core::App,
    identity::settings::{self, InvalidSetting, SettingsChange},
};

/// Get your settings
///
/// What you prefer in the workbench, in all browsers and workspaces.
#[utoipa::path(
    get,
    path = "/users/me/settings",
    tag = "users",
    responses((status = 200, body = Settings, description = "The settings of the current user")),
)]
pub async fn get_user_settings(State(app): State<App>, signed: Signed) -> Result<Json<Settings>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    Ok(Json(settings::of_user(&mut scope).await?))
}

/// Change your settings
///
/// Changes the settings that the body names; null resets one.
#[utoipa::path(
    patch,
    path = "/users/me/settings",
    tag = "users",
    request_body = Settings,
    responses((status = 200, body = Settings, description = "All settings of the current user")),
)]
pub async fn change_user_settings(
    State(app): State<App>,
    signed: Signed,
    Input(body): Input<Map<String, Value>>,
) -> Result<Json<Settings>> {
    let change = SettingsChange::parse(body)?;
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    let settings = settings::change_of_user(&mut scope, &change).await?;
    scope.commit().await?;
    Ok(Json(settings))
}

/// Get the settings of a workspace
///
/// What its owner prefers in this workspace. A setting that is null is the one of the user.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/settings",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Settings, description = "The settings of the workspace")),
)]
pub async fn get_workspace_settings(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<Settings>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ReadWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let settings = settings::of_workspace(&mut scope, id).await?;
    settings.map(Json).ok_or_else(workspace_not_found)
}

/// Change the settings of a workspace
///
/// Changes the settings that the body names; null resets one to the user's.
#[utoipa::path(
    patch,
    path = "/workspaces/{id}/settings",
    tag = "workspaces",
    request_body = Settings,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Settings, description = "All settings of the workspace")),
)]
pub async fn change_workspace_settings(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(body): Input<Map<String, Value>>,
) -> Result<Json<Settings>> {
    let change = SettingsChange::parse(body)?;
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let settings =
        settings::change_of_workspace(&mut scope, id, &change).await?.ok_or_else(workspace_not_found)?;
    let detail = serde_json::to_value(&settings).expect("plain data");
    audit::write(&mut scope, "workspace.settings", &id.to_string(), detail).await?;
    scope.commit().await?;
    Ok(Json(settings))
}

impl From<InvalidSetting> for ApiError {
    fn from(invalid: InvalidSetting) -> Self {
        Self::invalid(invalid.name, &invalid.rule)
    }
}
