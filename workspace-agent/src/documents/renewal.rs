//! When a document begins again from its file, so that its memory stays bounded. Pure.
//!
//! A replica remembers where each part of its text was inserted, for as long as it exists, here and in each
//! client. Typing one letter after the other makes one part; edits in many places make one part each. When
//! that history has become large, the document ends after a save. The next instance has none.

use protocol::document::MAX_DOCUMENT_BYTES;

use super::shared_text::TextSize;

/// Most bytes of an encoded history: about 100,000 edits in different places.
const MAX_HISTORY_BYTES: usize = 1024 * 1024;
/// Most bytes if nothing can be saved, for example because the disk is full. Beyond that, what is not saved
/// is only in the clients.
const MAX_UNSAVED_HISTORY_BYTES: usize = 4 * MAX_HISTORY_BYTES;
/// The size is determined after so many edits, because that takes a while.
const EDITS_PER_MEASUREMENT: usize = 16 * 1024;
/// Or after so many bytes of edits.
const BYTES_PER_MEASUREMENT: usize = 1024 * 1024;

/// Whether a document continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    /// It is small enough.
    #[default]
    NotNeeded,
    /// It ends as soon as everything is saved.
    AfterSave,
    /// It ends now.
    Now,
}

impl Renewal {
    /// The decision for a document of this size.
    pub fn of(size: TextSize) -> Self {
        let history = size.replica_bytes.saturating_sub(size.text_bytes);
        if history > MAX_UNSAVED_HISTORY_BYTES || size.text_bytes as u64 > 2 * MAX_DOCUMENT_BYTES {
            Self::Now
        } else if history > MAX_HISTORY_BYTES || size.text_bytes as u64 > MAX_DOCUMENT_BYTES {
            Self::AfterSave
        } else {
            Self::NotNeeded
        }
    }
}

/// Counts edits until the size is to be determined again.
#[derive(Debug, Default)]
pub struct EditMeter {
    edits: usize,
    bytes: usize,
}

impl EditMeter {
    /// Counts an edit. Returns whether it is time to determine the size.
    pub fn count(&mut self, bytes: usize) -> bool {
        self.edits += 1;
        self.bytes += bytes;
        let is_due = self.edits >= EDITS_PER_MEASUREMENT || self.bytes >= BYTES_PER_MEASUREMENT;
        if is_due {
            *self = Self::default();
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_history_and_text() {
        let mib = 1024 * 1024;
        for (text_mib, history_mib, expected) in [
            (0, 1, Renewal::NotNeeded),
            (8, 1, Renewal::NotNeeded),
            (0, 2, Renewal::AfterSave),
            (9, 0, Renewal::AfterSave),
            (8, 5, Renewal::Now),
            (17, 0, Renewal::Now),
        ] {
            let text_bytes = text_mib * mib;
            let size = TextSize { text_bytes, replica_bytes: text_bytes + history_mib * mib };
            assert_eq!(Renewal::of(size), expected, "{text_mib} {history_mib}");
        }
    }

    #[test]
    fn size_is_determined_after_many_edits_or_bytes() {
        let mut meter = EditMeter::default();
        let due = (1..=EDITS_PER_MEASUREMENT * 2).filter(|_| meter.count(1)).count();
        assert_eq!(due, 2);
        assert!(!meter.count(BYTES_PER_MEASUREMENT - 1) && meter.count(1));
    }
}
