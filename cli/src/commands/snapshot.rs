//! `snapshot create`, `list`, `rename`, `delete`; and which snapshot a person means.

use protocol::{
    SnapshotId,
    api::{
        snapshot::{
            Consistency, EditSnapshot, MAX_NAME_BYTES, MAX_SNAPSHOTS, NewSnapshot, Snapshot as Record,
            SnapshotKind, SnapshotList,
        },
        workspace::Workspace,
    },
};
use time::OffsetDateTime;

use super::{Context, workspace};
use crate::{
    arguments::{Listed, Snapshot},
    clock::Clock,
    failure::{Failure, Kind},
    output::{self, Shown},
    point::{Absent, Point, TIMES, instant},
    progress::Step,
    server::Server,
};

/// Most snapshots of one home that are looked at: some times what a home keeps for a year.
const MAX_LOOKED_AT: u32 = 20_000;
/// Characters of an identifier that tell a home's snapshots apart: the millisecond.
const SHORT_ID: usize = 13;

impl Shown for Record {
    const COLUMNS: &'static [&'static str] = &["id", "when", "kind", "state", "changed", "uploaded", "name"];
    const WIDE: &'static [&'static str] = &["time", "stored"];

    fn cells(&self) -> Vec<String> {
        vec![
            short(self.id),
            output::ago(self.created_at, OffsetDateTime::now_utc()),
            kind(self.kind).to_owned(),
            consistency(self.consistency).to_owned(),
            output::size(self.changed_bytes),
            output::size(self.uploaded_bytes),
            self.name.as_deref().map_or_else(|| "–".to_owned(), output::printable),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![Clock::read().exact(self.created_at), output::size(self.stored_bytes)]
    }

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn kind(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Stream => "stream",
        SnapshotKind::Stop => "stop",
        SnapshotKind::Asked => "asked",
    }
}

fn consistency(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash",
        Consistency::Clean => "clean",
    }
}

pub async fn snapshot(context: &Context, snapshot: Snapshot) -> Result<(), Failure> {
    let server = context.server()?;
    match snapshot {
        Snapshot::Create { target, name } => {
            name.as_deref().map_or(Ok(()), check_name)?;
            let workspace = workspace::find(&server, &target.workspace).await?;
            let step = Step::begin(context.style, "Taking a snapshot");
            let made = server.create_snapshot(workspace.id, &NewSnapshot { name }).await?;
            step.done();
            created(context, &workspace, &made)
        }
        Snapshot::List { target, listed } => {
            let workspace = workspace::find(&server, &target.workspace).await?;
            list(context, &server, &workspace, &listed).await
        }
        Snapshot::Rename { workspace, snapshot, name } => {
            check_name(&name)?;
            let workspace = workspace::find(&server, &workspace).await?;
            let found = resolve(&server, &workspace, &snapshot).await?;
            server.edit_snapshot(workspace.id, found.id, &EditSnapshot { name: name.clone() }).await?;
            context.output.say(&format!("{} is now called {name}", described(&found)));
            Ok(())
        }
        Snapshot::Delete { workspace, snapshot, yes } => {
            let workspace = workspace::find(&server, &workspace).await?;
            let found = resolve_exactly(&server, &workspace, &snapshot).await?;
            let deed = format!("deletes the snapshot {} of {}, for good", described(&found), workspace.name);
            let word = found.name.clone().unwrap_or_else(|| short(found.id));
            context.confirm(yes, &deed, &word)?;
            server.delete_snapshot(workspace.id, found.id).await?;
            context.output.say(&format!("Deleted {}", described(&found)));
            Ok(())
        }
    }
}

fn created(context: &Context, workspace: &Workspace, made: &Record) -> Result<(), Failure> {
    if !context.output.format.is_for_people() || context.output.quiet {
        return context.output.one(made);
    }
    let word = made.name.as_deref().map_or_else(|| short(made.id), output::printable);
    context.output.say(&format!(
        "{}: kept as {word} ({} uploaded)",
        workspace.name,
        output::size(made.uploaded_bytes)
    ));
    context.output.say(&format!("Next: burrow history {} --at {}", workspace.name, quoted(&word)));
    Ok(())
}

/// A name that could be found again: words that mean a time, or `latest`, never would be.
fn check_name(name: &str) -> Result<(), Failure> {
    let wrong = |why: &str| {
        Err(Failure::new(Kind::Usage, format!("`{}` is no name for a snapshot", output::printable(name)))
            .why(why))
    };
    if name.trim() != name || name.is_empty() || name.len() > MAX_NAME_BYTES {
        return wrong("it has 1 to 100 bytes, and no space at its ends");
    }
    if name.chars().any(char::is_control) {
        return wrong("it has no control characters");
    }
    match Point::parse(name, &Clock::read()) {
        Point::Named(_) => Ok(()),
        Point::Latest | Point::Before(_) => wrong("it means a time; choose another"),
    }
}

/// Newest first.
pub async fn list(
    context: &Context,
    server: &Server,
    workspace: &Workspace,
    listed: &Listed,
) -> Result<(), Failure> {
    let since = listed.since.as_deref().map(since).transpose()?;
    let (snapshots, more) = past(server, workspace, since, listed.most()).await?;
    context.output.list(&snapshots)?;
    if !context.output.format.is_for_people() {
        return Ok(());
    }
    if snapshots.is_empty() {
        context.output.say(&match &listed.since {
            Some(since) => format!("{} has no snapshots since {since}", workspace.name),
            None => format!("{} has no snapshots yet: it has never run", workspace.name),
        });
    } else if more {
        context.output.say("There are older ones: --limit N, --since TIME, or --at TIME");
    }
    Ok(())
}

