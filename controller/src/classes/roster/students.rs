//! Reads the students of a roster: which column holds what, and the name and address of each row.

use protocol::{
    api::class::{RosterFormat, RowError},
    workspace::cut,
};

use super::{
    Entry, MAX_SHOWN_BYTES,
    address::{self, Address},
    columns::{Columns, find_columns, guess_columns},
    header::{self, Role, Roles},
    table::{self, Row, Table},
};
use crate::identity::clean::{clean_name, clean_text};

/// Rows at the start among which the header is looked for.
const MAX_TITLE_ROWS: usize = 30;
/// Lines that a note lists.
const MAX_LISTED: usize = 5;
/// Suffixes behind a comma that are no first name.
const SUFFIXES: [&str; 8] = ["jr", "sr", "ii", "iii", "iv", "phd", "md", "dr"];

/// The rows of a roster in their order, and how they were understood.
pub struct Students {
    pub format: RosterFormat,
    pub rows: Vec<Result<Entry, RowError>>,
}

/// Reads the students of a text.
pub fn read(text: &str) -> Result<Students, String> {
    let table = table::split(text);
    match find_header(&table.rows) {
        Some((index, roles)) => read_table(table, Some((index, roles))),
        None if is_address_list(&table) => Ok(read_list(text)),
        None => read_table(table, None),
    }
}

/// The row that names the columns, and their roles: before the first address, the one with the most
/// known words.
fn find_header(rows: &[Row]) -> Option<(usize, Roles)> {
    let mut best: Option<(usize, usize, Roles)> = None;
    for (index, row) in rows.iter().take(MAX_TITLE_ROWS).enumerate() {
        if row.fields.iter().any(|field| address::read(field).is_some()) {
            break;
        }
        let Some(roles) = header::read_header(&row.fields) else { continue };
        let count = roles.iter().flatten().count();
        let is_header = roles.contains(&Some(Role::Email)) || row.fields.len() > 1;
        if is_header && best.as_ref().is_none_or(|(_, most, _)| count > *most) {
            best = Some((index, count, roles));
        }
    }
    best.map(|(index, _, roles)| (index, roles))
}

/// Whether a text without a header is a list of addresses as mail programs copy it: names stand in the
/// same cell as addresses, or most rows have several addresses or nothing else.
fn is_address_list(table: &Table) -> bool {
    let with_address: Vec<&Row> = table.rows.iter().filter(|row| row.text.contains('@')).collect();
    let count = |test: &dyn Fn(&Row) -> bool| with_address.iter().filter(|row| test(row)).count();
    let named = count(&|row| {
        address::read_all(&row.text).iter().any(|found| found.name.is_some()) && {
            row.fields.iter().any(|field| address::read(field).is_some_and(|found| found.name.is_some()))
        }
    });
    let several = count(&|row| row.text.matches('@').count() > 1);
    let alone = count(&|row| row.fields.len() == 1);
    !with_address.is_empty() && (named + several + alone) * 2 > with_address.len()
}

fn read_list(text: &str) -> Students {
    let mut rows = Vec::new();
    let mut unnamed = 0;
    let mut has_commas = false;
    let skipped = usize::from(table::read_hint(text).is_some());
    for (line, content) in (1..).zip(text.split('\n')).skip(skipped) {
        let shown = cut(content.to_owned(), MAX_SHOWN_BYTES);
        if clean_text(content).is_empty() {
            continue;
        }
        let found = address::read_all(content);
        if found.len() < content.matches('@').count() || found.is_empty() {
            rows.push(Err(error(line, &shown, "no email address can be found here", "", "")));
        }
        for Address { name, email } in found {
            let is_named = name.is_some();
            let name = if let Some(name) = name {
                has_commas |= name.contains(',');
                turn_name(&name)
            } else {
                unnamed += 1;
                name_of(&email)
            };
            rows.push(Ok(Entry { line, row: shown.clone(), name, is_named, email }));
        }
    }
    let mut notes = vec!["Read as a list of addresses.".to_owned()];
    notes.extend(describe_names(unnamed, has_commas));
    let format = RosterFormat { notes, ..RosterFormat::default() };
    Students { format, rows }
}

