//! Restoring files one by one: what to do about each, and doing it.

use std::path::{Path, PathBuf};

use protocol::{
    Code,
    api::snapshot::{Snapshot, SnapshotEntry},
    files::{EntryKind, HomePath},
};
use serde::Serialize;

use super::{
    SnapshotFiles,
    target::{self, ExistingEntry, RestoreTarget},
};
use crate::{
    context::Context,
    output::{
        self, CommandError, ErrorKind, Record,
        clock::Clock,
        progress::{self, Step},
    },
};

/// Most files and directories of one command. More would be a whole home, or a home made to be
/// endless.
const MAX_ENTRIES: usize = 200_000;
/// Files between two updates of the progress.
const FILES_PER_UPDATE: usize = 100;

/// What was done about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It did not exist.
    Created,
    /// The existing entry was kept next to it, or was overwritten with `--force`.
    Replaced,
    /// It is the same already.
    Same,
    /// It was not restored.
    Failed,
}

/// The result for one entry. `burrow restore -o json` prints a list of them.
#[derive(Debug, Serialize)]
pub struct RestoredEntry {
    path: String,
    kind: EntryKind,
    size: u64,
    outcome: Outcome,
    /// The name of the existing entry now.
    kept: Option<String>,
    /// Why it failed.
    message: Option<String>,
}

impl Record for RestoredEntry {
    const COLUMNS: &'static [&'static str] = &["result", "size", "path", "kept as"];

    fn cells(&self) -> Vec<String> {
        let result = match self.outcome {
            Outcome::Created => "created",
            Outcome::Replaced => "replaced",
            Outcome::Same => "same",
            Outcome::Failed => "failed",
        };
        let is_file = self.kind == EntryKind::File;
        let slash = if self.kind == EntryKind::Directory { "/" } else { "" };
        vec![
            result.to_owned(),
            if is_file { output::size(self.size) } else { "–".to_owned() },
            format!("{}{slash}", self.path),
            self.kept.clone().unwrap_or_else(|| "–".to_owned()),
        ]
    }

    fn name(&self) -> String {
        output::printable(&self.path)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

/// A path of the snapshot, and the directory and name to restore it to. Without a name, its content
/// goes into the directory.
pub struct Source<At> {
    path: HomePath,
    entry: SnapshotEntry,
    directory: At,
    name: Option<String>,
}

/// Restores each path to where it was in the home.
pub fn home_sources(wanted: Vec<(HomePath, SnapshotEntry)>) -> Vec<Source<HomePath>> {
    let source = |(path, entry): (HomePath, SnapshotEntry)| Source {
        directory: path.parent().unwrap_or_default(),
        name: path.name().map(str::to_owned),
        path,
        entry,
    };
    wanted.into_iter().map(source).collect()
}

/// Restores to a local path, which is understood like the last argument of `cp -r`.
pub fn local_sources(wanted: Vec<(HomePath, SnapshotEntry)>, to: &Path) -> Vec<Source<PathBuf>> {
    let is_directory = to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/');
    let (directory, name) = match (to.parent(), to.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) if !is_directory && wanted.len() == 1 && !wanted[0].0.is_home() => {
            (parent.to_owned(), Some(name.to_owned()))
        }
        _ => (to.to_owned(), None),
    };
    let source = |(path, entry): (HomePath, SnapshotEntry)| Source {
        directory: directory.clone(),
        name: name.clone().or_else(|| path.name().map(str::to_owned)),
        path,
        entry,
    };
    wanted.into_iter().map(source).collect()
}

/// What to do about a path, as far as both sides are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Create,
    /// Both are directories: continue with their entries.
    Merge,
    Same,
    /// Files of the same size: compare their content.
    Compare,
    /// Overwrite the existing file.
    Replace,
    /// Rename the existing entry, then write.
    SetAside,
    /// It cannot be restored.
    Refuse,
}

