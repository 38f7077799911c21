//! Queries of remote programs, such as for the cursor's position. The workspace's agent answers them, so
//! they do not reach the user's terminal, which would answer once more. Pure: bytes in, bytes out.

/// Longest query. A longer sequence is none, and passes.
const MAX_HELD_BYTES: usize = 256;

const BEL: u8 = 0x07;
const ESC: u8 = 0x1b;
/// First byte of the two-byte control characters.
const C1: u8 = 0xc2;

/// Filters remote output, which may be split anywhere.
#[derive(Debug, Default)]
pub struct QueryFilter {
    state: State,
    /// The sequence so far.
    held: Vec<u8>,
    /// Where its parameters or its payload begin.
    begin: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After `ESC`.
    Escape,
    /// After the first byte of a two-byte control character.
    TwoByte,
    /// In a control sequence.
    Control,
    /// In a command that may ask for a color.
    Command,
    /// In a device control string.
    Device,
    /// After an `ESC`, or the first byte of a two-byte control character, in one of the two.
    CommandEnd,
    DeviceEnd,
}

impl QueryFilter {
    /// The output without queries.
    pub fn filter(&mut self, output: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(output.len());
        for &byte in output {
            self.push(byte, &mut passed);
        }
        passed
    }

    fn push(&mut self, byte: u8, passed: &mut Vec<u8>) {
        if self.state == State::Text && !matches!(byte, ESC | C1) {
            return passed.push(byte);
        }
        if self.held.len() >= MAX_HELD_BYTES {
            self.release(passed);
            return self.push(byte, passed);
        }
        self.held.push(byte);
        match (self.state, byte) {
            (State::Text, ESC) => self.state = State::Escape,
            (State::Text, _) => self.state = State::TwoByte,
            (State::Escape, b'[') | (State::TwoByte, 0x9b) => self.begin_sequence(State::Control),
            (State::Escape, b']') | (State::TwoByte, 0x9d) => self.begin_sequence(State::Command),
            (State::Escape, b'P') | (State::TwoByte, 0x90) => self.begin_sequence(State::Device),
            // An old form of the request for the terminal's kind.
            (State::Escape, b'Z') | (State::TwoByte, 0x9a) => self.finish(true, passed),
            (State::Control, 0x40..=0x7e) => self.finish(is_query(&self.held[self.begin..]), passed),
            (State::Control, 0x20..=0x3f) => {}
            (State::Command, BEL) => self.finish_command(1, passed),
            (State::Command, ESC | C1) => self.state = State::CommandEnd,
            (State::Command, _) if may_ask_for_color(&self.held[self.begin..]) => {}
            (State::Device, ESC | C1) => self.state = State::DeviceEnd,
            (State::Device, _) if may_be_request(&self.held[self.begin..]) => {}
            (State::CommandEnd, b'\\' | 0x9c) => self.finish_command(2, passed),
            (State::DeviceEnd, b'\\' | 0x9c) => self.finish(true, passed),
            _ => {
                // No query. What came last may begin one.
                let last = self.held.pop();
                self.release(passed);
                if let Some(last) = last {
                    self.push_again(last, passed);
                }
            }
        }
    }

    /// A byte after something that is no query.
    fn push_again(&mut self, byte: u8, passed: &mut Vec<u8>) {
        if passed.last() == Some(&ESC) && byte != ESC && byte != C1 {
            // The second byte of an escape sequence, or of the end of a string.
            if matches!(byte, b'[' | b']' | b'P' | b'Z') {
                passed.pop();
                self.push(ESC, passed);
                return self.push(byte, passed);
            }
        }
        self.push(byte, passed);
    }

    fn begin_sequence(&mut self, state: State) {
        (self.state, self.begin) = (state, self.held.len());
    }

    fn finish_command(&mut self, end: usize, passed: &mut Vec<u8>) {
        let payload = &self.held[self.begin..self.held.len() - end];
        let asks = payload.split(|byte| *byte == b';').skip(1).any(|part| part == b"?");
        self.finish(asks, passed);
    }

