//! A cache directory of built files: one builder at a time, and a file becomes visible only when it
//! is complete.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::mount::MntFlags;

use super::{
    Progress,
    error::{ImageError, at},
};

const LOCK_FILE: &str = ".lock";
const BUILD_PREFIX: &str = ".building-";
/// A builder that holds the lock for longer than all its timeouts together has hung.
const LOCK_TIMEOUT: Duration = Duration::from_hours(2);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The mounts of the calling thread's namespace.
const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// The exclusive right to build in a directory. The kernel releases it when the builder dies.
pub struct BuildLock {
    directory: PathBuf,
    _file: File,
}

/// Creates the directory, waits for other builders, and removes what dead builders left.
pub fn lock(directory: &Path, progress: &Progress<'_>) -> Result<BuildLock, ImageError> {
    lock_within(directory, LOCK_TIMEOUT, progress)
}

fn lock_within(directory: &Path, wait: Duration, progress: &Progress<'_>) -> Result<BuildLock, ImageError> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(at("create", directory))?;
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at("open", &path))?;
    let end = Instant::now() + wait;
    let mut is_reported = false;
    while let Err(error) = file.try_lock() {
        if let TryLockError::Error(source) = error {
            return Err(at("lock", &path)(source));
        }
        if Instant::now() >= end {
            return Err(ImageError::Busy { directory: directory.to_owned(), minutes: wait.as_secs() / 60 });
        }
        if !is_reported {
            progress("Waiting for another process that is building the image", None);
            is_reported = true;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    let lock = BuildLock { directory: directory.to_owned(), _file: file };
    lock.remove_leftovers()?;
    Ok(lock)
}

impl BuildLock {
    /// Creates an empty private directory on the same file system. Dropping it removes it.
    pub fn build_directory(&self) -> Result<BuildDirectory, ImageError> {
        let path = self.directory.join(format!("{BUILD_PREFIX}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(at("create", &path))?;
        Ok(BuildDirectory { path })
    }

    /// Publishes a finished file or directory under its name, after it has been written to disk.
    pub fn publish(&self, finished: &Path, name: &str) -> Result<PathBuf, ImageError> {
        let target = self.directory.join(name);
        if target.is_dir() {
            // It is incomplete; otherwise it would not be built again.
            remove_tree(&target)?;
        }
        let parent = File::open(&self.directory).map_err(at("open", &self.directory))?;
        rustix::fs::syncfs(&parent).map_err(|error| at("write", finished)(error.into()))?;
        std::fs::rename(finished, &target).map_err(at("rename", &target))?;
        parent.sync_all().map_err(at("write", &self.directory))?;
        Ok(target)
    }

    fn remove_leftovers(&self) -> Result<(), ImageError> {
        let entries = std::fs::read_dir(&self.directory).map_err(at("read", &self.directory))?;
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(BUILD_PREFIX))
            .try_for_each(|entry| {
                detach_mounts(&entry.path())?;
                remove_tree(&entry.path())
            })
    }
}

/// A temporary directory of one build.
pub struct BuildDirectory {
    pub path: PathBuf,
}

impl Drop for BuildDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            // The next builder tries again.
            tracing::warn!(%error, "cannot remove the files of a build");
        }
    }
}

/// Creates a directory with mode 0755.
pub fn create_directory(path: &Path) -> Result<(), ImageError> {
    DirBuilder::new().mode(0o755).create(path).map_err(at("create", path))
}

/// Writes a new file with mode 0644.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    std::fs::write(path, content).map_err(at("write", path))?;
    make_readable(path)
}

/// Sets mode 0644.
pub fn make_readable(path: &Path) -> Result<(), ImageError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .map_err(at("change the mode of", path))
}

/// Removes a tree, unless something is mounted in it: that could be the host's own devices.
fn remove_tree(path: &Path) -> Result<(), ImageError> {
    if let Some(point) = mounts_in(path)?.first() {
        let source = io::Error::new(io::ErrorKind::ResourceBusy, format!("{point} is mounted. Unmount it"));
        return Err(at("remove", path)(source));
    }
    std::fs::remove_dir_all(path).map_err(at("remove", path))
}

