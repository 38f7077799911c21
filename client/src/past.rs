//! A home's past over HTTP: the routes of [`protocol::api::snapshot`].

use std::time::Duration;

use protocol::{
    SnapshotId, WorkspaceId,
    api::{
        snapshot::{
            Changes, Diff, Directory, EditSnapshot, Fork, NewSnapshot, Restore, Snapshot, SnapshotList,
        },
        workspace::Workspace,
    },
};
use reqwest::{Method, RequestBuilder};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api::{ANSWER_TIMEOUT, Api},
    content::Content,
    error::ApiError,
};

/// Longest wait for a snapshot to be safe: all that a home has not uploaded yet goes before it.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest wait for a comparison: two file systems are read, block by block, from the store.
const COMPARE_TIMEOUT: Duration = Duration::from_mins(5);

impl Api {
    /// Snapshots older than `before`, newest first.
    pub async fn snapshots(
        &self,
        workspace: WorkspaceId,
        before: Option<OffsetDateTime>,
        limit: u32,
    ) -> Result<SnapshotList, ApiError> {
        let mut request = self.past(Method::GET, workspace, "snapshots").query(&[("limit", limit)]);
        if let Some(before) = before {
            let before = before.format(&Rfc3339).map_err(|error| ApiError::Setup { source: error.into() })?;
            request = request.query(&[("before", before)]);
        }
        self.json(request).await
    }

    pub async fn create_snapshot(
        &self,
        workspace: WorkspaceId,
        request: &NewSnapshot,
    ) -> Result<Snapshot, ApiError> {
        let request = self.past(Method::POST, workspace, "snapshots").json(request);
        self.json_within(SNAPSHOT_TIMEOUT, request).await
    }

    pub async fn edit_snapshot(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        request: &EditSnapshot,
    ) -> Result<(), ApiError> {
        let path = format!("snapshots/{snapshot}");
        let request = self.past(Method::PATCH, workspace, &path).json(request);
        self.send(request.timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    pub async fn delete_snapshot(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
    ) -> Result<(), ApiError> {
        self.no_answer(Method::DELETE, &format!("/workspaces/{workspace}/snapshots/{snapshot}")).await
    }

    /// A directory as it was.
    pub async fn past_directory(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        path: &str,
    ) -> Result<Directory, ApiError> {
        let request = self.past(Method::GET, workspace, &format!("snapshots/{snapshot}/files"));
        self.json(request.query(&[("path", path)])).await
    }

    /// A file as it was.
    pub async fn past_content(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        path: &str,
    ) -> Result<Content, ApiError> {
        let request = self.past(Method::GET, workspace, &format!("snapshots/{snapshot}/content"));
        Ok(Content::new(self.begun(request.query(&[("path", path)])).await?))
    }

    /// What is different below a path in `with`, the later one.
    pub async fn past_changes(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        with: SnapshotId,
        path: &str,
    ) -> Result<Changes, ApiError> {
        let request = self.past(Method::GET, workspace, &format!("snapshots/{snapshot}/changes"));
        let request = request.query(&[("with", with.to_string().as_str()), ("path", path)]);
        self.json_within(COMPARE_TIMEOUT, request).await
    }

    /// How one file is different in `with`, the later one.
    pub async fn past_diff(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        with: SnapshotId,
        path: &str,
    ) -> Result<Diff, ApiError> {
        let request = self.past(Method::GET, workspace, &format!("snapshots/{snapshot}/diff"));
        let request = request.query(&[("with", with.to_string().as_str()), ("path", path)]);
        self.json_within(COMPARE_TIMEOUT, request).await
    }

    /// The whole home, of a workspace that rests.
    pub async fn restore(&self, workspace: WorkspaceId, request: &Restore) -> Result<Workspace, ApiError> {
        self.json(self.past(Method::POST, workspace, "restore").json(request)).await
    }

    /// A running machine is asked for a snapshot first. A request whose answer was lost is sent again: by its key the server knows
    /// it, and makes one fork.
    pub async fn fork(&self, workspace: WorkspaceId, request: &Fork) -> Result<Workspace, ApiError> {
        let key = uuid::Uuid::now_v7().to_string();
        let ask = || {
            let asked = self.past(Method::POST, workspace, "fork").header("idempotency-key", &key);
            self.json_within(SNAPSHOT_TIMEOUT, asked.json(request))
        };
        match ask().await {
            Err(ApiError::Unreachable { late: false, .. } | ApiError::Broken { .. }) => ask().await,
            answer => answer,
        }
    }

    fn past(&self, method: Method, workspace: WorkspaceId, rest: &str) -> RequestBuilder {
        self.request(method, &format!("/workspaces/{workspace}/{rest}"))
    }
}
