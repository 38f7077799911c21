//! The reconciler: a loop that compares what should be with what is, and acts. Each pass ends what
//! is overdue, places whose turn it is, and now and then deletes what has expired and prunes
//! snapshots.
//!
//! Several controllers may run it on one database: each workspace is changed under its row's lock,
//! and one controller gives turns at a time.

use std::{sync::atomic::Ordering, time::Duration};

use protocol::WorkspaceId;
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::Instant};

use super::{clock_gap::ClockGap, placement, previews};
use crate::{
    audit, budgets,
    core::{App, Core},
    engine::RunnerExit,
    events::Subscription,
    identity::sessions,
    lifecycle::{Event, record},
    snapshots::{imports, prune},
};

/// Longest pause between two passes. No deadline is finer.
const PASS_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a notice, for others that come with it: the start of a class of hundreds is one
/// pass.
const GATHER_DELAY: Duration = Duration::from_millis(20);
/// Overdue workspaces of one pass. The rest follows in the next.
const MAX_OVERDUE: i64 = 200;
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// Homes are pruned a few at a time, because the queue waits for it.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
const MAX_PRUNED_HOMES: i64 = 50;

/// Runs until the shutdown. An error of the database is logged, and the next pass tries again.
pub async fn run(app: App, mut exits: mpsc::Receiver<RunnerExit>) -> anyhow::Result<()> {
    let mut subscription = app.events.subscribe();
    let (mut last_sweep, mut last_prune): (Option<Instant>, Option<Instant>) = (None, None);
    let shutdown = app.tasks.shutdown().clone();
    let mut gap = ClockGap::new(app.now(), Instant::now());
    let mut has_database = true;
    loop {
        let now = app.now();
        gap.observe(now, Instant::now(), has_database);
        let passed = pass(&app, now, &mut gap).await;
        has_database = passed.is_ok();
        if let Err(error) = passed {
            tracing::error!(%error, "reconciler pass failed");
        }
        if last_sweep.is_none_or(|time| time.elapsed() > SWEEP_INTERVAL) {
            last_sweep = Some(Instant::now());
            if let Err(error) = sweep(&app).await {
                tracing::error!(%error, "cannot delete expired rows");
            }
        }
        if last_prune.is_none_or(|time| time.elapsed() > PRUNE_INTERVAL) {
            last_prune = Some(Instant::now());
            let max_bytes = app.config.history.max_history_bytes;
            match prune::prune_due_homes(&app.db, app.now(), MAX_PRUNED_HOMES, max_bytes).await {
                Ok(0) => {}
                Ok(snapshots) => tracing::debug!(snapshots, "pruned snapshots"),
                Err(error) => tracing::error!(%error, "cannot prune snapshots"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(PASS_INTERVAL) => {}
            Some(exit) = exits.recv() => record_exit(&app, exit).await,
            () = next_change(&mut subscription) => {}
        }
    }
}

/// Applies [`Event::ControllerRestarted`] to everything that this host ran before: its runners
/// ended with the old controller.
pub async fn recover(core: &Core) -> Result<(), sqlx::Error> {
    let mut system = core.db.system().await?;
    let ours = sqlx::query_scalar!(
        "select workspace_id from workspaces
         where phase <> 'terminated' and deleted_at is null and (host = $1 or phase = 'queued')",
        core.config.host,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    for workspace in ours {
        core.apply_event(WorkspaceId(workspace), Event::ControllerRestarted).await?;
    }
    Ok(())
}

async fn next_change(subscription: &mut Subscription) {
    subscription.next().await;
    // If this future is dropped while it gathers, a pass follows anyway.
    tokio::time::sleep(GATHER_DELAY).await;
    subscription.skip_pending();
}

async fn pass(app: &App, now: OffsetDateTime, gap: &mut ClockGap) -> Result<(), sqlx::Error> {
    absorb_gap(app, now, gap).await?;
    end_overdue(app, now).await?;
    if app.is_draining.load(Ordering::Relaxed) {
        return Ok(());
    }
    for placement in placement::place_queued(app).await? {
        app.tasks.spawn("launch", placement::launch(app.clone(), placement));
    }
    Ok(())
}

/// Shifts the deadlines of this host's workspaces by time in which their runners could not report.
async fn absorb_gap(core: &Core, now: OffsetDateTime, gap: &mut ClockGap) -> Result<(), sqlx::Error> {
    let Some(shift) = gap.pending() else { return Ok(()) };
    let mut system = core.db.system().await?;
    let shifted = record::shift_deadlines(system.connection(), now, shift, &core.config.host).await?;
    system.commit().await?;
    gap.clear();
    if shifted > 0 {
        tracing::warn!(
            seconds = shift.whole_seconds(),
            workspaces = shifted,
            "shifted deadlines: the clock jumped, or this process or its database was away"
        );
    }
    Ok(())
}

/// Applies [`Event::Tick`] to the workspaces whose deadline or lease has passed. `now` was read
/// before gaps were absorbed: a pause in between ends nothing.
async fn end_overdue(core: &Core, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    let mut system = core.db.system().await?;
    let overdue = sqlx::query_scalar!(
        "select workspace_id from workspaces
         where phase <> 'terminated' and deleted_at is null
             and (deadline <= $1 or lease_until <= $1) limit $2",
        now,
        MAX_OVERDUE,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    for workspace in overdue {
        core.apply_event_at(now, WorkspaceId(workspace), Event::Tick).await?;
    }
    Ok(())
}

/// Deletes sessions, links, imports and open readers that have expired, and records the refused attempts of
/// the last hour.
async fn sweep(core: &Core) -> Result<(), sqlx::Error> {
    let mut system = core.db.system().await?;
    core.chunk_readers.close_idle();
    sessions::delete_expired(system.connection(), core.now()).await?;
    previews::delete_expired(system.connection(), core.now()).await?;
    budgets::usage::delete_old_starts(system.connection(), core.now()).await?;
    let imports = imports::delete_expired(system.connection(), core.now()).await?;
    if imports > 0 {
        tracing::info!(imports, "deleted abandoned imports");
    }
    system.commit().await?;
    audit::refusals::fold(&core.db, core.now()).await?;
    Ok(())
}

async fn record_exit(core: &Core, exit: RunnerExit) {
    if let Err(error) = core.apply_event(exit.workspace, Event::RunnerExited(exit.epoch)).await {
        // The lease ends the placement if the database does not answer now.
        tracing::error!(%error, workspace = %exit.workspace, "cannot record the end of a runner");
    }
    core.cache_notice.notify_one();
}
