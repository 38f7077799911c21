//! What the owner of a tenant sees and starts: the use of the disk, gc, and the destruction of the tenant's
//! key.

use axum::{Json, extract::State};
use protocol::{
    Code,
    api::{
        admin::{DestroyTenantKey, GcReport, TenantKeyState},
        disk::DiskReport,
    },
};

use super::{
    error::{ApiError, Result},
    extract::{Input, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    core::App,
    snapshots::gc::GcError,
    tenants::{self, destroy},
};

/// Get the use of the disk
///
/// For owners. The disk of the host that answers: what Burrow takes of it by kind, what users of the tenant
/// take, and how much more running homes may have that is not uploaded yet. Measured every minute or so.
#[utoipa::path(
    get,
    path = "/admin/disk",
    tag = "admin",
    responses((status = 200, body = DiskReport, description = "The use of the disk")),
    extensions(("x-problem-codes" = json!(["unavailable"]))),
)]
pub async fn get_disk_usage(State(app): State<App>, signed: Signed) -> Result<Json<DiskReport>> {
    let allowed = authorize(signed.caller(), Action::ManageTenant)?;
    let report = app.disk.report(&app.config, allowed.caller().tenant);
    report.map(Json).ok_or_else(|| {
        ApiError::new(Code::Unavailable, "The disk has not been measured yet. Try again in a moment.")
            .retry_after(5)
    })
}

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

/// Get the state of the tenant's key
#[utoipa::path(
    get,
    path = "/admin/tenant-key",
    tag = "admin",
    responses((status = 200, body = TenantKeyState, description = "Whether the key exists, and how long")),
)]
pub async fn get_tenant_key(State(app): State<App>, signed: Signed) -> Result<Json<TenantKeyState>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    Ok(Json(tenants::find_key(&mut scope).await?))
}

/// Destroy the tenant's key in a week
///
/// For owners with a confirmed session. Every home and snapshot of the tenant is unreadable from then on,
/// wherever copies of it are. Until then workspaces continue, every user sees the date, and
/// `POST /admin/destroy-tenant-key/undo` undoes the request.
#[utoipa::path(
    post,
    path = "/admin/destroy-tenant-key",
    tag = "admin",
    request_body = DestroyTenantKey,
    responses((status = 200, body = TenantKeyState, description = "When the key is going to be destroyed")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "conflict"]))),
)]
pub async fn destroy_tenant_key(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<DestroyTenantKey>,
) -> Result<Json<TenantKeyState>> {
    let caller = signed.caller();
    let allowed = authorize(caller, Action::ManageTenant)?;
    signed.check_confirmed(app.now())?;
    if request.tenant != caller.tenant {
        return Err(ApiError::invalid("tenant", "This is not your organisation."));
    }
    let mut scope = app.db.scope(allowed).await?;
    destroy::schedule(&mut scope, app.now()).await?.ok_or_else(key_is_destroyed)?;
    let key = tenants::find_key(&mut scope).await?;
    scope.commit().await?;
    Ok(Json(key))
}

/// Undo the destruction of the tenant's key
///
/// For owners. Possible until the key is destroyed.
#[utoipa::path(
    post,
    path = "/admin/destroy-tenant-key/undo",
    tag = "admin",
    responses((status = 200, body = TenantKeyState, description = "The key is kept")),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn keep_tenant_key(State(app): State<App>, signed: Signed) -> Result<Json<TenantKeyState>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageTenant)?).await?;
    if !destroy::cancel(&mut scope).await? {
        return Err(key_is_destroyed());
    }
    let key = tenants::find_key(&mut scope).await?;
    scope.commit().await?;
    Ok(Json(key))
}

fn key_is_destroyed() -> ApiError {
    ApiError::new(Code::Conflict, tenants::KEY_DESTROYED)
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
