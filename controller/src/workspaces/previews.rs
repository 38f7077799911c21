//! Previews of ports: who may connect to one, and the secrets by which a browser shows that it may.
//!
//! The life of a preview's cookie: a signed-in user asks for a *ticket* for one port ([`create_ticket`]). The
//! gateway presents it at the preview's origin, once ([`redeem_ticket`]), and gets the *cookie*. With each
//! request it asks for a grant that opens this port and nothing else ([`issue_grant`]). Ticket and cookie end
//! with the session that they were made in, and neither is of any use at another origin.

use std::collections::{HashMap, HashSet};

use protocol::{
    Access, Epoch, Redacted, SessionId, TenantId, UserId, WorkspaceId,
    api::{
        internal::{GrantReply, LiveStream, PreviewCookie, PreviewGrantRequest, PreviewTicketRequest},
        port::PortVisibility,
        user::Role,
    },
    grant::Grant,
    ports::PreviewTarget,
    workspace::Phase,
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    access_log::ContentAccess,
    grants::{GRANT_SECONDS, GrantError, sign, touch},
    ports::effective_visibility,
};
use crate::{
    authz::{Allowed, Caller, WorkspaceFacts},
    core::Core,
    db::{Scope, text::Text},
    identity::secrets,
};

/// How long a ticket is valid. A browser redeems it at once.
const TICKET_TTL: Duration = Duration::minutes(1);
/// How long a cookie is valid. Its session may end earlier.
const COOKIE_TTL: Duration = Duration::hours(24);
/// Tickets and cookies of one session. The oldest go first.
const MAX_SECRETS: i64 = 200;

/// A preview as the decision about its visitors needs it.
struct PreviewFacts {
    workspace: WorkspaceFacts,
    visibility: PortVisibility,
    epoch: Epoch,
    phase: Phase,
    front: Option<String>,
}

impl PreviewFacts {
    /// Whether a visitor may connect. `None`: nobody that we know.
    fn admits(&self, visitor: Option<&Caller>) -> bool {
        let is_of_tenant = |visitor: &Caller| visitor.tenant == self.workspace.tenant;
        match self.visibility {
            PortVisibility::Public => true,
            PortVisibility::Members => visitor.is_some_and(is_of_tenant),
            PortVisibility::Private => {
                visitor.is_some_and(|visitor| is_of_tenant(visitor) && visitor.user == self.workspace.owner)
            }
        }
    }
}

/// Creates a ticket for a port. None: there is no such workspace, or the caller may not see the preview.
pub async fn create_ticket(
    core: &Core,
    allowed: Allowed,
    target: PreviewTarget,
) -> Result<Option<Redacted<String>>, sqlx::Error> {
    let now = core.now();
    let mut scope = core.db.scope(allowed).await?;
    let caller = scope.caller();
    let facts = find_facts(scope.connection(), target, now).await?;
    let Some(facts) = facts.filter(|facts| facts.admits(Some(&caller))) else { return Ok(None) };
    delete_oldest(&mut scope).await?;
    let ticket = secrets::generate_secret();
    sqlx::query!(
        "insert into preview_secrets (tenant_id, secret_hash, kind, session_id, workspace_id, port,
             visibility, created_at, expires_at)
         values ($1, $2, 'ticket', $3, $4, $5, $6, $7, $8)",
        caller.tenant.0,
        &secrets::hash_secret(ticket.expose())[..],
        caller.session.0,
        target.workspace.0,
        i32::from(target.port),
        Text(facts.visibility).name(),
        now,
        now + TICKET_TTL,
    )
    .execute(scope.connection())
    .await?;
    let content = (facts.workspace.owner != caller.user).then_some(ContentAccess::Watch);
    core.access_log.commit(scope, content, target.workspace, facts.workspace.owner).await?;
    Ok(Some(ticket))
}

