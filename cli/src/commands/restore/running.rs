//! Restoring files into the home of a running workspace. The server does it, and reports what it
//! does.

use protocol::{
    RestoreId,
    api::{
        restore::{NewRestore, RestoreEvent, RestoreOutcome, UndoneRestore},
        workspace::Workspace,
    },
};

use super::results::{EntryResult, count, print_results};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, progress, progress::Step},
    server::Server,
};

/// Says how to continue when a restore ends early, also if Ctrl-C drops it.
struct ResumeHint {
    command: String,
    restore: Option<RestoreId>,
}

impl ResumeHint {
    fn text(&self) -> Option<String> {
        self.restore.map(|restore| format!("{} --resume {restore}", self.command))
    }
}

impl Drop for ResumeHint {
    fn drop(&mut self) {
        if let Some(text) = self.text() {
            progress::write_line(&format!("What was restored stays. To continue: {text}"));
        }
    }
}

/// Restores files, and prints what was done. `command` is the command line to repeat.
pub async fn restore_files(
    context: &Context,
    server: &Server,
    workspace: &Workspace,
    request: &NewRestore,
    command: String,
    mut step: Step,
) -> Result<(), CommandError> {
    let mut events = server.restore_files(workspace.id, request).await?;
    let mut hint = ResumeHint { command, restore: None };
    let (mut results, mut planned) = (Vec::new(), 0);
    let restore = loop {
        match events.next().await? {
            Some(RestoreEvent::Comparing { entries }) => step.detail(&format!("{entries} entries compared")),
            Some(RestoreEvent::Planned { restore, entries, .. }) => {
                (hint.restore, planned) = (restore, entries);
            }
            Some(RestoreEvent::Entries { entries }) => results.extend(entries.into_iter().map(EntryResult)),
            Some(RestoreEvent::Progress { entries, bytes, path }) => {
                let size = output::size(bytes);
                step.detail(&format!("{entries} of {planned}, {size}: {}", output::printable(&path)));
            }
            Some(RestoreEvent::Finished { restore, .. }) => break restore,
            Some(RestoreEvent::Failed { problem }) => {
                let error = CommandError::from(problem);
                let text = hint.text();
                hint.restore = None;
                return Err(match text {
                    Some(text) => error.hint(text),
                    None => error,
                });
            }
            None => return Err(CommandError::new(ErrorKind::Unavailable, "The server ended the restore")),
        }
    };
    hint.restore = None;
    step.done();
    let mut hints = Vec::new();
    if request.dry_run {
        hints.push("Nothing was changed".to_owned());
    }
    if let Some(restore) = restore {
        let name = &workspace.name;
        if count(&results, RestoreOutcome::Replaced) > 0 && !request.force {
            hints.push(format!("What was replaced is in ~/.burrow-restores/{restore}"));
        }
        hints.push(format!("To undo this: burrow restore {name} --undo {restore}"));
    }
    print_results(context, results, &hints)
}

/// Undoes a restore.
pub async fn undo(
    context: &Context,
    server: &Server,
    workspace: &Workspace,
    restore: RestoreId,
) -> Result<(), CommandError> {
    let step = Step::begin(context.style, "Undoing the restore");
    let undone: UndoneRestore = server.undo_restore(workspace.id, restore).await?;
    step.done();
    for kept in &undone.kept {
        progress::write_line(&format!("{}: {}", output::printable(&kept.path), kept.message));
    }
    if context.output.format == output::Format::Json {
        context.output.json(&undone)?;
    }
    context.output.say(&format!("{} undone", undone.undone));
    match undone.kept_count {
        0 => Ok(()),
        kept => Err(CommandError::error(format!("Cannot undo {kept} entries"))),
    }
}
