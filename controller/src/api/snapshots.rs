//! Snapshots of a workspace's home: list, create, name, delete and restore.

use axum::{Json, extract::State, http::StatusCode};
use protocol::{
    Code, WorkspaceId,
    api::{
        snapshot::{
            EditSnapshot, MAX_NAME_BYTES, MAX_SNAPSHOTS, NewSnapshot, Restore, Snapshot, SnapshotList,
        },
        workspace::Workspace,
    },
};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::IntoParams;

use super::{
    access::{authorize_workspace, lock_at_rest, read_workspace, snapshot_not_found, workspace_not_found},
    error::{ApiError, Result},
    extract::{Input, Params, Query, Signed},
};
use crate::{
    audit,
    authz::Action,
    core::App,
    db::Scope,
    snapshots::{self, SnapshotRecord, SnapshotRef},
    workspaces::{
        create,
        requested_snapshots::{TakeSnapshotError, take_snapshot},
    },
};

/// Snapshots of a page if no limit is given.
const DEFAULT_LIMIT: u32 = 100;
const NAME_RULE: &str = "Use 1 to 100 bytes without control characters.";

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only those before this instant: of the last one that was listed.
    #[serde(default, with = "time::serde::rfc3339::option")]
    before: Option<OffsetDateTime>,
    /// 1 to 1000; absent: 100.
    #[serde(default)]
    limit: Option<u32>,
}

/// List snapshots
///
/// Lists the committed snapshots of a workspace's home, newest first.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        Page,
    ),
    responses((status = 200, body = SnapshotList, description = "A page of snapshots")),
)]
pub async fn list_snapshots(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Query(page): Query<Page>,
) -> Result<Json<SnapshotList>> {
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_SNAPSHOTS).contains(&limit) {
        return Err(ApiError::invalid("limit", "Use 1 to 1000."));
    }
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ReadWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    // One more than is shown tells whether there are older ones.
    let mut found = snapshots::list(&mut scope, id, page.before, i64::from(limit) + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Ok(Json(SnapshotList { snapshots: found.into_iter().map(|one| one.snapshot).collect(), more }))
}

/// Create a snapshot
///
/// Of a running workspace: takes one now and answers when it is complete in the store. Of a stopped
/// one: keeps the newest. What the requested and named snapshots of a home have stored is limited.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/snapshots",
    tag = "snapshots",
    request_body = NewSnapshot,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 201, body = Snapshot, description = "The snapshot")),
    extensions(("x-problem-codes" = json!(["conflict", "quota_exceeded", "timeout"]))),
)]
pub async fn create_snapshot(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<NewSnapshot>,
) -> Result<(StatusCode, Json<Snapshot>)> {
    if !request.name.as_deref().is_none_or(is_snapshot_name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let reference = SnapshotRef::Id(take_snapshot(&app, allowed, id).await?);
    let mut scope = app.db.scope(allowed).await?;
    let found = find_locked(&mut scope, id, reference).await?;
    snapshots::keep(&mut scope, found.snapshot.id, request.name.as_deref()).await?;
    write_audit(&mut scope, "snapshot.create", id, &found).await?;
    let kept = snapshots::find(&mut scope, id, reference).await?.ok_or_else(snapshot_not_found)?;
    scope.commit().await?;
    Ok((StatusCode::CREATED, Json(kept.snapshot)))
}

/// Name a snapshot
///
/// A named snapshot is never pruned.
#[utoipa::path(
    patch,
    path = "/workspaces/{id}/snapshots/{snapshot}",
    tag = "snapshots",
    request_body = EditSnapshot,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
    ),
    responses((status = 200, body = Snapshot, description = "The snapshot with its name")),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn update_snapshot(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Input(request): Input<EditSnapshot>,
) -> Result<Json<Snapshot>> {
    if !is_snapshot_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let found = find_locked(&mut scope, id, reference).await?;
    snapshots::rename(&mut scope, found.snapshot.id, &request.name).await?;
    write_audit(&mut scope, "snapshot.rename", id, &found).await?;
    scope.commit().await?;
    Ok(Json(Snapshot { name: Some(request.name), ..found.snapshot }))
}

