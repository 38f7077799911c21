//! Imports in the database: homes on their way from another installation, and how they become workspaces.
//!
//! An import is a volume that no machine uses: its head is what has arrived, so the collector keeps it like any other home's. It
//! moves by compare-and-set. In the end the volume becomes a new workspace's, or its head another snapshot of the workspace
//! that is written to, as if that had been restored.

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

use super::{Found, Moved};
use crate::{
    db::Scope,
    lifecycle::record::{manifest, phase},
};

/// Of one person at the same time: each may hold a home's worth of the store.
pub const MAX_IMPORTS_OF_ONE: i64 = 8;
/// What nobody sends to any more is forgotten: long enough for a weekend without the laptop.
pub const IDLE_TIMEOUT: Duration = Duration::days(4);

/// One's own import, for whoever acts on it.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub import: Import,
    pub template: String,
    pub home_mib: u32,
    pub replace: bool,
    pub volume: VolumeId,
    /// What has arrived.
    pub head: Option<ManifestId>,
    /// The volume that made the head.
    pub made_by: VolumeId,
    pub stored_bytes: i64,
    /// Of the last body.
    pub last_hash: Option<Vec<u8>>,
}

/// The workspace that has the name of an import.
#[derive(Clone, Debug)]
pub struct Destination {
    pub workspace: WorkspaceId,
    pub volume: VolumeId,
    pub phase: Phase,
    pub imported_from: Option<WorkspaceId>,
}

impl Destination {
    /// Whether its home may be written over by that of `source`.
    pub fn takes(&self, source: WorkspaceId, replace: bool) -> bool {
        replace || self.imported_from == Some(source)
    }
}

/// The caller's own workspace of this name.
pub async fn destination(scope: &mut Scope, name: &str) -> Result<Option<Destination>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let row = sqlx::query!(
        "select workspace_id, volume_id, phase, imported_from from workspaces
         where tenant_id = $1 and owner_id = $2 and name = $3 and deleted_at is null",
        tenant,
        owner,
        name,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| Destination {
        workspace: WorkspaceId(row.workspace_id),
        volume: VolumeId(row.volume_id),
        phase: phase(&row.phase),
        imported_from: row.imported_from.map(WorkspaceId),
    }))
}

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

/// The caller's imports under way.
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

/// Goes on with an import that was cut short; none: there is none of this home and name.
pub async fn go_on(
    scope: &mut Scope,
    wish: &NewImport,
    template: &str,
    expires_at: OffsetDateTime,
) -> Result<Option<Incoming>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let known = sqlx::query_scalar!(
        "update imports set template = $5, home_mib = greatest(home_mib, $6), replace = $7, expires_at = $8
         where tenant_id = $1 and owner_id = $2 and source = $3 and name = $4 returning import_id",
        tenant,
        owner,
        wish.source.0,
        wish.name,
        template,
        wish.home_mib as i32,
        wish.replace,
        expires_at,
    )
    .fetch_optional(scope.connection())
    .await?;
    match known {
        Some(id) => find(scope, id).await,
        None => Ok(None),
    }
}

/// A new import. What arrives is put over `base`, which is held.
pub async fn begin(
    scope: &mut Scope,
    wish: &NewImport,
    template: &str,
    base: Option<&Found>,
    expires_at: OffsetDateTime,
) -> Result<Option<Incoming>, sqlx::Error> {
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
        "insert into imports (tenant_id, import_id, owner_id, source, name, template, home_mib, replace, volume_id, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        tenant,
        id,
        owner,
        wish.source.0,
        wish.name,
        template,
        wish.home_mib as i32,
        wish.replace,
        volume.0,
        expires_at,
    )
    .execute(scope.connection())
    .await?;
    find(scope, id).await
}