fn plan(entry: &SnapshotEntry, existing: Option<&ExistingEntry>, force: bool) -> Plan {
    let Some(existing) = existing else {
        return if entry.kind == EntryKind::Other { Plan::Refuse } else { Plan::Create };
    };
    match (entry.kind, existing.kind) {
        (EntryKind::Other, _) => Plan::Refuse,
        (EntryKind::Directory, EntryKind::Directory) => Plan::Merge,
        (EntryKind::Symlink, EntryKind::Symlink) if entry.target == existing.target => Plan::Same,
        (EntryKind::File, EntryKind::File) if entry.size == existing.size => Plan::Compare,
        (EntryKind::File, EntryKind::File) if force => Plan::Replace,
        _ => Plan::SetAside,
    }
}

/// An entry that waits to be restored.
struct Item<At> {
    path: HomePath,
    entry: SnapshotEntry,
    directory: At,
    name: String,
    existing: Option<ExistingEntry>,
}

/// Restores entries of one snapshot to one target, depth first.
pub struct FileRestorer<'a, T: RestoreTarget> {
    files: &'a SnapshotFiles<'a>,
    at: &'a Snapshot,
    target: T,
    force: bool,
    /// Appended to the names of existing entries that are kept.
    suffix: String,
    step: Step,
    items: Vec<Item<T::At>>,
    results: Vec<RestoredEntry>,
}

impl<'a, T: RestoreTarget> FileRestorer<'a, T> {
    /// A restorer that shows its progress with `step`. `force`: overwrite files instead of keeping
    /// them.
    pub fn new(files: &'a SnapshotFiles<'a>, at: &'a Snapshot, target: T, force: bool, step: Step) -> Self {
        let suffix = format!(".before-restore-{}", Clock::read().stamp());
        Self { files, at, target, force, suffix, step, items: Vec::new(), results: Vec::new() }
    }

    /// Restores all sources and what is below them. Returns what was done about each entry.
    pub async fn run(mut self, sources: Vec<Source<T::At>>) -> Result<Vec<RestoredEntry>, CommandError> {
        for source in sources {
            let Source { path, entry, directory, name } = source;
            if let Some(name) = name {
                let existing = self.target.entries(&directory).await?.remove(&name);
                if existing.is_none() {
                    // Its parents may not exist any more either.
                    self.target.create_directories(&directory).await?;
                }
                self.items.push(Item { path, entry, directory, name, existing });
            } else {
                self.target.create_directories(&directory).await?;
                self.queue_entries(&path, &directory).await?;
            }
            self.restore_items().await?;
        }
        self.target.finish().await?;
        self.step.done();
        Ok(self.results)
    }

