//! What the program prints: results on standard output (tables for users, JSON for programs, names
//! for shells), messages, progress and errors on standard error. It must not know any command.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use time::OffsetDateTime;

pub use self::{
    error::{CommandError, ErrorKind},
    exit_status::ExitStatus,
};

pub mod browser;
pub mod clock;
mod error;
mod exit_status;
pub mod progress;
pub mod suggest;

/// The format of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// One JSON value, with times in RFC 3339 and sizes in bytes
    Json,
    /// One name per line
    Name,
}

impl Format {
    /// Whether a person reads it.
    pub fn is_human(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Prints results and messages as the global options ask.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The format of results.
    pub format: Format,
    /// Print identifiers only, and no messages.
    pub quiet: bool,
}

/// A result that can be printed in every format: as one row of a table, or as a list of fields.
pub trait Record: Serialize {
    /// Headings of the columns.
    const COLUMNS: &'static [&'static str];
    /// Headings of the columns that only [`Format::Wide`] has.
    const WIDE: &'static [&'static str] = &[];
    /// One text per column.
    fn cells(&self) -> Vec<String>;
    /// One text per column that only [`Format::Wide`] has.
    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }
    /// What [`Format::Name`] prints.
    fn name(&self) -> String;
    /// What `--quiet` prints.
    fn id(&self) -> String;
}

impl Output {
    /// Prints one row per item.
    pub fn list<T: Record>(&self, items: &[T]) -> Result<(), CommandError> {
        match self.format {
            Format::Json => self.json(&items),
            _ if self.quiet => items.iter().try_for_each(|item| line(&item.id())),
            Format::Name => items.iter().try_for_each(|item| line(&item.name())),
            Format::Table => table(T::COLUMNS, items.iter().map(Record::cells)),
            Format::Wide => table(
                &[T::COLUMNS, T::WIDE].concat(),
                items.iter().map(|item| [item.cells(), item.wide_cells()].concat()),
            ),
        }
    }

    /// Prints one item, with one line per column.
    pub fn one<T: Record>(&self, item: &T) -> Result<(), CommandError> {
        match self.format {
            Format::Json => self.json(item),
            _ if self.quiet => line(&item.id()),
            Format::Name => line(&item.name()),
            Format::Table => lines(T::COLUMNS, &item.cells()),
            Format::Wide => {
                lines(&[T::COLUMNS, T::WIDE].concat(), &[item.cells(), item.wide_cells()].concat())
            }
        }
    }

    /// Prints one JSON value, regardless of the format.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| CommandError::error("Cannot write the result as JSON").because(&error))?;
        line(&text)
    }

    /// Prints a message. It goes to standard error, so that it never mixes with data.
    pub fn say(&self, sentence: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{sentence}");
        }
    }
}

/// Writes one line to standard output.
pub fn line(text: &str) -> Result<(), CommandError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output. A closed pipe (`burrow list | head -1`) ends the program, as it
/// ends other programs.
pub fn bytes(data: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
        Err(error) => Err(CommandError::error("Cannot write to standard output").because(&error)),
    }
}

fn lines(columns: &[&str], cells: &[String]) -> Result<(), CommandError> {
    let width = columns.iter().map(|column| column.len()).max().unwrap_or(0) + 1;
    columns
        .iter()
        .zip(cells)
        .try_for_each(|(column, cell)| line(&format!("{:width$} {cell}", format!("{column}:"))))
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), CommandError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    table.to_string().lines().try_for_each(|text| line(text.trim_end().strip_prefix(' ').unwrap_or(text)))
}

/// A name as one word of a shell command, for hints that users copy.
pub fn shell_word(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.@/:".contains(letter);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", printable(name).replace('\'', r"'\''"))
}

/// Widest name in a table. One long name would make every row wider than the terminal. The formats
/// json and name have the whole name.
const MAX_NAME_COLUMNS: usize = 40;

/// A name for a table, cut in the middle if it is long: its beginning and its end tell names apart.
pub fn shorten(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= MAX_NAME_COLUMNS {
        return name.to_owned();
    }
    let half = (MAX_NAME_COLUMNS - 1) / 2;
    let begin = &letters[..MAX_NAME_COLUMNS - 1 - half];
    let end = &letters[letters.len() - half..];
    begin.iter().chain(&['…']).chain(end).collect()
}

/// Replaces control characters in text of a guest or another user, so that the terminal does not
/// execute them.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Like [`printable`], but keeps tabs and line ends.
pub fn printable_text(text: &str) -> String {
    let is_unsafe = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    text.chars().map(|character| if is_unsafe(character) { '\u{fffd}' } else { character }).collect()
}

/// Whether to use colors on standard output: it is a terminal, and NO_COLOR is not set
/// (no-color.org).
pub fn has_colors() -> bool {
    let is_disabled = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !is_disabled && !is_dumb
}

/// "3.0 MiB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// "5 min ago".
pub fn ago(then: OffsetDateTime, now: OffsetDateTime) -> String {
    match (now - then).whole_seconds() {
        ..5 => "now".to_owned(),
        seconds @ ..60 => format!("{seconds} s ago"),
        seconds @ ..3600 => format!("{} min ago", seconds / 60),
        seconds @ ..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_the_shell() {
        assert_eq!(shell_word("algo-1"), "algo-1");
        assert_eq!(shell_word("Algorithms, fall"), "'Algorithms, fall'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        assert_eq!(shorten("demo"), "demo");
        let short = shorten(&format!("first-{}-last", "x".repeat(200)));
        assert_eq!(short.chars().count(), MAX_NAME_COLUMNS);
        assert!(short.starts_with("first-") && short.ends_with("-last") && short.contains('…'), "{short}");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (10 * 1024 * 1024, "10 MiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(printable("a\x1b]0;x\x07b\nc"), "a\u{fffd}]0;x\u{fffd}b\u{fffd}c");
        assert_eq!(printable_text("a\x1b[2J\tb\r\nc"), "a\u{fffd}[2J\tb\u{fffd}\nc");
    }

    #[test]
    fn times_are_relative() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(10);
        for (seconds, text) in
            [(0, "now"), (59, "59 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (260_000, "3 days ago")]
        {
            assert_eq!(ago(now - time::Duration::seconds(seconds), now), text);
        }
    }
}
