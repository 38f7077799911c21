//! What several handlers need to act on a workspace: permission, the tenant's key, and events.

use protocol::{
    Code, WorkspaceId,
    api::workspace::Workspace,
    workspace::{Phase, StartPriority},
};

use super::error::{ApiError, Result};
use crate::{
    audit,
    authz::{Action, Allowed, Caller, WorkspaceFacts, authorize},
    budgets,
    core::Core,
    db::Scope,
    lifecycle::{DesiredState, Event, record},
    workspaces::{access_log::ContentAccess, create, limits, view},
};

/// Authorizes an action on a workspace. One that the caller may not even see is not found.
pub async fn authorize_workspace(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    action: fn(WorkspaceFacts) -> Action,
) -> Result<Allowed> {
    let facts = find_facts(app, caller, id).await?;
    Ok(authorize(caller, action(facts))?)
}

/// Finds what permissions on a workspace depend on. One that the caller may not see is not found.
pub async fn find_facts(app: &Core, caller: &Caller, id: WorkspaceId) -> Result<WorkspaceFacts> {
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    read_facts(&mut scope, id).await
}

async fn read_facts(scope: &mut Scope, id: WorkspaceId) -> Result<WorkspaceFacts> {
    let hidden = || ApiError::hidden("workspace");
    match view::find_row(scope, id).await? {
        Some(row) => {
            authorize(&scope.caller(), Action::ReadWorkspace(row.facts())).map_err(|_| hidden())?;
            Ok(row.facts())
        }
        None if view::is_hidden(scope, id).await? => Err(hidden()),
        None => Err(workspace_not_found()),
    }
}

/// Authorizes reading the files of a workspace's snapshots. The audit log mentions it if the workspace
/// is another user's.
pub async fn authorize_reading(app: &Core, caller: &Caller, id: WorkspaceId) -> Result<Allowed> {
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    let facts = read_facts(&mut scope, id).await?;
    let allowed = authorize(caller, Action::ReadWorkspace(facts))?;
    let content = (facts.owner != caller.user).then_some(ContentAccess::Browse);
    app.access_log.commit(scope, content, id, facts.owner).await?;
    Ok(allowed)
}

/// Reads a workspace as the caller sees it.
pub async fn read_workspace(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<Workspace> {
    let mut scope = app.db.scope(allowed).await?;
    view::find(&mut scope, id).await?.ok_or_else(workspace_not_found)
}

/// Locks a workspace that is at rest: no runner starts to use its home until the transaction ends.
pub async fn lock_at_rest(scope: &mut Scope, id: WorkspaceId) -> Result<()> {
    let locked = record::lock(scope.connection(), id).await?;
    let life = locked.ok_or_else(workspace_not_found)?.life;
    if life.phase() == Phase::Terminated && life.desired_state != DesiredState::Deleted {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Conflict,
        "Cannot restore the home: the workspace is in use. Stop it first, then try again.",
    ))
}

pub fn workspace_not_found() -> ApiError {
    ApiError::not_found("workspace")
}

pub fn snapshot_not_found() -> ApiError {
    ApiError::new(Code::NotFound, "This workspace has no such snapshot. It may have been pruned.")
}

/// Starts a workspace if the budgets allow it, in a transaction of its own. Returns whether it changed
/// anything.
pub async fn start(app: &Core, allowed: Allowed, id: WorkspaceId, priority: StartPriority) -> Result<bool> {
    apply(app, allowed, id, (Event::Start, priority), "workspace.start").await
}

/// Applies another event of a user than a start to a workspace, in a transaction of its own, and records
/// `action` in the audit log. Returns whether it changed anything.
pub async fn apply_event(
    app: &Core,
    allowed: Allowed,
    id: WorkspaceId,
    event: Event,
    action: &str,
) -> Result<bool> {
    apply(app, allowed, id, (event, StartPriority::default()), action).await
}

async fn apply(
    app: &Core,
    allowed: Allowed,
    id: WorkspaceId,
    (event, priority): (Event, StartPriority),
    action: &str,
) -> Result<bool> {
    let now = app.now();
    let mut scope = app.db.scope(allowed).await?;
    if event == Event::Start {
        create::check_key(&mut scope).await?;
    }
    let mut locked = record::lock(scope.connection(), id).await?.ok_or_else(workspace_not_found)?;
    if locked.life.desired_state == DesiredState::Deleted && event != Event::Delete {
        return Err(ApiError::new(Code::Conflict, "The workspace is being deleted."));
    }
    if event == Event::Start && locked.life.desired_state != DesiredState::Running {
        limits::check_disk(app, locked.tenant, locked.owner)?;
        budgets::admit_start(&mut scope, &app.config.limits, id, priority, now).await?;
    }
    let is_deletion = event == Event::Delete;
    let before = (locked.life.phase(), locked.life.desired_state);
    let effects = locked.apply(now, event);
    let runners = record::save(scope.connection(), now, &mut locked, effects).await?;
    audit::write(&mut scope, action, &id.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    app.end_runners(runners);
    if is_deletion {
        app.cache_notice.notify_one();
    }
    Ok(before != (locked.life.phase(), locked.life.desired_state))
}
