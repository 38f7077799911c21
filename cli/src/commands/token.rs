//! `burrow token`: personal access tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use protocol::api::auth::{Login, NewToken, TokenInfo, TokenList, TokenScope};
use time::OffsetDateTime;

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, suggest::did_you_mean},
    password::PasswordSource,
    server::{self, Server, local::LocalServer},
};

/// Manage personal access tokens
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// The subcommands of `burrow token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it once
    #[command(after_long_help = "\
Examples:
  burrow token create ci --days 30
  burrow token create backup --scope read --password - < password.txt
  burrow token create ci --local

A token cannot create tokens, so the command asks for your password. On the host of the server, --local
creates a token of the owner without one.")]
    Create {
        /// What the token is for
        name: String,
        /// What the token may do
        #[arg(long, env = "BURROW_SCOPE", value_enum, default_value_t)]
        scope: ScopeArgument,
        /// Days until it expires
        #[arg(long, env = "BURROW_DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        days: Option<u16>,
        #[command(flatten)]
        password: PasswordSource,
        /// Create a token of the owner of the server on this host
        #[arg(long, env = "BURROW_LOCAL", conflicts_with = "password")]
        local: bool,
        /// Data directory of that server [default: as for `burrow up`]
        #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// List tokens
    #[command(visible_alias = "ls", after_long_help = "Examples:\n  burrow token list")]
    List,
    /// Delete a token and sign out everything that uses it
    #[command(visible_alias = "rm", after_long_help = "Examples:\n  burrow token delete ci")]
    Delete {
        /// Name or identifier of the token
        token: String,
    },
}

impl Token {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.command {
            TokenCommand::Create { name, scope, days, password, local, data_dir } => {
                let session = if local {
                    LocalServer::find(data_dir.as_deref())?.sign_in().await?
                } else {
                    sign_in(context, &password).await?
                };
                let token = NewToken { name, days, scope: scope.into() };
                let secret = server::exchange_session(&session, &token).await?;
                if context.output.format == Format::Json {
                    return context.output.json(&secret);
                }
                context.output.say("Copy the token now. It is not shown again.");
                output::line(secret.token.expose())
            }
            TokenCommand::List => {
                let TokenList { tokens } = context.server()?.tokens().await?;
                context.output.list(&tokens)
            }
            TokenCommand::Delete { token } => delete(context, &context.server()?, &token).await,
        }
    }
}

/// What a token may do, on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ScopeArgument {
    /// Sees everything and changes nothing
    Read,
    /// Also uses workspaces, transfers and classes
    #[default]
    Workspaces,
    /// Also manages users and the organisation
    Admin,
}

impl From<ScopeArgument> for TokenScope {
    fn from(scope: ScopeArgument) -> Self {
        match scope {
            ScopeArgument::Read => Self::Read,
            ScopeArgument::Workspaces => Self::Workspaces,
            ScopeArgument::Admin => Self::Admin,
        }
    }
}

/// Signs the current user in with the password, as a browser does.
async fn sign_in(context: &Context, password: &PasswordSource) -> Result<Server, CommandError> {
    let server = context.server()?;
    let hint = "burrow token create NAME --password - < file, or create it on the page Tokens";
    let password = password.read(context, &server, hint).await?;
    let email = server.session().await?.user.email;
    let login = Login { email, password };
    Ok(Server::anonymous(server.url(), context.authorities()?)?.sign_in_with_password(&login).await?)
}

async fn delete(context: &Context, server: &Server, token: &str) -> Result<(), CommandError> {
    let TokenList { tokens } = server.tokens().await?;
    let matching: Vec<&TokenInfo> =
        tokens.iter().filter(|info| info.name == token || info.id.to_string() == token).collect();
    match matching.as_slice() {
        [one] => {
            server.delete_token(one.id).await?;
            context.output.say(&format!("Deleted token {}", output::printable(&one.name)));
            Ok(())
        }
        [] => {
            let error = CommandError::new(ErrorKind::NotFound, format!("Cannot find token `{token}`"));
            Err(match did_you_mean(token, tokens.iter().map(|info| info.name.as_str())) {
                Some(near) => error.cause(format!("did you mean `{near}`?")),
                None => error.hint("burrow token list"),
            })
        }
        several => {
            let what = format!("{} tokens are named `{token}`", several.len());
            Err(CommandError::new(ErrorKind::Usage, what).hint("give the identifier: burrow token list"))
        }
    }
}

impl Record for TokenInfo {
    const COLUMNS: &'static [&'static str] = &["name", "id", "scope", "created", "expires", "last used"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            output::printable(&self.name),
            self.id.to_string(),
            self.scope.as_str().to_owned(),
            output::ago(self.created_at, now),
            self.expires_at.date().to_string(),
            self.last_used_at.map_or_else(|| "never".to_owned(), |then| output::ago(then, now)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}
