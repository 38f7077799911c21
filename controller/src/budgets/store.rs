//! Budgets in the database: the limits that somebody has set, and the defaults behind them.

use std::collections::HashMap;

use protocol::{
    ClassId, TenantId, UserId,
    api::{
        budget::{BudgetResource, EditBudget},
        user::Role,
    },
};
use sqlx::PgConnection;

use super::{amounts::BudgetLimits, usage::Subject};
use crate::{config::Limits, db::text::Text};

/// The limits that somebody has set, of any tenants.
#[derive(Clone, Debug, Default)]
pub struct SetLimits(HashMap<(TenantId, Subject), Vec<SetLimit>>);

/// A limit of one resource that somebody has set. None: no limit.
type SetLimit = (BudgetResource, Option<u64>);

impl SetLimits {
    /// The limits of a subject: those that were set, and the defaults of the others.
    pub fn of(&self, tenant: TenantId, subject: Subject, defaults: &BudgetLimits) -> BudgetLimits {
        let mut limits = *defaults;
        for (resource, limit) in self.0.get(&(tenant, subject)).into_iter().flatten() {
            limits.set(*resource, *limit);
        }
        limits
    }

    /// Whether somebody has set this limit.
    pub fn is_set(&self, tenant: TenantId, subject: Subject, resource: BudgetResource) -> bool {
        self.0.get(&(tenant, subject)).into_iter().flatten().any(|(set, _)| *set == resource)
    }
}

/// The limits of a user, class or tenant that nobody has set others for.
pub fn defaults(limits: &Limits, subject: Subject, role: Role) -> BudgetLimits {
    match subject {
        Subject::Tenant => limits.tenant,
        Subject::Class(_) => BudgetLimits::NONE,
        Subject::User(_) if role >= Role::Teacher => limits.teacher,
        Subject::User(_) => limits.member,
    }
}

/// Reads the limits that are set: of one tenant, or of all.
pub async fn find(connection: &mut PgConnection, tenant: Option<TenantId>) -> Result<SetLimits, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id, class_id, user_id, resource as "resource: Text<BudgetResource>", max_amount
           from budgets where $1::uuid is null or tenant_id = $1"#,
        tenant.map(|tenant| tenant.0),
    )
    .fetch_all(connection)
    .await?;
    let mut set = SetLimits::default();
    for row in rows {
        let subject = match (row.user_id, row.class_id) {
            (Some(user), _) => Subject::User(UserId(user)),
            (None, Some(class)) => Subject::Class(ClassId(class)),
            (None, None) => Subject::Tenant,
        };
        let limits = set.0.entry((TenantId(row.tenant_id), subject)).or_default();
        limits.push((row.resource.0, row.max_amount.map(i64::unsigned_abs)));
    }
    Ok(set)
}

/// Sets the weight of a tenant in the queue of starts.
pub async fn set_queue_weight(
    connection: &mut PgConnection,
    tenant: TenantId,
    weight: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update tenants set queue_weight = $2 where tenant_id = $1",
        tenant.0,
        weight.cast_signed(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes the limits of a subject. A transaction of a tenant cannot change its own.
pub async fn change(
    connection: &mut PgConnection,
    tenant: TenantId,
    subject: Subject,
    edit: &EditBudget,
) -> Result<(), sqlx::Error> {
    let (class, user) = match subject {
        Subject::Tenant => (None, None),
        Subject::Class(class) => (Some(class.0), None),
        Subject::User(user) => (None, Some(user.0)),
    };
    let changed: Vec<String> = edit
        .limits
        .iter()
        .map(|limit| limit.resource)
        .chain(edit.defaults.iter().copied())
        .map(|resource| Text(resource).name().to_owned())
        .collect();
    sqlx::query!(
        "delete from budgets where tenant_id = $1 and class_id is not distinct from $2
             and user_id is not distinct from $3 and resource = any($4)",
        tenant.0,
        class,
        user,
        &changed,
    )
    .execute(&mut *connection)
    .await?;
    for limit in &edit.limits {
        sqlx::query!(
            "insert into budgets (tenant_id, class_id, user_id, resource, max_amount)
             values ($1, $2, $3, $4, $5)",
            tenant.0,
            class,
            user,
            Text(limit.resource) as _,
            limit.limit.map(u64::cast_signed),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
