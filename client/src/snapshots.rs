//! Snapshots of a home, their files, restores and forks: the routes of [`protocol::api::snapshot`].

use std::time::Duration;

use protocol::{
    RestoreId, SnapshotId, WorkspaceId,
    api::{
        restore::{NewRestore, UndoneRestore},
        snapshot::{
            Changes, Diff, Directory, EditSnapshot, Fork, NewSnapshot, Restore, Snapshot, SnapshotList,
        },
        workspace::Workspace,
    },
};
use reqwest::{Method, RequestBuilder};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api::{Api, RESPONSE_TIMEOUT},
    content::Content,
    error::ApiError,
    events::RestoreEvents,
};

/// Longest wait for a snapshot: the home uploads everything unreplicated first.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest wait for a comparison of two snapshots: the server reads both file systems from the store.
const COMPARE_TIMEOUT: Duration = Duration::from_mins(5);

impl Api {
    /// Lists at most `limit` snapshots older than `before`, newest first.
    pub async fn snapshots(
        &self,
        workspace: WorkspaceId,
        before: Option<OffsetDateTime>,
        limit: u32,
    ) -> Result<SnapshotList, ApiError> {
        let mut request =
            self.workspace_route(Method::GET, workspace, "snapshots").query(&[("limit", limit)]);
        if let Some(before) = before {
            let before = before.format(&Rfc3339).map_err(|error| ApiError::Setup { source: error.into() })?;
            request = request.query(&[("before", before)]);
        }
        self.json(request).await
    }

    /// Creates a snapshot and waits until it is committed.
    pub async fn create_snapshot(
        &self,
        workspace: WorkspaceId,
        request: &NewSnapshot,
    ) -> Result<Snapshot, ApiError> {
        let request = self.workspace_route(Method::POST, workspace, "snapshots").json(request);
        self.json_with_timeout(SNAPSHOT_TIMEOUT, request).await
    }

    /// Names a snapshot, or removes its name.
    pub async fn edit_snapshot(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        request: &EditSnapshot,
    ) -> Result<(), ApiError> {
        let path = format!("snapshots/{snapshot}");
        let request = self.workspace_route(Method::PATCH, workspace, &path).json(request);
        self.send(request.timeout(RESPONSE_TIMEOUT)).await.map(drop)
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
    ) -> Result<(), ApiError> {
        self.send_empty(Method::DELETE, &format!("/workspaces/{workspace}/snapshots/{snapshot}")).await
    }

    /// Lists a directory of a snapshot.
    pub async fn snapshot_directory(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        path: &str,
    ) -> Result<Directory, ApiError> {
        let request = self.workspace_route(Method::GET, workspace, &format!("snapshots/{snapshot}/files"));
        self.json(request.query(&[("path", path)])).await
    }

    /// Reads a file of a snapshot.
    pub async fn snapshot_content(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        path: &str,
    ) -> Result<Content, ApiError> {
        let request = self.workspace_route(Method::GET, workspace, &format!("snapshots/{snapshot}/content"));
        Ok(Content::new(self.send_for_head(request.query(&[("path", path)])).await?))
    }

    /// Lists what changed below `path` between `snapshot` and the later snapshot `with`.
    pub async fn snapshot_changes(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        with: SnapshotId,
        path: &str,
    ) -> Result<Changes, ApiError> {
        let request = self.workspace_route(Method::GET, workspace, &format!("snapshots/{snapshot}/changes"));
        let request = request.query(&[("with", with.to_string().as_str()), ("path", path)]);
        self.json_with_timeout(COMPARE_TIMEOUT, request).await
    }

    /// Compares one file of `snapshot` with the later snapshot `with`.
    pub async fn snapshot_diff(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        with: SnapshotId,
        path: &str,
    ) -> Result<Diff, ApiError> {
        let request = self.workspace_route(Method::GET, workspace, &format!("snapshots/{snapshot}/diff"));
        let request = request.query(&[("with", with.to_string().as_str()), ("path", path)]);
        self.json_with_timeout(COMPARE_TIMEOUT, request).await
    }

    /// Downloads a file or directory of a snapshot as a tar archive.
    pub async fn snapshot_archive(
        &self,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        path: &str,
    ) -> Result<Content, ApiError> {
        let request = self.workspace_route(Method::GET, workspace, &format!("snapshots/{snapshot}/archive"));
        Ok(Content::new(self.send_for_head(request.query(&[("path", path)])).await?))
    }

    /// Restores files of a snapshot into the home of a running workspace.
    pub async fn restore_files(
        &self,
        workspace: WorkspaceId,
        request: &NewRestore,
    ) -> Result<RestoreEvents, ApiError> {
        let request = self.workspace_route(Method::POST, workspace, "restores").json(request);
        let response = tokio::time::timeout(COMPARE_TIMEOUT, self.send(request)).await;
        let response = response.unwrap_or_else(|elapsed| Err(ApiError::broken(elapsed)))?;
        Ok(RestoreEvents::new(self.url(), response))
    }

    /// Undoes a restore of files.
    pub async fn undo_restore(
        &self,
        workspace: WorkspaceId,
        restore: RestoreId,
    ) -> Result<UndoneRestore, ApiError> {
        let path = format!("restores/{restore}/undo");
        self.json_with_timeout(COMPARE_TIMEOUT, self.workspace_route(Method::POST, workspace, &path)).await
    }

    /// Restores the whole home of a stopped workspace.
    pub async fn restore(&self, workspace: WorkspaceId, request: &Restore) -> Result<Workspace, ApiError> {
        self.json(self.workspace_route(Method::POST, workspace, "restore").json(request)).await
    }

    /// Forks a workspace. A running one makes a snapshot first. A request whose response was lost
    /// is sent again; its idempotency key makes sure that there is only one fork.
    pub async fn fork(&self, workspace: WorkspaceId, request: &Fork) -> Result<Workspace, ApiError> {
        let key = uuid::Uuid::now_v7().to_string();
        let send = || {
            let fork = self.workspace_route(Method::POST, workspace, "fork").header("idempotency-key", &key);
            self.json_with_timeout(SNAPSHOT_TIMEOUT, fork.json(request))
        };
        match send().await {
            Err(ApiError::Unreachable { is_timeout: false, .. } | ApiError::Broken { .. }) => send().await,
            response => response,
        }
    }

    fn workspace_route(&self, method: Method, workspace: WorkspaceId, rest: &str) -> RequestBuilder {
        self.request(method, &format!("/workspaces/{workspace}/{rest}"))
    }
}
