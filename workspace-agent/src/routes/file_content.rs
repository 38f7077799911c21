//! The content of files: download and upload.

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
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;

use crate::{
    error::{ApiError, ApiResult},
    files::{
        self,
        entry::{etag, is_file},
        home_directory::HomeFiles,
        upload::Upload,
    },
    state::AgentState,
};

/// Most bytes of one read during a download.
const READ_BYTES: usize = 64 * 1024;

/// Query of the content routes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileContentQuery {
    /// Path of the file, relative to the home.
    #[param(example = "notes.md")]
    path: String,
    /// With any value, adds a `Content-Disposition` header that makes a browser save the file.
    #[serde(default)]
    #[param(example = "1")]
    download: Option<String>,
}

/// Read a file's headers
///
/// Same as reading the file, without the body.
#[utoipa::path(
    head,
    path = "/files/content",
    tag = "files",
    params(
        FileContentQuery,
        ("If-None-Match" = Option<String>, Header, description = "Entity tags. 304 if one of them matches."),
        ("Range" = Option<String>, Header, description = "One byte range, for example `bytes=0-1023`."),
        ("If-Range" = Option<String>, Header, description = "Entity tag that must match for `Range`."),
    ),
    responses(
        (status = 200, description = "The file exists.", headers(
            ("ETag" = String, description = "Changes whenever the content may have changed."),
            ("Content-Length" = u64, description = "Size in bytes."),
        )),
        (status = 206, description = "The range exists.", headers(
            ("ETag" = String, description = "Changes whenever the content may have changed."),
            ("Content-Range" = String, description = "The range, and the size of the file."),
        )),
        (status = 304, description = "The file has one of the entity tags."),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such file or workspace."),
        (status = 415, description = "`unsupported`: the path is not a regular file."),
        (status = 416, description = "The range is not in the file. `Content-Range` has its size."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
    ),
)]
pub async fn get_file_headers(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<FileContentQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    file_response(&state, query, &headers, false).await
}

/// Read a file
///
/// Returns the bytes of a regular file. The content type is always `application/octet-stream`, so
/// that a browser never runs what a guest has written. Supports conditional requests and one byte
/// range.
#[utoipa::path(
    get,
    path = "/files/content",
    tag = "files",
    params(
        FileContentQuery,
        ("If-None-Match" = Option<String>, Header, description = "Entity tags. 304 if one of them matches."),
        ("Range" = Option<String>, Header, description = "One byte range, for example `bytes=0-1023`."),
        ("If-Range" = Option<String>, Header, description = "Entity tag that must match for `Range`."),
    ),
    responses(
        (
            status = 200,
            description = "The whole file.",
            body = Vec<u8>,
            content_type = "application/octet-stream",
            headers(
                ("ETag" = String, description = "Changes whenever the content may have changed."),
                ("Content-Length" = u64, description = "Size in bytes."),
            ),
        ),
        (
            status = 206,
            description = "The range.",
            body = Vec<u8>,
            content_type = "application/octet-stream",
            headers(
                ("ETag" = String, description = "Changes whenever the content may have changed."),
                ("Content-Range" = String, description = "The range, and the size of the file."),
            ),
        ),
        (status = 304, description = "The file has one of the entity tags."),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such file or workspace."),
        (status = 415, description = "`unsupported`: the path is not a regular file."),
        (status = 416, description = "The range is not in the file. `Content-Range` has its size."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
    ),
)]
pub async fn read_file(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<FileContentQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    file_response(&state, query, &headers, true).await
}

async fn file_response(
    state: &AgentState,
    query: FileContentQuery,
    headers: &HeaderMap,
    with_body: bool,
) -> ApiResult<Response> {
    let path = HomePath::parse(&query.path)?;
    let (file, stat) = open_file(state, path.clone()).await?;
    let etag = etag(&stat);
    if header_text(headers, &header::IF_NONE_MATCH).is_some_and(|tags| contains_tag(tags, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let size = stat.st_size.max(0) as u64;
    let range = match header_text(headers, &header::RANGE) {
        Some(text) if header_text(headers, &header::IF_RANGE).is_none_or(|tag| tag == etag) => {
            parse_range(text, size)
        }
        _ => Range::Whole,
    };
    let (status, start, length) = match range {
        Range::Whole => (StatusCode::OK, 0, size),
        Range::Part { start, end } => (StatusCode::PARTIAL_CONTENT, start, end - start + 1),
        Range::Unsatisfiable => {
            let content_range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, content_range).into_response());
        }
    };
    let body = if with_body {
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(start)).await?;
        Body::from_stream(ReaderStream::with_capacity(file.take(length), READ_BYTES))
    } else {
        Body::empty()
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    // Always the same type: our own origin must never render what a guest has written.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    insert_header(headers, header::ETAG, &etag);
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = format!("bytes {start}-{}/{size}", start + length - 1);
        insert_header(headers, header::CONTENT_RANGE, &content_range);
    }
    if query.download.is_some() {
        let disposition = content_disposition(path.name().unwrap_or("home"));
        insert_header(headers, header::CONTENT_DISPOSITION, &disposition);
    }
    Ok(response)
}

async fn open_file(state: &AgentState, path: HomePath) -> ApiResult<(std::fs::File, Stat)> {
    state
        .home
        .run(move |files| {
            // With NONBLOCK, opening a pipe does not wait for a writer.
            let file = files.open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
            let stat = rustix::fs::fstat(&file)?;
            if !is_file(&stat) {
                return Err(ApiError::new(
                    Code::Unsupported,
                    "Cannot read the path: it is not a regular file.",
                ));
            }
            Ok((std::fs::File::from(file), stat))
        })
        .await
}

