//! Splits the text of a roster into rows and cells: finds the separator, and keeps line breaks inside of
//! quotes. Pure.

use super::address;

/// Separators of cells, the likeliest first.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Rows that the separator is chosen by.
const MAX_SAMPLE: usize = 200;
/// Most lines of one row. A quote that is never closed spoils its own line only.
const MAX_ROW_LINES: usize = 20;

/// A row that is not blank.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its first line, from 1.
    pub line: u64,
    /// The text as it is in the roster.
    pub text: String,
    pub fields: Vec<String>,
    /// Whether a quote is opened and not closed.
    pub is_open: bool,
}

/// All rows of a roster.
pub struct Table {
    pub separator: u8,
    /// Whether the first line names the separator, as `sep=;` does.
    pub has_hint: bool,
    pub rows: Vec<Row>,
    /// Number of rows without any content.
    pub blank: usize,
}

/// The separator that the first line names for a spreadsheet: `sep=;`.
pub fn read_hint(text: &str) -> Option<u8> {
    let line = text.lines().next()?.trim_start_matches('\u{feff}').trim_matches([' ', '"']);
    let value = line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).map(|_| &line[4..])?;
    match value.as_bytes() {
        [separator] => Some(*separator),
        b"" => Some(b'\t'),
        _ => None,
    }
}

/// Splits the text by the separator that it uses.
pub fn split(text: &str) -> Table {
    let hint = read_hint(text);
    let lines: Vec<&str> = text.split('\n').collect();
    let first = usize::from(hint.is_some()).min(lines.len());
    let separator = hint.unwrap_or_else(|| find_separator(&lines));
    let (rows, blank) = read_rows(&lines[first..], first as u64 + 1, separator);
    Table { separator, has_hint: hint.is_some(), rows, blank }
}

/// The separator that gives the most rows with an address and another cell, and then the most even
/// rows.
fn find_separator(lines: &[&str]) -> u8 {
    let sample: Vec<&str> =
        lines.iter().copied().filter(|line| !line.trim().is_empty()).take(MAX_SAMPLE).collect();
    let score = |separator: u8| {
        let (rows, _) = read_rows(&sample, 1, separator);
        let wide = || rows.iter().filter(|row| row.fields.len() > 1);
        let with_address =
            wide().filter(|row| row.fields.iter().any(|field| address::read(field).is_some())).count();
        let width = most_frequent(wide().map(|row| row.fields.len()));
        (with_address, wide().filter(|row| Some(row.fields.len()) == width).count())
    };
    // Of equals, `max_by_key` takes the last.
    SEPARATORS.into_iter().rev().max_by_key(|separator| score(*separator)).unwrap_or(b',')
}

/// The value that occurs most often, the greater of equals.
pub fn most_frequent(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    counts.into_iter().max_by_key(|(_, count): &(usize, usize)| *count).map(|(value, _)| value)
}

/// Reads all rows, and counts the blank ones. `number` is that of the first line.
fn read_rows(lines: &[&str], number: u64, separator: u8) -> (Vec<Row>, usize) {
    let (mut rows, mut blank, mut index) = (Vec::new(), 0, 0);
    while index < lines.len() {
        let width = rows.last().map(|row: &Row| row.fields.len());
        let (text, count, is_open) = read_row(&lines[index..], separator, width);
        let fields = split_fields(&text, separator);
        if fields.iter().all(|field| crate::identity::clean::clean_text(field).is_empty()) {
            // The text after the last line end is no row.
            blank += usize::from(index + count < lines.len());
        } else {
            rows.push(Row { line: number + index as u64, text, fields, is_open });
        }
        index += count;
    }
    (rows, blank)
}

/// The text of the first row, how many lines it has, and whether its quote stays open.
fn read_row(lines: &[&str], separator: u8, width: Option<usize>) -> (String, usize, bool) {
    let mut text = lines[0].to_owned();
    if quotes(&text, separator) != Quotes::Open {
        return (text, 1, false);
    }
    for (count, line) in (2..=MAX_ROW_LINES).zip(&lines[1..]) {
        text.push('\n');
        text.push_str(line);
        match quotes(&text, separator) {
            Quotes::Open => {}
            Quotes::Broken => break,
            Quotes::Closed => {
                // A quote that is missing joins two students.
                let is_one = text.matches('@').count() <= 1
                    || width.is_some_and(|width| split_fields(&text, separator).len() == width);
                return if is_one { (text, count, false) } else { (lines[0].to_owned(), 1, true) };
            }
        }
    }
    (lines[0].to_owned(), 1, true)
}

/// How the quotes of a row stand at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    Closed,
    /// The row continues in the next line.
    Open,
    /// Text follows a closing quote.
    Broken,
}

fn quotes(text: &str, separator: u8) -> Quotes {
    let (mut is_start, mut is_quoted, mut is_broken) = (true, false, false);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if is_quoted {
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                is_quoted = false;
                while bytes.next_if_eq(&b' ').is_some() {}
                is_broken |= bytes.peek().is_some_and(|next| *next != separator);
            }
        } else if byte == b'"' && is_start {
            (is_quoted, is_start) = (true, false);
        } else {
            is_start = byte == separator || (is_start && byte == b' ');
        }
    }
    match (is_quoted, is_broken) {
        (_, true) => Quotes::Broken,
        (true, false) => Quotes::Open,
        (false, false) => Quotes::Closed,
    }
}

fn split_fields(text: &str, separator: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .trim(csv::Trim::All)
        .buffer_capacity(text.len().clamp(64, 8192))
        .from_reader(text.as_bytes());
    let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
    record.iter().map(unquote).collect()
}

/// A cell with spaces before its quote keeps the quotes; a spreadsheet protects text as `="text"`.
fn unquote(field: &str) -> String {
    let inner = field.strip_prefix('=').unwrap_or(field);
    let inner = inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(field);
    inner.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        split(text).rows.into_iter().map(|row| row.fields).collect()
    }

    #[test]
    fn quoted_line_breaks_stay_in_row() {
        let table = split("a,\"b\nc\",x@y\n\nd,e,z@y\n");
        assert_eq!(table.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!((table.rows[0].fields[1].as_str(), table.blank), ("b\nc", 1));
    }

    #[test]
    fn open_quote_spoils_one_row() {
        let table = split("a,b@x\n\"c,c@x\nd,d@x\n\"e\",e@x\n");
        assert_eq!(table.rows.iter().map(|row| row.is_open).collect::<Vec<_>>(), [false, true, false, false]);
    }

    #[test]
    fn separator_is_that_of_rows_with_address() {
        assert_eq!(fields("A, B, C\nAda;a@x\nBen;b@x")[1], ["Ada", "a@x"]);
        assert_eq!(fields("Ada|a@x")[0], ["Ada", "a@x"]);
        assert_eq!(fields("sep=^\nAda^a@x")[0], ["Ada", "a@x"]);
        assert_eq!(fields("\"sep=;\"\nAda;a@x")[0], ["Ada", "a@x"]);
    }
}
