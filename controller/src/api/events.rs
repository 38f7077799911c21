//! Watches workspaces and classes: server-sent events with their states. The present state comes
//! first, and a stream ends with its session.
//!
//! A notice says only that something changed. What is sent is read with the caller's permissions,
//! so a stream never has what the caller could not request.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    time::Duration,
};

use axum::{
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use protocol::{
    ClassId, WorkspaceId,
    api::{class::Class, user::Role, workspace::Workspace},
};
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    classes,
    error::{ApiError, Result},
    extract::{Params, Signed},
};
use crate::{
    authz::{Action, Caller, authorize},
    core::App,
    events::{Notice, Subscription, WorkspaceChange},
    identity::sessions,
    workspaces::view::{self, WorkspaceFilter},
};

/// Events that are queued for a slow client. When the queue is full, later changes are merged.
const MAX_QUEUED_EVENTS: usize = 16;
/// Delay after a change, for others that come with it.
const GATHER_DELAY: Duration = Duration::from_millis(30);
/// The same for a class, which may have hundreds of workspaces.
const CLASS_GATHER_DELAY: Duration = Duration::from_millis(200);
/// Workspaces that are read one by one. If more have changed, all are read in one statement.
const MAX_SINGLE_READS: usize = 8;
/// How often `event: heartbeat` is sent. A browser sees no comments, and nothing else tells it that a
/// connection is dead whose network drops everything.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a stream reads up to when homes are safe. That time moves without any other change.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How often a comment is sent, for proxies that close silent connections, and how often the
/// session is checked.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

type Sender = mpsc::Sender<std::result::Result<Event, Infallible>>;
type Stream =
    Sse<axum::response::sse::KeepAliveStream<ReceiverStream<std::result::Result<Event, Infallible>>>>;

/// The client is gone, its session has ended, or the server shuts down.
struct StreamEnded;

/// Watch all workspaces
///
/// Server-sent events. `event: workspace` carries a workspace, `event: deleted` carries `{"id":
/// …}`. The present state of every workspace comes first. `event: heartbeat` comes every 5 seconds.
/// The stream ends with its session.
#[utoipa::path(
    get,
    path = "/workspaces/events",
    tag = "workspaces",
    responses((status = 200, content_type = "text/event-stream", body = Workspace,
            description = "A stream of events; each `data` is a workspace")),
)]
pub async fn watch_workspaces(State(app): State<App>, signed: Signed) -> Result<Stream> {
    follow(app, *signed.caller(), WorkspaceFilter::default()).await
}

/// Watch a workspace
///
/// Server-sent events as in `watch_workspaces`, for one workspace. The stream ends when it is
/// deleted.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/events",
    tag = "workspaces",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, content_type = "text/event-stream", body = Workspace,
            description = "A stream of events; each `data` is a workspace")),
)]
pub async fn watch_workspace(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Stream> {
    follow(app, *signed.caller(), WorkspaceFilter { workspace: Some(id), class: None }).await
}

/// Watch a class
///
/// Server-sent events. `event: class` carries the class with its members' workspaces, a few times a
/// second at most.
#[utoipa::path(
    get,
    path = "/classes/{id}/events",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, content_type = "text/event-stream", body = Class,
            description = "A stream of events; each `data` is the class")),
)]
pub async fn watch_class(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Stream> {
    let caller = *signed.caller();
    let subscription = app.events.subscribe();
    let first = classes::read(&app, &caller, id).await?;
    let (sender, stream) = channel();
    let tasks = app.tasks.clone();
    tasks.spawn("class events", async move {
        let mut events = EventStream::new(app, caller, subscription, sender);
        let _ = events.send_class(first, id).await;
    });
    Ok(stream)
}

fn channel() -> (Sender, Stream) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
    let stream =
        Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
    (sender, stream)
}

async fn follow(app: App, caller: Caller, filter: WorkspaceFilter) -> Result<Stream> {
    // Subscribed before the first read, so that nothing is missed in between.
    let subscription = app.events.subscribe();
    let first = list_workspaces(&app, &caller, filter).await?;
    if filter.workspace.is_some() && first.is_empty() {
        return Err(ApiError::not_found("workspace"));
    }
    let (sender, stream) = channel();
    let tasks = app.tasks.clone();
    tasks.spawn("workspace events", async move {
        let mut events = EventStream::new(app, caller, subscription, sender);
        let _ = events.send_workspaces(filter, first).await;
    });
    Ok(stream)
}

async fn list_workspaces(app: &App, caller: &Caller, filter: WorkspaceFilter) -> Result<Vec<Workspace>> {
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    Ok(view::list(&mut scope, filter).await?)
}

/// Sends the events of one stream.
struct EventStream {
    app: App,
    caller: Caller,
    subscription: Subscription,
    sender: Sender,
    session_checked_at: Instant,
    heartbeat_at: Instant,
    status_at: Instant,
}

/// What a stream has sent of a workspace: its revision, and up to when its home is safe.
type SentState = (u64, Option<OffsetDateTime>);

/// What may have changed since the last read.
enum Changes {
    Some(HashSet<WorkspaceId>),
    Any,
}

impl EventStream {
    fn new(app: App, caller: Caller, subscription: Subscription, sender: Sender) -> Self {
        let now = Instant::now();
        Self { app, caller, subscription, sender, session_checked_at: now, heartbeat_at: now, status_at: now }
    }

