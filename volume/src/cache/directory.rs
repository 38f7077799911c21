//! The cache's directory: who holds it, what lies in it, and what is recovered from it.
//!
//! ```text
//! lock          held by flock while the volume is open
//! data          the blocks, sparse
//! dirty.log     see `log`; replaced by rename
//! cut           the aside file of a running snapshot; means nothing to the next opening
//! superseded/   data and log of local changes that the head does not build on, for an operator;
//!               only the latest are kept
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use protocol::Epoch;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::{
    file::{CacheFile, Host},
    log::{self, Header, Log, Record},
};
use crate::{
    blocks::{BLOCK_BYTES, BlockSet},
    error::{LogError, VolumeError},
};

/// Name of the file that is locked.
pub const LOCK: &str = "lock";

/// The locked directory of an open cache.
#[derive(Debug)]
pub struct CacheDirectory {
    path: PathBuf,
    host: Host,
    lock: Option<Lock>,
    has_superseded: bool,
}

/// What was recovered from a cache directory.
#[derive(Debug)]
pub struct RecoveredCache {
    pub directory: CacheDirectory,
    pub data: CacheFile,
    pub log: Log,
    pub header: Header,
    /// Blocks that the data file holds.
    pub present: BlockSet,
    /// Blocks that differ from the head.
    pub dirty: BlockSet,
}

impl CacheDirectory {
    /// Locks the directory, creating it first if needed, and recovers what it holds for
    /// `wanted.head`. Everything that is recovered is durable when this returns.
    pub fn open(path: PathBuf, host: Host, wanted: Header) -> Result<RecoveredCache, VolumeError> {
        let failed = |what: &'static str| move |source| VolumeError::Cache { what, source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed("create the cache directory"))?;
        let lock = Lock::acquire(&path)?;
        let mut directory = Self { path, host, lock: Some(lock), has_superseded: false };
        directory.remove_aside_file();
        let _ = fs::remove_file(directory.file_path("dirty.log.new"));

        let blocks = (wanted.size_bytes / BLOCK_BYTES) as u32;
        let recovered = directory.recover(&wanted, blocks)?;
        if recovered.is_none() {
            let _ = fs::remove_file(directory.file_path("data"));
        }
        let (present, dirty) = recovered.unwrap_or_else(|| (BlockSet::new(blocks), BlockSet::new(blocks)));
        let data = CacheFile::open(&directory.file_path("data"), &directory.host, false)
            .map_err(failed("open the cache's data file"))?;
        if data.bytes().map_err(failed("get the size of the cache's data file"))? < wanted.size_bytes {
            data.resize(wanted.size_bytes).map_err(failed("resize the cache's data file"))?;
        }
        // What a killed process left in the page cache is trusted from now on, so it must be
        // durable first.
        data.sync().map_err(failed("sync the cache's data file"))?;
        let log =
            directory.replace_log(&wanted, &present, &dirty).map_err(failed("write the cache's log"))?;
        directory.has_superseded = directory.file_path("superseded").is_dir();
        Ok(RecoveredCache { directory, data, log, header: wanted, present, dirty })
    }

    /// The blocks that are present and those that are dirty, for the wanted head. None if there is
    /// nothing to continue from: then what was there has been moved aside or removed.
    fn recover(&mut self, wanted: &Header, blocks: u32) -> Result<Option<(BlockSet, BlockSet)>, VolumeError> {
        let path = self.file_path("dirty.log");
        if !path.exists() {
            return Ok(None);
        }
        let read =
            CacheFile::open(&path, &self.host, false).map_err(LogError::Io).and_then(|file| log::read(&file));
        let damaged = |source| VolumeError::CacheDamaged { cache: self.path.clone(), source };
        let (header, records) = read.map_err(damaged)?;
        check_header(&header, wanted)?;
        let replay = |head| log::replay(&header, &records, head, self.host.boot, blocks);
        let recovered = replay(wanted.head).filter(|_| header.lineage == wanted.lineage);
        if let Some(recovered) = recovered {
            if !recovered.present.is_empty() && !self.file_path("data").exists() {
                return Err(damaged(LogError::Io(io::ErrorKind::NotFound.into())));
            }
            return Ok(Some((recovered.present, recovered.dirty)));
        }
        // Snapshots that were not committed count as changes too: the log does not record whether
        // one was.
        let has_changes = replay(header.head).is_some_and(|recovered| !recovered.dirty.is_empty());
        self.supersede(has_changes)
            .map_err(|source| VolumeError::Cache { what: "move an outdated cache aside", source })?;
        Ok(None)
    }

