//! Signed-in clients: browsers by cookie, programs by token. Only a hash of the secret is kept.

use protocol::{Redacted, SessionId, TenantId, UserId, api::auth::TokenInfo};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::users::role;
use crate::{authz::Caller, db::Scope, identity::secrets};

/// A browser that was not used for so long must sign in again.
pub const IDLE: Duration = Duration::days(14);
/// And after so long in any case.
pub const LIFE: Duration = Duration::days(90);
/// A use is written down at most so often: not each request is a write.
const USE_NOTED_INTERVAL: Duration = Duration::minutes(5);
/// Sessions of one person; the oldest are ended. Bounds the table, not the person.
const MAX_SESSIONS: i64 = 100;
/// After a sign-in by link, a password may be set without the old one for so long.
pub const LINK_TRUSTED: Duration = Duration::minutes(10);
pub const TOKEN_DAYS: u16 = 90;
pub const MAX_TOKEN_DAYS: u16 = 365;

/// A session that is open.
pub struct Open {
    pub caller: Caller,
    pub by_link: bool,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cookie,
    Token,
}

struct OpenRow {
    tenant_id: uuid::Uuid,
    session_id: uuid::Uuid,
    user_id: uuid::Uuid,
    role: String,
    kind: String,
    by_link: bool,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    last_used_at: Option<OffsetDateTime>,
}

/// Whose credential this is, if anyone's; its use prolongs it.
pub async fn find(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    credential: &str,
) -> Result<Option<Open>, sqlx::Error> {
    if !secrets::is_secret(credential) && !secrets::is_token(credential) {
        return Ok(None);
    }
    let row = sqlx::query_as!(
        OpenRow,
        "select s.tenant_id, s.session_id, s.user_id, u.role, s.kind, s.by_link, s.created_at, s.expires_at, s.ends_at,
                s.last_used_at
         from sessions s join users u using (tenant_id, user_id)
         where s.secret_hash = $1 and s.expires_at > $2 and u.active",
        &secrets::hash(credential)[..],
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(mut row) = row else { return Ok(None) };
    if row.last_used_at.is_none_or(|used| used + USE_NOTED_INTERVAL < now) {
        row.expires_at = prolonged(connection, now, &row).await?;
    }
    Ok(Some(Open {
        caller: Caller {
            tenant: TenantId(row.tenant_id),
            user: UserId(row.user_id),
            role: role(&row.role),
            session: SessionId(row.session_id),
        },
        by_link: row.by_link,
        created_at: row.created_at,
        expires_at: row.expires_at,
        kind: if row.kind == "token" { Kind::Token } else { Kind::Cookie },
    }))
}

async fn prolonged(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    row: &OpenRow,
) -> Result<OffsetDateTime, sqlx::Error> {
    let until = if row.kind == "token" { row.expires_at } else { (now + IDLE).min(row.ends_at) };
    sqlx::query!(
        "update sessions set last_used_at = $3, expires_at = $4 where tenant_id = $1 and session_id = $2",
        row.tenant_id,
        row.session_id,
        now,
        until,
    )
    .execute(connection)
    .await?;
    Ok(until)
}

/// A new browser session; the answer is the cookie's value. The oldest beyond the most are ended.
pub async fn begin(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, user): (uuid::Uuid, uuid::Uuid),
    by_link: bool,
) -> Result<Redacted<String>, sqlx::Error> {
    let secret = secrets::secret();
    sqlx::query!(
        "delete from sessions where (tenant_id, session_id) in (
             select tenant_id, session_id from sessions where tenant_id = $1 and user_id = $2 and kind = 'cookie'
             order by created_at desc offset $3)",
        tenant,
        user,
        MAX_SESSIONS - 1,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into sessions (tenant_id, session_id, user_id, kind, secret_hash, by_link, created_at, expires_at, ends_at,
                               last_used_at)
         values ($1, $2, $3, 'cookie', $4, $5, $6, $7, $8, $6)",
        tenant,
        SessionId::random().0,
        user,
        &secrets::hash(secret.expose())[..],
        by_link,
        now,
        now + IDLE,
        now + LIFE,
    )
    .execute(connection)
    .await?;
    Ok(secret)
}

/// A new personal access token.
pub async fn new_token(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, user): (uuid::Uuid, uuid::Uuid),
    name: &str,
    days: u16,
) -> Result<(TokenInfo, Redacted<String>), sqlx::Error> {
    let token = secrets::token();
    let id = SessionId::random().0;
    let expires_at = now + Duration::days(days.into());
    sqlx::query!(
        "insert into sessions (tenant_id, session_id, user_id, kind, secret_hash, name, created_at, expires_at, ends_at)
         values ($1, $2, $3, 'token', $4, $5, $6, $7, $7)",
        tenant,
        id,
        user,
        &secrets::hash(token.expose())[..],
        name,
        now,
        expires_at,
    )
    .execute(connection)
    .await?;
    let info = TokenInfo { id, name: name.to_owned(), created_at: now, expires_at, last_used_at: None };
    Ok((info, token))
}

pub async fn tokens(scope: &mut Scope, now: OffsetDateTime) -> Result<Vec<TokenInfo>, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    sqlx::query_as!(
        TokenInfo,
        "select session_id as id, name, created_at, expires_at, last_used_at from sessions
         where tenant_id = $1 and user_id = $2 and kind = 'token' and expires_at > $3 order by created_at desc limit 1000",
        tenant,
        user,
        now,
    )
    .fetch_all(scope.connection())
    .await
}

/// Ends one of the own sessions; false if there is none.
pub async fn end(scope: &mut Scope, session: uuid::Uuid, kind: Option<&str>) -> Result<bool, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let done = sqlx::query!(
        "delete from sessions
         where tenant_id = $1 and user_id = $2 and session_id = $3 and kind = coalesce($4, kind)",
        tenant,
        user,
        session,
        kind,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends all of the own sessions but the one that asks.
pub async fn end_others(scope: &mut Scope) -> Result<(), sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    sqlx::query!(
        "delete from sessions where tenant_id = $1 and user_id = $2 and session_id <> $3",
        tenant,
        caller.user.0,
        caller.session.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Whether a session is still open.
pub async fn is_open(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    session: SessionId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from sessions s join users u using (tenant_id, user_id)
                          where s.session_id = $1 and s.expires_at > $2 and u.active) as "open!""#,
        session.0,
        now,
    )
    .fetch_one(connection)
    .await
}

/// Removes what has ended: sessions, links, device logins, old first answers.
pub async fn sweep(connection: &mut PgConnection, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from sessions where expires_at < $1", now).execute(&mut *connection).await?;
    sqlx::query!("delete from sign_in_links where expires_at < $1", now).execute(&mut *connection).await?;
    sqlx::query!("delete from device_logins where expires_at < $1", now).execute(&mut *connection).await?;
    sqlx::query!("delete from idempotency where created_at < $1", now - Duration::days(1))
        .execute(connection)
        .await?;
    Ok(())
}
