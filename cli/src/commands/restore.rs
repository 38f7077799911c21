//! `restore`: files of the past into the running workspace or onto this machine, or a whole home.
//!
//! Nothing of the present is lost by it: what differs is kept beside, and a whole home's present stays a snapshot.

use std::path::{Path, PathBuf};

use protocol::{
    Code,
    api::{
        snapshot::{PastEntry, Restore as RestoreRequest, Snapshot},
        workspace::Workspace,
    },
    files::{EntryKind, HomePath},
    workspace::Phase,
};
use serde::Serialize;

use super::{
    Context,
    history::{Past, parse_path},
    place::{self, Disk, Home, Place, Present},
    snapshot::{self, described, short},
    waiting::{self, Goal},
    workspace,
};
use crate::{
    arguments::Restore,
    clock::Clock,
    failure::{Failure, Kind},
    output::{self, Shown},
    progress::{self, Step},
    server::Server,
};

/// Most files and directories of one call: more is a whole home, or a home made to have no end.
const MAX_ENTRIES: usize = 200_000;
/// Files between two words about how far it is.
const TOLD_INTERVAL: usize = 100;

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It was not there.
    Created,
    /// What was there is kept beside it, or was overwritten where that was wished.
    Replaced,
    /// It is as it was.
    Same,
    /// It was left alone.
    Failed,
}

#[derive(Debug, Serialize)]
struct Restored {
    path: String,
    kind: EntryKind,
    size: u64,
    outcome: Outcome,
    /// Where the present one is now.
    kept: Option<String>,
    /// Why it failed.
    message: Option<String>,
}

impl Shown for Restored {
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
        Shown::name(self)
    }
}

pub async fn restore(context: &Context, restore: Restore) -> Result<(), Failure> {
    let paths = restore.paths.iter().map(|path| parse_path(path)).collect::<Result<Vec<_>, _>>()?;
    let server = context.server()?;
    let workspace = workspace::find(&server, &restore.workspace).await?;
    let at = snapshot::resolve(&server, &workspace, &restore.at).await?;
    if restore.all {
        return whole(context, &server, workspace, &at, restore.yes).await;
    }
    if restore.to.is_none() && workspace.phase != Phase::Running {
        return Err(not_running(&workspace));
    }
    let past = Past { server: &server, workspace: &workspace };
    // All of them first: a word with a mistake in it must not leave half of the work.
    let mut wanted = Vec::new();
    for path in paths {
        let entry = past.find(&at, &path).await?;
        wanted.push((path, entry));
    }
    let step = Step::begin(context.style, format!("Restoring from {}", described(&at)));
    let done = if let Some(to) = &restore.to {
        let roots = on_disk(wanted, to);
        Restoring::new(&past, &at, Disk::default(), restore.force, step).all(roots).await?
    } else {
        let roots = in_home(wanted);
        let home = Home::new(&server, workspace.id);
        Restoring::new(&past, &at, home, restore.force, step).all(roots).await?
    };
    tell(context, done)
}

fn not_running(workspace: &Workspace) -> Failure {
    let name = &workspace.name;
    Failure::new(Kind::Conflict, format!("{name} is not running, so that no file can be written into it"))
        .next(format!(
            "burrow start {name}; or onto this machine with --to DIR; or the whole home with --all"
        ))
}

/// A path of the past, and the name and directory where it goes. No name: its content goes into the directory.
struct Root<At> {
    path: HomePath,
    entry: PastEntry,
    directory: At,
    name: Option<String>,
}

fn in_home(wanted: Vec<(HomePath, PastEntry)>) -> Vec<Root<HomePath>> {
    let root = |(path, entry): (HomePath, PastEntry)| Root {
        directory: path.parent().unwrap_or_default(),
        name: path.name().map(str::to_owned),
        path,
        entry,
    };
    wanted.into_iter().map(root).collect()
}

/// As `cp -r` understands its last argument.
fn on_disk(wanted: Vec<(HomePath, PastEntry)>, to: &Path) -> Vec<Root<PathBuf>> {
    let is_directory = to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/');
    let (directory, name) = match (to.parent(), to.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) if !is_directory && wanted.len() == 1 && !wanted[0].0.is_home() => {
            (parent.to_owned(), Some(name.to_owned()))
        }
        _ => (to.to_owned(), None),
    };
    let root = |(path, entry): (HomePath, PastEntry)| Root {
        directory: directory.clone(),
        name: name.clone().or_else(|| path.name().map(str::to_owned)),
        path,
        entry,
    };
    wanted.into_iter().map(root).collect()
}

