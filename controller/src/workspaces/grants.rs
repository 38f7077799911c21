//! Grants: who may open a stream to a workspace, and which open streams must be closed.

use std::{collections::HashSet, time::Duration};

use protocol::{
    Access, Epoch, Redacted, SessionId, TenantId, UserId, WorkspaceId,
    agent::RouteKind,
    api::{
        auth::TokenScope,
        internal::{GrantReply, GrantRequest, LiveStream, SessionsCheck, SessionsVerdict},
        user::Role,
    },
    grant::{Grant, MAX_GRANT_SECONDS},
    workspace::Phase,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{access_log::ContentAccess, previews, view};
use crate::{
    audit::refusals::{self, Refusal},
    authz::{Action, Caller, NotAllowed, WorkspaceFacts, authorize, workspace_access},
    core::Core,
    db::text::Text,
    identity::sessions,
};

/// How long a grant is valid: a little less than the longest, for clocks that differ.
pub const GRANT_SECONDS: i64 = MAX_GRANT_SECONDS - 5;
/// How often the last use of a workspace is written at most.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// Why no grant is issued.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("Cannot open a stream: the session has expired")]
    Unauthenticated,
    #[error("Cannot open a stream: there is no such workspace")]
    NoWorkspace,
    /// The caller may not see the workspace. Clients are told that there is none.
    #[error("Cannot open a stream: the workspace is hidden from the caller")]
    Hidden,
    /// The caller may only watch.
    #[error("Cannot open a stream: write access is needed")]
    ReadOnly,
    /// The token may only watch.
    #[error("Cannot open a stream: the token has the scope read")]
    TokenScope,
    #[error("Cannot open a stream: the workspace is not running")]
    NotRunning,
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Issues a grant for one stream to a running workspace.
pub async fn issue(core: &Core, request: &GrantRequest) -> Result<GrantReply, GrantError> {
    let now = core.now();
    let mut system = core.db.system().await?;
    let session = sessions::find(system.connection(), now, request.credential.expose()).await?;
    system.commit().await?;
    let session = session.ok_or(GrantError::Unauthenticated)?;
    let (caller, max_access) = (session.caller, session.scope.max_access());
    let issued = if request.needs > max_access {
        Err(GrantError::TokenScope)
    } else {
        issue_for_open(core, &caller, request.workspace, (request.needs, max_access), request.kind).await
    };
    if matches!(issued, Err(GrantError::TokenScope | GrantError::ReadOnly | GrantError::Hidden)) {
        record_refusal(core, &caller, request).await?;
    }
    issued
}

/// Records in the audit log that a stream was refused.
async fn record_refusal(core: &Core, caller: &Caller, request: &GrantRequest) -> Result<(), sqlx::Error> {
    let refusal = Refusal {
        actor: Some(caller.user),
        action: "workspace.connect",
        subject: request.workspace.to_string(),
        key: caller.user.to_string(),
        detail: serde_json::json!({ "kind": request.kind, "needs": request.needs }),
    };
    let mut system = core.db.system().await?;
    refusals::record(system.connection(), core.now(), caller.tenant, &refusal).await?;
    system.commit().await
}

/// Issues a grant to a caller whose credential was checked earlier, if the session is still open.
pub async fn issue_for(
    core: &Core,
    caller: &Caller,
    workspace: WorkspaceId,
    needs: Access,
) -> Result<GrantReply, GrantError> {
    let mut system = core.db.system().await?;
    let is_open = sessions::is_open(system.connection(), core.now(), caller.session).await?;
    system.commit().await?;
    if !is_open {
        return Err(GrantError::Unauthenticated);
    }
    issue_for_open(core, caller, workspace, (needs, needs), RouteKind::Files).await
}

/// Issues a grant to the caller of an open session, for the access that is needed and that the session
/// may have.
async fn issue_for_open(
    core: &Core,
    caller: &Caller,
    workspace: WorkspaceId,
    (needs, max_access): (Access, Access),
    kind: RouteKind,
) -> Result<GrantReply, GrantError> {
    let now = core.now();
    let mut scope = core.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    let Some(row) = view::find_row(&mut scope, workspace).await? else {
        let is_hidden = view::is_hidden(&mut scope, workspace).await?;
        return Err(if is_hidden { GrantError::Hidden } else { GrantError::NoWorkspace });
    };
    let facts = row.facts();
    let access = workspace_access(caller, &facts).ok_or(GrantError::Hidden)?;
    if needs > access {
        return Err(GrantError::ReadOnly);
    }
    let access = access.min(max_access);
    let serving = sqlx::query!(
        r#"select phase as "phase: Text<Phase>", epoch, front from workspaces
           where tenant_id = $1 and workspace_id = $2"#,
        caller.tenant.0,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await?;
    let front = serving.front.filter(|_| matches!(serving.phase.0, Phase::Running | Phase::Stopping));
    let front = front.ok_or(GrantError::NotRunning)?;
    touch(scope.connection(), (caller.tenant, workspace), now).await?;
    let content = match kind {
        RouteKind::Exec => Some(ContentAccess::Exec),
        _ if facts.owner != caller.user => Some(ContentAccess::Watch),
        RouteKind::Terminal
        | RouteKind::Document
        | RouteKind::Files
        | RouteKind::Git
        | RouteKind::Languages
        | RouteKind::Ports => Some(ContentAccess::Connect),
        RouteKind::Stats => None,
    };
    core.access_log.commit(scope, content, workspace, facts.owner).await?;
    let grant = Grant {
        user: caller.user,
        session: caller.session,
        workspace,
        epoch: Epoch(serving.epoch.unsigned_abs()),
        access,
        preview_port: None,
        expires_at: now.unix_timestamp() + GRANT_SECONDS,
    };
    Ok(sign(core, &grant, front))
}

/// Signs a grant. `front`: where to present it.
pub fn sign(core: &Core, grant: &Grant, front: String) -> GrantReply {
    GrantReply {
        grant: Redacted::new(core.signing.sign(grant)),
        session: grant.session,
        user: grant.user,
        access: grant.access,
        epoch: grant.epoch,
        front,
    }
}

/// Writes that the workspace is used now.
pub async fn touch(
    connection: &mut PgConnection,
    (tenant, workspace): (TenantId, WorkspaceId),
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update workspaces set last_used_at = $3
         where tenant_id = $1 and workspace_id = $2 and (last_used_at is null or last_used_at < $4)",
        tenant.0,
        workspace.0,
        now,
        now - TOUCH_INTERVAL,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which of the open streams must be closed: those whose session has ended, whose access was
/// reduced, or whose sandbox was replaced.
pub async fn check_streams(core: &Core, request: SessionsCheck) -> Result<SessionsVerdict, sqlx::Error> {
    let now = core.now();
    let (previews, streams): (Vec<_>, Vec<_>) =
        request.streams.into_iter().partition(|stream| stream.preview_port.is_some());
    let mut system = core.db.system().await?;
    let mut allowed = find_allowed(system.connection(), &streams, now).await?;
    if !previews.is_empty() {
        allowed.extend(previews::find_allowed(system.connection(), &previews, now).await?);
    }
    system.commit().await?;
    let revoked = streams.into_iter().chain(previews).filter(|stream| !allowed.contains(stream)).collect();
    Ok(SessionsVerdict { revoked })
}

/// The streams that these sessions may have at present.
async fn find_allowed(
    connection: &mut PgConnection,
    streams: &[LiveStream],
    now: OffsetDateTime,
) -> Result<HashSet<LiveStream>, sqlx::Error> {
    let sessions: Vec<_> = streams.iter().map(|stream| stream.session.0).collect();
    let workspaces: Vec<_> = streams.iter().map(|stream| stream.workspace.0).collect();
    let rows = sqlx::query!(
        r#"select s.session_id, s.tenant_id as session_tenant, s.user_id, u.role as "role: Text<Role>",
              s.scope as "scope: Text<TokenScope>",
              w.workspace_id,
                  w.tenant_id, w.owner_id, c.teacher_id as "teacher_id?", w.epoch,
                      w.phase as "phase: Text<Phase>"
           from (select distinct session_id, workspace_id
                 from unnest($1::uuid[], $2::uuid[]) as p(session_id, workspace_id)) p
           join sessions s on s.session_id = p.session_id and s.expires_at > $3
           join users u on u.tenant_id = s.tenant_id and u.user_id = s.user_id and u.active
           join workspaces w on w.workspace_id = p.workspace_id and w.deleted_at is null
           left join classes c on c.tenant_id = w.tenant_id and c.class_id = w.class_id"#,
        &sessions,
        &workspaces,
        now,
    )
    .fetch_all(connection)
    .await?;
    let mut allowed = HashSet::new();
    for row in rows {
        let caller = Caller {
            tenant: TenantId(row.session_tenant),
            user: UserId(row.user_id),
            role: row.role.0,
            session: SessionId(row.session_id),
        };
        let facts = WorkspaceFacts {
            tenant: TenantId(row.tenant_id),
            owner: UserId(row.owner_id),
            teacher: row.teacher_id.map(UserId),
        };
        let is_placed = !matches!(row.phase.0, Phase::Queued | Phase::Terminated);
        let Some(access) = workspace_access(&caller, &facts).filter(|_| is_placed) else { continue };
        let access = access.min(row.scope.0.max_access());
        for access in [Access::Read, Access::Write].into_iter().filter(|level| *level <= access) {
            allowed.insert(LiveStream {
                session: caller.session,
                workspace: WorkspaceId(row.workspace_id),
                epoch: Epoch(row.epoch.unsigned_abs()),
                access,
                preview_port: None,
            });
        }
    }
    Ok(allowed)
}
