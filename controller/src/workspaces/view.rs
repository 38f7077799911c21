//! Workspaces as users see them: always read through a [`Scope`], so always of one tenant.

use protocol::{
    ClassId, Epoch, TenantId, UserId, WorkspaceId,
    api::{
        snapshot::Origin,
        user::Role,
        workspace::{Workspace, WorkspaceIdle},
    },
    idle::AwakeReason,
    workspace::{Failure, HomeNotice, Phase, ProgramName, Resources, StepProgress},
};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    authz::{Caller, WorkspaceFacts, workspace_access},
    db::{Scope, text::Text},
};

/// Most workspaces of one list.
const MAX_WORKSPACES: i64 = 10_000;

/// A workspace with the names and facts of other tables that users see with it.
pub struct WorkspaceRow {
    tenant_id: Uuid,
    workspace_id: Uuid,
    name: String,
    owner_id: Uuid,
    owner_name: String,
    template: String,
    vcpus: i16,
    memory_mib: i32,
    home_mib: i32,
    scratch_mib: i32,
    pids: i32,
    class_id: Option<Uuid>,
    teacher_id: Option<Uuid>,
    phase: Text<Phase>,
    revision: i64,
    epoch: i64,
    queue_position: Option<i32>,
    estimated_start_at: Option<OffsetDateTime>,
    is_held: bool,
    steps: Json<Vec<StepProgress>>,
    failure: Option<Json<Failure>>,
    accelerator: Option<String>,
    safe_at: Option<OffsetDateTime>,
    dirty_bytes: Option<i64>,
    unreplicated_ms: Option<i64>,
    home_used_bytes: Option<i64>,
    home_notice: Option<Text<HomeNotice>>,
    killed_program: Option<String>,
    idle_stops_at: Option<OffsetDateTime>,
    awake: Json<Vec<AwakeReason>>,
    held_until: Option<OffsetDateTime>,
    forked_from: Option<Uuid>,
    forked_at: Option<OffsetDateTime>,
    is_deleting: bool,
    stored_bytes: Option<i64>,
    created_at: OffsetDateTime,
    last_used_at: Option<OffsetDateTime>,
}

impl WorkspaceRow {
    /// What permissions depend on.
    pub fn facts(&self) -> WorkspaceFacts {
        WorkspaceFacts {
            tenant: TenantId(self.tenant_id),
            owner: UserId(self.owner_id),
            teacher: self.teacher_id.map(UserId),
        }
    }

    /// What the caller may see of it. None if nothing.
    pub fn into_view(self, caller: &Caller) -> Option<Workspace> {
        let access = workspace_access(caller, &self.facts())?;
        Some(Workspace {
            id: WorkspaceId(self.workspace_id),
            name: self.name,
            owner: UserId(self.owner_id),
            owner_name: self.owner_name,
            template: self.template,
            resources: resources(self.vcpus, [self.memory_mib, self.home_mib, self.scratch_mib, self.pids]),
            class: self.class_id.map(ClassId),
            phase: self.phase.0,
            access,
            revision: self.revision.unsigned_abs(),
            epoch: Epoch(self.epoch.unsigned_abs()),
            queue_position: self.queue_position.map(i32::unsigned_abs),
            estimated_start_at: self.estimated_start_at,
            is_held: self.is_held,
            steps: self.steps.0,
            failure: self.failure.map(|failure| failure.0),
            accelerator: self.accelerator,
            safe_at: self.safe_at,
            unreplicated_seconds: self.unreplicated_ms.map(round_up_seconds),
            dirty_bytes: self.dirty_bytes.map(i64::unsigned_abs),
            home_used_bytes: self.home_used_bytes.map(i64::unsigned_abs),
            home_notice: self.home_notice.map(|notice| notice.0),
            killed_program: self.killed_program.and_then(|name| ProgramName::try_from(name).ok()),
            idle: (self.phase.0 == Phase::Running).then_some(WorkspaceIdle {
                stops_at: self.idle_stops_at,
                awake: self.awake.0,
                held_until: self.held_until,
            }),
            forked_from: self
                .forked_from
                .zip(self.forked_at)
                .map(|(workspace, at)| Origin { workspace: WorkspaceId(workspace), at }),
            is_deleting: self.is_deleting,
            stored_bytes: self.stored_bytes.map(i64::unsigned_abs),
            created_at: self.created_at,
            last_used_at: self.last_used_at,
        })
    }
}

