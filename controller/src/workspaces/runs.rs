//! Placements in the database: from when to when each workspace had a runner.

use protocol::{Epoch, TenantId, WorkspaceId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::queue_estimate::Run;

/// Ended placements that an estimate is made of.
const MAX_ENDED: i64 = 200;
/// Running placements that an estimate is made of: more than a host runs.
const MAX_OPEN: i64 = 20_000;

/// Records a placement, in its transaction.
pub async fn begin(
    connection: &mut PgConnection,
    (tenant, workspace, epoch): (TenantId, WorkspaceId, Epoch),
    host: &str,
    queued_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into runs (tenant_id, workspace_id, epoch, user_id, class_id, host, vcpus, memory_mib,
             queued_at, placed_at)
         select tenant_id, workspace_id, $3, owner_id, class_id, $4, vcpus, memory_mib,
             least($5::timestamptz, $6::timestamptz), $6
         from workspaces where tenant_id = $1 and workspace_id = $2",
        tenant.0,
        workspace.0,
        epoch.0.cast_signed(),
        host,
        queued_at,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records the end of a placement, in its transaction. One that has ended stays as it is.
pub async fn end(
    connection: &mut PgConnection,
    (tenant, workspace, epoch): (TenantId, WorkspaceId, Epoch),
    ended_at: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update runs set ended_at = greatest(placed_at, $4)
         where tenant_id = $1 and workspace_id = $2 and epoch = $3 and ended_at is null",
        tenant.0,
        workspace.0,
        epoch.0.cast_signed(),
        ended_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The placements on a host that say how fast places become free.
pub async fn list_recent(connection: &mut PgConnection, host: &str) -> Result<Vec<Run>, sqlx::Error> {
    sqlx::query_as!(
        Run,
        r#"(select queued_at as "queued_at!", placed_at as "placed_at!", ended_at from runs
            where host = $1 and ended_at is null limit $2)
           union all
           (select queued_at, placed_at, ended_at from runs
            where host = $1 and ended_at is not null order by ended_at desc limit $3)"#,
        host,
        MAX_OPEN,
        MAX_ENDED,
    )
    .fetch_all(connection)
    .await
}