/// What is to be done about a path, as the two sides are known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Create,
    /// Both are directories: what is in them decides.
    Merge,
    Same,
    /// Files of one size: their content decides.
    Compare,
    /// Over what is there.
    Replace,
    /// In place of what is there, which is kept beside.
    SetAside,
    /// It is nothing that can be written.
    Refuse,
}

fn plan(past: &PastEntry, present: Option<&Present>, force: bool) -> Plan {
    let Some(present) = present else {
        return if past.kind == EntryKind::Other { Plan::Refuse } else { Plan::Create };
    };
    match (past.kind, present.kind) {
        (EntryKind::Other, _) => Plan::Refuse,
        (EntryKind::Directory, EntryKind::Directory) => Plan::Merge,
        (EntryKind::Symlink, EntryKind::Symlink) if past.target == present.target => Plan::Same,
        (EntryKind::File, EntryKind::File) if past.size == present.size => Plan::Compare,
        (EntryKind::File, EntryKind::File) if force => Plan::Replace,
        _ => Plan::SetAside,
    }
}

/// An entry under way.
struct Item<At> {
    path: HomePath,
    entry: PastEntry,
    directory: At,
    name: String,
    present: Option<Present>,
}

struct Restoring<'a, P: Place> {
    past: &'a Past<'a>,
    at: &'a Snapshot,
    place: P,
    force: bool,
    /// Behind the names of what is kept.
    suffix: String,
    step: Step,
    items: Vec<Item<P::At>>,
    done: Vec<Restored>,
}

impl<'a, P: Place> Restoring<'a, P> {
    fn new(past: &'a Past<'a>, at: &'a Snapshot, place: P, force: bool, step: Step) -> Self {
        let suffix = format!(".before-restore-{}", Clock::read().stamp());
        Self { past, at, place, force, suffix, step, items: Vec::new(), done: Vec::new() }
    }

    async fn all(mut self, roots: Vec<Root<P::At>>) -> Result<Vec<Restored>, Failure> {
        for root in roots {
            let Root { path, entry, directory, name } = root;
            if let Some(name) = name {
                let present = self.place.entries(&directory).await?.remove(&name);
                if present.is_none() {
                    // What was above it may have gone with it.
                    self.place.make_all(&directory).await?;
                }
                self.items.push(Item { path, entry, directory, name, present });
            } else {
                self.place.make_all(&directory).await?;
                self.open(&path, &directory).await?;
            }
            self.work().await?;
        }
        self.place.finish().await?;
        self.step.done();
        Ok(self.done)
    }

    async fn work(&mut self) -> Result<(), Failure> {
        while let Some(item) = self.items.pop() {
            if self.done.len() >= MAX_ENTRIES {
                return Err(Failure::error(format!(
                    "More than {MAX_ENTRIES} files are too many for one call"
                ))
                .next("restore its directories one by one, or the whole home with --all"));
            }
            let (path, kind, size) = (item.shown(&self.place), item.entry.kind, item.entry.size);
            let restored = match self.one(item).await {
                Ok(Some((outcome, kept))) => Restored { path, kind, size, outcome, kept, message: None },
                Ok(None) => continue,
                Err(failure) if ends_all(&failure) => return Err(failure),
                Err(failure) => {
                    let message = Some(failure.words());
                    Restored { path, kind, size, outcome: Outcome::Failed, kept: None, message }
                }
            };
            self.done.push(restored);
            if self.done.len().is_multiple_of(TOLD_INTERVAL) {
                self.step.detail(&format!("{} files", self.done.len()));
            }
        }
        Ok(())
    }

