//! Deleted workspaces: they can be undeleted for as long as their homes are kept.

use protocol::{
    TenantId, UserId, WorkspaceId,
    api::{user::Role, workspace::DeletedWorkspace},
};
use time::{Duration, OffsetDateTime};

use crate::{authz::WorkspaceFacts, db::Scope};

/// Most workspaces of one list.
const MAX_DELETED: i64 = 1000;

/// Lists the workspaces that the caller may undelete, the last deleted first. Each is kept for
/// `grace`.
pub async fn list(
    scope: &mut Scope,
    now: OffsetDateTime,
    grace: Duration,
) -> Result<Vec<DeletedWorkspace>, sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    let rows = sqlx::query!(
        r#"select w.workspace_id, w.name, w.owner_id, u.name as owner_name,
              w.deleted_at as "deleted_at!", v.head,
                  v.safe_at, v.stored_bytes
           from workspaces w
           join users u on u.tenant_id = w.tenant_id and u.user_id = w.owner_id
           join volumes v on v.tenant_id = w.tenant_id and v.volume_id = w.volume_id
           where w.tenant_id = $1 and w.deleted_at >= $2 and (w.owner_id = $3 or $4)
           order by w.deleted_at desc, w.workspace_id limit $5"#,
        tenant,
        now - grace,
        caller.user.0,
        caller.role == Role::Owner,
        MAX_DELETED,
    )
    .fetch_all(scope.connection())
    .await?;
    let deleted = rows.into_iter().map(|row| DeletedWorkspace {
        id: WorkspaceId(row.workspace_id),
        name: row.name,
        owner: UserId(row.owner_id),
        owner_name: row.owner_name,
        deleted_at: row.deleted_at,
        kept_until: row.deleted_at + grace,
        safe_at: row.head.and(row.safe_at),
        stored_bytes: row.stored_bytes.map(i64::unsigned_abs),
    });
    Ok(deleted.collect())
}

/// What permissions on a workspace depend on that was deleted since `since`.
pub async fn find_facts(
    scope: &mut Scope,
    workspace: WorkspaceId,
    since: OffsetDateTime,
) -> Result<Option<WorkspaceFacts>, sqlx::Error> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        r#"select w.owner_id, c.teacher_id as "teacher_id?" from workspaces w
           left join classes c on c.tenant_id = w.tenant_id and c.class_id = w.class_id
           where w.tenant_id = $1 and w.workspace_id = $2 and w.deleted_at >= $3"#,
        tenant,
        workspace.0,
        since,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| WorkspaceFacts {
        tenant: TenantId(tenant),
        owner: UserId(row.owner_id),
        teacher: row.teacher_id.map(UserId),
    }))
}

/// Undeletes a workspace that was deleted since `since`. It is at rest, and no longer part of a
/// class. False if it is too late.
pub async fn undelete(
    scope: &mut Scope,
    workspace: WorkspaceId,
    since: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "update workspaces set deleted_at = null, desired_state = 'stopped', failure = null,
             network_class_id = coalesce(class_id, network_class_id), class_id = null
         where tenant_id = $1 and workspace_id = $2 and deleted_at >= $3",
        tenant,
        workspace.0,
        since,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}
