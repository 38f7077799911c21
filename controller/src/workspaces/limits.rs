//! What one user and one tenant may use: workspaces that run at once, and space for homes and scratch
//! disks. A request that would exceed a limit is refused at once, with the limit, the usage and what to do.
//!
//! [`super::admission`] keeps the limits of running workspaces and their scratch disks too, because a
//! workspace that stops takes its room until its home is saved.

use protocol::{TenantId, UserId, WorkspaceId, api::user::Role};
use sqlx::PgConnection;
use volume::FreeSpace;

use crate::{
    config::{HomeLimits, Limits, RunningLimits, ScratchLimits},
    core::Core,
    db::{Scope, text::Text},
    disk::DiskRefusal,
};

/// Namespace of the advisory locks of owners.
const OWNER_LOCK: i32 = 0x6275_7275;
/// Names of running workspaces in a refusal.
const MAX_NAMES: usize = 5;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    #[error("Cannot start the workspace: {running}, and {limit} may run at once. Stop one of them first")]
    Running { running: String, limit: u32 },
    #[error(
        "Cannot start the workspace: {running} workspaces of this organisation run or wait, and {limit} may \
         run at once. Stop one that is not needed, or try again later"
    )]
    RunningOfTenant { running: i64, limit: u32 },
    #[error(
        "Cannot reserve {wanted} for the home: the homes of its owner have {used} of {limit}. Delete a \
         workspace that is not needed, or ask the operator of this server for more"
    )]
    Homes { wanted: String, used: String, limit: String },
    #[error(
        "Cannot reserve {wanted} for the home: the homes of this organisation have {used} of {limit}. Delete \
         workspaces that are not needed, or ask the operator of this server for more"
    )]
    HomesOfTenant { wanted: String, used: String, limit: String },
    #[error(
        "Cannot start the workspace: its scratch disk has {wanted}, and those of the workspaces of its owner \
         that run or wait have {used} of {limit}. Stop one of them first, or ask the operator of this server \
         for more"
    )]
    Scratch { wanted: String, used: String, limit: String },
    #[error(
        "Cannot start the workspace: its scratch disk has {wanted}, and those of the workspaces of this \
         organisation that run or wait have {used} of {limit}. Stop one that is not needed, or ask the \
         operator of this server for more"
    )]
    ScratchOfTenant { wanted: String, used: String, limit: String },
    #[error(
        "Cannot keep another snapshot: the requested and named ones of this home have stored {used} of \
         {limit}. Delete some of them first"
    )]
    History { used: String, limit: String },
    #[error(
        "Cannot use more of the server's disk: {free} are free, of which {reserve} are kept for the \
         database, and {needed} must be left for workspaces that run. Delete what is not needed, or ask \
         the operator of this server to make room"
    )]
    DiskLow { free: String, reserve: String, needed: String },
    #[error(
        "Cannot use more of the server's disk: Burrow takes {used} of its budget of {budget}. Delete what is \
         not needed, or ask the operator of this server for more"
    )]
    DiskBudget { used: String, budget: String },
    #[error(
        "Cannot use more of the server's disk: the workspaces of this user take {used} of {limit}. Delete \
         snapshots or workspaces that are not needed, or ask the operator of this server for more"
    )]
    DiskOfUser { used: String, limit: String },
    #[error(
        "Cannot use more of the server's disk: the workspaces of this organisation take {used} of {limit}. \
         Delete snapshots or workspaces that are not needed, or ask the operator of this server for more"
    )]
    DiskOfTenant { used: String, limit: String },
    #[error(
        "Cannot use more of the server's store: its disk is nearly full. Ask the operator of this server"
    )]
    StoreLow,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Other workspaces that run or should run: queued, starting or running.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RunningUsage {
    /// Names of the owner's, the oldest first.
    of_owner: Vec<String>,
    of_tenant: i64,
}

