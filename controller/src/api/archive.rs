//! A directory of a past home as one download: a tar that is made while the home is read.

use std::fmt::Write as _;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use protocol::{
    WorkspaceId,
    api::snapshot::PastEntry,
    files::{EntryKind, HomePath},
};

use super::{
    browse::{At, Sender, download, home_path, pieces, send, visit},
    error::Result,
    extract::{Params, Query, Signed},
};
use crate::{
    core::App,
    snapshots::{
        Which,
        browser::{PastError, Visit},
        tar,
    },
};

/// Most files and directories of one archive: more is a home made to have no end.
const MAX_ENTRIES: u32 = 1_000_000;
/// The member that names what the archive does not hold.
const LEFT_OUT: &str = "left-out.txt";
/// As much of it as is kept.
const MAX_LEFT_OUT_BYTES: usize = 1 << 20;

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
    responses((status = 200, content_type = "application/x-tar", body = Vec<u8>, description = "A tar archive")),
    extensions(("x-problem-codes" = json!(["unsupported", "timeout"]))),
)]
pub async fn download_snapshot_archive(
    State(app): State<App>,
    signed: Signed,
    Params((id, which)): Params<(WorkspaceId, Which)>,
    Query(at): Query<At>,
) -> Result<Response> {
    let path = home_path(&at.path)?;
    let past = visit(&app, signed.caller(), id, which).await?;
    if past.stat(&path).await?.kind != EntryKind::Directory {
        return Err(PastError::NotADirectory.into());
    }
    let name = path.name().unwrap_or("home").to_owned();
    Ok(download(&app, "past archive", &format!("{name}.tar"), async move |sender| {
        let mut packing = Packing { past, sender, left_out: String::new(), entries: 0 };
        match packing.tree(path, name).await {
            Ok(()) => packing.end().await,
            Err(Broken::Reading(error)) => {
                send(&packing.sender, Err(error)).await;
            }
            Err(Broken::Taking) => {}
        }
    }))
}

/// Why an archive is not finished.
enum Broken {
    Reading(PastError),
    /// Nobody takes it any more, or was told already.
    Taking,
}

impl From<PastError> for Broken {
    fn from(error: PastError) -> Self {
        Self::Reading(error)
    }
}

struct Packing {
    past: Visit,
    sender: Sender,
    /// A line for each.
    left_out: String,
    entries: u32,
}

impl Packing {
    /// A directory and all below it, each directory before what is in it.
    async fn tree(&mut self, path: HomePath, name: String) -> std::result::Result<(), Broken> {
        let root = self.past.stat(&path).await?;
        self.member(&path, &name, &root).await?;
        let mut pending = vec![(path, name)];
        while let Some((directory, shown)) = pending.pop() {
            let listing = self.past.list(&directory).await?;
            if listing.truncated {
                self.leave_out(&shown, "more entries than can be listed");
            }
            for entry in listing.entries {
                let member = format!("{shown}/{}", entry.name);
                self.entries += 1;
                // One name and no path: whoever unpacks it must not be led elsewhere.
                let child = directory.child(&entry.name).ok();
                let child = child.filter(|child| entry.utf8 && child.name() == Some(&entry.name));
                match child {
                    None => self.leave_out(&member, "its name cannot be asked for"),
                    Some(_) if self.entries > MAX_ENTRIES => {
                        self.leave_out(&member, "too many entries");
                        return Ok(());
                    }
                    Some(child) => {
                        self.member(&child, &member, &entry).await?;
                        if entry.kind == EntryKind::Directory {
                            pending.push((child, member));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn member(
        &mut self,
        path: &HomePath,
        name: &str,
        entry: &PastEntry,
    ) -> std::result::Result<(), Broken> {
        let Some(header) = tar::header(name, entry) else {
            self.leave_out(name, "a socket, a pipe or a device");
            return Ok(());
        };
        self.put(header).await?;
        if entry.kind == EntryKind::File {
            if !pieces(&self.past, path, entry.size, &self.sender).await {
                return Err(Broken::Taking);
            }
            self.put(tar::padding(entry.size)).await?;
        }
        Ok(())
    }

    async fn put(&self, bytes: Vec<u8>) -> std::result::Result<(), Broken> {
        let taken = bytes.is_empty() || send(&self.sender, Ok(Bytes::from(bytes))).await;
        taken.then_some(()).ok_or(Broken::Taking)
    }

    fn leave_out(&mut self, name: &str, reason: &str) {
        if self.left_out.len() < MAX_LEFT_OUT_BYTES {
            let _ = writeln!(self.left_out, "{}: {reason}", name.escape_debug());
        }
    }

    async fn end(self) {
        let mut bytes = Vec::new();
        if !self.left_out.is_empty() {
            let size = self.left_out.len() as u64;
            let entry = PastEntry {
                name: LEFT_OUT.to_owned(),
                utf8: true,
                kind: EntryKind::File,
                size,
                modified_ms: 0,
                mode: 0o644,
                target: None,
            };
            bytes.extend(tar::header(LEFT_OUT, &entry).expect("a file"));
            bytes.extend(self.left_out.as_bytes());
            bytes.extend(tar::padding(size));
        }
        bytes.extend(tar::END);
        send(&self.sender, Ok(Bytes::from(bytes))).await;
    }
}
