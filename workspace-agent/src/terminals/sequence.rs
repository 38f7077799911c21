//! Where escape sequences and characters end, so that a snapshot is never taken in the middle of one. Pure.

/// Longest incomplete sequence that is waited for; a program that sends a longer one gets it cut.
const MAX_PENDING: usize = 64 * 1024;

/// Finds the longest prefix of a stream that ends between sequences.
#[derive(Debug, Default)]
pub struct Sequencer {
    state: State,
    /// Bytes since the stream was last between sequences.
    pending: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// So many continuation bytes of a character are to come.
    Character(u8),
    Escape,
    /// `ESC [ …` up to a final byte.
    Control,
    /// OSC, DCS, SOS, PM, APC: up to BEL or ST.
    String,
    /// Within a string, after an ESC that may begin its ST.
    StringEscape,
}

impl Sequencer {
    /// Takes the stream's next bytes; gives those (with what was waiting) that end whole. The rest waits.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut whole = 0;
        let waiting = self.pending.len();
        for (at, &byte) in bytes.iter().enumerate() {
            self.state = self.state.next(byte);
            if self.state == State::Ground {
                whole = waiting + at + 1;
            }
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() - whole > MAX_PENDING {
            self.state = State::Ground;
            whole = self.pending.len();
        }
        let rest = self.pending.split_off(whole);
        std::mem::replace(&mut self.pending, rest)
    }
}

impl State {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::String, 0x07) | (Self::StringEscape, b'\\') => Self::Ground,
            (Self::String, 0x1b) => Self::StringEscape,
            // CAN and SUB abort any sequence.
            (Self::Escape | Self::Control | Self::String | Self::StringEscape, 0x18 | 0x1a) => Self::Ground,
            (Self::String, _) => Self::String,
            // An ESC in a string that is no ST begins a new sequence.
            (Self::Escape | Self::StringEscape, b'[') => Self::Control,
            (Self::Escape | Self::StringEscape, b']' | b'P' | b'X' | b'^' | b'_') => Self::String,
            (_, 0x1b) => Self::Escape,
            // Intermediates, and controls that are carried out inside a sequence.
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
    fn sequences_stay_whole() {
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
            assert_eq!(Sequencer::default().push(stream).len(), whole, "{stream:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut sequencer = Sequencer::default();
            let mut out = Vec::new();
            for piece in &pieces {
                out.extend(sequencer.push(piece));
            }
            let all = pieces.concat();
            prop_assert_eq!(out.len() + sequencer.pending.len(), all.len());
            prop_assert_eq!(&out[..], &all[..out.len()]);
        }
    }
}
