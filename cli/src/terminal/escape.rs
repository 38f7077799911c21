//! Keys that are for us and not for the remote shell: `~` at the beginning of a line, as in ssh. Pure.

/// What is shown for `~?`. Raw mode: lines end with both characters.
pub const HELP: &str = "\r\n\
Supported escapes, at the beginning of a line:\r\n  \
~.  disconnect; the shell goes on running\r\n  \
~?  this help\r\n  \
~~  send a ~\r\n";

/// What some keys mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Keys {
    /// For the remote shell.
    Send(Vec<u8>),
    Disconnect,
    Help,
}

/// Watches typed bytes for escapes.
#[derive(Debug)]
pub struct Escapes {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    /// A `~` at the beginning of a line is held back until the next key.
    Tilde,
    Middle,
}

impl Default for Escapes {
    fn default() -> Self {
        Self { state: State::LineStart }
    }
}

impl Escapes {
    /// Splits typed bytes. Everything behind a disconnect is dropped.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Keys> {
        let mut parts = Vec::new();
        let mut send = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            match (self.state, byte) {
                (State::LineStart, b'~') => self.state = State::Tilde,
                (State::Tilde, b'.') => {
                    flush(&mut send, &mut parts);
                    parts.push(Keys::Disconnect);
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
        assert_eq!(Escapes::default().typed(input.as_bytes()), expected, "{input:?}");
        // One key at a time gives the same, but for how the bytes are cut.
        let mut escapes = Escapes::default();
        let mut parts: Vec<Keys> = Vec::new();
        for byte in input.bytes() {
            for part in escapes.typed(&[byte]) {
                match (parts.last_mut(), part) {
                    (Some(Keys::Send(before)), Keys::Send(more)) => before.extend(more),
                    (_, part) => parts.push(part),
                }
            }
            if parts.last() == Some(&Keys::Disconnect) {
                break;
            }
        }
        assert_eq!(parts, expected, "{input:?} by key");
    }

    fn send(text: &str) -> Keys {
        Keys::Send(text.as_bytes().to_vec())
    }

    #[test]
    fn escapes_work_at_the_beginning_of_a_line_only() {
        check("~.", &[Keys::Disconnect]);
        check("ls\r~.more", &[send("ls\r"), Keys::Disconnect]);
        check("~?x", &[Keys::Help, send("x")]);
        check("cd ~.\r", &[send("cd ~.\r")]);
        check("~~.", &[send("~.")]);
        check("~/bin\r", &[send("~/bin\r")]);
        check("~\r~.", &[send("~\r"), Keys::Disconnect]);
    }
}
