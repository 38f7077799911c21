//! Creates workspaces: from a template, as a fork of another workspace's snapshot, or from an
//! import. The rules for names, quotas and sizes are here, for all of them. In the object store a
//! fork shares the objects of its origin.

use protocol::{
    ClassId, SnapshotId, UserId, VolumeId, WorkspaceId,
    agent::HOME_DISK_BYTES,
    api::snapshot::SnapshotKind,
    workspace::{StartPriority, Tier},
};
use time::OffsetDateTime;

use crate::{
    budgets,
    config::Limits,
    db::{Scope, text::Text, violated_constraint},
    lifecycle::{Event, record},
    snapshots::{SnapshotRecord, imports::ImportRecord},
    tenants,
    workspaces::limits::LimitError,
};

/// Largest home. It is on a disk of a fixed size, and the file system needs a GiB of that to grow.
pub const MAX_HOME_MIB: u32 = (HOME_DISK_BYTES >> 20) as u32 - 1024;

/// The template of a workspace or class for which none is named.
pub const DEFAULT_TEMPLATE: &str = "base";

/// What [`is_valid_name`] requires, for users.
pub const NAME_RULE: &str = "Use 1 to 63 of a-z, 0-9 and -. Begin and end with a letter or digit.";

/// Whether a name can be the name of a workspace, class or host: 1 to 63 of `[a-z0-9-]`, beginning
/// and ending with a letter or digit.
pub fn is_valid_name(name: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
        && bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
}

/// A workspace to be created.
#[derive(Clone, Copy)]
pub struct NewWorkspace<'a> {
    pub id: WorkspaceId,
    pub owner: UserId,
    /// A valid name.
    pub name: &'a str,
    pub source: Source<'a>,
}

/// Where the home of a new workspace comes from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// An empty home. The size is the template's.
    Template { name: &'a str, class: Option<ClassId> },
    /// A snapshot of another workspace, whose volume is locked. Size and tier are that workspace's, or those
    /// of the template. The home is at least as large as the other one.
    Fork { origin: WorkspaceId, snapshot: &'a SnapshotRecord, template: Option<&'a str> },
    /// The volume of an import. The size is the template's, but the home is at least as large as
    /// the imported one.
    Import(&'a ImportRecord),
}

/// Why a workspace cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("You have a workspace `{0}`. Choose another name")]
    NameTaken(String),
    #[error("There is no such template")]
    NoTemplate,
    /// The workspace to be forked does not exist any more.
    #[error("There is no such workspace to fork")]
    NoOrigin,
    /// The template is a container, and the home may have been written raw.
    #[error(
        "A virtual machine has written this home, and containers do not open such homes. Choose a template \
         that is a virtual machine, or copy the files with `burrow push`"
    )]
    ForeignHome,
    /// The key of the tenant was destroyed.
    #[error("{}", tenants::KEY_DESTROYED)]
    KeyDestroyed,
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for CreateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Creates a workspace if the budgets allow it, and starts it if `is_started`. Roll the
/// transaction back after an error.
pub async fn create(
    scope: &mut Scope,
    now: OffsetDateTime,
    limits: &Limits,
    new: NewWorkspace<'_>,
    is_started: bool,
) -> Result<(), CreateError> {
    check_key(scope).await?;
    insert(scope, now, new).await?;
    budgets::check_created(scope, limits, new.id).await?;
    if is_started {
        budgets::admit_start(scope, limits, new.id, StartPriority::Interactive, now).await?;
        record::apply_event(scope.connection(), now, new.id, Event::Start).await?;
    }
    Ok(())
}

