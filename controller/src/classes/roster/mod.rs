//! Reads rosters: the bytes of a file or a paste become students, and whatever else is in them is
//! reported. The page, the command line and the API use this one reader. Pure.
//!
//! A roster passes four steps: [`text`] finds the encoding, [`table`] the separator and the rows,
//! [`header`] and [`columns`] the meaning of the columns, and [`students`] the name and address of each
//! row. A list copied from a mail program has no columns; [`address`] finds its addresses. Good rows are
//! entries, bad rows are errors, and neither depends on other rows.

mod address;
mod columns;
pub mod compare;
mod header;
mod students;
mod table;
mod text;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use protocol::{
    api::class::{RosterFormat, RowError},
    workspace::cut,
};

use crate::identity::clean::narrow;

/// Bytes of a bad row that an error shows.
const MAX_SHOWN_BYTES: usize = 200;
/// Most bad rows that are reported. A file that is no roster has thousands.
const MAX_ERRORS: usize = 1000;

/// A good row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the line, from 1.
    pub line: u64,
    /// The line as it is in the roster, shortened.
    pub row: String,
    pub name: String,
    /// False if the roster has no names, and this one is a part of the address.
    pub is_named: bool,
    pub email: String,
}

impl Entry {
    /// An error about this row.
    pub fn error(&self, message: impl Into<String>) -> RowError {
        RowError {
            line: self.line,
            row: self.row.clone(),
            message: message.into(),
            name: self.name.clone(),
            email: self.email.clone(),
        }
    }
}

/// What was understood of a roster.
#[derive(Debug)]
pub struct Roster {
    /// Encoding, separator and columns, and what was skipped.
    pub format: RosterFormat,
    /// The students. No address occurs twice.
    pub entries: Vec<Entry>,
    pub errors: Vec<RowError>,
}

/// Reads a roster. The error says why nothing in it can be used, and what would help.
pub fn parse(bytes: &[u8]) -> Result<Roster, String> {
    let decoded = text::decode(bytes)?;
    // A full-width quote is part of a name; the other full-width signs separate as the plain ones do.
    let plain: String = decoded
        .text
        .chars()
        .map(|letter| if letter == '\u{ff02}' { letter } else { narrow(letter) })
        .collect();
    let students = students::read(&plain)?;
    let mut roster = Roster { format: students.format, entries: Vec::new(), errors: Vec::new() };
    decoded.encoding.clone_into(&mut roster.format.encoding);
    let mut seen = HashMap::new();
    let mut repeated = Vec::new();
    for row in students.rows {
        match row {
            Ok(entry) => match seen.get(&entry.email.to_lowercase()) {
                None => {
                    seen.insert(entry.email.to_lowercase(), (entry.line, entry.name.clone()));
                    roster.entries.push(entry);
                }
                Some((_, name)) if *name == entry.name => repeated.push(entry.line),
                Some((line, name)) => roster.errors.push(entry.error(format!(
                    "the email address is in line {line} already, for {}",
                    cut(name.clone(), MAX_SHOWN_BYTES)
                ))),
            },
            Err(error) => roster.errors.push(error),
        }
    }
    roster.format.notes.extend(students::describe_lines(
        &repeated,
        "repeats an earlier line",
        "repeat earlier lines",
    ));
    if roster.errors.len() > MAX_ERRORS {
        let more = roster.errors.len() - MAX_ERRORS;
        roster.format.notes.push(format!("{more} more rows cannot be read."));
        roster.errors.truncate(MAX_ERRORS);
    }
    if roster.entries.is_empty() && roster.errors.is_empty() {
        return Err("there is no student in it. Give a name and an email address per line".to_owned());
    }
    roster.format.text = decoded.text;
    Ok(roster)
}
