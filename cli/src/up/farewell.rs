//! The end: every home saved first, then everything that was begun, in the opposite order.

use std::{collections::BTreeMap, sync::Arc};

use controller::Persisting;
use daemon::ShutdownOutcome;
use protocol::workspace::Phase;
use tokio::task::spawn_blocking;

use super::{Database, Running, panicked};
use crate::{
    failure::Failure,
    output::printable,
    progress::{self, Step, Style},
};

/// One workspace's line, while it is being saved.
type Steps = BTreeMap<protocol::WorkspaceId, Step>;

pub async fn end(style: Style, running: Running) -> Result<(), Failure> {
    let Running { database, controller, shutdown, edge, _lock } = running;
    if style != Style::Silent {
        progress::write_line(
            "\nSaving all homes. Ctrl-C again ends at once; homes are then kept in the data directory.",
        );
    }
    let mut steps = Steps::new();
    let persisted = controller.persist_all(|awake| show(style, &mut steps, awake)).await;
    edge.end().await;
    shutdown.cancel();
    let ended = controller.join().await;
    if let Database::Private(postgres) = database {
        let stopped =
            spawn_blocking(move || Arc::into_inner(postgres).map(super::Postgres::stop).transpose());
        stopped.await.map_err(panicked)??;
    }
    let persisted = persisted?;
    if !persisted.kept_locally.is_empty() {
        let names: Vec<String> = persisted.kept_locally.iter().map(|name| printable(name)).collect();
        return Err(Failure::error(format!("Not saved to the store: {}", names.join(", ")))
            .why("their homes are kept in the data directory up to their last flush")
            .next("burrow up, then start and stop them"));
    }
    if ended != ShutdownOutcome::Clean {
        tracing::warn!(?ended, "the controller did not end in order");
    }
    if style != Style::Silent {
        progress::write_line("All homes are saved.");
    }
    Ok(())
}

fn show(style: Style, steps: &mut Steps, awake: &[Persisting]) {
    for one in awake {
        let step = steps
            .entry(one.workspace)
            .or_insert_with(|| Step::begin(style, format!("Saving {}", printable(&one.name))));
        step.detail(&words(one));
    }
    let saved: Vec<_> =
        steps.keys().filter(|known| awake.iter().all(|one| one.workspace != **known)).copied().collect();
    for workspace in saved {
        if let Some(step) = steps.remove(&workspace) {
            step.done();
        }
    }
}

fn words(one: &Persisting) -> String {
    let detail = one.step.as_ref().and_then(|step| step.detail.as_deref()).map(printable);
    match (one.phase, detail) {
        (_, Some(detail)) => detail,
        (Phase::Persisting, None) => "uploading".to_owned(),
        (_, None) => "stopping".to_owned(),
    }
}
