//! What the commands about one workspace share: its argument, finding it, its rows, and starting
//! it.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use protocol::{
    Access, WorkspaceId,
    api::workspace::{Workspace, WorkspaceList},
    workspace::{HomeNotice, Phase, StartPriority},
};
use time::OffsetDateTime;

use super::wait::{self, Goal, WaitOptions};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Record, progress::Style, suggest::did_you_mean},
    server::Server,
};

/// The positional argument that names one workspace.
#[derive(Debug, Args)]
pub struct WorkspaceArgument {
    /// Name of the workspace
    #[arg(add = ArgValueCandidates::new(super::candidates::workspaces), env = "BURROW_WORKSPACE")]
    pub workspace: String,
}

impl Record for Workspace {
    const COLUMNS: &'static [&'static str] = &["name", "state", "owner", "home", "safe", "last used"];
    const WIDE: &'static [&'static str] = &["template", "stored", "created"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            output::shorten(&self.name),
            state(self),
            output::shorten(&self.owner_name),
            home_usage(self),
            safe_since(self, now),
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

/// "5 min ago", or a dash for a time that never was.
pub fn ago(time: Option<OffsetDateTime>, now: OffsetDateTime) -> String {
    time.map_or_else(|| "–".to_owned(), |then| output::ago(then, now))
}

/// "1.2 of 10 GiB": the space that files use, and the size of the home.
pub fn home_usage(workspace: &Workspace) -> String {
    let size = output::size(home_bytes(workspace));
    let Some(used) = workspace.home_used_bytes else { return size };
    let used = output::size(used);
    let unit = size.rfind(' ').map_or("", |space| &size[space..]);
    format!("{} of {size}", used.strip_suffix(unit).unwrap_or(&used))
}

/// Size of the workspace's home, in bytes.
pub fn home_bytes(workspace: &Workspace) -> u64 {
    u64::from(workspace.resources.home_mib) << 20
}

/// The age of the newest state of the home that the object store has: what would survive the loss
/// of the host.
pub fn safe_since(workspace: &Workspace, now: OffsetDateTime) -> String {
    match (workspace.phase, workspace.unreplicated_seconds) {
        (Phase::Running, Some(0)) => "now".to_owned(),
        // `output::ago` says "now" for the last seconds, which would claim too much here.
        (Phase::Running, Some(seconds @ 1..60)) => format!("{seconds} s ago"),
        (Phase::Running, Some(seconds)) => output::ago(now - time::Duration::seconds(seconds.into()), now),
        _ => ago(workspace.safe_at, now),
    }
}

/// A sentence about a home that is slowed down or at risk, or about a limit that programs have reached.
pub fn notice_text(notice: HomeNotice, workspace: &Workspace) -> String {
    let text = match notice {
        HomeNotice::StoreUnavailable => "the object store is unavailable: changes wait on the host",
        HomeNotice::Throttled => "writes are slowed down: the object store cannot keep up",
        HomeNotice::HostDiskFull => "writes are paused: the host's disk is nearly full",
        HomeNotice::IdleStop => "nobody uses it: it stops within minutes",
        HomeNotice::UploadsPaced => {
            "saved less often: the home changes very much. `burrow snapshot` saves it now"
        }
        HomeNotice::HomeFull => "the home is full: delete files, or enlarge it with `burrow grow`",
        HomeNotice::HomeOutOfInodes => "the home has no room for another file: delete some (`du --inodes`)",
        HomeNotice::OutOfMemory => return out_of_memory_text(workspace),
        HomeNotice::ProcessLimit => {
            "the limit of processes is reached: end the program that starts too many (`pkill NAME`)"
        }
    };
    text.to_owned()
}

fn out_of_memory_text(workspace: &Workspace) -> String {
    let program = workspace.killed_program.as_ref().map_or("a program", |program| program.as_str());
    let memory = output::size(u64::from(workspace.resources.memory_mib) << 20);
    format!("{program} was killed: the workspace's {memory} of memory are used up")
}

/// The state as users know it.
pub fn state(workspace: &Workspace) -> String {
    match (workspace.phase, &workspace.failure, workspace.queue_position) {
        _ if workspace.is_deleting => "Deleting".to_owned(),
        (Phase::Queued, _, Some(position)) => match estimate_text(workspace, OffsetDateTime::now_utc()) {
            Some(estimate) => format!("Queued ({position}, {estimate})"),
            None => format!("Queued ({position})"),
        },
        (Phase::Queued, _, None) if workspace.is_held => "Queued (held)".to_owned(),
        (Phase::Queued, _, None) => "Queued".to_owned(),
        (Phase::Provisioning, ..) => "Starting".to_owned(),
        (Phase::Running, ..) => "Running".to_owned(),
        (Phase::Stopping, ..) => "Stopping".to_owned(),
        (Phase::Persisting, ..) => "Saving".to_owned(),
        (Phase::Terminated, Some(_), _) => "Failed".to_owned(),
        (Phase::Terminated, None, _) => "Stopped".to_owned(),
    }
}

/// "about 4 min": how long a waiting start probably waits. None if that is not known.
pub fn estimate_text(workspace: &Workspace, now: OffsetDateTime) -> Option<String> {
    let seconds = (workspace.estimated_start_at? - now).whole_seconds();
    Some(match seconds {
        ..30 => "soon".to_owned(),
        seconds @ ..90 => format!("about {} s", (seconds + 5) / 10 * 10),
        seconds @ ..5400 => format!("about {} min", (seconds + 30) / 60),
        seconds => format!("about {} h", (seconds + 1800) / 3600),
    })
}

/// All workspaces that the user may see.
pub async fn all(server: &Server) -> Result<Vec<Workspace>, CommandError> {
    let WorkspaceList { workspaces } = server.workspaces().await?;
    Ok(workspaces)
}

/// Finds a workspace by `name`, `owner/name` or identifier. Among several of one name, the user's
/// own wins.
pub async fn find(server: &Server, wanted: &str) -> Result<Workspace, CommandError> {
    if let Ok(id) = wanted.parse::<WorkspaceId>() {
        return Ok(server.workspace(id).await?);
    }
    let (owner, name) = match wanted.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, wanted),
    };
    let mut workspaces = all(server).await?;
    // A name is free while the workspace that had it is being deleted.
    workspaces.retain(|workspace| !workspace.is_deleting);
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
            let error = CommandError::new(ErrorKind::NotFound, format!("Cannot find workspace `{wanted}`"));
            Err(match did_you_mean(name, names.iter().map(String::as_str)) {
                Some(near) => error.cause(format!("did you mean `{near}`?")).hint("burrow list"),
                None => error.hint(format!("burrow list, or burrow create {name}")),
            })
        }
        count => Err(CommandError::new(ErrorKind::Usage, format!("{count} workspaces are named `{name}`"))
            .hint(format!("name the owner: {}/{name}", matching[0].owner_name))),
    }
}

