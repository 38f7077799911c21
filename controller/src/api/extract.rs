//! Extractors: bodies, paths, queries, callers and idempotency keys. They fail with a problem, not
//! with the framework's own text.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, request::Parts},
};
use protocol::Code;
use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::error::ApiError;
use crate::{authz::Caller, identity::sessions::OpenSession, workspaces::idempotency::IdempotencyKey};

/// Whether the browser connects with TLS or on loopback. Only the gateway sets it.
const SECURE_HEADER: &str = "x-burrow-secure";
/// Address of the client, for rate limits and the log. Only the gateway sets it.
const ADDRESS_HEADER: &str = "x-burrow-client-address";

/// A JSON body.
pub struct Input<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(unreadable(&rejection)),
        }
    }
}

fn unreadable(rejection: &JsonRejection) -> ApiError {
    match (rejection, rejection.status()) {
        (_, StatusCode::PAYLOAD_TOO_LARGE) => {
            ApiError::new(Code::TooLarge, "The body of the request is too large.")
        }
        (JsonRejection::JsonDataError(error), _) => {
            ApiError::new(Code::Invalid, format!("The body is invalid: {}", innermost(error)))
        }
        (JsonRejection::JsonSyntaxError(error), _) => {
            ApiError::new(Code::BadRequest, format!("The body is not JSON: {}", innermost(error)))
        }
        (JsonRejection::MissingJsonContentType(_), _) => {
            ApiError::new(Code::BadRequest, "Set content-type to application/json.")
        }
        _ => ApiError::new(Code::BadRequest, "The body cannot be read."),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    protocol::workspace::cut(error.to_string(), 200)
}

/// Parameters in the path. One that does not parse is not found.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(ApiError::new(Code::NotFound, "There is nothing at this address.")),
        }
    }
}

/// Parameters of the query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(ApiError::new(Code::Invalid, format!("The query is invalid: {}", innermost(&rejection))))
            }
        }
    }
}

/// The session of the caller.
pub struct Signed(pub Arc<OpenSession>);

impl Signed {
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Refuses a session in which the user has not proved the password lately.
    pub fn check_confirmed(&self, now: OffsetDateTime) -> Result<(), ApiError> {
        if self.0.is_confirmed(now) {
            return Ok(());
        }
        Err(ApiError::new(
            Code::ConfirmationRequired,
            "Confirm your password first. If you have none, sign in again with a new link.",
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Signed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Arc<OpenSession>>().cloned().map(Self).ok_or_else(ApiError::unauthenticated)
    }
}

/// Address of the client, as the gateway tells it. Empty for a client on the host.
pub fn client_address(headers: &HeaderMap) -> &str {
    headers.get(ADDRESS_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The connection between the client and the gateway.
pub struct Client {
    /// Whether cookies can be `Secure`.
    pub secure: bool,
    /// Address of the client.
    pub address: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let secure = parts.headers.get(SECURE_HEADER).and_then(|value| value.to_str().ok());
        let secure = matches!(secure, Some("1" | "true"));
        Ok(Self { secure, address: client_address(&parts.headers).to_owned() })
    }
}

const IDEMPOTENCY_HEADER: &str = "idempotency-key";
const MAX_IDEMPOTENCY_BYTES: usize = 200;

/// The idempotency key of a request, if it has one.
pub fn idempotency_key(
    headers: &HeaderMap,
    request: &impl Serialize,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=MAX_IDEMPOTENCY_BYTES).contains(&key.len()));
    let key =
        key.ok_or_else(|| ApiError::new(Code::BadRequest, "An idempotency key has 1 to 200 characters."))?;
    Ok(Some(IdempotencyKey::new(key, request)))
}
