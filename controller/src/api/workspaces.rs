//! Workspaces: list, create, rename, grow, start, stop, hold, delete and undelete.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use protocol::{
    Code, WorkspaceId,
    api::workspace::{DeletedList, EditWorkspace, HoldWorkspace, NewWorkspace, Workspace, WorkspaceList},
    workspace::{Phase, StartPriority},
};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::{
    access::{apply_event, authorize_workspace, read_workspace, start, workspace_not_found},
    error::{ApiError, Result},
    extract::{Input, Params, Query, Signed, idempotency_key},
};
use crate::{
    audit,
    authz::{Action, Caller, WorkspaceFacts, authorize},
    budgets,
    config::Limits,
    core::{App, Core},
    db::{Scope, violated_constraint},
    lifecycle::{Event, record},
    workspaces::{
        create::{self, DEFAULT_TEMPLATE, MAX_HOME_MIB, NAME_RULE, Source, is_valid_name},
        deleted, idle, limits,
        view::{self, WorkspaceFilter},
    },
};

/// How long an undelete waits for the end of the sandbox. It ends in a moment, unless its host is
/// lost.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// How a workspace is started.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StartOptions {
    /// How urgent it is in the queue, among starts of the same organisation: `batch` comes after the others.
    priority: Option<StartPriority>,
}

/// List workspaces
///
/// Lists every workspace that the caller may see: their own, for teachers those of their classes,
/// for owners all.
#[utoipa::path(
    get,
    path = "/workspaces",
    tag = "workspaces",
    responses((status = 200, body = WorkspaceList, description = "The workspaces")),
)]
pub async fn list_workspaces(State(app): State<App>, signed: Signed) -> Result<Json<WorkspaceList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseWorkspaces)?).await?;
    Ok(Json(WorkspaceList { workspaces: view::list(&mut scope, WorkspaceFilter::default()).await? }))
}

/// Create a workspace
///
/// Starts it unless `start` is false. Names are unique per owner. Budgets of the user and the tenant limit
/// how many there are, what runs and the size of all homes, see `list_budgets`: beyond that nothing is
/// created, and the problem says which limit, what is used and who can raise it.
#[utoipa::path(
    post,
    path = "/workspaces",
    tag = "workspaces",
    request_body = NewWorkspace,
    params(
        ("idempotency-key" = Option<String>, Header,
            description = "Repeat a request with the same key \
                and get the first answer instead of a second workspace."),
    ),
    responses((status = 201, body = Workspace, description = "The new workspace")),
    extensions(
        ("x-problem-codes" = json!(["bad_request", "name_taken", "quota_exceeded", "conflict", "disk_full"])),
    ),
)]
pub async fn create_workspace(
    State(app): State<App>,
    signed: Signed,
    headers: HeaderMap,
    Input(request): Input<NewWorkspace>,
) -> Result<(StatusCode, Json<Workspace>)> {
    if !is_valid_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let caller = signed.caller();
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    let id = WorkspaceId::random();
    if let Some(key) = idempotency_key(&headers, &request)?
        && let Some(known) = key.claim(&mut scope, id).await?
    {
        let known = view::find(&mut scope, known).await?.ok_or_else(workspace_not_found)?;
        return Ok((StatusCode::CREATED, Json(known)));
    }
    limits::check_disk(&app, caller.tenant, caller.user)?;
    let template = request.template.as_deref().unwrap_or(DEFAULT_TEMPLATE);
    let source = Source::Template { name: template, class: None };
    let new = create::NewWorkspace { id, owner: caller.user, name: &request.name, source };
    create::create(&mut scope, app.now(), &app.config.limits, new, request.start.unwrap_or(true)).await?;
    let detail = serde_json::json!({ "name": request.name });
    audit::write(&mut scope, "workspace.create", &id.to_string(), detail).await?;
    let created = view::find(&mut scope, id).await?.ok_or_else(workspace_not_found)?;
    scope.commit().await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Get a workspace
#[utoipa::path(
    get,
    path = "/workspaces/{id}",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace")),
)]
pub async fn get_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<Workspace>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseWorkspaces)?).await?;
    view::find(&mut scope, id).await?.map(Json).ok_or_else(workspace_not_found)
}

