//! A file's bytes as they come, for whoever writes them on: never the whole file in memory.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Response};
use tokio::time::timeout;

use crate::error::ApiError;

/// A server that reads a file for us says something more often than this.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Content(Response);

impl Content {
    pub(crate) fn new(response: Response) -> Self {
        Self(response)
    }

    /// Its length, where the server told it first. An answer that ends before is an error.
    pub fn size(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match timeout(SILENCE_TIMEOUT, self.0.chunk()).await {
            Ok(piece) => piece.map_err(|error| ApiError::broken(error.without_url())),
            Err(late) => Err(ApiError::broken(late)),
        }
    }

    /// As the body of a request: what comes in goes out.
    pub(crate) fn into_body(self) -> Body {
        Body::wrap_stream(stream::try_unfold(self, async |mut content| {
            Ok::<_, ApiError>(content.next().await?.map(|piece| (piece, content)))
        }))
    }
}
