//! Snapshot requests in the database: a running workspace is asked for a snapshot, and its runner's
//! answer is awaited. [`crate::lifecycle::requests`] has the rules for the numbers.

use protocol::{Epoch, ManifestId, SnapshotId, WorkspaceId, workspace::Phase};
use time::OffsetDateTime;

use crate::{
    db::{Scope, text::Text},
    lifecycle::record::manifest,
};

/// A request that the runner of one placement has to answer.
#[derive(Clone, Copy)]
pub struct PendingSnapshot {
    pub epoch: Epoch,
    number: i64,
}

/// What a client that waits for a snapshot compares.
pub struct SnapshotStatus {
    pub phase: Phase,
    pub epoch: Epoch,
    answered: i64,
    answer: Option<SnapshotId>,
    /// Manifest of the head.
    pub head: Option<ManifestId>,
    /// The snapshot that is the head.
    pub snapshot: Option<SnapshotId>,
    pub safe_at: Option<OffsetDateTime>,
}

impl PendingSnapshot {
    /// The snapshot that answers the request, if there is one by now.
    pub fn answer(self, status: &SnapshotStatus) -> Option<SnapshotId> {
        status.answer.filter(|_| status.epoch == self.epoch && status.answered >= self.number)
    }
}

/// Reads the status of a workspace's snapshots. None if there is no such workspace.
pub async fn find_status(
    scope: &mut Scope,
    workspace: WorkspaceId,
) -> Result<Option<SnapshotStatus>, sqlx::Error> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        r#"select w.phase as "phase: Text<Phase>", w.epoch, w.snapshot_answered, w.snapshot_answer,
              v.head, v.safe_at,
                  s.snapshot_id as "snapshot?"
           from workspaces w
           join volumes v using (tenant_id, volume_id)
           left join snapshots s on s.tenant_id = v.tenant_id and s.volume_id = v.volume_id
               and s.manifest = v.head
           where w.tenant_id = $1 and w.workspace_id = $2 and w.deleted_at is null"#,
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| SnapshotStatus {
        phase: row.phase.0,
        epoch: Epoch(row.epoch.unsigned_abs()),
        answered: row.snapshot_answered,
        answer: row.snapshot_answer.map(SnapshotId),
        head: row.head.and_then(|bytes| manifest(&bytes)),
        snapshot: row.snapshot.map(SnapshotId),
        safe_at: row.safe_at,
    }))
}

/// Requests a snapshot: raises the number that the runner compares with what it has answered.
pub async fn request(scope: &mut Scope, workspace: WorkspaceId) -> Result<PendingSnapshot, sqlx::Error> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        "update workspaces set snapshot_requested = snapshot_requested + 1
         where tenant_id = $1 and workspace_id = $2 returning epoch, snapshot_requested",
        tenant,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(PendingSnapshot { epoch: Epoch(row.epoch.unsigned_abs()), number: row.snapshot_requested })
}
