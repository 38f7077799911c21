//! Maintenance that the owner of a tenant starts: gc, and the destruction of the tenant's key.

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
    snapshots::gc::GcError,
    tenants::destroy,
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
    audit::write(&mut scope, "store.gc.request", "", serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(Json(app.gc.collect(app.now(), Some(caller.tenant)).await?))
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
    // In a task of its own, so that it is finished even if the client disconnects.
    let (tenant, core) = (caller.tenant, app.clone());
    let (done, outcome) = oneshot::channel();
    app.tasks.spawn("destroy a tenant's key", async move {
        let _ = done.send(destroy::destroy_tenant_key(&core, tenant).await);
    });
    outcome.await.map_err(|_| ApiError::internal())??;
    Ok(StatusCode::NO_CONTENT)
}

impl From<GcError> for ApiError {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Busy => {
                Self::new(Code::Conflict, "Another gc is running. Try again when it has finished.")
            }
            GcError::Database(error) => error.into(),
            GcError::Kms(error) => error.into(),
            GcError::Cancelled | GcError::Store(_) | GcError::Volume(_) => {
                tracing::error!(%error, "gc failed");
                Self::new(
                    Code::Unavailable,
                    "Cannot finish the gc: the object store failed. Nothing that is needed was \
                     deleted. Try again later.",
                )
                .retry_after(60)
            }
        }
    }
}
