//! `/api/v1` of a server, one function a route. The token stays in here.

use std::time::Duration;

use protocol::{
    ClassId, Redacted, TerminalId, WorkspaceId,
    api::{
        Version,
        auth::{DeviceCode, DeviceRequest, DeviceTokenRequest, NewToken, Session, TokenList, TokenSecret},
        class::{Class, ClassAction, ClassList, NewClass, RosterResult},
        workspace::{DeletedList, EditWorkspace, NewWorkspace, Workspace, WorkspaceList},
    },
    exec::ExecRequest,
    problem,
    terminal::{NewTerminal, TerminalInfo, TerminalList, TerminalSize},
};
use reqwest::{Method, RequestBuilder, Response, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::ApiError,
    events::Events,
    socket::{Exec, Terminal},
};

/// The API's version that this code speaks.
pub const API: u32 = 1;
/// Longest wait for a connection, and for an answer that is no stream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Most bytes of an answer; the largest are lists.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of a problem.
const MAX_PROBLEM_BYTES: usize = 4 * 1024 * 1024;

/// A server, and as whom it is asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    token: Option<Redacted<String>>,
    http: reqwest::Client,
}

impl Api {
    /// `url`: `http(s)://host[:port]`, without a slash at the end.
    pub fn anonymous(url: &str) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("burrow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the token to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| ApiError::Setup { source: source.into() })?;
        Ok(Self { url: url.to_owned(), token: None, http })
    }

    pub fn with_token(url: &str, token: Redacted<String>) -> Result<Self, ApiError> {
        Ok(Self { token: Some(token), ..Self::anonymous(url)? })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn token(&self) -> Option<&Redacted<String>> {
        self.token.as_ref()
    }

    /// A path of the server as a whole address.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Where people work in a workspace.
    pub fn page_of(&self, workspace: WorkspaceId) -> String {
        self.absolute(&format!("/workspaces/{workspace}"))
    }

    pub async fn version(&self) -> Result<Version, ApiError> {
        self.get("/version").await
    }

    pub async fn session(&self) -> Result<Session, ApiError> {
        self.get("/auth/session").await
    }

    pub async fn sign_out(&self) -> Result<(), ApiError> {
        self.no_answer(Method::POST, "/auth/logout").await
    }

    pub async fn device_code(&self, request: &DeviceRequest) -> Result<DeviceCode, ApiError> {
        self.post("/auth/device", request).await
    }

    pub async fn device_token(&self, request: &DeviceTokenRequest) -> Result<TokenSecret, ApiError> {
        self.post("/auth/device/token", request).await
    }

    pub async fn tokens(&self) -> Result<TokenList, ApiError> {
        self.get("/tokens").await
    }

    pub async fn create_token(&self, request: &NewToken) -> Result<TokenSecret, ApiError> {
        self.post("/tokens", request).await
    }

    pub async fn delete_token(&self, id: uuid::Uuid) -> Result<(), ApiError> {
        self.no_answer(Method::DELETE, &format!("/tokens/{id}")).await
    }

    pub async fn workspaces(&self) -> Result<WorkspaceList, ApiError> {
        self.get("/workspaces").await
    }

    pub async fn workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.get(&format!("/workspaces/{id}")).await
    }

    pub async fn create_workspace(&self, request: &NewWorkspace) -> Result<Workspace, ApiError> {
        self.post("/workspaces", request).await
    }

    pub async fn edit_workspace(
        &self,
        id: WorkspaceId,
        request: &EditWorkspace,
    ) -> Result<Workspace, ApiError> {
        self.json(self.request(Method::PATCH, &format!("/workspaces/{id}")).json(request)).await
    }

