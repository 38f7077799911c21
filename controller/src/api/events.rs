//! States as they change, as server-sent events. The present state comes first; a stream ends with
//! its session.
//!
//! A notice says that something changed; what is sent is read anew through the caller's scope, so
//! nobody is told of what they could not ask for.

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
    events::{Changed, Ear, Notice},
    identity::sessions,
    workspaces::view::{self, Which},
};

/// Events that a slow reader may be behind; then the producer waits, and what changes meanwhile is told once.
const MAX_BEHIND: usize = 16;
/// Other changes that come with the first are told together with it.
const GATHER: Duration = Duration::from_millis(30);
/// A class shows hundreds of states; a page wants them a few times a second.
const GATHER_CLASS: Duration = Duration::from_millis(200);
/// More changed at once than this: everything is read, in one statement.
const MAX_SINGLY: usize = 8;
/// A comment for proxies that close what is silent, and the time at which the session is looked at again.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);

type Sender = mpsc::Sender<std::result::Result<Event, Infallible>>;
type Stream =
    Sse<axum::response::sse::KeepAliveStream<ReceiverStream<std::result::Result<Event, Infallible>>>>;

/// The stream's reader is gone, its session has ended, or the server ends.
struct Over;

/// Watch all workspaces
///
/// Server-sent events. `event: workspace` carries a workspace, `event: deleted` carries `{"id":
/// …}`. The present state of every workspace comes first. The stream ends with its session.
#[utoipa::path(
    get,
    path = "/workspaces/events",
    tag = "workspaces",
    responses((status = 200, content_type = "text/event-stream", body = Workspace,
            description = "A stream of events; each `data` is a workspace")),
)]
pub async fn watch_workspaces(State(app): State<App>, signed: Signed) -> Result<Stream> {
    follow(app, *signed.caller(), Which::default()).await
}

/// Watch a workspace
///
/// Server-sent events as in `watch_workspaces`, for one workspace. The stream ends when it is deleted.
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
    follow(app, *signed.caller(), Which { workspace: Some(id), class: None }).await
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
    let ear = app.hub.listen();
    let first = classes::read(&app, &caller, id).await?;
    let (sender, stream) = channel();
    let tasks = app.tasks.clone();
    tasks.spawn("class events", async move {
        let mut follower = Follower { app, caller, ear, sender, checked: Instant::now() };
        let _ = follower.class(first, id).await;
    });
    Ok(stream)
}

fn channel() -> (Sender, Stream) {
    let (sender, receiver) = mpsc::channel(MAX_BEHIND);
    let stream =
        Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(ALIVE_INTERVAL));
    (sender, stream)
}

async fn follow(app: App, caller: Caller, which: Which) -> Result<Stream> {
    // Listening begins before the first look, so nothing is missed between.
    let ear = app.hub.listen();
    let first = look(&app, &caller, which).await?;
    if which.workspace.is_some() && first.is_empty() {
        return Err(ApiError::not_found("workspace"));
    }
    let (sender, stream) = channel();
    let tasks = app.tasks.clone();
    tasks.spawn("workspace events", async move {
        let mut follower = Follower { app, caller, ear, sender, checked: Instant::now() };
        let _ = follower.workspaces(which, first).await;
    });
    Ok(stream)
}

async fn look(app: &App, caller: &Caller, which: Which) -> Result<Vec<Workspace>> {
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    Ok(view::list(&mut scope, which).await?)
}

struct Follower {
    app: App,
    caller: Caller,
    ear: Ear,
    sender: Sender,
    checked: Instant,
}

/// What changed since the last look.
enum News {
    Some(HashSet<WorkspaceId>),
    All,
}

