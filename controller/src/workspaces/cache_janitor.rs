//! The janitor of this host's caches: removes those of deleted and unknown volumes, and bounds the
//! space of those at rest. When the disk is short of room it removes more of them, and then prototypes.
//!
//! A cache is not encrypted, and a start does without it. What a cache has and the store does not
//! is kept as long as anybody can ask for it: until the workspace runs again, or until it can no
//! longer be undeleted. The decisions are pure; [`run`] carries them out.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::{ManifestId, VolumeId, WorkspaceId, workspace::Phase};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::{task::spawn_blocking, time::Instant};
use uuid::Uuid;
use volume::IdleCache;

use crate::{
    core::{App, Core},
    db::text::Text,
    disk::measure::{is_same_disk, list_prototypes},
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
    /// Its owner takes more of the disk than the limit.
    is_over_limit: bool,
}

/// How much must go. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// The most that caches at rest may take.
    max_at_rest: u64,
    /// What must be freed beside that, because the disk is short of room.
    to_free: u64,
}

impl CacheFacts {
    fn of(owner: Owner, is_over_limit: bool, cache: &IdleCache) -> Self {
        Self {
            owner,
            is_over_limit,
            has_changes: cache.has_changes(),
            bytes: cache.disk_bytes(),
            idle_seconds: cache.used_at().elapsed().unwrap_or_default().as_secs(),
        }
    }
}

