//! Lives in the database: read under a lock, changed by the pure functions, written back. Nothing
//! else writes these columns of `workspaces`.

use protocol::{
    Epoch, ManifestId, SnapshotId, TenantId, UserId, VolumeId, WorkspaceId,
    idle::AwakeReason,
    workspace::{Failure, HomeNotice, Phase, ProgramName, StepProgress},
};
use sqlx::{PgConnection, types::Json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    DesiredState, Effect, Event, FIRST_LEASE_TTL, Life, QUEUE_TIMEOUT, Serving, State, apply, place,
    requests::{RepairRequests, SnapshotRequests},
};
use crate::{
    db::text::{Text, TextEnum},
    metrics,
    workspaces::runs,
};

/// A workspace whose row is locked by this transaction.
///
/// [`LockedWorkspace::apply`] changes it in memory, as often as needed; [`save`] writes all of it
/// in one statement.
pub struct LockedWorkspace {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub volume: VolumeId,
    pub owner: UserId,
    /// Hash of the token that the runner of the present epoch authenticates with.
    pub runner_hash: Option<Vec<u8>>,
    pub life: Life,
    pub home: HomeStatus,
    pub snapshot_requests: SnapshotRequests,
    /// Read here. Written by [`crate::workspaces::repair_requests`].
    pub repair_requests: RepairRequests,
    /// Size of the home.
    pub home_mib: u32,
    /// A snapshot was committed in this transaction: the workspace counts as changed even if
    /// nothing else did.
    pub has_new_snapshot: bool,
    /// What the row has.
    saved: (Life, HomeStatus, SnapshotRequests),
}

/// What the runner last reported about the home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HomeStatus {
    /// Bytes that are in no committed snapshot yet. None without a runner.
    pub dirty_bytes: Option<i64>,
    /// Age of the oldest write that is in no committed snapshot, in milliseconds. None without a
    /// runner.
    pub unreplicated_ms: Option<i64>,
    /// Bytes that files use.
    pub used_bytes: Option<i64>,
    /// Why uploads are slow, if they are.
    pub notice: Option<HomeNotice>,
    /// The program that was ended, with [`HomeNotice::OutOfMemory`].
    pub killed_program: Option<ProgramName>,
    /// Everything written before this time is in the object store. Never moves back.
    pub safe_at: Option<OffsetDateTime>,
    /// What keeps the workspace awake.
    pub idle: IdleStatus,
}

/// What keeps a running workspace awake, and when it stops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleStatus {
    /// When it stops if nobody uses it.
    pub stops_at: Option<OffsetDateTime>,
    pub awake: Vec<AwakeReason>,
    /// Until when a user holds it.
    pub held_until: Option<OffsetDateTime>,
}

impl HomeStatus {
    /// Without a runner nothing is being written, and nothing is held.
    fn at_rest(self) -> Self {
        Self { used_bytes: self.used_bytes, safe_at: self.safe_at, ..Self::default() }
    }
}

impl LockedWorkspace {
    /// Applies an event in memory. Pass the effects to [`save`].
    pub fn apply(&mut self, now: OffsetDateTime, event: Event) -> Vec<Effect> {
        let (life, effects) = apply(now, self.life.clone(), event);
        self.life = life;
        if !self.life.is_placed() {
            self.home = std::mem::take(&mut self.home).at_rest();
        }
        effects
    }
}

/// A runner to be ended once the transaction is committed: the one of this epoch, or an earlier
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndRunner {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
}

impl TextEnum for DesiredState {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Running, "running"), (Self::Stopped, "stopped"), (Self::Deleted, "deleted")];
}

struct Row {
    tenant_id: Uuid,
    volume_id: Uuid,
    owner_id: Uuid,
    runner_hash: Option<Vec<u8>>,
    phase: Text<Phase>,
    desired_state: Text<DesiredState>,
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
    home_notice: Option<Text<HomeNotice>>,
    killed_program: Option<String>,
    home_safe_at: Option<OffsetDateTime>,
    idle_stops_at: Option<OffsetDateTime>,
    awake: Json<Vec<AwakeReason>>,
    held_until: Option<OffsetDateTime>,
    snapshot_requested: i64,
    snapshot_answered: i64,
    snapshot_answer: Option<Uuid>,
    repair_requested: i64,
    repair_answered: i64,
    repair_objects: Vec<String>,
}

