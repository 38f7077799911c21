//! Sessions: browsers that are signed in by a cookie, and programs with a personal access token.
//! Only a hash of the secret is stored.

use protocol::{
    Redacted, SessionId, TenantId, UserId,
    api::{
        auth::{TokenInfo, TokenScope},
        user::Role,
    },
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::secrets;
use crate::{
    authz::Caller,
    db::{
        Scope,
        text::{Text, TextEnum},
    },
};

/// A browser session that was not used for so long expires.
pub const IDLE_TTL: Duration = Duration::days(14);
/// A browser session expires after so long in any case.
pub const SESSION_TTL: Duration = Duration::days(90);
/// How often the last use is written at most, so that not every request is a write.
const TOUCH_INTERVAL: Duration = Duration::minutes(5);
/// Browser sessions of one user. The oldest are revoked. This bounds the table.
const MAX_SESSIONS: i64 = 100;
/// How long after a sign-in by link a password can be set without the old one.
pub const LINK_TRUST_TTL: Duration = Duration::minutes(10);
/// How long a proof of the password counts. A sign-in is one too.
pub const CONFIRMATION_TTL: Duration = Duration::minutes(15);
/// Lifetime of a token if none is requested.
pub const DEFAULT_TOKEN_DAYS: u16 = 90;
/// Longest lifetime of a token.
pub const MAX_TOKEN_DAYS: u16 = 365;

/// A session that has not expired.
pub struct OpenSession {
    pub caller: Caller,
    /// Whether it was created by a sign-in link rather than a password.
    pub by_link: bool,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub kind: SessionKind,
    /// What the session may do. Browsers have no limit of their own.
    pub scope: TokenScope,
    /// When the user last proved the password in this session, or signed in to it.
    pub confirmed_at: Option<OffsetDateTime>,
}

impl OpenSession {
    /// Whether the user has proved the password lately.
    pub fn is_confirmed(&self, now: OffsetDateTime) -> bool {
        self.confirmed_at.is_some_and(|at| now - at < CONFIRMATION_TTL)
    }

    /// What the token may do. None for a browser.
    pub fn token_scope(&self) -> Option<TokenScope> {
        (self.kind == SessionKind::Token).then_some(self.scope)
    }
}

/// How a user signs in with a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    Password,
    /// With a one-time link, and the session that created it if it was a user's.
    Link {
        created_by: Option<uuid::Uuid>,
    },
}

/// A token to create.
pub struct TokenRequest<'a> {
    pub name: &'a str,
    pub days: u16,
    pub scope: TokenScope,
    /// The session that creates it, or approves it.
    pub created_by: Option<uuid::Uuid>,
}

/// How a client presents the secret of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A browser's cookie.
    Cookie,
    /// A personal access token, as a bearer token.
    Token,
}

impl TextEnum for SessionKind {
    const NAMES: &'static [(Self, &'static str)] = &[(Self::Cookie, "cookie"), (Self::Token, "token")];
}

struct SessionRow {
    tenant_id: uuid::Uuid,
    session_id: uuid::Uuid,
    user_id: uuid::Uuid,
    role: Text<Role>,
    kind: Text<SessionKind>,
    by_link: bool,
    scope: Text<TokenScope>,
    confirmed_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    last_used_at: Option<OffsetDateTime>,
}

/// Finds the session of a credential, and extends it. None if it is unknown or has expired.
pub async fn find(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    credential: &str,
) -> Result<Option<OpenSession>, sqlx::Error> {
    if !secrets::is_secret(credential) && !secrets::is_token(credential) {
        return Ok(None);
    }
    let row = sqlx::query_as!(
        SessionRow,
        r#"select s.tenant_id, s.session_id, s.user_id, u.role as "role: Text<Role>",
              s.kind as "kind: Text<SessionKind>",
                  s.by_link, s.scope as "scope: Text<TokenScope>", s.confirmed_at,
                  s.created_at, s.expires_at, s.ends_at, s.last_used_at
           from sessions s join users u using (tenant_id, user_id)
           where s.secret_hash = $1 and s.expires_at > $2 and u.active"#,
        &secrets::hash_secret(credential)[..],
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(mut row) = row else { return Ok(None) };
    if row.last_used_at.is_none_or(|used| used + TOUCH_INTERVAL < now) {
        row.expires_at = touch(connection, now, &row).await?;
    }
    Ok(Some(OpenSession {
        caller: Caller {
            tenant: TenantId(row.tenant_id),
            user: UserId(row.user_id),
            role: row.role.0,
            session: SessionId(row.session_id),
        },
        by_link: row.by_link,
        created_at: row.created_at,
        expires_at: row.expires_at,
        kind: row.kind.0,
        scope: row.scope.0,
        confirmed_at: row.confirmed_at,
    }))
}

/// Writes that a session was used, and extends a browser's. Returns when it expires now.
async fn touch(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    row: &SessionRow,
) -> Result<OffsetDateTime, sqlx::Error> {
    let until = match row.kind.0 {
        SessionKind::Token => row.expires_at,
        SessionKind::Cookie => (now + IDLE_TTL).min(row.ends_at),
    };
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

/// Creates a browser session and returns the value of its cookie. The oldest sessions beyond the
/// limit are revoked.
pub async fn create(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, user): (uuid::Uuid, uuid::Uuid),
    how: SignIn,
) -> Result<Redacted<String>, sqlx::Error> {
    let (by_link, created_by) = match how {
        SignIn::Password => (false, None),
        SignIn::Link { created_by } => (true, created_by),
    };
    let secret = secrets::generate_secret();
    sqlx::query!(
        "delete from sessions where (tenant_id, session_id) in (
             select tenant_id, session_id from sessions where tenant_id = $1 and user_id = $2
                 and kind = 'cookie'
             order by created_at desc offset $3)",
        tenant,
        user,
        MAX_SESSIONS - 1,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into sessions (tenant_id, session_id, user_id, kind, secret_hash, by_link, scope, created_at,
            confirmed_at, last_used_at, expires_at, ends_at, created_by)
         values ($1, $2, $3, 'cookie', $4, $5, 'admin', $6, $6, $6, $7, $8, $9)",
        tenant,
        SessionId::random().0,
        user,
        &secrets::hash_secret(secret.expose())[..],
        by_link,
        now,
        now + IDLE_TTL,
        now + SESSION_TTL,
        created_by,
    )
    .execute(connection)
    .await?;
    Ok(secret)
}

