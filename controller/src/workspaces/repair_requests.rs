//! Repair requests in the database: what a running workspace is asked to store again, and what its
//! runner answered. Decides nothing about damage; [`crate::lifecycle::requests`] has the rules for
//! the numbers.

use protocol::{Epoch, TenantId, WorkspaceId, runner::RepairOutcome, workspace::Phase};
use sqlx::{PgConnection, types::Json};

use crate::{
    db::{Scope, text::Text},
    lifecycle::record,
};

/// A request that the runner of one placement has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRepair {
    pub epoch: Epoch,
    pub number: u64,
}

/// The result of requesting a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairRequested {
    Pending(PendingRepair),
    /// The workspace does not run, so there is nothing to repair from.
    NotRunning,
    /// Other requests are pending, and together they would be too large.
    Busy,
}

/// What a client that waits for a repair compares.
#[derive(Clone, Debug)]
pub struct RepairStatus {
    pub phase: Phase,
    pub epoch: Epoch,
    /// The latest request that has been answered.
    pub answered: u64,
    pub answer: Option<RepairOutcome>,
}

/// Requests a repair of these objects. None if there is no such workspace.
pub async fn request(
    scope: &mut Scope,
    workspace: WorkspaceId,
    objects: &[String],
) -> Result<Option<RepairRequested>, sqlx::Error> {
    let tenant = scope.tenant();
    let Some(locked) = record::lock(scope.connection(), workspace).await? else { return Ok(None) };
    if locked.life.phase() != Phase::Running {
        return Ok(Some(RepairRequested::NotRunning));
    }
    let Some(objects) = locked.repair_requests.merge(objects) else { return Ok(Some(RepairRequested::Busy)) };
    let number = sqlx::query_scalar!(
        "update workspaces set repair_requested = repair_requested + 1, repair_objects = $3
         where tenant_id = $1 and workspace_id = $2 returning repair_requested",
        tenant,
        workspace.0,
        &objects,
    )
    .fetch_one(scope.connection())
    .await?;
    let pending = PendingRepair { epoch: locked.life.epoch, number: number.unsigned_abs() };
    Ok(Some(RepairRequested::Pending(pending)))
}

/// Writes the answer of a runner to a request.
pub async fn write_answer(
    connection: &mut PgConnection,
    (tenant, workspace): (TenantId, WorkspaceId),
    number: u64,
    outcome: &RepairOutcome,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update workspaces set repair_answered = $3, repair_answer = $4 where tenant_id = $1
            and workspace_id = $2",
        tenant.0,
        workspace.0,
        number as i64,
        Json(outcome) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads the status of a workspace's repairs. None if there is no such workspace.
pub async fn find_status(
    scope: &mut Scope,
    workspace: WorkspaceId,
) -> Result<Option<RepairStatus>, sqlx::Error> {
    struct Row {
        phase: Text<Phase>,
        epoch: i64,
        repair_answered: i64,
        repair_answer: Option<Json<RepairOutcome>>,
    }
    let tenant = scope.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select phase as "phase: Text<Phase>", epoch, repair_answered,
                  repair_answer as "repair_answer: Json<RepairOutcome>"
           from workspaces where tenant_id = $1 and workspace_id = $2 and deleted_at is null"#,
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| RepairStatus {
        phase: row.phase.0,
        epoch: Epoch(row.epoch.unsigned_abs()),
        answered: row.repair_answered.unsigned_abs(),
        answer: row.repair_answer.map(|answer| answer.0),
    }))
}