    async fn restore_items(&mut self) -> Result<(), CommandError> {
        while let Some(item) = self.items.pop() {
            if self.results.len() >= MAX_ENTRIES {
                return Err(CommandError::error(format!(
                    "Cannot restore more than {MAX_ENTRIES} files at once"
                ))
                .hint("restore the directories one by one, or the whole home with --all"));
            }
            let (path, kind, size) = (item.display(&self.target), item.entry.kind, item.entry.size);
            let restored = match self.restore_item(item).await {
                Ok(Some((outcome, kept))) => RestoredEntry { path, kind, size, outcome, kept, message: None },
                Ok(None) => continue,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    let message = Some(error.summary());
                    RestoredEntry { path, kind, size, outcome: Outcome::Failed, kept: None, message }
                }
            };
            self.results.push(restored);
            if self.results.len().is_multiple_of(FILES_PER_UPDATE) {
                self.step.detail(&format!("{} files", self.results.len()));
            }
        }
        Ok(())
    }

    /// Restores one entry. The entries of a directory become further items. None: nothing to
    /// report.
    async fn restore_item(
        &mut self,
        item: Item<T::At>,
    ) -> Result<Option<(Outcome, Option<String>)>, CommandError> {
        let target = self.target.child(&item.directory, &item.name)?;
        let mut plan = plan(&item.entry, item.existing.as_ref(), self.force);
        if item.entry.kind == EntryKind::File && item.entry.size > self.target.max_file_bytes() {
            let limit = output::size(self.target.max_file_bytes());
            return Err(CommandError::error(format!(
                "the file is larger than the limit of {limit} for uploads; use --to"
            )));
        }
        if plan == Plan::Compare {
            let content = self.content(&item).await?;
            plan = match (self.target.has_content(&target, content).await?, self.force) {
                (true, _) => Plan::Same,
                (false, true) => Plan::Replace,
                (false, false) => Plan::SetAside,
            };
        }
        match plan {
            Plan::Same => Ok(Some((Outcome::Same, None))),
            Plan::Refuse => Err(CommandError::error("sockets, pipes and devices cannot be restored")),
            Plan::Merge => {
                self.queue_entries(&item.path, &target).await?;
                Ok(None)
            }
            Plan::Create => {
                self.write(&item, &target, false).await?;
                Ok(Some((Outcome::Created, None)))
            }
            Plan::Replace => {
                self.write(&item, &target, true).await?;
                Ok(Some((Outcome::Replaced, None)))
            }
            Plan::Compare | Plan::SetAside => {
                let kept = self.target.child(&item.directory, &format!("{}{}", item.name, self.suffix))?;
                self.target.rename(&target, &kept).await?;
                if let Err(error) = self.write(&item, &target, false).await {
                    // Restore the name of the existing entry: it is better than nothing.
                    let renamed = self.target.rename(&kept, &target).await;
                    return Err(match renamed {
                        Ok(()) => error,
                        Err(_) => {
                            error.hint(format!("the existing file is now {}", self.target.display(&kept)))
                        }
                    });
                }
                Ok(Some((Outcome::Replaced, Some(self.target.display(&kept)))))
            }
        }
    }

    async fn write(
        &mut self,
        item: &Item<T::At>,
        target: &T::At,
        may_replace: bool,
    ) -> Result<(), CommandError> {
        match (item.entry.kind, &item.entry.target) {
            (EntryKind::File, _) => {
                let content = self.content(item).await?;
                self.target.write(target, content, item.entry.mode, may_replace).await
            }
            (EntryKind::Directory, _) => {
                self.target.create_directory(target, item.entry.mode).await?;
                self.queue_entries(&item.path, target).await
            }
            (EntryKind::Symlink, Some(to)) => self.target.create_symlink(target, to).await,
            (EntryKind::Symlink, None) | (EntryKind::Other, _) => {
                Err(CommandError::error("the entry cannot be restored"))
            }
        }
    }

    async fn content(&self, item: &Item<T::At>) -> Result<client::Content, CommandError> {
        let SnapshotFiles { server, workspace } = *self.files;
        Ok(server.snapshot_content(workspace.id, self.at.id, item.path.as_str()).await?)
    }

    /// Queues the entries of a directory.
    async fn queue_entries(&mut self, path: &HomePath, target: &T::At) -> Result<(), CommandError> {
        let SnapshotFiles { server, workspace } = *self.files;
        let listing = server.snapshot_directory(workspace.id, self.at.id, path.as_str()).await?;
        let mut existing = self.target.entries(target).await?;
        if listing.truncated {
            self.report_failure(target, "the directory has too many entries; the rest was not restored");
        }
        for entry in listing.entries.into_iter().rev() {
            if !entry.utf8 {
                let name = output::printable(&entry.name);
                self.report_failure(target, &format!("the name `{name}` is not valid UTF-8"));
                continue;
            }
            let (path, name) = (target::child(path, &entry.name)?, entry.name.clone());
            let existing = existing.remove(&name);
            self.items.push(Item { path, entry, directory: target.clone(), name, existing });
        }
        Ok(())
    }

    fn report_failure(&mut self, at: &T::At, message: &str) {
        let (path, message) = (self.target.display(at), Some(message.to_owned()));
        let (kind, outcome) = (EntryKind::Directory, Outcome::Failed);
        self.results.push(RestoredEntry { path, kind, size: 0, outcome, kept: None, message });
    }
}

