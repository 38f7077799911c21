//! What handlers take: bodies, paths, queries and callers, with problems in place of the framework's words.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use protocol::Code;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::{authz::Caller, identity::sessions::Open};

/// Says that the browser sees us by https, or on loopback: set by the gateway, which takes it from nobody.
const SECURE_HEADER: &str = "x-burrow-secure";
/// Where the request came from, for limits and for the log.
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
            ApiError::new(Code::TooLarge, "The request's body is larger than it may be.")
        }
        (JsonRejection::JsonDataError(error), _) => ApiError::new(
            Code::Invalid,
            format!("The body does not have the right form: {}", innermost(error)),
        ),
        (JsonRejection::JsonSyntaxError(error), _) => {
            ApiError::new(Code::BadRequest, format!("The body is not JSON: {}", innermost(error)))
        }
        (JsonRejection::MissingJsonContentType(_), _) => {
            ApiError::new(Code::BadRequest, "Say content-type: application/json.")
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

/// Parameters in the path. What does not parse names nothing.
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

/// Fields behind the `?`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(
                Code::Invalid,
                format!("The query does not have the right form: {}", innermost(&rejection)),
            )),
        }
    }
}

/// The session of whoever asks.
pub struct Signed(pub Arc<Open>);

impl Signed {
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Signed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Arc<Open>>().cloned().map(Self).ok_or_else(ApiError::unauthenticated)
    }
}

/// How and from where the gateway was asked.
pub struct Client {
    pub secure: bool,
    pub address: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let secure = matches!(text(SECURE_HEADER), "1" | "true");
        Ok(Self { secure, address: text(ADDRESS_HEADER).to_owned() })
    }
}
