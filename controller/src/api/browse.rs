//! Files of snapshots: directories, contents and differences. No workspace is started.

use std::{fmt::Write as _, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use protocol::{
    Code, WorkspaceId,
    api::snapshot::{Changes, Diff, Directory, MAX_CHANGES},
    files::{EntryKind, HomePath},
};
use serde::Deserialize;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{
    access::{authorize_reading, snapshot_not_found},
    error::{ApiError, Result},
    extract::{Params, Query, Signed},
};
use crate::{
    authz::{Allowed, Caller},
    core::{App, Core},
    snapshots::{
        self, SnapshotRef,
        browser::{BrowseError, BrowseSession, PIECE_BYTES},
    },
    tenants,
};

/// Pieces that are read before the client takes them.
const MAX_PIECES_AHEAD: usize = 2;
/// A client that takes nothing for so long is disconnected.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// For one download: enough for a large file over a slow line, and no snapshot is open forever.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// The pieces of a download. An error aborts it.
pub type Sender = mpsc::Sender<std::result::Result<Bytes, BrowseError>>;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct At {
    /// Below the home, without a leading `/`. Absent: the home itself.
    #[serde(default)]
    pub path: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Between {
    /// Below the home, without a leading `/`. Absent: the home itself.
    #[serde(default)]
    path: String,
    /// The later snapshot: an identifier, or `latest`, which it is when absent.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    with: Option<SnapshotRef>,
}

/// List a directory of a snapshot
///
/// Reads the snapshot without starting the workspace.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/files",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
        At,
    ),
    responses((status = 200, body = Directory, description = "The directory, by name")),
    extensions(("x-problem-codes" = json!(["conflict", "unsupported", "timeout"]))),
)]
pub async fn list_snapshot_files(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Query(at): Query<At>,
) -> Result<Json<Directory>> {
    let path = home_path(&at.path)?;
    let session = open_session(&app, signed.caller(), id, reference).await?;
    Ok(Json(session.list(&path).await?))
}

/// Download a file of a snapshot
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/content",
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
        description = "The bytes of the file",
    )),
    extensions(("x-problem-codes" = json!(["conflict", "unsupported", "timeout"]))),
)]
pub async fn read_snapshot_file(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Query(at): Query<At>,
) -> Result<Response> {
    let path = home_path(&at.path)?;
    let session = open_session(&app, signed.caller(), id, reference).await?;
    let entry = session.stat(&path).await?;
    if entry.kind != EntryKind::File {
        return Err(BrowseError::NotAFile.into());
    }
    let name = path.name().unwrap_or("home").to_owned();
    let mut response = download(&app, "snapshot file", &name, async move |sender| {
        send_file(&session, &path, entry.size, &sender).await;
    });
    response.headers_mut().insert(header::CONTENT_LENGTH, entry.size.into());
    Ok(response)
}

/// An answer that `sending` makes while it is taken, to be kept as a file.
pub fn download<Sending: Future<Output = ()> + Send + 'static>(
    app: &Core,
    task: &'static str,
    name: &str,
    sending: impl FnOnce(Sender) -> Sending,
) -> Response {
    let (sender, receiver) = mpsc::channel(MAX_PIECES_AHEAD);
    let shutdown = app.tasks.shutdown().clone();
    let sending = sending(sender);
    app.tasks.spawn(task, async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = timeout(DOWNLOAD_TIMEOUT, sending) => {}
        }
    });
    let mut response = Body::from_stream(ReceiverStream::new(receiver)).into_response();
    let headers = response.headers_mut();
    for (header, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A guest wrote the file: no browser may run it as a page of ours.
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    ] {
        headers.insert(header, HeaderValue::from_static(value));
    }
    let disposition = HeaderValue::try_from(disposition(name)).expect("only plain letters are left");
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    response
}

/// Sends a file, and returns whether all of it was sent. An error aborts the response, which the
/// client sees by its length.
pub async fn send_file(session: &BrowseSession, path: &HomePath, size: u64, sender: &Sender) -> bool {
    let mut offset = 0;
    while offset < size {
        let length = PIECE_BYTES.min(size - offset);
        let piece = match session.read(path, offset, length).await {
            Ok(piece) if piece.len() as u64 == length => Ok(piece),
            Ok(_) => Err(BrowseError::ReaderFailed("the file ended early".to_owned())),
            Err(error) => Err(error),
        };
        if !send(sender, piece).await {
            return false;
        }
        offset += length;
    }
    true
}

