//! Imports in the database: homes that are being transferred from another installation.
//!
//! An import is a volume that no workspace uses. Its head is what has arrived, so gc keeps it like
//! any other home's. The head moves by compare-and-set on the import's version. At the end the
//! volume becomes the home of a new workspace, or its head becomes a snapshot of an existing
//! workspace, as if that had been restored.

use protocol::{
    ManifestId, VolumeId, WorkspaceId,
    api::{
        import::{FinishImport, Import, NewImport},
        snapshot::SnapshotKind,
    },
    workspace::Phase,
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{ImportedSnapshot, SnapshotRecord};
use crate::{
    db::{Scope, text::Text},
    lifecycle::record::manifest,
};

/// Imports of one user at the same time. Each may take a whole home's space in the store.
pub const MAX_IMPORTS_PER_USER: i64 = 8;
/// An import that nothing was sent to for so long is deleted. A weekend without the laptop is
/// shorter.
pub const IDLE_TIMEOUT: Duration = Duration::days(4);

/// An import of the caller, with what is needed to act on it.
#[derive(Clone, Debug)]
pub struct ImportRecord {
    /// What users see of it.
    pub import: Import,
    pub template: String,
    pub home_mib: u32,
    /// Whether it may replace the home of any workspace with its name.
    pub replace: bool,
    pub volume: VolumeId,
    /// What has arrived so far.
    pub head: Option<ManifestId>,
    /// The volume that made the head.
    pub made_by: VolumeId,
    pub stored_bytes: i64,
    /// Hash of the body that arrived last.
    pub last_hash: Option<Vec<u8>>,
}

/// The workspace that has the name of an import and would receive its home.
#[derive(Clone, Debug)]
pub struct Destination {
    pub workspace: WorkspaceId,
    pub volume: VolumeId,
    pub phase: Phase,
    pub imported_from: Option<WorkspaceId>,
}

impl Destination {
    /// Whether its home may be replaced by one from `source`.
    pub fn accepts(&self, source: WorkspaceId, replace: bool) -> bool {
        replace || self.imported_from == Some(source)
    }
}

/// Finds the caller's workspace of this name.
pub async fn find_destination(scope: &mut Scope, name: &str) -> Result<Option<Destination>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let row = sqlx::query!(
        r#"select workspace_id, volume_id, phase as "phase: Text<Phase>", imported_from from workspaces
           where tenant_id = $1 and owner_id = $2 and name = $3 and deleted_at is null
             and desired_state <> 'deleted'"#,
        tenant,
        owner,
        name,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| Destination {
        workspace: WorkspaceId(row.workspace_id),
        volume: VolumeId(row.volume_id),
        phase: row.phase.0,
        imported_from: row.imported_from.map(WorkspaceId),
    }))
}

/// Whether the caller's tenant has a template of this name.
pub async fn has_template(scope: &mut Scope, template: &str) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        r#"select exists (select from templates where tenant_id = $1 and name = $2) as "exists!""#,
        tenant,
        template,
    )
    .fetch_one(scope.connection())
    .await
}

/// The number of the caller's imports.
pub async fn count(scope: &mut Scope) -> Result<i64, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from imports where tenant_id = $1 and owner_id = $2"#,
        tenant,
        owner,
    )
    .fetch_one(scope.connection())
    .await
}

/// Resumes the import of this source under this name. None if there is none.
pub async fn resume(
    scope: &mut Scope,
    request: &NewImport,
    template: &str,
    expires_at: OffsetDateTime,
) -> Result<Option<ImportRecord>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let import = sqlx::query_scalar!(
        "update imports set template = $5, home_mib = greatest(home_mib, $6), replace = $7, expires_at = $8
         where tenant_id = $1 and owner_id = $2 and source = $3 and name = $4 returning import_id",
        tenant,
        owner,
        request.source.0,
        request.name,
        template,
        request.home_mib as i32,
        request.replace,
        expires_at,
    )
    .fetch_optional(scope.connection())
    .await?;
    match import {
        Some(id) => find(scope, id).await,
        None => Ok(None),
    }
}

/// Creates an import. What arrives changes a copy of `base`, whose volume is locked.
pub async fn create(
    scope: &mut Scope,
    request: &NewImport,
    template: &str,
    base: Option<&SnapshotRecord>,
    expires_at: OffsetDateTime,
) -> Result<Option<ImportRecord>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let (id, volume) = (Uuid::now_v7(), VolumeId::random());
    sqlx::query!(
        "insert into volumes (tenant_id, volume_id, head, head_of, stored_bytes) values ($1, $2, $3, $4, $5)",
        tenant,
        volume.0,
        base.map(|base| &base.manifest.0[..]),
        base.map(|base| base.made_by.0),
        base.map_or(0, |base| base.snapshot.stored_bytes as i64),
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "insert into imports (tenant_id, import_id, owner_id, source, name, template, home_mib, replace,
            volume_id, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        tenant,
        id,
        owner,
        request.source.0,
        request.name,
        template,
        request.home_mib as i32,
        request.replace,
        volume.0,
        expires_at,
    )
    .execute(scope.connection())
    .await?;
    find(scope, id).await
}

