//! Budgets: what a user, a class and a tenant may use. A request that would exceed one is refused at once,
//! with the limit, the use, what to do and who can raise it.
//!
//! [`decide`] is the decision, a pure function of limits, use and what is requested. The functions here read
//! what it needs: they lock the budgets of the tenant, count the use from the rows that exist, and leave the
//! lock to the end of the transaction. So nothing that decides is kept in a process, and any number of
//! controllers may admit at the same time. [`crate::workspaces::admission`] asks the same function when it
//! places a workspace, because one that stops takes its room until its home is saved.

pub mod amounts;
pub mod decide;
pub mod refusal;
pub mod report;
pub mod store;
pub mod usage;

use protocol::{
    ClassId, TenantId, UserId, WorkspaceId,
    api::{budget::BudgetResource, user::Role},
    workspace::StartPriority,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use self::{
    amounts::{Amounts, BudgetLimits},
    decide::{Excess, Level, LevelUse, admit},
    refusal::BudgetRefusal,
    usage::{Counted, Source, Subject},
};
use crate::{
    config::Limits,
    db::{Scope, text::Text},
    workspaces::limits::LimitError,
};

/// Namespace of the advisory locks of tenants' budgets.
const BUDGET_LOCK: i32 = 0x6275_6467;

/// Starts of one tenant that wait at the same time. Each pass of the reconciler looks at all of them.
pub const MAX_QUEUED: i64 = 2_000;

/// The size and owner of a workspace.
struct Size {
    owner: UserId,
    class: Option<ClassId>,
    running: Amounts,
    home_bytes: u64,
}

/// What somebody wants to use.
struct Request<'a> {
    owner: UserId,
    class: Option<ClassId>,
    /// The workspace that it is about, if it exists. Its present use does not count.
    workspace: Option<WorkspaceId>,
    wanted: Amounts,
    sources: &'a [Source],
    /// Limits of the home itself, with their use.
    home: Option<LevelUse>,
}

/// Admits the start of a workspace beside the others of its owner, class and tenant, and records it with its
/// priority. Call it before the workspace is started.
pub async fn admit_start(
    scope: &mut Scope,
    limits: &Limits,
    workspace: WorkspaceId,
    priority: StartPriority,
    now: OffsetDateTime,
) -> Result<(), LimitError> {
    let tenant = scope.caller().tenant;
    lock(scope.connection(), tenant).await?;
    if usage::count_queued(scope.connection(), tenant).await? >= MAX_QUEUED {
        return Err(LimitError::QueueFull);
    }
    let size = find_size(scope, workspace).await?;
    // How much it is going to send is not known. What is sent by workspaces that run ends nothing.
    let wanted = size.running.with(BudgetResource::Starts, 1).with(BudgetResource::Egress, 1);
    let sources = &[Source::Workspaces, Source::Starts(now), Source::Egress(now)];
    let request = size.request(workspace, wanted, sources);
    check(scope, limits, request).await?;
    Ok(usage::record_start(scope.connection(), tenant, workspace, priority, now).await?)
}

/// Checks that an owner may have a workspace that was just created or undeleted. Roll the transaction back
/// after an error.
pub async fn check_created(
    scope: &mut Scope,
    limits: &Limits,
    workspace: WorkspaceId,
) -> Result<(), LimitError> {
    let size = find_size(scope, workspace).await?;
    let wanted = size.home().with(BudgetResource::Workspaces, 1);
    check(scope, limits, size.request(workspace, wanted, &[Source::Workspaces])).await
}

/// Checks that an owner may have a home that has just grown. Roll the transaction back after an error.
pub async fn check_grown(
    scope: &mut Scope,
    limits: &Limits,
    workspace: WorkspaceId,
) -> Result<(), LimitError> {
    let size = find_size(scope, workspace).await?;
    check(scope, limits, size.request(workspace, size.home(), &[Source::Workspaces])).await
}

/// Checks that the caller may create a workspace with a home of this size, or have such a home in place of
/// that of a workspace.
pub async fn check_new_home(
    scope: &mut Scope,
    limits: &Limits,
    replaced: Option<WorkspaceId>,
    home_mib: u32,
) -> Result<(), LimitError> {
    let wanted = Amounts::default()
        .with(BudgetResource::Homes, u64::from(home_mib) << 20)
        .with(BudgetResource::Workspaces, u64::from(replaced.is_none()));
    let owner = scope.caller().user;
    let sources = &[Source::Workspaces];
    check(scope, limits, Request { owner, class: None, workspace: replaced, wanted, sources, home: None })
        .await
}

/// Checks that a home may have one more snapshot that is kept until its owner deletes it. `max_bytes` limits
/// what those of this home have stored.
pub async fn check_history(
    scope: &mut Scope,
    limits: &Limits,
    max_bytes: Option<u64>,
    workspace: WorkspaceId,
) -> Result<(), LimitError> {
    let tenant = scope.caller().tenant;
    let size = find_size(scope, workspace).await?;
    // How much it is going to store is not known yet.
    let wanted = Amounts::default().with(BudgetResource::History, 1);
    let used = usage::count_history_of_home(scope.connection(), tenant, workspace).await?;
    let mut home = BudgetLimits::NONE;
    home.set(BudgetResource::History, max_bytes);
    let used = Amounts::default().with(BudgetResource::History, used);
    let home = Some(LevelUse { level: Level::Home, limits: home, used });
    let request = Request { home, ..size.request(workspace, wanted, &[Source::History]) };
    check(scope, limits, request).await
}

