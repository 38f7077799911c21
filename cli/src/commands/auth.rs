//! `login`, `logout`, `auth status`.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use protocol::{
    Code, Redacted,
    api::auth::{DeviceCode, DeviceRequest, DeviceTokenRequest, Session},
};
use tokio::time::{Instant, sleep};

use super::Context;
use crate::{
    arguments::Login,
    browser,
    credentials::{self, Credentials, CredentialsError, DEFAULT_URL},
    failure::{Failure, Kind},
    output::{self, Format},
    progress::{self, Step},
    server::Server,
};

/// Longest token that is read.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Bounds on what the server says about polling: neither a flood nor for ever.
const INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 1..=30;
const MAX_LIFE_SECONDS: u64 = 1800;

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        let next = error.next();
        let failure = Self::error(error.to_string()).next(next);
        match std::error::Error::source(&error) {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

pub async fn login(context: &Context, login: Login) -> Result<(), Failure> {
    let path = credentials::path()?;
    let mut credentials = Credentials::load(&path)?;
    let wanted = login.server.as_deref().or(context.url()).or(credentials.current()).unwrap_or(DEFAULT_URL);
    let url = credentials::normalise(wanted).map_err(|words| Failure::new(Kind::Usage, words))?;
    let token = match login.token {
        Some(_) => token_from_stdin()?,
        None => by_device(context, &url, login.no_browser).await?,
    };
    let server = Server::with_token(&url, token.clone())?;
    let Session { user, .. } = server.session().await?;
    credentials.remember(&url, credentials::Server { token, email: user.email.clone() });
    credentials.save(&path)?;
    context.output.say(&format!("Signed in to {url} as {} ({})", output::printable(&user.name), user.email));
    Ok(())
}

pub async fn logout(context: &Context) -> Result<(), Failure> {
    let path = credentials::path()?;
    let mut credentials = Credentials::load(&path)?;
    let Some(wanted) = context.url().or(credentials.current()) else {
        context.output.say("Not signed in anywhere");
        return Ok(());
    };
    let url = credentials::normalise(wanted).map_err(|words| Failure::new(Kind::Usage, words))?;
    let Some(forgotten) = credentials.forget(&url) else {
        context.output.say(&format!("Not signed in to {url}"));
        return Ok(());
    };
    // Forgotten here in any case; a server that is gone must not keep a person signed in.
    credentials.save(&path)?;
    if let Err(failure) = Server::with_token(&url, forgotten.token)?.sign_out().await {
        progress::write_line(&format!(
            "warning: the server could not be told; the token there lives on ({url})"
        ));
        tracing::debug!(%failure, "sign out");
    }
    context.output.say(&format!("Signed out of {url}"));
    Ok(())
}

pub async fn status(context: &Context) -> Result<(), Failure> {
    let server = context.server()?;
    let session = server.session().await?;
    if context.output.format == Format::Json {
        return context.output.json(&serde_json::json!({ "url": server.url(), "session": session }));
    }
    if context.output.quiet || context.output.format == Format::Name {
        return output::line(&session.user.email);
    }
    let role = format!("{:?}", session.user.role).to_lowercase();
    output::line(&format!("Server:  {}", server.url()))?;
    output::line(&format!("User:    {} <{}>", output::printable(&session.user.name), session.user.email))?;
    output::line(&format!("Role:    {role} of {}", output::printable(&session.user.tenant_name)))?;
    output::line(&format!("Until:   {}", session.expires_at.date()))
}

fn token_from_stdin() -> Result<Redacted<String>, Failure> {
    let mut text = String::new();
    let read = if io::stdin().is_terminal() {
        // Typed by a person: not shown.
        rpassword::prompt_password("Token: ").map(|typed| text = typed)
    } else {
        io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text).map(drop)
    };
    read.map_err(|error| Failure::error("The token cannot be read from standard input").because(&error))?;
    let token = text.trim().to_owned();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Failure::new(Kind::Usage, "Standard input holds no token")
            .next("burrow login --token - < file, or burrow login"));
    }
    Ok(token.into())
}

/// The device flow: a person approves in a browser, here or elsewhere, while this program asks now and then.
async fn by_device(context: &Context, url: &str, no_browser: bool) -> Result<Redacted<String>, Failure> {
    let server = Server::anonymous(url)?;
    let request = DeviceRequest { client_name: client_name() };
    let code: DeviceCode = server.device_code(&request).await?;
    let page = format!("{}?code={}", server.absolute(&code.verification_path), code.user_code);
    progress::write_line(&format!("Open   {page}"));
    progress::write_line(&format!("Code   {}", code.user_code));
    if !no_browser && !context.output.quiet {
        browser::open(&page);
    }
    let waiting = Step::begin(context.style, "Waiting for your approval");
    let interval =
        Duration::from_secs(code.interval_seconds.clamp(*INTERVAL_SECONDS.start(), *INTERVAL_SECONDS.end()));
    let deadline = Instant::now() + Duration::from_secs(code.expires_in_seconds.min(MAX_LIFE_SECONDS));
    let request = DeviceTokenRequest { device_code: code.device_code };
    loop {
        sleep(interval).await;
        match server.device_token(&request).await {
            Ok(secret) => {
                waiting.done();
                return Ok(secret.token);
            }
            Err(failure) if failure.is(Code::AuthorizationPending) || failure.is(Code::RateLimited) => {}
            // A server that restarts meanwhile is asked again.
            Err(failure) if failure.is_transient() => {}
            Err(failure) if failure.is(Code::Forbidden) => {
                return Err(Failure::new(Kind::AuthRequired, "The sign-in was refused in the browser"));
            }
            Err(failure) => return Err(failure.into()),
        }
        if Instant::now() > deadline {
            return Err(Failure::new(Kind::AuthRequired, "Nobody approved in time").next("burrow login"));
        }
    }
}

/// "burrow on anna-laptop".
fn client_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = host.chars().filter(char::is_ascii_graphic).take(60).collect();
    format!("burrow on {name}")
}
