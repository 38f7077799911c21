//! Repairs of a running home: asks its runner, and waits until what could be saved is committed.

use protocol::{
    Code, WorkspaceId,
    api::scrub::Repair,
    runner::{MAX_REPAIR_OBJECTS, RepairOutcome},
    workspace::Phase,
};

use super::{
    access::{wait_for_change, workspace_not_found},
    error::{ApiError, Result},
};
use crate::{
    audit,
    authz::Allowed,
    core::Core,
    workspaces::repair_requests::{self, PendingRepair, RepairRequested, RepairStatus},
};

/// Has the runner store again what its cache has of these objects, some at a time.
pub async fn repair(app: &Core, allowed: Allowed, id: WorkspaceId, objects: &[String]) -> Result<Repair> {
    let mut total = Repair::default();
    for batch in objects.chunks(MAX_REPAIR_OBJECTS) {
        total.add(repair_batch(app, allowed, id, batch).await?);
    }
    Ok(total)
}

async fn repair_batch(app: &Core, allowed: Allowed, id: WorkspaceId, objects: &[String]) -> Result<Repair> {
    let mut subscription = app.events.subscribe();
    let pending = request_repair(app, allowed, id, objects).await?;
    loop {
        let mut scope = app.db.scope(allowed).await?;
        let status = repair_requests::find_status(&mut scope, id).await?.ok_or_else(workspace_not_found)?;
        drop(scope);
        if let Some(result) = repair_result(pending, status) {
            return result;
        }
        wait_for_change(app, &mut subscription, id).await?;
    }
}

async fn request_repair(
    app: &Core,
    allowed: Allowed,
    id: WorkspaceId,
    objects: &[String],
) -> Result<PendingRepair> {
    let mut scope = app.db.scope(allowed).await?;
    let requested = repair_requests::request(&mut scope, id, objects).await?;
    match requested.ok_or_else(workspace_not_found)? {
        RepairRequested::Pending(pending) => {
            let detail = serde_json::json!({ "objects": objects.len() });
            audit::write(&mut scope, "home.repair", &id.to_string(), detail).await?;
            scope.commit().await?;
            Ok(pending)
        }
        RepairRequested::NotRunning => Err(not_running()),
        RepairRequested::Busy => Err(ApiError::new(
            Code::RateLimited,
            "Another repair of this home is running. Try again when it has finished.",
        )),
    }
}

/// The result of a repair. None while the runner works on it.
fn repair_result(pending: PendingRepair, status: RepairStatus) -> Option<Result<Repair>> {
    if status.epoch == pending.epoch && status.answered >= pending.number {
        return Some(match status.answer {
            Some(RepairOutcome::Done(repair)) => Ok(repair),
            Some(RepairOutcome::Failed(reason)) => {
                tracing::warn!(reason, "a repair failed");
                Err(ApiError::new(
                    Code::Unavailable,
                    "Cannot store the damaged objects again. Try again; the host's log has the reason.",
                ))
            }
            None => Err(ApiError::internal()),
        });
    }
    let has_ended = status.epoch != pending.epoch || status.phase != Phase::Running;
    let ended = "The workspace stopped before the repair was finished. Start it, then repair again.";
    has_ended.then(|| Err(ApiError::new(Code::Conflict, ended)))
}

/// The error for a repair of a workspace that does not run.
pub fn not_running() -> ApiError {
    ApiError::new(
        Code::Conflict,
        "Cannot repair the home: the copies are in the cache of the running workspace. Start the \
         workspace, then repair. If it does not start, restore or fork an earlier snapshot.",
    )
}

#[cfg(test)]
mod tests {
    use protocol::Epoch;

    use super::*;

    #[test]
    fn result_is_of_the_requested_placement() {
        let pending = PendingRepair { epoch: Epoch(2), number: 3 };
        let status = |phase, epoch, answered| RepairStatus {
            phase,
            epoch: Epoch(epoch),
            answered,
            answer: Some(RepairOutcome::Done(Repair::default())),
        };
        assert!(repair_result(pending, status(Phase::Running, 2, 2)).is_none());
        assert!(repair_result(pending, status(Phase::Running, 2, 3)).is_some_and(|result| result.is_ok()));
        assert!(repair_result(pending, status(Phase::Terminated, 2, 4)).is_some_and(|result| result.is_ok()));
        for ended in
            [status(Phase::Running, 3, 3), status(Phase::Stopping, 2, 2), status(Phase::Terminated, 2, 2)]
        {
            assert!(repair_result(pending, ended).is_some_and(|result| result.is_err()));
        }
    }
}
