//! `history`: a home's snapshots, the versions of a file, what a directory or a file was, and what has changed.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IsTerminal},
};

use protocol::{
    Code,
    api::{
        snapshot::{Change, ChangeKind, Changes, Diff, PastEntry, Snapshot},
        workspace::Workspace,
    },
    files::{EntryKind, HomePath},
};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    Context,
    snapshot::{self, described, quoted},
    workspace,
};
use crate::{
    arguments::{History, Listed},
    clock::Clock,
    failure::{Failure, Kind},
    output::{self, Format, Shown},
    progress::Step,
    server::Server,
};

/// Most snapshots that are looked into for one file's versions: each is a question to the server.
const MAX_LOOKS: usize = 300;

impl Shown for PastEntry {
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
        Shown::name(self)
    }
}

/// As `ls -l` writes it.
fn mode(kind: EntryKind, bits: u32) -> String {
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

impl Shown for Change {
    const COLUMNS: &'static [&'static str] = &["change", "before", "after", "path"];

    fn cells(&self) -> Vec<String> {
        let size = |size: Option<u64>| size.map_or_else(|| "–".to_owned(), output::size);
        let slash = if self.entry == EntryKind::Directory { "/" } else { "" };
        vec![
            change_word(self.kind).to_owned(),
            size(self.size_before),
            size(self.size_after),
            format!("{}{slash}", self.path),
        ]
    }

    fn name(&self) -> String {
        output::printable(&self.path)
    }

    fn id(&self) -> String {
        Shown::name(self)
    }
}

fn change_word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    }
}

/// What a path became, and the first snapshot that has it so.
#[derive(Serialize)]
struct Version {
    snapshot: Snapshot,
    /// None: of the oldest snapshot that was looked at, so that nothing is known of before.
    change: Option<ChangeKind>,
    /// None: it is not there any more.
    entry: Option<PastEntry>,
}

impl Shown for Version {
    const COLUMNS: &'static [&'static str] = &["id", "when", "change", "size", "modified"];

    fn cells(&self) -> Vec<String> {
        let entry = self.entry.as_ref().map(Shown::cells);
        let cell = |place: usize| entry.as_ref().map_or_else(|| "–".to_owned(), |cells| cells[place].clone());
        vec![
            snapshot::short(self.snapshot.id),
            output::ago(self.snapshot.created_at, OffsetDateTime::now_utc()),
            self.change.map_or("there", change_word).to_owned(),
            cell(1),
            cell(2),
        ]
    }

    fn name(&self) -> String {
        Shown::name(&self.snapshot)
    }

    fn id(&self) -> String {
        self.snapshot.id()
    }
}

pub async fn history(context: &Context, history: History) -> Result<(), Failure> {
    let path = history.path.as_deref().map(parse_path).transpose()?;
    let server = context.server()?;
    let workspace = workspace::find(&server, &history.target.workspace).await?;
    let Some(at) = history.at else {
        return match path {
            Some(path) if !path.is_home() => {
                versions(context, &server, &workspace, &path, &history.listed).await
            }
            _ => snapshot::list(context, &server, &workspace, &history.listed).await,
        };
    };
    let past = Past { server: &server, workspace: &workspace };
    let at = snapshot::resolve(&server, &workspace, &at).await?;
    let path = path.unwrap_or_default();
    if !history.diff {
        return past.show(context, &at, &path).await;
    }
    let with = history.with.as_deref().unwrap_or("latest");
    let with = snapshot::resolve(&server, &workspace, with).await?;
    let (older, newer) = if at.created_at <= with.created_at { (at, with) } else { (with, at) };
    past.compare(context, &older, &newer, &path).await
}

/// A path as a person writes it.
pub fn parse_path(text: &str) -> Result<HomePath, Failure> {
    HomePath::parse(text).map_err(|error| {
        Failure::new(Kind::Usage, format!("`{}` is no path of a home", output::printable(text)))
            .why(error.to_string())
            .next("paths are relative to the home, as src/main.rs")
    })
}

