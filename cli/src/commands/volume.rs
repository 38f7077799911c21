//! `volume check`: what a home is made of in the store.

use protocol::{
    api::{
        check::{Check as Request, Checked, Damage, Repair},
        workspace::Workspace,
    },
    workspace::Phase,
};

use super::{Context, workspace};
use crate::{
    arguments::Check,
    failure::Failure,
    output::{self, Shown},
    progress::Step,
};

/// Runs of lost bytes, and damaged snapshots, in one sentence; JSON has more.
const LOST_SHOWN: usize = 8;
const SNAPSHOTS_SHOWN: usize = 8;

impl Shown for Damage {
    const COLUMNS: &'static [&'static str] = &["object", "damage"];

    fn cells(&self) -> Vec<String> {
        vec![self.object.clone(), self.message.clone()]
    }

    fn name(&self) -> String {
        output::printable(&self.object)
    }

    fn id(&self) -> String {
        Shown::name(self)
    }
}

pub async fn check(context: &Context, check: Check) -> Result<(), Failure> {
    let server = context.server()?;
    let workspace = workspace::find(&server, &check.target.workspace).await?;
    let what = if check.all { "all snapshots" } else { "the newest snapshot" };
    let doing = if check.repair { "Reading and repairing" } else { "Reading" };
    let step = Step::begin(context.style, format!("{doing} {what} of {}", workspace.name));
    let request = Request { all: check.all, repair: check.repair };
    let checked = server.check_home(workspace.id, &request).await?;
    step.done();
    if context.output.format == output::Format::Json {
        context.output.json(&checked)?;
    } else if !checked.damaged.is_empty() || !context.output.format.is_for_people() {
        context.output.list(&checked.damaged)?;
    }
    if let Some(repair) = &checked.repair {
        context.output.say(&repaired(&workspace.name, repair));
    }
    if let Some(sentence) = damaged_snapshots(&checked) {
        context.output.say(&sentence);
    }
    judge(context, &workspace, check.repair, &checked)
}

fn judge(context: &Context, workspace: &Workspace, repair: bool, checked: &Checked) -> Result<(), Failure> {
    let name = &workspace.name;
    let read = format!("{} objects, {}", checked.objects, output::size(checked.bytes));
    if checked.damaged.is_empty() {
        let whole = if checked.repair.is_some() { "the newest snapshot is whole again" } else { "all sound" };
        context.output.say(&format!("{name}: {read}, {whole}"));
        return Ok(());
    }
    let failure = Failure::error(format!("{name}: {read}, {} damaged", checked.damaged.len()));
    let earlier = format!("burrow history {name}, and fork or restore a snapshot from before the damage");
    Err(match workspace.phase {
        // Only what is older is damaged: there is nothing to take it from.
        _ if repair || checked.newest_is_whole => failure.next(earlier),
        Phase::Running => failure.next(format!("burrow volume check {name} --repair")),
        _ => failure.next(format!("burrow start {name}, then burrow volume check {name} --repair")),
    })
}

fn repaired(name: &str, repair: &Repair) -> String {
    let renewed = format!("{name}: {} stored anew", output::size(repair.renewed_bytes));
    if repair.lost_bytes == 0 {
        return renewed;
    }
    let shown: Vec<String> =
        repair.lost.iter().take(LOST_SHOWN).map(|run| format!("{}-{}", run.start, run.end)).collect();
    let more = if repair.lost.len() > shown.len() { " …" } else { "" };
    format!(
        "{renewed}; of {} there is no copy: bytes {}{more} of the home's disk",
        output::size(repair.lost_bytes),
        shown.join(" "),
    )
}

/// Each with its name, or its identifier.
fn damaged_snapshots(checked: &Checked) -> Option<String> {
    let shown: Vec<String> = checked
        .damaged_snapshots
        .iter()
        .take(SNAPSHOTS_SHOWN)
        .map(|one| one.name.as_ref().map_or_else(|| one.id.to_string(), |name| output::printable(name)))
        .collect();
    let more = if checked.damaged_snapshots.len() > shown.len() { " …" } else { "" };
    (!shown.is_empty()).then(|| format!("Damaged snapshots: {}{more}", shown.join(" ")))
}

#[cfg(test)]
mod tests {
    use protocol::api::check::ByteRange;

    use super::*;

    #[test]
    fn what_is_lost_is_told_and_bounded() {
        let run = |start| ByteRange { start, end: start + 4096 };
        let mut repair = Repair { renewed_bytes: 1 << 20, lost_bytes: 0, lost: vec![] };
        assert_eq!(repaired("demo", &repair), "demo: 1.0 MiB stored anew");
        repair.lost_bytes = 20 * 4096;
        repair.lost = (0..20).map(|number| run(number * 8192)).collect();
        let text = repaired("demo", &repair);
        assert!(text.contains("of 80 KiB there is no copy: bytes 0-4096 8192-12288"), "{text}");
        assert!(text.contains('…') && text.len() < 300, "{text}");
    }
}
