//! Decodes the bytes of a roster: finds the encoding, and makes each line end a line feed.
//!
//! A byte order mark decides, then zero bytes (UTF-16), then whether the bytes are UTF-8. What is left is
//! one of the old encodings of eight bits, which only the text itself can tell apart: the one in which no
//! word looks wrong is taken, and if none or more than one do, the roster is refused. A wrong guess
//! would store wrong names.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, MACINTOSH, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The text of a roster.
#[derive(Debug)]
pub struct Decoded {
    /// Lines end with a line feed.
    pub text: String,
    /// Name of the encoding, such as `UTF-8`.
    pub encoding: &'static str,
}

/// First bytes of files that are no text, and what they are.
const SIGNATURES: [(&[u8], &str); 4] = [
    (
        b"PK\x03\x04",
        "it is a workbook (Excel, Numbers or OpenDocument), not a text file. Save it as CSV UTF-8",
    ),
    (b"\xd0\xcf\x11\xe0", "it is an Excel workbook, not a text file. Save it as CSV UTF-8"),
    (b"%PDF", "it is a PDF document, not a text file. Export the list as CSV"),
    (b"{\\rtf", "it is a formatted document, not a text file. Save it as plain text"),
];

/// Starts of web pages, in lower case. Some systems name them `.xls`.
const MARKUP: [&str; 4] = ["<!doctype", "<html", "<table", "<?xml"];

const NOT_TEXT: &str = "it is not a text file. Save the list as CSV UTF-8";
const UNCERTAIN: &str = "its encoding cannot be told for certain, and names would be damaged. \
    Save the list as CSV UTF-8";

/// Decodes a roster. The error says why that is not possible, and what to do.
pub fn decode(bytes: &[u8]) -> Result<Decoded, &'static str> {
    if let Some((_, reason)) = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err(reason);
    }
    let (text, encoding) = decode_any(bytes)?;
    let start = text.trim_start().get(..16).unwrap_or_default().to_lowercase();
    if MARKUP.iter().any(|markup| start.starts_with(markup)) {
        return Err("it is a web page, not a text file. Open it in a spreadsheet and save it as CSV UTF-8");
    }
    Ok(Decoded { text: unify_line_ends(&text), encoding })
}

