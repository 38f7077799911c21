//! One-time links to sign in with.

use protocol::{Redacted, SessionId, TenantId, UserId};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::secrets;

/// Long enough to be used in peace, short enough that a terminal's scrollback is worthless
/// tomorrow.
pub const LINK_TTL: Duration = Duration::hours(12);
/// The page that reads the token after `#`.
const SIGN_IN_PAGE: &str = "/welcome";

/// Creates a link for a user and voids the ones that have not been used. Returns its path, with the
/// token after `#`. `created_by`: the session of the user who creates it.
pub async fn create(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    tenant: TenantId,
    user: UserId,
    created_by: Option<SessionId>,
) -> Result<Redacted<String>, sqlx::Error> {
    let secret = secrets::generate_secret();
    sqlx::query!("delete from sign_in_links where tenant_id = $1 and user_id = $2", tenant.0, user.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into sign_in_links (tenant_id, secret_hash, user_id, expires_at, created_by)
         values ($1, $2, $3, $4, $5)",
        tenant.0,
        &secrets::hash_secret(secret.expose())[..],
        user.0,
        now + LINK_TTL,
        created_by.map(|session| session.0),
    )
    .execute(connection)
    .await?;
    Ok(Redacted::new(format!("{SIGN_IN_PAGE}#{}", secret.expose())))
}

/// Voids the links of a user, and the device logins that the user has approved.
pub async fn revoke_all(
    connection: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from sign_in_links where tenant_id = $1 and user_id = $2", tenant.0, user.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from device_logins where tenant_id = $1 and user_id = $2", tenant.0, user.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// The tenant and user of a link, also of one that was used or has expired. None if it is unknown.
pub async fn find_user(
    connection: &mut PgConnection,
    token: &str,
) -> Result<Option<(Uuid, Uuid)>, sqlx::Error> {
    let row = sqlx::query!(
        "select tenant_id, user_id from sign_in_links where secret_hash = $1",
        &secrets::hash_secret(token)[..],
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.tenant_id, row.user_id)))
}

/// The account that a link signs in to, and the session that created it.
pub struct Redeemed {
    pub user: (Uuid, Uuid),
    pub created_by: Option<Uuid>,
}

/// Uses a link once. Returns the account, or None if it was used, has expired or never
/// existed.
pub async fn redeem(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    token: &str,
) -> Result<Option<Redeemed>, sqlx::Error> {
    let row = sqlx::query!(
        "update sign_in_links l set used_at = $2 from users u
         where l.secret_hash = $1 and l.used_at is null and l.expires_at > $2
           and u.tenant_id = l.tenant_id and u.user_id = l.user_id and u.active
         returning l.tenant_id, l.user_id, l.created_by",
        &secrets::hash_secret(token)[..],
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Redeemed { user: (row.tenant_id, row.user_id), created_by: row.created_by }))
}
