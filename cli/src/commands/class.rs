//! `burrow class`: a roster of students, and a workspace for each of them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use client::ApiError;
use protocol::api::class::{
    AddedMember, Class as ClassRecord, ClassAction, ClassList, ClassSummary, MAX_ROSTER_BYTES, Member,
    NewClass, RosterChange, RosterResult,
};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    commands::network::class::ClassNetwork,
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, progress, suggest::did_you_mean},
    server::Server,
};

/// Most missing students that are listed.
const MAX_MISSING_SHOWN: usize = 10;

/// Manage classes: a roster, and a workspace for each student
#[derive(Debug, Args)]
pub struct Class {
    #[command(subcommand)]
    pub command: ClassCommand,
}

/// The subcommands of `burrow class`.
#[derive(Debug, Subcommand)]
pub enum ClassCommand {
    /// Create a class
    #[command(after_long_help = "\
Examples:
  burrow class create algo --template base --roster students.csv
  burrow class create algo -o json > invitations.json")]
    Create {
        /// Name of the class, such as "Algorithms, fall 2026"
        name: String,
        /// Template of the students' workspaces
        #[arg(long, env = "BURROW_TEMPLATE", default_value = "base")]
        template: String,
        /// CSV file with names and email addresses; - reads standard input
        #[arg(long, env = "BURROW_ROSTER", value_name = "FILE")]
        roster: Option<PathBuf>,
    },
    /// List classes
    #[command(visible_alias = "ls", after_long_help = "Examples:\n  burrow class list")]
    List,
    /// Show the students of a class and their workspaces
    #[command(after_long_help = "Examples:\n  burrow class show algo")]
    Show(ClassArgument),
    /// Start the workspaces of all students
    #[command(after_long_help = "Examples:\n  burrow class start algo")]
    Start(ClassArgument),
    /// Save the homes of all students and stop their workspaces
    #[command(after_long_help = "Examples:\n  burrow class stop algo")]
    Stop(ClassArgument),
    /// Delete a class and the workspaces of its students permanently
    #[command(visible_alias = "rm", after_long_help = "Examples:\n  burrow class delete algo --yes")]
    Delete {
        #[command(flatten)]
        target: ClassArgument,
        /// Do not ask for confirmation
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
    /// Add students and print an invitation link for each new one
    #[command(after_long_help = "\
Examples:
  burrow class roster algo students.csv --dry-run
  burrow class roster algo more-students.csv
  burrow class roster algo - < students.csv

The file may be a CSV of a spreadsheet or a learning system, or addresses copied from a mail
program, in any usual encoding. Malformed rows are reported with their line number; the others
are added. If a list is sent again, corrected names and addresses are applied.")]
    Roster {
        #[command(flatten)]
        target: ClassArgument,
        /// File with names and email addresses; - reads standard input
        file: PathBuf,
        /// Show how the file is understood and what it would change, and change nothing
        #[arg(long, env = "BURROW_DRY_RUN")]
        dry_run: bool,
    },
    /// Show and change where the workspaces of a class may connect
    Network(ClassNetwork),
    /// Remove a student from a class, and delete the workspace of the student in it
    #[command(after_long_help = "\
Examples:
  burrow class remove algo ada@example.org
  burrow class remove algo ada@example.org --yes")]
    Remove {
        #[command(flatten)]
        target: ClassArgument,
        /// Email address, name or identifier of the student
        student: String,
        /// Do not ask for confirmation
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
}

/// A roster that was read.
struct RosterFile {
    /// What messages call it.
    name: String,
    bytes: Vec<u8>,
}

/// The positional argument that names one class.
#[derive(Debug, Args)]
pub struct ClassArgument {
    /// Name of the class
    #[arg(add = ArgValueCandidates::new(super::candidates::classes))]
    pub class: String,
}

impl Record for ClassSummary {
    const COLUMNS: &'static [&'static str] = &["name", "students", "running", "template", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.members.to_string(),
            self.running.to_string(),
            self.template.clone(),
            output::ago(self.created_at, OffsetDateTime::now_utc()),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Record for Member {
    const COLUMNS: &'static [&'static str] = &["name", "email", "joined", "workspace", "state"];

    fn cells(&self) -> Vec<String> {
        let workspace = self.workspace.as_ref();
        vec![
            output::printable(&self.name),
            output::printable(&self.email),
            if self.joined { "yes" } else { "invited" }.to_owned(),
            workspace.map_or_else(|| "–".to_owned(), |workspace| workspace.name.clone()),
            workspace.map_or_else(|| "–".to_owned(), |workspace| workspace.cells()[1].clone()),
        ]
    }

    fn name(&self) -> String {
        self.email.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// The invitation of one student.
#[derive(Serialize)]
struct InvitationRow {
    name: String,
    email: String,
    /// None if another teacher has invited the student.
    link: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

impl Record for InvitationRow {
    const COLUMNS: &'static [&'static str] = &["name", "email", "link"];

    fn cells(&self) -> Vec<String> {
        let link = self.link.clone().unwrap_or_else(|| "invited by another teacher".to_owned());
        vec![self.name.clone(), self.email.clone(), link]
    }

    fn name(&self) -> String {
        self.email.clone()
    }

    fn id(&self) -> String {
        self.link.clone().unwrap_or_default()
    }
}

impl Class {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            ClassCommand::Create { name, template, roster } => {
                // Read the roster first: a missing file must not leave an empty class behind.
                let file = roster.as_deref().map(RosterFile::read).transpose()?;
                let created = server.create_class(&NewClass { name, template: Some(template) }).await?;
                context.output.say(&format!("Created class {}", created.name));
                match file {
                    Some(file) => add_roster(context, &server, &created, file, false).await,
                    None if context.output.format == Format::Json => context.output.json(&created),
                    None => Ok(()),
                }
            }
            ClassCommand::List => {
                let ClassList { classes } = server.classes().await?;
                context.output.list(&classes)
            }
            ClassCommand::Show(target) => {
                let class = find(&server, &target).await?;
                match context.output.format {
                    Format::Json => context.output.json(&class),
                    _ => context.output.list(&class.members),
                }
            }
            ClassCommand::Start(target) => {
                let class = find(&server, &target).await?;
                let action = server.start_class(class.id).await?;
                print_action(context, ("Starting", "running"), &class.name, &action)
            }
            ClassCommand::Stop(target) => {
                let class = find(&server, &target).await?;
                let action = server.stop_class(class.id).await?;
                print_action(context, ("Stopping", "stopped"), &class.name, &action)
            }
            ClassCommand::Delete { target, yes } => {
                let class = find(&server, &target).await?;
                let (name, students) = (&class.name, class.members.len());
                let action =
                    format!("deletes class {name} and the workspaces of its {students} students permanently");
                context.confirm(yes, &action, name)?;
                server.delete_class(class.id).await?;
                context.output.say(&format!("Deleted class {name}"));
                Ok(())
            }
            ClassCommand::Roster { target, file, dry_run } => {
                let file = RosterFile::read(&file)?;
                let class = find(&server, &target).await?;
                add_roster(context, &server, &class, file, dry_run).await
            }
            ClassCommand::Network(network) => network.run(context).await,
            ClassCommand::Remove { target, student, yes } => {
                let class = find(&server, &target).await?;
                let member = find_member(&class, &student)?;
                let action = format!(
                    "removes {} from class {} and deletes the workspace of the student in it",
                    output::printable(&member.email),
                    class.name
                );
                context.confirm(yes, &action, &member.email)?;
                server.remove_class_member(class.id, member.id).await?;
                context.output.say(&format!("Removed {}", output::printable(&member.email)));
                Ok(())
            }
        }
    }
}

/// Sends the roster. Valid rows get their links; malformed rows are reported by line.
async fn add_roster(
    context: &Context,
    server: &Server,
    class: &ClassRecord,
    RosterFile { name, bytes }: RosterFile,
    dry_run: bool,
) -> Result<(), CommandError> {
    let result =
        server.import_roster(class.id, bytes, dry_run).await.map_err(|error| unreadable(error, &name))?;
    let invited: Vec<InvitationRow> =
        result.added.iter().chain(&result.corrected).map(|member| invitation_row(server, member)).collect();
    if context.output.format == Format::Json {
        context.output.json(&serde_json::json!({
            "class": result.class, "dry_run": result.dry_run, "format": result.format, "rows": result.rows,
            "added": invited, "unchanged": result.unchanged, "missing": result.missing,
            "errors": result.errors,
        }))?;
    } else if !dry_run {
        context.output.list(&invited)?;
    }
    print_understanding(context, &result);
    for error in &result.errors {
        let (row, message) = (output::printable(&error.row), output::printable(&error.message));
        progress::write_line(&format!("{name}:{}: {message}: {row}", error.line));
    }
    context.output.say(&describe_result(&result));
    if result.errors.is_empty() {
        return Ok(());
    }
    let rows = if result.errors.len() == 1 { "row" } else { "rows" };
    let count = result.errors.len();
    Err(CommandError::error(format!("Cannot add {count} {rows} of the roster")).hint(format!(
        "correct them and run: burrow class roster {} {name}",
        output::shell_word(&class.name)
    )))
}

/// A roster of which nothing can be used. The server says why.
fn unreadable(error: ApiError, name: &str) -> CommandError {
    match &error {
        ApiError::Problem(problem) => match problem.fields.iter().find(|field| field.field == "roster") {
            Some(field) => {
                let cause = field.message.trim_end_matches('.');
                let cause = cause.strip_prefix("Cannot read the roster: ").unwrap_or(cause);
                CommandError::error(format!("Cannot read the roster {name}")).cause(output::printable(cause))
            }
            None => error.into(),
        },
        _ => error.into(),
    }
}

fn invitation_row(server: &Server, member: &AddedMember) -> InvitationRow {
    let link = member.invitation.as_ref();
    InvitationRow {
        name: output::printable(&member.name),
        email: output::printable(&member.email),
        link: link.map(|link| server.absolute_url(link.path.expose())),
        expires_at: link.map(|link| link.expires_at),
    }
}

/// Says how the file was understood, and what differs from the class.
fn print_understanding(context: &Context, result: &RosterResult) {
    let format = &result.format;
    if let Some(email) = &format.email_column {
        let names = match format.name_columns.as_slice() {
            [] => "no column".to_owned(),
            columns => columns.join(", "),
        };
        context.output.say(&format!(
            "Encoding {}; names from {}, addresses from {}",
            format.encoding,
            output::printable(&names),
            output::printable(email)
        ));
    }
    for note in &format.notes {
        context.output.say(&output::printable(note));
    }
    for row in &result.rows {
        let previous = output::printable(row.previous.as_deref().unwrap_or_default());
        let (name, email) = (output::printable(&row.name), output::printable(&row.email));
        match row.change {
            RosterChange::NameCorrected => context.output.say(&format!("{email}: {previous} is now {name}")),
            RosterChange::EmailCorrected => context.output.say(&format!("{name}: {previous} is now {email}")),
            RosterChange::Added if result.dry_run => context.output.say(&format!("New: {name}, {email}")),
            RosterChange::Added | RosterChange::Unchanged => {}
        }
    }
    for member in result.missing.iter().take(MAX_MISSING_SHOWN) {
        let (name, email) = (output::printable(&member.name), output::printable(&member.email));
        context.output.say(&format!("Not in the list: {name}, {email}"));
    }
    if result.missing.len() > MAX_MISSING_SHOWN {
        context.output.say(&format!("Not in the list: {} more", result.missing.len() - MAX_MISSING_SHOWN));
    }
    if !result.missing.is_empty() {
        context.output.say(&format!(
            "Students who are not in the list stay in the class. To remove one: burrow class remove {} EMAIL",
            output::shell_word(&result.class.name)
        ));
    }
}

/// "2 added, 1 corrected, 3 unchanged, 0 malformed".
fn describe_result(result: &RosterResult) -> String {
    let count =
        |changes: &[RosterChange]| result.rows.iter().filter(|row| changes.contains(&row.change)).count();
    let corrected = count(&[RosterChange::NameCorrected, RosterChange::EmailCorrected]);
    // An older server reports no rows.
    let added = count(&[RosterChange::Added]).max(result.added.len());
    let verb = if result.dry_run { "to add" } else { "added" };
    let corrected = match (corrected, result.dry_run) {
        (0, _) => String::new(),
        (count, false) => format!("{count} corrected, "),
        (count, true) => format!("{count} to correct, "),
    };
    let (unchanged, malformed) = (result.unchanged, result.errors.len());
    format!("{added} {verb}, {corrected}{unchanged} unchanged, {malformed} malformed")
}

/// Prints what a start or stop of all workspaces did. `(begun, already)`: "Starting", "running".
fn print_action(
    context: &Context,
    (begun, already): (&str, &str),
    class: &str,
    action: &ClassAction,
) -> Result<(), CommandError> {
    if context.output.format == Format::Json {
        context.output.json(action)?;
    }
    let others = match action.unchanged {
        0 => String::new(),
        unchanged => format!("; {unchanged} already {already}"),
    };
    context.output.say(&format!(
        "{begun} {}{others}\nNext: burrow class show {}",
        action.begun,
        output::shell_word(class)
    ));
    for failed in &action.failed {
        progress::write_line(&format!(
            "{}: {}",
            output::printable(&failed.name),
            output::printable(&failed.message)
        ));
    }
    if action.failed.is_empty() {
        return Ok(());
    }
    let verb = if begun == "Starting" { "start" } else { "stop" };
    Err(CommandError::error(format!("Cannot {verb} {} of the workspaces", action.failed.len())))
}

pub async fn find(server: &Server, target: &ClassArgument) -> Result<ClassRecord, CommandError> {
    let ClassList { classes } = server.classes().await?;
    let found =
        classes.iter().find(|class| class.name == target.class || class.id.to_string() == target.class);
    if let Some(class) = found {
        return Ok(server.class(class.id).await?);
    }
    let error = CommandError::new(ErrorKind::NotFound, format!("Cannot find class `{}`", target.class));
    Err(match did_you_mean(&target.class, classes.iter().map(|class| class.name.as_str())) {
        Some(near) => error.cause(format!("did you mean `{near}`?")),
        None => error.hint("burrow class list"),
    })
}

/// Finds a member by address, name or identifier.
fn find_member<'a>(class: &'a ClassRecord, student: &str) -> Result<&'a Member, CommandError> {
    let fits = |member: &&Member| {
        member.email.to_lowercase() == student.to_lowercase() || member.id.to_string() == student
    };
    if let Some(member) = class.members.iter().find(fits) {
        return Ok(member);
    }
    let named: Vec<&Member> = class.members.iter().filter(|member| member.name == student).collect();
    match named[..] {
        [member] => Ok(member),
        [] => {
            let what = format!("Cannot find `{student}` in class {}", class.name);
            let error = CommandError::new(ErrorKind::NotFound, what);
            Err(match did_you_mean(student, class.members.iter().map(|member| member.email.as_str())) {
                Some(near) => error.cause(format!("did you mean `{near}`?")),
                None => error.hint(format!("burrow class show {}", output::shell_word(&class.name))),
            })
        }
        _ => {
            let what = format!("{} students of class {} have this name", named.len(), class.name);
            Err(CommandError::new(ErrorKind::Usage, what).hint("give the email address"))
        }
    }
}

impl RosterFile {
    /// Reads a file, or standard input if it is `-`.
    fn read(file: &Path) -> Result<Self, CommandError> {
        let is_stdin = file == Path::new("-");
        let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
        let unreadable =
            |error: io::Error| CommandError::error(format!("Cannot read {name}")).because(&error);
        let mut bytes = Vec::new();
        // One byte more than allowed, to notice a file that is too large.
        let limit = MAX_ROSTER_BYTES as u64 + 1;
        if is_stdin {
            io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            File::open(file).map_err(unreadable)?.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
        }
        if bytes.len() > MAX_ROSTER_BYTES {
            return Err(CommandError::error(format!("Cannot use {name} as a roster"))
                .cause(format!("it is larger than {}", output::size(MAX_ROSTER_BYTES as u64))));
        }
        Ok(Self { name, bytes })
    }
}
