//! Network policies: of workspaces, classes and templates, and of the tenant.

use axum::{Json, extract::State};
use protocol::{
    ClassId, Code, WorkspaceId,
    api::network::{AllowNames, ClassNetwork, EditWorkspaceNetwork, WorkspaceNetwork},
    network::{MAX_NAMES, NetworkPolicy},
};

use super::{
    access::{authorize_workspace, workspace_not_found},
    classes::authorize_class,
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, Caller, authorize},
    core::{App, Core},
    db::Scope,
    workspaces::{
        network::{self, WorkspaceNetworkRow},
        network_policies::{self, AllowError},
    },
};

/// Get the network policy of a workspace
///
/// Where the workspace may connect, which policies say so, what was refused since its last start, and
/// how many bytes it has sent and received.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/network",
    tag = "network",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = WorkspaceNetwork, description = "The policies and their effect")),
)]
pub async fn get_workspace_network(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<WorkspaceNetwork>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ReadWorkspace).await?;
    let may_grant = may_grant(&app, signed.caller(), id).await?;
    let mut scope = app.db.scope(allowed).await?;
    view(&app, &mut scope, id, may_grant).await.map(Json)
}

/// Set the network policy of a workspace
///
/// From an owner of the tenant or the teacher of its class, the policy replaces the template's for this
/// workspace. From the workspace's own owner, it narrows what the template allows. The tenant's policy
/// holds in any case. A running workspace follows within a second, and connections that are no longer
/// allowed are closed.
#[utoipa::path(
    put,
    path = "/workspaces/{id}/network",
    tag = "network",
    request_body = EditWorkspaceNetwork,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = WorkspaceNetwork, description = "The policies and their effect")),
)]
pub async fn set_workspace_network(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<EditWorkspaceNetwork>,
) -> Result<Json<WorkspaceNetwork>> {
    let may_grant = may_grant(&app, signed.caller(), id).await?;
    let action = if may_grant { Action::GrantNetwork } else { Action::ChangeWorkspace };
    let allowed = authorize_workspace(&app, signed.caller(), id, action).await?;
    if let Some(policy) = &request.policy {
        check(policy)?;
    }
    let mut scope = app.db.scope(allowed).await?;
    let WorkspaceNetworkRow { mut policies, .. } = lock(&mut scope, id).await?;
    let place = if may_grant { &mut policies.grant } else { &mut policies.choice };
    place.clone_from(&request.policy);
    network::write(&mut scope, id, &policies).await?;
    let detail = serde_json::json!({ "policy": request.policy, "granted": may_grant });
    audit::write(&mut scope, "workspace.network", &id.to_string(), detail).await?;
    let changed = view(&app, &mut scope, id, may_grant).await?;
    scope.commit().await?;
    Ok(Json(changed))
}

/// Allow names in a workspace
///
/// Adds names to what the workspace may connect to. Owners of the tenant and the teacher of its class
/// can allow what the tenant allows; the workspace's own owner only what the template allows.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/network/names",
    tag = "network",
    request_body = AllowNames,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = WorkspaceNetwork, description = "The policies and their effect")),
)]
pub async fn allow_network_names(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<AllowNames>,
) -> Result<Json<WorkspaceNetwork>> {
    let may_grant = may_grant(&app, signed.caller(), id).await?;
    let action = if may_grant { Action::GrantNetwork } else { Action::ChangeWorkspace };
    let allowed = authorize_workspace(&app, signed.caller(), id, action).await?;
    if request.names.is_empty() || request.names.len() > MAX_NAMES {
        return Err(ApiError::invalid("names", &format!("Name 1 to {MAX_NAMES} hosts.")));
    }
    let mut scope = app.db.scope(allowed).await?;
    let WorkspaceNetworkRow { mut policies, .. } = lock(&mut scope, id).await?;
    policies.allow(&request.names, may_grant).map_err(|error| match error {
        AllowError::TooMany => ApiError::invalid("names", &error.to_string()),
        AllowError::Tenant(_) | AllowError::Template(_) | AllowError::Class(_) => {
            ApiError::new(Code::Forbidden, error.to_string())
        }
    })?;
    network::write(&mut scope, id, &policies).await?;
    let detail = serde_json::json!({ "names": request.names, "granted": may_grant });
    audit::write(&mut scope, "workspace.network_allow", &id.to_string(), detail).await?;
    let changed = view(&app, &mut scope, id, may_grant).await?;
    scope.commit().await?;
    Ok(Json(changed))
}

