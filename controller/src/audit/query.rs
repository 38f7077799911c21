//! Reads the audit log of a tenant.

use protocol::{
    SessionId, TenantId, UserId,
    api::audit::{AuditEntry, AuditOutcome},
    audit::EntryHash,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::text::Text;

/// Which entries to read. What is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub actor: Option<Uuid>,
    /// Address of the actor, in any case.
    pub actor_email: Option<String>,
    /// An action, or its beginning up to a dot: `workspace.`.
    pub action: Option<String>,
    pub subject: Option<String>,
    pub outcome: Option<AuditOutcome>,
    pub from: Option<OffsetDateTime>,
    pub until: Option<OffsetDateTime>,
}

/// Where a page begins, and in which direction it goes.
#[derive(Clone, Copy, Debug)]
pub enum Position {
    /// Newest first, from the entry before this one.
    Before(i64),
    /// Oldest first, from the entry after this one.
    After(i64),
}

/// Reads at most `limit` entries.
pub async fn list(
    connection: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    position: Position,
    limit: i64,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    let action = filter.action.as_deref().map(action_pattern);
    // Two statements, so that both read an index in its order and stop.
    macro_rules! fetch_page {
        ($bound:tt, $order:tt, $seq:expr) => {
            sqlx::query_as!(
                Row,
                r#"select a.tenant_id, a.seq, a.at, a.actor, u.email as "email?", a.session_id, a.request_id,
                       a.address, a.action, a.subject, a.outcome as "outcome: Text<AuditOutcome>", a.detail,
                       a.previous, a.hash
                   from audit a left join users u on u.tenant_id = a.tenant_id and u.user_id = a.actor
                   where a.tenant_id = $1
                     and ($3::uuid is null or a.actor = $3)
                     and ($4::text is null or lower(u.email) = lower($4))
                     and ($5::text is null or a.action like $5)
                     and ($6::text is null or a.subject = $6)
                     and ($7::text is null or a.outcome = $7)
                     and ($8::timestamptz is null or a.at >= $8)
                     and ($9::timestamptz is null or a.at < $9)
                     and a.seq "#
                    + $bound
                    + " $2 order by a.seq "
                    + $order
                    + " limit $10",
                tenant.0,
                $seq,
                filter.actor,
                filter.actor_email,
                action,
                filter.subject,
                filter.outcome.map(AuditOutcome::as_str),
                filter.from,
                filter.until,
                limit,
            )
            .fetch_all(connection)
            .await?
        };
    }
    let rows = match position {
        Position::Before(seq) => fetch_page!("<", "desc", seq),
        Position::After(seq) => fetch_page!(">", "asc", seq),
    };
    Ok(rows.into_iter().map(AuditEntry::from).collect())
}

struct Row {
    tenant_id: Uuid,
    seq: i64,
    at: OffsetDateTime,
    actor: Option<Uuid>,
    email: Option<String>,
    session_id: Option<Uuid>,
    request_id: Option<String>,
    address: Option<String>,
    action: String,
    subject: String,
    outcome: Text<AuditOutcome>,
    detail: serde_json::Value,
    previous: Vec<u8>,
    hash: Vec<u8>,
}

impl From<Row> for AuditEntry {
    fn from(row: Row) -> Self {
        Self {
            tenant: TenantId(row.tenant_id),
            seq: row.seq.unsigned_abs(),
            at: row.at,
            actor: row.actor.map(UserId),
            actor_email: row.email,
            session: row.session_id.map(SessionId),
            request: row.request_id,
            address: row.address,
            action: row.action,
            subject: row.subject,
            outcome: row.outcome.0,
            detail: row.detail,
            previous: hash(&row.previous),
            hash: hash(&row.hash),
        }
    }
}

/// A pattern for `like`: what ends with a dot is a beginning.
fn action_pattern(action: &str) -> String {
    let escaped = action.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    if escaped.ends_with('.') { escaped + "%" } else { escaped }
}

/// The newest number and hash of a log, what was pruned, and what is anchored.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub seq: i64,
    pub hash: EntryHash,
    pub pruned_seq: i64,
    pub pruned_hash: EntryHash,
    pub anchored_seq: i64,
}

/// Reads the head of a tenant's log. A log without entries has none.
pub async fn find_head(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<Head>, sqlx::Error> {
    let row = sqlx::query!(
        "select seq, hash, pruned_seq, pruned_hash, anchored_seq from audit_heads where tenant_id = $1",
        tenant.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Head {
        seq: row.seq,
        hash: hash(&row.hash),
        pruned_seq: row.pruned_seq,
        pruned_hash: hash(&row.pruned_hash),
        anchored_seq: row.anchored_seq,
    }))
}

/// Days for which a tenant's entries are kept.
pub async fn find_retention_days(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<u32, sqlx::Error> {
    let days = sqlx::query_scalar!("select audit_days from tenants where tenant_id = $1", tenant.0);
    Ok(days.fetch_one(connection).await?.unsigned_abs())
}

/// Sets the days for which a tenant's entries are kept.
pub async fn set_retention_days(
    connection: &mut PgConnection,
    tenant: TenantId,
    days: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update tenants set audit_days = $2 where tenant_id = $1", tenant.0, days.cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}

fn hash(bytes: &[u8]) -> EntryHash {
    EntryHash::from_bytes(bytes.try_into().expect("a constraint checks the length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_with_final_dot_is_beginning() {
        assert_eq!(action_pattern("workspace."), "workspace.%");
        assert_eq!(action_pattern("workspace.idle_stop"), r"workspace.idle\_stop");
    }
}
