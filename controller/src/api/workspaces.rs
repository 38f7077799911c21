//! Workspaces: list, create, rename, grow, start, stop, delete and bring back.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use protocol::{
    Code, UserId, WorkspaceId,
    api::workspace::{DeletedList, EditWorkspace, NewWorkspace, Workspace, WorkspaceList},
    workspace::Phase,
};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{
    error::{ApiError, Result, violated},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, Allowed, Caller, WorkspaceFacts, authorize},
    core::{App, Core},
    db::Scope,
    events::Ear,
    lifecycle::{Event, Wanted, record},
    tenants,
    workspaces::{
        create::{self, Key, MAX_HOME_MIB, MAX_WORKSPACES_OF_ONE, is_name},
        deleted,
        view::{self, Which},
    },
};

pub const DEFAULT_TEMPLATE: &str = "base";
/// A machine that is given up is gone in a moment; one whose host is lost, later.
const DISCARDED_TIMEOUT: Duration = Duration::from_secs(10);
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
const MAX_IDEMPOTENCY_BYTES: usize = 200;
pub const NAME_RULE: &str = "1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit.";

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
    Ok(Json(WorkspaceList { workspaces: view::list(&mut scope, Which::default()).await? }))
}

/// Create a workspace
///
/// Starts it unless `start` is false. Names are unique per owner.
#[utoipa::path(
    post,
    path = "/workspaces",
    tag = "workspaces",
    request_body = NewWorkspace,
    params(
        ("idempotency-key" = Option<String>, Header,
            description = "Repeat a request with the same key and get the first answer instead of a second workspace."),
    ),
    responses((status = 201, body = Workspace, description = "The new workspace")),
    extensions(("x-problem-codes" = json!(["bad_request", "name_taken", "quota_exceeded", "conflict"]))),
)]
pub async fn create_workspace(
    State(app): State<App>,
    signed: Signed,
    headers: HeaderMap,
    Input(request): Input<NewWorkspace>,
) -> Result<(StatusCode, Json<Workspace>)> {
    if !is_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let caller = signed.caller();
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    let workspace = WorkspaceId::random();
    if let Some(known) = claim(&mut scope, &headers, &request, workspace).await? {
        let known = view::one(&mut scope, known).await?;
        return Ok((StatusCode::CREATED, Json(known.ok_or_else(|| ApiError::not_found("workspace"))?)));
    }
    refuse_forgotten(&mut scope).await?;
    check_quota(&mut scope, caller.user).await?;
    let template = request.template.as_deref().unwrap_or(DEFAULT_TEMPLATE);
    let made = create::insert(&mut scope, workspace, caller.user, &request.name, template, None).await;
    if !made.map_err(|error| name_taken(error, &request.name))? {
        return Err(ApiError::invalid("template", "There is no such template."));
    }
    if request.start.unwrap_or(true) {
        record::apply(scope.connection(), app.now(), workspace, Event::Start).await?;
    }
    audit::write(
        &mut scope,
        "workspace.create",
        &workspace.to_string(),
        serde_json::json!({ "name": request.name }),
    )
    .await?;
    let made = view::one(&mut scope, workspace).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
    scope.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub async fn check_quota(scope: &mut Scope, owner: UserId) -> Result<()> {
    if create::count(scope, owner).await? < MAX_WORKSPACES_OF_ONE {
        return Ok(());
    }
    let detail = format!("You have {MAX_WORKSPACES_OF_ONE} workspaces. Delete one first.");
    Err(ApiError::new(Code::QuotaExceeded, detail))
}

/// Nothing that needs a home goes on in a tenant whose key was destroyed.
pub async fn refuse_forgotten(scope: &mut Scope) -> Result<()> {
    if tenants::is_forgotten(scope).await? { Err(forgotten()) } else { Ok(()) }
}

pub fn forgotten() -> ApiError {
    ApiError::new(Code::Conflict, tenants::FORGOTTEN)
}

pub fn name_taken(error: sqlx::Error, name: &str) -> ApiError {
    match violated(&error) {
        Some("workspaces_name") => {
            ApiError::new(Code::NameTaken, format!("You have a workspace `{name}`. Choose another name."))
        }
        _ => error.into(),
    }
}

/// What an earlier request with the same key made; otherwise the key is this request's from now on.
pub async fn claim(
    scope: &mut Scope,
    headers: &HeaderMap,
    request: &impl Serialize,
    fresh: WorkspaceId,
) -> Result<Option<WorkspaceId>> {
    let Some(key) = idempotency_key(headers)? else { return Ok(None) };
    made(create::claim_key(scope, key, &hash(request), fresh).await?)
}

/// As [`claim`], and claims nothing.
pub async fn recall(
    scope: &mut Scope,
    headers: &HeaderMap,
    request: &impl Serialize,
) -> Result<Option<WorkspaceId>> {
    let Some(key) = idempotency_key(headers)? else { return Ok(None) };
    made(create::recall_key(scope, key, &hash(request)).await?)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>> {
    let Some(key) = headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=MAX_IDEMPOTENCY_BYTES).contains(&key.len()));
    key.map(Some).ok_or_else(|| ApiError::new(Code::BadRequest, "An idempotency key is 1 to 200 characters."))
}

