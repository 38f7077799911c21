//! Reports of runners, and the answers to them. A report is a fact that may come twice. A runner
//! that has been replaced is refused.

use std::time::Duration;

use protocol::{
    ManifestId,
    api::snapshot::SnapshotKind,
    idle::IdleState,
    runner::{
        Command, DesiredRunnerState, DiskShare, MAX_REPORTS, MAX_WAIT_MS, RepairOutcome, Report, ReportReply,
        ReportRequest,
    },
    workspace::HomeNotice,
};
use sqlx::PgConnection;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use super::{
    idle::{self, UseReport},
    network, repair_requests,
};
use crate::{
    audit,
    core::Core,
    engine::local::RUNNER_LEASE_MS,
    identity::secrets,
    lifecycle::{
        Effect, Event, RunnerEvent, Serving,
        record::{self, EndRunner, HomeStatus, LockedWorkspace},
    },
    snapshots::{self, SnapshotReport, VolumeHead, upload_allowance},
    usage::{self, counters::Counters},
};

/// Why a report is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The runner's placement is over: it must stop.
    #[error("Cannot accept the report: another placement has taken over")]
    Fenced,
    #[error("Cannot accept the report: the token is not this runner's")]
    Token,
    #[error("Cannot accept the report: it holds more than {MAX_REPORTS} facts")]
    TooLarge,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One exchange with a runner: records its reports, then waits until its desired state changes or
/// its time is over.
pub async fn exchange(core: &Core, token: &str, request: ReportRequest) -> Result<ReportReply, ReportError> {
    if request.reports.len() > MAX_REPORTS {
        return Err(ReportError::TooLarge);
    }
    let mut subscription = core.events.subscribe();
    let deadline = Instant::now() + Duration::from_millis(request.wait_ms.min(MAX_WAIT_MS));
    let is_last = request.reports.iter().any(is_last);
    let (mut desired, committed) = record_reports(core, token, &request).await?;
    while !desired.is_ahead_of(&request.acknowledged) && committed.is_empty() && !is_last {
        let changed = tokio::select! {
            () = core.tasks.shutdown().cancelled() => break,
            changed = timeout_at(deadline, subscription.wait_for(request.workspace)) => changed,
        };
        if changed.is_err() {
            break;
        }
        desired = read_desired_state(core, &request).await?;
    }
    Ok(ReportReply { desired, committed, lease_ms: RUNNER_LEASE_MS })
}

async fn desired_state(
    core: &Core,
    connection: &mut PgConnection,
    locked: &LockedWorkspace,
) -> Result<DesiredRunnerState, sqlx::Error> {
    let command = locked.life.command();
    core.uploads.set_home_size(locked.workspace, locked.home_mib);
    let network = network::find_spec(connection, (locked.tenant, locked.workspace)).await?;
    Ok(DesiredRunnerState {
        command,
        snapshot: locked.snapshot_requests.requested,
        repair: locked.repair_requests.pending(),
        home_mib: locked.home_mib,
        network: core.engine.seal(locked.workspace, network),
        held_until: locked.home.idle.held_until,
        // What a guest still writes while it stops is bounded by its memory, and must not delay the stop.
        disk: if command == Command::Run { core.disk.share(locked.workspace) } else { DiskShare::default() },
    })
}

fn is_last(report: &Report) -> bool {
    matches!(report, Report::Stopped | Report::Failed { .. })
}

/// Records all reports in one transaction. Returns the desired state, and the snapshots that are
/// now committed.
async fn record_reports(
    core: &Core,
    token: &str,
    request: &ReportRequest,
) -> Result<(DesiredRunnerState, Vec<ManifestId>), ReportError> {
    let now = core.now();
    let mut system = core.db.reports().await?;
    let connection = system.connection();
    let mut locked = authenticate(connection, token, request).await?;
    let mut committed = Vec::new();
    let run = (locked.tenant, locked.workspace, request.epoch);
    let is_over = request.reports.iter().any(is_last);
    usage::record_run(connection, run, now, Counters::of(request), is_over).await?;
    let mut effects = locked.apply(now, Event::Runner(request.epoch, RunnerEvent::Alive));
    for report in &request.reports {
        // Nothing counts after the last report.
        if !locked.life.accepts(request.epoch) {
            break;
        }
        effects.extend(record_report(core, connection, now, &mut locked, report, &mut committed).await?);
    }
    let mut runners = record::save(connection, now, &mut locked, effects).await?;
    let desired = desired_state(core, connection, &locked).await?;
    system.commit().await?;
    if is_over {
        runners.push(EndRunner { workspace: request.workspace, epoch: request.epoch });
    }
    core.end_runners(runners);
    Ok((desired, committed))
}

/// Locks the workspace, if the request comes from the runner of its present placement.
async fn authenticate(
    connection: &mut PgConnection,
    token: &str,
    request: &ReportRequest,
) -> Result<LockedWorkspace, ReportError> {
    // A deleted workspace has no runner.
    let locked = record::lock(connection, request.workspace).await?.ok_or(ReportError::Fenced)?;
    if request.epoch < locked.life.epoch {
        return Err(ReportError::Fenced);
    }
    let known = locked.runner_hash.as_deref().unwrap_or_default();
    if !bool::from(known.ct_eq(&secrets::hash_secret(token)[..])) {
        return Err(ReportError::Token);
    }
    if locked.life.accepts(request.epoch) { Ok(locked) } else { Err(ReportError::Fenced) }
}

