//! The chunks of a snapshot, for a transfer to another installation.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use protocol::{
    Code, UserId, WorkspaceId,
    api::import::{Chunk, ChunkList, MAX_CHUNKS_AT_ONCE, MAX_CHUNKS_LISTED, WantedChunks},
};
use serde::Deserialize;
use utoipa::IntoParams;
use volume::{ChunkPage, MAX_VOLUME_BYTES, SnapshotView, VolumeError, chunk_count};

use super::{
    access::{authorize_reading, snapshot_not_found},
    error::{ApiError, Result},
    extract::{Input, Params, Query, Signed},
};
use crate::{
    authz::Caller,
    core::{App, Core},
    fair_permits::{Busy, FairPermit},
    snapshots::{self, SnapshotRef},
    tenants,
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The first chunk to list. 0 by default.
    #[serde(default)]
    pub from: u32,
}

/// List the chunks of a snapshot
///
/// Lists index and hash of each 64 KiB chunk that is not all zeros. Used by `burrow push` and
/// `burrow pull`.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/snapshots/{snapshot}/chunks",
    tag = "chunks",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
        Page,
    ),
    responses((status = 200, body = ChunkList, description = "A page of chunks")),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn list_snapshot_chunks(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Query(page): Query<Page>,
) -> Result<Json<ChunkList>> {
    let reader = open(&app, signed.caller(), id, reference).await?;
    list_page(&app, signed.caller().user, &reader, page.from).await
}

/// Download chunks of a snapshot
///
/// Returns the chunks in transfer format, to be uploaded unchanged with `upload_import_chunks`.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/snapshots/{snapshot}/chunks",
    tag = "chunks",
    request_body = WantedChunks,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("snapshot" = String, Path, description = "A snapshot's id, or `latest`."),
    ),
    responses((
        status = 200,
        content_type = "application/octet-stream",
        body = Vec<u8>,
        description = "The chunks in transfer format",
    )),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn read_snapshot_chunks(
    State(app): State<App>,
    signed: Signed,
    Params((id, reference)): Params<(WorkspaceId, SnapshotRef)>,
    Input(wanted): Input<WantedChunks>,
) -> Result<Response> {
    let reader = open(&app, signed.caller(), id, reference).await?;
    check_indexes(&wanted.indexes)?;
    let _permit = permit(&app, signed.caller().user).await?;
    let bytes = reader.read_chunks(&wanted.indexes).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

fn check_indexes(indexes: &[u32]) -> Result<()> {
    if indexes.len() > MAX_CHUNKS_AT_ONCE {
        return Err(ApiError::invalid("indexes", &format!("Use at most {MAX_CHUNKS_AT_ONCE} indexes.")));
    }
    if !indexes.is_sorted_by(|one, next| one < next) {
        return Err(ApiError::invalid("indexes", "Use each index once, in ascending order."));
    }
    // Chunks beyond the end are zeros, for a home that is larger at its destination.
    if indexes.last().is_some_and(|last| *last >= chunk_count(MAX_VOLUME_BYTES)) {
        return Err(ApiError::invalid("indexes", "No home is so large."));
    }
    Ok(())
}

/// Lists a page of the chunks of an open snapshot.
pub async fn list_page(
    app: &Core,
    user: UserId,
    reader: &SnapshotView,
    from: u32,
) -> Result<Json<ChunkList>> {
    let page = read_page(app, user, reader, from).await?;
    let chunks = page.chunks.into_iter().map(|(index, hash)| Chunk { index, hash }).collect();
    Ok(Json(ChunkList { chunks, next: page.next }))
}

/// Reads and hashes the chunks of one page.
pub async fn read_page(app: &Core, user: UserId, reader: &SnapshotView, from: u32) -> Result<ChunkPage> {
    let _permit = permit(app, user).await?;
    Ok(reader.list_chunks(from, MAX_CHUNKS_LISTED).await?)
}

/// Waits for a user's permit to read.
pub async fn permit(app: &Core, user: UserId) -> Result<FairPermit<UserId>> {
    app.chunk_readers.permit(user).await.map_err(|Busy| transfers_are_busy())
}

/// The refusal of a request whose turn does not come in time.
pub fn transfers_are_busy() -> ApiError {
    ApiError::new(Code::Unavailable, "Homes are being transferred. Try again in a moment.").retry_after(2)
}

async fn open(
    app: &Core,
    caller: &Caller,
    id: WorkspaceId,
    reference: SnapshotRef,
) -> Result<Arc<SnapshotView>> {
    let allowed = authorize_reading(app, caller, id).await?;
    let mut scope = app.db.scope(allowed).await?;
    let found = snapshots::find(&mut scope, id, reference).await?.ok_or_else(snapshot_not_found)?;
    let key = tenants::open_key(&app.kms, scope).await?;
    Ok(app.chunk_readers.open(caller.tenant, key, found.manifest).await?)
}

impl From<VolumeError> for ApiError {
    fn from(error: VolumeError) -> Self {
        tracing::error!(%error, "cannot read or store blocks of a home");
        match error {
            VolumeError::Store(error) if error.is_transient() => {
                Self::new(Code::Unavailable, "Cannot read the home: the object store failed. Try again.")
                    .retry_after(2)
            }
            _ => Self::new(
                Code::Internal,
                "Cannot read the home \
                    from the object store. Run `burrow volume scrub` to see what is damaged.",
            ),
        }
    }
}
