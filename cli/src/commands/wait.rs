//! Waiting for a workspace to run or to stop, while its steps are shown with the times that the
//! server measured.

use std::time::Duration;

use clap::Args;
use protocol::{
    api::workspace::Workspace,
    workspace::{Failure as StartFailure, Phase, Step as WorkspaceStep, StepProgress},
};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use super::workspace::estimate_text;
use crate::{
    output::{
        self, CommandError, ErrorKind,
        progress::{self, Step, Style},
    },
    server::{Event, Server},
};

/// For commands without `--timeout`: a start on a slow host, after a wait in the queue.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// Whether and how long to wait.
#[derive(Clone, Copy, Debug, Args)]
pub struct WaitOptions {
    /// Return immediately
    #[arg(long, env = "BURROW_NO_WAIT")]
    pub no_wait: bool,
    /// Maximum time to wait, such as 90, 90s, 5m or 1h
    #[arg(long, env = "BURROW_TIMEOUT", value_parser = parse_duration, default_value = "10m")]
    pub timeout: Duration,
}

/// Parses "90", "90s", "5m" or "1h".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        unit => return Err(format!("`{unit}` is not a unit of time; use s, m or h")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a time such as 90s or 5m".to_owned())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(|| "the time is too long".to_owned())
}

/// The state that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The workspace is running.
    Running,
    /// The workspace is stopped, and its home is saved.
    Stopped,
}

/// What a state of the workspace means for the goal.
#[derive(Debug)]
enum Outcome {
    Reached,
    Pending,
    Failed(CommandError),
}

/// Waits until `workspace` reaches `goal`. Fails when it cannot any more, or after `timeout`.
pub async fn until(
    style: Style,
    server: &Server,
    workspace: Workspace,
    goal: Goal,
    timeout: Duration,
) -> Result<Workspace, CommandError> {
    let deadline = Instant::now() + timeout;
    let mut steps = StepDisplay::new(style);
    let mut latest = workspace;
    if latest.phase == Phase::Running && goal == Goal::Running {
        return Ok(latest);
    }
    let mut events = server.workspace_events(latest.id);
    loop {
        match outcome(&latest, goal) {
            Outcome::Reached => {
                steps.finish();
                return Ok(latest);
            }
            Outcome::Failed(error) => return Err(error),
            Outcome::Pending => steps.update(&latest),
        }
        match timeout_at(deadline, events.next()).await {
            Err(_) => return Err(timed_out(&latest, goal, timeout)),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Event::Deleted)) => {
                let what = format!("Workspace {} was deleted", latest.name);
                return Err(CommandError::new(ErrorKind::NotFound, what));
            }
            // A stream that was opened again may begin with an older state.
            Ok(Ok(Event::Changed(next))) if next.revision >= latest.revision => latest = *next,
            Ok(Ok(Event::Changed(_))) => {}
        }
    }
}

fn outcome(workspace: &Workspace, goal: Goal) -> Outcome {
    match (goal, workspace.phase, &workspace.failure) {
        (Goal::Running, Phase::Running, _) | (Goal::Stopped, Phase::Terminated, None) => Outcome::Reached,
        (_, Phase::Terminated, Some(failure)) => Outcome::Failed(failed(workspace, failure)),
        (Goal::Running, Phase::Terminated, None) => {
            let what = format!("Workspace {} was stopped by another client", workspace.name);
            Outcome::Failed(
                CommandError::new(ErrorKind::Conflict, what).hint(format!("burrow start {}", workspace.name)),
            )
        }
        _ => Outcome::Pending,
    }
}

fn failed(workspace: &Workspace, failure: &StartFailure) -> CommandError {
    for line in &failure.log {
        progress::write_line(&format!("  | {}", output::printable(line)));
    }
    let step = title(failure.step).to_lowercase();
    CommandError::error(format!("{}: {step} failed", workspace.name))
        .cause(output::printable(&failure.cause))
        .hint(output::printable(&failure.action))
}

