//! Making, renaming, growing and finding workspaces again by a request's key.

use protocol::{ClassId, UserId, VolumeId, WorkspaceId, agent::HOME_DISK_BYTES};

use crate::db::Scope;

/// Workspaces of one person: far above use, below harm.
pub const MAX_WORKSPACES_OF_ONE: i64 = 200;

/// Largest home: it lies on a disk of a fixed size, and a GiB of that is the file system's own to move in.
pub const MAX_HOME_MIB: u32 = (HOME_DISK_BYTES >> 20) as u32 - 1024;

/// A name of workspaces, classes and hosts: 1 ..= 63 of `[a-z0-9-]`, beginning and ending with a letter or digit.
pub fn is_name(name: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
        && bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
}

/// A new workspace at rest, with an empty home, sized by its template. False: there is no such template.
pub async fn insert(
    scope: &mut Scope,
    workspace: WorkspaceId,
    owner: UserId,
    name: &str,
    template: &str,
    class: Option<ClassId>,
) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let volume = VolumeId::random();
    sqlx::query!("insert into volumes (tenant_id, volume_id) values ($1, $2)", tenant, volume.0)
        .execute(scope.connection())
        .await?;
    let done = sqlx::query!(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus, memory_mib, home_mib,
             scratch_mib, pids, class_id, volume_id, phase, desired_state)
         select t.tenant_id, $2, $3, $4, t.name, t.image, t.vcpus, t.memory_mib, t.home_mib, t.scratch_mib, t.pids, $6, $7,
             'terminated', 'stopped'
         from templates t where t.tenant_id = $1 and t.name = $5",
        tenant,
        workspace.0,
        owner.0,
        name,
        template,
        class.map(|class| class.0),
        volume.0,
    )
    .execute(scope.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// How many workspaces a person has.
pub async fn count(scope: &mut Scope, owner: UserId) -> Result<i64, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from workspaces where tenant_id = $1 and owner_id = $2 and deleted_at is null"#,
        tenant,
        owner.0,
    )
    .fetch_one(scope.connection())
    .await
}

/// The first of `name`, `name-2`, `name-3` … that the owner has not.
pub async fn free_name(scope: &mut Scope, owner: UserId, name: &str) -> Result<String, sqlx::Error> {
    let tenant = scope.tenant();
    let taken: Vec<String> = sqlx::query_scalar!(
        "select name from workspaces where tenant_id = $1 and owner_id = $2 and deleted_at is null",
        tenant,
        owner.0,
    )
    .fetch_all(scope.connection())
    .await?;
    let stem = name.get(..name.len().min(58)).unwrap_or(name).trim_end_matches('-');
    let mut candidates =
        std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{stem}-{number}")));
    Ok(candidates.find(|name| !taken.contains(name)).expect("the numbers do not end"))
}

pub async fn rename(scope: &mut Scope, workspace: WorkspaceId, name: &str) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces set name = $3 where tenant_id = $1 and workspace_id = $2 and deleted_at is null",
        tenant,
        workspace.0,
        name,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Lets a home grow; its size before. One that is larger already stays as it is.
pub async fn grow(
    scope: &mut Scope,
    workspace: WorkspaceId,
    home_mib: u32,
) -> Result<Option<u32>, sqlx::Error> {
    let tenant = scope.tenant();
    let before = sqlx::query_scalar!(
        "select home_mib from workspaces where tenant_id = $1 and workspace_id = $2 and deleted_at is null for update",
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
    Ok(before.map(i32::unsigned_abs))
}

/// What became of a request's key.
pub enum Key {
    /// Not seen before; it is ours now.
    Fresh,
    /// The first request with it made this.
    Known(WorkspaceId),
    /// It stood for another request.
    Other,
}

/// Claims an idempotency key for the workspace that is about to be made. A second claim waits for the first one's transaction.
pub async fn claim_key(
    scope: &mut Scope,
    key: &str,
    request_hash: &[u8; 32],
    workspace: WorkspaceId,
) -> Result<Key, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let done = sqlx::query!(
        "insert into idempotency (tenant_id, user_id, key, request_hash, workspace_id) values ($1, $2, $3, $4, $5)
         on conflict do nothing",
        tenant,
        user,
        key,
        &request_hash[..],
        workspace.0,
    )
    .execute(scope.connection())
    .await?;
    if done.rows_affected() > 0 { Ok(Key::Fresh) } else { recall_key(scope, key, request_hash).await }
}

/// What became of a key so far.
pub async fn recall_key(scope: &mut Scope, key: &str, request_hash: &[u8; 32]) -> Result<Key, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let known = sqlx::query!(
        "select request_hash, workspace_id from idempotency where tenant_id = $1 and user_id = $2 and key = $3",
        tenant,
        user,
        key,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(match known {
        Some(known) if known.request_hash == request_hash => Key::Known(WorkspaceId(known.workspace_id)),
        Some(_) => Key::Other,
        None => Key::Fresh,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "7", "algo-1", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "ä", "a/b", "a\n", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