/// Delete a snapshot
///
/// The newest state of a home cannot be deleted.
#[utoipa::path(
    delete,
    path = "/workspaces/{id}/snapshots/{snapshot}",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
    ),
    responses((status = 204, description = "The snapshot is deleted")),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn delete_snapshot(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
) -> Result<StatusCode> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let found = find_locked(&mut scope, id, reference).await?;
    if found.is_head {
        return Err(ApiError::new(
            Code::Conflict,
            "Cannot delete the snapshot: it is what the home is now. It can be deleted once a newer \
             one has replaced it.",
        ));
    }
    snapshots::delete(&mut scope, found.snapshot.id).await?;
    write_audit(&mut scope, "snapshot.delete", id, &found).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a home to a snapshot
///
/// The workspace must be stopped. Its present home is kept as a snapshot first, so this can be
/// undone.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/restore",
    tag = "snapshots",
    request_body = Restore,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace with the restored home")),
    extensions(("x-problem-codes" = json!(["conflict", "not_running"]))),
)]
pub async fn restore_home(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<Restore>,
) -> Result<Json<Workspace>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    lock_at_rest(&mut scope, id).await?;
    let found = find_locked(&mut scope, id, SnapshotRef::Id(request.snapshot)).await?;
    if !found.is_head {
        snapshots::restore(&mut scope, id, &found, app.now()).await?;
        write_audit(&mut scope, "snapshot.restore", id, &found).await?;
    }
    scope.commit().await?;
    read_workspace(&app, allowed, id).await.map(Json)
}

/// Finds a snapshot and locks it: neither it nor the head changes until the transaction ends.
async fn find_locked(scope: &mut Scope, id: WorkspaceId, reference: SnapshotRef) -> Result<SnapshotRecord> {
    create::check_key(scope).await?;
    snapshots::find_locked(scope, id, reference).await?.ok_or_else(snapshot_not_found)
}

async fn write_audit(scope: &mut Scope, action: &str, id: WorkspaceId, found: &SnapshotRecord) -> Result<()> {
    let detail = serde_json::json!({ "snapshot": found.snapshot.id });
    Ok(audit::write(scope, action, &id.to_string(), detail).await?)
}

fn is_snapshot_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.trim().is_empty()
        && !name.chars().any(char::is_control)
}

impl From<TakeSnapshotError> for ApiError {
    fn from(error: TakeSnapshotError) -> Self {
        match error {
            TakeSnapshotError::NoWorkspace => workspace_not_found(),
            TakeSnapshotError::Timeout => Self::new(
                Code::Timeout,
                "Cannot finish the snapshot within 30 s. It may still appear in the list. Try again \
                 otherwise.",
            ),
            TakeSnapshotError::Ended => Self::new(
                Code::Conflict,
                "Cannot take a snapshot: the workspace ended before. Try again to keep what was saved last.",
            ),
            TakeSnapshotError::NeverSaved => Self::new(
                Code::Conflict,
                "Cannot take a snapshot: this home has never been saved. Start the workspace, then try \
                 again.",
            ),
            TakeSnapshotError::Limit(error) => error.into(),
            TakeSnapshotError::ShuttingDown(error) => error.into(),
            TakeSnapshotError::Database(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_name_rule_is_checked() {
        for good in ["a", "Before the exam", "ü", &"x".repeat(100)] {
            assert!(is_snapshot_name(good), "{good}");
        }
        for bad in ["", " ", "a\nb", "\u{1b}[31m", &"x".repeat(101), &"ü".repeat(51)] {
            assert!(!is_snapshot_name(bad), "{bad:?}");
        }
    }
}
