//! Repairs in the database: what a running machine is asked to store anew, and what it said of it. Decides nothing about damage.

use protocol::{
    Epoch, WorkspaceId,
    runner::{MAX_REPAIR_OBJECTS, RepairOutcome, RepairRequest},
    workspace::Phase,
};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::db::Scope;
use crate::lifecycle::record::{self, Locked};

/// A repair that a placement was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub epoch: Epoch,
    pub number: u64,
}

/// What became of the wish for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Asked(Asked),
    /// No machine runs that could do it.
    AtRest,
    /// Others are under way, and together they would be too much.
    Busy,
}

/// What a wait for a repair looks at.
#[derive(Clone, Debug)]
pub struct Seen {
    pub phase: Phase,
    pub epoch: Epoch,
    pub answered: u64,
    pub answer: Option<RepairOutcome>,
}

/// Raises the number that the runner compares with what it has done.
pub async fn ask(
    scope: &mut Scope,
    workspace: WorkspaceId,
    objects: &[String],
) -> Result<Option<Ask>, sqlx::Error> {
    let tenant = scope.tenant();
    let Some(locked) = record::lock(scope.connection(), workspace).await? else { return Ok(None) };
    if locked.life.phase != Phase::Running {
        return Ok(Some(Ask::AtRest));
    }
    let Some(wanted) = together(&locked.repair, objects) else { return Ok(Some(Ask::Busy)) };
    let number = sqlx::query_scalar!(
        "update workspaces set repair_requested = repair_requested + 1, repair_objects = $3
         where tenant_id = $1 and workspace_id = $2 returning repair_requested",
        tenant,
        workspace.0,
        &wanted,
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(Some(Ask::Asked(Asked { epoch: locked.life.epoch, number: number.unsigned_abs() })))
}

/// A later wish answers the earlier too, so it names what that one named. None: that is more than one repair takes.
fn together(pending: &Repairs, objects: &[String]) -> Option<Vec<String>> {
    let mut all = pending.wish().map_or_else(Vec::new, |wish| wish.objects);
    for object in objects {
        if !all.contains(object) {
            all.push(object.clone());
        }
    }
    (all.len() <= MAX_REPAIR_OBJECTS).then_some(all)
}

/// Requests for a repair, as numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    pub wanted: u64,
    pub answered: u64,
    pub objects: Vec<String>,
}

impl Repairs {
    /// What is still to be done.
    pub fn wish(&self) -> Option<RepairRequest> {
        let wish = RepairRequest { number: self.wanted, objects: self.objects.clone() };
        (self.wanted > self.answered).then_some(wish)
    }
}

/// Notes what the runner that holds the place has done. Said twice, it is noted once.
pub async fn answer(
    connection: &mut PgConnection,
    locked: &mut Locked,
    answers: u64,
    outcome: &RepairOutcome,
) -> Result<(), sqlx::Error> {
    if answers <= locked.repair.answered || answers > locked.repair.wanted {
        return Ok(());
    }
    locked.repair.answered = answers;
    sqlx::query!(
        "update workspaces set repair_answered = $3, repair_answer = $4 where tenant_id = $1 and workspace_id = $2",
        locked.tenant,
        locked.workspace.0,
        answers as i64,
        Json(outcome) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn look(scope: &mut Scope, workspace: WorkspaceId) -> Result<Option<Seen>, sqlx::Error> {
    struct Row {
        phase: String,
        epoch: i64,
        repair_answered: i64,
        repair_answer: Option<Json<RepairOutcome>>,
    }
    let tenant: Uuid = scope.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select phase, epoch, repair_answered, repair_answer as "repair_answer: Json<RepairOutcome>" from workspaces
           where tenant_id = $1 and workspace_id = $2 and deleted_at is null"#,
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| Seen {
        phase: record::phase(&row.phase),
        epoch: Epoch(row.epoch.unsigned_abs()),
        answered: row.repair_answered.unsigned_abs(),
        answer: row.repair_answer.map(|answer| answer.0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: std::ops::Range<usize>) -> Vec<String> {
        of.map(|number| format!("t/packs/{number}")).collect()
    }

    #[test]
    fn a_later_wish_holds_what_is_pending() {
        let done = Repairs { wanted: 3, answered: 3, objects: names(0..2) };
        assert_eq!(together(&done, &names(5..6)), Some(names(5..6)));
        let pending = Repairs { answered: 2, ..done };
        assert_eq!(together(&pending, &names(1..3)), Some(names(0..3)));
        let full = Repairs { objects: names(0..MAX_REPAIR_OBJECTS), ..pending };
        assert_eq!(together(&full, &names(0..3)), Some(full.objects.clone()));
        assert_eq!(together(&full, &names(500..501)), None);
    }
}
