//! The audit log: who did what. An entry is written in the transaction of the action, so neither
//! exists without the other. No entry contains a secret, a password that was typed, or what a user
//! runs: of a program only that it ran.
//!
//! The database chains the entries (migration 18) while it holds the head of the tenant, so a transaction
//! writes its entries last. [`refusals`] bounds entries of attempts that were refused, [`query`] reads, and
//! [`maintenance`] anchors, verifies and prunes.

pub mod maintenance;
pub mod origin;
pub mod query;
pub mod refusals;

use protocol::{SessionId, TenantId, UserId, api::audit::AuditOutcome};
use serde_json::Value;
use sqlx::PgConnection;

use self::origin::Origin;
use crate::{
    authz::Caller,
    db::{Scope, text::Text},
};

/// Records an action of the caller. `action` is like `workspace.create`, `subject` what it was done
/// to.
pub async fn write(scope: &mut Scope, action: &str, subject: &str, detail: Value) -> Result<(), sqlx::Error> {
    let Caller { tenant, user, session, .. } = scope.caller();
    let actor = (Some(user), Some(session));
    let act = (AuditOutcome::Allowed, action, subject);
    insert(scope.connection(), tenant, actor, &origin::current(), act, detail).await
}

/// Records an action of the server itself.
pub async fn write_system(
    connection: &mut PgConnection,
    tenant: TenantId,
    action: &str,
    subject: &str,
    detail: Value,
) -> Result<(), sqlx::Error> {
    write_for(connection, tenant, None, action, subject, detail).await
}

/// Records an action without a session: of a user whose decision a program uses later, or of
/// somebody unknown.
pub async fn write_for(
    connection: &mut PgConnection,
    tenant: TenantId,
    actor: Option<UserId>,
    action: &str,
    subject: &str,
    detail: Value,
) -> Result<(), sqlx::Error> {
    let act = (AuditOutcome::Allowed, action, subject);
    insert(connection, tenant, (actor, None), &origin::current(), act, detail).await
}

/// Writes one entry. The database adds its number, time and hash.
async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    (actor, session): (Option<UserId>, Option<SessionId>),
    origin: &Origin,
    (outcome, action, subject): (AuditOutcome, &str, &str),
    detail: Value,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into audit
             (tenant_id, actor, session_id, request_id, address, action, subject, outcome, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        tenant.0,
        actor.map(|actor| actor.0),
        session.map(|session| session.0),
        origin.request.map(|request| request.to_string()),
        origin.address.as_deref(),
        action,
        subject,
        Text(outcome) as _,
        detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}
