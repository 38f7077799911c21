//! Measures what Burrow takes of the disk, by kind and by volume, in blocks that are really used. Reads
//! metadata only, a bounded number of files, and blocks its thread.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use protocol::{VolumeId, api::disk::DiskKind};
use volume::FreeSpace;

use super::budget::Disk;
use crate::config::Config;

/// Unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;
/// Most files of one kind that are counted: 16 TiB of objects. With more, the sum is too small, and the
/// free space of the disk, which every decision depends on, is still exact.
const MAX_FILES: usize = 2_000_000;
/// Most files and directories of an honest cache: a dozen, and what later versions add.
const MAX_CACHE_FILES: usize = 64;
/// Directory of prototypes in that of an image.
const PROTOTYPES: &str = "prototypes";

/// What was found on the disk. All in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// What each kind takes.
    pub kinds: BTreeMap<DiskKind, u64>,
    /// Local caches.
    pub caches: HashMap<VolumeId, u64>,
    /// Files in the directories of caches that have no name, such as scratch disks.
    pub scratch: HashMap<VolumeId, u64>,
}

impl DiskUsage {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }
}

/// Measures the free space of the disk of the caches. `used` is what Burrow uses of it.
pub fn measure_disk(config: &Config, used: u64) -> io::Result<Disk> {
    let directory = existing(&config.cache_dir);
    let stats = rustix::fs::statvfs(directory)?;
    let (total, free) = (stats.f_blocks * stats.f_frsize, stats.f_bavail * stats.f_frsize);
    let reserve = config.disk.reserve_bytes.unwrap_or(FreeSpace::reserved_bytes(total));
    Ok(Disk {
        total,
        free,
        reserve,
        budget: config.disk.budget_bytes,
        used,
        start: FreeSpace::low_bytes(total) - FreeSpace::reserved_bytes(total),
        has_store: config.store_dir().is_some_and(|store| is_same_disk(store, directory)),
    })
}

/// Where what Burrow has on the disk is.
#[derive(Clone, Debug, Default)]
pub struct DiskPaths {
    /// The directory of all local caches.
    pub caches: PathBuf,
    /// The object store, if it is a directory of this host.
    pub store: Option<PathBuf>,
    /// The data directory of a private Postgres.
    pub database: Option<PathBuf>,
    /// Directories of images, with their prototypes.
    pub images: Vec<PathBuf>,
    /// The log file. An older one may lie beside it.
    pub log: Option<PathBuf>,
}

/// Measures what each kind takes of the disk of the caches. What is on another disk does not count. Takes
/// about a second for each 100,000 files.
pub fn measure_usage(paths: &DiskPaths) -> DiskUsage {
    let is_here = |path: &&PathBuf| is_same_disk(path, &paths.caches);
    let bytes = |path: &Option<PathBuf>| path.iter().filter(is_here).map(|path| bytes_below(path)).sum();
    let caches = list_caches(&paths.caches).into_iter().map(|(volume, path)| (volume, bytes_below(&path)));
    let (caches, scratch): (HashMap<_, _>, _) = (caches.collect(), measure_scratch(&paths.caches));
    let images: Vec<&PathBuf> = paths.images.iter().filter(is_here).collect();
    let prototypes = images.iter().flat_map(|images| list_prototypes(images));
    let prototype_bytes = prototypes.map(|path| bytes_below(&path)).sum();
    let image_bytes: u64 = images.iter().map(|directory| bytes_below(directory)).sum();
    let logs = paths.log.iter().filter(is_here).flat_map(|log| [log.clone(), older_log(log)]);
    let kinds = [
        (DiskKind::Caches, caches.values().sum()),
        (DiskKind::Scratch, scratch.values().sum()),
        (DiskKind::Objects, bytes(&paths.store)),
        (DiskKind::Images, image_bytes.saturating_sub(prototype_bytes)),
        (DiskKind::Prototypes, prototype_bytes),
        (DiskKind::Database, bytes(&paths.database)),
        (DiskKind::Logs, logs.map(|log| fs::metadata(log).map_or(0, |file| file_bytes(&file))).sum()),
    ];
    DiskUsage { kinds: kinds.into(), caches, scratch }
}

