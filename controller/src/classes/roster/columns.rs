//! Which columns of a roster hold names and addresses: by its header, or by what is in them. Pure.

use protocol::workspace::cut;

use super::{
    MAX_SHOWN_BYTES, address,
    header::{self, Role, Roles},
    table::{self, Row},
};
use crate::identity::clean::clean_text;

/// The columns that matter.
#[derive(Debug, Default)]
pub struct Columns {
    /// The first one that has an address in a row counts.
    pub emails: Vec<usize>,
    pub first: Option<usize>,
    pub middle: Option<usize>,
    pub last: Vec<usize>,
    pub full: Option<usize>,
}

impl Columns {
    /// The columns that a name is made of, in the order in which it is read.
    pub fn names(&self) -> Vec<usize> {
        if self.first.is_some() || !self.last.is_empty() {
            self.first.into_iter().chain(self.middle).chain(self.last.iter().copied()).collect()
        } else {
            self.full.into_iter().collect()
        }
    }
}

/// The columns that a header names. The addresses themselves decide which column holds them.
pub fn find_columns(roles: &Roles, labels: &[String], rows: &[Row]) -> Result<Columns, String> {
    let with_role = |role: Role| -> Vec<usize> {
        roles.iter().enumerate().filter(|(_, found)| **found == Some(role)).map(|(index, _)| index).collect()
    };
    let mut emails = with_role(Role::Email);
    let first = |role: Role| with_role(role).first().copied();
    emails.retain(|column| count_addresses(rows, *column) > 0 || rows.is_empty());
    if emails.is_empty() {
        emails.extend(find_address_column(rows, labels.len()));
    }
    if emails.is_empty() {
        emails = with_role(Role::Email);
    }
    if emails.is_empty() {
        return Err(describe_missing(labels));
    }
    // An address of parents or teachers must not become the student's, not even where it is the only one.
    if emails.iter().any(|column| !header::is_of_other(&labels[*column])) {
        emails.retain(|column| !header::is_of_other(&labels[*column]));
    }
    let most = emails.iter().map(|column| count_addresses(rows, *column)).max().unwrap_or(0);
    emails.sort_by_key(|column| {
        // User names of a directory look like addresses.
        let is_login = labels[*column].to_lowercase().contains("principal");
        (is_login, count_addresses(rows, *column) * 2 < most, *column)
    });
    let mut columns = Columns {
        first: first(Role::First),
        middle: first(Role::Middle),
        last: with_role(Role::Last),
        full: first(Role::Name),
        emails,
    };
    if columns.names().is_empty() {
        let taken = columns.emails.clone();
        let mut texts =
            (0..labels.len()).filter(|column| !taken.contains(column) && has_names(rows, *column));
        if let (Some(only), None) = (texts.next(), texts.next()) {
            columns.full = Some(only);
        }
    }
    Ok(columns)
}

/// The columns of a table without a header, by what is in them.
pub fn guess_columns(rows: &[Row]) -> Result<Columns, String> {
    let width = table::most_frequent(rows.iter().map(|row| row.fields.len())).unwrap_or(0);
    let Some(email) = find_address_column(rows, width) else {
        let is_narrow = rows.iter().all(|row| row.fields.len() <= 2);
        if is_narrow
            && !rows.is_empty()
            && rows.iter().any(|row| row.text.contains('@') || row.fields.len() > 1)
        {
            // Each row is reported by itself.
            return Ok(Columns { emails: vec![1], full: Some(0), ..Columns::default() });
        }
        return Err(describe_missing(&[]));
    };
    let emails = vec![email];
    let texts: Vec<usize> =
        (0..width).filter(|column| *column != email && has_names(rows, *column)).collect();
    match texts[..] {
        [] if width > 1 => Ok(Columns { emails, full: Some(usize::from(email == 0)), ..Columns::default() }),
        [] => Ok(Columns { emails, ..Columns::default() }),
        [full] => Ok(Columns { emails, full: Some(full), ..Columns::default() }),
        [one, two] => {
            let (first, last) = if is_reversed(rows, one, two, email) { (two, one) } else { (one, two) };
            Ok(Columns { emails, first: Some(first), last: vec![last], ..Columns::default() })
        }
        _ => Err(format!(
            "it has no header row, and {} columns could be names. Add a header row, such as: name,email",
            texts.len()
        )),
    }
}

/// Whether addresses begin with the second name of their rows, so that the first one is the last name.
fn is_reversed(rows: &[Row], one: usize, two: usize, email: usize) -> bool {
    let starts = |column: usize| {
        rows.iter()
            .filter(|row| {
                let (Some(name), Some(email)) = (row.fields.get(column), row.fields.get(email)) else {
                    return false;
                };
                let name = clean_text(name).to_lowercase();
                name.len() > 1 && clean_text(email).to_lowercase().starts_with(&name)
            })
            .count()
    };
    starts(two) > starts(one)
}

fn count_addresses(rows: &[Row], column: usize) -> usize {
    rows.iter()
        .filter(|row| row.fields.get(column).is_some_and(|field| address::read(field).is_some()))
        .count()
}

fn find_address_column(rows: &[Row], width: usize) -> Option<usize> {
    // Of equals, `max_by_key` takes the last.
    let best = (0..width).rev().max_by_key(|column| count_addresses(rows, *column))?;
    (count_addresses(rows, best) > 0).then_some(best)
}

/// Whether most cells of a column look like names: letters, and no digits.
fn has_names(rows: &[Row], column: usize) -> bool {
    let cells: Vec<&String> = rows
        .iter()
        .filter(|row| row.fields.iter().any(|field| address::read(field).is_some()))
        .filter_map(|row| row.fields.get(column))
        .filter(|field| !field.is_empty())
        .collect();
    let is_name = |cell: &&&String| {
        cell.chars().any(char::is_alphabetic)
            && !cell.chars().any(|letter| letter.is_numeric() || letter == '@')
    };
    cells.iter().filter(is_name).count() * 2 > cells.len()
}

fn describe_missing(labels: &[String]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|label| clean_text(label)).filter(|label| !label.is_empty()).collect();
    let columns = match labels[..] {
        [] => String::new(),
        _ => format!(" Its columns are: {}.", cut(labels.join(", "), MAX_SHOWN_BYTES)),
    };
    format!(
        "no column has email addresses.{columns} Add a column of email addresses, or give lines such as: \
         Ada Lindqvist,ada@school.example"
    )
}
