//! Why the gateway does not serve a request: a [`Problem`] for the client and a cause for the log.

use std::fmt::Display;

use axum::response::Response;
use http::{HeaderValue, header};
use protocol::{Code, Problem, RequestId};

/// The error of everything that serves a request.
///
/// The client gets the problem. The cause (addresses, errors of other processes) goes only to the
/// log. Both contain the id of the request, so that a user can quote it and an operator can find
/// it.
#[derive(Debug)]
pub struct Refusal {
    problem: Box<Problem>,
    cause: Option<String>,
}

/// The result of everything that serves a request.
pub type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    /// `detail` is one or two sentences for the user: what happened and what to do.
    pub fn new(code: Code, detail: &str) -> Self {
        Problem::new(code, detail).into()
    }

    /// Adds the cause, which only the log may contain.
    #[must_use]
    pub fn because(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The stable name of the refusal.
    pub fn code(&self) -> Code {
        self.problem.code
    }

    /// What happened and what to do, for the user.
    pub fn detail(&self) -> &str {
        &self.problem.detail
    }

    /// The HTTP status of its response.
    pub fn status(&self) -> u16 {
        self.problem.status
    }

    /// 404 for a path that the gateway does not know.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "There is nothing at this address.")
    }

    /// 401 for a request without a credential.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "Sign in, then try again.")
    }

    /// 413 for a body of more than `max_bytes`.
    pub fn too_large(max_bytes: u64) -> Self {
        Self::new(Code::TooLarge, &format!("The body may have at most {max_bytes} bytes."))
    }

    /// 503 for a controller that cannot be reached or answers nonsense.
    pub fn controller_unavailable() -> Self {
        Self::new(Code::Unavailable, "The controller does not answer. Try again in a moment.")
    }

    /// 503 for a runner or agent that cannot be reached or answers nonsense.
    pub fn workspace_unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "The workspace does not answer. Try again in a moment. If this persists, stop and start it.",
        )
    }

    /// Logs the refusal and returns its response. `summary` is the method and path of the request.
    pub fn into_response(mut self, id: RequestId, summary: &str) -> Response {
        self.problem.request_id = id.to_string();
        let (code, status, cause) = (self.problem.code, self.problem.status, self.cause.as_deref());
        if status >= 500 {
            tracing::warn!(request_id = %id, ?code, status, summary, cause, "request failed");
        } else {
            tracing::info!(request_id = %id, ?code, status, summary, cause, "request refused");
        }
        let mut response = transport::problem::response(*self.problem);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }
}