/// A home's snapshots, to be looked into.
pub struct Past<'a> {
    pub server: &'a Server,
    pub workspace: &'a Workspace,
}

impl Past<'_> {
    /// What `path` was. None: nothing.
    pub async fn look(&self, at: &Snapshot, path: &HomePath) -> Result<Option<PastEntry>, Failure> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(Some(home())) };
        let directory = match self.server.past_directory(self.workspace.id, at.id, parent.as_str()).await {
            // Its directory was not there, or was a file.
            Err(error) if error.is(Code::NotFound) || error.is(Code::Unsupported) => return Ok(None),
            directory => directory?,
        };
        let found = directory.entries.into_iter().find(|entry| entry.utf8 && entry.name == name);
        if found.is_none() && directory.truncated {
            return Err(Failure::error(format!("`{parent}` has more entries than can be looked through"))
                .next(format!("burrow restore {} --at {} {parent} --to DIR", self.workspace.name, at.id)));
        }
        Ok(found)
    }

    /// As [`Past::look`], of what must be there.
    pub async fn find(&self, at: &Snapshot, path: &HomePath) -> Result<PastEntry, Failure> {
        let name = &self.workspace.name;
        self.look(at, path).await?.ok_or_else(|| {
            let path = output::printable(path.as_str());
            Failure::new(Kind::NotFound, format!("There was no `{path}` then ({})", described(at)))
                .next(format!("burrow history {name} {}", quoted(&path)))
        })
    }

    async fn show(&self, context: &Context, at: &Snapshot, path: &HomePath) -> Result<(), Failure> {
        let entry = self.find(at, path).await?;
        let name = if path.is_home() { "its home" } else { path.as_str() };
        let name = output::printable(name);
        context.output.say(&format!("{}, {name} at {}", self.workspace.name, described(at)));
        match entry.kind {
            EntryKind::Directory => {
                let listing = self.server.past_directory(self.workspace.id, at.id, path.as_str()).await?;
                context.output.list(&listing.entries)?;
                if listing.truncated {
                    context.output.say("It had more entries than these");
                }
                Ok(())
            }
            EntryKind::File if context.output.format != Format::Json => self.print(at, path).await,
            _ => context.output.one(&entry),
        }
    }

    async fn print(&self, at: &Snapshot, path: &HomePath) -> Result<(), Failure> {
        let mut content = self.server.past_content(self.workspace.id, at.id, path.as_str()).await?;
        let mut screen = io::stdout().is_terminal().then(Screen::default);
        while let Some(piece) = content.next().await? {
            match &mut screen {
                Some(screen) => output::bytes(screen.show(&piece).as_bytes())?,
                None => output::bytes(&piece)?,
            }
        }
        Ok(())
    }

    async fn compare(
        &self,
        context: &Context,
        older: &Snapshot,
        newer: &Snapshot,
        path: &HomePath,
    ) -> Result<(), Failure> {
        let is_file =
            |entry: &Option<PastEntry>| entry.as_ref().is_some_and(|entry| entry.kind == EntryKind::File);
        let (before, after) = (self.look(older, path).await?, self.look(newer, path).await?);
        if before.is_none() && after.is_none() {
            // In the words for what is not there.
            self.find(newer, path).await?;
        }
        context.output.say(&format!(
            "{}, from {} to {}",
            self.workspace.name,
            described(older),
            described(newer)
        ));
        let step = Step::begin(context.style, "Comparing");
        if is_file(&before) && is_file(&after) {
            let (id, path) = (self.workspace.id, path.as_str());
            let diff = self.server.past_diff(id, older.id, newer.id, path).await?;
            step.done();
            return print_diff(context, &diff);
        }
        let id = self.workspace.id;
        let Changes { changes, truncated } =
            self.server.past_changes(id, older.id, newer.id, path.as_str()).await?;
        step.done();
        context.output.list(&changes)?;
        if changes.is_empty() && context.output.format.is_for_people() {
            context.output.say("Nothing has changed");
        }
        if truncated {
            context.output.say("More has changed than is shown: give a path");
        }
        Ok(())
    }
}

