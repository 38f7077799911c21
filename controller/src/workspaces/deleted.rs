//! Deleted workspaces, for as long as their homes are kept.

use protocol::{TenantId, UserId, WorkspaceId};
use time::OffsetDateTime;

use crate::{authz::WorkspaceFacts, db::Scope};

/// Whose a workspace was that was deleted since then.
pub async fn facts(
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

/// It is there again, at rest, and the owner's own: the class goes on without it. False: its time is over.
pub async fn bring_back(
    scope: &mut Scope,
    workspace: WorkspaceId,
    since: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "update workspaces set deleted_at = null, wanted = 'stopped', class_id = null, failure = null
         where tenant_id = $1 and workspace_id = $2 and deleted_at >= $3",
        tenant,
        workspace.0,
        since,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}
