//! Network policies in the database, and what runners report about networks. Which policy may say
//! what is decided in [`super::network_policies`].
//!
//! Each change of a policy grows `network_revision` of the workspaces that it applies to. That wakes
//! their runners, which enforce the policy of the newest revision.

use protocol::{
    ClassId, TenantId, WorkspaceId,
    network::{MAX_REFUSED, NetworkPolicy, RefusedName},
    runner::NetworkSpec,
    workspace::cut,
};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};

use super::network_policies::WorkspacePolicies;
use crate::db::Scope;

/// Length of a refused name, in bytes: the longest that DNS has.
const MAX_NAME_BYTES: usize = 255;

/// The policies of a workspace, and what its present or last runner has reported.
pub struct WorkspaceNetworkRow {
    pub policies: WorkspacePolicies,
    pub refused: Vec<RefusedName>,
    pub sent_bytes: Option<u64>,
    pub received_bytes: Option<u64>,
}

/// The policy that the runner of a workspace should enforce. Without a workspace, it allows nothing.
pub async fn find_spec(
    connection: &mut PgConnection,
    (tenant, workspace): (TenantId, WorkspaceId),
) -> Result<NetworkSpec, sqlx::Error> {
    let row = sqlx::query!(
        r#"select w.network_revision, w.network_grant, w.network_choice,
                  n.network_policy as tenant_policy, t.network_policy as "template_policy?",
                  c.network_policy as "class_policy?"
           from workspaces w join tenants n on n.tenant_id = w.tenant_id
           left join templates t on t.tenant_id = w.tenant_id and t.name = w.template
           left join classes c on c.tenant_id = w.tenant_id
               and c.class_id = coalesce(w.class_id, w.network_class_id) and c.deleted_at is null
           where w.tenant_id = $1 and w.workspace_id = $2"#,
        tenant.0,
        workspace.0,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(NetworkSpec::default()) };
    let own = [row.network_grant, row.class_policy, row.network_choice];
    let policies = read_policies(row.tenant_policy, row.template_policy, own);
    let revision = row.network_revision.unsigned_abs();
    Ok(NetworkSpec { revision, policy: policies.effective(), seal: None })
}

/// Reads the policies of a workspace and locks it. None if there is none.
pub async fn lock(
    scope: &mut Scope,
    workspace: WorkspaceId,
) -> Result<Option<WorkspaceNetworkRow>, sqlx::Error> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        r#"select w.network_grant, w.network_choice, w.network_refused, w.network_sent_bytes,
                  w.network_received_bytes,
                  n.network_policy as tenant_policy, t.network_policy as "template_policy?",
                  c.network_policy as "class_policy?"
           from workspaces w join tenants n on n.tenant_id = w.tenant_id
           left join templates t on t.tenant_id = w.tenant_id and t.name = w.template
           left join classes c on c.tenant_id = w.tenant_id
               and c.class_id = coalesce(w.class_id, w.network_class_id) and c.deleted_at is null
           where w.tenant_id = $1 and w.workspace_id = $2 and w.deleted_at is null for update of w"#,
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| WorkspaceNetworkRow {
        policies: read_policies(
            row.tenant_policy,
            row.template_policy,
            [row.network_grant, row.class_policy, row.network_choice],
        ),
        refused: serde_json::from_value(row.network_refused).unwrap_or_default(),
        sent_bytes: row.network_sent_bytes.map(i64::unsigned_abs),
        received_bytes: row.network_received_bytes.map(i64::unsigned_abs),
    }))
}

/// What cannot be read allows nothing.
fn read_policies(
    tenant: Value,
    template: Option<Value>,
    grant_class_and_choice: [Option<Value>; 3],
) -> WorkspacePolicies {
    let [grant, class, choice] = grant_class_and_choice.map(|policy| policy.map(NetworkPolicy::from_stored));
    WorkspacePolicies {
        tenant: NetworkPolicy::from_stored(tenant),
        template: NetworkPolicy::from_stored(template.unwrap_or_default()),
        grant,
        class,
        choice,
    }
}

