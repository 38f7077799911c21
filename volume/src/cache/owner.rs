//! Who owns a cache. A process without privileges uses it; one with privileges gives it to that process.

use std::{
    ffi::CStr,
    fs::DirBuilder,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chownat, fstat, ftruncate, openat, statat, unlinkat},
    path::Arg,
    process::{Gid, Uid},
};

use super::directory::LOCK;

/// What a cache consists of: see [`super::directory`].
const PARTS: [&CStr; 6] = [c"lock", DATA, c"dirty.log", c"dirty.log.new", c"cut", SUPERSEDED];
const DATA: &CStr = c"data";
/// A directory, with the same parts.
const SUPERSEDED: &CStr = c"superseded";

/// Directories in each other that are removed. A cache has one.
const MAX_DEPTH: u32 = 32;

/// Creates the directory of a cache unless it exists, and makes it and all that is in it this user's and
/// group's. The user before may have been hostile: what is no part of a cache is removed, and so is what
/// the home's data has beyond `home_bytes`; no link is followed, and a name that changes during this leads
/// nowhere else.
pub fn give_cache(directory: &Path, user: u32, home_bytes: u64) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let directory = open_directory(CWD, directory)?;
    // The process that creates it owns it, and the janitor of caches has other rights than this user.
    let created = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&directory, LOCK, created, Mode::RUSR | Mode::WUSR) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    give_tree(&directory, user, home_bytes)
}

fn give_tree(directory: &OwnedFd, user: u32, home_bytes: u64) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let about = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory if name == SUPERSEDED => {
                give_tree(&open_directory(directory, name)?, user, home_bytes)?;
            }
            FileType::Directory => remove_tree(directory, name, 0)?,
            FileType::RegularFile if PARTS.contains(&name) => {
                if name == DATA {
                    cut(directory, name, home_bytes)?;
                }
                give(directory, name, user)?;
            }
            _ => unlinkat(directory, name, AtFlags::empty())?,
        }
    }
    give(directory, c"", user)
}

/// Removes a directory with all that is in it. Fails if a hostile user has made one in the other, and so on.
fn remove_tree(parent: &OwnedFd, name: &CStr, depth: u32) -> io::Result<()> {
    if depth == MAX_DEPTH {
        return Err(io::Error::other("the cache has too many directories in each other: remove it"));
    }
    let directory = open_directory(parent, name)?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        match unlinkat(&directory, name, AtFlags::empty()) {
            Err(rustix::io::Errno::ISDIR) => remove_tree(&directory, name, depth + 1)?,
            removed => removed?,
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Shortens a file to at most so many bytes.
fn cut(directory: &OwnedFd, name: &CStr, max_bytes: u64) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    if u64::try_from(fstat(&file)?.st_size).is_ok_and(|bytes| bytes > max_bytes) {
        ftruncate(&file, max_bytes)?;
    }
    Ok(())
}

fn open_directory(parent: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Gives what has this name in a directory, or the directory itself without a name.
fn give(directory: &OwnedFd, name: impl Arg, user: u32) -> io::Result<()> {
    let (owner, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
    Ok(chownat(directory, name, owner, group, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    use super::*;

    const USER: u32 = 660_000;

    #[test]
    fn cache_is_given_without_its_links() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: it needs root");
        }
        let place = tempfile::tempdir().expect("a directory");
        let (cache, secret) = (place.path().join("cache"), place.path().join("secret"));
        fs::create_dir_all(cache.join("superseded")).expect("created");
        fs::write(&secret, "x").expect("written");
        fs::write(cache.join("superseded/data"), "x").expect("written");
        symlink(&secret, cache.join("dirty.log")).expect("linked");
        symlink(place.path(), cache.join("superseded/all")).expect("linked");
        rustix::fs::mknodat(CWD, cache.join("cut"), FileType::Fifo, Mode::RWXU, 0).expect("created");
        fs::create_dir_all(cache.join("more/and/more")).expect("created");
        for name in ["data", "hidden", "more/and/file"] {
            fs::write(cache.join(name), [1; 8192]).expect("written");
        }
        give_cache(&cache, USER, 4096).expect("given");
        for name in ["", "superseded", "superseded/data", LOCK] {
            assert_eq!(fs::metadata(cache.join(name)).expect("there").uid(), USER, "{name}");
        }
        assert_eq!(fs::metadata(cache.join("data")).expect("there").len(), 4096, "no longer than the home");
        for name in ["dirty.log", "superseded/all", "cut", "hidden", "more"] {
            assert!(fs::symlink_metadata(cache.join(name)).is_err(), "{name} is removed");
        }
        for path in [secret.as_path(), place.path()] {
            assert_eq!(fs::metadata(path).expect("there").uid(), 0, "{}", path.display());
        }
        // A link in place of the whole cache is not followed either.
        let linked = place.path().join("linked");
        symlink(&cache, &linked).expect("linked");
        assert!(give_cache(&linked, 0, 4096).is_err());
    }
}
