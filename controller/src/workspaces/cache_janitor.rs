//! The janitor of this host's caches: removes those of deleted and unknown volumes, and bounds the
//! space of those at rest.
//!
//! A cache is not encrypted, and a start does without it. What a cache has and the store does not
//! is kept as long as anybody can ask for it: until the workspace runs again, or until it can no
//! longer be undeleted. The decisions are pure; [`run`] carries them out.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use protocol::{ManifestId, VolumeId, WorkspaceId, workspace::Phase};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::{task::spawn_blocking, time::Instant};
use uuid::Uuid;
use volume::{FreeSpace, IdleCache};

use crate::{
    core::{App, Core},
    db::text::Text,
    lifecycle::record::manifest,
};

/// Longest pause between two passes: a disk that runs low is noticed by then.
const PASS_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest pause between two passes, however much changes.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What the controller knows of the volume of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// No volume of the database.
    Unknown,
    /// A workspace whose sandbox runs, starts or stops, or whose runner has not ended.
    Busy,
    /// A workspace at rest.
    AtRest,
    /// A deleted workspace. `is_kept`: it can still be undeleted.
    Deleted { is_kept: bool },
}

/// A cache on the disk that no volume has open.
#[derive(Clone, Copy, Debug)]
struct CacheFacts {
    owner: Owner,
    has_changes: bool,
    bytes: u64,
    /// When it was last used, as seconds ago.
    idle_seconds: u64,
}

impl CacheFacts {
    fn of(owner: Owner, cache: &IdleCache) -> Self {
        Self {
            owner,
            has_changes: cache.has_changes(),
            bytes: cache.disk_bytes(),
            idle_seconds: cache.used_at().elapsed().unwrap_or_default().as_secs(),
        }
    }
}

/// Selects the caches to remove: all that nobody needs, and then, until those at rest take at most
/// `max_bytes`, the ones that were used least recently. Returns their indexes.
fn select_removed(caches: &[CacheFacts], max_bytes: u64) -> Vec<usize> {
    let mut removed: Vec<usize> = (0..caches.len()).filter(|index| is_needless(&caches[*index])).collect();
    let mut at_rest: Vec<usize> =
        (0..caches.len()).filter(|index| caches[*index].owner == Owner::AtRest).collect();
    let mut total: u64 = at_rest.iter().map(|index| caches[*index].bytes).sum();
    at_rest.sort_by_key(|index| std::cmp::Reverse(caches[*index].idle_seconds));
    for index in at_rest.into_iter().filter(|index| !caches[*index].has_changes) {
        if total <= max_bytes {
            break;
        }
        total -= caches[index].bytes;
        removed.push(index);
    }
    removed
}

/// Whether no start will ever use a cache, and nobody can ask for what only it has.
fn is_needless(cache: &CacheFacts) -> bool {
    match cache.owner {
        Owner::Busy | Owner::AtRest => false,
        // A database that was restored from a backup may not know the volume yet.
        Owner::Unknown => !cache.has_changes,
        Owner::Deleted { is_kept } => !cache.has_changes || !is_kept,
    }
}

/// Runs until the shutdown: at the start, after changes of workspaces, and now and then.
pub async fn run(app: App) {
    let shutdown = app.tasks.shutdown().clone();
    loop {
        if let Err(error) = clean(&app).await {
            tracing::error!(error = format!("{error:#}"), "cannot remove caches of homes");
        }
        let deadline = Instant::now() + PASS_INTERVAL;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(MIN_INTERVAL) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep_until(deadline) => {}
            () = app.cache_notice.notified() => {}
        }
    }
}

/// One pass over all caches of this host.
async fn clean(core: &Core) -> anyhow::Result<()> {
    let directory: Arc<Path> = core.config.cache_dir.as_path().into();
    let listed = spawn_blocking({
        let directory = directory.clone();
        move || list(&directory)
    });
    let volumes = listed.await??;
    let owners = find_owners(core, &volumes).await?;
    let max_bytes = core.config.max_cache_bytes;
    let removed = spawn_blocking(move || {
        let has_room = !matches!(FreeSpace::of(&directory), Ok(FreeSpace::Low | FreeSpace::NearlyFull));
        remove(&directory, &owners, if has_room { max_bytes } else { 0 })
    });
    let removed = removed.await?;
    if removed > 0 {
        tracing::info!(caches = removed, "removed caches of homes");
    }
    Ok(())
}

/// The volumes that have a cache. Finishes interrupted removals first.
fn list(directory: &Path) -> std::io::Result<Vec<VolumeId>> {
    if !directory.exists() {
        return Ok(vec![]);
    }
    volume::finish_removals(directory)?;
    let mut volumes = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        // Nothing else is ours to remove.
        volumes.extend(entry?.file_name().to_str().and_then(|name| name.parse::<VolumeId>().ok()));
    }
    Ok(volumes)
}

/// A volume of the database, as far as its cache depends on it.
#[derive(Clone, Copy, Debug)]
struct VolumeFacts {
    owner: Owner,
    head: Option<ManifestId>,
}

