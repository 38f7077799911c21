//! Homes by their chunks over HTTP: the routes of [`protocol::api::import`].

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    SnapshotId, WorkspaceId,
    api::{
        import::{ChunkList, FinishImport, Import, MAX_CHUNKS_BYTES, NewImport, WantedChunks},
        workspace::Workspace,
    },
};
use reqwest::{Method, header};
use uuid::Uuid;

use crate::{
    api::{Api, bounded},
    error::ApiError,
};

/// Longest wait for a page of hashes or for some chunks: they are read from the store, and others may be before us.
const CHUNKS_TIMEOUT: Duration = Duration::from_mins(3);

impl Api {
    /// Hashes of a snapshot's chunks.
    pub async fn chunks(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        from: u32,
    ) -> Result<ChunkList, ApiError> {
        let path = format!("/workspaces/{workspace}/snapshots/{snapshot}/chunks");
        self.json_within(CHUNKS_TIMEOUT, self.request(Method::GET, &path).query(&[("from", from)])).await
    }

    /// Chunks of a snapshot, to be passed on as they are.
    pub async fn chunk_contents(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        wanted: &WantedChunks,
    ) -> Result<Bytes, ApiError> {
        let path = format!("/workspaces/{workspace}/snapshots/{snapshot}/chunks");
        let request = self.request(Method::POST, &path).json(wanted).timeout(CHUNKS_TIMEOUT);
        bounded(self.send(request).await?, MAX_CHUNKS_BYTES).await.map(Bytes::from)
    }

    pub async fn begin_import(&self, wish: &NewImport) -> Result<Import, ApiError> {
        self.post("/imports", wish).await
    }

    /// Hashes of the chunks that have arrived.
    pub async fn import_chunks(&self, import: Uuid, from: u32) -> Result<ChunkList, ApiError> {
        let request = self.request(Method::GET, &format!("/imports/{import}/chunks"));
        self.json_within(CHUNKS_TIMEOUT, request.query(&[("from", from)])).await
    }

    /// Passes chunks on. The same may be sent twice.
    pub async fn put_chunks(&self, import: &Import, chunks: Bytes) -> Result<Import, ApiError> {
        let request = self.request(Method::PUT, &format!("/imports/{}/chunks", import.id));
        let request = request.query(&[("version", import.version)]);
        let request = request.header(header::CONTENT_TYPE, "application/octet-stream").body(chunks);
        self.json_within(CHUNKS_TIMEOUT, request).await
    }

    /// While what has arrived is still being read again, the answer is that it took too long: it goes on when asked again.
    pub async fn finish_import(&self, import: Uuid, request: &FinishImport) -> Result<Workspace, ApiError> {
        let path = format!("/imports/{import}/finish");
        self.json_within(CHUNKS_TIMEOUT, self.request(Method::POST, &path).json(request)).await
    }
}