fn read_table(table: Table, header: Option<(usize, Roles)>) -> Result<Students, String> {
    let Table { separator, has_hint, rows, blank } = table;
    let mut notes = Vec::new();
    if has_hint {
        notes.push("Line 1 names the separator.".to_owned());
    }
    let (named, first) = match &header {
        Some((index, _)) => (Some(&rows[*index]), index + 1),
        None => (None, count_titles(&rows)),
    };
    let titles = first - usize::from(named.is_some());
    let lines: Vec<u64> = rows[..titles].iter().map(|row| row.line).collect();
    let title = rows.first().map(|row| cut(clean_text(&row.text), 60)).unwrap_or_default();
    notes.extend(describe_lines(
        &lines,
        &format!("is a title and skipped: {title}"),
        &format!("are titles and skipped: {title} …"),
    ));
    let body = &rows[first..];
    let columns = match &header {
        Some((_, roles)) => find_columns(roles, &rows[first - 1].fields, body)?,
        None => guess_columns(body)?,
    };
    let width = match named {
        Some(row) => row.fields.len(),
        None => table::most_frequent(body.iter().map(|row| row.fields.len())).unwrap_or(0),
    };
    let mut reader =
        RowReader { columns: &columns, width, has_header: named.is_some(), unnamed: 0, has_commas: false };
    let mut read = Vec::new();
    let (mut repeated, mut sums) = (Vec::new(), Vec::new());
    for row in body {
        let is_repeated = named.is_some_and(|header| header.fields == row.fields);
        if is_repeated {
            repeated.push(row.line);
        } else if is_summary(row) {
            sums.push(row.line);
        } else {
            read.push(reader.read(row));
        }
    }
    notes.extend(describe_lines(
        &repeated,
        "repeats the header and is skipped",
        "repeat the header and are skipped",
    ));
    notes.extend(describe_lines(&sums, "is not a student and skipped", "are not students and skipped"));
    if blank > 0 {
        let verb = if blank == 1 { "row is" } else { "rows are" };
        notes.push(format!("{blank} blank {verb} skipped."));
    }
    notes.extend(describe_names(reader.unnamed, reader.has_commas));
    let label = |column: usize| match named {
        Some(row) => row.fields.get(column).map(|field| clean_text(field)).unwrap_or_default(),
        None => format!("column {}", column + 1),
    };
    let format = RosterFormat {
        separator: Some(char::from(separator).to_string()),
        header_line: named.map(|row| row.line),
        name_columns: columns.names().into_iter().map(label).collect(),
        email_column: columns.emails.first().copied().map(label),
        notes,
        ..RosterFormat::default()
    };
    Ok(Students { format, rows: read })
}

/// Rows of one cell before the first address, in a table without a header.
fn count_titles(rows: &[Row]) -> usize {
    let filled = |row: &Row| row.fields.iter().filter(|field| !clean_text(field).is_empty()).count();
    let is_title =
        |row: &&Row| !row.is_open && filled(row) == 1 && !row.fields.iter().any(|field| field.contains('@'));
    let titles = rows.iter().take_while(is_title).count();
    if titles < rows.len() { titles } else { 0 }
}

fn is_summary(row: &Row) -> bool {
    let first = row.fields.iter().map(|field| clean_text(field)).find(|field| !field.is_empty());
    !row.text.contains('@') && first.is_some_and(|first| header::is_summary(&first))
}

/// Reads the rows of a table.
struct RowReader<'a> {
    columns: &'a Columns,
    /// Number of columns.
    width: usize,
    has_header: bool,
    /// Rows whose name is taken from the address.
    unnamed: usize,
    /// Whether a name was written as "Last, First".
    has_commas: bool,
}

