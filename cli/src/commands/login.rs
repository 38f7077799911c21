//! `burrow login`: with a browser (device login), a one-time link, a token from standard input, or over
//! the Unix socket of the server on this host.

use std::{
    io::{self, IsTerminal, Read},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use protocol::{
    Code, Redacted,
    api::auth::{
        DeviceCode, DeviceRequest, DeviceTokenRequest, LinkSignIn, NewToken, Session, SetPassword, TokenScope,
    },
};
use tokio::time::{Instant, sleep};

use super::token::ScopeArgument;
use crate::{
    context::Context,
    output::{
        self, CommandError, ErrorKind, browser,
        progress::{self, Step},
    },
    password::{ask_password, read_secret},
    server::{
        self, Server,
        credentials::{self, Credentials, DEFAULT_URL},
        local::LocalServer,
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
  burrow login 'https://burrow.example.org/welcome#8k2N...'
  burrow admin sign-in-link | burrow login -
  burrow login --local

With the address of a server only, the sign-in is approved in a browser, on this computer or on another
one. A sign-in link and --local need no browser. Other users of this computer see a link on the command
line while the command runs, so give it on standard input there. --local signs the owner in, on the host
of the server and as the user that runs `burrow up`.")]
pub struct Login {
    /// Address of the server, a sign-in link, or `-` to read a link from standard input [default:
    /// BURROW_URL, the last server, or http://127.0.0.1:8080]
    #[arg(value_name = "SERVER|LINK")]
    pub server: Option<String>,
    /// Read a personal access token from standard input
    // There is no variable for it: BURROW_TOKEN is the token itself, and makes a login unnecessary.
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub token: Option<String>,
    /// Sign in as the owner of the server on this host, over its Unix socket
    #[arg(long, env = "BURROW_LOCAL", conflicts_with_all = ["server", "token"])]
    pub local: bool,
    /// Data directory of that server [default: as for `burrow up`]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What the login may do
    #[arg(long, env = "BURROW_SCOPE", value_enum, default_value_t, conflicts_with = "token")]
    pub scope: ScopeArgument,
    /// Ask for a new password too. For a link or --local; all other sessions and tokens end
    #[arg(long, env = "BURROW_SET_PASSWORD", conflicts_with = "token")]
    pub set_password: bool,
    /// Print the address and the code, and do not open a browser
    #[arg(long, env = "BURROW_NO_BROWSER")]
    pub no_browser: bool,
}

impl Login {
    /// Gets a token, checks it, and saves it to the credentials file.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let path = credentials::path()?;
        let mut credentials = Credentials::load(&path)?;
        let link = match self.server.as_deref() {
            Some("-") => Some(read_secret("sign-in link", "burrow admin sign-in-link | burrow login -")?),
            Some(text) if text.contains('#') => Some(text.to_owned().into()),
            _ => None,
        };
        if self.set_password && link.is_none() && !self.local {
            let what = "Cannot set a password: it needs a sign-in link or --local";
            return Err(CommandError::new(ErrorKind::Usage, what));
        }
        let (url, server, token) = if self.local {
            let local = LocalServer::find(self.data_dir.as_deref())?;
            let url = parse_address(local.address())?;
            let (server, token) = self.create_token(local.sign_in().await?).await?;
            (url, server, token)
        } else if let Some(link) = link {
            let (url, secret) = parse_link(link.expose())?;
            let session = Server::anonymous(&url, context.authorities()?)?
                .sign_in_with_link(&LinkSignIn { token: secret })
                .await?;
            let (server, token) = self.create_token(session).await?;
            (url, server, token)
        } else {
            let wanted =
                self.server.as_deref().or(context.url()).or(credentials.current()).unwrap_or(DEFAULT_URL);
            let url = parse_address(wanted)?;
            let token = match self.token {
                Some(_) => read_token()?,
                None => device_login(context, &url, self.scope.into(), self.no_browser).await?,
            };
            (url.clone(), Server::with_token(&url, token.clone(), context.authorities()?)?, token)
        };
        let Session { user, .. } = server.session().await?;
        credentials.insert(&url, credentials::SavedLogin { token, email: user.email.clone() });
        credentials.save(&path)?;
        let name = output::printable(&user.name);
        context.output.say(&format!("Signed in to {url} as {name} ({})", user.email));
        if !user.has_password {
            context.output.say("You have no password yet. To set one: burrow login LINK --set-password");
        }
        Ok(())
    }

    /// Creates a token in the session of a browser, and ends the session.
    async fn create_token(&self, session: Server) -> Result<(Server, Redacted<String>), CommandError> {
        if self.set_password {
            let new = ask_password("New password: ")?;
            if ask_password("Again: ")?.expose() != new.expose() {
                let what = "Cannot set the password: the two passwords differ";
                return Err(CommandError::new(ErrorKind::Usage, what));
            }
            session.set_password(&SetPassword { current: None, new }).await?;
        }
        let request = NewToken { name: client_name(), days: None, scope: self.scope.into() };
        let token = server::exchange_session(&session, &request).await?.token;
        Ok((session.using_token(token.clone()), token))
    }
}

fn parse_address(text: &str) -> Result<String, CommandError> {
    credentials::normalise(text).map_err(|text| CommandError::new(ErrorKind::Usage, text))
}

/// The address and the secret of a sign-in link. An error does not repeat the link.
fn parse_link(link: &str) -> Result<(String, Redacted<String>), CommandError> {
    let refused = |cause: &str, hint: &str| {
        CommandError::new(ErrorKind::Usage, "Cannot use the sign-in link").cause(cause).hint(hint)
    };
    let hint = "copy the whole link: https://SERVER/welcome#SECRET";
    let (page, secret) = link.trim().split_once('#').ok_or_else(|| refused("it has no `#`", hint))?;
    if page.ends_with("/join") {
        return Err(refused("it is an invitation", "open it in a browser"));
    }
    let address = page.strip_suffix("/welcome").ok_or_else(|| refused("it is another page", hint))?;
    if secret.is_empty() || secret.contains(char::is_whitespace) {
        return Err(refused("it is not complete", hint));
    }
    Ok((parse_address(address)?, secret.to_owned().into()))
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
    scope: TokenScope,
    no_browser: bool,
) -> Result<Redacted<String>, CommandError> {
    let server = Server::anonymous(url, context.authorities()?)?;
    let request = DeviceRequest { client_name: client_name(), scope };
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