/// Rename a workspace or grow its home
///
/// A home only grows, also while the workspace runs, within the space that its owner and tenant
/// have. The guest keeps its old host name until the next start.
#[utoipa::path(
    patch,
    path = "/workspaces/{id}",
    tag = "workspaces",
    request_body = EditWorkspace,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace with the changes")),
    extensions(("x-problem-codes" = json!(["conflict", "disk_full", "name_taken", "quota_exceeded"]))),
)]
pub async fn update_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<EditWorkspace>,
) -> Result<Json<Workspace>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    if let Some(name) = &request.name {
        if !is_valid_name(name) {
            return Err(ApiError::invalid("name", NAME_RULE));
        }
        create::rename(&mut scope, id, name).await?;
    }
    if let Some(home_mib) = request.home_mib {
        limits::check_disk(&app, signed.caller().tenant, signed.caller().user)?;
        grow_home(&mut scope, &app.config.limits, id, home_mib).await?;
    }
    if let Some(name) = &request.name {
        audit::write(&mut scope, "workspace.rename", &id.to_string(), serde_json::json!({ "name": name }))
            .await?;
    }
    let changed = view::find(&mut scope, id).await?.ok_or_else(workspace_not_found)?;
    scope.commit().await?;
    Ok(Json(changed))
}

async fn grow_home(scope: &mut Scope, limits: &Limits, id: WorkspaceId, home_mib: u32) -> Result<()> {
    if home_mib > MAX_HOME_MIB {
        return Err(ApiError::invalid("home_mib", &format!("A home has at most {MAX_HOME_MIB} MiB.")));
    }
    match create::grow_home(scope, limits, id, home_mib).await? {
        None => Err(workspace_not_found()),
        Some(before) if home_mib < before => {
            let message = format!("A home can only grow. This one has {before} MiB.");
            Err(ApiError::invalid("home_mib", &message))
        }
        Some(before) => {
            let detail = serde_json::json!({ "from": before, "to": home_mib });
            Ok(audit::write(scope, "workspace.grow", &id.to_string(), detail).await?)
        }
    }
}

/// Start a workspace
///
/// Queues the workspace to run; watch its events to follow the start. A workspace that is queued or
/// starting is returned unchanged. One that runs is a `conflict`. Beyond a budget of its owner, its class
/// or the tenant, the start is refused with `quota_exceeded`, and the problem says which limit, what is
/// used and who can raise it.
///
/// If the host is full, the start waits in a queue, at most an hour. The workspace then has its
/// `queue_position` and, if it is known, `estimated_start_at`. Stopping the workspace cancels the start.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/start",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        StartOptions,
    ),
    responses((status = 200, body = Workspace, description = "The workspace, queued")),
    extensions(("x-problem-codes" = json!(["conflict", "disk_full", "quota_exceeded"]))),
)]
pub async fn start_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Query(options): Query<StartOptions>,
) -> Result<Json<Workspace>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::RunWorkspace).await?;
    let workspace = read_workspace(&app, allowed, id).await?;
    if workspace.phase == Phase::Running {
        return Err(ApiError::new(Code::Conflict, "The workspace is running already."));
    }
    start(&app, allowed, id, options.priority.unwrap_or_default()).await?;
    read_workspace(&app, allowed, id).await.map(Json)
}

/// Stop a workspace
///
/// Saves the home, then ends the sandbox. A workspace that is stopping or stopped is returned
/// unchanged.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/stop",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace, stopping")),
)]
pub async fn stop_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<Workspace>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::RunWorkspace).await?;
    apply_event(&app, allowed, id, Event::Stop, "workspace.stop").await?;
    read_workspace(&app, allowed, id).await.map(Json)
}

