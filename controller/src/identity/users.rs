//! The users of a tenant.

use protocol::{
    TenantId, UserId,
    api::user::{Role, User},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::{Scope, text::Text};

/// Most users of one list.
const MAX_USERS: i64 = 10_000;

/// A user with the name of the tenant.
pub struct UserRow {
    pub tenant_id: Uuid,
    pub tenant_name: String,
    pub user_id: Uuid,
    pub email: String,
    pub name: String,
    pub role: Text<Role>,
    pub password_hash: Option<String>,
    pub suspended_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: UserId(row.user_id),
            tenant: TenantId(row.tenant_id),
            tenant_name: row.tenant_name,
            email: row.email,
            name: row.name,
            role: row.role.0,
            has_password: row.password_hash.is_some(),
            suspended_at: row.suspended_at,
            created_at: row.created_at,
        }
    }
}

/// The caller.
pub async fn current(scope: &mut Scope) -> Result<UserRow, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    sqlx::query_as!(
        UserRow,
        r#"select u.tenant_id, t.name as tenant_name, u.user_id, u.email, u.name,
              u.role as "role: Text<Role>",
                  u.password_hash, u.suspended_at, u.created_at
           from users u join tenants t using (tenant_id) where u.tenant_id = $1 and u.user_id = $2"#,
        tenant,
        user,
    )
    .fetch_one(scope.connection())
    .await
}

/// Lists the users of the caller's tenant who have joined, the oldest first.
pub async fn list(scope: &mut Scope) -> Result<Vec<UserRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        UserRow,
        r#"select u.tenant_id, t.name as tenant_name, u.user_id, u.email, u.name,
              u.role as "role: Text<Role>",
                  u.password_hash, u.suspended_at, u.created_at
           from users u join tenants t using (tenant_id)
           where u.tenant_id = $1 and (u.active or u.suspended_at is not null)
           order by u.created_at, u.user_id limit $2"#,
        tenant,
        MAX_USERS,
    )
    .fetch_all(scope.connection())
    .await
}

/// Changes the name or email address of the caller.
pub async fn update_current(
    scope: &mut Scope,
    name: Option<&str>,
    email: Option<&str>,
) -> Result<(), sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    sqlx::query!(
        "update users set name = coalesce($3, name), email = coalesce($4, email)
         where tenant_id = $1 and user_id = $2",
        tenant,
        user,
        name,
        email,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Sets the password of the caller.
pub async fn set_password(scope: &mut Scope, hash: &str) -> Result<(), sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    sqlx::query!(
        "update users set password_hash = $3 where tenant_id = $1 and user_id = $2",
        tenant,
        user,
        hash,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// An account that can sign in with a password.
pub struct PasswordAccount {
    pub tenant_id: Uuid,
    pub user_id: Uuid,
    pub password_hash: String,
}

/// Finds the accounts of an email address in all tenants, at most four: a few tenants may have the
/// same user, and each hash takes time.
pub async fn find_password_accounts(
    connection: &mut PgConnection,
    email: &str,
) -> Result<Vec<PasswordAccount>, sqlx::Error> {
    sqlx::query_as!(
        PasswordAccount,
        r#"select tenant_id, user_id, password_hash as "password_hash!" from users
           where lower(email) = lower($1) and active and password_hash is not null
           order by created_at limit 4"#,
        email,
    )
    .fetch_all(connection)
    .await
}

/// Finds a user of the caller's tenant who has joined, and locks the account.
pub async fn lock(scope: &mut Scope, user: UserId) -> Result<Option<UserRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        UserRow,
        r#"select u.tenant_id, t.name as tenant_name, u.user_id, u.email, u.name,
              u.role as "role: Text<Role>",
                  u.password_hash, u.suspended_at, u.created_at
           from users u join tenants t using (tenant_id)
           where u.tenant_id = $1 and u.user_id = $2 and (u.active or u.suspended_at is not null)
           for update of u"#,
        tenant,
        user.0,
    )
    .fetch_optional(scope.connection())
    .await
}

/// Creates a user who can sign in with a link. False if a user or an invited student has the address.
pub async fn create(
    scope: &mut Scope,
    user: UserId,
    (email, name): (&str, &str),
    role: Role,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "insert into users (tenant_id, user_id, email, name, role, active) values ($1, $2, $3, $4, $5, true)
         on conflict (tenant_id, lower(email)) do nothing",
        tenant,
        user.0,
        email,
        name,
        Text(role).name(),
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Changes the role of a user.
pub async fn set_role(scope: &mut Scope, user: UserId, role: Role) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update users set role = $3 where tenant_id = $1 and user_id = $2",
        tenant,
        user.0,
        Text(role).name(),
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Suspends a user since a time, or ends the suspension. Sessions are ended by
/// [`super::sessions::revoke_all`].
pub async fn set_suspended(
    scope: &mut Scope,
    user: UserId,
    since: Option<OffsetDateTime>,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update users set suspended_at = $3, active = ($3::timestamptz is null)
         where tenant_id = $1 and user_id = $2",
        tenant,
        user.0,
        since,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Removes the password of a user, who can sign in with a link only.
pub async fn clear_password(scope: &mut Scope, user: UserId) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update users set password_hash = null where tenant_id = $1 and user_id = $2",
        tenant,
        user.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Workspaces of a user, which are stopped when the user is suspended.
pub async fn list_workspaces(scope: &mut Scope, user: UserId) -> Result<Vec<Uuid>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        "select workspace_id from workspaces
         where tenant_id = $1 and owner_id = $2 and deleted_at is null and desired_state = 'running'",
        tenant,
        user.0,
    )
    .fetch_all(scope.connection())
    .await
}

/// Whether an owner of a tenant can sign in with a password.
pub async fn has_owner_with_password(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from users where tenant_id = $1 and role = 'owner' and active
                          and password_hash is not null) as "exists!""#,
        tenant.0,
    )
    .fetch_one(connection)
    .await
}
