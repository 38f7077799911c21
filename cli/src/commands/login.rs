//! `burrow login`: with a browser (device login), or with a token from standard input.

use std::{
    io::{self, IsTerminal, Read},
    ops::RangeInclusive,
    time::Duration,
};

use clap::Args;
use protocol::{
    Code, Redacted,
    api::auth::{DeviceCode, DeviceRequest, DeviceTokenRequest, Session},
};
use tokio::time::{Instant, sleep};

use crate::{
    context::Context,
    output::{
        self, CommandError, ErrorKind, browser,
        progress::{self, Step},
    },
    server::{
        Server,
        credentials::{self, Credentials, DEFAULT_URL},
    },
};

/// Longest token that is read.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Bounds on the polling interval that the server asks for, in seconds: it must neither flood nor
/// hang.
const POLL_SECONDS: RangeInclusive<u64> = 1..=30;
/// Longest validity of a device code that is believed.
const MAX_CODE_SECONDS: u64 = 1800;

/// Sign in to a server
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow login http://127.0.0.1:8080
  burrow login https://burrow.example.org --token - < token.txt
  burrow login https://192.168.1.5:8080 --ca-file ca.crt

Without --token, the sign-in is approved in a browser, on this computer or on another one.")]
pub struct Login {
    /// Address of the server [default: BURROW_URL, the last server, or http://127.0.0.1:8080]
    pub server: Option<String>,
    /// Read a personal access token from standard input
    // There is no variable for it: BURROW_TOKEN is the token itself, and makes a login unnecessary.
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub token: Option<String>,
    /// Print the address and the code, and do not open a browser
    #[arg(long, env = "BURROW_NO_BROWSER")]
    pub no_browser: bool,
}

impl Login {
    /// Gets a token, checks it, and saves it to the credentials file.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let path = credentials::path()?;
        let mut credentials = Credentials::load(&path)?;
        let wanted =
            self.server.as_deref().or(context.url()).or(credentials.current()).unwrap_or(DEFAULT_URL);
        let url = credentials::normalise(wanted).map_err(|text| CommandError::new(ErrorKind::Usage, text))?;
        let token = match self.token {
            Some(_) => read_token()?,
            None => device_login(context, &url, self.no_browser).await?,
        };
        let server = Server::with_token(&url, token.clone(), context.authorities()?)?;
        let Session { user, .. } = server.session().await?;
        credentials.insert(&url, credentials::SavedLogin { token, email: user.email.clone() });
        credentials.save(&path)?;
        let name = output::printable(&user.name);
        context.output.say(&format!("Signed in to {url} as {name} ({})", user.email));
        Ok(())
    }
}

fn read_token() -> Result<Redacted<String>, CommandError> {
    let mut text = String::new();
    let read = if io::stdin().is_terminal() {
        rpassword::prompt_password("Token: ").map(|typed| text = typed)
    } else {
        io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text).map(drop)
    };
    read.map_err(|error| CommandError::error("Cannot read the token from standard input").because(&error))?;
    let token = text.trim().to_owned();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(CommandError::new(ErrorKind::Usage, "Cannot find a token on standard input")
            .hint("burrow login --token - < file, or burrow login"));
    }
    Ok(token.into())
}

/// The device flow (RFC 8628): the user approves in a browser while this program polls for the
/// token.
async fn device_login(
    context: &Context,
    url: &str,
    no_browser: bool,
) -> Result<Redacted<String>, CommandError> {
    let server = Server::anonymous(url, context.authorities()?)?;
    let request = DeviceRequest { client_name: client_name() };
    let code: DeviceCode = server.device_code(&request).await?;
    let page = format!("{}?code={}", server.absolute_url(&code.verification_path), code.user_code);
    progress::write_line(&format!("Open  {page}"));
    progress::write_line(&format!("Code  {}", code.user_code));
    if !no_browser && !context.output.quiet {
        browser::open(&page);
    }
    let step = Step::begin(context.style, "Waiting for your approval in the browser");
    let interval =
        Duration::from_secs(code.interval_seconds.clamp(*POLL_SECONDS.start(), *POLL_SECONDS.end()));
    let deadline = Instant::now() + Duration::from_secs(code.expires_in_seconds.min(MAX_CODE_SECONDS));
    let request = DeviceTokenRequest { device_code: code.device_code };
    loop {
        sleep(interval).await;
        match server.device_token(&request).await {
            Ok(secret) => {
                step.done();
                return Ok(secret.token);
            }
            Err(error) if error.is(Code::AuthorizationPending) || error.is(Code::RateLimited) => {}
            // The server may be restarting.
            Err(error) if error.is_transient() => {}
            Err(error) if error.is(Code::Forbidden) => {
                let what = "Cannot sign in: the request was denied in the browser";
                return Err(CommandError::new(ErrorKind::AuthRequired, what));
            }
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            let what = "Cannot sign in: the code has expired";
            return Err(CommandError::new(ErrorKind::AuthRequired, what).hint("burrow login"));
        }
    }
}

/// "burrow on anna-laptop".
fn client_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = host.chars().filter(char::is_ascii_graphic).take(60).collect();
    format!("burrow on {name}")
}
