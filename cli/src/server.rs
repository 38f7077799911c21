//! The server as commands see it: one function a route, [`Failure`]s in place of errors. Addresses and tokens stay in here.

use std::time::Duration;

use protocol::{
    ClassId, Code, Problem, Redacted, WorkspaceId,
    api::{
        Version,
        auth::{DeviceCode, DeviceRequest, DeviceTokenRequest, NewToken, Session, TokenList, TokenSecret},
        class::{Class, ClassAction, ClassList, NewClass, RosterResult},
        workspace::{NewWorkspace, Workspace, WorkspaceList},
    },
    problem,
    terminal::{NewTerminal, TerminalInfo, TerminalList},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::sleep;

use crate::{
    credentials::{self, Credentials, DEFAULT_URL},
    failure::{Failure, Kind},
};

/// The API's version that this program speaks.
pub const API: u32 = 1;
/// Longest wait for a connection, and for an answer that is no stream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// A stream of events says something, if only a comment, more often than this.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// Most bytes of an answer; the largest are lists.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of one event.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pause before a stream of events that broke off is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    token: Option<Redacted<String>>,
    http: reqwest::Client,
}

/// A message of a workspace's event stream.
#[derive(Debug)]
pub enum Event {
    Changed(Box<Workspace>),
    Deleted,
}

impl Server {
    /// The server that the options, the environment or `burrow login` name, as the person who signed in.
    pub fn signed_in(url: Option<&str>) -> Result<Self, Failure> {
        let credentials = Credentials::load(&credentials::path()?)?;
        let wanted = url.or(credentials.current()).unwrap_or(DEFAULT_URL);
        let url = credentials::normalise(wanted).map_err(|words| Failure::new(Kind::Usage, words))?;
        let from_environment = std::env::var("BURROW_TOKEN").ok().filter(|token| !token.is_empty());
        let token = match from_environment {
            Some(token) => Redacted::new(token),
            None => match credentials.server(&url) {
                Some(server) => server.token.clone(),
                None => {
                    return Err(Failure::new(Kind::AuthRequired, format!("Not signed in to {url}"))
                        .next(format!("burrow login {url}")));
                }
            },
        };
        Self::with_token(&url, token)
    }

    pub fn with_token(url: &str, token: Redacted<String>) -> Result<Self, Failure> {
        Ok(Self { token: Some(token), ..Self::anonymous(url)? })
    }

