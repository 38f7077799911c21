//! Snapshots in the database: found, listed, named, deleted and restored.
//!
//! Whoever changes a head or removes rows holds the volume's row, so that no head is ever without its snapshot.

use protocol::{
    Epoch, ManifestId, SnapshotId, VolumeId, WorkspaceId,
    api::snapshot::{Consistency, Snapshot, SnapshotKind},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{db::Scope, lifecycle::record::manifest};

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
        "update snapshots set kind = 'requested', name = coalesce($3, name) where tenant_id = $1 and snapshot_id = $2",
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
        "update snapshots s set kind = 'requested' from volumes v
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

fn kind(text: &str) -> SnapshotKind {
    match text {
        "stream" => SnapshotKind::Stream,
        "requested" => SnapshotKind::Requested,
        _ => SnapshotKind::Stop,
    }
}

pub fn kind_text(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Stream => "stream",
        SnapshotKind::Stop => "stop",
        SnapshotKind::Requested => "requested",
    }
}

pub fn consistency_text(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash",
        Consistency::Clean => "clean",
    }
}