/// The instant after which snapshots are wanted.
pub fn since(text: &str) -> Result<OffsetDateTime, Failure> {
    instant(text, &Clock::read()).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("`{text}` is no time")).next(format!("write it as {TIMES}"))
    })
}

/// Up to `most` snapshots after `since`, newest first, and whether there are more.
pub async fn past(
    server: &Server,
    workspace: &Workspace,
    since: Option<OffsetDateTime>,
    most: u32,
) -> Result<(Vec<Record>, bool), Failure> {
    let most = most.min(MAX_LOOKED_AT);
    let mut all: Vec<Record> = Vec::new();
    loop {
        let left = most - all.len() as u32;
        let before = all.last().map(|last| last.created_at);
        let page = server.snapshots(workspace.id, before, left.min(MAX_SNAPSHOTS)).await?;
        let SnapshotList { snapshots, more } = page;
        let ended = snapshots.is_empty();
        for snapshot in snapshots {
            if since.is_some_and(|since| snapshot.created_at < since) {
                return Ok((all, false));
            }
            all.push(snapshot);
        }
        if !more || ended || all.len() as u32 >= most {
            return Ok((all, more));
        }
    }
}

/// The snapshot that these words mean.
pub async fn resolve(server: &Server, workspace: &Workspace, text: &str) -> Result<Record, Failure> {
    let clock = Clock::read();
    let point = Point::parse(text, &clock);
    let likely = match &point {
        Point::Latest => server.snapshots(workspace.id, None, 1).await?.snapshots,
        Point::Before(instant) => server.snapshots(workspace.id, Some(*instant), 1).await?.snapshots,
        Point::Named(_) => Vec::new(),
    };
    if let Ok(found) = point.choose(&likely) {
        return Ok(found.clone());
    }
    let (all, _) = past(server, workspace, None, MAX_LOOKED_AT).await?;
    point.choose(&all).cloned().map_err(|absent| explain(absent, workspace, text, &clock))
}

/// As [`resolve`], but only by identifier or name: what is destroyed is not guessed.
async fn resolve_exactly(server: &Server, workspace: &Workspace, text: &str) -> Result<Record, Failure> {
    let clock = Clock::read();
    let (all, _) = past(server, workspace, None, MAX_LOOKED_AT).await?;
    let named = Point::Named(text.to_owned());
    named.choose(&all).cloned().map_err(|absent| explain(absent, workspace, text, &clock))
}

fn explain(absent: Absent<'_>, workspace: &Workspace, text: &str, clock: &Clock) -> Failure {
    let text = output::printable(text);
    let name = &workspace.name;
    let choices = |several: &[&Record]| {
        let words = several.iter().map(|snapshot| {
            let label = snapshot.name.as_deref().map(|name| format!(" {}", output::printable(name)));
            let when = output::ago(snapshot.created_at, clock.now);
            format!("{}{} ({when})", short(snapshot.id), label.unwrap_or_default())
        });
        words.collect::<Vec<_>>().join(", ")
    };
    match absent {
        Absent::Empty => {
            Failure::new(Kind::NotFound, format!("{name} has no snapshots yet: it has never run"))
                .next(format!("burrow start {name}"))
        }
        Absent::Later(oldest) => {
            Failure::new(Kind::NotFound, format!("{name} has no snapshot as old as `{text}`"))
                .why(format!("the oldest is of {}: {}", clock.wall(oldest.created_at), choices(&[oldest])))
                .next(format!("burrow history {name}"))
        }
        Absent::Unknown(near) => {
            let why = match near.as_slice() {
                [Record { name: Some(meant), .. }] => {
                    format!("did you mean `{}`?", output::printable(meant))
                }
                newest => format!("it is no time, and no name; the newest: {}", choices(newest)),
            };
            Failure::new(Kind::NotFound, format!("{name} has no snapshot `{text}`"))
                .why(why)
                .next(format!("burrow history {name}, or a time such as {TIMES}"))
        }
        Absent::Several(several) => {
            Failure::new(Kind::Usage, format!("`{text}` is the beginning of several snapshots of {name}"))
                .why(choices(&several))
                .next("give more of the identifier")
        }
    }
}

/// As much of the identifier as tells it apart.
pub fn short(id: SnapshotId) -> String {
    let mut text = id.to_string();
    text.truncate(SHORT_ID);
    text
}

/// "before-exam, 14:03:20" or "0199f0aa-1b2c, 14:03:20".
pub fn described(snapshot: &Record) -> String {
    let word = snapshot.name.as_deref().map_or_else(|| short(snapshot.id), output::printable);
    format!("{word}, {}", Clock::read().wall(snapshot.created_at))
}

/// As a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_found_again() {
        for name in ["before-exam", "Übung 3", "v1.0", "0199"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", " a", "a\n", "10m", "14:03", "latest", "yesterday", "2026-01-31", &"a".repeat(101)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn commands_that_are_shown_can_be_typed() {
        for (word, typed) in
            [("a-b", "a-b"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(quoted(word), typed);
        }
    }
}
