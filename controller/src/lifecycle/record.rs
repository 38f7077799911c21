//! Lives in the database: read under a lock, stepped by the pure function, written back. Nothing else writes these columns.

use protocol::{
    Epoch, ManifestId, SnapshotId, WorkspaceId,
    api::workspace::HomeNotice,
    workspace::{Failure, Phase, StepProgress},
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::lifecycle::{Effect, Event, Life, Serving, Wanted, step};
use crate::workspaces::repair_requests::Repairs;

/// A workspace whose row this transaction holds.
pub struct Locked {
    pub tenant: Uuid,
    pub workspace: WorkspaceId,
    pub volume: Uuid,
    pub runner_hash: Option<Vec<u8>>,
    pub life: Life,
    pub home: Home,
    pub asked: Asked,
    /// Read here, written where it is answered.
    pub repair: Repairs,
    pub home_mib: u32,
    /// A snapshot was committed in this transaction: people are told, whatever else is the same.
    pub committed: bool,
    /// As the row has it.
    stored: (Life, Home, Asked),
}

/// What a machine last told of its home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Home {
    pub dirty_bytes: Option<i64>,
    /// Age of the oldest write that no snapshot holds.
    pub unreplicated_ms: Option<i64>,
    pub used_bytes: Option<i64>,
    pub notice: Option<HomeNotice>,
    /// What was written before is in the store. Never moves back.
    pub safe_at: Option<OffsetDateTime>,
}

/// Requests for a snapshot, as numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub wanted: u64,
    pub answered: u64,
    /// What answered the last one.
    pub answer: Option<SnapshotId>,
}

impl Home {
    /// Without a machine nothing is under way.
    fn at_rest(self) -> Self {
        Self { dirty_bytes: None, unreplicated_ms: None, notice: None, ..self }
    }
}

impl Locked {
    /// Lets one thing happen, in memory; [`settle`] writes it down.
    pub fn step(&mut self, now: OffsetDateTime, event: Event) -> Vec<Effect> {
        let (life, effects) = step(now, self.life.clone(), event);
        self.life = life;
        if !self.life.placed() {
            self.home = self.home.at_rest();
        }
        effects
    }
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
    desired_state: String,
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
    home_mib: i32,
    dirty_bytes: Option<i64>,
    unreplicated_ms: Option<i64>,
    home_used_bytes: Option<i64>,
    home_notice: Option<String>,
    home_safe_at: Option<OffsetDateTime>,
    snapshot_requested: i64,
    snapshot_answered: i64,
    snapshot_answer: Option<Uuid>,
    repair_requested: i64,
    repair_answered: i64,
    repair_objects: Vec<String>,
}

pub async fn lock(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
) -> Result<Option<Locked>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select w.tenant_id, w.volume_id, w.runner_hash, w.phase, w.desired_state, w.epoch, w.deadline, w.lease_until,
                  w.not_before, w.attempts, w.steps as "steps: Json<Vec<StepProgress>>",
                  w.failure as "failure: Json<Failure>", w.front, w.accelerator, v.head, w.home_mib, w.dirty_bytes,
                  w.unreplicated_ms, w.home_used_bytes, w.home_notice, w.home_safe_at, w.snapshot_requested, w.snapshot_answered,
                  w.snapshot_answer, w.repair_requested, w.repair_answered, w.repair_objects
           from workspaces w join volumes v using (tenant_id, volume_id)
           where w.workspace_id = $1 and w.deleted_at is null for update of w"#,
        workspace.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| locked(workspace, row)))
}

fn locked(workspace: WorkspaceId, row: Row) -> Locked {
    let home = Home {
        dirty_bytes: row.dirty_bytes,
        unreplicated_ms: row.unreplicated_ms,
        used_bytes: row.home_used_bytes,
        notice: row.home_notice.as_deref().and_then(notice),
        safe_at: row.home_safe_at,
    };
    let asked = Asked {
        wanted: row.snapshot_requested.unsigned_abs(),
        answered: row.snapshot_answered.unsigned_abs(),
        answer: row.snapshot_answer.map(SnapshotId),
    };
    let repair = Repairs {
        wanted: row.repair_requested.unsigned_abs(),
        answered: row.repair_answered.unsigned_abs(),
        objects: row.repair_objects.clone(),
    };
    let (tenant, volume, home_mib) = (row.tenant_id, row.volume_id, row.home_mib.unsigned_abs());
    let runner_hash = row.runner_hash.clone();
    let life = life(row);
    let stored = (life.clone(), home, asked);
    Locked {
        tenant,
        workspace,
        volume,
        runner_hash,
        life,
        home,
        asked,
        repair,
        home_mib,
        committed: false,
        stored,
    }
}

fn life(row: Row) -> Life {
    let serving = row.front.map(|front| Serving { front, accelerator: row.accelerator.unwrap_or_default() });
    Life {
        phase: phase(&row.phase),
        epoch: Epoch(row.epoch.unsigned_abs()),
        wanted: wanted(&row.desired_state),
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

/// Steps a held life and writes it back. Commits are the runners' reports' own affair: see [`crate::workspaces::reports`].
pub async fn advance(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut Locked,
    event: Event,
) -> Result<Vec<Task>, sqlx::Error> {
    let effects = locked.step(now, event);
    settle(connection, now, locked, effects).await
}

/// Writes back what has been stepped, in one statement however many steps it were.
pub async fn settle(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut Locked,
    effects: Vec<Effect>,
) -> Result<Vec<Task>, sqlx::Error> {
    let present = (locked.life.clone(), locked.home, locked.asked);
    if present != locked.stored || locked.committed {
        save(connection, now, locked).await?;
        locked.stored = present;
        locked.committed = false;
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
        "update workspaces set phase = $3, desired_state = $4, epoch = $5, deadline = $6, lease_until = $7, not_before = $8,
             attempts = $9, steps = $10, failure = $11, front = $12, accelerator = $13,
             queued_at = case when $3 = 'queued' then coalesce(queued_at, $14) end,
             queue_position = case when $3 = 'queued' then queue_position end,
             host = case when $3 in ('queued', 'terminated') then null else host end,
             dirty_bytes = $15, unreplicated_ms = $16, home_used_bytes = $17, home_notice = $18, home_safe_at = $19,
             snapshot_requested = $20, snapshot_answered = $21, snapshot_answer = $22,
             revision = revision + case when $23 then 1 else 0 end
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
        locked.home.dirty_bytes,
        locked.home.unreplicated_ms,
        locked.home.used_bytes,
        locked.home.notice.map(notice_text),
        locked.home.safe_at,
        locked.asked.wanted as i64,
        locked.asked.answered as i64,
        locked.asked.answer.map(|id| id.0),
        locked.committed,
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

pub fn notice(text: &str) -> Option<HomeNotice> {
    match text {
        "store_unavailable" => Some(HomeNotice::StoreUnavailable),
        "throttled" => Some(HomeNotice::Throttled),
        "host_disk_full" => Some(HomeNotice::HostDiskFull),
        _ => None,
    }
}

fn notice_text(notice: HomeNotice) -> &'static str {
    match notice {
        HomeNotice::StoreUnavailable => "store_unavailable",
        HomeNotice::Throttled => "throttled",
        HomeNotice::HostDiskFull => "host_disk_full",
    }
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
