//! A directory of things that are built once: one builder at a time, and nothing seen before it is whole.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Progress,
    error::{Error, at},
};

const LOCK: &str = ".lock";
const BUILDING: &str = ".building-";
/// A builder that holds the lock for longer than all its deadlines together hangs.
const WAIT: Duration = Duration::from_hours(2);
const POLL: Duration = Duration::from_millis(200);

/// The right to build in a directory. The kernel takes it back when the builder dies.
pub struct Lock {
    directory: PathBuf,
    _file: File,
}

/// Makes the directory, waits for other builders, and removes what dead ones left.
pub fn lock(directory: &Path, progress: &Progress<'_>) -> Result<Lock, Error> {
    lock_within(directory, WAIT, progress)
}

fn lock_within(directory: &Path, wait: Duration, progress: &Progress<'_>) -> Result<Lock, Error> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(at("make", directory))?;
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at("open", &path))?;
    let end = Instant::now() + wait;
    let mut told = false;
    while let Err(error) = file.try_lock() {
        if let TryLockError::Error(source) = error {
            return Err(at("lock", &path)(source));
        }
        if Instant::now() >= end {
            return Err(Error::Busy { directory: directory.to_owned(), minutes: wait.as_secs() / 60 });
        }
        if !told {
            progress("Waiting for another process that builds the same", None);
            told = true;
        }
        std::thread::sleep(POLL);
    }
    let lock = Lock { directory: directory.to_owned(), _file: file };
    lock.sweep()?;
    Ok(lock)
}

impl Lock {
    /// An empty directory on the same file system, private, gone when dropped.
    pub fn workplace(&self) -> Result<Workplace, Error> {
        let path = self.directory.join(format!("{BUILDING}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(at("make", &path))?;
        Ok(Workplace { path })
    }

    /// Shows a finished file or directory under its name, on the disk before it is seen.
    pub fn publish(&self, finished: &Path, name: &str) -> Result<PathBuf, Error> {
        let target = self.directory.join(name);
        if target.is_dir() {
            // Not whole, or nobody would build it again.
            remove_tree(&target)?;
        }
        let parent = File::open(&self.directory).map_err(at("open", &self.directory))?;
        rustix::fs::syncfs(&parent).map_err(|error| at("write", finished)(error.into()))?;
        std::fs::rename(finished, &target).map_err(at("name", &target))?;
        parent.sync_all().map_err(at("write", &self.directory))?;
        Ok(target)
    }

    fn sweep(&self) -> Result<(), Error> {
        let entries = std::fs::read_dir(&self.directory).map_err(at("read", &self.directory))?;
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(BUILDING))
            .try_for_each(|entry| remove_tree(&entry.path()))
    }
}

pub struct Workplace {
    pub path: PathBuf,
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            // The next builder tries again.
            tracing::warn!(%error, "the remains of a build could not be removed");
        }
    }
}

/// Makes a new directory that all may enter.
pub fn make_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().mode(0o755).create(path).map_err(at("make", path))
}

/// Writes a new file that all may read.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    std::fs::write(path, content).map_err(at("write", path))?;
    readable(path)
}

pub fn readable(path: &Path) -> Result<(), Error> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .map_err(at("open to readers", path))
}

/// Removes a tree, unless something is mounted in it: the host's own devices must not go with it.
fn remove_tree(path: &Path) -> Result<(), Error> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(at("read", Path::new("/proc/self/mountinfo")))?;
    let whole = path.canonicalize().map_err(at("find", path))?;
    if let Some(point) = mount_points(&mounts).find(|point| Path::new(point).starts_with(&whole)) {
        let source = io::Error::new(io::ErrorKind::ResourceBusy, format!("{point} is mounted: unmount it"));
        return Err(at("remove", path)(source));
    }
    std::fs::remove_dir_all(path).map_err(at("remove", path))
}

/// The fifth word of each line; a space in it is written as an octal number.
fn mount_points(mounts: &str) -> impl Iterator<Item = String> {
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| point.replace("\\040", " "))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_builder_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = lock(directory.path(), &|_, _| {}).expect("nobody else builds");
        let (told, waiting) = channel();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                lock(directory.path(), &move |text, _| told.send(text.to_owned()).expect("we listen"))
                    .map(drop)
            });
            assert!(waiting.recv().expect("it says that it waits").starts_with("Waiting"));
            drop(held);
            other.join().expect("it ends").expect("it gets the lock");
        });
    }

    #[test]
    fn waiting_has_an_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let _held = lock(directory.path(), &|_, _| {}).expect("nobody else builds");
        assert!(matches!(lock_within(directory.path(), Duration::ZERO, &|_, _| {}), Err(Error::Busy { .. })));
    }

    #[test]
    fn remains_of_a_dead_builder_go_and_finished_things_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let (remains, finished) = (directory.path().join(".building-1"), directory.path().join("finished"));
        std::fs::create_dir_all(remains.join("root/proc")).expect("a directory");
        std::fs::create_dir(&finished).expect("a directory");
        lock(directory.path(), &|_, _| {}).expect("nobody else builds");
        assert!(!remains.exists() && finished.exists());
    }

    #[test]
    fn what_is_published_replaces_what_was_broken() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("image")).expect("a directory");
        let lock = lock(directory.path(), &|_, _| {}).expect("nobody else builds");
        let work = lock.workplace().expect("a place");
        std::fs::create_dir(work.path.join("out")).expect("a directory");
        std::fs::write(work.path.join("out/file"), "whole").expect("a file");
        let image = lock.publish(&work.path.join("out"), "image").expect("it moves");
        drop(work);
        assert_eq!(std::fs::read_to_string(image.join("file")).expect("it is there"), "whole");
        assert!(!directory.path().join(".building-1").exists());
    }

    #[test]
    fn mount_points_with_spaces() {
        let text = "22 1 0:21 / /proc rw - proc proc rw\n23 1 0:5 / /a\\040b rw - tmpfs tmpfs rw\n";
        assert_eq!(mount_points(text).collect::<Vec<_>>(), ["/proc", "/a b"]);
    }
}
