//! `class create`, `list`, `show`, `start`, `stop`, `delete`, `roster`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use protocol::api::class::{
    Class as ClassRecord, ClassAction, ClassList, ClassSummary, MAX_ROSTER_BYTES, Member, NewClass,
    RosterResult,
};
use serde::Serialize;
use time::OffsetDateTime;

use super::{Context, did_you_mean};
use crate::{
    arguments::{Class, OneClass},
    failure::{Failure, Kind},
    output::{self, Format, Shown},
    progress,
    server::Server,
};

impl Shown for ClassSummary {
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

impl Shown for Member {
    const COLUMNS: &'static [&'static str] = &["name", "e-mail", "joined", "workspace", "state"];

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

/// An invitation as it is given to a person.
#[derive(Serialize)]
struct Invited {
    name: String,
    email: String,
    link: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

impl Shown for Invited {
    const COLUMNS: &'static [&'static str] = &["name", "e-mail", "link"];

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

pub async fn class(context: &Context, class: Class) -> Result<(), Failure> {
    let server = context.server()?;
    match class {
        Class::Create { name, template, roster } => {
            // Read first: a file that is not there must leave no class behind.
            let text = roster.as_deref().map(read_roster).transpose()?;
            let made = server.create_class(&NewClass { name, template: Some(template) }).await?;
            context.output.say(&format!("Made the class {}", made.name));
            match (roster, text) {
                (Some(file), Some(text)) => add(context, &server, &made, &file, text).await,
                _ if context.output.format == Format::Json => context.output.json(&made),
                _ => Ok(()),
            }
        }
        Class::List => {
            let ClassList { classes } = server.classes().await?;
            context.output.list(&classes)
        }
        Class::Show(target) => {
            let found = find(&server, &target).await?;
            match context.output.format {
                Format::Json => context.output.json(&found),
                _ => context.output.list(&found.members),
            }
        }
        Class::Start(target) => {
            let found = find(&server, &target).await?;
            let action = server.start_class(found.id).await?;
            tell(context, ("Starting", "running"), &found.name, &action)
        }
        Class::Stop(target) => {
            let found = find(&server, &target).await?;
            let action = server.stop_class(found.id).await?;
            tell(context, ("Stopping", "stopped"), &found.name, &action)
        }
        Class::Delete { target, yes } => {
            let found = find(&server, &target).await?;
            let deed = format!(
                "deletes the class {} with the workspaces of its {} students, for good",
                found.name,
                found.members.len()
            );
            context.confirm(yes, &deed, &found.name)?;
            server.delete_class(found.id).await?;
            context.output.say(&format!("Deleted the class {}", found.name));
            Ok(())
        }
        Class::Roster { target, file } => {
            let text = read_roster(&file)?;
            let found = find(&server, &target).await?;
            add(context, &server, &found, &file, text).await
        }
    }
}

/// Sends the roster; good rows get their links, bad ones are named by their line.
async fn add(
    context: &Context,
    server: &Server,
    class: &ClassRecord,
    file: &Path,
    text: Vec<u8>,
) -> Result<(), Failure> {
    let RosterResult { class, added, unchanged, errors } = server.add_roster(class.id, text).await?;
    let invited: Vec<Invited> = added
        .into_iter()
        .map(|member| Invited {
            name: output::printable(&member.name),
            email: output::printable(&member.email),
            link: server.absolute(member.invitation.path.expose()),
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
        "{} added, {unchanged} already there, {} malformed",
        invited.len(),
        errors.len()
    ));
    if errors.is_empty() {
        return Ok(());
    }
    let rows = if errors.len() == 1 { "row was" } else { "rows were" };
    Err(Failure::error(format!("{} {rows} not taken", errors.len())).next(format!(
        "correct them and run: burrow class roster {} {}",
        class.name,
        file.display()
    )))
}

fn tell(
    context: &Context,
    (begun, already): (&str, &str),
    class: &str,
    action: &ClassAction,
) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        context.output.json(action)?;
    }
    let others = match action.unchanged {
        0 => String::new(),
        unchanged => format!("; {unchanged} {already} already"),
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
    Err(Failure::error(format!("{} students' workspaces did not follow", action.failed.len())))
}

async fn find(server: &Server, target: &OneClass) -> Result<ClassRecord, Failure> {
    let ClassList { classes } = server.classes().await?;
    let found =
        classes.iter().find(|class| class.name == target.class || class.id.to_string() == target.class);
    if let Some(class) = found {
        return Ok(server.class(class.id).await?);
    }
    let failure = Failure::new(Kind::NotFound, format!("There is no class `{}`", target.class));
    Err(match did_you_mean(&target.class, classes.iter().map(|class| class.name.as_str())) {
        Some(near) => failure.why(format!("did you mean `{near}`?")),
        None => failure.next("burrow class list"),
    })
}

fn read_roster(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: io::Error| Failure::error(format!("{} cannot be read", file.display())).because(&error);
    let mut text = Vec::new();
    let most = MAX_ROSTER_BYTES as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut text).map_err(unreadable)?;
    } else {
        File::open(file).map_err(unreadable)?.take(most).read_to_end(&mut text).map_err(unreadable)?;
    }
    if text.len() > MAX_ROSTER_BYTES {
        return Err(Failure::error(format!("{} is larger than a roster may be", file.display()))
            .why(format!("at most {}", output::size(MAX_ROSTER_BYTES as u64))));
    }
    Ok(text)
}
