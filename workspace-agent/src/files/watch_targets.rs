//! What is at the paths that a client watches: which directories the kernel has to watch, and whom
//! their events concern.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use protocol::files::HomePath;
use rustix::fs::{Mode, OFlags};

use super::home_directory::HomeFiles;

/// Most directories that the kernel watches for one client, those on the way to its paths included.
const MAX_KERNEL_WATCHES: usize = 4096;

/// Device and inode number.
pub type Inode = (u64, u64);

/// The state of all watched paths at one moment. Paths without further words are absolute and
/// without symbolic links.
#[derive(Debug, Default)]
pub struct WatchTargets {
    /// Directories to watch. Parents sort before their children.
    pub directories: BTreeMap<PathBuf, Inode>,
    /// Watched paths, as the client wrote them, of each directory.
    pub clients: HashMap<PathBuf, BTreeSet<String>>,
    /// The directory at each watched path, as the client wrote it, that exists.
    pub inodes: HashMap<String, Inode>,
    /// Paths whose replacement changes what is at a watched path.
    pub on_the_way: HashSet<PathBuf>,
}

/// Looks at all watched paths. `home` is the absolute path of the home.
pub fn find_targets(
    files: &HomeFiles<'_>,
    home: &Path,
    watched: &BTreeMap<String, HomePath>,
) -> WatchTargets {
    let mut targets = WatchTargets::default();
    for (text, path) in watched {
        if let Some((resolved, inode)) = find_directory(files, path, OFlags::RDONLY) {
            let absolute = home.join(resolved.as_str());
            targets.inodes.insert(text.clone(), inode);
            targets.clients.entry(absolute).or_default().insert(text.clone());
            add_ancestors(files, home, &resolved, &mut targets);
        }
        add_ancestors(files, home, path, &mut targets);
    }
    targets
}

/// Adds a path and everything above it, as far as it exists.
fn add_ancestors(files: &HomeFiles<'_>, home: &Path, path: &HomePath, targets: &mut WatchTargets) {
    let mut next = Some(path.clone());
    while let Some(path) = next {
        next = path.parent();
        if !targets.on_the_way.insert(home.join(path.as_str())) {
            return; // everything above it is there too
        }
        if targets.directories.len() < MAX_KERNEL_WATCHES
            && let Some((resolved, inode)) = find_directory(files, &path, OFlags::PATH)
        {
            targets.directories.insert(home.join(resolved.as_str()), inode);
        }
    }
}

/// The directory at a path, without symbolic links. With `RDONLY`, only if the user may list it.
fn find_directory(files: &HomeFiles<'_>, path: &HomePath, access: OFlags) -> Option<(HomePath, Inode)> {
    let directory = files.open(path, access | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&directory).ok()?;
    Some((files.path_of(directory.as_fd()).ok()?, (stat.st_dev, stat.st_ino)))
}
