//! A file's bytes, down and up.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use protocol::{
    Code,
    agent::MAX_UPLOAD_BYTES,
    files::{FileEntry, HomePath},
};
use rustix::fs::{Mode, OFlags, Stat};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use super::{entry, entry_at, home::is_file, save::Aside};
use crate::{
    app::App,
    problem::{Answer, Refusal},
};

/// One read of a download.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
pub struct Content {
    path: String,
    #[serde(default)]
    download: Option<String>,
}

pub async fn head(
    State(app): State<Arc<App>>,
    Query(query): Query<Content>,
    headers: HeaderMap,
) -> Answer<Response> {
    answer(&app, query, &headers, false).await
}

pub async fn get(
    State(app): State<Arc<App>>,
    Query(query): Query<Content>,
    headers: HeaderMap,
) -> Answer<Response> {
    answer(&app, query, &headers, true).await
}

async fn answer(app: &App, query: Content, headers: &HeaderMap, with_body: bool) -> Answer<Response> {
    let path = HomePath::parse(&query.path)?;
    let opening = path.clone();
    let (file, stat) = app
        .home
        .run(move |files| {
            // NONBLOCK: a pipe must not hold the thread until someone writes.
            let file = files.open(&opening, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
            let stat = rustix::fs::fstat(&file)?;
            if !is_file(&stat) {
                return Err(Refusal::new(Code::Unsupported, "It is not a regular file."));
            }
            Ok((std::fs::File::from(file), stat))
        })
        .await?;
    let etag = entry::etag(&stat);
    if header(headers, &header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let size = stat.st_size.max(0) as u64;
    let range = match header(headers, &header::RANGE) {
        Some(text) if header(headers, &header::IF_RANGE).is_none_or(|tag| tag == etag) => range(text, size),
        _ => Range::Whole,
    };
    let (status, start, length) = match range {
        Range::Whole => (StatusCode::OK, 0, size),
        Range::Part { start, end } => (StatusCode::PARTIAL_CONTENT, start, end - start + 1),
        Range::Unsatisfiable => {
            return Ok((
                StatusCode::RANGE_NOT_SATISFIABLE,
                [(header::CONTENT_RANGE, format!("bytes */{size}"))],
            )
                .into_response());
        }
    };
    let body = if with_body {
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(start)).await?;
        Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK))
    } else {
        Body::empty()
    };
    let mut response = (status, body).into_response();
    let answer = response.headers_mut();
    // A page of ours must never run what a guest wrote: always bytes, never a type.
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_LENGTH, length.into());
    insert(answer, header::ETAG, &etag);
    if status == StatusCode::PARTIAL_CONTENT {
        insert(answer, header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", start + length - 1));
    }
    if query.download.is_some() {
        insert(answer, header::CONTENT_DISPOSITION, &disposition(path.name().unwrap_or("home")));
    }
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// Both inclusive.
    Part {
        start: u64,
        end: u64,
    },
    Unsatisfiable,
}

/// One range; several are answered as the whole, as RFC 9110 allows.
fn range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), _) if start >= size => Range::Unsatisfiable,
        (Ok(start), Ok(end)) if start <= end => Range::Part { start, end: end.min(size - 1) },
        (Ok(start), _) if last.is_empty() => Range::Part { start, end: size - 1 },
        (_, Ok(suffix)) if first.is_empty() && suffix > 0 && size > 0 => {
            Range::Part { start: size.saturating_sub(suffix), end: size - 1 }
        }
        _ if first.is_empty() => Range::Unsatisfiable,
        _ => Range::Whole,
    }
}

