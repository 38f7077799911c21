//! What every command needs: the output, the server, and whether the user can be asked.

use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    path::PathBuf,
};

use clap::Args;
use client::TrustedAuthorities;

use client::ApiError;
use protocol::{Code, api::auth::ConfirmPassword};

use crate::{
    output::{CommandError, ErrorKind, Format, Output, progress::Style},
    password::ask_own_password,
    server::{self, Server},
};

/// Longest answer that a prompt reads.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// Output format
    #[arg(
        short,
        long,
        global = true,
        env = "BURROW_OUTPUT",
        value_enum,
        default_value_t,
        hide_env_values = true
    )]
    pub output: Format,
    /// Print identifiers only, and no progress
    #[arg(short, long, global = true, env = "BURROW_QUIET")]
    pub quiet: bool,
    /// Never prompt; fail instead
    #[arg(long, global = true, env = "BURROW_NO_INPUT")]
    pub no_input: bool,
    /// Address of the server [default: the server of the last `burrow login`]
    #[arg(long, global = true, env = "BURROW_URL", value_name = "URL")]
    pub url: Option<String>,
    /// PEM certificates of authorities to trust besides the system's
    #[arg(long, global = true, env = "BURROW_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// The environment of one command.
pub struct Context {
    /// Where results and messages go.
    pub output: Output,
    /// How progress is shown.
    pub style: Style,
    /// Whether the user can be prompted: a terminal is there, and neither `--no-input` nor `CI` is
    /// set.
    pub can_prompt: bool,
    url: Option<String>,
    ca_file: Option<PathBuf>,
    grammar: fn() -> clap::Command,
}

impl Context {
    /// The context that the global options, the terminal and the environment describe. `grammar`
    /// builds the whole command line.
    pub fn new(global: &GlobalOptions, grammar: fn() -> clap::Command) -> Self {
        let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self {
            output: Output { format: global.output, quiet: global.quiet },
            style: Style::detect(global.quiet),
            can_prompt: !global.no_input && !is_ci && is_terminal,
            // An empty variable is one that a script could not fill.
            url: global.url.clone().filter(|url| !url.trim().is_empty()),
            ca_file: global.ca_file.clone().filter(|path| !path.as_os_str().is_empty()),
            grammar,
        }
    }

    /// The whole command line, for commands that describe it.
    pub fn grammar(&self) -> clap::Command {
        (self.grammar)()
    }

    /// The address that `--url` or `BURROW_URL` names.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// A client of the server, signed in as the current user.
    pub fn server(&self) -> Result<Server, CommandError> {
        server::signed_in(self.url(), self.ca_file.as_deref())
    }

    /// The authorities whose certificates are trusted.
    pub fn authorities(&self) -> Result<TrustedAuthorities, CommandError> {
        server::authorities(self.ca_file.as_deref())
    }

    /// A client of another server that the user has signed in to.
    pub fn other_server(&self, url: &str) -> Result<Server, CommandError> {
        server::signed_in_to(url, self.ca_file.as_deref())
    }

    /// Sends a request that may need a proof of the password. If it does, asks for the password and sends
    /// the request again.
    pub async fn with_confirmation<T>(
        &self,
        server: &Server,
        request: impl AsyncFn() -> Result<T, ApiError>,
    ) -> Result<T, CommandError> {
        let refused = match request().await {
            Err(error) if error.is(Code::ConfirmationRequired) => error,
            answer => return Ok(answer?),
        };
        if !self.can_prompt {
            return Err(CommandError::from(refused).hint("burrow auth confirm --password - < file"));
        }
        let password = ask_own_password(server).await?;
        server.confirm_password(&ConfirmPassword { password }).await?;
        Ok(request().await?)
    }

    /// Asks the user to type `name` before something is destroyed, unless they gave `--yes`.
    ///
    /// `action` completes "This …", as in "deletes the class algo permanently".
    pub fn confirm(&self, yes: bool, action: &str, name: &str) -> Result<(), CommandError> {
        if yes {
            return Ok(());
        }
        if !self.can_prompt {
            return Err(CommandError::new(ErrorKind::Usage, format!("This {action}"))
                .cause("it needs a confirmation, and there is no terminal to ask on")
                .hint("add --yes"));
        }
        eprint!("This {action}. Type {name} to confirm: ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin()
            .lock()
            .take(MAX_ANSWER_BYTES)
            .read_line(&mut answer)
            .map_err(|error| CommandError::error("Cannot read the answer").because(&error))?;
        if answer.trim() == name {
            Ok(())
        } else {
            Err(CommandError::new(ErrorKind::Usage, "The answer does not match; nothing was changed"))
        }
    }
}
