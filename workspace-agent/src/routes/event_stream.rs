//! Responses of server-sent events.

use std::time::Duration;

use axum::response::{
    IntoResponse,
    sse::{Event, KeepAlive, Sse},
};
use serde::Serialize;
use tokio::sync::mpsc;

/// How often work that sends nothing shows the client that it continues.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Sends each message as JSON. The response ends when all senders are dropped; `guard` is dropped with it.
pub fn event_stream<T, G>(messages: mpsc::Receiver<T>, guard: G) -> impl IntoResponse + use<T, G>
where
    T: Serialize + Send + 'static,
    G: Send + 'static,
{
    let stream = futures_util::stream::unfold((messages, guard), async |(mut messages, guard)| {
        let message = messages.recv().await?;
        Some((Event::default().json_data(message), (messages, guard)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT_INTERVAL))
}
