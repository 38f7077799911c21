//! `list`, `create`, `start`, `stop`, `show`, `grow`, `delete`, `open`, `terminals`.

use protocol::{
    Code, WorkspaceId,
    api::workspace::{EditWorkspace, HomeNotice, NewWorkspace, Workspace, WorkspaceList},
    terminal::{TerminalInfo, TerminalList},
    workspace::Phase,
};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    Context, did_you_mean,
    waiting::{self, Goal},
};
use crate::{
    arguments::{Create, Delete, Grow, Growth, Start, Stop, Waiting},
    browser,
    clock::Clock,
    failure::{Failure, Kind},
    output::{self, Shown},
    server::Server,
};

impl Shown for Workspace {
    const COLUMNS: &'static [&'static str] = &["name", "state", "owner", "home", "safe", "last used"];
    const WIDE: &'static [&'static str] = &["template", "stored", "created"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            self.name.clone(),
            state(self),
            self.owner_name.clone(),
            home(self),
            safe(self, now),
            ago(self.last_used_at, now),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            self.template.clone(),
            self.stored_bytes.map_or_else(|| "–".to_owned(), output::size),
            ago(Some(self.created_at), OffsetDateTime::now_utc()),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// A workspace with all that is known of its home.
#[derive(Serialize)]
#[serde(transparent)]
struct Detailed<'a> {
    workspace: &'a Workspace,
    /// The name of what it is a fork of, if that is there and may be seen.
    #[serde(skip)]
    origin: Option<String>,
}

impl Shown for Detailed<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "state",
        "owner",
        "template",
        "home",
        "stored",
        "safe",
        "notice",
        "forked from",
        "created",
        "last used",
    ];

    fn cells(&self) -> Vec<String> {
        let (workspace, now) = (self.workspace, OffsetDateTime::now_utc());
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let origin = workspace.forked_from.as_ref().map(|origin| {
            let name = self.origin.clone().unwrap_or_else(|| origin.workspace.to_string());
            format!("{name} at {}", Clock::read().wall(origin.at))
        });
        vec![
            workspace.name.clone(),
            state(workspace),
            workspace.owner_name.clone(),
            workspace.template.clone(),
            home(workspace),
            or_dash(workspace.stored_bytes.map(output::size)),
            safe(workspace, now),
            or_dash(workspace.home_notice.map(|notice| self::notice(notice).to_owned())),
            or_dash(origin),
            ago(Some(workspace.created_at), now),
            ago(workspace.last_used_at, now),
        ]
    }

    fn name(&self) -> String {
        self.workspace.name.clone()
    }

    fn id(&self) -> String {
        self.workspace.id.to_string()
    }
}

fn ago(time: Option<OffsetDateTime>, now: OffsetDateTime) -> String {
    time.map_or_else(|| "–".to_owned(), |then| output::ago(then, now))
}

/// "1.2 of 10 GiB": what the files take, of what they may take.
fn home(workspace: &Workspace) -> String {
    let size = output::size(home_bytes(workspace));
    let Some(used) = workspace.home_used_bytes else { return size };
    let used = output::size(used);
    let unit = size.rfind(' ').map_or("", |space| &size[space..]);
    format!("{} of {size}", used.strip_suffix(unit).unwrap_or(&used))
}

fn home_bytes(workspace: &Workspace) -> u64 {
    u64::from(workspace.resources.home_mib) << 20
}

/// Up to when what was written outlives the machine and its host.
fn safe(workspace: &Workspace, now: OffsetDateTime) -> String {
    match (workspace.phase, workspace.unreplicated_seconds) {
        (Phase::Running, Some(0)) => "now".to_owned(),
        // Not "now", be it a second ago.
        (Phase::Running, Some(seconds @ 1..60)) => format!("{seconds} s ago"),
        (Phase::Running, Some(seconds)) => output::ago(now - time::Duration::seconds(seconds.into()), now),
        _ => ago(workspace.safe_at, now),
    }
}

