//! `burrow usage`: what workspaces have used.

use clap::{Args, ValueEnum};
use protocol::{
    ClassId, UserId,
    api::usage::{UsageAmounts, UsageGroup, UsageReport, UsageRow},
};
use serde::Serialize;
use time::{Date, macros::format_description};

use super::{
    class::{self, ClassArgument},
    user::{self, UserArgument},
};
use crate::{
    context::Context,
    output::{self, CommandError, Format, Record},
    server::Server,
};

const GIB: f64 = (1_u64 << 30) as f64;

/// Show what workspaces have used
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow usage
  burrow usage --by day --from 2026-03-01 --to 2026-03-31
  burrow usage --class algo --by user
  burrow usage --everyone --by class -o json
  burrow usage --everyone --by user --csv > usage.csv

Shows your own usage of the last 30 days, or that of a class that you teach. Owners and auditors see
everyone. The hours are those for which workspaces ran; the GiB-days are what homes took in the object
store, a GiB for a day. Days begin and end in UTC. Rows stay when workspaces and users are deleted.")]
pub struct Usage {
    /// What the rows are for
    #[arg(long, env = "BURROW_BY", value_enum, default_value = "workspace", hide_env_values = true)]
    pub by: GroupArgument,
    /// The first day, such as 2026-03-01 [default: 29 days before the last one]
    #[arg(long, env = "BURROW_FROM", value_name = "DAY", value_parser = parse_day)]
    pub from: Option<Date>,
    /// The last day [default: today]
    #[arg(long, env = "BURROW_TO", value_name = "DAY", value_parser = parse_day)]
    pub to: Option<Date>,
    /// Usage of the whole organisation, for owners and auditors
    #[arg(long, env = "BURROW_EVERYONE")]
    pub everyone: bool,
    /// Only the workspaces of this class: its name or identifier
    #[arg(long, env = "BURROW_CLASS", value_name = "CLASS")]
    pub class: Option<String>,
    /// Only the workspaces of this user: an email address or identifier
    #[arg(long, env = "BURROW_USER", value_name = "USER")]
    pub user: Option<String>,
    /// Print the rows as CSV, with sizes in bytes and times in seconds
    #[arg(long, env = "BURROW_CSV")]
    pub csv: bool,
}

/// What the rows are for, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupArgument {
    /// One row for each workspace
    Workspace,
    /// One row for each owner of workspaces
    User,
    /// One row for each class
    Class,
    /// One row for each day
    Day,
}

impl GroupArgument {
    fn group(self) -> UsageGroup {
        match self {
            Self::Workspace => UsageGroup::Workspace,
            Self::User => UsageGroup::User,
            Self::Class => UsageGroup::Class,
            Self::Day => UsageGroup::Day,
        }
    }
}

/// Parses "2026-03-01".
fn parse_day(text: &str) -> Result<Date, String> {
    Date::parse(text, format_description!("[year]-[month]-[day]"))
        .map_err(|_| "expected a day such as 2026-03-01".to_owned())
}

impl Usage {
    /// Runs the command.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let query = self.query(&server).await?;
        if self.csv {
            let mut content = server.export_usage(&query).await?;
            while let Some(piece) = content.next().await? {
                output::bytes(&piece)?;
            }
            return Ok(());
        }
        let report = server.usage(&query).await?;
        show(context, &report)
    }

    /// The parameters of the request.
    async fn query(&self, server: &Server) -> Result<Vec<(&'static str, String)>, CommandError> {
        let mut query = vec![("by", self.by.group().as_str().to_owned())];
        query.extend(self.from.map(|day| ("from", day.to_string())));
        query.extend(self.to.map(|day| ("to", day.to_string())));
        if self.everyone {
            query.push(("everyone", true.to_string()));
        }
        if let Some(class) = &self.class {
            // An auditor cannot list classes, and one that is deleted is not listed.
            let id = match class.parse::<ClassId>() {
                Ok(id) => id,
                Err(_) => class::find(server, &ClassArgument { class: class.clone() }).await?.id,
            };
            query.push(("class", id.to_string()));
        }
        if let Some(user) = &self.user {
            let id = match user.parse::<UserId>() {
                Ok(id) => id,
                Err(_) => user::find(server, &UserArgument { user: user.clone() }).await?.id,
            };
            query.push(("user", id.to_string()));
        }
        Ok(query)
    }
}

fn show(context: &Context, report: &UsageReport) -> Result<(), CommandError> {
    if context.output.format == Format::Json {
        return context.output.json(report);
    }
    let mut rows: Vec<Row<'_>> = report.rows.iter().map(Row).collect();
    if !context.output.format.is_human() || context.output.quiet {
        return context.output.list(&rows);
    }
    let total = UsageRow { key: String::new(), name: "total".to_owned(), owner: None, amounts: report.total };
    rows.push(Row(&total));
    context.output.list(&rows)?;
    if report.is_truncated {
        context.output.say("There are more rows than one report lists; the total contains them");
    }
    Ok(())
}

/// One row of the table.
#[derive(Serialize)]
#[serde(transparent)]
struct Row<'a>(&'a UsageRow);

impl Record for Row<'_> {
    const COLUMNS: &'static [&'static str] = &["name", "hours", "vcpu hours", "gib-days", "sent", "received"];
    const WIDE: &'static [&'static str] = &["gib-days of homes", "owner", "id"];

    fn cells(&self) -> Vec<String> {
        let UsageAmounts {
            machine_seconds, vcpu_seconds, stored_byte_days, sent_bytes, received_bytes, ..
        } = self.0.amounts;
        vec![
            output::shorten(&self.0.name),
            hours(machine_seconds),
            hours(vcpu_seconds),
            gib(stored_byte_days),
            output::size(sent_bytes),
            output::size(received_bytes),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let owner = self.0.owner.as_deref().unwrap_or("-");
        vec![gib(self.0.amounts.home_byte_days), output::printable(owner), self.0.key.clone()]
    }

    fn name(&self) -> String {
        output::printable(&self.0.name)
    }

    fn id(&self) -> String {
        self.0.key.clone()
    }
}

/// "12.5": hours with one decimal.
fn hours(seconds: u64) -> String {
    format!("{:.1}", seconds as f64 / 3600.0)
}

fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_parsed() {
        assert!(parse_day("2026-03-01").is_ok());
        for text in ["2026-3-1", "2026-02-30", "yesterday", ""] {
            assert!(parse_day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_have_one_decimal() {
        assert_eq!((hours(0), hours(5400), hours(359_999)), ("0.0".into(), "1.5".into(), "100.0".into()));
        assert_eq!(gib(3 << 29), "1.5");
    }
}