/// One of the caller's own.
pub async fn find(scope: &mut Scope, id: Uuid) -> Result<Option<Incoming>, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let row = sqlx::query!(
        r#"select i.import_id, i.source, i.name, i.template, i.home_mib, i.replace, i.volume_id, i.version, i.last_hash,
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
    Ok(row.map(|row| Incoming {
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

/// As [`find`], and nothing arrives until the transaction's end.
pub async fn find_held(scope: &mut Scope, id: Uuid) -> Result<Option<Incoming>, sqlx::Error> {
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

/// Makes what has arrived the head, if the head is still what it was put over. False: somebody else was faster.
pub async fn advance(
    scope: &mut Scope,
    before: &Incoming,
    (manifest, stored_bytes): (ManifestId, u64),
    hash: &[u8; 32],
    expires_at: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let moved = sqlx::query!(
        "update imports set version = version + 1, last_hash = $4, expires_at = $5
         where tenant_id = $1 and import_id = $2 and version = $3",
        tenant,
        before.import.id,
        before.import.version as i64,
        &hash[..],
        expires_at,
    )
    .execute(scope.connection())
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update volumes set head = $3, head_of = null, stored_bytes = $4 where tenant_id = $1 and volume_id = $2",
        tenant,
        before.volume.0,
        &manifest.0[..],
        stored_bytes as i64,
    )
    .execute(scope.connection())
    .await?;
    Ok(true)
}

/// What an import becomes a snapshot as.
pub fn moved(incoming: &Incoming, head: ManifestId, request: &FinishImport) -> Moved {
    Moved {
        manifest: head,
        made_by: incoming.made_by,
        kind: SnapshotKind::Requested,
        consistency: request.consistency,
        at: request.created_at,
        stored_bytes: incoming.stored_bytes,
    }
}

/// A new workspace at rest whose home is the import's volume. False: there is no such template.
pub async fn become_workspace(
    scope: &mut Scope,
    workspace: WorkspaceId,
    incoming: &Incoming,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let (tenant, owner) = (scope.tenant(), scope.caller().user.0);
    let done = sqlx::query!(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus, memory_mib, home_mib,
             scratch_mib, pids, volume_id, phase, desired_state, imported_from)
         select t.tenant_id, $2, $3, $4, t.name, t.image, t.vcpus, t.memory_mib, greatest(t.home_mib, $6), t.scratch_mib,
             t.pids, $7, 'terminated', 'stopped', $8
         from templates t where t.tenant_id = $1 and t.name = $5",
        tenant,
        workspace.0,
        owner,
        incoming.import.name,
        incoming.template,
        incoming.home_mib as i32,
        incoming.volume.0,
        incoming.import.source.0,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update volumes set safe_at = $3 where tenant_id = $1 and volume_id = $2",
        tenant,
        incoming.volume.0,
        now,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The workspace has room for the import's home, and may take the next one from the same source.
pub async fn adopt(
    scope: &mut Scope,
    destination: &Destination,
    incoming: &Incoming,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces set imported_from = $3, home_mib = greatest(home_mib, $4)
         where tenant_id = $1 and workspace_id = $2",
        tenant,
        destination.workspace.0,
        incoming.import.source.0,
        incoming.home_mib as i32,
    )
    .execute(scope.connection())
    .await?;
    // What it held is the workspace's from now on.
    sqlx::query!(
        "update volumes set head = null, head_of = null, stored_bytes = 0 where tenant_id = $1 and volume_id = $2",
        tenant,
        incoming.volume.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

pub async fn end(scope: &mut Scope, incoming: &Incoming) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from imports where tenant_id = $1 and import_id = $2", tenant, incoming.import.id)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// Forgets what nobody has sent to for too long; how many. The collector does the rest.
pub async fn expire(connection: &mut PgConnection, now: OffsetDateTime) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!("delete from imports where expires_at <= $1 returning tenant_id, volume_id", now)
        .fetch_all(&mut *connection)
        .await?;
    for one in &gone {
        sqlx::query!(
            "update volumes set head = null, head_of = null, stored_bytes = 0 where tenant_id = $1 and volume_id = $2",
            one.tenant_id,
            one.volume_id,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(gone.len() as u64)
}
