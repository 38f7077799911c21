//! What goes to standard output: a table for people, JSON for programs, names for shells. It knows no command.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use time::OffsetDateTime;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// One JSON value; stable, times in RFC 3339, sizes in bytes.
    Json,
    /// One name a line.
    Name,
}

impl Format {
    /// Whether a person reads it.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// How a command answers.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    /// Only identifiers, and no progress.
    pub quiet: bool,
}

/// A thing that can be shown in all forms.
pub trait Shown: Serialize {
    const COLUMNS: &'static [&'static str];
    /// Further columns of [`Format::Wide`].
    const WIDE: &'static [&'static str] = &[];
    fn cells(&self) -> Vec<String>;
    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }
    fn name(&self) -> String;
    /// What `--quiet` prints.
    fn id(&self) -> String;
}

impl Output {
    pub fn list<T: Shown>(&self, items: &[T]) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&items),
            _ if self.quiet => items.iter().try_for_each(|item| line(&item.id())),
            Format::Name => items.iter().try_for_each(|item| line(&item.name())),
            Format::Table => table(T::COLUMNS, items.iter().map(Shown::cells)),
            Format::Wide => table(
                &[T::COLUMNS, T::WIDE].concat(),
                items.iter().map(|item| [item.cells(), item.wide_cells()].concat()),
            ),
        }
    }

    pub fn one<T: Shown>(&self, item: &T) -> Result<(), Failure> {
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

    /// One JSON value, whatever the format.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::error("The answer cannot be written as JSON").because(&error))?;
        line(&text)
    }

    /// A sentence that says what was done; on standard error, so that it never mixes with data.
    pub fn say(&self, sentence: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{sentence}");
        }
    }
}

/// Writes one line of data.
pub fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes data as it is. A closed pipe (`burrow list | head -1`) ends the program as it ends any other.
pub fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
        Err(error) => Err(Failure::error("Standard output cannot be written").because(&error)),
    }
}

fn lines(columns: &[&str], cells: &[String]) -> Result<(), Failure> {
    let width = columns.iter().map(|column| column.len()).max().unwrap_or(0) + 1;
    columns
        .iter()
        .zip(cells)
        .try_for_each(|(column, cell)| line(&format!("{:width$} {cell}", format!("{column}:"))))
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    table.to_string().lines().try_for_each(|text| line(text.trim_end().strip_prefix(' ').unwrap_or(text)))
}

/// Text of a guest or another user, without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// A guest's text of many lines, without what a terminal would obey; tabs and line ends stay.
pub fn printable_text(text: &str) -> String {
    let obeyed = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    text.chars().map(|character| if obeyed(character) { '\u{fffd}' } else { character }).collect()
}

/// Whether to colour what goes to standard output: a person looks on, and has not said no (no-color.org).
pub fn is_coloured() -> bool {
    let said_no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !said_no && !dumb
}

/// "3 MiB": sizes as people read them.
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
    fn terminal_commands_in_names_are_not_obeyed() {
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
