//! The home's files in a running machine, over the agent's routes ([`protocol::files`]).

use std::time::Duration;

use protocol::{
    WorkspaceId,
    files::{DirectoryListing, FileEntry, HomePath, NewDirectory, RenameRequest},
};
use reqwest::{Method, RequestBuilder, header};

use crate::{api::Api, content::Content, error::ApiError};

/// Longest time that one file may take: the largest at a few hundred KiB a second.
const UPLOAD_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    pub async fn files(
        &self,
        workspace: WorkspaceId,
        directory: &HomePath,
    ) -> Result<DirectoryListing, ApiError> {
        self.json(self.file_route(Method::GET, workspace, "files").query(&[("path", directory.as_str())]))
            .await
    }

    pub async fn file_content(&self, workspace: WorkspaceId, path: &HomePath) -> Result<Content, ApiError> {
        let request = self.file_route(Method::GET, workspace, "files/content");
        Ok(Content::new(self.begun(request.query(&[("path", path.as_str())])).await?))
    }

    /// Writes a file whole, or not at all. With `must_be_new`, refuses to write where there is something already.
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
        self.json_within(UPLOAD_TIMEOUT, request.body(content.into_body())).await
    }

    pub async fn create_directory(
        &self,
        workspace: WorkspaceId,
        request: &NewDirectory,
    ) -> Result<FileEntry, ApiError> {
        self.json(self.file_route(Method::POST, workspace, "files/directory").json(request)).await
    }

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
