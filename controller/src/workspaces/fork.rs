//! Forks: workspaces whose homes begin as another's. Rows only; in the store both rest on the same objects.

use protocol::{UserId, VolumeId, WorkspaceId, api::snapshot::SnapshotKind};
use time::OffsetDateTime;

use crate::db::Scope;
use crate::snapshots::{Found, kind_text};

/// A workspace at rest, sized as its origin is now, whose home is this snapshot. False: the origin is gone.
pub async fn insert(
    scope: &mut Scope,
    workspace: WorkspaceId,
    owner: UserId,
    name: &str,
    (origin, base): (WorkspaceId, &Found),
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let volume = VolumeId::random();
    insert_volume(scope, volume, base, now).await?;
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus, memory_mib, home_mib,
             scratch_mib, pids, volume_id, phase, desired_state, forked_from, forked_at)
         select w.tenant_id, $2, $3, $4, w.template, w.image, w.vcpus, w.memory_mib, w.home_mib, w.scratch_mib, w.pids, $5,
             'terminated', 'stopped', w.workspace_id, $6
         from workspaces w where w.tenant_id = $1 and w.workspace_id = $7 and w.deleted_at is null",
        tenant,
        workspace.0,
        owner.0,
        name,
        volume.0,
        base.snapshot.created_at,
        origin.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A home whose first snapshot is another's: the way back to it stays, and its objects are kept, whatever becomes of the origin.
async fn insert_volume(
    scope: &mut Scope,
    volume: VolumeId,
    base: &Found,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "insert into volumes (tenant_id, volume_id, head, head_of, safe_at, stored_bytes) values ($1, $2, $3, $4, $5, $6)",
        tenant,
        volume.0,
        &base.manifest.0[..],
        base.made_by.0,
        now,
        base.snapshot.stored_bytes as i64,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, made_by, kind, consistency, changed_bytes,
             uploaded_bytes, stored_bytes, objects, created_at)
         select tenant_id, $3, $4, 0, manifest, $5, $6, consistency, 0, 0, stored_bytes, 0, created_at
         from snapshots where tenant_id = $1 and snapshot_id = $2",
        tenant,
        base.snapshot.id.0,
        volume.0,
        protocol::SnapshotId::random().0,
        base.made_by.0,
        kind_text(SnapshotKind::Requested),
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}