/// Writes what was granted to a workspace and what its owner chose.
pub async fn write(
    scope: &mut Scope,
    workspace: WorkspaceId,
    policies: &WorkspacePolicies,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces set network_grant = $3, network_choice = $4,
             network_revision = network_revision + 1
         where tenant_id = $1 and workspace_id = $2",
        tenant,
        workspace.0,
        policies.grant.as_ref().map(Json) as _,
        policies.choice.as_ref().map(Json) as _,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Sets the policy of a template. False if there is none.
pub async fn set_template_policy(
    scope: &mut Scope,
    template: &str,
    policy: &NetworkPolicy,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let changed = sqlx::query!(
        "update templates set network_policy = $3 where tenant_id = $1 and name = $2",
        tenant,
        template,
        Json(policy) as _,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update workspaces set network_revision = network_revision + 1
         where tenant_id = $1 and template = $2 and deleted_at is null",
        tenant,
        template,
    )
    .execute(scope.connection())
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// The policies that apply to the workspaces of a class: the tenant's, the template's and its own. None if
/// there is no such class.
pub async fn find_class_policies(
    scope: &mut Scope,
    class: ClassId,
) -> Result<Option<[NetworkPolicy; 3]>, sqlx::Error> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        r#"select n.network_policy as tenant_policy, t.network_policy as template_policy,
                  c.network_policy as class_policy
           from classes c join tenants n on n.tenant_id = c.tenant_id
           join templates t on t.tenant_id = c.tenant_id and t.name = c.template
           where c.tenant_id = $1 and c.class_id = $2 and c.deleted_at is null"#,
        tenant,
        class.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| {
        [row.tenant_policy, row.template_policy, row.class_policy].map(NetworkPolicy::from_stored)
    }))
}

/// Sets the policy of a class.
pub async fn set_class_policy(
    scope: &mut Scope,
    class: ClassId,
    policy: &NetworkPolicy,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update classes set network_policy = $3 where tenant_id = $1 and class_id = $2",
        tenant,
        class.0,
        Json(policy) as _,
    )
    .execute(scope.connection())
    .await?;
    apply_class_policy(scope, class).await
}

/// Makes the running workspaces of a class, and their forks, follow its policy.
pub async fn apply_class_policy(scope: &mut Scope, class: ClassId) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces set network_revision = network_revision + 1
         where tenant_id = $1 and coalesce(class_id, network_class_id) = $2 and deleted_at is null",
        tenant,
        class.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// The policy of the caller's tenant.
pub async fn find_tenant_policy(scope: &mut Scope) -> Result<NetworkPolicy, sqlx::Error> {
    let tenant = scope.tenant();
    let stored = sqlx::query_scalar!("select network_policy from tenants where tenant_id = $1", tenant)
        .fetch_one(scope.connection())
        .await?;
    Ok(NetworkPolicy::from_stored(stored))
}

/// Sets the policy of the caller's tenant.
pub async fn set_tenant_policy(scope: &mut Scope, policy: &NetworkPolicy) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("update tenants set network_policy = $2 where tenant_id = $1", tenant, Json(policy) as _)
        .execute(scope.connection())
        .await?;
    sqlx::query!(
        "update workspaces set network_revision = network_revision + 1
         where tenant_id = $1 and deleted_at is null",
        tenant,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Records what a runner reports about its sandbox's network. The names come from the guest.
pub async fn record_usage(
    connection: &mut PgConnection,
    (tenant, workspace): (TenantId, WorkspaceId),
    refused: Vec<RefusedName>,
    [sent, received]: [i64; 2],
) -> Result<(), sqlx::Error> {
    let bounded = |refused: RefusedName| {
        let printable = refused.name.chars().filter(char::is_ascii_graphic).collect();
        RefusedName { name: cut(printable, MAX_NAME_BYTES), ..refused }
    };
    let refused: Vec<_> = refused.into_iter().take(MAX_REFUSED).map(bounded).collect();
    sqlx::query!(
        "update workspaces set network_refused = $3, network_sent_bytes = $4, network_received_bytes = $5
         where tenant_id = $1 and workspace_id = $2",
        tenant.0,
        workspace.0,
        Json(refused) as _,
        sent,
        received,
    )
    .execute(connection)
    .await?;
    Ok(())
}