/// Creates a personal access token. Its secret is returned once.
pub async fn create_token(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, user): (uuid::Uuid, uuid::Uuid),
    request: TokenRequest<'_>,
) -> Result<(TokenInfo, Redacted<String>), sqlx::Error> {
    let token = secrets::generate_token();
    let id = SessionId::random().0;
    let TokenRequest { name, days, scope, created_by } = request;
    let expires_at = now + Duration::days(days.into());
    sqlx::query!(
        "insert into sessions (tenant_id, session_id, user_id, kind, secret_hash, name, created_at,
            expires_at, ends_at, scope, created_by)
         values ($1, $2, $3, 'token', $4, $5, $6, $7, $7, $8, $9)",
        tenant,
        id,
        user,
        &secrets::hash_secret(token.expose())[..],
        name,
        now,
        expires_at,
        Text(scope).name(),
        created_by,
    )
    .execute(connection)
    .await?;
    let info =
        TokenInfo { id, name: name.to_owned(), scope, created_at: now, expires_at, last_used_at: None };
    Ok((info, token))
}

/// Lists the caller's tokens, the newest first.
pub async fn list_tokens(scope: &mut Scope, now: OffsetDateTime) -> Result<Vec<TokenInfo>, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let rows = sqlx::query!(
        r#"select session_id, name, scope as "scope: Text<TokenScope>", created_at, expires_at, last_used_at
           from sessions
           where tenant_id = $1 and user_id = $2 and kind = 'token' and expires_at > $3
           order by created_at desc limit 1000"#,
        tenant,
        user,
        now,
    )
    .fetch_all(scope.connection())
    .await?;
    let tokens = rows.into_iter().map(|row| TokenInfo {
        id: row.session_id,
        name: row.name,
        scope: row.scope.0,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    });
    Ok(tokens.collect())
}

/// Records that the user has proved the password in the present session.
pub async fn confirm(scope: &mut Scope, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    let (tenant, session) = (scope.tenant(), scope.caller().session.0);
    sqlx::query!(
        "update sessions set confirmed_at = $3 where tenant_id = $1 and session_id = $2",
        tenant,
        session,
        now,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Revokes a session of the caller, if it is of the given kind. False if there is none. With a token,
/// everything goes that it has created: sign-in links, the sessions that began with them, and so on.
pub async fn revoke(
    scope: &mut Scope,
    session: uuid::Uuid,
    kind: Option<SessionKind>,
) -> Result<bool, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let revoked = sqlx::query_scalar!(
        r#"with recursive doomed (session_id, kind) as (
               select session_id, kind from sessions
               where tenant_id = $1 and user_id = $2 and session_id = $3 and kind = coalesce($4, kind)
             union
               select s.session_id, s.kind from sessions s
               join doomed d on s.created_by = d.session_id
               where s.tenant_id = $1 and (d.kind = 'token' or d.session_id <> $3)
           ), links as (
               delete from sign_in_links where tenant_id = $1 and created_by in
                   (select session_id from doomed where kind = 'token' or session_id <> $3)
           ), gone as (
               delete from sessions where tenant_id = $1 and session_id in (select session_id from doomed)
               returning 1
           )
           select count(*) as "count!" from gone"#,
        tenant,
        user,
        session,
        kind.map(|kind| Text(kind).name()),
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(revoked > 0)
}

/// Revokes all sessions of the caller except the present one.
pub async fn revoke_others(scope: &mut Scope) -> Result<(), sqlx::Error> {
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

/// Revokes all sessions and tokens of a user of the caller's tenant. Streams that they opened are closed
/// by the gateway's next check.
pub async fn revoke_all(scope: &mut Scope, user: UserId) -> Result<u64, sqlx::Error> {
    let tenant = scope.tenant();
    let done = sqlx::query!("delete from sessions where tenant_id = $1 and user_id = $2", tenant, user.0)
        .execute(scope.connection())
        .await?;
    Ok(done.rows_affected())
}

/// Whether a session has neither expired nor been revoked.
pub async fn is_open(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    session: SessionId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from sessions s join users u using (tenant_id, user_id)
                          where s.session_id = $1 and s.expires_at > $2 and u.active) as "is_open!""#,
        session.0,
        now,
    )
    .fetch_one(connection)
    .await
}

/// Deletes what has expired: sessions, sign-in links, device logins and idempotency keys.
pub async fn delete_expired(connection: &mut PgConnection, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from sessions where expires_at < $1", now).execute(&mut *connection).await?;
    sqlx::query!("delete from sign_in_links where expires_at < $1", now).execute(&mut *connection).await?;
    sqlx::query!("delete from device_logins where expires_at < $1", now).execute(&mut *connection).await?;
    sqlx::query!("delete from idempotency where created_at < $1", now - Duration::days(1))
        .execute(connection)
        .await?;
    Ok(())
}
