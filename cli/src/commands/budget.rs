//! `burrow budget`: what users, classes and the organisation may use, and what they use.

use clap::{Args, Subcommand};
use protocol::api::budget::{
    Budget as BudgetRecord, BudgetItem, BudgetLevel, BudgetResource, EditBudget, NewLimit,
};
use serde::Serialize;

use super::{
    class::{self, ClassArgument},
    user::{self, UserArgument},
};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Record},
    server::Server,
};

/// Show and change what users and classes may use
#[derive(Debug, Args)]
pub struct Budget {
    #[command(subcommand)]
    pub command: BudgetCommand,
}

/// The subcommands of `burrow budget`.
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// List budgets with what is used
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  burrow budget list
  burrow budget list -o wide
  burrow budget list -o json

Lists the organisation's, your own, and those of classes that you teach or have a workspace in. Owners see
all classes and users."
    )]
    List,
    /// Show one budget: your own, a user's or a class's
    #[command(after_long_help = "\
Examples:
  burrow budget show
  burrow budget show --user anna@example.org
  burrow budget show --class algo -o json")]
    Show {
        #[command(flatten)]
        subject: SubjectOptions,
    },
    /// Set limits of a user or a class
    #[command(after_long_help = "\
Examples:
  burrow budget set --user anna@example.org running=5 memory=16GiB
  burrow budget set --class algo vcpus=40 running=none
  burrow budget set --user anna@example.org running=default

For owners of the organisation. The resources are running, vcpus, memory, scratch, starts (in one minute),
workspaces, homes, history and egress (bytes sent in this month; when they are used up, workspaces run on, but
none starts). `none` sets no limit, `default` the server's. A lower limit ends nothing that
runs. The organisation's own budget is set on the server's host: burrow admin budget.")]
    Set {
        #[command(flatten)]
        subject: SubjectOptions,
        /// New limits, such as running=5, memory=16GiB, vcpus=none or homes=default
        #[arg(required = true, value_name = "RESOURCE=LIMIT", value_parser = parse_setting)]
        limits: Vec<Setting>,
    },
}

/// Whose budget.
#[derive(Clone, Debug, Default, Args)]
pub struct SubjectOptions {
    /// Email address or identifier of a user
    #[arg(long, env = "BURROW_USER", value_name = "USER", conflicts_with = "class")]
    pub user: Option<String>,
    /// Name or identifier of a class
    #[arg(long, env = "BURROW_CLASS", value_name = "CLASS")]
    pub class: Option<String>,
}

/// A new limit on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// None: no limit.
    Limit(BudgetResource, Option<u64>),
    /// The server's default again.
    Default(BudgetResource),
}

/// Parses "running=5", "memory=16GiB", "vcpus=none" or "homes=default".
pub fn parse_setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text.split_once('=').ok_or("expected RESOURCE=LIMIT, such as running=5")?;
    let resource = BudgetResource::ALL.into_iter().find(|resource| resource.as_str() == name);
    let resource = resource.ok_or_else(|| {
        let names = BudgetResource::ALL.map(BudgetResource::as_str).join(", ");
        format!("`{name}` is no resource; use one of {names}")
    })?;
    match value {
        "default" => Ok(Setting::Default(resource)),
        "none" => Ok(Setting::Limit(resource, None)),
        _ => parse_amount(resource, value).map(|amount| Setting::Limit(resource, Some(amount))),
    }
}

fn parse_amount(resource: BudgetResource, text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| format!("`{text}` is no limit; use a number, none or default"))?;
    let shift = match (resource.is_bytes(), &text[digits.len()..]) {
        (false, "") => 0,
        (true, "MiB" | "M") => 20,
        (true, "GiB" | "G") => 30,
        (true, "TiB" | "T") => 40,
        (true, _) if number == 0 => 0,
        (true, _) => return Err(format!("`{text}` is no size; use a number with MiB, GiB or TiB")),
        (false, unit) => return Err(format!("`{unit}` is one too many: this is a count")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "the limit is too large".to_owned())
}

/// The request for these settings.
pub fn edit(settings: &[Setting]) -> EditBudget {
    let mut edit = EditBudget::default();
    for setting in settings {
        match *setting {
            Setting::Limit(resource, limit) => edit.limits.push(NewLimit { resource, limit }),
            Setting::Default(resource) => edit.defaults.push(resource),
        }
    }
    edit
}

impl Budget {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            BudgetCommand::List => context.output.list(&server.budgets().await?.budgets),
            BudgetCommand::Show { subject } => {
                let budget = find(&server, &subject).await?;
                show(context, &budget)
            }
            BudgetCommand::Set { subject, limits } => {
                let edit = edit(&limits);
                let budget = match (subject.user, subject.class) {
                    (Some(user), _) => {
                        let user = user::find(&server, &UserArgument { user }).await?;
                        server.set_user_budget(user.id, &edit).await?
                    }
                    (None, Some(class)) => {
                        let class = class::find(&server, &ClassArgument { class }).await?;
                        server.set_class_budget(class.id, &edit).await?
                    }
                    (None, None) => {
                        return Err(CommandError::new(ErrorKind::Usage, "Cannot set a budget")
                            .cause("it is not said whose")
                            .hint("add --user EMAIL or --class NAME"));
                    }
                };
                context.output.say(&format!("Set the budget of {}", output::printable(&budget.name)));
                show(context, &budget)
            }
        }
    }
}

