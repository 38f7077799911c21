//! The file routes.

mod content;
pub mod entry;
pub mod home;
pub mod save;
mod watch;

use std::{ffi::CString, io, os::fd::AsFd as _, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use protocol::{
    Code,
    files::{DirectoryListing, EntryKind, FileEntry, HomePath, MAX_ENTRIES, NewDirectory, RenameRequest},
};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use serde::Deserialize;

pub use content::{get, head, put};
pub use watch::watch;

use self::home::Files;
use crate::{
    app::App,
    problem::{Answer, Refusal},
};

#[derive(Debug, Deserialize)]
pub struct AtPath {
    #[serde(default)]
    path: String,
}

#[derive(Debug, Deserialize)]
pub struct Delete {
    path: String,
    #[serde(default)]
    recursive: bool,
}

pub async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<AtPath>,
) -> Answer<Json<DirectoryListing>> {
    let path = HomePath::parse(&query.path)?;
    app.home.run(move |files| listing(files, &path)).await.map(Json)
}

fn listing(files: &Files<'_>, path: &HomePath) -> Answer<DirectoryListing> {
    let directory = files.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut entries = Vec::new();
    let mut truncated = false;
    for item in rustix::fs::Dir::read_from(&directory)? {
        let item = item?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entries.len() == MAX_ENTRIES {
            truncated = true;
            break;
        }
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => entries.push(entry::entry(directory.as_fd(), name, &stat)),
            Err(rustix::io::Errno::NOENT) => {} // deleted meanwhile
            Err(error) => return Err(error.into()),
        }
    }
    entries.sort_by(|a, b| {
        (a.kind != EntryKind::Directory, &a.name).cmp(&(b.kind != EntryKind::Directory, &b.name))
    });
    Ok(DirectoryListing { path: path.as_str().to_owned(), entries, truncated })
}

pub async fn create_directory(
    State(app): State<Arc<App>>,
    Json(request): Json<NewDirectory>,
) -> Answer<(StatusCode, Json<FileEntry>)> {
    let path = HomePath::parse(&request.path)?;
    app.home
        .run(move |files| make_directory(files, &path, request.parents))
        .await
        .map(|entry| (StatusCode::CREATED, Json(entry)))
}

fn make_directory(files: &Files<'_>, path: &HomePath, parents: bool) -> Answer<FileEntry> {
    if parents
        && let Some(parent) = path.parent().filter(|parent| !parent.is_home())
        && files.stat(&parent)?.is_none()
    {
        make_directory(files, &parent, true)?;
    }
    let (parent, name) = files.parent(path)?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
    entry_at(files, path)
}

pub async fn rename(
    State(app): State<Arc<App>>,
    Json(request): Json<RenameRequest>,
) -> Answer<Json<FileEntry>> {
    let (from, to) = (HomePath::parse(&request.from)?, HomePath::parse(&request.to)?);
    app.home
        .run(move |files| {
            let (from_parent, from_name) = files.parent(&from)?;
            let (to_parent, to_name) = files.parent(&to)?;
            let flags = if request.overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            rustix::fs::renameat_with(&from_parent, from_name, &to_parent, to_name, flags)?;
            entry_at(files, &to)
        })
        .await
        .map(Json)
}

pub async fn delete(State(app): State<Arc<App>>, Query(query): Query<Delete>) -> Answer<StatusCode> {
    let path = HomePath::parse(&query.path)?;
    if path.is_home() {
        return Err(Refusal::new(Code::Forbidden, "The home itself cannot be deleted."));
    }
    app.home.run(move |files| files.delete(&path, query.recursive)).await.map_err(Refusal::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The entry of a path that is there.
fn entry_at(files: &Files<'_>, path: &HomePath) -> Answer<FileEntry> {
    let (parent, name) = files.parent(path)?;
    let name = CString::new(name).map_err(io::Error::other)?;
    let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(entry::entry(parent.as_fd(), &name, &stat))
}
