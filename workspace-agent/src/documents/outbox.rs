//! Messages that wait for one viewer.
//!
//! A viewer that reads slowly gets fewer and larger messages: edits that wait are merged into one, and
//! of the presences and events only the latest count. So a slow viewer costs the agent little memory, and
//! the other viewers nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use protocol::document::DocumentEvent;
use tokio::sync::Notify;

use super::shared_text::merge_messages;

/// Most messages that wait. Beyond that, they are merged.
const MAX_QUEUED_MESSAGES: usize = 256;
/// Most bytes that wait after a merge, in more than one message. A viewer that falls further behind is
/// removed and has to synchronize again.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// A message to one viewer.
#[derive(Debug, Clone)]
pub enum ViewerMessage {
    /// A y-sync message.
    Sync(Bytes),
    /// An event about the document.
    Event(DocumentEvent),
}

/// The document's end.
pub struct OutboxSender(Arc<Shared>);

/// The viewer's end.
pub struct Outbox(Arc<Shared>);

/// The viewer has fallen behind too far, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxFull;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changes: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<ViewerMessage>,
    is_closed: bool,
}

/// An empty outbox.
pub fn outbox() -> (OutboxSender, Outbox) {
    let shared = Arc::<Shared>::default();
    (OutboxSender(shared.clone()), Outbox(shared))
}

impl OutboxSender {
    /// Adds a message.
    pub fn send(&self, message: ViewerMessage) -> Result<(), OutboxFull> {
        let mut queue = self.0.lock();
        if queue.is_closed {
            return Err(OutboxFull);
        }
        queue.messages.push_back(message);
        if queue.messages.len() > MAX_QUEUED_MESSAGES {
            queue.merge();
            if queue.messages.len() > MAX_QUEUED_MESSAGES || queue.bytes() > MAX_QUEUED_BYTES {
                return Err(OutboxFull);
            }
        }
        drop(queue);
        self.0.changes.notify_one();
        Ok(())
    }
}

impl Drop for OutboxSender {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changes.notify_one();
    }
}

impl Outbox {
    /// Receives the next message. `None` if the document has ended or has removed the viewer. Cancel
    /// safe.
    pub async fn recv(&mut self) -> Option<ViewerMessage> {
        loop {
            {
                let mut queue = self.0.lock();
                queue.merge();
                if let Some(message) = queue.messages.pop_front() {
                    return Some(message);
                }
                if queue.is_closed {
                    return None;
                }
            }
            self.0.changes.notified().await;
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_closed = true;
        queue.messages.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn bytes(&self) -> usize {
        let bytes = |message: &ViewerMessage| match message {
            ViewerMessage::Sync(bytes) => bytes.len(),
            ViewerMessage::Event(_) => 0,
        };
        self.messages.iter().map(bytes).sum()
    }

    /// Merges what waits. Events follow the edits that they are about.
    fn merge(&mut self) {
        if self.messages.len() < 2 {
            return;
        }
        let (mut syncs, mut events) = (Vec::new(), Vec::new());
        for message in self.messages.drain(..) {
            match message {
                ViewerMessage::Sync(bytes) => syncs.push(bytes),
                ViewerMessage::Event(event) => add_event(&mut events, event),
            }
        }
        self.messages.extend(merge_messages(syncs).into_iter().map(ViewerMessage::Sync));
        self.messages.extend(events.into_iter().map(ViewerMessage::Event));
    }
}

/// Adds an event in place of an earlier one of its kind.
fn add_event(events: &mut Vec<DocumentEvent>, event: DocumentEvent) {
    let kind = std::mem::discriminant(&event);
    events.retain(|earlier| std::mem::discriminant(earlier) != kind);
    events.push(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_that_wait_are_merged() {
        let (sender, mut outbox) = outbox();
        for bytes in 0..1000 {
            sender.send(ViewerMessage::Event(DocumentEvent::Dirty)).expect("room");
            sender.send(ViewerMessage::Event(DocumentEvent::Saved { bytes, edits: bytes })).expect("room");
        }
        drop(sender);
        let mut received = Vec::new();
        while let Some(ViewerMessage::Event(event)) = outbox.recv().await {
            received.push(event);
        }
        assert_eq!(received, [DocumentEvent::Dirty, DocumentEvent::Saved { bytes: 999, edits: 999 }]);
    }

    #[test]
    fn outbox_of_gone_viewer_refuses() {
        let (sender, outbox) = outbox();
        drop(outbox);
        assert_eq!(sender.send(ViewerMessage::Event(DocumentEvent::Dirty)), Err(OutboxFull));
    }
}
