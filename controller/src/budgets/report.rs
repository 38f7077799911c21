//! The budgets with their use, as users see them before a limit is reached.

use protocol::{
    ClassId, TenantId, UserId,
    api::{
        budget::{Budget, BudgetItem, BudgetLevel, BudgetResource},
        user::Role,
    },
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    amounts::BudgetLimits,
    store::{self, SetLimits},
    usage::{self, Counted, Source, Subject, Usage},
};
use crate::{
    config::Limits,
    db::{Scope, text::Text},
};

/// Most classes and users of one report.
const MAX_SUBJECTS: i64 = 5_000;

/// Reads the budgets that the caller may see: the tenant's; of classes and users all for an owner of the
/// tenant, otherwise the own ones.
pub async fn list(
    scope: &mut Scope,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Vec<Budget>, sqlx::Error> {
    let tenant = scope.caller().tenant;
    let report = Report::read(scope.connection(), tenant, limits, now).await?;
    let mut budgets = vec![report.tenant(scope.connection()).await?];
    budgets.extend(list_classes(scope, &report).await?);
    budgets.extend(list_users(scope, &report).await?);
    Ok(budgets)
}

/// Reads the budget of the tenant, for the operator.
pub async fn find_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Budget, sqlx::Error> {
    let report = Report::read(connection, tenant, limits, now).await?;
    report.tenant(connection).await
}

/// The limits and the use of a tenant.
struct Report<'a> {
    tenant: TenantId,
    limits: &'a Limits,
    set: SetLimits,
    usage: Usage,
}

impl<'a> Report<'a> {
    async fn read(
        connection: &mut PgConnection,
        tenant: TenantId,
        limits: &'a Limits,
        now: OffsetDateTime,
    ) -> Result<Self, sqlx::Error> {
        let set = store::find(connection, Some(tenant)).await?;
        let sources = [Source::Workspaces, Source::Starts(now), Source::History, Source::Egress(now)];
        let usage = usage::count(connection, tenant, Counted::default(), &sources).await?;
        Ok(Self { tenant, limits, set, usage })
    }

    async fn tenant(&self, connection: &mut PgConnection) -> Result<Budget, sqlx::Error> {
        let row = sqlx::query!("select name, queue_weight from tenants where tenant_id = $1", self.tenant.0)
            .fetch_one(connection)
            .await?;
        let budget = self.budget(Subject::Tenant, Role::Owner, row.name);
        Ok(Budget { queue_weight: Some(row.queue_weight.unsigned_abs()), ..budget })
    }

    fn budget(&self, subject: Subject, role: Role, name: String) -> Budget {
        let (level, id): (_, Uuid) = match subject {
            Subject::Tenant => (BudgetLevel::Tenant, self.tenant.0),
            Subject::Class(class) => (BudgetLevel::Class, class.0),
            Subject::User(user) => (BudgetLevel::User, user.0),
        };
        let defaults = store::defaults(self.limits, subject, role);
        let limits: BudgetLimits = self.set.of(self.tenant, subject, &defaults);
        let used = self.usage.of(subject);
        let items = BudgetResource::ALL.map(|resource| BudgetItem {
            resource,
            used: used.get(resource),
            limit: limits.get(resource),
            is_default: !self.set.is_set(self.tenant, subject, resource),
        });
        Budget { level, id, name, items: items.to_vec(), queue_weight: None }
    }
}

/// Classes that the caller teaches or has a workspace in; all for an owner.
async fn list_classes(scope: &mut Scope, report: &Report<'_>) -> Result<Vec<Budget>, sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    let rows = sqlx::query!(
        "select class_id, name from classes c
         where tenant_id = $1 and deleted_at is null
             and ($3 or teacher_id = $2 or exists (select from workspaces w where w.tenant_id = $1
                 and w.class_id = c.class_id and w.owner_id = $2 and w.deleted_at is null))
         order by lower(name), class_id limit $4",
        tenant,
        caller.user.0,
        caller.role == Role::Owner,
        MAX_SUBJECTS,
    )
    .fetch_all(scope.connection())
    .await?;
    let budget = |class, name| report.budget(Subject::Class(ClassId(class)), Role::Member, name);
    Ok(rows.into_iter().map(|row| budget(row.class_id, row.name)).collect())
}

/// The caller; all users for an owner.
async fn list_users(scope: &mut Scope, report: &Report<'_>) -> Result<Vec<Budget>, sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    let rows = sqlx::query!(
        r#"select user_id, email, role as "role: Text<Role>" from users
           where tenant_id = $1 and ($3 or user_id = $2)
           order by user_id <> $2, lower(email), user_id limit $4"#,
        tenant,
        caller.user.0,
        caller.role == Role::Owner,
        MAX_SUBJECTS,
    )
    .fetch_all(scope.connection())
    .await?;
    let budget = |row: (Uuid, Role, String)| report.budget(Subject::User(UserId(row.0)), row.1, row.2);
    Ok(rows.into_iter().map(|row| budget((row.user_id, row.role.0, row.email))).collect())
}
