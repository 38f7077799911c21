//! Invitations: links by which a new member of a class sets a password and joins.

use protocol::{
    InvitationId, Redacted, UserId,
    api::{
        class::{Invitation, InvitationLink},
        user::Role,
    },
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{db::Scope, identity::secrets};

/// Links are handed out before the term and used in its first weeks.
const INVITATION_TTL: Duration = Duration::days(30);
/// The page that reads the token after `#`.
const PAGE: &str = "/join";

/// Creates an invitation for a member. Earlier ones of the member are void.
pub async fn create(
    scope: &mut Scope,
    member: Uuid,
    user: UserId,
    now: OffsetDateTime,
) -> Result<InvitationLink, sqlx::Error> {
    let tenant = scope.tenant();
    let (secret, expires_at) = (secrets::generate_secret(), now + INVITATION_TTL);
    sqlx::query!("delete from invitations where tenant_id = $1 and member_id = $2", tenant, member)
        .execute(scope.connection())
        .await?;
    sqlx::query!(
        "insert into invitations (tenant_id, invitation_id, member_id, user_id, secret_hash, created_at,
            expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        tenant,
        InvitationId::random().0,
        member,
        user.0,
        &secrets::hash_secret(secret.expose())[..],
        now,
        expires_at,
    )
    .execute(scope.connection())
    .await?;
    Ok(InvitationLink { path: Redacted::new(format!("{PAGE}#{}", secret.expose())), expires_at })
}

/// Whether an account that is not in use yet was invited by another teacher. A link to it would give
/// the account, and with it the workspaces of the other class, to the caller. Owners may invite anyone.
pub async fn is_of_other_teacher(scope: &mut Scope, user: UserId) -> Result<bool, sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    let inviter = sqlx::query_scalar!(
        "select c.teacher_id from members m
         join classes c using (tenant_id, class_id)
         join users u using (tenant_id, user_id)
         where m.tenant_id = $1 and m.user_id = $2 and c.deleted_at is null and not u.active
         order by m.created_at, m.member_id limit 1",
        tenant,
        user.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(caller.role != Role::Owner && inviter.is_some_and(|inviter| inviter != caller.user.0))
}

/// An invitation that can be accepted, with the account that it is for.
pub struct OpenInvitation {
    pub tenant_id: Uuid,
    pub user_id: Uuid,
    pub workspace_id: Option<Uuid>,
    pub tenant_name: String,
    pub class_name: String,
    pub name: String,
    pub email: String,
    /// Whether the account is in use already. Then only its password proves who accepts.
    pub active: bool,
    pub password_hash: Option<String>,
}

impl From<OpenInvitation> for Invitation {
    fn from(open: OpenInvitation) -> Self {
        Self {
            tenant_name: open.tenant_name,
            class_name: Some(open.class_name),
            name: open.name,
            email: open.email,
        }
    }
}

/// Finds an invitation by its token. None if it was used, has expired or never existed.
pub async fn find(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    token: &str,
) -> Result<Option<OpenInvitation>, sqlx::Error> {
    sqlx::query_as!(
        OpenInvitation,
        "select i.tenant_id, i.user_id, m.workspace_id, t.name as tenant_name, c.name as class_name,
            m.name, u.email,
                u.active, u.password_hash
         from invitations i
         join members m using (tenant_id, member_id)
         join classes c on c.tenant_id = m.tenant_id and c.class_id = m.class_id and c.deleted_at is null
         join users u on u.tenant_id = i.tenant_id and u.user_id = i.user_id and u.suspended_at is null
         join tenants t on t.tenant_id = i.tenant_id
         where i.secret_hash = $1 and i.used_at is null and i.expires_at > $2",
        &secrets::hash_secret(token)[..],
        now,
    )
    .fetch_optional(connection)
    .await
}

/// Uses an invitation once. `new_account` has the name and password hash of a new user. False if
/// another request was faster.
pub async fn accept(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    token: &str,
    open: &OpenInvitation,
    new_account: Option<(&str, &str)>,
) -> Result<bool, sqlx::Error> {
    let used = sqlx::query!(
        "update invitations set used_at = $2 where secret_hash = $1 and used_at is null and expires_at > $2",
        &secrets::hash_secret(token)[..],
        now,
    )
    .execute(&mut *connection)
    .await?;
    if used.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some((name, hash)) = new_account {
        let done = sqlx::query!(
            "update users set active = true, name = $3, password_hash = $4
             where tenant_id = $1 and user_id = $2 and not active and suspended_at is null",
            open.tenant_id,
            open.user_id,
            name,
            hash,
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
    }
    // The page of the class shows who has joined.
    sqlx::query!(
        "update workspaces set revision = revision + 1 where tenant_id = $1 and workspace_id = $2",
        open.tenant_id,
        open.workspace_id,
    )
    .execute(connection)
    .await?;
    Ok(true)
}
