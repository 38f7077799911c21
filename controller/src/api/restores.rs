//! Restores files of a snapshot into a running home, with its progress as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use protocol::{
    Code, Problem, RestoreId, WorkspaceId,
    api::restore::{MAX_PATHS, MAX_RESTORE_ENTRIES, NewRestore, RestoreEvent, UndoneRestore},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};

use super::{
    access::authorize_workspace,
    browse::{home_path, open_session},
    error::{ApiError, Result},
    events::HEARTBEAT_INTERVAL,
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::Action,
    core::App,
    snapshots::SnapshotRef,
    workspaces::{
        agent_client::{AgentClient, AgentError},
        restores::{Restore, RestoreError, RestoreGuard, RestoreRequest, select_paths},
    },
};

/// Events that are queued for a slow client. A restore waits for its client.
const MAX_QUEUED_EVENTS: usize = 16;
/// For one restore: enough for a whole home over a slow store.
const RESTORE_TIMEOUT: Duration = Duration::from_hours(6);

/// Restore files
///
/// Restores files and directories of a snapshot into the home of a running workspace: contents,
/// permissions, times, extended attributes (`user.*`), links and holes. Entries that are the same
/// already are skipped, and entries that the snapshot does not have stay. What is replaced moves to
/// `.burrow-restores/<restore>` in the home, from where `undo_restore` returns it.
///
/// The answer is a stream of server-sent events without names, each a `RestoreEvent`. `planned` comes
/// before anything is written; with `dry_run`, nothing is. `finished` or `failed` is the last event.
/// The failure of one entry does not end the rest. Closing the connection cancels the restore after
/// the entry that is being written; no file is ever incomplete. Repeat the request with `resume` to
/// continue. Requires write access. One restore of a workspace runs at a time, with at most 200,000
/// entries.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/restores",
    tag = "snapshots",
    request_body = NewRestore,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, content_type = "text/event-stream", body = RestoreEvent,
            description = "A stream of events; each `data` is a `RestoreEvent`",
            example = json!({"type": "finished", "restore": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607183",
                "created": 12, "replaced": 3, "same": 240, "failed": 0}))),
    extensions(("x-problem-codes" = json!(["conflict", "not_running", "unsupported", "timeout"]))),
)]
pub async fn restore_files(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<NewRestore>,
) -> Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let caller = *signed.caller();
    if request.paths.len() > MAX_PATHS {
        return Err(ApiError::invalid(
            "paths",
            &format!("At most {MAX_PATHS} paths can be restored at once."),
        ));
    }
    let paths = request
        .paths
        .iter()
        .map(|path| home_path(path.strip_prefix('/').filter(|rest| rest.is_empty()).unwrap_or(path)));
    let paths = select_paths(paths.collect::<Result<_>>()?);
    let agent = AgentClient::connect(&app, caller, id).await?;
    let guard = begin(&app, id)?;
    let session = open_session(&app, &caller, id, SnapshotRef::Id(request.snapshot)).await?;
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
    let NewRestore { dry_run, force, resume, .. } = request;
    let wanted = RestoreRequest { paths, dry_run, force, resume };
    let restore = Restore::prepare(session, agent, wanted, sender.clone()).await?;
    if !dry_run {
        let allowed = authorize_workspace(&app, &caller, id, Action::ReadWorkspace).await?;
        let mut scope = app.db.scope(allowed).await?;
        let detail = serde_json::json!({ "snapshot": request.snapshot, "paths": request.paths.len() });
        audit::write(&mut scope, "snapshot.restore_files", &id.to_string(), detail).await?;
        scope.commit().await?;
    }
    let shutdown = app.tasks.shutdown().clone();
    app.tasks.spawn("restore", async move {
        run(restore, sender, guard, shutdown).await;
    });
    let events = ReceiverStream::new(receiver).map(|event| {
        Ok(Event::default().data(serde_json::to_string(&event).expect("events are plain data")))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT_INTERVAL)))
}

/// Runs a restore until it is complete, the client is gone, or the server shuts down.
async fn run(
    restore: Restore,
    events: mpsc::Sender<RestoreEvent>,
    _guard: RestoreGuard,
    shutdown: tokio_util::sync::CancellationToken,
) {
    let outcome = tokio::select! {
        () = shutdown.cancelled() => return,
        () = events.closed() => return,
        outcome = timeout(RESTORE_TIMEOUT, restore.run()) => outcome,
    };
    let error = match outcome {
        Ok(Ok(()) | Err(RestoreError::Cancelled)) => return,
        Ok(Err(error)) => {
            tracing::info!(%error, "a restore ended early");
            ApiError::from(error)
        }
        Err(_) => ApiError::new(Code::Timeout, "The restore took too long. Repeat it to continue."),
    };
    let _ = events.send(RestoreEvent::Failed { problem: error.into_problem() }).await;
}

/// Undo a restore
///
/// Returns what a restore replaced, and deletes what it created. Entries that were changed after the
/// restore stay, and the answer lists them; repeat the request to undo them later. The record is
/// deleted once everything is undone. Records of the last ten restores are kept. Requires write
/// access.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/restores/{restore}/undo",
    tag = "snapshots",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("restore" = RestoreId, Path, description = "The restore, as in its `finished` event."),
    ),
    responses((status = 200, body = UndoneRestore, description = "What was undone, and what stays")),
    extensions(("x-problem-codes" = json!(["conflict", "not_running", "disk_full"]))),
)]
pub async fn undo_restore(
    State(app): State<App>,
    signed: Signed,
    Params((id, restore)): Params<(WorkspaceId, RestoreId)>,
) -> Result<Json<UndoneRestore>> {
    let caller = *signed.caller();
    let agent = AgentClient::connect(&app, caller, id).await?;
    let _guard = begin(&app, id)?;
    let undone = agent.post_json(&format!("restores/{restore}/undo"), &serde_json::Value::Null).await?;
    Ok(Json(undone))
}

fn begin(app: &App, id: WorkspaceId) -> Result<RestoreGuard> {
    app.restores.begin(id).ok_or_else(|| {
        ApiError::new(Code::Conflict, "Another restore of this workspace is running. Wait until it ends.")
    })
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Grant(error) => error.into(),
            AgentError::Restarted => {
                Self::new(Code::NotRunning, "The workspace was restarted. Repeat the restore to continue.")
            }
            AgentError::Refused(problem) => {
                let Problem { code, detail, .. } = *problem;
                Self::new(code, detail)
            }
            AgentError::Unreachable(_) | AgentError::Invalid => {
                tracing::info!(%error, "cannot reach an agent");
                Self::new(Code::Unavailable, "The workspace does not answer. Try again in a moment.")
                    .retry_after(1)
            }
        }
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Browse(error) => error.into(),
            RestoreError::Agent(error) => error.into(),
            RestoreError::NoSuchPath(path) => {
                Self::new(Code::NotFound, format!("This snapshot has no `{path}`."))
            }
            RestoreError::TooManyEntries => Self::new(
                Code::TooLarge,
                format!(
                    "Cannot restore more than {MAX_RESTORE_ENTRIES} entries at once. Restore the \
                     directories one by one, or the whole home of the stopped workspace."
                ),
            ),
            RestoreError::Cancelled => Self::internal(),
        }
    }
}
