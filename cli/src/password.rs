//! The user's password and other secrets: typed on the terminal without being shown, or read from
//! standard input.

use std::io::{self, Read as _};

use clap::Args;
use protocol::Redacted;

use crate::{
    context::Context,
    output::{CommandError, ErrorKind},
    server::Server,
};

/// Longest secret that is read from standard input.
const MAX_SECRET_BYTES: u64 = 4096;

/// Where a command that needs the user's password gets it.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// Read your password from standard input
    #[arg(long, value_name = "-", value_parser = ["-"])]
    password: Option<String>,
}

impl PasswordSource {
    /// Reads the password of the user who is signed in. `hint` says how to give it if there is no
    /// terminal to ask on.
    pub async fn read(
        &self,
        context: &Context,
        server: &Server,
        hint: &str,
    ) -> Result<Redacted<String>, CommandError> {
        if self.password.is_some() {
            return read_secret("password", hint);
        }
        if !context.can_prompt {
            let what = "Cannot ask for your password: there is no terminal to ask on";
            return Err(CommandError::new(ErrorKind::AuthRequired, what).hint(hint));
        }
        ask_own_password(server).await
    }
}

/// Asks for the password of the user who is signed in.
pub async fn ask_own_password(server: &Server) -> Result<Redacted<String>, CommandError> {
    let email = server.session().await?.user.email;
    ask_password(&format!("Password of {email}: "))
}

/// Asks for a password on the terminal, without showing it.
pub fn ask_password(prompt: &str) -> Result<Redacted<String>, CommandError> {
    let typed = rpassword::prompt_password(prompt)
        .map_err(|error| CommandError::error("Cannot read the password").because(&error))?;
    Ok(typed.into())
}

/// Reads a secret of one line from standard input. `what` names it, and `hint` says how to give it.
pub fn read_secret(what: &str, hint: &str) -> Result<Redacted<String>, CommandError> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_SECRET_BYTES).read_to_string(&mut text).map_err(|error| {
        CommandError::error(format!("Cannot read the {what} from standard input")).because(&error)
    })?;
    let secret = text.trim_end_matches(['\n', '\r']).to_owned();
    if secret.is_empty() || secret.contains('\n') {
        let what = format!("Cannot find a {what} on standard input");
        return Err(CommandError::new(ErrorKind::Usage, what).hint(hint));
    }
    Ok(secret.into())
}
