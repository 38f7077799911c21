//! The end of `burrow up`: saves all homes, then stops the parts in the opposite order of their
//! start.

use std::{collections::BTreeMap, sync::Arc};

use controller::StoppingWorkspace;
use daemon::ShutdownOutcome;
use protocol::workspace::Phase;
use tokio::task::spawn_blocking;

use super::{Database, Postgres, System, task_panicked};
use crate::output::{
    CommandError, printable,
    progress::{self, Step, Style},
};

/// The progress of each workspace that is being saved.
type SaveSteps = BTreeMap<protocol::WorkspaceId, Step>;

/// Saves all homes and stops the parts. Fails if a home could not be saved to the object store.
pub async fn stop(style: Style, system: System) -> Result<(), CommandError> {
    let System { database, controller, shutdown, gateway, _lock, .. } = system;
    if style != Style::Silent {
        progress::write_line(
            "\nSaving all homes… Press Ctrl-C again to exit immediately; homes then stay in the data \
             directory only.",
        );
    }
    let mut steps = SaveSteps::new();
    let persisted = controller.stop_all(|running| show_progress(style, &mut steps, running)).await;
    gateway.stop().await;
    shutdown.cancel();
    let end = controller.join().await;
    if let Database::Private(postgres) = database {
        let stopped = spawn_blocking(move || Arc::into_inner(postgres).map(Postgres::stop).transpose());
        stopped.await.map_err(task_panicked)??;
    }
    let persisted = persisted?;
    if !persisted.kept_locally.is_empty() {
        let names: Vec<String> = persisted.kept_locally.iter().map(|name| printable(name)).collect();
        return Err(CommandError::error(format!("Cannot save to the object store: {}", names.join(", ")))
            .cause("these homes are only in the data directory, up to their last flush")
            .hint("burrow up, then start and stop these workspaces"));
    }
    if end != ShutdownOutcome::Clean {
        tracing::warn!(?end, "the controller did not stop cleanly");
    }
    if style != Style::Silent {
        progress::write_line("All homes are saved.");
    }
    Ok(())
}

fn show_progress(style: Style, steps: &mut SaveSteps, running: &[StoppingWorkspace]) {
    for one in running {
        let step = steps
            .entry(one.workspace)
            .or_insert_with(|| Step::begin(style, format!("Saving {}", printable(&one.name))));
        step.detail(&progress_text(one));
    }
    let saved: Vec<_> =
        steps.keys().filter(|known| running.iter().all(|one| one.workspace != **known)).copied().collect();
    for workspace in saved {
        if let Some(step) = steps.remove(&workspace) {
            step.done();
        }
    }
}

fn progress_text(one: &StoppingWorkspace) -> String {
    let detail = one.step.as_ref().and_then(|step| step.detail.as_deref()).map(printable);
    match (one.phase, detail) {
        (_, Some(detail)) => detail,
        (Phase::Persisting, None) => "uploading".to_owned(),
        (_, None) => "stopping".to_owned(),
    }
}