/// Inserts a workspace at rest. Checks no budget: a teacher creates workspaces for the members of a
/// class.
pub async fn insert(
    scope: &mut Scope,
    now: OffsetDateTime,
    new: NewWorkspace<'_>,
) -> Result<(), CreateError> {
    let (inserted, missing) = match new.source {
        Source::Template { name, class } => {
            (insert_from_template(scope, &new, name, class).await, CreateError::NoTemplate)
        }
        Source::Fork { origin, snapshot, template } => {
            if let Some(template) = template {
                check_template_of_fork(scope, origin, template).await?;
            }
            (insert_fork(scope, &new, (origin, snapshot), template, now).await, CreateError::NoOrigin)
        }
        Source::Import(import) => (insert_import(scope, &new, import, now).await, CreateError::NoTemplate),
    };
    match inserted {
        Ok(0) => Err(missing),
        Ok(_) => Ok(()),
        Err(error) if violated_constraint(&error) == Some("workspaces_name") => {
            Err(CreateError::NameTaken(new.name.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks that the key of the caller's tenant was not destroyed. Without it, no home can be used.
pub async fn check_key(scope: &mut Scope) -> Result<(), CreateError> {
    if tenants::is_key_destroyed(scope).await? { Err(CreateError::KeyDestroyed) } else { Ok(()) }
}

async fn insert_from_template(
    scope: &mut Scope,
    new: &NewWorkspace<'_>,
    template: &str,
    class: Option<ClassId>,
) -> Result<u64, sqlx::Error> {
    let tenant = scope.tenant();
    let volume = VolumeId::random();
    // Nothing has written it yet.
    sqlx::query!(
        "insert into volumes (tenant_id, volume_id, written_by) values ($1, $2, null)",
        tenant,
        volume.0,
    )
    .execute(scope.connection())
    .await?;
    let done = sqlx::query!(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus,
            memory_mib, home_mib,
             scratch_mib, pids, tier, class_id, volume_id, phase, desired_state)
         select t.tenant_id, $2, $3, $4, t.name, t.image, t.vcpus, t.memory_mib, t.home_mib,
             t.scratch_mib, t.pids, t.tier, $6, $7, 'terminated', 'stopped'
         from templates t join tenants n using (tenant_id)
         where t.tenant_id = $1 and t.name = $5 and t.tier = any(n.tiers)",
        tenant,
        new.id.0,
        new.owner.0,
        new.name,
        template,
        class.map(|class| class.0),
        volume.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected())
}

/// Checks that the tenant has the template, and that its tier opens the home of `origin`.
async fn check_template_of_fork(
    scope: &mut Scope,
    origin: WorkspaceId,
    template: &str,
) -> Result<(), CreateError> {
    let tenant = scope.tenant();
    let row = sqlx::query!(
        r#"select t.tier as "tier: Text<Tier>", v.written_by as "written_by: Text<Tier>"
           from templates t join tenants n using (tenant_id)
           left join workspaces w on w.tenant_id = t.tenant_id and w.workspace_id = $3
           left join volumes v on v.tenant_id = w.tenant_id and v.volume_id = w.volume_id
           where t.tenant_id = $1 and t.name = $2 and t.tier = any(n.tiers)"#,
        tenant,
        template,
        origin.0,
    )
    .fetch_optional(scope.connection())
    .await?
    .ok_or(CreateError::NoTemplate)?;
    let was_raw = row.written_by.is_some_and(|tier| tier.0 == Tier::Microvm);
    if was_raw && row.tier.0 != Tier::Microvm { Err(CreateError::ForeignHome) } else { Ok(()) }
}

async fn insert_fork(
    scope: &mut Scope,
    new: &NewWorkspace<'_>,
    (origin, base): (WorkspaceId, &SnapshotRecord),
    template: Option<&str>,
    now: OffsetDateTime,
) -> Result<u64, sqlx::Error> {
    let volume = VolumeId::random();
    insert_forked_volume(scope, volume, (origin, base), now).await?;
    // What an administrator has granted to the origin replaces the network policy of its template, and says
    // nothing about another template.
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus,
            memory_mib, home_mib,
             scratch_mib, pids, tier, volume_id, phase, desired_state, forked_from, forked_at, network_grant,
             network_choice, network_class_id)
         select w.tenant_id, $2, $3, $4, coalesce(t.name, w.template), coalesce(t.image, w.image),
             coalesce(t.vcpus, w.vcpus), coalesce(t.memory_mib, w.memory_mib),
             greatest(t.home_mib, w.home_mib), coalesce(t.scratch_mib, w.scratch_mib),
             coalesce(t.pids, w.pids), coalesce(t.tier, w.tier),
             $5, 'terminated', 'stopped', w.workspace_id, $6,
             case when t.name is distinct from w.template and t.name is not null then null
                 else w.network_grant end,
             w.network_choice, coalesce(w.class_id, w.network_class_id)
         from workspaces w left join templates t on t.tenant_id = w.tenant_id and t.name = $8
         where w.tenant_id = $1 and w.workspace_id = $7 and w.deleted_at is null",
        tenant,
        new.id.0,
        new.owner.0,
        new.name,
        volume.0,
        base.snapshot.created_at,
        origin.0,
        template,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected())
}

/// A volume whose first snapshot is another volume's. Its objects are kept from now on, whatever
/// happens to the origin.
async fn insert_forked_volume(
    scope: &mut Scope,
    volume: VolumeId,
    (origin, base): (WorkspaceId, &SnapshotRecord),
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "insert into volumes (tenant_id, volume_id, head, head_of, safe_at, stored_bytes, written_by)
         values ($1, $2, $3, $4, $5, $6, (select v.written_by from workspaces w
             join volumes v using (tenant_id, volume_id) where w.tenant_id = $1 and w.workspace_id = $7))",
        tenant,
        volume.0,
        &base.manifest.0[..],
        base.made_by.0,
        now,
        base.snapshot.stored_bytes as i64,
        origin.0,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "insert into snapshots (tenant_id, volume_id, snapshot_id, epoch, manifest, made_by, kind,
            consistency,
             changed_bytes, uploaded_bytes, stored_bytes, objects, created_at)
         select tenant_id, $3, $4, 0, manifest, $5, $6, consistency, 0, 0, stored_bytes, 0, created_at
         from snapshots where tenant_id = $1 and snapshot_id = $2",
        tenant,
        base.snapshot.id.0,
        volume.0,
        SnapshotId::random().0,
        base.made_by.0,
        Text(SnapshotKind::Requested).name(),
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

async fn insert_import(
    scope: &mut Scope,
    new: &NewWorkspace<'_>,
    import: &ImportRecord,
    now: OffsetDateTime,
) -> Result<u64, sqlx::Error> {
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus,
            memory_mib, home_mib,
             scratch_mib, pids, tier, volume_id, phase, desired_state, imported_from)
         select t.tenant_id, $2, $3, $4, t.name, t.image, t.vcpus, t.memory_mib, greatest(t.home_mib, $6),
             t.scratch_mib, t.pids, t.tier, $7, 'terminated', 'stopped', $8
         from templates t join tenants n using (tenant_id)
         where t.tenant_id = $1 and t.name = $5 and t.tier = any(n.tiers)",
        tenant,
        new.id.0,
        new.owner.0,
        new.name,
        import.template,
        import.home_mib as i32,
        import.volume.0,
        import.import.source.0,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update volumes set safe_at = $3 where tenant_id = $1 and volume_id = $2",
        tenant,
        import.volume.0,
        now,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected())
}