/// The entry of the home itself, which no directory holds.
fn home() -> PastEntry {
    PastEntry {
        name: ".".to_owned(),
        utf8: true,
        kind: EntryKind::Directory,
        size: 0,
        modified_ms: 0,
        mode: 0o755,
        target: None,
    }
}

fn print_diff(context: &Context, diff: &Diff) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(diff);
    }
    match diff {
        Diff::Same => context.output.say("Nothing has changed"),
        Diff::Binary { size_before, size_after } => context.output.say(&format!(
            "It is no text, or too large to compare: {} before, {} after",
            output::size(*size_before),
            output::size(*size_after)
        )),
        Diff::Text { unified } if io::stdout().is_terminal() => {
            let text = output::printable_text(unified);
            let text = if output::is_coloured() { coloured(&text) } else { text };
            output::bytes(text.as_bytes())?;
        }
        Diff::Text { unified } => output::bytes(unified.as_bytes())?,
    }
    Ok(())
}

/// Green and red, as people know it.
fn coloured(unified: &str) -> String {
    const END: &str = "\u{1b}[0m";
    let mut text = String::with_capacity(unified.len() * 2);
    let mut is_head = true;
    for line in unified.split_inclusive('\n') {
        is_head &= !line.starts_with('@');
        let colour = match line.as_bytes().first() {
            Some(b'+' | b'-') if is_head => "\u{1b}[1m",
            Some(b'+') => "\u{1b}[32m",
            Some(b'-') => "\u{1b}[31m",
            Some(b'@') => "\u{1b}[36m",
            _ => "",
        };
        let words = line.trim_end_matches('\n');
        let end = &line[words.len()..];
        match colour {
            "" => text.extend([words, end]),
            colour => text.extend([colour, words, END, end]),
        }
    }
    text
}

/// A file's bytes on a terminal, which must not obey them. A character may come in two pieces.
#[derive(Default)]
struct Screen {
    begun: Vec<u8>,
}

impl Screen {
    fn show(&mut self, piece: &[u8]) -> String {
        self.begun.extend_from_slice(piece);
        let whole = match str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let text = std::mem::replace(&mut self.begun, rest);
        output::printable_text(&String::from_utf8_lossy(&text))
    }
}

/// A path's versions: between two snapshots that have it alike, nothing is looked at.
async fn versions(
    context: &Context,
    server: &Server,
    workspace: &Workspace,
    path: &HomePath,
    listed: &Listed,
) -> Result<(), Failure> {
    let since = listed.since.as_deref().map(snapshot::since).transpose()?;
    let (snapshots, _) = snapshot::past(server, workspace, since, u32::MAX).await?;
    let past = Past { server, workspace };
    let step = Step::begin(context.style, format!("Looking through {} snapshots", snapshots.len()));
    let mut looked = Looked::new(&past, path, &snapshots);
    let whole = looked.all(listed.most() as usize).await?;
    step.done();
    let mut versions = looked.versions();
    versions.truncate(listed.most() as usize);
    if versions.is_empty() {
        let path = output::printable(path.as_str());
        let words = format!("No snapshot of {} has `{path}`", workspace.name);
        let failure = Failure::new(Kind::NotFound, words);
        let looks = format!("{} of {} were looked into", looked.entries.len(), snapshots.len());
        let failure = if whole { failure } else { failure.why(looks) };
        return Err(failure.next(format!("burrow history {} --at TIME", workspace.name)));
    }
    context.output.list(&versions)?;
    if context.output.format.is_for_people() {
        if !whole {
            context.output.say("There may be older versions: --since TIME, --limit N");
        }
        context.output.say(&format!(
            "Next: burrow history {0} --at ID {1}, or burrow restore {0} --at ID {1}",
            workspace.name,
            quoted(&output::printable(path.as_str()))
        ));
    }
    Ok(())
}

