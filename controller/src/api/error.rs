//! Errors of handlers: every failure becomes a [`Problem`]. What is the server's own fault is
//! logged, and the client gets no detail.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use protocol::{Code, Problem};

use crate::{
    authz::NotAllowed,
    core::ShuttingDown,
    identity::{passwords::HashingBusy, rate_limits::RateLimited},
    kms::KmsError,
    tenants::{KEY_DESTROYED, OpenKeyError, TenantError},
    workspaces::{create::CreateError, idempotency::IdempotencyError, limits::LimitError},
};

/// The error of a handler.
#[derive(Debug)]
pub struct ApiError {
    problem: Problem,
    /// Seconds after which a retry makes sense.
    retry_after: Option<u64>,
    /// Whether the caller is known and may not do this.
    is_refusal: bool,
}

/// In the extensions of a response: what the caller wanted is not allowed. The audit log mentions it.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

pub type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let is_refusal = code == Code::Forbidden;
        Self { problem: Problem::new(code, detail), retry_after: None, is_refusal }
    }

    /// Hides that something exists that the caller may not see.
    pub fn hidden(what: &str) -> Self {
        Self { is_refusal: true, ..Self::not_found(what) }
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

    /// The problem, for an answer that has begun already.
    pub fn into_problem(self) -> Problem {
        self.problem
    }

    /// What failed, in words for the user.
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
            "Something went wrong in the server. Try again. If it keeps failing, report the request id.",
        )
    }
}

impl From<NotAllowed> for ApiError {
    fn from(_: NotAllowed) -> Self {
        Self::new(Code::Forbidden, "Your role does not allow this.")
    }
}

impl From<KmsError> for ApiError {
    fn from(error: KmsError) -> Self {
        tracing::error!(%error, hint = error.hint(), "cannot use the master key");
        match error {
            KmsError::Key(_) => Self::internal(),
            KmsError::Vault(_) => Self::new(
                Code::Unavailable,
                "Cannot open the home: the key service does not answer. Try again, or ask the operator \
                 of this server.",
            )
            .retry_after(10),
        }
    }
}

impl From<HashingBusy> for ApiError {
    fn from(error: HashingBusy) -> Self {
        Self::new(Code::Unavailable, format!("{error}.")).retry_after(2)
    }
}

impl From<RateLimited> for ApiError {
    fn from(error: RateLimited) -> Self {
        Self::new(Code::RateLimited, format!("{error}.")).retry_after(error.retry_after_seconds)
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        let detail = format!("{error}.");
        match error {
            CreateError::NameTaken(_) => Self::new(Code::NameTaken, detail),
            CreateError::NoTemplate | CreateError::ForeignHome => Self::invalid("template", &detail),
            CreateError::NoOrigin => Self::not_found("workspace"),
            CreateError::KeyDestroyed => Self::new(Code::Conflict, KEY_DESTROYED),
            CreateError::Limit(error) => error.into(),
            CreateError::Database(error) => error.into(),
        }
    }
}

impl From<LimitError> for ApiError {
    fn from(error: LimitError) -> Self {
        match error {
            LimitError::Database(error) => error.into(),
            LimitError::DiskLow { .. } | LimitError::DiskBudget { .. } | LimitError::StoreLow => {
                Self::new(Code::DiskFull, format!("{error}."))
            }
            error => Self::new(Code::QuotaExceeded, format!("{error}.")),
        }
    }
}

impl From<IdempotencyError> for ApiError {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::UsedForAnother => Self::new(Code::Conflict, format!("{error}.")),
            IdempotencyError::Database(error) => error.into(),
        }
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Kms(error) => error.into(),
            TenantError::Database(error) => error.into(),
            TenantError::Unknown | TenantError::Cache(_) => {
                tracing::error!(%error, "cannot destroy a tenant's key completely");
                Self::internal()
            }
        }
    }
}

impl From<OpenKeyError> for ApiError {
    fn from(error: OpenKeyError) -> Self {
        match error {
            OpenKeyError::Destroyed => Self::new(Code::Conflict, KEY_DESTROYED),
            OpenKeyError::Kms(error) => error.into(),
            OpenKeyError::Database(error) => error.into(),
        }
    }
}

impl From<ShuttingDown> for ApiError {
    fn from(error: ShuttingDown) -> Self {
        Self::new(Code::Unavailable, format!("{error}."))
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        let is_unreachable = matches!(
            error,
            sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Io(_)
                | sqlx::Error::WorkerCrashed
        );
        tracing::error!(%error, "a database statement failed");
        if is_unreachable {
            return Self::new(Code::Unavailable, "The database does not answer. Try again in a moment.")
                .retry_after(2);
        }
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = transport::problem::response(self.problem);
        if self.is_refusal {
            response.extensions_mut().insert(Refused);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