/// The directories of prototypes below a directory of images.
pub fn list_prototypes(images: &Path) -> Vec<PathBuf> {
    let images = fs::read_dir(images).into_iter().flatten().flatten();
    images.map(|image| image.path().join(PROTOTYPES)).filter(|path| path.is_dir()).collect()
}

/// A directory that does not exist yet will be on the disk of its parent.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|parent| parent.is_dir()).unwrap_or(Path::new("/"))
}

/// Whether two paths are, or will be, on the same disk.
pub fn is_same_disk(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| fs::metadata(existing(path)).map(|metadata| metadata.dev()).ok();
    device(one) == device(other)
}

fn list_caches(directory: &Path) -> Vec<(VolumeId, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

fn older_log(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

fn file_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.blocks() * STAT_BLOCK_BYTES
}

/// Whether the cache in a directory takes more than so many bytes, or has too many files.
pub fn is_cache_larger_than(directory: &Path, max_bytes: u64) -> bool {
    let (bytes, files) = measure_below(directory, MAX_CACHE_FILES);
    bytes > max_bytes || files >= MAX_CACHE_FILES
}

/// What a directory takes with everything in it. What disappears at the same time does not count.
fn bytes_below(directory: &Path) -> u64 {
    let (bytes, files) = measure_below(directory, MAX_FILES);
    if files >= MAX_FILES {
        tracing::warn!(directory = %directory.display(), "too many files to measure all of them");
    }
    bytes
}

/// The bytes and the number of the files and directories in a directory, of `max_files` at most.
fn measure_below(directory: &Path, max_files: usize) -> (u64, usize) {
    let (mut total, mut files) = (0, 0);
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            total += file_bytes(&metadata);
            files += 1;
            if metadata.is_dir() {
                directories.push(entry.path());
            }
            if files >= max_files {
                return (total, files);
            }
        }
    }
    (total, files)
}

/// Scratch disks have no name. The processes that have one open are found by its path, which begins with
/// the directory of the volume's cache. Without root, only own processes are. Other files of a cache that
/// were removed and are still open count too.
fn measure_scratch(caches: &Path) -> HashMap<VolumeId, u64> {
    let (mut scratch, mut counted) = (HashMap::new(), HashSet::new());
    let is_process = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().filter(is_process) {
        for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Some(volume) = scratch_of(caches, &file.path()) else { continue };
            let Ok(metadata) = fs::metadata(file.path()) else { continue };
            if counted.insert((metadata.dev(), metadata.ino())) {
                *scratch.entry(volume).or_default() += file_bytes(&metadata);
            }
        }
    }
    scratch
}

/// The volume whose sandbox has its scratch disk open here.
fn scratch_of(caches: &Path, descriptor: &Path) -> Option<VolumeId> {
    let target = fs::read_link(descriptor).ok()?;
    let mut parts = target.strip_prefix(caches).ok()?.iter();
    let volume = parts.next()?.to_str()?.parse().ok()?;
    let is_unnamed = parts.next_back()?.to_str()?.ends_with(" (deleted)");
    is_unnamed.then_some(volume)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn holes_take_no_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = bytes_below(directory.path());
        let sparse = fs::File::create(directory.path().join("sparse")).expect("made");
        sparse.set_len(1 << 30).expect("set");
        fs::create_dir(directory.path().join("inside")).expect("made");
        fs::write(directory.path().join("inside/file"), vec![1; 1 << 20]).expect("written");
        sparse.sync_all().expect("synced");
        let taken = bytes_below(directory.path()) - before;
        assert!(((1 << 20)..(2 << 20)).contains(&taken), "{taken}");
        assert_eq!(bytes_below(Path::new("/nowhere")), 0);
    }

    #[test]
    fn scratch_without_name_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let caches = directory.path().canonicalize().expect("there");
        let volume = VolumeId::random();
        let cache = caches.join(volume.to_string());
        fs::create_dir(&cache).expect("made");
        let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
        let scratch = fs::OpenOptions::new().write(true).custom_flags(flags).open(&cache);
        let mut scratch = scratch.expect("a file without a name");
        io::Write::write_all(&mut scratch, &vec![1; 1 << 20]).expect("written");
        scratch.sync_all().expect("synced");
        let found = measure_scratch(&caches);
        assert!(found.get(&volume).is_some_and(|bytes| *bytes >= 1 << 20), "{found:?}");
        assert_eq!(found.len(), 1);
    }
}