/// The sizes of homes, or of the scratch disks of workspaces that run or should run, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DiskUsage {
    /// Size of the disk in question.
    wanted: u64,
    /// All disks of its owner, without this one.
    of_owner: u64,
    /// All disks of the tenant, without this one.
    of_tenant: u64,
}

impl DiskUsage {
    /// Checks the limits of the owner and the tenant. The errors are made of what is requested, what is used,
    /// and the limit.
    fn check(
        self,
        max_of_owner: Option<u64>,
        max_of_tenant: Option<u64>,
        owner_error: impl FnOnce([String; 3]) -> LimitError,
        tenant_error: impl FnOnce([String; 3]) -> LimitError,
    ) -> Result<(), LimitError> {
        let exceeds = |limit: &u64, used: u64| used.saturating_add(self.wanted) > *limit;
        if let Some(limit) = max_of_owner.filter(|limit| exceeds(limit, self.of_owner)) {
            return Err(owner_error([self.wanted, self.of_owner, limit].map(format_mib)));
        }
        match max_of_tenant.filter(|limit| exceeds(limit, self.of_tenant)) {
            Some(limit) => Err(tenant_error([self.wanted, self.of_tenant, limit].map(format_mib))),
            None => Ok(()),
        }
    }
}

/// Checks that a workspace may run beside the others of its owner and tenant. Call it before the
/// workspace is started; until the transaction ends, no other start of this owner is checked.
pub async fn check_start(
    scope: &mut Scope,
    limits: &Limits,
    owner: UserId,
    workspace: WorkspaceId,
) -> Result<(), LimitError> {
    let (tenant, is_own) = (scope.tenant(), scope.caller().user == owner);
    let role = lock_owner(scope, owner).await?;
    let of_owner = sqlx::query_scalar!(
        "select name from workspaces
         where tenant_id = $1 and owner_id = $2 and workspace_id <> $3 and deleted_at is null
             and desired_state = 'running'
         order by created_at, workspace_id",
        tenant,
        owner.0,
        workspace.0,
    )
    .fetch_all(scope.connection())
    .await?;
    let of_tenant = sqlx::query_scalar!(
        r#"select count(*) as "count!" from workspaces
           where tenant_id = $1 and workspace_id <> $2 and deleted_at is null and desired_state = 'running'"#,
        tenant,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await?;
    decide_start(&limits.running, role, is_own, &RunningUsage { of_owner, of_tenant })?;
    decide_scratch(&limits.scratch, role, find_scratch_usage(scope, owner, workspace).await?)
}

async fn find_scratch_usage(
    scope: &mut Scope,
    owner: UserId,
    workspace: WorkspaceId,
) -> Result<DiskUsage, sqlx::Error> {
    let tenant = scope.tenant();
    let used = sqlx::query!(
        r#"select coalesce(sum(scratch_mib) filter (where workspace_id = $3), 0) as "wanted!",
                  coalesce(sum(scratch_mib)
                      filter (where owner_id = $2 and workspace_id <> $3), 0) as "of_owner!",
                  coalesce(sum(scratch_mib) filter (where workspace_id <> $3), 0) as "of_tenant!"
           from workspaces
           where tenant_id = $1 and deleted_at is null
               and (desired_state = 'running' or workspace_id = $3)"#,
        tenant,
        owner.0,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await?;
    let [wanted, of_owner, of_tenant] = [used.wanted, used.of_owner, used.of_tenant].map(i64::unsigned_abs);
    Ok(DiskUsage { wanted, of_owner, of_tenant })
}

/// Checks that the homes of an owner and the tenant are within their limits. Call it after the
/// workspace was created or has grown, in the same transaction.
pub async fn check_homes(
    scope: &mut Scope,
    limits: &HomeLimits,
    owner: UserId,
    workspace: WorkspaceId,
) -> Result<(), LimitError> {
    let role = lock_owner(scope, owner).await?;
    let usage = find_home_usage(scope, owner, Some(workspace)).await?;
    decide_homes(limits, role, usage)
}

/// Checks that the caller may have one more home of this size, or a home of this size in place of
/// that of a workspace.
pub async fn check_new_home(
    scope: &mut Scope,
    limits: &HomeLimits,
    replaced: Option<WorkspaceId>,
    home_mib: u32,
) -> Result<(), LimitError> {
    let owner = scope.caller().user;
    let role = lock_owner(scope, owner).await?;
    let usage = find_home_usage(scope, owner, replaced).await?;
    decide_homes(limits, role, DiskUsage { wanted: home_mib.into(), ..usage })
}

async fn find_home_usage(
    scope: &mut Scope,
    owner: UserId,
    workspace: Option<WorkspaceId>,
) -> Result<DiskUsage, sqlx::Error> {
    let tenant = scope.tenant();
    let used = sqlx::query!(
        r#"select coalesce(sum(home_mib) filter (where workspace_id = $3), 0) as "wanted!",
                  coalesce(sum(home_mib)
                      filter (where owner_id = $2 and workspace_id is distinct from $3), 0) as "of_owner!",
                  coalesce(sum(home_mib)
                      filter (where workspace_id is distinct from $3), 0) as "of_tenant!"
           from workspaces
           where tenant_id = $1 and deleted_at is null and desired_state <> 'deleted'"#,
        tenant,
        owner.0,
        workspace.map(|workspace| workspace.0),
    )
    .fetch_one(scope.connection())
    .await?;
    let [wanted, of_owner, of_tenant] = [used.wanted, used.of_owner, used.of_tenant].map(i64::unsigned_abs);
    Ok(DiskUsage { wanted, of_owner, of_tenant })
}

/// Checks that a home may have one more snapshot that is kept until its owner deletes it. `max_bytes`
/// limits what those snapshots have stored.
pub async fn check_history(
    scope: &mut Scope,
    max_bytes: Option<u64>,
    workspace: WorkspaceId,
) -> Result<(), LimitError> {
    let Some(max_bytes) = max_bytes else { return Ok(()) };
    let tenant = scope.tenant();
    let used = sqlx::query_scalar!(
        r#"select coalesce(sum(s.uploaded_bytes), 0)::bigint as "used!"
           from workspaces w join snapshots s using (tenant_id, volume_id)
           where w.tenant_id = $1 and w.workspace_id = $2 and (s.kind = 'requested' or s.name is not null)"#,
        tenant,
        workspace.0,
    )
    .fetch_one(scope.connection())
    .await?
    .unsigned_abs();
    if used < max_bytes {
        return Ok(());
    }
    Err(LimitError::History { used: format_mib(used >> 20), limit: format_mib(max_bytes >> 20) })
}

/// Checks that the disks of caches and local objects have room for something new of a user. What runs
/// already may use the rest.
pub fn check_disk(core: &Core, tenant: TenantId, user: UserId) -> Result<(), LimitError> {
    core.disk.check_start(&core.config)?;
    core.disk.check_owner(&core.config.disk, tenant, user)?;
    // The store may be on another disk than the caches.
    let store = core.config.store_dir().map(FreeSpace::of);
    match store {
        Some(Ok(FreeSpace::Low | FreeSpace::NearlyFull)) => Err(LimitError::StoreLow),
        _ => Ok(()),
    }
}

impl From<DiskRefusal> for LimitError {
    fn from(refusal: DiskRefusal) -> Self {
        let size = |bytes: u64| format_mib(bytes >> 20);
        match refusal {
            DiskRefusal::Disk { free, reserve, needed } => {
                Self::DiskLow { free: size(free), reserve: size(reserve), needed: size(needed) }
            }
            DiskRefusal::Budget { used, budget } => {
                Self::DiskBudget { used: size(used), budget: size(budget) }
            }
            DiskRefusal::User { used, limit } => Self::DiskOfUser { used: size(used), limit: size(limit) },
            DiskRefusal::Tenant { used, limit } => {
                Self::DiskOfTenant { used: size(used), limit: size(limit) }
            }
        }
    }
}

/// Waits until no other transaction checks limits of this owner. Returns the owner's role. A
/// transaction that already locks a workspace may call it, because nothing is locked after it but
/// rows that no other transaction sees yet.
async fn lock_owner(scope: &mut Scope, owner: UserId) -> Result<Role, sqlx::Error> {
    let tenant = scope.tenant();
    let connection: &mut PgConnection = scope.connection();
    sqlx::query!("select pg_advisory_xact_lock($1, hashtext($2::text))", OWNER_LOCK, owner.0.to_string())
        .fetch_one(&mut *connection)
        .await?;
    let role = sqlx::query_scalar!(
        r#"select role as "role: Text<Role>" from users where tenant_id = $1 and user_id = $2"#,
        tenant,
        owner.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(role.0)
}

fn decide_start(
    limits: &RunningLimits,
    role: Role,
    is_own: bool,
    usage: &RunningUsage,
) -> Result<(), LimitError> {
    if let Some(limit) = limits.of(role).filter(|limit| usage.of_owner.len() >= *limit as usize) {
        return Err(LimitError::Running { running: describe_running(&usage.of_owner, is_own), limit });
    }
    match limits.tenant.filter(|limit| usage.of_tenant >= i64::from(*limit)) {
        Some(limit) => Err(LimitError::RunningOfTenant { running: usage.of_tenant, limit }),
        None => Ok(()),
    }
}

/// The owner's workspaces that run or wait. Other callers learn no names: they may not see all of
/// them.
fn describe_running(names: &[String], is_own: bool) -> String {
    let count = names.len();
    if !is_own {
        return format!("{count} other workspaces of its owner run or wait");
    }
    let mut listed = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    if count > MAX_NAMES {
        listed.push("…".to_owned());
    }
    format!("{count} of your workspaces run or wait ({})", listed.join(", "))
}

fn decide_homes(limits: &HomeLimits, role: Role, usage: DiskUsage) -> Result<(), LimitError> {
    usage.check(
        limits.of(role),
        limits.tenant_mib,
        |[wanted, used, limit]| LimitError::Homes { wanted, used, limit },
        |[wanted, used, limit]| LimitError::HomesOfTenant { wanted, used, limit },
    )
}

fn decide_scratch(limits: &ScratchLimits, role: Role, usage: DiskUsage) -> Result<(), LimitError> {
    usage.check(
        limits.of(role),
        limits.tenant_mib,
        |[wanted, used, limit]| LimitError::Scratch { wanted, used, limit },
        |[wanted, used, limit]| LimitError::ScratchOfTenant { wanted, used, limit },
    )
}

/// A size in GiB with one decimal where it is not whole.
fn format_mib(mib: u64) -> String {
    if mib < 1024 {
        format!("{mib} MiB")
    } else if mib.is_multiple_of(1024) {
        format!("{} GiB", mib / 1024)
    } else {
        format!("{:.1} GiB", mib as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_beyond_limit_is_refused_with_reason() {
        let limits = RunningLimits { member: Some(2), teacher: Some(3), tenant: Some(5) };
        let names = |count: usize| ["a", "b", "c", "d"].into_iter().take(count).map(str::to_owned).collect();
        for (role, of_owner, of_tenant, is_allowed) in [
            (Role::Member, 1, 4, true),
            (Role::Member, 2, 4, false),
            (Role::Teacher, 2, 4, true),
            (Role::Owner, 3, 4, false),
            (Role::Member, 0, 5, false),
        ] {
            let usage = RunningUsage { of_owner: names(of_owner), of_tenant };
            let decided = decide_start(&limits, role, true, &usage);
            assert_eq!(decided.is_ok(), is_allowed, "{role:?} {of_owner} {of_tenant}");
        }
        let usage = RunningUsage { of_owner: names(2), of_tenant: 2 };
        let unlimited = RunningLimits { member: None, teacher: None, tenant: None };
        assert!(decide_start(&unlimited, Role::Member, true, &usage).is_ok());
        let message = |is_own| {
            decide_start(&limits, Role::Member, is_own, &usage).expect_err("at the limit").to_string()
        };
        assert_eq!(
            message(true),
            "Cannot start the workspace: 2 of your workspaces run or wait (`a`, `b`), and 2 may run at once. \
             Stop one of them first"
        );
        assert!(!message(false).contains('`'), "a teacher learns no names: {}", message(false));
    }

    #[test]
    fn low_disk_takes_nothing_new() {
        const MIB: u64 = 1 << 20;
        let said = |refusal: DiskRefusal| LimitError::from(refusal).to_string();
        assert_eq!(
            said(DiskRefusal::Disk { free: 1536 * MIB, reserve: 512 * MIB, needed: 1536 * MIB }),
            "Cannot use more of the server's disk: 1.5 GiB are free, of which 512 MiB are kept for the \
             database, and 1.5 GiB must be left for workspaces that run. Delete what is not needed, or ask \
             the operator of this server to make room"
        );
        let (used, limit) = (11 << 30, 10 << 30);
        assert!(
            said(DiskRefusal::Budget { used, budget: limit })
                .contains("takes 11 GiB of its budget of 10 GiB")
        );
        assert!(said(DiskRefusal::User { used, limit }).contains("of this user take 11 GiB of 10 GiB"));
        assert!(
            said(DiskRefusal::Tenant { used, limit }).contains("of this organisation take 11 GiB of 10 GiB")
        );
    }

    #[test]
    fn scratch_beyond_budget_is_refused_with_usage() {
        let limits = ScratchLimits { member_mib: Some(10_240), teacher_mib: None, tenant_mib: Some(20_480) };
        let usage = |wanted, of_owner, of_tenant| DiskUsage { wanted, of_owner, of_tenant };
        assert!(decide_scratch(&limits, Role::Member, usage(4096, 6144, 6144)).is_ok());
        assert!(decide_scratch(&limits, Role::Owner, usage(4096, 12_288, 12_288)).is_ok());
        let refused = decide_scratch(&limits, Role::Member, usage(8192, 4096, 4096)).expect_err("too much");
        assert_eq!(
            refused.to_string(),
            "Cannot start the workspace: its scratch disk has 8 GiB, and those of the workspaces of its \
             owner that run or wait have 4 GiB of 10 GiB. Stop one of them first, or ask the operator of \
             this server for more"
        );
        let refused = decide_scratch(&limits, Role::Owner, usage(4096, 0, 20_480)).expect_err("too much");
        assert!(refused.to_string().contains("of this organisation that run or wait have 20 GiB of 20 GiB"));
    }

    #[test]
    fn homes_beyond_budget_are_refused_with_usage() {
        let limits = HomeLimits { member_mib: Some(10_240), teacher_mib: None, tenant_mib: Some(20_480) };
        let usage = |wanted, of_owner, of_tenant| DiskUsage { wanted, of_owner, of_tenant };
        assert!(decide_homes(&limits, Role::Member, usage(4096, 6144, 6144)).is_ok());
        assert!(decide_homes(&limits, Role::Teacher, usage(4096, 12_288, 12_288)).is_ok());
        assert!(decide_homes(&limits, Role::Teacher, usage(u64::MAX, 1, 1)).is_err());
        let refused = decide_homes(&limits, Role::Member, usage(4097, 6144, 6144)).expect_err("too much");
        assert_eq!(
            refused.to_string(),
            "Cannot reserve 4.0 GiB for the home: the homes of its owner have 6 GiB of 10 GiB. Delete a \
             workspace that is not needed, or ask the operator of this server for more"
        );
        let refused = decide_homes(&limits, Role::Owner, usage(512, 0, 20_480)).expect_err("too much");
        assert!(
            refused.to_string().contains("512 MiB for the home: the homes of this organisation have 20 GiB")
        );
    }
}
