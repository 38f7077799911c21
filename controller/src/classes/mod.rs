//! Classes in the database, with their rosters, members and invitations. Knows no HTTP.

pub mod invitations;
pub mod members;
pub mod roster;

use protocol::{
    ClassId, UserId,
    api::{
        class::{Class, ClassSummary, Member},
        user::Role,
    },
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    authz::ClassFacts,
    db::Scope,
    workspaces::{
        network,
        view::{self, WorkspaceFilter},
    },
};

/// Most classes of one list.
const MAX_CLASSES: i64 = 1000;

/// A class without its members.
pub struct ClassRow {
    pub class_id: Uuid,
    pub name: String,
    pub template: String,
    pub teacher_id: Uuid,
    pub created_at: OffsetDateTime,
}

/// Creates a class of the caller.
pub async fn create(scope: &mut Scope, name: &str, template: &str) -> Result<ClassId, sqlx::Error> {
    let (tenant, caller, class) = (scope.tenant(), scope.caller(), ClassId::random());
    sqlx::query!(
        "insert into classes (tenant_id, class_id, name, template, teacher_id) values ($1, $2, $3, $4, $5)",
        tenant,
        class.0,
        name,
        template,
        caller.user.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(class)
}

/// Finds a class of the caller's tenant.
pub async fn find(scope: &mut Scope, class: ClassId) -> Result<Option<ClassRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        ClassRow,
        "select class_id, name, template, teacher_id, created_at from classes
         where tenant_id = $1 and class_id = $2 and deleted_at is null",
        tenant,
        class.0,
    )
    .fetch_optional(scope.connection())
    .await
}

impl ClassRow {
    /// What permissions depend on.
    pub fn facts(&self, tenant: protocol::TenantId) -> ClassFacts {
        ClassFacts { tenant, teacher: UserId(self.teacher_id) }
    }
}

/// Lists the caller's classes, or all of the tenant for its owner.
pub async fn list(scope: &mut Scope) -> Result<Vec<ClassSummary>, sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    let rows = sqlx::query!(
        r#"select c.class_id, c.name, c.template, c.created_at, count(m.member_id) as "members!",
                  count(w.workspace_id) filter (where w.phase = 'running'
                      and w.deleted_at is null) as "running!"
           from classes c
           left join members m on m.tenant_id = c.tenant_id and m.class_id = c.class_id
           left join workspaces w on w.tenant_id = m.tenant_id and w.workspace_id = m.workspace_id
           where c.tenant_id = $1 and c.deleted_at is null and (c.teacher_id = $2 or $3)
           group by c.tenant_id, c.class_id order by c.created_at, c.class_id limit $4"#,
        tenant,
        caller.user.0,
        caller.role == Role::Owner,
        MAX_CLASSES,
    )
    .fetch_all(scope.connection())
    .await?;
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(rows
        .into_iter()
        .map(|row| ClassSummary {
            id: ClassId(row.class_id),
            name: row.name,
            template: row.template,
            members: count(row.members),
            running: count(row.running),
            created_at: row.created_at,
        })
        .collect())
}

/// Reads the members and their workspaces: the class as its teacher sees it.
pub async fn describe(scope: &mut Scope, row: ClassRow) -> Result<Class, sqlx::Error> {
    let tenant = scope.tenant();
    let class = ClassId(row.class_id);
    let filter = WorkspaceFilter { workspace: None, class: Some(class) };
    let mut workspaces: std::collections::HashMap<_, _> =
        view::list(scope, filter).await?.into_iter().map(|workspace| (workspace.id.0, workspace)).collect();
    let members = sqlx::query!(
        r#"select m.member_id, m.name, m.email, m.workspace_id,
               (u.active or u.suspended_at is not null) as "joined!"
         from members m join users u using (tenant_id, user_id)
         where m.tenant_id = $1 and m.class_id = $2 order by lower(m.name), m.member_id"#,
        tenant,
        class.0,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(Class {
        id: class,
        name: row.name,
        template: row.template,
        teacher: UserId(row.teacher_id),
        created_at: row.created_at,
        members: members
            .into_iter()
            .map(|member| Member {
                id: member.member_id,
                name: member.name,
                email: member.email,
                joined: member.joined,
                workspace: member.workspace_id.and_then(|id| workspaces.remove(&id)),
            })
            .collect(),
    })
}

/// Deletes a class with its members. Its name is free again, its invitations are void, and its network
/// policy holds for no fork any more.
pub async fn delete(scope: &mut Scope, class: ClassId, now: OffsetDateTime) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update classes set deleted_at = $3 where tenant_id = $1 and class_id = $2",
        tenant,
        class.0,
        now,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!("delete from members where tenant_id = $1 and class_id = $2", tenant, class.0)
        .execute(scope.connection())
        .await?;
    network::apply_class_policy(scope, class).await
}
