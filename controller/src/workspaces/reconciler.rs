//! The reconcile loop: ends what is overdue, gives turns, hears of ended runners.
//!
//! Several controllers may run it on one database: each row is taken under its lock, and turns are given one controller at a time.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use protocol::{
    Epoch, TenantId, UserId, VolumeId, WorkspaceId,
    workspace::{Failure, Phase, Step},
};
use sqlx::PgConnection;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    core::{App, Core},
    engine::{Exit, LaunchError, Order},
    events::Ear,
    identity::{secrets, sessions},
    kms::KeeperError,
    lifecycle::{
        Event, Word,
        record::{self, phase},
    },
    snapshots::{self, imports},
    tenants::{self, SealedKey, TenantKey},
    workspaces::{
        admission::{Placed, Waiting, turns},
        view,
    },
};

/// Looks at the clock at least so often: no deadline is finer.
const PASS_INTERVAL: Duration = Duration::from_secs(1);
/// After news, others that come with them are waited for, so that a class of hundreds is one pass.
const GATHER: Duration = Duration::from_millis(20);
/// Overdue lives of one pass; the rest comes in the next.
const MAX_OVERDUE: i64 = 200;
/// Queue and machines that are looked at together.
const MAX_ROWS: i64 = 20_000;
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// Homes are thinned out in small helpings: the queue waits meanwhile.
const THIN_INTERVAL: Duration = Duration::from_secs(60);
const THIN_HOMES: i64 = 50;
/// Held while turns are given.
const TURNS_LOCK: i64 = 0x6275_7272_6f77_0002;

