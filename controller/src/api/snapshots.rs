//! Snapshots of a workspace's home: list, take, name, delete, restore.

use std::{str::FromStr, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use protocol::{
    Code, Epoch, ManifestId, SnapshotId, WorkspaceId,
    api::{
        snapshot::{
            EditSnapshot, MAX_NAME_BYTES, MAX_SNAPSHOTS, NewSnapshot, Restore, Snapshot, SnapshotList,
        },
        workspace::Workspace,
    },
    workspace::Phase,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Query, Signed},
    workspaces::{allowed, get_one, news, refuse_forgotten},
};
use crate::{
    audit,
    authz::{Action, Allowed},
    core::{App, Core},
    db::Scope,
    lifecycle::{Wanted, record},
    snapshots::{self, Found, Which},
};

/// Snapshots of an answer that was not asked for fewer.
const LIMIT: u32 = 100;
/// How long a running machine may take to answer a request: it freezes within 2 s, and uploads what
/// the last few seconds wrote.
const ASKED_TIMEOUT: Duration = Duration::from_secs(30);
const NAME_RULE: &str = "1 to 100 bytes without control characters.";

#[derive(Debug, Deserialize, IntoParams)]
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
    let limit = page.limit.unwrap_or(LIMIT);
    if !(1..=MAX_SNAPSHOTS).contains(&limit) {
        return Err(ApiError::invalid("limit", "1 to 1000."));
    }
    let allowed = allowed(&app, signed.caller(), id, Action::ReadWorkspace).await?;
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
/// one: keeps the newest.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/snapshots",
    tag = "snapshots",
    request_body = NewSnapshot,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 201, body = Snapshot, description = "The snapshot")),
    extensions(("x-problem-codes" = json!(["conflict", "timeout"]))),
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
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let which = Which::One(take(&app, allowed, id).await?);
    let mut scope = app.db.scope(allowed).await?;
    let found = held(&mut scope, id, which).await?;
    snapshots::keep(&mut scope, found.snapshot.id, request.name.as_deref()).await?;
    tell(&mut scope, "snapshot.create", id, &found).await?;
    let kept = snapshots::find(&mut scope, id, which).await?.ok_or_else(missing)?;
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
    Params((id, which)): Params<(WorkspaceId, Which)>,
    Input(request): Input<EditSnapshot>,
) -> Result<Json<Snapshot>> {
    if !is_snapshot_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let found = held(&mut scope, id, which).await?;
    snapshots::rename(&mut scope, found.snapshot.id, &request.name).await?;
    tell(&mut scope, "snapshot.rename", id, &found).await?;
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
    Params((id, which)): Params<(WorkspaceId, Which)>,
) -> Result<StatusCode> {
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let found = held(&mut scope, id, which).await?;
    if found.is_head {
        return Err(ApiError::new(
            Code::Conflict,
            "This snapshot is what the home is now: it goes when a newer one has taken its place.",
        ));
    }
    snapshots::delete(&mut scope, found.snapshot.id).await?;
    tell(&mut scope, "snapshot.delete", id, &found).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a home to a snapshot
///
/// The workspace must be stopped. Its present home is kept as a snapshot first, so this can be undone.
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
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    hold_at_rest(&mut scope, id).await?;
    let found = held(&mut scope, id, Which::One(request.snapshot)).await?;
    if !found.is_head {
        snapshots::restore(&mut scope, id, &found, app.now()).await?;
        tell(&mut scope, "snapshot.restore", id, &found).await?;
    }
    scope.commit().await?;
    get_one(&app, allowed, id).await.map(Json)
}

/// No machine begins to use the home until the transaction's end.
pub async fn hold_at_rest(scope: &mut Scope, id: WorkspaceId) -> Result<()> {
    let locked = record::lock(scope.connection(), id).await?;
    let life = locked.ok_or_else(|| ApiError::not_found("workspace"))?.life;
    if life.phase == Phase::Terminated && life.wanted != Wanted::Deleted {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Conflict,
        "A home is put back while no machine uses it. Stop the workspace first, then try again.",
    ))
}