/// Locks a workspace until the transaction ends. None if there is none, or if it is deleted.
pub async fn lock(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
) -> Result<Option<LockedWorkspace>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select w.tenant_id, w.volume_id, w.owner_id, w.runner_hash, w.phase as "phase: Text<Phase>",
                  w.desired_state as "desired_state: Text<DesiredState>", w.epoch, w.deadline, w.lease_until,
                  w.not_before, w.attempts, w.steps as "steps: Json<Vec<StepProgress>>",
                  w.failure as "failure: Json<Failure>", w.front, w.accelerator, v.head, w.home_mib,
                      w.dirty_bytes,
                  w.unreplicated_ms, w.home_used_bytes, w.home_notice as "home_notice: Text<HomeNotice>",
                  w.killed_program, w.home_safe_at, w.idle_stops_at,
                  w.awake as "awake: Json<Vec<AwakeReason>>", w.held_until, w.snapshot_requested,
                  w.snapshot_answered,
                      w.snapshot_answer, w.repair_requested,
                  w.repair_answered, w.repair_objects
           from workspaces w join volumes v using (tenant_id, volume_id)
           where w.workspace_id = $1 and w.deleted_at is null for update of w"#,
        workspace.0,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| LockedWorkspace::from_row(workspace, row)).transpose()
}

impl LockedWorkspace {
    fn from_row(workspace: WorkspaceId, row: Row) -> Result<Self, sqlx::Error> {
        let life = Life {
            epoch: Epoch(row.epoch.unsigned_abs()),
            desired_state: row.desired_state.0,
            state: state(&row)?,
            steps: row.steps.0,
            failure: row.failure.map(|failure| failure.0),
            head: row.head.and_then(|bytes| manifest(&bytes)),
        };
        let home = HomeStatus {
            dirty_bytes: row.dirty_bytes,
            unreplicated_ms: row.unreplicated_ms,
            used_bytes: row.home_used_bytes,
            notice: row.home_notice.map(|notice| notice.0),
            killed_program: row.killed_program.and_then(|name| ProgramName::try_from(name).ok()),
            safe_at: row.home_safe_at,
            idle: IdleStatus { stops_at: row.idle_stops_at, awake: row.awake.0, held_until: row.held_until },
        };
        let snapshot_requests = SnapshotRequests {
            requested: row.snapshot_requested.unsigned_abs(),
            answered: row.snapshot_answered.unsigned_abs(),
            answer: row.snapshot_answer.map(SnapshotId),
        };
        let repair_requests = RepairRequests {
            requested: row.repair_requested.unsigned_abs(),
            answered: row.repair_answered.unsigned_abs(),
            objects: row.repair_objects,
        };
        Ok(Self {
            tenant: TenantId(row.tenant_id),
            workspace,
            volume: VolumeId(row.volume_id),
            owner: UserId(row.owner_id),
            runner_hash: row.runner_hash,
            saved: (life.clone(), home.clone(), snapshot_requests),
            life,
            home,
            snapshot_requests,
            repair_requests,
            home_mib: row.home_mib.unsigned_abs(),
            has_new_snapshot: false,
        })
    }
}

/// The state of a row. A column that its phase needs and that is null is an error.
fn state(row: &Row) -> Result<State, sqlx::Error> {
    let missing = |column: &'static str| move || sqlx::Error::ColumnNotFound(column.to_owned());
    let deadline = || row.deadline.ok_or_else(missing("deadline"));
    let lease_until = || row.lease_until.ok_or_else(missing("lease_until"));
    let serving = row
        .front
        .clone()
        .map(|front| Serving { front, accelerator: row.accelerator.clone().unwrap_or_default() });
    let attempts = u8::try_from(row.attempts).unwrap_or(u8::MAX);
    Ok(match row.phase.0 {
        Phase::Terminated => State::AtRest,
        Phase::Queued => State::Queued { deadline: deadline()?, not_before: row.not_before, attempts },
        Phase::Provisioning => {
            State::Provisioning { deadline: deadline()?, lease_until: lease_until()?, attempts }
        }
        Phase::Running => {
            State::Running { lease_until: lease_until()?, serving: serving.ok_or_else(missing("front"))? }
        }
        Phase::Stopping => State::Stopping { deadline: deadline()?, lease_until: lease_until()?, serving },
        Phase::Persisting => {
            State::Persisting { deadline: deadline()?, lease_until: lease_until()?, serving }
        }
    })
}

/// Applies one event to a workspace and saves it. None if there is no such workspace, or if it is
/// deleted.
pub async fn apply_event(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    workspace: WorkspaceId,
    event: Event,
) -> Result<Option<Vec<EndRunner>>, sqlx::Error> {
    let Some(mut locked) = lock(connection, workspace).await? else { return Ok(None) };
    let effects = locked.apply(now, event);
    save(connection, now, &mut locked, effects).await.map(Some)
}

/// Places a queued workspace and saves it. None if it is not queued any more. The caller starts the
/// runner.
pub async fn place_workspace(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    workspace: WorkspaceId,
) -> Result<Option<LockedWorkspace>, sqlx::Error> {
    let Some(mut locked) = lock(connection, workspace).await? else { return Ok(None) };
    let Some(life) = place(now, &locked.life) else { return Ok(None) };
    locked.life = life;
    save(connection, now, &mut locked, vec![]).await?;
    Ok(Some(locked))
}

