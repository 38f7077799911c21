//! What runners say, and what they are told. Facts may come twice; a runner that has been replaced is not heard.

use std::time::Duration;

use protocol::{
    ManifestId, SnapshotId, WorkspaceId,
    runner::{Command, REPORTS_MAX, Report, ReportReply, ReportRequest, WAIT_MS_MAX},
};
use sqlx::PgConnection;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::{
    core::Core,
    lifecycle::{Event, LEASE, Serving, Word},
    secrets,
    workspaces::life::{self, Locked, Task},
};

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("another runner has taken over")]
    Fenced,
    #[error("the token is not this runner's")]
    Token,
    #[error("a report holds more than it may")]
    Excess,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One exchange: the reports are written down, then the answer waits for news as long as the runner wants.
pub async fn exchange(core: &Core, token: &str, request: ReportRequest) -> Result<ReportReply, ReportError> {
    if request.reports.len() > REPORTS_MAX {
        return Err(ReportError::Excess);
    }
    let mut ear = core.hub.listen();
    let deadline = Instant::now() + Duration::from_millis(request.wait_ms.min(WAIT_MS_MAX));
    let last_word = request.reports.iter().any(is_last);
    let (mut command, committed) = hear(core, token, &request).await?;
    while command == request.acting_on && committed.is_empty() && !last_word {
        let news = tokio::select! {
            () = core.tasks.shutdown().cancelled() => break,
            news = timeout_at(deadline, ear.hear_of(request.workspace)) => news,
        };
        if news.is_err() {
            break;
        }
        command = look(core, &request).await?;
    }
    Ok(ReportReply {
        command,
        committed,
        lease_ms: LEASE.whole_milliseconds().unsigned_abs() as u64,
        snapshot_wanted: 0,
        home_mib: None,
    })
}

fn is_last(report: &Report) -> bool {
    matches!(report, Report::Stopped | Report::Failed { .. })
}

async fn hear(
    core: &Core,
    token: &str,
    request: &ReportRequest,
) -> Result<(Command, Vec<ManifestId>), ReportError> {
    let now = core.now();
    let mut system = core.db.system().await?;
    let connection = system.connection();
    let mut locked = admitted(connection, token, request).await?;
    let mut committed = Vec::new();
    let mut tasks =
        life::advance(connection, now, &mut locked, Event::Runner(request.epoch, Word::Alive)).await?;
    for report in &request.reports {
        // After the last word nothing counts.
        if !locked.life.hears(request.epoch) {
            break;
        }
        tasks.extend(note(connection, now, &mut locked, report, &mut committed).await?);
    }
    let command = locked.life.command();
    system.commit().await?;
    if request.reports.iter().any(is_last) {
        tasks.push(Task::Kill(request.workspace, request.epoch));
    }
    core.perform(tasks);
    Ok((command, committed))
}

/// The workspace's row, if the request comes from the runner that holds its place now.
async fn admitted(
    connection: &mut PgConnection,
    token: &str,
    request: &ReportRequest,
) -> Result<Locked, ReportError> {
    // A workspace that is deleted meanwhile has no runner.
    let locked = life::lock(connection, request.workspace).await?.ok_or(ReportError::Fenced)?;
    if request.epoch < locked.life.epoch {
        return Err(ReportError::Fenced);
    }
    let known = locked.runner_hash.as_deref().unwrap_or_default();
    if !bool::from(known.ct_eq(&secrets::hash(token)[..])) {
        return Err(ReportError::Token);
    }
    if locked.life.hears(request.epoch) { Ok(locked) } else { Err(ReportError::Fenced) }
}

/// What to do now, without a word of the runner's own.
async fn look(core: &Core, request: &ReportRequest) -> Result<Command, ReportError> {
    let mut system = core.db.system().await?;
    let locked = life::lock(system.connection(), request.workspace).await?.ok_or(ReportError::Fenced)?;
    if locked.life.hears(request.epoch) { Ok(locked.life.command()) } else { Err(ReportError::Fenced) }
}

async fn note(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut Locked,
    report: &Report,
    committed: &mut Vec<ManifestId>,
) -> Result<Vec<Task>, sqlx::Error> {
    let word = match report.clone() {
        Report::Step(progress) => Word::Step(progress),
        Report::Ready { front, accelerator } => Word::Ready(Serving { front, accelerator }),
        Report::Home { dirty_bytes, .. } => {
            home(connection, locked.workspace, locked.tenant, dirty_bytes).await?;
            return Ok(vec![]);
        }
        Report::Snapshot { manifest, .. } => {
            committed.push(manifest);
            if !insert_snapshot(connection, now, locked, report).await? {
                return Ok(vec![]);
            }
            Word::Snapshot(manifest)
        }
        Report::Stopped => Word::Stopped,
        Report::Failed { mut failure, home_safe } => {
            if !home_safe {
                tracing::error!(workspace = %locked.workspace, "a home lost what had been flushed");
                "What was written since the last snapshot may be lost. Look at the files, then start again."
                    .clone_into(&mut failure.action);
            }
            Word::Failed(failure)
        }
    };
    life::advance(connection, now, locked, Event::Runner(locked.life.epoch, word)).await
}

async fn home(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
    tenant: uuid::Uuid,
    dirty_bytes: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update workspaces set dirty_bytes = $3
         where tenant_id = $1 and workspace_id = $2 and dirty_bytes is distinct from $3",
        tenant,
        workspace.0,
        bigint(dirty_bytes),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Commits a snapshot: its row and the volume's head, in the transaction of the life's step. False: it was committed before.
async fn insert_snapshot(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &Locked,
    report: &Report,
) -> Result<bool, sqlx::Error> {
    let Report::Snapshot { manifest, changed_bytes, uploaded_bytes, objects, stored_bytes, .. } = report
    else {
        return Ok(false);
    };
    let done = sqlx::query!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, changed_bytes, uploaded_bytes,
             stored_bytes, objects, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        locked.tenant,
        locked.volume,
        SnapshotId::random().0,
        locked.life.epoch.0 as i64,
        &manifest.0[..],
        bigint(*changed_bytes),
        bigint(*uploaded_bytes),
        bigint(*stored_bytes),
        bigint(*objects),
        now,
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        // A home that changed and changed back is the same snapshot again, and safe as of now; a doubled report finds its own
        // manifest at the head, where this changes nothing.
        return revert(connection, now, locked, *manifest).await;
    }
    sqlx::query!(
        "update volumes set head = $3, safe_at = $4, stored_bytes = $5 where tenant_id = $1 and volume_id = $2",
        locked.tenant,
        locked.volume,
        &manifest.0[..],
        now,
        bigint(*stored_bytes),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update workspaces set revision = revision + 1, dirty_bytes = 0 where tenant_id = $1 and workspace_id = $2",
        locked.tenant,
        locked.workspace.0,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

async fn revert(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &Locked,
    manifest: ManifestId,
) -> Result<bool, sqlx::Error> {
    if locked.life.head == Some(manifest) {
        sqlx::query!(
            "update volumes set safe_at = $3 where tenant_id = $1 and volume_id = $2",
            locked.tenant,
            locked.volume,
            now,
        )
        .execute(connection)
        .await?;
    }
    Ok(false)
}

/// What a runner claims may be larger than the column; it stays a number.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
