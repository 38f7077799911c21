//! Commits snapshots: a row, and the head of the volume. From then on a snapshot counts.

use protocol::{
    Epoch, ManifestId, SnapshotId, TenantId, VolumeId,
    api::snapshot::{Consistency, SnapshotKind},
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::db::text::Text;

/// Smallest difference between the times of two snapshots of a home: the resolution of the
/// database.
const TIME_RESOLUTION: Duration = Duration::microseconds(1);

/// A snapshot that a runner has uploaded completely.
pub struct SnapshotReport {
    pub manifest: ManifestId,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    /// When it was cut, by the runner's clock.
    pub cut_at: OffsetDateTime,
    /// Bytes that differ from the snapshot before.
    pub changed_bytes: i64,
    pub uploaded_bytes: i64,
    /// Bytes that the whole home takes in the store.
    pub stored_bytes: i64,
    pub objects: i64,
}

/// The volume that a snapshot is committed to. Its workspace is locked.
#[derive(Clone, Copy)]
pub struct VolumeHead {
    pub tenant: TenantId,
    pub volume: VolumeId,
    /// The placement that took the snapshot.
    pub epoch: Epoch,
    /// The head before.
    pub head: Option<ManifestId>,
}

/// A snapshot that is a row now.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub id: SnapshotId,
    /// False if it was committed before.
    pub is_new: bool,
}

/// Commits a snapshot, in the transaction that records the runner's report. The only place that
/// writes the head of a running home.
pub async fn commit(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    VolumeHead { tenant, volume, epoch, head }: VolumeHead,
    report: &SnapshotReport,
) -> Result<Committed, sqlx::Error> {
    let newest = lock_volume(connection, tenant, volume).await?;
    let at = assign_time(report.cut_at, newest, now);
    let inserted = sqlx::query_scalar!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, kind, consistency,
            changed_bytes,
             uploaded_bytes, stored_bytes, objects, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             on conflict do nothing returning snapshot_id",
        tenant.0,
        volume.0,
        SnapshotId::random().0,
        epoch.0 as i64,
        &report.manifest.0[..],
        Text(report.kind).name(),
        Text(report.consistency).name(),
        report.changed_bytes,
        report.uploaded_bytes,
        report.stored_bytes,
        report.objects,
        at,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let is_new = inserted.is_some();
    let id = match inserted {
        Some(id) => id,
        None => upgrade_known(connection, (tenant, volume), report).await?,
    };
    // A home that changed and changed back has the same manifest again and is safe up to the new
    // cut. A repeated report has the cut that it had before, and changes nothing. An older snapshot
    // does not become the head again.
    if is_new || head == Some(report.manifest) {
        let safe_at = if is_new { at } else { report.cut_at.min(now) };
        sqlx::query!(
            "update volumes set head = $3,
                 head_of = (select made_by from snapshots where tenant_id = $1 and snapshot_id = $6),
                 safe_at = greatest(safe_at, $4), stored_bytes = $5
             where tenant_id = $1 and volume_id = $2",
            tenant.0,
            volume.0,
            &report.manifest.0[..],
            safe_at,
            report.stored_bytes,
            id,
        )
        .execute(connection)
        .await?;
    }
    Ok(Committed { id: SnapshotId(id), is_new })
}

/// The row of a manifest that was committed before. A request keeps it from now on, and a clean cut
/// makes it clean.
async fn upgrade_known(
    connection: &mut PgConnection,
    (tenant, volume): (TenantId, VolumeId),
    report: &SnapshotReport,
) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar!(
        "update snapshots set kind = case when $4 = 'requested' then 'requested' else kind end,
             consistency = case when $5 = 'clean' then 'clean' else consistency end
         where tenant_id = $1 and volume_id = $2 and manifest = $3 returning snapshot_id",
        tenant.0,
        volume.0,
        &report.manifest.0[..],
        Text(report.kind).name(),
        Text(report.consistency).name(),
    )
    .fetch_one(connection)
    .await
}

/// A snapshot that no runner of its volume took: it comes from an import.
pub struct ImportedSnapshot {
    pub manifest: ManifestId,
    /// The volume that made the manifest.
    pub made_by: VolumeId,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    pub at: OffsetDateTime,
    pub stored_bytes: i64,
}

/// Adds an imported snapshot to a volume and locks the volume. One that is there already only
/// changes its kind.
pub async fn add_imported(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, volume): (TenantId, VolumeId),
    imported: &ImportedSnapshot,
) -> Result<SnapshotId, sqlx::Error> {
    let newest = lock_volume(connection, tenant, volume).await?;
    let id = sqlx::query_scalar!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, made_by, kind,
            consistency,
             changed_bytes, uploaded_bytes, stored_bytes, objects, created_at)
         values ($1, $2, $3, 0, $4, $5, $6, $7, 0, 0, $8, 0, $9)
         on conflict (tenant_id, volume_id,
             manifest) do update set kind = excluded.kind returning snapshot_id",
        tenant.0,
        volume.0,
        SnapshotId::random().0,
        &imported.manifest.0[..],
        Some(imported.made_by.0).filter(|maker| *maker != volume.0),
        Text(imported.kind).name(),
        Text(imported.consistency).name(),
        imported.stored_bytes,
        assign_time(imported.at, newest, now),
    )
    .fetch_one(connection)
    .await?;
    Ok(SnapshotId(id))
}

/// The time of a snapshot: after the newest one of its home, and not in the future. A runner's
/// clock may be wrong.
fn assign_time(
    cut_at: OffsetDateTime,
    newest: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> OffsetDateTime {
    let cut_at = cut_at.min(now);
    newest.map_or(cut_at, |newest| cut_at.max(newest + TIME_RESOLUTION))
}

/// Locks a volume until the transaction ends. Returns the time of its newest snapshot.
pub async fn lock_volume(
    connection: &mut PgConnection,
    tenant: TenantId,
    volume: VolumeId,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query!(
        "select volume_id from volumes where tenant_id = $1 and volume_id = $2 for no key update",
        tenant.0,
        volume.0,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        "select max(created_at) from snapshots where tenant_id = $1 and volume_id = $2",
        tenant.0,
        volume.0,
    )
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_time_is_after_newest_and_not_in_future() {
        let at = |second| OffsetDateTime::UNIX_EPOCH + Duration::seconds(second);
        for (cut, newest, expected) in [
            (50, None, at(50)),
            (50, Some(40), at(50)),
            (150, Some(40), at(100)),
            (30, Some(40), at(40) + TIME_RESOLUTION),
            (40, Some(40), at(40) + TIME_RESOLUTION),
            (-5, None, at(-5)),
        ] {
            assert_eq!(assign_time(at(cut), newest.map(at), at(100)), expected, "{cut} after {newest:?}");
        }
    }
}