/// Sends a piece, and returns whether more may follow.
pub async fn send(sender: &Sender, piece: std::result::Result<Bytes, BrowseError>) -> bool {
    let failed = piece.is_err();
    matches!(timeout(STALL_TIMEOUT, sender.send(piece)).await, Ok(Ok(()))) && !failed
}

/// The value of Content-Disposition (RFC 6266): an ASCII name for old clients, and the exact one.
fn disposition(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' }).collect();
    let exact = name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    });
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

/// List changes between two snapshots
///
/// Lists what the later snapshot has otherwise than this one, at a path and below.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/changes",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
        Between,
    ),
    responses((status = 200, body = Changes, description = "The changed paths")),
    extensions(("x-problem-codes" = json!(["conflict", "unsupported", "timeout"]))),
)]
pub async fn list_snapshot_changes(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Query(between): Query<Between>,
) -> Result<Json<Changes>> {
    let path = home_path(&between.path)?;
    let (before, after) = open_both(&app, signed.caller(), id, reference, between.with).await?;
    Ok(Json(before.changes(&after, &path, MAX_CHANGES).await?))
}

/// Compare a file in two snapshots
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/diff",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
        Between,
    ),
    responses((status = 200, body = Diff, description = "The difference in unified form")),
    extensions(("x-problem-codes" = json!(["conflict", "unsupported", "timeout"]))),
)]
pub async fn diff_snapshot_file(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Query(between): Query<Between>,
) -> Result<Json<Diff>> {
    let path = home_path(&between.path)?;
    let (before, after) = open_both(&app, signed.caller(), id, reference, between.with).await?;
    Ok(Json(before.diff(&after, &path).await?))
}

pub fn home_path(text: &str) -> Result<HomePath> {
    HomePath::parse(text)
        .map_err(|error| ApiError::invalid("path", &format!("Not a path in a home: {error}.")))
}

/// Opens a snapshot for browsing, if the caller may read it.
pub async fn open_session(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    reference: SnapshotRef,
) -> Result<BrowseSession> {
    let allowed = authorize_reading(app, caller, id).await?;
    open(app, allowed, id, reference).await
}

async fn open_both(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    before: SnapshotRef,
    after: Option<SnapshotRef>,
) -> Result<(BrowseSession, BrowseSession)> {
    let allowed = authorize_reading(app, caller, id).await?;
    let before = open(app, allowed, id, before).await?;
    Ok((before, open(app, allowed, id, after.unwrap_or(SnapshotRef::Latest)).await?))
}

async fn open(
    app: &Core,
    allowed: Allowed,
    id: WorkspaceId,
    reference: SnapshotRef,
) -> Result<BrowseSession> {
    let mut scope = app.db.scope(allowed).await?;
    let found = snapshots::find(&mut scope, id, reference).await?.ok_or_else(snapshot_not_found)?;
    let key = tenants::open_key(&app.kms, scope).await?;
    let caller = allowed.caller();
    Ok(app.browser.open((caller.tenant, caller.user), key, found.manifest))
}

impl From<BrowseError> for ApiError {
    fn from(error: BrowseError) -> Self {
        match error {
            BrowseError::NotFound | BrowseError::NotADirectory => {
                Self::new(Code::NotFound, "This snapshot has no file at this path.")
            }
            BrowseError::NotAFile => {
                Self::new(Code::Unsupported, "This is not a regular file. It has no content to show.")
            }
            BrowseError::Unreadable(_) => Self::new(
                Code::Unsupported,
                format!("{error}. Restore or fork the snapshot to read it.", error = sentence(&error)),
            ),
            BrowseError::Timeout => Self::new(
                Code::Timeout,
                "Reading this snapshot took too long. Try again, or open a smaller part of it.",
            ),
            BrowseError::ReaderFailed(_) => {
                Self::new(Code::Unavailable, "Reading this snapshot failed. Try again.").retry_after(1)
            }
        }
    }
}

fn sentence(error: &BrowseError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_cannot_leave_header() {
        let text = disposition("a\"\r\nSet-Cookie: x; é");
        assert!(text.is_ascii() && !text.contains(['\r', '\n']), "{text}");
        assert_eq!(text.matches('"').count(), 2);
        assert!(text.ends_with("filename*=UTF-8''a%22%0D%0ASet%2DCookie%3A%20x%3B%20%C3%A9"), "{text}");
    }
}
