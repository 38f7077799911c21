//! Parses pasted rosters. Pure. Good rows are entries, bad rows are errors, and neither depends on
//! other rows.
//!
//! Each line is parsed by itself, so a missing quote spoils one row only.

use std::collections::HashMap;

use protocol::{api::class::RowError, workspace::cut};

use crate::identity::users::{clean_email, clean_name};

/// Bytes of a bad row that an error shows.
const MAX_SHOWN_BYTES: usize = 200;

/// A good row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the line, from 1.
    pub line: u64,
    /// The line as it was pasted, shortened.
    pub row: String,
    pub name: String,
    pub email: String,
}

impl Entry {
    /// An error about this row.
    pub fn error(&self, message: impl Into<String>) -> RowError {
        RowError { line: self.line, row: self.row.clone(), message: message.into() }
    }
}

/// The rows of a roster.
#[derive(Debug, Default)]
pub struct Roster {
    pub entries: Vec<Entry>,
    pub errors: Vec<RowError>,
}

/// The columns of name and email address.
#[derive(Clone, Copy)]
struct Columns {
    name: usize,
    email: usize,
}

/// Parses a CSV of names and email addresses, with or without a header.
pub fn parse(text: &[u8]) -> Roster {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let delimiter = delimiter(text);
    let mut columns = Columns { name: 0, email: 1 };
    let mut roster = Roster::default();
    let mut seen = HashMap::new();
    let mut first = true;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let shown = cut(String::from_utf8_lossy(line).into_owned(), MAX_SHOWN_BYTES);
        let fields = fields(line, delimiter);
        if std::mem::take(&mut first)
            && let Some(named) = fields.as_ref().ok().and_then(|fields| header(fields))
        {
            columns = named;
            continue;
        }
        match fields.and_then(|fields| entry(&fields, columns, number, &shown)) {
            Ok(entry) => {
                if let Some(earlier) = seen.insert(entry.email.to_lowercase(), number) {
                    roster
                        .errors
                        .push(entry.error(format!("the email address is in line {earlier} already")));
                    seen.insert(entry.email.to_lowercase(), earlier);
                } else {
                    roster.entries.push(entry);
                }
            }
            Err(message) => roster.errors.push(RowError { line: number, row: shown, message }),
        }
    }
    roster
}

/// Spreadsheets use the delimiter of their locale.
fn delimiter(text: &[u8]) -> u8 {
    let first =
        text.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let count = |delimiter: u8| first.iter().filter(|byte| **byte == delimiter).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

fn fields(line: &[u8], delimiter: u8) -> Result<Vec<String>, String> {
    if std::str::from_utf8(line).is_err() {
        return Err("not UTF-8 text, save the file as CSV UTF-8".to_owned());
    }
    let quotes = line.iter().filter(|byte| **byte == b'"').count();
    if quotes % 2 == 1 {
        return Err("a quote is not closed".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .from_reader(line);
    let record = reader.records().next().ok_or("the row is empty")?.map_err(|error| error.to_string())?;
    Ok(record.iter().map(str::to_owned).collect())
}

fn header(fields: &[String]) -> Option<Columns> {
    let lower: Vec<String> = fields.iter().map(|field| field.to_lowercase()).collect();
    let find = |names: &[&str]| lower.iter().position(|field| names.contains(&field.as_str()));
    let email = find(&["email", "e-mail", "mail", "e-mail address", "email address"])?;
    let name = find(&["name", "student", "full name"])?;
    Some(Columns { name, email })
}

fn entry(fields: &[String], columns: Columns, line: u64, row: &str) -> Result<Entry, String> {
    let field = |index: usize| fields.get(index).map(String::as_str).unwrap_or_default();
    let beyond = fields
        .iter()
        .enumerate()
        .skip(2)
        .any(|(index, field)| index != columns.name && index != columns.email && !field.is_empty());
    if beyond && (columns.name, columns.email) == (0, 1) && fields.len() > 2 {
        return Err(format!("{} fields, expected a name and an email address", fields.len()));
    }
    if field(columns.email).is_empty() {
        return Err("no email address, expected a name and an email address".to_owned());
    }
    let name = clean_name(field(columns.name)).ok_or("no name, or one of more than 200 characters")?;
    let email = clean_email(field(columns.email))
        .ok_or_else(|| format!("`{}` is not an email address", cut(field(columns.email).to_owned(), 60)))?;
    Ok(Entry { line, row: row.to_owned(), name, email })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(roster: &Roster) -> Vec<(&str, &str)> {
        roster.entries.iter().map(|entry| (entry.name.as_str(), entry.email.as_str())).collect()
    }

    #[test]
    fn plain_rows_are_parsed() {
        let roster = parse(b"Anna,anna@x.org\r\n\r\n Ben  Berg , ben@x.org\n");
        assert_eq!(names(&roster), [("Anna", "anna@x.org"), ("Ben  Berg", "ben@x.org")]);
        assert!(roster.errors.is_empty());
    }

    #[test]
    fn headers_and_delimiters_are_detected() {
        for text in [
            "\u{feff}Name;E-Mail\nAnna;anna@x.org",
            "email\tname\nanna@x.org\tAnna\n",
            "id,name,group,email\n7,Anna,b,anna@x.org",
            "\"Anna\",\"anna@x.org\"",
        ] {
            let roster = parse(text.as_bytes());
            assert_eq!(names(&roster), [("Anna", "anna@x.org")], "{text}: {:?}", roster.errors);
        }
    }

    #[test]
    fn bad_rows_are_errors_and_good_rows_stay() {
        let text = b"Anna,anna@x.org\nBen\n\"Cleo,cleo@x.org\nDan,dan@x@y\nE\xff,e@x.org\n,f@x.org\n\
            Anna2,ANNA@x.org\nG,g@x,extra\nHal,hal@x.org";
        let roster = parse(text);
        assert_eq!(names(&roster), [("Anna", "anna@x.org"), ("Hal", "hal@x.org")]);
        assert_eq!(roster.errors.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8]);
        assert!(roster.errors[5].message.contains("line 1"), "{}", roster.errors[5].message);
        assert_eq!(roster.errors[0].row, "Ben");
    }

    #[test]
    fn shown_row_is_bounded() {
        let roster = parse("ä".repeat(100_000).as_bytes());
        assert!(roster.errors[0].row.len() <= MAX_SHOWN_BYTES);
    }
}
