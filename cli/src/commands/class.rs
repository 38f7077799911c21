//! `burrow class`: a roster of students, and a workspace for each of them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use protocol::api::class::{
    Class as ClassRecord, ClassAction, ClassList, ClassSummary, MAX_ROSTER_BYTES, Member, NewClass,
    RosterResult,
};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, progress, suggest::did_you_mean},
    server::Server,
};

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
        /// Name of the class: 1 to 63 characters of a-z, 0-9 and -
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
  burrow class roster algo more-students.csv
  burrow class roster algo - < students.csv

Malformed rows are reported with their line number; the others are added.")]
    Roster {
        #[command(flatten)]
        target: ClassArgument,
        /// CSV file with names and email addresses; - reads standard input
        file: PathBuf,
    },
}

/// The positional argument that names one class.
#[derive(Debug, Args)]
pub struct ClassArgument {
    /// Name of the class
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
    link: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

impl Record for InvitationRow {
    const COLUMNS: &'static [&'static str] = &["name", "email", "link"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.email.clone(), self.link.clone()]
    }

    fn name(&self) -> String {
        self.email.clone()
    }

    fn id(&self) -> String {
        self.link.clone()
    }
}

impl Class {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            ClassCommand::Create { name, template, roster } => {
                // Read the roster first: a missing file must not leave an empty class behind.
                let text = roster.as_deref().map(read_roster).transpose()?;
                let created = server.create_class(&NewClass { name, template: Some(template) }).await?;
                context.output.say(&format!("Created class {}", created.name));
                match (roster, text) {
                    (Some(file), Some(text)) => add_roster(context, &server, &created, &file, text).await,
                    _ if context.output.format == Format::Json => context.output.json(&created),
                    _ => Ok(()),
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
            ClassCommand::Roster { target, file } => {
                let text = read_roster(&file)?;
                let class = find(&server, &target).await?;
                add_roster(context, &server, &class, &file, text).await
            }
        }
    }
}

/// Sends the roster. Valid rows get their links; malformed rows are reported by line.
async fn add_roster(
    context: &Context,
    server: &Server,
    class: &ClassRecord,
    file: &Path,
    text: Vec<u8>,
) -> Result<(), CommandError> {
    let RosterResult { class, added, unchanged, errors } = server.import_roster(class.id, text).await?;
    let invited: Vec<InvitationRow> = added
        .into_iter()
        .map(|member| InvitationRow {
            name: output::printable(&member.name),
            email: output::printable(&member.email),
            link: server.absolute_url(member.invitation.path.expose()),
            expires_at: member.invitation.expires_at,
        })
        .collect();
    if context.output.format == Format::Json {
        context.output.json(&serde_json::json!({
            "class": class, "added": invited, "unchanged": unchanged, "errors": errors,
        }))?;
    } else {
        context.output.list(&invited)?;
    }
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    for error in &errors {
        let (row, message) = (output::printable(&error.row), output::printable(&error.message));
        progress::write_line(&format!("{name}:{}: {message}: {row}", error.line));
    }
    context.output.say(&format!(
        "{} added, {unchanged} unchanged, {} malformed",
        invited.len(),
        errors.len()
    ));
    if errors.is_empty() {
        return Ok(());
    }
    let rows = if errors.len() == 1 { "row" } else { "rows" };
    let (count, name, file) = (errors.len(), &class.name, file.display());
    Err(CommandError::error(format!("Cannot add {count} {rows} of the roster"))
        .hint(format!("correct them and run: burrow class roster {name} {file}")))
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
    context.output.say(&format!("{begun} {}{others}\nNext: burrow class show {class}", action.begun));
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

async fn find(server: &Server, target: &ClassArgument) -> Result<ClassRecord, CommandError> {
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

fn read_roster(file: &Path) -> Result<Vec<u8>, CommandError> {
    let unreadable =
        |error: io::Error| CommandError::error(format!("Cannot read {}", file.display())).because(&error);
    let mut text = Vec::new();
    // One byte more than allowed, to notice a file that is too large.
    let limit = MAX_ROSTER_BYTES as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut text).map_err(unreadable)?;
    } else {
        File::open(file).map_err(unreadable)?.take(limit).read_to_end(&mut text).map_err(unreadable)?;
    }
    if text.len() > MAX_ROSTER_BYTES {
        return Err(CommandError::error(format!("Cannot use {} as a roster", file.display()))
            .cause(format!("it is larger than {}", output::size(MAX_ROSTER_BYTES as u64))));
    }
    Ok(text)
}
