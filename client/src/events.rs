//! A workspace's server-sent events, over as many connections as it takes.

use std::time::Duration;

use protocol::{Code, api::workspace::Workspace};
use reqwest::Response;
use tokio::time::{sleep, timeout};

use crate::{api::Api, error::ApiError};

/// A stream of events says something, if only a comment, more often than this.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;
/// Pause before a stream that broke off is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A message of a workspace's event stream.
#[derive(Debug)]
pub enum Event {
    Changed(Box<Workspace>),
    Deleted,
}

pub struct Events {
    api: Api,
    path: String,
    open: Option<(Response, Vec<u8>)>,
}

impl Events {
    pub(crate) fn new(api: Api, path: String) -> Self {
        Self { api, path, open: None }
    }

    /// The next event. A connection that breaks is opened again: the server then begins with the present state.
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        loop {
            let (response, buffer) = match &mut self.open {
                Some(open) => open,
                None => match self.api.stream(&self.path).await {
                    Ok(response) => self.open.insert((response, Vec::new())),
                    Err(error) if error.is(Code::NotFound) => return Ok(Event::Deleted),
                    Err(error) if error.is_transient() => {
                        sleep(RETRY_PAUSE).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            while let Some(event) = take_event(buffer) {
                if let Some(event) = understand(self.api.url(), &event)? {
                    return Ok(event);
                }
            }
            match timeout(SILENCE_TIMEOUT, response.chunk()).await {
                Ok(Ok(Some(piece))) if buffer.len() + piece.len() <= MAX_EVENT_BYTES => {
                    buffer.extend_from_slice(&piece);
                }
                Ok(Ok(Some(_))) => return Err(ApiError::TooLarge { request_id: None }),
                Ok(Ok(None) | Err(_)) | Err(_) => {
                    self.open = None;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

/// One event's lines, if all of them have come.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = buffer.split_off(end + 2);
    let event = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&event).into_owned())
}

fn understand(url: &str, event: &str) -> Result<Option<Event>, ApiError> {
    let field = |name: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
    };
    match field("event").as_str() {
        "workspace" => {
            let workspace = serde_json::from_str(&field("data")).map_err(|source| ApiError::Malformed {
                url: url.to_owned(),
                request_id: None,
                source: source.into(),
            })?;
            Ok(Some(Event::Changed(workspace)))
        }
        "deleted" => Ok(Some(Event::Deleted)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_where_they_end() {
        let mut buffer = b"event: deleted\ndata: {}\n\n: comment\n\nevent: work".to_vec();
        let first = take_event(&mut buffer).expect("whole");
        assert!(matches!(understand("x", &first), Ok(Some(Event::Deleted))));
        let second = take_event(&mut buffer).expect("whole");
        assert!(matches!(understand("x", &second), Ok(None)));
        assert!(take_event(&mut buffer).is_none());
        assert_eq!(buffer, b"event: work");
    }

    #[test]
    fn a_broken_event_is_an_error() {
        assert!(understand("x", "event: workspace\ndata: {\n\n").is_err());
    }
}
