//! `volume check`: what a home is made of in the store.

use protocol::api::check::{Check as Request, Checked, Damage};

use super::{Context, workspace};
use crate::{
    arguments::Check,
    failure::Failure,
    output::{self, Shown},
    progress::Step,
};

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
    let step = Step::begin(context.style, format!("Reading {what} of {}", workspace.name));
    let checked = server.check_home(workspace.id, &Request { all: check.all }).await?;
    step.done();
    if context.output.format == output::Format::Json {
        context.output.json(&checked)?;
    } else if !checked.damaged.is_empty() || !context.output.format.is_for_people() {
        context.output.list(&checked.damaged)?;
    }
    judge(context, &workspace.name, &checked)
}

fn judge(context: &Context, name: &str, checked: &Checked) -> Result<(), Failure> {
    let read = format!("{} objects, {}", checked.objects, output::size(checked.bytes));
    if checked.damaged.is_empty() {
        context.output.say(&format!("{name}: {read}, all sound"));
        return Ok(());
    }
    let damaged = checked.damaged.len();
    Err(Failure::error(format!("{name}: {read}, {damaged} damaged"))
        .next(format!("burrow history {name}, and fork or restore a snapshot from before the damage")))
}
