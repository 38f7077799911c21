//! The content of a file as a stream. It is never in memory as a whole.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::timeout;

use crate::error::ApiError;

/// Longest silence while the server reads a file for us.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// A file's content that has not been read yet.
#[derive(Debug)]
pub struct Content(Response);

impl Content {
    pub(crate) fn new(response: Response) -> Self {
        Self(response)
    }

    /// The length in bytes, if the server sent it. A response that ends earlier is an error.
    pub fn size(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// Returns the next piece, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match timeout(IDLE_TIMEOUT, self.0.chunk()).await {
            Ok(piece) => piece.map_err(|error| ApiError::broken(error.without_url())),
            Err(elapsed) => Err(ApiError::broken(elapsed)),
        }
    }
}
