//! The HTTP API (`/api/v1`), one method per route. The token stays in this module.

use std::{path::Path, time::Duration};

use protocol::{
    ClassId, Redacted, UserId, WorkspaceId,
    api::{
        Version,
        auth::{
            ConfirmPassword, DeviceCode, DeviceRequest, DeviceTokenRequest, LinkSignIn, Login, NewToken,
            Session, SetPassword, TokenList, TokenSecret,
        },
        class::{Class, ClassAction, ClassList, NewClass, RosterResult},
        user::{CreatedUser, EditUser, NewUser, User, UserLink, UserList},
        workspace::{DeletedList, EditWorkspace, HoldWorkspace, NewWorkspace, Workspace, WorkspaceList},
    },
    problem,
    terminal::{NewTerminal, TerminalInfo, TerminalList},
    workspace::StartPriority,
};
use reqwest::{Method, RequestBuilder, Response, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::ApiError,
    tls::{self, TrustedAuthorities},
};

/// The version of the API that this client uses.
pub const API_VERSION: u32 = 1;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a response that is not a stream.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);

/// Size of a response, in bytes. The largest are lists.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// Size of a problem, in bytes.
const MAX_PROBLEM_BYTES: usize = 4 * 1024 * 1024;

/// A server's address and the caller's token. Clones are cheap and share the connection pool.
///
/// Every method that returns an [`ApiError`] fails with the server's problem, or because the server
/// cannot be reached.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    token: Option<Redacted<String>>,
    /// The cookie of a browser's session: `name=value`.
    cookie: Option<Redacted<String>>,
    http: reqwest::Client,
    authorities: TrustedAuthorities,
}

impl Api {
    /// Creates a client without a token. `url`: `http(s)://host[:port]`, without a slash at the end.
    pub fn anonymous(url: &str, authorities: TrustedAuthorities) -> Result<Self, ApiError> {
        let http = http().tls_backend_preconfigured(authorities.for_requests());
        Self::build(url, http, authorities)
    }

    /// Creates a client without a token for the server of this host, over its Unix socket.
    pub fn over_socket(socket: &Path) -> Result<Self, ApiError> {
        let authorities = TrustedAuthorities::system();
        let http = http().tls_backend_preconfigured(authorities.for_requests()).unix_socket(socket);
        Self::build("http://controller", http, authorities)
    }

    fn build(
        url: &str,
        http: reqwest::ClientBuilder,
        authorities: TrustedAuthorities,
    ) -> Result<Self, ApiError> {
        let http = http.build().map_err(|source| ApiError::Setup { source: source.into() })?;
        Ok(Self { url: url.to_owned(), token: None, cookie: None, http, authorities })
    }

    /// The same connection with a token instead of another credential.
    #[must_use]
    pub fn using_token(&self, token: Redacted<String>) -> Self {
        Self { token: Some(token), cookie: None, ..self.clone() }
    }

    /// Signs in with a one-time link, as a browser does. End the session with [`Self::sign_out`]; tokens
    /// that it has created stay.
    pub async fn sign_in_with_link(&self, request: &LinkSignIn) -> Result<Self, ApiError> {
        self.sign_in("/auth/link", request).await
    }

    /// Signs in with a password, as a browser does. See [`Self::sign_in_with_link`].
    pub async fn sign_in_with_password(&self, request: &Login) -> Result<Self, ApiError> {
        self.sign_in("/auth/login", request).await
    }

    async fn sign_in<B: Serialize>(&self, path: &str, request: &B) -> Result<Self, ApiError> {
        let request = self.request(Method::POST, path).header(header::ORIGIN, &self.url).json(request);
        let response = self.send(request.timeout(RESPONSE_TIMEOUT)).await?;
        let cookie = header_text(&response, header::SET_COOKIE.as_str());
        let cookie = cookie.as_deref().and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        let cookie = cookie.ok_or_else(|| ApiError::NotBurrow {
            url: self.url.clone(),
            status: response.status().as_u16(),
            request_id: request_id(&response),
        })?;
        Ok(Self { cookie: Some(cookie.into()), ..self.clone() })
    }