    async fn send_workspaces(
        &mut self,
        filter: WorkspaceFilter,
        first: Vec<Workspace>,
    ) -> std::result::Result<(), StreamEnded> {
        let mut known = HashMap::new();
        for workspace in first {
            self.send_changed(&mut known, workspace).await?;
        }
        loop {
            let changes =
                self.next_changes(GATHER_DELAY, |caller, changed| concerns(caller, filter, changed)).await?;
            match changes {
                Changes::Some(ids) if ids.len() <= MAX_SINGLE_READS => {
                    for id in ids {
                        let filter = WorkspaceFilter { workspace: Some(id), class: None };
                        let found = list_workspaces(&self.app, &self.caller, filter)
                            .await
                            .map_err(|_| StreamEnded)?;
                        self.send_differences(&mut known, found, &HashSet::from([id])).await?;
                    }
                }
                _ => {
                    let found =
                        list_workspaces(&self.app, &self.caller, filter).await.map_err(|_| StreamEnded)?;
                    let requested = known.keys().copied().collect();
                    self.send_differences(&mut known, found, &requested).await?;
                }
            }
            if filter.workspace.is_some() && known.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends what is new in `found`, and a deletion for each of `requested` that was not found.
    async fn send_differences(
        &mut self,
        known: &mut HashMap<WorkspaceId, SentState>,
        found: Vec<Workspace>,
        requested: &HashSet<WorkspaceId>,
    ) -> std::result::Result<(), StreamEnded> {
        let present: HashSet<WorkspaceId> = found.iter().map(|workspace| workspace.id).collect();
        for workspace in found {
            self.send_changed(known, workspace).await?;
        }
        for id in requested.difference(&present) {
            if known.remove(id).is_some() {
                let event =
                    Event::default().event("deleted").data(serde_json::json!({ "id": id }).to_string());
                self.send(event).await?;
            }
        }
        Ok(())
    }

    /// Sends a workspace if its revision is new, or the time up to which its home is safe.
    async fn send_changed(
        &mut self,
        known: &mut HashMap<WorkspaceId, SentState>,
        workspace: Workspace,
    ) -> std::result::Result<(), StreamEnded> {
        let state = (workspace.revision, workspace.safe_at);
        if known.insert(workspace.id, state) == Some(state) {
            return Ok(());
        }
        self.send(event("workspace", &workspace)).await
    }

    async fn send_class(&mut self, first: Class, id: ClassId) -> std::result::Result<(), StreamEnded> {
        let teacher = first.teacher;
        self.send(event("class", &first)).await?;
        let mut last = first;
        loop {
            self.next_changes(CLASS_GATHER_DELAY, |caller, changed| {
                changed.tenant == caller.tenant && changed.teacher == Some(teacher)
            })
            .await?;
            let Ok(now) = classes::read(&self.app, &self.caller, id).await else { return Ok(()) };
            if now != last {
                self.send(event("class", &now)).await?;
                last = now;
            }
        }
    }

    /// Waits for changes that concern the stream, and a little longer for those that come with
    /// them.
    async fn next_changes(
        &mut self,
        gather_delay: Duration,
        concerns: impl Fn(&Caller, &WorkspaceChange) -> bool,
    ) -> std::result::Result<Changes, StreamEnded> {
        let mut ids = HashSet::new();
        let mut until = None::<Instant>;
        loop {
            let wake = until.unwrap_or(self.heartbeat_at + HEARTBEAT_INTERVAL);
            let notice = tokio::select! {
                () = self.app.tasks.shutdown().cancelled() => return Err(StreamEnded),
                () = self.sender.closed() => return Err(StreamEnded),
                () = tokio::time::sleep_until(wake) => {
                    if until.is_some() {
                        return Ok(Changes::Some(ids));
                    }
                    if self.send_heartbeat().await? {
                        return Ok(Changes::Any);
                    }
                    continue;
                }
                notice = self.subscription.next() => notice,
            };
            match notice {
                Notice::Missed => return Ok(Changes::Any),
                Notice::Changed(changed) if concerns(&self.caller, &changed) => {
                    ids.insert(changed.workspace);
                    until.get_or_insert_with(|| Instant::now() + gather_delay);
                }
                Notice::Changed(_) => {}
            }
        }
    }

    /// Sends a heartbeat. Returns whether the status of the workspaces is due.
    async fn send_heartbeat(&mut self) -> std::result::Result<bool, StreamEnded> {
        let now = Instant::now();
        self.heartbeat_at = now;
        // A client that is slow has events waiting, which are as good.
        let _ = self.sender.try_send(Ok(Event::default().event("heartbeat").data("{}")));
        if now >= self.session_checked_at + KEEP_ALIVE_INTERVAL {
            self.check_session().await?;
        }
        let is_due = now >= self.status_at + STATUS_INTERVAL;
        if is_due {
            self.status_at = now;
        }
        Ok(is_due)
    }

    async fn check_session(&mut self) -> std::result::Result<(), StreamEnded> {
        self.session_checked_at = Instant::now();
        let session = self.caller.session;
        let mut system = self.app.db.system().await.map_err(|_| StreamEnded)?;
        let open = sessions::is_open(system.connection(), self.app.now(), session).await;
        if open.map_err(|_| StreamEnded)? { Ok(()) } else { Err(StreamEnded) }
    }

    async fn send(&mut self, event: Event) -> std::result::Result<(), StreamEnded> {
        tokio::select! {
            () = self.app.tasks.shutdown().cancelled() => Err(StreamEnded),
            sent = self.sender.send(Ok(event)) => sent.map_err(|_| StreamEnded),
        }
    }
}

/// Whether a change concerns a stream of the caller.
fn concerns(caller: &Caller, filter: WorkspaceFilter, changed: &WorkspaceChange) -> bool {
    let is_selected = filter.workspace.is_none_or(|id| id == changed.workspace);
    let is_visible =
        changed.owner == caller.user || changed.teacher == Some(caller.user) || caller.role == Role::Owner;
    is_selected && changed.tenant == caller.tenant && is_visible
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).data(serde_json::to_string(data).expect("events are plain data"))
}