/// The first of `name`, `name-2`, `name-3` … that the owner does not use yet.
pub async fn find_free_name(scope: &mut Scope, owner: UserId, name: &str) -> Result<String, sqlx::Error> {
    let tenant = scope.tenant();
    let used: Vec<String> = sqlx::query_scalar!(
        "select name from workspaces
         where tenant_id = $1 and owner_id = $2 and deleted_at is null and desired_state <> 'deleted'",
        tenant,
        owner.0,
    )
    .fetch_all(scope.connection())
    .await?;
    let stem = name.get(..name.len().min(58)).unwrap_or(name).trim_end_matches('-');
    let mut candidates =
        std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{stem}-{number}")));
    Ok(candidates.find(|name| !used.contains(name)).expect("the numbers do not end"))
}

/// Renames a workspace.
pub async fn rename(scope: &mut Scope, workspace: WorkspaceId, name: &str) -> Result<(), CreateError> {
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "update workspaces set name = $3 where tenant_id = $1 and workspace_id = $2 and deleted_at is null",
        tenant,
        workspace.0,
        name,
    )
    .execute(scope.connection())
    .await;
    match done {
        Ok(_) => Ok(()),
        Err(error) if violated_constraint(&error) == Some("workspaces_name") => {
            Err(CreateError::NameTaken(name.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Grows a home and returns its size before. A home that is larger already stays as it is. None if
/// there is no such workspace. Roll the transaction back after an error.
pub async fn grow_home(
    scope: &mut Scope,
    limits: &Limits,
    workspace: WorkspaceId,
    home_mib: u32,
) -> Result<Option<u32>, LimitError> {
    let tenant = scope.tenant();
    let before = sqlx::query!(
        "select home_mib from workspaces
         where tenant_id = $1 and workspace_id = $2 and deleted_at is null for update",
        tenant,
        workspace.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    sqlx::query!(
        "update workspaces set home_mib = $3 where tenant_id = $1 and workspace_id = $2 and home_mib < $3",
        tenant,
        workspace.0,
        home_mib as i32,
    )
    .execute(scope.connection())
    .await?;
    let Some(before) = before else { return Ok(None) };
    let before_mib = before.home_mib.unsigned_abs();
    if home_mib > before_mib {
        budgets::check_grown(scope, limits, workspace).await?;
    }
    Ok(Some(before_mib))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_rule_is_checked() {
        for good in ["a", "7", "algo-1", &"a".repeat(63)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "ä", "a/b", "a\n", &"a".repeat(64)] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }
}
