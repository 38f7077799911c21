//! Snapshots that a user asks for: requests one of the running workspace, and waits until it is
//! committed. Knows no HTTP.

use std::time::Duration;

use protocol::{SnapshotId, WorkspaceId, workspace::Phase};
use tokio::time::{Instant, timeout_at};

use super::{
    limits::LimitError,
    snapshot_requests::{self, PendingSnapshot, SnapshotStatus},
};
use crate::{
    authz::Allowed,
    budgets,
    core::{Core, ShuttingDown},
};

/// How long a running workspace may take for a requested snapshot. The guest freezes within 2 s, and
/// only what the last few seconds wrote is uploaded.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum TakeSnapshotError {
    #[error("there is no such workspace")]
    NoWorkspace,
    /// The snapshot was not committed within [`SNAPSHOT_TIMEOUT`]. It may be committed later.
    #[error("the snapshot is not finished in time")]
    Timeout,
    /// The workspace ended before it was asked. Its head is older than the request.
    #[error("the workspace ended before")]
    Ended,
    /// The workspace does not run, and its home has no snapshot.
    #[error("the home has never been saved")]
    NeverSaved,
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

type Result<T> = std::result::Result<T, TakeSnapshotError>;

/// A snapshot that is not older than this call: a new one of a running workspace, otherwise the
/// head.
pub async fn take_snapshot(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<SnapshotId> {
    let started_at = app.now();
    let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
    let mut subscription = app.events.subscribe();
    let mut scope = app.db.scope(allowed).await?;
    let max_bytes = app.config.history.max_history_bytes;
    budgets::check_history(&mut scope, &app.config.limits, max_bytes, id).await?;
    drop(scope);
    let mut pending: Option<PendingSnapshot> = None;
    let first = read_status(app, allowed, id).await?.head;
    let mut has_waited = false;
    loop {
        let status = read_status(app, allowed, id).await?;
        if let Some(answer) = pending.and_then(|pending| pending.answer(&status)) {
            return Ok(answer);
        }
        match status.phase {
            Phase::Terminated | Phase::Queued => {
                let is_new =
                    status.head != first || status.safe_at.is_some_and(|safe_at| safe_at >= started_at);
                return head_at_rest(&status, !has_waited || is_new);
            }
            Phase::Running if pending.is_none_or(|pending| pending.epoch != status.epoch) => {
                let mut scope = app.db.scope(allowed).await?;
                pending = Some(snapshot_requests::request(&mut scope, id).await?);
                scope.commit().await?;
                // The runner may end before the next read.
                has_waited = true;
                continue;
            }
            // A workspace that starts is asked once it runs. One that stops will have a snapshot.
            _ => has_waited = true,
        }
        let changed = timeout_at(deadline, app.wait_for_change(&mut subscription, id)).await;
        changed.map_err(|_elapsed| TakeSnapshotError::Timeout)??;
    }
}

fn head_at_rest(status: &SnapshotStatus, is_current: bool) -> Result<SnapshotId> {
    match status.snapshot {
        Some(snapshot) if is_current => Ok(snapshot),
        Some(_) => Err(TakeSnapshotError::Ended),
        None => Err(TakeSnapshotError::NeverSaved),
    }
}

async fn read_status(app: &Core, allowed: Allowed, id: WorkspaceId) -> Result<SnapshotStatus> {
    let mut scope = app.db.scope(allowed).await?;
    snapshot_requests::find_status(&mut scope, id).await?.ok_or(TakeSnapshotError::NoWorkspace)
}