fn timed_out(workspace: &Workspace, goal: Goal, timeout: Duration) -> CommandError {
    let goal = match goal {
        Goal::Running => "running",
        Goal::Stopped => "stopped",
    };
    let (name, seconds) = (&workspace.name, timeout.as_secs());
    CommandError::new(ErrorKind::Unavailable, format!("Workspace {name} is not {goal} after {seconds} s"))
        .cause("it continues in the background")
        .hint(format!("burrow show {name}"))
}

/// The steps on the screen.
struct StepDisplay {
    style: Style,
    current: Option<(StepProgress, Step)>,
    finished: Vec<(WorkspaceStep, OffsetDateTime)>,
}

impl StepDisplay {
    fn new(style: Style) -> Self {
        Self { style, current: None, finished: Vec::new() }
    }

    fn update(&mut self, workspace: &Workspace) {
        let Some((now, earlier)) = workspace.steps.split_last() else { return };
        for (index, step) in earlier.iter().enumerate() {
            self.finish_step(step, &workspace.steps[index + 1]);
        }
        if now.step == WorkspaceStep::Ready {
            return;
        }
        let is_same = self.current.as_ref().is_some_and(|(shown, _)| key(shown) == key(now));
        if !is_same {
            // The end of a step of an earlier start or stop is not known any more.
            self.finish();
            self.current = Some((now.clone(), Step::begin(self.style, title(now.step))));
        }
        let detail = if now.step == WorkspaceStep::Queue {
            queue_text(workspace, OffsetDateTime::now_utc())
        } else {
            now.detail.clone()
        };
        if let (Some((_, step)), Some(detail)) = (&mut self.current, detail) {
            step.detail(&output::printable(&detail));
        }
    }

    /// Shows that a step has ended, with the time that the server measured.
    fn finish_step(&mut self, step: &StepProgress, next: &StepProgress) {
        if self.finished.contains(&key(step)) {
            return;
        }
        self.finished.push(key(step));
        let is_current = self.current.as_ref().is_some_and(|(shown, _)| key(shown) == key(step));
        let shown = if is_current { self.current.take().map(|(_, step)| step) } else { None };
        let shown = shown.unwrap_or_else(|| Step::hidden(self.style, title(step.step)));
        shown.done_in((next.since - step.since).unsigned_abs());
    }

    fn finish(&mut self) {
        if let Some((_, step)) = self.current.take() {
            step.done();
        }
    }
}

/// The place in the queue, as far as it is known.
fn queue_text(workspace: &Workspace, now: OffsetDateTime) -> Option<String> {
    if workspace.is_held {
        return Some("until another workspace of its owner, class or organisation stops".to_owned());
    }
    let position = workspace.queue_position?;
    Some(match estimate_text(workspace, now) {
        Some(estimate) => format!("position {position}, {estimate}"),
        None => format!("position {position}"),
    })
}

fn key(step: &StepProgress) -> (WorkspaceStep, OffsetDateTime) {
    (step.step, step.since)
}

/// What a step does, as users see it.
pub fn title(step: WorkspaceStep) -> &'static str {
    match step {
        WorkspaceStep::Queue => "Waiting in the queue",
        WorkspaceStep::Runner => "Starting the runner",
        WorkspaceStep::Volume => "Opening the home",
        WorkspaceStep::Network => "Creating the network",
        WorkspaceStep::Sandbox => "Starting the sandbox",
        WorkspaceStep::Boot => "Booting",
        WorkspaceStep::Home => "Mounting the home",
        WorkspaceStep::Ready => "Ready",
        WorkspaceStep::Freeze => "Freezing the file system",
        WorkspaceStep::Upload => "Saving the home",
        WorkspaceStep::Commit => "Committing the snapshot",
        WorkspaceStep::Remove => "Removing the sandbox",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "m", "-1", "5d", "1.5h", "99999999999999999999h", "9999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
