//! The clipboard of the user's terminal, which programs reach by OSC 52. Pure: bytes in, bytes out.
//!
//! A program in a workspace may offer text to the clipboard, and the user is told. It never reads the
//! clipboard: the answer would be typed into the remote terminal, with whatever password was copied
//! last. OSC 5522, the same of another terminal, is always dropped.

/// Longest beginning of a sequence that is held back until its kind is known. Real ones have 8 bytes.
const MAX_HELD_BYTES: usize = 64;
/// OSC numbers: the clipboard, and kitty's extension of it.
const CLIPBOARD: u32 = 52;
const KITTY_CLIPBOARD: u32 = 5522;

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// First byte of the two-byte control characters (U+009D begins an OSC, U+009C ends it).
const C1: u8 = 0xc2;

/// Filters remote output, which may be split anywhere.
#[derive(Debug, Default)]
pub struct ClipboardFilter {
    /// Whether writes are dropped too.
    drops_writes: bool,
    state: State,
    held: Vec<u8>,
    number: u32,
    requests: ClipboardRequests,
}

/// What programs asked for since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClipboardRequests {
    /// Texts that the terminal received for the clipboard.
    pub writes: u32,
    /// Requests that were dropped.
    pub refused: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After `ESC`.
    Escape,
    /// After the first byte of a two-byte control character.
    Control,
    /// In the number of an OSC.
    Number,
    /// In the names of the clipboards, up to the second `;`.
    Targets,
    /// At the first byte of the text.
    Payload,
    /// In a text that is passed on.
    Passing,
    /// In a sequence that is dropped.
    Dropping,
    DroppingEscape,
    DroppingControl,
}

impl ClipboardFilter {
    /// A filter that passes writes on, or with `drops_writes` drops them too.
    pub fn new(drops_writes: bool) -> Self {
        Self { drops_writes, ..Self::default() }
    }

    /// The output without the requests that are refused.
    pub fn filter(&mut self, output: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(output.len());
        for &byte in output {
            self.push(byte, &mut passed);
        }
        passed
    }

    /// What was asked for since the last call.
    pub fn take_requests(&mut self) -> ClipboardRequests {
        std::mem::take(&mut self.requests)
    }

    fn push(&mut self, byte: u8, passed: &mut Vec<u8>) {
        match (self.state, byte) {
            (State::Text, ESC) => self.hold(byte, State::Escape),
            (State::Text, C1) => self.hold(byte, State::Control),
            (State::Text, _) => passed.push(byte),
            (State::Escape, b']') | (State::Control, 0x9d) => {
                self.number = 0;
                self.hold(byte, State::Number);
            }
            (State::Number, b'0'..=b'9') if self.held.len() < MAX_HELD_BYTES => {
                self.number = self.number.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
                self.hold(byte, State::Number);
            }
            (State::Number, b';') if self.number == KITTY_CLIPBOARD => self.refuse(),
            (State::Number, b';') if self.number == CLIPBOARD => self.hold(byte, State::Targets),
            (State::Targets, b';') => self.hold(byte, State::Payload),
            (State::Targets, 0x20..=0x7e) if self.held.len() < MAX_HELD_BYTES => {
                self.hold(byte, State::Targets);
            }
            (State::Targets, 0x20..=0x7e) => self.refuse(),
            (State::Payload, b'?') => self.refuse(),
            (State::Payload, _) if self.drops_writes => {
                self.refuse();
                self.push(byte, passed);
            }
            (State::Payload, _) => {
                self.requests.writes += 1;
                passed.append(&mut self.held);
                self.state = State::Passing;
                self.push(byte, passed);
            }
            (State::Passing, BEL | CAN | SUB) => {
                passed.push(byte);
                self.state = State::Text;
            }
            (State::Passing, ESC | C1) => self.release(byte, passed),
            (State::Passing, _) => passed.push(byte),
            (State::Dropping, BEL | CAN | SUB)
            | (State::DroppingEscape, b'\\')
            | (State::DroppingControl, 0x9c) => self.state = State::Text,
            (State::Dropping | State::DroppingControl, ESC) => self.state = State::DroppingEscape,
            (State::Dropping, C1) => self.state = State::DroppingControl,
            (State::Dropping | State::DroppingControl, _) => self.state = State::Dropping,
            (State::DroppingEscape, _) => {
                // Another sequence has ended the dropped one.
                self.hold(ESC, State::Escape);
                self.push(byte, passed);
            }
            (State::Escape | State::Control | State::Number | State::Targets, _) => {
                self.release(byte, passed);
            }
        }
    }

