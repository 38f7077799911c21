//! Saving a document's text to its file. Blocking; runs inside
//! [`HomeDirectory::run`](crate::files::home_directory::HomeDirectory::run).
//!
//! A save never replaces what it does not know: it compares the file with what document and file last had
//! in common, and reports a difference instead of writing.

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
};

use protocol::files::HomePath;
use rustix::io::Errno;

use crate::files::{
    entry::etag,
    home_directory::HomeFiles,
    overwrite::overwrite_text,
    replacement::{Replaced, replace},
    staging::StagedFile,
    target::{ExistingFile, TargetFile, WriteMethod},
    upload::is_out_of_room,
    writers::{FileWriters, find_other_writers, find_writers},
};

/// What a save writes, and what it may do.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// Entity tag of the file when it was equal to the document. `None`: it did not exist.
    pub known_etag: Option<String>,
    /// The file's content at that time.
    pub base: Vec<u8>,
    /// The new content.
    pub content: Vec<u8>,
    /// Write into the file even if a program has a position of its own in it.
    pub moves_positions: bool,
    /// Write into the file without comparing its tag: other programs append to it so often that it is
    /// never the same twice. The content is compared all the same.
    pub is_contended: bool,
    /// Replace the file even if it is protected or has other content. The user asked for that.
    pub overwrites: bool,
}

/// How a save ended without an error.
#[derive(Debug)]
pub enum SaveOutcome {
    /// The text is on disk.
    Saved(SavedFile),
    /// Nothing was written, because another program has changed the file. Merge its changes first.
    FileChanged,
    /// Nothing was written, because a program has a position of its own in the file.
    InUse,
    /// Nothing was written, because the file is protected. The user can have it overwritten.
    Protected,
}

/// A file after a save.
#[derive(Debug)]
pub struct SavedFile {
    /// Entity tag of the file. `None`: it contains more than the text already.
    pub etag: Option<String>,
    /// Size of the text.
    pub bytes: u64,
    /// The file that was replaced. A program that opened it just before may still write to it.
    pub replaced: Option<ExistingFile>,
    /// Whether a program has a position of its own in the file, at the end of the base.
    pub has_positioned_writer: bool,
}

/// Saves to `path`.
pub fn save(files: &HomeFiles<'_>, path: &HomePath, request: &SaveRequest) -> io::Result<SaveOutcome> {
    let target = TargetFile::open(files, path)?;
    let existing = target.open_existing()?;
    let current_etag = existing.as_ref().map(|existing| etag(&existing.stat));
    let is_known = current_etag == request.known_etag;
    let Some(existing) = existing else {
        if !is_known && !request.overwrites {
            return Ok(SaveOutcome::FileChanged);
        }
        return replace_file(files, &target, None, request);
    };
    if is_known && request.content == request.base {
        return Ok(saved(current_etag, request, None));
    }
    if request.overwrites {
        return replace_file(files, &target, Some(existing), request);
    }
    let writers = existing
        .file
        .as_ref()
        .map_or(FileWriters::None, |file| find_writers(files, file.as_fd(), &existing.stat));
    if !is_known && writers != FileWriters::Appending && !request.is_contended {
        return Ok(SaveOutcome::FileChanged);
    }
    if target.is_protected(&existing) {
        return Ok(SaveOutcome::Protected);
    }
    if writers == FileWriters::Positioned && !request.moves_positions {
        return Ok(SaveOutcome::InUse);
    }
    let is_replaceable = existing.write_method(files.owner()) == WriteMethod::Exchange;
    if writers == FileWriters::None && is_replaceable && !request.is_contended {
        match replace_file(files, &target, Some(existing), request) {
            Err(error) if prevents_replacement(&error) => {}
            result => return result,
        }
    }
    overwrite_file(files, &target, request, writers)
}

fn replace_file(
    files: &HomeFiles<'_>,
    target: &TargetFile,
    existing: Option<ExistingFile>,
    request: &SaveRequest,
) -> io::Result<SaveOutcome> {
    let mut staged = StagedFile::create(files, target)?;
    staged.file().write_all(&request.content)?;
    match replace(target, existing, &mut staged)? {
        Some(Replaced { stat, old }) => {
            Ok(saved(Some(etag(&stat)), request, old.filter(|_| !request.overwrites)))
        }
        None => Ok(SaveOutcome::FileChanged),
    }
}

