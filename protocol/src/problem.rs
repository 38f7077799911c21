//! Problems: the bodies of all HTTP errors (RFC 9457), with a stable code and the id of the request.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";
/// The header with the id of a request: on requests between our processes and on every response.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// A stable name for what went wrong. Programs compare codes, never texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood: 400.
    BadRequest,
    /// There is no session, or it has ended: 401.
    Unauthenticated,
    /// Wrong email or password: 401.
    BadCredentials,
    /// The user is signed in but not allowed to do this: 403.
    Forbidden,
    /// The user must prove the password again: 403. See `POST /auth/confirm`.
    ConfirmationRequired,
    /// The request comes from a page of another origin: 403.
    ForeignOrigin,
    /// The resource does not exist, or the user may not see it: 404.
    NotFound,
    /// The path does not support the method: 405.
    MethodNotAllowed,
    /// The resource is in the wrong state, such as the start of a running workspace: 409.
    Conflict,
    /// The name is taken: 409.
    NameTaken,
    /// The link or code was used already or is too old: 410.
    Expired,
    /// The device login was not approved yet: 400, as in RFC 8628.
    AuthorizationPending,
    /// The report comes from a runner that was replaced: 409.
    Fenced,
    /// The file has changed since it was read: 412.
    PreconditionFailed,
    /// The body is too large: 413.
    TooLarge,
    /// A field has an invalid value: 422. The problem lists the fields.
    Invalid,
    /// The file cannot be handled in this form: 415.
    Unsupported,
    /// A quota is used up: 403.
    QuotaExceeded,
    /// Too many requests: 429.
    RateLimited,
    /// The workspace or the server has as many open streams or requests as it may have: 503. Close some,
    /// then try again.
    TooManyStreams,
    /// The disk is full: 507.
    DiskFull,
    /// A part of the server does not answer: 503. Try again later.
    Unavailable,
    /// The workspace is not running: 409.
    NotRunning,
    /// The request took too long: 504.
    Timeout,
    /// The server failed: 500.
    Internal,
}

impl Code {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::AuthorizationPending => 400,
            Self::Unauthenticated | Self::BadCredentials => 401,
            Self::Forbidden | Self::ConfirmationRequired | Self::ForeignOrigin | Self::QuotaExceeded => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::NameTaken | Self::Fenced | Self::NotRunning => 409,
            Self::Expired => 410,
            Self::PreconditionFailed => 412,
            Self::TooLarge => 413,
            Self::Unsupported => 415,
            Self::Invalid => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable | Self::TooManyStreams => 503,
            Self::Timeout => 504,
            Self::DiskFull => 507,
        }
    }

    /// The code as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::BadCredentials => "bad_credentials",
            Self::Forbidden => "forbidden",
            Self::ConfirmationRequired => "confirmation_required",
            Self::ForeignOrigin => "foreign_origin",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::NameTaken => "name_taken",
            Self::Expired => "expired",
            Self::AuthorizationPending => "authorization_pending",
            Self::Fenced => "fenced",
            Self::PreconditionFailed => "precondition_failed",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::QuotaExceeded => "quota_exceeded",
            Self::RateLimited => "rate_limited",
            Self::TooManyStreams => "too_many_streams",
            Self::DiskFull => "disk_full",
            Self::Unavailable => "unavailable",
            Self::NotRunning => "not_running",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// The code in a few words, for the `title` of a [`Problem`].
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be understood",
            Self::Unauthenticated => "Sign in first",
            Self::BadCredentials => "Email or password is wrong",
            Self::Forbidden => "Not allowed",
            Self::ConfirmationRequired => "Confirm your password",
            Self::ForeignOrigin => "The request comes from a page of another origin",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::Conflict => "Not possible in the present state",
            Self::NameTaken => "The name is taken",
            Self::Expired => "The link or code is no longer valid",
            Self::AuthorizationPending => "Waiting for approval",
            Self::Fenced => "Another runner has taken over",
            Self::PreconditionFailed => "It has changed since it was read",
            Self::TooLarge => "Too large",
            Self::Unsupported => "Not possible for this kind of file",
            Self::Invalid => "A value is not valid",
            Self::QuotaExceeded => "A quota is used up",
            Self::RateLimited => "Too many requests",
            Self::TooManyStreams => "Too many streams are open",
            Self::DiskFull => "No space left",
            Self::Unavailable => "Not available at the moment",
            Self::NotRunning => "The workspace is not running",
            Self::Timeout => "Took too long",
            Self::Internal => "An internal error",
        }
    }
}

/// The body of every HTTP error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank#<code>`. There is no page to look up.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, as a sentence for the user.
    pub detail: String,
    /// The stable name of the error.
    pub code: Code,
    /// Id of the request. Quote it when you ask for help.
    #[serde(default)]
    pub request_id: String,
    /// The invalid fields, for the code `invalid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
}

/// One invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Name of the field.
    pub field: String,
    /// Why its value is invalid, as a sentence for the user.
    pub message: String,
}

impl Problem {
    /// Creates a problem. `detail` is a sentence for the user. The layer that knows the request's id adds it.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("about:blank#{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id: String::new(),
            fields: Vec::new(),
        }
    }

    /// Adds an invalid field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.push(FieldError { field: field.into(), message: message.into() });
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}
