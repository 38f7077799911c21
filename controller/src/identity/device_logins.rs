//! Sign-in of a program by a person's word in a browser (RFC 8628).

use protocol::{Redacted, api::auth::DeviceInfo};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::identity::secrets;

pub const LIFE: Duration = Duration::minutes(10);
pub const INTERVAL: Duration = Duration::seconds(2);
/// Logins that wait at the same time, of everyone: bounds the table against a flood.
const MAX_PENDING: i64 = 10_000;

pub struct NewLogin {
    pub device_code: Redacted<String>,
    pub user_code: String,
}

/// Nothing if too many wait.
pub async fn begin(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    client_name: &str,
) -> Result<Option<NewLogin>, sqlx::Error> {
    let (device_code, user_code) = (secrets::secret(), secrets::user_code());
    let done = sqlx::query!(
        "insert into device_logins (secret_hash, user_code, client_name, created_at, expires_at)
         select $1, $2, $3, $4, $5 where (select count(*) from device_logins) < $6",
        &secrets::hash(device_code.expose())[..],
        user_code,
        client_name,
        now,
        now + LIFE,
        MAX_PENDING,
    )
    .execute(connection)
    .await?;
    Ok((done.rows_affected() > 0).then_some(NewLogin { device_code, user_code }))
}

pub async fn info(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    user_code: &str,
) -> Result<Option<DeviceInfo>, sqlx::Error> {
    sqlx::query_as!(
        DeviceInfo,
        "select client_name, created_at as requested_at from device_logins
         where user_code = $1 and state = 'pending' and expires_at > $2",
        user_code,
        now,
    )
    .fetch_optional(connection)
    .await
}

/// The person's word; false if nothing waits under the code.
pub async fn decide(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    user_code: &str,
    approve: bool,
    (tenant, user): (Uuid, Uuid),
) -> Result<bool, sqlx::Error> {
    let state = if approve { "approved" } else { "denied" };
    let done = sqlx::query!(
        "update device_logins set state = $3, tenant_id = $4, user_id = $5
         where user_code = $1 and state = 'pending' and expires_at > $2",
        user_code,
        now,
        state,
        tenant,
        user,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Where a login stands when its program asks.
pub enum Asked {
    Pending,
    TooSoon,
    Refused,
    Gone,
    /// Once only.
    Approved {
        tenant: Uuid,
        user: Uuid,
        client_name: String,
    },
}

pub async fn ask(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    device_code: &str,
) -> Result<Asked, sqlx::Error> {
    let row = sqlx::query!(
        "select d.secret_hash, d.state, d.client_name, d.polled_at, d.tenant_id, d.user_id, u.active as \"active?\"
         from device_logins d left join users u on u.tenant_id = d.tenant_id and u.user_id = d.user_id
         where d.secret_hash = $1 and d.expires_at > $2 for update of d",
        &secrets::hash(device_code)[..],
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Asked::Gone) };
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
            Asked::Approved { tenant, user, client_name: row.client_name }
        }
        // Half the interval: clocks and networks are not exact.
        ("pending", ..) if row.polled_at.is_some_and(|asked| now - asked < INTERVAL / 2) => Asked::TooSoon,
        ("pending", ..) => Asked::Pending,
        ("denied", ..) => Asked::Refused,
        _ => Asked::Gone,
    })
}