impl Follower {
    async fn workspaces(&mut self, which: Which, first: Vec<Workspace>) -> std::result::Result<(), Over> {
        let mut known = HashMap::new();
        for workspace in first {
            self.tell(&mut known, workspace).await?;
        }
        loop {
            let news = self.news(GATHER, |caller, changed| concerns(caller, which, changed)).await?;
            match news {
                News::Some(ids) if ids.len() <= MAX_SINGLY => {
                    for id in ids {
                        let which = Which { workspace: Some(id), class: None };
                        let found = look(&self.app, &self.caller, which).await.map_err(|_| Over)?;
                        self.compare(&mut known, found, &HashSet::from([id])).await?;
                    }
                }
                _ => {
                    let found = look(&self.app, &self.caller, which).await.map_err(|_| Over)?;
                    let asked = known.keys().copied().collect();
                    self.compare(&mut known, found, &asked).await?;
                }
            }
            if which.workspace.is_some() && known.is_empty() {
                return Ok(());
            }
        }
    }

    /// Tells what is new in `found`, and that what was `asked` for and not found is gone.
    async fn compare(
        &mut self,
        known: &mut HashMap<WorkspaceId, u64>,
        found: Vec<Workspace>,
        asked: &HashSet<WorkspaceId>,
    ) -> std::result::Result<(), Over> {
        let there: HashSet<WorkspaceId> = found.iter().map(|workspace| workspace.id).collect();
        for workspace in found {
            self.tell(known, workspace).await?;
        }
        for id in asked.difference(&there) {
            if known.remove(id).is_some() {
                let event =
                    Event::default().event("deleted").data(serde_json::json!({ "id": id }).to_string());
                self.send(event).await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &mut self,
        known: &mut HashMap<WorkspaceId, u64>,
        workspace: Workspace,
    ) -> std::result::Result<(), Over> {
        if known.insert(workspace.id, workspace.revision) == Some(workspace.revision) {
            return Ok(());
        }
        self.send(event("workspace", &workspace)).await
    }

    async fn class(&mut self, first: Class, id: ClassId) -> std::result::Result<(), Over> {
        let teacher = first.teacher;
        self.send(event("class", &first)).await?;
        let mut last = first;
        loop {
            self.news(GATHER_CLASS, |caller, changed| {
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

    /// Waits until something changed that concerns the stream, and a little for what comes with it.
    async fn news(
        &mut self,
        gather: Duration,
        concerns: impl Fn(&Caller, &Changed) -> bool,
    ) -> std::result::Result<News, Over> {
        let mut ids = HashSet::new();
        let mut until = None::<Instant>;
        loop {
            let wake = until.unwrap_or(self.checked + ALIVE_INTERVAL);
            let notice = tokio::select! {
                () = self.app.tasks.shutdown().cancelled() => return Err(Over),
                () = self.sender.closed() => return Err(Over),
                () = tokio::time::sleep_until(wake) => {
                    if until.is_some() {
                        return Ok(News::Some(ids));
                    }
                    self.check_session().await?;
                    continue;
                }
                notice = self.ear.next() => notice,
            };
            match notice {
                Notice::Anything => return Ok(News::All),
                Notice::Changed(changed) if concerns(&self.caller, &changed) => {
                    ids.insert(changed.workspace);
                    until.get_or_insert_with(|| Instant::now() + gather);
                }
                Notice::Changed(_) => {}
            }
        }
    }

    async fn check_session(&mut self) -> std::result::Result<(), Over> {
        self.checked = Instant::now();
        let session = self.caller.session;
        let mut system = self.app.db.system().await.map_err(|_| Over)?;
        let open = sessions::is_open(system.connection(), self.app.now(), session).await;
        if open.map_err(|_| Over)? { Ok(()) } else { Err(Over) }
    }

    async fn send(&mut self, event: Event) -> std::result::Result<(), Over> {
        tokio::select! {
            () = self.app.tasks.shutdown().cancelled() => Err(Over),
            sent = self.sender.send(Ok(event)) => sent.map_err(|_| Over),
        }
    }
}

fn concerns(caller: &Caller, which: Which, changed: &Changed) -> bool {
    let asked = which.workspace.is_none_or(|id| id == changed.workspace);
    let theirs =
        changed.owner == caller.user || changed.teacher == Some(caller.user) || caller.role == Role::Owner;
    asked && changed.tenant == caller.tenant && theirs
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).data(serde_json::to_string(data).expect("answers are plain data"))
}