/// `PUT`: the whole file. What was there stays until the last byte has come.
pub async fn put(
    State(app): State<Arc<App>>,
    Query(query): Query<Content>,
    headers: HeaderMap,
    body: Body,
) -> Answer<(StatusCode, Json<FileEntry>)> {
    let path = HomePath::parse(&query.path)?;
    if header(&headers, &header::CONTENT_LENGTH)
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > MAX_UPLOAD_BYTES)
    {
        return Err(too_large());
    }
    let condition = Condition::of(&headers);
    let beginning = path.clone();
    let expected = condition.clone();
    let (mut aside, path) = app
        .home
        .run(move |files| {
            let path = files.real(&beginning)?;
            let aside = Aside::begin(files, &path)?;
            expected.check(aside.current()?.as_ref())?;
            Ok::<_, Refusal>((aside, path))
        })
        .await?;
    let mut file = tokio::fs::File::from_std(aside.take_file()?);
    receive(body, &mut file).await?;
    let file = file.into_std().await;
    let saved = path.clone();
    let (created, entry) = app
        .home
        .run(move |files| {
            let old = aside.current()?;
            condition.check(old.as_ref())?;
            aside.place(&file)?;
            Ok::<_, Refusal>((old.is_none(), entry_at(files, &saved)?))
        })
        .await?;
    app.documents.disk_changed(&path);
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(entry)))
}

async fn receive(body: Body, file: &mut tokio::fs::File) -> Answer<()> {
    let mut length: u64 = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|_| Refusal::new(Code::BadRequest, "The upload ended early; nothing was changed."))?;
        length += chunk.len() as u64;
        if length > MAX_UPLOAD_BYTES {
            return Err(too_large());
        }
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(())
}

fn too_large() -> Refusal {
    let limit = MAX_UPLOAD_BYTES / 1024 / 1024;
    Refusal::new(
        Code::TooLarge,
        format!("A file of at most {limit} MiB can be uploaded; use `curl` or `git` in a terminal for more."),
    )
}

/// `If-Match` and `If-None-Match: *`.
#[derive(Clone, Debug, Default)]
struct Condition {
    matches: Option<String>,
    must_be_new: bool,
}

impl Condition {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            matches: header(headers, &header::IF_MATCH).map(str::to_owned),
            must_be_new: header(headers, &header::IF_NONE_MATCH).is_some_and(|tags| tags.trim() == "*"),
        }
    }

    fn check(&self, current: Option<&Stat>) -> Answer<()> {
        let wrong = match (&self.matches, current) {
            (Some(tags), Some(stat)) => !names(tags, &entry::etag(stat)),
            (Some(_), None) => true,
            (None, current) => self.must_be_new && current.is_some(),
        };
        if wrong {
            return Err(Refusal::new(
                Code::PreconditionFailed,
                "The file has changed since it was read; read it again.",
            ));
        }
        Ok(())
    }
}

fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag)
}

fn header<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// RFC 6266: an ASCII name for old clients and the exact one beside it.
fn disposition(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' }).collect();
    let exact = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, size, expected) in [
            ("bytes=0-0", 10, Range::Part { start: 0, end: 0 }),
            ("bytes=5-", 10, Range::Part { start: 5, end: 9 }),
            ("bytes=-3", 10, Range::Part { start: 7, end: 9 }),
            ("bytes=-30", 10, Range::Part { start: 0, end: 9 }),
            ("bytes=0-99", 10, Range::Part { start: 0, end: 9 }),
            ("bytes=10-", 10, Range::Unsatisfiable),
            ("bytes=0-", 0, Range::Unsatisfiable),
            ("bytes=-0", 10, Range::Unsatisfiable),
            ("bytes=-5", 0, Range::Unsatisfiable),
            ("bytes=7-3", 10, Range::Whole),
            ("bytes=0-1,3-4", 10, Range::Whole),
            ("lines=1-2", 10, Range::Whole),
        ] {
            assert_eq!(range(text, size), expected, "{text} of {size}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_header() {
        let text = disposition("a\"\r\nSet-Cookie: x; é");
        assert!(!text.contains(['\r', '\n']));
        assert_eq!(text.matches('"').count(), 2);
    }
}