fn notice(notice: HomeNotice) -> &'static str {
    match notice {
        HomeNotice::StoreUnavailable => "the store takes nothing now: what is written waits on the host",
        HomeNotice::Throttled => "more is written than the store takes: writing is slowed down",
        HomeNotice::HostDiskFull => "the host's disk is nearly full: writing waits",
    }
}

/// Percent of the home that are used, as far as the person should know: from here on it may fill up before they look again.
fn fullness(workspace: &Workspace) -> Option<u64> {
    let used = workspace.home_used_bytes?.saturating_mul(100);
    used.checked_div(home_bytes(workspace)).filter(|percent| *percent >= FULL_PERCENT)
}

/// From here on a word about the home's room is said.
const FULL_PERCENT: u64 = 80;
/// From here on it is urgent: programs that write much may fail at any time.
const NEARLY_FULL_PERCENT: u64 = 95;

fn state(workspace: &Workspace) -> String {
    match (workspace.phase, &workspace.failure, workspace.queue_position) {
        (Phase::Queued, _, Some(position)) => format!("Queued ({position})"),
        (Phase::Queued, _, None) => "Queued".to_owned(),
        (Phase::Provisioning, ..) => "Starting".to_owned(),
        (Phase::Running, ..) => "Running".to_owned(),
        (Phase::Stopping, ..) => "Stopping".to_owned(),
        (Phase::Persisting, ..) => "Saving".to_owned(),
        (Phase::Terminated, Some(_), _) => "Failed".to_owned(),
        (Phase::Terminated, None, _) => "Stopped".to_owned(),
    }
}