fn overwrite_file(
    files: &HomeFiles<'_>,
    target: &TargetFile,
    request: &SaveRequest,
    writers: FileWriters,
) -> io::Result<SaveOutcome> {
    let file = target.open_for_writing()?;
    let writers = match writers {
        // A program may have opened the file since.
        FileWriters::None => find_other_writers(files, file.as_fd(), &rustix::fs::fstat(&file)?),
        known => known,
    };
    if writers == FileWriters::Positioned && !request.moves_positions {
        return Ok(SaveOutcome::InUse);
    }
    let Some((stat, bytes)) = overwrite_text(&file, &request.base, &request.content)? else {
        return Ok(SaveOutcome::FileChanged);
    };
    let has_only_text = stat.st_size as u64 == bytes;
    let mut outcome = saved(has_only_text.then(|| etag(&stat)), request, None);
    if let SaveOutcome::Saved(saved) = &mut outcome {
        saved.has_positioned_writer = writers == FileWriters::Positioned;
    }
    Ok(outcome)
}

fn saved(etag: Option<String>, request: &SaveRequest, replaced: Option<ExistingFile>) -> SaveOutcome {
    let bytes = request.content.len() as u64;
    SaveOutcome::Saved(SavedFile { etag, bytes, replaced, has_positioned_writer: false })
}

/// Whether a file that cannot be replaced may still be written: its directory is protected, or there is
/// no room for a second file.
fn prevents_replacement(error: &io::Error) -> bool {
    is_out_of_room(error)
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::BUSY)
        )
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, Permissions},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
        path::Path,
    };

    use super::*;
    use crate::{
        files::home_directory::HomeDirectory,
        user::{GID, UID},
    };

    /// The group of those who may become root, which the user is in.
    const SUDO: u32 = 27;

    /// Saves a file that contains `text`, with the rights of a guest's user.
    async fn save_in(home: &HomeDirectory, name: &str, overwrites: bool) -> SaveOutcome {
        let path = HomePath::parse(name).expect("a valid path");
        let known = fs::read(home.path().join(name)).expect("a file");
        home.run(move |files| {
            let known_etag = files.stat(&path)?.map(|stat| etag(&stat));
            let request = SaveRequest {
                known_etag,
                content: [b"typed ", &*known].concat(),
                base: known,
                moves_positions: false,
                is_contended: false,
                overwrites,
            };
            save(files, &path, &request)
        })
        .await
        .expect("no error")
    }

    fn create(path: &Path, owner: (u32, u32), mode: u32) {
        fs::write(path, "text\n").expect("a file");
        chown(path, Some(owner.0), Some(owner.1)).expect("an owner");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    }

    #[tokio::test]
    async fn user_of_guest_changes_no_owner() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("only root can take the rights of a guest's user");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        chown(directory.path(), Some(UID), Some(GID)).expect("an owner");
        create(&path("own"), (UID, GID), 0o640);
        create(&path("group"), (UID, SUDO), 0o664);
        create(&path("of-group"), (0, SUDO), 0o664);
        create(&path("of-root"), (0, 0), 0o644);
        create(&path("held"), (UID, GID), 0o644);
        fs::create_dir(path("locked")).expect("a directory");
        create(&path("locked/file"), (UID, GID), 0o644);
        chown(path("locked"), Some(UID), Some(GID)).expect("an owner");
        fs::set_permissions(path("locked"), Permissions::from_mode(0o555)).expect("a mode");
        let home = HomeDirectory::new(directory.path().to_owned(), true);
        home.open_root().expect("a home");

        for (name, keeps_inode) in
            [("own", false), ("group", true), ("of-group", true), ("locked/file", true)]
        {
            let before = fs::metadata(path(name)).expect("a status");
            let outcome = save_in(&home, name, false).await;
            assert!(matches!(outcome, SaveOutcome::Saved(_)), "{name}: {outcome:?}");
            let after = fs::metadata(path(name)).expect("a status");
            assert_eq!(
                (after.uid(), after.gid(), after.mode()),
                (before.uid(), before.gid(), before.mode()),
                "{name}"
            );
            assert_eq!(after.ino() == before.ino(), keeps_inode, "{name}");
            assert_eq!(fs::read_to_string(path(name)).expect("a file"), "typed text\n", "{name}");
        }
        assert!(matches!(save_in(&home, "of-root", false).await, SaveOutcome::Protected));
        assert!(matches!(save_in(&home, "of-root", true).await, SaveOutcome::Saved(_)));
        let after = fs::metadata(path("of-root")).expect("a status");
        assert_eq!((after.uid(), after.mode() & 0o7777), (UID, 0o644));

        let writer = File::options().write(true).open(path("held")).expect("a file");
        assert!(matches!(save_in(&home, "held", false).await, SaveOutcome::InUse));
        drop(writer);
        assert!(matches!(save_in(&home, "held", false).await, SaveOutcome::Saved(_)));
    }
}