/// Get the network policy of a class
///
/// Where the workspaces of its members may connect at most: what is granted to one of them and what its owner
/// chooses can only narrow it. Also says which policies allow that.
#[utoipa::path(
    get,
    path = "/classes/{id}/network",
    tag = "network",
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, body = ClassNetwork, description = "The policies and their effect")),
)]
pub async fn get_class_network(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Json<ClassNetwork>> {
    let (allowed, _) = authorize_class(&app, signed.caller(), id).await?;
    let mut scope = app.db.scope(allowed).await?;
    view_class(&mut scope, id).await.map(Json)
}

/// Set the network policy of a class
///
/// For its teacher, and owners of the tenant. Holds for the workspaces of all members, also for those that
/// run, to which something else was granted, or that are forked from one of them. It does not widen what
/// the tenant and the template allow. A running workspace follows within a second, and connections that are
/// no longer allowed are closed.
#[utoipa::path(
    put,
    path = "/classes/{id}/network",
    tag = "network",
    request_body = NetworkPolicy,
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, body = ClassNetwork, description = "The policies and their effect")),
)]
pub async fn set_class_network(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
    Input(policy): Input<NetworkPolicy>,
) -> Result<Json<ClassNetwork>> {
    let (allowed, _) = authorize_class(&app, signed.caller(), id).await?;
    check(&policy)?;
    let mut scope = app.db.scope(allowed).await?;
    network::set_class_policy(&mut scope, id, &policy).await?;
    let detail = serde_json::json!({ "policy": policy });
    audit::write(&mut scope, "class.network", &id.to_string(), detail).await?;
    let changed = view_class(&mut scope, id).await?;
    scope.commit().await?;
    Ok(Json(changed))
}

/// Set the network policy of a template
///
/// Holds for all workspaces of the template to which nothing else was granted, also for those that run.
#[utoipa::path(
    put,
    path = "/templates/{name}/network",
    tag = "network",
    request_body = NetworkPolicy,
    params(
        ("name" = String, Path, description = "The template."),
    ),
    responses((status = 200, body = NetworkPolicy, description = "The new policy")),
)]
pub async fn set_template_network(
    State(app): State<App>,
    signed: Signed,
    Params(name): Params<String>,
    Input(policy): Input<NetworkPolicy>,
) -> Result<Json<NetworkPolicy>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageTenant)?).await?;
    check(&policy)?;
    if !network::set_template_policy(&mut scope, &name, &policy).await? {
        return Err(ApiError::not_found("template"));
    }
    audit::write(&mut scope, "template.network", &name, serde_json::json!({ "policy": policy })).await?;
    scope.commit().await?;
    Ok(Json(policy))
}

/// Get the network policy of the tenant
#[utoipa::path(
    get,
    path = "/network",
    tag = "network",
    responses((status = 200, body = NetworkPolicy, description = "The policy of the tenant")),
)]
pub async fn get_tenant_network(State(app): State<App>, signed: Signed) -> Result<Json<NetworkPolicy>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageTenant)?).await?;
    Ok(Json(network::find_tenant_policy(&mut scope).await?))
}

/// Set the network policy of the tenant
///
/// For owners with a confirmed session. Holds for all workspaces, also for those that run: no template,
/// teacher or user can widen it.
#[utoipa::path(
    put,
    path = "/network",
    tag = "network",
    request_body = NetworkPolicy,
    responses((status = 200, body = NetworkPolicy, description = "The new policy")),
    extensions(("x-problem-codes" = json!(["confirmation_required"]))),
)]
pub async fn set_tenant_network(
    State(app): State<App>,
    signed: Signed,
    Input(policy): Input<NetworkPolicy>,
) -> Result<Json<NetworkPolicy>> {
    let allowed = authorize(signed.caller(), Action::ManageTenant)?;
    signed.check_confirmed(app.now())?;
    check(&policy)?;
    let mut scope = app.db.scope(allowed).await?;
    network::set_tenant_policy(&mut scope, &policy).await?;
    audit::write(&mut scope, "tenant.network", "", serde_json::json!({ "policy": policy })).await?;
    scope.commit().await?;
    Ok(Json(policy))
}

fn check(policy: &NetworkPolicy) -> Result<()> {
    policy.validate().map_err(|error| ApiError::invalid("names", &format!("{error}.")))
}

/// Whether a caller who may see the workspace may change what is granted to it.
async fn may_grant(app: &Core, caller: &Caller, id: WorkspaceId) -> Result<bool> {
    let facts = super::access::find_facts(app, caller, id).await?;
    Ok(authorize(caller, Action::GrantNetwork(facts)).is_ok())
}

async fn lock(scope: &mut Scope, id: WorkspaceId) -> Result<WorkspaceNetworkRow> {
    network::lock(scope, id).await?.ok_or_else(workspace_not_found)
}

async fn view_class(scope: &mut Scope, id: ClassId) -> Result<ClassNetwork> {
    let policies = network::find_class_policies(scope, id).await?;
    let policies = policies.ok_or_else(|| ApiError::not_found("class"))?;
    let effective = network_policies::combine(&policies);
    let [tenant, template, policy] = policies;
    Ok(ClassNetwork { tenant, template, policy, effective })
}

async fn view(app: &Core, scope: &mut Scope, id: WorkspaceId, may_grant: bool) -> Result<WorkspaceNetwork> {
    let row = lock(scope, id).await?;
    Ok(WorkspaceNetwork {
        tenant: row.policies.tenant.clone(),
        base: row.policies.base().clone(),
        is_granted: row.policies.grant.is_some(),
        class: row.policies.class.clone(),
        choice: row.policies.choice.clone(),
        effective: row.policies.effective(),
        may_grant,
        refused: row.refused,
        sent_bytes: row.sent_bytes,
        received_bytes: row.received_bytes,
        bounds: app.config.engine.network_bounds.clone(),
    })
}
