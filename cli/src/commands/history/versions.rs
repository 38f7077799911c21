//! `burrow history WORKSPACE PATH`: the versions of a path, found with few requests.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    api::snapshot::{ChangeKind, Snapshot, SnapshotEntry},
    files::HomePath,
};
use serde::Serialize;
use time::OffsetDateTime;

use super::{RangeOptions, SnapshotFiles, files::change_text};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Record, progress::Step},
    snapshots::{self, quote, short_id},
};

/// Most snapshots that are inspected for the versions of one path. Each is a request to the server.
const MAX_LOOKUPS: usize = 300;

/// A version of a path, and the first snapshot that has it.
#[derive(Serialize)]
struct Version {
    snapshot: Snapshot,
    /// None: it is in the oldest snapshot that was inspected, so that the change is not known.
    change: Option<ChangeKind>,
    /// None: it was removed.
    entry: Option<SnapshotEntry>,
}

impl Record for Version {
    const COLUMNS: &'static [&'static str] = &["id", "when", "change", "size", "modified"];

    fn cells(&self) -> Vec<String> {
        let entry = self.entry.as_ref().map(Record::cells);
        let cell = |place: usize| entry.as_ref().map_or_else(|| "–".to_owned(), |cells| cells[place].clone());
        vec![
            short_id(self.snapshot.id),
            output::ago(self.snapshot.created_at, OffsetDateTime::now_utc()),
            self.change.map_or("present", change_text).to_owned(),
            cell(1),
            cell(2),
        ]
    }

    fn name(&self) -> String {
        Record::name(&self.snapshot)
    }

    fn id(&self) -> String {
        self.snapshot.id()
    }
}

/// Prints the versions of a path, newest first.
pub async fn list(
    context: &Context,
    files: &SnapshotFiles<'_>,
    path: &HomePath,
    range: &RangeOptions,
) -> Result<(), CommandError> {
    let since = range.since.as_deref().map(snapshots::parse_since).transpose()?;
    let workspace = files.workspace;
    let (snapshots, _) = snapshots::fetch(files.server, workspace, since, u32::MAX).await?;
    let step = Step::begin(context.style, format!("Searching {} snapshots", snapshots.len()));
    let mut search = VersionSearch::new(files, path, &snapshots);
    let is_complete = search.run(range.limit() as usize).await?;
    step.done();
    let mut versions = search.versions();
    versions.truncate(range.limit() as usize);
    if versions.is_empty() {
        let path = output::printable(path.as_str());
        let what = format!("Cannot find `{path}` in any snapshot of {}", workspace.name);
        let error = CommandError::new(ErrorKind::NotFound, what);
        let searched = format!("{} of {} snapshots were searched", search.entries.len(), snapshots.len());
        let error = if is_complete { error } else { error.cause(searched) };
        return Err(error.hint(format!("burrow history {} --at TIME", workspace.name)));
    }
    context.output.list(&versions)?;
    if context.output.format.is_human() {
        if !is_complete {
            context.output.say("There may be older versions. To find them: --since TIME, --limit N");
        }
        context.output.say(&format!(
            "Next: burrow history {0} --at ID {1}, or burrow restore {0} --at ID {1}",
            workspace.name,
            quote(&output::printable(path.as_str()))
        ));
    }
    Ok(())
}

/// The entries of one path in the snapshots that were inspected.
struct VersionSearch<'a> {
    files: &'a SnapshotFiles<'a>,
    path: &'a HomePath,
    /// Newest first.
    snapshots: &'a [Snapshot],
    /// By the index of the snapshot.
    entries: BTreeMap<usize, Option<SnapshotEntry>>,
}

impl<'a> VersionSearch<'a> {
    fn new(files: &'a SnapshotFiles<'a>, path: &'a HomePath, snapshots: &'a [Snapshot]) -> Self {
        Self { files, path, snapshots, entries: BTreeMap::new() }
    }

    /// Searches, newest first, until every change between neighbouring snapshots is known, or
    /// `limit` of them. Returns whether the search is complete.
    ///
    /// If two snapshots have the same entry, so have those between them: otherwise its modification
    /// time would differ. If neither has one, a file may have been created and deleted between
    /// them. Those ranges are searched last, wide steps first.
    async fn run(&mut self, limit: usize) -> Result<bool, CommandError> {
        let Some(oldest) = self.snapshots.len().checked_sub(1) else { return Ok(true) };
        let (mut different, mut absent) = (vec![(0, oldest)], VecDeque::new());
        let mut found = 0;
        while let Some((newer, older)) = different.pop().or_else(|| absent.pop_front()) {
            if self.entries.len() >= MAX_LOOKUPS || found >= limit {
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

    async fn at(&mut self, index: usize) -> Result<Option<SnapshotEntry>, CommandError> {
        if let Some(known) = self.entries.get(&index) {
            return Ok(known.clone());
        }
        let entry = self.files.entry(&self.snapshots[index], self.path).await?;
        self.entries.insert(index, entry.clone());
        Ok(entry)
    }

    /// The versions that the search has found: each pair of neighbours that differ, and the entry
    /// of the oldest snapshot.
    fn versions(&self) -> Vec<Version> {
        let version = |index: usize, change, entry: &Option<SnapshotEntry>| Version {
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
