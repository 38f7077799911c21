//! The snapshot routes of a server: small trees in memory, behind the routes of
//! `protocol::api::snapshot`.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use axum::{
    Json, Router,
    extract::{Path, Query},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use protocol::{
    files::{EntryKind, HomePath},
    restore::{FileTime, Segment, SourceEntry},
};
use restore::archive::{END, Member, header};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ID, Script, workspace};

/// A file of a snapshot.
#[derive(Clone, Debug)]
pub enum File {
    /// Content and permissions.
    Text(&'static str, u32),
    /// A symbolic link to this target.
    Link(&'static str),
    /// A file of this size that exists only as an entry: its content cannot be read.
    Huge(u64),
}

/// A snapshot and its files.
#[derive(Clone, Debug)]
pub struct TestSnapshot {
    pub id: &'static str,
    name: Option<&'static str>,
    created_at: OffsetDateTime,
    files: BTreeMap<&'static str, File>,
}

/// A snapshot that was created some minutes ago.
pub fn test_snapshot(
    id: &'static str,
    name: Option<&'static str>,
    minutes_ago: i64,
    files: &[(&'static str, File)],
) -> TestSnapshot {
    let created_at = OffsetDateTime::now_utc() - Duration::minutes(minutes_ago) - Duration::seconds(1);
    TestSnapshot { id, name, created_at, files: files.iter().cloned().collect() }
}

impl TestSnapshot {
    /// Its time of day.
    pub fn time_of_day(&self) -> String {
        self.created_at.time().to_string()
    }

    fn record(&self) -> Value {
        let kind = if self.name.is_some() { "requested" } else { "stream" };
        json!({
            "id": self.id, "name": self.name, "kind": kind,
            "consistency": "clean", "epoch": 1, "changed_bytes": 4096, "uploaded_bytes": 1024,
            "stored_bytes": 8192,
            "created_at": self.created_at.format(&Rfc3339).expect("written"),
        })
    }

    /// The entries of a directory. None: it does not exist.
    fn list(&self, directory: &str) -> Option<Vec<Value>> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let mut entries: BTreeMap<&str, Value> = BTreeMap::new();
        for (path, file) in &self.files {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            let (name, entry) = match rest.split_once('/') {
                Some((name, _)) => (name, entry(name, "directory", 0, 0o750, None, 0)),
                None => (rest, file.entry(rest)),
            };
            entries.insert(name, entry);
        }
        (directory.is_empty() || !entries.is_empty()).then(|| entries.into_values().collect())
    }
}

impl TestSnapshot {
    /// The archive of a file or directory, as the server makes it.
    fn archive(&self, root: &str) -> Vec<u8> {
        let name = root.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("home");
        let mut archive = Vec::new();
        if !self.files.contains_key(root) {
            archive.extend(member(name, &File::Text("", 0o750), EntryKind::Directory));
        }
        let mut directories = BTreeSet::new();
        for (path, file) in &self.files {
            let below = if root.is_empty() { Some(*path) } else { path.strip_prefix(root) };
            let Some(below) = below.map(|below| below.trim_start_matches('/')) else { continue };
            let parents = below.match_indices('/').map(|(end, _)| &below[..end]);
            for parent in parents.filter(|parent| directories.insert(*parent)) {
                let directory = File::Text("", 0o750);
                archive.extend(member(&format!("{name}/{parent}"), &directory, EntryKind::Directory));
            }
            let path = if below.is_empty() { name.to_owned() } else { format!("{name}/{below}") };
            match file {
                File::Text(..) => archive.extend(member(&path, file, EntryKind::File)),
                File::Link(_) => archive.extend(member(&path, file, EntryKind::Symlink)),
                File::Huge(_) => {
                    let note: &'static str = format!("{path}: damaged\n").leak();
                    archive.extend(member("left-out.txt", &File::Text(note, 0o644), EntryKind::File));
                }
            }
        }
        archive.extend(END);
        archive
    }
}

fn member(name: &str, file: &File, kind: EntryKind) -> Vec<u8> {
    let (text, mode, target) = match file {
        File::Text(text, mode) => (*text, *mode, None),
        File::Link(target) => ("", 0o777, Some((*target).to_owned())),
        File::Huge(_) => ("", 0o644, None),
    };
    let entry = SourceEntry {
        path: HomePath::default(),
        kind,
        size: text.len() as u64,
        modified: FileTime { seconds: 1_600_000_000, nanoseconds: 0 },
        mode,
        target,
        hard_link: None,
    };
    let segments = [Segment { offset: 0, length: text.len() as u64 }];
    let segments = if text.is_empty() { &[][..] } else { &segments };
    let member = Member { name, hard_link: None, entry: &entry, attributes: &[], segments };
    let mut bytes = header(&member).expect("supported");
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

impl File {
    fn entry(&self, name: &str) -> Value {
        match self {
            Self::Text(text, mode) => {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                let time = i64::try_from(hasher.finish() % 1_000_000_000).expect("small");
                entry(name, "file", text.len() as u64, *mode, None, time)
            }
            Self::Link(target) => entry(name, "symlink", target.len() as u64, 0o777, Some(target), 0),
            Self::Huge(size) => entry(name, "file", *size, 0o644, None, 0),
        }
    }
}

fn entry(name: &str, kind: &str, size: u64, mode: u32, target: Option<&str>, time: i64) -> Value {
    json!({
        "name": name, "utf8": true, "kind": kind, "size": size, "mode": mode, "target": target,
        "modified_ms": time,
    })
}

#[derive(Deserialize)]
struct Page {
    limit: usize,
    before: Option<String>,
}

#[derive(Deserialize)]
struct AtPath {
    path: String,
}

/// A script with one workspace, `demo`, and routes for its snapshots, which are sorted newest
/// first.
pub fn snapshot_server(phase: &str, snapshots: &[TestSnapshot]) -> (Script, Router<Script>) {
    let script =
        Script::default().json("GET /workspaces", json!({"workspaces": [workspace("demo", phase, 1)]}));
    let base = format!("/api/v1/workspaces/{ID}/snapshots");
    let (listed, opened, read) = (snapshots.to_vec(), snapshots.to_vec(), snapshots.to_vec());
    let packed = snapshots.to_vec();
    let router = Router::new()
        .route(
            &base,
            get(async move |Query(page): Query<Page>| Json(list(&listed, &page))).fallback(super::answer),
        )
        .route(
            &format!("{base}/{{snapshot}}/files"),
            get(async move |Path(id): Path<String>, Query(at): Query<AtPath>| open(&opened, &id, &at.path)),
        )
        .route(
            &format!("{base}/{{snapshot}}/content"),
            get(async move |Path(id): Path<String>, Query(at): Query<AtPath>| content(&read, &id, &at.path)),
        )
        .route(
            &format!("{base}/{{snapshot}}/archive"),
            get(async move |Path(id): Path<String>, Query(at): Query<AtPath>| {
                find(&packed, &id).archive(&at.path)
            }),
        );
    (script, router)
}

fn list(snapshots: &[TestSnapshot], page: &Page) -> Value {
    assert!((1..=1000).contains(&page.limit), "{}", page.limit);
    let before = page.before.as_ref().map(|text| OffsetDateTime::parse(text, &Rfc3339).expect("a time"));
    let older: Vec<&TestSnapshot> = snapshots
        .iter()
        .filter(|snapshot| before.is_none_or(|before| snapshot.created_at < before))
        .collect();
    // Small pages, so that every test fetches several.
    let limit = page.limit.min(2);
    let records: Vec<Value> = older.iter().take(limit).map(|snapshot| snapshot.record()).collect();
    json!({"snapshots": records, "more": older.len() > limit})
}

fn find<'a>(snapshots: &'a [TestSnapshot], id: &str) -> &'a TestSnapshot {
    snapshots.iter().find(|snapshot| snapshot.id == id).expect("a snapshot that was listed")
}

fn open(snapshots: &[TestSnapshot], id: &str, path: &str) -> Response {
    match find(snapshots, id).list(path) {
        Some(entries) => Json(json!({"path": path, "entries": entries, "truncated": false})).into_response(),
        None => not_found(),
    }
}

fn content(snapshots: &[TestSnapshot], id: &str, path: &str) -> Response {
    match find(snapshots, id).files.get(path) {
        Some(File::Text(text, _)) => text.into_response(),
        _ => not_found(),
    }
}

fn not_found() -> Response {
    let problem = json!({
        "type": "about:blank#not_found", "title": "Not found", "status": 404, "detail": "No such file.",
        "code": "not_found",
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::NOT_FOUND, kind, problem.to_string()).into_response()
}
