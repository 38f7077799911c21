//! `volume check`: what a home is made of in the store.

use client::upkeep::{Check as Request, Checked, Damage};

use super::{Context, workspace};
use crate::{
    arguments::Check,
    failure::Failure,
    output::{self, Shown},
    progress::Step,
};

impl Shown for Damage {
    const COLUMNS: &'static [&'static str] = &["object", "state", "damage"];

    fn cells(&self) -> Vec<String> {
        let state = if self.repaired { "repaired" } else { "damaged" };
        vec![self.object.clone(), state.to_owned(), self.message.clone()]
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
    let step = Step::begin(context.style, format!("Reading {what} of {}", workspace.name));
    let checked = server.check_home(workspace.id, &Request { all: check.all, repair: check.repair }).await?;
    step.done();
    if context.output.format == output::Format::Json {
        context.output.json(&checked)?;
    } else if !checked.damaged.is_empty() || !context.output.format.is_for_people() {
        context.output.list(&checked.damaged)?;
    }
    judge(context, &workspace.name, &checked, check.repair)
}

fn judge(context: &Context, name: &str, checked: &Checked, repair: bool) -> Result<(), Failure> {
    let repaired = checked.damaged.iter().filter(|damage| damage.repaired).count();
    let damaged = checked.damaged.len() - repaired;
    let read = format!("{} objects, {}", checked.objects, output::size(checked.bytes));
    context.output.say(&match (repaired, damaged) {
        (0, 0) => format!("{name}: {read}, all sound"),
        _ => format!("{name}: {read}, {repaired} repaired, {damaged} damaged"),
    });
    if damaged == 0 {
        return Ok(());
    }
    let failure = Failure::error(format!("{damaged} of {} objects are damaged", checked.objects));
    Err(if repair {
        failure.next(format!("burrow history {name}, and fork or restore a snapshot from before the damage"))
    } else {
        failure.next(format!("burrow volume check {name} --repair"))
    })
}
