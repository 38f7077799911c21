//! Names and email addresses as users type or paste them, in the form in which they are stored and
//! compared. Pure.
//!
//! Spreadsheets, web pages and mail programs leave characters behind that nobody sees: zero-width
//! spaces, soft hyphens, byte order marks, direction marks. An address that keeps one cannot be typed
//! again, so they are removed. Every kind of space becomes a plain one, and full-width letters become
//! the ones that a keyboard types.

use unicode_normalization::UnicodeNormalization as _;

/// Longest name of a user or token.
pub const MAX_NAME_CHARACTERS: usize = 200;
/// Longest email address.
pub const MAX_EMAIL_BYTES: usize = 254;

/// Distance of a full-width letter from its plain form.
const FULL_WIDTH_OFFSET: u32 = '\u{ff01}' as u32 - '!' as u32;

/// Text as one line without invisible characters: composed (NFC), each run of spaces a single plain
/// space, trimmed. Control characters other than white space stay; the caller refuses them.
pub fn clean_text(text: &str) -> String {
    let composed: Vec<char> = text.nfc().map(narrow).collect();
    let mut clean = String::with_capacity(text.len());
    for (index, &letter) in composed.iter().enumerate() {
        if letter.is_whitespace() {
            if !clean.is_empty() && !clean.ends_with(' ') {
                clean.push(' ');
            }
        } else if !is_invisible(letter) || joins_letters(&composed, index) {
            clean.push(letter);
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

/// A clean name of one line without control characters. None if it is empty or too long.
pub fn clean_name(name: &str) -> Option<String> {
    if name.trim().chars().any(is_unusable) {
        return None;
    }
    let name = clean_text(name);
    (!name.is_empty() && name.chars().count() <= MAX_NAME_CHARACTERS).then_some(name)
}

/// A clean email address. Only the form is checked, not whether it exists. None if it is not one.
pub fn clean_email(email: &str) -> Option<String> {
    let email: String = clean_text(email).chars().filter(|letter| !is_invisible(*letter)).collect();
    let (local, domain) = email.rsplit_once('@')?;
    let is_plain =
        |letter: char| !letter.is_whitespace() && !is_unusable(letter) && !"<>,;:\"()[]\\".contains(letter);
    let is_valid = !local.is_empty()
        && !local.contains('@')
        && !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains("..")
        && email.chars().all(is_plain)
        && email.len() <= MAX_EMAIL_BYTES;
    is_valid.then_some(email)
}

/// The plain form of a full-width letter, and the letter itself if it is none.
pub fn narrow(letter: char) -> char {
    match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(letter as u32 - FULL_WIDTH_OFFSET).unwrap_or(letter),
        _ => letter,
    }
}

/// Whether a character takes no room on the screen and no part in a name.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Whether a zero-width joiner stands between two letters of a script that writes with it.
fn joins_letters(text: &[char], index: usize) -> bool {
    let is_foreign =
        |letter: Option<&char>| letter.is_some_and(|letter| !letter.is_ascii() && letter.is_alphabetic());
    matches!(text[index], '\u{200c}' | '\u{200d}')
        && is_foreign(index.checked_sub(1).and_then(|before| text.get(before)))
        && is_foreign(text.get(index + 1))
}

/// Control characters, and the replacement character of a text that was decoded wrongly.
fn is_unusable(letter: char) -> bool {
    (letter.is_control()) || letter == '\u{fffd}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_form_is_checked() {
        for good in ["a@b", "anna.öz+x@schule.example", " a@b.c "] {
            assert!(clean_email(good).is_some(), "{good}");
        }
        for bad in ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@.b", "a@b..c", "<a@b>", "x,a@b", "a\u{fffd}@b"]
        {
            assert_eq!(clean_email(bad), None, "{bad}");
        }
        assert!(clean_email(&format!("a@{}", "b".repeat(300))).is_none());
    }

    #[test]
    fn invisible_characters_leave_address() {
        for typed in [
            "ada@x.org\u{a0}",
            "\u{200b}ada@x.org",
            "ada\u{ad}@x.org",
            "\u{feff}ada@x.org\u{2060}",
            "ａｄａ＠ｘ．ｏｒｇ",
        ] {
            assert_eq!(clean_email(typed).as_deref(), Some("ada@x.org"), "{typed:?}");
        }
        assert_eq!(clean_email("ada\u{a0}b@x.org"), None);
    }

    #[test]
    fn name_is_one_line() {
        assert_eq!(clean_name(" Anna ").as_deref(), Some("Anna"));
        assert_eq!(clean_name("Chiara\u{a0}\u{2009} Rossi\u{200b}").as_deref(), Some("Chiara Rossi"));
        assert_eq!(clean_name("Jose\u{301}").as_deref(), Some("Jos\u{e9}"));
        assert_eq!(clean_name("می\u{200c}نا").as_deref(), Some("می\u{200c}نا"));
        for bad in ["", "  ", "\u{200b}", "a\nb", "a\u{1b}[31m", "Jos\u{fffd}"] {
            assert!(clean_name(bad).is_none(), "{bad:?}");
        }
    }
}
