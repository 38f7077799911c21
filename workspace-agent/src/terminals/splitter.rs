//! Finds the ends of escape sequences and characters, so that no snapshot is taken in the middle of
//! one. No I/O.

/// Longest incomplete sequence that is held back. A longer one is cut.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// Splits a stream after whole escape sequences and characters.
#[derive(Debug, Default)]
pub struct SequenceSplitter {
    state: State,
    /// Bytes of the incomplete sequence at the end of the stream.
    pending: Vec<u8>,
}

/// Where a stream stands between and inside escape sequences.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Between two characters.
    #[default]
    Ground,
    /// Inside a UTF-8 character, with this many continuation bytes to come.
    Character(u8),
    /// After an ESC.
    Escape,
    /// After `ESC [`, up to a final byte.
    Control,
    /// In an OSC, DCS, SOS, PM or APC string, up to BEL or ST.
    String,
    /// In a string, after an ESC that may begin its ST.
    StringEscape,
}

impl SequenceSplitter {
    /// Appends bytes to the stream. Returns the pending and new bytes up to the last end of a
    /// sequence, and holds back the rest.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut whole = 0;
        let held_back = self.pending.len();
        for (at, &byte) in bytes.iter().enumerate() {
            self.state = self.state.next(byte);
            if self.state == State::Ground {
                whole = held_back + at + 1;
            }
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() - whole > MAX_PENDING_BYTES {
            self.state = State::Ground;
            whole = self.pending.len();
        }
        let rest = self.pending.split_off(whole);
        std::mem::replace(&mut self.pending, rest)
    }
}

impl State {
    /// The state after one more byte.
    pub fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::String, 0x07) | (Self::StringEscape, b'\\') => Self::Ground,
            (Self::String, 0x1b) => Self::StringEscape,
            // CAN and SUB abort any sequence.
            (Self::Escape | Self::Control | Self::String | Self::StringEscape, 0x18 | 0x1a) => Self::Ground,
            (Self::String, _) => Self::String,
            // An ESC in a string that does not begin an ST begins a new sequence.
            (Self::Escape | Self::StringEscape, b'[') => Self::Control,
            (Self::Escape | Self::StringEscape, b']' | b'P' | b'X' | b'^' | b'_') => Self::String,
            (_, 0x1b) => Self::Escape,
            // Intermediate bytes, and control characters that take effect inside a sequence.
            (Self::Escape | Self::StringEscape, 0x00..=0x2f) => Self::Escape,
            (Self::Escape | Self::StringEscape, _) => Self::Ground,
            (Self::Control, 0x40..=0x7e) => Self::Ground,
            (Self::Control, _) => Self::Control,
            (Self::Character(more), 0x80..=0xbf) if more > 1 => Self::Character(more - 1),
            (Self::Ground | Self::Character(_), 0xc2..=0xdf) => Self::Character(1),
            (Self::Ground | Self::Character(_), 0xe0..=0xef) => Self::Character(2),
            (Self::Ground | Self::Character(_), 0xf0..=0xf4) => Self::Character(3),
            (Self::Ground | Self::Character(_), _) => Self::Ground,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn push_returns_whole_sequences() {
        for (stream, whole) in [
            (&b"plain"[..], 5),
            (b"a\x1b[31", 1),
            (b"a\x1b[31m", 6),
            (b"\x1b]0;title", 0),
            (b"\x1b]0;title\x07x", 11),
            (b"\x1b]0;t\x1b\\", 7),
            (b"\x1b(", 0),
            (b"\x1b(B", 3),
            ("é".as_bytes(), 2),
            (b"\xc3", 0),
            (b"\xe2\x82", 0),
            (b"\x1b[31\x18x", 6),
        ] {
            assert_eq!(SequenceSplitter::default().push(stream).len(), whole, "{stream:?}");
        }
    }

    proptest! {
        #[test]
        fn push_keeps_all_bytes_in_order(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let mut splitter = SequenceSplitter::default();
            let mut out = Vec::new();
            for piece in &pieces {
                out.extend(splitter.push(piece));
            }
            let all = pieces.concat();
            prop_assert_eq!(out.len() + splitter.pending.len(), all.len());
            prop_assert_eq!(&out[..], &all[..out.len()]);
        }
    }
}
