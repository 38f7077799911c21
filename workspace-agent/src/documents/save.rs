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
    writers::{FileWriters, find_writers},
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
    overwrite_file(&target, request, writers)
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
    target: &TargetFile,
    request: &SaveRequest,
    writers: FileWriters,
) -> io::Result<SaveOutcome> {
    let file = target.open_for_writing()?;
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
