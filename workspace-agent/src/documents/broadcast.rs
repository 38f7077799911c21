//! Changes that wait to be sent to all viewers of a document. Pure: the time is an argument.
//!
//! A change that comes alone is sent at once. While more come than one at a time, they are gathered for
//! [`EDIT_INTERVAL`] and merged once for all viewers, so a burst of thousands of edits costs each viewer a
//! hundred messages a second. Presences are sent at most once per [`PRESENCE_INTERVAL`], whatever the
//! clients do, and of each client the latest counts.

use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use super::shared_text::{ViewerId, merge_messages};

/// Pause after a message with several edits.
const EDIT_INTERVAL: Duration = Duration::from_millis(10);
/// Pause after a message with presences.
const PRESENCE_INTERVAL: Duration = Duration::from_millis(50);
/// Most messages that wait. Beyond that, they are merged.
const MAX_MESSAGES: usize = 64;

/// A message for viewers.
#[derive(Debug, PartialEq, Eq)]
pub struct Announcement {
    /// A y-sync message.
    pub message: Bytes,
    /// The viewer that does not need it, because all of it is its own.
    pub except: Option<ViewerId>,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Broadcast {
    edits: Messages,
    /// How many edits of clients they contain.
    edit_count: usize,
    /// Who has made all of them. `None`: several viewers, or the file.
    author: Option<ViewerId>,
    presences: Messages,
}

/// Messages that are sent together.
#[derive(Debug, Default)]
struct Messages {
    waiting: Vec<Bytes>,
    /// When the next may be sent. `None`: at once.
    next_at: Option<Instant>,
}

impl Messages {
    fn push(&mut self, message: Bytes) {
        self.waiting.push(message);
        if self.waiting.len() > MAX_MESSAGES {
            self.waiting = merge_messages(std::mem::take(&mut self.waiting));
        }
    }

    /// When they are sent. `None`: there are none.
    fn due(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.next_at.unwrap_or(now))
    }

    fn take(&mut self, next_at: Option<Instant>) -> Vec<Bytes> {
        self.next_at = next_at;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.len() > 1 { merge_messages(waiting) } else { waiting }
    }
}

impl Broadcast {
    /// Adds a change of the text that was made by `count` messages of `author`, or by a program.
    pub fn add_edits(&mut self, message: Bytes, count: usize, author: Option<ViewerId>) {
        let is_first = self.edits.waiting.is_empty();
        self.author = author.filter(|author| is_first || self.author == Some(*author));
        self.edit_count += count;
        self.edits.push(message);
    }

    /// Adds presences.
    pub fn add_presences(&mut self, message: Bytes) {
        self.presences.push(message);
    }

    /// When [`Self::take_due`] has something to send.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        [self.edits.due(now), self.presences.due(now)].into_iter().flatten().min()
    }

    /// Takes what is to be sent now.
    pub fn take_due(&mut self, now: Instant) -> Vec<Announcement> {
        let is_due = |messages: &Messages| messages.due(now).is_some_and(|due| due <= now);
        let (are_edits_due, are_presences_due) = (is_due(&self.edits), is_due(&self.presences));
        let mut taken = Vec::new();
        if are_edits_due {
            taken = self.take_edits(now);
        }
        if are_presences_due {
            let messages = self.presences.take(Some(now + PRESENCE_INTERVAL));
            taken.extend(messages.into_iter().map(|message| Announcement { message, except: None }));
        }
        taken
    }

    /// Takes all edits, because something follows that is about them.
    pub fn take_edits(&mut self, now: Instant) -> Vec<Announcement> {
        let is_burst = std::mem::take(&mut self.edit_count) > 1;
        let except = self.author.take();
        let messages = self.edits.take(is_burst.then(|| now + EDIT_INTERVAL));
        messages.into_iter().map(|message| Announcement { message, except }).collect()
    }
}

#[cfg(test)]
mod tests {
    use yrs::{
        ClientID, Doc, Options, Text as _, Transact as _,
        sync::{AwarenessUpdate, Message, SyncMessage, awareness::AwarenessUpdateEntry},
        updates::encoder::Encode as _,
    };

    use super::*;

    /// Updates of a user who types letters.
    fn letters(count: u32) -> Vec<Bytes> {
        let doc = Doc::with_options(Options { client_id: ClientID::new(1), ..Options::default() });
        let text = doc.get_or_insert_text("content");
        let update = |at: u32| {
            let mut transaction = doc.transact_mut();
            text.insert(&mut transaction, at, "x");
            Message::Sync(SyncMessage::Update(transaction.encode_update_v1())).encode_v1().into()
        };
        (0..count).map(update).collect()
    }

    fn presence(clock: u32) -> Bytes {
        let entry = AwarenessUpdateEntry { clock, json: format!("{{\"at\":{clock}}}").into() };
        let clients = [(ClientID::new(7), entry)].into();
        Message::Awareness(AwarenessUpdate { clients }).encode_v1().into()
    }

    #[test]
    fn single_edits_are_sent_at_once() {
        let (mut broadcast, now) = (Broadcast::default(), Instant::now());
        for message in letters(100) {
            broadcast.add_edits(message.clone(), 1, Some(1));
            let sent = broadcast.take_due(now);
            assert_eq!(sent, [Announcement { message, except: Some(1) }]);
        }
        assert_eq!(broadcast.next_due(now), None);
    }

    #[test]
    fn burst_is_one_message_per_interval() {
        let (mut broadcast, begin) = (Broadcast::default(), Instant::now());
        let (mut sent, mut bytes) = (0, 0);
        for (number, message) in (0..10_000_u64).zip(letters(10_000)) {
            // Ten in each millisecond.
            let now = begin + Duration::from_micros(number * 100);
            broadcast.add_edits(message, 2, Some(1));
            for announcement in broadcast.take_due(now) {
                sent += 1;
                bytes += announcement.message.len();
            }
        }
        assert!((90..=101).contains(&sent), "{sent}");
        // The letters of each message are one run.
        assert!(bytes < 10_000 + 101 * 40, "{bytes}");
    }

    #[test]
    fn edits_of_several_authors_go_to_all() {
        let (mut broadcast, now) = (Broadcast::default(), Instant::now());
        let messages = letters(5);
        for (authors, except) in
            [([Some(1), Some(1)], Some(1)), ([Some(1), Some(2)], None), ([None, Some(1)], None)]
        {
            for (author, message) in authors.into_iter().zip(&messages) {
                broadcast.add_edits(message.clone(), 1, author);
            }
            let sent = broadcast.take_edits(now);
            assert!(sent.len() == 1 && sent[0].except == except, "{authors:?}: {sent:?}");
        }
    }

    #[test]
    fn presences_of_busy_client_are_rare_and_last_counts() {
        let (mut broadcast, begin) = (Broadcast::default(), Instant::now());
        let mut sent = Vec::new();
        for clock in 0..1000_u32 {
            let now = begin + Duration::from_millis(clock.into());
            broadcast.add_presences(presence(clock));
            sent.extend(broadcast.take_due(now));
        }
        let due = broadcast.next_due(begin + Duration::from_secs(1)).expect("the last one waits");
        sent.extend(broadcast.take_due(due));
        assert!((20..=22).contains(&sent.len()), "{}", sent.len());
        assert_eq!(sent.last().expect("not empty").message, presence(999));
    }
}