    fn hold(&mut self, byte: u8, state: State) {
        self.held.push(byte);
        self.state = state;
    }

    /// What was held back is not for the clipboard. The byte begins something else.
    fn release(&mut self, byte: u8, passed: &mut Vec<u8>) {
        passed.append(&mut self.held);
        self.state = State::Text;
        self.push(byte, passed);
    }

    fn refuse(&mut self) {
        self.requests.refused += 1;
        self.held.clear();
        self.state = State::Dropping;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(output: &str, drops_writes: bool) -> (String, ClipboardRequests) {
        let mut whole = ClipboardFilter::new(drops_writes);
        let passed = whole.filter(output.as_bytes());
        let requests = whole.take_requests();
        // Every split gives the same result.
        let mut split = ClipboardFilter::new(drops_writes);
        let bytes: Vec<u8> = output.bytes().flat_map(|byte| split.filter(&[byte])).collect();
        assert_eq!((bytes, split.take_requests()), (passed.clone(), requests), "{output:?} by byte");
        (String::from_utf8(passed).expect("UTF-8"), requests)
    }

    #[test]
    fn reads_never_reach_the_terminal() {
        for read in [
            "\x1b]52;c;?\x07",
            "\x1b]52;c;?\x1b\\",
            "\x1b]052;;?\x07",
            "\x1b]52;pc0;?anything\x07",
            "\u{9d}52;c;?\u{9c}",
            "\x1b]5522;type=read;dGV4dA==\x1b\\",
        ] {
            let (passed, requests) = filter(&format!("a{read}b"), false);
            assert_eq!((passed.as_str(), requests.refused, requests.writes), ("ab", 1, 0), "{read:?}");
        }
        let long = format!("\x1b]52;{};?\x07x", "c".repeat(1000));
        assert_eq!(filter(&long, false).0, "x");
        // In another sequence, as tmux passes sequences on, and ended by another sequence.
        assert!(!filter("\x1bPtmux;\x1b\x1b]52;c;?\x07\x1b\\", false).0.contains('?'));
        assert_eq!(filter("\x1b]52;c;?\x1b[1mx", false).0, "\x1b[1mx");
    }

    #[test]
    fn writes_pass_and_are_counted() {
        for write in ["\x1b]52;c;aGVsbG8=\x07", "\x1b]52;c;aGVsbG8=\x1b\\", "\u{9d}52;c;aGVsbG8=\u{9c}"] {
            let output = format!("a{write}b");
            assert_eq!(filter(&output, false), (output.clone(), ClipboardRequests { writes: 1, refused: 0 }));
            let (passed, requests) = filter(&output, true);
            assert_eq!((passed.as_str(), requests.refused), ("ab", 1), "{write:?}");
        }
    }

    #[test]
    fn other_output_is_unchanged() {
        for output in [
            "plain äöü 漢字 \u{a0}",
            "\x1b]0;title;52;c;?\x07\x1b[31mred\x1b[0m",
            "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
            "\x1b]52\x07\x1b]52;c\x07",
            "\x1b]11;?\x1b\\\x1b[c",
        ] {
            assert_eq!(filter(output, false), (output.to_owned(), ClipboardRequests::default()));
        }
    }
}
