//! A home's snapshot by its chunks, for whoever moves it to another installation.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use protocol::{
    Code, WorkspaceId,
    api::import::{Chunk, ChunkList, MAX_CHUNKS_AT_ONCE, MAX_CHUNKS_LISTED, WantedChunks},
};
use serde::Deserialize;
use utoipa::IntoParams;
use volume::{ChunkPage, MAX_VOLUME_BYTES, SnapshotView, VolumeError, chunk_count};

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Query, Signed},
    snapshots::missing,
    workspaces::{allowed, forgotten},
};
use crate::{
    authz::{Action, Caller},
    core::{App, Core},
    snapshots::{self, Which, chunks::Busy},
    tenants::{self, TenantKey},
};

#[derive(Debug, Deserialize, IntoParams)]
pub struct Page {
    /// The first chunk that is asked for; absent: 0.
    #[serde(default)]
    pub from: u32,
}

/// List the chunks of a snapshot
///
/// Lists index and hash of each 64 KiB chunk that is not all zeros. Used by `burrow push` and `burrow pull`.
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
)]
pub async fn list_snapshot_chunks(
    State(app): State<App>,
    signed: Signed,
    Params((id, which)): Params<(WorkspaceId, Which)>,
    Query(asked): Query<Page>,
) -> Result<Json<ChunkList>> {
    let reader = open(&app, signed.caller(), id, which).await?;
    listed(&app, &reader, asked.from).await
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
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>, description = "The chunks in transfer format")),
)]
pub async fn read_snapshot_chunks(
    State(app): State<App>,
    signed: Signed,
    Params((id, which)): Params<(WorkspaceId, Which)>,
    Input(wanted): Input<WantedChunks>,
) -> Result<Response> {
    let reader = open(&app, signed.caller(), id, which).await?;
    check(&wanted.indexes)?;
    let _question = question(&app).await?;
    let bytes = reader.read_chunks(&wanted.indexes).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

fn check(indexes: &[u32]) -> Result<()> {
    if indexes.len() > MAX_CHUNKS_AT_ONCE {
        return Err(ApiError::invalid("indexes", &format!("At most {MAX_CHUNKS_AT_ONCE}.")));
    }
    if !indexes.is_sorted_by(|one, next| one < next) {
        return Err(ApiError::invalid("indexes", "In order, each once."));
    }
    // Beyond the end of this one are zeros, for a home that is larger where it goes.
    if indexes.last().is_some_and(|last| *last >= chunk_count(MAX_VOLUME_BYTES)) {
        return Err(ApiError::invalid("indexes", "No home is so large."));
    }
    Ok(())
}

/// A page of an open home's chunks.
pub async fn listed(app: &Core, reader: &SnapshotView, from: u32) -> Result<Json<ChunkList>> {
    let page = page(app, reader, from).await?;
    let chunks = page.chunks.into_iter().map(|(index, hash)| Chunk { index, hash }).collect();
    Ok(Json(ChunkList { chunks, next: page.next }))
}

/// What is read for one answer.
pub async fn page(app: &Core, reader: &SnapshotView, from: u32) -> Result<ChunkPage> {
    let _question = question(app).await?;
    Ok(reader.list_chunks(from, MAX_CHUNKS_LISTED).await?)
}

/// One of the few who read at the same time.
pub async fn question(app: &Core) -> Result<tokio::sync::SemaphorePermit<'_>> {
    app.readers.question().await.map_err(|Busy| {
        ApiError::new(Code::Unavailable, "Other homes are being moved. Try again in a moment.").retry_after(2)
    })
}

async fn open(app: &Core, caller: &Caller, id: WorkspaceId, which: Which) -> Result<Arc<SnapshotView>> {
    let allowed = allowed(app, caller, id, Action::ReadWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let found = snapshots::find(&mut scope, id, which).await?.ok_or_else(missing)?;
    let sealed = tenants::key(scope.connection(), caller.tenant).await?;
    drop(scope);
    let TenantKey::Open(key) = sealed.open(&app.keeper).await? else { return Err(forgotten()) };
    Ok(app.readers.open(caller.tenant, key, found.manifest).await?)
}

impl From<VolumeError> for ApiError {
    fn from(error: VolumeError) -> Self {
        tracing::error!(%error, "a home's blocks");
        match error {
            VolumeError::Store(error) if error.is_transient() => {
                Self::new(Code::Unavailable, "The store does not answer as it should. Try again.")
                    .retry_after(2)
            }
            _ => Self::new(
                Code::Internal,
                "The home cannot be read from the store. `burrow volume check` says what is damaged.",
            ),
        }
    }
}
