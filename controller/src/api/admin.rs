//! What the owner of a tenant may set going.

use axum::{Json, extract::State, http::StatusCode};
use protocol::{
    Code,
    api::admin::{DestroyTenantKey, GcReport},
};

use tokio::sync::oneshot;

use super::{
    error::{ApiError, Result},
    extract::{Input, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    core::App,
    snapshots::gc::{self, CollectError},
    tenants,
};

/// Run garbage collection
///
/// For owners. Finds objects of the tenant that no kept snapshot needs, and deletes those that have
/// been garbage for the grace period.
#[utoipa::path(
    post,
    path = "/admin/gc",
    tag = "admin",
    responses((status = 200, body = GcReport, description = "The report")),
    extensions(("x-problem-codes" = json!(["conflict", "unavailable"]))),
)]
pub async fn run_gc(State(app): State<App>, signed: Signed) -> Result<Json<GcReport>> {
    let caller = signed.caller();
    let mut scope = app.db.scope(authorize(caller, Action::ManageTenant)?).await?;
    audit::write(&mut scope, "store.collect.ask", "", serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(Json(gc::collect(&app, Some(caller.tenant)).await?))
}

/// Destroy the tenant's key
///
/// For owners. Every home and snapshot of the tenant is unreadable from then on, wherever copies of
/// it are. This cannot be undone.
#[utoipa::path(
    post,
    path = "/admin/destroy-tenant-key",
    tag = "admin",
    request_body = DestroyTenantKey,
    responses((status = 204, description = "The key is destroyed")),
)]
pub async fn destroy_tenant_key(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<DestroyTenantKey>,
) -> Result<StatusCode> {
    let caller = signed.caller();
    authorize(caller, Action::ManageTenant)?;
    if request.tenant != caller.tenant {
        return Err(ApiError::invalid("tenant", "This is not your organisation."));
    }
    // To the end, also where whoever asked goes away: half of it done is not undone.
    let (tenant, core) = (caller.tenant, app.clone());
    let (done, outcome) = oneshot::channel();
    app.tasks.spawn("forget a tenant", async move {
        let _ = done.send(tenants::forget(&core, tenant).await);
    });
    outcome.await.map_err(|_| ApiError::internal())??;
    Ok(StatusCode::NO_CONTENT)
}

impl From<CollectError> for ApiError {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Busy => {
                Self::new(Code::Conflict, "A collection is under way. Try again when it is done.")
            }
            CollectError::Database(error) => error.into(),
            CollectError::Tenant(error) => error.into(),
            CollectError::Cancelled | CollectError::Store(_) | CollectError::Marking(_) => {
                tracing::error!(%error, "a collection");
                Self::new(
                    Code::Unavailable,
                    "The store does not answer as it should; nothing that is needed was touched.",
                )
                .retry_after(60)
            }
        }
    }
}
