//! Downloads a file or directory of a snapshot as a tar archive, which is made while the snapshot is
//! read.

use std::fmt::Write as _;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use protocol::{
    WorkspaceId,
    api::restore::SKIPPED_MEMBER,
    files::{EntryKind, HomePath},
    restore::{FileTime, Segment, SourceEntry},
};
use restore::archive::{self, Member};

use super::{
    browse::{At, Sender, download, home_path, open_session, send},
    error::Result,
    extract::{Params, Query, Signed},
};
use crate::{
    core::App,
    snapshots::{
        SnapshotRef,
        browser::{BrowseError, BrowseSession},
        walk::{EncodedMember, SnapshotWalk},
    },
};

/// Most files and directories of one archive. It protects from homes that were made to be endless.
const MAX_ENTRIES: usize = 1_000_000;
/// Largest size of that list.
const MAX_SKIPPED_BYTES: usize = 1 << 20;

/// Download a directory of a snapshot
///
/// Streams a tar of the directory and everything below it, or of one file: contents, permissions,
/// times, extended attributes (`user.*`), links and holes. Its last member, `left-out.txt`, names what
/// a tar cannot hold.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/archive",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
        At,
    ),
    responses((
        status = 200,
        content_type = "application/octet-stream",
        body = Vec<u8>,
        description = "A tar archive",
    )),
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
    session.node(&path).await?;
    let name = path.name().unwrap_or("home").to_owned();
    Ok(download(&app, "snapshot archive", &format!("{name}.tar"), async move |sender| {
        let mut archive = Archive { session, sender, root: path, name, skipped: String::new() };
        match archive.add_tree().await {
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
    /// The path that the archive is of, and its name in the archive.
    root: HomePath,
    name: String,
    /// One line for each entry that was skipped.
    skipped: String,
}

impl Archive {
    /// Adds the root, and everything below it if it is a directory.
    async fn add_tree(&mut self) -> std::result::Result<(), ArchiveError> {
        let mut walk = SnapshotWalk::new(self.session.clone(), MAX_ENTRIES);
        let root = self.session.node(&self.root).await?;
        match walk.entry(self.root.clone(), &root) {
            Ok(entry) => self.add_entry(&entry).await?,
            Err(reason) => self.skip(&self.name.clone(), reason),
        }
        if root.kind == EntryKind::Directory {
            walk.add_directory(self.root.clone());
        }
        let mut entries = 0;
        while let Some(directory) = walk.next_directory().await? {
            for (path, reason) in directory.skipped {
                self.skip(&self.member_name(&path), reason);
            }
            for entry in directory.entries {
                entries += 1;
                if entries > MAX_ENTRIES {
                    self.skip(&self.member_name(entry.path.as_str()), "too many entries");
                    return Ok(());
                }
                self.add_entry(&entry).await?;
            }
        }
        Ok(())
    }

    /// Adds one entry with its content.
    async fn add_entry(&mut self, entry: &SourceEntry) -> std::result::Result<(), ArchiveError> {
        let name = self.member_name(entry.path.as_str());
        let hard_link = entry.hard_link.as_ref().map(|first| self.member_name(first.as_str()));
        let member = EncodedMember::read(&self.session, entry, &name, hard_link.as_deref()).await?;
        let Some(mut member) = member else {
            self.skip(&name, "unsupported");
            return Ok(());
        };
        self.send(member.head.clone()).await?;
        while let Some(piece) = member.next_piece(&self.session).await? {
            self.send(piece).await?;
        }
        Ok(())
    }

    /// The name in the archive of a path of the home.
    fn member_name(&self, path: &str) -> String {
        let below = path.strip_prefix(self.root.as_str()).unwrap_or(path).trim_start_matches('/');
        if below.is_empty() { self.name.clone() } else { format!("{}/{below}", self.name) }
    }

    async fn send(&self, bytes: Bytes) -> std::result::Result<(), ArchiveError> {
        let is_sent = bytes.is_empty() || send(&self.sender, Ok(bytes)).await;
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
            let entry = SourceEntry {
                path: HomePath::default(),
                kind: EntryKind::File,
                size,
                modified: FileTime::default(),
                mode: 0o644,
                target: None,
                hard_link: None,
            };
            let segments = [Segment { offset: 0, length: size }];
            let member = Member {
                name: SKIPPED_MEMBER,
                hard_link: None,
                entry: &entry,
                attributes: &[],
                segments: &segments,
            };
            bytes.extend(archive::header(&member).expect("a file"));
            bytes.extend(self.skipped.as_bytes());
            bytes.extend(archive::padding(size));
        }
        bytes.extend(archive::END);
        send(&self.sender, Ok(Bytes::from(bytes))).await;
    }
}