/// Hold a workspace
///
/// The workspace is not stopped for this time, even if nobody uses it. The operator limits the time; a later
/// hold replaces an earlier one, and a stop ends it. `seconds` 0 releases the workspace.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/hold",
    tag = "workspaces",
    request_body = HoldWorkspace,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace, held")),
    extensions(("x-problem-codes" = json!(["not_running"]))),
)]
pub async fn hold_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<HoldWorkspace>,
) -> Result<Json<Workspace>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::RunWorkspace).await?;
    let (now, limits) = (app.now(), app.config.limits.idle);
    let wanted = request.seconds.map(Duration::from_secs);
    let held_until =
        idle::hold_until(now, wanted, limits.stop_after, limits.max_hold).map_err(|max_hold| {
            let hours = max_hold.as_secs_f64() / 3600.0;
            let detail = format!(
                "Cannot hold the workspace for so long: {hours} hours are the limit. Ask the operator of \
             this server for more."
            );
            ApiError::invalid("seconds", &detail)
        })?;
    let mut scope = app.db.scope(allowed).await?;
    let mut locked = record::lock(scope.connection(), id).await?.ok_or_else(workspace_not_found)?;
    if locked.life.phase() != Phase::Running {
        return Err(ApiError::new(Code::NotRunning, "Cannot hold the workspace: it is not running."));
    }
    idle::apply_hold(&mut locked.home, held_until);
    record::save(scope.connection(), now, &mut locked, vec![]).await?;
    let detail = serde_json::json!({ "seconds": held_until.map(|until| (until - now).whole_seconds()) });
    audit::write(&mut scope, "workspace.hold", &id.to_string(), detail).await?;
    let held = view::find(&mut scope, id).await?.ok_or_else(workspace_not_found)?;
    scope.commit().await?;
    Ok(Json(held))
}

/// Delete a workspace
///
/// A running sandbox ends first, without another snapshot. The home is kept for some days: see
/// `undelete_workspace`.
#[utoipa::path(
    delete,
    path = "/workspaces/{id}",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 204, description = "The workspace is deleted")),
)]
pub async fn delete_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<StatusCode> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    apply_event(&app, allowed, id, Event::Delete, "workspace.delete").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List deleted workspaces
///
/// Lists those that the caller can still undelete, the last deleted first.
#[utoipa::path(
    get,
    path = "/workspaces/deleted",
    tag = "workspaces",
    responses((status = 200, body = DeletedList, description = "The deleted workspaces")),
)]
pub async fn list_deleted_workspaces(State(app): State<App>, signed: Signed) -> Result<Json<DeletedList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseWorkspaces)?).await?;
    let grace = time::Duration::try_from(app.config.history.deleted_grace).unwrap_or(time::Duration::MAX);
    Ok(Json(DeletedList { workspaces: deleted::list(&mut scope, app.now(), grace).await? }))
}

/// Undelete a workspace
///
/// Brings the workspace back with the home that was saved last, if its home is still kept.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/undelete",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace, stopped")),
    extensions(("x-problem-codes" = json!(["conflict", "name_taken", "quota_exceeded"]))),
)]
pub async fn undelete_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<Workspace>> {
    let not_found = || ApiError::not_found("deleted workspace");
    let caller = signed.caller();
    let since = app.now() - app.config.history.deleted_grace;
    let facts = find_deleted(&app, caller, id, since).await?.ok_or_else(not_found)?;
    authorize(caller, Action::ReadWorkspace(facts)).map_err(|_| not_found())?;
    let mut scope = app.db.scope(authorize(caller, Action::ChangeWorkspace(facts))?).await?;
    create::check_key(&mut scope).await?;
    let undeleted = deleted::undelete(&mut scope, id, since).await;
    let undeleted = undeleted.map_err(|error| match violated_constraint(&error) {
        Some("workspaces_name") => ApiError::new(
            Code::NameTaken,
            "Another workspace has its name now. Rename that one, then try again.",
        ),
        _ => error.into(),
    })?;
    if !undeleted {
        return Err(not_found());
    }
    budgets::check_created(&mut scope, &app.config.limits, id).await?;
    audit::write(&mut scope, "workspace.undelete", &id.to_string(), serde_json::json!({})).await?;
    let workspace = view::find(&mut scope, id).await?.ok_or_else(not_found)?;
    scope.commit().await?;
    Ok(Json(workspace))
}

/// Finds a deleted workspace. If its sandbox is still ending, waits for that, so that a deletion
/// can be undone at once.
async fn find_deleted(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    since: OffsetDateTime,
) -> Result<Option<WorkspaceFacts>> {
    let deadline = Instant::now() + DISCARD_TIMEOUT;
    let mut subscription = app.events.subscribe();
    loop {
        let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
        // In this order: a workspace that ends in between is found deleted.
        let is_ending = view::find(&mut scope, id).await?.is_some_and(|found| found.phase == Phase::Stopping);
        if let Some(facts) = deleted::find_facts(&mut scope, id, since).await? {
            return Ok(Some(facts));
        }
        drop(scope);
        if !is_ending {
            return Ok(None);
        }
        match timeout_at(deadline, app.wait_for_change(&mut subscription, id)).await {
            Ok(changed) => changed?,
            Err(_elapsed) => return Ok(None),
        }
    }
}