    /// Brings one entry back; a directory's entries become further items. None: there is nothing to tell of it.
    async fn one(&mut self, item: Item<P::At>) -> Result<Option<(Outcome, Option<String>)>, Failure> {
        let target = self.place.child(&item.directory, &item.name)?;
        let mut plan = plan(&item.entry, item.present.as_ref(), self.force);
        if item.entry.kind == EntryKind::File && item.entry.size > self.place.size_max() {
            let most = output::size(self.place.size_max());
            return Err(Failure::error(format!(
                "it is larger than the {most} that go through the server; use --to"
            )));
        }
        if plan == Plan::Compare {
            let content = self.content(&item).await?;
            plan = match (self.place.holds(&target, content).await?, self.force) {
                (true, _) => Plan::Same,
                (false, true) => Plan::Replace,
                (false, false) => Plan::SetAside,
            };
        }
        match plan {
            Plan::Same => Ok(Some((Outcome::Same, None))),
            Plan::Refuse => Err(Failure::error("it is a socket, a pipe or a device")),
            Plan::Merge => {
                self.open(&item.path, &target).await?;
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
                let kept = self.place.child(&item.directory, &format!("{}{}", item.name, self.suffix))?;
                self.place.rename(&target, &kept).await?;
                if let Err(failure) = self.write(&item, &target, false).await {
                    // Better the present than nothing.
                    let back = self.place.rename(&kept, &target).await;
                    return Err(match back {
                        Ok(()) => failure,
                        Err(_) => failure.next(format!("the present one is {}", self.place.shown(&kept))),
                    });
                }
                Ok(Some((Outcome::Replaced, Some(self.place.shown(&kept)))))
            }
        }
    }

    async fn write(&mut self, item: &Item<P::At>, target: &P::At, may_replace: bool) -> Result<(), Failure> {
        match (item.entry.kind, &item.entry.target) {
            (EntryKind::File, _) => {
                let content = self.content(item).await?;
                self.place.write(target, content, item.entry.mode, may_replace).await
            }
            (EntryKind::Directory, _) => {
                self.place.make_directory(target, item.entry.mode).await?;
                self.open(&item.path, target).await
            }
            (EntryKind::Symlink, Some(to)) => self.place.link(target, to).await,
            (EntryKind::Symlink, None) | (EntryKind::Other, _) => {
                Err(Failure::error("it is nothing that can be written"))
            }
        }
    }

    async fn content(&self, item: &Item<P::At>) -> Result<client::Content, Failure> {
        let Past { server, workspace } = *self.past;
        Ok(server.past_content(workspace.id, self.at.id, item.path.as_str()).await?)
    }

    /// Makes items of what was in a directory.
    async fn open(&mut self, path: &HomePath, target: &P::At) -> Result<(), Failure> {
        let Past { server, workspace } = *self.past;
        let listing = server.past_directory(workspace.id, self.at.id, path.as_str()).await?;
        let mut present = self.place.entries(target).await?;
        if listing.truncated {
            self.failed(target, "it had more entries than can be listed; the rest was left out");
        }
        for entry in listing.entries.into_iter().rev() {
            if !entry.utf8 {
                let name = output::printable(&entry.name);
                self.failed(target, &format!("the name `{name}` is no UTF-8, and cannot be asked for"));
                continue;
            }
            let (path, name) = (place::child(path, &entry.name)?, entry.name.clone());
            let present = present.remove(&name);
            self.items.push(Item { path, entry, directory: target.clone(), name, present });
        }
        Ok(())
    }

    fn failed(&mut self, at: &P::At, message: &str) {
        let (path, message) = (self.place.shown(at), Some(message.to_owned()));
        let (kind, outcome) = (EntryKind::Directory, Outcome::Failed);
        self.done.push(Restored { path, kind, size: 0, outcome, kept: None, message });
    }
}

impl<At: Clone> Item<At> {
    fn shown(&self, place: &impl Place<At = At>) -> String {
        let at = place.child(&self.directory, &self.name);
        at.map_or_else(|_| self.name.clone(), |at| place.shown(&at))
    }
}

/// Whether the next file would fare no better.
fn ends_all(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::AuthRequired | Kind::Unavailable | Kind::Interrupted | Kind::Quota)
        || [Code::NotRunning, Code::DiskFull].into_iter().any(|code| failure.is(code))
}