/// Detaches the host's file systems that a build left mounted in its tree. Builds of this version
/// mount nothing outside their own namespace; earlier ones did.
fn detach_mounts(path: &Path) -> Result<(), ImageError> {
    // The last mount covers the earlier ones.
    for point in mounts_in(path)?.into_iter().rev() {
        tracing::warn!(%point, "detaching a file system that an interrupted build left mounted");
        nix::mount::umount2(Path::new(&point), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|errno| at("unmount", Path::new(&point))(errno.into()))?;
    }
    Ok(())
}

/// The mount points at and below a path, in the order in which they were mounted.
fn mounts_in(path: &Path) -> Result<Vec<String>, ImageError> {
    let mounts = std::fs::read_to_string(MOUNTS).map_err(at("read", Path::new(MOUNTS)))?;
    let canonical = path.canonicalize().map_err(at("find", path))?;
    Ok(mount_points(&mounts).filter(|point| Path::new(point).starts_with(&canonical)).collect())
}

/// The mount point is the fifth field of each line. Special characters in it are escaped as octal
/// numbers.
fn mount_points(mounts: &str) -> impl Iterator<Item = String> {
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| {
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(point.to_owned(), |text, (escaped, character)| text.replace(escaped, character))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn lock_admits_one_builder() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = lock(directory.path(), &|_, _| {}).expect("no other builder");
        let (messages, received) = channel();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                lock(directory.path(), &move |text, _| messages.send(text.to_owned()).expect("received"))
                    .map(drop)
            });
            assert!(received.recv().expect("a message").starts_with("Waiting"));
            drop(held);
            other.join().expect("no panic").expect("locked");
        });
    }

    #[test]
    fn lock_times_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let _held = lock(directory.path(), &|_, _| {}).expect("no other builder");
        assert!(matches!(
            lock_within(directory.path(), Duration::ZERO, &|_, _| {}),
            Err(ImageError::Busy { .. })
        ));
    }

    #[test]
    fn lock_removes_leftovers_of_dead_builders() {
        let directory = tempfile::tempdir().expect("a directory");
        let (leftovers, finished) = (directory.path().join(".building-1"), directory.path().join("finished"));
        std::fs::create_dir_all(leftovers.join("root/proc")).expect("a directory");
        std::fs::create_dir(&finished).expect("a directory");
        lock(directory.path(), &|_, _| {}).expect("no other builder");
        assert!(!leftovers.exists() && finished.exists());
    }

    /// In a mount namespace of the test, as a build of an earlier version left it on the host.
    #[test]
    fn lock_detaches_what_a_dead_builder_mounted() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: it needs root");
            return;
        }
        std::thread::spawn(|| {
            use nix::{mount::MsFlags, sched::CloneFlags};
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("a namespace");
            let none = None::<&str>;
            nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
            let directory = tempfile::tempdir().expect("a directory");
            let host = directory.path().join("host");
            let point = directory.path().join(".building-1/root/dev/shm");
            std::fs::create_dir_all(&host).expect("a directory");
            std::fs::create_dir_all(&point).expect("a directory");
            std::fs::write(host.join("in use"), "by another program").expect("a file");
            nix::mount::mount(Some(&host), &point, none, MsFlags::MS_BIND, none).expect("mounted");
            assert!(remove_tree(&directory.path().join(".building-1")).is_err(), "never through a mount");
            lock(directory.path(), &|_, _| {}).expect("the leftovers are removed");
            assert!(!directory.path().join(".building-1").exists());
            assert!(host.join("in use").exists(), "the host's files stay");
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn publish_replaces_an_incomplete_image() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("image")).expect("a directory");
        let lock = lock(directory.path(), &|_, _| {}).expect("no other builder");
        let work = lock.build_directory().expect("a directory");
        std::fs::create_dir(work.path.join("out")).expect("a directory");
        std::fs::write(work.path.join("out/file"), "complete").expect("a file");
        let image = lock.publish(&work.path.join("out"), "image").expect("published");
        drop(work);
        assert_eq!(std::fs::read_to_string(image.join("file")).expect("it is there"), "complete");
        assert!(!directory.path().join(".building-1").exists());
    }

    #[test]
    fn mount_points_may_have_spaces() {
        let text = "22 1 0:21 / /proc rw - proc proc rw\n23 1 0:5 / /a\\040b rw - tmpfs tmpfs rw\n";
        assert_eq!(mount_points(text).collect::<Vec<_>>(), ["/proc", "/a b"]);
    }
}
