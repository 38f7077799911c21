//! `burrow token`: personal access tokens.

use clap::{Args, Subcommand};
use protocol::api::auth::{NewToken, TokenInfo, TokenList};
use time::OffsetDateTime;

use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Format, Record, suggest::did_you_mean},
    server::Server,
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
  BURROW_TOKEN=$(burrow token create ci) burrow list")]
    Create {
        /// What the token is for
        name: String,
        /// Days until it expires
        #[arg(long, env = "BURROW_DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        days: Option<u16>,
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
        let server = context.server()?;
        match self.command {
            TokenCommand::Create { name, days } => {
                let secret = server.create_token(&NewToken { name, days }).await?;
                if context.output.format == Format::Json {
                    return context.output.json(&secret);
                }
                context.output.say("Copy the token now. It is not shown again.");
                output::line(secret.token.expose())
            }
            TokenCommand::List => {
                let TokenList { tokens } = server.tokens().await?;
                context.output.list(&tokens)
            }
            TokenCommand::Delete { token } => delete(context, &server, &token).await,
        }
    }
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
    const COLUMNS: &'static [&'static str] = &["name", "id", "created", "expires", "last used"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            output::printable(&self.name),
            self.id.to_string(),
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