/// Finds a workspace by its name; without one, the only workspace of the user that runs.
pub async fn find_or_only_running(server: &Server, wanted: Option<&str>) -> Result<Workspace, CommandError> {
    if let Some(wanted) = wanted {
        return find(server, wanted).await;
    }
    let mut workspaces = all(server).await?;
    // Only their owner may write to them.
    workspaces.retain(|it| it.access == Access::Write && it.phase == Phase::Running && !it.is_deleting);
    if workspaces.len() == 1 {
        return Ok(workspaces.remove(0));
    }
    let what = if workspaces.is_empty() { "No workspace of yours runs" } else { "Several workspaces run" };
    Err(CommandError::new(ErrorKind::Usage, what).hint("name the workspace; `burrow list` shows all"))
}

/// Finds a workspace and starts it if it is stopped and `may_start` allows it.
pub async fn ensure_running(
    context: &Context,
    server: &Server,
    name: &str,
    may_start: bool,
) -> Result<Workspace, CommandError> {
    let workspace = find(server, name).await?;
    if workspace.phase == Phase::Running {
        return Ok(workspace);
    }
    if !may_start {
        return Err(CommandError::new(ErrorKind::Conflict, format!("Workspace {name} is not running"))
            .hint(format!("burrow start {name}")));
    }
    let starting = begin_start(server, &workspace, StartPriority::default()).await?;
    wait::until(context.style, server, starting, Goal::Running, wait::DEFAULT_TIMEOUT).await
}

/// Asks for a start. Starting a workspace that is already starting is not an error; one that is
/// stopping is waited for.
pub async fn begin_start(
    server: &Server,
    workspace: &Workspace,
    priority: StartPriority,
) -> Result<Workspace, CommandError> {
    match workspace.phase {
        Phase::Running | Phase::Queued | Phase::Provisioning => Ok(workspace.clone()),
        Phase::Stopping | Phase::Persisting => {
            let goal = Goal::Stopped;
            let stopped =
                wait::until(Style::Silent, server, workspace.clone(), goal, wait::DEFAULT_TIMEOUT).await?;
            Ok(server.start_workspace(stopped.id, priority).await?)
        }
        Phase::Terminated => Ok(server.start_workspace(workspace.id, priority).await?),
    }
}

/// Waits for `goal`, unless the user gave `--no-wait`.
pub async fn wait_for(
    context: &Context,
    server: &Server,
    workspace: Workspace,
    goal: Goal,
    options: WaitOptions,
) -> Result<Workspace, CommandError> {
    if options.no_wait {
        return Ok(workspace);
    }
    let (name, deadline) = (workspace.name.clone(), options.timeout);
    tokio::select! {
        reached = wait::until(context.style, server, workspace, goal, deadline) => reached,
        // What the server was asked to do does not depend on this command.
        _ = tokio::signal::ctrl_c() => {
            let (what, verb) = match goal {
                Goal::Running => ("starting", "stop"),
                Goal::Stopped => ("stopping", "start"),
            };
            let what = format!("Interrupted. Workspace {name} continues {what}");
            Err(CommandError::new(ErrorKind::Interrupted, what)
                .hint(format!("burrow show {name} shows it, burrow {verb} {name} reverts it")))
        }
    }
}

/// Prints the outcome: one line for users, the record for programs.
pub fn print_outcome(context: &Context, workspace: &Workspace) -> Result<(), CommandError> {
    if context.output.format.is_human() {
        context.output.say(&format!("{}: {}", workspace.name, state(workspace)));
    }
    print_record(context, workspace)
}

/// Prints the record for programs. Users have read a sentence instead.
pub fn print_record(context: &Context, workspace: &Workspace) -> Result<(), CommandError> {
    if context.output.format.is_human() && !context.output.quiet {
        return Ok(());
    }
    context.output.one(workspace)
}

/// Suggests the command that usually follows the creation of a workspace.
pub fn say_next_step(context: &Context, workspace: &Workspace) {
    context.output.say(&match workspace.phase {
        Phase::Running => format!("Next: burrow attach {0}, or burrow open {0}", workspace.name),
        Phase::Terminated => format!("Next: burrow start {}", workspace.name),
        _ => format!("Next: burrow show {}", workspace.name),
    });
}
