//! `burrow user`: the users of the organisation, for its owners.

use clap::{Args, Subcommand, ValueEnum};
use protocol::api::user::{CreatedUser, EditUser, NewUser, Role, User as UserRecord, UserLink, UserList};
use time::OffsetDateTime;

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, suggest::did_you_mean},
    server::Server,
};

/// Manage users: roles, suspensions, passwords and sessions
#[derive(Debug, Args)]
pub struct User {
    #[command(subcommand)]
    pub command: UserCommand,
}

/// The subcommands of `burrow user`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// List users
    #[command(visible_alias = "ls", after_long_help = "Examples:\n  burrow user list")]
    List,
    /// Create a user and print a link to sign in with
    #[command(after_long_help = "\
Examples:
  burrow user create grace@example.org --name \"Grace Hopper\" --role teacher")]
    Create {
        /// Email address
        email: String,
        /// Name that others see [default: the part of the address before @]
        #[arg(long, env = "BURROW_NAME")]
        name: Option<String>,
        /// What the user may do
        #[arg(long, env = "BURROW_ROLE", value_enum, default_value_t = RoleArgument::Member)]
        role: RoleArgument,
    },
    /// Change what a user may do
    #[command(after_long_help = "\
Examples:
  burrow user role grace@example.org teacher
  burrow user role grace@example.org member")]
    Role {
        #[command(flatten)]
        target: UserArgument,
        /// What the user may do
        #[arg(value_enum)]
        role: RoleArgument,
    },
    /// End all sessions of a user, stop their workspaces and refuse sign-ins
    #[command(after_long_help = "\
Examples:
  burrow user suspend bruno@example.org

Homes are saved and nothing is deleted. `burrow user resume` ends the suspension.")]
    Suspend(UserArgument),
    /// End the suspension of a user
    #[command(after_long_help = "Examples:\n  burrow user resume bruno@example.org")]
    Resume(UserArgument),
    /// Void the password, sessions and tokens of a user, and print a link to sign in with
    #[command(after_long_help = "Examples:\n  burrow user reset-password bruno@example.org --yes")]
    ResetPassword {
        #[command(flatten)]
        target: UserArgument,
        /// Do not ask for confirmation
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
    /// Sign a user out everywhere and revoke all their tokens
    #[command(after_long_help = "Examples:\n  burrow user end-sessions bruno@example.org")]
    EndSessions(UserArgument),
}

/// The positional argument that names one user.
#[derive(Debug, Args)]
pub struct UserArgument {
    /// Email address or identifier of the user
    pub user: String,
}

/// A role on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArgument {
    /// Uses their own workspaces and the classes they joined
    Member,
    /// A member who also reads the audit log
    Auditor,
    /// Also runs classes
    Teacher,
    /// Also manages users and everything else
    Owner,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::Member => Self::Member,
            RoleArgument::Auditor => Self::Auditor,
            RoleArgument::Teacher => Self::Teacher,
            RoleArgument::Owner => Self::Owner,
        }
    }
}

impl User {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            UserCommand::List => {
                let UserList { users } = server.users().await?;
                context.output.list(&users)
            }
            UserCommand::Create { email, name, role } => {
                let local = email.split('@').next().unwrap_or(&email).to_owned();
                let request = NewUser { name: name.unwrap_or(local), role: role.into(), email };
                let CreatedUser { user, link } =
                    context.with_confirmation(&server, async || server.create_user(&request).await).await?;
                context.output.say(&format!("Created {}", output::printable(&user.email)));
                print_link(context, &server, &link)
            }
            UserCommand::Role { target, role } => {
                let change = EditUser { role: Some(role.into()), ..EditUser::default() };
                edit(context, &server, &target, change).await
            }
            UserCommand::Suspend(target) => {
                let change = EditUser { suspended: Some(true), ..EditUser::default() };
                edit(context, &server, &target, change).await
            }
            UserCommand::Resume(target) => {
                let change = EditUser { suspended: Some(false), ..EditUser::default() };
                edit(context, &server, &target, change).await
            }
            UserCommand::ResetPassword { target, yes } => {
                let user = find(&server, &target).await?;
                let action = format!(
                    "voids the password of {} and signs the user out everywhere",
                    output::printable(&user.email)
                );
                context.confirm(yes, &action, &user.email)?;
                let link = context
                    .with_confirmation(&server, async || server.reset_user_password(user.id).await)
                    .await?;
                print_link(context, &server, &link)
            }
            UserCommand::EndSessions(target) => {
                let user = find(&server, &target).await?;
                context.with_confirmation(&server, async || server.end_user_sessions(user.id).await).await?;
                context.output.say(&format!("Ended all sessions of {}", output::printable(&user.email)));
                Ok(())
            }
        }
    }
}

async fn edit(
    context: &Context,
    server: &Server,
    target: &UserArgument,
    change: EditUser,
) -> Result<(), CommandError> {
    let user = find(server, target).await?;
    let user = context.with_confirmation(server, async || server.edit_user(user.id, &change).await).await?;
    context.output.one(&user)
}

/// Prints a link. It is the only line on standard output.
fn print_link(context: &Context, server: &Server, link: &UserLink) -> Result<(), CommandError> {
    let url = server.absolute_url(link.path.expose());
    if context.output.format == Format::Json {
        return context.output.json(&serde_json::json!({
            "link": url, "expires_at": link.expires_at.unix_timestamp(),
        }));
    }
    context.output.say("Send this link to the user. It works once, for 12 hours, and sets the password:");
    output::line(&url)
}

pub async fn find(server: &Server, target: &UserArgument) -> Result<UserRecord, CommandError> {
    let UserList { users } = server.users().await?;
    let fits = |user: &&UserRecord| {
        user.email.to_lowercase() == target.user.to_lowercase() || user.id.to_string() == target.user
    };
    if let Some(user) = users.iter().find(fits) {
        return Ok(user.clone());
    }
    let error = CommandError::new(ErrorKind::NotFound, format!("Cannot find user `{}`", target.user));
    Err(match did_you_mean(&target.user, users.iter().map(|user| user.email.as_str())) {
        Some(near) => error.cause(format!("did you mean `{near}`?")),
        None => error.hint("burrow user list"),
    })
}

impl Record for UserRecord {
    const COLUMNS: &'static [&'static str] = &["email", "name", "role", "state", "created"];

    fn cells(&self) -> Vec<String> {
        let role = match self.role {
            Role::Member => "member",
            Role::Auditor => "auditor",
            Role::Teacher => "teacher",
            Role::Owner => "owner",
        };
        vec![
            output::printable(&self.email),
            output::printable(&self.name),
            role.to_owned(),
            if self.suspended_at.is_some() { "suspended" } else { "active" }.to_owned(),
            output::ago(self.created_at, OffsetDateTime::now_utc()),
        ]
    }

    fn name(&self) -> String {
        self.email.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}
