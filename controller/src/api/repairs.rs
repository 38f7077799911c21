//! Repairs of a running home: its runner is asked, and the answer waits until what could be saved
//! is committed.

use protocol::{
    Code, WorkspaceId,
    api::scrub::Repair,
    runner::{MAX_REPAIR_OBJECTS, RepairOutcome},
    workspace::Phase,
};

use super::{
    error::{ApiError, Result},
    workspaces::news,
};
use crate::{
    audit,
    authz::Allowed,
    core::Core,
    workspaces::repair_requests::{self, Ask, Asked, Seen},
};

/// Has the machine store anew what its cache has of these objects, some at a time.
pub async fn repair(app: &Core, allowed: Allowed, id: WorkspaceId, objects: &[String]) -> Result<Repair> {
    let mut sum = Repair::default();
    for some in objects.chunks(MAX_REPAIR_OBJECTS) {
        sum.add(one(app, allowed, id, some).await?);
    }
    Ok(sum)
}

async fn one(app: &Core, allowed: Allowed, id: WorkspaceId, objects: &[String]) -> Result<Repair> {
    let mut ear = app.hub.listen();
    let asked = ask(app, allowed, id, objects).await?;
    loop {
        let mut scope = app.db.scope(allowed).await?;
        let seen =
            repair_requests::look(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
        drop(scope);
        if let Some(answer) = answer(asked, seen) {
            return answer;
        }
        news(app, &mut ear, id).await?;
    }
}

async fn ask(app: &Core, allowed: Allowed, id: WorkspaceId, objects: &[String]) -> Result<Asked> {
    let mut scope = app.db.scope(allowed).await?;
    let asked = repair_requests::ask(&mut scope, id, objects).await?;
    match asked.ok_or_else(|| ApiError::not_found("workspace"))? {
        Ask::Asked(asked) => {
            let detail = serde_json::json!({ "objects": objects.len() });
            audit::write(&mut scope, "home.repair", &id.to_string(), detail).await?;
            scope.commit().await?;
            Ok(asked)
        }
        Ask::AtRest => Err(at_rest()),
        Ask::Busy => Err(ApiError::new(
            Code::RateLimited,
            "Another repair of this home is under way. Try again when it is done.",
        )),
    }
}

/// Nothing, as long as the machine is at it.
fn answer(asked: Asked, seen: Seen) -> Option<Result<Repair>> {
    if seen.epoch == asked.epoch && seen.answered >= asked.number {
        return Some(match seen.answer {
            Some(RepairOutcome::Done(repair)) => Ok(repair),
            Some(RepairOutcome::Failed(why)) => {
                tracing::warn!(why, "a repair failed");
                Err(ApiError::new(
                    Code::Unavailable,
                    "The machine could not store its blocks anew. Try again; the host's log says why.",
                ))
            }
            None => Err(ApiError::internal()),
        });
    }
    let is_gone = seen.epoch != asked.epoch || seen.phase != Phase::Running;
    let gone = "The machine ended before the repair was done. Start the workspace, then repair again.";
    is_gone.then(|| Err(ApiError::new(Code::Conflict, gone)))
}

pub fn at_rest() -> ApiError {
    ApiError::new(
        Code::Conflict,
        "A repair takes what is damaged from the running machine's cache. Start the workspace, then repair; if it does not start, \
         restore or fork an earlier snapshot.",
    )
}

#[cfg(test)]
mod tests {
    use protocol::Epoch;

    use super::*;

    #[test]
    fn an_answer_is_of_the_machine_that_was_asked() {
        let asked = Asked { epoch: Epoch(2), number: 3 };
        let seen = |phase, epoch, answered| Seen {
            phase,
            epoch: Epoch(epoch),
            answered,
            answer: Some(RepairOutcome::Done(Repair::default())),
        };
        assert!(answer(asked, seen(Phase::Running, 2, 2)).is_none());
        assert!(answer(asked, seen(Phase::Running, 2, 3)).is_some_and(|answer| answer.is_ok()));
        assert!(answer(asked, seen(Phase::Terminated, 2, 4)).is_some_and(|answer| answer.is_ok()));
        for gone in [seen(Phase::Running, 3, 3), seen(Phase::Stopping, 2, 2), seen(Phase::Terminated, 2, 2)] {
            assert!(answer(asked, gone).is_some_and(|answer| answer.is_err()));
        }
    }
}