async fn find(server: &Server, subject: &SubjectOptions) -> Result<BudgetRecord, CommandError> {
    let (level, id) = match (&subject.user, &subject.class) {
        (Some(user), _) => {
            let user = user::find(server, &UserArgument { user: user.clone() }).await?;
            (BudgetLevel::User, user.id.0)
        }
        (None, Some(class)) => {
            let class = class::find(server, &ClassArgument { class: class.clone() }).await?;
            (BudgetLevel::Class, class.id.0)
        }
        (None, None) => (BudgetLevel::User, server.session().await?.user.id.0),
    };
    let budgets = server.budgets().await?.budgets;
    let found = budgets.into_iter().find(|budget| budget.level == level && budget.id == id);
    found.ok_or_else(|| CommandError::new(ErrorKind::NotFound, "There is no such budget"))
}

/// Prints one budget: for people one row for each resource.
pub fn show(context: &Context, budget: &BudgetRecord) -> Result<(), CommandError> {
    if !context.output.format.is_human() || context.output.quiet {
        return context.output.one(budget);
    }
    let rows: Vec<ItemRow<'_>> = budget.items.iter().map(|item| ItemRow { item }).collect();
    context.output.list(&rows)?;
    match budget.queue_weight {
        Some(weight) => output::line(&format!("weight in the queue: {weight}")),
        None => Ok(()),
    }
}

/// One resource of a budget.
#[derive(Serialize)]
#[serde(transparent)]
struct ItemRow<'a> {
    item: &'a BudgetItem,
}

impl Record for ItemRow<'_> {
    const COLUMNS: &'static [&'static str] = &["resource", "used", "limit", "set by"];

    fn cells(&self) -> Vec<String> {
        let BudgetItem { resource, used, limit, is_default } = *self.item;
        vec![
            resource.as_str().to_owned(),
            amount(resource, used),
            limit.map_or_else(|| "none".to_owned(), |limit| amount(resource, limit)),
            if is_default { "default" } else { "budget" }.to_owned(),
        ]
    }

    fn name(&self) -> String {
        self.item.resource.as_str().to_owned()
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

fn amount(resource: BudgetResource, amount: u64) -> String {
    if resource.is_bytes() { output::size(amount) } else { amount.to_string() }
}

impl Record for BudgetRecord {
    const COLUMNS: &'static [&'static str] =
        &["budget", "name", "running", "vcpus", "memory", "workspaces", "homes"];
    const WIDE: &'static [&'static str] = &["scratch", "starts", "history", "egress"];

    fn cells(&self) -> Vec<String> {
        let level = match self.level {
            BudgetLevel::Tenant => "organisation",
            BudgetLevel::Class => "class",
            BudgetLevel::User => "user",
        };
        let mut cells = vec![level.to_owned(), output::shorten(&self.name)];
        let shown = [
            BudgetResource::Running,
            BudgetResource::Vcpus,
            BudgetResource::Memory,
            BudgetResource::Workspaces,
            BudgetResource::Homes,
        ];
        cells.extend(shown.map(|resource| use_text(self, resource)));
        cells
    }

    fn wide_cells(&self) -> Vec<String> {
        let shown = [
            BudgetResource::Scratch,
            BudgetResource::Starts,
            BudgetResource::History,
            BudgetResource::Egress,
        ];
        shown.map(|resource| use_text(self, resource)).to_vec()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// "2 of 5", or only what is used if there is no limit.
fn use_text(budget: &BudgetRecord, resource: BudgetResource) -> String {
    let Some(item) = budget.items.iter().find(|item| item.resource == resource) else {
        return "–".to_owned();
    };
    let used = amount(resource, item.used);
    match item.limit {
        Some(limit) => format!("{used} of {}", amount(resource, limit)),
        None => used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_units() {
        for (text, expected) in [
            ("running=5", Setting::Limit(BudgetResource::Running, Some(5))),
            ("running=0", Setting::Limit(BudgetResource::Running, Some(0))),
            ("memory=16GiB", Setting::Limit(BudgetResource::Memory, Some(16 << 30))),
            ("homes=2T", Setting::Limit(BudgetResource::Homes, Some(2 << 40))),
            ("scratch=0", Setting::Limit(BudgetResource::Scratch, Some(0))),
            ("vcpus=none", Setting::Limit(BudgetResource::Vcpus, None)),
            ("homes=default", Setting::Default(BudgetResource::Homes)),
        ] {
            assert_eq!(parse_setting(text), Ok(expected), "{text}");
        }
        for text in
            ["running", "running=", "running=5GiB", "memory=5", "cpus=1", "vcpus=-1", "homes=99999999999TiB"]
        {
            assert!(parse_setting(text).is_err(), "{text}");
        }
    }

    #[test]
    fn use_is_shown_with_its_limit() {
        let item = |resource, used, limit| BudgetItem { resource, used, limit, is_default: true };
        let budget = BudgetRecord {
            level: BudgetLevel::User,
            queue_weight: None,
            id: uuid::Uuid::nil(),
            name: "anna@example.org".to_owned(),
            items: vec![
                item(BudgetResource::Running, 2, Some(5)),
                item(BudgetResource::Memory, 3 << 30, None),
            ],
        };
        let cells = budget.cells();
        assert_eq!(cells[1..5], ["anna@example.org", "2 of 5", "–", "3.0 GiB"]);
    }
}
