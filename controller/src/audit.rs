//! The audit log: who did what. An entry is written in the transaction of the action, so neither
//! exists without the other.

use protocol::TenantId;
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
    sqlx::query!(
        "insert into audit (tenant_id, action, subject, detail) values ($1, $2, $3, $4)",
        tenant.0,
        action,
        subject,
        detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}