async fn read_desired_state(core: &Core, request: &ReportRequest) -> Result<DesiredRunnerState, ReportError> {
    let mut system = core.db.reports().await?;
    let locked = record::lock(system.connection(), request.workspace).await?.ok_or(ReportError::Fenced)?;
    if !locked.life.accepts(request.epoch) {
        return Err(ReportError::Fenced);
    }
    Ok(desired_state(core, system.connection(), &locked).await?)
}

/// Records one report: in the locked workspace, and where it belongs otherwise.
async fn record_report(
    core: &Core,
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut LockedWorkspace,
    report: &Report,
    committed: &mut Vec<ManifestId>,
) -> Result<Vec<Effect>, sqlx::Error> {
    let event = match report.clone() {
        Report::Step(progress) => RunnerEvent::Step(progress),
        Report::Ready { accelerator } => {
            let front = core.engine.front(locked.workspace).display().to_string();
            RunnerEvent::Ready(Serving { front, accelerator })
        }
        Report::Home {
            at,
            dirty_bytes,
            unreplicated_ms,
            used_bytes,
            idle_seconds,
            awake,
            notice,
            killed_program,
        } => {
            let report = UseReport { idle: Duration::from_secs(idle_seconds.unwrap_or_default()), awake };
            let limit = core.config.limits.idle.stop_after;
            let (idle, decision) = idle::observe(&locked.home.idle, now, limit, report);
            let unreplicated_ms = saturating_i64(unreplicated_ms);
            // As of the time of the report, however late it arrives. A clock that is ahead of ours
            // is not believed.
            let safe_at = at.min(now).checked_sub(time::Duration::milliseconds(unreplicated_ms));
            locked.home = HomeStatus {
                dirty_bytes: Some(saturating_i64(dirty_bytes)),
                unreplicated_ms: Some(unreplicated_ms),
                used_bytes: used_bytes.map(saturating_i64).or(locked.home.used_bytes),
                notice: notice.or((decision.state != IdleState::Active).then_some(HomeNotice::IdleStop)),
                killed_program,
                safe_at: locked.home.safe_at.max(safe_at),
                idle,
            };
            let is_running = locked.life.command() == Command::Run;
            if decision.state != IdleState::Expired || !is_running {
                return Ok(vec![]);
            }
            let (tenant, subject) = (locked.tenant, locked.workspace.to_string());
            audit::write_system(connection, tenant, "workspace.idle_stop", &subject, serde_json::json!({}))
                .await?;
            return Ok(locked.apply(now, Event::Stop));
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
            let [changed_bytes, uploaded_bytes, stored_bytes, objects] =
                [changed_bytes, uploaded_bytes, stored_bytes, objects].map(saturating_i64);
            let report = SnapshotReport {
                manifest,
                kind,
                consistency,
                cut_at,
                changed_bytes,
                uploaded_bytes,
                stored_bytes,
                objects,
            };
            if !commit_snapshot(connection, now, locked, &report, answers).await? {
                return Ok(vec![]);
            }
            let (volume, rate) =
                ((locked.tenant, locked.volume), core.config.history.upload_bytes_per_hour());
            core.disk.record_upload(locked.workspace, uploaded_bytes.unsigned_abs());
            upload_allowance::record_upload(connection, now, volume, uploaded_bytes, rate).await?;
            RunnerEvent::SnapshotCommitted(manifest)
        }
        Report::Repaired { answers, outcome } => {
            answer_repair(connection, locked, answers, &outcome).await?;
            return Ok(vec![]);
        }
        Report::Network { refused, sent_bytes, received_bytes } => {
            let of = (locked.tenant, locked.workspace);
            let bytes = [sent_bytes, received_bytes].map(saturating_i64);
            network::record_usage(connection, of, refused, bytes).await?;
            return Ok(vec![]);
        }
        Report::Stopped => RunnerEvent::Stopped,
        Report::Failed { mut failure, home_safe } => {
            if !home_safe {
                tracing::error!(workspace = %locked.workspace, "a home lost data that the guest had flushed");
                "What was written since the last snapshot may be lost. Check the files, then \
                 start the workspace again."
                    .clone_into(&mut failure.action);
            }
            RunnerEvent::Failed(failure)
        }
    };
    let epoch = locked.life.epoch;
    Ok(locked.apply(now, Event::Runner(epoch, event)))
}

/// Commits a snapshot and answers the request that it was taken for. False if it was committed
/// before.
async fn commit_snapshot(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut LockedWorkspace,
    report: &SnapshotReport,
    answers: u64,
) -> Result<bool, sqlx::Error> {
    let volume = VolumeHead {
        tenant: locked.tenant,
        volume: locked.volume,
        epoch: locked.life.epoch,
        head: locked.life.head,
    };
    let committed = snapshots::commit(connection, now, volume, report).await?;
    if report.kind == SnapshotKind::Requested {
        locked.snapshot_requests.answer(answers, committed.id);
    }
    if report.kind == SnapshotKind::Stop {
        (locked.home.dirty_bytes, locked.home.unreplicated_ms) = (Some(0), Some(0));
    }
    locked.has_new_snapshot |= committed.is_new;
    Ok(committed.is_new)
}

async fn answer_repair(
    connection: &mut PgConnection,
    locked: &mut LockedWorkspace,
    number: u64,
    outcome: &RepairOutcome,
) -> Result<(), sqlx::Error> {
    if !locked.repair_requests.is_answered_by(number) {
        return Ok(());
    }
    locked.repair_requests.answered = number;
    repair_requests::write_answer(connection, (locked.tenant, locked.workspace), number, outcome).await
}

/// A number that a runner reports may be larger than the column.
fn saturating_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
