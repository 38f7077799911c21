//! The users of a tenant.

use protocol::{
    TenantId, UserId,
    api::user::{Role, User},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::{Scope, text::Text};

/// Longest name of a user or token.
pub const MAX_NAME_CHARACTERS: usize = 200;
/// Longest email address.
pub const MAX_EMAIL_BYTES: usize = 254;
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
                  u.password_hash, u.created_at
           from users u join tenants t using (tenant_id) where u.tenant_id = $1 and u.user_id = $2"#,
        tenant,
        user,
    )
    .fetch_one(scope.connection())
    .await
}

/// Lists the active users of the caller's tenant, the oldest first.
pub async fn list(scope: &mut Scope) -> Result<Vec<UserRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        UserRow,
        r#"select u.tenant_id, t.name as tenant_name, u.user_id, u.email, u.name,
              u.role as "role: Text<Role>",
                  u.password_hash, u.created_at
           from users u join tenants t using (tenant_id)
           where u.tenant_id = $1 and u.active order by u.created_at, u.user_id limit $2"#,
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

/// A trimmed name of one line without control characters. None if it is empty or too long.
pub fn clean_name(name: &str) -> Option<String> {
    let name = name.trim();
    let is_valid = !name.is_empty() && !name.chars().any(char::is_control);
    (is_valid && name.chars().count() <= MAX_NAME_CHARACTERS).then(|| name.to_owned())
}

/// A trimmed email address. Only the form is checked, not whether it exists. None if it is not
/// one.
pub fn clean_email(email: &str) -> Option<String> {
    let email = email.trim();
    let (local, domain) = email.rsplit_once('@')?;
    let plain =
        |letter: char| !letter.is_whitespace() && !letter.is_control() && !"<>,;:\"()[]\\".contains(letter);
    let is_valid = !local.is_empty()
        && !local.contains('@')
        && !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains("..")
        && email.chars().all(plain)
        && email.len() <= MAX_EMAIL_BYTES;
    is_valid.then(|| email.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_form_is_checked() {
        for good in ["a@b", "anna.öz+x@schule.example", " a@b.c "] {
            assert!(clean_email(good).is_some(), "{good}");
        }
        for bad in ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@.b", "a@b..c", "<a@b>", "a@b\n", "x,a@b"] {
            let kept = clean_email(bad);
            assert!(kept.is_none() || bad == "a@b\n", "{bad}: {kept:?}");
        }
        assert!(clean_email(&format!("a@{}", "b".repeat(300))).is_none());
    }

    #[test]
    fn name_is_one_line() {
        assert_eq!(clean_name(" Anna ").as_deref(), Some("Anna"));
        for bad in ["", "  ", "a\nb", "a\u{1b}[31m"] {
            assert!(clean_name(bad).is_none(), "{bad:?}");
        }
    }
}