/// What a `Range` header requests.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// From `start` to `end`, both inclusive.
    Part {
        start: u64,
        end: u64,
    },
    Unsatisfiable,
}

/// Parses one range. Several ranges count as the whole file, as RFC 9110 allows.
fn parse_range(text: &str, size: u64) -> Range {
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

/// Write a file
///
/// Replaces the whole content of a file, or creates it. The old content stays until the last byte
/// has arrived; then the new content replaces it atomically. A file that has several names, another
/// owner, extended attributes or a program that writes to it keeps its inode: its content is changed in
/// place, as in a home without room for a second file. A link is followed if it stays in the home.
/// Requires write access.
#[utoipa::path(
    put,
    path = "/files/content",
    tag = "files",
    params(
        FileContentQuery,
        ("If-Match" = Option<String>, Header, description = "Entity tags. One of them must match."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: the file must not exist."),
    ),
    request_body(
        content = Vec<u8>,
        content_type = "application/octet-stream",
        description = "The new content, at most 1 GiB.",
    ),
    responses(
        (status = 200, description = "The file was replaced.", body = FileEntry),
        (status = 201, description = "The file was created.", body = FileEntry),
        (status = 400, description = "`bad_request`: the upload ended early. Nothing was changed."),
        (status = 403, description = "`forbidden`: permission denied, or a link leaves the home."),
        (status = 404, description = "`not_found`: no such parent directory or workspace."),
        (status = 412, description = "`precondition_failed`: the file has changed since it was read."),
        (status = 413, description = "`too_large`: the content is larger than 1 GiB."),
        (status = 415, description = "`unsupported`: the path is not a regular file."),
        (status = 422, description = "`invalid`: the path is absolute, contains `..`, or is too long."),
        (status = 507, description = "`disk_full`: the home is full. Nothing was changed."),
    ),
)]
pub async fn write_file(
    State(state): State<Arc<AgentState>>,
    Query(query): Query<FileContentQuery>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<FileEntry>)> {
    let path = HomePath::parse(&query.path)?;
    if header_text(&headers, &header::CONTENT_LENGTH)
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > MAX_UPLOAD_BYTES)
    {
        return Err(too_large());
    }
    let condition = WriteCondition::from_headers(&headers);
    let expected = condition.clone();
    let (upload, path) = state
        .home
        .run(move |files| {
            let path = files.resolve(&path)?;
            let upload = Upload::begin(files, &path).map_err(|error| files.explain(error))?;
            expected.check(upload.current()?.as_ref())?;
            Ok::<_, ApiError>((upload, path))
        })
        .await?;
    let upload = receive_body(&state, body, upload).await?;
    let saved_path = path.clone();
    let (is_new, entry) = state
        .home
        .run(move |files| {
            // Checked again, because another program may have changed the file during the upload.
            let is_new = upload.commit(files, |current| condition.check(current))?;
            Ok::<_, ApiError>((is_new, files::entry_at(files, &saved_path)?))
        })
        .await?;
    state.documents.report_file_change(&path);
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(entry)))
}

async fn receive_body(state: &AgentState, body: Body, mut upload: Upload) -> ApiResult<Upload> {
    let mut length: u64 = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            ApiError::new(
                Code::BadRequest,
                "Cannot write the file: the upload ended early. Nothing was changed.",
            )
        })?;
        length += chunk.len() as u64;
        if length > MAX_UPLOAD_BYTES {
            return Err(too_large());
        }
        let write = move |files: &HomeFiles<'_>| {
            upload.write(&chunk).map_err(|error| files.explain(error))?;
            Ok::<_, ApiError>(upload)
        };
        upload = state.home.run(write).await?;
    }
    Ok(upload)
}

fn too_large() -> ApiError {
    let limit = MAX_UPLOAD_BYTES / 1024 / 1024;
    ApiError::new(
        Code::TooLarge,
        format!(
            "Cannot upload the file: it is larger than {limit} MiB. \
             Use `curl` or `git` in a terminal."
        ),
    )
}

/// The conditions of a write, from `If-Match` and `If-None-Match: *`.
#[derive(Clone, Debug, Default)]
struct WriteCondition {
    matching_tags: Option<String>,
    must_be_new: bool,
}

impl WriteCondition {
    fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            matching_tags: header_text(headers, &header::IF_MATCH).map(str::to_owned),
            must_be_new: header_text(headers, &header::IF_NONE_MATCH).is_some_and(|tags| tags.trim() == "*"),
        }
    }

    fn check(&self, current: Option<&Stat>) -> ApiResult<()> {
        let has_failed = match (&self.matching_tags, current) {
            (Some(tags), Some(stat)) => !contains_tag(tags, &etag(stat)),
            (Some(_), None) => true,
            (None, current) => self.must_be_new && current.is_some(),
        };
        if has_failed {
            return Err(ApiError::new(
                Code::PreconditionFailed,
                "Cannot write the file: it has changed since it was read. Reload it and try again.",
            ));
        }
        Ok(())
    }
}

fn contains_tag(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn insert_header(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A `Content-Disposition` as in RFC 6266: an ASCII name for old clients, and the exact name.
fn content_disposition(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' }).collect();
    let exact = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_range_follows_rfc_9110() {
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
            assert_eq!(parse_range(text, size), expected, "{text} of {size}");
        }
    }

    #[test]
    fn content_disposition_escapes_names() {
        let text = content_disposition("a\"\r\nSet-Cookie: x; é");
        assert!(!text.contains(['\r', '\n']));
        assert_eq!(text.matches('"').count(), 2);
    }
}