impl<At: Clone> Item<At> {
    fn display(&self, target: &impl RestoreTarget<At = At>) -> String {
        let at = target.child(&self.directory, &self.name);
        at.map_or_else(|_| self.name.clone(), |at| target.display(&at))
    }
}

/// Whether the next file would fail with the same error.
fn is_fatal(error: &CommandError) -> bool {
    matches!(
        error.kind,
        ErrorKind::AuthRequired | ErrorKind::Unavailable | ErrorKind::Interrupted | ErrorKind::Quota
    ) || [Code::NotRunning, Code::DiskFull].into_iter().any(|code| error.is(code))
}

/// Prints what was written, and why the rest failed.
pub fn print_results(context: &Context, results: Vec<RestoredEntry>) -> Result<(), CommandError> {
    let count = |outcome: Outcome| results.iter().filter(|restored| restored.outcome == outcome).count();
    let (created, replaced, same) = (count(Outcome::Created), count(Outcome::Replaced), count(Outcome::Same));
    let (failed, all) = (count(Outcome::Failed), results.len());
    for restored in &results {
        if let Some(message) = &restored.message {
            progress::write_line(&format!("{}: {message}", output::printable(&restored.path)));
        }
    }
    if context.output.format == output::Format::Json {
        context.output.json(&results)?;
    } else {
        let is_written =
            |restored: &RestoredEntry| matches!(restored.outcome, Outcome::Created | Outcome::Replaced);
        let written: Vec<RestoredEntry> = results.into_iter().filter(is_written).collect();
        if !written.is_empty() {
            context.output.list(&written)?;
        }
    }
    context.output.say(&format!("{created} created, {replaced} replaced, {same} unchanged"));
    match failed {
        0 => Ok(()),
        failed => Err(CommandError::error(format!("Cannot restore {failed} of {all} entries"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryKind, size: u64, target: Option<&str>) -> SnapshotEntry {
        SnapshotEntry {
            name: "x".to_owned(),
            utf8: true,
            kind,
            size,
            modified_ms: 0,
            mode: 0o644,
            target: target.map(str::to_owned),
        }
    }

    #[test]
    fn plan_depends_on_existing_entry() {
        use EntryKind::{Directory, File, Other, Symlink};
        let existing = |kind, size, target: Option<&str>| {
            Some(ExistingEntry { kind, size, target: target.map(str::to_owned) })
        };
        for (entry, found, kept, forced) in [
            (entry(File, 3, None), None, Plan::Create, Plan::Create),
            (entry(File, 3, None), existing(File, 3, None), Plan::Compare, Plan::Compare),
            (entry(File, 3, None), existing(File, 4, None), Plan::SetAside, Plan::Replace),
            // A directory is never overwritten by a file, not even with --force.
            (entry(File, 3, None), existing(Directory, 0, None), Plan::SetAside, Plan::SetAside),
            (entry(File, 3, None), existing(Symlink, 1, Some("y")), Plan::SetAside, Plan::SetAside),
            (entry(Directory, 0, None), None, Plan::Create, Plan::Create),
            (entry(Directory, 0, None), existing(Directory, 0, None), Plan::Merge, Plan::Merge),
            (entry(Directory, 0, None), existing(Symlink, 1, Some("/")), Plan::SetAside, Plan::SetAside),
            (entry(Symlink, 1, Some("y")), existing(Symlink, 1, Some("y")), Plan::Same, Plan::Same),
            (entry(Symlink, 1, Some("y")), existing(Symlink, 1, Some("z")), Plan::SetAside, Plan::SetAside),
            (entry(Other, 0, None), None, Plan::Refuse, Plan::Refuse),
            (entry(Other, 0, None), existing(File, 0, None), Plan::Refuse, Plan::Refuse),
        ] {
            assert_eq!(plan(&entry, found.as_ref(), false), kept, "{entry:?} {found:?}");
            assert_eq!(plan(&entry, found.as_ref(), true), forced, "{entry:?} {found:?}");
        }
    }
}
