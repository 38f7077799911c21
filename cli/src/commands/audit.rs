//! `burrow audit`: who did what.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use protocol::{
    api::audit::{AuditEntry, AuditOutcome, AuditPage, AuditRetention, AuditVerification, MAX_AUDIT_PAGE},
    audit::ChainVerifier,
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, clock::Clock},
    server::Server,
    snapshots::selector::parse_age,
};

/// How often `follow` asks for new entries.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Longest line of an export.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Faults that a verification of a file lists.
const MAX_FAULTS: usize = 20;

/// Search, export and verify the audit log
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// The subcommands of `burrow audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List entries, newest first
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  burrow audit list
  burrow audit list --outcome refused --since 24h
  burrow audit list --actor anna@example.org --action workspace. --limit 500
  burrow audit list -o json

For owners and auditors. An action that ends with a dot means all that begin so."
    )]
    List {
        #[command(flatten)]
        filter: FilterOptions,
        /// Most entries to list
        #[arg(
            long,
            env = "BURROW_LIMIT",
            default_value_t = 100,
            value_parser = clap::value_parser!(u32).range(1..=100_000)
        )]
        limit: u32,
    },
    /// Print new entries as they are written
    #[command(after_long_help = "\
Examples:
  burrow audit follow
  burrow audit follow --action session.
  burrow audit follow -o json | jq .action

Prints one line for each entry until it is interrupted; with -o json, one JSON value in each line.")]
    Follow {
        #[command(flatten)]
        filter: FilterOptions,
    },
    /// Print entries as JSON lines, oldest first
    #[command(after_long_help = "\
Examples:
  burrow audit export > audit.jsonl
  burrow audit export --since 30d --action session.

An export without a filter can be verified without the server: burrow audit verify --file audit.jsonl.")]
    Export {
        #[command(flatten)]
        filter: FilterOptions,
    },
    /// Verify that no entry was changed, removed, moved or added
    #[command(after_long_help = "\
Examples:
  burrow audit verify
  burrow audit verify --file audit.jsonl
  burrow audit verify -o json

The server computes all hashes again and compares them with the anchors in the object store. With
--file, this program does so with an export, and shows the last hash: compare it with an earlier one.
The exit status is 1 if anything does not fit.")]
    Verify {
        /// An export without a filter
        #[arg(long, env = "BURROW_FILE", value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show or change how long entries are kept
    #[command(after_long_help = "\
Examples:
  burrow audit retention
  burrow audit retention --days 730")]
    Retention {
        /// Days for which entries are kept
        #[arg(long, env = "BURROW_DAYS", value_parser = clap::value_parser!(u32).range(30..=3650))]
        days: Option<u32>,
        /// Do not ask for confirmation when entries would be removed earlier
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
}

/// Which entries.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterOptions {
    /// Email address or id of the user who acted
    #[arg(long, env = "BURROW_ACTOR", value_name = "USER")]
    pub actor: Option<String>,
    /// An action, or all that begin with it if it ends with a dot
    #[arg(long, env = "BURROW_ACTION", value_name = "ACTION")]
    pub action: Option<String>,
    /// What it was done to: an id or a path
    #[arg(long, env = "BURROW_SUBJECT", value_name = "ID")]
    pub subject: Option<String>,
    /// Only what was allowed, or only what was refused
    #[arg(long, env = "BURROW_OUTCOME", value_enum)]
    pub outcome: Option<OutcomeArgument>,
    /// Not before this time: an age such as 24h, or an RFC 3339 time
    #[arg(long, env = "BURROW_SINCE", value_name = "TIME", value_parser = parse_time)]
    pub since: Option<OffsetDateTime>,
    /// Before this time
    #[arg(long, env = "BURROW_UNTIL", value_name = "TIME", value_parser = parse_time)]
    pub until: Option<OffsetDateTime>,
}

/// An outcome, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeArgument {
    /// It was done
    Allowed,
    /// It was refused
    Refused,
}

