//! The audit log: who did what. An entry is written in the transaction of the action, so neither
//! exists without the other. No entry contains a secret, a password that was typed, or what a user
//! runs: of a program only that it ran.

use protocol::{TenantId, UserId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::db::Scope;

/// Records an action of the caller. `action` is like `workspace.create`, `subject` what it was done
/// to.
pub async fn write(scope: &mut Scope, action: &str, subject: &str, detail: Value) -> Result<(), sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    sqlx::query!(
        "insert into audit (tenant_id, actor, session_id, action, subject, detail) values ($1, $2, $3,
            $4, $5, $6)",
        tenant,
        caller.user.0,
        caller.session.0,
        action,
        subject,
        detail,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
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
    sqlx::query!(
        "insert into audit (tenant_id, actor, action, subject, detail) values ($1, $2, $3, $4, $5)",
        tenant.0,
        actor.map(|actor| actor.0),
        action,
        subject,
        detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}
