//! Snapshots in the database: a home's past, and which instant is its head.
//!
//! Whoever changes a head or removes rows holds the volume's row, so that no head is ever without its snapshot.

use protocol::{
    Epoch, ManifestId, SnapshotId, TenantId, VolumeId, WorkspaceId,
    api::snapshot::{Consistency, Retention, Snapshot, SnapshotKind},
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::life::{Locked, manifest};
use crate::{
    db::{Database, Scope},
    retention::{self, Kept},
    tenants,
};

/// Snapshots of one home that are weighed together when it is thinned out, the oldest first. What is beyond comes next time.
const MAX_WEIGHED: i64 = 20_000;
/// A home is thinned out at most so often: no step of a retention is finer.
const THIN_INTERVAL: Duration = Duration::hours(1);
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

/// One snapshot, for whoever acts on it.
#[derive(Clone, Debug)]
pub struct Found {
    pub snapshot: Snapshot,
    pub manifest: ManifestId,
    pub volume: VolumeId,
    /// The volume that made it.
    pub made_by: VolumeId,
    pub is_head: bool,
}

/// Which snapshot of a home is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The head.
    Latest,
    One(SnapshotId),
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
    if told.kind == SnapshotKind::Asked && told.answers > locked.asked.answered {
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
        "update snapshots set kind = case when $4 = 'asked' then 'asked' else kind end,
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
async fn hold(
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

struct Row {
    snapshot_id: Uuid,
    volume_id: Uuid,
    made_by: Option<Uuid>,
    manifest: Vec<u8>,
    is_head: bool,
    name: Option<String>,
    kind: String,
    consistency: String,
    epoch: i64,
    changed_bytes: i64,
    uploaded_bytes: i64,
    stored_bytes: i64,
    created_at: OffsetDateTime,
}

impl From<Row> for Found {
    fn from(row: Row) -> Self {
        Self {
            manifest: manifest(&row.manifest).expect("the table's check admits 32 bytes"),
            volume: VolumeId(row.volume_id),
            made_by: VolumeId(row.made_by.unwrap_or(row.volume_id)),
            is_head: row.is_head,
            snapshot: Snapshot {
                id: SnapshotId(row.snapshot_id),
                name: row.name,
                kind: kind(&row.kind),
                consistency: if row.consistency == "clean" { Consistency::Clean } else { Consistency::Crash },
                epoch: Epoch(row.epoch.unsigned_abs()),
                changed_bytes: row.changed_bytes.unsigned_abs(),
                uploaded_bytes: row.uploaded_bytes.unsigned_abs(),
                stored_bytes: row.stored_bytes.unsigned_abs(),
                created_at: row.created_at,
            },
        }
    }
}

/// Newest first; those before an instant, if one is given.
pub async fn list(
    scope: &mut Scope,
    workspace: WorkspaceId,
    before: Option<OffsetDateTime>,
    limit: i64,
) -> Result<Vec<Found>, sqlx::Error> {
    let tenant = scope.tenant();
    let rows = sqlx::query_as!(
        Row,
        r#"select s.snapshot_id, s.volume_id, s.made_by, s.manifest, coalesce(s.manifest = v.head, false) as "is_head!",
                  s.name, s.kind, s.consistency, s.epoch, s.changed_bytes, s.uploaded_bytes, s.stored_bytes, s.created_at
           from workspaces w
           join volumes v using (tenant_id, volume_id)
           join snapshots s using (tenant_id, volume_id)
           where w.tenant_id = $1 and w.workspace_id = $2 and w.deleted_at is null
             and ($3::timestamptz is null or s.created_at < $3)
           order by s.created_at desc, s.snapshot_id desc limit $4"#,
        tenant,
        workspace.0,
        before,
        limit,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().map(Found::from).collect())
}

/// One snapshot of a workspace's home.
pub async fn find(
    scope: &mut Scope,
    workspace: WorkspaceId,
    which: Which,
) -> Result<Option<Found>, sqlx::Error> {
    let tenant = scope.tenant();
    let id = match which {
        Which::Latest => None,
        Which::One(id) => Some(id.0),
    };
    let row = sqlx::query_as!(
        Row,
        r#"select s.snapshot_id, s.volume_id, s.made_by, s.manifest, coalesce(s.manifest = v.head, false) as "is_head!",
                  s.name, s.kind, s.consistency, s.epoch, s.changed_bytes, s.uploaded_bytes, s.stored_bytes, s.created_at
           from workspaces w
           join volumes v using (tenant_id, volume_id)
           join snapshots s using (tenant_id, volume_id)
           where w.tenant_id = $1 and w.workspace_id = $2 and w.deleted_at is null
             and case when $3::uuid is null then s.manifest = v.head else s.snapshot_id = $3 end"#,
        tenant,
        workspace.0,
        id,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(Found::from))
}

/// As [`find`], and the volume is held: neither this snapshot nor the head changes until the transaction's end.
pub async fn find_held(
    scope: &mut Scope,
    workspace: WorkspaceId,
    which: Which,
) -> Result<Option<Found>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "select v.volume_id from workspaces w join volumes v using (tenant_id, volume_id)
         where w.tenant_id = $1 and w.workspace_id = $2 for no key update of v",
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    find(scope, workspace, which).await
}

/// Keeps a snapshot until somebody deletes it, under a name if one is given.
pub async fn keep(scope: &mut Scope, snapshot: SnapshotId, name: Option<&str>) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update snapshots set kind = 'asked', name = coalesce($3, name) where tenant_id = $1 and snapshot_id = $2",
        tenant,
        snapshot.0,
        name,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

pub async fn rename(scope: &mut Scope, snapshot: SnapshotId, name: &str) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update snapshots set name = $3 where tenant_id = $1 and snapshot_id = $2",
        tenant,
        snapshot.0,
        name,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Removes the row. What nothing else needs in the store is the collector's to remove.
pub async fn delete(scope: &mut Scope, snapshot: SnapshotId) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from snapshots where tenant_id = $1 and snapshot_id = $2", tenant, snapshot.0)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// Makes another snapshot the head. What was the head is kept from now on, so that the way back stays open.
pub async fn restore(
    scope: &mut Scope,
    workspace: WorkspaceId,
    found: &Found,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update snapshots s set kind = 'asked' from volumes v
         where v.tenant_id = $1 and v.volume_id = $2 and s.tenant_id = $1 and s.volume_id = $2 and s.manifest = v.head",
        tenant,
        found.volume.0,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update volumes set head = $3, head_of = $4, lineage = lineage + 1, safe_at = $5, stored_bytes = $6
         where tenant_id = $1 and volume_id = $2",
        tenant,
        found.volume.0,
        &found.manifest.0[..],
        Some(found.made_by.0).filter(|maker| *maker != found.volume.0),
        now,
        found.snapshot.stored_bytes as i64,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update workspaces set revision = revision + 1, home_used_bytes = null
         where tenant_id = $1 and workspace_id = $2",
        tenant,
        workspace.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Thins out the homes that have waited longest for it, at most so many; how many snapshots went.
pub async fn thin(db: &Database, now: OffsetDateTime, homes: i64) -> Result<u64, sqlx::Error> {
    let mut system = db.system().await?;
    let due = sqlx::query!(
        "select tenant_id, volume_id from volumes
         where head is not null and (thinned_at is null or thinned_at < $1) order by thinned_at nulls first limit $2",
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
        r#"select s.snapshot_id, s.created_at, s.name is not null or s.kind = 'asked' as "is_chosen!",
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
        "update volumes set thinned_at = $3 where tenant_id = $1 and volume_id = $2",
        tenant.0,
        volume,
        now,
    )
    .execute(connection)
    .await?;
    Ok(dropped.len() as u64)
}

/// Gives up the homes of workspaces that were deleted before an instant; how many.
pub async fn give_up(connection: &mut PgConnection, before: OffsetDateTime) -> Result<u64, sqlx::Error> {
    let homes = sqlx::query!(
        "update volumes v set head = null, head_of = null, stored_bytes = 0
         where v.head is not null
           and exists (select from workspaces w where w.tenant_id = v.tenant_id and w.volume_id = v.volume_id)
           and not exists (select from workspaces w where w.tenant_id = v.tenant_id and w.volume_id = v.volume_id
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

/// All that a tenant's objects must be kept for.
pub async fn roots(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<ManifestId>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"select manifest as "manifest!" from snapshots where tenant_id = $1
           union select head from volumes where tenant_id = $1 and head is not null"#,
        tenant.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().filter_map(|bytes| manifest(bytes)).collect())
}

fn kind(text: &str) -> SnapshotKind {
    match text {
        "stream" => SnapshotKind::Stream,
        "asked" => SnapshotKind::Asked,
        _ => SnapshotKind::Stop,
    }
}

pub fn kind_text(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Stream => "stream",
        SnapshotKind::Stop => "stop",
        SnapshotKind::Asked => "asked",
    }
}

fn consistency_text(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash",
        Consistency::Clean => "clean",
    }
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
