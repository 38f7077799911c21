//! What the owner of a tenant may set going.

use axum::{Json, extract::State};
use protocol::{Code, api::admin::Collected};

use super::{
    error::{ApiError, Result},
    extract::Signed,
};
use crate::{
    audit,
    authz::{Action, authorize},
    collector::{self, CollectError},
    core::App,
};

/// Searches the tenant's objects in the store for what no snapshot needs; what has been so for the grace period is deleted.
#[utoipa::path(post, path = "/admin/collect", tag = "admin",
    responses((status = 200, body = Collected), (status = 403, body = protocol::Problem), (status = 409, body = protocol::Problem)))]
pub async fn collect(State(app): State<App>, signed: Signed) -> Result<Json<Collected>> {
    let caller = signed.caller();
    let mut scope = app.db.scope(authorize(caller, Action::ManageTenant)?).await?;
    audit::write(&mut scope, "store.collect.ask", "", serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(Json(collector::collect(&app, Some(caller.tenant)).await?))
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
