//! One-time links, and the first tenant with its owner.

use protocol::{Redacted, TenantId, UserId};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    StartError,
    identity::secrets,
    kms::{Keeper, tenant_keys},
};

/// Long enough to make coffee, short enough that a terminal's history is worthless tomorrow.
const LINK_LIFE: Duration = Duration::hours(12);
/// The page that takes the token behind `#`.
pub const SIGN_IN_PAGE: &str = "/welcome";
/// Held while an installation is begun: two controllers make one first tenant.
const FOUNDING_LOCK: i64 = 0x6275_7272_6f77_0001;

const FIRST_TENANT: &str = "Home";
const FIRST_OWNER: (&str, &str) = ("owner@burrow.localhost", "Owner");

/// The first tenant's first owner; both are made where there is no tenant yet.
pub async fn first_owner(
    connection: &mut PgConnection,
    keeper: &Keeper,
) -> Result<(TenantId, UserId), StartError> {
    sqlx::query!("select pg_advisory_xact_lock($1)", FOUNDING_LOCK).fetch_one(&mut *connection).await?;
    let first = sqlx::query!(
        "select tenant_id, user_id from users where role = 'owner' and active order by created_at, user_id limit 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    match first {
        Some(first) => Ok((TenantId(first.tenant_id), UserId(first.user_id))),
        None => found(connection, keeper, FIRST_TENANT, FIRST_OWNER).await,
    }
}

/// A new tenant with its owner and the template that everyone begins with.
pub async fn found(
    connection: &mut PgConnection,
    keeper: &Keeper,
    name: &str,
    (email, owner_name): (&str, &str),
) -> Result<(TenantId, UserId), StartError> {
    let (tenant, owner) = (TenantId::random(), UserId::random());
    sqlx::query!(
        "insert into tenants (tenant_id, name, wrapped_key) values ($1, $2, $3)",
        tenant.0,
        name,
        tenant_keys::new_data_key(keeper, tenant).await?,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into users (tenant_id, user_id, email, name, role, active) values ($1, $2, $3, $4, 'owner', true)",
        tenant.0,
        owner.0,
        email,
        owner_name,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into templates (tenant_id, name, title, description, image, vcpus, memory_mib, home_mib, scratch_mib, pids)
         values ($1, 'base', 'Base', 'Debian 12 with git, Python, Node.js and a C compiler.', 'base', 2, 1024, 4096, 4096,
                 2048)",
        tenant.0,
    )
    .execute(connection)
    .await?;
    Ok((tenant, owner))
}

/// A fresh link for a user; it takes the place of those not used yet. The answer is its path, the token behind `#`.
pub async fn new_link(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    tenant: TenantId,
    user: UserId,
) -> Result<Redacted<String>, sqlx::Error> {
    let secret = secrets::secret();
    sqlx::query!("delete from sign_in_links where tenant_id = $1 and user_id = $2", tenant.0, user.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into sign_in_links (tenant_id, secret_hash, user_id, expires_at) values ($1, $2, $3, $4)",
        tenant.0,
        &secrets::hash(secret.expose())[..],
        user.0,
        now + LINK_LIFE,
    )
    .execute(connection)
    .await?;
    Ok(Redacted::new(format!("{SIGN_IN_PAGE}#{}", secret.expose())))
}

/// Uses a link: whose it is, or nothing if it was used, is too old, or never was.
pub async fn redeem(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    token: &str,
) -> Result<Option<(Uuid, Uuid)>, sqlx::Error> {
    let row = sqlx::query!(
        "update sign_in_links l set used_at = $2 from users u
         where l.secret_hash = $1 and l.used_at is null and l.expires_at > $2
           and u.tenant_id = l.tenant_id and u.user_id = l.user_id and u.active
         returning l.tenant_id, l.user_id",
        &secrets::hash(token)[..],
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.tenant_id, row.user_id)))
}
