//! Commits snapshots: from then on they count.

use protocol::{
    ManifestId, SnapshotId, TenantId, VolumeId,
    api::snapshot::{Consistency, SnapshotKind},
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::query::{consistency_text, kind_text};
use crate::lifecycle::record::Locked;

/// Two snapshots of a home never hold the same instant: the database's finest step.
const TICK: Duration = Duration::microseconds(1);

/// What a runner tells of a snapshot that lies complete in the store.
pub struct Told {
    pub manifest: ManifestId,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    pub answers: u64,
    pub cut_at: OffsetDateTime,
    /// Changed, uploaded and stored bytes, objects.
    pub sizes: [i64; 4],
}

/// Commits a snapshot: its row and the volume's head, in the transaction of the life's step. False: it was committed before.
pub async fn commit(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    locked: &mut Locked,
    told: &Told,
) -> Result<bool, sqlx::Error> {
    let newest = hold(connection, locked.tenant, locked.volume).await?;
    let at = instant(told.cut_at, newest, now);
    let [changed_bytes, uploaded_bytes, stored_bytes, objects] = told.sizes;
    let made = sqlx::query_scalar!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, kind, consistency, changed_bytes,
             uploaded_bytes, stored_bytes, objects, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing returning snapshot_id",
        locked.tenant,
        locked.volume,
        SnapshotId::random().0,
        locked.life.epoch.0 as i64,
        &told.manifest.0[..],
        kind_text(told.kind),
        consistency_text(told.consistency),
        changed_bytes,
        uploaded_bytes,
        stored_bytes,
        objects,
        at,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let id = match made {
        Some(id) => id,
        None => known(connection, locked, told).await?,
    };
    if told.kind == SnapshotKind::Requested && told.answers > locked.asked.answered {
        locked.asked.answered = told.answers.min(locked.asked.wanted);
        locked.asked.answer = Some(SnapshotId(id));
    }
    if told.kind == SnapshotKind::Stop {
        (locked.home.dirty_bytes, locked.home.unreplicated_ms) = (Some(0), Some(0));
    }
    // A home that changed and changed back is the same snapshot again, and safe up to the new cut; a doubled report says the
    // cut that it said before, where this changes nothing. An older one is not the head again.
    let safe_at = if made.is_some() { at } else { told.cut_at.min(now) };
    if made.is_some() || locked.life.head == Some(told.manifest) {
        sqlx::query!(
            "update volumes set head = $3, head_of = (select made_by from snapshots where tenant_id = $1 and snapshot_id = $6),
                 safe_at = greatest(safe_at, $4), stored_bytes = $5
             where tenant_id = $1 and volume_id = $2",
            locked.tenant,
            locked.volume,
            &told.manifest.0[..],
            safe_at,
            stored_bytes,
            id,
        )
        .execute(connection)
        .await?;
        locked.committed |= made.is_some();
    }
    Ok(made.is_some())
}

/// A snapshot that no machine of this volume took.
pub struct Moved {
    pub manifest: ManifestId,
    /// The volume that made it.
    pub made_by: VolumeId,
    pub kind: SnapshotKind,
    pub consistency: Consistency,
    pub at: OffsetDateTime,
    pub stored_bytes: i64,
}

/// Adds a snapshot from elsewhere to a volume, which is held. One that is there already stays as it is, and is kept.
pub async fn take_in(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, volume): (TenantId, VolumeId),
    moved: &Moved,
) -> Result<SnapshotId, sqlx::Error> {
    let newest = hold(connection, tenant.0, volume.0).await?;
    let id = sqlx::query_scalar!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, made_by, kind, consistency, changed_bytes,
             uploaded_bytes, stored_bytes, objects, created_at)
         values ($1, $2, $3, 0, $4, $5, $6, $7, 0, 0, $8, 0, $9)
         on conflict (tenant_id, volume_id, manifest) do update set kind = excluded.kind returning snapshot_id",
        tenant.0,
        volume.0,
        SnapshotId::random().0,
        &moved.manifest.0[..],
        Some(moved.made_by.0).filter(|maker| *maker != volume.0),
        kind_text(moved.kind),
        consistency_text(moved.consistency),
        moved.stored_bytes,
        instant(moved.at, newest, now),
    )
    .fetch_one(connection)
    .await?;
    Ok(SnapshotId(id))
}

/// The row of a manifest that was committed before; what was asked for stays from now on.
async fn known(connection: &mut PgConnection, locked: &Locked, told: &Told) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar!(
        "update snapshots set kind = case when $4 = 'requested' then 'requested' else kind end,
             consistency = case when $5 = 'clean' then 'clean' else consistency end
         where tenant_id = $1 and volume_id = $2 and manifest = $3 returning snapshot_id",
        locked.tenant,
        locked.volume,
        &told.manifest.0[..],
        kind_text(told.kind),
        consistency_text(told.consistency),
    )
    .fetch_one(connection)
    .await
}

/// A runner's clock is another: the instant lies behind the newest snapshot's and not in the future.
fn instant(cut_at: OffsetDateTime, newest: Option<OffsetDateTime>, now: OffsetDateTime) -> OffsetDateTime {
    let cut_at = cut_at.min(now);
    newest.map_or(cut_at, |newest| cut_at.max(newest + TICK))
}

/// Holds the volume until the transaction's end; the instant of its newest snapshot.
pub async fn hold(
    connection: &mut PgConnection,
    tenant: Uuid,
    volume: Uuid,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query!(
        "select volume_id from volumes where tenant_id = $1 and volume_id = $2 for no key update",
        tenant,
        volume,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        "select max(created_at) from snapshots where tenant_id = $1 and volume_id = $2",
        tenant,
        volume,
    )
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_lies_between_the_newest_and_now() {
        let at = |second| OffsetDateTime::UNIX_EPOCH + Duration::seconds(second);
        for (cut, newest, expected) in [
            (50, None, at(50)),
            (50, Some(40), at(50)),
            (150, Some(40), at(100)),
            (30, Some(40), at(40) + TICK),
            (40, Some(40), at(40) + TICK),
            (-5, None, at(-5)),
        ] {
            assert_eq!(instant(at(cut), newest.map(at), at(100)), expected, "{cut} after {newest:?}");
        }
    }
}
