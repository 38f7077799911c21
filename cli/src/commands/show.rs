//! `burrow show`: everything about one workspace.

use clap::Args;
use protocol::{
    api::workspace::{Workspace, WorkspaceIdle},
    idle::AwakeReason,
    workspace::{Step, StepProgress},
};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    wait,
    workspace::{self, WorkspaceArgument, ago, home_bytes, home_usage, notice_text, safe_since, state},
};
use crate::{
    context::Context,
    output::{self, CommandError, Record, clock::Clock},
};

/// From this percentage in use, the user gets a notice: the home may fill up before they look again.
const FULL_PERCENT: u64 = 80;
/// From here it is a warning: programs that write much may fail at any time.
const NEARLY_FULL_PERCENT: u64 = 95;

/// Show one workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow show demo
  burrow show demo -o json")]
pub struct Show {
    #[command(flatten)]
    pub target: WorkspaceArgument,
}

impl Show {
    /// Prints the workspace, its last failure, and a warning when its home is nearly full.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let origin = match &workspace.forked_from {
            Some(origin) if context.output.format.is_human() => {
                let known = workspace::all(&server).await?.into_iter().find(|one| one.id == origin.workspace);
                known.map(|known| known.name)
            }
            _ => None,
        };
        context.output.one(&WorkspaceDetails { workspace: &workspace, origin })?;
        if !context.output.format.is_human() {
            return Ok(());
        }
        if let Some(failure) = &workspace.failure {
            let (cause, action) = (&failure.cause, &failure.action);
            context.output.say(&format!("The last start or stop failed: {cause} {action}"));
        }
        if let Some(percent) = reportable_usage(&workspace) {
            let urgency = if percent >= NEARLY_FULL_PERCENT { "Warning: the" } else { "The" };
            let name = &workspace.name;
            context
                .output
                .say(&format!("{urgency} home is {percent} % full. Make it larger: burrow grow {name} +5G"));
        }
        Ok(())
    }
}

/// A workspace with everything that is known of its home.
#[derive(Serialize)]
#[serde(transparent)]
struct WorkspaceDetails<'a> {
    workspace: &'a Workspace,
    /// Name of the workspace that it was forked from, if that still exists and the user may see it.
    #[serde(skip)]
    origin: Option<String>,
}

impl Record for WorkspaceDetails<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "state",
        "owner",
        "template",
        "home",
        "stored",
        "safe",
        "notice",
        "awake",
        "stops",
        "forked from",
        "created",
        "last used",
        "last start",
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
            home_usage(workspace),
            or_dash(workspace.stored_bytes.map(output::size)),
            safe_since(workspace, now),
            or_dash(workspace.home_notice.map(|notice| notice_text(notice, workspace))),
            or_dash(workspace.idle.as_ref().and_then(awake_text)),
            or_dash(workspace.idle.as_ref().map(stop_text)),
            or_dash(origin),
            ago(Some(workspace.created_at), now),
            ago(workspace.last_used_at, now),
            or_dash(last_start(&workspace.steps)),
        ]
    }

    fn name(&self) -> String {
        self.workspace.name.clone()
    }

    fn id(&self) -> String {
        self.workspace.id.to_string()
    }
}

/// What keeps a workspace awake: "pytest runs in a terminal, programs use the CPU".
fn awake_text(idle: &WorkspaceIdle) -> Option<String> {
    let reasons = idle.awake.iter().map(|reason| match reason {
        AwakeReason::Use => "it was used in the last minutes".to_owned(),
        AwakeReason::Job { program: Some(program) } => format!("{program} runs in a terminal"),
        AwakeReason::Job { program: None } => "a program runs in a terminal".to_owned(),
        AwakeReason::Exec => "a program of `burrow exec` runs".to_owned(),
        AwakeReason::Cpu => "programs use the CPU".to_owned(),
    });
    let held = idle.held_until.map(|until| format!("held until {}", Clock::read().wall(until)));
    let all: Vec<String> = reasons.chain(held).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// When a workspace stops.
fn stop_text(idle: &WorkspaceIdle) -> String {
    match idle.stops_at {
        Some(at) => format!("{} if nobody uses it", Clock::read().wall(at)),
        None if idle.awake.iter().any(AwakeReason::is_job) => "not while a job runs".to_owned(),
        None => "not by itself".to_owned(),
    }
}

/// The time of a complete start with that of each step, such as "ready in 1.4 s: queue 0.1 s, …".
fn last_start(steps: &[StepProgress]) -> Option<String> {
    let end = steps.iter().position(|step| step.step == Step::Ready)?;
    let seconds = |from: &StepProgress, to: &StepProgress| (to.since - from.since).as_seconds_f64().max(0.0);
    let all = seconds(&steps[0], &steps[end]);
    let each = steps[..=end].windows(2).map(|pair| {
        let name = wait::title(pair[0].step).to_lowercase();
        format!("{name} {:.2} s", seconds(&pair[0], &pair[1]))
    });
    let each: Vec<String> = each.collect();
    Some(format!("ready in {all:.2} s: {}", each.join(", ")))
}

/// Percentage of the home that is in use, if the user should know it.
fn reportable_usage(workspace: &Workspace) -> Option<u64> {
    let used = workspace.home_used_bytes?.saturating_mul(100);
    used.checked_div(home_bytes(workspace)).filter(|percent| *percent >= FULL_PERCENT)
}

#[cfg(test)]
mod tests {
    use protocol::workspace::ProgramName;

    use super::*;

    #[test]
    fn idle_texts_name_reasons() {
        let job = AwakeReason::Job { program: ProgramName::try_from("pytest".to_owned()).ok() };
        let idle = WorkspaceIdle { awake: vec![job, AwakeReason::Cpu], ..WorkspaceIdle::default() };
        assert_eq!(awake_text(&idle).as_deref(), Some("pytest runs in a terminal, programs use the CPU"));
        assert_eq!(stop_text(&idle), "not while a job runs");
        let unused = WorkspaceIdle { stops_at: Some(OffsetDateTime::now_utc()), ..WorkspaceIdle::default() };
        assert_eq!(awake_text(&unused), None);
        assert!(stop_text(&unused).ends_with(" if nobody uses it"));
        assert_eq!(stop_text(&WorkspaceIdle::default()), "not by itself");
    }

    #[test]
    fn last_start_has_time_of_each_step() {
        let begun = OffsetDateTime::UNIX_EPOCH;
        let step = |step, millis| StepProgress {
            step,
            since: begun + time::Duration::milliseconds(millis),
            detail: None,
        };
        let mut steps = vec![step(Step::Queue, 0), step(Step::Sandbox, 120), step(Step::Home, 330)];
        assert_eq!(last_start(&steps), None, "it is not complete");
        steps.push(step(Step::Ready, 1410));
        let expected = "ready in 1.41 s: waiting in the queue 0.12 s, starting the sandbox 0.21 s, \
                        mounting the home 1.08 s";
        assert_eq!(last_start(&steps).as_deref(), Some(expected));
    }
}