/// Makes room for a ticket of the caller's session, and for the cookie that it becomes.
async fn delete_oldest(scope: &mut Scope) -> Result<(), sqlx::Error> {
    let (tenant, session) = (scope.tenant(), scope.caller().session.0);
    sqlx::query!(
        "delete from preview_secrets where tenant_id = $1 and secret_hash in (
             select secret_hash from preview_secrets where tenant_id = $1 and session_id = $2
             order by created_at desc offset $3)",
        tenant,
        session,
        MAX_SECRETS - 1,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Exchanges a ticket for a cookie. None: it is unknown, for another port, was used, has expired, or its
/// session has ended.
pub async fn redeem_ticket(
    core: &Core,
    request: &PreviewTicketRequest,
) -> Result<Option<PreviewCookie>, sqlx::Error> {
    let (now, target) = (core.now(), request.target);
    if !secrets::is_secret(request.ticket.expose()) {
        return Ok(None);
    }
    let mut system = core.db.system().await?;
    let facts = find_facts(system.connection(), target, now).await?;
    let cookie = secrets::generate_secret();
    // One statement: of two that redeem a ticket at once, one finds it.
    let redeemed = sqlx::query_scalar!(
        r#"update preview_secrets p set secret_hash = $3, kind = 'cookie', created_at = $2, expires_at = $4
           from sessions s join users u using (tenant_id, user_id)
           where p.secret_hash = $1 and p.kind = 'ticket' and p.expires_at > $2
             and p.workspace_id = $5 and p.port = $6 and p.visibility = $7
             and s.tenant_id = p.tenant_id and s.session_id = p.session_id and s.expires_at > $2 and u.active
           returning s.ends_at"#,
        &secrets::hash_secret(request.ticket.expose())[..],
        now,
        &secrets::hash_secret(cookie.expose())[..],
        now + COOKIE_TTL,
        target.workspace.0,
        i32::from(target.port),
        facts.map_or("", |facts| Text(facts.visibility).name()),
    )
    .fetch_optional(system.connection())
    .await?;
    system.commit().await?;
    Ok(redeemed.map(|session_ends_at| {
        let seconds = (session_ends_at - now).min(COOKIE_TTL).whole_seconds();
        PreviewCookie { secret: cookie, max_age_seconds: u32::try_from(seconds).unwrap_or(0) }
    }))
}

/// Issues a grant for connections to one port, if the visitor may see its preview.
pub async fn issue_grant(core: &Core, request: &PreviewGrantRequest) -> Result<GrantReply, GrantError> {
    let (now, target) = (core.now(), request.target);
    let mut system = core.db.system().await?;
    let visitor = match &request.credential {
        Some(secret) => find_visitor(system.connection(), secret.expose(), target, now).await?,
        None => None,
    };
    let facts = find_facts(system.connection(), target, now).await?;
    let Some(facts) = facts.filter(|facts| facts.admits(visitor.as_ref())) else {
        return Err(if visitor.is_some() { GrantError::NoWorkspace } else { GrantError::Unauthenticated });
    };
    let front = facts.front.filter(|_| matches!(facts.phase, Phase::Running | Phase::Stopping));
    let front = front.ok_or(GrantError::NotRunning)?;
    touch(system.connection(), (facts.workspace.tenant, target.workspace), now).await?;
    system.commit().await?;
    let session = LiveStream::public_session(target.workspace);
    let grant = Grant {
        user: visitor.map_or(UserId(Uuid::nil()), |visitor| visitor.user),
        session: visitor.map_or(session, |visitor| visitor.session),
        workspace: target.workspace,
        epoch: facts.epoch,
        access: Access::Write,
        preview_port: Some(target.port),
        expires_at: now.unix_timestamp() + GRANT_SECONDS,
    };
    Ok(sign(core, &grant, front))
}

/// Whose cookie it is, if it is one for this port.
async fn find_visitor(
    connection: &mut PgConnection,
    secret: &str,
    target: PreviewTarget,
    now: OffsetDateTime,
) -> Result<Option<Caller>, sqlx::Error> {
    if !secrets::is_secret(secret) {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"select s.tenant_id, s.session_id, s.user_id, u.role as "role: Text<Role>"
           from preview_secrets p
           join sessions s on s.tenant_id = p.tenant_id and s.session_id = p.session_id
           join users u on u.tenant_id = s.tenant_id and u.user_id = s.user_id
           where p.secret_hash = $1 and p.kind = 'cookie' and p.expires_at > $2
             and p.workspace_id = $3 and p.port = $4 and s.expires_at > $2 and u.active"#,
        &secrets::hash_secret(secret)[..],
        now,
        target.workspace.0,
        i32::from(target.port),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Caller {
        tenant: TenantId(row.tenant_id),
        user: UserId(row.user_id),
        role: row.role.0,
        session: SessionId(row.session_id),
    }))
}

async fn find_facts(
    connection: &mut PgConnection,
    target: PreviewTarget,
    now: OffsetDateTime,
) -> Result<Option<PreviewFacts>, sqlx::Error> {
    Ok(find_all_facts(connection, &[target], now).await?.remove(&target))
}