/// Selects the caches to remove: all that nobody needs, those at rest of owners who take more than their
/// limit, and then, until those at rest take little enough and enough is freed, the ones that were used
/// least recently. Never one that has what the store does not have. Returns their indexes.
fn select_removed(caches: &[CacheFacts], wanted: Wanted) -> Vec<usize> {
    let mut removed: Vec<usize> = (0..caches.len()).filter(|index| is_needless(&caches[*index])).collect();
    let mut freed: u64 = removed.iter().map(|index| caches[*index].bytes).sum();
    let mut at_rest: Vec<usize> =
        (0..caches.len()).filter(|index| caches[*index].owner == Owner::AtRest).collect();
    let mut total: u64 = at_rest.iter().map(|index| caches[*index].bytes).sum();
    at_rest
        .sort_by_key(|index| (!caches[*index].is_over_limit, std::cmp::Reverse(caches[*index].idle_seconds)));
    for index in at_rest.into_iter().filter(|index| !caches[*index].has_changes) {
        let cache = &caches[index];
        if total <= wanted.max_at_rest && freed >= wanted.to_free && !cache.is_over_limit {
            break;
        }
        (total, freed) = (total - cache.bytes, freed + cache.bytes);
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
    let disk = core.disk.measure(&core.config)?;
    let wanted = Wanted { max_at_rest: core.config.max_cache_bytes, to_free: disk.bytes_to_free() };
    let over_limit: HashSet<VolumeId> = core.disk.volumes_over_limit(&core.config.disk).into_iter().collect();
    let removed = spawn_blocking(move || remove(&directory, &owners, &over_limit, wanted)).await?;
    if removed > 0 {
        tracing::info!(caches = removed, "removed caches of homes");
    }
    if core.disk.measure(&core.config)?.bytes_to_free() > 0 {
        let caches = &core.config.cache_dir;
        let is_here = |images: &&PathBuf| is_same_disk(images, caches);
        let images: Vec<PathBuf> = core.config.disk.image_dirs.iter().filter(is_here).cloned().collect();
        spawn_blocking(move || remove_oldest_prototype(&images)).await??;
    }
    Ok(())
}

/// Removes the prototype that was used least recently: the next start of its kind makes it again. Guests
/// that were copied from it keep it until they end. Returns whether there was one.
fn remove_oldest_prototype(image_dirs: &[PathBuf]) -> io::Result<bool> {
    let mut prototypes: Vec<(SystemTime, PathBuf)> = Vec::new();
    for directory in image_dirs.iter().flat_map(|images| list_prototypes(images)) {
        for entry in fs::read_dir(directory)?.flatten() {
            // One that is being made has an extension, and so has a lock.
            if entry.path().extension().is_none() && entry.path().is_dir() {
                prototypes.push((last_change(&entry.path())?, entry.path()));
            }
        }
    }
    let Some((_, oldest)) = prototypes.into_iter().min() else { return Ok(false) };
    fs::remove_dir_all(&oldest)?;
    tracing::info!(prototype = %oldest.display(), "removed a prototype: the disk is short of room");
    Ok(true)
}

/// When a file in the directory has changed last. A start marks the prototype that it copies.
fn last_change(directory: &Path) -> io::Result<SystemTime> {
    let mut last = fs::metadata(directory)?.modified()?;
    for entry in fs::read_dir(directory)?.flatten() {
        last = last.max(entry.metadata()?.modified()?);
    }
    Ok(last)
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
fn remove(
    directory: &Path,
    volumes: &HashMap<VolumeId, VolumeFacts>,
    over_limit: &HashSet<VolumeId>,
    wanted: Wanted,
) -> usize {
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
            Some((*volume, *facts, CacheFacts::of(facts.owner, over_limit.contains(volume), &cache)))
        })
        .collect();
    let caches: Vec<CacheFacts> = idle.iter().map(|(_, _, cache)| *cache).collect();
    let mut removed = 0;
    for (volume, facts, cache) in select_removed(&caches, wanted).into_iter().map(|index| idle[index]) {
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
        CacheFacts { owner, has_changes, bytes, idle_seconds, is_over_limit: false }
    }

    fn at_most(max_at_rest: u64) -> Wanted {
        Wanted { max_at_rest, to_free: 0 }
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
            let selected = select_removed(&[cache(owner, has_changes, 10, 0)], at_most(100));
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
        assert_eq!(select_removed(&caches, at_most(160)), [0; 0]);
        assert_eq!(select_removed(&caches, at_most(159)), [3]);
        assert_eq!(select_removed(&caches, at_most(80)), [3, 4]);
        assert_eq!(select_removed(&caches, at_most(0)), [3, 4, 0], "what the store does not have stays");
    }

    #[test]
    fn short_disk_takes_oldest_and_over_limit() {
        let mut caches = [
            cache(Owner::AtRest, false, 40, 5),
            cache(Owner::AtRest, true, 40, 500),
            cache(Owner::AtRest, false, 40, 50),
            cache(Owner::Unknown, false, 10, 1),
        ];
        let free = |to_free| Wanted { max_at_rest: u64::MAX, to_free };
        assert_eq!(select_removed(&caches, free(10)), [3], "what nobody needs goes anyway");
        assert_eq!(select_removed(&caches, free(11)), [3, 2]);
        assert_eq!(select_removed(&caches, free(u64::MAX)), [3, 2, 0], "what is not saved stays");
        (caches[0].is_over_limit, caches[1].is_over_limit) = (true, true);
        assert_eq!(select_removed(&caches, free(0)), [3, 0]);
        assert_eq!(select_removed(&caches, free(51)), [3, 0, 2]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_unsaved_is_removed(
            facts in proptest::collection::vec((0..5_u8, proptest::bool::ANY, 0..1000_u64, 0..1000_u64,
                proptest::bool::ANY), 0..30),
            max_at_rest in 0..5000_u64,
            to_free in 0..5000_u64,
        ) {
            let owners = [Owner::Unknown, Owner::Busy, Owner::AtRest, Owner::Deleted { is_kept: true },
                Owner::Deleted { is_kept: false }];
            let new = |(owner, has_changes, bytes, idle, is_over_limit): (u8, _, _, _, _)| {
                let cache = cache(owners[usize::from(owner)], has_changes, bytes, idle);
                CacheFacts { is_over_limit, ..cache }
            };
            let caches: Vec<CacheFacts> = facts.into_iter().map(new).collect();
            for index in select_removed(&caches, Wanted { max_at_rest, to_free }) {
                let (owner, has_changes) = (caches[index].owner, caches[index].has_changes);
                let is_wanted = owner != Owner::Deleted { is_kept: false };
                proptest::prop_assert!(owner != Owner::Busy);
                proptest::prop_assert!(!has_changes || !is_wanted);
            }
        }
    }

    #[test]
    fn oldest_prototype_goes_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let images = [directory.path().to_owned()];
        assert!(!remove_oldest_prototype(&images).expect("nothing there"));
        let make = |name: &str, age: u64| {
            let path = directory.path().join("base/prototypes").join(name);
            fs::create_dir_all(&path).expect("made");
            let at = SystemTime::now() - Duration::from_secs(age);
            for path in [&path.join("state"), &path] {
                let file = if path.is_dir() { fs::File::open(path) } else { fs::File::create(path) };
                file.expect("opened").set_modified(at).expect("set");
            }
            path
        };
        let (young, old, unfinished) = (make("young", 10), make("old", 1000), make("other.new", 5000));
        assert!(remove_oldest_prototype(&images).expect("removed"));
        assert!(young.exists() && !old.exists() && unfinished.exists());
    }
}
