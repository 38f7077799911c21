//! Who may open a stream to a workspace, and whether those that are open may stay.

use std::collections::HashSet;

use protocol::{
    Code, Redacted, SessionId,
    api::internal::{GrantReply, GrantRequest, LiveStream, SessionsCheck, SessionsVerdict},
    grant::{Access, Grant, MAX_GRANT_SECONDS},
    workspace::Phase,
};

use crate::{
    api::error::{ApiError, Result},
    authz::{Action, Caller, WorkspaceFacts, authorize, workspace_access},
    core::Core,
    identity::{sessions, users::role},
    lifecycle::record::phase,
    workspaces::view,
};

/// Of the longest life, a little is left to clocks that differ.
const GRANT_SECONDS: i64 = MAX_GRANT_SECONDS - 5;

pub async fn issue(core: &Core, request: &GrantRequest) -> Result<GrantReply> {
    let now = core.now();
    let mut system = core.db.system().await?;
    let open = sessions::find(system.connection(), now, request.credential.expose()).await?;
    system.commit().await?;
    let caller = open.ok_or_else(ApiError::unauthenticated)?.caller;
    let mut scope = core.db.scope(authorize(&caller, Action::UseWorkspaces)?).await?;
    let row =
        view::row(&mut scope, request.workspace).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
    let access = workspace_access(&caller, &row.facts()).ok_or_else(|| ApiError::not_found("workspace"))?;
    if request.needs > access {
        return Err(ApiError::new(Code::Forbidden, "You may watch this workspace, not change it."));
    }
    let serving = sqlx::query!(
        "select phase, epoch, front from workspaces where tenant_id = $1 and workspace_id = $2",
        caller.tenant.0,
        request.workspace.0,
    )
    .fetch_one(scope.connection())
    .await?;
    let front = serving.front.filter(|_| matches!(phase(&serving.phase), Phase::Running | Phase::Stopping));
    let Some(front) = front else {
        return Err(ApiError::new(Code::NotRunning, "The workspace is not running. Start it first."));
    };
    touch(&mut scope, request, now).await?;
    scope.commit().await?;
    let grant = Grant {
        user: caller.user,
        session: caller.session,
        workspace: request.workspace,
        epoch: protocol::Epoch(serving.epoch.unsigned_abs()),
        access,
        expires_at: now.unix_timestamp() + GRANT_SECONDS,
    };
    Ok(GrantReply {
        grant: Redacted::new(core.signing.sign(&grant)),
        session: grant.session,
        user: grant.user,
        access,
        epoch: grant.epoch,
        front,
    })
}

/// Writes down that someone works here, once a minute at the most.
async fn touch(
    scope: &mut crate::db::Scope,
    request: &GrantRequest,
    now: time::OffsetDateTime,
) -> Result<()> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces set last_used_at = $3
         where tenant_id = $1 and workspace_id = $2 and (last_used_at is null or last_used_at < $4)",
        tenant,
        request.workspace.0,
        now,
        now - time::Duration::minutes(1),
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Of all live streams those that must be closed: the session has ended, the access is less now, or the machine is another.
pub async fn check(core: &Core, request: SessionsCheck) -> Result<SessionsVerdict> {
    let now = core.now();
    let sessions: Vec<_> = request.streams.iter().map(|stream| stream.session.0).collect();
    let workspaces: Vec<_> = request.streams.iter().map(|stream| stream.workspace.0).collect();
    let mut system = core.db.system().await?;
    let rows = sqlx::query!(
        "select s.session_id, s.tenant_id as session_tenant, s.user_id, u.role, w.workspace_id, w.tenant_id, w.owner_id,
                c.teacher_id as \"teacher_id?\", w.epoch, w.phase
         from (select distinct session_id, workspace_id from unnest($1::uuid[], $2::uuid[]) as p(session_id, workspace_id)) p
         join sessions s on s.session_id = p.session_id and s.expires_at > $3
         join users u on u.tenant_id = s.tenant_id and u.user_id = s.user_id and u.active
         join workspaces w on w.workspace_id = p.workspace_id and w.deleted_at is null
         left join classes c on c.tenant_id = w.tenant_id and c.class_id = w.class_id",
        &sessions,
        &workspaces,
        now,
    )
    .fetch_all(system.connection())
    .await?;
    system.commit().await?;
    let mut allowed = HashSet::new();
    for row in rows {
        let caller = Caller {
            tenant: protocol::TenantId(row.session_tenant),
            user: protocol::UserId(row.user_id),
            role: role(&row.role),
            session: SessionId(row.session_id),
        };
        let facts = WorkspaceFacts {
            tenant: protocol::TenantId(row.tenant_id),
            owner: protocol::UserId(row.owner_id),
            teacher: row.teacher_id.map(protocol::UserId),
        };
        let placed = !matches!(phase(&row.phase), Phase::Queued | Phase::Terminated);
        let Some(access) = workspace_access(&caller, &facts).filter(|_| placed) else { continue };
        for access in [Access::Read, Access::Write].into_iter().filter(|asked| *asked <= access) {
            allowed.insert(LiveStream {
                session: caller.session,
                workspace: protocol::WorkspaceId(row.workspace_id),
                epoch: protocol::Epoch(row.epoch.unsigned_abs()),
                access,
            });
        }
    }
    let revoked = request.streams.into_iter().filter(|stream| !allowed.contains(stream)).collect();
    Ok(SessionsVerdict { revoked })
}