impl Shown for TerminalInfo {
    const COLUMNS: &'static [&'static str] = &["id", "title", "size", "viewers", "state", "started"];

    fn cells(&self) -> Vec<String> {
        let started =
            OffsetDateTime::from_unix_timestamp(self.created_at / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        vec![
            self.id.to_string(),
            output::printable(&self.title),
            format!("{}×{}", self.size.cols, self.size.rows),
            self.viewers.to_string(),
            self.exit.map_or_else(|| "running".to_owned(), |exit| format!("ended ({})", exit.status())),
            output::ago(started, OffsetDateTime::now_utc()),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn list(context: &Context) -> Result<(), Failure> {
    let workspaces = all(&context.server()?).await?;
    context.output.list(&workspaces)?;
    if workspaces.is_empty() && context.output.format.is_for_people() {
        context.output.say("No workspaces yet. Make one: burrow create NAME");
    }
    Ok(())
}

pub async fn show(context: &Context, name: &str) -> Result<(), Failure> {
    let server = context.server()?;
    let workspace = find(&server, name).await?;
    let origin = match &workspace.forked_from {
        Some(origin) if context.output.format.is_for_people() => {
            let known = all(&server).await?.into_iter().find(|known| known.id == origin.workspace);
            known.map(|known| known.name)
        }
        _ => None,
    };
    context.output.one(&Detailed { workspace: &workspace, origin })?;
    if !context.output.format.is_for_people() {
        return Ok(());
    }
    if let Some(failure) = &workspace.failure {
        context.output.say(&format!("The last start or stop failed: {} {}", failure.cause, failure.action));
    }
    if let Some(percent) = fullness(&workspace) {
        let urgency = if percent >= NEARLY_FULL_PERCENT { "Warning: the" } else { "The" };
        context.output.say(&format!(
            "{urgency} home is {percent} % full. More room: burrow grow {} +5G",
            workspace.name
        ));
    }
    Ok(())
}

pub async fn grow(context: &Context, grow: Grow) -> Result<(), Failure> {
    let server = context.server()?;
    let workspace = find(&server, &grow.target.workspace).await?;
    let old = workspace.resources.home_mib;
    let wanted = grow.size.of(old).ok_or_else(|| Failure::new(Kind::Usage, "The size is too large"))?;
    let words = |mib: u32| output::size(u64::from(mib) << 20);
    if wanted < old {
        let failure = Failure::new(
            Kind::Usage,
            format!("The home of {} has {}, and never shrinks", workspace.name, words(old)),
        );
        return Err(match grow.size {
            Growth::To(_) => failure.next(format!("burrow grow {} +5G adds to it", workspace.name)),
            Growth::By(_) => failure,
        });
    }
    if wanted == old {
        context.output.say(&format!("The home of {} has {} already", workspace.name, words(old)));
        return finish_silently(context, &workspace);
    }
    let request = EditWorkspace { home_mib: Some(wanted), ..EditWorkspace::default() };
    let grown = server.edit_workspace(workspace.id, &request).await?;
    context.output.say(&format!(
        "The home of {}: {} → {}",
        grown.name,
        words(old),
        words(grown.resources.home_mib)
    ));
    finish_silently(context, &grown)
}

pub async fn create(context: &Context, create: Create) -> Result<(), Failure> {
    let server = context.server()?;
    let request = NewWorkspace {
        name: create.name.clone(),
        template: Some(create.template.clone()),
        start: Some(!create.no_start),
    };
    let made = match server.create_workspace(&request).await {
        Err(refused) if create.if_not_exists && refused.is(Code::NameTaken) => {
            let there = find(&server, &create.name).await?;
            if create.no_start || there.phase == Phase::Running {
                there
            } else {
                begin_start(&server, &there).await?
            }
        }
        made => made?,
    };
    let workspace = if create.no_start {
        made
    } else {
        settle(context, &server, made, Goal::Running, create.waiting).await?
    };
    finish(context, &workspace)?;
    say_next(context, &workspace);
    Ok(())
}

pub async fn start(context: &Context, start: Start) -> Result<(), Failure> {
    let server = context.server()?;
    let found = find(&server, &start.target.workspace).await?;
    let begun = begin_start(&server, &found).await?;
    let workspace = settle(context, &server, begun, Goal::Running, start.waiting).await?;
    finish(context, &workspace)
}

pub async fn stop(context: &Context, stop: Stop) -> Result<(), Failure> {
    let server = context.server()?;
    let found = find(&server, &stop.target.workspace).await?;
    let begun =
        if found.phase == Phase::Terminated { found } else { server.stop_workspace(found.id).await? };
    let workspace = settle(context, &server, begun, Goal::Stopped, stop.waiting).await?;
    finish(context, &workspace)
}

pub async fn delete(context: &Context, delete: Delete) -> Result<(), Failure> {
    let server = context.server()?;
    let workspace = match find(&server, &delete.workspace).await {
        Err(failure) if failure.kind == Kind::NotFound && delete.ignore_not_found => return Ok(()),
        found => found?,
    };
    context.confirm(
        delete.yes,
        &format!(
            "deletes the workspace {} of {} with its home and its past",
            workspace.name, workspace.owner_name
        ),
        &workspace.name,
    )?;
    server.delete_workspace(workspace.id).await?;
    context.output.say(&format!("Deleted {0}. For some days: burrow undelete {0}", workspace.name));
    Ok(())
}

pub async fn open(context: &Context, name: &str) -> Result<(), Failure> {
    let server = context.server()?;
    let workspace = find(&server, name).await?;
    let url = server.page_of(workspace.id);
    if context.output.format == output::Format::Json {
        return context.output.json(&serde_json::json!({ "url": url }));
    }
    if context.output.quiet || !browser::open(&url) {
        return output::line(&url);
    }
    context.output.say(&format!("Opened {url}"));
    Ok(())
}

pub async fn terminals(context: &Context, name: &str) -> Result<(), Failure> {
    let server = context.server()?;
    let workspace = find(&server, name).await?;
    let TerminalList { terminals } = server.terminals(workspace.id).await?;
    context.output.list(&terminals)
}

/// The workspace of this name: `name`, `owner/name`, or its identifier. Among several of one name, one's own.
pub async fn find(server: &Server, wanted: &str) -> Result<Workspace, Failure> {
    if let Ok(id) = wanted.parse::<WorkspaceId>() {
        return Ok(server.workspace(id).await?);
    }
    let (owner, name) = match wanted.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, wanted),
    };
    let workspaces = all(server).await?;
    let names: Vec<String> = workspaces.iter().map(|workspace| workspace.name.clone()).collect();
    let mut matching: Vec<Workspace> = workspaces
        .into_iter()
        .filter(|workspace| workspace.name == name && owner.is_none_or(|owner| workspace.owner_name == owner))
        .collect();
    if matching.len() > 1 {
        let me = server.session().await?.user.id;
        if matching.iter().filter(|workspace| workspace.owner == me).count() == 1 {
            matching.retain(|workspace| workspace.owner == me);
        }
    }
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => {
            let failure = Failure::new(Kind::NotFound, format!("There is no workspace `{wanted}`"));
            Err(match did_you_mean(name, names.iter().map(String::as_str)) {
                Some(near) => failure.why(format!("did you mean `{near}`?")).next("burrow list"),
                None => failure.next(format!("burrow list, or burrow create {name}")),
            })
        }
        count => Err(Failure::new(Kind::Usage, format!("{count} workspaces are named `{name}`"))
            .next(format!("name the owner: {}/{name}", matching[0].owner_name))),
    }
}