/// Finds an import of the caller.
pub async fn find(scope: &mut Scope, id: Uuid) -> Result<Option<ImportRecord>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let row = sqlx::query!(
        r#"select i.import_id, i.source, i.name, i.template, i.home_mib, i.replace, i.volume_id,
              i.version, i.last_hash,
                  i.expires_at, v.head, coalesce(v.head_of, v.volume_id) as "made_by!",
                  coalesce(v.stored_bytes, 0) as "stored_bytes!"
           from imports i join volumes v using (tenant_id, volume_id)
           where i.tenant_id = $1 and i.owner_id = $2 and i.import_id = $3"#,
        tenant,
        owner,
        id,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| ImportRecord {
        import: Import {
            id: row.import_id,
            source: WorkspaceId(row.source),
            name: row.name,
            version: row.version.unsigned_abs(),
            expires_at: row.expires_at,
        },
        template: row.template,
        home_mib: row.home_mib.unsigned_abs(),
        replace: row.replace,
        volume: VolumeId(row.volume_id),
        head: row.head.and_then(|bytes| manifest(&bytes)),
        made_by: VolumeId(row.made_by),
        stored_bytes: row.stored_bytes,
        last_hash: row.last_hash,
    }))
}

/// Like [`find`], and locks it: nothing arrives until the transaction ends.
pub async fn find_locked(scope: &mut Scope, id: Uuid) -> Result<Option<ImportRecord>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "select import_id from imports where tenant_id = $1 and import_id = $2 for update",
        tenant,
        id
    )
    .fetch_optional(scope.connection())
    .await?;
    find(scope, id).await
}

/// Makes what has arrived the head, if the version is still the one that it was based on. False if
/// another request was faster.
pub async fn advance(
    scope: &mut Scope,
    import: &ImportRecord,
    (manifest, stored_bytes): (ManifestId, u64),
    hash: &[u8; 32],
    expires_at: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let advanced = sqlx::query!(
        "update imports set version = version + 1, last_hash = $4, expires_at = $5
         where tenant_id = $1 and import_id = $2 and version = $3",
        tenant,
        import.import.id,
        import.import.version as i64,
        &hash[..],
        expires_at,
    )
    .execute(scope.connection())
    .await?;
    if advanced.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update volumes set head = $3, head_of = null, stored_bytes = $4 where tenant_id = $1
            and volume_id = $2",
        tenant,
        import.volume.0,
        &manifest.0[..],
        stored_bytes as i64,
    )
    .execute(scope.connection())
    .await?;
    Ok(true)
}

/// The snapshot that an import becomes.
pub fn snapshot(import: &ImportRecord, head: ManifestId, request: &FinishImport) -> ImportedSnapshot {
    ImportedSnapshot {
        manifest: head,
        made_by: import.made_by,
        kind: SnapshotKind::Requested,
        consistency: request.consistency,
        at: request.created_at,
        stored_bytes: import.stored_bytes,
    }
}

/// Grows the destination to the size of the imported home, records where it comes from, and empties
/// the import's volume.
pub async fn adopt(
    scope: &mut Scope,
    destination: &Destination,
    import: &ImportRecord,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces set imported_from = $3, home_mib = greatest(home_mib, $4)
         where tenant_id = $1 and workspace_id = $2",
        tenant,
        destination.workspace.0,
        import.import.source.0,
        import.home_mib as i32,
    )
    .execute(scope.connection())
    .await?;
    // Another installation has written it: nothing is known of that.
    sqlx::query!(
        "update volumes v set written_by = 'microvm' from workspaces w
         where w.tenant_id = $1 and w.workspace_id = $2 and v.tenant_id = w.tenant_id
             and v.volume_id = w.volume_id",
        tenant,
        destination.workspace.0,
    )
    .execute(scope.connection())
    .await?;
    // Its head is a snapshot of the destination from now on.
    sqlx::query!(
        "update volumes set head = null, head_of = null, stored_bytes = 0 where tenant_id = $1
            and volume_id = $2",
        tenant,
        import.volume.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Deletes an import. Its volume stays, with the new workspace or empty.
pub async fn delete(scope: &mut Scope, import: &ImportRecord) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from imports where tenant_id = $1 and import_id = $2", tenant, import.import.id)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// Deletes imports that nothing was sent to for too long, and returns their number. Gc deletes
/// their objects.
pub async fn delete_expired(connection: &mut PgConnection, now: OffsetDateTime) -> Result<u64, sqlx::Error> {
    let expired =
        sqlx::query!("delete from imports where expires_at <= $1 returning tenant_id, volume_id", now)
            .fetch_all(&mut *connection)
            .await?;
    for import in &expired {
        sqlx::query!(
            "update volumes set head = null, head_of = null, stored_bytes = 0 where tenant_id = $1
                and volume_id = $2",
            import.tenant_id,
            import.volume_id,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(expired.len() as u64)
}
