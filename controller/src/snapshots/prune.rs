//! Prunes: deletes the automatic snapshots that the tenant's retention policy no longer keeps, a
//! few homes at a time. [`super::retention`] decides which.

use protocol::{TenantId, VolumeId, api::snapshot::Retention};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    commit::lock_volume,
    retention::{self, Candidate, Keep},
};
use crate::db::{Database, Scope};

/// Snapshots of one home that are considered together, the oldest first. The rest follows the next
/// time.
const MAX_CANDIDATES: i64 = 20_000;
/// How often a home is pruned at most. No interval of a policy is finer.
const PRUNE_INTERVAL: Duration = Duration::hours(1);

/// Reads a tenant's retention policy.
pub async fn find_policy(connection: &mut PgConnection, tenant: TenantId) -> Result<Retention, sqlx::Error> {
    let row = sqlx::query!(
        "select retention_all_hours, retention_minutely_hours, retention_hourly_hours, retention_daily_hours
         from tenants where tenant_id = $1",
        tenant.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(Retention {
        all_hours: row.retention_all_hours.unsigned_abs(),
        minutely_hours: row.retention_minutely_hours.unsigned_abs(),
        hourly_hours: row.retention_hourly_hours.unsigned_abs(),
        daily_hours: row.retention_daily_hours.unsigned_abs(),
    })
}

/// Sets the retention policy of the caller's tenant.
pub async fn set_policy(scope: &mut Scope, policy: &Retention) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update tenants set retention_all_hours = $2, retention_minutely_hours = $3,
            retention_hourly_hours = $4,
             retention_daily_hours = $5
         where tenant_id = $1",
        tenant,
        policy.all_hours as i32,
        policy.minutely_hours as i32,
        policy.hourly_hours as i32,
        policy.daily_hours as i32,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Prunes the homes that have waited longest, at most `max_homes`. `max_bytes` limits what the
/// snapshots of one home have stored. Returns the number of deleted snapshots.
pub async fn prune_due_homes(
    db: &Database,
    now: OffsetDateTime,
    max_homes: i64,
    max_bytes: Option<u64>,
) -> Result<u64, sqlx::Error> {
    let mut system = db.system().await?;
    let due = sqlx::query!(
        "select tenant_id, volume_id from volumes
         where head is not null and (pruned_at is null or pruned_at < $1)
             order by pruned_at nulls first limit $2",
        now - PRUNE_INTERVAL,
        max_homes,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    let mut deleted = 0;
    for home in due {
        let mut system = db.system().await?;
        let (tenant, volume) = (TenantId(home.tenant_id), VolumeId(home.volume_id));
        deleted += prune_home(system.connection(), now, (tenant, volume), max_bytes).await?;
        system.commit().await?;
    }
    Ok(deleted)
}

async fn prune_home(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, volume): (TenantId, VolumeId),
    max_bytes: Option<u64>,
) -> Result<u64, sqlx::Error> {
    let newest = lock_volume(connection, tenant, volume).await?;
    let policy = find_policy(connection, tenant).await?;
    let rows = sqlx::query!(
        r#"select s.snapshot_id, s.created_at, s.uploaded_bytes,
               s.name is not null or s.kind = 'requested' as "is_requested!",
                  coalesce(s.manifest = v.head, false) as "is_head!"
           from snapshots s join volumes v using (tenant_id, volume_id)
           where s.tenant_id = $1 and s.volume_id = $2 and s.created_at < $3
           order by s.created_at, s.snapshot_id limit $4"#,
        tenant.0,
        volume.0,
        now - Duration::hours(policy.all_hours.into()),
        MAX_CANDIDATES,
    )
    .fetch_all(&mut *connection)
    .await?;
    let candidates: Vec<Candidate> = rows
        .iter()
        .map(|row| Candidate {
            at: row.created_at,
            stored_bytes: row.uploaded_bytes.unsigned_abs(),
            keep: match (row.is_requested, row.is_head || Some(row.created_at) == newest) {
                (true, _) => Keep::Requested,
                (false, true) => Keep::Needed,
                (false, false) => Keep::ByPolicy,
            },
        })
        .collect();
    let pruned = retention::select_pruned_within(now, &policy, &candidates, max_bytes);
    let pruned: Vec<Uuid> = pruned.into_iter().map(|index| rows[index].snapshot_id).collect();
    sqlx::query!(
        "delete from snapshots where tenant_id = $1 and volume_id = $2 and snapshot_id = any($3)",
        tenant.0,
        volume.0,
        &pruned,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update volumes set pruned_at = $3 where tenant_id = $1 and volume_id = $2",
        tenant.0,
        volume.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(pruned.len() as u64)
}
