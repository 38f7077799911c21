//! Usage: what workspaces have used, for each day, workspace, owner and class. Knows no HTTP.
//!
//! A runner reports counters that only grow during its placement: for how long it has run by its monotonic
//! clock, and the bytes of its network. The row of the placement remembers what of them was counted, and
//! [`record_run`] adds the difference to the rows of days, in the transaction of the report. So a report that
//! comes twice adds nothing, a lost one is made up for by the next, a restarted controller continues where
//! the last one stopped, and no jump of a clock counts as time. Sizes of homes are added at each full hour
//! ([`sample_homes`]), also for hours in which no controller ran: homes do not change without one.
//!
//! [`counters`] decides what a report adds, [`hours`] which hour is missing; both are pure.

pub mod counters;
pub mod csv;
mod hours;
pub mod query;

use protocol::{Epoch, TenantId, WorkspaceId};
use sqlx::PgConnection;
use time::{Date, Duration, OffsetDateTime, UtcOffset};

use self::{
    counters::{Counters, MAX_AMOUNT, split_by_day},
    hours::next_hour,
};
use crate::{core::App, db::Database};

/// For how long rows of days are kept: a day longer than the longest report. The database refuses to remove
/// younger ones.
const USAGE_TTL: Duration = Duration::days(401);
/// For how long placements that have ended are kept.
const RUNS_TTL: Duration = Duration::days(90);
/// How often full hours and old rows are looked for.
const SAMPLE_INTERVAL: std::time::Duration = std::time::Duration::from_mins(5);
/// Rows that are deleted at once. The rest follows.
const MAX_REMOVED: i64 = 20_000;
/// What a home takes in the store counts up to here, 1 PiB, so that sums fit into their column.
const MAX_STORED_BYTES: i64 = 1 << 50;

/// Adds homes and deletes what is too old, until the shutdown.
pub async fn run(app: App) {
    let shutdown = app.tasks.shutdown().clone();
    loop {
        let now = app.now();
        if let Err(error) = sample_homes(&app.db, now).await {
            tracing::error!(%error, "cannot add homes to the usage");
        }
        if let Err(error) = delete_old(&app.db, now).await {
            tracing::error!(%error, "cannot delete old usage");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SAMPLE_INTERVAL) => {}
        }
    }
}

