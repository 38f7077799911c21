//! Lives in the database: read under a lock, stepped by the pure function, written back. Nothing else writes these columns.

use protocol::{
    Epoch, ManifestId, WorkspaceId,
    workspace::{Failure, Phase, StepProgress},
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::lifecycle::{Effect, Event, Life, Serving, Wanted, step};

/// A workspace whose row this transaction holds.
pub struct Locked {
    pub tenant: Uuid,
    pub workspace: WorkspaceId,
    pub volume: Uuid,
    pub runner_hash: Option<Vec<u8>>,
    pub life: Life,
}

/// What must be done to processes once the transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Launch(WorkspaceId, Epoch),
    Kill(WorkspaceId, Epoch),
}

struct Row {
    tenant_id: Uuid,
    volume_id: Uuid,
    runner_hash: Option<Vec<u8>>,
    phase: String,
    wanted: String,
    epoch: i64,
    deadline: Option<OffsetDateTime>,
    lease_until: Option<OffsetDateTime>,
    not_before: Option<OffsetDateTime>,
    attempts: i16,
    steps: Json<Vec<StepProgress>>,
    failure: Option<Json<Failure>>,
    front: Option<String>,
    accelerator: Option<String>,
    head: Option<Vec<u8>>,
}

pub async fn lock(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
) -> Result<Option<Locked>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select w.tenant_id, w.volume_id, w.runner_hash, w.phase, w.wanted, w.epoch, w.deadline, w.lease_until,
                  w.not_before, w.attempts, w.steps as "steps: Json<Vec<StepProgress>>",
                  w.failure as "failure: Json<Failure>", w.front, w.accelerator, v.head
           from workspaces w join volumes v using (tenant_id, volume_id)
           where w.workspace_id = $1 and w.deleted_at is null for update of w"#,
        workspace.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Locked {
        tenant: row.tenant_id,
        workspace,
        volume: row.volume_id,
        runner_hash: row.runner_hash.clone(),
        life: life(row),
    }))
}

fn life(row: Row) -> Life {
    let serving = row.front.map(|front| Serving { front, accelerator: row.accelerator.unwrap_or_default() });
    Life {
        phase: phase(&row.phase),
        epoch: Epoch(row.epoch.unsigned_abs()),
        wanted: wanted(&row.wanted),
        deadline: row.deadline,
        lease_until: row.lease_until,
        not_before: row.not_before,
        attempts: u8::try_from(row.attempts).unwrap_or(u8::MAX),
        steps: row.steps.0,
        failure: row.failure.map(|failure| failure.0),
        serving,
        head: row.head.and_then(|bytes| manifest(&bytes)),
    }
}

/// Lets one thing happen to a workspace. `None`: there is no such workspace (any more).
pub async fn apply(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    workspace: WorkspaceId,
    event: Event,
) -> Result<Option<(Life, Vec<Task>)>, sqlx::Error> {
    let Some(mut locked) = lock(connection, workspace).await? else { return Ok(None) };
    let tasks = advance(connection, now, &mut locked, event).await?;
    Ok(Some((locked.life, tasks)))
}

/// Steps a held life and writes it back. Commits are the runners' reports' own affair: see [`crate::reports`].
pub async fn advance(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut Locked,
    event: Event,
) -> Result<Vec<Task>, sqlx::Error> {
    let (life, effects) = step(now, locked.life.clone(), event);
    let changed = life != locked.life;
    locked.life = life;
    if changed {
        save(connection, now, locked).await?;
    }
    let mut tasks = Vec::new();
    for effect in effects {
        match effect {
            Effect::Launch(epoch) => tasks.push(Task::Launch(locked.workspace, epoch)),
            Effect::Kill(epoch) => tasks.push(Task::Kill(locked.workspace, epoch)),
            Effect::Erase => erase(connection, now, locked).await?,
            Effect::Commit(_) => {}
        }
    }
    Ok(tasks)
}

async fn save(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &Locked,
) -> Result<(), sqlx::Error> {
    let life = &locked.life;
    let (front, accelerator) = match &life.serving {
        Some(serving) => (Some(serving.front.as_str()), Some(serving.accelerator.as_str())),
        None => (None, None),
    };
    sqlx::query!(
        "update workspaces set phase = $3, wanted = $4, epoch = $5, deadline = $6, lease_until = $7, not_before = $8,
             attempts = $9, steps = $10, failure = $11, front = $12, accelerator = $13,
             queued_at = case when $3 = 'queued' then coalesce(queued_at, $14) end,
             queue_position = case when $3 = 'queued' then queue_position end,
             dirty_bytes = case when $3 in ('queued', 'terminated') then null else dirty_bytes end,
             host = case when $3 in ('queued', 'terminated') then null else host end
         where tenant_id = $1 and workspace_id = $2",
        locked.tenant,
        locked.workspace.0,
        life.phase.as_str(),
        wanted_text(life.wanted),
        life.epoch.0 as i64,
        life.deadline,
        life.lease_until,
        life.not_before,
        i16::from(life.attempts),
        Json(&life.steps) as _,
        life.failure.as_ref().map(Json) as _,
        front,
        accelerator,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The name is free, the row stays for the accounts. What the home holds in the store is the collector's to remove.
async fn erase(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &Locked,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update workspaces set deleted_at = $3 where tenant_id = $1 and workspace_id = $2",
        locked.tenant,
        locked.workspace.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub fn manifest(bytes: &[u8]) -> Option<ManifestId> {
    bytes.try_into().ok().map(ManifestId)
}

/// The table's check admits no other words.
pub fn phase(text: &str) -> Phase {
    Phase::ALL.into_iter().find(|phase| phase.as_str() == text).unwrap_or(Phase::Terminated)
}

fn wanted(text: &str) -> Wanted {
    match text {
        "running" => Wanted::Running,
        "deleted" => Wanted::Deleted,
        _ => Wanted::Stopped,
    }
}

fn wanted_text(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Running => "running",
        Wanted::Stopped => "stopped",
        Wanted::Deleted => "deleted",
    }
}
