//! The object store, as a runner reaches it: through the controller, which adds the tenant to each name.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header, request::Builder};
use http_body_util::{BodyExt as _, Limited};
use protocol::{TenantId, runner::OBJECTS_PATH};
use tokio::time::timeout;
use transport::{
    Body, ResponseBody,
    body::{empty, full},
};
use volume::{
    ObjectStore, StoreError,
    store::{ObjectInfo, PutOutcome},
};

use crate::controller_link::ControllerLink;

/// One attempt: more than the controller's own attempts at a distant store take together.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(150);
/// Bound of the text of an error.
const MAX_DETAIL_BYTES: usize = 4096;

/// The objects of one tenant.
pub struct TenantObjects {
    controller: ControllerLink,
    /// Begins every name of the tenant.
    prefix: String,
}

impl TenantObjects {
    /// The objects of the tenant that the controller has launched this runner for.
    pub fn new(controller: ControllerLink, tenant: TenantId) -> Self {
        Self { controller, prefix: format!("{tenant}/") }
    }

    /// A request about an object. One of another tenant has no address.
    fn request(&self, method: Method, name: &str, query: &str) -> Result<Builder, StoreError> {
        let rest = name.strip_prefix(&self.prefix);
        let rest = rest.ok_or_else(|| StoreError::Denied(format!("{name} belongs to another tenant")))?;
        Ok(Request::builder().method(method).uri(format!("{OBJECTS_PATH}{rest}{query}")))
    }

    /// Sends a request, and returns the response if it is a success.
    async fn send(
        &self,
        name: &str,
        request: Builder,
        body: Body,
    ) -> Result<Response<ResponseBody>, StoreError> {
        let request = request.body(body).map_err(|_| StoreError::Malformed(name.to_owned()))?;
        let response = self.controller.request(request, ATTEMPT_TIMEOUT).await;
        let response = response.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let detail = receive(name, response, MAX_DETAIL_BYTES as u64).await.unwrap_or_default();
        Err(to_store_error(name, status, String::from_utf8_lossy(&detail).into_owned()))
    }

    async fn read(&self, name: &str, request: Builder, max_bytes: u64) -> Result<Bytes, StoreError> {
        let attempt = async { receive(name, self.send(name, request, empty()).await?, max_bytes).await };
        let attempted = timeout(ATTEMPT_TIMEOUT, attempt).await;
        attempted.unwrap_or_else(|_| Err(StoreError::Unavailable(format!("{name}: it took too long"))))
    }
}

impl ObjectStore for TenantObjects {
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            let request = self.request(Method::PUT, name, "")?;
            match self.send(name, request, full(body)).await?.status() {
                StatusCode::CREATED => Ok(PutOutcome::Created),
                _ => Ok(PutOutcome::Existed),
            }
        })
    }

    fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let request = self.request(Method::GET, name, &format!("?max_bytes={max_bytes}"))?;
            self.read(name, request, max_bytes).await
        })
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let length = range.end - range.start;
            let request = self.request(Method::GET, name, "")?;
            let request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
            let bytes = self.read(name, request, length).await?;
            if bytes.len() as u64 == length {
                Ok(bytes)
            } else {
                Err(StoreError::Unavailable(format!("{name}: the response ended early")))
            }
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        _after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        Box::pin(async move { Err(StoreError::Denied(format!("a runner may not list {prefix}"))) })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { Err(StoreError::Denied(format!("a runner may not delete {name}"))) })
    }
}

/// Receives a body of at most `max_bytes`.
async fn receive(name: &str, response: Response<ResponseBody>, max_bytes: u64) -> Result<Bytes, StoreError> {
    let limit = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let received = Limited::new(response.into_body(), limit).collect().await;
    let received = received.map_err(|error| StoreError::Unavailable(format!("{name}: {error}")))?;
    Ok(received.to_bytes())
}

/// The error that the controller has sent.
fn to_store_error(name: &str, status: StatusCode, detail: String) -> StoreError {
    match status {
        StatusCode::NOT_FOUND => StoreError::NotFound(name.to_owned()),
        StatusCode::FORBIDDEN => StoreError::Denied(detail),
        StatusCode::INSUFFICIENT_STORAGE => StoreError::Full(detail),
        StatusCode::UNPROCESSABLE_ENTITY => StoreError::Malformed(name.to_owned()),
        StatusCode::NOT_IMPLEMENTED => StoreError::Unsupported(detail),
        _ => StoreError::Unavailable(detail),
    }
}
