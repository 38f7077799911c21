//! Transfers of homes between installations, chunk by chunk: the routes of [`protocol::api::import`].

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
    api::{Api, read_body},
    error::ApiError,
};

/// Longest wait for a page of hashes or some chunks. The server reads them from the store, possibly
/// after other requests.
const CHUNKS_TIMEOUT: Duration = Duration::from_mins(3);

impl Api {
    /// Lists the hashes of a snapshot's chunks, starting with chunk `from`.
    pub async fn chunks(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        from: u32,
    ) -> Result<ChunkList, ApiError> {
        let path = format!("/workspaces/{workspace}/snapshots/{snapshot}/chunks");
        self.json_with_timeout(CHUNKS_TIMEOUT, self.request(Method::GET, &path).query(&[("from", from)]))
            .await
    }

    /// Downloads chunks of a snapshot in the form in which [`Self::put_chunks`] uploads them.
    pub async fn chunk_contents(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        wanted: &WantedChunks,
    ) -> Result<Bytes, ApiError> {
        let path = format!("/workspaces/{workspace}/snapshots/{snapshot}/chunks");
        let request = self.request(Method::POST, &path).json(wanted).timeout(CHUNKS_TIMEOUT);
        read_body(self.send(request).await?, MAX_CHUNKS_BYTES).await.map(Bytes::from)
    }

    /// Begins an import, or resumes the one for the same home and name.
    pub async fn begin_import(&self, request: &NewImport) -> Result<Import, ApiError> {
        self.post("/imports", request).await
    }

    /// Lists the hashes of the chunks that an import has received, starting with chunk `from`.
    pub async fn import_chunks(&self, import: Uuid, from: u32) -> Result<ChunkList, ApiError> {
        let request = self.request(Method::GET, &format!("/imports/{import}/chunks"));
        self.json_with_timeout(CHUNKS_TIMEOUT, request.query(&[("from", from)])).await
    }

    /// Uploads chunks. Uploading the same chunk twice has no further effect.
    pub async fn put_chunks(&self, import: &Import, chunks: Bytes) -> Result<Import, ApiError> {
        let request = self.request(Method::PUT, &format!("/imports/{}/chunks", import.id));
        let request = request.query(&[("version", import.version)]);
        let request = request.header(header::CONTENT_TYPE, "application/octet-stream").body(chunks);
        self.json_with_timeout(CHUNKS_TIMEOUT, request).await
    }

    /// Finishes an import. While the server still verifies the chunks, this fails with a timeout;
    /// call it again then.
    pub async fn finish_import(&self, import: Uuid, request: &FinishImport) -> Result<Workspace, ApiError> {
        let path = format!("/imports/{import}/finish");
        self.json_with_timeout(CHUNKS_TIMEOUT, self.request(Method::POST, &path).json(request)).await
    }
}
