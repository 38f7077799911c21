//! What is used of each resource, counted from the rows of the database. Nothing keeps a sum: two sums of one
//! thing would differ one day. What was sent to the network comes from the rows of [`crate::usage`].

use std::collections::HashMap;

use protocol::{
    ClassId, TenantId, UserId, WorkspaceId, api::budget::BudgetResource, workspace::StartPriority,
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::amounts::Amounts;
use crate::{
    db::text::Text,
    usage::{counters::MAX_AMOUNT, month_of},
};

/// The time in which [`BudgetResource::Starts`] are counted.
pub const STARTS_WINDOW: Duration = Duration::minutes(1);
/// For how long starts are kept.
const STARTS_TTL: Duration = Duration::hours(1);

/// Whose use it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Tenant,
    Class(ClassId),
    User(UserId),
}

/// What is used by each subject of a tenant. Subjects that use nothing may be absent.
#[derive(Clone, Debug, Default)]
pub struct Usage(HashMap<Subject, Amounts>);

impl Usage {
    /// What one subject uses.
    pub fn of(&self, subject: Subject) -> Amounts {
        self.0.get(&subject).copied().unwrap_or_default()
    }

    fn add(&mut self, subject: Subject, amounts: &Amounts) {
        self.0.entry(subject).or_default().add(amounts);
    }
}

/// Which use is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Only this user, the class and the tenant. None: all users and classes.
    pub owner: Option<UserId>,
    pub class: Option<ClassId>,
    /// A workspace that is not counted, because it is what a request is about.
    pub except: Option<WorkspaceId>,
}

/// The kinds of rows that a use is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Everything except starts and history.
    Workspaces,
    Starts(OffsetDateTime),
    History,
    /// What was sent in the month of this instant.
    Egress(OffsetDateTime),
}

/// The groups of a row: its user, its class, or all of the tenant.
fn subject(user: Option<Uuid>, class: Option<Uuid>) -> Subject {
    match (user, class) {
        (Some(user), _) => Subject::User(UserId(user)),
        (None, Some(class)) => Subject::Class(ClassId(class)),
        (None, None) => Subject::Tenant,
    }
}

/// Counts what is used in a tenant.
pub async fn count(
    connection: &mut PgConnection,
    tenant: TenantId,
    counted: Counted,
    sources: &[Source],
) -> Result<Usage, sqlx::Error> {
    let mut usage = Usage::default();
    for source in sources {
        match source {
            Source::Workspaces => count_workspaces(connection, tenant, counted, &mut usage).await?,
            Source::Starts(now) => count_starts(connection, tenant, counted, *now, &mut usage).await?,
            Source::History => count_history(connection, tenant, counted, &mut usage).await?,
            Source::Egress(now) => count_egress(connection, tenant, counted, *now, &mut usage).await?,
        }
    }
    Ok(usage)
}

async fn count_workspaces(
    connection: &mut PgConnection,
    tenant: TenantId,
    counted: Counted,
    usage: &mut Usage,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select case when grouping(owner_id) = 0 then owner_id end as "user",
                  case when grouping(class_id) = 0 then class_id end as class,
                  count(*) as "workspaces!",
                  coalesce(sum(home_mib), 0) as "home_mib!",
                  count(*) filter (where desired_state = 'running') as "running!",
                  coalesce(sum(vcpus) filter (where desired_state = 'running'), 0) as "vcpus!",
                  coalesce(sum(memory_mib) filter (where desired_state = 'running'), 0) as "memory_mib!",
                  coalesce(sum(scratch_mib) filter (where desired_state = 'running'), 0) as "scratch_mib!"
           from workspaces
           where tenant_id = $1 and deleted_at is null and desired_state <> 'deleted'
               and workspace_id is distinct from $2
           group by grouping sets ((owner_id), (class_id), ())
           having (grouping(class_id) = 1 or class_id is not null)
               and ($3::uuid is null or (grouping(owner_id) = 1 and grouping(class_id) = 1)
                   or owner_id = $3 or class_id = $4)"#,
        tenant.0,
        counted.except.map(|workspace| workspace.0),
        counted.owner.map(|owner| owner.0),
        counted.class.map(|class| class.0),
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let bytes = |mib: i64| mib.unsigned_abs() << 20;
        let amounts = Amounts::default()
            .with(BudgetResource::Workspaces, row.workspaces.unsigned_abs())
            .with(BudgetResource::Homes, bytes(row.home_mib))
            .with(BudgetResource::Running, row.running.unsigned_abs())
            .with(BudgetResource::Vcpus, row.vcpus.unsigned_abs())
            .with(BudgetResource::Memory, bytes(row.memory_mib))
            .with(BudgetResource::Scratch, bytes(row.scratch_mib));
        usage.add(subject(row.user, row.class), &amounts);
    }
    Ok(())
}

