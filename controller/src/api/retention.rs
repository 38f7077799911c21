//! The retention policy of the tenant.

use axum::{Json, extract::State};
use protocol::api::snapshot::Retention;

use super::{
    error::{ApiError, Result},
    extract::{Input, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    core::App,
    snapshots::{prune, retention::is_valid},
};

/// Get the retention policy
#[utoipa::path(
    get,
    path = "/retention",
    tag = "snapshots",
    responses((status = 200, body = Retention, description = "The policy of the tenant")),
)]
pub async fn get_retention_policy(State(app): State<App>, signed: Signed) -> Result<Json<Retention>> {
    let caller = signed.caller();
    let mut scope = app.db.scope(authorize(caller, Action::ManageTenant)?).await?;
    Ok(Json(prune::find_policy(scope.connection(), caller.tenant).await?))
}

/// Set the retention policy
///
/// For owners with a confirmed session. Snapshots that the new policy does not keep are pruned within hours.
#[utoipa::path(
    put,
    path = "/retention",
    tag = "snapshots",
    request_body = Retention,
    responses((status = 200, body = Retention, description = "The new policy")),
    extensions(("x-problem-codes" = json!(["confirmation_required"]))),
)]
pub async fn set_retention_policy(
    State(app): State<App>,
    signed: Signed,
    Input(policy): Input<Retention>,
) -> Result<Json<Retention>> {
    let allowed = authorize(signed.caller(), Action::ManageTenant)?;
    signed.check_confirmed(app.now())?;
    let mut scope = app.db.scope(allowed).await?;
    if !is_valid(&policy) {
        return Err(ApiError::invalid(
            "all_hours",
            "Keep everything for an hour or more, no interval shorter than the one before, \
                and nothing longer than ten years.",
        ));
    }
    prune::set_policy(&mut scope, &policy).await?;
    let detail = serde_json::to_value(policy).expect("plain data");
    audit::write(&mut scope, "retention.set", "", detail).await?;
    scope.commit().await?;
    Ok(Json(policy))
}
