//! A workspace's past as a server has it: snapshots that are small trees in memory, behind the routes of
//! `protocol::api::snapshot`.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use axum::{
    Json, Router,
    extract::{Path, Query},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ID, Script, workspace};

/// A file of a snapshot: its content and permissions, or where it points.
#[derive(Clone, Debug)]
pub enum File {
    Text(&'static str, u32),
    Link(&'static str),
    /// Of so many bytes as no memory holds: only its entry can be asked for.
    Huge(u64),
}

#[derive(Clone, Debug)]
pub struct Moment {
    pub id: &'static str,
    name: Option<&'static str>,
    created_at: OffsetDateTime,
    files: BTreeMap<&'static str, File>,
}

/// So long ago.
pub fn moment(
    id: &'static str,
    name: Option<&'static str>,
    minutes_ago: i64,
    files: &[(&'static str, File)],
) -> Moment {
    let created_at = OffsetDateTime::now_utc() - Duration::minutes(minutes_ago) - Duration::seconds(1);
    Moment { id, name, created_at, files: files.iter().cloned().collect() }
}

impl Moment {
    pub fn shown_at(&self) -> String {
        self.created_at.time().to_string()
    }

    fn record(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "kind": if self.name.is_some() { "asked" } else { "stream" },
            "consistency": "clean", "epoch": 1, "changed_bytes": 4096, "uploaded_bytes": 1024, "stored_bytes": 8192,
            "created_at": self.created_at.format(&Rfc3339).expect("written"),
        })
    }

    /// The direct entries of a directory. None: it is not there.
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
        "name": name, "utf8": true, "kind": kind, "size": size, "mode": mode, "target": target, "modified_ms": time,
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

/// The list of one workspace, `demo`, and its past; `moments` newest first.
pub fn past(phase: &str, moments: &[Moment]) -> (Script, Router<Script>) {
    let script =
        Script::default().json("GET /workspaces", json!({"workspaces": [workspace("demo", phase, 1)]}));
    let base = format!("/api/v1/workspaces/{ID}/snapshots");
    let (listed, opened, read) = (moments.to_vec(), moments.to_vec(), moments.to_vec());
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
        );
    (script, router)
}

fn list(moments: &[Moment], page: &Page) -> Value {
    assert!((1..=1000).contains(&page.limit), "{}", page.limit);
    let before = page.before.as_ref().map(|text| OffsetDateTime::parse(text, &Rfc3339).expect("a time"));
    let older: Vec<&Moment> =
        moments.iter().filter(|moment| before.is_none_or(|before| moment.created_at < before)).collect();
    // Small pages, so that every test turns them.
    let limit = page.limit.min(2);
    let records: Vec<Value> = older.iter().take(limit).map(|moment| moment.record()).collect();
    json!({"snapshots": records, "more": older.len() > limit})
}

fn find<'a>(moments: &'a [Moment], id: &str) -> &'a Moment {
    moments.iter().find(|moment| moment.id == id).expect("a snapshot that was listed")
}

fn open(moments: &[Moment], id: &str, path: &str) -> Response {
    match find(moments, id).list(path) {
        Some(entries) => Json(json!({"path": path, "entries": entries, "truncated": false})).into_response(),
        None => not_found(),
    }
}

fn content(moments: &[Moment], id: &str, path: &str) -> Response {
    match find(moments, id).files.get(path) {
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