    pub fn anonymous(url: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("burrow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the token to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::error("The HTTP client cannot be made").because(&error))?;
        Ok(Self { url: url.to_owned(), token: None, http })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn token(&self) -> Option<&Redacted<String>> {
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

    pub async fn version(&self) -> Result<Version, Failure> {
        self.get("/version").await
    }

    pub async fn session(&self) -> Result<Session, Failure> {
        self.get("/auth/session").await
    }

    pub async fn sign_out(&self) -> Result<(), Failure> {
        self.no_answer(Method::POST, "/auth/logout").await
    }

    pub async fn device_code(&self, request: &DeviceRequest) -> Result<DeviceCode, Failure> {
        self.post("/auth/device", request).await
    }

    pub async fn device_token(&self, request: &DeviceTokenRequest) -> Result<TokenSecret, Failure> {
        self.post("/auth/device/token", request).await
    }

    pub async fn tokens(&self) -> Result<TokenList, Failure> {
        self.get("/tokens").await
    }

    pub async fn create_token(&self, request: &NewToken) -> Result<TokenSecret, Failure> {
        self.post("/tokens", request).await
    }

    pub async fn delete_token(&self, id: uuid::Uuid) -> Result<(), Failure> {
        self.no_answer(Method::DELETE, &format!("/tokens/{id}")).await
    }

    pub async fn workspaces(&self) -> Result<WorkspaceList, Failure> {
        self.get("/workspaces").await
    }

    pub async fn workspace(&self, id: WorkspaceId) -> Result<Workspace, Failure> {
        self.get(&format!("/workspaces/{id}")).await
    }

    pub async fn create_workspace(&self, request: &NewWorkspace) -> Result<Workspace, Failure> {
        self.post("/workspaces", request).await
    }

    pub async fn start_workspace(&self, id: WorkspaceId) -> Result<Workspace, Failure> {
        self.post(&format!("/workspaces/{id}/start"), &serde_json::json!({})).await
    }

    pub async fn stop_workspace(&self, id: WorkspaceId) -> Result<Workspace, Failure> {
        self.post(&format!("/workspaces/{id}/stop"), &serde_json::json!({})).await
    }

    pub async fn delete_workspace(&self, id: WorkspaceId) -> Result<(), Failure> {
        self.no_answer(Method::DELETE, &format!("/workspaces/{id}")).await
    }

    pub async fn terminals(&self, id: WorkspaceId) -> Result<TerminalList, Failure> {
        self.get(&format!("/workspaces/{id}/agent/terminals")).await
    }

    pub async fn create_terminal(
        &self,
        id: WorkspaceId,
        request: &NewTerminal,
    ) -> Result<TerminalInfo, Failure> {
        self.post(&format!("/workspaces/{id}/agent/terminals"), request).await
    }

    pub async fn classes(&self) -> Result<ClassList, Failure> {
        self.get("/classes").await
    }

    pub async fn class(&self, id: ClassId) -> Result<Class, Failure> {
        self.get(&format!("/classes/{id}")).await
    }

    pub async fn create_class(&self, request: &NewClass) -> Result<Class, Failure> {
        self.post("/classes", request).await
    }

    pub async fn add_roster(&self, id: ClassId, csv: Vec<u8>) -> Result<RosterResult, Failure> {
        let request = self.request(Method::POST, &format!("/classes/{id}/roster"));
        self.json(request.header(header::CONTENT_TYPE, "text/csv").body(csv)).await
    }

    pub async fn start_class(&self, id: ClassId) -> Result<ClassAction, Failure> {
        self.post(&format!("/classes/{id}/start"), &serde_json::json!({})).await
    }

    pub async fn stop_class(&self, id: ClassId) -> Result<ClassAction, Failure> {
        self.post(&format!("/classes/{id}/stop"), &serde_json::json!({})).await
    }

    pub async fn delete_class(&self, id: ClassId) -> Result<(), Failure> {
        self.no_answer(Method::DELETE, &format!("/classes/{id}")).await
    }

    /// Changes of one workspace, the present state first. It outlives lost connections.
    pub fn workspace_events(&self, id: WorkspaceId) -> Events {
        Events { server: self.clone(), path: format!("/workspaces/{id}/events"), open: None }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(self.request(Method::GET, path)).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    async fn no_answer(&self, method: Method, path: &str) -> Result<(), Failure> {
        self.send(self.request(method, path).timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        let id = request_id(&response);
        let body = bounded(response, ANSWER_BYTES_MAX)
            .await
            .map_err(|failure| failure.with_request_id(id.clone()))?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::error(format!("{} answered something unexpected", self.url))
                .because(&error)
                .next("compare the versions: burrow version")
                .with_request_id(id)
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends; an answer that is an error becomes a failure.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, id) = (response.status(), request_id(&response));
        let is_problem = header_text(&response, header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with(problem::CONTENT_TYPE));
        let body = bounded(response, EVENT_BYTES_MAX).await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(mut told) if is_problem => {
                if told.request_id.is_empty() {
                    told.request_id = id.unwrap_or_default();
                }
                Err(Failure::from(told))
            }
            _ => Err(self.no_burrow(status).with_request_id(id)),
        }
    }

    fn no_burrow(&self, status: StatusCode) -> Failure {
        let kind = if matches!(status.as_u16(), 502..=504) { Kind::Unavailable } else { Kind::Error };
        Failure::new(kind, format!("{} answered {status}, and not as Burrow does", self.url))
            .next("check the address: burrow auth status")
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        // The address in the error's own words may hold more than the server's name.
        let error = error.without_url();
        let word = if error.is_timeout() { "does not answer in time" } else { "cannot be reached" };
        let next =
            if self.url == DEFAULT_URL { "burrow up" } else { "check the address and that the server runs" };
        Failure::new(Kind::Unavailable, format!("{} {word}", self.url)).because(&error).next(next)
    }
}

/// Server-sent events of a workspace.
pub struct Events {
    server: Server,
    path: String,
    open: Option<(Response, Vec<u8>)>,
}

impl Events {
    /// The next event. A connection that breaks is opened again: the server then begins with the present state.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            let (response, buffer) = match &mut self.open {
                Some(open) => open,
                None => match self.server.send(self.server.request(Method::GET, &self.path)).await {
                    Ok(response) => self.open.insert((response, Vec::new())),
                    Err(failure) if failure.is(Code::NotFound) => return Ok(Event::Deleted),
                    Err(failure) if failure.kind == Kind::Unavailable => {
                        sleep(RETRY_PAUSE).await;
                        continue;
                    }
                    Err(failure) => return Err(failure),
                },
            };
            while let Some(event) = take_event(buffer) {
                if let Some(event) = understand(&event)? {
                    return Ok(event);
                }
            }
            let piece = tokio::time::timeout(SILENCE_MAX, response.chunk()).await;
            match piece {
                Ok(Ok(Some(piece))) if buffer.len() + piece.len() <= EVENT_BYTES_MAX => {
                    buffer.extend_from_slice(&piece);
                }
                Ok(Ok(Some(_))) => {
                    return Err(Failure::error(format!("{} sends an event without end", self.server.url)));
                }
                Ok(Ok(None) | Err(_)) | Err(_) => {
                    self.open = None;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

/// One event's lines, if all of them have come.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = buffer.split_off(end + 2);
    let event = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&event).into_owned())
}

fn understand(event: &str) -> Result<Option<Event>, Failure> {
    let field = |name: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
    };
    match field("event").as_str() {
        "workspace" => {
            let workspace = serde_json::from_str(&field("data")).map_err(|error| {
                Failure::error("The server sent an event that is not understood").because(&error)
            })?;
            Ok(Some(Event::Changed(workspace)))
        }
        "deleted" => Ok(Some(Event::Deleted)),
        _ => Ok(None),
    }
}

async fn bounded(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let broken = |error: reqwest::Error| {
        Failure::new(Kind::Unavailable, "The connection broke off").because(&error.without_url())
    };
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > most {
            return Err(Failure::error("The server's answer is too large"));
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
    fn events_are_cut_where_they_end() {
        let mut buffer = b"event: deleted\ndata: {}\n\n: comment\n\nevent: work".to_vec();
        let first = take_event(&mut buffer).expect("whole");
        assert!(matches!(understand(&first), Ok(Some(Event::Deleted))));
        let second = take_event(&mut buffer).expect("whole");
        assert!(matches!(understand(&second), Ok(None)));
        assert!(take_event(&mut buffer).is_none());
        assert_eq!(buffer, b"event: work");
    }

    #[test]
    fn a_broken_event_is_an_error() {
        assert!(understand("event: workspace\ndata: {\n\n").is_err());
    }

    #[test]
    fn tokens_are_not_printed() {
        let server = Server::with_token("http://x", "brw_secret".to_owned().into()).expect("made");
        assert!(!format!("{server:?}").contains("brw_secret"));
    }
}
