//! Refused attempts in the audit log. The first ones of an hour are written one by one. Further ones of
//! the same kind are counted in a row, and written as one entry when the hour is over: a client that tries
//! on and on does not fill the disk, and no attempt is lost.

use protocol::{TenantId, UserId, api::audit::AuditOutcome};
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::{insert, origin};
use crate::db::Database;

/// Attempts of one kind that are written one by one, in one hour.
const MAX_SINGLE: i64 = 5;
/// Addresses that are recorded for counted attempts.
const MAX_ADDRESSES: i32 = 8;
const WINDOW: Duration = Duration::HOUR;
/// Rows that are written as entries in one pass.
const MAX_FOLDED: i64 = 500;
/// Longest subject and key.
const MAX_TEXT_BYTES: usize = 300;

/// An attempt that was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Who tried, if it is known.
    pub actor: Option<UserId>,
    pub action: &'static str,
    /// What it was tried on.
    pub subject: String,
    /// Attempts with equal keys are of one kind. There must be few keys: one for each user, for example.
    pub key: String,
    pub detail: Value,
}

/// Records an attempt, by itself or in a count.
pub async fn record(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    tenant: TenantId,
    refusal: &Refusal,
) -> Result<(), sqlx::Error> {
    let cut = |text: &str| protocol::workspace::cut(text.to_owned(), MAX_TEXT_BYTES);
    let (origin, subject) = (origin::current(), cut(&refusal.subject));
    let actor = refusal.actor.map(|actor| actor.0);
    let attempts = sqlx::query_scalar!(
        "insert into audit_refusals as r
             (tenant_id, window_start, key, actor, action, subject, attempts, addresses, last_at)
         values ($1, $2, $3, $4, $5, $6, 1, array_remove(array[$7::text], null), $8)
         on conflict (tenant_id, window_start, key) do update set
             attempts = r.attempts + 1, last_at = greatest(r.last_at, $8),
             addresses = case when $7::text is null or $7 = any(r.addresses)
                 or cardinality(r.addresses) >= $9 then r.addresses else r.addresses || $7::text end
         returning attempts",
        tenant.0,
        window_start(now),
        cut(&format!("{}:{}", refusal.action, refusal.key)),
        actor,
        refusal.action,
        &subject,
        origin.address.as_deref(),
        now,
        MAX_ADDRESSES,
    )
    .fetch_one(&mut *connection)
    .await?;
    if attempts > MAX_SINGLE {
        return Ok(());
    }
    let act = (AuditOutcome::Refused, refusal.action, subject.as_str());
    insert(connection, tenant, (refusal.actor, None), &origin, act, refusal.detail.clone()).await
}

/// Writes the counts of hours that are over as entries. Returns how many.
pub async fn fold(db: &Database, now: OffsetDateTime) -> Result<usize, sqlx::Error> {
    let mut system = db.system().await?;
    let mut rows = sqlx::query!(
        "delete from audit_refusals where (tenant_id, window_start, key) in (
             select tenant_id, window_start, key from audit_refusals where window_start < $1
             order by window_start, tenant_id, key limit $2 for update skip locked)
         returning tenant_id, window_start, actor, action, subject, attempts, addresses, last_at",
        window_start(now),
        MAX_FOLDED,
    )
    .fetch_all(system.connection())
    .await?;
    // In the order in which everybody locks the heads of several tenants.
    rows.sort_by_key(|row| (row.tenant_id, row.window_start));
    let mut written = 0;
    for row in rows.into_iter().filter(|row| row.attempts > MAX_SINGLE) {
        let format = |at: OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339);
        let detail = json!({
            "further_attempts": row.attempts - MAX_SINGLE,
            "addresses": row.addresses,
            "from": format(row.window_start).unwrap_or_default(),
            "last": format(row.last_at).unwrap_or_default(),
        });
        let act = (AuditOutcome::Refused, row.action.as_str(), row.subject.as_str());
        let (tenant, actor) = (TenantId(row.tenant_id), row.actor.map(UserId));
        insert(system.connection(), tenant, (actor, None), &origin::current(), act, detail).await?;
        written += 1;
    }
    system.commit().await?;
    Ok(written)
}

/// The beginning of the hour.
fn window_start(now: OffsetDateTime) -> OffsetDateTime {
    let seconds = now.unix_timestamp().rem_euclid(WINDOW.whole_seconds());
    now.replace_nanosecond(0).expect("zero") - Duration::seconds(seconds)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn window_begins_with_the_hour() {
        assert_eq!(window_start(datetime!(2026-03-02 09:59:59.9 UTC)), datetime!(2026-03-02 09:00 UTC));
        assert_eq!(window_start(datetime!(2026-03-02 10:00 UTC)), datetime!(2026-03-02 10:00 UTC));
    }
}
