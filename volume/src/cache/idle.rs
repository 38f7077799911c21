//! Caches that no volume has open: what they hold, and their removal.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use protocol::ManifestId;

use super::{
    directory::{Lock, sync_directory},
    file::{CacheFile, Host},
    log,
};
use crate::{
    blocks::BLOCK_BYTES,
    error::{LogError, VolumeError},
    format::key::{hex, random_bytes},
};

/// Prefix of directories that are being removed.
const REMOVED: &str = ".removed-";
/// Unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// The cache of a volume that is not open. While this exists, no process can open it.
#[derive(Debug)]
pub struct IdleCache {
    path: PathBuf,
    /// The cache holds something that the head does not have.
    has_changes: bool,
    disk_bytes: u64,
    used_at: SystemTime,
    _lock: Lock,
}

impl IdleCache {
    /// Locks the cache in a directory and reads what it holds. `head` is the committed snapshot of
    /// its volume. None if a volume has it open, or if there is none.
    pub fn open(path: &Path, head: Option<ManifestId>) -> Result<Option<Self>, VolumeError> {
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = match Lock::acquire(path) {
            Ok(lock) => lock,
            Err(VolumeError::InUse(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let failed = |source| VolumeError::Cache { what: "read the cache directory", source };
        Ok(Some(Self {
            has_changes: has_changes(path, head),
            disk_bytes: disk_bytes(path).map_err(failed)?,
            used_at: used_at(path).map_err(failed)?,
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    /// Whether it may hold something that the head does not have. A damaged log counts as such.
    pub fn has_changes(&self) -> bool {
        self.has_changes
    }

    /// Space that it takes on the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// When it was last changed.
    pub fn used_at(&self) -> SystemTime {
        self.used_at
    }

    /// Removes the cache with everything that it holds. A volume that is opened during that begins
    /// with an empty one.
    pub fn remove(self) -> io::Result<()> {
        let parent = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let removed = parent.join(format!("{REMOVED}{}", hex(&random_bytes::<16>())));
        fs::rename(&self.path, &removed)?;
        sync_directory(parent)?;
        fs::remove_dir_all(removed)
    }
}

/// Removes what interrupted removals have left in the directory of all caches.
pub fn finish_removals(caches: &Path) -> io::Result<()> {
    for entry in fs::read_dir(caches)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(REMOVED) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn has_changes(path: &Path, head: Option<ManifestId>) -> bool {
    let log = path.join("dirty.log");
    if path.join("superseded").is_dir() {
        return true;
    }
    if !log.exists() {
        return false;
    }
    let host = Host::current();
    let read = CacheFile::open(&log, &host, false).map_err(LogError::Io).and_then(|file| log::read(&file));
    let Ok((header, records)) = read else { return true };
    let blocks = (header.size_bytes / BLOCK_BYTES) as u32;
    let replay = |head| log::replay(&header, &records, head, host.boot, blocks);
    // A cache that does not build on this head has what it changed since its own.
    let recovered = replay(head).or_else(|| replay(header.head));
    recovered.is_none_or(|recovered| !recovered.dirty.is_empty())
}

fn disk_bytes(path: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += metadata.blocks() * STAT_BLOCK_BYTES;
        if metadata.is_dir() {
            total += disk_bytes(&entry.path())?;
        }
    }
    Ok(total)
}

fn used_at(path: &Path) -> io::Result<SystemTime> {
    match fs::metadata(path.join("dirty.log")) {
        Ok(metadata) => metadata.modified(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(path)?.modified(),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, random_bytes, write};

    fn open(world: &World, head: Option<ManifestId>) -> Option<IdleCache> {
        IdleCache::open(&world.directory.path().join("cache"), head).expect("reads")
    }

    #[tokio::test]
    async fn cache_without_changes_is_known_and_removed() {
        let world = World::new(256).await;
        assert!(open(&world, None).is_none(), "there is none");
        let volume = world.open("cache", None).await;
        write(&volume, 0, random_bytes(400_000)).await;
        assert!(open(&world, None).is_none(), "it is in use");
        volume.close().await.expect("closes");
        let unsaved = open(&world, None).expect("is idle");
        assert!(unsaved.has_changes() && unsaved.disk_bytes() >= 400_000);
        assert!(world.try_open("cache", None).await.is_err(), "locked");
        drop(unsaved);

        let volume = world.open("cache", None).await;
        let head = volume.snapshot(|_| ()).await.expect("stored").manifest;
        volume.close().await.expect("closes");
        assert!(!open(&world, Some(head)).expect("is idle").has_changes(), "committed, but not confirmed");
        assert!(open(&world, None).expect("is idle").has_changes(), "not committed");
        let volume = world.open("cache", Some(head)).await;
        write(&volume, 0, random_bytes(1)).await;
        volume.close().await.expect("closes");
        assert!(open(&world, Some(head)).expect("is idle").has_changes());

        open(&world, None).expect("is idle").remove().expect("removed");
        let left: Vec<_> = fs::read_dir(world.directory.path()).expect("listed").collect();
        assert_eq!(left.len(), 1, "only the objects: {left:?}");
        let volume = world.open("cache", Some(head)).await;
        write(&volume, 0, random_bytes(1)).await;
    }

    #[tokio::test]
    async fn damaged_cache_counts_as_changed() {
        let world = World::new(16).await;
        world.open("cache", None).await.close().await.expect("closes");
        assert!(!open(&world, None).expect("is idle").has_changes());
        fs::write(world.directory.path().join("cache/dirty.log"), [1; 100]).expect("written");
        assert!(open(&world, None).expect("is idle").has_changes());
    }

    #[test]
    fn interrupted_removals_are_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join(".removed-1/superseded")).expect("made");
        fs::create_dir(directory.path().join("kept")).expect("made");
        finish_removals(directory.path()).expect("removed");
        let left: Vec<_> = fs::read_dir(directory.path()).expect("listed").collect();
        assert_eq!(left.len(), 1);
    }
}
