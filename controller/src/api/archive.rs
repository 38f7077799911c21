//! Downloads a directory of a snapshot as a tar archive, which is made while the snapshot is read.

use std::fmt::Write as _;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use protocol::{
    WorkspaceId,
    api::snapshot::SnapshotEntry,
    files::{EntryKind, HomePath},
};

use super::{
    browse::{At, Sender, download, home_path, open_session, send, send_file},
    error::Result,
    extract::{Params, Query, Signed},
};
use crate::{
    core::App,
    snapshots::{
        SnapshotRef,
        browser::{BrowseError, BrowseSession},
        tar,
    },
};

/// Most files and directories of one archive. It protects from homes that were made to be endless.
const MAX_ENTRIES: u32 = 1_000_000;
/// The entry that lists what could not be archived.
const SKIPPED_FILE: &str = "left-out.txt";
/// Largest size of that list.
const MAX_SKIPPED_BYTES: usize = 1 << 20;

/// Download a directory of a snapshot
///
/// Streams a tar of the directory and everything below it. Its last member, `left-out.txt`, names
/// what a tar cannot hold.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/archive",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
        At,
    ),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>, description = "A tar archive")),
    extensions(("x-problem-codes" = json!(["conflict", "unsupported", "timeout"]))),
)]
pub async fn download_snapshot_archive(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Query(at): Query<At>,
) -> Result<Response> {
    let path = home_path(&at.path)?;
    let session = open_session(&app, signed.caller(), id, reference).await?;
    if session.stat(&path).await?.kind != EntryKind::Directory {
        return Err(BrowseError::NotADirectory.into());
    }
    let name = path.name().unwrap_or("home").to_owned();
    Ok(download(&app, "snapshot archive", &format!("{name}.tar"), async move |sender| {
        let mut archive = Archive { session, sender, skipped: String::new(), entries: 0 };
        match archive.add_tree(path, name).await {
            Ok(()) => archive.finish().await,
            Err(ArchiveError::Read(error)) => {
                send(&archive.sender, Err(error)).await;
            }
            Err(ArchiveError::Aborted) => {}
        }
    }))
}

/// Why an archive is not finished.
enum ArchiveError {
    Read(BrowseError),
    /// The client is gone, or has been sent the error.
    Aborted,
}

impl From<BrowseError> for ArchiveError {
    fn from(error: BrowseError) -> Self {
        Self::Read(error)
    }
}

/// An archive that is being sent.
struct Archive {
    session: BrowseSession,
    sender: Sender,
    /// One line for each entry that was skipped.
    skipped: String,
    entries: u32,
}

impl Archive {
    /// Adds a directory and everything below it, each directory before its entries.
    async fn add_tree(&mut self, path: HomePath, name: String) -> std::result::Result<(), ArchiveError> {
        let root = self.session.stat(&path).await?;
        self.add_entry(&path, &name, &root).await?;
        let mut pending = vec![(path, name)];
        while let Some((directory, name)) = pending.pop() {
            let listing = self.session.list(&directory).await?;
            if listing.truncated {
                self.skip(&name, "more entries than can be listed");
            }
            for entry in listing.entries {
                let member = format!("{name}/{}", entry.name);
                self.entries += 1;
                // A name must not be a path that leads somewhere else when the archive is unpacked.
                let child = directory.child(&entry.name).ok();
                let child = child.filter(|child| entry.utf8 && child.name() == Some(&entry.name));
                match child {
                    None => self.skip(&member, "unsupported name"),
                    Some(_) if self.entries > MAX_ENTRIES => {
                        self.skip(&member, "too many entries");
                        return Ok(());
                    }
                    Some(child) => {
                        self.add_entry(&child, &member, &entry).await?;
                        if entry.kind == EntryKind::Directory {
                            pending.push((child, member));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds one entry with its content.
    async fn add_entry(
        &mut self,
        path: &HomePath,
        name: &str,
        entry: &SnapshotEntry,
    ) -> std::result::Result<(), ArchiveError> {
        let Some(header) = tar::header(name, entry) else {
            self.skip(name, "socket, pipe or device");
            return Ok(());
        };
        self.send(header).await?;
        if entry.kind == EntryKind::File {
            if !send_file(&self.session, path, entry.size, &self.sender).await {
                return Err(ArchiveError::Aborted);
            }
            self.send(tar::padding(entry.size)).await?;
        }
        Ok(())
    }

    async fn send(&self, bytes: Vec<u8>) -> std::result::Result<(), ArchiveError> {
        let is_sent = bytes.is_empty() || send(&self.sender, Ok(Bytes::from(bytes))).await;
        is_sent.then_some(()).ok_or(ArchiveError::Aborted)
    }

    /// Records an entry that the archive does not have.
    fn skip(&mut self, name: &str, reason: &str) {
        if self.skipped.len() < MAX_SKIPPED_BYTES {
            let _ = writeln!(self.skipped, "{}: {reason}", name.escape_debug());
        }
    }

    /// Ends the archive, with the list of skipped entries.
    async fn finish(self) {
        let mut bytes = Vec::new();
        if !self.skipped.is_empty() {
            let size = self.skipped.len() as u64;
            let entry = SnapshotEntry {
                name: SKIPPED_FILE.to_owned(),
                utf8: true,
                kind: EntryKind::File,
                size,
                modified_ms: 0,
                mode: 0o644,
                target: None,
            };
            bytes.extend(tar::header(SKIPPED_FILE, &entry).expect("a file"));
            bytes.extend(self.skipped.as_bytes());
            bytes.extend(tar::padding(size));
        }
        bytes.extend(tar::END);
        send(&self.sender, Ok(Bytes::from(bytes))).await;
    }
}
