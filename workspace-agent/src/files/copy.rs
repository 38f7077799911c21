//! Copies of files and directories of the home. Blocking. Knows no HTTP.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
};

use protocol::files::{FileEntry, HomePath};
use restore::directory::{self, delete_tree};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{entry_at, home_directory::HomeFiles};

/// Deepest directory tree that can be copied. Each level holds two open directories.
const MAX_DEPTH: usize = 128;
/// Bits of a mode that a copy keeps.
const PERMISSION_BITS: u32 = 0o777;

/// Copies a file, a link, or a directory with its content. Fails if something exists at `to`. The copy
/// appears under its name when it is complete; after an error there is none. Permissions are kept; times,
/// owners and attributes are those of new files. Sockets, pipes and devices cannot be copied.
pub fn copy(files: &HomeFiles<'_>, from: &HomePath, to: &HomePath) -> io::Result<FileEntry> {
    let (from_parent, from_name) = files.open_parent(from)?;
    let (to_parent, to_name) = files.open_parent(to)?;
    if directory::stat(to_parent.as_fd(), to_name)?.is_some() {
        return Err(Errno::EXIST.into());
    }
    let staged = format!(".burrow-{}", uuid::Uuid::new_v4().simple());
    let source = Place { directory: from_parent.as_fd(), name: OsStr::new(from_name) };
    let target = Place { directory: to_parent.as_fd(), name: OsStr::new(&staged) };
    let copied = copy_entry(source, target, MAX_DEPTH).and_then(|()| {
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&to_parent, &staged, &to_parent, to_name, flags)?)
    });
    if let Err(error) = copied {
        let _ = delete_tree(to_parent.as_fd(), staged.as_bytes());
        return Err(files.explain(error));
    }
    entry_at(files, to)
}

/// A name in an open directory.
#[derive(Clone, Copy)]
struct Place<'a> {
    directory: BorrowedFd<'a>,
    name: &'a OsStr,
}

fn copy_entry(source: Place<'_>, target: Place<'_>, depth: usize) -> io::Result<()> {
    let stat = rustix::fs::statat(source.directory, source.name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & PERMISSION_BITS);
    match directory::file_type(&stat) {
        FileType::RegularFile => copy_file(source, target, mode),
        FileType::Directory => copy_directory(source, target, mode, depth),
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(source.directory, source.name, Vec::new())?;
            Ok(rustix::fs::symlinkat(&link, target.directory, target.name)?)
        }
        _ => Err(Errno::NXIO.into()),
    }
}

fn copy_file(source: Place<'_>, target: Place<'_>, mode: Mode) -> io::Result<()> {
    // With NONBLOCK, opening a pipe that has taken the name does not wait for a writer.
    let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut from = File::from(rustix::fs::openat(source.directory, source.name, reading, Mode::empty())?);
    let writing = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to =
        File::from(rustix::fs::openat(target.directory, target.name, writing, Mode::RUSR | Mode::WUSR)?);
    io::copy(&mut from, &mut to)?;
    Ok(rustix::fs::fchmod(&to, mode)?)
}

fn copy_directory(source: Place<'_>, target: Place<'_>, mode: Mode, depth: usize) -> io::Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(io::Error::other(format!(
            "Cannot copy the directory: it is nested deeper than {MAX_DEPTH} levels. \
             Use `cp -a` in a terminal"
        )));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = rustix::fs::openat(source.directory, source.name, flags, Mode::empty())?;
    let names = directory::names(from.as_fd())?;
    rustix::fs::mkdirat(target.directory, target.name, Mode::RWXU)?;
    let to = rustix::fs::openat(target.directory, target.name, flags, Mode::empty())?;
    for name in names {
        let name = OsStr::from_bytes(&name);
        copy_entry(Place { directory: from.as_fd(), name }, Place { directory: to.as_fd(), name }, depth)?;
    }
    Ok(rustix::fs::fchmod(&to, mode)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::files::home_directory::HomeDirectory;

    async fn copy_in(home: &Path, from: &str, to: &str) -> io::Result<FileEntry> {
        let directory = HomeDirectory::new(home.to_owned(), false);
        directory.open_root()?;
        let (from, to) = (HomePath::parse(from).expect("a path"), HomePath::parse(to).expect("a path"));
        directory.run(move |files| copy(files, &from, &to)).await
    }

    #[tokio::test]
    async fn copy_keeps_content_modes_and_links() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |path: &str| home.path().join(path);
        fs::create_dir_all(path("a/deep")).expect("directories");
        fs::write(path("a/deep/run"), "#!/bin/sh").expect("a file");
        fs::set_permissions(path("a/deep/run"), fs::Permissions::from_mode(0o4755)).expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", path("a/link")).expect("a link");
        copy_in(home.path(), "a", "b").await.expect("copied");
        assert_eq!(fs::read(path("b/deep/run")).expect("a file"), b"#!/bin/sh");
        assert_eq!(fs::metadata(path("b/deep/run")).expect("a file").permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(path("b/link")).expect("a link"), Path::new("/etc/passwd"));
        // The route refuses this; a link can still lead there.
        copy_in(home.path(), "a", "a/deep/again").await.expect_err("it would never end");
        assert_eq!(fs::read_dir(path("a/deep")).expect("a directory").count(), 1, "nothing is left");
    }

    #[tokio::test]
    async fn failed_copy_leaves_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |path: &str| home.path().join(path);
        fs::create_dir(path("a")).expect("a directory");
        fs::write(path("a/file"), "x").expect("a file");
        let pipe = std::process::Command::new("mkfifo").arg(path("a/pipe")).status();
        assert!(pipe.expect("mkfifo runs").success());
        let error = copy_in(home.path(), "a", "b").await.expect_err("a pipe cannot be copied");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NXIO));
        fs::write(path("taken"), "mine").expect("a file");
        let error = copy_in(home.path(), "a/file", "taken").await.expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let mut left: Vec<_> = fs::read_dir(home.path()).expect("a directory").flatten().collect();
        left.sort_by_key(fs::DirEntry::file_name);
        assert_eq!(left.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), ["a", "taken"]);
    }
}