async fn count_starts(
    connection: &mut PgConnection,
    tenant: TenantId,
    counted: Counted,
    now: OffsetDateTime,
    usage: &mut Usage,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select case when grouping(user_id) = 0 then user_id end as "user",
                  case when grouping(class_id) = 0 then class_id end as class, count(*) as "starts!"
           from starts where tenant_id = $1 and started_at > $2
           group by grouping sets ((user_id), (class_id), ())
           having (grouping(class_id) = 1 or class_id is not null)
               and ($3::uuid is null or (grouping(user_id) = 1 and grouping(class_id) = 1)
                   or user_id = $3 or class_id = $4)"#,
        tenant.0,
        now - STARTS_WINDOW,
        counted.owner.map(|owner| owner.0),
        counted.class.map(|class| class.0),
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let amounts = Amounts::default().with(BudgetResource::Starts, row.starts.unsigned_abs());
        usage.add(subject(row.user, row.class), &amounts);
    }
    Ok(())
}

async fn count_history(
    connection: &mut PgConnection,
    tenant: TenantId,
    counted: Counted,
    usage: &mut Usage,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select case when grouping(w.owner_id) = 0 then w.owner_id end as "user",
                  case when grouping(w.class_id) = 0 then w.class_id end as class,
                  coalesce(sum(s.uploaded_bytes), 0)::bigint as "bytes!"
           from workspaces w join snapshots s using (tenant_id, volume_id)
           where w.tenant_id = $1 and w.deleted_at is null and w.desired_state <> 'deleted'
               and (s.kind = 'requested' or s.name is not null)
           group by grouping sets ((w.owner_id), (w.class_id), ())
           having (grouping(w.class_id) = 1 or w.class_id is not null)
               and ($2::uuid is null or (grouping(w.owner_id) = 1 and grouping(w.class_id) = 1)
                   or w.owner_id = $2 or w.class_id = $3)"#,
        tenant.0,
        counted.owner.map(|owner| owner.0),
        counted.class.map(|class| class.0),
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let amounts = Amounts::default().with(BudgetResource::History, row.bytes.unsigned_abs());
        usage.add(subject(row.user, row.class), &amounts);
    }
    Ok(())
}

async fn count_egress(
    connection: &mut PgConnection,
    tenant: TenantId,
    counted: Counted,
    now: OffsetDateTime,
    usage: &mut Usage,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select case when grouping(user_id) = 0 then user_id end as "user",
                  case when grouping(class_id) = 0 then class_id end as class,
                  least(coalesce(sum(sent_bytes), 0), $5::bigint)::bigint as "bytes!"
           from usage_days where tenant_id = $1 and day >= $2
           group by grouping sets ((user_id), (class_id), ())
           having (grouping(class_id) = 1 or class_id is not null)
               and ($3::uuid is null or (grouping(user_id) = 1 and grouping(class_id) = 1)
                   or user_id = $3 or class_id = $4)"#,
        tenant.0,
        month_of(now),
        counted.owner.map(|owner| owner.0),
        counted.class.map(|class| class.0),
        MAX_AMOUNT.cast_signed(),
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let amounts = Amounts::default().with(BudgetResource::Egress, row.bytes.unsigned_abs());
        usage.add(subject(row.user, row.class), &amounts);
    }
    Ok(())
}

/// What the kept snapshots of one home have stored, in bytes: the requested and named ones.
pub async fn count_history_of_home(
    connection: &mut PgConnection,
    tenant: TenantId,
    workspace: WorkspaceId,
) -> Result<u64, sqlx::Error> {
    let bytes = sqlx::query_scalar!(
        r#"select coalesce(sum(s.uploaded_bytes), 0)::bigint as "bytes!"
           from workspaces w join snapshots s using (tenant_id, volume_id)
           where w.tenant_id = $1 and w.workspace_id = $2 and (s.kind = 'requested' or s.name is not null)"#,
        tenant.0,
        workspace.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// How many starts of a tenant wait for their turn.
pub async fn count_queued(connection: &mut PgConnection, tenant: TenantId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from workspaces
           where tenant_id = $1 and phase = 'queued' and deleted_at is null"#,
        tenant.0,
    )
    .fetch_one(connection)
    .await
}

/// Records that a start was admitted, and how urgent it is.
pub async fn record_start(
    connection: &mut PgConnection,
    tenant: TenantId,
    workspace: WorkspaceId,
    priority: StartPriority,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update workspaces set start_priority = $3 where tenant_id = $1 and workspace_id = $2",
        tenant.0,
        workspace.0,
        Text(priority) as _,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into starts (tenant_id, workspace_id, user_id, class_id, started_at)
         select tenant_id, workspace_id, owner_id, class_id, $3 from workspaces
         where tenant_id = $1 and workspace_id = $2",
        tenant.0,
        workspace.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes starts that count no longer.
pub async fn delete_old_starts(
    connection: &mut PgConnection,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from starts where started_at < $1", now - STARTS_TTL).execute(connection).await?;
    Ok(())
}
