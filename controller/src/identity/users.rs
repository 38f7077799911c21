//! People of a tenant.

use protocol::{
    TenantId, UserId,
    api::user::{Role, User},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Scope;

pub const MAX_NAME_CHARACTERS: usize = 200;
pub const MAX_EMAIL_BYTES: usize = 254;
/// Rows in one answer.
const MAX_USERS: i64 = 10_000;

/// A user with the tenant's name, as every answer shows one.
pub struct UserRow {
    pub tenant_id: Uuid,
    pub tenant_name: String,
    pub user_id: Uuid,
    pub email: String,
    pub name: String,
    pub role: String,
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
            role: role(&row.role),
            has_password: row.password_hash.is_some(),
            created_at: row.created_at,
        }
    }
}

/// A word that is not known has the least power.
pub fn role(text: &str) -> Role {
    match text {
        "owner" => Role::Owner,
        "teacher" => Role::Teacher,
        _ => Role::Member,
    }
}

pub async fn me(scope: &mut Scope) -> Result<UserRow, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    sqlx::query_as!(
        UserRow,
        "select u.tenant_id, t.name as tenant_name, u.user_id, u.email, u.name, u.role, u.password_hash, u.created_at
         from users u join tenants t using (tenant_id) where u.tenant_id = $1 and u.user_id = $2",
        tenant,
        user,
    )
    .fetch_one(scope.connection())
    .await
}

pub async fn list(scope: &mut Scope) -> Result<Vec<UserRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        UserRow,
        "select u.tenant_id, t.name as tenant_name, u.user_id, u.email, u.name, u.role, u.password_hash, u.created_at
         from users u join tenants t using (tenant_id)
         where u.tenant_id = $1 and u.active order by u.created_at, u.user_id limit $2",
        tenant,
        MAX_USERS,
    )
    .fetch_all(scope.connection())
    .await
}

pub async fn edit_me(scope: &mut Scope, name: Option<&str>, email: Option<&str>) -> Result<(), sqlx::Error> {
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

/// Whoever may sign in with this address, of whatever tenant.
pub struct SignIn {
    pub tenant_id: Uuid,
    pub user_id: Uuid,
    pub password_hash: String,
}

pub async fn with_password(connection: &mut PgConnection, email: &str) -> Result<Vec<SignIn>, sqlx::Error> {
    // A few tenants may know the same person; each hash costs time, so their number is bounded.
    sqlx::query_as!(
        SignIn,
        r#"select tenant_id, user_id, password_hash as "password_hash!" from users
           where lower(email) = lower($1) and active and password_hash is not null
           order by created_at limit 4"#,
        email,
    )
    .fetch_all(connection)
    .await
}

/// One line of sense, without control characters. `None` if nothing is left or it is too long.
pub fn clean_name(name: &str) -> Option<String> {
    let name = name.trim();
    let sound = !name.is_empty() && !name.chars().any(char::is_control);
    (sound && name.chars().count() <= MAX_NAME_CHARACTERS).then(|| name.to_owned())
}

/// The form of an address, not whether someone reads it.
pub fn clean_email(email: &str) -> Option<String> {
    let email = email.trim();
    let (local, domain) = email.rsplit_once('@')?;
    let plain =
        |letter: char| !letter.is_whitespace() && !letter.is_control() && !"<>,;:\"()[]\\".contains(letter);
    let sound = !local.is_empty()
        && !local.contains('@')
        && !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains("..")
        && email.chars().all(plain)
        && email.len() <= MAX_EMAIL_BYTES;
    sound.then(|| email.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_form() {
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
    fn names_are_one_line() {
        assert_eq!(clean_name(" Anna ").as_deref(), Some("Anna"));
        for bad in ["", "  ", "a\nb", "a\u{1b}[31m"] {
            assert!(clean_name(bad).is_none(), "{bad:?}");
        }
    }
}
