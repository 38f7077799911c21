//! The results of a restore, and how they are printed.

use protocol::{
    api::restore::{RestoreOutcome, RestoredEntry},
    files::EntryKind,
};
use serde::Serialize;

use crate::{
    context::Context,
    output::{self, CommandError, Format, Record, progress},
};

/// The result for one entry. `burrow restore -o json` prints a list of them.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct EntryResult(pub RestoredEntry);

impl Record for EntryResult {
    const COLUMNS: &'static [&'static str] = &["result", "size", "path"];

    fn cells(&self) -> Vec<String> {
        let Self(entry) = self;
        let result = match entry.outcome {
            RestoreOutcome::Created => "created",
            RestoreOutcome::Replaced => "replaced",
            RestoreOutcome::Same => "same",
            RestoreOutcome::Failed => "failed",
        };
        let is_file = entry.kind == EntryKind::File;
        let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
        vec![
            result.to_owned(),
            if is_file { output::size(entry.size) } else { "–".to_owned() },
            format!("{}{slash}", entry.path),
        ]
    }

    fn name(&self) -> String {
        output::printable(&self.0.path)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

/// How many entries have an outcome.
pub fn count(results: &[EntryResult], outcome: RestoreOutcome) -> usize {
    results.iter().filter(|EntryResult(entry)| entry.outcome == outcome).count()
}

/// Prints what was written, and why the rest failed. Fails if an entry failed.
pub fn print_results(
    context: &Context,
    results: Vec<EntryResult>,
    hints: &[String],
) -> Result<(), CommandError> {
    let created = count(&results, RestoreOutcome::Created);
    let replaced = count(&results, RestoreOutcome::Replaced);
    let same = count(&results, RestoreOutcome::Same);
    let (failed, all) = (count(&results, RestoreOutcome::Failed), results.len());
    for EntryResult(entry) in &results {
        if let Some(message) = &entry.message {
            progress::write_line(&format!("{}: {message}", output::printable(&entry.path)));
        }
    }
    if context.output.format == Format::Json {
        context.output.json(&results)?;
    } else {
        let is_written = |result: &EntryResult| {
            matches!(result.0.outcome, RestoreOutcome::Created | RestoreOutcome::Replaced)
        };
        let written: Vec<EntryResult> = results.into_iter().filter(is_written).collect();
        if !written.is_empty() {
            context.output.list(&written)?;
        }
    }
    context.output.say(&format!("{created} created, {replaced} replaced, {same} unchanged"));
    for hint in hints {
        context.output.say(hint);
    }
    match failed {
        0 => Ok(()),
        failed => Err(CommandError::error(format!("Cannot restore {failed} of {all} entries"))),
    }
}
