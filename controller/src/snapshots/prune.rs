//! Pruning: automatic snapshots that the retention policy no longer keeps are deleted, a few homes at a time.

use protocol::{TenantId, api::snapshot::Retention};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    commit::hold,
    retention::{self, Kept},
};
use crate::{db::Database, tenants};

/// Snapshots of one home that are weighed together when it is thinned out, the oldest first. What is beyond comes next time.
const MAX_WEIGHED: i64 = 20_000;
/// A home is thinned out at most so often: no step of a retention is finer.
const THIN_INTERVAL: Duration = Duration::hours(1);

/// Thins out the homes that have waited longest for it, at most so many; how many snapshots went.
pub async fn thin(db: &Database, now: OffsetDateTime, homes: i64) -> Result<u64, sqlx::Error> {
    let mut system = db.system().await?;
    let due = sqlx::query!(
        "select tenant_id, volume_id from volumes
         where head is not null and (pruned_at is null or pruned_at < $1) order by pruned_at nulls first limit $2",
        now - THIN_INTERVAL,
        homes,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    let mut dropped = 0;
    for home in due {
        let mut system = db.system().await?;
        dropped += thin_one(system.connection(), now, TenantId(home.tenant_id), home.volume_id).await?;
        system.commit().await?;
    }
    Ok(dropped)
}

async fn thin_one(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    tenant: TenantId,
    volume: Uuid,
) -> Result<u64, sqlx::Error> {
    let newest = hold(connection, tenant.0, volume).await?;
    let policy: Retention = tenants::retention(connection, tenant).await?;
    let rows = sqlx::query!(
        r#"select s.snapshot_id, s.created_at, s.name is not null or s.kind = 'requested' as "is_chosen!",
                  coalesce(s.manifest = v.head, false) as "is_head!"
           from snapshots s join volumes v using (tenant_id, volume_id)
           where s.tenant_id = $1 and s.volume_id = $2 and s.created_at < $3
           order by s.created_at, s.snapshot_id limit $4"#,
        tenant.0,
        volume,
        now - Duration::hours(policy.all_hours.into()),
        MAX_WEIGHED,
    )
    .fetch_all(&mut *connection)
    .await?;
    let weighed: Vec<retention::Instant> = rows
        .iter()
        .map(|row| retention::Instant {
            at: row.created_at,
            kept: match (row.is_chosen, row.is_head || Some(row.created_at) == newest) {
                (true, _) => Kept::Chosen,
                (false, true) => Kept::Needed,
                (false, false) => Kept::ByRule,
            },
        })
        .collect();
    let dropped: Vec<Uuid> =
        retention::dropped(now, &policy, &weighed).into_iter().map(|index| rows[index].snapshot_id).collect();
    sqlx::query!(
        "delete from snapshots where tenant_id = $1 and volume_id = $2 and snapshot_id = any($3)",
        tenant.0,
        volume,
        &dropped,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update volumes set pruned_at = $3 where tenant_id = $1 and volume_id = $2",
        tenant.0,
        volume,
        now,
    )
    .execute(connection)
    .await?;
    Ok(dropped.len() as u64)
}
