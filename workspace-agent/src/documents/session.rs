//! One client's socket on a document.

use std::time::Duration;

use axum::body::Bytes;
use protocol::document::{DocumentEvent, OpenDocument, RefusalReason};
use tokio::time::{Instant, interval_at};

use super::{
    document::{DocumentEnded, DocumentHandle, JoinedViewer},
    outbox::ViewerMessage,
    registry::DocumentRegistry,
};
use crate::activity::Activity;
use crate::socket::{
    CLOSE_INVALID_MESSAGE, CLOSE_NORMAL, CLOSE_TRY_AGAIN, CloseReason, Disconnected, Incoming, Socket,
};

/// How often a client gets a message. y-websocket regards a connection as dead after 30 s without one,
/// and a viewer that may only read causes none by itself.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(20);
/// The y-sync message that asks for all presences.
const QUERY_AWARENESS: Bytes = Bytes::from_static(&[3]);
/// How a y-sync message begins that has an edit. Others are sent without a user's doing.
const UPDATE: [u8; 2] = [0, 2];

/// Opens a document for a client and relays messages until one side ends.
pub async fn serve(
    documents: &DocumentRegistry,
    activity: &Activity,
    request: OpenDocument,
    read_only: bool,
    mut socket: Socket,
) {
    let wants_events = request.events;
    match documents.join(request).await {
        Ok((document, mut viewer)) => {
            let options = Options { read_only, wants_events };
            let result = relay(&document, activity, &mut viewer, options, &mut socket).await;
            document.leave(viewer.id).await;
            if let Ok(reason) = result {
                socket.close(reason).await;
            }
        }
        Err(refusal) => {
            if !wants_events || socket.send_json(&refusal.event()).await.is_ok() {
                socket.close(refused(refusal.reason, wants_events)).await;
            }
        }
    }
}

/// How a client uses its socket.
#[derive(Clone, Copy)]
struct Options {
    read_only: bool,
    wants_events: bool,
}

/// How the socket of a refused client is closed. A client that gets events has the reason already.
fn refused(reason: RefusalReason, wants_events: bool) -> CloseReason {
    let code = if wants_events { CLOSE_NORMAL } else { reason.close_code() };
    CloseReason { code, reason: "refused" }
}

async fn relay(
    document: &DocumentHandle,
    activity: &Activity,
    viewer: &mut JoinedViewer,
    options: Options,
    socket: &mut Socket,
) -> Result<CloseReason, Disconnected> {
    let Options { read_only, wants_events } = options;
    let synchronize_again = CloseReason { code: CLOSE_TRY_AGAIN, reason: "synchronize again" };
    if wants_events {
        socket.send_json(&DocumentEvent::Opened { epoch: viewer.epoch.clone(), read_only }).await?;
    }
    let mut presence = interval_at(Instant::now() + PRESENCE_INTERVAL, PRESENCE_INTERVAL);
    loop {
        tokio::select! {
            message = viewer.outbox.recv() => match message {
                Some(ViewerMessage::Sync(message)) => socket.send_binary(message).await?,
                Some(ViewerMessage::Event(event)) => {
                    if wants_events {
                        socket.send_json(&event).await?;
                    }
                    if let DocumentEvent::Refused { reason, .. } = event {
                        return Ok(refused(reason, wants_events));
                    }
                }
                // The document has ended, or this viewer was too slow.
                None => return Ok(synchronize_again),
            },
            _ = presence.tick() => {
                if let Err(DocumentEnded) = document.sync(viewer.id, QUERY_AWARENESS).await {
                    return Ok(synchronize_again);
                }
            }
            message = socket.receive() => match message.ok_or(Disconnected)? {
                Incoming::Binary(message) => {
                    if message.starts_with(&UPDATE) {
                        activity.record();
                    }
                    if let Err(DocumentEnded) = document.sync(viewer.id, message).await {
                        return Ok(synchronize_again);
                    }
                }
                Incoming::Text(_) => {
                    return Ok(CloseReason { code: CLOSE_INVALID_MESSAGE, reason: "not a y-sync message" });
                }
            },
        }
    }
}