impl Size {
    fn home(&self) -> Amounts {
        Amounts::default().with(BudgetResource::Homes, self.home_bytes)
    }

    fn request<'a>(&self, workspace: WorkspaceId, wanted: Amounts, sources: &'a [Source]) -> Request<'a> {
        let Self { owner, class, .. } = *self;
        Request { owner, class, workspace: Some(workspace), wanted, sources, home: None }
    }
}

/// Waits until no other transaction decides about budgets of this tenant. A transaction that already locks a
/// workspace may call it, because nothing is locked after it but rows that no other transaction sees yet, and
/// the head of the audit log.
async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock($1, hashtext($2::text))", BUDGET_LOCK, tenant.to_string())
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Decides about a request. Until the transaction ends, no other one of this tenant is decided.
async fn check(scope: &mut Scope, limits: &Limits, request: Request<'_>) -> Result<(), LimitError> {
    let tenant = scope.caller().tenant;
    lock(scope.connection(), tenant).await?;
    let role = find_role(scope, request.owner).await?;
    let set = store::find(scope.connection(), Some(tenant)).await?;
    let counted = Counted { owner: Some(request.owner), class: request.class, except: request.workspace };
    let subjects = [
        Some((Level::User, Subject::User(request.owner))),
        request.class.map(|class| (Level::Class, Subject::Class(class))),
        Some((Level::Tenant, Subject::Tenant)),
    ];
    let subjects = subjects.into_iter().flatten().map(|(level, subject)| {
        let defaults = store::defaults(limits, subject, role);
        (level, subject, set.of(tenant, subject, &defaults))
    });
    let subjects: Vec<(Level, Subject, BudgetLimits)> = subjects.collect();
    // A month has many rows. Most tenants have no limit that would need them.
    let has_egress_limit = subjects.iter().any(|(_, _, limits)| limits.get(BudgetResource::Egress).is_some());
    let is_needed = |source: &Source| has_egress_limit || !matches!(source, Source::Egress(_));
    let sources: Vec<Source> = request.sources.iter().copied().filter(is_needed).collect();
    let usage = usage::count(scope.connection(), tenant, counted, &sources).await?;
    let levels = subjects.into_iter().map(|(level, subject, limits)| LevelUse {
        level,
        limits,
        used: usage.of(subject),
    });
    let levels: Vec<LevelUse> = request.home.into_iter().chain(levels).collect();
    match admit(&levels, &request.wanted) {
        Ok(()) => Ok(()),
        Err(excess) => Err(LimitError::Budget(Box::new(describe(scope, &request, excess).await?))),
    }
}

/// Adds what the text of a refusal needs.
async fn describe(
    scope: &mut Scope,
    request: &Request<'_>,
    excess: Excess,
) -> Result<BudgetRefusal, sqlx::Error> {
    let caller = scope.caller();
    let needs_names = excess.resource == BudgetResource::Running && request.owner == caller.user;
    let running = if needs_names { Some(list_running(scope, request).await?) } else { None };
    Ok(BudgetRefusal { excess, caller: caller.role, running })
}

/// Names of the owner's other workspaces that run or wait, the oldest first.
async fn list_running(scope: &mut Scope, request: &Request<'_>) -> Result<Vec<String>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        "select name from workspaces
         where tenant_id = $1 and owner_id = $2 and workspace_id is distinct from $3
             and deleted_at is null and desired_state = 'running'
         order by created_at, workspace_id",
        tenant,
        request.owner.0,
        request.workspace.map(|workspace| workspace.0),
    )
    .fetch_all(scope.connection())
    .await
}

async fn find_size(scope: &mut Scope, workspace: WorkspaceId) -> Result<Size, sqlx::Error> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        "select owner_id, class_id, vcpus, memory_mib, home_mib, scratch_mib from workspaces
         where tenant_id = $1 and workspace_id = $2",
        tenant,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(Size {
        owner: UserId(row.owner_id),
        class: row.class_id.map(ClassId),
        running: running_amounts(row.vcpus, row.memory_mib, row.scratch_mib),
        home_bytes: bytes(row.home_mib),
    })
}

/// What a workspace of this size uses while it runs.
pub fn running_amounts(vcpus: i16, memory_mib: i32, scratch_mib: i32) -> Amounts {
    Amounts::default()
        .with(BudgetResource::Running, 1)
        .with(BudgetResource::Vcpus, vcpus.unsigned_abs().into())
        .with(BudgetResource::Memory, bytes(memory_mib))
        .with(BudgetResource::Scratch, bytes(scratch_mib))
}

fn bytes(mib: i32) -> u64 {
    u64::from(mib.unsigned_abs()) << 20
}

async fn find_role(scope: &mut Scope, user: UserId) -> Result<Role, sqlx::Error> {
    let tenant = scope.tenant();
    let role = sqlx::query_scalar!(
        r#"select role as "role: Text<Role>" from users where tenant_id = $1 and user_id = $2"#,
        tenant,
        user.0,
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(role.0)
}
