//! The files of snapshots: listing, printing and comparing them.

use std::io::{self, IsTerminal};

use protocol::{
    Code,
    api::{
        snapshot::{Change, ChangeKind, Changes, Diff, Snapshot, SnapshotEntry},
        workspace::Workspace,
    },
    files::{EntryKind, HomePath},
};
use time::OffsetDateTime;

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, clock::Clock, progress::Step},
    server::Server,
    snapshots::{describe, quote},
};

/// Reads files of a workspace's snapshots through the server.
pub struct SnapshotFiles<'a> {
    /// The server that has the workspace.
    pub server: &'a Server,
    /// The workspace whose snapshots are read.
    pub workspace: &'a Workspace,
}

impl SnapshotFiles<'_> {
    /// The entry at `path`. None: the snapshot has none.
    pub async fn entry(&self, at: &Snapshot, path: &HomePath) -> Result<Option<SnapshotEntry>, CommandError> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(Some(home_entry())) };
        let directory = match self.server.snapshot_directory(self.workspace.id, at.id, parent.as_str()).await
        {
            // Its directory does not exist there, or is a file.
            Err(error) if error.is(Code::NotFound) || error.is(Code::Unsupported) => return Ok(None),
            directory => directory?,
        };
        let found = directory.entries.into_iter().find(|entry| entry.utf8 && entry.name == name);
        if found.is_none() && directory.truncated {
            return Err(CommandError::error(format!(
                "Cannot find `{name}` in `{parent}`: it has too many entries"
            ))
            .hint(format!("burrow restore {} --at {} {parent} --to DIR", self.workspace.name, at.id)));
        }
        Ok(found)
    }

    /// Like [`SnapshotFiles::entry`], but a missing entry is an error.
    pub async fn find(&self, at: &Snapshot, path: &HomePath) -> Result<SnapshotEntry, CommandError> {
        let name = &self.workspace.name;
        self.entry(at, path).await?.ok_or_else(|| {
            let path = output::printable(path.as_str());
            CommandError::new(
                ErrorKind::NotFound,
                format!("Cannot find `{path}` in snapshot {}", describe(at)),
            )
            .hint(format!("burrow history {name} {}", quote(&path)))
        })
    }

    /// Lists a directory, or prints a file.
    pub(super) async fn show(
        &self,
        context: &Context,
        at: &Snapshot,
        path: &HomePath,
    ) -> Result<(), CommandError> {
        let entry = self.find(at, path).await?;
        let name = if path.is_home() { "its home" } else { path.as_str() };
        let name = output::printable(name);
        context.output.say(&format!("{}, {name} at {}", self.workspace.name, describe(at)));
        match entry.kind {
            EntryKind::Directory => {
                let listing = self.server.snapshot_directory(self.workspace.id, at.id, path.as_str()).await?;
                context.output.list(&listing.entries)?;
                if listing.truncated {
                    context.output.say("There are more entries than these");
                }
                Ok(())
            }
            EntryKind::File if context.output.format != Format::Json => self.print(at, path).await,
            _ => context.output.one(&entry),
        }
    }

    /// Writes a file to standard output. On a terminal, control characters are replaced.
    async fn print(&self, at: &Snapshot, path: &HomePath) -> Result<(), CommandError> {
        let mut content = self.server.snapshot_content(self.workspace.id, at.id, path.as_str()).await?;
        let mut decoder = io::stdout().is_terminal().then(PrintableDecoder::default);
        while let Some(piece) = content.next().await? {
            match &mut decoder {
                Some(decoder) => output::bytes(decoder.decode(&piece).as_bytes())?,
                None => output::bytes(&piece)?,
            }
        }
        Ok(())
    }

    /// Prints what differs between two snapshots: of a file, a diff; of a directory, the changed
    /// paths.
    pub(super) async fn compare(
        &self,
        context: &Context,
        older: &Snapshot,
        newer: &Snapshot,
        path: &HomePath,
    ) -> Result<(), CommandError> {
        let is_file =
            |entry: &Option<SnapshotEntry>| entry.as_ref().is_some_and(|entry| entry.kind == EntryKind::File);
        let (before, after) = (self.entry(older, path).await?, self.entry(newer, path).await?);
        if before.is_none() && after.is_none() {
            // Fails with the error for a missing path.
            self.find(newer, path).await?;
        }
        context.output.say(&format!(
            "{}, from {} to {}",
            self.workspace.name,
            describe(older),
            describe(newer)
        ));
        let step = Step::begin(context.style, "Comparing");
        if is_file(&before) && is_file(&after) {
            let (id, path) = (self.workspace.id, path.as_str());
            let diff = self.server.snapshot_diff(id, older.id, newer.id, path).await?;
            step.done();
            return print_diff(context, &diff);
        }
        let id = self.workspace.id;
        let Changes { changes, truncated } =
            self.server.snapshot_changes(id, older.id, newer.id, path.as_str()).await?;
        step.done();
        context.output.list(&changes)?;
        if changes.is_empty() && context.output.format.is_human() {
            context.output.say("No changes");
        }
        if truncated {
            context.output.say("There are more changes than these. Give a path to see them.");
        }
        Ok(())
    }
}

