//! Snapshots in the database: find, list, keep, name, delete and restore them.
//!
//! Every function that changes a head or deletes a row locks the volume's row first. So a head
//! never points to a snapshot that does not exist.

use std::str::FromStr;

use protocol::{
    Epoch, ManifestId, SnapshotId, VolumeId, WorkspaceId,
    api::snapshot::{Consistency, Snapshot, SnapshotKind},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    db::{Scope, text::Text},
    lifecycle::record::manifest,
};

/// A committed snapshot, with what is needed to act on it.
#[derive(Clone, Debug)]
pub struct SnapshotRecord {
    /// What users see of it.
    pub snapshot: Snapshot,
    pub manifest: ManifestId,
    pub volume: VolumeId,
    /// The volume that made the manifest. Another one than `volume` if the home is a fork or an
    /// import.
    pub made_by: VolumeId,
    /// Whether it is what the home is now.
    pub is_head: bool,
}

/// Names a snapshot of a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotRef {
    /// The head: `latest` in URLs.
    Latest,
    Id(SnapshotId),
}

/// How [`SnapshotRef::Latest`] is written.
const LATEST: &str = "latest";

impl FromStr for SnapshotRef {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        if text == LATEST { Ok(Self::Latest) } else { text.parse().map(Self::Id) }
    }
}

impl<'de> Deserialize<'de> for SnapshotRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

struct Row {
    snapshot_id: Uuid,
    volume_id: Uuid,
    made_by: Option<Uuid>,
    manifest: Vec<u8>,
    is_head: bool,
    name: Option<String>,
    kind: Text<SnapshotKind>,
    consistency: Text<Consistency>,
    epoch: i64,
    changed_bytes: i64,
    uploaded_bytes: i64,
    stored_bytes: i64,
    created_at: OffsetDateTime,
}

impl From<Row> for SnapshotRecord {
    fn from(row: Row) -> Self {
        Self {
            manifest: manifest(&row.manifest).expect("the table's check admits 32 bytes"),
            volume: VolumeId(row.volume_id),
            made_by: VolumeId(row.made_by.unwrap_or(row.volume_id)),
            is_head: row.is_head,
            snapshot: Snapshot {
                id: SnapshotId(row.snapshot_id),
                name: row.name,
                kind: row.kind.0,
                consistency: row.consistency.0,
                epoch: Epoch(row.epoch.unsigned_abs()),
                changed_bytes: row.changed_bytes.unsigned_abs(),
                uploaded_bytes: row.uploaded_bytes.unsigned_abs(),
                stored_bytes: row.stored_bytes.unsigned_abs(),
                created_at: row.created_at,
            },
        }
    }
}

/// Lists the snapshots of a workspace, newest first, at most `limit`. With `before`, only older
/// ones.
pub async fn list(
    scope: &mut Scope,
    workspace: WorkspaceId,
    before: Option<OffsetDateTime>,
    limit: i64,
) -> Result<Vec<SnapshotRecord>, sqlx::Error> {
    let tenant = scope.tenant();
    let rows = sqlx::query_as!(
        Row,
        r#"select s.snapshot_id, s.volume_id, s.made_by, s.manifest,
                  coalesce(s.manifest = v.head, false) as "is_head!",
                  s.name, s.kind as "kind: Text<SnapshotKind>",
                      s.consistency as "consistency: Text<Consistency>", s.epoch,
                  s.changed_bytes, s.uploaded_bytes, s.stored_bytes, s.created_at
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
    Ok(rows.into_iter().map(SnapshotRecord::from).collect())
}

/// Finds a snapshot of a workspace.
pub async fn find(
    scope: &mut Scope,
    workspace: WorkspaceId,
    reference: SnapshotRef,
) -> Result<Option<SnapshotRecord>, sqlx::Error> {
    let tenant = scope.tenant();
    let id = match reference {
        SnapshotRef::Latest => None,
        SnapshotRef::Id(id) => Some(id.0),
    };
    let row = sqlx::query_as!(
        Row,
        r#"select s.snapshot_id, s.volume_id, s.made_by, s.manifest,
                  coalesce(s.manifest = v.head, false) as "is_head!",
                  s.name, s.kind as "kind: Text<SnapshotKind>",
                      s.consistency as "consistency: Text<Consistency>", s.epoch,
                  s.changed_bytes, s.uploaded_bytes, s.stored_bytes, s.created_at
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
    Ok(row.map(SnapshotRecord::from))
}

/// Like [`find`], and locks the volume: neither this snapshot nor the head changes until the
/// transaction ends.
pub async fn find_locked(
    scope: &mut Scope,
    workspace: WorkspaceId,
    reference: SnapshotRef,
) -> Result<Option<SnapshotRecord>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "select v.volume_id from workspaces w join volumes v using (tenant_id, volume_id)
         where w.tenant_id = $1 and w.workspace_id = $2 for no key update of v",
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    find(scope, workspace, reference).await
}

/// Keeps a snapshot until a user deletes it, and names it if a name is given.
pub async fn keep(scope: &mut Scope, snapshot: SnapshotId, name: Option<&str>) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update snapshots set kind = 'requested', name = coalesce($3, name) where tenant_id = $1
            and snapshot_id = $2",
        tenant,
        snapshot.0,
        name,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Names a snapshot.
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

/// Deletes a snapshot. The next gc deletes the objects that no other snapshot needs.
pub async fn delete(scope: &mut Scope, snapshot: SnapshotId) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from snapshots where tenant_id = $1 and snapshot_id = $2", tenant, snapshot.0)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// Makes another snapshot the head. The old head is kept until a user deletes it, so that this can
/// be undone.
pub async fn restore(
    scope: &mut Scope,
    workspace: WorkspaceId,
    snapshot: &SnapshotRecord,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update snapshots s set kind = 'requested' from volumes v
         where v.tenant_id = $1 and v.volume_id = $2 and s.tenant_id = $1 and s.volume_id = $2
             and s.manifest = v.head",
        tenant,
        snapshot.volume.0,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update volumes set head = $3, head_of = $4, lineage = lineage + 1, safe_at = $5, stored_bytes = $6
         where tenant_id = $1 and volume_id = $2",
        tenant,
        snapshot.volume.0,
        &snapshot.manifest.0[..],
        Some(snapshot.made_by.0).filter(|maker| *maker != snapshot.volume.0),
        now,
        snapshot.snapshot.stored_bytes as i64,
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