impl FilterOptions {
    /// The parameters of a request.
    fn query(&self) -> Vec<(&'static str, String)> {
        let time = |at: OffsetDateTime| at.format(&Rfc3339).ok();
        let outcome = self.outcome.map(|outcome| match outcome {
            OutcomeArgument::Allowed => AuditOutcome::Allowed.as_str().to_owned(),
            OutcomeArgument::Refused => AuditOutcome::Refused.as_str().to_owned(),
        });
        [
            ("actor", self.actor.clone()),
            ("action", self.action.clone()),
            ("subject", self.subject.clone()),
            ("outcome", outcome),
            ("from", self.since.and_then(time)),
            ("until", self.until.and_then(time)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Parses "24h" or an RFC 3339 time.
fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(instant) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(instant);
    }
    let age = parse_age(&text.to_ascii_lowercase());
    age.and_then(|age| OffsetDateTime::now_utc().checked_sub(age))
        .ok_or_else(|| "expected an age such as 24h, or a time such as 2026-03-02T09:00:00Z".to_owned())
}

impl Audit {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.command {
            AuditCommand::List { filter, limit } => list(context, &filter, limit as usize).await,
            AuditCommand::Follow { filter } => follow(context, &filter).await,
            AuditCommand::Export { filter } => {
                let mut content = context.server()?.export_audit_log(&filter.query()).await?;
                while let Some(piece) = content.next().await? {
                    output::bytes(&piece)?;
                }
                Ok(())
            }
            AuditCommand::Verify { file: None } => {
                let verification = context.server()?.verify_audit_log().await?;
                report(context, &verification, &verification.faults)
            }
            AuditCommand::Verify { file: Some(file) } => {
                let verification = verify_file(&file)?;
                report(context, &verification, &verification.faults)
            }
            AuditCommand::Retention { days, yes } => set_retention(context, days, yes).await,
        }
    }
}

async fn list(context: &Context, filter: &FilterOptions, limit: usize) -> Result<(), CommandError> {
    let server = context.server()?;
    let mut entries: Vec<AuditEntry> = Vec::new();
    loop {
        let mut query = filter.query();
        let wanted = (limit - entries.len()).min(MAX_AUDIT_PAGE as usize);
        query.push(("limit", wanted.to_string()));
        if let Some(last) = entries.last() {
            query.push(("before", last.seq.to_string()));
        }
        let AuditPage { entries: page, has_more } = server.audit_entries(&query).await?;
        let is_last = !has_more || page.is_empty();
        entries.extend(page);
        if is_last || entries.len() >= limit {
            return context.output.list(&entries);
        }
    }
}

async fn follow(context: &Context, filter: &FilterOptions) -> Result<(), CommandError> {
    let server = context.server()?;
    let newest = server.audit_entries(&[("limit", "1".to_owned())]).await?;
    let mut after = newest.entries.first().map_or(0, |entry| entry.seq);
    loop {
        after = print_after(context, &server, filter, after).await?;
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

/// Prints all entries after one, and returns the number of the last.
async fn print_after(
    context: &Context,
    server: &Server,
    filter: &FilterOptions,
    mut after: u64,
) -> Result<u64, CommandError> {
    loop {
        let mut query = filter.query();
        query.push(("after", after.to_string()));
        let page = server.audit_entries(&query).await?;
        for entry in &page.entries {
            after = entry.seq;
            match context.output.format {
                Format::Json => output::line(&json_line(entry)?)?,
                _ => output::line(&entry.cells().join("  "))?,
            }
        }
        if !page.has_more {
            return Ok(after);
        }
    }
}

fn json_line(entry: &AuditEntry) -> Result<String, CommandError> {
    serde_json::to_string(entry)
        .map_err(|error| CommandError::error("Cannot write the entry as JSON").because(&error))
}

/// Shows the result of a verification. It is an error if anything was found.
fn report<T: Record>(context: &Context, verification: &T, faults: &[String]) -> Result<(), CommandError> {
    context.output.one(verification)?;
    if faults.is_empty() {
        return Ok(());
    }
    if context.output.format.is_human() {
        faults.iter().try_for_each(|fault| output::line(&format!("fault: {fault}")))?;
    }
    Err(CommandError::error("The audit log is not intact").cause(faults[0].clone()))
}

/// The result of a verification of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileVerification {
    /// Whether nothing was found.
    pub is_intact: bool,
    /// Entries in the file.
    pub entries: u64,
    /// The number of the first one.
    pub first_seq: u64,
    /// The number of the last one.
    pub last_seq: u64,
    /// The hash of the last one.
    pub last_hash: String,
    /// What was found, at most 20 faults.
    pub faults: Vec<String>,
}

fn verify_file(path: &Path) -> Result<FileVerification, CommandError> {
    let cannot = || CommandError::error(format!("Cannot read {}", path.display()));
    let file = File::open(path).map_err(|error| cannot().because(&error))?;
    let mut reader = BufReader::new(file);
    let mut chain: Option<ChainVerifier> = None;
    let mut result = FileVerification {
        is_intact: true,
        entries: 0,
        first_seq: 0,
        last_seq: 0,
        last_hash: String::new(),
        faults: Vec::new(),
    };
    loop {
        let mut line = Vec::new();
        reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(|error| cannot().because(&error))?;
        if line.is_empty() {
            break;
        }
        let entry: AuditEntry = serde_json::from_slice(&line).map_err(|error| {
            CommandError::new(
                ErrorKind::Usage,
                format!("Cannot read line {} as an entry", result.entries + 1),
            )
            .because(&error)
        })?;
        let begin = || ChainVerifier::new(entry.tenant, entry.seq.saturating_sub(1), entry.previous);
        if let Err(fault) = chain.get_or_insert_with(begin).check(&entry)
            && result.faults.len() < MAX_FAULTS
        {
            result.faults.push(fault.to_string());
        }
        if result.entries == 0 {
            result.first_seq = entry.seq;
        }
        result.entries += 1;
        (result.last_seq, result.last_hash) = (entry.seq, entry.hash.to_string());
    }
    result.is_intact = result.faults.is_empty();
    Ok(result)
}

async fn set_retention(context: &Context, days: Option<u32>, yes: bool) -> Result<(), CommandError> {
    let server = context.server()?;
    let present = server.audit_retention().await?;
    let Some(days) = days.filter(|days| *days != present.days) else { return context.output.one(&present) };
    if days < present.days {
        let action =
            "removes entries of the audit log earlier: those that are too old now are deleted permanently";
        context.confirm(yes, action, "retention")?;
    }
    let wanted = AuditRetention { days };
    let saved = context.with_confirmation(&server, async || server.set_audit_retention(wanted).await).await?;
    context.output.say("Saved the retention of the audit log");
    context.output.one(&saved)
}

impl Record for AuditEntry {
    const COLUMNS: &'static [&'static str] =
        &["seq", "time", "actor", "action", "subject", "outcome", "address"];
    const WIDE: &'static [&'static str] = &["request", "detail"];