/// The facts of several previews, without those of workspaces that do not exist.
async fn find_all_facts(
    connection: &mut PgConnection,
    targets: &[PreviewTarget],
    now: OffsetDateTime,
) -> Result<HashMap<PreviewTarget, PreviewFacts>, sqlx::Error> {
    let workspaces: Vec<_> = targets.iter().map(|target| target.workspace.0).collect();
    let ports: Vec<_> = targets.iter().map(|target| i32::from(target.port)).collect();
    let rows = sqlx::query!(
        r#"select w.workspace_id, t.port as "port!", w.tenant_id, w.owner_id, w.epoch,
                  w.phase as "phase: Text<Phase>", w.front,
                  p.visibility as "visibility?: Text<PortVisibility>", p.public_until as "public_until?"
           from unnest($1::uuid[], $2::integer[]) as t (workspace_id, port)
           join workspaces w on w.workspace_id = t.workspace_id and w.deleted_at is null
           left join workspace_ports p
               on p.tenant_id = w.tenant_id and p.workspace_id = w.workspace_id and p.port = t.port"#,
        &workspaces,
        &ports,
    )
    .fetch_all(connection)
    .await?;
    let facts = rows.into_iter().map(|row| {
        let target = PreviewTarget {
            port: u16::try_from(row.port).unwrap_or_default(),
            workspace: WorkspaceId(row.workspace_id),
        };
        let visibility = row.visibility.map(|it| it.0).unwrap_or_default();
        let facts = PreviewFacts {
            workspace: WorkspaceFacts {
                tenant: TenantId(row.tenant_id),
                owner: UserId(row.owner_id),
                teacher: None,
            },
            visibility: effective_visibility(visibility, row.public_until, now),
            epoch: Epoch(row.epoch.unsigned_abs()),
            phase: row.phase.0,
            front: row.front,
        };
        (target, facts)
    });
    Ok(facts.collect())
}

/// Which of these streams of previews may go on.
pub async fn find_allowed(
    connection: &mut PgConnection,
    streams: &[LiveStream],
    now: OffsetDateTime,
) -> Result<HashSet<LiveStream>, sqlx::Error> {
    let visitors = find_sessions(connection, streams, now).await?;
    let target_of =
        |stream: &LiveStream| Some(PreviewTarget { port: stream.preview_port?, workspace: stream.workspace });
    let targets: HashSet<_> = streams.iter().filter_map(target_of).collect();
    let targets: Vec<_> = targets.into_iter().collect();
    let known = find_all_facts(connection, &targets, now).await?;
    let is_allowed = |stream: &&LiveStream| {
        target_of(stream).and_then(|target| known.get(&target)).is_some_and(|facts| {
            let is_placed = !matches!(facts.phase, Phase::Queued | Phase::Terminated);
            is_placed && facts.epoch == stream.epoch && facts.admits(visitors.get(&stream.session))
        })
    };
    Ok(streams.iter().filter(is_allowed).copied().collect())
}

/// The users of those sessions that are open.
async fn find_sessions(
    connection: &mut PgConnection,
    streams: &[LiveStream],
    now: OffsetDateTime,
) -> Result<HashMap<SessionId, Caller>, sqlx::Error> {
    let sessions: Vec<_> = streams.iter().map(|stream| stream.session.0).collect();
    let rows = sqlx::query!(
        r#"select s.tenant_id, s.session_id, s.user_id, u.role as "role: Text<Role>"
           from sessions s join users u using (tenant_id, user_id)
           where s.session_id = any($1) and s.expires_at > $2 and u.active"#,
        &sessions,
        now,
    )
    .fetch_all(connection)
    .await?;
    let callers = rows.into_iter().map(|row| Caller {
        tenant: TenantId(row.tenant_id),
        user: UserId(row.user_id),
        role: row.role.0,
        session: SessionId(row.session_id),
    });
    Ok(callers.map(|caller| (caller.session, caller)).collect())
}

/// Deletes tickets and cookies that have expired.
pub async fn delete_expired(connection: &mut PgConnection, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from preview_secrets where expires_at < $1", now).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_visitors() {
        let (tenant, owner) = (TenantId::random(), UserId::random());
        let caller = |tenant, user, role| Caller { tenant, user, role, session: SessionId::random() };
        let visitors = [
            Some(caller(tenant, owner, Role::Member)),
            Some(caller(tenant, UserId::random(), Role::Member)),
            Some(caller(tenant, UserId::random(), Role::Owner)),
            Some(caller(TenantId::random(), owner, Role::Owner)),
            None,
        ];
        let (yes, no) = (true, false);
        for (visibility, expected) in [
            (PortVisibility::Private, [yes, no, no, no, no]),
            (PortVisibility::Members, [yes, yes, yes, no, no]),
            (PortVisibility::Public, [yes; 5]),
        ] {
            let facts = PreviewFacts {
                workspace: WorkspaceFacts { tenant, owner, teacher: None },
                visibility,
                epoch: Epoch(1),
                phase: Phase::Running,
                front: None,
            };
            let got = visitors.each_ref().map(|visitor| facts.admits(visitor.as_ref()));
            assert_eq!(got, expected, "{visibility:?}");
        }
    }
}