async fn find_owners(
    core: &Core,
    volumes: &[VolumeId],
) -> Result<HashMap<VolumeId, VolumeFacts>, sqlx::Error> {
    let ids: Vec<Uuid> = volumes.iter().map(|volume| volume.0).collect();
    let kept_since = core.now() - core.config.history.deleted_grace;
    let mut system = core.db.system().await?;
    let mut owners: HashMap<VolumeId, VolumeFacts> =
        volumes.iter().map(|volume| (*volume, VolumeFacts { owner: Owner::Unknown, head: None })).collect();
    for row in find_volumes(system.connection(), &ids).await? {
        let is_busy = row.workspace_id.is_some_and(|id| core.engine.is_busy(WorkspaceId(id)));
        let is_at_rest = row.phase.is_none_or(|phase| phase.0 == Phase::Terminated);
        let owner = match row.deleted_at {
            _ if is_busy => Owner::Busy,
            Some(at) => Owner::Deleted { is_kept: at >= kept_since },
            None if is_at_rest => Owner::AtRest,
            None => Owner::Busy,
        };
        let head = row.head.as_deref().and_then(manifest);
        owners.insert(VolumeId(row.volume_id), VolumeFacts { owner, head });
    }
    Ok(owners)
}

struct VolumeRow {
    volume_id: Uuid,
    head: Option<Vec<u8>>,
    workspace_id: Option<Uuid>,
    phase: Option<Text<Phase>>,
    deleted_at: Option<OffsetDateTime>,
}

async fn find_volumes(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<VolumeRow>, sqlx::Error> {
    sqlx::query_as!(
        VolumeRow,
        r#"select v.volume_id as "volume_id!", v.head, w.workspace_id as "workspace_id?: Uuid",
                  w.phase as "phase?: Text<Phase>", w.deleted_at as "deleted_at?: OffsetDateTime"
           from volumes v left join workspaces w using (tenant_id, volume_id)
           where v.volume_id = any($1)"#,
        ids,
    )
    .fetch_all(connection)
    .await
}

/// Removes what should not be there. Returns the number of removed caches. One that cannot be read
/// or removed is logged, and the others are handled. Each cache is locked for a moment only, so that
/// its workspace can start.
fn remove(directory: &Path, volumes: &HashMap<VolumeId, VolumeFacts>, max_bytes: u64) -> usize {
    let open = |volume: VolumeId, facts: VolumeFacts| {
        let opened = IdleCache::open(&directory.join(volume.to_string()), facts.head);
        opened.unwrap_or_else(|error| {
            tracing::warn!(%error, %volume, "cannot read the cache of a home");
            None
        })
    };
    let idle: Vec<(VolumeId, VolumeFacts, CacheFacts)> = volumes
        .iter()
        .filter(|(_, facts)| facts.owner != Owner::Busy)
        .filter_map(|(volume, facts)| {
            let cache = open(*volume, *facts)?;
            Some((*volume, *facts, CacheFacts::of(facts.owner, &cache)))
        })
        .collect();
    let caches: Vec<CacheFacts> = idle.iter().map(|(_, _, cache)| *cache).collect();
    let mut removed = 0;
    for (volume, facts, cache) in select_removed(&caches, max_bytes).into_iter().map(|index| idle[index]) {
        // Its workspace may have run since.
        let Some(now) = open(volume, facts).filter(|now| now.has_changes() == cache.has_changes) else {
            continue;
        };
        match now.remove() {
            Ok(()) => removed += 1,
            Err(error) => tracing::warn!(%error, %volume, "cannot remove the cache of a home"),
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(owner: Owner, has_changes: bool, bytes: u64, idle_seconds: u64) -> CacheFacts {
        CacheFacts { owner, has_changes, bytes, idle_seconds }
    }

    #[test]
    fn needless_caches_are_removed() {
        let (kept, gone) = (Owner::Deleted { is_kept: true }, Owner::Deleted { is_kept: false });
        for (owner, has_changes, is_removed) in [
            (Owner::Busy, false, false),
            (Owner::Busy, true, false),
            (Owner::AtRest, false, false),
            (Owner::AtRest, true, false),
            (Owner::Unknown, false, true),
            (Owner::Unknown, true, false),
            (kept, false, true),
            (kept, true, false),
            (gone, false, true),
            (gone, true, true),
        ] {
            let selected = select_removed(&[cache(owner, has_changes, 10, 0)], 100);
            assert_eq!(selected == [0], is_removed, "{owner:?}, changes: {has_changes}");
        }
    }

    #[test]
    fn least_recently_used_are_removed_beyond_budget() {
        let caches = [
            cache(Owner::AtRest, false, 40, 5),
            cache(Owner::AtRest, true, 40, 500),
            cache(Owner::Busy, false, 40, 400),
            cache(Owner::AtRest, false, 40, 50),
            cache(Owner::AtRest, false, 40, 20),
        ];
        assert_eq!(select_removed(&caches, 160), [0; 0]);
        assert_eq!(select_removed(&caches, 159), [3]);
        assert_eq!(select_removed(&caches, 80), [3, 4]);
        assert_eq!(select_removed(&caches, 0), [3, 4, 0], "what the store does not have stays");
    }
}
