//! `burrow volume scrub`: reads every object of a home in the object store and verifies it.

use clap::{Args, Subcommand};
use protocol::{
    api::{
        scrub::{Damage, Repair, ScrubReport, ScrubRequest},
        workspace::Workspace,
    },
    workspace::Phase,
};

use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{self, CommandError, Record, progress::Step},
};

/// Lost byte ranges, and damaged snapshots, that one sentence names. JSON has all of them.
const MAX_RANGES_SHOWN: usize = 8;
const MAX_SNAPSHOTS_SHOWN: usize = 8;

/// Verify and repair the stored data of a home
#[derive(Debug, Args)]
pub struct Volume {
    #[command(subcommand)]
    pub command: VolumeCommand,
}

/// The subcommands of `burrow volume`.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    Scrub(Scrub),
}

impl Volume {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.command {
            VolumeCommand::Scrub(scrub) => scrub.run(context).await,
        }
    }
}

/// Read every object of a home from the object store and verify it
#[derive(Debug, Args)]
#[command(
    alias = "check",
    after_long_help = "\
Examples:
  burrow volume scrub demo
  burrow volume scrub demo --all
  burrow volume scrub demo --repair

With --repair, damaged objects of the newest snapshot are stored again from the cache of the running
workspace, and verified again. The exit status is 1 if anything that was read is damaged, or is
still damaged after a repair."
)]
pub struct Scrub {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Read all snapshots, not only the newest
    #[arg(long, env = "BURROW_ALL")]
    pub all: bool,
    /// Store damaged objects again from the running workspace
    #[arg(long, env = "BURROW_REPAIR")]
    pub repair: bool,
}

impl Scrub {
    async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let scope = if self.all { "all snapshots" } else { "the newest snapshot" };
        let verb = if self.repair { "Scrubbing and repairing" } else { "Scrubbing" };
        let step = Step::begin(context.style, format!("{verb} {scope} of {}", workspace.name));
        let request = ScrubRequest { all: self.all, repair: self.repair };
        let report = server.scrub_home(workspace.id, &request).await?;
        step.done();
        if context.output.format == output::Format::Json {
            context.output.json(&report)?;
        } else if !report.damaged.is_empty() || !context.output.format.is_human() {
            context.output.list(&report.damaged)?;
        }
        if let Some(repair) = &report.repair {
            context.output.say(&repair_text(&workspace.name, repair));
        }
        if let Some(sentence) = damaged_snapshots_text(&report) {
            context.output.say(&sentence);
        }
        conclude(context, &workspace, self.repair, &report)
    }
}

impl Record for Damage {
    const COLUMNS: &'static [&'static str] = &["object", "damage"];

    fn cells(&self) -> Vec<String> {
        vec![self.object.clone(), self.message.clone()]
    }

    fn name(&self) -> String {
        output::printable(&self.object)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

/// Says that all is well, or fails with what to do next.
fn conclude(
    context: &Context,
    workspace: &Workspace,
    repair: bool,
    report: &ScrubReport,
) -> Result<(), CommandError> {
    let name = &workspace.name;
    let read = format!("{} objects, {}", report.objects, output::size(report.bytes));
    if report.damaged.is_empty() {
        let verdict =
            if report.repair.is_some() { "the newest snapshot is repaired" } else { "no damage found" };
        context.output.say(&format!("{name}: {read}, {verdict}"));
        return Ok(());
    }
    let error = CommandError::error(format!("{name}: {read}, {} damaged", report.damaged.len()));
    let earlier = format!("burrow history {name}, then fork or restore a snapshot from before the damage");
    Err(match workspace.phase {
        // Only older snapshots are damaged: the cache of the running workspace does not have their
        // objects.
        _ if repair || report.newest_is_whole => error.hint(earlier),
        Phase::Running => error.hint(format!("burrow volume scrub {name} --repair")),
        _ => error.hint(format!("burrow start {name}, then burrow volume scrub {name} --repair")),
    })
}

fn repair_text(name: &str, repair: &Repair) -> String {
    let repaired = format!("{name}: {} repaired", output::size(repair.rewritten_bytes));
    if repair.lost_bytes == 0 {
        return repaired;
    }
    let shown: Vec<String> = repair
        .lost
        .iter()
        .take(MAX_RANGES_SHOWN)
        .map(|range| format!("{}-{}", range.start, range.end))
        .collect();
    let more = if repair.lost.len() > shown.len() { " …" } else { "" };
    let (size, ranges) = (output::size(repair.lost_bytes), shown.join(" "));
    format!("{repaired}; {size} lost, no copy left: bytes {ranges}{more} of the volume")
}

/// The damaged snapshots, each by its name or its identifier. None: there are none.
fn damaged_snapshots_text(report: &ScrubReport) -> Option<String> {
    let shown: Vec<String> = report
        .damaged_snapshots
        .iter()
        .take(MAX_SNAPSHOTS_SHOWN)
        .map(|one| one.name.as_ref().map_or_else(|| one.id.to_string(), |name| output::printable(name)))
        .collect();
    let more = if report.damaged_snapshots.len() > shown.len() { " …" } else { "" };
    (!shown.is_empty()).then(|| format!("Damaged snapshots: {}{more}", shown.join(" ")))
}

#[cfg(test)]
mod tests {
    use protocol::api::scrub::ByteRange;

    use super::*;

    #[test]
    fn lost_ranges_are_named_and_bounded() {
        let range = |start| ByteRange { start, end: start + 4096 };
        let mut repair = Repair { rewritten_bytes: 1 << 20, lost_bytes: 0, lost: vec![] };
        assert_eq!(repair_text("demo", &repair), "demo: 1.0 MiB repaired");
        repair.lost_bytes = 20 * 4096;
        repair.lost = (0..20).map(|number| range(number * 8192)).collect();
        let text = repair_text("demo", &repair);
        assert!(text.contains("80 KiB lost, no copy left: bytes 0-4096 8192-12288"), "{text}");
        assert!(text.contains('…') && text.len() < 300, "{text}");
    }
}