/// Rounds up, so that what is not uploaded yet is never shown as safe.
fn round_up_seconds(ms: i64) -> u32 {
    u32::try_from(ms.unsigned_abs().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Converts the size of a workspace or template: vCPUs, and memory, home, scratch and processes.
pub fn resources(vcpus: i16, [memory, home, scratch, pids]: [i32; 4]) -> Resources {
    Resources {
        vcpus: u8::try_from(vcpus).unwrap_or(1),
        memory_mib: memory.unsigned_abs(),
        home_mib: home.unsigned_abs(),
        scratch_mib: scratch.unsigned_abs(),
        pids: pids.unsigned_abs(),
    }
}

/// Selects workspaces. Those that the caller may not see are left out by the statement itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkspaceFilter {
    pub workspace: Option<WorkspaceId>,
    pub class: Option<ClassId>,
}

/// Finds the workspaces that the caller may see, the oldest first.
pub async fn find_rows(scope: &mut Scope, filter: WorkspaceFilter) -> Result<Vec<WorkspaceRow>, sqlx::Error> {
    let (tenant, caller) = (scope.tenant(), scope.caller());
    sqlx::query_as!(
        WorkspaceRow,
        r#"select w.tenant_id, w.workspace_id, w.name, w.owner_id, u.name as owner_name, w.template,
              w.vcpus, w.memory_mib,
                  w.home_mib, w.scratch_mib, w.pids, w.class_id, c.teacher_id as "teacher_id?",
                  w.phase as "phase: Text<Phase>", w.revision, w.epoch,
                  w.queue_position, w.estimated_start_at, w.is_held,
                      w.steps as "steps: Json<Vec<StepProgress>>",
                      w.failure as "failure: Json<Failure>",
                  w.accelerator, greatest(v.safe_at, w.home_safe_at) as safe_at, w.dirty_bytes,
                  w.unreplicated_ms, w.home_used_bytes, w.home_notice as "home_notice: Text<HomeNotice>",
                      w.killed_program, w.idle_stops_at, w.awake as "awake: Json<Vec<AwakeReason>>",
                  w.held_until, w.forked_from,
                  w.forked_at, w.desired_state = 'deleted' as "is_deleting!", v.stored_bytes, w.created_at,
                  w.last_used_at
           from workspaces w
           join users u on u.tenant_id = w.tenant_id and u.user_id = w.owner_id
           join volumes v on v.tenant_id = w.tenant_id and v.volume_id = w.volume_id
           left join classes c on c.tenant_id = w.tenant_id and c.class_id = w.class_id
           where w.tenant_id = $1 and w.deleted_at is null
             and (w.owner_id = $2 or (c.teacher_id = $2 and $3) or $4)
             and w.workspace_id = coalesce($5, w.workspace_id)
             and ($6::uuid is null or w.class_id = $6)
           order by w.created_at, w.workspace_id limit $7"#,
        tenant,
        caller.user.0,
        caller.role >= Role::Teacher,
        caller.role == Role::Owner,
        filter.workspace.map(|id| id.0),
        filter.class.map(|id| id.0),
        MAX_WORKSPACES,
    )
    .fetch_all(scope.connection())
    .await
}

/// Lists the workspaces that the caller may see, the oldest first.
pub async fn list(scope: &mut Scope, filter: WorkspaceFilter) -> Result<Vec<Workspace>, sqlx::Error> {
    let caller = scope.caller();
    let rows = find_rows(scope, filter).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_view(&caller)).collect())
}

/// Finds a workspace that the caller may see.
pub async fn find_row(
    scope: &mut Scope,
    workspace: WorkspaceId,
) -> Result<Option<WorkspaceRow>, sqlx::Error> {
    Ok(find_rows(scope, WorkspaceFilter { workspace: Some(workspace), class: None }).await?.pop())
}

/// Whether a workspace exists that the caller may not see, rather than none.
pub async fn is_hidden(scope: &mut Scope, workspace: WorkspaceId) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        r#"select exists (select from workspaces
               where tenant_id = $1 and workspace_id = $2 and deleted_at is null) as "is_hidden!""#,
        tenant,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await
}

/// Finds a workspace as the caller sees it.
pub async fn find(scope: &mut Scope, workspace: WorkspaceId) -> Result<Option<Workspace>, sqlx::Error> {
    Ok(list(scope, WorkspaceFilter { workspace: Some(workspace), class: None }).await?.pop())
}
