//! Repairs of a running home: asks its runner, and waits until what could be saved is committed.
//! Knows no HTTP.

use protocol::{
    WorkspaceId,
    api::scrub::Repair,
    runner::{MAX_REPAIR_OBJECTS, RepairOutcome},
    workspace::Phase,
};

use super::repair_requests::{self, PendingRepair, RepairRequested, RepairStatus};
use crate::{
    audit,
    authz::Allowed,
    core::{Core, ShuttingDown},
};

/// Why a repair was not made.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("there is no such workspace")]
    NoWorkspace,
    /// There is nothing to repair from.
    #[error("the workspace does not run")]
    NotRunning,
    /// Another repair of this home is pending, and together they would be too large.
    #[error("another repair of this home is running")]
    Busy,
    /// The placement ended before its runner answered.
    #[error("the workspace stopped before the repair was finished")]
    Ended,
    /// The runner could not store the objects.
    #[error("the runner cannot store the damaged objects again: {0}")]
    Failed(String),
    /// The database says that the runner answered, and has no answer.
    #[error("the answer of the runner is missing")]
    NoAnswer,
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

type Result<T> = std::result::Result<T, RepairError>;

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
        let status = repair_requests::find_status(&mut scope, id).await?.ok_or(RepairError::NoWorkspace)?;
        drop(scope);
        if let Some(result) = repair_result(pending, status) {
            return result;
        }
        app.wait_for_change(&mut subscription, id).await?;
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
    match requested.ok_or(RepairError::NoWorkspace)? {
        RepairRequested::Pending(pending) => {
            let detail = serde_json::json!({ "objects": objects.len() });
            audit::write(&mut scope, "home.repair", &id.to_string(), detail).await?;
            scope.commit().await?;
            Ok(pending)
        }
        RepairRequested::NotRunning => Err(RepairError::NotRunning),
        RepairRequested::Busy => Err(RepairError::Busy),
    }
}

/// The result of a repair. None while the runner works on it.
fn repair_result(pending: PendingRepair, status: RepairStatus) -> Option<Result<Repair>> {
    if status.epoch == pending.epoch && status.answered >= pending.number {
        return Some(match status.answer {
            Some(RepairOutcome::Done(repair)) => Ok(repair),
            Some(RepairOutcome::Failed(reason)) => Err(RepairError::Failed(reason)),
            None => Err(RepairError::NoAnswer),
        });
    }
    let has_ended = status.epoch != pending.epoch || status.phase != Phase::Running;
    has_ended.then_some(Err(RepairError::Ended))
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
