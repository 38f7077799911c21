//! Restoring files onto this computer: unpacks the archive of a snapshot with the code that restores
//! into a home. Links are never followed, because the owner of the home controls them.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use client::Content;
use protocol::{
    RestoreId,
    api::restore::{RestoreOutcome, RestoredEntry},
    files::{EntryKind, HomePath},
};
use restore::{
    Existing, RestoreError, Writer,
    archive::{ArchiveReader, PieceReader},
};
use tokio::sync::mpsc;

use super::{SnapshotFiles, results::EntryResult};
use crate::output::{CommandError, clock::Clock};

/// Pieces of an archive that are received before they are written.
const MAX_PIECES_AHEAD: usize = 4;
/// The name of the directory in an archive of a whole home.
const HOME_NAME: &str = "home";

/// The directory that files are restored to, and the name there. Without a name, everything has the
/// name that it has in the home.
pub struct LocalTarget {
    directory: PathBuf,
    name: Option<String>,
    is_forced: bool,
}

impl LocalTarget {
    /// Understands a local path like the last argument of `cp -r`.
    pub fn new(to: &Path, paths: &[HomePath], is_forced: bool) -> Self {
        let is_directory = to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/');
        let has_one_name = paths.len() == 1 && !paths[0].is_home() && !is_directory;
        match (to.parent(), to.file_name().and_then(|name| name.to_str())) {
            (Some(parent), Some(name)) if has_one_name => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                Self { directory: parent.to_owned(), name: Some(name.to_owned()), is_forced }
            }
            _ => Self { directory: to.to_owned(), name: None, is_forced },
        }
    }

    /// The end of the names of existing files that are kept.
    pub fn suffix() -> String {
        format!(".before-restore-{}", Clock::read().stamp())
    }

    /// Restores one path of a snapshot, and what is below it.
    pub async fn restore(
        &self,
        files: &SnapshotFiles<'_>,
        snapshot: protocol::SnapshotId,
        path: &HomePath,
        suffix: &str,
    ) -> Result<Vec<EntryResult>, CommandError> {
        let SnapshotFiles { server, workspace } = *files;
        let content = server.snapshot_archive(workspace.id, snapshot, path.as_str()).await?;
        fs::create_dir_all(&self.directory).map_err(|error| self.error("create", &error))?;
        let root_name = path.name().unwrap_or(HOME_NAME).to_owned();
        let new_name = match (&self.name, path.is_home()) {
            (Some(name), _) => name.clone(),
            (None, true) => String::new(),
            (None, false) => root_name.clone(),
        };
        let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(MAX_PIECES_AHEAD);
        let directory = self.directory.clone();
        let existing = Existing { overwrites_files: self.is_forced, suffix: Some(suffix.to_owned()) };
        let writing = tokio::task::spawn_blocking(move || {
            let root = File::open(&directory)?;
            let pieces = PieceReader::new(std::iter::from_fn(|| receiver.blocking_recv()));
            let archive = ArchiveReader::new(pieces).with_root(&root_name, &new_name);
            unpack(&root, archive, existing)
        });
        let received = send_pieces(content, sender).await;
        let written =
            writing.await.map_err(|error| CommandError::error("Cannot restore files").because(&error))?;
        received?;
        let (entries, notes) = written.map_err(|error| match error {
            RestoreError::Io(error) => self.error("write to", &error),
            error => CommandError::error("Cannot restore files").because(&error),
        })?;
        let entries = entries.into_iter().map(|entry| {
            let path = self.directory.join(&entry.path).display().to_string();
            EntryResult(RestoredEntry { path, ..entry })
        });
        Ok(entries.chain(notes.lines().map(failed_entry)).collect())
    }

    fn error(&self, verb: &str, error: &io::Error) -> CommandError {
        CommandError::error(format!("Cannot {verb} {}", self.directory.display())).because(error)
    }
}

/// Writes an archive. Returns its entries, and the text that names what it could not hold.
fn unpack<R: io::Read>(
    root: &File,
    mut archive: ArchiveReader<R>,
    existing: Existing,
) -> Result<(Vec<RestoredEntry>, String), RestoreError> {
    let name = RestoreId::random().to_string();
    let mut writer = Writer::create(root.as_fd(), &name, usize::MAX, existing)?;
    let outcome = writer.write_archive(&mut archive);
    let finished = writer.finish();
    // Nothing of the record is needed: what was replaced has other names.
    Writer::forget(root.as_fd(), &name)?;
    let (written, ()) = (outcome?, finished?);
    let entries = written.into_iter().filter(|entry| !is_existing_directory(entry)).collect();
    Ok((entries, archive.notes().to_owned()))
}

/// Directories that existed are not worth a line.
fn is_existing_directory(entry: &RestoredEntry) -> bool {
    entry.kind == EntryKind::Directory && entry.outcome == RestoreOutcome::Same
}

/// A line `name: reason` of the archive's notes.
fn failed_entry(line: &str) -> EntryResult {
    let (path, reason) = line.rsplit_once(": ").unwrap_or((line, "unsupported"));
    EntryResult(RestoredEntry {
        path: path.to_owned(),
        kind: EntryKind::Other,
        size: 0,
        outcome: RestoreOutcome::Failed,
        message: Some(format!("cannot be restored: {reason}")),
    })
}

async fn send_pieces(
    mut content: Content,
    sender: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), CommandError> {
    loop {
        match content.next().await {
            Ok(Some(piece)) => {
                // A writer that ended returns its own error.
                if sender.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let _ = sender.send(Err(io::Error::other("the download broke"))).await;
                return Err(error.into());
            }
        }
    }
}
