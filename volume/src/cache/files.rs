//! The cache's directory: who holds it, what lies in it, and what an opening makes of it.
//!
//! ```text
//! lock          held by flock as long as the volume is open
//! data          the blocks, sparse
//! dirty.log     see super::log; replaced by rename
//! cut           blocks that a running snapshot still needs; means nothing to the next opening
//! superseded/   data and log of a past that the head does not rest on: the latest such, kept for people to look at
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use protocol::Epoch;
use rustix::fs::{FlockOperation, flock};

use super::{
    disk::{Disk, Machine},
    log::{self, Header, Log, LogError, Record},
};
use crate::{
    blocks::{BLOCK_BYTES, BlockSet},
    error::VolumeError,
};

#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    machine: Machine,
    lock: Option<Lock>,
    superseded: bool,
}

/// A cache as it was found, ready to go on.
#[derive(Debug)]
pub struct Opened {
    pub files: Files,
    pub data: Disk,
    pub log: Log,
    pub header: Header,
    pub present: BlockSet,
    pub dirty: BlockSet,
}

impl Files {
    /// Takes hold of the directory and brings its content onto `wanted.head`.
    pub fn open(directory: PathBuf, machine: Machine, wanted: Header) -> Result<Opened, VolumeError> {
        let failed = |what: &'static str| move |source| VolumeError::Cache { what, source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed("make its directory"))?;
        let lock = take_lock(&directory)?;
        let mut files = Self { directory, machine, lock: Some(lock), superseded: false };
        files.remove_beside();
        let _ = fs::remove_file(files.path("dirty.log.new"));

        let blocks = (wanted.size_bytes / BLOCK_BYTES) as u32;
        let found = files.find(&wanted, blocks)?;
        if found.is_none() {
            let _ = fs::remove_file(files.path("data"));
        }
        let (present, dirty) = found.unwrap_or_else(|| (BlockSet::new(blocks), BlockSet::new(blocks)));
        let data = Disk::open(&files.path("data"), &files.machine, false).map_err(failed("open its data"))?;
        if data.bytes().map_err(failed("measure its data"))? < wanted.size_bytes {
            data.resize(wanted.size_bytes).map_err(failed("size its data"))?;
        }
        // What the page cache holds of a killed process is believed from now on, so it has to be durable first.
        data.sync().map_err(failed("sync its data"))?;
        let log = files.replace_log(&wanted, &present, &dirty).map_err(failed("write its log"))?;
        files.superseded = files.path("superseded").is_dir();
        Ok(Opened { files, data, log, header: wanted, present, dirty })
    }

    /// What the cache holds for the wanted head: the blocks that are present, and those that are dirty.
    fn find(&mut self, wanted: &Header, blocks: u32) -> Result<Option<(BlockSet, BlockSet)>, VolumeError> {
        let path = self.path("dirty.log");
        if !path.exists() {
            return Ok(None);
        }
        let read =
            Disk::open(&path, &self.machine, false).map_err(LogError::Io).and_then(|disk| log::read(&disk));
        let (header, records) =
            read.map_err(|source| VolumeError::CacheDamaged { cache: self.directory.clone(), source })?;
        check(&header, wanted)?;
        let replay = |head| log::replay(&header, &records, head, self.machine.boot, blocks);
        let recovered = replay(wanted.head).filter(|_| header.lineage == wanted.lineage);
        if let Some(recovered) = recovered {
            if !recovered.present.is_empty() && !self.path("data").exists() {
                let source = LogError::Io(io::ErrorKind::NotFound.into());
                return Err(VolumeError::CacheDamaged { cache: self.directory.clone(), source });
            }
            return Ok(Some((recovered.present, recovered.dirty)));
        }
        // Also what snapshots hold that nobody committed: whether one was, the log does not tell.
        let has_work = replay(header.head).is_some_and(|recovered| !recovered.dirty.is_empty());
        self.supersede(has_work)
            .map_err(|source| VolumeError::Cache { what: "put an outdated one aside", source })?;
        Ok(None)
    }

    /// Puts the content aside; if it holds work that no snapshot has, people may want it.
    fn supersede(&self, has_work: bool) -> io::Result<()> {
        let aside = self.path("superseded");
        if has_work {
            tracing::warn!(cache = %self.directory.display(), "the head rests on another past; local work is kept aside");
            let _ = fs::remove_dir_all(&aside);
            fs::DirBuilder::new().mode(0o700).create(&aside)?;
            // The log goes last and by rename: until then the next opening finds all as it was.
            fs::hard_link(self.path("data"), aside.join("data"))?;
            sync_directory(&aside)?;
            fs::rename(self.path("dirty.log"), aside.join("dirty.log"))?;
            sync_directory(&aside)?;
        } else {
            fs::remove_file(self.path("dirty.log"))?;
        }
        sync_directory(&self.directory)
    }

    /// A log that says just this, durable, in place of the one before.
    pub fn replace_log(&self, header: &Header, present: &BlockSet, dirty: &BlockSet) -> io::Result<Log> {
        let mut records = Vec::new();
        let mut add = |with: &dyn Fn(&mut BlockSet), kind: fn(std::ops::Range<u32>) -> Record| {
            let mut set = dirty.clone();
            with(&mut set);
            records.extend(set.runs().map(kind));
        };
        add(&|set| set.intersect(present), Record::Data);
        add(&|set| set.subtract(present), Record::Hole);
        let mut clean = present.clone();
        clean.subtract(dirty);
        records.extend(clean.runs().map(Record::Cached));
        let beside = self.path("dirty.log.new");
        let log = Log::create(&beside, &self.machine, header.clone(), &records)?;
        fs::rename(&beside, self.path("dirty.log"))?;
        sync_directory(&self.directory)?;
        Ok(log)
    }

    /// An empty file for what a snapshot still needs.
    pub fn beside(&self) -> io::Result<Disk> {
        Disk::open(&self.path("cut"), &self.machine, true)
    }

    pub fn remove_beside(&self) {
        let _ = fs::remove_file(self.path("cut"));
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.clone()
    }

    pub fn superseded(&self) -> Option<PathBuf> {
        self.superseded.then(|| self.path("superseded"))
    }

    pub fn unlock(&mut self) {
        self.lock = None;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Given up when dropped, and not only when the last copy of its descriptor is closed: a process that is just being started
/// has one until it becomes its program.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn take_lock(directory: &Path) -> Result<Lock, VolumeError> {
    let path = directory.join("lock");
    let opened = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(|source| VolumeError::Cache { what: "open its lock", source })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(VolumeError::InUse(directory.to_owned())),
        Err(errno) => Err(VolumeError::Cache { what: "lock it", source: errno.into() }),
    }
}

fn check(found: &Header, wanted: &Header) -> Result<(), VolumeError> {
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

pub fn check_epoch(found: Epoch, wanted: Epoch) -> Result<(), VolumeError> {
    if found > wanted { Err(VolumeError::Fenced { found, wanted }) } else { Ok(()) }
}

pub fn check_size(found: u64, wanted: u64) -> Result<(), VolumeError> {
    if found > wanted { Err(VolumeError::Shrunk { found, wanted }) } else { Ok(()) }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