fn hash(request: &impl Serialize) -> [u8; 32] {
    *blake3::hash(&serde_json::to_vec(request).expect("a request is plain data")).as_bytes()
}

fn made(key: Key) -> Result<Option<WorkspaceId>> {
    match key {
        Key::Fresh => Ok(None),
        Key::Known(workspace) => Ok(Some(workspace)),
        Key::Other => {
            Err(ApiError::new(Code::Conflict, "This idempotency key was used for another request."))
        }
    }
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
    view::one(&mut scope, id).await?.map(Json).ok_or_else(|| ApiError::not_found("workspace"))
}

/// Rename a workspace or grow its home
///
/// A home only grows, also while the workspace runs. The guest keeps its old host name until the next start.
#[utoipa::path(
    patch,
    path = "/workspaces/{id}",
    tag = "workspaces",
    request_body = EditWorkspace,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace with the changes")),
    extensions(("x-problem-codes" = json!(["conflict", "name_taken", "quota_exceeded"]))),
)]
pub async fn update_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<EditWorkspace>,
) -> Result<Json<Workspace>> {
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    if let Some(name) = &request.name {
        if !is_name(name) {
            return Err(ApiError::invalid("name", NAME_RULE));
        }
        create::rename(&mut scope, id, name).await.map_err(|error| name_taken(error, name))?;
        audit::write(&mut scope, "workspace.rename", &id.to_string(), serde_json::json!({ "name": name }))
            .await?;
    }
    if let Some(home_mib) = request.home_mib {
        grow(&mut scope, id, home_mib).await?;
    }
    let changed = view::one(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
    scope.commit().await?;
    Ok(Json(changed))
}

async fn grow(scope: &mut Scope, id: WorkspaceId, home_mib: u32) -> Result<()> {
    if home_mib > MAX_HOME_MIB {
        return Err(ApiError::invalid("home_mib", &format!("A home has at most {MAX_HOME_MIB} MiB.")));
    }
    match create::grow(scope, id, home_mib).await? {
        None => Err(ApiError::not_found("workspace")),
        Some(before) if home_mib < before => {
            let message = format!("A home grows only. This one has {before} MiB.");
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
/// Queues the workspace to run. A workspace that is queued, starting or running is returned
/// unchanged; watch its events to follow the start.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/start",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace, queued")),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn start_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<Workspace>> {
    let allowed = allowed(&app, signed.caller(), id, Action::RunWorkspace).await?;
    let now = get_one(&app, allowed, id).await?;
    if now.phase == Phase::Running {
        return Err(ApiError::new(Code::Conflict, "The workspace is running already."));
    }
    change(&app, allowed, id, Event::Start, "workspace.start").await?;
    get_one(&app, allowed, id).await.map(Json)
}

/// Stop a workspace
///
/// Saves the home, then ends the sandbox. A workspace that is stopping or stopped is returned unchanged.
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
    let allowed = allowed(&app, signed.caller(), id, Action::RunWorkspace).await?;
    change(&app, allowed, id, Event::Stop, "workspace.stop").await?;
    get_one(&app, allowed, id).await.map(Json)
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
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    change(&app, allowed, id, Event::Delete, "workspace.delete").await?;
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
    let gone = || ApiError::not_found("deleted workspace");
    let caller = signed.caller();
    let since = app.now() - app.config.history.deleted_grace;
    let facts = deleted_facts(&app, caller, id, since).await?.ok_or_else(gone)?;
    authorize(caller, Action::ReadWorkspace(facts)).map_err(|_| gone())?;
    let mut scope = app.db.scope(authorize(caller, Action::ChangeWorkspace(facts))?).await?;
    refuse_forgotten(&mut scope).await?;
    check_quota(&mut scope, facts.owner).await?;
    let back = deleted::bring_back(&mut scope, id, since).await;
    let back = back.map_err(|error| match violated(&error) {
        Some("workspaces_name") => ApiError::new(
            Code::NameTaken,
            "Another workspace has its name now. Rename that one first, then try again.",
        ),
        _ => error.into(),
    })?;
    if !back {
        return Err(gone());
    }
    audit::write(&mut scope, "workspace.undelete", &id.to_string(), serde_json::json!({})).await?;
    let back = view::one(&mut scope, id).await?.ok_or_else(gone)?;
    scope.commit().await?;
    Ok(Json(back))
}

/// A deletion that is taken back at once is taken back all the same: its machine's end is waited for.
async fn deleted_facts(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    since: time::OffsetDateTime,
) -> Result<Option<WorkspaceFacts>> {
    let deadline = Instant::now() + DISCARDED_TIMEOUT;
    let mut ear = app.hub.listen();
    loop {
        let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
        // In this order: what ends in between is found deleted.
        let ends = view::one(&mut scope, id).await?.is_some_and(|seen| seen.phase == Phase::Stopping);
        if let Some(facts) = deleted::facts(&mut scope, id, since).await? {
            return Ok(Some(facts));
        }
        drop(scope);
        if !ends {
            return Ok(None);
        }
        match timeout_at(deadline, news(app, &mut ear, id)).await {
            Ok(news) => news?,
            Err(_late) => return Ok(None),
        }
    }
}

/// Waits until a workspace may have changed, or the server ends.
pub async fn news(app: &Core, ear: &mut Ear, id: WorkspaceId) -> Result<()> {
    tokio::select! {
        () = app.tasks.shutdown().cancelled() => {
            Err(ApiError::new(Code::Unavailable, "The server is ending. Try again in a moment."))
        }
        () = ear.hear_of(id) => Ok(()),
    }
}

/// Leave to do something to a workspace. One that may not even be seen is not there.
pub async fn allowed(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    action: fn(WorkspaceFacts) -> Action,
) -> Result<Allowed> {
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    let row = view::row(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
    authorize(caller, Action::ReadWorkspace(row.facts())).map_err(|_| ApiError::not_found("workspace"))?;
    Ok(authorize(caller, action(row.facts()))?)
}

pub async fn get_one(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<Workspace> {
    let mut scope = app.db.scope(allowed).await?;
    view::one(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("workspace"))
}

/// Lets a person's wish happen to a workspace, in a transaction that holds this one life only.
/// True: it changed something.
pub async fn change(
    app: &Core,
    allowed: Allowed,
    id: WorkspaceId,
    event: Event,
    action: &str,
) -> Result<bool> {
    let mut scope = app.db.scope(allowed).await?;
    if event == Event::Start {
        refuse_forgotten(&mut scope).await?;
    }
    let connection = scope.connection();
    let Some(mut locked) = record::lock(connection, id).await? else {
        return Err(ApiError::not_found("workspace"));
    };
    if locked.life.wanted == Wanted::Deleted && event != Event::Delete {
        return Err(ApiError::new(Code::Conflict, "The workspace is being deleted."));
    }
    let before = locked.life.clone();
    let tasks = record::advance(connection, app.now(), &mut locked, event).await?;
    audit::write(&mut scope, action, &id.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    app.perform(tasks);
    Ok(before.phase != locked.life.phase || before.wanted != locked.life.wanted)
}