/// A snapshot that is not older than this call: of a running machine a new one, otherwise what the home is.
pub async fn take(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<SnapshotId> {
    let begun = app.now();
    let deadline = Instant::now() + ASKED_TIMEOUT;
    let mut ear = app.hub.listen();
    let mut asked: Option<Request> = None;
    let first = look(app, allowed, id).await?.head;
    let mut has_waited = false;
    loop {
        let seen = look(app, allowed, id).await?;
        if let Some(answer) = asked.and_then(|asked| asked.answer(&seen)) {
            return Ok(answer);
        }
        match seen.phase {
            Phase::Terminated | Phase::Queued => {
                let is_new = seen.head != first || seen.safe_at.is_some_and(|safe_at| safe_at >= begun);
                return at_rest(&seen, !has_waited || is_new);
            }
            Phase::Running if asked.is_none_or(|asked| asked.epoch != seen.epoch) => {
                asked = Some(ask(app, allowed, id).await?);
                continue;
            }
            // What starts is asked once it runs; what stops will be saved.
            _ => has_waited = true,
        }
        timeout_at(deadline, news(app, &mut ear, id)).await.map_err(|_| late())??;
    }
}

fn late() -> ApiError {
    ApiError::new(
        Code::Timeout,
        "The machine has not finished a snapshot within 30 s. It may still appear in the list; or try again.",
    )
}

fn at_rest(seen: &Seen, is_current: bool) -> Result<SnapshotId> {
    match seen.snapshot {
        Some(snapshot) if is_current => Ok(snapshot),
        Some(_) => Err(ApiError::new(
            Code::Conflict,
            "The machine ended before it took a snapshot. Try again to keep what was saved last.",
        )),
        None => Err(ApiError::new(
            Code::Conflict,
            "This home has no snapshot yet: it was never saved. Start the workspace, then try again.",
        )),
    }
}

/// A request that a machine has been given.
#[derive(Clone, Copy)]
struct Request {
    epoch: Epoch,
    number: i64,
}

impl Request {
    fn answer(self, seen: &Seen) -> Option<SnapshotId> {
        seen.answer.filter(|_| seen.epoch == self.epoch && seen.answered >= self.number)
    }
}

/// What a wait for a snapshot looks at.
struct Seen {
    phase: Phase,
    epoch: Epoch,
    answered: i64,
    answer: Option<SnapshotId>,
    head: Option<ManifestId>,
    /// The head's.
    snapshot: Option<SnapshotId>,
    safe_at: Option<OffsetDateTime>,
}

async fn look(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<Seen> {
    let mut scope = app.db.scope(allowed).await?;
    let tenant = scope.tenant();
    let row = sqlx::query!(
        r#"select w.phase, w.epoch, w.snapshot_answered, w.snapshot_answer, v.head, v.safe_at, s.snapshot_id as "snapshot?"
           from workspaces w
           join volumes v using (tenant_id, volume_id)
           left join snapshots s on s.tenant_id = v.tenant_id and s.volume_id = v.volume_id and s.manifest = v.head
           where w.tenant_id = $1 and w.workspace_id = $2 and w.deleted_at is null"#,
        tenant,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?
    .ok_or_else(|| ApiError::not_found("workspace"))?;
    Ok(Seen {
        phase: record::phase(&row.phase),
        epoch: Epoch(row.epoch.unsigned_abs()),
        answered: row.snapshot_answered,
        answer: row.snapshot_answer.map(SnapshotId),
        head: row.head.and_then(|bytes| record::manifest(&bytes)),
        snapshot: row.snapshot.map(SnapshotId),
        safe_at: row.safe_at,
    })
}

/// Raises the number that the runner compares with what it has answered.
async fn ask(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<Request> {
    let mut scope = app.db.scope(allowed).await?;
    let tenant = scope.tenant();
    let row = sqlx::query!(
        "update workspaces set snapshot_requested = snapshot_requested + 1 where tenant_id = $1 and workspace_id = $2
         returning epoch, snapshot_requested",
        tenant,
        id.0,
    )
    .fetch_one(scope.connection())
    .await?;
    scope.commit().await?;
    Ok(Request { epoch: Epoch(row.epoch.unsigned_abs()), number: row.snapshot_requested })
}

/// A snapshot whose row and head stay as they are until the transaction's end.
async fn held(scope: &mut Scope, id: WorkspaceId, which: Which) -> Result<Found> {
    refuse_forgotten(scope).await?;
    snapshots::find_held(scope, id, which).await?.ok_or_else(missing)
}

pub fn missing() -> ApiError {
    ApiError::new(Code::NotFound, "There is no such snapshot of this workspace (any more).")
}

async fn tell(scope: &mut Scope, action: &str, id: WorkspaceId, found: &Found) -> Result<()> {
    let detail = serde_json::json!({ "snapshot": found.snapshot.id });
    Ok(audit::write(scope, action, &id.to_string(), detail).await?)
}

fn is_snapshot_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.trim().is_empty()
        && !name.chars().any(char::is_control)
}

const LATEST: &str = "latest";

impl FromStr for Which {
    type Err = uuid::Error;

    fn from_str(text: &str) -> std::result::Result<Self, uuid::Error> {
        if text == LATEST { Ok(Self::Latest) } else { text.parse().map(Self::One) }
    }
}

impl<'de> Deserialize<'de> for Which {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "Before the exam", "ü", &"x".repeat(100)] {
            assert!(is_snapshot_name(good), "{good}");
        }
        for bad in ["", " ", "a\nb", "\u{1b}[31m", &"x".repeat(101), &"ü".repeat(51)] {
            assert!(!is_snapshot_name(bad), "{bad:?}");
        }
    }
}