    fn cells(&self) -> Vec<String> {
        let actor = self.actor_email.clone().or_else(|| self.actor.map(|actor| actor.to_string()));
        vec![
            self.seq.to_string(),
            Clock::read().wall(self.at),
            output::printable(&actor.unwrap_or_else(|| "server".to_owned())),
            self.action.clone(),
            output::printable(&self.subject),
            self.outcome.as_str().to_owned(),
            output::printable(self.address.as_deref().unwrap_or("-")),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let request = self.request.as_deref().unwrap_or("-");
        vec![output::printable(request), output::printable(&self.detail.to_string())]
    }

    fn name(&self) -> String {
        self.seq.to_string()
    }

    fn id(&self) -> String {
        self.seq.to_string()
    }
}

impl Record for AuditVerification {
    const COLUMNS: &'static [&'static str] =
        &["intact", "entries", "from", "to", "pruned up to", "anchored up to"];

    fn cells(&self) -> Vec<String> {
        let numbers = [self.entries, self.first_seq, self.last_seq, self.pruned_seq, self.last_anchored_seq];
        let intact = if self.is_intact { "yes" } else { "no" };
        [intact.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    }

    fn name(&self) -> String {
        self.is_intact.to_string()
    }

    fn id(&self) -> String {
        self.is_intact.to_string()
    }
}

impl Record for FileVerification {
    const COLUMNS: &'static [&'static str] = &["intact", "entries", "from", "to", "last hash"];

    fn cells(&self) -> Vec<String> {
        vec![
            if self.is_intact { "yes" } else { "no" }.to_owned(),
            self.entries.to_string(),
            self.first_seq.to_string(),
            self.last_seq.to_string(),
            self.last_hash.clone(),
        ]
    }

    fn name(&self) -> String {
        self.is_intact.to_string()
    }

    fn id(&self) -> String {
        self.is_intact.to_string()
    }
}

impl Record for AuditRetention {
    const COLUMNS: &'static [&'static str] = &["days"];

    fn cells(&self) -> Vec<String> {
        vec![self.days.to_string()]
    }

    fn name(&self) -> String {
        self.days.to_string()
    }

    fn id(&self) -> String {
        self.days.to_string()
    }
}
