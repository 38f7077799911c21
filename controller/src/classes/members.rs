//! Members of a class. Each is a user, new or existing, with a workspace from the class's template.

use protocol::{
    ClassId, UserId, WorkspaceId,
    api::class::{AddedMember, MAX_MEMBERS},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ClassRow, invitations, roster::Entry};
use crate::{
    db::Scope,
    workspaces::create::{self, CreateError, NewWorkspace, Source},
};

/// The result of adding a row of a roster.
pub enum AddOutcome {
    Added(Box<AddedMember>),
    /// The user is a member already.
    Unchanged,
    /// Why the row cannot be added.
    Rejected(&'static str),
}

/// A member without its account and workspace.
pub struct MemberRow {
    pub member_id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    /// None if it was deleted.
    pub workspace_id: Option<Uuid>,
}

/// Adds a user to a class: creates the account if there is none, a workspace and an invitation.
/// Roll the transaction back if the row is rejected.
pub async fn add(
    scope: &mut Scope,
    class: &ClassRow,
    entry: &Entry,
    now: OffsetDateTime,
) -> Result<AddOutcome, sqlx::Error> {
    let tenant = scope.tenant();
    let existing = sqlx::query!(
        r#"select count(*) as "members!", coalesce(bool_or(lower(email) = lower($3)), false) as "is_member!"
           from members where tenant_id = $1 and class_id = $2"#,
        tenant,
        class.class_id,
        entry.email,
    )
    .fetch_one(scope.connection())
    .await?;
    if existing.is_member {
        return Ok(AddOutcome::Unchanged);
    }
    if existing.members >= MAX_MEMBERS as i64 {
        return Ok(AddOutcome::Rejected("the class is full: 1000 members"));
    }
    let user = find_or_create_user(scope, entry).await?;
    let name = create::find_free_name(scope, user, &class.name).await?;
    let workspace = WorkspaceId::random();
    let source = Source::Template { name: &class.template, class: Some(ClassId(class.class_id)) };
    let new = NewWorkspace { id: workspace, owner: user, name: &name, source };
    match create::insert(scope, now, new).await {
        Ok(()) => {}
        Err(CreateError::NoTemplate) => {
            return Ok(AddOutcome::Rejected("the template of the class does not exist any more"));
        }
        Err(CreateError::NameTaken(_)) => {
            return Ok(AddOutcome::Rejected("the user has created a workspace of this name, try again"));
        }
        Err(CreateError::Database(error)) => return Err(error),
        Err(error) => unreachable!("an insertion checks nothing else: {error}"),
    }
    let member = Uuid::now_v7();
    sqlx::query!(
        "insert into members (tenant_id, class_id, member_id, user_id, workspace_id, name, email)
         values ($1, $2, $3, $4, $5, $6, $7)",
        tenant,
        class.class_id,
        member,
        user.0,
        workspace.0,
        entry.name,
        entry.email,
    )
    .execute(scope.connection())
    .await?;
    let invitation = invitations::create(scope, member, user, now).await?;
    let (name, email) = (entry.name.clone(), entry.email.clone());
    Ok(AddOutcome::Added(Box::new(AddedMember { member, name, email, invitation })))
}

/// Finds the user with the address. A new one is created, who can sign in after accepting the
/// invitation.
async fn find_or_create_user(scope: &mut Scope, entry: &Entry) -> Result<UserId, sqlx::Error> {
    let tenant = scope.tenant();
    let created = sqlx::query_scalar!(
        "insert into users (tenant_id, user_id, email, name, role, active)
         values ($1, $2, $3, $4, 'member', false)
         on conflict (tenant_id, lower(email)) do nothing returning user_id",
        tenant,
        UserId::random().0,
        entry.email,
        entry.name,
    )
    .fetch_optional(scope.connection())
    .await?;
    if let Some(created) = created {
        return Ok(UserId(created));
    }
    sqlx::query_scalar!(
        "select user_id from users where tenant_id = $1 and lower(email) = lower($2)",
        tenant,
        entry.email,
    )
    .fetch_one(scope.connection())
    .await
    .map(UserId)
}

/// Lists the members of a class by name.
pub async fn list(scope: &mut Scope, class: ClassId) -> Result<Vec<MemberRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        MemberRow,
        r#"select m.member_id, m.user_id, m.name, w.workspace_id as "workspace_id?"
           from members m left join workspaces w
             on w.tenant_id = m.tenant_id and w.workspace_id = m.workspace_id and w.deleted_at is null
           where m.tenant_id = $1 and m.class_id = $2 order by lower(m.name), m.member_id"#,
        tenant,
        class.0,
    )
    .fetch_all(scope.connection())
    .await
}

/// Removes a member. The account and the workspace stay.
pub async fn remove(scope: &mut Scope, member: Uuid) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from members where tenant_id = $1 and member_id = $2", tenant, member)
        .execute(scope.connection())
        .await?;
    Ok(())
}