    fn finish(&mut self, is_query: bool, passed: &mut Vec<u8>) {
        if is_query {
            self.held.clear();
        }
        self.release(passed);
    }

    fn release(&mut self, passed: &mut Vec<u8>) {
        passed.append(&mut self.held);
        self.state = State::Text;
    }
}

/// Whether a control sequence without its introducer is a query.
fn is_query(sequence: &[u8]) -> bool {
    let number = || {
        let digits: Vec<u8> = sequence.iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok())
    };
    match sequence {
        // Of the window: its size, its state, its title.
        [.., b't'] => matches!(number(), Some(11 | 13..=16 | 18..=21)),
        // With an intermediate byte it is no query: `$x` fills a rectangle.
        [.., b'c' | b'n' | b'x'] => !sequence.iter().any(|byte| (0x20..=0x2f).contains(byte)),
        [.., b'$', b'p'] | [b'?', .., b'u'] | [b'>', .., b'q'] => true,
        _ => false,
    }
}

/// Whether a command may ask for a color, by its number.
fn may_ask_for_color(command: &[u8]) -> bool {
    let number = command.split(|byte| *byte == b';').next().unwrap_or_default();
    let is_complete = number.len() < command.len();
    match number {
        [] | [b'4' | b'5'] => true,
        [b'1'] => !is_complete,
        [b'1', b'0'..=b'9'] => true,
        _ => false,
    }
}

/// Whether a device control string may be a request for a setting or for a capability.
fn may_be_request(string: &[u8]) -> bool {
    let rest = string.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';');
    match rest.map(|at| &string[at..]) {
        None | Some([b'$' | b'+'] | [b'$' | b'+', b'q', ..]) => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(output: &str) -> String {
        let whole = QueryFilter::default().filter(output.as_bytes());
        // Every split gives the same result.
        let mut split = QueryFilter::default();
        let bytes: Vec<u8> = output.bytes().flat_map(|byte| split.filter(&[byte])).collect();
        assert_eq!(bytes, whole, "{output:?} by byte");
        String::from_utf8(whole).expect("UTF-8")
    }

    #[test]
    fn queries_are_dropped() {
        for query in [
            "\x1b[c",
            "\x1b[>c",
            "\x1b[=0c",
            "\x1b[6n",
            "\x1b[?6n",
            "\x1b[5n",
            "\x1b[4$p",
            "\x1b[?2026$p",
            "\x1b[?u",
            "\x1b[>q",
            "\x1b[18t",
            "\x1bZ",
            "\u{9b}6n",
            "\x1b]11;?\x07",
            "\x1b]11;?\x1b\\",
            "\x1b]4;1;?;2;?\x1b\\",
            "\u{9d}10;?\u{9c}",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
        ] {
            assert_eq!(filter(&format!("a{query}b")), "ab", "{query:?}");
            assert_eq!(
                filter(&format!("\x1b[1m\x1b{query}{query}")),
                "\x1b[1m\x1b",
                "{query:?} after an escape"
            );
        }
    }

    #[test]
    fn other_output_is_unchanged() {
        for output in [
            "plain äöü 漢字 \u{a0}",
            "\x1b[31mred\x1b[0m\x1b[2J\x1b[1;2H\x1b[?25l\x1b[?1049h\x1b[22;0t\x1b[8;24;80t",
            "\x1b]0;title?\x07\x1b]52;c;?\x07\x1b]8;;https://example.org/?\x1b\\link\x1b]8;;\x1b\\",
            "\x1b]4;1;#123456\x1b\\\x1b]11;#000\x07\x1b]104\x07\x1b]133;A\x07",
            "\x1bP1;2q#0;2;0;0;0\x1b\\\x1b(0q\x1b(B\x1b7\x1b8",
            "\x1b[!p\x1b[2 q\x1b[u\x1b[s\x1b[>4;1m\x1b[=1;1u\x1b[>1u\x1b[65;1;1;5;5$x",
        ] {
            assert_eq!(filter(output), output);
        }
        let long = format!("\x1b]4;{}\x07", "1;#fff;".repeat(100));
        assert_eq!(filter(&long), long);
    }
}
