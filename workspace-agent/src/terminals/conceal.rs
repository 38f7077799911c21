//! Text that a program hides (SGR 8, "conceal"), such as a typed secret. The screen model does not
//! know this attribute, so hidden text never reaches it: each hidden character becomes blanks of its
//! width. No I/O.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar as _;

use super::splitter::State;

const ESC: u8 = 0x1b;

/// Follows the attribute through a stream of whole escape sequences.
#[derive(Debug, Default)]
pub struct ConcealFilter {
    is_hidden: bool,
    /// The attribute that the saved cursor has.
    saved: bool,
}

impl ConcealFilter {
    /// Whether text that follows is hidden.
    pub fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    /// The output with hidden characters replaced. `output` ends between two sequences.
    pub fn filter<'a>(&mut self, output: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.is_hidden && !output.contains(&ESC) {
            return Cow::Borrowed(output);
        }
        let mut visible = Vec::with_capacity(output.len());
        let mut rest = output;
        while let Some(&first) = rest.first() {
            let length = if first == ESC { sequence_length(rest) } else { text_length(rest) };
            let (part, next) = rest.split_at(length);
            if first == ESC {
                self.apply_sequence(part);
                visible.extend_from_slice(part);
            } else if self.is_hidden {
                push_blanks(part, &mut visible);
            } else {
                visible.extend_from_slice(part);
            }
            rest = next;
        }
        Cow::Owned(visible)
    }

    /// A sequence may be cut short by another one, so only the last one counts.
    fn apply_sequence(&mut self, sequence: &[u8]) {
        let begin = sequence.iter().rposition(|byte| *byte == ESC).unwrap_or_default();
        match &sequence[begin + 1..] {
            [b'c'] => *self = Self::default(),
            [b'7'] => self.saved = self.is_hidden,
            [b'8'] => self.is_hidden = self.saved,
            [b'[', parameters @ .., last] => self.apply_control(parameters, *last),
            _ => {}
        }
    }

    fn apply_control(&mut self, parameters: &[u8], last: u8) {
        // Control characters in a sequence take effect by themselves.
        let parameters: String =
            parameters.iter().filter(|byte| **byte >= 0x20).map(|byte| char::from(*byte)).collect();
        match (last, parameters.as_str()) {
            (b'm', text) if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')) => {
                self.apply_attributes(text);
            }
            (b'p', "!") => self.is_hidden = false,
            (b's', "") | (b'h', "?1048" | "?1049") => self.saved = self.is_hidden,
            (b'u', "") | (b'l', "?1048" | "?1049") => self.is_hidden = self.saved,
            _ => {}
        }
    }

    fn apply_attributes(&mut self, parameters: &str) {
        let mut numbers = parameters.split(';');
        while let Some(number) = numbers.next() {
            match number.parse::<u32>() {
                Ok(8) => self.is_hidden = true,
                Ok(0 | 28) => self.is_hidden = false,
                // A color follows: an index, or red, green and blue. With colons it is one parameter.
                Ok(38 | 48 | 58) => match numbers.next() {
                    Some("5") => drop(numbers.next()),
                    Some("2") => drop(numbers.nth(2)),
                    _ => {}
                },
                Err(_) if number.is_empty() => self.is_hidden = false,
                _ => {}
            }
        }
    }
}

/// Length of the sequence that `bytes` begin with.
fn sequence_length(bytes: &[u8]) -> usize {
    let mut state = State::Escape;
    let mut length = 1;
    while state != State::Ground && length < bytes.len() {
        state = state.next(bytes[length]);
        length += 1;
    }
    length
}

fn text_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == ESC).unwrap_or(bytes.len())
}

fn push_blanks(text: &[u8], visible: &mut Vec<u8>) {
    for character in String::from_utf8_lossy(text).chars() {
        match character.width() {
            // Line ends and other control characters.
            None => visible.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Some(width) => visible.extend(std::iter::repeat_n(b' ', width)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(output: &str) -> (String, bool) {
        let mut filter = ConcealFilter::default();
        let whole = String::from_utf8(filter.filter(output.as_bytes()).into_owned()).expect("UTF-8");
        (whole, filter.is_hidden())
    }

    #[test]
    fn hidden_characters_become_blanks() {
        for (output, expected, is_hidden) in [
            ("a\x1b[8msecret\x1b[0mb", "a\x1b[8m      \x1b[0mb", false),
            ("\x1b[1;8mé漢\r\nx\x1b[28my", "\x1b[1;8m   \r\n \x1b[28my", false),
            ("\x1b[8mtyped", "\x1b[8m     ", true),
            ("\x1b[8m\x1b[mx\x1b[8;0my", "\x1b[8m\x1b[mx\x1b[8;0my", false),
            ("\x1b[8m\x1b7\x1b[0mx\x1b8y", "\x1b[8m\x1b7\x1b[0mx\x1b8 ", true),
            ("\x1b[8m\x1b]0;title\x1b[0mx", "\x1b[8m\x1b]0;title\x1b[0mx", false),
            ("\x1b[3\x1b[8mx", "\x1b[3\x1b[8m ", true),
            ("\x1b[8m\x1bcx", "\x1b[8m\x1bcx", false),
        ] {
            assert_eq!(visible(output), (expected.to_owned(), is_hidden), "{output:?}");
        }
    }

    #[test]
    fn colors_hide_nothing() {
        for output in [
            "\x1b[38;5;8mgrey",
            "\x1b[48;2;8;8;8mdark",
            "\x1b[38:5:8mgrey",
            "\x1b[4:3;58;5;8mcurly",
            "\x1b[>4;8mkeys",
            "\x1b[?8mprivate",
        ] {
            assert_eq!(visible(output), (output.to_owned(), false), "{output:?}");
        }
        assert!(visible("\x1b[38;5;1;8m").1, "hidden and red");
    }
}
