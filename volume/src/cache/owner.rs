//! Who owns a cache. A process without privileges uses it; one with privileges gives it to that process.

use std::{
    fs::DirBuilder,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chownat, openat, statat, unlinkat},
    path::Arg,
    process::{Gid, Uid},
};

use super::directory::LOCK;

/// Creates the directory of a cache unless it exists, and makes it and all that is in it this user's and
/// group's. The user before may have been hostile: links and special files are removed, no link is
/// followed, and a name that changes during this leads nowhere else.
pub fn give_cache(directory: &Path, user: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let directory = open_directory(CWD, directory)?;
    // The process that creates it owns it, and the janitor of caches has other rights than this user.
    let created = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&directory, LOCK, created, Mode::RUSR | Mode::WUSR) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    give_tree(&directory, user)
}

fn give_tree(directory: &OwnedFd, user: u32) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let about = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => give_tree(&open_directory(directory, name)?, user)?,
            FileType::RegularFile => give(directory, name, user)?,
            _ => unlinkat(directory, name, AtFlags::empty())?,
        }
    }
    give(directory, c"", user)
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
        give_cache(&cache, USER).expect("given");
        for name in ["", "superseded", "superseded/data", LOCK] {
            assert_eq!(fs::metadata(cache.join(name)).expect("there").uid(), USER, "{name}");
        }
        for name in ["dirty.log", "superseded/all", "cut"] {
            assert!(fs::symlink_metadata(cache.join(name)).is_err(), "{name} is removed");
        }
        for path in [secret.as_path(), place.path()] {
            assert_eq!(fs::metadata(path).expect("there").uid(), 0, "{}", path.display());
        }
        // A link in place of the whole cache is not followed either.
        let linked = place.path().join("linked");
        symlink(&cache, &linked).expect("linked");
        assert!(give_cache(&linked, 0).is_err());
    }
}