    /// Creates a client with a token. `url` as for [`Self::anonymous`].
    pub fn with_token(
        url: &str,
        token: Redacted<String>,
        authorities: TrustedAuthorities,
    ) -> Result<Self, ApiError> {
        Ok(Self { token: Some(token), ..Self::anonymous(url, authorities)? })
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn authorities(&self) -> &TrustedAuthorities {
        &self.authorities
    }

    pub(crate) fn token(&self) -> Option<&Redacted<String>> {
        self.token.as_ref()
    }

    /// Returns the full URL of a path on the server.
    pub fn absolute_url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns the URL of a workspace's page in the web app.
    pub fn workspace_url(&self, workspace: WorkspaceId) -> String {
        self.absolute_url(&format!("/workspaces/{workspace}"))
    }

    /// Gets the version of the server.
    pub async fn version(&self) -> Result<Version, ApiError> {
        self.get("/version").await
    }

    /// Gets the current session.
    pub async fn session(&self) -> Result<Session, ApiError> {
        self.get("/auth/session").await
    }

    /// Proves the password of the current user.
    pub async fn confirm_password(&self, request: &ConfirmPassword) -> Result<(), ApiError> {
        let request = self.request(Method::POST, "/auth/confirm").json(request);
        self.send(request.timeout(RESPONSE_TIMEOUT)).await.map(drop)
    }

    /// Sets the password of the current user. All other sessions and tokens end.
    pub async fn set_password(&self, request: &SetPassword) -> Result<(), ApiError> {
        let request = self.request(Method::POST, "/auth/password").json(request);
        self.send(request.timeout(RESPONSE_TIMEOUT)).await.map(drop)
    }

    /// Ends the current session.
    pub async fn sign_out(&self) -> Result<(), ApiError> {
        self.send_empty(Method::POST, "/auth/logout").await
    }

    /// Starts a device login.
    pub async fn device_code(&self, request: &DeviceRequest) -> Result<DeviceCode, ApiError> {
        self.post("/auth/device", request).await
    }

    /// Polls a device login for its token.
    pub async fn device_token(&self, request: &DeviceTokenRequest) -> Result<TokenSecret, ApiError> {
        self.post("/auth/device/token", request).await
    }

    /// Lists the user's tokens.
    pub async fn tokens(&self) -> Result<TokenList, ApiError> {
        self.get("/tokens").await
    }

    /// Creates a personal access token.
    pub async fn create_token(&self, request: &NewToken) -> Result<TokenSecret, ApiError> {
        self.post("/tokens", request).await
    }

    /// Deletes a token.
    pub async fn delete_token(&self, id: uuid::Uuid) -> Result<(), ApiError> {
        self.send_empty(Method::DELETE, &format!("/tokens/{id}")).await
    }

    /// Lists the workspaces that the user can see.
    pub async fn workspaces(&self) -> Result<WorkspaceList, ApiError> {
        self.get("/workspaces").await
    }

    /// Keeps a running workspace from being stopped while nobody uses it.
    pub async fn hold_workspace(
        &self,
        id: WorkspaceId,
        request: HoldWorkspace,
    ) -> Result<Workspace, ApiError> {
        self.post(&format!("/workspaces/{id}/hold"), &request).await
    }

    /// Gets a workspace.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.get(&format!("/workspaces/{id}")).await
    }

    /// Creates a workspace.
    pub async fn create_workspace(&self, request: &NewWorkspace) -> Result<Workspace, ApiError> {
        self.post("/workspaces", request).await
    }

    /// Renames a workspace or enlarges its home.
    pub async fn edit_workspace(
        &self,
        id: WorkspaceId,
        request: &EditWorkspace,
    ) -> Result<Workspace, ApiError> {
        self.json(self.request(Method::PATCH, &format!("/workspaces/{id}")).json(request)).await
    }

    /// Starts a workspace.
    pub async fn start_workspace(
        &self,
        id: WorkspaceId,
        priority: StartPriority,
    ) -> Result<Workspace, ApiError> {
        let request = self.request(Method::POST, &format!("/workspaces/{id}/start"));
        self.json(request.query(&[("priority", priority)])).await
    }

