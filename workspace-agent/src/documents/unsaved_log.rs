//! The edits of a document that are not in its file yet.
//!
//! A log of one update per edit would grow as long as a user types, or as long as the disk is full.
//! Beyond [`MAX_UPDATES`], the updates are therefore replaced by one, which is encoded from the
//! document and only as large as what the edits have left in it.

use std::slice::Iter;

use yrs::StateVector;

/// Most updates in each part of the log, before they are replaced by one.
const MAX_UPDATES: usize = 1024;

/// A version of the text that is being saved. Valid until the next one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint(usize);

/// The log. Its updates are in the order of the edits.
#[derive(Debug, Default)]
pub struct UnsavedLog {
    updates: Vec<Vec<u8>>,
    /// How many of the updates belong to the running save.
    saving: usize,
    /// The document's state after those, or after the last save.
    base: StateVector,
}

impl UnsavedLog {
    /// An empty log of a document with this state.
    pub fn new(base: StateVector) -> Self {
        Self { updates: Vec::new(), saving: 0, base }
    }

    /// Adds an update. `encode` returns everything in the document that is not in a given state, or
    /// `None` if the document cannot be encoded.
    pub fn push(&mut self, mut update: Vec<u8>, encode: impl FnOnce(&StateVector) -> Option<Vec<u8>>) {
        // The library encodes into a buffer of 1 KiB. Most updates are a few bytes.
        update.shrink_to_fit();
        self.updates.push(update);
        if self.updates.len() - self.saving > MAX_UPDATES
            && let Some(all) = encode(&self.base)
        {
            self.replace(self.saving, all);
        }
    }

    /// Marks all updates as being saved. `state` is the document's state, `saved` that of the last save.
    pub fn start_save(
        &mut self,
        state: StateVector,
        saved: &StateVector,
        encode: impl FnOnce(&StateVector) -> Option<Vec<u8>>,
    ) -> SavePoint {
        // Grows if one save after the other fails.
        if self.updates.len() > MAX_UPDATES
            && let Some(all) = encode(saved)
        {
            self.replace(0, all);
        }
        self.saving = self.updates.len();
        self.base = state;
        SavePoint(self.saving)
    }

    /// Removes and returns the updates that a save has written.
    pub fn finish_save(&mut self, save_point: SavePoint) -> Vec<Vec<u8>> {
        let count = save_point.0.min(self.saving);
        self.saving -= count;
        let rest = self.updates.split_off(count);
        std::mem::replace(&mut self.updates, rest)
    }

    /// Whether the file contains everything.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// All updates, in order.
    pub fn iter(&self) -> Iter<'_, Vec<u8>> {
        self.updates.iter()
    }

    /// Bytes that the log holds.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let entries = self.updates.capacity() * size_of::<Vec<u8>>();
        entries + self.updates.iter().map(Vec::capacity).sum::<usize>()
    }

    fn replace(&mut self, from: usize, mut update: Vec<u8>) {
        update.shrink_to_fit();
        self.updates.truncate(from);
        self.updates.push(update);
        self.updates.shrink_to(MAX_UPDATES);
    }
}
