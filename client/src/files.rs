//! Files of a running workspace, over the agent's routes ([`protocol::files`]).

use std::time::Duration;

use protocol::{
    WorkspaceId,
    files::{DirectoryListing, FileEntry, HomePath, NewDirectory, RenameRequest},
};
use reqwest::{Method, RequestBuilder, header};

use crate::{api::Api, content::Content, error::ApiError};

/// Longest time for one upload: the largest file at a few hundred KiB a second.
const UPLOAD_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    /// Lists a directory.
    pub async fn files(
        &self,
        workspace: WorkspaceId,
        directory: &HomePath,
    ) -> Result<DirectoryListing, ApiError> {
        self.json(self.file_route(Method::GET, workspace, "files").query(&[("path", directory.as_str())]))
            .await
    }

    /// Reads a file.
    pub async fn file_content(&self, workspace: WorkspaceId, path: &HomePath) -> Result<Content, ApiError> {
        let request = self.file_route(Method::GET, workspace, "files/content");
        Ok(Content::new(self.send_for_head(request.query(&[("path", path.as_str())])).await?))
    }

    /// Writes a whole file atomically. With `must_be_new`, fails if the path exists already.
    pub async fn put_file(
        &self,
        workspace: WorkspaceId,
        path: &HomePath,
        content: Content,
        must_be_new: bool,
    ) -> Result<FileEntry, ApiError> {
        let mut request = self
            .file_route(Method::PUT, workspace, "files/content")
            .query(&[("path", path.as_str())])
            .header(header::CONTENT_TYPE, "application/octet-stream");
        if must_be_new {
            request = request.header(header::IF_NONE_MATCH, "*");
        }
        if let Some(size) = content.size() {
            request = request.header(header::CONTENT_LENGTH, size);
        }
        self.json_with_timeout(UPLOAD_TIMEOUT, request.body(content.into_body())).await
    }

    /// Creates a directory.
    pub async fn create_directory(
        &self,
        workspace: WorkspaceId,
        request: &NewDirectory,
    ) -> Result<FileEntry, ApiError> {
        self.json(self.file_route(Method::POST, workspace, "files/directory").json(request)).await
    }

    /// Renames a file or directory.
    pub async fn rename_file(
        &self,
        workspace: WorkspaceId,
        request: &RenameRequest,
    ) -> Result<FileEntry, ApiError> {
        self.json(self.file_route(Method::POST, workspace, "files/rename").json(request)).await
    }

    fn file_route(&self, method: Method, workspace: WorkspaceId, rest: &str) -> RequestBuilder {
        self.request(method, &format!("/workspaces/{workspace}/agent/{rest}"))
    }
}
