//! What runners say, and what they are told. Facts may come twice; a runner that has been replaced is not heard.

use std::time::Duration;

use protocol::{
    ManifestId,
    runner::{DesiredRunnerState, MAX_REPORTS, MAX_WAIT_MS, Report, ReportReply, ReportRequest},
};
use sqlx::PgConnection;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::{
    core::Core,
    identity::secrets,
    lifecycle::{
        Effect, Event, LEASE, Serving, Word,
        record::{self, Home, Locked, Task},
    },
    snapshots::{self, Told},
    workspaces::repair_requests,
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
    if request.reports.len() > MAX_REPORTS {
        return Err(ReportError::Excess);
    }
    let mut ear = core.hub.listen();
    let deadline = Instant::now() + Duration::from_millis(request.wait_ms.min(MAX_WAIT_MS));
    let last_word = request.reports.iter().any(is_last);
    let (mut desired, committed) = hear(core, token, &request).await?;
    while !desired.is_ahead_of(&request.acknowledged) && committed.is_empty() && !last_word {
        let news = tokio::select! {
            () = core.tasks.shutdown().cancelled() => break,
            news = timeout_at(deadline, ear.hear_of(request.workspace)) => news,
        };
        if news.is_err() {
            break;
        }
        desired = look(core, &request).await?;
    }
    Ok(ReportReply { desired, committed, lease_ms: LEASE.whole_milliseconds().unsigned_abs() as u64 })
}

fn desired_state(locked: &Locked) -> DesiredRunnerState {
    DesiredRunnerState {
        command: locked.life.command(),
        snapshot: locked.asked.wanted,
        repair: locked.repair.wish(),
        home_mib: locked.home_mib,
    }
}

fn is_last(report: &Report) -> bool {
    matches!(report, Report::Stopped | Report::Failed { .. })
}

async fn hear(
    core: &Core,
    token: &str,
    request: &ReportRequest,
) -> Result<(DesiredRunnerState, Vec<ManifestId>), ReportError> {
    let now = core.now();
    let mut system = core.db.system().await?;
    let connection = system.connection();
    let mut locked = admitted(connection, token, request).await?;
    let mut committed = Vec::new();
    let mut effects = locked.step(now, Event::Runner(request.epoch, Word::Alive));
    for report in &request.reports {
        // After the last word nothing counts.
        if !locked.life.hears(request.epoch) {
            break;
        }
        effects.extend(note(connection, now, &mut locked, report, &mut committed).await?);
    }
    let mut tasks = record::settle(connection, now, &mut locked, effects).await?;
    let desired = desired_state(&locked);
    system.commit().await?;
    if request.reports.iter().any(is_last) {
        tasks.push(Task::Kill(request.workspace, request.epoch));
    }
    core.perform(tasks);
    Ok((desired, committed))
}

/// The workspace's row, if the request comes from the runner that holds its place now.
async fn admitted(
    connection: &mut PgConnection,
    token: &str,
    request: &ReportRequest,
) -> Result<Locked, ReportError> {
    // A workspace that is deleted meanwhile has no runner.
    let locked = record::lock(connection, request.workspace).await?.ok_or(ReportError::Fenced)?;
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
async fn look(core: &Core, request: &ReportRequest) -> Result<DesiredRunnerState, ReportError> {
    let mut system = core.db.system().await?;
    let locked = record::lock(system.connection(), request.workspace).await?.ok_or(ReportError::Fenced)?;
    if locked.life.hears(request.epoch) { Ok(desired_state(&locked)) } else { Err(ReportError::Fenced) }
}

async fn note(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut Locked,
    report: &Report,
    committed: &mut Vec<ManifestId>,
) -> Result<Vec<Effect>, sqlx::Error> {
    let word = match report.clone() {
        Report::Step(progress) => Word::Step(progress),
        Report::Ready { front, accelerator } => Word::Ready(Serving { front, accelerator }),
        Report::Home { at, dirty_bytes, unreplicated_ms, used_bytes, notice } => {
            let unreplicated_ms = bigint(unreplicated_ms);
            // As of when it was so, however late we hear of it; a runner's clock that is ahead says no more than ours.
            let safe_at = at.min(now).checked_sub(time::Duration::milliseconds(unreplicated_ms));
            locked.home = Home {
                dirty_bytes: Some(bigint(dirty_bytes)),
                unreplicated_ms: Some(unreplicated_ms),
                used_bytes: used_bytes.map(bigint).or(locked.home.used_bytes),
                notice,
                safe_at: locked.home.safe_at.max(safe_at),
            };
            return Ok(vec![]);
        }
        Report::Snapshot {
            manifest,
            kind,
            consistency,
            answers,
            cut_at,
            changed_bytes,
            uploaded_bytes,
            objects,
            stored_bytes,
        } => {
            committed.push(manifest);
            let sizes = [changed_bytes, uploaded_bytes, stored_bytes, objects].map(bigint);
            let told = Told { manifest, kind, consistency, answers, cut_at, sizes };
            if !snapshots::commit(connection, now, locked, &told).await? {
                return Ok(vec![]);
            }
            Word::Snapshot(manifest)
        }
        Report::Repaired { answers, outcome } => {
            repair_requests::answer(connection, locked, answers, &outcome).await?;
            return Ok(vec![]);
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
    let epoch = locked.life.epoch;
    Ok(locked.step(now, Event::Runner(epoch, word)))
}

/// What a runner claims may be larger than the column; it stays a number.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