/// Adds what a runner has counted since its last report. `is_last`: it will not report again.
pub async fn record_run(
    connection: &mut PgConnection,
    (tenant, workspace, epoch): (TenantId, WorkspaceId, Epoch),
    now: OffsetDateTime,
    reported: Counters,
    is_last: bool,
) -> Result<(), sqlx::Error> {
    let epoch = epoch.0.cast_signed();
    let run = sqlx::query!(
        "select vcpus, counted_ms, counted_sent_bytes, counted_received_bytes from runs
         where tenant_id = $1 and workspace_id = $2 and epoch = $3 and ended_at is null",
        tenant.0,
        workspace.0,
        epoch,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(run) = run else { return Ok(()) };
    let counted = Counters {
        ran_ms: run.counted_ms.unsigned_abs(),
        sent_bytes: run.counted_sent_bytes.unsigned_abs(),
        received_bytes: run.counted_received_bytes.unsigned_abs(),
    };
    let Some((counted, added)) = counted.advance(reported, is_last) else { return Ok(()) };
    sqlx::query!(
        "update runs set counted_ms = $4, counted_sent_bytes = $5, counted_received_bytes = $6
         where tenant_id = $1 and workspace_id = $2 and epoch = $3",
        tenant.0,
        workspace.0,
        epoch,
        counted.ran_ms.cast_signed(),
        counted.sent_bytes.cast_signed(),
        counted.received_bytes.cast_signed(),
    )
    .execute(&mut *connection)
    .await?;
    for (day, amounts) in split_by_day(now, added) {
        add_to_day(connection, (tenant, workspace, epoch), day, amounts).await?;
    }
    Ok(())
}

/// Adds amounts of a placement to the row of a day. A sum that is too large stays at the largest number.
async fn add_to_day(
    connection: &mut PgConnection,
    (tenant, workspace, epoch): (TenantId, WorkspaceId, i64),
    day: Date,
    amounts: Counters,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into usage_days as u (tenant_id, day, workspace_id, user_id, class_id, machine_ms, vcpu_ms,
             sent_bytes, received_bytes)
         select tenant_id, $4::date, workspace_id, user_id, class_id, $5::bigint,
             least($5::bigint * vcpus, $8::bigint), $6::bigint, $7::bigint
         from runs where tenant_id = $1 and workspace_id = $2 and epoch = $3
         on conflict (tenant_id, day, workspace_id, user_id, coalesce(class_id, tenant_id)) do update set
             machine_ms = least(u.machine_ms + excluded.machine_ms, $8::bigint),
             vcpu_ms = least(u.vcpu_ms + excluded.vcpu_ms, $8::bigint),
             sent_bytes = least(u.sent_bytes + excluded.sent_bytes, $8::bigint),
             received_bytes = least(u.received_bytes + excluded.received_bytes, $8::bigint)",
        tenant.0,
        workspace.0,
        epoch,
        day,
        amounts.ran_ms.cast_signed(),
        amounts.sent_bytes.cast_signed(),
        amounts.received_bytes.cast_signed(),
        MAX_AMOUNT.cast_signed(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds the homes of all tenants at the full hours that nobody has added yet.
pub async fn sample_homes(db: &Database, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    loop {
        let mut system = db.system().await?;
        let counted_until = sqlx::query_scalar!("select counted_until from usage_hours for update")
            .fetch_one(system.connection())
            .await?;
        let Some(hour) = next_hour(counted_until, now) else { return Ok(()) };
        add_hour(system.connection(), hour).await?;
        system.commit().await?;
    }
}

/// Adds the homes that exist to their rows, unless this hour is in them.
async fn add_hour(connection: &mut PgConnection, hour: OffsetDateTime) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into usage_days as u (tenant_id, day, workspace_id, user_id, class_id, home_byte_hours,
             stored_byte_hours, hours)
         select w.tenant_id, $2::date, w.workspace_id, w.owner_id, w.class_id, w.home_mib::bigint * 1048576,
             least(coalesce(v.stored_bytes, 0), $4::bigint), 1 << $3::integer
         from workspaces w join volumes v using (tenant_id, volume_id)
         where w.deleted_at is null and w.created_at <= $1
         on conflict (tenant_id, day, workspace_id, user_id, coalesce(class_id, tenant_id)) do update set
             home_byte_hours = u.home_byte_hours + excluded.home_byte_hours,
             stored_byte_hours = u.stored_byte_hours + excluded.stored_byte_hours,
             hours = u.hours | excluded.hours
         where u.hours & excluded.hours = 0",
        hour,
        day_of(hour),
        i32::from(hour.to_offset(UtcOffset::UTC).hour()),
        MAX_STORED_BYTES,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update usage_hours set counted_until = $1", hour).execute(connection).await?;
    Ok(())
}

/// Deletes rows of days and ended placements that are kept no longer.
pub async fn delete_old(db: &Database, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    let mut system = db.system().await?;
    sqlx::query!(
        "delete from usage_days where ctid in (select ctid from usage_days where day < $1 limit $2)",
        day_of(now - USAGE_TTL),
        MAX_REMOVED,
    )
    .execute(system.connection())
    .await?;
    sqlx::query!(
        "delete from runs where ctid in (select ctid from runs where ended_at < $1 limit $2)",
        now - RUNS_TTL,
        MAX_REMOVED,
    )
    .execute(system.connection())
    .await?;
    system.commit().await
}

/// The day of an instant, in UTC.
pub fn day_of(instant: OffsetDateTime) -> Date {
    instant.to_offset(UtcOffset::UTC).date()
}

/// The first day of the month of an instant, in UTC.
pub fn month_of(instant: OffsetDateTime) -> Date {
    day_of(instant).replace_day(1).expect("every month has a first day")
}
