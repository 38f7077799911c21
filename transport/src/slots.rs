//! The places of a link's streams.
//!
//! HTTP/2 lets a request beyond the peer's limit wait until another stream ends, which may take
//! hours. A link therefore counts its streams itself and refuses what has no place.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    link::LinkError,
    settings::{MAX_REQUESTS, MAX_WEBSOCKETS},
};

/// Which limit of a link is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamLimit {
    /// [`MAX_WEBSOCKETS`].
    WebSockets,
    /// [`MAX_REQUESTS`].
    Requests,
}

impl StreamLimit {
    /// What is reached and what to do, as sentences for a user of the workspace.
    pub fn advice(self) -> String {
        match self {
            Self::WebSockets => format!(
                "Cannot open another stream: the workspace has {MAX_WEBSOCKETS} open terminals, editors and \
                 programs, which is the limit. Close some of them, then try again."
            ),
            Self::Requests => format!(
                "Cannot send the request: the workspace is answering {MAX_REQUESTS} others, which is the \
                 limit. Try again in a moment."
            ),
        }
    }

    fn size(self) -> u32 {
        match self {
            Self::WebSockets => MAX_WEBSOCKETS,
            Self::Requests => MAX_REQUESTS,
        }
    }
}

impl std::fmt::Display for StreamLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::WebSockets => "WebSockets",
            Self::Requests => "requests",
        };
        write!(f, "{} {name}", self.size())
    }
}

/// The free places of a link, shared by its clones.
#[derive(Clone, Debug)]
pub struct StreamSlots {
    websockets: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// One place. Dropping it frees the place. `None` is a reserved request, which is not counted.
pub type StreamSlot = Option<OwnedSemaphorePermit>;

impl StreamSlots {
    /// All places free.
    pub fn new() -> Self {
        let semaphore = |limit: StreamLimit| Arc::new(Semaphore::new(limit.size() as usize));
        Self { websockets: semaphore(StreamLimit::WebSockets), requests: semaphore(StreamLimit::Requests) }
    }

    /// Takes a place, or refuses at once.
    pub fn acquire(&self, limit: StreamLimit) -> Result<StreamSlot, LinkError> {
        let semaphore = match limit {
            StreamLimit::WebSockets => &self.websockets,
            StreamLimit::Requests => &self.requests,
        };
        semaphore.clone().try_acquire_owned().map(Some).map_err(|_| LinkError::Full(limit))
    }
}
