//! `burrow admin retention`: which automatic snapshots are kept, and for how long.

use clap::Args;
use protocol::api::snapshot::Retention as RetentionPolicy;

use crate::{
    context::Context,
    output::{CommandError, Record},
};

/// Show or change the retention policy of automatic snapshots
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin retention
  burrow admin retention --all-hours 2 --daily-hours 17520
  burrow admin retention -o json

Options that are not given keep their value. Snapshots that a user requested or named, and the
newest snapshot of each home, are never pruned.")]
pub struct Retention {
    /// Hours for which every snapshot is kept
    #[arg(long, env = "BURROW_ALL_HOURS", value_name = "HOURS")]
    pub all_hours: Option<u32>,
    /// Hours for which one snapshot per minute is kept
    #[arg(long, env = "BURROW_MINUTELY_HOURS", value_name = "HOURS")]
    pub minutely_hours: Option<u32>,
    /// Hours for which one snapshot per hour is kept
    #[arg(long, env = "BURROW_HOURLY_HOURS", value_name = "HOURS")]
    pub hourly_hours: Option<u32>,
    /// Hours for which one snapshot per day is kept
    #[arg(long, env = "BURROW_DAILY_HOURS", value_name = "HOURS")]
    pub daily_hours: Option<u32>,
    /// Do not ask for confirmation when snapshots would be pruned earlier
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
}

impl Retention {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let present = server.retention().await?;
        let next = self.apply_to(present);
        if next == present {
            return context.output.one(&present);
        }
        if is_shorter(next, present) {
            let action =
                "prunes snapshots of all homes earlier: those that are too old now are deleted permanently";
            context.confirm(self.yes, action, "retention")?;
        }
        let saved = context.with_confirmation(&server, async || server.set_retention(&next).await).await?;
        context.output.say("Saved the retention policy of all homes");
        context.output.one(&saved)
    }

    fn apply_to(&self, present: RetentionPolicy) -> RetentionPolicy {
        RetentionPolicy {
            all_hours: self.all_hours.unwrap_or(present.all_hours),
            minutely_hours: self.minutely_hours.unwrap_or(present.minutely_hours),
            hourly_hours: self.hourly_hours.unwrap_or(present.hourly_hours),
            daily_hours: self.daily_hours.unwrap_or(present.daily_hours),
        }
    }
}

/// Whether the new policy prunes anything that the present one keeps.
fn is_shorter(next: RetentionPolicy, present: RetentionPolicy) -> bool {
    next.all_hours < present.all_hours
        || next.minutely_hours < present.minutely_hours
        || next.hourly_hours < present.hourly_hours
        || next.daily_hours < present.daily_hours
}

impl Record for RetentionPolicy {
    const COLUMNS: &'static [&'static str] = &["all", "one per minute", "one per hour", "one per day"];

    fn cells(&self) -> Vec<String> {
        [self.all_hours, self.minutely_hours, self.hourly_hours, self.daily_hours].map(duration_text).to_vec()
    }

    fn name(&self) -> String {
        self.cells().join(" ")
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

fn duration_text(hours: u32) -> String {
    match hours {
        0 => "not kept".to_owned(),
        hours if hours.is_multiple_of(24) && hours > 24 => format!("for {} days", hours / 24),
        1 => "for 1 hour".to_owned(),
        hours => format!("for {hours} hours"),
    }
}
