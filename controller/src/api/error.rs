//! Errors as answers: every failure below becomes a [`Problem`] here, and what is our own fault is
//! logged and not told.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use protocol::{Code, Problem};

use crate::{authz::Refused, kms::KeeperError};

/// What a handler may fail with.
#[derive(Debug)]
pub struct ApiError {
    problem: Problem,
    /// Seconds after which trying again makes sense.
    retry_after: Option<u64>,
}

pub type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { problem: Problem::new(code, detail), retry_after: None }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}, or it is not yours to see."))
    }

    pub fn invalid(field: &str, message: &str) -> Self {
        let mut error = Self::new(Code::Invalid, message);
        error.problem = error.problem.field(field, message);
        error
    }

    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "Sign in, then try again.")
    }

    /// What happened, in words for the person.
    pub fn detail(&self) -> &str {
        &self.problem.detail
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            "Something went wrong in the server. Try again; if it stays, give the request id.",
        )
    }
}

impl From<Refused> for ApiError {
    fn from(_: Refused) -> Self {
        Self::new(Code::Forbidden, "Your role does not allow this.")
    }
}

impl From<KeeperError> for ApiError {
    fn from(error: KeeperError) -> Self {
        tracing::error!(%error, next = error.next(), "keys");
        match error {
            KeeperError::Key(_) => Self::internal(),
            KeeperError::Service(_) => Self::new(
                Code::Unavailable,
                "The service that keeps the keys of all homes does not open them now. Whoever runs this server finds why in its log.",
            )
            .retry_after(10),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        let gone = matches!(
            error,
            sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Io(_)
                | sqlx::Error::WorkerCrashed
        );
        tracing::error!(%error, "database");
        if gone {
            return Self::new(Code::Unavailable, "The database does not answer. Try again in a moment.")
                .retry_after(2);
        }
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = transport::problem::response(self.problem);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The constraint that an insert or update hurt, if that is why it failed.
pub fn violated(error: &sqlx::Error) -> Option<&str> {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => error.constraint(),
        _ => None,
    }
}