/// The entry of the home itself, which is in no directory.
fn home_entry() -> SnapshotEntry {
    SnapshotEntry {
        name: ".".to_owned(),
        utf8: true,
        kind: EntryKind::Directory,
        size: 0,
        modified_ms: 0,
        mode: 0o755,
        target: None,
    }
}

/// Prints the diff of one file.
fn print_diff(context: &Context, diff: &Diff) -> Result<(), CommandError> {
    if context.output.format == Format::Json {
        return context.output.json(diff);
    }
    match diff {
        Diff::Same => context.output.say("No changes"),
        Diff::Binary { size_before, size_after } => context.output.say(&format!(
            "Cannot compare: the file is binary or too large ({} before, {} after)",
            output::size(*size_before),
            output::size(*size_after)
        )),
        Diff::Text { unified } if io::stdout().is_terminal() => {
            let text = output::printable_text(unified);
            let text = if output::has_colors() { colorize(&text) } else { text };
            output::bytes(text.as_bytes())?;
        }
        Diff::Text { unified } => output::bytes(unified.as_bytes())?,
    }
    Ok(())
}

/// Colors a unified diff as Git does.
fn colorize(unified: &str) -> String {
    const END: &str = "\u{1b}[0m";
    let mut text = String::with_capacity(unified.len() * 2);
    let mut is_head = true;
    for line in unified.split_inclusive('\n') {
        is_head &= !line.starts_with('@');
        let color = match line.as_bytes().first() {
            Some(b'+' | b'-') if is_head => "\u{1b}[1m",
            Some(b'+') => "\u{1b}[32m",
            Some(b'-') => "\u{1b}[31m",
            Some(b'@') => "\u{1b}[36m",
            _ => "",
        };
        let content = line.trim_end_matches('\n');
        let end = &line[content.len()..];
        match color {
            "" => text.extend([content, end]),
            color => text.extend([color, content, END, end]),
        }
    }
    text
}

/// Makes a file's bytes safe for a terminal. A character may be split between two pieces.
#[derive(Default)]
struct PrintableDecoder {
    /// The beginning of a character whose rest is still to come.
    pending: Vec<u8>,
}

impl PrintableDecoder {
    fn decode(&mut self, piece: &[u8]) -> String {
        self.pending.extend_from_slice(piece);
        let whole = match str::from_utf8(&self.pending) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.pending.len(),
        };
        let rest = self.pending.split_off(whole);
        let text = std::mem::replace(&mut self.pending, rest);
        output::printable_text(&String::from_utf8_lossy(&text))
    }
}

impl Record for SnapshotEntry {
    const COLUMNS: &'static [&'static str] = &["mode", "size", "modified", "name"];

    fn cells(&self) -> Vec<String> {
        let modified = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.modified_ms) * 1_000_000);
        vec![
            mode(self.kind, self.mode),
            if self.kind == EntryKind::File { output::size(self.size) } else { "–".to_owned() },
            modified.map_or_else(|_| "–".to_owned(), |modified| Clock::read().wall(modified)),
            match (&self.target, self.kind) {
                (Some(target), _) => format!("{} -> {}", self.name, target),
                (None, EntryKind::Directory) => format!("{}/", self.name),
                (None, _) => self.name.clone(),
            },
        ]
    }

    fn name(&self) -> String {
        output::printable(&self.name)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

/// "-rw-r--r--", as `ls -l` prints it.
pub(super) fn mode(kind: EntryKind, bits: u32) -> String {
    let kind = match kind {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Other => '?',
    };
    let permissions = (0..9).map(|place| {
        let is_set = bits & (0o400 >> place) != 0;
        if is_set { ['r', 'w', 'x'][place % 3] } else { '-' }
    });
    std::iter::once(kind).chain(permissions).collect()
}

impl Record for Change {
    const COLUMNS: &'static [&'static str] = &["change", "before", "after", "path"];

    fn cells(&self) -> Vec<String> {
        let size = |size: Option<u64>| size.map_or_else(|| "–".to_owned(), output::size);
        let slash = if self.entry == EntryKind::Directory { "/" } else { "" };
        vec![
            change_text(self.kind).to_owned(),
            size(self.size_before),
            size(self.size_after),
            format!("{}{slash}", self.path),
        ]
    }

    fn name(&self) -> String {
        output::printable(&self.path)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

pub(super) fn change_text(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_like_ls() {
        assert_eq!(mode(EntryKind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode(EntryKind::Directory, 0o2750), "drwxr-x---");
        assert_eq!(mode(EntryKind::Symlink, 0o777), "lrwxrwxrwx");
    }

    #[test]
    fn diffs_are_colored_by_line() {
        let text = colorize("--- a\n@@ -1 +1 @@\n--- x\n+y\n z").replace('\u{1b}', "E");
        assert_eq!(text, "E[1m--- aE[0m\nE[36m@@ -1 +1 @@E[0m\nE[31m--- xE[0m\nE[32m+yE[0m\n z");
    }

    #[test]
    fn split_characters_are_decoded_once() {
        let mut decoder = PrintableDecoder::default();
        let bytes = "aé\x1b[2J".as_bytes();
        assert_eq!(decoder.decode(&bytes[..2]) + &decoder.decode(&bytes[2..]), "aé\u{fffd}[2J");
        assert_eq!(decoder.decode(b"\xff\n"), "\u{fffd}\n");
    }
}
