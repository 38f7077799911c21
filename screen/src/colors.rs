//! Colours that a program sets or asks for (OSC 4, 10, 11, 12 and their resets).

use std::{collections::BTreeMap, fmt::Write as _};

/// Number of the text's colour, after those of the palette.
pub const FOREGROUND: u16 = 256;
/// Number of the background's colour.
pub const BACKGROUND: u16 = 257;
/// Number of the cursor's colour.
pub const CURSOR: u16 = 258;

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// The colours of a terminal to which its programs have done nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The first 16 of the palette.
    pub palette: [Rgb; 16],
    /// The text's.
    pub foreground: Rgb,
    /// The background's.
    pub background: Rgb,
    /// The cursor's.
    pub cursor: Rgb,
}

impl Default for Theme {
    /// What xterm.js has without a theme.
    fn default() -> Self {
        const fn rgb(color: u32) -> Rgb {
            [(color >> 16) as u8, (color >> 8) as u8, color as u8]
        }
        Self {
            palette: [
                rgb(0x2e_3436),
                rgb(0xcc_0000),
                rgb(0x4e_9a06),
                rgb(0xc4_a000),
                rgb(0x34_65a4),
                rgb(0x75_507b),
                rgb(0x06_989a),
                rgb(0xd3_d7cf),
                rgb(0x55_5753),
                rgb(0xef_2929),
                rgb(0x8a_e234),
                rgb(0xfc_e94f),
                rgb(0x72_9fcf),
                rgb(0xad_7fa8),
                rgb(0x34_e2e2),
                rgb(0xee_eeec),
            ],
            foreground: [255; 3],
            background: [0; 3],
            cursor: [255; 3],
        }
    }
}

/// The theme and what programs have changed of it.
#[derive(Debug, Default)]
pub struct Colors {
    /// The theme of the viewer.
    pub theme: Theme,
    changed: BTreeMap<u16, Rgb>,
}

impl Colors {
    /// The colour with a number.
    pub fn get(&self, number: u16) -> Rgb {
        if let Some(color) = self.changed.get(&number) {
            return *color;
        }
        match number {
            FOREGROUND => self.theme.foreground,
            BACKGROUND => self.theme.background,
            CURSOR => self.theme.cursor,
            0..16 => self.theme.palette[usize::from(number)],
            16..232 => {
                let level = |value: u16| if value == 0 { 0 } else { (55 + 40 * value) as u8 };
                let cube = number - 16;
                [level(cube / 36), level(cube / 6 % 6), level(cube % 6)]
            }
            _ => [(8 + 10 * (number - 232)) as u8; 3],
        }
    }

    /// Sets a colour.
    pub fn set(&mut self, number: u16, color: Rgb) {
        self.changed.insert(number, color);
    }

    /// Resets a colour, or the whole palette.
    pub fn reset(&mut self, number: Option<u16>) {
        match number {
            Some(number) => drop(self.changed.remove(&number)),
            None => self.changed.retain(|number, _| *number >= FOREGROUND),
        }
    }

    /// Sequences that set the colours of a terminal that may have others.
    pub fn draw(&self, drawing: &mut String) {
        *drawing += "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\";
        for (number, color) in &self.changed {
            let _ = write!(drawing, "\x1b]{};{}\x1b\\", command(*number), text(*color));
        }
    }
}

/// The beginning of the command that sets or asks for a colour.
pub fn command(number: u16) -> String {
    match number {
        FOREGROUND => "10".to_owned(),
        BACKGROUND => "11".to_owned(),
        CURSOR => "12".to_owned(),
        number => format!("4;{number}"),
    }
}

/// A colour as a reply has it.
pub fn text([red, green, blue]: Rgb) -> String {
    format!("rgb:{red:02x}{red:02x}/{green:02x}{green:02x}/{blue:02x}{blue:02x}")
}

/// Parses `rgb:` with 1 to 4 digits a part, or `#` with 1 to 4.
pub fn parse(text: &str) -> Option<Rgb> {
    let text = text.to_ascii_lowercase();
    if let Some(parts) = text.strip_prefix("rgb:") {
        let parts: Vec<&str> = parts.split('/').collect();
        let &[red, green, blue] = parts.as_slice() else { return None };
        if red.len() != green.len() || green.len() != blue.len() {
            return None;
        }
        let part = |digits: &str| {
            let max = (1_u32 << (4 * digits.len())) - 1;
            hexadecimal(digits).map(|value| ((value * 255 * 2 + max) / (max * 2)) as u8)
        };
        return Some([part(red)?, part(green)?, part(blue)?]);
    }
    let digits = text.strip_prefix('#')?;
    if digits.is_empty() || digits.len() % 3 != 0 || !digits.is_ascii() {
        return None;
    }
    let length = digits.len() / 3;
    let part = |index: usize| {
        let value = hexadecimal(&digits[index * length..(index + 1) * length])?;
        Some(if length == 1 { value << 4 } else { value >> (4 * (length - 2)) } as u8)
    };
    Some([part(0)?, part(1)?, part(2)?])
}

fn hexadecimal(digits: &str) -> Option<u32> {
    let is_valid = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_valid { u32::from_str_radix(digits, 16).ok() } else { None }
}