/// Makes sure that it runs: what `attach` and `exec` begin with.
pub async fn ensure_running(
    context: &Context,
    server: &Server,
    name: &str,
    may_start: bool,
) -> Result<Workspace, Failure> {
    let found = find(server, name).await?;
    if found.phase == Phase::Running {
        return Ok(found);
    }
    if !may_start {
        return Err(Failure::new(Kind::Conflict, format!("The workspace {name} is not running"))
            .next(format!("burrow start {name}")));
    }
    let begun = begin_start(server, &found).await?;
    waiting::until(context.style, server, begun, Goal::Running, waiting::DEADLINE).await
}

/// A start of what is on its way already is no error.
async fn begin_start(server: &Server, workspace: &Workspace) -> Result<Workspace, Failure> {
    match workspace.phase {
        Phase::Running | Phase::Queued | Phase::Provisioning => Ok(workspace.clone()),
        Phase::Stopping | Phase::Persisting => {
            let stopped = waiting::until(
                crate::progress::Style::Silent,
                server,
                workspace.clone(),
                Goal::Stopped,
                waiting::DEADLINE,
            )
            .await?;
            Ok(server.start_workspace(stopped.id).await?)
        }
        Phase::Terminated => Ok(server.start_workspace(workspace.id).await?),
    }
}

pub async fn settle(
    context: &Context,
    server: &Server,
    workspace: Workspace,
    goal: Goal,
    waiting: Waiting,
) -> Result<Workspace, Failure> {
    if waiting.no_wait {
        return Ok(workspace);
    }
    waiting::until(context.style, server, workspace, goal, waiting.timeout).await
}

/// People have seen the steps; programs get the record.
pub fn finish(context: &Context, workspace: &Workspace) -> Result<(), Failure> {
    if context.output.format.is_for_people() {
        context.output.say(&format!("{}: {}", workspace.name, state(workspace)));
    }
    finish_silently(context, workspace)
}

/// The record for programs; people have read the sentence.
fn finish_silently(context: &Context, workspace: &Workspace) -> Result<(), Failure> {
    if context.output.format.is_for_people() && !context.output.quiet {
        return Ok(());
    }
    context.output.one(workspace)
}

/// What a person types after making a workspace.
pub fn say_next(context: &Context, workspace: &Workspace) {
    context.output.say(&match workspace.phase {
        Phase::Running => format!("Next: burrow attach {0}, or burrow open {0}", workspace.name),
        Phase::Terminated => format!("Next: burrow start {}", workspace.name),
        _ => format!("Next: burrow show {}", workspace.name),
    });
}

async fn all(server: &Server) -> Result<Vec<Workspace>, Failure> {
    let WorkspaceList { workspaces } = server.workspaces().await?;
    Ok(workspaces)
}
