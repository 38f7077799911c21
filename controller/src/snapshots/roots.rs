//! The snapshots whose objects must stay in the store.

use protocol::{ManifestId, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::lifecycle::record::manifest;

/// Drops the heads and snapshots of workspaces that were deleted before `before`. Returns the
/// number of homes.
pub async fn release_deleted_homes(
    connection: &mut PgConnection,
    before: OffsetDateTime,
) -> Result<u64, sqlx::Error> {
    let homes = sqlx::query!(
        "update volumes v set head = null, head_of = null, stored_bytes = 0
         where v.head is not null
           and exists (select from workspaces w where w.tenant_id = v.tenant_id and w.volume_id = v.volume_id)
           and not exists (select from workspaces w where w.tenant_id = v.tenant_id
               and w.volume_id = v.volume_id
                           and (w.deleted_at is null or w.deleted_at >= $1))
         returning v.tenant_id, v.volume_id",
        before,
    )
    .fetch_all(&mut *connection)
    .await?;
    for home in &homes {
        sqlx::query!(
            "delete from snapshots where tenant_id = $1 and volume_id = $2",
            home.tenant_id,
            home.volume_id,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(homes.len() as u64)
}

/// The manifests whose objects must stay: every snapshot and every head of a tenant.
pub async fn list_roots(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Vec<ManifestId>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"select manifest as "manifest!" from snapshots where tenant_id = $1
           union select head from volumes where tenant_id = $1 and head is not null"#,
        tenant.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().filter_map(|bytes| manifest(bytes)).collect())
}
