//! Device logins (RFC 8628): a program signs in, and a user approves it in a browser.
//!
//! The program creates a login and polls with its device code. The user types the user code, sees
//! which program asks, and approves or denies. The next poll of the program then gets a token,
//! once.

use protocol::{
    Redacted, SessionId, TenantId, UserId,
    api::auth::{DeviceInfo, TokenScope},
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::secrets;
use crate::{authz::Caller, db::text::Text};

/// How long a user has to approve.
pub const LOGIN_TTL: Duration = Duration::minutes(10);
/// How often a program may poll.
pub const POLL_INTERVAL: Duration = Duration::seconds(2);
/// Pending logins of everyone. This bounds the table against a flood.
const MAX_PENDING: i64 = 10_000;

/// The codes of a new login.
pub struct NewLogin {
    /// The program's secret.
    pub device_code: Redacted<String>,
    /// What the user types.
    pub user_code: String,
}

/// Creates a login. None if too many are pending.
pub async fn create(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    client_name: &str,
    scope: TokenScope,
) -> Result<Option<NewLogin>, sqlx::Error> {
    let (device_code, user_code) = (secrets::generate_secret(), secrets::generate_user_code());
    let done = sqlx::query!(
        "insert into device_logins (secret_hash, user_code, client_name, created_at, expires_at, scope)
         select $1, $2, $3, $4, $5, $7 where (select count(*) from device_logins) < $6",
        &secrets::hash_secret(device_code.expose())[..],
        user_code,
        client_name,
        now,
        now + LOGIN_TTL,
        MAX_PENDING,
        Text(scope).name(),
    )
    .execute(connection)
    .await?;
    Ok((done.rows_affected() > 0).then_some(NewLogin { device_code, user_code }))
}

/// Finds a pending login by its user code.
pub async fn find_pending(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    user_code: &str,
) -> Result<Option<DeviceInfo>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select client_name, scope as "scope: Text<TokenScope>", created_at from device_logins
           where user_code = $1 and state = 'pending' and expires_at > $2"#,
        user_code,
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| DeviceInfo {
        client_name: row.client_name,
        scope: row.scope.0,
        requested_at: row.created_at,
    }))
}

/// Approves or denies a pending login. Returns the name of its program, or None if there is no login
/// with this code.
pub async fn resolve(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    user_code: &str,
    approve: bool,
    caller: &Caller,
) -> Result<Option<String>, sqlx::Error> {
    let state = if approve { "approved" } else { "denied" };
    sqlx::query_scalar!(
        "update device_logins set state = $3, tenant_id = $4, user_id = $5, approved_by = $6
         where user_code = $1 and state = 'pending' and expires_at > $2
         returning client_name",
        user_code,
        now,
        state,
        caller.tenant.0,
        caller.user.0,
        caller.session.0,
    )
    .fetch_optional(connection)
    .await
}

/// The answer to a poll of the program.
pub enum PollOutcome {
    /// The user has not decided yet.
    Pending,
    /// The program polls too often.
    TooSoon,
    Denied,
    /// Expired, used or unknown.
    Expired,
    /// Given once.
    Approved(ApprovedLogin),
}

/// What a user has approved.
pub struct ApprovedLogin {
    pub tenant: TenantId,
    pub user: UserId,
    pub client_name: String,
    pub scope: TokenScope,
    /// The session that has approved it.
    pub approved_by: Option<SessionId>,
}

/// Polls a login with the device code. An approval is given once.
pub async fn poll(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    device_code: &str,
) -> Result<PollOutcome, sqlx::Error> {
    let row = sqlx::query!(
        r#"select d.secret_hash, d.state, d.client_name, d.polled_at, d.tenant_id, d.user_id,
              d.scope as "scope: Text<TokenScope>", d.approved_by, u.active as "active?"
           from device_logins d left join users u on u.tenant_id = d.tenant_id and u.user_id = d.user_id
           where d.secret_hash = $1 and d.expires_at > $2 for update of d"#,
        &secrets::hash_secret(device_code)[..],
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(PollOutcome::Expired) };
    let next = if row.state == "approved" { "used" } else { &row.state };
    sqlx::query!(
        "update device_logins set state = $2, polled_at = $3 where secret_hash = $1",
        &row.secret_hash[..],
        next,
        now,
    )
    .execute(connection)
    .await?;
    Ok(match (row.state.as_str(), row.tenant_id, row.user_id) {
        ("approved", Some(tenant), Some(user)) if row.active == Some(true) => {
            PollOutcome::Approved(ApprovedLogin {
                tenant: TenantId(tenant),
                user: UserId(user),
                client_name: row.client_name,
                scope: row.scope.0,
                approved_by: row.approved_by.map(SessionId),
            })
        }
        // Half of the interval is accepted, because clocks and networks are not exact.
        ("pending", ..) if row.polled_at.is_some_and(|polled| now - polled < POLL_INTERVAL / 2) => {
            PollOutcome::TooSoon
        }
        ("pending", ..) => PollOutcome::Pending,
        ("denied", ..) => PollOutcome::Denied,
        _ => PollOutcome::Expired,
    })
}
