//! Escape sequences of `burrow attach`: `~` at the beginning of a line, as in ssh. Pure.

/// The text that `~?` shows. The terminal is in raw mode, so lines end with CR and LF.
pub const HELP: &str = "\r\n\
Supported escapes, at the beginning of a line:\r\n  \
~.  detach; the shell keeps running\r\n  \
~?  this help\r\n  \
~~  send a ~\r\n";

/// What typed bytes mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Keys {
    /// Bytes for the remote shell.
    Send(Vec<u8>),
    /// Detach from the terminal.
    Detach,
    /// Show [`HELP`].
    Help,
}

/// Finds escapes in typed bytes, which may be split anywhere.
#[derive(Debug)]
pub struct EscapeParser {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    /// A `~` at the beginning of a line is held back until the next key.
    Tilde,
    Middle,
}

impl Default for EscapeParser {
    fn default() -> Self {
        Self { state: State::LineStart }
    }
}

impl EscapeParser {
    /// Splits typed bytes into keys. Everything after a detach is dropped.
    pub fn parse(&mut self, bytes: &[u8]) -> Vec<Keys> {
        let mut parts = Vec::new();
        let mut send = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            match (self.state, byte) {
                (State::LineStart, b'~') => self.state = State::Tilde,
                (State::Tilde, b'.') => {
                    flush(&mut send, &mut parts);
                    parts.push(Keys::Detach);
                    return parts;
                }
                (State::Tilde, b'?') => {
                    flush(&mut send, &mut parts);
                    parts.push(Keys::Help);
                    self.state = State::LineStart;
                }
                (State::Tilde, b'~') => {
                    send.push(b'~');
                    self.state = State::Middle;
                }
                (State::Tilde, _) => {
                    send.extend([b'~', byte]);
                    self.state = after(byte);
                }
                (State::LineStart | State::Middle, _) => {
                    send.push(byte);
                    self.state = after(byte);
                }
            }
        }
        flush(&mut send, &mut parts);
        parts
    }
}

fn after(byte: u8) -> State {
    if matches!(byte, b'\r' | b'\n') { State::LineStart } else { State::Middle }
}

fn flush(send: &mut Vec<u8>, parts: &mut Vec<Keys>) {
    if !send.is_empty() {
        parts.push(Keys::Send(std::mem::take(send)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[Keys]) {
        assert_eq!(EscapeParser::default().parse(input.as_bytes()), expected, "{input:?}");
        // One key at a time gives the same result, apart from how the bytes are split.
        let mut escapes = EscapeParser::default();
        let mut parts: Vec<Keys> = Vec::new();
        for byte in input.bytes() {
            for part in escapes.parse(&[byte]) {
                match (parts.last_mut(), part) {
                    (Some(Keys::Send(before)), Keys::Send(more)) => before.extend(more),
                    (_, part) => parts.push(part),
                }
            }
            if parts.last() == Some(&Keys::Detach) {
                break;
            }
        }
        assert_eq!(parts, expected, "{input:?} by key");
    }

    fn send(text: &str) -> Keys {
        Keys::Send(text.as_bytes().to_vec())
    }

    #[test]
    fn escapes_work_only_at_line_start() {
        check("~.", &[Keys::Detach]);
        check("ls\r~.more", &[send("ls\r"), Keys::Detach]);
        check("~?x", &[Keys::Help, send("x")]);
        check("cd ~.\r", &[send("cd ~.\r")]);
        check("~~.", &[send("~.")]);
        check("~/bin\r", &[send("~/bin\r")]);
        check("~\r~.", &[send("~\r"), Keys::Detach]);
    }
}
