//! Waiting for a workspace while its steps are shown with their times.

use std::time::Duration;

use protocol::{
    api::workspace::Workspace,
    workspace::{Failure as LastFailure, Phase, Step as WorkspaceStep, StepProgress},
};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::{
    failure::{Failure, Kind},
    output,
    progress::{self, Step, Style},
    server::{Event, Server},
};

/// For commands without `--timeout`: a start on a slow machine, with a place in the queue before it.
pub const DEADLINE: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Running,
    Stopped,
}

/// What a state means for the goal.
#[derive(Debug)]
enum Verdict {
    Reached,
    UnderWay,
    Missed(Failure),
}

/// Waits until `workspace` has come to `goal`, from the state that `workspace` is.
pub async fn until(
    style: Style,
    server: &Server,
    workspace: Workspace,
    goal: Goal,
    patience: Duration,
) -> Result<Workspace, Failure> {
    let deadline = Instant::now() + patience;
    let mut shown = Shown::new(style);
    let mut latest = workspace;
    if latest.phase == Phase::Running && goal == Goal::Running {
        return Ok(latest);
    }
    let mut events = server.workspace_events(latest.id);
    loop {
        match judge(&latest, goal) {
            Verdict::Reached => {
                shown.finish();
                return Ok(latest);
            }
            Verdict::Missed(failure) => return Err(failure),
            Verdict::UnderWay => shown.update(&latest),
        }
        match timeout_at(deadline, events.next()).await {
            Err(_) => return Err(late(&latest, goal, patience)),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Event::Deleted)) => {
                return Err(Failure::new(Kind::NotFound, format!("{} was deleted meanwhile", latest.name)));
            }
            // A state older than what is known already says nothing.
            Ok(Ok(Event::Changed(next))) if next.revision >= latest.revision => latest = *next,
            Ok(Ok(Event::Changed(_))) => {}
        }
    }
}

fn judge(workspace: &Workspace, goal: Goal) -> Verdict {
    match (goal, workspace.phase, &workspace.failure) {
        (Goal::Running, Phase::Running, _) | (Goal::Stopped, Phase::Terminated, None) => Verdict::Reached,
        (_, Phase::Terminated, Some(failure)) => Verdict::Missed(failed(workspace, failure)),
        (Goal::Running, Phase::Terminated, None) => Verdict::Missed(
            Failure::new(Kind::Conflict, format!("{} was stopped by someone else", workspace.name))
                .next(format!("burrow start {}", workspace.name)),
        ),
        _ => Verdict::UnderWay,
    }
}

fn failed(workspace: &Workspace, failure: &LastFailure) -> Failure {
    for line in &failure.log {
        progress::write_line(&format!("  | {}", output::printable(line)));
    }
    let at = title(failure.step).to_lowercase();
    Failure::error(format!("{}: {at} failed", workspace.name))
        .why(output::printable(&failure.cause))
        .next(output::printable(&failure.action))
}

fn late(workspace: &Workspace, goal: Goal, patience: Duration) -> Failure {
    let goal = match goal {
        Goal::Running => "running",
        Goal::Stopped => "stopped",
    };
    Failure::new(
        Kind::Unavailable,
        format!("{} is not {goal} after {} s; it goes on without us", workspace.name, patience.as_secs()),
    )
    .next(format!("burrow show {}", workspace.name))
}

/// The steps on the screen.
struct Shown {
    style: Style,
    current: Option<(StepProgress, Step)>,
    finished: Vec<(WorkspaceStep, OffsetDateTime)>,
}

impl Shown {
    fn new(style: Style) -> Self {
        Self { style, current: None, finished: Vec::new() }
    }

    fn update(&mut self, workspace: &Workspace) {
        let Some((now, past)) = workspace.steps.split_last() else { return };
        for (index, step) in past.iter().enumerate() {
            self.pass(step, &workspace.steps[index + 1]);
        }
        if now.step == WorkspaceStep::Ready {
            return;
        }
        let same = self.current.as_ref().is_some_and(|(shown, _)| key(shown) == key(now));
        if !same {
            // What is left of an earlier start or stop has no end to tell.
            self.finish();
            self.current = Some((now.clone(), Step::begin(self.style, title(now.step))));
        }
        let detail = match (workspace.queue_position, &now.detail) {
            (Some(position), _) if now.step == WorkspaceStep::Queue => Some(format!("place {position}")),
            (_, detail) => detail.clone(),
        };
        if let (Some((_, step)), Some(detail)) = (&mut self.current, detail) {
            step.detail(&output::printable(&detail));
        }
    }

    /// A step that is over: told with the time that the server measured.
    fn pass(&mut self, step: &StepProgress, next: &StepProgress) {
        if self.finished.contains(&key(step)) {
            return;
        }
        self.finished.push(key(step));
        let is_current = self.current.as_ref().is_some_and(|(shown, _)| key(shown) == key(step));
        let shown = if is_current { self.current.take().map(|(_, step)| step) } else { None };
        let shown = shown.unwrap_or_else(|| Step::unseen(self.style, title(step.step)));
        shown.done_in((next.since - step.since).unsigned_abs());
    }

    fn finish(&mut self) {
        if let Some((_, step)) = self.current.take() {
            step.done();
        }
    }
}

fn key(step: &StepProgress) -> (WorkspaceStep, OffsetDateTime) {
    (step.step, step.since)
}

fn title(step: WorkspaceStep) -> &'static str {
    match step {
        WorkspaceStep::Queue => "Waiting for a turn",
        WorkspaceStep::Runner => "Starting the runner",
        WorkspaceStep::Volume => "Opening the home",
        WorkspaceStep::Network => "Making the network",
        WorkspaceStep::Machine => "Starting the machine",
        WorkspaceStep::Boot => "Booting",
        WorkspaceStep::Home => "Mounting the home",
        WorkspaceStep::Ready => "Ready",
        WorkspaceStep::Freeze => "Freezing the file system",
        WorkspaceStep::Upload => "Saving the home",
        WorkspaceStep::Commit => "Recording the snapshot",
        WorkspaceStep::Remove => "Removing the machine",
    }
}
