//! Snapshots as users name them: fetching a workspace's list, and finding the one that a time or a
//! name means.
//!
//! [`selector`] decides, without I/O. This module asks the server and explains what was not found.

use protocol::{
    Epoch, SnapshotId,
    api::{
        snapshot::{MAX_SNAPSHOTS, Snapshot, SnapshotList},
        workspace::Workspace,
    },
    workspace::Phase,
};
use time::OffsetDateTime;

use self::selector::{NotFound, Selector, TIME_EXAMPLES, parse_instant};
use crate::{
    output::{self, CommandError, ErrorKind, clock::Clock},
    server::Server,
};

pub mod selector;

/// Most snapshots of one workspace that are fetched: several times what the retention policy keeps
/// for a year.
const MAX_FETCHED: u32 = 20_000;
/// Characters of an identifier that tell the snapshots of a workspace apart: up to the millisecond.
const SHORT_ID_CHARS: usize = 13;

/// Parses the time after which snapshots are wanted.
pub fn parse_since(text: &str) -> Result<OffsetDateTime, CommandError> {
    parse_instant(text, &Clock::read()).ok_or_else(|| {
        CommandError::new(ErrorKind::Usage, format!("Cannot parse `{text}` as a time"))
            .hint(format!("write it as {TIME_EXAMPLES}"))
    })
}

/// Fetches up to `limit` snapshots after `since`, newest first, and whether there are more.
pub async fn fetch(
    server: &Server,
    workspace: &Workspace,
    since: Option<OffsetDateTime>,
    limit: u32,
) -> Result<(Vec<Snapshot>, bool), CommandError> {
    let limit = limit.min(MAX_FETCHED);
    let mut all: Vec<Snapshot> = Vec::new();
    loop {
        let remaining = limit - all.len() as u32;
        let before = all.last().map(|last| last.created_at);
        let page = server.snapshots(workspace.id, before, remaining.min(MAX_SNAPSHOTS)).await?;
        let SnapshotList { snapshots, more } = page;
        let is_empty = snapshots.is_empty();
        for snapshot in snapshots {
            if since.is_some_and(|since| snapshot.created_at < since) {
                return Ok((all, false));
            }
            all.push(snapshot);
        }
        if !more || is_empty || all.len() as u32 >= limit {
            return Ok((all, more));
        }
    }
}

/// Finds the snapshot that `text` means. See [`selector`] for what it may be.
pub async fn resolve(server: &Server, workspace: &Workspace, text: &str) -> Result<Snapshot, CommandError> {
    let clock = Clock::read();
    let selector = Selector::parse(text, &clock);
    // A time needs one snapshot only, however long the list is.
    let candidates = match &selector {
        Selector::Latest => server.snapshots(workspace.id, None, 1).await?.snapshots,
        Selector::Before(instant) => server.snapshots(workspace.id, Some(*instant), 1).await?.snapshots,
        Selector::Named(_) => Vec::new(),
    };
    if let Ok(found) = selector.select(&candidates) {
        return Ok(found.clone());
    }
    let (all, _) = fetch(server, workspace, None, MAX_FETCHED).await?;
    selector.select(&all).cloned().map_err(|reason| explain(reason, workspace, text, &clock))
}

/// Like [`resolve`], but by identifier or name only, because what is destroyed must not be guessed
/// from a time.
pub async fn resolve_exactly(
    server: &Server,
    workspace: &Workspace,
    text: &str,
) -> Result<Snapshot, CommandError> {
    let clock = Clock::read();
    let (all, _) = fetch(server, workspace, None, MAX_FETCHED).await?;
    let selector = Selector::Named(text.to_owned());
    selector.select(&all).cloned().map_err(|reason| explain(reason, workspace, text, &clock))
}

fn explain(reason: NotFound<'_>, workspace: &Workspace, text: &str, clock: &Clock) -> CommandError {
    let text = output::printable(text);
    let name = &workspace.name;
    let candidates = |several: &[&Snapshot]| {
        let texts = several.iter().map(|snapshot| {
            let label = snapshot.name.as_deref().map(|name| format!(" {}", output::printable(name)));
            let when = output::ago(snapshot.created_at, clock.now);
            format!("{}{} ({when})", short_id(snapshot.id), label.unwrap_or_default())
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    let cannot_find =
        |kind: ErrorKind| CommandError::new(kind, format!("Cannot find snapshot `{text}` of {name}"));
    match reason {
        NotFound::Empty => {
            let (cause, hint) = explain_empty(workspace);
            cannot_find(ErrorKind::NotFound).cause(cause).hint(hint)
        }
        NotFound::TooOld(oldest) => cannot_find(ErrorKind::NotFound)
            .cause(format!("the oldest is from {}: {}", clock.wall(oldest.created_at), candidates(&[oldest])))
            .hint(format!("burrow history {name}")),
        NotFound::Unknown(near) => {
            let cause = match near.as_slice() {
                [Snapshot { name: Some(meant), .. }] => {
                    format!("did you mean `{}`?", output::printable(meant))
                }
                newest => format!("it is neither a time nor a name. The newest: {}", candidates(newest)),
            };
            cannot_find(ErrorKind::NotFound)
                .cause(cause)
                .hint(format!("burrow history {name}, or a time such as {TIME_EXAMPLES}"))
        }
        NotFound::Ambiguous(several) => cannot_find(ErrorKind::Usage)
            .cause(format!("several snapshots begin with it: {}", candidates(&several)))
            .hint("give more of the identifier"),
    }
}

/// Says that a workspace has no snapshots, and the command that leads to the first one.
pub fn explain_empty(workspace: &Workspace) -> (String, String) {
    let name = &workspace.name;
    let was_started = workspace.epoch > Epoch::default();
    match workspace.phase {
        Phase::Terminated if was_started => {
            (format!("{name} has no snapshots"), format!("burrow start {name}"))
        }
        Phase::Terminated => {
            (format!("{name} has no snapshots: it was never started"), format!("burrow start {name}"))
        }
        Phase::Running => (format!("{name} has no snapshots yet"), format!("burrow snapshot create {name}")),
        Phase::Queued | Phase::Provisioning | Phase::Stopping | Phase::Persisting => {
            (format!("{name} has no snapshots yet"), format!("burrow history {name}, in a moment"))
        }
    }
}

/// The beginning of an identifier that is enough to tell it apart.
pub fn short_id(id: SnapshotId) -> String {
    let mut text = id.to_string();
    text.truncate(SHORT_ID_CHARS);
    text
}

/// "before-exam, 14:03:20" or "0199f0aa-1b2c, 14:03:20".
pub fn describe(snapshot: &Snapshot) -> String {
    let label = snapshot.name.as_deref().map_or_else(|| short_id(snapshot.id), output::printable);
    format!("{label}, {}", Clock::read().wall(snapshot.created_at))
}

/// Quotes a word for a shell, if it needs it.
pub fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+@%,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_can_be_pasted() {
        for (word, quoted) in
            [("a-b", "a-b"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(quote(word), quoted);
        }
    }
}
