//! Forks workspaces.

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
    access::{authorize_workspace, snapshot_not_found, workspace_not_found},
    error::{ApiError, Result},
    extract::{Input, Params, Signed, idempotency_key},
};
use crate::{
    audit,
    authz::Action,
    budgets,
    core::App,
    db::Scope,
    snapshots::{self, SnapshotRef},
    workspaces::{
        create::{self, NAME_RULE, NewWorkspace, Source, is_valid_name},
        limits,
        requested_snapshots::take_snapshot,
        view,
    },
};

/// Fork a workspace
///
/// Creates a workspace of the caller whose home starts as a copy of this one. No data is copied,
/// and a running origin continues. With a template it moves to another size or tier.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/fork",
    tag = "snapshots",
    request_body = Fork,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("idempotency-key" = Option<String>, Header,
            description = "Repeat a request with the same key \
                and get the first answer instead of a second workspace."),
    ),
    responses((status = 201, body = Workspace, description = "The new workspace")),
    extensions(
        ("x-problem-codes" = json!([
            "bad_request", "conflict", "disk_full", "name_taken", "quota_exceeded", "timeout"
        ])),
    ),
)]
pub async fn fork_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(origin): Params<WorkspaceId>,
    headers: HeaderMap,
    Input(request): Input<Fork>,
) -> Result<(StatusCode, Json<Workspace>)> {
    if !is_valid_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let caller = signed.caller();
    let allowed = authorize_workspace(&app, caller, origin, Action::ForkWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    // The key stands for this request to this workspace.
    let key = idempotency_key(&headers, &("fork", origin, &request))?;
    if let Some(key) = &key
        && let Some(known) = key.find(&mut scope).await?
    {
        return created(&mut scope, known).await;
    }
    // Checked before the runner is asked for a snapshot. The size of the home is checked with it.
    limits::check_disk(&app, caller.tenant, caller.user)?;
    create::check_key(&mut scope).await?;
    budgets::check_new_home(&mut scope, &app.config.limits, None, 1).await?;
    drop(scope);
    let base = match request.snapshot {
        Some(snapshot) => snapshot,
        None => take_snapshot(&app, allowed, origin).await?,
    };
    let mut scope = app.db.scope(allowed).await?;
    let id = WorkspaceId::random();
    if let Some(key) = &key
        && let Some(known) = key.claim(&mut scope, id).await?
    {
        return created(&mut scope, known).await;
    }
    let base = snapshots::find_locked(&mut scope, origin, SnapshotRef::Id(base)).await?;
    let base = base.ok_or_else(snapshot_not_found)?;
    let source = Source::Fork { origin, snapshot: &base, template: request.template.as_deref() };
    let new = NewWorkspace { id, owner: caller.user, name: &request.name, source };
    create::create(&mut scope, app.now(), &app.config.limits, new, request.start.unwrap_or(true)).await?;
    let detail = serde_json::json!({
        "name": request.name, "workspace": id, "snapshot": base.snapshot.id,
    });
    audit::write(&mut scope, "workspace.fork", &origin.to_string(), detail).await?;
    let response = created(&mut scope, id).await?;
    scope.commit().await?;
    Ok(response)
}

async fn created(scope: &mut Scope, id: WorkspaceId) -> Result<(StatusCode, Json<Workspace>)> {
    let workspace = view::find(scope, id).await?.ok_or_else(workspace_not_found)?;
    Ok((StatusCode::CREATED, Json(workspace)))
}