/// What a path was, in those snapshots that have been looked into.
struct Looked<'a> {
    past: &'a Past<'a>,
    path: &'a HomePath,
    /// Newest first.
    snapshots: &'a [Snapshot],
    /// By the snapshot's place.
    entries: BTreeMap<usize, Option<PastEntry>>,
}

impl<'a> Looked<'a> {
    fn new(past: &'a Past<'a>, path: &'a HomePath, snapshots: &'a [Snapshot]) -> Self {
        Self { past, path, snapshots, entries: BTreeMap::new() }
    }

    /// Looks until every change between two neighbours is known, newest first; or enough of them. Whether that was all.
    ///
    /// What two snapshots have alike, those between have too: its time of change would tell. What both have not may have
    /// come and gone between: there it is looked for last, wider steps first.
    async fn all(&mut self, enough: usize) -> Result<bool, Failure> {
        let Some(oldest) = self.snapshots.len().checked_sub(1) else { return Ok(true) };
        let (mut different, mut absent) = (vec![(0, oldest)], VecDeque::new());
        let mut found = 0;
        while let Some((newer, older)) = different.pop().or_else(|| absent.pop_front()) {
            if self.entries.len() >= MAX_LOOKS || found >= enough {
                return Ok(false);
            }
            let (after, before) = (self.at(newer).await?, self.at(older).await?);
            let is_one_step = older - newer <= 1;
            let between = newer.midpoint(older);
            match (after == before, after) {
                (true, Some(_)) => {}
                (true, None) if is_one_step => {}
                (false, _) if is_one_step => found += 1,
                (true, None) if self.at(between).await?.is_none() => {
                    absent.extend([(newer, between), (between, older)]);
                }
                _ => different.extend([(between, older), (newer, between)]),
            }
        }
        Ok(true)
    }

    async fn at(&mut self, index: usize) -> Result<Option<PastEntry>, Failure> {
        if let Some(known) = self.entries.get(&index) {
            return Ok(known.clone());
        }
        let entry = self.past.look(&self.snapshots[index], self.path).await?;
        self.entries.insert(index, entry.clone());
        Ok(entry)
    }

    /// Of the looks that were taken: each pair of neighbours that differ, and what the oldest has.
    fn versions(&self) -> Vec<Version> {
        let version = |index: usize, change, entry: &Option<PastEntry>| Version {
            snapshot: self.snapshots[index].clone(),
            change,
            entry: entry.clone(),
        };
        let mut versions: Vec<Version> = Vec::new();
        for (index, newer) in &self.entries {
            let Some(older) = self.entries.get(&(index + 1)) else { continue };
            let change = match (older, newer) {
                _ if older == newer => continue,
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                (Some(_), Some(_)) => ChangeKind::Changed,
            };
            versions.push(version(*index, Some(change), newer));
        }
        if let Some((index, oldest @ Some(_))) = self.entries.last_key_value() {
            versions.push(version(*index, None, oldest));
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_as_ls_writes_them() {
        assert_eq!(mode(EntryKind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode(EntryKind::Directory, 0o2750), "drwxr-x---");
        assert_eq!(mode(EntryKind::Symlink, 0o777), "lrwxrwxrwx");
    }

    #[test]
    fn a_difference_is_coloured_line_by_line() {
        let text = coloured("--- a\n@@ -1 +1 @@\n--- x\n+y\n z").replace('\u{1b}', "E");
        assert_eq!(text, "E[1m--- aE[0m\nE[36m@@ -1 +1 @@E[0m\nE[31m--- xE[0m\nE[32m+yE[0m\n z");
    }

    #[test]
    fn a_character_in_two_pieces_is_shown_once() {
        let mut screen = Screen::default();
        let bytes = "aé\x1b[2J".as_bytes();
        assert_eq!(screen.show(&bytes[..2]) + &screen.show(&bytes[2..]), "aé\u{fffd}[2J");
        assert_eq!(screen.show(b"\xff\n"), "\u{fffd}\n");
    }
}