    /// Removes an outdated cache. If it has changes that no snapshot has, moves it to `superseded/`
    /// instead.
    fn supersede(&self, has_changes: bool) -> io::Result<()> {
        let aside = self.file_path("superseded");
        if has_changes {
            tracing::warn!(
                cache = %self.path.display(),
                "the head does not build on this cache; its local changes are moved to superseded/"
            );
            let _ = fs::remove_dir_all(&aside);
            fs::DirBuilder::new().mode(0o700).create(&aside)?;
            // The log is moved last: until then, the next opening finds everything unchanged.
            fs::hard_link(self.file_path("data"), aside.join("data"))?;
            sync_directory(&aside)?;
            fs::rename(self.file_path("dirty.log"), aside.join("dirty.log"))?;
            sync_directory(&aside)?;
        } else {
            fs::remove_file(self.file_path("dirty.log"))?;
        }
        sync_directory(&self.path)
    }

    /// Replaces the log by one that records just this, durably.
    pub fn replace_log(&self, header: &Header, present: &BlockSet, dirty: &BlockSet) -> io::Result<Log> {
        let mut records = Vec::new();
        let mut add = |narrow: &dyn Fn(&mut BlockSet), kind: fn(std::ops::Range<u32>) -> Record| {
            let mut set = dirty.clone();
            narrow(&mut set);
            records.extend(set.runs().map(kind));
        };
        add(&|set| set.intersect(present), Record::Data);
        add(&|set| set.subtract(present), Record::Hole);
        let mut clean = present.clone();
        clean.subtract(dirty);
        records.extend(clean.runs().map(Record::Cached));
        let new = self.file_path("dirty.log.new");
        let log = Log::create(&new, &self.host, header.clone(), &records)?;
        fs::rename(&new, self.file_path("dirty.log"))?;
        sync_directory(&self.path)?;
        Ok(log)
    }

    /// Creates the aside file of a snapshot, empty.
    pub fn create_aside_file(&self) -> io::Result<CacheFile> {
        CacheFile::open(&self.file_path("cut"), &self.host, true)
    }

    pub fn remove_aside_file(&self) {
        let _ = fs::remove_file(self.file_path("cut"));
    }

    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Where changes that do not build on the head were moved to, if there are any.
    pub fn superseded(&self) -> Option<PathBuf> {
        self.has_superseded.then(|| self.file_path("superseded"))
    }

    /// Lets another process open the cache.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The directory's lock. It is released explicitly when dropped. Closing its descriptor would not
/// be enough: a child process has a copy of it between fork and exec.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks a directory that exists. Fails with [`VolumeError::InUse`] if another has it.
    pub fn acquire(directory: &Path) -> Result<Self, VolumeError> {
        let path = directory.join(LOCK);
        // A user who had the cache before may have put anything in its place: a link, or a pipe that waits.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let opened = options.open(path);
        let file = opened.map_err(|source| VolumeError::Cache { what: "open the cache's lock", source })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(VolumeError::InUse(directory.to_owned())),
            Err(errno) => Err(VolumeError::Cache { what: "lock the cache", source: errno.into() }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Refuses a cache of another volume, another key, a later placement or lineage, or a larger size.
fn check_header(found: &Header, wanted: &Header) -> Result<(), VolumeError> {
    if (found.tenant, found.volume) != (wanted.tenant, wanted.volume) {
        return Err(VolumeError::OtherVolume { found: found.volume, wanted: wanted.volume });
    }
    if found.key_check != wanted.key_check {
        return Err(VolumeError::WrongKey);
    }
    check_epoch(found.epoch, wanted.epoch)?;
    if found.lineage > wanted.lineage {
        return Err(VolumeError::Fenced { found: found.epoch, wanted: wanted.epoch });
    }
    check_size(found.size_bytes, wanted.size_bytes)
}

/// Refuses what a later placement wrote.
pub fn check_epoch(found: Epoch, wanted: Epoch) -> Result<(), VolumeError> {
    if found > wanted { Err(VolumeError::Fenced { found, wanted }) } else { Ok(()) }
}

/// Refuses to shrink.
pub fn check_size(found: u64, wanted: u64) -> Result<(), VolumeError> {
    if found > wanted { Err(VolumeError::Shrunk { found, wanted }) } else { Ok(()) }
}

/// Makes renames in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
