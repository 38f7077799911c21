//! One client's socket on a document.

use protocol::document::{DocumentEvent, OpenDocument};

use super::{
    document::{DocumentEnded, DocumentHandle, JoinedViewer},
    outbox::ViewerMessage,
    registry::DocumentRegistry,
};
use crate::socket::{
    CLOSE_INVALID_MESSAGE, CLOSE_NORMAL, CLOSE_TRY_AGAIN, CloseReason, Disconnected, Incoming, Socket,
};

/// Opens a document for a client and relays messages until one side ends.
pub async fn serve(documents: &DocumentRegistry, request: OpenDocument, read_only: bool, mut socket: Socket) {
    match documents.join(request).await {
        Ok((document, mut viewer)) => {
            let result = relay(&document, &mut viewer, read_only, &mut socket).await;
            document.leave(viewer.id).await;
            if let Ok(reason) = result {
                socket.close(reason).await;
            }
        }
        Err(refusal) => {
            if socket.send_json(&refusal.event()).await.is_ok() {
                socket.close(CloseReason { code: CLOSE_NORMAL, reason: "refused" }).await;
            }
        }
    }
}

async fn relay(
    document: &DocumentHandle,
    viewer: &mut JoinedViewer,
    read_only: bool,
    socket: &mut Socket,
) -> Result<CloseReason, Disconnected> {
    let synchronize_again = CloseReason { code: CLOSE_TRY_AGAIN, reason: "synchronize again" };
    socket.send_json(&DocumentEvent::Opened { epoch: viewer.epoch.clone(), read_only }).await?;
    loop {
        tokio::select! {
            message = viewer.outbox.recv() => match message {
                Some(ViewerMessage::Sync(message)) => socket.send_binary(message).await?,
                Some(ViewerMessage::Event(event)) => {
                    socket.send_json(&event).await?;
                    if matches!(event, DocumentEvent::Refused { .. }) {
                        return Ok(CloseReason { code: CLOSE_NORMAL, reason: "refused" });
                    }
                }
                // The document has ended, or this viewer was too slow.
                None => return Ok(synchronize_again),
            },
            message = socket.receive() => match message.ok_or(Disconnected)? {
                Incoming::Binary(message) => {
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
