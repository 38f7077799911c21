//! Forks of workspaces.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use protocol::{
    WorkspaceId,
    api::{snapshot::Fork, workspace::Workspace},
};

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
    snapshots::{missing, take},
    workspaces::{NAME_RULE, allowed, check_quota, claim, name_taken, recall, refuse_forgotten},
};
use crate::{
    audit,
    authz::Action,
    core::App,
    db::Scope,
    lifecycle::{Event, record},
    snapshots::{self, Which},
    workspaces::{create::is_name, fork, view},
};

/// Fork a workspace
///
/// Creates a workspace of the caller whose home starts as a copy of this one. No data is copied,
/// and a running origin continues.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/fork",
    tag = "snapshots",
    request_body = Fork,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("idempotency-key" = Option<String>, Header,
            description = "Repeat a request with the same key and get the first answer instead of a second workspace."),
    ),
    responses((status = 201, body = Workspace, description = "The new workspace")),
    extensions(("x-problem-codes" = json!(["bad_request", "conflict", "name_taken", "quota_exceeded", "timeout"]))),
)]
pub async fn fork_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(origin): Params<WorkspaceId>,
    headers: HeaderMap,
    Input(request): Input<Fork>,
) -> Result<(StatusCode, Json<Workspace>)> {
    if !is_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let caller = signed.caller();
    let allowed = allowed(&app, caller, origin, Action::ForkWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    // A key stands for what was asked, and of which workspace.
    let asked = ("fork", origin, &request);
    if let Some(known) = recall(&mut scope, &headers, &asked).await? {
        return answer(&mut scope, known).await;
    }
    refuse_forgotten(&mut scope).await?;
    // Told before a machine is asked for anything.
    check_quota(&mut scope, caller.user).await?;
    drop(scope);
    let base = match request.snapshot {
        Some(snapshot) => snapshot,
        None => take(&app, allowed, origin).await?,
    };
    let mut scope = app.db.scope(allowed).await?;
    let workspace = WorkspaceId::random();
    if let Some(known) = claim(&mut scope, &headers, &asked, workspace).await? {
        return answer(&mut scope, known).await;
    }
    check_quota(&mut scope, caller.user).await?;
    let base = snapshots::find_held(&mut scope, origin, Which::One(base)).await?.ok_or_else(missing)?;
    let now = app.now();
    let made = fork::insert(&mut scope, workspace, caller.user, &request.name, (origin, &base), now).await;
    if !made.map_err(|error| name_taken(error, &request.name))? {
        return Err(ApiError::not_found("workspace"));
    }
    if request.start.unwrap_or(true) {
        record::apply(scope.connection(), now, workspace, Event::Start).await?;
    }
    let detail = serde_json::json!({
        "name": request.name, "workspace": workspace, "snapshot": base.snapshot.id,
    });
    audit::write(&mut scope, "workspace.fork", &origin.to_string(), detail).await?;
    let made = answer(&mut scope, workspace).await?;
    scope.commit().await?;
    Ok(made)
}

async fn answer(scope: &mut Scope, made: WorkspaceId) -> Result<(StatusCode, Json<Workspace>)> {
    let made = view::one(scope, made).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
    Ok((StatusCode::CREATED, Json(made)))
}
