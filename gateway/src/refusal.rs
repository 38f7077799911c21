//! Why a request is not served: a [`Problem`] for the person, a cause for the log, both with the request's id.

use std::fmt::Display;

use axum::response::Response;
use http::{HeaderValue, header};
use protocol::{Code, Problem, RequestId};

/// A refusal, with what only the log is told.
#[derive(Debug)]
pub struct Refusal {
    problem: Box<Problem>,
    cause: Option<String>,
}

pub type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(code: Code, detail: &str) -> Self {
        Problem::new(code, detail).into()
    }

    /// Adds what the client must not see: addresses, the words of other parts.
    #[must_use]
    pub fn because(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    #[cfg(test)]
    pub fn code(&self) -> Code {
        self.problem.code
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "There is nothing at this address.")
    }

    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "Sign in, then try again.")
    }

    pub fn too_large(most: u64) -> Self {
        Self::new(Code::TooLarge, &format!("At most {most} bytes are taken here."))
    }

    pub fn controller_unavailable() -> Self {
        Self::new(Code::Unavailable, "The controller does not answer. Try again in a moment.")
    }

    pub fn workspace_unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "The workspace does not answer. Try again in a moment; if it stays so, stop and start it.",
        )
    }

    /// The answer. Server's faults are logged as warnings, others for whoever looks for a request id.
    pub fn answer(mut self, id: RequestId, what: &str) -> Response {
        self.problem.request_id = id.to_string();
        let (code, status, cause) = (self.problem.code, self.problem.status, self.cause.as_deref());
        if status >= 500 {
            tracing::warn!(request_id = %id, ?code, status, what, cause, "not served");
        } else {
            tracing::info!(request_id = %id, ?code, status, what, cause, "refused");
        }
        let mut response = transport::problem::response(*self.problem);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }
}
