//! Scrubs of homes, on request of their users.

use axum::{Json, extract::State};
use protocol::{
    Code, WorkspaceId,
    api::scrub::{ScrubReport, ScrubRequest},
};

use super::{
    access::{authorize_workspace, snapshot_not_found, workspace_not_found},
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    authz::Action,
    core::App,
    workspaces::{
        repairs::RepairError,
        scrub::{self, ScrubError},
    },
};

/// Verify a home
///
/// Reads every object that the home's snapshots refer to and reports damage. With `repair`, damaged
/// objects of the newest snapshot are stored again from the running workspace's cache.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/scrub",
    tag = "snapshots",
    request_body = ScrubRequest,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = ScrubReport, description = "The report")),
    extensions(("x-problem-codes" = json!(["conflict", "rate_limited", "timeout"]))),
)]
pub async fn scrub_home(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<ScrubRequest>,
) -> Result<Json<ScrubReport>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    Ok(Json(scrub::scrub_home(&app, allowed, id, request).await?))
}

impl From<ScrubError> for ApiError {
    fn from(error: ScrubError) -> Self {
        match error {
            ScrubError::NoSnapshot => snapshot_not_found(),
            ScrubError::Busy => {
                Self::new(Code::RateLimited, "Other homes of yours are being scrubbed. Try again later.")
            }
            ScrubError::Timeout => Self::new(
                Code::Timeout,
                "Cannot scrub the home within an hour. Scrub its newest snapshot only.",
            ),
            ScrubError::Store { .. } => {
                tracing::error!(%error, "cannot scrub a home");
                Self::new(Code::Unavailable, "Cannot scrub the home: the object store failed. Try again.")
            }
            ScrubError::Repair(error) => error.into(),
            ScrubError::Key(error) => error.into(),
            ScrubError::Database(error) => error.into(),
        }
    }
}

impl From<RepairError> for ApiError {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::NoWorkspace => workspace_not_found(),
            RepairError::NotRunning => Self::new(
                Code::Conflict,
                "Cannot repair the home: the copies are in the cache of the running workspace. Start the \
                 workspace, then repair. If it does not start, restore or fork an earlier snapshot.",
            ),
            RepairError::Busy => Self::new(
                Code::RateLimited,
                "Another repair of this home is running. Try again when it has finished.",
            ),
            RepairError::Ended => Self::new(
                Code::Conflict,
                "The workspace stopped before the repair was finished. Start it, then repair again.",
            ),
            RepairError::Failed(_) => {
                tracing::warn!(%error, "a repair failed");
                Self::new(
                    Code::Unavailable,
                    "Cannot store the damaged objects again. Try again; the host's log has the reason.",
                )
            }
            RepairError::NoAnswer => Self::internal(),
            RepairError::ShuttingDown(error) => error.into(),
            RepairError::Database(error) => error.into(),
        }
    }
}