    /// Stops a workspace.
    pub async fn stop_workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.post(&format!("/workspaces/{id}/stop"), &serde_json::json!({})).await
    }

    /// Deletes a workspace. It can be undeleted for a while.
    pub async fn delete_workspace(&self, id: WorkspaceId) -> Result<(), ApiError> {
        self.send_empty(Method::DELETE, &format!("/workspaces/{id}")).await
    }

    /// Lists deleted workspaces that can be undeleted.
    pub async fn deleted_workspaces(&self) -> Result<DeletedList, ApiError> {
        self.get("/workspaces/deleted").await
    }

    /// Brings a deleted workspace back.
    pub async fn undelete_workspace(&self, id: WorkspaceId) -> Result<Workspace, ApiError> {
        self.post(&format!("/workspaces/{id}/undelete"), &serde_json::json!({})).await
    }

    /// Lists a workspace's terminals.
    pub async fn terminals(&self, id: WorkspaceId) -> Result<TerminalList, ApiError> {
        self.get(&format!("/workspaces/{id}/agent/terminals")).await
    }

    /// Opens a terminal.
    pub async fn create_terminal(
        &self,
        id: WorkspaceId,
        request: &NewTerminal,
    ) -> Result<TerminalInfo, ApiError> {
        self.post(&format!("/workspaces/{id}/agent/terminals"), request).await
    }

    /// Lists classes.
    pub async fn classes(&self) -> Result<ClassList, ApiError> {
        self.get("/classes").await
    }

    /// Gets a class with its members.
    pub async fn class(&self, id: ClassId) -> Result<Class, ApiError> {
        self.get(&format!("/classes/{id}")).await
    }

    /// Creates a class.
    pub async fn create_class(&self, request: &NewClass) -> Result<Class, ApiError> {
        self.post("/classes", request).await
    }

    /// Adds the members in a roster to a class, or reports what that would do. `bytes` is a file as it
    /// is: the server finds the encoding and the columns.
    pub async fn import_roster(
        &self,
        id: ClassId,
        bytes: Vec<u8>,
        dry_run: bool,
    ) -> Result<RosterResult, ApiError> {
        let query = if dry_run { "?dry_run=true" } else { "" };
        let request = self.request(Method::POST, &format!("/classes/{id}/roster{query}"));
        self.json(request.header(header::CONTENT_TYPE, "text/csv").body(bytes)).await
    }

    /// Removes a member from a class, and deletes the workspace that was created for the member.
    pub async fn remove_class_member(&self, id: ClassId, member: uuid::Uuid) -> Result<(), ApiError> {
        self.send_empty(Method::DELETE, &format!("/classes/{id}/members/{member}")).await
    }

    /// Lists the users of the organisation.
    pub async fn users(&self) -> Result<UserList, ApiError> {
        self.get("/users").await
    }

    /// Creates a user, who signs in with the link that is returned.
    pub async fn create_user(&self, request: &NewUser) -> Result<CreatedUser, ApiError> {
        self.post("/users", request).await
    }

    /// Changes the role of a user, suspends the user, or ends the suspension.
    pub async fn edit_user(&self, id: UserId, request: &EditUser) -> Result<User, ApiError> {
        self.json(self.request(Method::PATCH, &format!("/users/{id}")).json(request)).await
    }

    /// Voids the password, sessions and tokens of a user, who signs in with the link that is returned.
    pub async fn reset_user_password(&self, id: UserId) -> Result<UserLink, ApiError> {
        self.post(&format!("/users/{id}/password-reset"), &serde_json::json!({})).await
    }

    /// Ends all sessions of a user, and revokes all their tokens.
    pub async fn end_user_sessions(&self, id: UserId) -> Result<(), ApiError> {
        self.send_empty(Method::DELETE, &format!("/users/{id}/sessions")).await
    }

    /// Starts the workspaces of all members.
    pub async fn start_class(&self, id: ClassId) -> Result<ClassAction, ApiError> {
        self.post(&format!("/classes/{id}/start"), &serde_json::json!({})).await
    }

    /// Stops the workspaces of all members.
    pub async fn stop_class(&self, id: ClassId) -> Result<ClassAction, ApiError> {
        self.post(&format!("/classes/{id}/stop"), &serde_json::json!({})).await
    }

    /// Deletes a class.
    pub async fn delete_class(&self, id: ClassId) -> Result<(), ApiError> {
        self.send_empty(Method::DELETE, &format!("/classes/{id}")).await
    }

    /// Sends an empty request to an internal path of the server of this host. For [`Self::over_socket`].
    pub async fn post_internal<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.json(self.http.post(format!("{}{path}", self.url))).await
    }

    /// Posts a body to an internal route, over a socket of the server's host.
    pub async fn post_internal_body<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ApiError> {
        self.json(self.http.post(format!("{}{path}", self.url)).json(body)).await
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

    /// Sends a request without a body whose response has none either.
    pub(crate) async fn send_empty(&self, method: Method, path: &str) -> Result<(), ApiError> {
        self.send(self.request(method, path).timeout(RESPONSE_TIMEOUT)).await.map(drop)
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        self.json_with_timeout(RESPONSE_TIMEOUT, request).await
    }

    /// Sends a request and parses the JSON of its response. For requests that take the server a while.
    pub(crate) async fn json_with_timeout<T: DeserializeOwned>(
        &self,
        limit: Duration,
        request: RequestBuilder,
    ) -> Result<T, ApiError> {
        let response = self.send(request.timeout(limit)).await?;
        let request_id = request_id(&response);
        let body = read_body(response, MAX_RESPONSE_BYTES).await?;
        serde_json::from_slice(&body).map_err(|source| ApiError::Malformed {
            url: self.url.clone(),
            request_id,
            source: source.into(),
        })
    }

    /// Opens a response that is a stream.
    pub(crate) async fn open_stream(&self, path: &str) -> Result<Response, ApiError> {
        self.send_for_head(self.request(Method::GET, path)).await
    }

    /// Sends a request whose response is read piece by piece. Only its head must arrive in time.
    pub(crate) async fn send_for_head(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = self.send(request);
        tokio::time::timeout(RESPONSE_TIMEOUT, response).await.unwrap_or_else(|elapsed| {
            Err(ApiError::Unreachable { url: self.url.clone(), is_timeout: true, source: elapsed.into() })
        })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        match (&self.token, &self.cookie) {
            (Some(token), _) => request.bearer_auth(token.expose()),
            // The server accepts a cookie from its own pages only.
            (None, Some(cookie)) => {
                request.header(header::COOKIE, cookie.expose()).header(header::ORIGIN, &self.url)
            }
            (None, None) => request,
        }
    }

    /// Sends a request. A response that is not a success becomes an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, id) = (response.status().as_u16(), request_id(&response));
        let is_problem = header_text(&response, header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with(problem::CONTENT_TYPE));
        let body = read_body(response, MAX_PROBLEM_BYTES).await.unwrap_or_default();
        Err(ApiError::from_response(&self.url, status, id, is_problem, &body))
    }

    fn unreachable(&self, error: reqwest::Error) -> ApiError {
        // The URL in the error's text may contain a path or query that must not be shown.
        let error = error.without_url();
        if let Some(problem) = tls::certificate_problem(&error) {
            return ApiError::Untrusted { url: self.url.clone(), problem };
        }
        ApiError::Unreachable { url: self.url.clone(), is_timeout: error.is_timeout(), source: error.into() }
    }
}

fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("burrow/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would send the token to another address.
        .redirect(reqwest::redirect::Policy::none())
}

/// Reads a body of at most `max_bytes`.
pub(crate) async fn read_body(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let request_id = request_id(&response);
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| ApiError::broken(error.without_url()))? {
        if body.len() + piece.len() > max_bytes {
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
    fn debug_hides_token() {
        let authorities = TrustedAuthorities::system();
        let api = Api::with_token("http://x", "brw_secret".to_owned().into(), authorities).expect("made");
        assert!(!format!("{api:?}").contains("brw_secret"));
    }
}