fn decode_any(bytes: &[u8]) -> Result<(String, &'static str), &'static str> {
    if let Some((encoding, mark_bytes)) = Encoding::for_bom(bytes) {
        return Ok(decode_as(encoding, &bytes[mark_bytes..]));
    }
    if bytes.contains(&0) {
        return find_utf16(bytes).map(|encoding| decode_as(encoding, bytes)).ok_or(NOT_TEXT);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok((text.to_owned(), UTF_8.name()));
    }
    if is_damaged_utf8(bytes) {
        // The rows with damaged characters are refused, the others are right.
        return Ok(decode_as(UTF_8, bytes));
    }
    decode_legacy(bytes)
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> (String, &'static str) {
    // A last byte that is half a character of UTF-16 holds nothing.
    let is_wide = encoding == UTF_16LE || encoding == UTF_16BE;
    let bytes = if is_wide && bytes.len() % 2 == 1 { &bytes[..bytes.len() - 1] } else { bytes };
    (encoding.decode_without_bom_handling(bytes).0.into_owned(), encoding.name())
}

/// The byte order of UTF-16 without a mark. An address is ASCII, so every second byte of it is zero.
fn find_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let zeros = |first: usize| bytes.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let is_most = |many: usize, few: usize| many > 4 * few && many * 8 >= bytes.len();
    if is_most(odd, even) {
        Some(UTF_16LE)
    } else if is_most(even, odd) {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Whether the text is UTF-8 apart from a few bytes: most of its characters beyond ASCII are right.
fn is_damaged_utf8(bytes: &[u8]) -> bool {
    let (mut right, mut wrong) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        right += chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        wrong += chunk.invalid().len();
    }
    right > wrong
}

/// Decodes text in an encoding of eight bits, or in one of the older ones of East Asia.
fn decode_legacy(bytes: &[u8]) -> Result<(String, &'static str), &'static str> {
    let guess = guess(bytes);
    let (guessed, western, mac) =
        (decode_as(guess, bytes), decode_as(WINDOWS_1252, bytes), decode_as(MACINTOSH, bytes));
    let dos = (decode_dos(bytes), "IBM850");
    let looks_right = |reading: &(String, &str)| count_oddities(&reading.0) == 0;
    let has_mac_line_ends = bytes.contains(&b'\r') && !bytes.contains(&b'\n');
    if has_mac_line_ends && looks_right(&mac) {
        return Ok(mac);
    }
    if looks_right(&guessed) {
        return Ok(guessed);
    }
    if looks_right(&western) {
        return Ok(western);
    }
    match (looks_right(&mac), looks_right(&dos)) {
        (true, false) => Ok(mac),
        (false, true) => Ok(dos),
        _ => Err(UNCERTAIN),
    }
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(find_country(bytes).as_deref(), Utf8Detection::Deny)
}

/// The top-level domain of the first address, which hints at the language: `pl`.
fn find_country(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.iter().position(|byte| *byte == b'@')?;
    let domain =
        bytes[at + 1..].split(|byte| !byte.is_ascii_alphanumeric() && !b".-".contains(byte)).next()?;
    let last = domain.rsplit(|byte| *byte == b'.').next()?.to_ascii_lowercase();
    (!last.is_empty() && last.iter().all(u8::is_ascii_lowercase)).then_some(last)
}

/// How often a character stands where no name has it. Text in the wrong encoding has symbols inside
/// of words, capitals after small letters and letters of two scripts in one word.
fn count_oddities(text: &str) -> usize {
    let letters: Vec<char> = text.chars().collect();
    let at = |index: Option<usize>| index.and_then(|index| letters.get(index)).copied().unwrap_or(' ');
    (0..letters.len())
        .filter(|&index| {
            let (before, after) = (at(index.checked_sub(1)), at(Some(index + 1)));
            !letters[index].is_ascii() && is_odd(before, letters[index], after)
        })
        .count()
}

/// Whether a character beyond ASCII is wrong between its neighbours.
fn is_odd(before: char, letter: char, after: char) -> bool {
    /// Signs that follow a word, precede one, and stand inside of one.
    const CLOSING: &str = "’‘”“»›…–—·\u{a0}";
    const OPENING: &str = "’‘“„«‹¿¡–—·‚\u{a0}";
    const INNER: &str = "’‘·‐\u{a0}";
    if letter == '\u{fffd}' || letter.is_control() || ('\u{e000}'..='\u{f8ff}').contains(&letter) {
        return true;
    }
    if !letter.is_alphanumeric() {
        return match (before.is_alphabetic(), after.is_alphabetic()) {
            (true, true) => !INNER.contains(letter),
            (true, false) => !CLOSING.contains(letter),
            (false, true) => !OPENING.contains(letter),
            (false, false) => false,
        };
    }
    let is_capital_inside = letter.is_uppercase() && before.is_lowercase();
    let is_small_inside = letter.is_lowercase() && before.is_uppercase() && after.is_uppercase();
    let is_mixed = !is_latin(letter) && (before.is_ascii_alphabetic() || after.is_ascii_alphabetic());
    is_capital_inside || is_small_inside || is_mixed
}

fn is_latin(letter: char) -> bool {
    matches!(letter, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

/// Decodes code page 850, which Excel calls "CSV (MS-DOS)" and no browser knows.
fn decode_dos(bytes: &[u8]) -> String {
    const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤\
        ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";
    let upper: Vec<char> = UPPER.chars().collect();
    let decode = |byte: &u8| match byte.checked_sub(128) {
        Some(index) => upper.get(usize::from(index)).copied().unwrap_or('\u{fffd}'),
        None => char::from(*byte),
    };
    bytes.iter().map(decode).collect()
}

/// Line ends of every system become line feeds. A vertical tab is a line break inside of a cell.
fn unify_line_ends(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{c}'], "\n")
        .replace('\u{b}', " ")
}