/// Writes what has changed, in one statement for any number of events, and does what the effects
/// ask of the database. The runners to end are returned: they are ended once the transaction is
/// committed.
pub async fn save(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut LockedWorkspace,
    effects: Vec<Effect>,
) -> Result<Vec<EndRunner>, sqlx::Error> {
    let present = (locked.life.clone(), locked.home.clone(), locked.snapshot_requests);
    if present != locked.saved || locked.has_new_snapshot {
        update(connection, now, locked).await?;
        // A transaction that fails after this is rare, and is counted twice when it is tried again.
        metrics::record_change(locked.tenant, &locked.saved.0, &locked.life);
        let before = &locked.saved.0;
        if before.is_placed() && !locked.life.is_placed() {
            // A runner that was not heard of any more has ended with its lease at the latest.
            let ended_at = before.state.lease_until().map_or(now, |lease| lease.min(now));
            runs::end(connection, (locked.tenant, locked.workspace, before.epoch), ended_at).await?;
        }
        locked.saved = present;
        locked.has_new_snapshot = false;
    }
    let mut runners = Vec::new();
    for effect in effects {
        match effect {
            Effect::EndRunner(epoch) => runners.push(EndRunner { workspace: locked.workspace, epoch }),
            Effect::Erase => erase(connection, now, locked).await?,
        }
    }
    Ok(runners)
}

/// Shifts the deadlines and leases of a host's workspaces, and of the queue, by time that must not
/// count. None becomes later than a new one would be, because a report may have set it already.
/// Returns how many workspaces have changed.
pub async fn shift_deadlines(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    shift: Duration,
    host: &str,
) -> Result<u64, sqlx::Error> {
    // An interval of Postgres has no nanoseconds.
    let shift = shift - Duration::nanoseconds(i64::from(shift.subsec_nanoseconds() % 1000));
    let shifted = sqlx::query!(
        "update workspaces set deadline = least(deadline + $1::interval, $2),
             lease_until = least(lease_until + $1::interval, $3)
         where phase <> 'terminated' and deleted_at is null and (host = $4 or phase = 'queued')",
        shift as _,
        now + QUEUE_TIMEOUT,
        now + FIRST_LEASE_TTL,
        host,
    )
    .execute(connection)
    .await?;
    Ok(shifted.rows_affected())
}

async fn update(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &LockedWorkspace,
) -> Result<(), sqlx::Error> {
    let life = &locked.life;
    let serving = life.state.serving();
    sqlx::query!(
        "update workspaces set phase = $3, desired_state = $4, epoch = $5, deadline = $6, lease_until = $7,
             not_before = $8, attempts = $9, steps = $10, failure = $11, front = $12, accelerator = $13,
             queued_at = case when $3 = 'queued' then coalesce(queued_at, $14) end,
             queue_position = case when $3 = 'queued' then queue_position end,
             estimated_start_at = case when $3 = 'queued' then estimated_start_at end,
             is_held = $3 = 'queued' and is_held,
             reserved_by = case when $3 = 'queued' then reserved_by end,
             host = case when $3 in ('queued', 'terminated') then null else host end,
             dirty_bytes = $15, unreplicated_ms = $16,
             home_used_bytes = $17, home_notice = $18, home_safe_at = $19,
             snapshot_requested = $20, snapshot_answered = $21, snapshot_answer = $22,
             revision = revision + case when $23 then 1 else 0 end, killed_program = $24,
             idle_stops_at = $25, awake = $26, held_until = $27
         where tenant_id = $1 and workspace_id = $2",
        locked.tenant.0,
        locked.workspace.0,
        Text(life.phase()).name(),
        Text(life.desired_state).name(),
        life.epoch.0 as i64,
        life.state.deadline(),
        life.state.lease_until(),
        life.state.not_before(),
        i16::from(life.state.attempts()),
        Json(&life.steps) as _,
        life.failure.as_ref().map(Json) as _,
        serving.map(|serving| serving.front.as_str()),
        serving.map(|serving| serving.accelerator.as_str()),
        now,
        locked.home.dirty_bytes,
        locked.home.unreplicated_ms,
        locked.home.used_bytes,
        locked.home.notice.map(|notice| Text(notice).name()),
        locked.home.safe_at,
        locked.snapshot_requests.requested as i64,
        locked.snapshot_requests.answered as i64,
        locked.snapshot_requests.answer.map(|id| id.0),
        locked.has_new_snapshot,
        locked.home.killed_program.as_ref().map(ProgramName::as_str),
        locked.home.idle.stops_at,
        Json(&locked.home.idle.awake) as _,
        locked.home.idle.held_until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Hides a deleted workspace and frees its name. The row stays for the audit log, the objects of
/// its home until gc.
async fn erase(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &LockedWorkspace,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update workspaces set deleted_at = $3 where tenant_id = $1 and workspace_id = $2",
        locked.tenant.0,
        locked.workspace.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The manifest that a column names. None if it does not have 32 bytes, which the tables' checks
/// exclude.
pub fn manifest(bytes: &[u8]) -> Option<ManifestId> {
    bytes.try_into().ok().map(ManifestId)
}
