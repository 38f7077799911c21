//! Members of a class: a user, invited or there already, and a workspace of the class's template.

use protocol::{
    ClassId, UserId, WorkspaceId,
    api::class::{AddedMember, MAX_MEMBERS},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Row, invitations, roster::Entry};
use crate::{db::Scope, workspaces::create};

/// What became of a row.
pub enum Outcome {
    Added(Box<AddedMember>),
    /// In the class already: left as they are.
    Unchanged,
    Refused(&'static str),
}

pub struct MemberRow {
    pub member_id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    pub workspace_id: Option<Uuid>,
}

pub async fn add(
    scope: &mut Scope,
    class: &Row,
    entry: &Entry,
    now: OffsetDateTime,
) -> Result<Outcome, sqlx::Error> {
    let tenant = scope.tenant();
    let place = sqlx::query!(
        r#"select count(*) as "members!", coalesce(bool_or(lower(email) = lower($3)), false) as "known!"
           from members where tenant_id = $1 and class_id = $2"#,
        tenant,
        class.class_id,
        entry.email,
    )
    .fetch_one(scope.connection())
    .await?;
    if place.known {
        return Ok(Outcome::Unchanged);
    }
    if place.members >= MAX_MEMBERS as i64 {
        return Ok(Outcome::Refused("the class is full: 1000 members"));
    }
    let user = user_of(scope, entry).await?;
    let name = create::free_name(scope, user, &class.name).await?;
    let workspace = WorkspaceId::random();
    let id = Some(ClassId(class.class_id));
    if !create::insert(scope, workspace, user, &name, &class.template, id).await? {
        return Ok(Outcome::Refused("the class's template is gone"));
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
    let invitation = invitations::make(scope, member, user, now).await?;
    let (name, email) = (entry.name.clone(), entry.email.clone());
    Ok(Outcome::Added(Box::new(AddedMember { member, name, email, invitation })))
}

/// Who has the address in the tenant; someone new is made, who may sign in once the invitation is accepted.
async fn user_of(scope: &mut Scope, entry: &Entry) -> Result<UserId, sqlx::Error> {
    let tenant = scope.tenant();
    let made = sqlx::query_scalar!(
        "insert into users (tenant_id, user_id, email, name, role, active) values ($1, $2, $3, $4, 'member', false)
         on conflict (tenant_id, lower(email)) do nothing returning user_id",
        tenant,
        UserId::random().0,
        entry.email,
        entry.name,
    )
    .fetch_optional(scope.connection())
    .await?;
    if let Some(made) = made {
        return Ok(UserId(made));
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

pub async fn remove(scope: &mut Scope, member: Uuid) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from members where tenant_id = $1 and member_id = $2", tenant, member)
        .execute(scope.connection())
        .await?;
    Ok(())
}
