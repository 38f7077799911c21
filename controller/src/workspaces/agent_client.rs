//! Requests of the controller to the agent of a running workspace, through the runner's front like
//! those of a client. The agent is not trusted: its answers are bounded and checked.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use protocol::{Access, Code, Epoch, Problem, WorkspaceId, workspace};
use serde::{Serialize, de::DeserializeOwned};
use transport::{Link, LinkError};

use super::grants::{self, GrantError};
use crate::{
    authz::Caller,
    core::{App, Core},
};

/// Longest wait for an answer to one request. The agent may write and sync thousands of files.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(30);
/// Largest answer.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Most bytes of an agent's error text.
const MAX_DETAIL_BYTES: usize = 500;

/// Why a request to an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The caller may not write, or the workspace does not run.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The workspace was started again in another placement.
    #[error("the workspace was restarted")]
    Restarted,
    /// The agent refused the request.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The workspace does not answer.
    #[error("the workspace does not answer: {0}")]
    Unreachable(#[from] LinkError),
    /// The answer cannot be read.
    #[error("the workspace sent an invalid answer")]
    Invalid,
}

/// A connection to one placement of a workspace, on behalf of a user with write access.
pub struct AgentClient {
    app: App,
    caller: Caller,
    workspace: WorkspaceId,
    epoch: Epoch,
    link: Link,
}

impl AgentClient {
    /// Connects to the front of a running workspace.
    pub async fn connect(app: &App, caller: Caller, workspace: WorkspaceId) -> Result<Self, AgentError> {
        let grant = grants::issue_for(app, &caller, workspace, Access::Write).await?;
        let link = Link::connect(&grant.front).await?;
        Ok(Self { app: app.clone(), caller, workspace, epoch: grant.epoch, link })
    }

    /// Sends JSON and reads JSON. The path is below `/v1/`.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, AgentError> {
        let body = serde_json::to_vec(request).map_err(|_| AgentError::Invalid)?;
        self.post(path, Body::from(body)).await
    }

    /// Sends a body and reads JSON. Each request has a grant of its own, so that a restore ends soon
    /// after the user's access.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Body) -> Result<T, AgentError> {
        let core: &Core = &self.app;
        let grant = grants::issue_for(core, &self.caller, self.workspace, Access::Write).await?;
        if grant.epoch != self.epoch {
            return Err(AgentError::Restarted);
        }
        let body = body.map_err(Into::into).boxed_unsync();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v1/{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", grant.grant.expose()))
            .body(body)
            .map_err(|_| LinkError::InvalidUri)?;
        let response = self.link.request_within(request, ANSWER_TIMEOUT).await?;
        let status = response.status();
        let bytes = to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES).await;
        let bytes = bytes.map_err(|_| AgentError::Invalid)?;
        if status.is_success() {
            let text = if status == StatusCode::NO_CONTENT { &b"null"[..] } else { &bytes };
            return serde_json::from_slice(text).map_err(|_| AgentError::Invalid);
        }
        let problem: Problem = serde_json::from_slice(&bytes).map_err(|_| AgentError::Invalid)?;
        let code = match problem.code {
            code @ (Code::NotFound
            | Code::Conflict
            | Code::DiskFull
            | Code::Unavailable
            | Code::TooManyStreams) => code,
            _ => Code::Internal,
        };
        let detail = workspace::cut(problem.detail, MAX_DETAIL_BYTES);
        Err(AgentError::Refused(Box::new(Problem::new(code, detail))))
    }
}