    pub async fn start_workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.post(&format!("/workspaces/{id}/start"), &serde_json::json!({})).await
    }

    pub async fn stop_workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.post(&format!("/workspaces/{id}/stop"), &serde_json::json!({})).await
    }

    pub async fn delete_workspace(&self, id: WorkspaceId) -> Result<(), ApiError> {
        self.no_answer(Method::DELETE, &format!("/workspaces/{id}")).await
    }

    /// Those that can be brought back.
    pub async fn deleted_workspaces(&self) -> Result<DeletedList, ApiError> {
        self.get("/workspaces/deleted").await
    }

    pub async fn undelete_workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.post(&format!("/workspaces/{id}/undelete"), &serde_json::json!({})).await
    }

    pub async fn terminals(&self, id: WorkspaceId) -> Result<TerminalList, ApiError> {
        self.get(&format!("/workspaces/{id}/agent/terminals")).await
    }

    pub async fn create_terminal(
        &self,
        id: WorkspaceId,
        request: &NewTerminal,
    ) -> Result<TerminalInfo, ApiError> {
        self.post(&format!("/workspaces/{id}/agent/terminals"), request).await
    }

    /// Attaches to a terminal. The first attachment succeeds or not here; later losses are [`Terminal`]'s to mend.
    pub async fn attach(
        &self,
        workspace: WorkspaceId,
        terminal: TerminalId,
        size: TerminalSize,
    ) -> Result<Terminal, ApiError> {
        Terminal::attach(self.clone(), workspace, terminal, size).await
    }

    /// Runs a program.
    pub async fn exec(&self, workspace: WorkspaceId, request: &ExecRequest) -> Result<Exec, ApiError> {
        Exec::start(self, workspace, request).await
    }

    pub async fn classes(&self) -> Result<ClassList, ApiError> {
        self.get("/classes").await
    }

    pub async fn class(&self, id: ClassId) -> Result<Class, ApiError> {
        self.get(&format!("/classes/{id}")).await
    }

    pub async fn create_class(&self, request: &NewClass) -> Result<Class, ApiError> {
        self.post("/classes", request).await
    }

    pub async fn add_roster(&self, id: ClassId, csv: Vec<u8>) -> Result<RosterResult, ApiError> {
        let request = self.request(Method::POST, &format!("/classes/{id}/roster"));
        self.json(request.header(header::CONTENT_TYPE, "text/csv").body(csv)).await
    }

    pub async fn start_class(&self, id: ClassId) -> Result<ClassAction, ApiError> {
        self.post(&format!("/classes/{id}/start"), &serde_json::json!({})).await
    }

    pub async fn stop_class(&self, id: ClassId) -> Result<ClassAction, ApiError> {
        self.post(&format!("/classes/{id}/stop"), &serde_json::json!({})).await
    }

    pub async fn delete_class(&self, id: ClassId) -> Result<(), ApiError> {
        self.no_answer(Method::DELETE, &format!("/classes/{id}")).await
    }

    /// Changes of one workspace, the present state first. It outlives lost connections.
    pub fn workspace_events(&self, id: WorkspaceId) -> Events {
        Events::new(self.clone(), format!("/workspaces/{id}/events"))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.json(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ApiError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn no_answer(&self, method: Method, path: &str) -> Result<(), ApiError> {
        self.send(self.request(method, path).timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        self.json_within(ANSWER_TIMEOUT, request).await
    }

    /// The answer to a request that is work for the server.
    pub(crate) async fn json_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        request: RequestBuilder,
    ) -> Result<T, ApiError> {
        let response = self.send(request.timeout(patience)).await?;
        let request_id = request_id(&response);
        let body = bounded(response, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&body).map_err(|source| ApiError::Malformed {
            url: self.url.clone(),
            request_id,
            source: source.into(),
        })
    }

    /// An answer that goes on: its head only, in time.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, ApiError> {
        self.begun(self.request(Method::GET, path)).await
    }

    /// The head of an answer whose body is taken as it comes.
    pub(crate) async fn begun(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let answer = self.send(request);
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|late| {
            Err(ApiError::Unreachable { url: self.url.clone(), late: true, source: late.into() })
        })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends; an answer that is an error becomes one.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, id) = (response.status().as_u16(), request_id(&response));
        let is_problem = header_text(&response, header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with(problem::CONTENT_TYPE));
        let body = bounded(response, MAX_PROBLEM_BYTES).await.unwrap_or_default();
        Err(ApiError::of_answer(&self.url, status, id, is_problem, &body))
    }

    fn unreachable(&self, error: reqwest::Error) -> ApiError {
        // The address in the error's own words may hold more than the server's name.
        let error = error.without_url();
        ApiError::Unreachable { url: self.url.clone(), late: error.is_timeout(), source: error.into() }
    }
}

pub(crate) async fn bounded(mut response: Response, most: usize) -> Result<Vec<u8>, ApiError> {
    let request_id = request_id(&response);
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| ApiError::broken(error.without_url()))? {
        if body.len() + piece.len() > most {
            return Err(ApiError::TooLarge { request_id });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn request_id(response: &Response) -> Option<String> {
    header_text(response, problem::REQUEST_ID_HEADER)
}

fn header_text(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_printed() {
        let api = Api::with_token("http://x", "brw_secret".to_owned().into()).expect("made");
        assert!(!format!("{api:?}").contains("brw_secret"));
    }
}
