//! Restores files of a snapshot into the home. Only the controller calls these routes: it reads the
//! snapshot, and the crate `restore` writes. The gateway relays none of them.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
};
use futures_util::StreamExt as _;
use protocol::{
    Code, RestoreId,
    api::restore::{MAX_RECORDS, RestoreOutcome, RestoredEntry, UndoneRestore},
    files::HomePath,
    restore::{BeginRestore, CompareReply, CompareRequest, WriteEntries},
};
use restore::{
    Existing, RestoreError, Writer,
    archive::{ArchiveReader, PieceReader},
};
use tokio::sync::mpsc;

use crate::{
    error::{ApiError, ApiResult, io_error_code, io_error_message},
    state::AgentState,
};

/// Pieces of an archive that are received before they are written.
const MAX_PIECES_AHEAD: usize = 4;

/// `POST restores/compare`. Changes nothing.
pub async fn compare_entries(
    State(state): State<Arc<AgentState>>,
    Json(request): Json<CompareRequest>,
) -> ApiResult<Json<CompareReply>> {
    let reply = state.home.run(move |files| restore::compare(files.root(), &request)).await?;
    Ok(Json(reply))
}

/// `POST restores/{id}`. Creates the record of a restore, or finds the one to continue.
pub async fn begin_restore(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<RestoreId>,
    Json(request): Json<BeginRestore>,
) -> ApiResult<StatusCode> {
    state
        .home
        .run(move |files| {
            let (root, name) = (files.root(), id.to_string());
            let existing = existing(false);
            if request.resume {
                Writer::open(root, &name, existing).map(drop)
            } else {
                Writer::create(root, &name, MAX_RECORDS, existing).map(drop)
            }
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST restores/{id}/entries`. Writes the members of a tar archive, each completely or not at all.
pub async fn write_entries(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<RestoreId>,
    Query(query): Query<WriteEntries>,
    body: Body,
) -> ApiResult<Json<Vec<RestoredEntry>>> {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(MAX_PIECES_AHEAD);
    let writing = state.home.run(move |files| {
        let mut writer = Writer::open(files.root(), &id.to_string(), existing(query.force))?;
        let pieces = PieceReader::new(std::iter::from_fn(|| receiver.blocking_recv()));
        writer.write_archive(&mut ArchiveReader::new(pieces))
    });
    let receiving = async move {
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(io::Error::other);
            let has_failed = piece.is_err();
            // The writer may have ended with an error, which it returns itself.
            if sender.send(piece).await.is_err() || has_failed {
                return;
            }
        }
    };
    let (written, ()) = tokio::join!(writing, receiving);
    let written: Vec<RestoredEntry> = written?;
    for entry in &written {
        if matches!(entry.outcome, RestoreOutcome::Created | RestoreOutcome::Replaced)
            && let Ok(path) = HomePath::parse(&entry.path)
        {
            state.documents.report_file_change(&path);
        }
    }
    Ok(Json(written))
}

/// `POST restores/{id}/finish`. Sets the attributes of the directories that were created.
pub async fn finish_restore(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<RestoreId>,
) -> ApiResult<StatusCode> {
    state
        .home
        .run(move |files| Writer::open(files.root(), &id.to_string(), existing(false))?.finish())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST restores/{id}/undo`.
pub async fn undo_restore(
    State(state): State<Arc<AgentState>>,
    Path(id): Path<RestoreId>,
) -> ApiResult<Json<UndoneRestore>> {
    Ok(Json(state.home.run(move |files| restore::undo(files.root(), &id.to_string())).await?))
}

fn existing(overwrites_files: bool) -> Existing {
    Existing { overwrites_files, suffix: None }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::NoRecord => Self::new(
                Code::NotFound,
                "There is no record of this restore in the home. Only the last ten restores are kept.",
            ),
            RestoreError::Archive(error) => {
                Self::new(Code::BadRequest, format!("Cannot restore files: {error}."))
            }
            RestoreError::Io(error) => Self::new(io_error_code(&error), io_error_message(&error)),
        }
    }
}