/// Runs until the shutdown. An error of the database is told and tried again.
pub async fn run(app: App, mut exits: mpsc::Receiver<Exit>) -> anyhow::Result<()> {
    let mut ear = app.hub.listen();
    let (mut swept, mut thinned): (Option<Instant>, Option<Instant>) = (None, None);
    let shutdown = app.tasks.shutdown().clone();
    loop {
        if let Err(error) = pass(&app).await {
            tracing::error!(%error, "reconcile");
        }
        if swept.is_none_or(|time| time.elapsed() > SWEEP_INTERVAL) {
            swept = Some(Instant::now());
            if let Err(error) = sweep(&app).await {
                tracing::error!(%error, "sweep");
            }
        }
        if thinned.is_none_or(|time| time.elapsed() > THIN_INTERVAL) {
            thinned = Some(Instant::now());
            match snapshots::thin(&app.db, app.now(), THIN_HOMES).await {
                Ok(0) => {}
                Ok(dropped) => tracing::debug!(dropped, "snapshots are thinned out"),
                Err(error) => tracing::error!(%error, "thin"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(PASS_INTERVAL) => {}
            Some(exit) = exits.recv() => gone(&app, exit).await,
            () = news(&mut ear) => {}
        }
    }
}

async fn news(ear: &mut Ear) {
    ear.next().await;
    // Whoever is dropped while gathering is followed by a pass anyway.
    tokio::time::sleep(GATHER).await;
    ear.skip();
}

async fn pass(app: &App) -> Result<(), sqlx::Error> {
    tick(app).await?;
    if app.draining.load(Ordering::Relaxed) {
        return Ok(());
    }
    for placement in give_turns(app).await? {
        app.tasks.spawn("launch", launch(app.clone(), placement));
    }
    Ok(())
}

async fn sweep(app: &Core) -> Result<(), sqlx::Error> {
    let mut system = app.db.system().await?;
    app.readers.tidy();
    sessions::sweep(system.connection(), app.now()).await?;
    let expired = imports::expire(system.connection(), app.now()).await?;
    if expired > 0 {
        tracing::info!(expired, "imports that nobody went on with are forgotten");
    }
    system.commit().await
}

/// Lets time pass for those whose deadline or lease is over.
async fn tick(app: &Core) -> Result<(), sqlx::Error> {
    let now = app.now();
    let mut system = app.db.system().await?;
    let due = sqlx::query_scalar!(
        "select workspace_id from workspaces
         where phase <> 'terminated' and deleted_at is null and (deadline <= $1 or lease_until <= $1) limit $2",
        now,
        MAX_OVERDUE,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    for workspace in due {
        happen(app, WorkspaceId(workspace), Event::Tick).await?;
    }
    Ok(())
}

/// One event in a transaction of its own.
pub async fn happen(app: &Core, workspace: WorkspaceId, event: Event) -> Result<(), sqlx::Error> {
    let mut system = app.db.system().await?;
    let done = record::apply(system.connection(), app.now(), workspace, event).await?;
    system.commit().await?;
    if let Some((_, tasks)) = done {
        app.perform(tasks);
    }
    Ok(())
}

async fn gone(app: &Core, exit: Exit) {
    // The lease ends it if the database does not answer now.
    if let Err(error) = happen(app, exit.workspace, Event::Gone(exit.epoch)).await {
        tracing::error!(%error, workspace = %exit.workspace, "the end of a runner cannot be written down");
    }
}

/// This controller is new: what was placed by its host is gone with the old one.
pub async fn restarted(app: &Core) -> Result<(), sqlx::Error> {
    let mut system = app.db.system().await?;
    let ours = sqlx::query_scalar!(
        "select workspace_id from workspaces
         where phase <> 'terminated' and deleted_at is null and (host = $1 or phase = 'queued')",
        app.config.host,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    for workspace in ours {
        happen(app, WorkspaceId(workspace), Event::Restarted).await?;
    }
    Ok(())
}

struct QueueRow {
    tenant_id: uuid::Uuid,
    owner_id: uuid::Uuid,
    workspace_id: uuid::Uuid,
    phase: String,
    host: Option<String>,
    memory_mib: i32,
    queued_at: Option<time::OffsetDateTime>,
    not_before: Option<time::OffsetDateTime>,
    queue_position: Option<i32>,
    created_at: time::OffsetDateTime,
}

/// A turn that was given: the runner to start, once its home's key is open.
struct Placement {
    key: SealedKey,
    order: Order,
}

/// Places those whose turn it is, and tells the others where they stand.
async fn give_turns(app: &Core) -> Result<Vec<Placement>, sqlx::Error> {
    let now = app.now();
    let mut system = app.db.system().await?;
    let connection = system.connection();
    let any = sqlx::query_scalar!(
        r#"select exists (select from workspaces where phase = 'queued' and deleted_at is null) as "any!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    if !any {
        return Ok(vec![]);
    }
    sqlx::query!("select pg_advisory_xact_lock($1)", TURNS_LOCK).fetch_one(&mut *connection).await?;
    let rows = sqlx::query_as!(
        QueueRow,
        "select tenant_id, owner_id, workspace_id, phase, host, memory_mib, queued_at, not_before, queue_position, created_at
         from workspaces where phase <> 'terminated' and deleted_at is null limit $1",
        MAX_ROWS,
    )
    .fetch_all(&mut *connection)
    .await?;
    let turns = turns(&waiting(app, now, &rows), &placed(app, &rows), app.config.engine.capacity());
    let chosen: HashSet<WorkspaceId> = turns.now.iter().copied().collect();
    let rest: Vec<WorkspaceId> = turns.order.into_iter().filter(|one| !chosen.contains(one)).collect();
    positions(connection, &rows, &rest).await?;
    let mut placements = Vec::new();
    for workspace in turns.now {
        placements.extend(place(app, connection, now, workspace).await?);
    }
    system.commit().await?;
    Ok(placements)
}

fn waiting(app: &Core, now: time::OffsetDateTime, rows: &[QueueRow]) -> Vec<Waiting> {
    let queued = rows.iter().filter(|row| phase(&row.phase) == Phase::Queued);
    queued
        .map(|row| Waiting {
            tenant: TenantId(row.tenant_id),
            owner: UserId(row.owner_id),
            workspace: WorkspaceId(row.workspace_id),
            memory_mib: row.memory_mib.unsigned_abs().into(),
            queued_at: row.queued_at.unwrap_or(row.created_at),
            ready: row.not_before.is_none_or(|time| time <= now)
                && !app.engine.busy(WorkspaceId(row.workspace_id)),
        })
        .collect()
}

/// The machines of this host: another one's room is its own affair.
fn placed(app: &Core, rows: &[QueueRow]) -> Vec<Placed> {
    let ours = rows
        .iter()
        .filter(|row| phase(&row.phase) != Phase::Queued && row.host.as_ref() == Some(&app.config.host));
    ours.map(|row| Placed {
        tenant: TenantId(row.tenant_id),
        owner: UserId(row.owner_id),
        memory_mib: row.memory_mib.unsigned_abs().into(),
        starting: phase(&row.phase) == Phase::Provisioning,
    })
    .collect()
}

async fn positions(
    connection: &mut PgConnection,
    rows: &[QueueRow],
    order: &[WorkspaceId],
) -> Result<(), sqlx::Error> {
    for (index, workspace) in order.iter().enumerate() {
        let position = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let known = rows.iter().find(|row| row.workspace_id == workspace.0);
        if known.is_some_and(|row| row.queue_position == Some(position)) {
            continue;
        }
        sqlx::query!(
            "update workspaces set queue_position = $2 where workspace_id = $1 and phase = 'queued'",
            workspace.0,
            position,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Gives a workspace its turn. Nothing if it is not queued any more.
async fn place(
    app: &Core,
    connection: &mut PgConnection,
    now: time::OffsetDateTime,
    workspace: WorkspaceId,
) -> Result<Option<Placement>, sqlx::Error> {
    let Some((life, tasks)) = record::apply(connection, now, workspace, Event::Place).await? else {
        return Ok(None);
    };
    if tasks.is_empty() {
        return Ok(None);
    }
    let token = secrets::secret();
    let row = sqlx::query!(
        r#"update workspaces w set host = $2, runner_hash = $3, last_used_at = $4 from volumes v
         where w.workspace_id = $1 and v.tenant_id = w.tenant_id and v.volume_id = w.volume_id
         returning w.tenant_id, w.name, w.vcpus, w.memory_mib, w.home_mib, w.scratch_mib, w.pids, w.image, w.volume_id,
                   w.snapshot_requested, w.repair_requested, v.head_of, v.lineage"#,
        workspace.0,
        app.config.host,
        &secrets::hash(token.expose())[..],
        now,
    )
    .fetch_one(&mut *connection)
    .await?;
    let tenant = TenantId(row.tenant_id);
    let key = tenants::key(connection, tenant).await?;
    let order = Order {
        tenant,
        workspace,
        name: row.name,
        epoch: life.epoch,
        resources: view::resources(row.vcpus, [row.memory_mib, row.home_mib, row.scratch_mib, row.pids]),
        image: row.image,
        volume: VolumeId(row.volume_id),
        head: life.head,
        head_of: row.head_of.map(VolumeId),
        lineage: row.lineage.unsigned_abs(),
        snapshot_requested: row.snapshot_requested.unsigned_abs(),
        repair_requested: row.repair_requested.unsigned_abs(),
        token,
        grant_key: app.signing.verifying_key().to_hex(),
    };
    Ok(Some(Placement { key, order }))
}

/// Starts the runner of a placement that is committed. What fails is the placement's failure. A key service may take its time:
/// nothing waits for it but this.
async fn launch(app: App, placement: Placement) {
    let Placement { key, order } = placement;
    let (workspace, epoch, tenant) = (order.workspace, order.epoch, order.tenant);
    let opened = tokio::select! {
        () = app.tasks.shutdown().cancelled() => return,
        opened = key.open(&app.keeper) => opened,
    };
    let launched = match opened {
        Ok(TenantKey::Open(key)) => app.engine.launch(order, key.to_hex()).map_err(|error| failure(&error)),
        Ok(TenantKey::Forgotten) => Err(tenants::forgotten()),
        Err(error) => {
            tracing::error!(%error, %tenant, "the tenant's key does not open");
            Err(no_key(&error))
        }
    };
    if let Err(failure) = launched
        && let Err(error) = failed(&app, workspace, epoch, failure).await
    {
        // Its deadline ends it.
        tracing::error!(%error, %workspace, "a failed launch cannot be written down");
    }
}

fn no_key(error: &KeeperError) -> Failure {
    let cause = match error {
        KeeperError::Key(_) => "The key of this tenant's homes does not open.",
        KeeperError::Service(_) => "The key service did not open the key of this tenant's homes.",
    };
    Failure {
        step: Step::Runner,
        cause: cause.to_owned(),
        action: match error {
            KeeperError::Key(_) => error.next(),
            KeeperError::Service(_) => {
                "Start it again; if it stays, whoever runs this server finds why in its log.".to_owned()
            }
        },
        log: vec![],
    }
}

async fn failed(
    app: &Core,
    workspace: WorkspaceId,
    epoch: Epoch,
    failure: Failure,
) -> Result<(), sqlx::Error> {
    tracing::warn!(%workspace, %epoch, cause = failure.cause, "a runner was not started");
    happen(app, workspace, Event::Runner(epoch, Word::Failed(failure))).await
}

fn failure(error: &LaunchError) -> Failure {
    let action = match error {
        LaunchError::NoImage(_) => "Build the image on the host, then start again.",
        LaunchError::NoSlot(_) | LaunchError::Busy => "Try again in a moment.",
        LaunchError::Spawn(_) => "Run `burrow doctor` on the host.",
    };
    Failure { step: Step::Runner, cause: format!("{error}."), action: action.to_owned(), log: vec![] }
}
