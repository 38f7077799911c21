//! The terminal modes that remote output has switched on. Pure: bytes in, bytes out.
//!
//! A program whose connection is cut cannot clean up. Without this, mouse reporting or the
//! alternate screen would stay on in the user's shell.

use std::collections::BTreeSet;

/// DEC private modes that a shell expects to be off, and those that it expects to be on.
const OFF_AT_REST: &[u16] =
    &[1, 9, 47, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2026];
const ON_AT_REST: &[u16] = &[7, 25];
/// Longest parameter list that is followed. No program sends longer ones.
const MAX_PARAMETERS: usize = 64;

/// A parser that follows mode changes in terminal output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    changed: BTreeSet<u16>,
    keypad: bool,
    state: State,
    parameters: Vec<u8>,
    seen: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// After `ESC [`.
    Control,
    /// After `ESC [ ?`.
    Private,
}

impl Modes {
    /// Follows output, which may be split anywhere.
    pub fn observe(&mut self, output: &[u8]) {
        self.seen |= !output.is_empty();
        for &byte in output {
            self.state = match (self.state, byte) {
                (_, 0x1b) => State::Escape,
                (State::Escape, b'[') => State::Control,
                (State::Escape, b'=') => self.set_keypad(true),
                (State::Escape, b'>') => self.set_keypad(false),
                (State::Escape, b'c') => self.full_reset(),
                (State::Control, b'?') => {
                    self.parameters.clear();
                    State::Private
                }
                (State::Private, b'0'..=b'9' | b';') if self.parameters.len() < MAX_PARAMETERS => {
                    self.parameters.push(byte);
                    State::Private
                }
                (State::Private, b'h') => self.set(true),
                (State::Private, b'l') => self.set(false),
                _ => State::Text,
            };
        }
    }

    /// The escape sequences that undo the changes.
    pub fn reset(&self) -> Vec<u8> {
        if !self.seen {
            return Vec::new();
        }
        let mut bytes = Vec::new();
        for mode in &self.changed {
            let letter = if ON_AT_REST.contains(mode) { 'h' } else { 'l' };
            bytes.extend_from_slice(format!("\x1b[?{mode}{letter}").as_bytes());
        }
        if self.keypad {
            bytes.extend_from_slice(b"\x1b>");
        }
        // Colors, character set and cursor shape. These sequences print nothing.
        bytes.extend_from_slice(b"\x1b[0m\x1b(B\x1b[0 q");
        bytes
    }

    fn set(&mut self, on: bool) -> State {
        let numbers = std::mem::take(&mut self.parameters);
        for number in numbers.split(|byte| *byte == b';') {
            let Some(mode) = str::from_utf8(number).ok().and_then(|text| text.parse::<u16>().ok()) else {
                continue;
            };
            let changed = match (OFF_AT_REST.contains(&mode), ON_AT_REST.contains(&mode)) {
                (true, _) => on,
                (_, true) => !on,
                _ => continue,
            };
            if changed {
                self.changed.insert(mode);
            } else {
                self.changed.remove(&mode);
            }
        }
        State::Text
    }

    fn set_keypad(&mut self, on: bool) -> State {
        self.keypad = on;
        State::Text
    }

    fn full_reset(&mut self) -> State {
        self.changed.clear();
        self.set_keypad(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(output: &[u8]) -> String {
        // Every split must give the same result.
        let mut whole = Modes::default();
        whole.observe(output);
        let mut bytes = Modes::default();
        output.chunks(1).for_each(|byte| bytes.observe(byte));
        assert_eq!(whole, bytes);
        String::from_utf8(whole.reset()).expect("ASCII").replace("\x1b[0m\x1b(B\x1b[0 q", "")
    }

    #[test]
    fn changed_modes_are_reset() {
        assert_eq!(reset(b"\x1b[?1049h\x1b[?25l vim"), "\x1b[?25h\x1b[?1049l");
        assert_eq!(reset(b"\x1b[?1000;1006h"), "\x1b[?1000l\x1b[?1006l");
        assert_eq!(reset(b"\x1b="), "\x1b>");
    }

    #[test]
    fn restored_modes_need_no_reset() {
        assert_eq!(reset(b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l\x1b=\x1b>"), "");
        assert_eq!(reset(b"\x1b[?1049h\x1bc"), "");
        assert_eq!(reset(b"[?1049h plain \x1b[2J\x1b[?7727h"), "");
    }

    #[test]
    fn no_output_needs_no_reset() {
        assert!(Modes::default().reset().is_empty());
    }

    #[test]
    fn parameters_are_bounded() {
        let mut modes = Modes::default();
        modes.observe(b"\x1b[?");
        modes.observe(&vec![b'1'; 100_000]);
        assert!(modes.parameters.len() <= MAX_PARAMETERS);
    }
}