impl RowReader<'_> {
    fn read(&mut self, row: &Row) -> Result<Entry, RowError> {
        let joined = self.join_split_name(row);
        let row = joined.as_ref().unwrap_or(row);
        let shown = cut(row.text.clone(), MAX_SHOWN_BYTES);
        let field = |column: usize| row.fields.get(column).map(|field| clean_text(field)).unwrap_or_default();
        let name = self.read_name(row);
        let raw = self.columns.emails.iter().map(|column| field(*column)).find(|text| !text.is_empty());
        let raw = raw.unwrap_or_default();
        let refuse = |message: String| {
            Err(error(row.line, &shown, &message, name.as_deref().unwrap_or_default(), &raw))
        };
        if row.is_open {
            return refuse("a quote is not closed".to_owned());
        }
        let filled =
            row.fields.iter().rposition(|field| !clean_text(field).is_empty()).map_or(0, |last| last + 1);
        if filled > self.width.max(2) && !self.has_header {
            return refuse(format!("{filled} fields, expected {}", self.width.max(2)));
        }
        if raw.is_empty() {
            return refuse("no email address, expected a name and an email address".to_owned());
        }
        let found = self.columns.emails.iter().find_map(|column| address::read(row.fields.get(*column)?));
        let Some(Address { name: beside, email }) = found else {
            return refuse(format!("`{}` is not an email address", cut(raw.clone(), 60)));
        };
        let mut is_named = true;
        let written = if self.columns.names().is_empty() {
            is_named = beside.is_some();
            self.unnamed += usize::from(!is_named);
            beside.or_else(|| Some(name_of(&email)))
        } else {
            name.clone().or(beside)
        };
        let Some(written) = written.filter(|name| !name.is_empty()) else {
            return refuse("no name, expected a name and an email address".to_owned());
        };
        self.has_commas |= written.contains(',');
        let Some(name) = clean_name(&turn_name(&written)) else {
            return refuse("the name is damaged, or has more than 200 characters".to_owned());
        };
        Ok(Entry { line: row.line, row: shown.clone(), name, is_named, email })
    }

    /// The row with its name in one cell, if the comma of `Lindqvist, Ada` has split it.
    fn join_split_name(&self, row: &Row) -> Option<Row> {
        let (full, email) = (self.columns.full?, *self.columns.emails.first()?);
        let has_address = |column: usize| address::read(row.fields.get(column)?);
        let is_split = self.has_header
            && row.fields.len() == self.width + 1
            && full < email
            && has_address(email).is_none()
            && has_address(email + 1).is_some();
        is_split.then(|| {
            let mut row = row.clone();
            let first = row.fields.remove(full + 1);
            row.fields[full] = format!("{}, {first}", row.fields[full]);
            row
        })
    }

    /// The name as it is written in the row, if it has one.
    fn read_name(&self, row: &Row) -> Option<String> {
        let field = |column: usize| row.fields.get(column).map(|field| clean_text(field)).unwrap_or_default();
        let Columns { first, middle, last, full, .. } = self.columns;
        let given = first.map(field).unwrap_or_default();
        let mut family: Vec<String> = last.iter().map(|column| field(*column)).collect();
        family.dedup();
        let full = full.map(field).unwrap_or_default();
        let family = family.join(" ").trim().to_owned();
        if !full.is_empty() && (given.is_empty() || family.is_empty()) {
            return Some(full);
        }
        if is_east_asian(&given) && is_east_asian(&family) {
            return Some(format!("{family}{given}"));
        }
        let parts = [given, middle.map(field).unwrap_or_default(), family];
        let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        (!name.is_empty()).then_some(name)
    }
}

/// Whether a name is written without spaces, the family's first.
fn is_east_asian(name: &str) -> bool {
    let is_letter = |letter: char| {
        matches!(
            letter,
            '\u{3005}'
                | '\u{3040}'..='\u{30ff}'
                | '\u{3400}'..='\u{9fff}'
                | '\u{ac00}'..='\u{d7a3}'
                | '\u{20000}'..='\u{3ffff}'
        )
    };
    !name.is_empty() && name.chars().all(is_letter)
}

/// `Lindqvist, Ada` is `Ada Lindqvist`.
fn turn_name(name: &str) -> String {
    match name.split_once(',') {
        Some((last, first)) if !first.contains(',') => {
            let (last, first) = (last.trim(), first.trim());
            let suffix = first.trim_end_matches('.').to_lowercase();
            if last.is_empty() || first.is_empty() || SUFFIXES.contains(&suffix.as_str()) {
                name.to_owned()
            } else {
                format!("{first} {last}")
            }
        }
        _ => name.to_owned(),
    }
}

/// The name of a student who has none in the roster: the part of the address before `@`.
fn name_of(email: &str) -> String {
    email.split('@').next().unwrap_or(email).to_owned()
}

fn error(line: u64, row: &str, message: &str, name: &str, email: &str) -> RowError {
    RowError {
        line,
        row: row.to_owned(),
        message: message.to_owned(),
        name: cut(name.to_owned(), MAX_SHOWN_BYTES),
        email: cut(email.to_owned(), MAX_SHOWN_BYTES),
    }
}

fn describe_names(unnamed: usize, has_commas: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if unnamed > 0 {
        let rows = if unnamed == 1 { "student has" } else { "students have" };
        notes.push(format!("{unnamed} {rows} no name; the part of the address before @ is used."));
    }
    if has_commas {
        notes.push("Names such as “Lindqvist, Ada” are read as “Ada Lindqvist”.".to_owned());
    }
    notes
}

/// A sentence about lines: "Lines 3, 4 and 7 more repeat earlier lines."
pub fn describe_lines(lines: &[u64], one: &str, many: &str) -> Option<String> {
    let listed: Vec<String> = lines.iter().take(MAX_LISTED).map(u64::to_string).collect();
    match lines {
        [] => None,
        [line] => Some(format!("Line {line} {one}.")),
        _ if lines.len() > MAX_LISTED => {
            Some(format!("Lines {} and {} more {many}.", listed.join(", "), lines.len() - MAX_LISTED))
        }
        _ => {
            let (last, before) = listed.split_last()?;
            Some(format!("Lines {} and {last} {many}.", before.join(", ")))
        }
    }
}
