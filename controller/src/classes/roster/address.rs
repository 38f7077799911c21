//! Finds addresses in text: a cell, or a line that was copied from a mail program. Pure.

use crate::identity::clean::{clean_email, clean_name, clean_text};

/// An address with the name beside it, if there is one: `Ada Lindqvist <ada@school.example>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub name: Option<String>,
    pub email: String,
}

/// Signs around names and addresses in lists.
const SEPARATORS: &[char] = &[',', ';', ' ', '\t', '\n', '|'];

/// Reads a text that is one address, with or without a name.
pub fn read(text: &str) -> Option<Address> {
    if text.matches('@').count() != 1 {
        return None;
    }
    if let Some(email) = clean_email(strip_scheme(text)) {
        return Some(Address { name: None, email });
    }
    let (before, rest) = text.split_once('<')?;
    let (email, after) = rest.split_once('>')?;
    let email = clean_email(strip_scheme(email)).filter(|_| clean_text(after).is_empty())?;
    Some(Address { name: read_name(before), email })
}

/// All addresses of a line. A name stands before its address, or after it in parentheses.
pub fn read_all(line: &str) -> Vec<Address> {
    let mut addresses: Vec<Address> = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find('@') {
        let is_part = |letter: char| !letter.is_whitespace() && !"<>,;\"()|".contains(letter);
        let start = rest[..at].char_indices().rev().take_while(|(_, letter)| is_part(*letter)).last();
        let start = start.map_or(at, |(index, _)| index);
        let end = rest[at..].char_indices().find(|(_, letter)| !is_part(*letter));
        let end = end.map_or(rest.len(), |(index, _)| at + index);
        let (before, word, after) = (&rest[..start], &rest[start..end], &rest[end..]);
        let is_angled = before.ends_with('<');
        let after = if is_angled { after.strip_prefix('>').unwrap_or(after) } else { after };
        let (note, after) = read_parentheses(after);
        if let Some(email) = clean_email(strip_scheme(word).trim_end_matches(['.', ':'])) {
            let name = read_name(before.strip_suffix('<').unwrap_or(before)).or(note);
            addresses.push(Address { name, email });
        }
        rest = after;
    }
    addresses
}

/// `(Ada Lindqvist)` after an address, and what follows it.
fn read_parentheses(text: &str) -> (Option<String>, &str) {
    let inner = text.trim_start().strip_prefix('(').and_then(|rest| rest.split_once(')'));
    inner.map_or((None, text), |(name, rest)| (read_name(name), rest))
}

/// A name without the signs around it. None if it is empty.
fn read_name(text: &str) -> Option<String> {
    let text = clean_text(text);
    let name = text.trim_matches(SEPARATORS).trim_matches(['"', '\'', '“', '”', '„']);
    clean_name(name)
}

fn strip_scheme(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    let is_mailto = text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("mailto:"));
    if is_mailto { &text[7..] } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Vec<(Option<String>, String)> {
        read_all(line).into_iter().map(|address| (address.name, address.email)).collect()
    }

    #[test]
    fn lists_of_mail_programs_are_read() {
        let some = |name: &str, email: &str| (Some(name.to_owned()), email.to_owned());
        assert_eq!(
            pairs("Ada L <ada@x.org>, \"Okafor, Bruno\" <bruno@x.org>; chiara@x.org"),
            [
                some("Ada L", "ada@x.org"),
                some("Okafor, Bruno", "bruno@x.org"),
                (None, "chiara@x.org".to_owned())
            ]
        );
        assert_eq!(
            pairs("Okafor, Bruno <bruno@x.org>; Lindqvist, Ada <ada@x.org>;"),
            [some("Okafor, Bruno", "bruno@x.org"), some("Lindqvist, Ada", "ada@x.org")]
        );
        assert_eq!(pairs("Ada Lindqvist ada@x.org"), [some("Ada Lindqvist", "ada@x.org")]);
        assert_eq!(
            pairs("ada@x.org (Ada Lindqvist), b@x.org"),
            [some("Ada Lindqvist", "ada@x.org"), (None, "b@x.org".to_owned())]
        );
        assert_eq!(pairs("@ @@ x@ <@>"), []);
    }

    #[test]
    fn cell_with_two_addresses_is_none() {
        assert_eq!(read("a@x.org; b@x.org"), None);
        assert_eq!(read("mailto:a@x.org").map(|address| address.email).as_deref(), Some("a@x.org"));
        assert_eq!(read("<a@x.org>").map(|address| address.email).as_deref(), Some("a@x.org"));
        assert_eq!(read("Ada <a@x.org>").and_then(|address| address.name).as_deref(), Some("Ada"));
    }
}
