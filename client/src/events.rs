//! Streams of server-sent events: that of a workspace, which reconnects by itself, and that of a
//! restore, which ends with its connection.

use std::time::Duration;

use protocol::{
    Code, WorkspaceId,
    api::{restore::RestoreEvent, workspace::Workspace},
};
use reqwest::Response;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::{api::Api, error::ApiError};

/// Longest silence of an event stream. The server sends comments more often.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Size of one event, in bytes.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;
/// Pause before the stream is opened again after it broke.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A message of a workspace's event stream.
#[derive(Debug)]
pub enum Event {
    /// The workspace as it is now.
    Changed(Box<Workspace>),
    /// The workspace was deleted.
    Deleted,
}

/// A workspace's event stream. The current state comes first, also after a reconnect, so no change is missed.
pub struct Events {
    api: Api,
    path: String,
    connection: Option<EventStream>,
}

impl Api {
    /// Watches one workspace. The stream starts with the current state and reconnects by itself.
    pub fn workspace_events(&self, id: WorkspaceId) -> Events {
        Events::new(self.clone(), format!("/workspaces/{id}/events"))
    }
}

impl Events {
    pub(crate) fn new(api: Api, path: String) -> Self {
        Self { api, path, connection: None }
    }

    /// Returns the next event. Reconnects after a lost connection; the server then sends the
    /// current state first.
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => match self.api.open_stream(&self.path).await {
                    Ok(response) => self.connection.insert(EventStream::new(response)),
                    Err(error) if error.is(Code::NotFound) => return Ok(Event::Deleted),
                    Err(error) if error.is_transient() => {
                        sleep(RECONNECT_DELAY).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            match connection.next().await {
                Ok(Some(event)) => {
                    if let Some(event) = parse_event(self.api.url(), &event)? {
                        return Ok(event);
                    }
                }
                Err(error @ ApiError::TooLarge { .. }) => return Err(error),
                Ok(None) | Err(_) => {
                    self.connection = None;
                    sleep(RECONNECT_DELAY).await;
                }
            }
        }
    }
}

/// A response that is a stream of events.
struct EventStream {
    response: Response,
    /// Bytes that are no complete event yet.
    buffer: Vec<u8>,
}

impl EventStream {
    fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// Returns the text of the next event. `None`: the stream has ended.
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        loop {
            if let Some(event) = split_event(&mut self.buffer) {
                return Ok(Some(event));
            }
            match timeout(IDLE_TIMEOUT, self.response.chunk()).await {
                Ok(Ok(Some(piece))) if self.buffer.len() + piece.len() <= MAX_EVENT_BYTES => {
                    self.buffer.extend_from_slice(&piece);
                }
                Ok(Ok(Some(_))) => return Err(ApiError::TooLarge { request_id: None }),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(ApiError::broken(error.without_url())),
                Err(elapsed) => return Err(ApiError::broken(elapsed)),
            }
        }
    }
}

/// Removes the first event from the buffer, if it is complete.
fn split_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = buffer.split_off(end + 2);
    let event = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&event).into_owned())
}

/// The value of a field of an event. Empty if the event does not have it.
fn event_field(event: &str, name: &str) -> String {
    let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    lines.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
}

/// The events of a restore. It ends with the connection: dropping this value cancels the restore.
pub struct RestoreEvents {
    url: String,
    stream: EventStream,
}

impl RestoreEvents {
    pub(crate) fn new(url: &str, response: Response) -> Self {
        Self { url: url.to_owned(), stream: EventStream::new(response) }
    }

    /// Returns the next event. `None` after the last one. A stream that ends before is an error.
    pub async fn next(&mut self) -> Result<Option<RestoreEvent>, ApiError> {
        while let Some(event) = self.stream.next().await? {
            let data = event_field(&event, "data");
            if !data.is_empty() {
                return parse_data(&self.url, &data).map(Some);
            }
        }
        Ok(None)
    }
}

/// Parses the data of an event. `url` is for the error.
fn parse_data<T: DeserializeOwned>(url: &str, data: &str) -> Result<T, ApiError> {
    serde_json::from_str(data).map_err(|source| ApiError::Malformed {
        url: url.to_owned(),
        request_id: None,
        source: source.into(),
    })
}

/// Parses an event. `None`: a comment, or an event that this version does not know.
fn parse_event(url: &str, event: &str) -> Result<Option<Event>, ApiError> {
    match event_field(event, "event").as_str() {
        "workspace" => parse_data(url, &event_field(event, "data")).map(Event::Changed).map(Some),
        "deleted" => Ok(Some(Event::Deleted)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_event_stops_at_blank_line() {
        let mut buffer = b"event: deleted\ndata: {}\n\n: comment\n\nevent: work".to_vec();
        let first = split_event(&mut buffer).expect("whole");
        assert!(matches!(parse_event("x", &first), Ok(Some(Event::Deleted))));
        let second = split_event(&mut buffer).expect("whole");
        assert!(matches!(parse_event("x", &second), Ok(None)));
        assert!(split_event(&mut buffer).is_none());
        assert_eq!(buffer, b"event: work");
    }

    #[test]
    fn malformed_event_is_an_error() {
        assert!(parse_event("x", "event: workspace\ndata: {\n\n").is_err());
    }
}