fn tell(context: &Context, done: Vec<Restored>) -> Result<(), Failure> {
    let count = |outcome: Outcome| done.iter().filter(|restored| restored.outcome == outcome).count();
    let (created, replaced, same) = (count(Outcome::Created), count(Outcome::Replaced), count(Outcome::Same));
    let (failed, all) = (count(Outcome::Failed), done.len());
    for restored in &done {
        if let Some(message) = &restored.message {
            progress::write_line(&format!("{}: {message}", output::printable(&restored.path)));
        }
    }
    if context.output.format == output::Format::Json {
        context.output.json(&done)?;
    } else {
        let is_written =
            |restored: &Restored| matches!(restored.outcome, Outcome::Created | Outcome::Replaced);
        let written: Vec<Restored> = done.into_iter().filter(is_written).collect();
        if !written.is_empty() {
            context.output.list(&written)?;
        }
    }
    context.output.say(&format!("{created} created, {replaced} replaced, {same} as they were"));
    match failed {
        0 => Ok(()),
        failed => Err(Failure::error(format!("{failed} of {all} were not restored"))),
    }
}

/// The whole home, between a stop and a start if it runs.
async fn whole(
    context: &Context,
    server: &Server,
    workspace: Workspace,
    at: &Snapshot,
    yes: bool,
) -> Result<(), Failure> {
    let ran = workspace.phase != Phase::Terminated;
    let stops = if ran { format!("stops {} and ", workspace.name) } else { String::new() };
    let deed = format!("{stops}makes the whole home of {} what it was at {}", workspace.name, described(at));
    context.confirm(yes, &deed, &workspace.name)?;
    let rests = if ran {
        let begun = server.stop_workspace(workspace.id).await?;
        waiting::until(context.style, server, begun, Goal::Stopped, waiting::DEADLINE).await?
    } else {
        workspace
    };
    let before = server.snapshots(rests.id, None, 1).await?.snapshots.into_iter().next();
    let step = Step::begin(context.style, "Restoring the home");
    let restored = server.restore(rests.id, &RestoreRequest { snapshot: at.id }).await?;
    step.done();
    let name = &restored.name;
    context.output.say(&format!("The home of {name} is as it was at {}", described(at)));
    if let Some(before) = before {
        context.output.say(&format!("To undo it: burrow restore {name} --at {} --all", short(before.id)));
    }
    let settled = if ran {
        let begun = server.start_workspace(restored.id).await?;
        waiting::until(context.style, server, begun, Goal::Running, waiting::DEADLINE).await?
    } else {
        restored
    };
    workspace::finish(context, &settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(kind: EntryKind, size: u64, target: Option<&str>) -> PastEntry {
        PastEntry {
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
    fn what_is_there_decides_what_is_done() {
        use EntryKind::{Directory, File, Other, Symlink};
        let present = |kind, size, target: Option<&str>| {
            Some(Present { kind, size, target: target.map(str::to_owned) })
        };
        for (past, present, kept, forced) in [
            (past(File, 3, None), None, Plan::Create, Plan::Create),
            (past(File, 3, None), present(File, 3, None), Plan::Compare, Plan::Compare),
            (past(File, 3, None), present(File, 4, None), Plan::SetAside, Plan::Replace),
            // A tree is never thrown away for a file, whatever is wished.
            (past(File, 3, None), present(Directory, 0, None), Plan::SetAside, Plan::SetAside),
            (past(File, 3, None), present(Symlink, 1, Some("y")), Plan::SetAside, Plan::SetAside),
            (past(Directory, 0, None), None, Plan::Create, Plan::Create),
            (past(Directory, 0, None), present(Directory, 0, None), Plan::Merge, Plan::Merge),
            (past(Directory, 0, None), present(Symlink, 1, Some("/")), Plan::SetAside, Plan::SetAside),
            (past(Symlink, 1, Some("y")), present(Symlink, 1, Some("y")), Plan::Same, Plan::Same),
            (past(Symlink, 1, Some("y")), present(Symlink, 1, Some("z")), Plan::SetAside, Plan::SetAside),
            (past(Other, 0, None), None, Plan::Refuse, Plan::Refuse),
            (past(Other, 0, None), present(File, 0, None), Plan::Refuse, Plan::Refuse),
        ] {
            assert_eq!(plan(&past, present.as_ref(), false), kept, "{past:?} {present:?}");
            assert_eq!(plan(&past, present.as_ref(), true), forced, "{past:?} {present:?}");
        }
    }
}
