//! Budgets: what users, classes and the tenant may use, and what they use.

use std::collections::HashSet;

use axum::{Json, extract::State};
use protocol::{
    ClassId, TenantId, UserId,
    api::{
        budget::{Budget, BudgetLevel, BudgetList, EditBudget, MAX_LIMIT, MAX_QUEUE_WEIGHT},
        internal::TenantBudgetRequest,
    },
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    budgets::{report, store, usage::Subject},
    classes,
    core::App,
    db::Scope,
    identity::users,
};

/// List budgets
///
/// What may be used, and what is used now: by the organisation and the caller, and by the classes that the
/// caller teaches or has a workspace in. Owners see all classes and users.
#[utoipa::path(
    get,
    path = "/budgets",
    tag = "budgets",
    responses((status = 200, body = BudgetList, description = "The budgets")),
)]
pub async fn list_budgets(State(app): State<App>, signed: Signed) -> Result<Json<BudgetList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseWorkspaces)?).await?;
    let budgets = report::list(&mut scope, &app.config.limits, app.now()).await?;
    Ok(Json(BudgetList { budgets }))
}

/// Set the budget of a user
///
/// For owners. Limits of the user's workspaces together. A lower limit ends nothing that runs, and refuses
/// what would use more. The budget of the organisation holds too; only the operator of the server raises
/// that one.
#[utoipa::path(
    patch,
    path = "/budgets/users/{id}",
    tag = "budgets",
    request_body = EditBudget,
    params(
        ("id" = UserId, Path, description = "The user."),
    ),
    responses((status = 200, body = Budget, description = "The new budget, with what is used")),
)]
pub async fn set_user_budget(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<UserId>,
    Input(edit): Input<EditBudget>,
) -> Result<Json<Budget>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageTenant)?).await?;
    check(&edit)?;
    if users::lock(&mut scope, id).await?.is_none() {
        return Err(ApiError::not_found("user"));
    }
    change(&app, scope, Subject::User(id), &edit).await.map(Json)
}

/// Set the budget of a class
///
/// For owners. Limits of the workspaces of the class together.
#[utoipa::path(
    patch,
    path = "/budgets/classes/{id}",
    tag = "budgets",
    request_body = EditBudget,
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, body = Budget, description = "The new budget, with what is used")),
)]
pub async fn set_class_budget(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
    Input(edit): Input<EditBudget>,
) -> Result<Json<Budget>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageTenant)?).await?;
    check(&edit)?;
    if classes::find(&mut scope, id).await?.is_none() {
        return Err(ApiError::not_found("class"));
    }
    change(&app, scope, Subject::Class(id), &edit).await.map(Json)
}

/// Reads the budgets of all tenants, and changes one of them first. For the operator, on this host.
pub async fn tenant_budgets(
    State(app): State<App>,
    Input(request): Input<TenantBudgetRequest>,
) -> Result<Json<BudgetList>> {
    check(&request.edit)?;
    if request.queue_weight.is_some_and(|weight| !(1..=MAX_QUEUE_WEIGHT).contains(&weight)) {
        return Err(ApiError::invalid("queue_weight", "A weight is 1 to 100."));
    }
    let mut system = app.db.system().await?;
    let connection = system.connection();
    let tenants: Vec<Uuid> =
        sqlx::query_scalar!("select tenant_id from tenants order by created_at, tenant_id")
            .fetch_all(&mut *connection)
            .await?;
    let is_change = request.edit != EditBudget::default() || request.queue_weight.is_some();
    if is_change {
        let tenant = choose_tenant(&tenants, request.tenant)?;
        store::change(connection, tenant, Subject::Tenant, &request.edit).await?;
        if let Some(weight) = request.queue_weight {
            store::set_queue_weight(connection, tenant, weight).await?;
        }
    }
    let mut budgets = Vec::new();
    for tenant in &tenants {
        budgets.push(find_tenant_budget(&app, connection, TenantId(*tenant)).await?);
    }
    if is_change {
        let tenant = choose_tenant(&tenants, request.tenant)?;
        let TenantBudgetRequest { edit: EditBudget { limits, defaults }, queue_weight, .. } = request;
        let detail =
            serde_json::json!({ "limits": limits, "defaults": defaults, "queue_weight": queue_weight });
        audit::write_system(connection, tenant, "budget.tenant", &tenant.to_string(), detail).await?;
    }
    system.commit().await?;
    Ok(Json(BudgetList { budgets }))
}

async fn find_tenant_budget(app: &App, connection: &mut PgConnection, tenant: TenantId) -> Result<Budget> {
    Ok(report::find_tenant(connection, tenant, &app.config.limits, app.now()).await?)
}

fn choose_tenant(tenants: &[Uuid], wanted: Option<TenantId>) -> Result<TenantId> {
    match (wanted, tenants) {
        (None, [only]) => Ok(TenantId(*only)),
        (None, _) => Err(ApiError::invalid("tenant", "There are several organisations. Name one by its id.")),
        (Some(tenant), known) if known.contains(&tenant.0) => Ok(tenant),
        (Some(_), _) => Err(ApiError::not_found("organisation")),
    }
}

/// Changes a budget of the caller's tenant and records it.
async fn change(app: &App, mut scope: Scope, subject: Subject, edit: &EditBudget) -> Result<Budget> {
    let tenant = scope.caller().tenant;
    store::change(scope.connection(), tenant, subject, edit).await?;
    let budgets = report::list(&mut scope, &app.config.limits, app.now()).await?;
    let (level, id, action) = match subject {
        Subject::User(user) => (BudgetLevel::User, user.0, "budget.user"),
        Subject::Class(class) => (BudgetLevel::Class, class.0, "budget.class"),
        Subject::Tenant => (BudgetLevel::Tenant, tenant.0, "budget.tenant"),
    };
    let changed = budgets.into_iter().find(|budget| budget.level == level && budget.id == id);
    let detail = serde_json::json!({ "limits": edit.limits, "defaults": edit.defaults });
    audit::write(&mut scope, action, &id.to_string(), detail).await?;
    scope.commit().await?;
    changed.ok_or_else(ApiError::internal)
}

fn check(edit: &EditBudget) -> Result<()> {
    let mut named = HashSet::new();
    let resources = edit.limits.iter().map(|limit| limit.resource).chain(edit.defaults.iter().copied());
    for resource in resources {
        if !named.insert(resource) {
            let message = format!("`{}` is named twice.", resource.as_str());
            return Err(ApiError::invalid("limits", &message));
        }
    }
    if edit.limits.iter().any(|limit| limit.limit.is_some_and(|limit| limit > MAX_LIMIT)) {
        return Err(ApiError::invalid("limits", "A limit is at most 2^53. Leave it out for no limit."));
    }
    Ok(())
}
